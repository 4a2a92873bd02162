"""`perfdb bottlenecks`: which steps hold the runs up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.options import (
    COUNT,
    filter_options,
    history_filters,
    open_history,
    say_what_next,
    table_options,
)
from perfdb.cli.render import Column, colour, print_data, print_table
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import WITHIN, duration_text, inert, of_kind, percent_text
from perfdb.history.values import rows_of
from perfdb.text import step_label

COLUMNS = (
    Column("step", flexible=True, least=26),
    Column("critical", right=True),
    Column("share", right=True),
    Column("variance", right=True, optional=True),
    Column("busy", right=True),
    Column("gain at ×2", right=True),
    Column("gain at most", right=True),
    Column("in parallel", optional=True),
)


@click.command("bottlenecks")
@click.option(
    "-n",
    "--last",
    default=100,
    show_default=True,
    type=COUNT,
    help="Number of newest sessions of each pipeline.",
)
@filter_options
@table_options
def command(last: int, database: str | None, as_json: bool, as_csv: bool, **filters: Any) -> None:
    """Rank steps by their seconds on the critical path.

    Critical seconds are the mean per session; they add up to its duration. Variance is the step's share of
    the variation in the duration. The gains are the time that a session would save if the step took half
    its time, or no time.
    """
    given = history_filters(filters)
    frame = open_history(database, lists=True).bottlenecks(last=last, **given)
    if frame.empty:
        say_what_next(given)
    if print_data(frame_in_order(frame), as_json=as_json, as_csv=as_csv):
        return
    for number, ((pipeline, mode), group) in enumerate(frame.groupby(["pipeline", "mode"])):
        click.echo("\n" * (number > 0) + _headline(str(pipeline), str(mode), rows_of(group)))
        print_table(COLUMNS, [_cells(row) for row in rows_of(frame_in_order(group))])


def _headline(pipeline: str, mode: str, rows: list[dict[str, Any]]) -> str:
    worst = rows[0]
    wall = sum(row["critical_s"] for row in rows)
    kind, n = of_kind(pipeline, mode), f"{worst['sessions']:,}"
    if worst["kind"] == "other":
        return f"{kind}: {duration_text(wall)} a session, outside of any step (n = {n})"
    name = colour(inert(step_label(worst["step_name"])), None, bold=True)
    return (
        f"{kind}: {name} takes {duration_text(worst['critical_s'])} of {duration_text(wall)} "
        f"({percent_text(worst['share_percent'])}) of a session, n = {n}"
    )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    parallel = ""
    if row["workers"] is not None:
        used, slowest = percent_text(row["pool_percent"]), f"{row['straggler_ratio']:.1f}"
        parallel = f"{row['workers']} at once, {used} busy, slowest {slowest}×"
    name = step_label(row["step_name"], row["kind"])
    return (
        name if row["inside"] is None else f"{row['inside']}{WITHIN}{name}",
        duration_text(row["critical_s"]),
        percent_text(row["share_percent"]),
        percent_text(row["variance_percent"]),
        duration_text(row["busy_s"]) if row["kind"] != "other" else "",
        duration_text(row["gain_x2_s"]) if row["gain_x2_s"] is not None else "",
        duration_text(row["gain_max_s"]) if row["gain_max_s"] is not None else "",
        parallel,
    )
