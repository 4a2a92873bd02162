"""How much an answer would read: steps are counted before they are fetched."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from perfdb.store.filters import choose_sessions
from perfdb.store.models import sessions, steps, storable_text


def newest_within(connection: Connection, most: int, **filters: Any) -> tuple[int, int]:
    """Return how many of the newest sessions that fit have at most so many steps together, and how many fit.

    Args:
        connection: of any role.
        most: steps.
        filters: see ``filters.choose_sessions``.
    """
    chosen = choose_sessions(connection.dialect.name, **filters).cte("chosen")
    counts = select(steps.c.session_pk, func.count().label("count")).group_by(steps.c.session_pk)
    of_session = counts.where(steps.c.session_pk.in_(select(chosen.c.id))).cte("of_session")
    query = (
        select(func.coalesce(of_session.c.count, 0))
        .select_from(sessions)
        .join(chosen, chosen.c.id == sessions.c.id)
        .outerjoin(of_session, of_session.c.session_pk == sessions.c.id)
        .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
    )
    found = connection.execute(query).scalars().all()
    together = kept = 0
    for count in found:
        together += count
        if together > most:
            break
        kept += 1
    return kept, len(found)


def count_steps(connection: Connection, session_id: str) -> int:
    """Return how many steps a session has; 0 of one that is not there."""
    query = (
        select(func.count())
        .select_from(steps)
        .join(sessions, sessions.c.id == steps.c.session_pk)
        .where(sessions.c.session_id == storable_text(session_id))
    )
    return int(connection.execute(query).scalar_one())
