"""Connections to a database whose descriptors the host may close, and open again for files of its own.

A program that becomes a daemon closes all the descriptors that it finds. What SQLite or libpq would write or
close afterwards may be a file of the host's under the same number. So a connection knows what its descriptors
are of, looks at that before it reads and before it ends a transaction, and is given up once one of them is of
something else. Between the look and a write there is a moment left; that is why SQLite's numbers are high,
where the limit has room.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from weakref import ref

from perfdb.errors import StoreError
from perfdb.guard import raise_foreign
from perfdb.recording.native import RLock, in_own_thread
from perfdb.surroundings import Identity, close_own, far_numbers, identity_of, take_number

_FILES = ("", "-wal", "-shm")  # that SQLite keeps open

_MOST_CURSORS = 50  # some of which are gone
_CLOSED: Identity = (-1, -1)

_opening = RLock()
_open: list[FileConnection] = []
_leaving: set[Identity] = set()  # databases of which a connection was lost: SQLite shares locks among them
_given_up: set[Identity] = set()  # those whose descriptors have become the host's
_of_nothing: dict[int, Identity | None] = {}  # in the place of those that were closed
_never_freed: list[object] = []


class LostError(sqlite3.OperationalError):
    """The host has closed descriptors of a connection."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the program has closed the descriptors of {path}, which is opened again")
        self.sqlite_errorcode = sqlite3.SQLITE_IOERR


def are_whole(held: Mapping[int, Identity]) -> bool:
    """Say whether descriptors are still of what they were of."""
    try:
        for number, (device, inode) in held.items():
            found = os.fstat(number)
            if found.st_ino != inode or found.st_dev != device:
                return False
    except OSError as error:
        raise_foreign(error)
        return False
    return True


def may_be_closed(held: Mapping[int, Identity]) -> bool:
    """Make it harmless that a library closes its descriptors; return False if one has become the host's.

    Those that were closed become descriptors of nothing, of which nothing can be read, written or locked.
    """
    for number, what in held.items():
        found = identity_of(number)
        if found not in (what, _of_nothing.get(number)) or found is None:
            if not take_number(number):
                return False
            _of_nothing[number] = identity_of(number)
    return True


def forget_closed(numbers: Iterable[int]) -> None:
    """Take note that a library has closed its descriptors; what it did not close was of none of them."""
    for number in numbers:
        close_own(number, _of_nothing.pop(number, None))


def never_free(thing: object) -> None:
    """Keep something from being closed by the garbage collector, and at the end of the interpreter, too."""
    try:
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    except (ImportError, AttributeError):  # an interpreter without
        _never_freed.append(thing)


class FileConnection(sqlite3.Connection):
    """A connection to a SQLite file that is given up once the host has closed one of its descriptors."""

    file: Identity | None = None
    held: Mapping[int, Identity] = {}
    path = ""
    is_closed = is_lost = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self._cursors: list[ref[sqlite3.Cursor]] = []
        super().__init__(*args, **options)

    @property
    def is_whole(self) -> bool:
        """Whether its descriptors are of its files."""
        return are_whole(self.held)

    def require_whole(self) -> None:
        """Give it up if it is not whole.

        Raises:
            LostError: it is not.
        """
        if not self.is_closed and not self.is_whole:
            self.close()
        if self.is_lost:
            raise LostError(self.path)

    def cursor(self, *args: Any, **options: Any) -> Any:
        """Return a cursor, if it is whole; within a transaction its end is what writes."""
        if self.is_closed or not self.in_transaction:
            self.require_whole()
        cursor = super().cursor(*args, **options)
        if len(self._cursors) > _MOST_CURSORS:
            self._cursors[:] = [each for each in self._cursors if each() is not None]
        self._cursors.append(ref(cursor))
        return cursor

    def execute(self, *args: Any) -> Any:
        """Ask one statement."""
        return self.cursor().execute(*args)

    def commit(self) -> None:
        """End a transaction; most of its writing is done now."""
        self.require_whole()
        super().commit()

    def rollback(self) -> None:
        """Take a transaction back; that of a lost connection is gone with it."""
        if not self.is_lost and (self.is_closed or self.is_whole):
            super().rollback()

    def close(self) -> None:
        """Close it if that touches no file of the host's; otherwise leave it for good."""
        if self.is_closed:
            return
        self.is_closed, self.is_lost = True, not self.is_whole
        if self.is_lost and self.file is not None:
            _leaving.add(self.file)
            if not may_be_closed(self.held):
                _given_up.add(self.file)
                never_free(self)
                return
        for each in self._cursors:  # SQLite puts the closing off as long as a statement is in use
            if (cursor := each()) is not None:
                with suppress(sqlite3.Error):
                    cursor.close()
        with suppress(ValueError):
            _open.remove(self)
        super().close()


def open_file(
    path: Path, database: str | Path, statements: Sequence[str], *, has_logs: bool = True, **options: Any
) -> FileConnection:
    """Connect to a SQLite file, and have SQLite open what it keeps open.

    Args:
        path: of the file.
        database: what SQLite is given: the path, or a URI.
        statements: the first of the connection, by which SQLite opens its logs; what they raise is left to
            the next ones. They wait for no lock.
        has_logs: False where SQLite looks for none.
        options: of ``sqlite3.connect``.

    Raises:
        StoreError: connections to the file were lost, and are in use or could not be closed.
    """
    with _opening:
        _leave_lost(path)
        before = _opened(_names(path))
        with far_numbers() if in_own_thread() else nullcontext(0) as far:
            connection = sqlite3.connect(
                database,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
                factory=FileConnection,
                **options,
            )
            connection.path = str(path)
            connection.file = _identity_of_file(path)
            try:
                succeeds = False
                with suppress(sqlite3.Error, UnicodeDecodeError):
                    for statement in statements:
                        connection.execute(statement).fetchall()
                    succeeds = True
            except BaseException:
                connection.close()
                raise
        held = _descriptors_of(connection, before, far)
        connection.held = _with_closed(held, path, far) if succeeds and has_logs else held
        _open.append(connection)
        if not connection.is_whole:
            connection.close()
            raise LostError(connection.path)
        return connection


def _leave_lost(path: Path) -> None:
    """Close all connections to a file once one was lost: a new one would believe in the locks of those.

    Raises:
        StoreError: one is in use, or could not be closed.
    """
    file = _identity_of_file(path)
    mine = [each for each in _open if each.file == file]
    if file is None or (file not in _leaving | _given_up and all(each.is_whole for each in mine)):
        return
    _leaving.add(file)
    for each in mine:
        if not each.in_transaction:
            each.close()
    if file in _given_up:
        raise StoreError(
            f"the program has closed the descriptors of {path}, and has files of its own under their "
            "numbers: perfdb leaves that database alone in this process; what is in the journal comes in by "
            "perfdb recover, or the next program that records there, once this process has ended"
        )
    if any(not each.is_closed for each in mine):
        raise StoreError(f"the program has closed the descriptors of {path}: it is opened again in a moment")
    _leaving.discard(file)
    forget_closed(number for each in mine for number in each.held)


def _descriptors_of(
    connection: FileConnection, before: Mapping[int, Identity], far: int
) -> Mapping[int, Identity]:
    """Return those that were opened since; the index of the log is one that connections have in common.

    A connection of the host's own to the file, opened meanwhile, has lower numbers than ``far``.
    """
    names = _names(Path(connection.path))
    after = _opened(names)
    held = {number: what for number, what in after.items() if number >= far and before.get(number) != what}
    database, index = names.get(""), names.get("-shm")
    if database not in held.values():  # SQLite uses one again that it could not close
        of_others = {number for each in _open for number in each.held}
        held.update({n: what for n, what in after.items() if what == database and n not in of_others})
    if names.get("-wal") in held.values():
        held.update({number: what for number, what in after.items() if what == index})
    return held


def _with_closed(held: Mapping[int, Identity], path: Path, far: int) -> Mapping[int, Identity]:
    """Add those that the host has closed since SQLite opened them, from a high number on."""
    is_all = len(set(held.values())) == len(_FILES)
    if not far or is_all or "-wal" not in _names(path) or not os.path.isdir("/dev/fd"):
        return held
    expected = range(far, far + len(_FILES))
    return {**{number: identity_of(number) or _CLOSED for number in expected}, **held}


def _opened(names: Mapping[str, Identity]) -> dict[int, Identity]:
    """Return which descriptors of this process are of these files; none where the system does not say it."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except OSError as error:
        raise_foreign(error)
        return {}
    found = {number: identity_of(number) for number in numbers}
    return {number: what for number, what in found.items() if what is not None and what in names.values()}


def _names(path: Path) -> dict[str, Identity]:
    """Return what the files are that SQLite has beside a database, by the ends of their names."""
    real = os.path.realpath(path)
    found = {ending: _identity_of_file(Path(f"{real}{ending}")) for ending in _FILES}
    return {ending: what for ending, what in found.items() if what is not None}


def _identity_of_file(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise_foreign(error)
        return None
    return found.st_dev, found.st_ino


def _renew_lock() -> None:
    global _opening
    _opening = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
