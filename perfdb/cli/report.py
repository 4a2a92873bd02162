"""`perfdb report`: sessions as one HTML file to send to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.files import has_a_name, output_name, write_whole
from perfdb.cli.options import (
    database_option,
    filter_options,
    history_filters,
    last_option,
    measure_option,
    open_history,
    output_option,
)


@click.command("report")
@click.argument("session_id", metavar="[ID]", shell_complete=complete("session"), required=False)
@output_option("Output: FILE.html, or - for stdout.", required=True)
@last_option("Report on this many of the newest sessions.")
@measure_option
@filter_options
@database_option
def command(
    session_id: str | None,
    output: Path,
    last: int | None,
    measure: str,
    database: str | None,
    **filters: Any,
) -> None:
    """Write sessions to one HTML file with charts, figures and the data.

    ID is a session id, a unique prefix of one, last (the default) or last~1. With --last or a filter, the
    file shows those sessions together, by their duration or another measure. It needs no network, and
    `perfdb import` can read it. Its data alone: perfdb export.
    """
    given = history_filters(filters)
    if session_id is not None and (given or last is not None):
        raise click.UsageError("Name one session, or choose several with --last and filters; not both.")
    if output.suffix.lower() not in (".html", ".htm") and has_a_name(output):
        raise click.BadParameter(f"{output} must end with .html", param_hint="-o")
    report = open_history(database).report(session_id, measure=measure, last=last, **given)
    write_whole([report.html.encode("utf-8", "backslashreplace")], output)
    click.echo(f"Wrote {output_name(output)}", err=True)
