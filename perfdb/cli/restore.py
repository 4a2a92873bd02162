"""`perfdb restore`: a backup in the place of the database."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from perfdb.cli.files import ExistingFile
from perfdb.cli.options import database_option
from perfdb.errors import StoreError, UsageError
from perfdb.history.history import History
from perfdb.outputs import free_name
from perfdb.recording.journal import has_living_writer, journals_in
from perfdb.settings import shown_path
from perfdb.text import counted
from perfdb.worker.recovery import end_left_sessions


@click.command("restore")
@click.argument("file", type=ExistingFile())
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@database_option
def command(file: Path, yes: bool, database: str | None) -> None:
    """Replace the database with the backup FILE.

    First perfdb backs up the current database beside it. Stop all recording programs before; readers may
    continue. Records that wait in journals are imported again. Sessions that were running during the
    backup end as interrupted.
    """
    from perfdb.store.engine import sqlite_path
    from perfdb.store.upkeep.restoring import require_backup, restore
    from perfdb.store.upkeep.retention import clear_errors

    history = History(database)
    history.require_access()
    target = sqlite_path(history.url)
    if target is not None and target.exists() and target.samefile(file):
        raise UsageError(f"{file} is the database itself")
    home = history.settings.home
    living = sum(has_living_writer(path) for path in journals_in(home / "journal"))
    if living:
        raise StoreError(
            f"{counted(living, 'program')} recording into {home}: stop recording first, then restore"
        )
    require_backup(file)
    if not yes and target is not None and target.exists() and target.stat().st_size > 0:
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"There is no terminal to ask for confirmation. Pass --yes to replace {history.database}."
            )
        if not click.confirm(f"Replace {history.database}?", err=True):
            click.echo("Nothing restored.", err=True)
            return
    click.echo(f"Write {history.database}", err=True)
    before = None if target is None else _name_beside(target)
    made = restore(file, history.url, before=before)
    with clear_errors(history.url):
        end_left_sessions(home, history.url)
    text = f"Restored {counted(made.sessions, 'session')}, {counted(made.steps, 'step')}."
    saved = f" The previous database is in {shown_path(before)}." if before and before.exists() else ""
    click.echo(text + saved)


def _name_beside(target: Path) -> Path:
    moment = time.strftime("%Y%m%d-%H%M%S")
    return free_name(target.with_name(f"{target.stem}-before-restore-{moment}.sqlite3"))
