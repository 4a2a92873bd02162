"""The timer of retention: a worker prunes once a day, one piece per turn, and removes pictures with it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

from perfdb.filters import DAY_S
from perfdb.recording.health import Health
from perfdb.recording.native import monotonic
from perfdb.sharing import share
from perfdb.store.database import Database, EndingError
from perfdb.store.upkeep.pruning import Policy, find_shares, prune
from perfdb.surroundings import Identity, close_own, far_from_others, identity_of

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STAMP = ".pruned"  # when a worker last pruned: beside a SQLite file, by its name; else in the home
_LOOK_AGAIN_S = 3600.0
_AT_ONCE = 100  # sessions of pictures that are looked for in one question


def stamp_of(home: Path, database_url: str) -> Path:
    """Return the file that says when a worker last pruned; pruning requires its lock."""
    from perfdb.store.engine import sqlite_path

    path = sqlite_path(database_url)
    if path is None:
        return home / STAMP
    path = path.resolve()
    return path.with_name(path.name + STAMP)


class Upkeep:
    """Pruning on behalf of a worker: piece by piece, once a day. Never raises.

    A SQLite file is pruned once a day, however many homes use it. Each host that uses a server checks once a
    day what is left to prune, unless another one is pruning.

    Pictures of designs go with their sessions. Those that were left, because another host pruned their
    session, a process was killed in between, or they could not be removed then, go once they are older than
    the policy keeps anything.

    Args:
        home: holds the stamp of the last time, unless the database is a file.
        policy: what to keep.
        database: of the worker, used in its turn only.
        health: where failures are counted.
        find_folders: returns where pictures of the database's sessions may lie.
    """

    def __init__(
        self,
        home: Path,
        policy: Policy,
        database: Database,
        health: Health,
        find_folders: Callable[[], list[Path]] = list,
    ) -> None:
        self._home = home
        self._policy = policy
        self._database = database
        self._health = health
        self._find_folders = find_folders
        self._pieces: Iterator[list[str]] | None = None
        self._inherited: Iterator[list[str]] | None = None
        self._descriptor = -1
        self._stamp: Identity | None = None
        self._look_again = 0.0  # monotonic

    def turn(self, *, idle: bool) -> bool:
        """Do one piece if the worker is idle; return whether there is more to do soon."""
        try:
            if self._pieces is None and not self._claim():
                return False
            if idle and self._pieces is not None and next(self._pieces, None) is None:
                self._finish(done=True)
        except EndingError:
            self._finish(done=False)
            self._look_again = 0.0
        except Exception as error:
            self._health.delayed("pruning by [retention] waits", error)
            self._finish(done=False)
        return self._pieces is not None

    def after_fork_in_child(self) -> None:
        """Leave the pruning to the parent."""
        if self._pieces is not None:
            close_own(self._descriptor, self._stamp)
            self._inherited = self._pieces  # its end would end the parent's claim on a server
            self._pieces, self._look_again = None, monotonic() + _LOOK_AGAIN_S

    def _claim(self) -> bool:
        """Begin to prune when a day has passed and nobody else is pruning."""
        if monotonic() < self._look_again:
            return False
        self._look_again = monotonic() + _LOOK_AGAIN_S
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        path = stamp_of(self._home, self._database.url)
        self._descriptor = far_from_others(os.open(path, flags, 0o600))
        self._stamp = identity_of(self._descriptor)
        share(self._descriptor, path)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            return False
        now = time.time()
        if 0 <= now - _last_time(self._descriptor) < DAY_S:
            os.close(self._descriptor)
            return False
        self._pieces = self._prune(now)
        return True

    def _prune(self, now: float) -> Iterator[list[str]]:
        from perfdb.store.upkeep.retention import sole_claim

        database = self._database
        folders = self._find_folders()
        with sole_claim(database.url) if database.is_shared else nullcontext(True) as is_ours:
            if is_ours:
                for gone in prune(database, find_shares(database, self._policy, now), now):
                    self._remove_pictures(folders, gone)
                    yield gone
        if self._policy.older_than_s is not None:
            yield from self._sweep(folders, now - max(self._policy.older_than_s, DAY_S))

    def _sweep(self, folders: Iterable[Path], until: float) -> Iterator[list[str]]:
        """Remove old pictures whose sessions are not in the database any more."""
        from perfdb.store.reading import find_known
        from perfdb.store.session_files import sessions_with_pictures

        for folder in folders:
            found = sessions_with_pictures(folder, until)
            while named := list(islice(found, _AT_ONCE)):
                with self._database.reading() as connection:
                    known = find_known(connection, named)
                self._remove_pictures([folder], set(named) - known)
                yield []

    def _remove_pictures(self, folders: Iterable[Path], session_ids: Iterable[str]) -> None:
        from perfdb.store.session_files import remove_pictures

        for session_id in session_ids:
            try:
                remove_pictures(folders, [session_id])
            except OSError as error:
                self._health.delayed("a picture of a pruned session cannot be removed yet", error)

    def _finish(self, *, done: bool) -> None:
        if self._pieces is None:
            return
        self._pieces = None
        if done and identity_of(self._descriptor) == self._stamp:  # else the host has closed it
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % time.time(), 0)
        close_own(self._descriptor, self._stamp)


def _last_time(descriptor: int) -> float:
    try:
        return float(os.pread(descriptor, 32, 0))
    except ValueError:
        return 0.0
