"""`perfdb rules`: what is watched, and how well."""

from __future__ import annotations

from shlex import quote
from typing import Any, get_args

import click

from perfdb.alerts.hindsight import Replayed
from perfdb.alerts.judging import Replay, RuleState
from perfdb.alerts.messages import amounts
from perfdb.alerts.triage import Triage
from perfdb.analysis.outcomes import Outcome
from perfdb.analysis.rules import EVERY, TABLE
from perfdb.cli.options import COUNT, open_history, series_options, table_options
from perfdb.cli.render import Column, print_rows, print_sentence, print_table
from perfdb.cli.sorting import in_order
from perfdb.cli.text import inert, percent_text, short_time
from perfdb.text import counted, step_label

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
REPLAY_COLUMNS = (
    Column("rule"),
    Column("severity"),
    Column("runs", right=True),
    Column("alerts", right=True),
    *(Column(outcome, right=True) for outcome in get_args(Outcome)),
    Column("precision", right=True),
)


_KINDS = "\n\n".join(f"{kind.name}: {kind.summary}." for kind in TABLE.values())


_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DEFAULTS = sum(kind.default is not None for kind in TABLE.values())
_HELP = f"""List the rules with their state, alerts and precision.

Define rules as [[alerts.rules]] in perfdb.toml; {_NUMBERS[_DEFAULTS]} are on by default. Precision is the
share of the alerts of a rule that were right; --replay measures it on your own history, before a channel is
on. `perfdb alerts explain` shows the calculation of each rule on the newest runs. Of many pipelines and
modes, the 500 that ran last are judged, and those that a rule names.
"""


@click.command("rules", help=_HELP, epilog=f"The kinds of rules fire at\n\n{_KINDS}")
@click.option(
    "--replay",
    is_flag=True,
    help="How often each rule would have rung over the recorded history, and what of it lasted.",
)
@click.option(
    "-n",
    "--last",
    type=COUNT,
    default=1_000,
    show_default=True,
    help="With --replay: number of newest sessions of each pipeline and mode.",
)
@series_options("rules that watch, and what they say,")
@table_options
def command(replay: bool, last: int, database: str | None, as_json: bool, as_csv: bool, **of: Any) -> None:
    """List the rules; see its help."""
    history = open_history(database)
    if replay:
        _replay(Triage(history).replay(last=last, **of), as_json=as_json, as_csv=as_csv)
        return
    states = in_order(Triage(history).rules(**of), _row)
    if print_rows([_row(each) for each in states], as_json=as_json, as_csv=as_csv):
        return
    if not states:
        named = {name: value for name, value in of.items() if value is not None}
        hint = f" One is made by: metric = {of['measure']!r}" if of["measure"] is not None else ""
        print_sentence(f"No rule watches {', '.join(named.values())}.{hint}", err=True)
        return
    print_table(COLUMNS, [_cells(each) for each in states])
    historic = [f"{each.historic:,} of {inert(each.rule.name)}" for each in states if each.historic]
    if historic:
        flags = "".join(f" --{name} {quote(inert(value))}" for name, value in of.items() if value is not None)
        see = f"perfdb alerts list --state historic{flags}"
        click.echo(f"\nHistoric alerts, of old data: {', '.join(historic)}.\n{see}")


def _replay(found: Replay, *, as_json: bool, as_csv: bool) -> None:
    rules = in_order(found.rules, Replayed.as_dict)
    looked_at = f"Looked at the last {found.sessions:,} of {counted(found.of, 'session')}"
    if found.left_out:
        looked_at += f"; no time was left for {counted(found.left_out, 'kind')} of run"
    click.echo(f"{looked_at}.", err=True)
    if print_rows([each.as_dict() for each in rules], as_json=as_json, as_csv=as_csv):
        return
    print_table(REPLAY_COLUMNS, [_replay_cells(each) for each in rules])
    click.echo(
        "\nlasting: 60 runs later the level is still another one; temporary: 20 runs later; false: neither; "
        "unknown: too few runs since, or a rule that counts failures."
    )


def _replay_cells(each: Replayed) -> tuple[str, ...]:
    return (
        each.rule.name,
        each.rule.severity,
        f"{each.runs:,}",
        f"{each.alerts:,}",
        *(f"{each.outcomes[outcome]:,}" for outcome in get_args(Outcome)),
        "" if each.precision is None else percent_text(100 * each.precision),
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
    limit = TABLE[rule.kind].limit_text(rule, amounts(rule))
    return (
        rule.name,
        rule.kind if rule.kind != rule.name else "",
        rule.severity,
        " ".join(parts),
        limit,
        each.state,
        str(each.alerts) if each.alerts else "",
        "" if each.precision is None else percent_text(100 * each.precision),
        "" if each.last_at is None else short_time(each.last_at),
    )
