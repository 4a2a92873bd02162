"""Evaluations that the processes of one machine share: one at a time, and none of what another one covered.

The evaluation of the newest run covers the runs of all processes that a SQLite file had when it began. Only
time depends on this: a process that gets no turn for long, or has no such note, evaluates for itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perfdb.guard import raise_foreign
from perfdb.recording.native import monotonic
from perfdb.surroundings import Identity, close_own, far_from_others, identity_of, open_private_file

NOTE = ".evaluated"  # beside the database's file, by its name
PATIENCE_S = 1.0  # to wait for the end of a turn: who has it may be stopped
MOST_S = 5.0  # for all of them: there may be many kinds
_DIGITS = 20  # of the number at the beginning: it is never half of two numbers
_MOST = 1e15
_MOST_KINDS = 50
_MOST_BYTES = 1 << 14


class Turn:
    """The turn to evaluate; without a note nothing is covered, and nothing noted."""

    def __init__(self, descriptor: int = -1, seen: int = 0) -> None:
        self._descriptor, self._seen = descriptor, seen
        self._number, self._evaluated = 0, dict[str, int]()
        if descriptor >= 0:
            self._number = _begun(descriptor) + 1
            self._evaluated = _evaluated(descriptor)
            os.pwrite(descriptor, b"%*d\n" % (_DIGITS, self._number), 0)

    def covers(self, kind: str) -> bool:
        """Say whether an evaluation of this kind began and ended since the session waits."""
        return self._seen < self._evaluated.get(kind, 0) < self._number

    def note(self, kind: str) -> None:
        """Note that this evaluation was one of this kind, of the newest run; of none if that is empty."""
        if self._descriptor < 0 or not kind:
            return
        self._evaluated[kind] = self._number
        newest = sorted(self._evaluated.items(), key=lambda each: each[1])[-_MOST_KINDS:]
        text = json.dumps(dict(newest)).encode("ascii")
        try:
            os.ftruncate(self._descriptor, _DIGITS + 1)
            os.pwrite(self._descriptor, text, _DIGITS + 1)
        except OSError as error:  # the others evaluate, too
            raise_foreign(error)


class _Wait:
    """Since what number of evaluations a session waits, and until when for the one that goes on."""

    __slots__ = ("begun", "end", "latest", "session_id", "until")

    def __init__(self) -> None:
        self.session_id, self.begun, self.latest = "", 0, -1
        self.until, self.end = 0.0, monotonic() + MOST_S


class Covering:
    """The turns of this process, of which each kind of its sessions waits for one."""

    def __init__(self) -> None:
        self._waits: dict[Hashable, _Wait] = {}
        self._descriptor = -1
        self._file: Identity | None = None
        self._path: Path | None = None

    def waits(self, whose: Hashable) -> bool:
        """Say whether another process evaluates, and sessions of this kind wait for it."""
        return whose in self._waits

    @contextmanager
    def turn(
        self, database: Path, whose: Hashable, session_id: str, *, patient: bool = True
    ) -> Iterator[Turn | None]:
        """Yield a turn to evaluate a session; None: another process has it, try again soon.

        Args:
            database: the SQLite file, which has the session.
            whose: the kind of session that waits, since its first call.
            session_id: the newest of these sessions.
            patient: False evaluates beside another process.
        """
        try:
            turn = self._turn(database.with_name(database.name + NOTE), whose, session_id, patient)
        except OSError as error:
            raise_foreign(error)
            turn = Turn()
        try:
            if turn is not None:
                self._waits.pop(whose, None)
            yield turn
        finally:
            self._close()

    def leave(self) -> None:
        """Remove the note, as a process does that ends; not while another one has its turn.

        Who waits with the note of before evaluates for itself.
        """
        path, self._path = self._path, None
        if path is None:
            return
        try:
            if self._open(path, os.O_RDWR):
                path.unlink()
        except OSError as error:
            raise_foreign(error)
        finally:
            self._close()

    def _turn(self, path: Path, whose: Hashable, session_id: str, patient: bool) -> Turn | None:
        self._path = path
        is_free = self._open(path, os.O_RDWR | os.O_CREAT)
        begun = _begun(self._descriptor)
        wait = self._waits.get(whose)
        if wait is None:
            wait = self._waits[whose] = _Wait()
        if wait.session_id != session_id:
            wait.session_id, wait.begun = session_id, begun
        if is_free:
            return Turn(self._descriptor, wait.begun)
        if wait.latest != begun:  # another process' turn than before
            wait.latest, wait.until = begun, monotonic() + PATIENCE_S
        return None if patient and monotonic() < min(wait.until, wait.end) else Turn()

    def _open(self, path: Path, flags: int) -> bool:
        """Open the note; return whether it is this process' turn."""
        self._descriptor = far_from_others(open_private_file(path, flags))
        self._file = identity_of(self._descriptor)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # some systems name a lock of another one so
            raise_foreign(error)
            return False
        return True

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_own(descriptor, self._file)

    def after_fork_in_child(self) -> None:
        """Leave the turn and the note to the parent."""
        self._waits.clear()
        self._path = None
        self._close()


def _begun(descriptor: int) -> int:
    """Return how many evaluations have begun, as all processes that use the file count them."""
    try:
        found = int(os.pread(descriptor, _DIGITS, 0))
    except ValueError:  # a new one
        return 0
    return found if 0 <= found < _MOST else 0


def _evaluated(descriptor: int) -> dict[str, int]:
    """Return the number of the last evaluation of each kind."""
    try:
        found = json.loads(os.pread(descriptor, _MOST_BYTES, _DIGITS + 1))
    except (ValueError, RecursionError):  # whoever wrote it was killed: nothing is covered
        return {}
    return {
        kind: number
        for kind, number in (found.items() if isinstance(found, dict) else ())
        if isinstance(number, int)
    }
