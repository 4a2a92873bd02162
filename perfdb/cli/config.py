"""`perfdb config`: every setting in force, and where its value comes from."""

from __future__ import annotations

from typing import Any

import click

from perfdb.cli.options import table_options
from perfdb.cli.render import Column, print_rows, print_table
from perfdb.cli.sorting import in_order
from perfdb.history.history import History
from perfdb.settings import sources

COLUMNS = (Column("setting"), Column("value", flexible=True), Column("from", flexible=True))


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
    print_table(COLUMNS, [(row["setting"], _text(row["value"]), row["source"]) for row in rows])


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
