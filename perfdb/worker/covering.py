"""Evaluations that the processes of one machine share: one at a time, and none of what another one covered.

The evaluation of the newest run covers the runs of all processes that a SQLite file had when it began. A
process that ends leaves its runs to one that has promised to evaluate such, as a lock says that the kernel
drops with its process; that one's journal says so, too, to whoever takes it in. Only time depends on this: a
process that gets no turn for long, or has no such note, evaluates for itself.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from perfdb.guard import raise_foreign
from perfdb.recording.native import monotonic
from perfdb.surroundings import Identity, close_own, far_from_others, identity_of, open_private_file

NOTE = ".evaluated"  # beside the database's file, by its name
PATIENCE_S = 1.0  # to wait for the end of a turn: who has it may be stopped
MOST_S = 5.0  # for all of them: there may be many kinds
MOST_REST_S = 5.0  # between two evaluations of a loop; one that pauses for a second is evaluated then
_DIGITS = 20  # of the number at the beginning: it is never half of two numbers
_MOST = 1e15
_MOST_KINDS = 50
_MOST_BYTES = 1 << 14
_PROMISES = 1 << 20  # behind all that is written: a byte for each kind, to be locked by those who promise

_Known = tuple[int, float, str]
"""Of a kind: its last evaluation, until when none is due (monotonic s), the newest session left to others."""


class Turn:
    """The turn to evaluate; without a note nothing is covered, and nothing noted."""

    def __init__(self, descriptor: int = -1, seen: int = 0) -> None:
        self._descriptor, self._seen = descriptor, seen
        self._number, self._known = 0, dict[str, _Known]()
        if descriptor >= 0:
            self._number = _begun(descriptor) + 1
            self._known = _known(descriptor)
            os.pwrite(descriptor, b"%*d\n" % (_DIGITS, self._number), 0)

    def covers(self, kind: str) -> bool:
        """Say whether an evaluation of this kind began and ended since the session waits."""
        evaluated, _, left = self._of(kind)
        return not left and self._seen < evaluated < self._number

    def rests_until(self, kind: str) -> float:
        """Return until when no evaluation of this kind is due, because another process made one."""
        until = self._of(kind)[1]
        return until if until < monotonic() + MOST_REST_S else 0.0  # else it is of before the machine started

    def note(self, kind: str, rests_until: float = 0.0) -> None:
        """Note that this evaluation was one of this kind, of the newest run; of none if that is empty."""
        if kind:
            self._write(kind, (self._number, rests_until, ""))

    def forget_left(self, kind: str) -> None:
        """Forget the session that was left: it is evaluated, which covers no newer one."""
        evaluated, until, _ = self._of(kind)
        self._write(kind, (evaluated, until, ""))

    def leave(self, kind: str, session_id: str) -> bool:
        """Leave a session to another process that has promised to evaluate such; return False if none has."""
        if not kind or not self._is_promised(kind):
            return False
        evaluated, until, _ = self._of(kind)
        return self._write(kind, (evaluated, until, session_id))

    def left(self) -> dict[str, str]:
        """Return the sessions that were left to processes that have died since, by their kind."""
        return {
            kind: left for kind, (_, _, left) in self._known.items() if left and not self._is_promised(kind)
        }

    def _is_promised(self, kind: str) -> bool:
        """Say whether another process has promised it; what this one has is taken back if none has."""
        if self._descriptor < 0 or not _lock(self._descriptor, _place_of(kind), 1):
            return self._descriptor >= 0
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _place_of(kind))
        return False

    def _of(self, kind: str) -> _Known:
        return self._known.get(kind, (0, 0.0, ""))

    def _write(self, kind: str, known: _Known) -> bool:
        if self._descriptor < 0:
            return False
        self._known[kind] = known
        newest = sorted(self._known.items(), key=lambda each: (each[1][2] != "", each[1][0]))[-_MOST_KINDS:]
        text = json.dumps(dict(newest)).encode("ascii")
        try:
            os.ftruncate(self._descriptor, _DIGITS + 1)
            return os.pwrite(self._descriptor, text, _DIGITS + 1) == len(text)
        except OSError as error:  # the others evaluate, too
            raise_foreign(error)
            return False


class _Wait:
    """Since what number of evaluations a session waits, and until when for the one that goes on, if any."""

    __slots__ = ("begun", "end", "latest", "session_id", "until")

    def __init__(self) -> None:
        self.session_id, self.begun = "", 0
        self.has_turn()

    def has_turn(self) -> None:
        """Wait for nobody."""
        self.latest, self.until, self.end = -1, 0.0, monotonic() + MOST_S


class Covering:
    """The turns of this process, of which each kind of its sessions waits for one."""

    def __init__(self) -> None:
        self._waits: dict[Hashable, _Wait] = {}
        self._promised: dict[Hashable, str] = {}  # their kinds, as the note names them
        self._descriptor = -1  # open during a turn, and as long as something is promised
        self._file: Identity | None = None
        self._path: Path | None = None

    def waits(self, whose: Hashable) -> bool:
        """Say whether another process evaluates, and sessions of this kind wait for it."""
        wait = self._waits.get(whose)
        return wait is not None and wait.latest >= 0

    def promises(self, whose: Hashable) -> bool:
        """Say whether other processes may leave sessions of this kind to this one."""
        return whose in self._promised

    def promise(self, whose: Hashable, kind: str) -> None:
        """Promise, during a turn, to evaluate sessions like these, which the note names so.

        Without a note nobody leaves any.
        """
        self._take_back(whose)
        self._promised[whose] = kind
        if kind and self._descriptor >= 0:
            _lock(self._descriptor, _place_of(kind), 1, fcntl.LOCK_SH)

    def done(self, whose: Hashable) -> None:
        """Wait and promise no more, during a turn: they are evaluated, or left to another process."""
        self._waits.pop(whose, None)
        self._take_back(whose)

    def _take_back(self, whose: Hashable) -> None:
        kind = self._promised.pop(whose, "")
        if kind and self._descriptor >= 0 and kind not in self._promised.values():
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _place_of(kind))

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
            self._waits.pop(whose, None)
        try:
            yield turn
        finally:
            self._close()

    def leave(self) -> None:
        """Remove the note, as a process does that ends; not while another one has its turn.

        Who waits with the note of before evaluates for itself. What was left to others stays in it.
        """
        path, self._path = self._path, None
        self._promised.clear()
        if path is None:
            return
        try:
            if self._open(path, os.O_RDWR) and not _is_left(_known(self._descriptor)):
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
            wait.has_turn()
            return Turn(self._descriptor, wait.begun)
        if wait.latest != begun:  # another process' turn than before
            wait.latest, wait.until = begun, monotonic() + PATIENCE_S
        if patient and monotonic() < min(wait.until, wait.end):
            return None
        wait.has_turn()
        return Turn()

    def _open(self, path: Path, flags: int) -> bool:
        """Open the note; return whether it is this process' turn."""
        if self._descriptor >= 0 and not self._file == identity_of(self._descriptor) == _identity_at(path):
            self._promised.clear()
            self._close()
        if self._descriptor < 0:
            self._descriptor = far_from_others(open_private_file(path, flags))
            self._file = identity_of(self._descriptor)
        return _lock(self._descriptor, 0, _DIGITS)

    def _close(self) -> None:
        """End the turn; what is promised needs the file to stay open: to close it would drop all locks."""
        if self._descriptor < 0:
            return
        if self._promised and identity_of(self._descriptor) == self._file:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _DIGITS)
            return
        self._promised.clear()
        descriptor, self._descriptor = self._descriptor, -1
        close_own(descriptor, self._file)

    def after_fork_in_child(self) -> None:
        """Leave the turn, the promises and the note to the parent."""
        self._waits.clear()
        self._promised.clear()
        self._path = None
        self._close()


@contextmanager
def left_to_the_dead(database: Path) -> Iterator[list[str]]:
    """Yield the sessions that were left to processes that have died since; they are forgotten after that."""
    note, turn = Covering(), Turn()
    try:
        try:
            if note._open(database.with_name(database.name + NOTE), os.O_RDWR):
                turn = Turn(note._descriptor)
        except OSError as error:  # there is none, as mostly
            raise_foreign(error)
        left = turn.left()
        yield list(left.values())
        for kind in left:
            turn.forget_left(kind)
    finally:
        note._close()


def _lock(descriptor: int, place: int, length: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.lockf(descriptor, how | fcntl.LOCK_NB, length, place)
    except (BlockingIOError, PermissionError) as error:  # some systems name a lock of another one so
        raise_foreign(error)
        return False
    return True


def _place_of(kind: str) -> int:
    return _PROMISES + crc32(kind.encode("ascii"))


def _identity_at(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError as error:
        raise_foreign(error)
        return None
    return found.st_dev, found.st_ino


def _begun(descriptor: int) -> int:
    """Return how many evaluations have begun, as all processes that use the file count them."""
    try:
        found = int(os.pread(descriptor, _DIGITS, 0))
    except ValueError:  # a new one
        return 0
    return found if 0 <= found < _MOST else 0


def _known(descriptor: int) -> dict[str, _Known]:
    """Return what is noted of each kind."""
    try:
        found = json.loads(os.pread(descriptor, _MOST_BYTES, _DIGITS + 1))
    except (ValueError, RecursionError):  # whoever wrote it was killed: nothing is covered
        return {}
    return {
        kind: (known[0], known[1], known[2])
        for kind, known in (found.items() if isinstance(found, dict) else ())
        if kind.isascii() and isinstance(known, list) and [type(each) for each in known] == [int, float, str]
    }


def _is_left(known: Mapping[str, _Known]) -> bool:
    return any(left for _, _, left in known.values())
