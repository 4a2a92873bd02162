"""One series over time: its runs, percentiles by period, and all that is to be marked on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from perfdb.alerts.causes import facts_before
from perfdb.alerts.config import read_alert_settings
from perfdb.alerts.long_moves import Days, days_of
from perfdb.alerts.moves import settled, told_in
from perfdb.analysis import trend_view as view
from perfdb.analysis.course import Course, course, statistics
from perfdb.analysis.rules.failures import ERROR_RUNS, LEAST_ERROR_RUNS
from perfdb.analysis.rules.limits import MAX
from perfdb.analysis.series import Series
from perfdb.analysis.series import SeriesName as Name
from perfdb.analysis.trend_words import alert_words, finding, name_of, rhythm, says_it_moved
from perfdb.filters import moment_of
from perfdb.history.names import require_names, unknown
from perfdb.history.rows import EXPLAINED_BY
from perfdb.history.values import to_builtin
from perfdb.measures import Measure, configured, named
from perfdb.records import Alert
from perfdb.store import browsing
from perfdb.store.alerts import read_alerts
from perfdb.store.annotations import read_annotations, switches
from perfdb.store.series import days_before, runs_of_series, usual_past
from perfdb.store.together import for_each, together, when_needed
from perfdb.text import counted, utc_time
from perfdb.vocabulary import CURRENT_STATES, SEVERITIES
from perfdb.web.answers.long_trends import LongTrend, answer_of, change_of, long_trend
from perfdb.web.queries import TrendQuery
from perfdb.web.schemas import AlertRow, Limit, Mark, Period, Points, SeriesName, TrendAnswer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.web.served import ServedHistory

MOST_POINTS = 2_000
MOST_ALERTS = 100
MOST_SAID = 1_000  # annotations, the newest
MOST_IN_WINDOW = 100_000
FACTS_OF = 300  # newest runs whose attributes may tell at which of two levels a run is
LATELY = 1_000  # newest sessions, of which the most frequent pipeline and mode is shown
AROUND = 100  # runs before an alert's first that its picture shows, at least
_LAST_DAY = 253_402_214_400.0  # that there is in all zones: 31 December 9999 in UTC

Named = tuple[str, str | None, str]


def trend(history: ServedHistory, query: TrendQuery, zone: tzinfo = UTC) -> TrendAnswer:
    """Return how long the runs of a series took, and where that is going, by days or weeks of a zone.

    Of more runs than are read one by one days are known in UTC only.

    Raises:
        NotFoundError: nothing was ever recorded under one of the names.
    """
    since, until = (
        None if each is None else moment_of(each, zone=UTC) for each in (query.since, query.until)
    )
    last, whole = query.last, since is not None and "last" not in query.model_fields_set
    if whole:  # a window is shown whole
        last = MOST_IN_WINDOW
    with history.reading() as connection:
        measure, (names, hidden), by_runs = together(
            connection,
            lambda: history._measure(connection, query.measure or "duration"),
            lambda: ([], 0) if connection is None else browsing.series_names(connection, step=query.step),
            lambda: [] if connection is None else _by_runs(connection, since, until),
        )
        chosen, choices, told = _chosen(query, names, by_runs), [_named(*name) for name in names], None
        if connection is not None and chosen is not None:
            if since is not None and whole:
                long = long_trend(
                    connection, Name(*chosen), since, until, most_alerts=MOST_ALERTS, measure=measure
                )
                if long is not None:
                    limits = _limits(history, long.of.name, measure, long.whole.over)
                    long, marks = _of_long(connection, chosen, long, until, measure)
                    return answer_of(long, query, choices, hidden, marks, limits, measure)
            told = _told(connection, chosen, last, since, until, measure)
    if chosen is None and names:
        require_names(history, pipeline=query.pipeline, step=query.step)
        modes = sorted({mode for _, _, mode in names})
        if query.mode not in (None, *modes):
            raise unknown("mode", query.mode or "", modes, history.database)
    if told is None or chosen is None or not told.runs.start_times:
        return _empty(query, choices, None if chosen is None else _named(*chosen), hidden=hidden)
    return _answer(history, query, told, measure, choices, hidden=hidden, zone=zone)


@dataclass(frozen=True, slots=True)
class _Told:
    """The runs of a series in a window, and what is told of them: ``spoken`` as ``rhythm`` gives it."""

    runs: Series
    alerts: Sequence[Alert]
    marks: Sequence[Mark]
    going: Course | None
    spoken: tuple[str, str] = ("", "")
    cut: str = ""


def _told(
    connection: Connection,
    chosen: Named,
    last: int,
    since: float | None,
    until: float | None,
    measure: Measure,
) -> _Told:
    runs, alerts, days = together(
        connection,
        lambda: _runs(connection, chosen, last=last, since=since, until=until, measure=measure),
        lambda: read_alerts(connection, "all", of_series=chosen, limit=MOST_ALERTS),
        lambda: when_needed(connection, lambda: _days_of(connection, chosen, measure, until)),
    )
    begin = runs.start_times[0] if since is not None and runs.start_times else None
    marks, spoken, older, going = together(
        connection,
        lambda: marks_of(connection, runs, until),
        lambda: _rhythm(connection, runs, measure),
        lambda: (
            begin is not None
            and _runs(connection, chosen, last=1, since=since, until=begin, measure=measure).start_times
        ),
        lambda: _course(connection, runs, measure, alerts, days, until),
    )
    shown = counted(len(runs.start_times), "run")
    cut = f"only the newest {shown} of this window: it has more" if older else ""
    return _Told(runs, alerts, marks, going, spoken, cut)


def _of_long(
    connection: Connection, chosen: Named, long: LongTrend, until: float | None, measure: Measure
) -> tuple[LongTrend, list[Mark]]:
    """Return a long trend with its moves where they are, and its marks."""
    marks, moves = together(
        connection,
        partial(_marks, connection, chosen, *long.span, until, around=long.around_moves),
        partial(settled, connection, long.moves, long.window, long.alerts, measure=measure, until=until),
    )
    return replace(long, moves=moves), marks


def runs(history: ServedHistory, query: TrendQuery) -> list[dict[str, Any]]:
    """Return every run that ``trend`` is about, none of them thinned: of a window the newest 100,000.

    Raises:
        NotFoundError: as ``trend``.
    """
    series = trend(history, query).series
    if series is None:
        return []
    last = query.last if query.since is None or "last" in query.model_fields_set else MOST_IN_WINDOW
    since, until = (
        None if each is None else moment_of(each, zone=UTC) for each in (query.since, query.until)
    )
    with history.reading() as connection:
        if connection is None:
            return []
        measure = history._measure(connection, query.measure or "duration")
        chosen = (series.pipeline, series.step_name, series.mode)
        found = _runs(connection, chosen, last=last, since=since, until=until, measure=measure).measured
    named = series.model_dump(exclude={"mode_text"})
    return [
        {"session_id": session_id, "start_time": start, measure.name: value, "counted": counts, **named}
        for session_id, start, value, counts in zip(
            found.session_ids, found.start_times, found.values, found.counted, strict=True
        )
    ]


def around_alert(history: ServedHistory, alert: AlertRow, limits: Sequence[float]) -> TrendAnswer:
    """Return the series of an alert from well before its move until now."""
    chosen = (alert.pipeline, alert.step_name, alert.mode)
    measure = named(alert.metric, configured(history.settings.measures))
    query = TrendQuery.model_validate(
        {"pipeline": alert.pipeline, "step": alert.step_name, "mode": alert.mode, "last": MOST_IN_WINDOW}
    )
    with history.reading() as connection:
        if connection is None:
            return _empty(query, [], _named(*chosen))
        newest, before, days, found = together(
            connection,
            lambda: _runs(connection, chosen, last=1, measure=measure),
            lambda: _runs(connection, chosen, last=AROUND, until=alert.since_time, measure=measure),
            lambda: when_needed(connection, lambda: _days_of(connection, chosen, measure)),
            lambda: read_alerts(connection, "all", of_series=chosen, limit=MOST_ALERTS),
        )
        end = newest.start_times[-1] if newest.start_times else alert.since_time
        since = min(alert.since_time - (end - alert.since_time), *before.start_times[:1], alert.since_time)
        runs = _runs(connection, chosen, last=MOST_IN_WINDOW, since=since, measure=measure)
        marks, going = together(
            connection,
            lambda: marks_of(connection, runs),
            lambda: _course(connection, runs, measure, found, days),
        )
    if not runs.start_times:
        return _empty(query, [], _named(*chosen))
    return _answer(history, query, _Told(runs, found, marks, going), measure, [], limits)


def of_runs(history: ServedHistory, runs: Series, measure: Measure) -> TrendAnswer:
    """Return runs that were read as pictures show them, with what they alone tell."""
    named = _named(runs.pipeline, runs.step_name, runs.mode)
    query = TrendQuery.model_validate({"last": MOST_IN_WINDOW})
    if not runs.start_times:
        return _empty(query, [], named)
    return _answer(history, query, _Told(runs, [], [], None), measure, [])


def marks_of(connection: Connection, runs: Series, until: float | None = None) -> list[Mark]:
    """Return what happened from the first of the runs to the last, or until then: said, or seen in them."""
    if not runs.start_times:
        return []
    return _marks(connection, runs.name, runs.start_times[0], runs.start_times[-1], until)


def _marks(
    connection: Connection,
    of: Named,
    first: float,
    last: float,
    until: float | None,
    around: Sequence[tuple[float, float]] | None = None,
) -> list[Mark]:
    """Return the marks between two moments; what is seen in the runs in some parts of it, or in all."""
    pipeline, _, mode = of
    end = last if until is None else until
    parts = [(first, last)] if around is None else around
    said, of_parts = together(
        connection,
        lambda: read_annotations(
            connection, pipeline=pipeline, since=first, until=math.nextafter(end, math.inf), newest=MOST_SAID
        ),
        lambda: for_each(connection, lambda part: switches(connection, pipeline, mode, *part), parts),
    )
    found = [Mark(kind="note", text=each.text, at=each.at) for each in said]
    seen = {(each.kind, each.value, each.at) for switched in of_parts for each in switched}
    found += [Mark.model_validate({"kind": kind, "text": text, "at": at}) for kind, text, at in seen]
    return sorted(found, key=lambda each: (each.at, each.kind, each.text))


@dataclass(frozen=True, slots=True)
class Rate:
    """The share of failed ones among the last 20 runs, at each run; ``failed``: whether that run did.

    Where the history begins, it is of at least 10.
    """

    start_times: list[float]
    shares: list[float]
    failed: list[bool]


def rate_around(history: ServedHistory, alert: AlertRow) -> Rate | None:
    """Return how often the runs of an alert's series failed, from well before it began until now."""
    chosen = (alert.pipeline, alert.step_name, alert.mode)
    with history.reading() as connection:
        if connection is None:
            return None
        before = _runs(connection, chosen, last=AROUND + ERROR_RUNS, until=alert.since_time)
        since = min(before.start_times, default=alert.since_time)
        runs = _runs(connection, chosen, last=MOST_IN_WINDOW, since=since)
    of_session: dict[str, tuple[float, bool]] = {}
    for session_id, start, failed in zip(runs.session_ids, runs.start_times, runs.failed, strict=True):
        of_session[session_id] = (start, failed or of_session.get(session_id, (start, False))[1])
    points = list(of_session.values())
    is_cut = len(before) == AROUND + ERROR_RUNS  # there are older ones
    least = ERROR_RUNS if is_cut else LEAST_ERROR_RUNS
    shown = [
        (start, sum(bad for _, bad in window) / len(window), failed)
        for place, (start, failed) in enumerate(points)
        if len(window := points[max(0, place + 1 - ERROR_RUNS) : place + 1]) >= least
    ]
    return Rate(*map(list, zip(*shown, strict=True))) if shown else None


def _runs(connection: Connection, chosen: Named, **window: Any) -> Series:
    return runs_of_series(connection, *chosen, **window)


def _days_of(connection: Connection, chosen: Named, measure: Measure, until: float | None = None) -> Days:
    name = Name(*chosen)
    return days_of(connection, of=name, until=until, measure=measure).get(name, [])


def _course(
    connection: Connection,
    runs: Series,
    measure: Measure,
    alerts: Sequence[Alert],
    days: Callable[[], Days],
    until: float | None = None,
) -> Course | None:
    """Return where the series is going, with the moves of its whole history that lie in these runs."""
    good = runs.good
    if not len(good):
        return None
    going = course(good, days_before(connection, measure))
    window = good.start_times[0], good.start_times[-1]
    moves = told_in(connection, good.name, window, alerts, days, moved=going.seems_to_move, measure=measure)
    return replace(going, changes=[move.seen_in(good) for move in moves])


def _rhythm(connection: Connection, runs: Series, measure: Measure) -> tuple[str, str]:
    """Return between which levels the runs come and go, and what is usual when the newest began."""
    good = runs.good
    if not len(good):
        return "", ""
    facts = partial(facts_before, connection, good.pipeline, good.mode, good.start_times[-1], FACTS_OF)
    past, before = days_before(connection, measure), usual_past(connection, EXPLAINED_BY, measure)
    return rhythm(good, past=past, before=before, facts=facts, unit=measure.unit, zone=UTC)


def _answer(
    history: ServedHistory,
    query: TrendQuery,
    told: _Told,
    measure: Measure,
    choices: list[SeriesName],
    further: Sequence[float] = (),
    *,
    hidden: int = 0,
    zone: tzinfo = UTC,
) -> TrendAnswer:
    runs = told.runs.measured
    going = course(runs.good) if told.going is None else told.going
    whole, changes = statistics(told.runs, going), going.changes
    good = [place for place, counts in enumerate(runs.counted) if counts]
    starts, durations = (
        np.array([column[place] for place in good]) for column in (runs.start_times, runs.values)
    )
    lines = view.lines(starts, durations, [each.index for each in changes])
    good_values = [runs.values[place] for place in good]
    limits = _limits(history, runs.name, measure, lambda limit: sum(each > limit for each in good_values))
    top = view.scale_top(runs.values, [*(each.limit for each in limits), *further])
    found = [alert for alert in told.alerts if alert.metric == measure.name]
    opened = [asdict(alert) for alert in found if alert.state in CURRENT_STATES]
    newest = changes[-1] if changes else None
    sentence = finding(
        name_of(runs.step_name, runs.pipeline, measure),
        durations,
        newest=None if newest is None else asdict(newest),
        since="" if newest is None else utc_time(float(starts[newest.index])),
        alerts=[alert_words(alert) for alert in opened if says_it_moved(alert)],
        limits=[each.limit for each in limits],
        drifted=whole["drift_percent"],
        failures=whole["failures"],
        measure=measure,
        switches=told.spoken[0],
        usual=told.spoken[1],
    )
    begun = [
        (runs.start_times[place - 1], runs.start_times[place]) for place in view.pauses(runs.start_times)
    ]
    return TrendAnswer(
        series=_named(runs.pipeline, runs.step_name, runs.mode),
        choices=choices,
        hidden_choices=hidden,
        sentence=f"{sentence}.",
        **{name: to_builtin(whole[name]) for name in _STATISTICS},
        points=points(runs, good, lines),
        top=top,
        beyond=view.beyond_words(runs.values, top, measure.unit),
        pauses=begun,
        by_hour=any(line.by_hour for line in lines),
        shown_by="run" if len(good) <= view.MOST_RUNS else view.unit_of(starts),
        cut=told.cut,
        periods=_periods(told.runs, query.period, zone),
        period=query.period,
        zone=str(zone),
        bands_by=view.unit_of(runs.start_times),
        bands=_periods(told.runs, view.unit_of(runs.start_times)) if len(runs.values) > MOST_POINTS else [],
        marks=list(told.marks),
        limits=limits,
        changes=[change_of(each, runs.good) for each in changes],
        alerts=[
            AlertRow.from_records(alert)
            for alert in found
            if alert.is_open or alert.since_time >= runs.start_times[0]
        ],
        measure=measure.name,
        unit=measure.unit,
        label=measure.words,
        better="higher" if measure.better == "higher" else "lower",
    )


_STATISTICS = (
    "n", "failures", "mean", "p50", "p90", "p95", "p99", "longest", "slope_percent_per_session",
    "slope_percent_per_day", "p_value", "drift_percent",
)  # fmt: skip


def _by_runs(connection: Connection, since: float | None, until: float | None) -> list[tuple[str, str]]:
    """Return pipelines and modes, what lately ran most often in the window first, then what ran last."""
    often, lately = together(
        connection,
        lambda: browsing.most_run(connection, last=LATELY, since=since, until=until),
        lambda: browsing.total_series(connection, most=1_000),
    )
    return list(dict.fromkeys([*often, *((pipeline, mode) for _, pipeline, mode in lately)]))


def _chosen(query: TrendQuery, names: Sequence[Named], by_runs: Sequence[tuple[str, str]]) -> Named | None:
    """Return the series that is meant: of what is left open, the one with the most runs."""
    fitting = {
        (pipeline, mode)
        for pipeline, step_name, mode in names
        if query.pipeline in (None, pipeline)
        and query.mode in (None, mode)
        and query.step in (None, step_name)
    }
    for pipeline, mode in by_runs:
        if (pipeline, mode) in fitting:
            return pipeline, query.step, mode
    return None


def _named(pipeline: str, step_name: str | None, mode: str) -> SeriesName:
    return SeriesName(pipeline=pipeline, step_name=step_name, mode=mode)


def _empty(
    query: TrendQuery, choices: list[SeriesName], series: SeriesName | None, *, hidden: int = 0
) -> TrendAnswer:
    nothing: dict[str, Any] = dict.fromkeys(_STATISTICS) | {"n": 0, "failures": 0}
    return TrendAnswer(
        series=series,
        choices=choices,
        hidden_choices=hidden,
        sentence="No run matches. Choose another series or a longer time."
        if choices
        else "Nothing recorded yet. Record a run with perfdb.track(...), or try: perfdb demo",
        **nothing,
        points=Points(session_id=[], start_time=[], duration=[], failed=[], median=[], low=[], high=[], of=0),
        bands=[],
        bands_by="day",
        marks=[],
        top=0.0,
        beyond="",
        pauses=[],
        shown_by="run",
        cut="",
        periods=[],
        period=query.period,
        limits=[],
        changes=[],
        alerts=[],
    )


def _periods(runs: Series, unit: str, zone: tzinfo = UTC) -> list[Period]:
    """Return all of the runs by the hours, days or weeks of a zone in which they themselves began."""
    runs = runs.by_own_start()
    starts: Sequence[float] = runs.start_times
    if zone is not UTC:  # what the clocks there showed, as if it were UTC
        shown = (datetime.fromtimestamp(min(at, _LAST_DAY), zone) for at in starts)
        starts = [each.replace(tzinfo=UTC).timestamp() for each in shown]
    return [
        Period(
            start_time=datetime.fromtimestamp(each.start_time, UTC).replace(tzinfo=zone).timestamp(),
            n=each.n,
            failures=each.failures,
            p50=each.p50,
            p95=each.p95,
        )
        for each in view.periods(starts, runs.values, runs.counted, unit)
    ]


def points(runs: Series, good: Sequence[int], lines: Sequence[view.Line]) -> Points:
    """Return the runs as points; of too many, the fastest and the slowest of each of 1,000 equal parts."""
    places = view.kept_places(runs.values, MOST_POINTS)
    number = {place: index for index, place in enumerate(good)}
    counting = [place for place in places if place in number]
    at = [number[place] for place in counting]
    heights, least, most = (
        dict(zip(counting, view.medians_at(lines, at, of), strict=True)) for of in ("p50", "low", "high")
    )
    return Points(
        session_id=[runs.session_ids[place] for place in places],
        start_time=[runs.start_times[place] for place in places],
        duration=[runs.values[place] for place in places],
        failed=[not runs.counted[place] for place in places],
        median=[heights.get(place) for place in places],
        low=[least.get(place) for place in places],
        high=[most.get(place) for place in places],
        of=len(runs.values),
    )


def _limits(history: ServedHistory, of: Named, measure: Measure, over: Callable[[float], int]) -> list[Limit]:
    """Return the ``max`` rules on this series, the gravest first; ``over`` counts the runs beyond one."""
    found = [
        Limit.from_records(rule, rule=rule.name, over=over(rule.limit))
        for rule in read_alert_settings(history.settings.alerts, reading=True).rules
        if rule.kind == MAX.name
        and rule.limit is not None
        and rule.metric == measure.name
        and rule.is_about(Name(*of))
    ]
    return sorted(found, key=lambda each: -SEVERITIES.index(each.severity))
