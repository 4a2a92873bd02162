"""`perfdb annotate`: say what happened, so that trends show it."""

from __future__ import annotations

import click

from perfdb.cli.options import database_option, instant, name_option, open_history
from perfdb.cli.text import inert, short_time


@click.command("annotate")
@click.argument("text")
@click.option("--at", callback=instant, metavar="WHEN", help="When it happened: 2h, 2026-01-31T08:00.  [now]")
@name_option("pipeline", "The pipeline it concerns.  [all of them]")
@database_option
def command(text: str, at: float | None, pipeline: str | None, database: str | None) -> None:
    """Note an event, such as a deployment: perfdb annotate "deploy 1.4".

    Trends mark it, and a window of the dashboard can begin with it. perfdb annotations lists them.
    """
    made = open_history(database, writes=True).annotate(text, at=at, pipeline=pipeline)
    click.echo(f"Annotation {made.id}: {inert(made.text)}, {short_time(made.at)}")
