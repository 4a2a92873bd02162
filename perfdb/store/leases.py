"""Tell which writers of other hosts are dead, by leases on the database server's clock.

On one host the lock on a journal tells it, at once and for certain. Nobody sees that lock from elsewhere, so
a process that writes to PostgreSQL renews a lease now and then, and counts as dead after a long silence. Only
the server's clock counts, and neither host names nor process ids are compared: after a restart a container
may have those of another. A host's name, which lasts (see ``recording/environment.py``), is for people.
SQLite is local: it has no leases.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, text, update

from perfdb.store.dialects import is_shared
from perfdb.store.models import INTERRUPTED_CODE, journals, server_time, sessions
from perfdb.store.sessions import mark_interrupted, revive_session

RENEW_S = 25.0  # a writer with unfinished sessions is heard of at least so often
LEASE_S = 120.0  # after so long a silence it is taken for dead


@dataclass(frozen=True, slots=True)
class Silent:
    """A writer that has running sessions and was not heard of for longer than its lease."""

    journal_id: str
    host: str | None
    silent_s: float
    sessions: int


def renew(connection: Connection, journal_ids: Sequence[str], session_ids: Sequence[str]) -> int:
    """Say that the writer of these journals lives and that these sessions run.

    Returns:
        How many of the sessions had been taken for dead, and run again.
    """
    connection.execute(
        update(journals).where(journals.c.journal_id.in_(journal_ids)).values(seen_at=server_time())
    )
    wrong = select(sessions.c.id).where(
        sessions.c.session_id.in_(session_ids),
        sessions.c.status == INTERRUPTED_CODE,
        sessions.c.total_duration.is_(None),  # with one it was called off
    )
    pks = connection.execute(wrong).scalars().all()
    for pk in pks:
        revive_session(connection, pk)
    return len(pks)


def silent_writers(connection: Connection, *, beside: Collection[str] = ()) -> list[Silent]:
    """Return the writers whose lease has run out while they had sessions, the longest silent first.

    Args:
        connection: of any role; nothing is changed.
        beside: journals whose lock can be looked at from here; it tells more than a lease.
    """
    if not is_shared(connection):
        return []
    silent_s = (server_time() - journals.c.seen_at).label("silent_s")
    query = (
        select(journals.c.journal_id, journals.c.host, silent_s, func.count().label("sessions"))
        .join(sessions, sessions.c.journal_pk == journals.c.id)
        .where(text("sessions.status = 0"), *_lapsed(beside))
        .group_by(journals.c.id)
        .order_by(silent_s.desc())
    )
    return [Silent(*row) for row in connection.execute(query).all()]


def interrupt_silent(connection: Connection, *, beside: Collection[str] = ()) -> int:
    """End the sessions of silent writers as interrupted; return how many there were.

    A late end undoes it, and so does a writer that is heard of again.
    """
    if not is_shared(connection):
        return 0
    # Locked, so that a writer is not heard of between our look and our deed; those that another looks
    # at in this moment are left to it.
    query = (
        select(journals.c.journal_id)
        .where(
            journals.c.id.in_(select(sessions.c.journal_pk).where(text("sessions.status = 0"))),
            *_lapsed(beside),
        )
        .with_for_update(skip_locked=True)
    )
    return sum(mark_interrupted(connection, each) for each in connection.execute(query).scalars().all())


def _lapsed(beside: Collection[str]) -> list[ColumnElement[bool]]:
    return [journals.c.seen_at < server_time() - LEASE_S, journals.c.journal_id.not_in(list(beside))]
