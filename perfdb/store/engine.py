"""Open the database in one of three roles: writer, reader or migration.

Every pragma and time-out is set here, with its reason. A writer's transaction
takes the write lock at BEGIN; a reader can neither create nor change a file.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import SystemRandom  # the host's own numbers stay what it seeded
from typing import Any, Literal
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.event import registry
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool, QueuePool

from perfdb.errors import MissingExtraError, StoreError
from perfdb.recording.native import monotonic, sleep
from perfdb.sharing import share
from perfdb.store.dialects import shown_address
from perfdb.store.models import from_json, to_json
from perfdb.store.sanity import LONGEST_VALUE, copy_own_views

Role = Literal["writer", "reader", "migration"]

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
_PIECE_OF_WAITING_MS = 8  # SQLite sleeps 1, 2 and 5 ms in it
_CHECKPOINT_WAIT_MS = 20  # for readers, while other writers wait for us
_READER_BUSY_TIMEOUT_S = 5.0


def let_go(engine: Engine, *, close: bool = True) -> None:
    """Close the connections of an engine and remove its listeners; the engine may be used again.

    Listeners have callbacks, which run wherever the garbage collector does, in the host's threads too, and
    what a signal handler raises there is lost.
    """
    pool: Any = engine.pool
    engine.dispose(close=close)  # makes another pool
    if close:
        pool.dispose()  # what another thread gave back meanwhile
    for part in (engine, pool, engine.pool, engine.dialect):
        drop_callbacks(part)


def drop_callbacks(part: Any) -> None:
    """Do now what SQLAlchemy does when the listeners of something are found to be gone: see ``let_go``."""
    try:
        for name in part.dispatch._event_names:
            listeners = getattr(part.dispatch, name)
            if hasattr(type(listeners), "__weakref__"):  # not those that stand for none
                registry._collection_gced(listeners.ref)
                del listeners.ref
    except AttributeError:  # another SQLAlchemy, without these
        return


def open_engine(url: str, *, role: Role, busy_timeout_s: float = 30.0) -> Engine:
    """Return an engine whose connections are set up for ``role``.

    ``writer`` keeps one connection, which any thread may use (one at a time), and creates a missing
    SQLite file (0600) and its folders (0700). ``reader`` opens an existing database read-only, also a
    copied file in a folder that cannot be written. ``migration`` keeps no connection.

    Raises:
        StoreError: the URL is not one that perfdb can use; and, once a connection is
            made, the file is missing (reader), or is no database.
        MissingExtraError: PostgreSQL without its driver.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed, role, busy_timeout_s)
    return _postgres_engine(parsed, role, busy_timeout_s)


@contextmanager
def connected(url: str, *, role: Role) -> Iterator[Connection]:
    """Yield one connection of an engine that is let go of afterwards; no transaction has begun."""
    engine = open_engine(url, role=role)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        let_go(engine)


def shown_url(url: str) -> str:
    """Return the URL as people may see it: passwords are hidden."""
    try:
        return shown_address(make_url(url))
    except (ArgumentError, ValueError):
        return "<not a database URL>"


def sqlite_path(url: str) -> Path | None:
    """Return the file of a SQLite URL, None for another database."""
    parsed = _parse(url)
    return _file_of(parsed) if parsed.get_backend_name() == "sqlite" else None


# What a query may raise: rows in bulk are asked of the driver itself, whose errors are its own.
QUERY_ERRORS = (DBAPIError, sqlite3.Error)
ALL_ERRORS = (SQLAlchemyError, sqlite3.Error)  # also no connection to be had, what the driver was not asked


def reason_of(error: BaseException) -> BaseException:
    """Return the driver's error, which says what is wrong without the statement."""
    return error.orig or error if isinstance(error, DBAPIError) else error


def is_transient(error: BaseException) -> bool:
    """Say whether the database is at fault rather than the batch: keep the journal, try later.

    True for busy, locked, full, unreachable, restarted, read-only, missing, corrupt or not yet migrated
    databases, dead-locks, and rows that vanished under a batch (a file replaced while it was open). False
    for what the same batch would meet again: a value that no column holds, a bug. Set such a batch
    aside, or halve it.
    """
    if isinstance(error, (StoreError, PoolTimeoutError, OSError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        return error.orig is not None and is_transient(error.orig)
    if isinstance(error, sqlite3.Error):
        return _is_transient_sqlite(error)
    sqlstate = getattr(error, "sqlstate", None)  # psycopg; None when the server could not be reached
    if sqlstate is None:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        return bool(kinds & {"OperationalError", "InterfaceError"})
    # Of a value or a rule: 22 data, 23 integrity (but 23503: a row we refer to is gone), 44 a view's, 54 too
    # large, P0 a trigger's. Of our own statement: the rest. All else is between us and the server: lost
    # prepared statements behind a pooler, rights that were taken away, a table that is not there.
    return sqlstate == "23503" or not (
        sqlstate[:2] in ("22", "23", "44", "54", "P0") or sqlstate in ("42601", "42804", "42846", "42P18")
    )


def is_busy(error: BaseException) -> bool:
    """Say whether another process holds the lock, and nothing else is wrong with the connection."""
    original = reason_of(error)
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    # PostgreSQL: the lock was not to be had in time; a dead-lock, which the other one won
    return getattr(original, "sqlstate", None) in ("55P03", "40P01", "40001")


def _is_transient_sqlite(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by the module, not by SQLite: a closed connection, a wrong binding
        return isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error)
    if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return True
    if code == sqlite3.SQLITE_ERROR:
        return "no such table" in str(error) or "no such column" in str(error)
    return (code & 0xFF) not in (
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_RANGE,
        sqlite3.SQLITE_MISUSE,
    )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the second for a port that is no number
        raise StoreError(_unreadable(url)) from None
    name, _, driver = parsed.drivername.partition("+")
    if name == "sqlite":
        return parsed
    if name not in ("postgres", "postgresql"):
        raise StoreError(f"perfdb does not know the database {name!r}; use sqlite or postgresql")
    if driver not in ("", "psycopg"):
        raise StoreError(
            f"perfdb speaks to PostgreSQL with psycopg, not with {driver!r}: begin the URL with postgresql://"
        )
    ports = parsed.query.get("port", ())
    for port in (ports,) if isinstance(ports, str) else ports:
        if not all(each.isdecimal() for each in port.split(",") if each):
            raise StoreError(_BAD_PORT)
    parsed = parsed.set(drivername="postgresql+psycopg")
    if "host" in parsed.query:
        try:
            parsed.get_dialect()().create_connect_args(parsed)
        except ArgumentError:  # as many ports as hosts, and one way to name them
            raise StoreError(_SEVERAL_HOSTS) from None
    return parsed


_BAD_PORT = "the port in the database URL is no number"
_SEVERAL_HOSTS = (
    "the database URL names several hosts in a way that cannot be read: give them as "
    "postgresql://user:password@/name?host=a,b&port=5432,5432"
)
_HOSTS = re.compile(r"(?:[^/@]*@)?[^/?]*,")


def _unreadable(url: str) -> str:
    """Return what is wrong with a URL without showing it: it may hold a password."""
    place = url.partition("://")[2]
    if _HOSTS.match(place):
        return _SEVERAL_HOSTS
    if re.match(r"(?:[^/@]*@)?[^/?]*:[^/?]*[^0-9/?][^/?]*(?:[/?]|$)", place):
        return _BAD_PORT + ": give postgresql://user:password@host:5432/name"
    return (
        "the database URL cannot be read; give sqlite:////folder/perfdb.sqlite3 or "
        "postgresql://user:password@host/name"
    )


def _file_of(parsed: URL) -> Path:
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError("a database in memory is seen by one connection only; give sqlite:////folder/file")
    return Path(parsed.database)


# --- SQLite -------------------------------------------------------------------------------------------


def _sqlite_engine(parsed: URL, role: Role, busy_timeout_s: float) -> Engine:
    path = _file_of(parsed)
    # The driver must not begin transactions by itself (isolation_level=None): it begins them deferred, and
    # of writers that read first, 9 in 10 then fail with "database is locked" whatever the time-out.
    if role == "reader":
        engine = create_engine(
            "sqlite://",
            creator=lambda: _open_read_only(path),
            poolclass=QueuePool,
            pool_size=2,
            json_serializer=to_json,
            json_deserializer=from_json,
        )
        event.listen(engine, "begin", _begin)  # so that several queries see one moment
        return engine
    keeps = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": busy_timeout_s}
    engine = create_engine(
        "sqlite://",
        creator=lambda: _open_for_writing(path, role, busy_timeout_s),
        json_serializer=to_json,
        json_deserializer=from_json,
        **(keeps if role == "writer" else {"poolclass": NullPool}),
    )
    event.listen(engine, "begin", partial(_begin_immediate, wait_s=busy_timeout_s))
    return engine


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection, *, wait_s: float) -> None:
    """Take the write lock.

    SQLite's own waiting sleeps longer and longer, up to 100 ms: of 8 processes that write at once, all
    sleep most of the time. So it waits in short pieces, looking three times in each; it does so without the
    interpreter's lock, which the host's threads want meanwhile.
    """
    driver: Any = connection.connection.driver_connection
    deadline = monotonic() + wait_s
    while True:
        try:
            driver.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if not is_busy(error) or monotonic() > deadline:
                raise OperationalError("BEGIN IMMEDIATE", None, error) from error
        sleep(SystemRandom().uniform(0.0, 0.002))


def _open_for_writing(path: Path, role: Role, busy_timeout_s: float) -> sqlite3.Connection:
    try:
        _refuse_journal_of_others(path)
        create_private_file(path)
    except OSError as error:
        raise StoreError(f"cannot create the database {path}: {error.strerror or error}") from error
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        # A new file can give the space of deleted rows back in small pieces; an old one stays as it is: there
        # the pragma would take the write lock, and write, at every start.
        if not path.stat().st_size:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        with damage_is_said():
            _use_wal(connection, busy_timeout_s)
        # WAL + NORMAL: a power cut may lose the last commits but never tears the file; the journal has them.
        connection.execute("PRAGMA synchronous=NORMAL")
        # A migration rebuilds tables and checks all keys at its end.
        connection.execute(f"PRAGMA foreign_keys={'OFF' if role == 'migration' else 'ON'}")
        # After a long reader let the WAL grow, the next checkpoint gives the space back.
        connection.execute(f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}")
        connection.execute("PRAGMA cache_size=-8000")  # 8 MB: the index pages of 1 M steps in use
        # From here on _begin_immediate waits.
        connection.execute(f"PRAGMA busy_timeout={_PIECE_OF_WAITING_MS}")
    except BaseException as error:  # an interrupt too leaves nothing open
        connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            _raise_if_no_database(error, path)
        raise
    return connection


def log_of(path: Path, suffix: str = "-wal") -> Path:
    """Return the name of a SQLite file's log: SQLite has it beside the file at the end of all links."""
    return Path(f"{os.path.realpath(path)}{suffix}")


def log_bytes(path: Path) -> int:
    """Return the size of a SQLite file's write-ahead log."""
    return bytes_of(log_of(path))


def bytes_of(log: Path) -> int:
    """Return the size of a log; 0 when it is not there."""
    try:
        return os.stat(log).st_size
    except OSError:
        return 0


def empty_log(engine: Engine) -> None:
    """Move the write-ahead log of a writer's SQLite file into it and cut it to nothing, if readers let us."""
    raw = engine.raw_connection()
    try:
        driver: Any = raw.driver_connection
        driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # most of the work, and nobody waits
        driver.execute(f"PRAGMA busy_timeout={_CHECKPOINT_WAIT_MS}").fetchall()
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        driver.execute(f"PRAGMA busy_timeout={_PIECE_OF_WAITING_MS}").fetchall()
    finally:
        raw.close()


def _use_wal(connection: sqlite3.Connection, busy_timeout_s: float) -> None:
    """Switch to WAL; it lasts in the file. SQLite does not always wait for the lock here, so we do."""
    deadline = monotonic() + busy_timeout_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > deadline:
                raise
            sleep(0.01)


def _open_read_only(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise StoreError(f"there is no database at {path}; record a run first, or name another database")
    _require_file(path)
    try:
        return _connect_read_only(path, "mode=ro")
    except sqlite3.OperationalError as error:
        # WAL needs a file beside the database even to read. Where that cannot be made (a copy on read-only
        # media), the file cannot change either; but a WAL with content must not be passed over in silence.
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            _raise_if_no_database(error, path)
            raise
        if log_bytes(path):
            raise StoreError(
                f"{path} cannot be read here without writing {log_of(path).name}; copy both into a folder of "
                "your own"
            ) from error
        return _connect_read_only(path, "mode=ro&immutable=1")
    except sqlite3.DatabaseError as error:
        _raise_if_no_database(error, path)
        raise


def _connect_read_only(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(os.path.abspath(path)))}?{options}",
        uri=True,
        timeout=_READER_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        with damage_is_said():
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # sqlite3 opens files lazily
        connection.execute("PRAGMA cache_size=-32000")
        connection.execute("PRAGMA temp_store=MEMORY")
        # A file from elsewhere may hold views and defaults that call functions, and cells that lie about
        # their size.
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
        copy_own_views(connection)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST_VALUE)
    except BaseException:  # an interrupt too leaves nothing open
        connection.close()
        raise
    return connection


def _require_file(path: Path) -> None:
    """Refuse what SQLite would wait for, or write to, for ever: in the place of the file, or of its logs.

    Raises:
        StoreError: it is a FIFO, a device, a folder, or a file of the kernel, whose end may never come.
    """
    if not path.is_file() or os.path.realpath(path).startswith(("/proc/", "/sys/")):
        raise StoreError(f"{path} is no regular file, and so no database")
    for log in (log_of(path, suffix) for suffix in ("-journal", "-wal", "-shm")):
        if log.exists() and not log.is_file():
            raise StoreError(f"{log} is no regular file, and so no log of a database: remove it")


def _refuse_journal_of_others(path: Path) -> None:
    """Refuse a rollback journal that names another file: SQLite deletes that once it has played it back.

    Only transactions over several databases have one, and perfdb makes none.

    Raises:
        StoreError: it does.
    """
    journal = log_of(path, "-journal")
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StoreError(f"{journal} is no regular file, and so no log of a database: remove it")
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(_JOURNAL_MAGIC)))
        if file.read() == _JOURNAL_MAGIC:
            raise StoreError(
                f"{journal} names another file, which SQLite would delete: perfdb writes no such journal; "
                "move it away"
            )


def create_private_file(path: Path) -> None:
    """Create the file (0600) and its missing folders (0700), or as a shared home has them.

    What exists is left as it is.
    """
    if path.exists():
        _require_file(path)
        return
    folder = path.parent
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    for parent in reversed(missing):  # mkdir(parents=True) gives the mode to the last one only
        parent.mkdir(mode=0o700, exist_ok=True)
        share(parent, parent)
    # SQLite gives the -wal and -shm files the mode of the database.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        share(descriptor, path)
    finally:
        os.close(descriptor)


def _raise_if_no_database(error: sqlite3.DatabaseError, path: Path) -> None:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        raise broken_file(path, error) from error


@contextmanager
def damage_is_said() -> Iterator[None]:
    """Raise what SQLite says of a damaged schema: the driver fails where it quotes a name that is no text."""
    try:
        yield
    except UnicodeDecodeError as error:
        damaged = sqlite3.DatabaseError("malformed database schema")
        damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damaged from error


def is_overwritten(path: Path) -> bool:
    """Tell whether a file that connections of this process have open is no database any more.

    Those may not notice for long. It is asked through SQLite because closing a descriptor of one's own
    would drop their locks. What looks damaged without its log may be a checkpoint that was held up.
    """
    alone = _damage(path, "mode=ro&immutable=1")
    return alone == sqlite3.SQLITE_NOTADB or (
        alone == sqlite3.SQLITE_CORRUPT and _damage(path, "mode=ro") == sqlite3.SQLITE_CORRUPT
    )


def _damage(path: Path, options: str) -> int | None:
    """Return the code of what SQLite says of a damaged file; None of another error, and of none."""
    try:
        _connect_read_only(path, options).close()
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT) else None
    return None


def broken_file(path: Path, error: BaseException) -> StoreError:
    """Return the error that says what to do about a file that SQLite cannot read."""
    return StoreError(
        f"{path} is damaged or is not a SQLite database ({error}); perfdb leaves it alone. Move it away and "
        "perfdb starts a new one (the journals and reports beside it are kept), or restore a copy"
    )


# --- PostgreSQL ---------------------------------------------------------------------------------------


def _postgres_engine(parsed: URL, role: Role, busy_timeout_s: float) -> Engine:
    try:
        from perfdb.store.postgres import postgres_engine

        return postgres_engine(parsed, role, busy_timeout_s)
    except ModuleNotFoundError as error:
        if error.name not in ("psycopg", "psycopg_binary"):
            raise
        raise MissingExtraError(
            f"{shown_url(str(parsed))} needs the PostgreSQL driver: pip install 'perfdb[postgres]'"
        ) from error
