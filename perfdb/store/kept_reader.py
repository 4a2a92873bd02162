"""A read-only connection that is kept between questions, for a program that answers many of them.

It notices a file that was replaced, finds no database where there is none yet, and ends every
question after a time limit.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from perfdb.errors import StoreError
from perfdb.stopping import seconds_left, took_too_long
from perfdb.store.engine import QUERY_ERRORS, open_engine, reason_of, shown_url, sqlite_path
from perfdb.store.schema import require_schema, revision

_CHECK_EVERY_S = 10.0  # the tables may be upgraded while we read
_INSTRUCTIONS = 1_000  # of SQLite between two looks at the clock: some ten microseconds


class KeptReader:
    """The read end of one database; any thread may ask.

    Args:
        url: of the database.
        limit_s: how long the queries of one question may take together.
    """

    def __init__(self, url: str, *, limit_s: float) -> None:
        self._url = url
        self._limit_s = limit_s
        self._path = sqlite_path(url)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._file: tuple[int, int] | None = None  # device and inode
        self._checked_at = 0.0

    @contextmanager
    def connection(self) -> Iterator[Connection | None]:
        """Yield a connection that sees one moment of the database; None when there is none yet.

        Raises:
            TimeLimitError: the queries took longer than the limit.
            StoreError: the database cannot be read.
        """
        engine = self._current()
        if engine is None:
            yield None
            return
        try:
            seconds = min(self._limit_s, seconds_left())
            with engine.connect() as connection, _time_limit(connection, seconds):
                yield connection if self._has_tables(connection) else None
        except QUERY_ERRORS as error:
            reason = reason_of(error)
            if _was_stopped(reason):
                raise took_too_long(self._limit_s) from error
            self.close()  # what it remembers of a file that was written over in place is wrong for good
            raise StoreError(f"{self._shown()} cannot be read: {reason}") from error
        except SQLAlchemyError as error:
            raise StoreError(f"{self._shown()} cannot be read now: {error}") from error

    def close(self) -> None:
        """Let go of the connections."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _current(self) -> Engine | None:
        found = self._identity()
        with self._lock:
            if self._engine is not None and found != self._file:
                self._engine.dispose()
                self._engine = None
            if found is None:
                return None
            if self._engine is None:
                self._engine = open_engine(self._url, role="reader")
                self._file, self._checked_at = found, 0.0
            return self._engine

    def _identity(self) -> tuple[int, int] | None:
        if self._path is None:
            return (0, 0)  # a server's
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_dev, found.st_ino)

    def _has_tables(self, connection: Connection) -> bool:
        now = time.monotonic()
        if self._checked_at and now - self._checked_at < _CHECK_EVERY_S:
            return True
        if revision(connection) is None:
            return False
        require_schema(connection)
        self._checked_at = now
        return True

    def _shown(self) -> str:
        return str(self._path) if self._path is not None else shown_url(self._url)


@contextmanager
def _time_limit(connection: Connection, seconds: float) -> Iterator[None]:
    if connection.dialect.name == "postgresql":
        # Each statement has the whole limit; SET LOCAL ends with the transaction.
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
        yield
        return
    driver: Any = connection.connection.driver_connection
    deadline = time.monotonic() + seconds
    driver.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)


def _was_stopped(reason: BaseException | None) -> bool:
    if getattr(reason, "sqlstate", None) == "57014":  # cancelled by statement_timeout
        return True
    return isinstance(reason, sqlite3.Error) and "interrupted" in str(reason)
