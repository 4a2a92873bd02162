"""What dead processes left behind: their journals, and the sessions that they did not end.

A journal that cannot be taken in stays where it is and holds up no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

from perfdb.recording.health import Health, warn_once
from perfdb.recording.journal import (
    SUFFIX,
    VERSION,
    Journal,
    files_in,
    has_living_writer,
    is_written,
    journals_in,
    records_behind,
)
from perfdb.recording.judged import judged_until, unjudged_beside
from perfdb.recording.native import monotonic
from perfdb.recording.quarantine import put_aside
from perfdb.recording.values import clean_error
from perfdb.store.database import Database
from perfdb.text import inert
from perfdb.toml import Table
from perfdb.worker.shipping import LONG_JOURNAL, move_batch

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

    from sqlalchemy import Connection

    from perfdb.trust import Trust

BUSY_TIMEOUT_S = 5.0  # that a person waits for a locked database
MOST_HELD = 100  # journals of dead processes at a time: each is an open file
MOST_COUNTED = 20_000  # records of a journal that are looked at to say what waits in it
MOST_NEWS = 50  # sessions of dead processes that notify like new ones: somebody may wait for it


class Moved:
    """What a look through journals brought into the database."""

    __slots__ = (
        "finished",
        "fired",
        "interrupted",
        "journals",
        "left",
        "quarantined",
        "records",
        "short",
        "silent",
    )

    def __init__(self) -> None:
        self.left: dict[Path, str] = {}  # what stays where it is, and why
        self.short: list[Path] = []  # journals that were put aside: the database has more of them
        self.journals = self.records = self.interrupted = self.quarantined = 0
        self.silent = 0  # sessions whose hosts have not renewed their leases
        self.finished: list[str] = []  # ids of sessions that had ended long ago
        self.fired = 0  # alerts that people are notified of


Evaluate = Callable[[list[str]], tuple[int, list[str]]]
"""Evaluates sessions that ended; returns how many alerts fired, and the sessions that are old."""


def recover_dead(
    folder: Path, database: Database, health: Health, evaluate: Evaluate, *, trust: Trust | None = None
) -> Moved:
    """Move the journals of dead processes into the database, end and evaluate their sessions.

    In a shared database the sessions of hosts that have fallen silent are ended as well. A journal that was
    taken in is removed; one of a user whom ``trust`` does not know is left alone. A journal that cannot be
    read or put aside stays, is named in ``left`` and counted as ``skipped``: it holds up no other. What is no
    file, such as a link to one, is named, too.

    Raises:
        BlockingIOError: somebody looks through lines that were put aside: try again; the others are taken in.
        Exception: the database takes nothing now.
    """
    moved = Moved()
    files, others = files_in(folder, SUFFIX)
    name_strangers(others, health, moved)
    paths = believed(files, trust)
    for first in range(0, len(paths), MOST_HELD):
        is_last = first + MOST_HELD >= len(paths)
        some = paths[first : first + MOST_HELD]
        _recover_some(some, database, health, evaluate, moved, MOST_NEWS if is_last else 0)
    if moved.journals:
        _evaluate_left_to_them(database, evaluate, moved)
    if database.is_shared:
        from perfdb.store.leases import interrupt_silent

        beside = [path.stem for path in journals_in(folder)]  # their locks tell more than a lease
        with database.writing() as connection:
            moved.silent = interrupt_silent(connection, beside=beside)
    return moved


def _recover_some(
    paths: list[Path], database: Database, health: Health, evaluate: Evaluate, moved: Moved, most_news: int
) -> None:
    """Bring in the rows of all these journals, then evaluate the newest sessions, which takes longer.

    A journal is removed once its sessions are evaluated, because nothing else remembers that they are not.
    When the process is killed here, what it has done stays done.
    """
    held: dict[Journal, list[str]] = {}
    busy: BlockingIOError | None = None
    try:
        for path in paths:
            journal: Journal | None = None
            try:
                journal = _claim(path, database)
                if journal is not None:
                    _require_its_writer_dead(journal, [each.path.stem for each in held])
                    held[journal] = _take_in(journal, database, health, moved)
                elif path.exists() and not os.access(path, os.R_OK | os.W_OK):
                    moved.left[path] = "it may not be read and written: its program may live"
            except Exception as error:
                if journal is not None:
                    journal.close()
                if is_of_database(error):
                    raise
                busy = busy or (error if isinstance(error, BlockingIOError) else None)
                leave_alone(path, error, health, moved)
        waiting = [each for sessions in held.values() for each in sessions]
        history = set(waiting[: max(0, len(waiting) - most_news)])
        for journal in list(held):
            news = [each for each in held[journal] if each not in history]
            fired, old = evaluate(news) if news else (0, [])
            moved.fired += fired
            moved.finished += [each for each in held[journal] if each in history] + old
            del held[journal]
            try:
                journal.close(remove=True)
            except OSError as error:  # its rows are there, and it is looked through again
                leave_alone(journal.path, error, health, moved)
    finally:
        for journal in held:
            journal.close()
    if busy is not None:
        raise busy


def _evaluate_left_to_them(database: Database, evaluate: Evaluate, moved: Moved) -> None:
    """Evaluate the sessions of other processes, which had left that to those that have died."""
    from perfdb.store.engine import sqlite_path
    from perfdb.worker.covering import left_to_the_dead

    file = sqlite_path(database.url)
    if file is None:
        return
    with left_to_the_dead(file) as left:
        fired, old = evaluate(left) if left else (0, [])
    moved.fired += fired
    moved.finished += old


def _claim(path: Path, database: Database) -> Journal | None:
    """Take over the journal of a dead writer, also one that was emptied since the database had some of it.

    Raises:
        _UnknownJournalError: there is no line of one in it.
    """
    journal = Journal.claim(path)
    if journal is None and _is_of_the_dead(path):
        from perfdb.store.ingest import journal_offset

        with database.reading() as connection:
            known = journal_offset(connection, path.stem)
        journal = Journal.claim(path, by_name=known > 0)  # its program may have died just now
        if journal is None and _is_of_the_dead(path):
            raise _UnknownJournalError("no line of it can be read; look at it, then remove it")
    return journal


def _is_of_the_dead(path: Path) -> bool:
    return path.is_file() and not has_living_writer(path)


def _require_its_writer_dead(journal: Journal, of_the_dead: Collection[str]) -> None:
    """Leave a copy of a journal alone while the program lives whose sessions it would end.

    Raises:
        _UnknownJournalError: it is one.
    """
    journal_id = str(journal.header["journal_id"])
    if journal_id not in (journal.path.stem, *of_the_dead) and is_written(journal.path.parent, journal_id):
        raise _UnknownJournalError(f"it is a copy of {journal_id}{SUFFIX}, whose program lives")


def is_of_database(error: Exception) -> bool:
    """Say whether the database is at fault; an OSError is of the journal."""
    from perfdb.store.engine import is_transient

    return is_transient(error) and not isinstance(error, OSError)


def leave_alone(path: Path, error: Exception, health: Health, moved: Moved) -> None:
    """Note why a file stays where it is."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else clean_error(error)
    moved.left[path] = reason or type(error).__name__
    health.count("skipped", 1, f"{inert(path)} could not be taken in: {moved.left[path]}")


def name_strangers(paths: list[Path], health: Health, moved: Moved) -> None:
    """Note what is called like a file of ours, but is none."""
    for path in paths:
        moved.left[path] = "it is no file, but a link, a folder or the like"
        health.warn(f"{inert(path)} is ignored: {moved.left[path]}")


class _UnknownJournalError(Exception):
    """A journal whose lines this perfdb does not understand, or should not yet."""


def require_known(header: Mapping[str, Any]) -> None:
    """Leave lines of another version to the perfdb that knows it.

    Raises:
        _UnknownJournalError: they are.
    """
    if (version := header.get("version", VERSION)) != VERSION:
        raise _UnknownJournalError(f"its lines are of version {version!r}: it waits for a newer perfdb")


def _take_in(journal: Journal, database: Database, health: Health, moved: Moved) -> list[str]:
    """Bring a dead process's rows to the database; return its sessions that ended and are not evaluated."""
    from perfdb.store.sessions import mark_interrupted

    require_known(journal.header)
    before = health.counts["quarantined"]
    ended = dict.fromkeys(unjudged_beside(journal.path))
    ended.update(dict.fromkeys(_ended_behind(journal, judged_until(journal.path))))
    offset = 0
    while True:
        records, offset, finished = move_batch(database, journal, health, offset)
        moved.records += records
        ended.update(dict.fromkeys(finished))
        if not records:
            break
    if (missing := journal.missing(offset)) > 0:
        _put_short_aside(journal, offset, missing, health)
        moved.short.append(journal.path)
    elif torn := journal.torn_end(offset):
        put_aside(journal.path, journal.header, [torn + b"\n"])
        health.count("quarantined", 1, f"the torn end of {journal.path} was put aside")
    journal_id = str(journal.header["journal_id"])
    if offset > LONG_JOURNAL:
        from perfdb.store.large import interrupt_ahead

        interrupt_ahead(database, journal_id)
    with database.writing() as connection:
        moved.interrupted += mark_interrupted(connection, journal_id)
    moved.journals += 1
    moved.quarantined += health.counts["quarantined"] - before
    return list(ended)


def _put_short_aside(journal: Journal, offset: int, missing: int, health: Health) -> None:
    """Keep the lines of a file that was cut or replaced: nobody knows which of them the database has."""
    lines = [line.raw for line in journal.lines() if line.record is None or line.record["type"] != "journal"]
    put_aside(journal.path, journal.header, lines)
    message = (
        f"{journal.path} is shorter ({offset - missing} bytes) than what the database has of it ({offset})"
    )
    health.count("quarantined", max(1, len(lines)), f"{message}: its lines were put aside")


def _ended_behind(journal: Journal, offset: int) -> Iterator[str]:
    for line in journal.lines(offset):
        if line.record is not None and line.record["type"] == "end":
            yield str(line.record.get("session_id"))


def believed(paths: list[Path], trust: Trust | None) -> list[Path]:
    """Return those of the files that may be taken in, and say once which belong to others."""
    if trust is None:
        return paths
    doubts = {path: doubt for path in paths if (doubt := trust.doubt_about(path)) is not None}
    for path, doubt in doubts.items():
        warn_once(f"{path} is ignored: {doubt}. To take it in: PERFDB_HOME={path.parent.parent}")
    return [path for path in paths if path not in doubts]


def recover(
    home: Path,
    database_url: str,
    *,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    alerts: Table | None = None,
    prices: Table | None = None,
    trust: Trust | None = None,
) -> Moved:
    """Bring into the database what dead processes left in the journals of a home.

    The rules of ``alerts`` are evaluated on their sessions as their own process would have done; sessions
    that ended long ago notify nobody and open historic alerts at most.

    Raises:
        StoreError: the database cannot be opened or upgraded.
        SQLAlchemyError: it takes no rows now.
    """
    with Database(database_url, busy_timeout_s, prices=prices) as database:
        health = Health()
        evaluate = partial(_evaluate_left, database, alerts, health)
        moved = recover_dead(home / "journal", database, health, evaluate, trust=trust)
        if moved.finished:
            from perfdb.alerts.late import evaluate_historic

            evaluate_historic(database, moved.finished, alerts)
    return moved


def send_messages(database_url: str, alerts: Table | None, seconds: float) -> int:
    """Send the messages of alerts that are due, at most so long; return how many arrived.

    Raises:
        StoreError: the database cannot be opened.
    """
    from perfdb.alerts.config import read_alert_settings
    from perfdb.alerts.delivery import Delivery

    until = monotonic() + seconds
    with Database(database_url, 5.0) as database:
        delivery = Delivery(database.writing, nullcontext(), Health())
        delivery.use(read_alert_settings(alerts or Table({})).channels)
        while monotonic() < until and delivery.turn():
            pass
        return delivery.sent


def _evaluate_left(
    database: Database, alerts: Table | None, health: Health, session_ids: list[str]
) -> tuple[int, list[str]]:
    from perfdb.alerts.config import read_alert_settings
    from perfdb.alerts.late import evaluate_left
    from perfdb.store.engine import is_transient

    settings = read_alert_settings(alerts or Table({}), reading=True)
    try:
        outcomes, old = evaluate_left(database, session_ids, settings)
    except Exception as error:
        if is_transient(error):
            raise
        health.count("rule_errors", 1, f"evaluating the rules failed: {type(error).__name__}")
        return 0, []
    return sum(len(each.fired) for each in outcomes), old


def end_left_sessions(home: Path, database_url: str) -> int:
    """End sessions as interrupted that run by a SQLite file, but in no journal of the home.

    A backup that was made while they ran has such. Only a person can say so, because their writer might live
    in another home; its late end undoes this. Return how many there were.
    """
    from perfdb.store.sessions import mark_interrupted
    from perfdb.store.upkeep.inspection import read_facts

    with Database(database_url, BUSY_TIMEOUT_S) as database:
        if database.is_shared:
            return 0
        here = {path.stem for path in journals_in(home / "journal")}
        with database.reading() as connection:  # through all rows
            written = read_facts(connection).journals
        with database.writing() as connection:
            left = [name for name, each in written.items() if each.running and name not in here]
            return sum(mark_interrupted(connection, name) for name in left)


def has_journals(home: Path) -> bool:
    """Tell whether anything may wait in the journals of a home."""
    return bool(journals_in(home / "journal"))


def runs_waiting(home: Path, connection: Connection | None) -> int:
    """Count the sessions of dead programs of which a database (None: an empty one) lacks a record.

    Of very many records the first ones are looked at.
    """
    from perfdb.store.ingest import journal_offset

    found: set[str] = set()
    for path in journals_in(home / "journal"):
        if not has_living_writer(path):
            known = journal_offset(connection, path.stem) if connection is not None else 0
            records = islice(records_behind(path, known), MOST_COUNTED)
            found.update(str(each["session_id"]) for each in records if "session_id" in each)
    return len(found)
