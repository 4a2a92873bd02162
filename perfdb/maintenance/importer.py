"""Take reports into a database: files, folders and globs, of the formats in ``maintenance/formats/``.

Not part of the command line, because a program may import reports as well. A session that the
database knows is left alone, so importing twice changes nothing; a bad file stops no other.
"""

from __future__ import annotations

import glob
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
from perfdb.maintenance.formats import format_of, in_folder
from perfdb.maintenance.formats.base import Format
from perfdb.maintenance.formats.otlp import OTLP, spans_in, traces_in
from perfdb.maintenance.formats.traces import read_otlp_settings
from perfdb.recording.finished import prepared
from perfdb.records import Session
from perfdb.settings import Settings
from perfdb.store.database import HOLD_S, Database, garbage_collected_later
from perfdb.store.upkeep.space import measure_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.maintenance.formats.spans import Span
    from perfdb.store.pieces import Piece

WRITER_WAIT_S = 30.0
PAUSE_S = 0.005  # between two transactions: a writer that waits looks for the lock now and then only
FILES_AT_A_TIME = 100
# What is held until it is in the database, unless one file has more.
STEPS_AT_A_TIME = 100_000
SPANS_AT_A_TIME = 250_000
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

    A folder stands for every ``*.json`` in and below it (or ``*.json.gz``), and for what else is of a known
    format; a glob for what it matches. A path that leads nowhere is returned as it is, so that reading it
    says why.
    """
    found: dict[Path, None] = {}
    for path in paths:
        found.update(dict.fromkeys(_files_of(Path(path))))
    return list(found)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return list(in_folder(path))
    if not path.exists() and _GLOB_CHARACTERS.search(str(path)):
        try:
            matches = _matches(path)
        except (OSError, RecursionError):  # folders went away meanwhile, or are nested without an end
            matches = []
        return [file for match in matches for file in (_files_of(match) if match.is_dir() else [match])] or [
            path
        ]
    return [path]


def _matches(path: Path) -> list[Path]:
    """Return what a glob matches, sorted; ``**`` follows no link: two that lead back have no end."""
    if "**" not in path.parts:
        return [Path(match) for match in sorted(glob.glob(str(path)))]
    first = next(place for place, part in enumerate(path.parts) if _GLOB_CHARACTERS.search(part))
    root, rest = Path(*path.parts[:first]), Path(*path.parts[first:])
    hidden = any(part.startswith(".") for part in rest.parts)
    return sorted(
        match
        for match in root.glob(str(rest))
        if hidden or not any(part.startswith(".") for part in match.relative_to(root).parts)
    )


def import_reports(files: Iterable[Path], settings: Settings) -> Iterator[Imported]:
    """Take files into the database of the settings, creating it where needed; yield what became of each.

    Args:
        files: as ``find_reports`` gives them.
        settings: which database, and which attributes make the mode of a report that names none.

    Yields:
        One result per file when its sessions are in the database: files of traces first, all else in order.

    Raises:
        StoreError: the database cannot be used at all, or no longer.
    """
    of_format = [(file, _format_of(file)) for file in files]
    traces = _Traces([file for file, form in of_format if form is OTLP])
    remaining = deque((file, form) for file, form in of_format if form is not OTLP)
    read: list[_File] = []
    if not traces.has_spans:
        yield from traces.results(set(), set())
    while remaining and not traces.has_spans and not read:  # a slip of the pen makes no database
        first = _File(*remaining.popleft(), settings)
        if first.result.error is None:
            read.append(first)
        else:
            yield first.result
    if not traces.has_spans and not read:
        return
    added: list[str] = []
    before: list[str] = []
    from perfdb.store.sanity import require_nothing_that_acts

    with Database(settings.database_url, WRITER_WAIT_S) as database:
        with database.reading() as connection:  # whether it can be used at all is said before any session
            require_nothing_that_acts(connection)
        if traces.has_spans:
            with _in_words(settings.database_url):
                yield from _import_traces(database, traces, settings, added)
        while read or remaining:
            # Read before a transaction begins: other writers wait while it is open.
            while (
                remaining
                and len(read) < FILES_AT_A_TIME
                and sum(each.steps for each in read) < STEPS_AT_A_TIME
            ):
                read.append(_File(*remaining.popleft(), settings))
            with _in_words(settings.database_url):
                _insert(database, read)
            for file in read:
                added += file.session_ids if file.result.added else []
                before += file.came_before
                yield file.result
            read = []
        if added or before:  # where nothing is new, the import before may have ended before it came to this
            with _in_words(settings.database_url):
                with database.writing() as connection:
                    measure_tables(connection)
                evaluate_historic(database, added or before, settings.alerts)


class Watch:
    """Folders and globs whose files are taken in as they appear or change."""

    def __init__(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._paths = list(paths)
        self._seen: dict[Path, tuple[int, int]] = {}
        self._taken: dict[Path, tuple[int, int]] = {}

    def ready(self) -> list[Path]:
        """Return the files that are new or changed, and as they were at the last look: nobody writes them."""
        now = {file: state for file in find_reports(self._paths) if (state := _state(file)) is not None}
        still = {file for file, state in now.items() if self._seen.get(file) == state}
        ready = [file for file in now if file in still and self._taken.get(file) != now[file]]
        self._seen = now
        self._taken |= {file: now[file] for file in ready}
        return ready


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _format_of(file: Path) -> Format | OSError:
    """Return the format of a file, or why it cannot be looked at."""
    try:
        return format_of(file)
    except OSError as error:
        return error


def _read(file: Path, form: Format | OSError) -> tuple[list[Session], str | None]:
    """Return the file's sessions, or the reason why it has none."""
    if isinstance(form, OSError):
        return [], form.strerror or str(form)
    try:
        return list(form.read(file)), None
    except ReportError as error:
        return [], str(error)
    except OSError as error:
        return [], error.strerror or str(error)
    except Exception as error:  # of another package: its mistake stops no other file
        return [], f"{form.words} cannot be read: {type(error).__name__}: {error}"


class _Traces:
    """Files of spans: many of them hold together what one session is."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self._in_file: dict[Path, set[str]] = {}
        self._errors: dict[Path, str] = {}
        self._groups = self._gathered()
        self._first = next(self._groups, [])
        self.has_spans = bool(self._first)

    def groups(self) -> Iterator[list[Span]]:
        """Yield the spans, those of many files together, once."""
        first, self._first = self._first, []
        yield first
        del first
        yield from self._groups

    def _gathered(self) -> Iterator[list[Span]]:
        """Yield the spans; note which traces a file has, or what is wrong with it."""
        spans: list[Span] = []
        for file in self._files:
            try:
                found = spans_in(file)
            except (ReportError, OSError) as error:
                self._errors[file] = getattr(error, "strerror", None) or str(error)
                continue
            spans += found
            self._in_file[file] = {span.session_id for span in found}
            if len(spans) >= SPANS_AT_A_TIME:
                yield spans
                spans = []
        if spans:
            yield spans

    def results(self, seen: set[str], new: set[str]) -> Iterator[Imported]:
        """Yield what became of each file: of the sessions that were seen, and of those that are new."""
        left = set(new)
        for file in self._files:
            here = self._in_file.get(file, set()) & seen
            first = here & left
            left -= first
            error = self._errors.get(file)
            yield Imported(path=str(file), added=len(first), known=len(here) - len(first), error=error)


def _import_traces(
    database: Database, traces: _Traces, settings: Settings, added: list[str]
) -> Iterator[Imported]:
    """Take in the spans of all files together; a trace that is known gets what is new."""
    from perfdb.store.ingest import IMPORT, insert_rows_of
    from perfdb.store.pieces import ROWS, add_tags
    from perfdb.store.reading import find_known

    reading = read_otlp_settings(settings.otlp).reading()
    new: set[str] = set()
    seen: set[str] = set()
    for spans in traces.groups():
        waiting = deque(
            (replace(session, steps=session.steps[begin : begin + ROWS]), has_root)
            for session, has_root in traces_in(spans, reading)
            for begin in range(0, max(1, len(session.steps)), ROWS)
        )
        while waiting:
            with garbage_collected_later(), database.writing() as connection:
                until = time.monotonic() + HOLD_S
                while waiting and time.monotonic() < until:
                    session, has_root = waiting.popleft()
                    if session.session_id not in seen:
                        seen.add(session.session_id)
                        if not find_known(connection, [session.session_id]):
                            new.add(session.session_id)
                    insert_rows_of(
                        connection, [prepared(session, settings)], IMPORT, provisional=not has_root
                    )
                    if session.tags and session.session_id in new:
                        add_tags(connection, session)
            if waiting:
                time.sleep(PAUSE_S)
    added += sorted(new)
    yield from traces.results(seen, new)


class _File:
    """One file on its way into the database."""

    def __init__(self, path: Path, form: Format | OSError, settings: Settings) -> None:
        from perfdb.store.pieces import Inserting, pieces_of

        self.path = path
        found, self._error = _read(path, form)
        self.session_ids = [each.session_id for each in found]
        self.pieces = list(pieces_of(prepared(each, settings) for each in found))
        self.steps = sum(len(each.steps) for each in found)
        self._inserting = Inserting()

    def insert(self, connection: Connection, piece: Piece) -> None:
        """Add a piece; the first that is refused is the file's last."""
        from perfdb.store.engine import QUERY_ERRORS

        if self._error is not None:
            return
        try:
            with connection.begin_nested():
                self._inserting.insert(connection, piece)
        except (*QUERY_ERRORS, PerfdbError, ValueError) as failure:
            if getattr(failure, "connection_invalidated", False):
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
        with garbage_collected_later(), database.writing() as connection:
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
