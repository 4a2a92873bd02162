"""`perfdb check`: a gate for CI: exit 0 when nothing fires, 1 when something does, 2 if it cannot answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from perfdb.alerts.checking import Checked
from perfdb.alerts.messages import subject
from perfdb.cli.check_formats import code_quality, junit, print_github
from perfdb.cli.completing import complete
from perfdb.cli.options import COUNT, instant, open_history, series_options, table_options
from perfdb.cli.render import Column, print_heading, print_rows, print_sentence, print_table
from perfdb.cli.sorting import in_order, is_sorted
from perfdb.cli.text import duration_text, inert, of_kind
from perfdb.records import ALERT_ROW, Alert
from perfdb.text import counted, step_label
from perfdb.vocabulary import ALERT_STATES, CRITICAL, FIRING, HISTORIC, WARNING

if TYPE_CHECKING:
    from perfdb.alerts.against import Against

MOST_COMPARED = 20  # series of a pipeline and mode in the table


@click.command("check")
@click.option(
    "--fail-on",
    type=click.Choice((WARNING, CRITICAL)),
    default=WARNING,
    show_default=True,
    help="Minimum severity that fails the check.",
)
@click.option(
    "--since", callback=instant, metavar="WHEN", help="Only alerts confirmed by a session since WHEN: 24h."
)
@click.option(
    "--confirm",
    default=1,
    show_default=True,
    type=COUNT,
    help="Number of sessions that must confirm an alert.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "github", "gitlab", "junit")),
    default="text",
    help="Output format: annotations and step summary, code quality report, or JUnit XML.",
)
@series_options("alerts")
@click.option(
    "--state",
    "--status",
    "state",
    default=FIRING,
    show_default=True,
    type=click.Choice(("open", "all", *ALERT_STATES)),
    help="State of the alerts that fail the check.",
)
@click.option(
    "--against",
    metavar="BRANCH",
    shell_complete=complete("branch"),
    help="Judge the newest runs of this branch of git by the last runs of BRANCH instead.",
)
@click.option(
    "--branch",
    metavar="NAME",
    shell_complete=complete("branch"),
    help="The branch that --against judges.  [that of the working folder]",
)
@click.option("-n", "--last", type=COUNT, help="Number of newest alerts to list.  [all]")
@table_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    fail_on: str,
    since: float | None,
    confirm: int,
    form: str,
    state: str,
    against: str | None,
    branch: str | None,
    last: int | None,
    as_json: bool,
    as_csv: bool,
    database: str | None,
    **of: Any,
) -> None:
    """Fail if an alert is firing: exit 0 quiet, 1 firing, 2 cannot answer.

    Alerts that are silenced or of severity info never fail the check; those that are acknowledged or historic
    only with --status. If there is too
    little history, the check says so and passes.

    With --against main the newest 5 runs of this branch are compared with the level of the last runs of main,
    series by series: the answer is the median of both for each. 3 runs of this branch and 5 of main tell,
    fewer only what is far off. On main itself, open alerts decide.
    """
    if branch is not None and against is None:
        raise click.UsageError("--branch is for --against.")
    checked = open_history(database).check(
        fail_on=fail_on, since=since, confirm=confirm, state=state, against=against, branch=branch, **of
    )  # fmt: skip
    summary = _summary(checked, state)
    failing = in_order(checked.failing[:last], Alert.as_dict, ALERT_ROW)
    rows = None if checked.against is None else in_order(checked.against.rows())[:last]
    asked = [alert.as_dict() for alert in failing] if rows is None else rows
    if print_rows(asked, as_json=as_json, as_csv=as_csv):
        pass
    elif form == "github":
        print_github(failing, summary, checked.against)
    elif form == "gitlab":
        click.echo(code_quality(failing))
    elif form == "junit":
        click.echo(junit(failing, summary, enough=checked.enough))
    else:
        for alert in failing:
            print_sentence(f"{alert.severity.upper()}  {alert.message}", indent="  ")
        if checked.against is not None and rows is not None:
            _print_compared(checked.against, rows)
    print_sentence(summary, err=True)
    ctx.exit(1 if checked.failing else 0)


def _print_compared(against: Against, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the medians of both branches, the totals first, then as they are ordered."""
    columns = (
        Column("step", flexible=True, least=20),
        Column(against.branch, right=True, flexible=True),
        Column("n", right=True),
        Column(against.base, right=True, flexible=True),
        Column("n", right=True),
        Column("change", right=True),
        Column("verdict"),
    )
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(of_kind(row["pipeline"], row["mode"]), []).append(row)
    for kind, series in kinds.items():
        print_heading(kind)
        if not is_sorted():
            series.sort(key=lambda row: row["step_name"] is not None)
        print_table(columns, [_cells(row) for row in series[:MOST_COMPARED]])
        if len(series) > MOST_COMPARED:
            click.echo(
                f"The first {MOST_COMPARED} of {len(series):,}; all of them: --json or --csv", err=True
            )


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        step_label(row["step_name"]),
        duration_text(row["value"]),
        f"{row['n']:,}",
        duration_text(row["baseline"]),
        f"{row['baseline_n']:,}",
        "" if row["effect"] is None else f"{row['effect']:+.0f} %",
        row["verdict"],
    )


def _summary(checked: Checked, state: str) -> str:
    if checked.against is not None:
        return inert(checked.against.sentence) + _passed(checked.passed)
    if checked.failing:
        count = len(checked.failing)
        fire = f"{count} alert{'s fire' if count > 1 else ' fires'}."
        if state != FIRING:
            fire = counted(count, "alert") + (f" {_are(count)} {state}." if state != "all" else ".")
        historic = "" if state in ("all", HISTORIC) else _historic(checked.historic)
        return fire + _passed(checked.passed) + historic
    said = "Quiet."
    if checked.doubt:
        said = f"Quiet, but with {checked.doubt}."
    return said + _passed(checked.passed) + _historic(checked.historic)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _historic(count: int) -> str:
    """Say how many alerts of old data are not counted."""
    words = (
        f" {counted(count, 'historic alert')} of old data not counted: perfdb alerts list --state historic"
    )
    return words if count else ""


def _passed(passed: Sequence[tuple[Alert, str]]) -> str:
    if not passed:
        return ""
    listed = ", ".join(f"{alert.id or inert(subject(alert))} ({reason})" for alert, reason in passed[:5])
    more = f" and {len(passed) - 5} more" if len(passed) > 5 else ""
    return f" Ignored: {listed}{more}."
