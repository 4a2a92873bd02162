"""`perfdb hits`: whom a move hits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.options import (
    filter_options,
    history_filters,
    instant,
    last_option,
    measure_option,
    name_option,
    open_history,
    table_options,
)
from perfdb.cli.render import Column, print_data, print_sentence, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.history.values import rows_of

MOST = 20
COLUMNS = (
    Column("attribute", flexible=True),
    Column("value", flexible=True),
    Column("moved", right=True),
    Column("95 % interval", right=True, optional=True),
    Column("others", right=True),
    Column("runs before", right=True),
    Column("runs since", right=True),
)


@click.command("hits")
@click.argument("at", metavar="WHEN", callback=instant)
@last_option("Number of newest sessions before WHEN, and since, that are looked at.", default=2000)
@name_option("step", "What moved is this step, instead of the whole.")
@click.option("--failures", is_flag=True, help="Instead of how long runs took, how many of them failed.")
@measure_option
@filter_options
@table_options
def command(
    at: float,
    last: int,
    step: str | None,
    failures: bool,
    measure: str,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Show whom a move hits: how much the runs with each value moved at WHEN, beside all the others.

    WHEN is a moment as for --since. Each value is held against itself before, so that what came with the
    move, such as a new commit, is not taken for what it hits; * marks values that moved more than the others
    by more than chance explains. Of failures the figures are percentage points.
    """
    history = open_history(database)
    found = history.hits(
        at, step=step, measure=measure, failures=failures, last=last, **history_filters(filters)
    )
    frame = frame_in_order(found.frame)
    if print_data(frame, as_json=as_json, as_csv=as_csv):
        return
    print_sentence(f"{found.sentence}.")
    if len(frame):
        click.echo()
        print_table(COLUMNS, [_cells(row, "" if failures else " %") for row in rows_of(frame.head(MOST))])
    if len(frame) > MOST:
        click.echo(f"The first {MOST} of {len(frame):,}; all of them: --json or --csv", err=True)


def _cells(row: Mapping[str, Any], unit: str) -> tuple[str, ...]:
    return (
        row["attribute"],
        row["value"],
        f"{round(row['effect']):+d}{unit}{'*' if row['sure'] else ' '}",
        f"{round(row['low']):+d} to {round(row['high']):+d}{unit}",
        f"{round(row['rest_effect']):+d}{unit}",
        f"{row['before_n']:,}",
        f"{row['after_n']:,}",
    )
