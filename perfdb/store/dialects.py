"""What SQLite and PostgreSQL do differently; no other module of the store asks which of the two it uses.

Connections are opened in ``engine.py`` and ``postgres.py``, the types of columns stand in ``models.py``.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Integer,
    Text,
    TextClause,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.exc import DBAPIError, OperationalError

from perfdb.errors import StoreError
from perfdb.measures import HUGE
from perfdb.recording.native import sleep
from perfdb.recording.redaction import is_secret_key, redact
from perfdb.store.models import series, storable_text, to_json

LIMIT_MS = "perfdb_limit_ms"  # how long each statement of a reading may take: an option of the connection
_INSTRUCTIONS = 1_000  # of SQLite between two looks at the clock: some ten microseconds
_LOOK = 1_000_000  # of SQLite between two looks at how many there were
_CANCELLED = "57014"  # what PostgreSQL says of a statement that took longer than its limit
_DELETED_AT_ONCE = 20
_ORPHANS_AT_ONCE = 200
_DIGITS = 300  # of a number in JSON

_FIND_SERIES = select(series.c.id, series.c.step_name).where(
    series.c.pipeline == bindparam("pipeline"),
    series.c.mode == bindparam("mode"),
    series.c.step_name.in_(bindparam("names", expanding=True)),
)
# PostgreSQL would read all series of the pipeline, were it not asked name by name.
_FIND_SERIES_SHARED = text(
    "SELECT (SELECT id FROM series WHERE pipeline = :pipeline AND mode = :mode AND step_name = name), name "
    "FROM unnest(CAST(:names AS text[])) AS name"
)
_MAKE_SERIES_SHARED = text(  # PostgreSQL takes them in one piece
    "INSERT INTO series (pipeline, mode, step_name) SELECT :pipeline, :mode, name "
    "FROM unnest(CAST(:names AS text[])) AS name ON CONFLICT DO NOTHING"
)
_SHORT_PAUSE_S, _LONG_PAUSE_S = 0.001, 0.05  # between two tries to get a turn
_LOCK_TIMEOUT = "SELECT setting::integer FROM pg_settings WHERE name = 'lock_timeout'"  # ms; 0 is none
_DAYS = 0x70657266  # "perf": the locks of days, each with its own
# A server's writers share the lock of each day that they write to.
_MARK_SHARED = text(
    "INSERT INTO stale_days (day, claim) SELECT day, 0 FROM unnest(CAST(:days AS integer[])) AS day "
    f"WHERE pg_advisory_xact_lock_shared({_DAYS}, day) IS NOT NULL ON CONFLICT DO NOTHING"
)
_MARK = text("INSERT INTO stale_days (day, claim) VALUES (:day, 0) ON CONFLICT DO NOTHING")
_END_OF_LOG = (
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text"
)


def is_shared(of: Connection | Dialect) -> bool:
    """Tell whether it is a server: other hosts write to it, it has a clock, and looks after its own data."""
    dialect = of.dialect if isinstance(of, Connection) else of
    return dialect.name == "postgresql"


def is_file(of: Connection | Dialect) -> bool:
    """Tell whether it is a SQLite file, into which any program may have written anything."""
    dialect = of.dialect if isinstance(of, Connection) else of
    return dialect.name == "sqlite"


def bound(connection: Connection) -> str:
    """Return what stands for a value in SQL that the driver is given as it is."""
    return "%s" if is_shared(connection) else "?"


def insert_into(of: Connection | Dialect, table: Any) -> Any:
    """Return an INSERT that can meet a row that is there already."""
    return postgresql.insert(table) if is_shared(of) else sqlite.insert(table)


# --- what a connection does -----------------------------------------------------------------------------


@contextmanager
def time_limit(connection: Connection, seconds: float) -> Iterator[None]:
    """Stop what is asked of a connection after so long; a server gives each statement the whole limit."""
    if is_shared(connection):
        connection.execution_options(**{LIMIT_MS: max(1, int(seconds * 1000))})
        begin(connection)
        yield
        return
    deadline = time.monotonic() + seconds
    with _stopped(connection, lambda: time.monotonic() > deadline, _INSTRUCTIONS):
        yield


@contextmanager
def work_limit(connection: Connection, instructions: int) -> Iterator[None]:
    """Stop a SQLite connection once it has taken so many instructions together.

    Two hundred million take a second or more. What is ours ends long before; a trigger or an expression of a
    file from elsewhere may never end.
    """
    if is_shared(connection):
        yield
        return
    looks = count(1)
    with _stopped(connection, lambda: next(looks) * _LOOK > instructions, _LOOK):
        yield


@contextmanager
def interrupted_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Stop a SQLite connection after so long in what passes the other limits by: counting a whole table."""
    if is_shared(connection):
        yield
        return
    driver: Any = connection.connection.driver_connection
    interrupting, is_over = threading.Lock(), threading.Event()

    def interrupt() -> None:
        with interrupting:
            if not is_over.is_set():  # else it would meet the next query
                driver.interrupt()

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with interrupting:
            is_over.set()


@contextmanager
def _stopped(connection: Connection, is_over: Callable[[], bool], instructions: int) -> Iterator[None]:
    driver: Any = connection.connection.driver_connection
    came: list[BaseException] = []

    def looks() -> Iterator[bool]:
        # a generator goes on within its `try`: before that of a function a handler may raise, in vain
        while not came:
            try:
                while True:
                    yield is_over()
            except GeneratorExit:
                raise
            except BaseException as error:  # of the host's, as Ctrl-C: the driver says only "interrupted"
                came.append(error)
        yield True

    look = looks().__next__
    look()
    driver.set_progress_handler(look, instructions)
    try:
        yield
    finally:
        driver.set_progress_handler(None, 0)
        if came:
            raise came[0]


def was_stopped(reason: BaseException) -> bool:
    """Tell whether a driver's error says that a limit stopped it."""
    if getattr(reason, "sqlstate", None) == _CANCELLED:
        return True
    return isinstance(reason, sqlite3.Error) and "interrupted" in str(reason)


def mark_of_server(connection: Connection) -> Any:
    """Return a value that changes once somebody has written; cheaper than a query."""
    return connection.exec_driver_sql(_END_OF_LOG).scalar()


def mark_of_file(driver: Any) -> Any:
    """Return a value that changes once somebody else has written.

    Call it outside of any transaction: inside of one it never changes.
    """
    return driver.execute("PRAGMA data_version").fetchone()[0]


def begin(connection: Connection) -> None:
    """Begin to read; where the server had ended a kept connection, over a new one."""
    if connection.in_transaction():
        return
    try:
        connection.begin()
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        connection.invalidate()
        connection.begin()


def seen_revision(connection: Connection) -> str | None:
    """Return the revision of the schema that a reading of a server found as it began; None: ask."""
    if not is_shared(connection):
        return None
    begin(connection)
    found: str | None = connection.connection.driver_connection.revision  # type: ignore[union-attr]
    return found


def shown(connection: Connection) -> str:
    """Return the database of a connection as people may see it."""
    if is_shared(connection):
        return shown_address(connection.engine.url)
    return str(connection.exec_driver_sql("PRAGMA database_list").all()[0][2])


def shown_address(url: URL) -> str:
    """Return the URL as people may see it: passwords are hidden, in its options, too."""
    secret = {
        key: "***"
        for key, value in url.query.items()
        if is_secret_key(key) or redact(str(value)) != str(value)
    }
    return url.update_query_dict(secret).render_as_string(hide_password=True)


# --- transactions ---------------------------------------------------------------------------------------


def take_turn(connection: Connection, lock: int) -> None:
    """Let nobody else have this turn until the transaction ends; SQLite's BEGIN did that.

    A server is asked now and then, because it logs each wait that it cancels as an error.

    Raises:
        OperationalError: others had it for as long as a lock is waited for; try again later.
    """
    pause, until = _SHORT_PAUSE_S, None
    while not take_free_turn(connection, lock):
        if until is None:
            limit = connection.exec_driver_sql(_LOCK_TIMEOUT).scalar() or math.inf
            until = time.monotonic() + limit / 1000
        if time.monotonic() > until:
            raise _had_by_others(lock)
        sleep(pause)
        pause = min(2 * pause, _LONG_PAUSE_S)


def _had_by_others(lock: int) -> OperationalError:
    from psycopg.errors import LockNotAvailable

    reason = LockNotAvailable("another program has had its turn for as long as we wait")
    return OperationalError(f"pg_try_advisory_xact_lock({lock})", None, reason)


def take_free_turn(connection: Connection, lock: int) -> bool:
    """Take a turn as ``take_turn`` does if nobody else has it; say whether it was free."""
    if not is_shared(connection):
        return True
    return connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({lock})").scalar() is True


def marking(dialect: Dialect) -> TextClause:
    """Return the statement that marks days as stale: of a server all ``days``, else one ``day``."""
    return _MARK_SHARED if is_shared(dialect) else _MARK


def take_day(connection: Connection, day: int) -> bool:
    """Keep others from changing the runs of a day until the transaction ends; False: somebody is at it."""
    if not is_shared(connection):
        return True
    taken = connection.exec_driver_sql(f"SELECT pg_try_advisory_xact_lock({_DAYS}, {day})")
    return taken.scalar() is True


def begin_migration(connection: Connection, lock: int) -> None:
    """Wait for other migrations, however long they take; SQLite's BEGIN did that."""
    if is_shared(connection):
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")


def check_migration(connection: Connection) -> None:
    """Refuse to commit what leaves rows that refer to none; a server checks that by itself.

    Raises:
        StoreError: there are such rows.
    """
    if is_shared(connection):
        return
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise StoreError(f"the migration would leave {broken[0]} with dangling rows; nothing was changed")


def give_lock_up(connection: Connection) -> bool:
    """Begin a writer's transaction again, in SQLite without its lock until it writes; say whether it did."""
    if is_shared(connection):
        return False
    connection.exec_driver_sql("ROLLBACK")  # of the BEGIN that took the lock at once
    connection.exec_driver_sql("BEGIN")
    return True


def commit_at_leisure(connection: Connection) -> None:
    """Do not wait for the server's disk, which recording needs: what a crash brings back is pruned again."""
    if is_shared(connection):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


# --- statements -----------------------------------------------------------------------------------------


def find_series(
    connection: Connection, pipeline: str, mode: str, names: Sequence[str]
) -> tuple[Any, Mapping[str, Any]]:
    """Return a query, with its parameters, for ids and step names; what is not there may have the id None."""
    query = _FIND_SERIES_SHARED if is_shared(connection) else _FIND_SERIES
    return query, {"pipeline": pipeline, "mode": mode, "names": names}


def make_series(connection: Connection, pipeline: str, mode: str, names: Sequence[str]) -> tuple[Any, Any]:
    """Return a statement, with its parameters, that makes those of the series that are not there."""
    if is_shared(connection):
        return _MAKE_SERIES_SHARED, {"pipeline": pipeline, "mode": mode, "names": names}
    rows = [{"pipeline": pipeline, "mode": mode, "step_name": name} for name in names]
    return insert_into(connection, series).on_conflict_do_nothing(), rows


def has_attribute(
    connection: Connection,
    document: ColumnElement[Any],
    key: str,
    value: str | int | float | None,
    number: str,
) -> ColumnElement[bool]:
    """Return whether a document has this attribute, types included; ``number`` names what is bound."""
    if is_shared(connection):
        found = cast(document, postgresql.JSONB).op("->")(key)
        return found == text(f"CAST(:attribute_{number} AS jsonb)").bindparams(
            bindparam(f"attribute_{number}", to_json(value))
        )
    # json_each takes any key; a path in json_extract has no way to quote a quotation mark.
    pair = func.json_each(document).table_valued("key", "atom", "type", name=f"pair_{number}")
    if value is None:
        same = pair.c.type == "null"
    elif isinstance(value, bool):
        same = pair.c.type == ("true" if value else "false")
    elif isinstance(value, str):
        same = and_(pair.c.type == "text", pair.c.atom == storable_text(value))
    else:
        number_types = or_(pair.c.type == "integer", pair.c.type == "real")
        same = and_(number_types, pair.c.atom == _storable_number(value))
    return select(literal(1)).select_from(pair).where(pair.c.key == key, same).exists()


def has_key(connection: Connection, document: ColumnElement[Any], key: str) -> ColumnElement[bool]:
    """Return whether a document has an attribute of this name, whatever its value."""
    if is_shared(connection):
        return cast(document, postgresql.JSONB).op("->")(key).is_not(None)
    pair = func.json_each(document).table_valued("key")
    return select(literal(1)).select_from(pair).where(pair.c.key == key).exists()


def number_in(connection: Connection, document: ColumnElement[Any], key: str) -> ColumnElement[Any]:
    """Return the number that a document has under a key; NULL for anything else.

    Numbers of so many digits that a sum of them could be infinite, which PostgreSQL refuses, are none.
    """
    if is_shared(connection):
        document = cast(document, postgresql.JSONB)
        digits = document.op("->>")(key)
        is_number = func.jsonb_typeof(document.op("->")(key)) == "number"
        return case((and_(is_number, func.length(digits) < _DIGITS), cast(digits, Double)))
    if key.isprintable() and not set(key) & set('"\\'):
        path = f'$."{key}"'
        is_number = func.json_type(document, path).in_(("integer", "real"))
        value = func.json_extract(document, path, type_=Double)
        return case((and_(is_number, value.between(-HUGE, HUGE)), value))
    pair = func.json_each(document).table_valued("key", "atom", "type")
    is_number = pair.c.type.in_(("integer", "real")) & pair.c.atom.between(-HUGE, HUGE)
    is_ours = and_(pair.c.key == key, is_number)
    return select(pair.c.atom).select_from(pair).where(is_ours).scalar_subquery()


def sum_in_list(connection: Connection, document: ColumnElement[Any], key: str) -> ColumnElement[Any]:
    """Return the sum of the numbers that the objects of a document have under a key; NULL without a list."""
    if is_shared(connection):
        document = cast(document, postgresql.JSONB)
        is_list = func.jsonb_typeof(document) == "array"
        whole = case((is_list, document), else_=literal_column("'[]'::jsonb"))
        each = func.jsonb_array_elements(whole).table_valued(column("value", postgresql.JSONB))
    else:
        whole = case((func.json_type(document) == "array", document), else_="[]")
        each = func.json_each(whole).table_valued("value")
    return select(func.sum(number_in(connection, each.c.value, key))).select_from(each).scalar_subquery()


def _storable_number(value: int | float) -> int | float:
    return value if isinstance(value, float) or -(1 << 63) <= value < 1 << 63 else float(value)


def starts_with(connection: Connection, column: ColumnElement[str], prefix: str) -> ColumnElement[bool]:
    """Return whether a text begins with another, by an index where there is one."""
    like = column.startswith(prefix, autoescape=True)
    if is_shared(connection):
        return like
    return and_(like, column >= prefix, column < f"{prefix}\U0010ffff")  # LIKE reads all, takes a for A


def holds_bytes(connection: Connection, column: ColumnElement[bytes], part: bytes) -> ColumnElement[bool]:
    """Return whether bytes are somewhere among others."""
    return place_of_bytes(connection, column, part) > 0


def among(
    connection: Connection, column: ColumnElement[int], numbers: Collection[int]
) -> ColumnElement[bool]:
    """Return whether a number is one of many, which are bound as one value."""
    if is_shared(connection):
        return column == any_(literal(list(numbers), ARRAY(BigInteger)))
    each = func.json_each(json.dumps(list(numbers))).table_valued("value")
    return column.in_(select(each.c.value))


def place_of_bytes(connection: Connection, column: ColumnElement[bytes], part: bytes) -> ColumnElement[int]:
    """Return where bytes are first among others, counted from 1; 0 where they are not."""
    if is_shared(connection):
        return func.position(literal(part).op("IN")(column), type_=Integer)
    return func.instr(column, part, type_=Integer)


def as_text(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a document as text, whose length can be asked."""
    return cast(column, Text) if is_shared(connection) else column


def text_in(connection: Connection, document: ColumnElement[Any], key: str) -> ColumnElement[Any]:
    """Return the value that a document has under a plain key, as text; NULL where it has none."""
    if is_shared(connection):
        return cast(document, postgresql.JSONB).op("->>")(key)
    return func.json_extract(document, f"$.{key}")


def deleted_at_once(dialect: Dialect) -> tuple[int, ColumnElement[Any]]:
    """Return how many rows a DELETE shall take, and what their key is compared with: the parameter ``pks``.

    To SQLite a statement costs hardly more than its work; a server is far away.
    """
    if is_shared(dialect):
        return _DELETED_AT_ONCE, any_(bindparam("pks", type_=ARRAY(BigInteger)))
    return 1, bindparam("pks")


def most_orphans(connection: Connection) -> int | None:
    """Return how many series a prune may look at: PostgreSQL looks through all steps for each of them."""
    return _ORPHANS_AT_ONCE if is_shared(connection) else None
