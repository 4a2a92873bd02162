"""Delete the series, environments and journals that no session needs any more.

To find them means to read all sessions or steps, because no index knows them. Nobody else
waits for that: the write lock is taken late, for what is known to go, and not for long.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, exists, select, true
from sqlalchemy.exc import DBAPIError, IntegrityError

from perfdb.store.dialects import give_lock_up, most_orphans
from perfdb.store.engine import is_busy, open_engine
from perfdb.store.models import alerts, baselines, environments, journals, series, sessions, steps
from perfdb.store.upkeep.retention import delete_rows

_TRIES = 5  # to find a moment in which nobody else writes
_KEPT_JOURNAL_S = 30 * 86400.0  # a process may be idle for weeks and go on in the same journal
_REST_S = 0.001


def delete_orphans(url: str, now: float, seconds: float) -> Iterator[int]:
    """Delete them in transactions that lock for so long; yield after each how many went.

    In SQLite the look and the delete are one transaction, which fails when anybody wrote in between; in
    PostgreSQL it fails when somebody took an orphan. It is tried again a few times, then left to the next
    prune. A writer that remembers a deleted series is refused by its foreign key and makes it anew.
    """
    engine = open_engine(url, role="migration")  # SQLite: without foreign keys, which would scan per row
    try:
        for table in (series, environments, journals):
            orphans: list[int] | None = None
            tries = 0
            while tries < _TRIES and orphans != []:
                try:
                    with engine.begin() as connection:
                        if give_lock_up(connection):
                            orphans = None
                        if orphans is None:
                            orphans = _find_orphans(connection, table, now)
                            # After a long computation the system suspends a process soon: not while
                            # it holds the lock.
                            time.sleep(_REST_S)
                        deleted = delete_rows(connection, table, orphans, seconds)
                except DBAPIError as error:
                    if not (is_busy(error) or isinstance(error, IntegrityError)):
                        raise
                    tries, orphans = tries + 1, None
                else:
                    yield deleted
    finally:
        engine.dispose()


def _find_orphans(connection: Connection, table: Table, now: float) -> list[int]:
    if table is series:
        return _orphan_series(connection)
    used, may_go = (
        (sessions.c.environment_id, true())
        if table is environments
        else (sessions.c.journal_pk, journals.c.updated_at < now - _KEPT_JOURNAL_S)
    )
    in_use = select(used).where(used.is_not(None))
    return list(connection.execute(select(table.c.id).where(may_go, table.c.id.not_in(in_use))).scalars())


def _orphan_series(connection: Connection) -> list[int]:
    def unused(column: Column[Any]) -> ColumnElement[bool]:
        return ~exists().where(column == series.c.id)

    counted = exists().where(steps.c.series_id == series.c.id, steps.c.counted)
    maybe = select(series.c.id).where(
        unused(sessions.c.series_id), unused(alerts.c.series_id), unused(baselines.c.series_id), ~counted
    )
    ids = list(connection.execute(maybe.limit(most_orphans(connection))).scalars())
    if not ids:
        return []
    still_used = set(connection.execute(select(steps.c.series_id).distinct()).scalars())
    return [series_id for series_id in ids if series_id not in still_used]
