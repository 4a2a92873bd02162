"""`perfdb show`: one session in full."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from perfdb.alerts.messages import amount
from perfdb.analysis.measuring import of_session
from perfdb.analysis.timeline import last_instant
from perfdb.cli.completing import complete
from perfdb.cli.options import COUNT, filter_options, open_history, session_meant, table_options
from perfdb.cli.render import colour, print_rows, screen_width
from perfdb.cli.sorting import in_order, is_sorted
from perfdb.cli.text import (
    COLOURS,
    amount_text,
    cut,
    duration_text,
    facts_text,
    fast_text,
    folded,
    inert,
    local_time,
    mark,
    width,
)
from perfdb.cli.waterfall import waterfall
from perfdb.measures import JUDGED, named
from perfdb.recording.report import to_report
from perfdb.records import Session
from perfdb.text import counted, so_far_text
from perfdb.vocabulary import FAILED, INTERRUPTED, RUNNING

MOST_STEPS = 60
MOST_OF_ERROR = 8  # lines
WIDEST = 120  # beyond it the eye loses the line between a name and its seconds


@click.command("show")
@click.argument("session_id", metavar="[ID]", shell_complete=complete("session"), default="last")
@click.option("--all", "every_step", is_flag=True, help=f"Draw every step, not only the first {MOST_STEPS}.")
@click.option("-n", "--steps", "most", type=COUNT, help="Number of steps to show, the first ones.")
@click.option("--depth", type=COUNT, help="Levels of steps in steps to show.  [all]")
@click.option("--data", is_flag=True, help="Show the additional data of each step.")
@filter_options
@table_options
def command(
    session_id: str,
    every_step: bool,
    most: int | None,
    depth: int | None,
    data: bool,
    database: str | None,
    as_json: bool,
    as_csv: bool,
    **filters: Any,
) -> None:
    """Show one session as a waterfall of its steps.

    ID is a session id, a unique prefix of one, last, or last~1 for the session before it.
    With filters, last is the last session that fits. Each row of CSV is a step. --sort lists the steps
    without their tree.
    """
    history = open_history(database)
    session = history.session(session_meant(history, session_id, filters))
    order = None
    report = to_report(session) if as_json or as_csv or is_sorted() else {}
    if is_sorted():
        pairs = in_order(list(zip(report["steps"], session.steps, strict=True)), lambda pair: pair[0])
        report["steps"], order = [row for row, _ in pairs], [step for _, step in pairs]
    if most is not None and report:
        report["steps"] = report["steps"][:most]
    if print_rows(report["steps"] if as_csv else [report], as_json=as_json, as_csv=as_csv):
        return
    columns, now, usual = min(screen_width(), WIDEST), time.time(), history.usual_seconds(session)
    for line in _heading(session, columns, now, usual.get(None), history.usual_words(session)):
        click.echo(cut(line, columns))
    if session.error_message:
        paint = COLOURS[INTERRUPTED if session.status == INTERRUPTED else FAILED]
        lines = folded(inert(session.error_message), columns, max_lines=MOST_OF_ERROR)
        for line in lines:
            click.echo(colour(line, paint))
    if not session.steps:
        click.echo("No steps were recorded.")
        return
    click.echo()
    most = len(session.steps) if every_step else most or MOST_STEPS
    drawn = waterfall(
        session, columns=columns, now=now, most=most, data=data, depth=depth, order=order, usual=usual
    )
    for line in drawn:
        click.echo(line)


def _packed(facts: Iterable[str], columns: int) -> Iterator[str]:
    """Yield facts in lines that hold as many of them as fit."""
    line = ""
    for fact in filter(None, map(inert, facts)):
        if line and width(line) + width(fact) + 2 > columns:
            yield line
            line = ""
        line += f"  {fact}" if line else fact
    if line:
        yield line


def _heading(
    session: Session, columns: int, now: float, usual: float | None, at_this_hour: str
) -> Iterator[str]:
    status = f"{mark(session.status)} {session.status}"
    took = duration_text(session.total_duration)
    if session.status == RUNNING:
        took = so_far_text(last_instant(session, now) - session.start_time, None if at_this_hour else usual)
    if at_this_hour:
        took = f"{took}, {at_this_hour}"
    click.echo(
        f"{colour(inert(session.session_id), None, bold=True)}  {colour(status, COLOURS.get(session.status))}"
        f"  {took}"
    )
    facts = [session.pipeline, fast_text(session.fast_mode), local_time(session.start_time)]
    if session.product_count is not None:
        facts.append(counted(session.product_count, "product"))
    facts += [f"[{tag}]" for tag in session.tags]
    yield from _packed(facts, columns)
    machine = [
        f"on {session.host}" if session.host else "",
        f"Python {session.python_version}" if session.python_version else "",
        f"commit {session.git_commit[:12]}" if session.git_commit else "",
        f"branch {session.git_branch}" if session.git_branch else "",
        *(
            f"{each.short} {amount(value, each.name)}"
            for each in JUDGED
            if (value := getattr(session, each.name))
        ),
        *(
            f"{each.words} {amount_text(value, each.unit).removesuffix(' tokens')}"
            for each in (named(name) for name in ("cost_usd", "input_tokens", "output_tokens"))
            if (value := of_session(session, each)) is not None
        ),
    ]
    yield from _packed(machine, columns)
    attributes = {key: value for key, value in session.attributes.items() if key != "fast_mode"}
    if attributes:
        yield from folded(facts_text(attributes), columns)
