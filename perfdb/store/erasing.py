"""Erase what is kept of sessions outside of their own rows: alerts, what happened to them, and messages.

A message or an alert may quote a customer's name; who is to be forgotten must be forgotten there too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, or_, select, update

from perfdb.store.models import alert_events, alerts, baselines, outbox, to_json

_CHUNK = 500
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(?<![.])")  # an id, not the full stop after it


def erase_traces(connection: Connection, session_ids: Collection[str]) -> dict[str, int]:
    """Delete the alerts that began or ended with these sessions, their events, and messages about either.

    Pinned and accepted baselines stay, as numbers, without the sessions' names.

    Returns:
        How many alerts and messages there were.
    """
    gone = {"alerts": 0, "messages": 0}
    names = sorted(session_ids)
    for first in range(0, len(names), _CHUNK):
        chunk = names[first : first + _CHUNK]
        named = or_(alerts.c.since_session_id.in_(chunk), alerts.c.last_session_id.in_(chunk))
        found = list(connection.execute(select(alerts.c.id).where(named)).scalars())
        for place in range(0, len(found), _CHUNK):
            gone["alerts"] += _erase_alerts(connection, found[place : place + _CHUNK])
        connection.execute(delete(alert_events).where(alert_events.c.session_id.in_(chunk)))
        for column in (baselines.c.since_session_id, baselines.c.until_session_id):
            connection.execute(update(baselines).where(column.in_(chunk)).values({column.name: ""}))
    gone["messages"] = _erase_messages(connection, frozenset(names))
    return gone


def _erase_messages(connection: Connection, session_ids: frozenset[str]) -> int:
    """Delete the messages of these sessions' digests, and those that name one of them in their words."""
    found = [
        row.id
        for row in connection.execute(select(outbox.c.id, outbox.c.session_id, outbox.c.payload))
        if row.session_id in session_ids or not session_ids.isdisjoint(_WORD.findall(to_json(row.payload)))
    ]
    for first in range(0, len(found), _CHUNK):
        connection.execute(delete(outbox).where(outbox.c.id.in_(found[first : first + _CHUNK])))
    return len(found)


def _erase_alerts(connection: Connection, numbers: Sequence[int]) -> int:
    connection.execute(update(alerts).where(alerts.c.inhibited_by.in_(numbers)).values(inhibited_by=None))
    connection.execute(update(baselines).where(baselines.c.alert_id.in_(numbers)).values(alert_id=None))
    return connection.execute(delete(alerts).where(alerts.c.id.in_(numbers))).rowcount
