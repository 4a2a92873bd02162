"""`perfdb steps`: the recorded steps of the newest sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any

import click

from perfdb.analysis.timeline import DEEPEST
from perfdb.cli.options import (
    check_expand,
    expand_option,
    history_filters,
    last_option,
    name_option,
    open_history,
    say_what_next,
    step_filter_options,
    table_options,
)
from perfdb.cli.render import ID_WIDTH, Column, print_heading, print_rows, print_table
from perfdb.cli.sorting import in_order, is_sorted
from perfdb.cli.text import COLOURS, duration_text, local_time, mark

COLUMNS = (
    Column(""),
    Column("session", flexible=True, least=ID_WIDTH),
    Column("started"),
    Column("step", flexible=True, least=16),
    Column("duration", right=True),
    Column("note", flexible=True, least=24, below=1),
)


@click.command("steps")
@name_option("step", "Only steps with this name.")
@last_option(default=5)
@expand_option
@step_filter_options
@table_options
def command(
    step: str | None,
    last: int,
    expand: bool,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    attribute: dict[str, Any] | None,
    session_attribute: dict[str, Any] | None,
    **filters: Any,
) -> None:
    """List the recorded steps, newest session first."""
    from perfdb.store.frames import STEP_COLUMNS

    check_expand(expand, as_json or as_csv)
    history = open_history(database)
    given = history_filters({**filters, "attribute": session_attribute})
    rows = history.step_rows(
        step=step, step_attribute=attribute, last=last, expand_attributes=expand, **given
    )
    newest = {row["session_id"]: row["start_time"] for row in reversed(rows)}  # the first step's start
    rows.sort(key=lambda row: (-newest[row["session_id"]], row["session_id"], row["seq"]))
    rows = in_order(rows, columns=STEP_COLUMNS)
    if not print_rows(rows, as_json=as_json, as_csv=as_csv) and rows:
        if is_sorted():
            _print(COLUMNS, rows)
        else:
            _print_by_session(rows)
    of_steps = {"step": step, "attribute": attribute}
    if not rows:
        asked = {**given, **{name: value for name, value in of_steps.items() if value}}
        say_what_next(asked, lack="recorded a step that fits")


def _print_by_session(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the steps of each session below its id, each as far in as it was in others."""
    columns = [column for column in COLUMNS if column.title != "session"]
    for number, (session_id, group) in enumerate(groupby(rows, key=itemgetter("session_id"))):
        its = list(group)
        print_heading(f"{session_id}  {its[0]['pipeline']}", first=number == 0)
        _print(columns, its, _depths(its))


def _print(
    columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], depths: Iterable[int] = repeat(0)
) -> None:
    cells = [_cells(row, depth) for row, depth in zip(rows, depths, strict=False)]
    wanted = [[each[COLUMNS.index(column)] for column in columns] for each in cells]
    print_table(columns, wanted, [COLOURS.get(row["status"]) for row in rows])


def _depths(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return in how many steps each step is, as far as these are among the rows."""
    parents = {(row["session_id"], row["seq"]): row["parent_seq"] for row in rows}
    depths = []
    for row in rows:
        depth, parent = 0, row["parent_seq"]
        while parent is not None and depth < DEEPEST:
            depth, parent = depth + 1, parents.get((row["session_id"], parent))
        depths.append(depth)
    return depths


def _cells(row: Mapping[str, Any], depth: int) -> tuple[str, ...]:
    return (
        mark(row["status"]),
        row["session_id"],
        local_time(row["start_time"])[-8:],
        "  " * depth + row["step_name"],
        duration_text(row["duration"]),
        row["error_message"] or "",
    )
