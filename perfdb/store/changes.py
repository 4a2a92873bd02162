"""Notice that something was written, for less than a query: what a live view asks every second."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from perfdb.errors import StoreError
from perfdb.store.engine import open_engine, sqlite_path

_END_OF_LOG = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"
)


class ChangeWatch:
    """Watches one database over a connection of its own; one thread at a time may look."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = sqlite_path(url)
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._file: object = None
        self._seen: object = None

    def moved(self) -> bool:
        """Say whether anything may have been written since the last call; the first says yes.

        Raises:
            StoreError: the database cannot be read now.
        """
        file = self._identity()
        if file != self._file or file is None:
            self.close()
            self._file = file
        seen: object = None
        if file is not None:
            try:
                seen = (file, self._mark())
            except (SQLAlchemyError, sqlite3.Error) as error:
                self.close()
                raise StoreError(f"the database cannot be watched: {error}") from error
        moved, self._seen = seen != self._seen, seen
        return moved

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _mark(self) -> Any:
        if self._engine is None:
            self._engine = open_engine(self._url, role="reader")
        if self._path is None:
            with self._engine.connect() as connection:
                return connection.exec_driver_sql(_END_OF_LOG).scalar()
        if self._connection is None:
            self._connection = self._engine.connect()
        # Outside of any transaction, which would hold the moment still; it tells of other connections only.
        driver: Any = self._connection.connection.driver_connection
        return driver.execute("PRAGMA data_version").fetchone()[0]

    def _identity(self) -> tuple[int, int] | None:
        if self._path is None:
            return (0, 0)
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_dev, found.st_ino)
