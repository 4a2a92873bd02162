"""Apply all rules after a session, or to one that still runs, in the caller's transaction.

Reads the windows, asks the rules, moves the alerts on, puts one digest per channel into the outbox. The
caller commits; nothing here waits, sends or calls back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING

from perfdb.alerts.config import AlertSettings
from perfdb.alerts.details import with_details
from perfdb.alerts.digests import due_of, put_digests, source_of
from perfdb.alerts.lifecycle import Seen, advance, remove_unruled
from perfdb.alerts.settling import Change, Outcome, settle
from perfdb.alerts.verdicts import (
    SeriesVerdict,
    evaluate_rules,
    fingerprint,
    pins_of,
    values_for,
    windows_of,
    with_accepted,
)
from perfdb.analysis.rules import Rule, evaluate, kind_of
from perfdb.analysis.rules.base import SAME_CHANGE, percent_over
from perfdb.analysis.rules.change import CHANGE_POINT
from perfdb.analysis.rules.limits import MAX
from perfdb.analysis.series import Series, SeriesName
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.baselines import Pin
from perfdb.store.windows import (
    SessionRef,
    find_session_ref,
)
from perfdb.vocabulary import EXPECTED, FALSE_ALARM

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_OPENED = 100  # by one session; more say nothing that these do not
WAVE_RUNS = 1_500  # in which a wave of the day is looked for, where a level seems to have moved
LEAST_NEW = 20  # old sessions of one pipeline and mode that make a history: of fewer the newest is evaluated
LOCATE_AGAIN = (10, 20, 40)  # runs since the move, after which it is placed more exactly


def after_session(
    connection: Connection, session_id: str, settings: AlertSettings, now: float, *, historic: bool = False
) -> Outcome:
    """Evaluate the rules on a session that has ended, all in one transaction.

    Args:
        connection: in a writer's transaction.
        session_id: a session that is in the database.
        settings: rules and channels.
        now: epoch s.
        historic: it is old data: its alerts are ``historic``, and nobody is notified.
    """
    store.take_turn(connection)
    found = look_at_session(connection, session_id, settings, now, historic=historic)
    return Outcome() if found is None else _settle_found(connection, found, settings, now)


def settle_session(
    connection: Connection, found: Findings, settings: AlertSettings, now: float
) -> Outcome | None:
    """Write what ``look_at_session`` found; None, and nothing, when that rests on what others changed since.

    Other writers wait for this transaction: what takes long was done before it began.
    """
    store.take_turn(connection)
    session = found.session
    if (
        find_session_ref(connection, session.session_id) != session
        or _said_of(connection, session.pipeline, session.mode) != found.said
    ):
        return None
    return _settle_found(connection, found, settings, now)


@dataclass(frozen=True, slots=True)
class _Said:
    """What people and earlier verdicts said of a pipeline and mode."""

    active: Mapping[int, Alert]
    accepted: Mapping[tuple[str | None, str], store.Baseline]
    pins: Mapping[tuple[str | None, str], Pin]


def _said_of(connection: Connection, pipeline: str, mode: str) -> _Said:
    return _Said(
        {alert.id: alert for alert in store.active_alerts(connection, pipeline, mode)},
        store.accepted_baselines(connection, pipeline, mode),
        pins_of(connection, pipeline, mode),
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """What the rules say of a session, before anything is written."""

    session: SessionRef
    said: _Said
    total: Series
    changes: Sequence[Change]
    historic: bool


def look_at_session(
    connection: Connection, session_id: str, settings: AlertSettings, now: float, *, historic: bool = False
) -> Findings | None:
    """Return what the rules say of a session, with what explains it; None when that changes nothing.

    After most sessions it does not; the lock that every writer waits for is not taken for those.

    Args:
        connection: of any role; nothing is written.
        session_id: a session that is in the database.
        settings: rules and channels.
        now: epoch s.
        historic: see ``after_session``.
    """
    session = find_session_ref(connection, session_id)
    if session is None:
        return None
    said = _said_of(connection, session.pipeline, session.mode)
    active = list(said.active.values())
    rules = settings.rules_for(metric for _, metric in said.pins)
    windows = windows_of(connection, session, rules)
    if not windows:
        return None
    by_fingerprint = {fingerprint(alert): alert for alert in active}
    changes: list[Change] = []
    opened = 0
    longer = cache(lambda: windows_of(connection, session, rules, most=WAVE_RUNS))
    for found in evaluate_rules(
        session, windows, rules, said.accepted, by_fingerprint, said.pins, longer=longer
    ):
        key = (found.rule.name, found.window.step_name, found.rule.metric, found.rule.direction)
        alert = by_fingerprint.get(key)
        moved, events = advance(alert, found.rule, found.verdict, _seen(session, found, alert, now, historic))
        if moved is None or moved == alert:
            continue
        if found.verdict.in_wave and not moved.details.get("in_wave"):
            moved = replace(moved, details={**moved.details, "in_wave": True})
        pin = said.pins.get((moved.step_name, moved.metric))
        if pin is not None and kind_of(moved.kind).finds == "level":
            moved = replace(moved, details={**moved.details, "pinned": {"value": pin.value, "n": pin.n}})
            if moved == alert:
                continue
        if "confirmed" in events and moved.n in LOCATE_AGAIN:
            baseline = said.accepted.get((moved.step_name, moved.metric))
            moved, events = _located_again(moved, events, found, baseline)
        if alert is None:
            opened += 1
            if opened > MOST_OPENED or _was_decided(moved, active, windows[0]):
                continue
        changes.append((moved, events))
    if not changes and not remove_unruled(active, (rule.name for rule in settings.rules), now):
        return None
    explained = with_details(connection, session, windows, changes, settings, longer)
    return Findings(session, said, windows[0], explained, historic)


def _settle_found(connection: Connection, found: Findings, settings: AlertSettings, now: float) -> Outcome:
    active = list(found.said.active.values())
    return settle(
        connection, found.session, settings, active, found.changes, found.total, now, found.historic
    )


def while_running(
    connection: Connection,
    session_id: str,
    elapsed: Mapping[str | None, float],
    settings: AlertSettings,
    now: float,
) -> Outcome:
    """Evaluate the ``max`` rules on durations on a session that still runs.

    Args:
        connection: in a writer's transaction.
        session_id: a session that is in the database.
        elapsed: seconds so far per step name of the open steps; None is the session.
        settings: rules and channels.
        now: epoch s.
    """
    session = find_session_ref(connection, session_id)
    if session is None:
        return Outcome()
    store.take_turn(connection)
    active = store.active_alerts(connection, session.pipeline, session.mode)
    accepted = store.accepted_baselines(connection, session.pipeline, session.mode)
    by_fingerprint = {fingerprint(alert): alert for alert in active}
    changes: list[Change] = []
    for rule in rules_for_running(settings.rules, session.pipeline, session.mode):
        for step_name, seconds in elapsed.items():
            if not rule.is_about(SeriesName(session.pipeline, step_name, session.mode)):
                continue
            fitted = with_accepted(rule, accepted.get((step_name, rule.metric)))
            alert = by_fingerprint.get((rule.name, step_name, rule.metric, rule.direction))
            verdict = evaluate(fitted, [seconds])
            if verdict.hit:
                window = Series(
                    session.pipeline,
                    step_name,
                    session.mode,
                    session_ids=[session_id],
                    start_times=[session.start_time],
                )
                found = SeriesVerdict(rule, window, [0], verdict)
                seen = replace(_seen(session, found, alert, now, False), running=True)
                moved, events = advance(alert, rule, verdict, seen)
                if moved is not None and moved != alert:
                    changes.append((moved, events))
    return settle(connection, session, settings, active, changes, None, now, False)


def after_silence(connection: Connection, settings: AlertSettings, now: float) -> Outcome:
    """Notify of alerts that still fire after the silence in which they were last seen.

    Args:
        connection: in a writer's transaction.
        settings: rules and channels.
        now: epoch s.
    """
    store.take_turn(connection)
    fired: list[Alert] = []
    put = 0
    heard = [replace(alert, silenced=False) for alert in store.no_longer_silenced(connection, now)]
    for source, alerts in groupby(sorted(heard, key=source_of), key=source_of):
        known = {alert.id: alert for alert in alerts}
        due = due_of([alert for alert in known.values() if not alert.good], settings, now)
        put += put_digests(connection, source, settings.channels, due, (), now)
        for alert in due:
            store.add_event(connection, alert.id, "silence ended", now)
            known[alert.id] = replace(alert, notified_at=now, notified_severity=alert.severity)
            fired.append(known[alert.id])
        for alert in known.values():
            store.save_alert(connection, alert)
    return Outcome(tuple(fired), messages=put)


def rules_for_running(rules: Iterable[Rule], pipeline: str, mode: str) -> list[Rule]:
    """Return the rules that can be broken before a step has ended."""
    return [
        rule
        for rule in rules
        if rule.kind == MAX.name and rule.metric == "duration" and rule.is_of(pipeline, mode)
    ]


def lowest_limits(rules: Iterable[Rule], pipeline: str, mode: str) -> dict[str | None, float]:
    """Return the lowest limit that can be broken while running, per step name; see ``Rule.step``."""
    limits: dict[str | None, float] = {}
    for rule in rules_for_running(rules, pipeline, mode):
        if rule.limit is not None:
            limits[rule.step] = min(rule.limit, limits.get(rule.step, rule.limit))
    return limits


def _seen(session: SessionRef, found: SeriesVerdict, alert: Alert | None, now: float, historic: bool) -> Seen:
    window = found.window
    at = found.sessions[min(found.verdict.since, len(found.sessions) - 1)]
    distance = None
    if alert is not None and alert.since_session_id in window.session_ids:
        distance = abs(window.session_ids.index(alert.since_session_id) - at)
    return Seen(
        session_id=session.session_id,
        start_time=session.start_time,
        now=now,
        pipeline=session.pipeline,
        step_name=window.step_name,
        mode=session.mode,
        since_session_id=window.session_ids[at],
        since_time=window.start_times[at],
        distance=distance,
        historic=historic,
    )


def _located_again(
    alert: Alert, events: tuple[str, ...], found: SeriesVerdict, baseline: store.Baseline | None
) -> Change:
    """Return the alert since the session where its level is seen to have moved now that more runs are known.

    Within 5 sessions it is the same move; what lies further away is another one and has its own alert.
    """
    if not kind_of(alert.kind).by_change_points:
        return alert, events
    from perfdb.analysis.change_points import find_change_points

    window = found.window
    if alert.since_session_id not in window.session_ids:
        return alert, events
    values, places = values_for(replace(found.rule, kind=CHANGE_POINT.name), window, baseline)
    at = window.session_ids.index(alert.since_session_id)
    worse = 1 if alert.direction == "up" else -1
    near = [
        places[change.index]
        for change in find_change_points(values)
        if worse * change.effect_percent > 0 and abs(places[change.index] - at) <= SAME_CHANGE
    ]
    place = min(near, key=lambda each: abs(each - at), default=at)
    if place == at:
        return alert, events
    first = places.index(place)
    before, since = places[max(0, first - alert.baseline_n) : first], places[first:]
    level = median(window.values[each] for each in since)
    old = median(window.values[each] for each in before) if before else alert.baseline
    moved = replace(
        alert,
        since_session_id=window.session_ids[place],
        since_time=window.start_times[place],
        value=level,
        baseline=old,
        n=len(since),
        effect=percent_over(level, old),
    )
    return moved, (*events, "moved")


def _was_decided(alert: Alert, active: Iterable[Alert], total: Series) -> bool:
    """Say whether a person has just decided about this move, as another rule saw it."""
    at = bisect_left(total.start_times, alert.since_time)
    return any(
        each.state in (EXPECTED, FALSE_ALARM)
        and (each.step_name, each.metric, each.direction) == (alert.step_name, alert.metric, alert.direction)
        and abs(bisect_left(total.start_times, each.since_time) - at) <= SAME_CHANGE
        for each in active
    )
