"""`perfdb export`: the history as JSON, CSV or Parquet.

JSON holds whole reports and comes back with `perfdb import`. A text cell of CSV that a
spreadsheet would run as a formula starts with an apostrophe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfdb.cli.files import STDOUT, is_terminal, output_name, write_whole
from perfdb.cli.options import (
    database_option,
    expand_option,
    filter_options,
    history_filters,
    last_option,
    open_history,
    output_option,
    say_what_next,
)
from perfdb.history.exporting import Export


@click.command("export")
@click.option(
    "--format", "form", type=click.Choice(["json", "csv", "parquet"]), required=True, help="Output format."
)
@output_option("Output file; the default is stdout (-).", default=STDOUT)
@click.option(
    "--rows",
    type=click.Choice(["steps", "sessions"]),
    default="steps",
    show_default=True,
    help="What each row of CSV or Parquet contains.",
)
@click.option("--bom", is_flag=True, help="Start CSV with a byte order mark, which some spreadsheets need.")
@last_option()
@expand_option
@filter_options
@database_option
def command(
    form: str,
    output: Path,
    rows: str,
    bom: bool,
    last: int | None,
    expand: bool,
    database: str | None,
    **filters: Any,
) -> None:
    """Export the history as JSON, CSV or Parquet.

    JSON is one object whose rows are complete reports; `perfdb import` can read it.
    """
    if form == "parquet" and is_terminal(output):
        raise click.UsageError("Parquet is not for a terminal: name a file with -o.")
    if bom and form != "csv":
        raise click.UsageError("--bom is for CSV: JSON and Parquet have no byte order mark.")
    if expand and form == "json":
        raise click.UsageError(
            "--expand is for CSV and Parquet: JSON has whole reports, with their attributes."
        )
    history = open_history(database)
    given = {**history_filters(filters), **({} if last is None else {"last": last})}
    export = Export(history, form, rows=rows, bom=bom, expand_attributes=expand, filters=given)
    write_whole(export, output)
    if export.written == 0:
        say_what_next(given)
    elif output != STDOUT:
        noun = "sessions" if form == "json" else rows
        click.echo(f"Wrote {export.written} {noun} to {output_name(output)}", err=True)
