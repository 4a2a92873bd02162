"""`perfdb tag`: name a session, or take it out of baselines and trends."""

from __future__ import annotations

from typing import Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.options import database_option, open_history
from perfdb.filters import checked_tag
from perfdb.recording.redaction import redact


def tag_name(ctx: click.Context, param: click.Parameter, value: Any) -> str:
    """Return the tag when it can be one."""
    try:
        return checked_tag(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("tag")
@click.argument("session_id", metavar="ID", shell_complete=complete("session"))
@click.argument("name", callback=tag_name)
@database_option
def command(session_id: str, name: str, database: str | None) -> None:
    """Add a tag to a session, such as warmup or ignore.

    Sessions tagged warmup, ignore or cached are excluded from baselines and trends. ID is a session id, a
    unique prefix of one, last, or last~1.
    """
    tagged = open_history(database, writes=True).tag(session_id, name)
    click.echo(f"Tagged {tagged}: {redact(name)}")
