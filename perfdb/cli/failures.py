"""`perfdb failures`: why runs failed or were called off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    name_option,
    open_history,
    say_what_next,
    say_which,
    table_options,
)
from perfdb.cli.render import ID_WIDTH, Column, print_data, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import COLOURS, mark, short_time
from perfdb.history.values import rows_of
from perfdb.text import step_label

MOST = 50
COLUMNS = (
    Column(""),
    Column("runs", right=True),
    Column("step", flexible=True),
    Column("reason", flexible=True, least=24),
    Column("last"),
    Column("session", flexible=True, least=ID_WIDTH, optional=True),
)


@click.command("failures")
@last_option(default=1000)
@name_option("step", "Only this step.")
@filter_options
@table_options
def command(
    last: int, step: str | None, database: str | None, as_json: bool, as_csv: bool, **filters: Any
) -> None:
    """Count the reasons why runs failed or were cancelled.

    Messages that differ only in an id, such as an address or a task number, count as one reason.
    """
    history = open_history(database, lists=True)
    given = history_filters(filters)
    frame = frame_in_order(history.failures(step=step, last=last, **given))
    say_which(history, last, given)
    if not print_data(frame, as_json=as_json, as_csv=as_csv) and len(frame):
        rows = rows_of(frame.head(MOST))
        print_table(COLUMNS, [_cells(row) for row in rows], [COLOURS.get(row["status"]) for row in rows])
    if len(frame) > MOST and not as_json and not as_csv:
        click.echo(f"The first {MOST} of {len(frame):,}; all of them: --json or --csv", err=True)
    if frame.empty and history.session_rows(last=1, **given):
        click.echo("No run failed or was cancelled.", err=True)
    elif frame.empty:
        say_what_next(given)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        mark(row["status"]),
        f"{row['n']:,}",
        f"{step_label(row['step_name'])}, {row['pipeline']}",
        row["reason"],
        short_time(row["last_time"]),
        row["last_session_id"],
    )
