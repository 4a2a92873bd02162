"""`perfdb common`: what the slow runs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    measure_option,
    name_option,
    open_history,
    say_which,
    table_options,
)
from perfdb.cli.render import Column, print_data, print_sentence, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.history.values import rows_of

MOST = 20
COLUMNS = (
    Column("attribute", flexible=True),
    Column("value", flexible=True),
    Column("slow", right=True),
    Column("95 % interval", right=True),
    Column("rest", right=True),
    Column("times", right=True),
    Column("n", right=True),
)


@click.command("common")
@last_option("Number of newest sessions that are looked at.", default=2000)
@click.option(
    "--slowest", default=5.0, show_default=True, metavar="PERCENT", type=click.FloatRange(0.1, 50),
    help="How many runs of each pipeline and mode are slow.",
)  # fmt: skip
@click.option(
    "--over", type=click.FloatRange(0), metavar="SECONDS",
    help="Instead: runs longer than this, or beyond it in the measure.",
)  # fmt: skip
@name_option("step", "Runs in which this step was slow, instead of the whole.")
@measure_option
@filter_options
@table_options
def command(
    last: int,
    slowest: float,
    over: float | None,
    step: str | None,
    measure: str,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Show what slow runs have in common, such as customer=acme.

    Values of attributes, hosts, versions, hours and weekdays are ranked by how much more frequent they are
    among the slow runs than chance explains; * marks those where it explains nothing. Of slow runs that fill
    one stretch of time, its hours and weekdays are left out.
    """
    history = open_history(database)
    given = history_filters(filters)
    found = history.common(slowest=slowest, over=over, step=step, measure=measure, last=last, **given)
    say_which(history, last, given)
    frame = frame_in_order(found.frame)
    if print_data(frame, as_json=as_json, as_csv=as_csv):
        return
    print_sentence(f"{found.sentence}.")
    if len(frame):
        click.echo()
        print_table(COLUMNS, [_cells(row) for row in rows_of(frame.head(MOST))])
    if len(frame) > MOST:
        click.echo(f"The first {MOST} of {len(frame):,}; all of them: --json or --csv", err=True)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["attribute"],
        row["value"],
        f"{row['slow_percent']:.0f} %{'*' if row['sure'] else ' '}",
        f"{row['low_percent']:.0f} to {row['high_percent']:.0f} %",
        f"{row['rest_percent']:.0f} %",
        "-" if row["lift"] is None else f"{row['lift']:.1f}",
        f"{row['slow_n']:,} of {row['slow_of']:,}",
    )
