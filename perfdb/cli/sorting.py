"""The order that `--sort` asks for: one for the table, the JSON and the CSV of every command.

A column is called what `--json` calls it. What is unknown comes last in either direction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from perfdb.cli.text import inert
from perfdb.errors import UsageError
from perfdb.history.values import to_builtin
from perfdb.text import shortened

if TYPE_CHECKING:
    import pandas as pd

Item = TypeVar("Item")
_SORT = "perfdb.sort"  # in click's meta


def remember_sort(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Keep what was asked for until there are rows."""
    if value is not None:
        ctx.meta[_SORT] = value


def is_sorted() -> bool:
    """Say whether an order was asked for."""
    return _SORT in click.get_current_context().meta


def in_order(
    items: Sequence[Item],
    row: Callable[[Item], Mapping[str, Any]] | None = None,
    columns: Iterable[str] = (),
) -> list[Item]:
    """Return the items in the order that was asked for; as they are when none was.

    Args:
        items: the rows, or what they are made of.
        row: returns an item's row.
        columns: what a row has, for when there is none.

    Raises:
        UsageError: there is no such column.
    """
    if not is_sorted():
        return list(items)
    rows = [row(item) if row else cast(Mapping[str, Any], item) for item in items]
    known = dict.fromkeys([*columns, *(name for each in rows for name in each)])
    if not known:
        return list(items)
    name, down = _asked(known)
    return [items[place] for place in _order([each.get(name) for each in rows], down)]


def frame_in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in the order that was asked for; see ``in_order``."""
    if not is_sorted():
        return frame
    name, down = _asked([str(each) for each in frame.columns])
    return frame.iloc[_order([to_builtin(value) for value in frame[name].tolist()], down)]


def _asked(known: Iterable[str]) -> tuple[str, bool]:
    """Return the column and whether the largest comes first."""
    asked: str = click.get_current_context().meta[_SORT]
    names = list(known)
    name, down = (asked, False) if asked in names else (asked.removeprefix("-"), asked.startswith("-"))
    if name in names:
        return name, down
    near = get_close_matches(name.casefold(), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"--sort: no column is called {inert(shortened(name, 80))!r}; {hint}")


def _order(values: Sequence[Any], down: bool) -> list[int]:
    known = [place for place, value in enumerate(values) if value is not None]
    unknown = [place for place, value in enumerate(values) if value is None]
    return sorted(known, key=lambda place: _key(values[place]), reverse=down) + unknown


def _key(value: Any) -> tuple[int, Any]:
    if isinstance(value, bool | int | float):
        return (0, value)
    if hasattr(value, "timestamp"):
        return (0, value.timestamp())
    return (1, value) if isinstance(value, str) else (2, json.dumps(value, default=str, sort_keys=True))
