"""`perfdb import`: JSON reports, old and new, into the database."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from perfdb.cli.options import database_option, json_option
from perfdb.cli.render import print_json
from perfdb.cli.text import inert
from perfdb.history.history import History
from perfdb.maintenance.formats import FORMATS
from perfdb.maintenance.importer import Imported, find_reports

BAD_FILES_SHOWN = 20
HELP = f"""Import JSON reports into the database.

PATH is {", ".join(each.words for each in reversed(FORMATS))}, a folder (every .json in and below it) or a
quoted glob. Sessions that are already in the database are left alone. A file that is none of these is listed
with the reason, and the other files are imported.
"""


@click.command("import", help=HELP)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@database_option
@json_option
def command(paths: tuple[str, ...], database: str | None, as_json: bool) -> None:
    """Import JSON reports into the database."""
    history = History(database)
    history.require_access()
    files = find_reports(paths)
    if not files:
        raise click.UsageError(f"No .json file in {', '.join(paths)}.")
    click.echo(f"Write {history.database}", err=True)
    with click.progressbar(
        length=len(files),
        label="Importing",
        show_eta=False,
        show_pos=True,
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
    ) as bar:
        imported = history.import_reports(files, each=lambda _: bar.update(1))
    if as_json:
        print_json(asdict(each) for each in imported)
    else:
        _tell(imported)
    if not any(each.error is None for each in imported):
        click.get_current_context().exit(2)


def _tell(imported: Sequence[Imported]) -> None:
    bad = [each for each in imported if each.error is not None]
    for each in bad[:BAD_FILES_SHOWN]:
        reason = inert(each.error)
        click.echo(
            f"  not imported: {'' if each.path in reason else inert(each.path) + ': '}{reason}", err=True
        )
    if len(bad) > BAD_FILES_SHOWN:
        click.echo(f"  … and {len(bad) - BAD_FILES_SHOWN} more (all of them with --json)", err=True)
    added, known = sum(each.added for each in imported), sum(each.known for each in imported)
    parts = [f"Imported {added} {'session' if added == 1 else 'sessions'}"]
    if known:
        parts.append(f"{known} known already")
    if bad:
        parts.append(f"{len(bad)} {'file' if len(bad) == 1 else 'files'} not imported")
    click.echo(", ".join(parts) + ".")
