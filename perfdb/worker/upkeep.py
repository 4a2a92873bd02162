"""How much history is kept: the policy, and the pruning that follows it in small pieces.

Between two pieces nothing is locked, so that whoever drives them decides how much of the time
others get: `perfdb prune` rests as long as it worked, a host's worker takes one piece per turn.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

from perfdb.recording.health import Health
from perfdb.recording.native import monotonic
from perfdb.settings import whole
from perfdb.store.database import Database, EndingError
from perfdb.toml import Table
from perfdb.vocabulary import BIGGEST

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from perfdb.store.upkeep.retention import Counted, Doomed, Share

DAY_S = 86400.0
STAMP = ".pruned"  # when a worker last pruned: beside a SQLite file, by its name; else in the home
# That a piece deletes, under the write lock; its commit takes half as long. On a busy machine the system
# stops whoever computes for 3 ms without a rest, for 10 to 100 ms: that should not be the holder of the lock.
HELD_S = 0.001
SHARED_HELD_S = 0.01  # PostgreSQL locks the rows that go, for which nobody waits
TOLD_KEPT_S = 30 * DAY_S  # messages that reached their channel; what they told stays with the alerts
_UNITS = {"h": 3600.0, "d": DAY_S, "w": 7 * DAY_S, "y": 365.25 * DAY_S}
_LOOK_AGAIN_S = 3600.0
_AT_ONCE = 100  # sessions of pictures that are looked for in one question


class Policy:
    """What is kept: sessions younger than ``older_than_s``, and the last ``keep_last`` in any case."""

    __slots__ = ("keep_last", "older_than_s")

    def __init__(self, older_than_s: float | None = None, keep_last: int | None = None) -> None:
        self.older_than_s = older_than_s
        self.keep_last = None if keep_last is None else min(keep_last, BIGGEST)

    def __bool__(self) -> bool:
        return self.older_than_s is not None or self.keep_last is not None


def read_policy(table: Table) -> Policy:
    """Return the ``[retention]`` of the settings; a false one when nothing is to be pruned.

    Raises:
        SettingsError: a key or value that perfdb does not know.
    """
    found = table.read({"older_than": age, "keep_last": whole(1, 1_000_000_000)})
    return Policy(found.get("older_than"), found.get("keep_last"))


def age(value: object) -> float:
    """Return the seconds of an age such as ``"90d"``; the units are h, d, w and y.

    Raises:
        ValueError: it is of no such form, or less than an hour.
    """
    try:
        if isinstance(value, str) and 3600.0 <= (seconds := float(value[:-1]) * _UNITS[value[-1:]]) < 1e10:
            return seconds
    except (ValueError, KeyError):
        pass
    raise ValueError("must be an age of at least an hour, such as 90d, 12w or 2y")


def find_shares(database: Database, policy: Policy, now: float, pipeline: str | None = None) -> list[Share]:
    """Return the sessions that a policy leaves to be pruned, per pipeline and mode."""
    from perfdb.store.upkeep import retention as store

    until = None if policy.older_than_s is None else now - policy.older_than_s
    with database.reading() as connection:
        return store.find_shares(connection, until=until, keep_last=policy.keep_last, pipeline=pipeline)


def survey(database: Database, shares: Iterable[Share]) -> list[tuple[Share, Counted]]:
    """Return what would go and stay of each share, shares without sessions left out."""
    from perfdb.store.upkeep import retention as store

    with database.reading() as connection:
        found = [(share, store.count(connection, share)) for share in shares]
    return [(share, planned) for share, planned in found if planned.pruned or planned.kept]


def prune(database: Database, shares: Iterable[Share], now: float) -> Iterator[list[str]]:
    """Delete the sessions of the shares, and what then belongs to nobody; shrink the file.

    Yields:
        after each short transaction the ids of the sessions that it deleted; there may be none.

    Raises:
        SQLAlchemyError: the database takes no changes now; begin again later, what is gone is gone.
    """
    from perfdb.store.upkeep.orphans import delete_orphans

    seconds = SHARED_HELD_S if database.is_shared else HELD_S
    for share in shares:
        yield from _prune_share(database, share, seconds)
    yield from _delete_told(database, now - TOLD_KEPT_S, seconds)
    for _ in delete_orphans(database.url, now, seconds):
        yield []
    yield from _shrink(database)


def _prune_share(database: Database, share: Share, seconds: float) -> Iterator[list[str]]:
    from perfdb.store.upkeep import retention as store

    last: Doomed | None = None
    while True:
        with database.reading() as connection:
            doomed = store.find_doomed(connection, share, last)
        if not doomed:
            return
        last = doomed[-1]
        yield []
        while doomed:
            with database.writing() as connection:
                gone = store.delete_sessions(connection, doomed, seconds)
            yield gone


def _delete_told(database: Database, until: float, seconds: float) -> Iterator[list[str]]:
    from perfdb.store.models import outbox
    from perfdb.store.upkeep import retention as store

    with database.reading() as connection:
        told = store.find_told(connection, until)
    while told:
        yield []
        with database.writing() as connection:
            store.delete_rows(connection, outbox, told, seconds)


def _shrink(database: Database) -> Iterator[list[str]]:
    from perfdb.store.upkeep import space

    with database.reading() as connection:
        more = space.can_shrink(connection) and space.free_space(connection) > 0
    while more:
        with database.writing() as connection:
            more = space.give_back(connection, HELD_S)
        yield []


def stamp_of(home: Path, database_url: str) -> Path:
    """Return the file that says when a worker last pruned; whoever prunes holds its lock."""
    from perfdb.store.engine import sqlite_path

    path = sqlite_path(database_url)
    if path is None:
        return home / STAMP
    path = path.resolve()
    return path.with_name(path.name + STAMP)


class Upkeep:
    """Pruning on behalf of a worker: piece by piece, once a day. Never raises.

    A SQLite file is pruned once a day, however many homes use it. Each host that uses a server looks once
    a day what is left to prune, and leaves it to one that is at it.

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
            os.close(self._descriptor)
            self._inherited = self._pieces  # its end would end the parent's claim on a server
            self._pieces, self._look_again = None, monotonic() + _LOOK_AGAIN_S

    def _claim(self) -> bool:
        """Begin to prune when a day has passed and nobody else is at it."""
        if monotonic() < self._look_again:
            return False
        self._look_again = monotonic() + _LOOK_AGAIN_S
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(stamp_of(self._home, self._database.url), flags, 0o600)
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
        if done:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % time.time(), 0)
        os.close(self._descriptor)


def _last_time(descriptor: int) -> float:
    try:
        return float(os.pread(descriptor, 32, 0))
    except ValueError:
        return 0.0
