"""Attributes of sessions as columns of their own, for frames and for plain rows.

An attribute that is called as a column of ours gets the prefix ``attribute.``; columns are in the order of
their names, so that both databases give the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from sqlalchemy import Connection, select

from perfdb.filters import Chosen
from perfdb.store.filters import choose_sessions
from perfdb.store.models import from_json, sessions
from perfdb.store.reading import driver_rows

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "attribute."
_INT64 = range(-(1 << 63), 1 << 63)


def attributes_of(connection: Connection, **filters: Unpack[Chosen]) -> dict[str, dict[str, Any]]:
    """Return the attributes of the sessions that fit, by session id."""
    query = select(sessions.c.session_id, sessions.c.attributes)
    found = driver_rows(connection, query.where(sessions.c.id.in_(choose_sessions(connection, **filters))))
    return {
        session_id: (from_json(given) if isinstance(given, str) else given) or {}
        for session_id, given in found
    }


def column_names(attributes: Iterable[Mapping[str, Any]], ours: Collection[str]) -> dict[str, str]:
    """Return the column of each attribute; no two have the same, and none has one of ours."""
    found = sorted({name for each in attributes for name in each})
    columns = {name: name for name in found if name not in ours}
    taken = {*ours, *columns}
    for name in found:
        if name not in columns:
            column = PREFIX + name
            while column in taken:
                column = PREFIX + column
            columns[name] = column
            taken.add(column)
    return {name: columns[name] for name in found}


def expanded_rows(
    rows: Sequence[Mapping[str, Any]], attributes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return plain rows with a column for each attribute, in all of them; an unknown value is None."""
    names = column_names(attributes, {name for row in rows for name in row})
    return [
        {**row, **{column: given.get(name) for name, column in names.items()}}
        for row, given in zip(rows, attributes, strict=True)
    ]


def expanded_frame(frame: pd.DataFrame, attributes: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a frame with a column for each attribute, of the type that all of its values have."""
    import pandas as pd

    names = column_names(attributes, set(frame.columns))
    if not names:
        return frame
    values = {column: [given.get(name) for given in attributes] for name, column in names.items()}
    typed = {
        column: pd.Series(each, dtype=_type_of(each), index=frame.index) for column, each in values.items()
    }
    return pd.concat([frame, pd.DataFrame(typed, index=frame.index)], axis=1)


def _type_of(values: Iterable[Any]) -> Any:
    from perfdb.store.frames import text_type

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "boolean"
    if kinds == {int} and all(value is None or value in _INT64 for value in values):
        return "Int64"
    if kinds and kinds <= {int, float}:
        return "float64"
    return text_type() if kinds == {str} else "object"
