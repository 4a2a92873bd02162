"""What a database says about its own state, for `perfdb doctor`; nothing is changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Text, func, select, text

from perfdb.errors import StoreError
from perfdb.store.buckets import content_of
from perfdb.store.daily_measures import read_noted
from perfdb.store.dialects import is_shared
from perfdb.store.models import SOURCES, journals, metadata, outbox, server_time, sessions
from perfdb.store.sanity import nonsense, nonsense_on_server
from perfdb.vocabulary import FAILED, WAITING

_TRIED_IN_VAIN = 3  # as often as a channel may fail before it is left alone for a while


@dataclass(frozen=True, slots=True)
class Written:
    """How far a journal is in the database, and since when."""

    offset: int  # bytes
    updated_at: float  # epoch s of the last batch
    running: int  # sessions that have not ended


@dataclass(frozen=True, slots=True)
class Facts:
    """The state of a current database."""

    sessions: int
    newest: float | None  # start of the newest session, epoch s
    journals: dict[str, Written] = field(repr=False)
    quarantined: int  # lines that could not be read
    orphans: int  # sessions whose first line was lost
    server_time: float | None  # epoch s; None where the database has no clock of its own


@dataclass(frozen=True, slots=True)
class Messages:
    """What became of a channel's messages."""

    channel: str
    overdue: int  # should have left by ``now``
    in_vain: int  # of those that wait, tried often
    failed: int  # given up, since ``since``
    last_error: str | None


def read_facts(connection: Connection) -> Facts:
    """Return what there is to know of a database that has this perfdb's tables."""
    count, newest, orphans = connection.execute(
        select(
            func.count(),
            func.max(sessions.c.start_time),
            func.count().filter(sessions.c.source == SOURCES.index("orphan")),
        ).select_from(sessions)
    ).one()
    running = (
        select(sessions.c.journal_pk, func.count().label("running"))
        .where(text("sessions.status = 0"))
        .group_by(sessions.c.journal_pk)
        .subquery()
    )
    known = connection.execute(
        select(
            journals.c.journal_id,
            journals.c.byte_offset,
            journals.c.updated_at,
            func.coalesce(running.c.running, 0),
        ).outerjoin(running, running.c.journal_pk == journals.c.id)
    )
    has_clock = is_shared(connection)
    return Facts(
        sessions=count,
        newest=newest,
        journals={journal_id: Written(*written) for journal_id, *written in known},
        quarantined=int(connection.execute(select(func.sum(journals.c.quarantined))).scalar() or 0),
        orphans=orphans,
        server_time=connection.execute(select(server_time())).scalar_one() if has_clock else None,
    )


def read_messages(connection: Connection, *, now: float, since: float) -> list[Messages]:
    """Return per channel what did not arrive; ``now`` and ``since`` are epoch seconds."""
    waits = outbox.c.state == WAITING
    failed = (outbox.c.state == FAILED) & (outbox.c.created_at >= since)
    query = (
        select(
            outbox.c.channel,
            func.count().filter(waits & (outbox.c.next_at <= now)),
            func.count().filter(waits & (outbox.c.attempts >= _TRIED_IN_VAIN)),
            func.count().filter(failed),
            func.max(outbox.c.last_error).filter(waits | failed),
        )
        .group_by(outbox.c.channel)
        .order_by(outbox.c.channel)
    )
    return [Messages(*row) for row in connection.execute(query).all()]


def unreadable(driver: sqlite3.Connection) -> Iterator[str]:
    """Yield in words the columns whose values perfdb never writes: readers refuse a file that holds one."""
    yield from nonsense(driver)
    yield from _unpackable(driver.execute)


def cut_short(driver: sqlite3.Connection) -> Iterator[str]:
    """Yield in words the columns of a file with a NUL in a text, which no server keeps."""
    for table in metadata.tables.values():
        for name in (column.name for column in table.columns if isinstance(column.type, Text)):
            query = f'SELECT 1 FROM "{table.name}" WHERE instr("{name}", char(0)) > 0 LIMIT 1'
            if driver.execute(query).fetchone():
                yield f"{table.name}.{name} holds what perfdb never writes"


def unreadable_on_server(connection: Connection) -> Iterator[str]:
    """Yield the same of a server, whose values a file is to take."""
    yield from nonsense_on_server(connection)
    yield from _unpackable(connection.exec_driver_sql)


def _unpackable(ask: Callable[[str], Iterable[Any]]) -> Iterator[str]:
    for table, column, read in (
        ("rollups", "buckets", content_of),
        ("pruned_measures", "content", read_noted),
    ):
        try:
            for (packed,) in ask(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL"):
                read(packed)
        except StoreError:  # prune and daily figures would fail for ever
            yield f"{table}.{column} holds what perfdb never writes"


def find_damage(connection: Connection) -> list[str] | None:
    """Return what SQLite finds wrong with its file, up to five lines; None of a server."""
    if is_shared(connection):
        return None
    found = connection.exec_driver_sql("PRAGMA quick_check(5)").scalars().all()
    return [str(line) for line in found if line != "ok"]
