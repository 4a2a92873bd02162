"""The charts of a history: choose the sessions that may be compared, and hand them to the drawer.

Each chart has an entry in ``CHARTS`` at the end: its words in the help, and what draws it.

Failed, interrupted and running sessions and those tagged ``warmup``, ``ignore`` or ``cached`` do not count,
and a picture never mixes pipelines or modes: it shows those of the most sessions and says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from perfdb.analysis.rows import TEXT, of_types
from perfdb.errors import NotFoundError, UsageError
from perfdb.filters import Filters, checked_filters, is_moment, step_of, without_window
from perfdb.history.access import reading, side_by_side
from perfdb.history.rows import EXPLAINED_BY
from perfdb.measures import DURATION, Measure, named
from perfdb.records import Session
from perfdb.text import counted, inert, mode_text
from perfdb.vocabulary import COMPLETED, CURRENT_STATES, FAILED

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from perfdb.analysis.regressions import Move
    from perfdb.analysis.series import Series
    from perfdb.history.comparisons import Comparisons
    from perfdb.settings import Settings

MOST_IN_DETAIL = 6_000
COST = named("cost_usd")
BARS = {
    "session_id": TEXT, "step_name": "object", "seq": "int64", "depth": "int64", "start": "float64",
    "end": "float64", "critical_s": "float64", "status": TEXT,
}  # fmt: skip
READINGS = {
    "session_id": TEXT, "time": "float64", "cpu_percent": "float64", "rss_bytes": "float64"
}  # fmt: skip
SPENT = {
    "pipeline": TEXT, "mode": TEXT, "session_id": TEXT, "start_time": "float64", "step_name": "object",
    "value": "float64", "unit": TEXT,
}  # fmt: skip
POINTS = {
    "pipeline": TEXT, "mode": TEXT, "step_name": "object", "session_id": TEXT, "start_time": "float64",
    "value": "float64", "failed": "bool", "unit": TEXT,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """Sessions that may stand in one picture, oldest first, and the words for what they are."""

    sessions: pd.DataFrame  # those that count
    failed: pd.DataFrame
    pipeline: str
    mode: str
    context: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a chart shows, a row per thing that is drawn, and what draws it."""

    frame: pd.DataFrame
    figure: Callable[[], Figure]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a chart was asked for, as in ``History.chart``."""

    history: Comparisons
    session_ids: tuple[str, ...]
    step: str | None
    by: str | None
    last: int | None
    filters: Mapping[str, Any]
    measure: Measure = DURATION

    def session(self) -> Session:
        """Return the session that is named; without a name the newest that fits.

        Raises:
            NotFoundError: there is none.
        """
        if self.session_ids or not self.filters:
            return self.history.session(*self.session_ids[:1])
        return self.history.session(self._newest(1, self.filters)[0])

    def pair(self) -> tuple[str, ...]:
        """Return the ids of the two newest of one pipeline and mode that fit; none where anything does.

        Raises:
            NotFoundError: there are no two.
        """
        if not self.filters:
            return ()
        finished = {"status": COMPLETED, **self.filters}
        newest = self.history.session(self._newest(1, finished)[0])
        return tuple(self._newest(2, {**finished, "pipeline": newest.pipeline, "mode": newest.mode}))

    def _newest(self, number: int, filters: Mapping[str, Any]) -> list[str]:
        rows = self.history.session_rows(last=number, **filters)
        if len(rows) < number:
            raise NotFoundError(
                f"{counted(len(rows), 'session')} of the history fits, where {number} would be drawn"
            )
        return [str(row["session_id"]) for row in rows]

    def choice(self, last: int | None, *, detailed: bool = False) -> Choice | None:
        """Return the newest sessions, ``last`` of them, or the usual number; None where nothing fits.

        Args:
            last: None is all of them.
            detailed: the chart reads all steps of the sessions, of which only so many are affordable.
        """
        wanted = last if self.last is None else self.last
        if detailed:
            wanted = self.history.affordable(wanted, **self.filters) or wanted
        return choose(self.history, last=wanted, **self.filters)

    def choice_of_pipeline(self, last: int) -> Choice | None:
        """Return the newest sessions of one pipeline, the one that most of the newest of all are of."""
        newest = self.choice(last, detailed=True)
        if newest is None or "pipeline" in self.filters:
            return newest
        filters = {**self.filters, "pipeline": newest.pipeline}
        return replace(self, filters=filters).choice(last, detailed=True) or newest

    def nothing(self, frame: pd.DataFrame) -> Drawing:
        """Return the picture that says that nothing fits, and the frame that has no row."""

        def figure() -> Figure:
            from perfdb.charts.style import sentence

            return sentence("Nothing recorded yet", _NOTHING_FITS if self.filters else _NOTHING)

        return Drawing(frame, figure)


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its words in the help, its drawer, whether it is of given sessions, and of any measure."""

    summary: str
    drawing: Callable[[Asked], Drawing]
    of_sessions: bool = False
    of_measures: bool = True


def drawing(
    history: Comparisons,
    kind: str,
    *session_ids: str,
    step: str | None = None,
    by: str | None = None,
    measure: Measure = DURATION,
    last: int | None = None,
    **filters: Any,
) -> Drawing:
    """Return what a chart shows; the arguments are those of ``History.chart``."""
    step = step_of(step)
    chart = CHARTS.get(kind)
    if chart is None:
        raise UsageError(f"there is no chart {kind!r}: choose one of {', '.join(CHARTS)}")
    if session_ids and filters:
        raise UsageError(
            "filters choose what is drawn where no session is named: leave out the one or the other"
        )
    if session_ids and not chart.of_sessions:
        raise UsageError(
            f"a chart of {kind} shows many sessions: choose them with last=, since=, pipeline=, …"
        )
    if not (measure.is_duration or chart.of_measures):
        raise UsageError(f"a chart of {kind} is of no measure: it is of one session, as it was")
    return chart.drawing(Asked(history, session_ids, step, by, last, filters, measure))


_NOTHING = "Record a run with perfdb.track(...), or try: perfdb demo"
_NOTHING_FITS = "No finished session matches. Loosen the filters, or list all sessions with: perfdb sessions"


def choose(history: Comparisons, *, last: int | None = None, **filters: Any) -> Choice | None:
    """Return the sessions of the pipeline and mode that most of the fitting ones have; None without any."""
    from perfdb.analysis.runs import counted_sessions, untagged

    sessions = history.sessions(last=last, **filters)
    finished = sessions[sessions["status"].isin([COMPLETED, FAILED])]
    if finished.empty:
        return None
    groups = finished.groupby(["pipeline", "mode"], sort=False).size()
    pipeline, mode = groups.index[int(groups.to_numpy().argmax())]
    chosen = finished[(finished["pipeline"] == pipeline) & (finished["mode"] == mode)]
    others = len(groups) - 1
    words = [inert(pipeline), mode_text(mode)]
    if others:
        words.append(f"without {counted(len(finished) - len(chosen), 'session')} of other modes or pipelines")
    if last is not None and len(sessions) == last:
        count = history.count(**filters)
        of = f"{last:,} of {counted(count, 'session')}" if count > last else counted(last, "session")
        words.append(f"of the newest {of}")
    return Choice(
        counted_sessions(chosen),
        untagged(chosen[chosen["status"] == FAILED]),
        pipeline,
        mode,
        ", ".join(word for word in words if word),
    )


def _thinned(choice: Choice) -> Choice:
    """Return the choice with evenly chosen sessions when a picture has no room for the details of all."""
    count = len(choice.sessions)
    if count <= MOST_IN_DETAIL:
        return choice
    places = [place * count // MOST_IN_DETAIL for place in range(MOST_IN_DETAIL)]
    context = f"{choice.context}, evenly chosen of {counted(count, 'session')}"
    return replace(choice, sessions=choice.sessions.iloc[places], context=context)


def _frame(rows: Sequence[tuple[Any, ...]], types: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    return of_types(pd.DataFrame(rows, columns=list(types)), types)


def _steps_of(history: Comparisons, choice: Choice, step: str | None = None) -> pd.DataFrame:
    """Return the steps of the chosen sessions that count."""
    return _steps_in(history, choice.pipeline, choice.sessions, step)


def _steps_in(
    history: Comparisons, pipeline: str, sessions: pd.DataFrame, step: str | None, **filters: Any
) -> pd.DataFrame:
    first, last = sessions["start_time"].min(), sessions["start_time"].max()
    within = {name: value for name, value in (("since", first), ("until", last + 1e-3)) if is_moment(value)}
    found = history.steps(step=step, pipeline=pipeline, **within, **filters)
    return found[found["session_id"].isin(sessions["session_id"])]


def _failed(history: Comparisons, choice: Choice, step: str | None) -> pd.DataFrame:
    """Return the sessions that failed, or those in which this step did."""
    if step is None or choice.failed.empty:
        return choice.failed
    steps = _steps_in(history, choice.pipeline, choice.failed, step, status=FAILED)
    failed = steps.loc[steps["success"].eq(False), "session_id"]
    return choice.failed[choice.failed["session_id"].isin(failed)]


def _waterfall(asked: Asked) -> Drawing:
    from perfdb.analysis.timeline import status_of, timeline

    session = asked.session()
    now, usual = time.time(), asked.history.usual_seconds(session)
    rows = [
        (
            *(session.session_id, bar.step.step_name, bar.step.seq, row.depth, bar.start, bar.end),
            *(sum(end - start for start, end in bar.critical), status_of(bar.step, session)),
        )
        for row in timeline(session, now, usual).rows
        for bar in row.bars
    ]

    def figure() -> Figure:
        from perfdb.charts.waterfall import waterfall

        return waterfall(session, now=now, usual=usual)

    return Drawing(_frame(rows, BARS), figure)


def _resources(asked: Asked) -> Drawing:
    session = asked.session()
    rows = [(session.session_id, each.time, each.cpu_percent, each.rss_bytes) for each in session.samples]

    def figure() -> Figure:
        from perfdb.charts.resources import resources

        return resources(session)

    return Drawing(_frame(rows, READINGS), figure)


def _steps(asked: Asked) -> Drawing:
    choice = asked.choice(200, detailed=True)
    if choice is None:
        return asked.nothing(_frame([], SPENT))
    from perfdb.analysis.measuring import value_spent
    from perfdb.analysis.time_spent import time_spent

    shown = _thinned(choice)
    of_sessions, of_steps = shown.sessions, _steps_of(asked.history, shown)
    if asked.measure.is_duration:
        spent = time_spent(of_sessions, of_steps)
    else:
        spent = value_spent(of_sessions, of_steps, asked.measure)
        of_sessions = of_sessions[of_sessions["session_id"].isin(spent.index)]

    def figure() -> Figure:
        from perfdb.charts.steps import steps

        return steps(spent, of_sessions["start_time"], context=shown.context, measure=asked.measure)

    begun = dict(zip(of_sessions["session_id"], of_sessions["start_time"], strict=True))
    rows = [
        (
            *(choice.pipeline, choice.mode, session_id, begun[session_id]),
            *(name if isinstance(name, str) else None, float(value), asked.measure.unit),
        )
        for session_id, of_session in spent.iterrows()
        for name, value in of_session.items()
        if value == value  # not NaN
    ]
    return Drawing(_frame(rows, SPENT), figure)


def _bottlenecks(asked: Asked) -> Drawing:
    choice = asked.choice_of_pipeline(100)
    if choice is None:
        return asked.nothing(asked.history.bottlenecks(last=1, **asked.filters))
    from perfdb.analysis.bottlenecks import bottlenecks as rank

    ranked = rank(choice.sessions, _steps_of(asked.history, choice), asked.measure)

    def figure() -> Figure:
        from perfdb.charts.bottlenecks import bottlenecks

        return bottlenecks(ranked, context=_with_count(choice), measure=asked.measure)

    return Drawing(ranked, figure)


def _trend(asked: Asked) -> Drawing:
    from perfdb.analysis.series import Series

    bounded = "since" in asked.filters or "until" in asked.filters
    choice = asked.choice(None if bounded else 1_000)  # a window that was asked for is shown whole
    if choice is None:
        return asked.nothing(_frame([], POINTS))
    history, step, by, measure = asked.history, asked.step, asked.by, asked.measure
    if step is not None and "pipeline" not in asked.filters and _steps_of(history, choice, step).empty:
        of_step = history.trends(step=step, last=asked.last or 1_000, **asked.filters)
        if len(of_step):  # what most sessions are of has no such step
            most = of_step.iloc[int(of_step["n"].to_numpy().argmax())]
            filters = {**asked.filters, "pipeline": most["pipeline"], "mode": most["mode"]}
            return _trend(replace(asked, filters=filters))
    if by not in (None, "session", "time"):
        raise UsageError(f"by={by!r}: a trend is drawn by 'session' or by 'time'")
    points = _points(history, choice, step, measure)
    failed = _failed(history, choice, step)
    session_ids, starts, values = (points[name].tolist() for name in points)
    runs = Series(choice.pipeline, step, choice.mode, measure.name, session_ids, starts, values)
    moves, drifted, spoken = _told_of(history, runs, measure, asked.filters)

    def figure() -> Figure:
        from perfdb.charts.trend import trend

        opened, pinned = side_by_side(
            history,
            lambda: _alerts(history, choice, step, measure),
            lambda: _pinned(history, choice, step, measure),
        )
        return trend(
            points,
            what=step or f"A run of {choice.pipeline}",
            context=choice.context,
            by="time" if by == "time" else "session",
            failures=failed[["start_time"]],
            limits=_limits(history.settings, choice, step, measure),
            changes=[asdict(move.seen_in(runs)) for move in moves],
            alerts=opened,
            pinned=pinned,
            drifted=drifted,
            measure=measure,
            spoken=spoken,
        )

    shown: list[tuple[Any, ...]] = [
        (choice.pipeline, choice.mode, step, *point, False, measure.unit)
        for point in zip(session_ids, starts, values, strict=True)
    ]
    for session_id, start in zip(failed["session_id"], failed["start_time"], strict=True):
        shown.append((choice.pipeline, choice.mode, step, session_id, start, None, True, measure.unit))
    shown.sort(key=lambda row: row[list(POINTS).index("start_time")])
    return Drawing(_frame(shown, POINTS), figure)


def _points(history: Comparisons, choice: Choice, step: str | None, measure: Measure) -> pd.DataFrame:
    """Return session, start and value of the runs that count, in the order of their sessions."""
    from perfdb.analysis.measuring import measured

    if step is None:
        totals = choice.sessions
        if not measure.is_duration:
            within = _steps_of(history, choice) if len(totals) else history.steps(last=1)
            totals = measured(totals, within, measure)[0]
        points = totals[["session_id", "start_time", "total_duration"]]
        points = points.rename(columns={"total_duration": "duration"})
    else:
        rows = _steps_of(history, choice, step) if len(choice.sessions) else history.steps(step=step, last=1)
        if not measure.is_duration:
            rows = measured(choice.sessions, rows, measure)[1]
        points = rows[rows["counted"]][["session_id", "start_time", "duration"]]
        begun = dict(zip(choice.sessions["session_id"], choice.sessions["start_time"], strict=True))
        points = points.assign(start_time=points["session_id"].map(begun).astype("float64"))
        points = points.sort_values("start_time", kind="stable")  # of the session, as everywhere
    return points[points["duration"].notna()].reset_index(drop=True)


def _told_of(
    history: Comparisons, runs: Series, measure: Measure, filters: Mapping[str, Any]
) -> tuple[list[Move], float | None, tuple[str, str]]:
    """Return the moves of the whole history in these runs, their drift, and their rhythm in words."""
    from perfdb.alerts.long_moves import days_of
    from perfdb.alerts.moves import is_whole, told_in
    from perfdb.analysis.course import course
    from perfdb.analysis.trend_words import rhythm
    from perfdb.store.alerts import read_alerts
    from perfdb.store.series import days_before, usual_past
    from perfdb.store.together import together, when_needed

    of_history = without_window(checked_filters(None, cast(Filters, filters)))
    with reading(history) as connection:
        past = None if connection is None else days_before(connection, measure)
        before = None if connection is None else usual_past(connection, EXPLAINED_BY, measure)
        going, spoken, known, days = together(
            connection,
            lambda: course(runs, past),
            lambda: rhythm(runs, past=past, before=before, unit=measure.unit),
            lambda: [] if connection is None else read_alerts(connection, "all", of_series=runs.name),
            lambda: when_needed(
                connection,
                lambda: (
                    {}
                    if connection is None or not is_whole(of_history)
                    else days_of(connection, of=runs.name, until=of_history.get("until"), measure=measure)
                ),
            ),
        )
        if connection is None:
            return [], going.drift, spoken
        starts = runs.start_times
        moves = told_in(
            connection,
            runs.name,
            (starts[0], starts[-1]) if starts else (0.0, 0.0),
            known,
            lambda: days().get(runs.name, []),
            moved=going.seems_to_move,
            measure=measure,
            **of_history,
        )
    return moves, going.drift, spoken


def _limits(settings: Settings, choice: Choice, step: str | None, measure: Measure) -> list[dict[str, Any]]:
    """Return the ``max`` rules on the measure of this step, or of the total."""
    from perfdb.alerts.config import read_alert_settings
    from perfdb.analysis.rules.limits import MAX
    from perfdb.analysis.series import SeriesName

    series = SeriesName(choice.pipeline, step, choice.mode)
    return [
        {"name": rule.name, "limit": rule.limit}
        for rule in read_alert_settings(settings.alerts, reading=True).rules
        if rule.kind == MAX.name and rule.metric == measure.name and rule.is_about(series)
    ]


def _pinned(
    history: Comparisons, choice: Choice, step: str | None, measure: Measure
) -> dict[str, Any] | None:
    """Return the pinned baseline of this series."""
    for row in history.baselines().to_dict("records"):
        name = row["step_name"] if isinstance(row["step_name"], str) else None
        of_series = (choice.pipeline, choice.mode, step, measure.name)
        if (row["pipeline"], row["mode"], name, row["metric"]) == of_series:
            return {"value": row["value"], "n": row["n"]}
    return None


def _alerts(
    history: Comparisons, choice: Choice, step: str | None, measure: Measure
) -> list[Mapping[Hashable, Any]]:
    """Return the alerts that are open on the measure of this series, also those for which others speak."""
    if history.is_lake:
        return []
    return [
        row
        for row in history.alerts(state="all").to_dict("records")
        if row["state"] in CURRENT_STATES
        and (row["pipeline"], row["mode"], row["metric"]) == (choice.pipeline, choice.mode, measure.name)
        and (row["step_name"] if isinstance(row["step_name"], str) else None) == step
    ]


def _with_count(choice: Choice) -> str:
    from perfdb.charts.style import period

    starts = choice.sessions["start_time"]
    if starts.empty:
        return choice.context
    return f"{choice.context}, {counted(len(starts), 'session')}, {period(starts.min(), starts.max())}"


def _compare(asked: Asked) -> Drawing:
    def compare(*args: Any, **kwargs: Any) -> Figure:
        from perfdb.charts.compare import compare as draw

        return draw(*args, **kwargs)

    history, session_ids, by, measure = asked.history, asked.session_ids, asked.by, asked.measure
    if by is None:
        if len(session_ids) not in (0, 2):
            raise UsageError("compare takes two sessions, A and B, or by= an attribute that makes two groups")
        pair = history.compare(*(session_ids or asked.pair()), measure=measure.name)
        first, second = side_by_side(
            history, lambda: history.session(pair.a), lambda: history.session(pair.b)
        )
        frame, of = pair.frame, inert(measure.words)
        context = f"the {of} of each step"
        if measure.is_duration:
            frame = frame.assign(a=frame["a_critical_s"], b=frame["b_critical_s"])
            of = "seconds on the critical path"
            context = "the steps by their seconds on the critical path, which add up to the total"
        return Drawing(
            pair.frame,
            lambda: compare(
                frame,
                name_a=_named(first),
                name_b=_named(second),
                title=_first_sentence(pair.sentence),
                context=context,
                of=of,
                measure=measure,
            ),
        )
    if session_ids:
        raise UsageError("compare takes two sessions, or by= an attribute; not both")
    last = 1_000 if asked.last is None else asked.last
    groups = history.compare(by=by, measure=measure.name, last=last, **asked.filters)
    frame = groups.frame.rename(
        columns={
            "a_n": "n_a",
            "b_n": "n_b",
            "a_median": "a",
            "b_median": "b",
        }
    )
    from perfdb.analysis.compare import kind_of_sentence

    pipeline, mode = kind_of_sentence(groups.frame)
    words = [inert(pipeline), mode_text(mode)]
    if groups.confounded:
        words.append(f"note: A and B also differ in {', '.join(map(inert, groups.confounded))}")
    drawn = (frame["pipeline"] == pipeline) & (frame["mode"] == mode)
    return Drawing(
        groups.frame[drawn],
        lambda: compare(
            frame[drawn],
            name_a=f"{by} = {_word(groups.a)}",
            name_b=f"{by} = {_word(groups.b)}",
            title=_first_sentence(groups.sentence),
            context=", ".join(word for word in words if word),
            of="median" if measure.is_duration else f"median {inert(measure.words)}",
            measure=measure,
        ),
    )


def _pareto(asked: Asked) -> Drawing:
    from perfdb.analysis.pareto import most_run

    by = asked.by or "model"
    measure = COST if asked.measure.is_duration else asked.measure
    last = 1_000 if asked.last is None else asked.last
    found = asked.history.pareto(by=by, step=asked.step, measure=measure.name, last=last, **asked.filters)
    if found.empty and not asked.history.count(**asked.filters):
        return asked.nothing(found)

    def figure() -> Figure:
        from perfdb.charts.pareto import pareto

        return pareto(own, by=by, measure=measure, context=", ".join(word for word in words if word))

    if found.empty:
        own, words = found, list[str]()
        return Drawing(found, figure)
    own = most_run(found)
    words = [
        inert(own["pipeline"].iloc[0]),
        mode_text(own["mode"].iloc[0]),
        f"{counted(int(own['n'].sum()), 'run')} of the newest {last:,} sessions",
    ]
    return Drawing(own, figure)


def _first_sentence(text: str) -> str:
    """Return what a head line has room for."""
    return text.partition(". ")[0].rstrip(".")


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _named(session: Session) -> str:
    return ", ".join(part for part in (session.session_id, mode_text(session.mode)) if part)


CHARTS = {
    "trend": Chart("how long runs take, with p95, limits, alerts and changes (--step for one step)", _trend),
    "steps": Chart("how each session's time was spent", _steps),
    "bottlenecks": Chart("which steps delay the runs", _bottlenecks),
    "waterfall": Chart("one session (ID, or the last), with its critical path", _waterfall, True, False),
    "resources": Chart("CPU and memory of one session (ID, or the last)", _resources, True, False),
    "compare": Chart(
        "two sessions (A B, or the last two), or two groups (--by ATTRIBUTE)", _compare, of_sessions=True
    ),
    "pareto": Chart("seconds against money, per model (or --by ATTRIBUTE)", _pareto),
}
KINDS = tuple(CHARTS)
