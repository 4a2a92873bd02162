"""Rows as they are in any database: numbers of rows replaced by the names of what they stand for.

Two databases number their rows each in its own way and write JSON each in its own way; the keys and
checksums of this module do not see that. A checksum is of a set of rows, whatever their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from typing import Any

from sqlalchemy import JSON, Double, Table

from perfdb.store.models import metadata

Key = tuple[Any, ...]
Names = Mapping[str, Mapping[int, Key]]  # per table: the key of each row's number

# What makes a row the same row in another database.
KEYS: dict[str, tuple[str, ...]] = {
    "series": ("pipeline", "mode", "step_name"),
    "environments": ("digest",),
    "journals": ("journal_id",),
    "sessions": ("session_id",),
    "steps": ("session_pk", "seq"),
    "samples": ("session_pk", "time"),
    "session_tags": ("session_pk", "name"),
    "alerts": ("series_id", "rule", "metric", "direction", "opened_at"),
    "alert_events": ("alert_id", "at", "event", "session_id", "note"),
    "outbox": ("channel", "kind", "session_id", "created_at"),
    "silences": ("rule", "pipeline", "step_name", "alert_id", "created_at"),
    "baselines": ("series_id", "metric", "since_session_id", "created_at"),
    "annotations": ("at", "text", "pipeline", "created_at"),
    "rollups": ("series_id", "measure", "pruned", "day"),
    "stale_days": ("day", "claim"),
    "daily_values": ("day",),
    "pruned_measures": ("id",),
}
# Of other rows, but for what tells of pruned runs.
DERIVED = ("rollups", "stale_days", "daily_values", "pruned_measures")
# The number of a row, and a reading of one server's clock, mean nothing elsewhere.
LOCAL = ("id", "seen_at")

_CHECKSUM = 1 << 64
_SORTED = json.JSONEncoder(sort_keys=True)
_NUMBERED = re.compile(r"(perfdb alerts [a-z-]+ )\d+")


@cache
def references(table: Table) -> dict[str, str]:
    """Return which columns hold the number of a row of which table."""
    found = {column.name: key.column.table.name for column in table.columns for key in column.foreign_keys}
    return found | ({"inhibited_by": "alerts"} if table.name == "alerts" else {})


def key_reader(table: Table, names: Names) -> Callable[[Sequence[Any]], Key]:
    """Return a function that gives the key of a row of all columns."""
    refers = references(table)
    places = [
        (list(table.columns.keys()).index(name), names[refers[name]] if name in refers else None)
        for name in KEYS[table.name]
    ]

    def read(row: Sequence[Any]) -> Key:
        return tuple(
            row[place] if named is None or row[place] is None else named.get(row[place])
            for place, named in places
        )

    return read


def checksum_of(table: Table, names: Names) -> Callable[[Sequence[Any]], int]:
    """Return a function that gives the checksum of a row of all columns."""
    refers = references(table)
    readers: list[tuple[int, Callable[[Any], Any] | None]] = []
    for place, column in enumerate(table.columns):
        if column.name in LOCAL:
            continue
        if column.name in refers:
            readers.append((place, names.get(refers[column.name], {}).get))
        elif isinstance(column.type, JSON):
            readers.append((place, _canonical))
        elif isinstance(column.type, Double):
            readers.append((place, lambda number: number + 0.0))  # SQLite keeps no -0.0
        elif table.name == "alerts" and column.name == "message":
            readers.append((place, lambda text: renumbered(text, 0)))
        else:
            readers.append((place, None))

    def read(row: Sequence[Any]) -> int:
        values = [
            row[place] if reader is None or row[place] is None else reader(row[place])
            for place, reader in readers
        ]
        return int.from_bytes(blake2b(repr(values).encode(), digest_size=8).digest())

    return read


def add_checksums(one: int, other: int) -> int:
    """Return the checksum of the rows of both."""
    return (one + other) % _CHECKSUM


def renumbered(message: str, alert_id: int) -> str:
    """Return an alert's message with its number in the commands that it names."""
    return _NUMBERED.sub(rf"\g<1>{alert_id}", message)


def tables() -> dict[str, Table]:
    """Return the tables by name, those that others refer to first; without what is derived of others."""
    return {name: metadata.tables[name] for name in KEYS if name not in DERIVED}


def _canonical(document: Any) -> str:
    return _SORTED.encode(_same_numbers(document))


def _same_numbers(value: Any) -> Any:
    """Write 1e16 as PostgreSQL gives it back: its JSONB knows decimal numbers and no exponents."""
    if isinstance(value, float):
        return int(Decimal(repr(value))) if value.is_integer() else value
    if isinstance(value, dict):
        return {name: _same_numbers(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_same_numbers(item) for item in value]
    return value
