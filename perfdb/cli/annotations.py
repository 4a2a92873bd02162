"""`perfdb annotations`: what was said to have happened, and to forget it."""

from __future__ import annotations

from dataclasses import asdict, fields

import click

from perfdb.cli.options import (
    COUNT,
    database_option,
    instant,
    last_option,
    name_option,
    open_history,
    table_options,
)
from perfdb.cli.render import Column, print_rows, print_table
from perfdb.cli.sorting import in_order
from perfdb.cli.text import short_time

COLUMNS = (Column("id", right=True), Column("at"), Column("pipeline"), Column("text", flexible=True))


@click.group("annotations", invoke_without_command=True)
@name_option("pipeline", "Only what concerns this pipeline.")
@click.option("--since", callback=instant, metavar="WHEN", help="Only what happened at or after WHEN.")
@click.option("--until", callback=instant, metavar="WHEN", help="Only what happened before WHEN.")
@last_option("Number of newest annotations.  [all]")
@table_options
@click.pass_context
def command(
    ctx: click.Context,
    last: int | None,
    pipeline: str | None,
    since: float | None,
    until: float | None,
    database: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List annotations, oldest first; perfdb annotate adds one."""
    ctx.obj = database
    if ctx.invoked_subcommand is not None:
        return
    from perfdb.store.annotations import Annotation

    found = open_history(database).annotations(last=last, pipeline=pipeline, since=since, until=until)
    rows = in_order([asdict(each) for each in found], columns=[each.name for each in fields(Annotation)])
    if print_rows(rows, as_json=as_json, as_csv=as_csv):
        return
    if not rows:
        click.echo('Nothing is annotated. Note a deployment: perfdb annotate "deploy 1.4"', err=True)
        return
    print_table(
        COLUMNS,
        [(str(row["id"]), short_time(row["at"]), row["pipeline"] or "all", row["text"]) for row in rows],
    )


@command.command("remove")
@click.argument("number", type=COUNT)
@database_option
@click.pass_context
def remove(ctx: click.Context, number: int, database: str | None) -> None:
    """Remove the annotation with this NUMBER."""
    open_history(database or ctx.obj, writes=True).remove_annotation(number)
    click.echo(f"Removed annotation {number}.")
