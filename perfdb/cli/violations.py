"""`perfdb violations`: the runs that broke a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from perfdb.alerts.messages import amount
from perfdb.cli.options import (
    filter_options,
    history_filters,
    last_option,
    name_option,
    only_measure_option,
    open_history,
    table_options,
)
from perfdb.cli.render import ID_WIDTH, Column, print_data, print_sentence, print_table
from perfdb.cli.sorting import frame_in_order, is_sorted
from perfdb.cli.text import mode_mark, percent_text, short_time
from perfdb.history.values import rows_of
from perfdb.measures import Measure, configured
from perfdb.text import step_label
from perfdb.vocabulary import CRITICAL, INFO, WARNING

MOST = 50
COLOURS = {CRITICAL: "red", WARNING: "yellow", INFO: None}
COLUMNS = (
    Column("severity", optional=True),
    Column("session", flexible=True, least=ID_WIDTH),
    Column("started", optional=True),
    Column("step", flexible=True, least=14),
    Column("value", right=True),
    Column("limit", right=True),
    Column("beyond", right=True),
    Column("rule", flexible=True),
)


@click.command("violations")
@last_option(default=1000)
@only_measure_option
@name_option("step", "Only of this step.")
@filter_options
@table_options
def command(
    last: int,
    measure: str | None,
    step: str | None,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """List runs that violated a limit, newest first.

    Limits are the rules of kind max, min and sum in perfdb.toml. `perfdb thresholds suggest` suggests limits.
    """
    history = open_history(database, lists=True)
    given = history_filters(filters)
    frame = history.violations(step=step, measure=measure, last=last, **given)
    frame = frame.sort_values(["start_time", "excess_percent"], ascending=False, kind="stable")
    frame = frame_in_order(frame)
    if not print_data(frame, as_json=as_json, as_csv=as_csv) and len(frame):
        rows, described = rows_of(frame.head(MOST)), configured(history.settings.measures)
        print_table(
            COLUMNS, [_cells(row, described) for row in rows], [COLOURS.get(row["severity"]) for row in rows]
        )
    if len(frame) > MOST and not as_json and not as_csv:
        which = "first" if is_sorted() else "newest"
        click.echo(f"The {which} {MOST} of {len(frame):,}; all of them: --json or --csv", err=True)
    if frame.empty:
        _say_why(history, measure)


def _say_why(history: Any, measure: str | None) -> None:
    from perfdb.alerts.config import read_alert_settings
    from perfdb.analysis.rules import TABLE

    rules = read_alert_settings(history.settings.alerts, reading=True).rules
    rules = tuple(rule for rule in rules if measure in (None, rule.metric))
    limits = sum(TABLE[rule.kind].finds == "breach" for rule in rules)
    if limits:
        click.echo(f"No run violated a limit ({limits} rules of kind max, min or sum).", err=True)
    elif measure is not None:
        hint = f"perfdb thresholds suggest --measure {measure}"
        print_sentence(f"No limit is set on {measure}. To get suggestions: {hint}", err=True)
    else:
        click.echo("No limit is set. To get suggestions: perfdb thresholds suggest", err=True)


def _cells(row: Mapping[str, Any], measures: Mapping[str, Measure]) -> tuple[str, ...]:
    name, mode = step_label(row["step_name"]), mode_mark(row["mode"])
    sign = "-" if row["kind"] == "min" else "+"
    return (
        row["severity"],
        row["session_id"],
        short_time(row["start_time"]),
        f"{name}, {row['pipeline']}{f' ({mode})' if mode else ''}",
        amount(row["value"], row["metric"], measures),
        amount(row["limit"], row["metric"], measures),
        f"{sign}{percent_text(row['excess_percent'])}",
        row["rule"],
    )
