"""`perfdb report`: sessions as one HTML file to send to somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.files import has_a_name, output_name, write_whole
from perfdb.cli.options import COUNT, database_option, filter_options, history_filters, open_history


@click.command("report")
@click.argument("session_id", metavar="[ID]", shell_complete=complete("session"), required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE",
    help="Where to: FILE.html, - for stdout.",
)
@click.option("-n", "--last", type=COUNT, help="So many of the newest sessions together.")
@filter_options
@database_option
def command(
    session_id: str | None, output: Path, last: int | None, database: str | None, **filters: Any
) -> None:
    """Write sessions as one HTML file: pictures, figures and the data itself.

    ID is a session's id, a prefix, last (the default) or last~1. With --last or a filter the
    file shows those sessions together. It needs no network, and `perfdb import` reads it back.
    """
    given = history_filters({**filters, "last": last})
    if session_id is not None and given:
        raise click.UsageError("Name one session, or choose several with --last and filters; not both.")
    if output.suffix.lower() not in (".html", ".htm") and has_a_name(output):
        raise click.BadParameter(f"{output} must end with .html", param_hint="-o")
    report = open_history(database).report(session_id, **given)
    write_whole([report.html.encode("utf-8", "backslashreplace")], output)
    click.echo(f"Wrote {output_name(output)}", err=True)
