"""`perfdb export`: the history as JSON, CSV or Parquet, or as traces for the viewers of others.

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
from perfdb.history.exporting import FORMATS, Export


@click.command("export")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="Output format.")
@output_option("Output file; the default is stdout (-).", default=STDOUT)
@click.option(
    "--rows",
    type=click.Choice(["steps", "sessions"]),
    default="steps",
    show_default=True,
    help="What each row of CSV or Parquet contains.",
)
@click.option("--to", "url", metavar="URL", help="Send OTLP to a collector instead, by HTTP.")
@click.option("--bom", is_flag=True, help="Start CSV with a byte order mark, which some spreadsheets need.")
@last_option()
@expand_option
@filter_options
@database_option
def command(
    form: str,
    output: Path,
    rows: str,
    url: str | None,
    bom: bool,
    last: int | None,
    expand: bool,
    database: str | None,
    **filters: Any,
) -> None:
    """Export the history as JSON, CSV or Parquet, or as traces: otlp, chrome, speedscope.

    JSON is one object whose rows are complete reports; otlp is JSON lines. `perfdb import` can read both.
    chrome is for Perfetto and chrome://tracing. With --to, headers come from OTEL_EXPORTER_OTLP_HEADERS.
    """
    if url is not None and (form != "otlp" or output != STDOUT):
        raise click.UsageError("--to sends OTLP: use it with --format otlp, without -o.")
    if form == "parquet" and is_terminal(output):
        raise click.UsageError("Parquet is not for a terminal: name a file with -o.")
    if bom and form != "csv":
        raise click.UsageError("--bom is for CSV: the others have no byte order mark.")
    if expand and form not in ("csv", "parquet"):
        raise click.UsageError("--expand is for CSV and Parquet: the others have all attributes anyway.")
    history = open_history(database)
    given: dict[str, Any] = {**history_filters(filters), **({} if last is None else {"last": last})}
    if url is not None:
        from perfdb.history.sending import send_traces

        sent = send_traces(history.each_session(**given), url)
        click.echo(f"Sent {sent} sessions to {url.partition('?')[0]}", err=True)
        return
    export = Export(history, form, rows=rows, bom=bom, expand_attributes=expand, filters=given)
    write_whole(export, output)
    if export.written == 0:
        say_what_next(given)
    elif output != STDOUT:
        noun = rows if form in ("csv", "parquet") else "sessions"
        click.echo(f"Wrote {export.written} {noun} to {output_name(output)}", err=True)
