"""`perfdb sessions`: the recorded sessions, newest first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

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
from perfdb.cli.render import ID_WIDTH, Column, print_rows, print_sentence, print_table
from perfdb.cli.sorting import in_order
from perfdb.cli.text import COLOURS, amount_text, duration_text, mark, mode_mark, of_kind, short_time
from perfdb.history.access import reading
from perfdb.measures import unit_of
from perfdb.text import counted, spending_text
from perfdb.vocabulary import INTERRUPTED, RUNNING

if TYPE_CHECKING:
    from perfdb.history.history import History

SPENT = {"cost_usd": Column("cost", right=True), "tokens": Column("tokens", right=True, optional=True)}
COLUMNS = (
    Column(""),
    Column("session", flexible=True, least=ID_WIDTH),
    Column("started", optional=True),  # ids that perfdb gives begin with it
    Column("pipeline", flexible=True, least=26),
    Column("duration", right=True),
    Column("note", flexible=True, least=12, below=1),
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
    spent = history.spent_by([row["session_id"] for row in found[:last]])
    having = [name for name in SPENT if any(name in each for each in spent.values())]
    for row in found[:last]:
        row |= {name: spent.get(row["session_id"], {}).get(name) for name in having if name not in row}
    rows = in_order(found[:last], columns=SESSION_COLUMNS)
    if not print_rows(rows, as_json=as_json, as_csv=as_csv) and rows:
        columns = (*COLUMNS[:-1], *(SPENT[name] for name in having), COLUMNS[-1])
        cells = [_cells(row, spent.get(row["session_id"], {}), having) for row in rows]
        print_table(columns, cells, [COLOURS.get(row["status"]) for row in rows])
        for line in _today(history) if having else ():
            print_sentence(line, err=True)
    if not rows:
        say_what_next(given)
    elif len(found) > last:
        click.echo(f"The newest {last}; there are more: --last {last * 5}", err=True)


def _cells(row: Mapping[str, Any], spent: Mapping[str, float], having: Iterable[str]) -> tuple[str, ...]:
    mode = mode_mark(row["mode"]) or ("fast" if row["fast_mode"] else "")
    return (
        mark(row["status"]),
        row["session_id"],
        short_time(row["start_time"]),
        f"{row['pipeline']} ({mode})" if mode else row["pipeline"],
        duration_text(row["total_duration"]),
        *(amount_text(spent[name], unit_of(name)) if name in spent else "" for name in having),
        _note(row),
    )


def _today(history: History) -> Iterator[str]:
    """Yield what was spent today, and what a run costs beside the usual."""
    from perfdb.store.spending import spending

    with reading(history) as connection:
        found = [] if connection is None else spending(connection, time.time())
    for row in map(asdict, found):
        if row["run_usd"] is not None or row["today_usd"] is not None:
            yield f"{of_kind(row['pipeline'], row['mode'])}: {spending_text(row)}"


def _note(row: Mapping[str, Any]) -> str:
    tags = [f"[{tag}]" for tag in row["tags"] or ()]
    if row["status"] in (RUNNING, INTERRUPTED):
        tags.append(row["status"])
    if row["error_message"]:
        tags.append(row["error_message"])
    elif row["product_count"] is not None:
        tags.append(counted(row["product_count"], "product"))
    return " ".join(tags)
