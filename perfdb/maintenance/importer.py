"""Take reports into a database: files, folders and globs, of the formats in ``maintenance/formats/``.

Not part of the command line, because a program may import reports as well. A session that the
database knows is left alone, so importing twice changes nothing; a bad file stops no other.
"""

from __future__ import annotations

import gc
import glob
import json
import os
import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from perfdb.alerts.late import evaluate_historic
from perfdb.errors import PerfdbError, ReportError, StoreError
from perfdb.maintenance.formats import format_of
from perfdb.recording.redaction import redact, withheld
from perfdb.records import Session, Step
from perfdb.settings import Settings
from perfdb.store.database import HOLD_S, Database
from perfdb.vocabulary import mode_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.store.pieces import Piece

WRITER_WAIT_S = 30.0
PAUSE_S = 0.005  # between two transactions: a writer that waits looks for the lock now and then only
FILES_AT_A_TIME = 100
_GLOB_CHARACTERS = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of one file: sessions that were new, sessions already known, or why it was refused."""

    path: str
    added: int = 0
    known: int = 0
    error: str | None = None


def find_reports(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the files that are meant.

    A folder stands for every ``*.json`` in and below it, a glob for what it matches. A path that
    leads nowhere is returned as it is, so that reading it says why.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_files_of(Path(path))))
    return list(found)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*.json") if file.is_file())
    if not path.exists() and _GLOB_CHARACTERS.search(str(path)):
        matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        return [file for match in matches for file in (_files_of(match) if match.is_dir() else [match])] or [
            path
        ]
    return [path]


def import_reports(files: Iterable[Path], settings: Settings) -> Iterator[Imported]:
    """Take files into the database of the settings, creating it where needed; yield what became of each.

    Args:
        files: as ``find_reports`` gives them.
        settings: which database, and which attributes make the mode of a report that names none.

    Yields:
        One result per file, in order, when its sessions are in the database.

    Raises:
        StoreError: the database cannot be used at all, or no longer.
    """
    remaining = list(files)
    added: list[str] = []
    before: list[str] = []
    if not any(os.path.lexists(file) for file in remaining):  # a slip of the pen makes no database
        yield from (_File(file, settings).result for file in remaining)
        return
    with Database(settings.database_url, WRITER_WAIT_S) as database:
        with database.reading():
            pass  # whether it can be used at all is said before any file
        while remaining:
            batch, remaining = remaining[:FILES_AT_A_TIME], remaining[FILES_AT_A_TIME:]
            # Read before a transaction begins: other writers wait while it is open.
            read = [_File(file, settings) for file in batch]
            with _in_words(settings.database_url):
                _insert(database, read)
            for file in read:
                added += file.session_ids if file.result.added else []
                before += file.came_before
                yield file.result
        if added or before:  # where nothing is new, the import before may have ended before it came to this
            with _in_words(settings.database_url):
                evaluate_historic(database, added or before, settings.alerts)


def _read(file: Path) -> tuple[list[Session], str | None]:
    """Return the file's sessions, or the reason why it has none."""
    try:
        return list(format_of(file).read(file)), None
    except ReportError as error:
        return [], str(error)
    except OSError as error:
        return [], error.strerror or str(error)


class _File:
    """One file on its way into the database."""

    def __init__(self, path: Path, settings: Settings) -> None:
        from perfdb.store.pieces import Inserting, pieces_of

        self.path = path
        found, self._error = _read(path)
        self.session_ids = [each.session_id for each in found]
        self.pieces = list(pieces_of(_prepared(each, settings) for each in found))
        self._inserting = Inserting()

    def insert(self, connection: Connection, piece: Piece) -> None:
        """Add a piece; the first that is refused is the file's last."""
        from sqlalchemy.exc import DBAPIError

        if self._error is not None:
            return
        try:
            with connection.begin_nested():
                self._inserting.insert(connection, piece)
        except (DBAPIError, PerfdbError, ValueError) as failure:
            if isinstance(failure, DBAPIError) and failure.connection_invalidated:
                raise
            self._error = f"the database refused it: {getattr(failure, 'orig', None) or failure}"

    @property
    def came_before(self) -> list[str]:
        """Its sessions that an earlier import brought."""
        return self._inserting.came_before

    @property
    def result(self) -> Imported:
        """What became of it."""
        done = self._inserting
        return Imported(path=str(self.path), added=done.added, known=done.known, error=self._error)


def _insert(database: Database, files: list[_File]) -> None:
    """Add the files' sessions, in transactions that hold the write lock for moments."""
    waiting = deque((file, piece) for file in files for piece in file.pieces)
    while waiting:
        with _no_garbage_collected(), database.writing() as connection:
            until = time.monotonic() + HOLD_S
            while waiting and time.monotonic() < until:
                file, piece = waiting.popleft()
                file.insert(connection, piece)
        if waiting:
            time.sleep(PAUSE_S)


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    """Say what the database could not do: its disk is full, or it went away."""
    from perfdb.store.engine import QUERY_ERRORS, reason_of, shown_url

    try:
        yield
    except QUERY_ERRORS as error:
        raise StoreError(
            f"{shown_url(url)} cannot be changed: {reason_of(error)}; what was taken in before stays"
        ) from error


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    """Put the collection off for a moment: through all that was read it takes longer than a lock may."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _prepared(session: Session, settings: Settings) -> Session:
    """Return the session without credentials, and with the mode of these settings where it names none.

    The seed's own reports name none, and were written before anything was withheld.
    """
    session = replace(
        session,
        pipeline=redact(session.pipeline),
        error_message=session.error_message and redact(session.error_message),
        mode=_mode_without_credentials(session.mode, settings.redact),
        tags=tuple(redact(tag) for tag in session.tags),
        attributes=withheld(session.attributes, settings.redact),
        host=session.host and redact(session.host),
        python_version=session.python_version and redact(session.python_version),
        perfdb_version=session.perfdb_version and redact(session.perfdb_version),
        git_commit=session.git_commit and redact(session.git_commit),
        command=session.command and redact(session.command),
        steps=tuple(_step_without_credentials(step, settings.redact) for step in session.steps),
    )
    if session.perfdb_version is not None:
        return session
    attributes = {"fast_mode": session.fast_mode, **session.attributes}
    return replace(session, mode=mode_of(attributes, settings.mode_attributes))


def _mode_without_credentials(mode: str, extra: Iterable[str]) -> str:
    try:
        values = json.loads(mode)
    except (ValueError, RecursionError):
        return redact(mode)
    redacted = withheld(values, extra) if isinstance(values, dict) else redact(mode)
    return (
        mode
        if redacted in (values, mode)
        else mode_of(redacted, tuple(redacted))
        if isinstance(redacted, dict)
        else redacted
    )


def _step_without_credentials(step: Step, extra: Iterable[str]) -> Step:
    return replace(
        step,
        step_name=redact(step.step_name),
        error_message=step.error_message and redact(step.error_message),
        additional_data=withheld(step.additional_data, extra),
        attempts=tuple(
            replace(each, error_message=each.error_message and redact(each.error_message))
            for each in step.attempts
        ),
        events=tuple(
            replace(each, name=redact(each.name), data=withheld(each.data, extra)) for each in step.events
        ),
    )
