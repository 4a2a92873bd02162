"""`perfdb config`: every setting in force, and where its value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Any

import click

from perfdb.cli.options import table_options
from perfdb.cli.render import Column, print_rows, print_table, screen_width
from perfdb.cli.sorting import in_order
from perfdb.cli.text import inert, width
from perfdb.history.history import History
from perfdb.settings import sources

COLUMNS = (Column("setting"), Column("value", flexible=True), Column("from", flexible=True))

_LEAST = 12  # columns of a value and of its source on a narrow screen


@click.command("config")
@table_options
def command(database: str | None, as_json: bool, as_csv: bool) -> None:
    """Show every setting, its value and where the value comes from.

    A value comes from the settings file, the environment, a command's option or the default of perfdb.
    Passwords are hidden.
    """
    settings = History(database).settings
    rows = [
        {
            "setting": name,
            "value": value,
            "source": "--database" if name == "database_url" and database else source,
        }
        for name, value, source in sources(settings)
    ]
    rows = in_order(rows)
    if print_rows(rows, as_json=as_json, as_csv=as_csv):
        return
    print_table(COLUMNS, list(_lines([(row["setting"], _text(row["value"]), row["source"]) for row in rows])))


def _lines(rows: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the rows with what is too long for the screen on lines of its own: none of it is cut."""
    names, values, sources_ = (max(width(inert(row[place])) for row in rows) for place in range(3))
    room = max(2 * _LEAST, screen_width() - names - 2 * len("  "))
    of_source = max(min(sources_, room // 2), room - values)
    of_value = room - min(of_source, sources_)
    for name, value, source in rows:
        pieces = [_pieces(inert(text), most) for text, most in ((value, of_value), (source, of_source))]
        for number, (one, two) in enumerate(zip_longest(*pieces, fillvalue="")):
            yield "" if number else name, one, two


def _pieces(text: str, most: int) -> list[str]:
    return wrap(text, most, break_on_hyphens=False) or [""]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
