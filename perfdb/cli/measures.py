"""`perfdb measures`: what was measured, and so can be asked for by --measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    name_option,
    only_measure_option,
    open_history,
    say_what_next,
    say_which,
    table_options,
)
from perfdb.cli.render import Column, by_kind, print_data, print_sentence, print_table
from perfdb.cli.sorting import frame_in_order, is_sorted
from perfdb.cli.text import amount_text
from perfdb.history.values import rows_of
from perfdb.text import step_label

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    Column("measure", flexible=True, least=19),
    Column("step", flexible=True, least=18),
    Column("n", right=True),
    Column("lowest", right=True, optional=True),
    Column("median", right=True),
    Column("highest", right=True, optional=True),
    Column("last", right=True),
)
MOST = 2_000  # rows of all tables together
MOST_STEPS = 3  # of a measure, where nobody chose one


@click.command("measures")
@last_option(default=1000)
@name_option("step", "Only of this step.")
@only_measure_option
@filter_options
@table_options
def command(
    last: int,
    step: str | None,
    measure: str | None,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """List what was measured: every number that was recorded.

    Each can be asked for with --measure: perfdb trends, regressions, bottlenecks, compare, explain,
    violations, thresholds, baseline, rules and chart know it. The unit is that of the name's end (_s, _ms,
    _bytes, _usd, _tokens, _percent), or what [measures] in the settings says.
    """
    given = history_filters(filters)
    history = open_history(database)
    frame = history.measures(step=step, measure=measure, last=last, **given)
    say_which(history, last, given)
    frame = frame_in_order(frame)
    if frame.empty:
        say_what_next(given)
    if print_data(frame, as_json=as_json, as_csv=as_csv):
        return
    listed = frame if step or measure or is_sorted() else _most_telling(frame)
    for group in by_kind(listed.head(MOST), sort=False):
        print_table(COLUMNS, [_cells(row) for row in rows_of(group)])
    if len(listed) > MOST:
        click.echo(f"The first {MOST:,} of {len(frame):,}; all of them: --json or --csv", err=True)
    elif len(listed) < len(frame):
        print_sentence(
            f"Of each measure the total and the {MOST_STEPS} steps with most, {len(listed):,} of "
            f"{len(frame):,} rows; the others: --measure or --step",
            err=True,
        )


def _most_telling(frame: pd.DataFrame) -> pd.DataFrame:
    """Return of each pipeline, mode and measure the row of the total, then those of the steps with most."""
    group = frame.groupby(["pipeline", "mode", "measure"], sort=False).ngroup()
    ranked = frame.assign(group=group, is_step=frame["step_name"].notna()).sort_values(
        ["group", "is_step", "median"], ascending=[True, True, False], kind="stable"
    )
    return ranked.groupby(["group", "is_step"], sort=False).head(MOST_STEPS)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    unit = "" if row["unit"] == "count" else row["unit"]
    return (
        row["measure"],
        step_label(row["step_name"]),
        f"{row['n']:,}",
        *(amount_text(row[name], unit) for name in ("low", "median", "high", "last")),
    )
