"""`perfdb restore`: a backup in the place of the database."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from perfdb.cli.options import database_option
from perfdb.errors import StoreError, UsageError
from perfdb.history import History
from perfdb.recording.journal import has_living_writer, journals_in
from perfdb.settings import shown_path
from perfdb.texts import counted
from perfdb.transfer import end_left_sessions


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@database_option
def command(file: Path, yes: bool, database: str | None) -> None:
    """Put the backup FILE in the place of the database.

    What is there is backed up beside it first. Programs that record have to end before; those that read may
    go on. What waits in journals is taken in again, sessions that ran during the backup are interrupted.
    """
    from perfdb.store.backup import restore
    from perfdb.store.engine import sqlite_path

    history = History(database)
    history.require_access()
    target = sqlite_path(history.url)
    if target is not None and target.exists() and target.samefile(file):
        raise UsageError(f"{file} is the database itself")
    home = history.settings.home
    living = sum(has_living_writer(path) for path in journals_in(home / "journal"))
    if living:
        raise StoreError(f"{counted(living, 'program')} recording into {home}: end it first, then restore")
    if not yes and sys.stdin.isatty() and not click.confirm(f"Replace {history.database}?", err=True):
        click.echo("Nothing restored.", err=True)
        return
    click.echo(f"Write {history.database}", err=True)
    before = _save(history, target)
    made = restore(file, history.url)
    end_left_sessions(home, history.url)
    text = f"Restored {counted(made.sessions, 'session')}, {counted(made.steps, 'step')}."
    click.echo(text + (f" What was there before is in {shown_path(before)}." if before is not None else ""))


def _save(history: History, target: Path | None) -> Path | None:
    """Back up what is there; what cannot be read is moved aside by the restore itself."""
    if target is None or not target.exists():
        return None
    before = target.with_name(time.strftime(f"{target.stem}-before-restore-%Y%m%d-%H%M%S.sqlite3"))
    try:
        history.backup(before)
    except StoreError as error:
        click.echo(f"Not saved: {error}", err=True)
        return None
    return before
