"""`perfdb prune`: take out sessions that are older than anybody will ask for."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from perfdb.cli.options import COUNT, database_option, json_option, name_option, require_known
from perfdb.cli.render import Column, print_json, print_table
from perfdb.cli.text import local_time, size_text
from perfdb.history.history import History
from perfdb.history.pruning import BUSY_S, Traces, delete, require_database, row_of
from perfdb.recording.journal import has_living_writer, journals_in
from perfdb.settings import DATABASE_FILE
from perfdb.store.database import Database
from perfdb.store.engine import sqlite_path
from perfdb.store.upkeep.pruning import Policy, age, find_shares, read_policy, survey
from perfdb.store.upkeep.retention import clear_errors
from perfdb.text import counted, mode_text

if TYPE_CHECKING:
    from perfdb.store.upkeep.retention import Counted, Share

_SAY_EVERY_S = 1.0
_WORTH_IT = 1 << 20  # bytes


def _age(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else age(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


@click.command("prune")
@click.option("--older-than", callback=_age, metavar="AGE", help="Delete sessions older than AGE: 90d, 12w.")
@click.option(
    "--keep-last",
    type=COUNT,
    metavar="N",
    help="Always keep the newest N sessions of each pipeline and mode.",
)
@name_option("pipeline", "Only this pipeline.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and change nothing.")
@click.option("--reports", is_flag=True, help="Also delete JSON reports and the pictures of designs.")
@click.option("--compact", is_flag=True, help="Rewrite the file without free space. Writers wait meanwhile.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@database_option
def command(
    older_than: float | None,
    keep_last: int | None,
    pipeline: str | None,
    dry_run: bool,
    reports: bool,
    compact: bool,
    yes: bool,
    as_json: bool,
    database: str | None,
) -> None:
    """Delete old sessions in small batches while programs record.

    Without --older-than and --keep-last, [retention] in the settings applies. Running sessions, tagged
    sessions, and sessions that an open alert or a pinned baseline refers to are always kept. Reports and
    pictures are kept unless you pass --reports. In a terminal, perfdb asks for confirmation; in a script
    it does not.
    """
    history = History(database)
    history.require_access()
    policy = Policy(older_than, keep_last)
    if not policy:
        policy = read_policy(history.settings.retention)
    if not policy and not compact:
        raise click.UsageError(
            "Choose what to delete: --older-than 90d, --keep-last 1000, both, or [retention] in the settings."
        )
    require_database(history)
    require_known(history)
    click.echo(f"{'Read' if dry_run else 'Write'} {history.database}", err=True)
    now = time.time()
    with Database(history.url, BUSY_S) as store, clear_errors(history.url):
        shares = find_shares(store, policy, now, pipeline) if policy else []
        planned = survey(store, shares)
        _show(planned, as_json=as_json)
        going = sum(each.pruned for _, each in planned)
        if dry_run:
            click.echo(f"{counted(going, 'session')} would be deleted; nothing was changed.", err=True)
            return
        if going and not yes and sys.stdin.isatty() and not click.confirm("Delete them?", err=True):
            click.echo("Nothing deleted.", err=True)
            return
        size = _size(history)
        traces = Traces(history, _tell) if reports else None
        deleted = delete(
            store, shares, now, traces=traces, progress=_Progress(going) if sys.stderr.isatty() else None
        )
        click.echo(f"Deleted {counted(deleted, 'session')}.", err=as_json)
        _make_small(history, store, size, asked=compact)


def _show(planned: list[tuple[Share, Counted]], *, as_json: bool) -> None:
    if as_json:
        print_json(row_of(share, each) for share, each in planned)
        return
    if not planned:
        return
    columns = [
        Column("pipeline", flexible=True),
        Column("mode", flexible=True),
        Column("goes", right=True),
        Column("from"),
        Column("to"),
        Column("stays", right=True),
        Column("because", flexible=True),
    ]
    rows = [
        (
            share.pipeline,
            mode_text(share.mode),
            f"{each.pruned:,}",
            local_time(each.oldest) if each.oldest is not None else "",
            local_time(each.newest) if each.newest is not None else "",
            f"{each.kept:,}" if each.kept else "",
            _reasons(each),
        )
        for share, each in planned
    ]
    print_table(columns, rows)


class _Progress:
    """Says on one line of a terminal how far a long prune is."""

    def __init__(self, going: int) -> None:
        self._going = going
        self._said = time.monotonic()

    def __call__(self, deleted: int) -> None:
        if time.monotonic() - self._said < _SAY_EVERY_S:
            return
        self._said = time.monotonic()
        rest = "" if deleted < self._going else ", now what belongs to none any more"
        click.echo(f"\r{deleted:,} of {self._going:,} sessions{rest}\x1b[K\r", nl=False, err=True)


def _reasons(found: Counted) -> str:
    reasons = {
        "tagged": found.tagged,
        "named by an alert or baseline": found.named,
        "running": found.running,
    }
    return ", ".join(f"{number:,} {reason}" for reason, number in reasons.items() if number)


def _tell(error: OSError) -> None:
    """Say what cannot be removed, and go on."""
    click.echo(f"{error.filename} cannot be removed: {error.strerror}", err=True)


def _size(history: History) -> int:
    path = sqlite_path(history.url)
    return path.stat().st_size if path is not None else 0


def _make_small(history: History, store: Database, before: int, *, asked: bool) -> None:
    """Compact the file if that was asked for, or if no writer would wait for it; say how much it freed."""
    from perfdb.store.upkeep import space

    with store.reading() as connection:
        shrinks = space.can_shrink(connection)
        free = space.free_space(connection)
    store.forget()
    if asked or (not store.is_shared and not shrinks and free >= _WORTH_IT and _alone(history)):
        space.compact(history.url)
        if store.is_shared:
            click.echo("The tables have no free space any more.", err=True)
    elif not shrinks and free >= _WORTH_IT:
        click.echo(
            f"{size_text(free)} in the file are free for new sessions. To return free space to the disk, "
            "now and in future: perfdb prune --compact (writers wait meanwhile; journals keep the record).",
            err=True,
        )
    if (smaller := before - _size(history)) > 0:
        click.echo(f"The file is {size_text(smaller)} smaller.", err=True)


def _alone(history: History) -> bool:
    """Say whether the database is that of the home, and no process records into it now."""
    home = history.settings.home
    own = sqlite_path(history.url) == home / DATABASE_FILE
    return own and not any(has_living_writer(path) for path in journals_in(home / "journal"))
