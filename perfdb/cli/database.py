"""`perfdb db`: which tables the database has, how it gets the right ones, and its way into another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from perfdb.cli.group import DATABASE
from perfdb.cli.options import database_option, json_option
from perfdb.cli.render import Column, print_json, print_table
from perfdb.errors import StoreError, UsageError
from perfdb.history.history import History

if TYPE_CHECKING:
    from perfdb.store.upkeep.comparing import Copied


@click.group("db")
def command() -> None:
    """Manage the database schema and copy databases."""


@command.command("current")
@database_option
def current(database: str | None) -> None:
    """Show the schema version of the database."""
    from perfdb.store.database import Database
    from perfdb.store.schema import HEAD, revision

    history = _existing(database)
    with Database(history.url, migrates=False) as known, known.reading(checked=False) as connection:
        found = revision(connection)
    if found == HEAD:
        click.echo(f"{found} (current)")
    else:
        click.echo(f"{found or 'no tables'} (this perfdb uses {HEAD})")


@command.command("upgrade")
@database_option
def upgrade(database: str | None) -> None:
    """Create the tables, or upgrade them to the current schema."""
    from perfdb.store.database import Database
    from perfdb.store.engine import sqlite_path
    from perfdb.store.sanity import require_nothing_that_acts
    from perfdb.store.schema import HEAD, ensure_schema

    history = History(database)
    history.require_access()
    path = sqlite_path(history.url)
    if path is not None and path.exists():  # it may be from elsewhere
        with Database(history.url, migrates=False) as known, known.reading(checked=False) as connection:
            require_nothing_that_acts(connection)
    click.echo(f"Write {history.database}", err=True)
    ensure_schema(history.url)
    click.echo(f"{HEAD} (current)")


@command.command("check")
@database_option
def check(database: str | None) -> None:
    """Compare the tables with the expected schema; exit 1 if they differ."""
    from perfdb.store import schema

    differences = schema.check(_existing(database).url)
    for difference in differences:
        click.echo(difference)
    if differences:
        click.get_current_context().exit(1)
    click.echo("The tables are as expected.")


@command.command("reindex")
@database_option
def reindex(database: str | None) -> None:
    """Give recorded sessions the modes of mode_attributes in the settings.

    Run it once after you have changed mode_attributes. perfdb changes sessions in small batches, and programs
    may record meanwhile; running sessions keep their mode. You can interrupt it and run it again.
    """
    from perfdb.text import counted, inert

    history = _existing(database, writes=True)
    screen = sys.stderr.isatty()
    shown = (lambda changed: click.echo(f"\r{changed:,} sessions", err=True, nl=False)) if screen else None
    changed = history.reindex(each=shown)
    names = ", ".join(history.settings.mode_attributes) or "no attribute"
    click.echo(f"Changed {counted(changed, 'session')}: modes are of {inert(names)}.")


@command.command("copy")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@json_option
def copy(source: str, target: str, as_json: bool) -> None:
    """Copy the whole history from one database to another.

    SRC and DST are files or SQLAlchemy URLs, SQLite or PostgreSQL. perfdb reads a snapshot of SRC, and
    programs may write to SRC meanwhile. It creates the tables in DST if there are none. Run the command
    again to copy newer rows; a row in DST is never set back to an older state. Every row is read again
    from both databases and compared.
    """
    from perfdb.store.upkeep.copying import copy_history

    click.get_current_context().meta[DATABASE] = source
    here, there = _existing(source), History(target)
    there.require_access()
    if here.url == there.url:
        raise UsageError(f"{here.database} cannot be copied into itself: name another database as DST")
    click.echo(f"Write {there.database}", err=True)
    copied = copy_history(here.url, there.url, _say_progress if sys.stderr.isatty() else None)
    if as_json:
        print_json(
            {
                **asdict(each),
                "source_checksum": f"{each.source_checksum:016x}",
                "target_checksum": f"{each.target_checksum:016x}",
            }
            for each in copied
        )
    else:
        _print_copied(copied)
    _say_verified(copied, there)


def _say_progress(done: int, total: int) -> None:
    click.echo(f"\r{done} of {total} sessions", err=True, nl=done == total)


def _print_copied(copied: Sequence[Copied]) -> None:
    columns = [Column("table")]
    columns += [Column(title, right=True) for title in ("rows", "added", "updated", "kept")]
    columns += [Column("checksum"), Column("in the copy")]
    print_table(
        columns,
        [
            (
                each.table,
                each.rows,
                each.added,
                each.updated,
                each.kept,
                f"{each.source_checksum:016x}",
                "equal" if each.source_checksum == each.target_checksum else f"{each.target_checksum:016x}",
            )
            for each in copied
        ],
    )


def _say_verified(copied: Sequence[Copied], there: History) -> None:
    wrong = [each for each in copied if each.wrong]
    if wrong:
        named = ", ".join(f"{each.wrong} of {each.table}" for each in wrong)
        raise StoreError(
            f"{there.database} does not hold what was written to it ({named} rows differ): "
            "run the copy again, and check that server's disk if they differ again"
        )
    kept = sum(each.kept for each in copied)
    if kept:
        click.echo(
            f"All rows are there; for {kept} of them {there.database} keeps its own state.",
            err=True,
        )
    else:
        click.echo("All rows are there, and equal.", err=True)


def _existing(database: str | None, *, writes: bool = False) -> History:
    from perfdb.store.engine import sqlite_path

    history = History(database)
    history.require_access()
    path = sqlite_path(history.url)
    if path is not None and not path.exists():
        raise StoreError(f"there is no database at {history.database}: perfdb db upgrade creates one")
    click.echo(f"{'Write' if writes else 'Read'} {history.database}", err=True)
    return history
