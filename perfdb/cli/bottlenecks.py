"""`perfdb bottlenecks`: which steps hold the runs up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.options import (
    COUNT,
    filter_options,
    history_filters,
    measure_option,
    open_history,
    say_what_next,
    say_which,
    table_options,
)
from perfdb.cli.render import Column, colour, in_lines, print_data, print_table, screen_width
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import WITHIN, amount_text, duration_text, inert, of_kind, percent_text, width
from perfdb.history.values import rows_of
from perfdb.measures import configured, named
from perfdb.text import most_text, step_label

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


SHARES = (
    Column("step", flexible=True),
    Column("per session", right=True),
    Column("share", right=True),
    Column("variance", right=True),
    Column("n", right=True),
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
@measure_option
@filter_options
@table_options
def command(
    last: int, measure: str, database: str | None, as_json: bool, as_csv: bool, **filters: Any
) -> None:
    """Rank steps by their seconds on the critical path.

    Critical seconds are the mean per session; they add up to its duration. Variance is the step's share of
    the variation in the duration. The gains are the time that a session would save if the step took half
    its time, or no time. Of another measure, such as cost_usd, steps rank by their share of its sum.
    """
    given = history_filters(filters)
    history = open_history(database, lists=True)
    frame = history.bottlenecks(measure=measure, last=last, **given)
    say_which(history, last, given, of_each=frame["pipeline"].unique())
    if frame.empty:
        say_what_next(given)
    if print_data(frame_in_order(frame), as_json=as_json, as_csv=as_csv):
        return
    for number, ((pipeline, mode), group) in enumerate(frame.groupby(["pipeline", "mode"])):
        rows = rows_of(group)
        of_time = rows[0]["measure"] == "duration"
        if of_time:
            headline = _headline(str(pipeline), str(mode), rows)
        else:
            words = named(rows[0]["measure"], configured(history.settings.measures)).words
            headline = _most(str(pipeline), str(mode), rows, inert(words))
        click.echo("\n" * (number > 0) + headline)
        ordered = rows_of(frame_in_order(group))
        print_table(
            COLUMNS if of_time else SHARES, [_cells(row) if of_time else _share(row) for row in ordered]
        )


def _headline(pipeline: str, mode: str, rows: list[dict[str, Any]]) -> str:
    worst = rows[0]
    wall = sum(row["critical_s"] for row in rows)
    kind, n = of_kind(pipeline, mode), f"{worst['sessions']:,}"
    if worst["kind"] == "other" or not worst["critical_s"]:
        return _in_lines(kind, f"{duration_text(wall)} a session, outside of any step (n = {n})")
    name = colour(inert(step_label(worst["step_name"])), None, bold=True)
    return _in_lines(
        kind,
        f"{name} takes {duration_text(worst['critical_s'])} of {duration_text(wall)} "
        f"({percent_text(worst['share_percent'])}) of a session, n = {n}",
    )


def _most(pipeline: str, mode: str, rows: list[dict[str, Any]], words: str) -> str:
    worst = rows[0]
    name = "what is in no step" if worst["kind"] == "other" else inert(step_label(worst["step_name"]))
    said = most_text(colour(name, None, bold=True), worst, sum(row["value"] for row in rows), words)
    return _in_lines(of_kind(pipeline, mode), f"{said}, n = {worst['sessions']:,}")


def _in_lines(kind: str, said: str) -> str:
    """Return what is said of a pipeline and mode, on a line of its own where both are too long for one."""
    line = f"{kind}: {said}"
    if width(click.unstyle(line)) <= screen_width():
        return line
    parts = (f"{kind}:", said)
    return "\n".join(
        part if width(click.unstyle(part)) <= screen_width() else "\n".join(in_lines(click.unstyle(part)))
        for part in parts
    )


def _share(row: Mapping[str, Any]) -> tuple[str, ...]:
    name = step_label(row["step_name"], row["kind"])
    return (
        name if row["inside"] is None else f"{row['inside']} › {name}",
        amount_text(row["value"], row["unit"]),
        percent_text(row["share_percent"]),
        percent_text(row["variance_percent"]),
        f"{row['n']:,}",
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
