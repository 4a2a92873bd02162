"""`perfdb rules`: what is watched, and how well."""

from __future__ import annotations

from typing import Any

import click

from perfdb.alerts.config import EVERY
from perfdb.alerts.messages import amount
from perfdb.alerts.triage import Desk, RuleState
from perfdb.cli.options import open_history, table_options
from perfdb.cli.render import Column, print_rows, print_table
from perfdb.cli.text import short_time

COLUMNS = (
    Column("rule"),
    Column("kind", flexible=True),
    Column("severity"),
    Column("watches", flexible=True),
    Column("limit", right=True),
    Column("state"),
    Column("alerts", right=True),
    Column("precision", right=True),
    Column("last run"),
)


@click.command("rules")
@table_options
def command(database: str | None, as_json: bool, as_csv: bool) -> None:
    """List the rules: what each watches, its state, its alerts and how many of them were true.

    Rules are [[alerts.rules]] in perfdb.toml; five are on by default. Their sums on the newest
    runs: perfdb alerts explain.
    """
    states = Desk(open_history(database)).rules()
    if print_rows([_row(each) for each in states], as_json=as_json, as_csv=as_csv):
        return
    print_table(COLUMNS, [_cells(each) for each in states])


def _row(each: RuleState) -> dict[str, Any]:
    rule = each.rule
    return {
        "rule": rule.name,
        "kind": rule.kind,
        "severity": rule.severity,
        "pipeline": rule.pipeline,
        "step_name": rule.step,
        "metric": rule.metric,
        "mode": dict(rule.mode) if rule.mode is not None else None,
        "limit": rule.limit,
        "default": rule.default,
        "state": each.state,
        "series": each.series,
        "alerts": each.alerts,
        "false_alarms": each.false_alarms,
        "precision": each.precision,
        "last_evaluated_run_at": each.last_at,
    }


def _cells(each: RuleState) -> tuple[str, ...]:
    rule = each.rule
    what = "everything" if rule.step == EVERY else "total" if rule.step is None else rule.step
    parts = [what if rule.metric == "duration" else f"{rule.metric} of {what}"]
    parts += [f"in {rule.pipeline}"] if rule.pipeline else []
    parts += [f"{name}={value}" for name, value in rule.mode or ()]
    limit = "" if rule.limit is None else amount(rule.limit, rule.metric)
    if rule.kind == "relative":
        limit = f"+{rule.percent:g} %"
    return (
        rule.name,
        rule.kind if rule.kind != rule.name else "",
        rule.severity,
        " ".join(parts),
        limit,
        each.state,
        str(each.alerts) if each.alerts else "",
        "" if each.precision is None else f"{each.precision:.0%}",
        "" if each.last_at is None else short_time(each.last_at),
    )
