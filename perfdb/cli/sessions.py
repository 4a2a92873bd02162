"""`perfdb sessions`: the recorded sessions, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.cli.options import (
    check_expand,
    expand_option,
    filter_options,
    history_filters,
    last_option,
    open_history,
    say_what_next,
    table_options,
)
from perfdb.cli.render import Column, print_rows, print_table
from perfdb.cli.sorting import in_order
from perfdb.cli.text import COLOURS, duration_text, mark, short_time
from perfdb.text import counted
from perfdb.vocabulary import INTERRUPTED, RUNNING

COLUMNS = (
    Column(""),
    Column("session"),
    Column("started"),
    Column("pipeline", flexible=True),
    Column("duration", right=True),
    Column("note", flexible=True),
)


@click.command("sessions")
@last_option("Maximum number of sessions.", default=20)
@expand_option
@filter_options
@table_options
def command(
    last: int, expand: bool, database: str | None, as_json: bool, as_csv: bool, **filters: Any
) -> None:
    """List the recorded sessions, newest first."""
    from perfdb.store.frames import SESSION_COLUMNS

    check_expand(expand, as_json or as_csv)
    history = open_history(database, lists=True)
    given = history_filters(filters)
    found = history.session_rows(last=last + 1, expand_attributes=expand, **given)[::-1]
    rows = in_order(found[:last], columns=SESSION_COLUMNS)
    if not print_rows(rows, as_json=as_json, as_csv=as_csv) and rows:
        print_table(COLUMNS, [_cells(row) for row in rows], [COLOURS.get(row["status"]) for row in rows])
    if not rows:
        say_what_next(given)
    elif len(found) > last:
        click.echo(f"The newest {last}; there are more: --last {last * 5}", err=True)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        mark(row["status"]),
        row["session_id"],
        short_time(row["start_time"]),
        row["pipeline"] + (" (fast)" if row["fast_mode"] else ""),
        duration_text(row["total_duration"]),
        _note(row),
    )


def _note(row: Mapping[str, Any]) -> str:
    tags = [f"[{tag}]" for tag in row["tags"] or ()]
    if row["status"] in (RUNNING, INTERRUPTED):
        tags.append(row["status"])
    if row["error_message"]:
        tags.append(row["error_message"])
    elif row["product_count"] is not None:
        tags.append(counted(row["product_count"], "product"))
    return " ".join(tags)
