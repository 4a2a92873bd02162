"""Find or make the rows that many sessions share: series and environments.

Ids are remembered per connection to the driver, and only those that a SELECT found
in a transaction which had made none itself: so a rollback, or a database file that
was replaced, can never leave an id behind that this database does not know.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, select

from perfdb.store.dialects import find_series, insert_into, make_series
from perfdb.store.models import environments, series
from perfdb.store.rows import Record, SeriesKey, environment_columns

_KEPT = "perfdb_ids"
_MOST_KEPT = 10_000  # a host may put a counter into its step names
_FEW = 3
_NAMES_PER_SELECT = 500


class Ids:
    """The ids of series and environments, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._kept: dict[Hashable, int] = connection.info.setdefault(_KEPT, {})
        self._found: dict[Hashable, int] = {}

    def of_series(self, key: SeriesKey) -> int:
        """Return the id of (pipeline, mode, step name)."""
        known = self._kept.get(key) or self._found.get(key)
        if known is not None:
            return known
        pipeline, mode, step_name = key
        return self._find_or_make(key, series, {"pipeline": pipeline, "mode": mode, "step_name": step_name})

    def look_up(self, pipeline: str, mode: str, step_names: Collection[str]) -> None:
        """Find or make many series at once, so that ``of_series`` knows them; few are not worth it."""
        unknown = [
            name
            for name in dict.fromkeys(step_names)
            if not (self._kept.get(key := (pipeline, mode, name)) or self._found.get(key))
        ]
        if len(unknown) < _FEW:
            return
        # In order, because two writers that made the same ones in different orders would wait for each other.
        missing = sorted(self._find_many(pipeline, mode, unknown))
        if missing:
            _mark_dirty(self._connection)
            self._connection.execute(*make_series(self._connection, pipeline, mode, missing))
            self._find_many(pipeline, mode, missing)

    def _find_many(self, pipeline: str, mode: str, names: Sequence[str]) -> set[str]:
        """Remember those that are there; return the others."""
        missing = set(names)
        keep = not _is_dirty(self._connection)
        for first in range(0, len(names), _NAMES_PER_SELECT):
            find = find_series(self._connection, pipeline, mode, names[first : first + _NAMES_PER_SELECT])
            for found, name in self._connection.execute(*find):
                if found is not None:
                    missing.discard(name)
                    self._remember((pipeline, mode, name), found, keep=keep)
        return missing

    def _remember(self, key: Hashable, found: int, *, keep: bool) -> None:
        if keep:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = found
        self._found[key] = found

    def of_environment(self, header: Record) -> int | None:
        """Return the id of the environment that a header names, None when it names nothing."""
        row = environment_columns(header)
        if row is None:
            return None
        key = row["digest"]
        known = self._kept.get(key) or self._found.get(key)
        return known if known is not None else self._find_or_make(key, environments, row, natural=("digest",))

    def _find_or_make(
        self, key: Hashable, table: Table, row: Mapping[str, Any], natural: tuple[str, ...] | None = None
    ) -> int:
        wanted = select(table.c.id).where(
            *(
                table.c[column].is_(None) if row[column] is None else table.c[column] == row[column]
                for column in natural or row
            )
        )
        found = self._connection.execute(wanted).scalar()
        keep = not _is_dirty(self._connection)
        if found is None:
            keep = False
            _mark_dirty(self._connection)
            statement = insert_into(self._connection, table).values(**row)
            statement = statement.on_conflict_do_nothing().returning(table.c.id)
            # Nothing comes back when another process made it in this moment: then it can be seen now.
            found = (
                self._connection.execute(statement).scalar() or self._connection.execute(wanted).scalar_one()
            )
        self._remember(key, found, keep=keep)
        return int(found)


def forget_ids(connection: Connection) -> None:
    """Drop what is remembered, after the database refused an id."""
    connection.info.pop(_KEPT, None)


def _mark_dirty(connection: Connection) -> None:
    transaction = connection.get_transaction()
    connection.info[_KEPT + "_made_in"] = weakref.ref(transaction) if transaction is not None else None


def _is_dirty(connection: Connection) -> bool:
    made_in = connection.info.get(_KEPT + "_made_in")
    transaction = connection.get_transaction()
    return made_in is not None and transaction is not None and made_in() is transaction
