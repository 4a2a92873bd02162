"""`perfdb rules`: what is watched, and how well."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from perfdb.alerts.messages import amount
from perfdb.alerts.triage import RuleState, Triage
from perfdb.analysis.rules import EVERY, TABLE
from perfdb.cli.options import only_measure_option, open_history, table_options
from perfdb.cli.render import Column, print_rows, print_table
from perfdb.cli.sorting import in_order
from perfdb.cli.text import inert, short_time
from perfdb.text import step_label

COLUMNS = (
    Column("rule"),
    Column("kind", flexible=True),
    Column("severity"),
    Column("watches", flexible=True, least=20),
    Column("limit", right=True),
    Column("state"),
    Column("alerts", right=True),
    Column("precision", right=True, optional=True),
    Column("last run", optional=True),
)


_KINDS = "\n\n".join(f"{kind.name}: {kind.summary}." for kind in TABLE.values())


_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DEFAULTS = sum(kind.default is not None for kind in TABLE.values())
_HELP = f"""List the rules with their state, alerts and precision.

Define rules as [[alerts.rules]] in perfdb.toml; {_NUMBERS[_DEFAULTS]} are on by default. Precision is the
share of the alerts of a rule that were right. `perfdb alerts explain` shows the calculation of each rule on
the newest runs. Of many pipelines and modes, the 500 that ran last are judged, and those that a rule names.
"""


@click.command("rules", help=_HELP, epilog=f"The kinds of rules fire at\n\n{_KINDS}")
@only_measure_option
@table_options
def command(measure: str | None, database: str | None, as_json: bool, as_csv: bool) -> None:
    """List the rules; see its help."""
    history = open_history(database)
    if measure is not None:
        with history._reading() as connection:
            measure = history._measure(connection, measure).name
    found = [each for each in Triage(history).rules() if measure in (None, each.rule.metric)]
    states = in_order(found, _row)
    if print_rows([_row(each) for each in states], as_json=as_json, as_csv=as_csv):
        return
    if measure is not None and not states:
        click.echo(inert(f"No rule watches {measure}. One is made by: metric = {measure!r}"), err=True)
        return
    print_table(COLUMNS, [_cells(each) for each in states])
    historic = [f"{each.historic:,} of {inert(each.rule.name)}" for each in states if each.historic]
    if historic:
        click.echo(
            f"\nHistoric alerts, of old data: {', '.join(historic)}. perfdb alerts list --state historic"
        )


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
        "percent": rule.percent if "percent" in TABLE[rule.kind].settings else None,
        "default": rule.default,
        "state": each.state,
        "series": each.series,
        "alerts": each.alerts,
        "false_alarms": each.false_alarms,
        "historic": each.historic,
        "precision": each.precision,
        "last_evaluated_run_at": each.last_at,
    }


def _cells(each: RuleState) -> tuple[str, ...]:
    rule = each.rule
    what = "everything" if rule.step == EVERY else "total" if rule.step is None else step_label(rule.step)
    parts = [what if rule.metric == "duration" else f"{rule.metric} of {what}"]
    parts += [f"in {rule.pipeline}"] if rule.pipeline else []
    parts += [f"{name}={value}" for name, value in rule.mode or ()]
    limit = TABLE[rule.kind].limit_text(rule, partial(amount, metric=rule.metric))
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
