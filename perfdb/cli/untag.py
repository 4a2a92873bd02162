"""`perfdb untag`: take a tag from a session."""

from __future__ import annotations

import click

from perfdb.cli.completing import complete
from perfdb.cli.options import database_option, open_history
from perfdb.recording.redaction import redact


@click.command("untag")
@click.argument("session_id", metavar="ID", shell_complete=complete("session"))
@click.argument("name")
@database_option
def command(session_id: str, name: str, database: str | None) -> None:
    """Remove a tag from a session."""
    untagged = open_history(database, writes=True).untag(session_id, name)
    click.echo(f"Untagged {untagged}: {redact(name)}")
