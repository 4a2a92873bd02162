"""The outbox: messages are put in with the verdict's transaction and taken out by the process that delivers.

A message is claimed by moving its ``next_at``: that is the lease of the process that sends it. When that
process dies the message is due again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_, select, text, update

from perfdb.store.models import from_json, outbox
from perfdb.vocabulary import FAILED, SENT, WAITING

HOUR_S = 3600.0
_ASTRAY_S = 6 * HOUR_S


@dataclass(frozen=True, slots=True)
class Message:
    """A message that somebody has claimed; ``attempts`` counts this one."""

    id: int
    channel: str
    kind: str
    session_id: str | None
    payload: Mapping[str, Any]
    attempts: int


def put(
    connection: Connection,
    channel: str,
    payload: Mapping[str, Any],
    now: float,
    *,
    kind: str = "digest",
    session_id: str | None = None,
) -> None:
    """Put a message in, due at once."""
    connection.execute(
        insert(outbox).values(
            channel=channel,
            kind=kind,
            session_id=session_id,
            payload=dict(payload),
            created_at=now,
            next_at=now,
            attempts=0,
            state=WAITING,
        )
    )


def put_in_last_hour(connection: Connection, channel: str, now: float) -> int:
    """Return how many messages for a channel were put in within the last hour, or by a clock a bit ahead."""
    recent = outbox.c.created_at.between(now - HOUR_S, now + HOUR_S)
    query = select(func.count()).where(outbox.c.channel == channel, recent)
    return int(connection.execute(query).scalar_one())


def claim(connection: Connection, channels: list[str], now: float, lease_s: float) -> Message | None:
    """Take the message that has been due longest, for ``lease_s``; None when none is due.

    A message is due when it is put in: one that is due much later was put in by a clock that went wrong.
    """
    astray = and_(outbox.c.attempts == 0, outbox.c.next_at > now + _ASTRAY_S)
    due = or_(outbox.c.next_at <= now, astray)
    # The literal lets the partial index answer.
    query = (
        select(outbox)
        .where(text("outbox.state = 'waiting'"), due, outbox.c.channel.in_(channels))
        .order_by(outbox.c.next_at, outbox.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # SQLite's one writer needs none, and gets none
    )
    row = connection.execute(query).first()
    if row is None:
        return None
    attempts = row.attempts + 1
    connection.execute(
        update(outbox).where(outbox.c.id == row.id).values(next_at=now + lease_s, attempts=attempts)
    )
    return Message(row.id, row.channel, row.kind, row.session_id, from_json(row.payload), attempts)


def next_due(connection: Connection, channels: list[str]) -> float | None:
    """Return when the next message is due; None when nothing waits."""
    query = select(func.min(outbox.c.next_at)).where(
        text("outbox.state = 'waiting'"), outbox.c.channel.in_(channels)
    )
    found = connection.execute(query).scalar()
    return None if found is None else float(found)


def mark_sent(connection: Connection, message_id: int, now: float) -> None:
    """Note that a message arrived."""
    connection.execute(
        update(outbox).where(outbox.c.id == message_id).values(state=SENT, sent_at=now, last_error=None)
    )


def mark_failed(connection: Connection, message_id: int, error: str, retry_at: float | None) -> None:
    """Note that a message did not arrive; it is tried again at ``retry_at``, or never when None."""
    values: dict[str, Any] = {"last_error": error[:500]}
    if retry_at is None:
        values["state"] = FAILED
    else:
        values["next_at"] = retry_at
    connection.execute(update(outbox).where(outbox.c.id == message_id).values(**values))


def postpone(connection: Connection, message_id: int, until: float) -> None:
    """Give a claimed message back untried: its channel is out of order until then."""
    connection.execute(
        update(outbox).where(outbox.c.id == message_id).values(next_at=until, attempts=outbox.c.attempts - 1)
    )
