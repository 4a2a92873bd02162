"""`perfdb backup`: the whole history in one file."""

from __future__ import annotations

from pathlib import Path

import click

from perfdb.cli.files import STDOUT, has_a_name
from perfdb.cli.options import database_option, json_option
from perfdb.cli.render import print_json
from perfdb.cli.text import size_text
from perfdb.history.history import History
from perfdb.settings import shown_path
from perfdb.text import counted

STDOUT_DEVICE = Path("/dev/stdout")


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@database_option
def command(file: Path, force: bool, as_json: bool, database: str | None) -> None:
    """Copy the database to FILE while programs record.

    The copy is a consistent snapshot, verified, and readable only by you. FILE may be - for stdout, or a
    folder, in which perfdb creates a file named after the time. The backup is an ordinary database:
    perfdb sessions -d FILE. Use perfdb restore FILE to restore it, or copy it over the database when no
    program is recording and perfdb.sqlite3-wal does not exist or has been removed.
    """
    history = History(database)
    file = STDOUT_DEVICE if file == STDOUT else file
    history.require_access()
    click.echo(f"Read {history.database}", err=True)
    to_program = not file.is_dir() and not has_a_name(file)  # its bytes are the answer
    made = history.backup(file, force=force)
    if as_json and not to_program:
        row = {"path": str(made.path), "size_bytes": made.size, "sessions": made.sessions}
        print_json([row | {"steps": made.steps, "schema": made.schema}])
        return
    click.echo(
        f"Wrote {shown_path(made.path)}: {counted(made.sessions, 'session')}, {counted(made.steps, 'step')}, "
        f"{size_text(made.size)}, verified.",
        err=to_program,
    )
