"""Alerts: the list, one in full, and what a person decides about it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING

from perfdb.alerts.messages import sum_text
from perfdb.analysis.rules import kind_of
from perfdb.filters import moment_of
from perfdb.history.names import require_names
from perfdb.store.alerts import (
    Silence,
    count_silences,
    firing_now,
    read_alerts,
    silences_in_force,
    state_counts,
)
from perfdb.store.browsing import Key
from perfdb.vocabulary import HISTORIC, SEVERITIES
from perfdb.web.health import MOST_OPEN
from perfdb.web.queries import AlertsQuery, CompareQuery, key_of, text_of_key
from perfdb.web.schemas import AlertAnswer, AlertPage, AlertRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.records import Alert
    from perfdb.web.served import ServedHistory


def open_alerts(history: ServedHistory, pipeline: str | None = None, mode: str | None = None) -> list[Alert]:
    """Return the alerts that are open, the gravest first, then the newest; at most ``MOST_OPEN``."""
    with history.reading() as connection:
        if connection is None:
            return []
        return read_alerts(connection, pipeline=pipeline, mode=mode, limit=MOST_OPEN)


def firing_by_rule(history: ServedHistory) -> Counter[tuple[str, str]]:
    """Return how many alerts fire and are not silenced, by rule and severity."""
    with history.reading() as connection:
        return Counter() if connection is None else firing_now(connection, time.time())


MOST_EVENTS = 500  # of an alert, and alerts that it speaks for
MOST_SILENCES = 100  # that are shown
MOST_MOVES = 100  # historic alerts that are read for a page
SAME_S = 3_600.0  # so near lie the moments of one change in several pipelines and modes


@dataclass(frozen=True, slots=True)
class Move:
    """A move of the past: the alert that speaks for it, and steps that moved with it, the most first."""

    alert: AlertRow
    steps: Sequence[AlertRow]


def moves(history: ServedHistory, pipeline: str | None = None, mode: str | None = None) -> list[Move]:
    """Return what was found in runs of the past and still is so, the newest first."""
    with history.reading() as connection:
        if connection is None:
            return []
        found = read_alerts(connection, HISTORIC, pipeline=pipeline, mode=mode, limit=MOST_MOVES)
    found.sort(key=lambda each: -(each.effect or 0.0))
    steps: dict[int | None, list[AlertRow]] = {}
    for each in found:
        if each.step_name is not None:
            steps.setdefault(each.inhibited_by, []).append(AlertRow.from_records(each))
    speaking = [each for each in found if each.inhibited_by is None and each.severity != SEVERITIES[0]]
    speaking.sort(key=lambda each: (-each.since_time, -each.id))
    return [Move(AlertRow.from_records(each), steps.get(each.id, [])) for each in speaking]


def of_the_same_moment(history: ServedHistory, query: CompareQuery) -> list[AlertRow]:
    """Return what alerts say of a move where two periods meet, those that speak for others first."""
    at = None if query.split is None else moment_of(query.split, zone=UTC)
    with history.reading() as connection:
        if connection is None or at is None:
            return []
        found = read_alerts(
            connection,
            "all",
            pipeline=query.pipeline,
            mode=query.mode,
            since=at - SAME_S,
            until=at + SAME_S,
            limit=MOST_MOVES,
        )
    measure = query.measure or "duration"
    rows = [
        AlertRow.from_records(each)
        for each in found
        if each.metric == measure
        and kind_of(each.kind).by_change_points
        and abs(each.since_time - at) < SAME_S
    ]
    return sorted(rows, key=lambda each: (each.inhibited_by is not None, -abs(each.effect or 0.0)))


def alert_page(history: ServedHistory, query: AlertsQuery) -> AlertPage:
    """Return a page of alerts, the newest first, with how many there are in each state.

    Raises:
        NotFoundError: nothing was ever recorded under the pipeline's name.
    """
    require_names(history, pipeline=query.pipeline, mode=query.mode)
    after = None if query.after is None else key_of(query.after)
    with history.reading() as connection:
        if connection is None:
            return AlertPage(rows=[], after=None, counts={}, silences=[], more_silences=0)
        found = read_alerts(
            connection,
            query.state,
            pipeline=query.pipeline,
            mode=query.mode,
            since=None if query.since is None else moment_of(query.since, zone=UTC),
            until=None if query.until is None else moment_of(query.until, zone=UTC),
            after=after,
            limit=query.limit + 1,
        )
        counts = state_counts(connection)
        silences = in_force(connection)
        more = (
            count_silences(connection, time.time()) - len(silences) if len(silences) == MOST_SILENCES else 0
        )
    page = found[: query.limit]
    last = Key(page[-1].opened_at, page[-1].id) if len(found) > query.limit else None
    return AlertPage(
        rows=[AlertRow.from_records(each) for each in page],
        after=text_of_key(last),
        counts=counts,
        silences=silences,
        more_silences=more,
    )


def in_force(connection: Connection, of: Alert | None = None) -> list[Silence]:
    """Return the newest silences in force, of an alert where one is given."""
    return silences_in_force(connection, time.time(), of=of, limit=MOST_SILENCES)


AT_ONCE_S = 900.0  # alerts that began within it of the first, and nobody knows why, are shown together


@dataclass(frozen=True, slots=True)
class Together:
    """Alerts of one cause: what switched as ``name=value``, empty where they only began at the same time."""

    suspect: str
    alerts: list[AlertRow]


def by_cause(alerts: Sequence[AlertRow]) -> list[Together]:
    """Return alerts by what they have in common, each group where its first alert stands."""
    found: list[Together] = []
    for each in alerts:
        for group in found:
            first = group.alerts[0]
            at_once = abs(first.since_time - each.since_time) <= AT_ONCE_S
            if first.suspect == each.suspect and (each.suspect is not None or at_once):
                group.alerts.append(each)
                break
        else:
            found.append(Together(each.suspect or "", [each]))
    return found


def after_their_speakers(alerts: Sequence[AlertRow]) -> list[AlertRow]:
    """Return alerts in their order, each that another one speaks for after that one, where it is there."""
    known = {each.id for each in alerts}
    parts: dict[int, list[AlertRow]] = {}
    for each in alerts:
        if each.inhibited_by in known:
            parts.setdefault(each.inhibited_by, []).append(each)
    first = [each for each in alerts if each.inhibited_by not in known]
    return [row for each in first for row in (each, *parts.get(each.id, []))]


def alert(history: ServedHistory, alert_id: int) -> AlertAnswer:
    """Return one alert in full.

    Raises:
        NotFoundError: there is none of this number.
    """
    story = history.alert(alert_id)
    with history.reading() as connection:
        silences = [] if connection is None else in_force(connection, of=story.alert)
    return AlertAnswer(
        alert=AlertRow.from_records(story.alert),
        group=[AlertRow.from_records(each) for each in story.group[:MOST_EVENTS]],
        events=list(story.events[-MOST_EVENTS:]),
        silences=silences,
        found=_with_unit(story.alert, "found"),
        arithmetic=_with_unit(story.alert, "arithmetic"),
    )


def _with_unit(alert: Alert, name: str) -> str | None:
    said = alert.details.get(name)
    return None if said is None else sum_text(str(said), alert.kind, alert.unit)


def decide(
    decision: Callable[..., object], history: ServedHistory, alert_id: int, note: str | None
) -> AlertAnswer:
    """Acknowledge an alert, close it or undo that, with its group; return what it is now.

    Args:
        decision: ``History.acknowledge``, ``History.expected``, ``History.false_alarm`` or ``History.undo``.
        history: of the alert.
        alert_id: its number.
        note: why.

    Raises:
        NotFoundError: there is none of this number.
        UsageError: it is closed already, or there is nothing to undo.
    """
    decision(history, alert_id, note=note)
    return alert(history, alert_id)


def silence(history: ServedHistory, alert_id: int, seconds: float, reason: str | None) -> AlertAnswer:
    """Silence an alert for so long.

    Raises:
        NotFoundError: there is none of this number.
    """
    history.silence(alert_id, seconds=seconds, reason=reason)
    return alert(history, alert_id)


def unsilence(history: ServedHistory, alert_id: int) -> AlertAnswer:
    """End the silences of an alert.

    Raises:
        NotFoundError: there is none of this number.
    """
    alert(history, alert_id)
    history.unsilence(alert_id)
    return alert(history, alert_id)
