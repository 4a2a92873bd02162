"""`perfdb delete`: take sessions out of the database, or out of everything."""

from __future__ import annotations

import sys
from typing import Any

import click

from perfdb.cli.completing import complete
from perfdb.cli.options import database_option, filter_options, history_filters, last_option, open_history
from perfdb.cli.text import duration_text, inert, local_time
from perfdb.filters import Filters
from perfdb.history.history import History
from perfdb.text import counted
from perfdb.vocabulary import RUNNING

MOST_SHOWN = 20
_PIECE = 100  # sessions of one transaction, when filters choose


@click.command("delete")
@click.argument("session_ids", metavar="[ID]...", shell_complete=complete("session"), nargs=-1)
@last_option("Only this many of the newest matching sessions.")
@click.option(
    "--everywhere",
    is_flag=True,
    help="Also delete their reports, alerts, messages, quarantined records, and in the lake of [archive].",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@filter_options
@database_option
def command(
    session_ids: tuple[str, ...],
    last: int | None,
    everywhere: bool,
    yes: bool,
    database: str | None,
    **filters: Any,
) -> None:
    """Delete sessions from the database.

    ID is a session id, a unique prefix of one, last, or last~1. Filters choose sessions instead, such as
    --attribute customer=acme. Either all sessions that you name are deleted or none. The pictures of designs
    are deleted with them. JSON reports, alerts that name the sessions, and what was pushed to a lake are
    kept, unless --everywhere is given.
    """
    given = history_filters({**filters, "last": last})
    if bool(session_ids) == bool(given):
        raise click.UsageError("Name sessions, or choose them with filters such as --attribute; not both.")
    history = open_history(database, writes=True)
    rows = _chosen(history, session_ids, given)
    if not rows:
        click.echo("No session matches: nothing deleted.", err=True)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "There is no terminal to ask for confirmation. Pass --yes to delete without asking."
            )
        for row in rows[:MOST_SHOWN]:
            click.echo(
                f"  {inert(row['session_id'])}  {local_time(row['start_time'])}  {inert(row['pipeline'])}  "
                f"{duration_text(row['total_duration'])}",
                err=True,
            )
        if len(rows) > MOST_SHOWN:
            click.echo(f"  and {len(rows) - MOST_SHOWN:,} more", err=True)
        if not click.confirm(f"Delete {counted(len(rows), 'session')}?", err=True):
            click.echo("Nothing deleted.", err=True)
            return
    names = [row["session_id"] for row in rows]  # the full ids: `last` may mean another session by now
    if everywhere:
        _erase(history, names)
    deleted: list[str] = []
    piece = len(names) if session_ids else _PIECE
    for first in range(0, len(names), piece):
        deleted += history.delete(*names[first : first + piece])
    shown = ", ".join(deleted[:MOST_SHOWN]) + (", …" if len(deleted) > MOST_SHOWN else "")
    click.echo(f"Deleted {counted(len(deleted), 'session')}: {shown}")


def _chosen(history: History, session_ids: tuple[str, ...], given: Filters) -> list[dict[str, Any]]:
    if session_ids:
        sessions = {each.session_id: each for each in map(history.session, session_ids)}
        names = ("session_id", "start_time", "pipeline", "total_duration")
        return [{name: getattr(each, name) for name in names} for each in sessions.values()]
    rows = history.session_rows(**given)
    running = sum(row["status"] == RUNNING for row in rows)
    if running:
        click.echo(f"{counted(running, 'session')} still running: left alone.", err=True)
    return [row for row in rows if row["status"] != RUNNING]


def _erase(history: History, names: list[str]) -> None:
    from perfdb.history.erasing import erase_traces

    gone = erase_traces(history, names)
    click.echo(
        f"Erased {counted(gone.reports, 'report')}, {counted(gone.alerts, 'alert')}, "
        f"{counted(gone.messages, 'message')} and {counted(gone.lines, 'line')} put aside.",
        err=True,
    )
    if gone.lake is not None:
        click.echo(f"Deleted in {gone.lake}, too: its files are without them when it is sealed.", err=True)
    if gone.journals:
        click.echo(
            f"{counted(gone.journals, 'journal')} of programs that run may still hold lines of them, until "
            "these end.",
            err=True,
        )
