"""What an alert is told with: its cause, its error, the attribute it switches with, the host it is of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perfdb.alerts.causes import as_details, cause_at, facts_before
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.settling import Change
from perfdb.analysis.error_kinds import without_ids
from perfdb.analysis.rules import kind_of
from perfdb.analysis.rules.base import bound_between
from perfdb.analysis.rules.change import CHANGE_RUNS
from perfdb.analysis.series import Series
from perfdb.measures import Measure, named
from perfdb.records import Alert
from perfdb.store.windows import (
    SessionRef,
    errors_since,
    hosts_since,
    last_error,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


AROUND = 100  # sessions on either side of a move that are asked for its cause: other writers wait meanwhile


def with_details(
    connection: Connection,
    session: SessionRef,
    windows: Sequence[Series],
    changes: Iterable[Change],
    settings: AlertSettings,
    longer: Callable[[], Sequence[Series]],
) -> list[Change]:
    """Return the changes with what explains them; it is looked for in the history.

    Args:
        connection: of any role.
        session: the one that ended.
        windows: what the rules looked at.
        changes: of alerts.
        settings: rules and measures.
        longer: reads windows that are long enough for the whole level before a move.
    """
    causes: dict[tuple[str, str], dict[str, Any]] = {}
    found: list[Change] = []
    for changed, events in changes:
        if events and kind_of(changed.kind).finds == "failures":
            changed = _with_error(connection, session, changed)
        if kind_of(changed.kind).finds == "modes" and not _BEGINNINGS.isdisjoint(events):
            changed = _with_switch(connection, session, windows, changed)
        if kind_of(changed.kind).by_change_points and not _BEGINNINGS.isdisjoint(events):
            changed = _with_levels(longer(), changed)
        if kind_of(changed.kind).finds in ("level", "loss") and not _BEGINNINGS.isdisjoint(events):
            measure = named(changed.metric, settings.measures)
            changed = _with_cause(connection, changed, measure, causes)
        if kind_of(changed.kind).finds == "level" and not {"fired", *_BEGINNINGS}.isdisjoint(events):
            changed = _with_everything(connection, session, windows, changed)
        found.append((changed, events))
    return found


def _with_error(connection: Connection, session: SessionRef, alert: Alert) -> Alert:
    error = last_error(connection, session, alert.step_name)
    if not error:
        return alert
    said = [
        without_ids(each) for each in errors_since(connection, session, alert.step_name, alert.since_time)
    ]
    alike = {"failures": len(said), "failures_alike": said.count(without_ids(error))}
    return replace(alert, details={**alert.details, "error": error[:200], **alike})


_BEGINNINGS = {"opened", "opened pending", "opened historic", "opened again", "moved"}


def _with_levels(windows: Sequence[Series], alert: Alert) -> Alert:
    """Return the alert with the levels on both sides of its move, as `regressions` tells them.

    Its rule looks at a few runs; where all of the level before show no move, its own figures stay.
    """
    from perfdb.analysis.regressions import move_at_run

    of_alert = alert.step_name, alert.metric
    found = next((each for each in windows if (each.step_name, each.metric) == of_alert), None)
    if found is None:  # its sessions were deleted meanwhile
        return alert
    runs, _ = found.good.per_session()
    move = move_at_run(runs, runs.place_of(alert.since_time), better=alert.direction == "down")
    if move is None or not move.lasts:
        return alert
    change, details = move.change, dict(alert.details)
    if change.without_wave:
        details["in_wave"] = True
    return replace(
        alert,
        value=change.after_median,
        baseline=change.before_median,
        effect=change.effect_percent,
        bound=bound_between(change.before_median, change.after_median)
        if alert.direction == "up"
        else alert.bound,
        n=change.after_n,
        baseline_n=change.before_n,
        details=details,
    )


def _with_cause(
    connection: Connection,
    alert: Alert,
    measure: Measure,
    known: dict[tuple[str, str], dict[str, Any]],
) -> Alert:
    """Return the alert with what explains its move; steps and total that moved together share it."""
    key = alert.metric, alert.since_session_id
    if key not in known:
        cause = cause_at(
            connection, alert.pipeline, alert.mode, alert.since_time, most=AROUND, measure=measure
        )
        known[key] = {} if cause is None else {"cause": as_details(cause)}
    return replace(alert, details={**alert.details, **known[key]})


def _with_switch(
    connection: Connection, session: SessionRef, windows: Sequence[Series], alert: Alert
) -> Alert:
    """Return the alert with the attribute that tells at which of its two levels a run is, if one does."""
    from perfdb.analysis.modes import by_words, explained_by

    window = next(
        each for each in windows if (each.step_name, each.metric) == (alert.step_name, alert.metric)
    ).good
    levels = dict(zip(window.session_ids, window.values, strict=True))
    facts = facts_before(connection, session.pipeline, session.mode, session.start_time, CHANGE_RUNS)
    by = explained_by(levels, facts, alert.step_name)
    if by is None:
        return alert
    return replace(alert, details={**alert.details, "switches_with": by_words(by)})


def _with_everything(
    connection: Connection, session: SessionRef, windows: Sequence[Series], alert: Alert
) -> Alert:
    """Return the alert with the host on which every step moved by about as much, where that is so."""
    if alert.metric != "duration" or alert.direction != "up":
        return alert
    from perfdb.analysis.regressions import moved_everywhere

    everywhere = moved_everywhere(windows, alert.since_time)
    if everywhere is None:
        return replace(alert, details={k: v for k, v in alert.details.items() if k != "everything"})
    hosts = hosts_since(connection, session, alert.since_time)
    told = {"effect": everywhere[0], "steps": everywhere[1], "host": hosts.pop() if len(hosts) == 1 else None}
    return replace(alert, details={**alert.details, "everything": told})
