"""Delete the series, environments and journals that no session needs any more.

To find them means to read all sessions or steps, because no index knows them. Nobody else
waits for that: the write lock is taken late, for what is known to go, and not for long.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, exists, func, select, true
from sqlalchemy.exc import DBAPIError, IntegrityError

from perfdb.measures import DURATION
from perfdb.store.dialects import give_lock_up, most_orphans
from perfdb.store.engine import is_busy, open_engine
from perfdb.store.models import (
    alerts,
    baselines,
    environments,
    journals,
    rollups,
    series,
    sessions,
    steps,
)
from perfdb.store.upkeep.retention import delete_rows

_TRIES = 5  # to find a moment in which nobody else writes
_KEPT_JOURNAL_S = 30 * 86400.0  # a process may be idle for weeks and go on in the same journal
_REST_S = 0.001
_LET_WRITE_S = 0.005  # between two transactions: a writer that waits for the lock looks every 3 ms
_MOST_ALONE = 200  # rows per statement, of SQLite: half a millisecond
_LEAST_TREND = 10  # pruned runs of a series, which it is kept for
_MANY = 1_000  # orphans, for which a look per transaction would take long


def delete_orphans(url: str, now: float, seconds: float) -> Iterator[int]:
    """Delete them in transactions that lock for so long; yield now and then how many went.

    In SQLite the look and the delete are one transaction, which fails when anybody wrote in between; what was
    found holds for the next transactions until somebody writes. In PostgreSQL it fails when somebody took an
    orphan. It is tried again a few times, then left to the next prune. A writer that remembers a deleted
    series is refused by its foreign key and makes it anew.
    """
    engine = open_engine(url, role="migration")  # SQLite: without foreign keys, which would scan per row
    try:
        for table in (series, environments, journals):
            orphans: list[int] | None = None
            tries = 0
            while tries < _TRIES and orphans != []:
                try:
                    with engine.connect() as connection:
                        orphans, deleted = _delete_some(connection, table, orphans, now, seconds)
                except DBAPIError as error:
                    if not (is_busy(error) or isinstance(error, IntegrityError)):
                        raise
                    tries, orphans = tries + 1, None
                else:
                    yield deleted
    finally:
        engine.dispose()


def _delete_some(
    connection: Connection, table: Table, orphans: list[int] | None, now: float, seconds: float
) -> tuple[list[int] | None, int]:
    """Delete some orphans; return those that are left, if that is known for certain, and how many went.

    It takes about as long as the look at all sessions and steps did, so that many orphans take a few looks.
    """
    deleted, seen, until = 0, None, math.inf
    while True:
        with connection.begin():
            alone = give_lock_up(connection)
            version = connection.exec_driver_sql("PRAGMA data_version").scalar() if alone else None
            if orphans is None or version != seen:
                begun = time.monotonic()
                orphans, seen = _find_orphans(connection, table, now), version
                if table is series:
                    _delete_figures(connection, orphans)
                until = min(until, 2 * time.monotonic() - begun)
                # After a long computation the system suspends a process soon: not while
                # it holds the lock.
                time.sleep(_REST_S)
            deleted += delete_rows(connection, table, orphans, seconds, most=_MOST_ALONE if alone else None)
        if not alone or len(orphans) < _MANY or time.monotonic() > until:
            return (None if alone and orphans else orphans), deleted
        time.sleep(_LET_WRITE_S)


def _delete_figures(connection: Connection, orphans: list[int]) -> None:
    for first in range(0, len(orphans), _MANY):
        of_these = rollups.c.series_id.in_(orphans[first : first + _MANY])
        connection.execute(delete(rollups).where(of_these))


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


def _is_kept() -> ColumnElement[bool]:
    """Say that so many runs of a series were pruned that their figures are its trend."""
    runs = select(func.sum(rollups.c.n + rollups.c.failures)).where(
        rollups.c.series_id == series.c.id, rollups.c.measure == DURATION.name
    )
    return func.coalesce(runs.scalar_subquery(), 0) >= _LEAST_TREND


def _orphan_series(connection: Connection) -> list[int]:
    def unused(column: Column[Any]) -> ColumnElement[bool]:
        return ~exists().where(column == series.c.id)

    counted = exists().where(steps.c.series_id == series.c.id, steps.c.counted)
    maybe = select(series.c.id).where(
        unused(sessions.c.series_id),
        unused(alerts.c.series_id),
        unused(baselines.c.series_id),
        ~counted,
        ~_is_kept(),
    )
    ids = list(connection.execute(maybe.limit(most_orphans(connection))).scalars())
    if not ids:
        return []
    still_used = set(connection.execute(select(steps.c.series_id).distinct()).scalars())
    return [series_id for series_id in ids if series_id not in still_used]
