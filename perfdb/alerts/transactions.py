"""Evaluate the rules on recorded sessions, each in a transaction of its own.

The history is read without the write lock. The lock is only taken to write what changed, which is nothing for
most sessions, and for no longer than that takes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

from perfdb.alerts.callbacks import registered
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import after_session, after_silence, look_at_session, settle_session
from perfdb.alerts.settling import Outcome
from perfdb.analysis.rules import TABLE
from perfdb.recording.native import sleep
from perfdb.store import windows
from perfdb.store.alerts import no_longer_silenced, take_turn
from perfdb.store.database import Database
from perfdb.vocabulary import COMPLETED

if TYPE_CHECKING:
    from sqlalchemy import Connection

SHORT_S = 0.01  # a loop of shorter sessions is evaluated now and then, not after each
_TRIES = 3  # to write what was found before others change what it rests on
_HOLD_S = 0.02  # that a piece has the lock for
_PAUSE_S = 0.005  # between two of them: those that wait for the lock poll for it

Thing = TypeVar("Thing")


def evaluate_session(
    database: Database, session_id: str, settings: AlertSettings, *, historic: bool = False
) -> Outcome:
    """Evaluate a session that is in the database; evaluating it again changes nothing.

    Args:
        database: where it is.
        session_id: the session.
        settings: rules and channels.
        historic: it is old data: its alerts are ``historic``, and nobody is notified.
    """
    for _ in range(_TRIES):
        with database.reading() as connection:
            found = look_at_session(connection, session_id, settings, time.time(), historic=historic)
        if found is None:
            return Outcome()
        with database.writing() as connection:
            outcome = settle_session(connection, found, settings, time.time())
        if outcome is not None:
            return outcome
    with database.writing() as connection:  # others change alerts all the time: now they wait
        return after_session(connection, session_id, settings, time.time(), historic=historic)


def newest_alike(database: Database, session_id: str, settings: AlertSettings) -> tuple[str, str]:
    """Return the session whose evaluation covers this one and all like it that are there, and their kind.

    What is alike has the pipeline, mode and steps, and is evaluated by the same rules, for the same channels.
    The kind is empty where the evaluation covers no other session.
    """
    with database.reading() as connection:
        found = windows.newest_alike(connection, session_id)
    if found is None or found[1] is None:
        return session_id, ""
    newest, ran = found
    told = replace(settings, channels=(), channels_off=())
    named = sorted((each.name, each.kind, each.off or "") for each in settings.channels)
    what = f"{told} {named} {bool(registered())} {newest.total_series} {ran}"
    return newest.session_id, sha256(what.encode("utf-8", "backslashreplace")).hexdigest()[:20]


def tell_after_silence(database: Database, settings: AlertSettings) -> Outcome:
    """Notify of what fired during a silence that is over, and still fires."""
    with database.reading() as connection:
        if not no_longer_silenced(connection, time.time()):
            return Outcome()
    with database.writing() as connection:
        return after_silence(connection, settings, time.time())


def write_in_pieces(
    database: Database, things: Iterable[Thing], write: Callable[[Connection, Thing], None]
) -> None:
    """Write one thing after the other, as many in a transaction as hold its lock for a moment."""
    waiting = deque(things)
    while waiting:
        with database.writing() as connection:
            take_turn(connection)
            until = time.monotonic() + _HOLD_S
            write(connection, waiting.popleft())
            while waiting and time.monotonic() < until:
                write(connection, waiting.popleft())
        if waiting:
            sleep(_PAUSE_S)


def limits_single_runs(settings: AlertSettings) -> bool:
    """Say whether a rule looks at single values, so that every session must be evaluated."""
    return any(TABLE[rule.kind].finds == "breach" for rule in settings.rules)


def is_short(status: str, total_duration: float | None, cpu_wait_s: float | None = None) -> bool:
    """Say whether evaluating a later session of a loop covers this one: the rules look at the history.

    What it waited for a CPU does not make it longer: on a busy machine all would be evaluated, which makes it
    busier.
    """
    return status == COMPLETED and (total_duration or 0.0) - (cpu_wait_s or 0.0) < SHORT_S
