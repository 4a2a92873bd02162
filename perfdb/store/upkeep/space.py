"""Give back what deleted rows leave free in a SQLite file, and tell a server's planner how tables have grown.

A file that perfdb makes shrinks in small pieces, between which others write. One that an
older perfdb made keeps its free pages for new rows until it is compacted, once.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from sqlalchemy import Connection, text

from perfdb.errors import StoreError
from perfdb.store.dialects import is_shared
from perfdb.store.engine import connected, shown_url
from perfdb.store.models import metadata

_INCREMENTAL = 2  # of PRAGMA auto_vacuum

# A table of which nothing is known, or which has doubled since; the small ones are read as a whole anyway.
_GROWN = text("""
    SELECT c.relname FROM pg_class c JOIN pg_stat_user_tables s ON s.relid = c.oid
    WHERE s.schemaname = current_schema() AND c.relname = ANY(:names)
    AND pg_has_role(c.relowner, 'USAGE') AND pg_relation_size(c.oid) > 1000000
    AND (coalesce(s.last_analyze, s.last_autoanalyze) IS NULL
        OR pg_relation_size(c.oid) > 2 * c.relpages * current_setting('block_size')::bigint)
    ORDER BY c.relname
""")


def free_space(connection: Connection) -> int:
    """Return the bytes of a SQLite file that hold nothing; PostgreSQL sees to its own."""
    if is_shared(connection):
        return 0
    pages: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    size: int = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    return pages * size


def can_shrink(connection: Connection) -> bool:
    """Say whether the file can give space back in small pieces."""
    if is_shared(connection):
        return False
    incremental: bool = connection.exec_driver_sql("PRAGMA auto_vacuum").scalar_one() == _INCREMENTAL
    return incremental


def give_back(connection: Connection, seconds: float) -> bool:
    """Give free pages back for so long, in the caller's transaction; say whether there are more."""
    until = time.monotonic() + seconds
    left: int = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
    while left:
        # one by one: the driver runs a pragma to its first step only, which is a page
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        left -= 1
        if time.monotonic() >= until:  # one goes in any case, or the last would never go
            break
    return left > 0


def measure_tables(connection: Connection) -> list[str]:
    """Have a server count what tables of ours hold that have filled all at once; return their names.

    It does so by itself, but a minute later, or never; until then it takes the runs of a series to be one or
    two, and sorts all of them for the last. SQLite plans by our indexes alone.
    """
    if not is_shared(connection):
        return []
    names = list(connection.execute(_GROWN, {"names": list(metadata.tables)}).scalars())
    for name in names:
        connection.exec_driver_sql(f'ANALYZE "{name}"')
    return names


def compact(url: str) -> None:
    """Rewrite a SQLite file, or a server's tables, without free space; a file then shrinks in small pieces.

    Everybody else who writes waits meanwhile: about a second per 100 MB.

    Raises:
        StoreError: the disk has no room for a second copy, or somebody holds the write lock for long, or the
            tables are not ours.
    """
    with connected(url, role="migration") as connection:
        driver: Any = connection.connection.driver_connection
        if is_shared(connection):
            _rewrite_tables(driver, url)
            return
        try:
            driver.execute("PRAGMA busy_timeout=5000")
            driver.execute("PRAGMA auto_vacuum=INCREMENTAL")
            driver.execute("VACUUM")
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreError(f"{shown_url(url)} could not be compacted: {error}; it is as it was") from error


def _rewrite_tables(driver: Any, url: str) -> None:
    """Rewrite our tables one by one; what a server refuses it only tells of."""
    from psycopg import Error

    refused: list[str] = []
    driver.add_notice_handler(lambda notice: refused.append(notice.message_primary))
    driver.autocommit = True
    try:
        driver.execute("SET lock_timeout = 5000")
        for name in metadata.tables:
            driver.execute(f'VACUUM (FULL, ANALYZE) "{name}"')
    except Error as error:
        refused.append(str(error))
    if refused:
        raise StoreError(
            f"{shown_url(url)} could not be compacted: {refused[0]}; ask the tables' owner to do it"
        )
