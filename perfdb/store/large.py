"""Change the rows of one large session a thousand at a time, so that other writers hardly wait.

The change that needs it is written in a transaction of its own, before or after. When the process dies in
between, the journal's next reader, or the person who repeats the command, completes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from perfdb.errors import NotFoundError
from perfdb.recording.native import sleep
from perfdb.records import is_cached
from perfdb.store import rows
from perfdb.store.database import Database
from perfdb.store.models import (
    COMPLETED_CODE,
    INTERRUPTED_CODE,
    RUNNING_CODE,
    journals,
    samples,
    sessions,
    steps,
)
from perfdb.store.rollups import spoil_sessions

PIECE = 1_000
_PAUSE_S = 0.003  # between two pieces: those that wait for the lock poll for it


def is_large(connection: Connection, pk: int) -> bool:
    """Tell whether a session has more rows than one transaction should change."""
    return any(
        connection.execute(
            select(func.count()).select_from(
                select(table.c.session_pk).where(table.c.session_pk == pk).limit(PIECE + 1).subquery()
            )
        ).scalar_one()
        > PIECE
        for table in (steps, samples)
    )


def find(connection: Connection, session_id: str) -> tuple[int, bool]:
    """Return the number of a session's row, and whether it is large.

    Raises:
        NotFoundError: there is no such session.
    """
    found = select(sessions.c.id).where(sessions.c.session_id == rows.text(session_id))
    pk = connection.execute(found).scalar()
    if pk is None:
        raise NotFoundError(f"there is no session {session_id!r}; `perfdb sessions` lists them")
    return pk, is_large(connection, pk)


def count_steps(database: Database, pk: int, *, counted: bool) -> None:
    """Have the steps of a session count in percentiles, or not."""
    ripe = (steps.c.status == COMPLETED_CODE) & steps.c.duration.is_not(None)
    query = select(steps.c.seq).where(steps.c.session_pk == pk, steps.c.counted.is_(not counted))
    if counted:
        query = query.where(ripe).add_columns(steps.c.additional_data)
    with database.reading() as connection:
        found = [
            row.seq
            for row in connection.execute(query.order_by(steps.c.seq))
            if not counted or not is_cached(row.additional_data)
        ]
    for piece in _pieces(found):
        with database.writing() as connection:
            spoil_sessions(connection, [pk])
            chosen = steps.c.session_pk == pk, steps.c.seq.in_(piece)
            connection.execute(update(steps).where(*chosen).values(counted=counted))


def close_steps(database: Database, pk: int) -> None:
    """Close the steps that were open when their session's writer died."""
    still_open = steps.c.session_pk == pk, steps.c.status == RUNNING_CODE
    with database.reading() as connection:
        found = list(connection.execute(select(steps.c.seq).where(*still_open)).scalars())
    for piece in _pieces(found):
        with database.writing() as connection:
            closing = update(steps).where(*still_open, steps.c.seq.in_(piece))
            connection.execute(closing.values(status=INTERRUPTED_CODE))


def interrupt_ahead(database: Database, journal_id: str) -> None:
    """Do to the steps of a dead writer's large sessions what ``sessions.mark_interrupted`` does to all."""
    with database.reading() as connection:
        of_journal = select(journals.c.id).where(journals.c.journal_id == journal_id).scalar_subquery()
        running = select(sessions.c.id).where(
            sessions.c.status == RUNNING_CODE, sessions.c.journal_pk == of_journal
        )
        large = [pk for pk in connection.execute(running).scalars().all() if is_large(connection, pk)]
    for pk in large:
        close_steps(database, pk)
        count_steps(database, pk, counted=False)


def delete_rows_of(database: Database, pk: int) -> None:
    """Delete the steps and samples of a session that is to go."""
    for table, key in ((steps, steps.c.seq), (samples, samples.c.time)):
        with database.reading() as connection:
            found = list(connection.execute(select(key).where(table.c.session_pk == pk)).scalars())
        for piece in _pieces(found):
            with database.writing() as connection:
                spoil_sessions(connection, [pk])
                connection.execute(delete(table).where(table.c.session_pk == pk, key.in_(piece)))


def _pieces(found: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(found), PIECE):
        if first:
            sleep(_PAUSE_S)
        yield found[first : first + PIECE]
