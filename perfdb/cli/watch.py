"""`perfdb watch`: running sessions and open alerts, drawn anew every second."""

from __future__ import annotations

import select
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.cli.options import database_option, open_history
from perfdb.cli.render import colour, screen_width
from perfdb.cli.show import WIDEST
from perfdb.cli.text import COLOURS, cut, duration_text, inert, mark, mode_mark, short_time, width
from perfdb.cli.waterfall import waterfall
from perfdb.errors import StoreError
from perfdb.history.values import rows_of
from perfdb.records import Alert, Session
from perfdb.text import so_far_text
from perfdb.vocabulary import CRITICAL, FIRING, RUNNING, WARNING

MOST_RUNNING, MOST_ENDED, MOST_ALERTS = 8, 5, 8
_LEAST_NAME = 12  # columns of a pipeline
MOST_DRAWN, MOST_STEPS = 2, 8  # running sessions as waterfalls, and their steps
_ALERT_COLOURS = {CRITICAL: "red", WARNING: "yellow"}


@click.command("watch")
@click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(0.2, 60), help="Seconds between updates."
)
@database_option
def command(every: float, database: str | None) -> None:
    """Watch running sessions with their steps, and open alerts; press q or Ctrl-C to quit.

    Without a terminal, it prints the current state once.
    """
    from perfdb.store.engine import sqlite_path

    history = open_history(database)
    path = None if history.is_lake else sqlite_path(history.url)
    if path is not None and path.exists() and not path.is_file():  # that will not become a database
        raise StoreError(f"{history.database} is no regular file, and so no database")
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        for line in lines(history, once=True):
            click.echo(line)
        return
    with _single_keys():
        try:
            while True:
                size, rows = screen_width(), shutil.get_terminal_size().lines
                text = "\n".join(f"{line}\x1b[K" for line in lines(history, rows=rows - 1))
                # home, draw over what is there, clear the rest: nothing flickers
                click.echo(f"\x1b[H{text}\n\x1b[K{cut('press q to quit', size)}\x1b[J", nl=False)
                if _key_within(every) in ("q", "Q", "\x03", "\x04"):
                    break
        except KeyboardInterrupt:
            pass


def lines(history: perfdb.History, *, once: bool = False, rows: int | None = None) -> list[str]:
    """Return what there is to see now; of a database that is not there that it is not, unless once is all.

    Where that is more than so many rows of the screen, the waterfalls give way first.
    """
    now = time.time()
    size = screen_width()
    try:
        running = rows_of(history.sessions(status=RUNNING, last=MOST_RUNNING))[::-1]
        ended = [
            row
            for row in rows_of(history.sessions(last=MOST_ENDED + MOST_RUNNING))
            if row["status"] != RUNNING
        ]
        steps = rows_of(history.steps(status=RUNNING, last=MOST_RUNNING)) if running else []
        sessions = {row["session_id"]: history.session(row["session_id"]) for row in running}
        usual = {session_id: history.usual_seconds(each) for session_id, each in sessions.items()}
        alerts = Triage(history).alerts()
    except StoreError as error:  # it may come, or come back
        if once:
            raise
        return [cut(inert(str(error)), size)]
    drawn = [
        list(_drawn(sessions[row["session_id"]], now, usual[row["session_id"]], min(size, WIDEST)))
        for row in running[:MOST_DRAWN]
    ]
    while True:
        said = [
            colour(cut(f"perfdb  {inert(history.database)}  {short_time(now)}", size), None, bold=True),
            "",
            *_running(running, steps, usual, drawn, now, size),
            "",
            *_ended(ended[::-1][:MOST_ENDED], size),
            "",
            *_alerts(alerts, size),
        ]
        if rows is None or len(said) <= rows or not drawn:
            return said[:rows]
        drawn.pop()


def _running(
    running: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
    usual: Mapping[str, Mapping[str | None, float]],
    drawn: Sequence[Sequence[str]],
    now: float,
    size: int,
) -> Iterator[str]:
    """Yield the running sessions: the first with their waterfalls, the others with their open steps."""
    yield colour(f"Running ({len(running)})", None, bold=True)
    for place, row in enumerate(running):
        waterfall_of = drawn[place] if place < len(drawn) else ()
        of_late = usual[row["session_id"]]
        open_steps = [
            f"{name} {so_far_text(max(0.0, now - step['start_time']), of_late.get(name))}"
            for step in steps
            if step["session_id"] == row["session_id"] and step["status"] == RUNNING
            for name in (step["step_name"],)
        ]
        elapsed = so_far_text(max(0.0, now - row["start_time"]), of_late.get(None))
        text = _line(row, elapsed, size)
        if open_steps and not waterfall_of:
            text += f"  {inert(', '.join(open_steps))}"
        yield colour(cut(text, size), "cyan")
        yield from waterfall_of
        if waterfall_of and place + 1 < len(running):
            yield ""
    if not running:
        yield "  none"


def _ended(ended: Sequence[Mapping[str, Any]], size: int) -> Iterator[str]:
    """Yield the sessions that ended last, with what they failed of."""
    yield colour("Last", None, bold=True)
    for row in ended:
        took = duration_text(row["total_duration"]) if row["total_duration"] is not None else row["status"]
        text = _line(row, f"{took}  {short_time(row['start_time'])}", size)
        if row["error_message"]:
            text += f"  {inert(row['error_message'])}"
        yield colour(cut(text, size), COLOURS.get(row["status"]))
    if not ended:
        yield "  nothing recorded yet: run something with perfdb.track(...), or perfdb demo"


def _alerts(alerts: Sequence[Alert], size: int) -> Iterator[str]:
    yield colour(f"Alerts ({len(alerts)})", None, bold=True)
    for alert in alerts[:MOST_ALERTS]:
        state = "" if alert.state == FIRING else f" ({alert.state})"
        yield colour(
            cut(f"{alert.id}{state}  {inert(alert.headline)}", size), _ALERT_COLOURS.get(alert.severity)
        )
    if not alerts:
        yield "  none"


def _line(row: Mapping[str, Any], said: str, columns: int) -> str:
    """Return a session in a line: of a narrow one the name of the pipeline is cut, and not what is said."""
    begins = f"{mark(row['status'])} {inert(row['session_id'])}  "
    mode = mode_mark(row["mode"])
    name = f"{inert(row['pipeline'])} ({mode})" if mode else inert(row["pipeline"])
    return f"{begins}{cut(name, max(_LEAST_NAME, columns - width(begins) - width(said) - 2))}  {said}"


def _drawn(session: Session, now: float, usual: Mapping[str | None, float], columns: int) -> Iterator[str]:
    """Yield a running session's steps as they stand: of many those that began last, and what they are in."""
    if session.steps:
        parents = {step.seq: step.parent_seq for step in session.steps}
        shown: set[int] = set()
        for step in sorted(session.steps, key=lambda step: step.start_time)[-MOST_STEPS:]:
            seq: int | None = step.seq
            while seq is not None and seq not in shown and seq in parents:
                shown.add(seq)
                seq = parents[seq]
        yield from waterfall(session, columns=columns, now=now, most=len(shown), usual=usual, only=shown)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Have keys arrive as they are pressed, on the terminal's other screen; put all back in the end."""
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)
    click.echo("\x1b[?1049h\x1b[?25l\x1b[2J", nl=False)
    try:
        tty.setcbreak(stdin)
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
        click.echo("\x1b[?25h\x1b[?1049l", nl=False)


def _key_within(seconds: float) -> str:
    sys.stdout.flush()
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return sys.stdin.read(1) or "q" if ready else ""
