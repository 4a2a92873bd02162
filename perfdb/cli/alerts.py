"""`perfdb alerts`: the open alerts, and what a person decides about them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from perfdb.alerts.judging import LiveVerdict
from perfdb.alerts.triage import Triage
from perfdb.analysis.rules import kind_of
from perfdb.cli.completing import complete
from perfdb.cli.options import (
    COUNT,
    database_option,
    instant,
    last_option,
    name_option,
    open_history,
    series_options,
    table_options,
)
from perfdb.cli.render import Column, print_rows, print_sentence, print_table
from perfdb.cli.sorting import in_order, is_sorted
from perfdb.cli.text import inert, local_time, mode_mark, short_time
from perfdb.errors import NotFoundError
from perfdb.filters import parse_age
from perfdb.history.access import reading
from perfdb.history.history import History
from perfdb.records import Alert
from perfdb.text import counted, mode_text, step_label
from perfdb.vocabulary import ALERT_STATES, CRITICAL, HISTORIC, INFO, WARNING

COLUMNS = (
    Column("id", right=True),
    Column("severity"),
    Column("state"),
    Column("what moved", flexible=True, least=24),
    Column("pipeline", optional=True),  # where there are several: each may have a step of the same name
    Column("effect", right=True),
    Column("since"),
    Column("runs", right=True, optional=True),
    Column("rule", optional=True),
)
COLOURS = {CRITICAL: "red", WARNING: "yellow", INFO: None}
STATES = ("open", "all", *ALERT_STATES)
MOST_SHOWN = 1_000  # in a table, where nobody said how many


def age(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Return the seconds of an option such as 30m, 2h or 7d."""
    try:
        seconds = parse_age(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 0 < seconds < 1e9:
        raise click.BadParameter(f"{value!r} is not a length of time that can be meant")
    return seconds


def _list_options(command: Any) -> Any:
    """Add which alerts are listed, and how."""
    for option in (
        table_options,
        series_options("alerts"),
        click.option("--until", callback=instant, metavar="WHEN", help="Only alerts of a move before WHEN."),
        click.option(
            "--since", callback=instant, metavar="WHEN",
            help="Only alerts of a move since WHEN, or that a session since then confirmed: 24h.",
        ),
        last_option("Number of newest alerts.  [all]"),
        click.option(
            "--state", "--status", "state", default="open", type=click.Choice(STATES),
            help="Only alerts in this state.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group("alerts", invoke_without_command=True)
@_list_options
@click.pass_context
def command(ctx: click.Context, /, database: str | None, **asked: Any) -> None:
    """Show and manage alerts; without a command, list the open ones."""
    ctx.obj = database
    if ctx.invoked_subcommand is None:
        _list(database, **asked)


@command.command("list")
@_list_options
@click.pass_context
def list_alerts(ctx: click.Context, /, database: str | None, **asked: Any) -> None:
    """List alerts, newest first; of the open ones the most severe first."""
    _list(database or ctx.obj, **asked)


def _list(
    database: str | None, *, state: str, last: int | None, as_json: bool, as_csv: bool, **chosen: Any
) -> None:
    from perfdb.store.alerts import ALERT_COLUMNS, alert_row

    history = open_history(database)
    history._require_database()
    triage = Triage(history)
    if (as_json or as_csv) and not is_sorted():
        read = map(alert_row, triage.alerts_in_pieces(state, last=last, **chosen))
        print_rows(read, as_json=as_json, as_csv=as_csv, columns=ALERT_COLUMNS)
        return
    limit = last if last is not None or is_sorted() else MOST_SHOWN + 1
    found = in_order(triage.alerts(state, last=limit, **chosen), alert_row, ALERT_COLUMNS)
    if print_rows(map(alert_row, found), as_json=as_json, as_csv=as_csv, columns=ALERT_COLUMNS):
        return
    more = last is None and len(found) > MOST_SHOWN
    found = found[:MOST_SHOWN] if more else found
    if not found:
        nothing = (
            f"No open alert.{_historic(history)}"
            if state == "open"
            else f"No alert is {state}."
            if state != "all"
            else "No alert yet."
        )
        print_sentence(f"{nothing} What is watched: perfdb rules", err=True)
        return
    stale_after = triage.settings.stale_after_s
    several = len({alert.pipeline for alert in found}) > 1
    print_table(
        [column for column in COLUMNS if several or column.title != "pipeline"],
        [_cells(alert, stale_after, several=several) for alert in found],
        [COLOURS[alert.severity] for alert in found],
    )
    if more:
        click.echo(f"The first {MOST_SHOWN:,}; there are more: --last {5 * MOST_SHOWN} or --json", err=True)
    click.echo(f"Details: perfdb alerts explain {found[0].id}", err=True)


def _historic(history: History) -> str:
    from perfdb.store.alerts import state_counts

    with reading(history) as connection:
        count = 0 if connection is None else state_counts(connection).get(HISTORIC, 0)
    words = f" {counted(count, 'historic alert')} of old data: perfdb alerts list --state historic."
    return words if count else ""


def _cells(alert: Alert, stale_after: float, *, several: bool) -> tuple[str, ...]:
    from perfdb.alerts.lifecycle import is_flapping, is_stale
    from perfdb.alerts.messages import subject

    flags = [
        name
        for name, holds in (
            ("silenced", alert.silenced),
            ("flapping", alert.is_open and is_flapping(alert)),
            ("stale", is_stale(alert, time.time(), stale_after)),
            (f"with {alert.inhibited_by}", alert.inhibited_by is not None),
        )
        if holds
    ]
    what, mode = subject(alert), mode_mark(alert.mode)
    if mode:
        what = f"{what[:-1]}, {mode})" if what.endswith(" (total)") else f"{what} ({mode})"
    return (
        str(alert.id),
        alert.severity,
        ", ".join([alert.state, *flags]),
        what,
        *([alert.pipeline] if several else []),
        kind_of(alert.kind).effect_text(alert.effect),
        short_time(alert.since_time),
        f"{alert.n:,}",
        alert.rule,
    )


@command.command("show")
@click.argument("alert_id", metavar="ID", shell_complete=complete("alert"), type=COUNT)
@table_options
@click.pass_context
def show(ctx: click.Context, alert_id: int, as_json: bool, as_csv: bool, database: str | None) -> None:
    """Show one alert in full. Shows what changed, since when and why, and its events."""
    story = open_history(database or ctx.obj).alert(alert_id)
    alert = story.alert
    events = [
        {"at": each.at, "event": each.event, "session_id": each.session_id, "note": each.note}
        for each in story.events
    ]
    row = (
        alert.as_dict()
        | {"hits": alert.hits, "n": alert.n, "baseline_n": alert.baseline_n, "details": dict(alert.details)}
        | {"group": [each.as_dict() for each in story.group], "events": events}
    )
    if print_rows(in_order([row]), as_json=as_json, as_csv=as_csv):
        return
    click.echo(f"Alert {alert.id}: {alert.severity}, {alert.state}")
    for sentence in inert(alert.message).split(". "):
        click.echo(f"  {sentence.rstrip('.')}.")
    if story.group:
        click.echo("Speaks for:")
        for each in story.group:
            click.echo(f"  {each.id}  {inert(each.headline)}")
    click.echo("Happened:")
    for line in _without_repetition([(e.at, e.event, e.session_id, e.note) for e in story.events]):
        click.echo(f"  {line}")


def _without_repetition(events: list[tuple[float, str, str | None, str | None]]) -> list[str]:
    """Return a line per event; a row of confirmations, of which only the first are kept, becomes one."""
    lines: list[str] = []
    confirmed = 0
    for index, (at, event, session_id, note) in enumerate(events):
        following = events[index + 1][1] if index + 1 < len(events) else ""
        if event == "confirmed":
            confirmed += 1
            if following == "confirmed":
                continue
            event = f"confirmed by {confirmed} session{'s' * (confirmed > 1)} up to"
        confirmed = 0
        by = f" ({inert(session_id)})" if session_id else ""
        lines.append(f"{local_time(at)}  {inert(event)}{by}{f': {inert(note)}' if note else ''}")
    return lines


def _decision(name: str, said: Callable[..., list[Alert]], text: str) -> None:
    @command.command(name, help=text)
    @click.argument(
        "alert_ids", metavar="ID...", shell_complete=complete("alert"), type=COUNT, nargs=-1, required=True
    )
    @click.option("--note", metavar="TEXT", help="A note, such as the reason.")
    @database_option
    @click.pass_context
    def decide(
        ctx: click.Context, alert_ids: tuple[int, ...], note: str | None, database: str | None
    ) -> None:
        history = open_history(database or ctx.obj, writes=True)
        for alert_id in alert_ids:
            alert, *group = said(history, alert_id, note=note)
            others = f", with {', '.join(str(each.id) for each in group)}" if group else ""
            click.echo(f"Alert {alert_id} is {alert.state}{others}: {inert(alert.headline)}")


_decision("ack", History.acknowledge, "Acknowledge alerts. They stay open and send no more notifications.")
_decision("expected", History.expected, "Mark alerts as expected. Their level is the new baseline.")
_decision(
    "false-alarm",
    History.false_alarm,
    "Mark alerts as false alarms. This lowers the precision of their rule.",
)


@command.command("undo")
@click.argument(
    "alert_ids", metavar="ID...", shell_complete=complete("alert"), type=COUNT, nargs=-1, required=True
)
@click.option("--note", metavar="TEXT", help="A note, such as the reason.")
@database_option
@click.pass_context
def undo(ctx: click.Context, alert_ids: tuple[int, ...], note: str | None, database: str | None) -> None:
    """Undo the last decision about alerts. Restores the state before it."""
    history = open_history(database or ctx.obj, writes=True)
    for alert_id in alert_ids:
        alert, *group = history.undo(alert_id, note=note)
        others = f", with {', '.join(str(each.id) for each in group)}" if group else ""
        click.echo(f"Alert {alert_id} is {alert.state} again{others}: {inert(alert.headline)}")


@command.command("silence")
@click.argument("alert_id", metavar="[ID]", shell_complete=complete("alert"), type=COUNT, required=False)
@click.option(
    "--for", "seconds", callback=age, default="24h", show_default=True, help="Duration: 30m, 2h, 7d."
)
@click.option(
    "--rule", metavar="NAME", shell_complete=complete("rule"), help="Silence all alerts of this rule."
)
@name_option("pipeline", "Silence all alerts of this pipeline.")
@name_option("step", "Silence all alerts of this step.")
@click.option("--reason", metavar="TEXT", help="The reason.")
@database_option
@click.pass_context
def silence(
    ctx: click.Context,
    alert_id: int | None,
    seconds: float,
    rule: str | None,
    pipeline: str | None,
    step: str | None,
    reason: str | None,
    database: str | None,
) -> None:
    """Silence one alert, or all matching alerts, for a while."""
    number = open_history(database or ctx.obj, writes=True).silence(
        alert_id, seconds=seconds, rule=rule, pipeline=pipeline, step=step, reason=reason
    )
    click.echo(f"Silence {number} until {local_time(time.time() + seconds)}.")


@command.command("unsilence")
@click.argument("alert_id", metavar="[ID]", shell_complete=complete("alert"), type=COUNT, required=False)
@click.option("--silence", "silence_id", type=COUNT, metavar="NUMBER", help="End this silence.")
@database_option
@click.pass_context
def unsilence(ctx: click.Context, alert_id: int | None, silence_id: int | None, database: str | None) -> None:
    """End silences, or list them. Without arguments, lists the silences in force."""
    writes = alert_id is not None or silence_id is not None
    history = open_history(database or ctx.obj, writes=writes)
    if alert_id is not None or silence_id is not None:
        if alert_id is not None:
            history.alert(alert_id)  # says that there is none
        ended = history.unsilence(alert_id, silence_id=silence_id)
        if silence_id is not None and not ended:
            raise NotFoundError(f"no silence {silence_id} is in force; see: perfdb alerts unsilence")
        click.echo(f"Ended {ended} silence{'s' * (ended != 1)}.")
        return
    found = history.silences()
    if not found:
        click.echo("No silence is in force.", err=True)
    for each in found:
        what = [
            f"{name} {inert(value)}"
            for name, value in (
                ("alert", each.alert_id),
                ("rule", each.rule),
                ("pipeline", each.pipeline),
                ("step", each.step_name),
            )
            if value is not None
        ]
        click.echo(f"{each.id}  until {local_time(each.expires_at)}  {', '.join(what)}")


@command.command("test")
@click.argument("channel", metavar="CHANNEL")
@database_option
@click.pass_context
def test(ctx: click.Context, channel: str, database: str | None) -> None:
    """Send a test message to a channel now and report the result."""
    from perfdb.alerts.channels import masked, send_test

    found = Triage(open_history(database or ctx.obj)).channel(channel)
    send_test(found)
    to = f" ({masked(found.url)})" if found.url else ""
    click.echo(f"Sent a test message to {inert(channel)}{to}.")


@command.command("explain")
@click.argument("what", metavar="[ID|RULE]", required=False)
@table_options
@click.pass_context
def explain(ctx: click.Context, what: str | None, as_json: bool, as_csv: bool, database: str | None) -> None:
    """Explain an alert, or show how rules evaluate. Without an argument, show all rules.

    For an alert: a plot of the runs before and after, the certainty, the steps that contribute to the change,
    the attributes that changed with it, what would resolve it and which command to run next. For a rule:
    its calculation on the newest runs.
    """
    history = open_history(database or ctx.obj)
    if what is not None and what.isdecimal():
        from perfdb.cli.alert_story import print_story, story_row

        found = history.explain_alert(int(what))
        if not print_rows(in_order([story_row(found)]), as_json=as_json, as_csv=as_csv):
            print_story(found)
        return
    verdicts = in_order(Triage(history).verdicts(what), _verdict_row)
    if print_rows([_verdict_row(each) for each in verdicts], as_json=as_json, as_csv=as_csv):
        return
    if not verdicts:
        click.echo("No run to evaluate yet.", err=True)
    from perfdb.alerts.messages import verdict_text

    named: tuple[str, str] | None = None
    for each in verdicts:
        if named != (each.pipeline, each.mode):
            named = (each.pipeline, each.mode)
            where = ", ".join(part for part in (each.pipeline, mode_text(each.mode)) if part)
            print_sentence(f"{where}, newest run {each.session_id}")
        step = "total" if each.step_name is None else step_label(each.step_name)
        print_sentence(f"  {each.rule.name}, {step}: {verdict_text(each.rule, each.verdict)}", indent="    ")


def _verdict_row(each: LiveVerdict) -> dict[str, object]:
    return {
        "rule": each.rule.name,
        "pipeline": each.pipeline,
        "mode": each.mode,
        "step_name": each.step_name,
        "session_id": each.session_id,
        "enough": each.verdict.enough,
        "hit": each.verdict.hit,
        "value": each.verdict.value,
        "baseline": each.verdict.baseline,
        "arithmetic": each.verdict.arithmetic,
    }
