"""Health now: what runs, what fires, and every step beside its past."""

from __future__ import annotations

import math
import time
from statistics import median
from typing import TYPE_CHECKING, Literal

from perfdb.alerts.triage import Triage
from perfdb.analysis.rules import kind_of
from perfdb.analysis.series import Past, Series, percentile
from perfdb.records import Alert
from perfdb.store import browsing
from perfdb.store.alerts import Baseline, accepted_baselines, read_alerts
from perfdb.store.baselines import Pin, pinned
from perfdb.store.series import USUAL_OF, days_before, last_runs, usual_seconds
from perfdb.vocabulary import FIRING, RUNNING
from perfdb.web.schemas import AlertRow, Live, OpenStep, Overview, RunningSession, SeriesNow, SessionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.records import Session
    from perfdb.web.served import ServedHistory

MOST_RUNNING = 20
NEWEST = 10
LAST = 200  # sessions behind the figures of a series
RECENT = USUAL_OF  # of which so many are now, and the others the past
LEAST_PAST = 10
FAR_PERCENT = 15.0  # from the past: so far may be the hour of the day
SPARKS = 60
MOST_KINDS = 12  # pipelines and modes
MOST_SERIES = 40  # per pipeline and mode


def live(history: ServedHistory, version: int = 0) -> Live:
    """Return what moves: running sessions, the newest that ended, how many alerts fire."""
    alerts = Triage(history).alerts()
    with history.reading() as connection:
        running = [] if connection is None else browsing.running_sessions(connection, most=MOST_RUNNING)
        newest = [] if connection is None else _newest(connection)
        kinds = {(session.pipeline, session.mode) for session in running}
        usual = {} if connection is None else {kind: usual_seconds(connection, *kind) for kind in kinds}
    return Live(
        version=version,
        now=time.time(),
        running=[_running(session, usual[session.pipeline, session.mode]) for session in running],
        sessions=[SessionRow.from_records(session) for session in newest],
        firing=sum(alert.state == FIRING for alert in alerts),
        newest_alert_id=max((alert.id for alert in alerts), default=None),
    )


def overview(history: ServedHistory, version: int = 0) -> Overview:
    """Return the first page."""
    alerts = Triage(history).alerts()
    with history.reading() as connection:
        count = 0 if connection is None else browsing.count_sessions(connection, most=0)[0]
        series = [] if connection is None else _all_series(connection, alerts)
    return Overview(
        live=live(history, version),
        database=history.database,
        session_count=count,
        series=series,
        alerts=[AlertRow.from_records(each) for each in alerts],
    )


def _newest(connection: Connection) -> list[Session]:
    page = browsing.session_page(connection, limit=NEWEST + MOST_RUNNING)
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


def _all_series(connection: Connection, alerts: list[Alert]) -> list[SeriesNow]:
    spoken_for = [alert for alert in read_alerts(connection, FIRING) if alert.inhibited_by is not None]
    opened, moved = (
        {
            (alert.pipeline, alert.mode, alert.step_name): alert
            for alert in reversed(those)
            if alert.metric == "duration" and (kind_of(alert.kind).compares or not levels)
        }
        # a rate of failures is no baseline of seconds; another alert may speak for the one that has it
        for levels, those in ((False, alerts), (True, [*alerts, *spoken_for]))
    )
    pins = {
        (pin.pipeline, pin.mode, pin.step_name): pin for pin in pinned(connection) if pin.metric == "duration"
    }
    found: list[SeriesNow] = []
    for number, pipeline, mode in browsing.total_series(connection, most=MOST_KINDS):
        of_kind = last_runs(connection, number, last=LAST)
        accepted = accepted_baselines(connection, pipeline, mode)
        total, steps = of_kind[:1], of_kind[1:]
        steps.sort(key=lambda runs: -sum(runs.values[-RECENT:]))
        for runs in [*total, *steps][:MOST_SERIES]:
            name = (pipeline, mode, runs.step_name)
            since = accepted.get((runs.step_name, "duration"))
            usual = _baseline(runs, pins.get(name), moved.get(name), since)
            now = _series_now(runs, usual, opened.get(name))
            if now.baseline_of == "past" and abs(now.change_percent or 0.0) >= FAR_PERCENT:
                now = _without_wave(now, runs.good, since, days_before(connection))
            found.append(now)
    return found


def _without_wave(now: SeriesNow, good: Series, accepted: Baseline | None, past: Past) -> SeriesNow:
    """Return a series beside its past at the same hours, where the wave of the day is what sets it apart."""
    from perfdb.analysis.trend_view import calm_by_past

    calm = calm_by_past(good, good.start_times, good.values, past)
    if calm is None or now.p50 is None:
        return now
    first = 0 if accepted is None else good.place_of(accepted.since_time)
    usual = now.p50 * median(calm[first:-RECENT].tolist()) / median(calm[-RECENT:].tolist())
    return now.model_copy(
        update={"baseline": usual, "change_percent": 100 * (now.p50 - usual) / usual, "at_these_hours": True}
    )


def _baseline(
    runs: Series, pin: Pin | None, alert: Alert | None, accepted: Baseline | None
) -> tuple[Literal["pin", "alert", "past"], float, int] | None:
    """Return what the newest runs are held against: where from, seconds, of how many runs."""
    if pin is not None:
        return "pin", pin.value, pin.n
    if alert is not None and alert.baseline is not None:
        return "alert", alert.baseline, alert.baseline_n
    since = -math.inf if accepted is None else accepted.since_time
    times = [start for start, counted in zip(runs.start_times, runs.counted, strict=True) if counted]
    past = [
        value for value, start in list(zip(_counted(runs), times, strict=True))[:-RECENT] if start >= since
    ]
    return ("past", median(past), len(past)) if len(past) >= LEAST_PAST else None


def _series_now(
    runs: Series,
    usual: tuple[Literal["pin", "alert", "past"], float, int] | None,
    alert: Alert | None,
) -> SeriesNow:
    good = _counted(runs)
    recent = good[-RECENT:]
    p50 = median(recent) if recent else None
    baseline = None if usual is None else usual[1]
    return SeriesNow(
        pipeline=runs.pipeline,
        step_name=runs.step_name,
        mode=runs.mode,
        n=len(recent),
        failures=sum(not counted for counted in runs.counted[-RECENT:]),
        p50=p50,
        p95=percentile(sorted(recent), "p95"),
        baseline=baseline,
        baseline_n=0 if usual is None else usual[2],
        baseline_of=None if usual is None else usual[0],
        change_percent=None if p50 is None or not baseline else 100 * (p50 - baseline) / baseline,
        last=good[-1] if good else None,
        last_time=runs.start_times[-1] if runs.start_times else None,
        sparkline=good[-SPARKS:],
        alert_id=None if alert is None else alert.id,
    )


def _counted(runs: Series) -> list[float]:
    return [value for value, counted in zip(runs.values, runs.counted, strict=True) if counted]
