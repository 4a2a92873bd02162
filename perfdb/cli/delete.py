"""`perfdb delete`: take sessions out of the database."""

from __future__ import annotations

import sys

import click

from perfdb.cli.options import database_option, open_history
from perfdb.cli.text import duration_text, local_time


@click.command("delete")
@click.argument("session_ids", metavar="ID...", nargs=-1, required=True)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@database_option
def command(session_ids: tuple[str, ...], yes: bool, database: str | None) -> None:
    """Delete sessions from the database.

    ID is a session's id, a prefix that fits only one, last, or last~1. All or none are deleted, and with
    them the pictures of designs; their JSON reports stay where they are.
    """
    history = open_history(database, writes=True)
    sessions = [history.session(each) for each in session_ids]
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Nobody is here to ask. Say --yes to delete without a question.")
        for session in sessions:
            click.echo(
                f"  {session.session_id}  {local_time(session.start_time)}  {session.pipeline}  "
                f"{duration_text(session.total_duration)}",
                err=True,
            )
        if not click.confirm(f"Delete {_sessions(len(sessions))}?", err=True):
            click.echo("Nothing deleted.", err=True)
            return
    # The full ids: `last` may mean another session by now.
    deleted = history.delete(*(session.session_id for session in sessions))
    click.echo(f"Deleted {_sessions(len(deleted))}: {', '.join(deleted)}")


def _sessions(count: int) -> str:
    return "1 session" if count == 1 else f"{count} sessions"
