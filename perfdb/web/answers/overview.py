"""Health now: what runs, what fires, and every step beside its past."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from perfdb.analysis.levels import robust_sd
from perfdb.analysis.rules import kind_of
from perfdb.analysis.rules.base import MEDIAN_ERROR
from perfdb.analysis.series import PERCENTILES, Series, SeriesName, percentile
from perfdb.analysis.trend_view import kept_places
from perfdb.filters import DAY_S, moment_of
from perfdb.history.access import side_by_side
from perfdb.history.names import require_names
from perfdb.measures import named
from perfdb.records import Alert
from perfdb.store import browsing
from perfdb.store.alerts import Baseline, accepted_baselines, open_count, read_alerts
from perfdb.store.baselines import Pin, pinned
from perfdb.store.buckets import Together, percentiles_of_each
from perfdb.store.long_series import long_kind
from perfdb.store.series import USUAL_OF, days_of_each, last_runs, runs_of_series, usual_seconds
from perfdb.store.spending import spending, spent_by
from perfdb.store.together import for_each, together, when_needed
from perfdb.vocabulary import FIRING, RUNNING
from perfdb.web.answers.alerts import open_alerts
from perfdb.web.health import MOST_OPEN, STATES, state_of
from perfdb.web.queries import OverviewQuery
from perfdb.web.schemas import (
    AlertRow,
    Live,
    OpenStep,
    Overview,
    PipelineNow,
    RunningSession,
    SeriesNow,
    SessionRow,
    SpendingRow,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.records import Session
    from perfdb.web.served import ServedHistory

_NOTHING: dict[str, float] = {}
MOST_RUNNING = 20
NEWEST = 10
LAST = 200  # sessions behind the figures of a series
RECENT = USUAL_OF  # of which so many are now, and the others the past
LEAST_PAST = 10  # sessions
FAR_PERCENT = 15.0  # from the past: so far may be the hour of the day
VERY_NEWEST = 5  # runs that tell whether it still is so
CLEAR_ERRORS = 3.0  # standard errors of a difference of medians: many series are looked at
SPARKS = 60
MOST_KINDS = 12  # pipelines and modes
MOST_ASKED = 1_000  # of which they are chosen
MOST_IN_WINDOW = 100_000  # sessions of each
MOST_STEPS_IN_WINDOW = 400_000
MOST_READ = 2_000  # sessions of each in a window: of more its days tell
MOST_A_DAY = 100_000  # sessions that are counted
COST = named("cost_usd", {})
MOST_SERIES = 40  # per pipeline and mode


@dataclass(frozen=True, slots=True)
class Window:
    """Which runs are now: those between two moments, or so many of the newest; the others are the past."""

    since: float | None = None
    until: float | None = None
    last: int | None = None

    @property
    def is_usual(self) -> bool:
        """Whether nobody asked for other runs than the newest."""
        return self == Window()


@dataclass(frozen=True, slots=True)
class LongRuns:
    """The runs of a series in a window that has too many to read them: its days, and the newest ones."""

    pipeline: str
    step_name: str | None
    mode: str
    days: dict[int, Together]
    newest: Series

    @property
    def name(self) -> SeriesName:
        """Whose runs they are."""
        return SeriesName(self.pipeline, self.step_name, self.mode)

    def __len__(self) -> int:
        return sum(each.n + each.failures for each in self.days.values())


@dataclass(frozen=True, slots=True)
class _Beside:
    """A series as it is now, with the runs behind that.

    Attributes:
        past: the runs that count before them; accepted: of which only those since then do.
        recent: how many of the newest are now; None: all of them.
    """

    now: SeriesNow
    runs: Series | LongRuns
    past: Series
    accepted: Baseline | None
    recent: int | None

    @property
    def older(self) -> Series:
        """The runs that make the past."""
        return (
            self.past
            if self.accepted is None
            else self.past.between(self.past.place_of(self.accepted.since_time))
        )

    @property
    def newest(self) -> Series:
        """The runs that are now, of those that are known one by one."""
        good = (self.runs.newest if isinstance(self.runs, LongRuns) else self.runs).good
        return good.between(max(0, len(good) - self.recent) if self.recent else 0)


_ANY = Window()


def live(
    history: ServedHistory, version: int = 0, query: OverviewQuery | None = None, window: Window = _ANY
) -> Live:
    """Return what moves: running sessions, the newest of the window that ended, how many alerts fire."""
    pipeline, mode = (None, None) if query is None else (query.pipeline, query.mode)

    def of_running() -> tuple[list[Session], dict[tuple[str, str], dict[str | None, float]]]:
        with history.reading() as connection:
            if connection is None:
                return [], {}
            found = browsing.running_sessions(connection, most=MOST_RUNNING)
            found = [
                each for each in found if pipeline in (None, each.pipeline) and mode in (None, each.mode)
            ]
            kinds = list({(session.pipeline, session.mode) for session in found})
            usual = for_each(connection, lambda kind: usual_seconds(connection, *kind), kinds)
            return found, dict(zip(kinds, usual, strict=True))

    def of_ended() -> list[SessionRow]:
        with history.reading() as connection:
            if connection is None:
                return []
            begun = {"since": window.since, "until": window.until}
            return session_rows(connection, _newest(connection, pipeline=pipeline, mode=mode, **begun))

    def of_alerts() -> tuple[int, int | None]:
        with history.reading() as connection:
            return (0, None) if connection is None else open_count(connection)

    (running, usual), newest, (firing, newest_id) = side_by_side(history, of_running, of_ended, of_alerts)
    return Live(
        version=version,
        now=time.time(),
        running=[_running(session, usual[session.pipeline, session.mode]) for session in running],
        sessions=newest,
        firing=firing,
        newest_alert_id=newest_id,
    )


def overview(
    history: ServedHistory,
    query: OverviewQuery | None = None,
    version: int = 0,
    *,
    counts: bool = True,
    spends: bool = True,
) -> Overview:
    """Return the first page; without ``counts`` nobody asks how many sessions there are, which reads all.

    Without ``spends`` nobody asks what they cost.

    Raises:
        NotFoundError: nothing was ever recorded under the pipeline's name.
    """
    query = OverviewQuery.model_validate({}) if query is None else query
    require_names(history, pipeline=query.pipeline, mode=query.mode)
    since, until = (
        None if each is None else moment_of(each, zone=UTC) for each in (query.since, query.until)
    )
    window = Window(since, until, query.last)
    alerts = open_alerts(history, query.pipeline, query.mode)

    def asked(read: Callable[[Connection], Any], nothing: Any) -> Any:
        with history.reading() as connection:
            return nothing if connection is None else read(connection)

    count, (series, pipelines), spent, now = side_by_side(
        history,
        lambda: asked(lambda connection: browsing.count_all(connection) if counts else 0, 0),
        lambda: asked(lambda connection: _all_series(connection, alerts, query, window, spends), ([], [])),
        lambda: asked(lambda connection: spending(connection, time.time()) if spends else [], []),
        lambda: live(history, version, query, window),
    )
    return Overview(
        live=now,
        database=history.database,
        session_count=count,
        series=series,
        pipelines=sorted(pipelines, key=_how_bad),
        alerts=[AlertRow.from_records(each) for each in alerts],
        spending=[
            SpendingRow(**asdict(each))
            for each in spent
            if query.pipeline in (None, each.pipeline) and query.mode in (None, each.mode)
        ],
    )


def _how_bad(row: PipelineNow) -> tuple[int, float]:
    much = row.failed_percent if row.state == "failing" else row.change_percent
    return STATES.index(row.state), -(much or 0.0)


def session_rows(
    connection: Connection,
    sessions: Sequence[Session],
    usual: Mapping[tuple[str, str], float | None] | None = None,
) -> list[SessionRow]:
    """Return sessions as a list has them, with what they cost; ``usual`` has seconds by pipeline and mode."""
    spent = spent_by(connection, [session.session_id for session in sessions])
    return [row_of(each, spent, (usual or {}).get((each.pipeline, each.mode))) for each in sessions]


def row_of(
    session: Session, spent: Mapping[str, Mapping[str, float]], usual_s: float | None = None
) -> SessionRow:
    """Return a session as a list has it, with what it cost."""
    return SessionRow.from_records(session, usual_s=usual_s, **spent.get(session.session_id, _NOTHING))


def _newest(connection: Connection, **filters: Any) -> list[Session]:
    page = browsing.session_page(connection, limit=NEWEST + MOST_RUNNING, **filters)
    return [session for session in page.sessions if session.status != RUNNING][:NEWEST]


def _running(session: Session, usual: dict[str | None, float]) -> RunningSession:
    return RunningSession.from_records(
        session,
        usual_s=usual.get(None),
        steps_done=sum(step.duration is not None for step in session.steps),
        open_steps=[
            OpenStep.from_records(step, usual_s=usual.get(step.step_name))
            for step in session.steps
            if step.duration is None
        ],
    )


def _all_series(
    connection: Connection, alerts: list[Alert], query: OverviewQuery, window: Window, spends: bool
) -> tuple[list[SeriesNow], list[PipelineNow]]:
    firing, all_pins, recent = together(
        connection,
        lambda: read_alerts(connection, FIRING, pipeline=query.pipeline, mode=query.mode, limit=MOST_OPEN),
        lambda: pinned(connection),
        lambda: browsing.total_series(connection, most=MOST_ASKED),
    )
    comparing = [*alerts, *(alert for alert in firing if alert.inhibited_by is not None)]
    comparing.sort(key=lambda alert: kind_of(alert.kind).finds == "drift")  # least of all says where it began
    opened, moved = (
        {
            (alert.pipeline, alert.mode, alert.step_name): alert
            for alert in reversed(those)
            if alert.metric == "duration" and (kind_of(alert.kind).compares or not levels)
        }
        # a rate of failures is no baseline of seconds; another alert may speak for the one that has it
        for levels, those in ((False, alerts), (True, comparing))
    )
    pins = {(pin.pipeline, pin.mode, pin.step_name): pin for pin in all_pins if pin.metric == "duration"}
    found: list[SeriesNow] = []
    pipelines: list[PipelineNow] = []
    rows = [AlertRow.from_records(each) for each in alerts]
    kinds = [kind for kind in recent if query.pipeline in (None, kind[1]) and query.mode in (None, kind[2])]

    def read(kind: tuple[int, str, str]) -> list[Any]:
        number, pipeline, mode = kind
        return together(
            connection,
            lambda: accepted_baselines(connection, pipeline, mode),
            lambda: _now_and_before(connection, kind, window),
            lambda: (
                runs_of_series(
                    connection, pipeline, None, mode, last=RECENT, until=window.until, measure=COST
                )
                if spends
                else Series(pipeline, None, mode)
            ),
            lambda: browsing.runs_of_newest_day(connection, number, most=MOST_A_DAY),
        )

    shown = kinds[:MOST_KINDS]
    read_of = for_each(connection, read, shown)
    beside: list[list[_Beside]] = []
    for (_, pipeline, mode), (accepted, of_kind, _, _) in zip(shown, read_of, strict=True):
        total, steps = of_kind[:1], of_kind[1:]
        steps.sort(key=lambda pair: -_seconds(pair[0]))
        own: list[_Beside] = []
        for runs, past in [*total, *steps][:MOST_SERIES]:
            name = (pipeline, mode, runs.step_name)
            since = accepted.get((runs.step_name, "duration"))
            usual = _baseline(past, pins.get(name), moved.get(name), since)
            recent = RECENT if window.is_usual else None
            if isinstance(runs, LongRuns):
                now = _long_now(runs, usual, opened.get(name))
            else:
                now = _series_now(runs, usual, opened.get(name), recent, _began(moved.get(name), usual))
            own.append(_Beside(now, runs, past.good, since, recent))
        beside.append(own)
    calm = _without_waves(connection, [each for own in beside for each in own])
    for (_, pipeline, mode), (_, of_kind, costs, a_day), own in zip(shown, read_of, beside, strict=True):
        rows_now = [_beside_chance(each, calm.get(each.runs.name, each.now)) for each in own]
        found += rows_now
        if rows_now:
            of_kind_alerts = [each for each in rows if (each.pipeline, each.mode) == (pipeline, mode)]
            pipelines.append(_pipeline_now(of_kind[0][0], rows_now, of_kind_alerts, costs, window, a_day))
    return found, pipelines


def _pipeline_now(
    total: Series | LongRuns,
    own: Sequence[SeriesNow],
    alerts: Sequence[AlertRow],
    costs: Series,
    window: Window,
    a_day: int | None,
) -> PipelineNow:
    first = own[0]
    state, why = state_of(own, alerts)
    return PipelineNow.from_records(
        first,
        state=state,
        why=why,
        failed_percent=100 * first.failures / first.runs if first.runs else None,
        runs_per_day=_runs_per_day(total, window, a_day),
        cost_usd=fmean(costs.good.values) if costs.good.values else None,
        alerts=len(alerts),
    )


def _runs_per_day(runs: Series | LongRuns, window: Window, a_day: int | None) -> float | None:
    """Return how often it runs: over the window, or else from the first of these runs to the last.

    Where that is less than a day it is what ran in its newest day, and None where it has none yet: an hour
    does not say what a day will hold.
    """
    if window.since:
        span, n = (time.time() if window.until is None else window.until) - window.since, len(runs)
    elif isinstance(runs, LongRuns):
        span, n = DAY_S * (1.0 + max(runs.days) - min(runs.days)), len(runs)
    else:
        starts = runs.start_times
        span, n = starts[-1] - starts[0] if starts else 0.0, len(starts) - 1
    if span >= DAY_S:
        return DAY_S * n / span
    return a_day if window.is_usual else None


def _now_and_before(
    connection: Connection, kind: tuple[int, str, str], window: Window
) -> list[tuple[Series | LongRuns, Series]]:
    """Return the runs of a total's series and of its steps, each with those before them, the total first."""
    number, pipeline, mode = kind
    if window.is_usual:
        found = last_runs(connection, number, last=LAST)
        return [(runs, _but_newest(runs, RECENT)) for runs in found]
    if window.since is not None and window.last is None:
        found_long = _long_runs(connection, kind, window.since, window.until)
        if found_long:
            return found_long
    now = last_runs(
        connection,
        number,
        last=window.last or MOST_IN_WINDOW,
        since=window.since,
        until=window.until,
        most_steps=MOST_STEPS_IN_WINDOW,
    )
    if not now:
        return []
    before = {
        runs.step_name: runs for runs in last_runs(connection, number, last=LAST, until=now[0].start_times[0])
    }
    nothing = Series(pipeline, None, mode)
    return [(runs, before.get(runs.step_name, nothing)) for runs in now]


def _long_runs(
    connection: Connection, kind: tuple[int, str, str], since: float, until: float | None
) -> list[tuple[Series | LongRuns, Series]]:
    """Return the same of a window with more runs than are read one by one, and nothing of another one.

    Where all runs were pruned their days are still known.
    """
    number, pipeline, mode = kind
    found, newest, before = together(
        connection,
        lambda: long_kind(connection, number, since, until, most=MOST_READ, most_series=MOST_SERIES + 1),
        lambda: when_needed(connection, lambda: last_runs(connection, number, last=RECENT, until=until)),
        lambda: when_needed(connection, lambda: last_runs(connection, number, last=LAST, until=since)),
    )
    if found is None:
        return []
    of_last, of_past = ({runs.step_name: runs for runs in each()} for each in (newest, before))
    nothing = Series(pipeline, None, mode)
    return [
        (
            LongRuns(pipeline, step_name, mode, days, of_last.get(step_name, nothing)),
            of_past.get(step_name, nothing),
        )
        for step_name, days in found.items()
        if days
    ]


def _seconds(runs: Series | LongRuns) -> float:
    """Return what a series takes, to put the costliest first."""
    if isinstance(runs, LongRuns):
        return sum(each.total for each in runs.days.values())
    return sum(runs.values[-RECENT:])


def _but_newest(runs: Series, count: int) -> Series:
    """Return the runs that count, without so many of the newest."""
    return runs.good.at(range(max(0, len(runs.good.values) - count)))


def _without_waves(connection: Connection, beside: Sequence[_Beside]) -> dict[SeriesName, SeriesNow]:
    """Return the series beside their past at the same hours, of those that the wave of the day sets apart."""
    from perfdb.analysis.course import calm_by_past, is_short

    short: list[tuple[_Beside, Series, list[float], list[float], int]] = []
    for each in beside:
        if isinstance(each.runs, LongRuns) or not _is_far(each.now):
            continue
        older, newest = each.older, each.newest
        starts = [*older.start_times, *newest.start_times]
        if is_short(starts):
            short.append((each, newest, starts, [*older.values, *newest.values], len(older)))
    days = days_of_each(connection, {newest.name: starts[-1] for _, newest, starts, _, _ in short})
    found: dict[SeriesName, SeriesNow] = {}
    for each, newest, starts, values, n in short:
        calm = calm_by_past(newest, starts, values, lambda name, _: days[name])
        p50 = each.now.p50
        if calm is None or p50 is None:
            continue
        usual = p50 * median(calm[:n].tolist()) / median(calm[n:].tolist())
        found[newest.name] = each.now.model_copy(
            update={"baseline": usual, "change_percent": 100 * (p50 - usual) / usual, "at_these_hours": True}
        )
    return found


def _beside_chance(beside: _Beside, now: SeriesNow) -> SeriesNow:
    """Return a series with whether its change is clear: of one point per session, as the rules have it.

    How far runs lie apart is that of both sides, and of the past alone where days tell of the window. Of what
    runs now a change is none that the very newest are back from.
    """
    if not _is_far(now):
        return now
    sides = [beside.older.per_session()[0].values]
    counts = [len(sides[0])]
    if isinstance(beside.runs, LongRuns):
        counts.append(now.n)
    else:
        sides.append(beside.newest.per_session()[0].values)
        counts.append(len(sides[1]))
    logs = [[math.log(value) for value in side if value > 0] for side in sides]
    if not all(counts) or any(len(side) < len(of) for side, of in zip(logs, sides, strict=True)):
        return now
    middles = [median(side) for side in logs]
    rests = [value - middle for side, middle in zip(logs, middles, strict=True) for value in side]
    error = MEDIAN_ERROR * robust_sd(np.asarray(rests)) * math.sqrt(sum(1 / count for count in counts))
    moved = abs(math.log1p((now.change_percent or 0.0) / 100))
    stays = beside.recent is None or now.at_these_hours or _stays(middles[0], logs[-1])
    return now.model_copy(update={"clear": stays and moved >= CLEAR_ERRORS * error})


def _stays(usual: float, newest: Sequence[float]) -> bool:
    """Say whether the very newest runs lie where the newest ones do, rather than where those before did."""
    latest = median(newest[-VERY_NEWEST:])
    return abs(latest - median(newest)) <= abs(latest - usual)


def _is_far(now: SeriesNow) -> bool:
    return now.baseline_of == "past" and abs(now.change_percent or 0.0) >= FAR_PERCENT


def _baseline(
    past: Series, pin: Pin | None, alert: Alert | None, accepted: Baseline | None
) -> tuple[Literal["pin", "alert", "past"], float, int] | None:
    """Return what the newest runs are held against: where from, seconds, of how many runs."""
    if pin is not None:
        return "pin", pin.value, pin.n
    if alert is not None and alert.baseline is not None:
        return "alert", alert.baseline, alert.baseline_n
    since = -math.inf if accepted is None else accepted.since_time
    good = past.good
    kept = good.between(good.place_of(since))
    enough = len(set(kept.session_ids)) >= LEAST_PAST
    return ("past", median(kept.values), len(kept)) if enough else None


def _began(alert: Alert | None, usual: tuple[str, float, int] | None) -> float | None:
    """Return when the move of an alert began, where its baseline is what the newest runs are held against."""
    return alert.since_time if alert is not None and usual is not None and usual[0] == "alert" else None


def _series_now(
    runs: Series,
    usual: tuple[Literal["pin", "alert", "past"], float, int] | None,
    alert: Alert | None,
    newest: int | None,
    began: float | None,
) -> SeriesNow:
    good = list(runs.good.values)
    recent = good if newest is None else good[-newest:]
    if newest is not None and began is not None:  # runs before the move are on the other side of it
        recent = good[runs.good.place_of(began) :][-newest:] or recent
    p50 = median(recent) if recent else None
    baseline = None if usual is None else usual[1]
    return SeriesNow(
        pipeline=runs.pipeline,
        step_name=runs.step_name,
        mode=runs.mode,
        n=len(recent),
        runs=len(runs.counted if newest is None else runs.counted[-newest:]),
        failures=sum(not counted for counted in (runs.counted if newest is None else runs.counted[-newest:])),
        p50=p50,
        p95=percentile(sorted(recent), "p95"),
        baseline=baseline,
        baseline_n=0 if usual is None else usual[2],
        baseline_of=None if usual is None else usual[0],
        change_percent=None if p50 is None or not baseline else 100 * (p50 - baseline) / baseline,
        last=good[-1] if good else None,
        last_time=runs.start_times[-1] if runs.start_times else None,
        sparkline=good[-SPARKS:]
        if newest is not None
        else [good[place] for place in kept_places(good, SPARKS)],
        alert_id=None if alert is None else alert.id,
    )


def _long_now(
    runs: LongRuns,
    usual: tuple[Literal["pin", "alert", "past"], float, int] | None,
    alert: Alert | None,
) -> SeriesNow:
    """Return the same of the days of a long window; its line is that of their medians."""
    whole = Together()
    for each in runs.days.values():
        whole.merge(each)
    p50, p95 = whole.percentiles([PERCENTILES["p50"], PERCENTILES["p95"]])
    baseline = None if usual is None else usual[1]
    medians = percentiles_of_each(runs.days.values(), [PERCENTILES["p50"]])
    line = [value for (value,) in medians if value is not None]
    good = runs.newest.good.values
    return SeriesNow(
        pipeline=runs.pipeline,
        step_name=runs.step_name,
        mode=runs.mode,
        n=whole.n,
        runs=whole.n + whole.failures,
        failures=whole.failures,
        p50=p50,
        p95=p95,
        baseline=baseline,
        baseline_n=0 if usual is None else usual[2],
        baseline_of=None if usual is None else usual[0],
        change_percent=None if p50 is None or not baseline else 100 * (p50 - baseline) / baseline,
        last=good[-1] if good else None,
        last_time=runs.newest.start_times[-1] if runs.newest.start_times else None,
        sparkline=[line[place] for place in kept_places(line, SPARKS)],
        alert_id=None if alert is None else alert.id,
    )
