"""`perfdb explain`: why a session took as long as it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.options import (
    filter_options,
    last_option,
    measure_option,
    open_history,
    session_meant,
    table_options,
)
from perfdb.cli.render import Column, print_data, print_json, print_table, screen_width
from perfdb.cli.sorting import frame_in_order
from perfdb.cli.text import amount_text, difference_text, folded, inert
from perfdb.history.values import rows_of
from perfdb.text import as_it_ran, step_label
from perfdb.vocabulary import TOTAL

WIDEST = 120  # of prose
COLUMNS = (
    Column("step", flexible=True, least=20),
    Column("this run", right=True),
    Column("usually", right=True),
    Column("more", right=True),
    Column("percentile", right=True),
    Column("n", right=True),
)


@click.command("explain")
@click.argument("session_id", metavar="[ID]", shell_complete=complete("session"), default="last")
@last_option("Number of earlier sessions to compare with.", default=100)
@measure_option
@filter_options
@table_options
def command(
    session_id: str,
    last: int,
    measure: str,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Explain why a session was slow, step by step against its past.

    The seconds are those on the critical path. "usually" is their median in earlier sessions of the same
    pipeline and mode. The differences add up to the difference of the session; "Medians of parts" is what
    the medians of the steps leave of the median of the sessions. ID and filters as in `perfdb show`.
    """
    history = open_history(database)
    found = history.explain(session_meant(history, session_id, filters), measure=measure, last=last)
    frame = frame_in_order(found.frame)
    if as_csv:
        print_data(frame, as_json=False, as_csv=True)
        return
    steps = rows_of(frame)
    if as_json:
        row = asdict(found)
        del row["frame"]
        print_json([row | {"steps": steps}])
        return
    columns = min(screen_width(), WIDEST)
    for line in folded(found.sentence, columns):
        click.echo(line)
    click.echo()
    rows = [_cells(row, found.unit) for row in steps]
    total = {
        "step_name": TOTAL,
        "kind": "total",
        "value": found.value,
        "usual": found.usual,
        "excess": found.excess,
    }
    rows.append(_cells(total | {"percentile": found.percentile, "n": found.n, "cause": ""}, found.unit))
    print_table(COLUMNS, rows)
    reasons = [row for row in steps if row["cause"]]
    if reasons:
        click.echo()
    for row in reasons:
        for line in folded(f"{inert(row['step_name'])}: {row['cause']}", columns, subsequent_indent="  "):
            click.echo(line)


def _cells(row: Mapping[str, Any], unit: str) -> tuple[str, ...]:
    name = step_label(row["step_name"], row["kind"])
    if row["kind"] == "medians":
        return name, "", "", difference_text(row["excess"], unit), "", ""
    if row["usual"] is None:
        return name, amount_text(row["value"], unit), "", "", "", ""
    value, usual = as_it_ran(row["cause"], row["n"], row["value"], row["usual"])
    return (
        name,
        amount_text(value, unit),
        amount_text(usual, unit),
        difference_text(row["excess"], unit),
        f"{row['percentile']:.0f}" if row["percentile"] is not None else "",
        f"{row['n']:,}",
    )
