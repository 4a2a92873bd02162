"""How much an answer would read: steps are counted, and their data weighed, before they are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from sqlalchemy import ColumnElement, Connection, Integer, cast, func, select

from perfdb.filters import Chosen
from perfdb.store.dialects import as_text
from perfdb.store.filters import choose_sessions
from perfdb.store.models import series, sessions, steps, storable_text

BYTES_OF_A_STEP = 500  # of data that weigh as much as one more step
MANY_NAMES = 10_000  # a host counts in its step names


def within(found: Sequence[int], most: int) -> tuple[int, int]:
    """Return how many of the first of these weigh at most so much together, and how many there are."""
    total = kept = 0
    for weight in found:
        total += weight
        if total > most:
            break
        kept += 1
    return kept, len(found)


def weights(connection: Connection, **filters: Unpack[Chosen]) -> Sequence[int]:
    """Return what the steps of each session that fits weigh, the newest first."""
    chosen = choose_sessions(connection, **filters).add_columns(sessions.c.start_time).cte("chosen")
    each = select(steps.c.session_pk, _weight(connection).label("weight")).group_by(steps.c.session_pk)
    of_session = each.where(steps.c.session_pk.in_(select(chosen.c.id))).cte("of_session")
    # In the order of the chosen ones: by that of the table SQLite would look at every session for it.
    query = (
        select(func.coalesce(of_session.c.weight, 0))
        .select_from(chosen)
        .outerjoin(of_session, of_session.c.session_pk == chosen.c.id)
        .order_by(chosen.c.start_time.desc(), chosen.c.id.desc())
    )
    return connection.execute(query).scalars().all()


def has_many_names(connection: Connection, pipeline: str | None) -> bool:
    """Tell whether a pipeline, or all together, have so many series that most steps have one of their own."""
    names = select(series.c.id)
    if pipeline is not None:
        names = names.where(series.c.pipeline == storable_text(pipeline))
    found = names.limit(MANY_NAMES + 1).subquery()
    return connection.execute(select(func.count()).select_from(found)).scalar_one() > MANY_NAMES


def count_sessions(connection: Connection, **filters: Unpack[Chosen]) -> int:
    """Return how many sessions fit; see ``filters.choose_sessions``."""
    chosen = choose_sessions(connection, **filters).subquery()
    return int(connection.execute(select(func.count()).select_from(chosen)).scalar_one())


def first_start(connection: Connection, **filters: Unpack[Chosen]) -> float | None:
    """Return when the first session that fits began (epoch s); None where none does."""
    chosen = choose_sessions(connection, **filters)
    query = select(func.min(sessions.c.start_time)).where(sessions.c.id.in_(chosen))
    found: float | None = connection.execute(query).scalar_one()
    return found


def extent_of(connection: Connection, session_id: str) -> tuple[int, int]:
    """Return how many steps a session has, and how many they weigh; (0, 0) of one that is not there."""
    query = (
        select(func.count(), func.coalesce(_weight(connection), 0))
        .select_from(steps)
        .join(sessions, sessions.c.id == steps.c.session_pk)
        .where(sessions.c.session_id == storable_text(session_id))
    )
    count, weight = connection.execute(query).one()
    return int(count), int(weight)


def _weight(connection: Connection) -> ColumnElement[int]:
    """Return the sum of the steps, each of which is one and its data."""
    bytes_of = [
        func.coalesce(func.length(as_text(connection, each), type_=Integer), 0)
        for each in (steps.c.additional_data, steps.c.attempts, steps.c.events)
    ]
    data, attempts, events = bytes_of
    return cast(func.sum(1 + (data + attempts + events) / BYTES_OF_A_STEP), Integer)
