"""`perfdb trends`: how long each series takes, and where that is going."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.options import (
    COUNT,
    filter_options,
    history_filters,
    open_history,
    say_what_next,
    table_options,
)
from perfdb.cli.render import Column, colour, print_data, print_table
from perfdb.cli.text import duration_text, of_kind
from perfdb.history.plain import plain_rows
from perfdb.vocabulary import TOTAL

SIGNIFICANT = 0.05
PERCENTILES = ("p50", "p90", "p95", "p99")

COLUMNS = (
    Column("step", flexible=True),
    Column("period"),
    Column("n", right=True),
    Column("failed", right=True),
    Column("mean", right=True),
    *(Column(name, right=True) for name in PERCENTILES),
    Column("trend", flexible=True),
)


@click.command("trends")
@click.option(
    "--by",
    type=click.Choice(("last", "all", "day", "week")),
    default="last",
    show_default=True,
    help="The last sessions, the whole history, or each day (UTC) or week.",
)
@click.option("--step", metavar="NAME", shell_complete=complete("step"), help="Only this step.")
@click.option("-n", "--last", type=COUNT, help="Newest sessions to look at.  [200 by last, else all]")
@filter_options
@table_options
def command(
    by: Any,
    step: str | None,
    last: int | None,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Show how long each step takes, and where that is going.

    A percentile is shown when enough runs stand behind it: p90 from 10, p95 from 20, p99 from 100. A trend
    is named when it is significant (Mann-Kendall, corrected for autocorrelation, p < 0.05).
    """
    given = history_filters(filters)
    frame = open_history(database, lists=True).trends(by=by, step=step, last=last, **given)
    if frame.empty:
        say_what_next(given | ({"step": step} if step else {}))
    if print_data(frame, as_json=as_json, as_csv=as_csv):
        return
    for number, ((pipeline, mode), group) in enumerate(frame.groupby(["pipeline", "mode"])):
        click.echo("\n" * (number > 0) + colour(of_kind(str(pipeline), str(mode)), None, bold=True))
        print_table(COLUMNS, [_cells(row) for row in plain_rows(group)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["step_name"] if row["step_name"] is not None else TOTAL,
        row["period"] or "",
        f"{row['n']:,}",
        f"{row['failures']:,}" if row["failures"] else "",
        duration_text(row["mean"]),
        *(duration_text(row[name]) if row[name] is not None else "" for name in PERCENTILES),
        _trend(row),
    )


def _trend(row: Mapping[str, Any]) -> str:
    if row["p_value"] is None:
        return ""
    if row["p_value"] >= SIGNIFICANT:
        return "steady"
    if row["slope_percent_per_session"] is not None:
        moved = f"{row['slope_percent_per_session']:+.2g} % a session"
    else:
        moved = f"{row['slope_percent_per_day']:+.2g} % a day"
    return f"{moved} (p {row['p_value']:.2g})"
