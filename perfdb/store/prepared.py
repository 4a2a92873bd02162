"""The few statements of the hot path: SQLAlchemy writes their SQL once, the driver runs it.

One run with four steps takes five statements; Core's own way of executing one costs several
times what SQLite needs for it, under the write lock that other processes wait for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import Executable

from perfdb.store.models import to_json

Row = Mapping[str, Any]


class Prepared:
    """One statement for one dialect; ``columns`` are the parameters that every row brings."""

    def __init__(self, statement: Executable, dialect: Dialect, columns: Sequence[str] | None = None) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)  # type: ignore[attr-defined]
        self._kept = statement  # with its columns, which have callbacks: see let_go() in engine.py
        self._sql: str = compiled.string
        self._order: list[str] | None = compiled.positiontup  # None: the driver takes names
        brought = set(columns or ())
        self._constants = {name: value for name, value in compiled.params.items() if name not in brought}
        self._documents = [name for name, bind in compiled.binds.items() if isinstance(bind.type, JSON)]
        # those that bring all of them in their order are picked at once
        order = self._order if self._order is not None and len(self._order) > 1 else []
        self._pick = itemgetter(*order) if order and brought.issuperset(order) else None
        self._at = [order.index(name) for name in self._documents] if self._pick is not None else []

    def one(self, connection: Connection, row: Row) -> tuple[Any, ...] | None:
        """Run it for one row and return the first row of the answer, if any."""
        with self._cursor(connection) as cursor:
            cursor.execute(self._sql, self._parameters(row))
            found: tuple[Any, ...] | None = cursor.fetchone() if cursor.description else None
            return found

    def all(self, connection: Connection, row: Row | None = None) -> list[tuple[Any, ...]]:
        """Run it and return the whole answer."""
        with self._cursor(connection) as cursor:
            cursor.execute(self._sql, self._parameters(row or {}))
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def many(self, connection: Connection, given: Iterable[Row]) -> None:
        """Run it for many rows."""
        with self._cursor(connection) as cursor:
            cursor.executemany(self._sql, [self._parameters(row) for row in given])

    @contextmanager
    def _cursor(self, connection: Connection) -> Iterator[Any]:
        """Yield a cursor of the driver, whose errors come out as SQLAlchemy's."""
        driver: Any = connection.dialect.loaded_dbapi
        cursor = connection.connection.cursor()
        try:
            yield cursor
        except driver.Error as error:
            wrapped = DBAPIError.instance(self._sql, None, error, driver.Error, hide_parameters=True)
            raise wrapped from error
        finally:
            cursor.close()

    def _parameters(self, row: Row) -> list[Any] | dict[str, Any]:
        if self._pick is not None:
            picked = list(self._pick(row))
            for at in self._at:
                if picked[at] is not None:
                    picked[at] = to_json(picked[at])
            return picked
        values = {**self._constants, **row}
        for name in self._documents:
            if values[name] is not None:
                values[name] = to_json(values[name])
        return values if self._order is None else [values[name] for name in self._order]
