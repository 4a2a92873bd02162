"""`perfdb export`: the history as JSON, CSV or Parquet.

JSON holds whole reports and comes back with `perfdb import`. A text cell of CSV that a
spreadsheet would run as a formula starts with an apostrophe.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from perfdb.cli.files import STDOUT, is_terminal, output_name, write_whole
from perfdb.cli.options import (
    COUNT,
    database_option,
    expand_option,
    filter_options,
    history_filters,
    open_history,
    say_what_next,
)
from perfdb.cli.render import csv_pieces, json_pieces
from perfdb.errors import MissingExtraError
from perfdb.history.history import History
from perfdb.recording.report import to_report


@click.command("export")
@click.option(
    "--format", "form", type=click.Choice(["json", "csv", "parquet"]), required=True, help="Output format."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=STDOUT,
    metavar="FILE",
    help="Output file; the default is stdout (-).",
)
@click.option(
    "--rows",
    type=click.Choice(["steps", "sessions"]),
    default="steps",
    show_default=True,
    help="What each row of CSV or Parquet contains.",
)
@click.option("--bom", is_flag=True, help="Start CSV with a byte order mark, which some spreadsheets need.")
@click.option("-n", "--last", type=COUNT, help="Number of newest sessions.")
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
    counted = _Counted()
    if form == "json":
        pieces: Iterable[bytes] = _json(history, given, counted)
    else:
        columns = {**given, "expand_attributes": expand}
        pieces = (_csv if form == "csv" else _parquet)(history, rows, columns, counted)
    write_whole(chain([codecs.BOM_UTF8], pieces) if bom else pieces, output)
    if counted.rows == 0:
        say_what_next(given)
    elif output != STDOUT:
        noun = "sessions" if form == "json" else rows
        click.echo(f"Wrote {counted.rows} {noun} to {output_name(output)}", err=True)


class _Counted:
    rows = 0


def _json(history: History, filters: dict[str, Any], counted: _Counted) -> Iterator[bytes]:
    def reports() -> Iterator[dict[str, Any]]:
        for session in history.each_session(**filters):
            counted.rows += 1
            yield to_report(session)

    return (piece.encode() for piece in json_pieces(reports()))


def _csv(history: History, rows: str, filters: dict[str, Any], counted: _Counted) -> Iterator[bytes]:
    frame = _frame(history, rows, filters)
    counted.rows = len(frame)
    yield from csv_pieces(frame)


def _parquet(history: History, rows: str, filters: dict[str, Any], counted: _Counted) -> Iterator[bytes]:
    try:
        import pyarrow  # noqa: F401  # pandas would name neither the extra nor the command
    except ImportError:
        raise MissingExtraError("Parquet needs pyarrow: pip install 'perfdb[parquet]'") from None
    frame = _frame(history, rows, filters)
    counted.rows = len(frame)
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = [
                value if value is None or isinstance(value, str) else json.dumps(value, default=str)
                for value in frame[name]
            ]
    buffer = io.BytesIO()
    frame.to_parquet(buffer, engine="pyarrow", index=False)
    yield buffer.getvalue()


def _frame(history: History, rows: str, filters: dict[str, Any]) -> Any:
    return (history.steps if rows == "steps" else history.sessions)(**filters)
