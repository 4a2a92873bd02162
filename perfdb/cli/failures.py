"""`perfdb failures`: why runs failed or were called off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

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
from perfdb.cli.render import ID_WIDTH, Column, print_data, print_heading, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import COLOURS, mark, short_time
from perfdb.history.values import rows_of
from perfdb.text import step_label

if TYPE_CHECKING:
    import pandas as pd

MOST = 50
COLUMNS = (
    Column(""),
    Column("runs", right=True),
    Column("step", flexible=True),
    Column("last"),
    Column("session", flexible=True, least=ID_WIDTH, optional=True),
    Column("reason", flexible=True, least=24, below=3),
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
    if not print_data(frame, as_json=as_json, as_csv=as_csv):
        _print(frame if step else frame[frame["failed_step"].isna()], len(frame))
    if frame.empty and history.session_rows(last=1, **given):
        click.echo("No run failed or was cancelled.", err=True)
    elif frame.empty:
        say_what_next(given)


def _print(told: pd.DataFrame, of: int) -> None:
    """Print the first of the rows by pipelines, and say which of all are not among them."""
    for number, (pipeline, group) in enumerate(told.head(MOST).groupby("pipeline", sort=False)):
        print_heading(str(pipeline), first=number == 0)
        rows = rows_of(group)
        print_table(COLUMNS, [_cells(row) for row in rows], [COLOURS.get(row["status"]) for row in rows])
    for line in _left_out(len(told), of):
        click.echo(f"{line}; all of them: --json or --csv", err=True)


def _left_out(told: int, of: int) -> Iterator[str]:
    if told > MOST:
        yield f"The first {MOST} of {told:,}"
    if of > told:
        yield "What failed because a step inside of it did is not listed again"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        mark(row["status"]),
        f"{row['n']:,}",
        step_label(row["step_name"]),
        short_time(row["last_time"]),
        row["last_session_id"],
        row["reason"],
    )
