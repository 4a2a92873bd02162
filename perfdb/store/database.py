"""One front end to a database: reading it, writing to it, noticing that it changed.

Nothing is opened, and SQLAlchemy is not imported, before the first use. Connections are kept between two
questions; a file that was deleted, replaced or written over meanwhile is noticed. Errors of a query are those
of the driver, so that the caller can tell what is worth a retry (``engine.is_transient``).
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from perfdb.errors import AbsentError, StoreError
from perfdb.recording.health import Health
from perfdb.recording.native import RLock
from perfdb.toml import Table

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any
    from weakref import finalize

    from sqlalchemy import Connection, Engine
    from sqlalchemy.pool import Pool, PoolProxiedConnection

    from perfdb.store.engine import Role

MOST_ROWS = 2_000  # records per transaction at most: fewer where they hold the write lock for too long
FIRST_ROWS = 200
_LEAST_ROWS = 50
_LEAST_SHARED_ROWS = 200  # a server has no lock that all writers want, and each transaction its round trips
HOLD_S = 0.025  # that a batch may have the write lock: other processes wait for it
_STILL_S = 0.5  # a file that was written to since may be in the middle of a checkpoint
_MOST_TO_READ, _MOST_TO_WRITE = 5_000_000_000, 300_000_000  # instructions of SQLite
_LEAST_TO_READ, _READ_PER_BYTE = 50_000_000, 100  # of a small file
_CHECK_EVERY_S = 10.0  # the tables may be upgraded while we read


_left_open: list[object] = []  # what the garbage collector must not close


class EndingError(StoreError):
    """The calling thread is to end; its work is left to the next one."""


class Pace:
    """How many rows go into one transaction, so that it has the write lock for ``HOLD_S`` only."""

    def __init__(self, least: int) -> None:
        self.rows = max(FIRST_ROWS, least)
        self._least = least

    def note(self, number: int, held_s: float) -> None:
        """Learn how long so many rows took."""
        if number:
            fitting = int(number * HOLD_S / max(held_s, 1e-6))
            self.rows = max(self._least, min(MOST_ROWS, fitting, max(2 * number, self.rows)))


@contextmanager
def garbage_collected_later() -> Iterator[None]:
    """Put the collection off for a moment: through all that was read it takes longer than a lock may.

    For those who copy or import, or wait for an answer from many rows. Nothing that records does it: when a
    host's garbage is collected meanwhile is the host's affair.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _close_left(engines: dict[Role, Engine], process: int) -> None:
    """Close what a reader that is gone, or is there until the end of the program, has left open."""
    from perfdb.store.engine import let_go

    if process == os.getpid():  # not what a parent uses
        for engine in list(engines.values()):
            let_go(engine)


class Database:
    """One database, opened when it is first needed; as a context it is closed at the end.

    Many threads may read at once where it does not migrate; otherwise one thread at a time may ask.

    Args:
        url: of the database.
        busy_timeout_s: how long a transaction waits for somebody else's lock.
        health: counts a file that was replaced.
        migrates: whether this program makes the tables and brings them up to date, as recording does. Others
            are refused tables of another version, and stopped where a file would be computed without an end.
        limit_s: how long the queries of one reading may take together.
        ends: asked before anything begins: whether the thread that asks is to end.
        prices: ``Settings.prices``, for those who write; ``pricing`` is what they made of it.
    """

    def __init__(
        self,
        url: str,
        busy_timeout_s: float = 30.0,
        health: Health | None = None,
        *,
        migrates: bool = True,
        limit_s: float | None = None,
        ends: Callable[[], bool] | None = None,
        prices: Table | None = None,
    ) -> None:
        self.url = url
        self.prices = prices if prices is not None else Table({})
        self.pricing: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self._busy_timeout_s = busy_timeout_s
        self._health = health
        self._migrates = migrates
        self._limit_s = limit_s
        self._ends = ends
        self._engines: dict[Role, Engine] = {}
        self._kept: Connection | None = None  # of the writer of a file that this program records in
        self._writers = 0  # threads that have such a connection, or wait for it
        self._finalizer: finalize[..., Database] | None = None
        self._is_alone = False  # the server lets us have one connection at a time
        self._path: Path | None = None
        self._log: Path | None = None  # of the file that is open
        self.file: tuple[int, int] | None = None  # device and inode, when it was opened
        self._seen_ns = 0  # when it was written to, the last time that we looked into it
        self._checked_at = 0.0
        self._process, self._lock = os.getpid(), RLock()  # held while engines come and go
        self.pace = Pace(_LEAST_SHARED_ROWS if self.is_shared else _LEAST_ROWS)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def __getstate__(self) -> dict[str, object]:
        """Leave out what belongs to this process: a copy elsewhere opens its own."""
        own = dict.fromkeys(("_kept", "_finalizer", "_lock"))
        return {**vars(self), **own, "_engines": {}, "_process": 0, "_writers": 0}

    @property
    def is_shared(self) -> bool:
        """Tell whether other hosts may write to it as well."""
        return not self.url.startswith("sqlite")

    @contextmanager
    def reading(self, *, checked: bool = True) -> Iterator[Connection]:
        """Yield a connection that sees one moment of the database, changes nothing and waits for nobody.

        Args:
            checked: False gives one to a database with other tables, too, or with none.

        Raises:
            AbsentError: there is no database yet, or none of perfdb's tables in it.
            TimeLimitError: the queries took longer than the limit.
            StoreError: it cannot be opened, or its tables are of another version.
        """
        from perfdb.store.engine import QUERY_ERRORS, is_busy, let_go, reason_of, shown_url

        # A program that records has one connection to a server, for all that it does.
        role: Role = "writer" if self._migrates and self.is_shared else "reader"
        reader = self._open(role)
        pools: set[Pool] = {reader.pool}
        try:
            with ExitStack() as stack:
                connection = stack.enter_context(
                    self._connect(reader) if role == "reader" else reader.connect()
                )
                stack.enter_context(self._limited(connection))
                if role == "writer":
                    from perfdb.store.postgres import reading_of_writer

                    stack.enter_context(reading_of_writer(connection))
                pools.add(reader.pool)
                if checked:
                    self._require_tables(connection)
                yield connection
        except QUERY_ERRORS as error:
            from perfdb.stopping import took_too_long
            from perfdb.store.dialects import was_stopped

            if was_stopped(reason_of(error)):
                if self._limit_s is not None:
                    raise took_too_long(self._limit_s) from error
                if self.is_shared:  # by a limit of the server's
                    raise
                raise StoreError(
                    f"{shown_url(self.url)}: stopped, because it takes longer to read than a history of this "
                    "size: ask for less (--last), or see whether it is damaged: perfdb doctor"
                ) from error
            if not is_busy(error):
                self.forget()  # what it remembers of a file that was written over in place is wrong for good
            raise
        finally:
            for pool in pools - {reader.pool}:  # let go of by another thread while this connection was in use
                pool.dispose()
            if self._engines.get(role) is not reader or (self._is_alone and role == "reader"):  # forgotten
                let_go(reader)

    @contextmanager
    def reading_if_there(self) -> Iterator[Connection | None]:
        """Yield what ``reading`` does; None when there is nothing to read yet."""
        with ExitStack() as stack:
            try:
                connection: Connection | None = stack.enter_context(self.reading())
            except AbsentError:
                connection = None
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a connection inside a write transaction, which has SQLite's lock from its beginning.

        After any failure but a lock of somebody else's the next one begins with a new connection.
        """
        writer = self._open("writer")
        try:
            with self._begin(writer) as connection:
                if self._migrates:
                    yield connection
                    return
                with self._limited(connection, writes=True):  # it may be a file of others
                    self._require_tables(connection)
                    from perfdb.store.sanity import require_nothing_that_acts

                    require_nothing_that_acts(connection)
                    yield connection
        except BaseException as error:
            from perfdb.store.engine import is_busy

            if not is_busy(error):
                self.forget()
            raise

    def watch(self) -> Watch:
        """Return what notices that something was written, over a connection of its own."""
        return Watch(self.url)

    def kept_reader(self) -> PoolProxiedConnection:
        """Return a read-only connection; the caller gives it back before ``forget``."""
        return self._open("reader").raw_connection()

    @property
    def is_ours(self) -> bool:
        """Whether this process, and not one that it is a fork of, has what is open."""
        return self._process == os.getpid()

    def is_still_there(self) -> bool:
        """Say whether what is open is still what the URL names."""
        return bool(self._engines) and self.is_ours and self.file == self._identity()

    def mark(self) -> object:
        """Return what changes when somebody else commits to a SQLite file that we write to; None elsewhere.

        Call it between two transactions.
        """
        writer = self._engines.get("writer")
        if self._path is None or writer is None:
            return None
        from perfdb.store.dialects import mark_of_file

        self._give_back()
        kept = writer.raw_connection()
        try:
            return mark_of_file(kept.driver_connection)
        finally:
            kept.close()

    def shrink_log(self, limit_bytes: int) -> int:
        """Empty a SQLite file's write-ahead log that is longer than the limit; return its bytes after that.

        While a reader holds on to an old state of the database the log must keep it, and grows.
        """
        writer = self._engines.get("writer")
        if self._log is None or writer is None:
            return 0
        from perfdb.store.engine import bytes_of, empty_log

        if (size := bytes_of(self._log)) <= limit_bytes:
            return size
        self._give_back()
        empty_log(writer)
        return bytes_of(self._log)

    @property
    def heard_at(self) -> float:
        """When a server last answered, by the monotonic clock; 0 of a file."""
        postgres = sys.modules.get("perfdb.store.postgres") if self.is_shared else None
        return getattr(postgres, "heard_at", 0.0)  # another thread may be importing it

    def rest(self) -> None:
        """Close the connections that nobody uses; what the engines have compiled stays."""
        self._checked_at = 0.0
        self._give_back()
        if self._engines:
            from perfdb.store.engine import let_go

            for engine in list(self._engines.values()):
                let_go(engine)

    def after_fork_in_child(self, *, is_still: bool) -> None:
        """Drop the connections of the parent.

        As long as one is open, SQLite would take the parent's locks for its own; but closing it hangs where a
        thread of the parent was using it. A server would take its end for the parent's.
        """
        self._process, self._lock, self._writers = os.getpid(), RLock(), 0
        if self._finalizer is not None:  # it is the parent's
            self._finalizer.detach()
            self._finalizer = None
        self.forget(close=is_still and not self.is_shared)

    def forget(self, *, close: bool = True) -> None:
        """Drop the connections, or leave them as they are."""
        if self._process != os.getpid():  # forked without notice: a thread of the parent may use them
            self.after_fork_in_child(is_still=False)
            return
        with self._lock:
            engines, self._checked_at = dict(self._engines), 0.0
            self._engines.clear()
            if not close:
                _left_open.append(self._kept)
                self._kept = None
        self._give_back()
        for role in ("reader", "writer"):  # the log goes when a writer is the last to close
            if (engine := engines.get(role)) is None:
                continue
            if not close:
                _left_open.append(engine.pool)
            from perfdb.store.engine import let_go

            let_go(engine, close=close)

    # -- engines ---------------------------------------------------------------------------

    def _open(self, role: Role) -> Engine:
        self._require_no_end()
        from perfdb.store.engine import log_of, open_engine, sqlite_path

        if self._process != os.getpid():
            self.forget()
        if self._path is None:
            self._path = sqlite_path(self.url)
        with self._lock:
            self._leave_other_file()
            if role in self._engines:
                return self._engines[role]
            is_first = not self._engines
        if is_first and self._migrates:
            from perfdb.store.schema import ensure_schema

            ensure_schema(self.url)
        with self._lock:
            if not self._engines:
                self.file = self._identity()
                self._log = None if self._path is None else log_of(self._path)
            if self.file is None and not self._migrates:
                raise AbsentError(f"there is no database at {self._path}: check the path")
            self._require_no_end()  # whoever ends it forgets the engines after that
            if role not in self._engines:
                self._engines[role] = open_engine(self.url, role=role, busy_timeout_s=self._busy_timeout_s)
            if self._finalizer is None and not self._migrates:  # whoever records closes it
                from weakref import finalize

                self._finalizer = finalize(self, _close_left, self._engines, self._process)
            return self._engines[role]

    @contextmanager
    def _begin(self, writer: Engine) -> Iterator[Connection]:
        """Yield a connection in a transaction; of a file it is kept: the pool takes as long as a batch.

        Who has a transaction has taken it: no other thread closes it meanwhile, or begins one on it.
        """
        if not self._migrates or self.is_shared:
            with writer.begin() as connection:
                yield connection
            return
        pool = writer.pool
        with self._lock:
            taken, self._kept = self._kept, None
            self._writers += 1
        try:
            taken = taken or writer.connect()  # which waits for another thread's
            with taken.begin():
                yield taken
        finally:
            with self._lock:
                self._writers -= 1
                is_forgotten = self._engines.get("writer") is not writer
                if not self._writers and not is_forgotten:
                    self._kept, taken = taken, None
            if taken is not None:
                taken.close()
            if is_forgotten:
                pool.dispose()

    def _give_back(self) -> None:
        """Return the connection that is kept to its pool; one in a transaction is not kept."""
        with self._lock:
            kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def _require_no_end(self) -> None:
        if self._ends is not None and self._ends():
            raise EndingError("the thread ends")

    def _connect(self, reader: Engine) -> Connection:
        """Connect; where the server gives us one connection at a time, let the writer's go first."""
        from sqlalchemy.exc import OperationalError

        from perfdb.store.engine import let_go

        writer = self._engines.get("writer")
        if not self._is_alone:
            try:
                return reader.connect()
            except OperationalError:
                if not self.is_shared or writer is None:
                    raise
            self._is_alone = True
        if writer is not None:
            let_go(writer)
        return reader.connect()

    @contextmanager
    def _limited(self, connection: Connection, *, writes: bool = False) -> Iterator[None]:
        if self._migrates:
            yield
            return
        from perfdb.stopping import seconds_left
        from perfdb.store.dialects import time_limit, work_limit

        if writes or self._limit_s is None:
            limit = work_limit(connection, _MOST_TO_WRITE if writes else self._most_to_read())
        else:
            limit = time_limit(connection, min(self._limit_s, seconds_left()))
        with limit:
            yield

    def _most_to_read(self) -> int:
        """Return how many instructions a reading may take: a small file that needs many repeats its pages."""
        from perfdb.store.engine import log_bytes

        size = 0 if self._path is None else log_bytes(self._path)
        with suppress(OSError):  # it may be taken away meanwhile
            size += 0 if self._path is None else self._path.stat().st_size
        return min(_MOST_TO_READ, _LEAST_TO_READ + size * _READ_PER_BYTE)

    def _require_tables(self, connection: Connection) -> None:
        now = time.monotonic()
        if self._migrates or (self._checked_at and now - self._checked_at < _CHECK_EVERY_S):
            return
        from perfdb.store.schema import require_schema

        require_schema(connection)
        self._checked_at = now

    # -- the file --------------------------------------------------------------------------

    def _leave_other_file(self) -> None:
        if not self._engines or self.file == self._identity():
            return
        self.forget()  # SQLite removes the old file's log with it: the new file must not meet that
        if self._health is not None:
            message = f"{self._path} was deleted or replaced in use; rows go into the new file"
            self._health.count("replaced", 1, message)

    def _identity(self) -> tuple[int, int] | None:
        """Return what identifies a file, unlike one that replaces it; None when it is not there."""
        if self._path is None:
            return (0, 0)  # a server's
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        if self._migrates and (not found.st_size or self._is_overwritten(self._path, found)):
            return None  # as good as deleted
        return (found.st_dev, found.st_ino)

    def _is_overwritten(self, path: Path, found: os.stat_result) -> bool:
        """Tell whether something else was written over the file; looked at anew once it was changed."""
        if found.st_mtime_ns == self._seen_ns or abs(time.time() - found.st_mtime) < _STILL_S:
            return False
        from perfdb.store.engine import is_overwritten

        if is_overwritten(path):
            return True
        self._seen_ns = found.st_mtime_ns
        return False


def _give_back(kept: list[PoolProxiedConnection], process: int) -> None:
    """Close the connection that a watch keeps, in the process that opened it."""
    while kept and process == os.getpid():
        kept.pop().close()


class Watch:
    """Notices that something was written, cheaper than a query: a live view asks every second.

    One thread at a time may look.
    """

    def __init__(self, url: str) -> None:
        from weakref import finalize

        self._database = Database(url, migrates=False)
        self._kept: list[PoolProxiedConnection] = []  # to a file: to fetch one costs more than to ask it
        self._seen: object = None
        finalize(self, _give_back, self._kept, os.getpid())

    def moved(self) -> bool:
        """Say whether anything may have been written since the last call; the first says yes.

        Raises:
            StoreError: the database cannot be read now.
        """
        from perfdb.store.engine import ALL_ERRORS

        seen: object = None
        try:
            seen = self._mark_of_file() if not self._database.is_shared else self._mark_of_server()
        except AbsentError:
            pass
        except ALL_ERRORS as error:
            self.close()
            raise StoreError(f"the database cannot be watched: {error}") from error
        finally:
            moved, self._seen = seen != self._seen, seen
        return moved

    def _mark_of_file(self) -> object:
        from perfdb.store.dialects import mark_of_file

        if not self._kept or not self._database.is_still_there():
            self.close()
            self._kept.append(self._database.kept_reader())
        return (self._database.file, mark_of_file(self._kept[0].driver_connection))

    def _mark_of_server(self) -> object:
        from perfdb.store.dialects import mark_of_server

        with self._database.reading(checked=False) as connection:
            return mark_of_server(connection)

    def close(self) -> None:
        """Let go of the connection."""
        if not self._database.is_ours:
            _left_open.extend(self._kept)
            self._kept.clear()
        _give_back(self._kept, os.getpid())
        self._database.forget()
