"""`perfdb import`: JSON reports, old and new, into the database."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict

import click

from perfdb.cli.options import database_option, json_option
from perfdb.cli.render import print_json
from perfdb.cli.text import inert
from perfdb.history.history import History
from perfdb.maintenance.formats import FORMATS
from perfdb.maintenance.importer import Imported, Watch, find_reports

BAD_FILES_SHOWN = 20
LOOK_AGAIN_S = 1.0
HELP = f"""Import JSON reports into the database.

PATH is {", ".join(each.words for each in reversed(FORMATS))}, a folder (every .json in and below it) or a
quoted glob; a file is told by its content, and may be packed with gzip. Sessions that are already in the
database are left alone. A file that is none of these is listed with the reason, and the other files are
imported. With --watch the files are imported as they appear or change, until Ctrl-C.
"""


@click.command("import", help=HELP)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@database_option
@click.option("--watch", "watched", is_flag=True, help="Go on, and import files as they appear or change.")
@json_option
def command(paths: tuple[str, ...], database: str | None, watched: bool, as_json: bool) -> None:
    """Import JSON reports into the database."""
    history = History(database)
    history.require_access()
    if watched:
        _watch(history, paths, as_json)
        return
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


def _watch(history: History, paths: tuple[str, ...], as_json: bool) -> None:
    """Import what appears, a line or a row for each file, until it is interrupted."""
    watch = Watch(paths)
    click.echo(f"Write {history.database}; Ctrl-C ends", err=True)
    with suppress(KeyboardInterrupt):
        while True:
            if ready := watch.ready():
                imported = history.import_reports(ready)
                if as_json:
                    print_json(asdict(each) for each in imported)
                else:
                    _tell(imported)
                sys.stdout.flush()
            time.sleep(LOOK_AGAIN_S)


def _tell(imported: Sequence[Imported]) -> None:
    bad = [each for each in imported if each.error is not None]
    for each in bad[:BAD_FILES_SHOWN]:
        reason = inert(each.error)
        click.echo(
            f"  not imported: {'' if each.path in reason else inert(each.path) + ': '}{reason}", err=True
        )
    if len(bad) > BAD_FILES_SHOWN:
        click.echo(f"  … and {len(bad) - BAD_FILES_SHOWN} more (all of them with --json)", err=True)
    if bad:
        click.echo("What can be imported: perfdb import --help", err=True)
    added, known = sum(each.added for each in imported), sum(each.known for each in imported)
    parts = [f"Imported {added} {'session' if added == 1 else 'sessions'}"]
    if known:
        parts.append(f"{known} known already")
    if bad:
        parts.append(f"{len(bad)} {'file' if len(bad) == 1 else 'files'} not imported")
    click.echo(", ".join(parts) + ".")
