"""`perfdb db`: which tables the database has, and how it gets the right ones."""

from __future__ import annotations

import click

from perfdb.cli.options import database_option
from perfdb.errors import StoreError
from perfdb.history import History


@click.group("db")
def command() -> None:
    """Look after the database's tables."""


@command.command("current")
@database_option
def current(database: str | None) -> None:
    """Show which schema the database has."""
    from perfdb.store.engine import open_engine
    from perfdb.store.schema import HEAD, revision

    history = _existing(database)
    engine = open_engine(history.url, role="reader")
    try:
        with engine.connect() as connection:
            found = revision(connection)
    finally:
        engine.dispose()
    if found == HEAD:
        click.echo(f"{found} (current)")
    else:
        click.echo(f"{found or 'no tables'} (this perfdb uses {HEAD})")


@command.command("upgrade")
@database_option
def upgrade(database: str | None) -> None:
    """Bring the tables up to date, creating them where there are none."""
    from perfdb.store.schema import HEAD, ensure_schema

    history = History(database)
    click.echo(f"Write {history.database}", err=True)
    ensure_schema(history.url)
    click.echo(f"{HEAD} (current)")


@command.command("check")
@database_option
def check(database: str | None) -> None:
    """Compare the tables with what this perfdb expects; exit 1 when they differ."""
    from perfdb.store import schema

    differences = schema.check(_existing(database).url)
    for difference in differences:
        click.echo(difference)
    if differences:
        click.get_current_context().exit(1)
    click.echo("The tables are as expected.")


def _existing(database: str | None) -> History:
    from perfdb.store.engine import sqlite_path

    history = History(database)
    path = sqlite_path(history.url)
    if path is not None and not path.exists():
        raise StoreError(f"there is no database at {history.database}: perfdb db upgrade creates one")
    click.echo(f"Read {history.database}", err=True)
    return history
