"""The few statements of the hot path: SQLAlchemy writes their SQL once, the driver runs it.

One run with four steps takes five statements; Core's own way of executing one costs several
times what SQLite needs for it, under the write lock that other processes wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Connection
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.expression import Executable

from perfdb.store.models import to_json

Row = Mapping[str, Any]


class Prepared:
    """One statement for one dialect.

    ``columns`` are the parameters that every row brings; with ``as_json`` its documents are JSON already.
    """

    def __init__(
        self,
        statement: Executable,
        dialect: Dialect,
        columns: Sequence[str] | None = None,
        *,
        as_json: bool = False,
    ) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)  # type: ignore[attr-defined]
        self._kept = statement  # with its columns, which have callbacks: see let_go() in engine.py
        self._sql: str = compiled.string
        self._order: list[str] | None = compiled.positiontup  # None: the driver takes names
        brought = set(columns or ())
        self._constants = {name: value for name, value in compiled.params.items() if name not in brought}
        documents = [name for name, bind in compiled.binds.items() if isinstance(bind.type, JSON)]
        self._documents = documents if not as_json else []
        # those that bring all of them in their order are picked at once
        order = self._order if self._order is not None and len(self._order) > 1 else []
        self._pick = itemgetter(*order) if order and brought.issuperset(order) else None
        self._at = [order.index(name) for name in self._documents] if self._pick is not None else []

    def one(self, connection: Connection, row: Row) -> tuple[Any, ...] | None:
        """Run it for one row and return the first row of the answer, if any."""
        found: tuple[Any, ...] | None = self._run(connection, _first, self._parameters(row))
        return found

    def all(self, connection: Connection, row: Row | None = None) -> list[tuple[Any, ...]]:
        """Run it and return the whole answer."""
        found: list[tuple[Any, ...]] = self._run(connection, _all, self._parameters(row or {}))
        return found

    def many(self, connection: Connection, given: Iterable[Row]) -> None:
        """Run it for many rows."""
        self._run(connection, _none, [self._parameters(row) for row in given])

    def _run(self, connection: Connection, run: Callable[[Any, str, Any], Any], parameters: Any) -> Any:
        """Return what ``run`` does with a cursor of the driver, whose errors come out as SQLAlchemy's."""
        driver: Any = connection.dialect.loaded_dbapi
        own: Any = connection.connection.dbapi_connection
        try:
            cursor = own.cursor()
            try:
                return run(cursor, self._sql, parameters)
            finally:
                cursor.close()
        except driver.Error as error:
            wrapped = DBAPIError.instance(self._sql, None, error, driver.Error, hide_parameters=True)
            raise wrapped from error

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


def _first(cursor: Any, sql: str, parameters: Any) -> Any:
    cursor.execute(sql, parameters)
    return cursor.fetchone() if cursor.description else None


def _all(cursor: Any, sql: str, parameters: Any) -> Any:
    cursor.execute(sql, parameters)
    return cursor.fetchall()


def _none(cursor: Any, sql: str, parameters: Any) -> None:
    cursor.executemany(sql, parameters)
