"""`perfdb archive`: push the history to a lake."""

from __future__ import annotations

import os
import time

import click

from perfdb.cli.options import database_option, json_option
from perfdb.cli.render import print_json
from perfdb.filters import parse_age
from perfdb.history.history import History
from perfdb.text import counted, inert


@click.command("archive")
@click.argument("lake", required=False)
@click.option("--follow", is_flag=True, help="Go on, and push what ends from now on.")
@click.option(
    "--every", default="1m", show_default=True, metavar="AGE", help="How often to look with --follow."
)
@click.option("--seal", "seals", is_flag=True, help="Seal the lake after each push.")
@json_option
@database_option
def command(
    lake: str | None, follow: bool, every: str, seals: bool, as_json: bool, database: str | None
) -> None:
    """Push sessions that have ended to LAKE: a folder, s3://bucket/lake, or another object store.

    What was pushed before is left out; sending again does no harm. perfdb lake seal takes the pieces in.
    Without LAKE, the one of [archive] in the settings. Needs perfdb[lake].
    """
    from perfdb.history.access import reading
    from perfdb.lake.archive import push
    from perfdb.lake.place import Place, require_libraries
    from perfdb.lake.sealing import seal
    from perfdb.store.database import Database
    from perfdb.worker.archiving import LAKE, read_archive

    try:
        pause = max(1.0, parse_age(every))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--every") from None
    require_libraries()
    history = History(database)
    named = lake or os.environ.get(LAKE, "").strip()
    if not named and (configured := read_archive(history.settings.archive)) is not None:
        named = configured[0]
    if not named:
        raise click.UsageError("Name the lake: a folder, or an address such as s3://bucket/lake.")
    place = Place(named)
    history.require_access()
    click.echo(f"Read {history.database}", err=True)
    click.echo(f"Write {inert(place.shown)}", err=True)
    while True:
        with reading(history):  # takes the journals in
            pass
        with Database(history.url, migrates=False) as known:
            pushed = push(place, known)
        if seals:
            seal(place)
        if as_json:
            print_json(
                [
                    {
                        "pieces": pushed.pieces,
                        "sessions": pushed.sessions,
                        "steps": pushed.steps,
                        "open": pushed.held,
                        "tags": pushed.tags,
                    }
                ]
            )
        elif pushed.pieces or pushed.tags or not follow:
            later = f", {counted(pushed.tags, 'change')} of tags" if pushed.tags else ""
            still = f"; {pushed.held} still open" if pushed.held else ""
            sent = f"{counted(pushed.sessions, 'session')}, {counted(pushed.steps, 'step')}"
            click.echo(f"Pushed {sent}{later}{still}.")
        if not follow:
            return
        time.sleep(pause)
