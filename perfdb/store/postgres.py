"""Connections to PostgreSQL that wait for nothing without an end.

The server ends what waits for a lock or computes for too long, and what a frozen host left open. Only the
client can notice that the server itself has fallen silent: TCP does not, while the kernel of the other side
still answers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.adapt import Transformer
from psycopg.generators import fetch_many
from psycopg.pq import ConnStatus, TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from perfdb.errors import StoreError
from perfdb.recording.native import monotonic
from perfdb.store.dialects import LIMIT_MS, shown_address
from perfdb.store.models import from_json, metadata, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.abc import PQGen

    from perfdb.store.together import Hub

_CONNECT_TIMEOUT_S = 3  # with the worker's pause less than 5 s, so soon rows flow after an outage
_SILENCE_S = 15.0  # of the network
_LONGEST_STATEMENT_S = 60.0
_SHORTEST_STATEMENT_S = 10.0  # a batch takes some ten milliseconds
_GRACE_S = 3.0  # the server says first that a statement took too long
_IDLE_IN_TRANSACTION_S = 60.0
_MOST_KEPT = 10_000  # rows of an answer that is kept
_FORGETS_S = 1.0  # so soon does the server forget a connection that was closed
_LOOK_EVERY_S = 10.0  # at the latest does a new connection look again for what others put beside the tables

Answer = TypeVar("Answer")

heard_at = 0.0  # when a server last answered: an exit that waits for it goes on waiting


class _Cursor(psycopg.Cursor[Any]):
    """A cursor that asks what others ask at the same time in one exchange with them: see together.py."""

    def execute(self, *asked: Any, **options: Any) -> _Cursor:
        """Ask the server, or remember what it said."""
        connection: Any = self.connection
        key = None if connection.kept is None or options else repr(asked)
        if key is not None and key in connection.kept:
            self._reset()
            self._tx = Transformer(self)
            self._set_results([connection.kept[key]])
            return self
        if connection.side_by_side is None:
            super().execute(*asked, **options)
        else:
            connection.side_by_side.ask(partial(super().execute, *asked, **options))
        if key is not None and self.pgresult is not None and self.pgresult.ntuples <= _MOST_KEPT:
            connection.kept[key] = self.pgresult
        return self


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when its server has sent nothing for ``patience_s`` while we waited."""

    patience_s: float | None = float(_CONNECT_TIMEOUT_S)  # of its first statements; None: for ever
    is_pooled = False  # each transaction may run in another session of the server
    only_reads = False
    revision: str | None = None  # of the schema, as the reading that goes on found it
    side_by_side: Hub | None = None
    is_looked_at = False  # for what other roles put in the way of our questions: see _LOOK_EVERY_S
    kept: dict[str, Any] | None = None  # answers of this reading, while somebody asks many questions in it
    _is_owed = False  # the answer to a ROLLBACK, for which nobody waited

    def wait(self, gen: PQGen[Answer], *args: Any, **options: Any) -> Answer:
        """Run one exchange with the server."""
        if self._is_owed:
            self._is_owed = False
            self.wait(fetch_many(self.pgconn))
        if self.patience_s is None:
            return super().wait(gen, *args, **options)
        global heard_at
        try:
            answer = super().wait(_heard_within(self.patience_s, gen), *args, **options)
            heard_at = monotonic()
            return answer
        except _SilentServer:
            self.pgconn.finish()
            raise
        except KeyboardInterrupt:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:  # it struck inside of the exchange
                self.pgconn.finish()  # nobody can end that now: a rollback would find it still going on
            raise

    def rollback(self) -> None:
        """End a transaction; that of a reader without waiting until the server has done so.

        Where the server is gone nothing is left to be ended: who asks next hears of it. That it is may be
        found only now: of a connection that ended among many statements libpq still waits for the answers.
        """
        if self.pgconn.status == ConnStatus.BAD:
            self.close()
            return
        if not self.only_reads or self.pgconn.transaction_status not in _OPEN:
            try:
                super().rollback()
            except psycopg.OperationalError:
                self.close()
            return
        with self.lock:
            self.pgconn.send_query(b"ROLLBACK")
            self.pgconn.flush()
            self._is_owed = True


_OPEN = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


class _SilentServer(psycopg.OperationalError):
    """The server takes what we send and does not answer."""


def _heard_within(seconds: float, exchange: PQGen[Answer]) -> PQGen[Answer]:
    """Pass an exchange on; psycopg looks in, with nothing, several times a second."""
    heard = time.monotonic()
    try:
        wanted = next(exchange)
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
            elif time.monotonic() - heard > seconds:
                raise _SilentServer(f"the server has not answered for {seconds:g} seconds")
            wanted = exchange.send(ready)
    except StopIteration as done:
        answer: Answer = done.value
        return answer


def postgres_engine(url: URL, role: str, lock_wait_s: float) -> Engine:
    """Return an engine for one of the roles of ``engine.open_engine``.

    A statement may take a minute, a writer's that waits little for locks ten seconds, a migration's as
    long as it needs.
    """
    # A writer's connection reads, too: only who writes while it still reads has another for that moment.
    options: dict[str, Any] = {"pool_size": 1, "max_overflow": 1} if role == "writer" else {"pool_size": 2}
    if role == "migration":
        options = {"poolclass": NullPool}
    looked_at = -math.inf  # by a reader of this engine
    engine = create_engine(
        url,
        # A restarted server is noticed before a batch is sent; who begins to read notices it by that.
        pool_pre_ping=role != "reader",
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "client_encoding": "UTF8",  # whatever the database's or PGCLIENTENCODING say
            "application_name": f"perfdb {role}",
            # A network that swallows everything is noticed by the kernel.
            "keepalives_idle": 5,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": int(_SILENCE_S * 1000),
        },
        json_serializer=to_json,
        json_deserializer=from_json,
        use_native_hstore=False,
        **options,
    )
    if role != "migration":
        _ask_nothing_first(engine.dialect)
    statement_s = _statement_limit_s(role, lock_wait_s)
    limits = {
        "lock_timeout": max(1, int(lock_wait_s * 1000)),
        "statement_timeout": int(statement_s * 1000),
        # A host that was stopped in a transaction must not keep its locks.
        "idle_in_transaction_session_timeout": int(_IDLE_IN_TRANSACTION_S * 1000) if role == "writer" else 0,
        # Of a long history the planner thinks most queries worth compiling, which takes longer than they do.
        "jit": 0,
        "extra_float_digits": 1,  # all of them, whatever the role's, the database's or the server's says
    }

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> PatientConnection:
        until = monotonic() + _FORGETS_S
        while True:
            try:
                return PatientConnection.connect(*arguments, **options, cursor_factory=_Cursor)
            except psycopg.OperationalError as error:  # the server counts one that we closed a moment ago
                if "too many connections for role" not in str(error) or monotonic() > until:
                    raise
            time.sleep(0.05)

    @event.listens_for(engine, "connect")
    def _prepare(connection: PatientConnection, _record: object) -> None:
        connection.patience_s = statement_s + _GRACE_S if statement_s else None
        if role == "reader":  # asks for all that it needs as it begins to read: each exchange takes a while
            connection.autocommit, connection.prepare_threshold = True, None
            connection.only_reads = True
            return
        autocommit = connection.autocommit
        connection.autocommit = True
        _require_utf8(connection, url)
        with _nothing_planted(connection):
            connection.execute(_PLANTED)
        found = connection.execute("SELECT pg_backend_pid()").fetchone()
        if found is not None and found[0] != connection.info.backend_pid:
            connection.is_pooled = True
            connection.prepare_threshold = None  # the next transaction would not find what this one prepared
        else:
            # By SET rather than start-up options: connection poolers refuse those.
            connection.execute(_settings("SET", limits))
        connection.autocommit = autocommit

    @event.listens_for(engine, "begin")
    def _limit(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if role == "reader":
            nonlocal looked_at
            limit_ms = connection.get_execution_options().get(LIMIT_MS, limits["statement_timeout"])
            was_looked_at = driver.is_looked_at or monotonic() - looked_at < _LOOK_EVERY_S
            try:
                _begin_to_read(driver, {**limits, "statement_timeout": limit_ms}, looks=not was_looked_at)
            except psycopg.Error as error:
                raise _as_of_sqlalchemy(error, driver) from error
            if not was_looked_at:
                driver.is_looked_at, looked_at = True, monotonic()
        elif driver.is_pooled:  # a plain SET would leak to the next client of that session
            driver.execute(_settings("SET LOCAL", limits))

    return engine


def _begin_to_read(driver: PatientConnection, limits: Mapping[str, int], *, looks: bool) -> None:
    """Begin a transaction in which several queries see one moment, and look which schema it finds.

    With ``looks`` also for what others have planted.
    """
    driver.kept = None
    begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{_settings('SET LOCAL', limits)}"
    if looks:
        begin += f";{_PLANTED}"
    try:
        with _nothing_planted(driver):
            cursor = driver.execute(f"{begin};{_REVISION}")
    except psycopg.ProgrammingError:  # there is none, or it is closed to us: whoever asks is told
        driver.revision = None
        driver.rollback()
        with _nothing_planted(driver):
            driver.execute(begin)
        return
    while cursor.nextset():
        pass
    found = cursor.fetchone()
    driver.revision = None if found is None else str(found[0])


@contextmanager
def reading_of_writer(connection: Connection) -> Iterator[None]:
    """Have a writer's connection only read, see one moment, and take as long for it as a reader may."""
    connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    driver: Any = connection.connection.driver_connection
    usual, driver.patience_s = driver.patience_s, _LONGEST_STATEMENT_S + _GRACE_S
    try:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {int(_LONGEST_STATEMENT_S * 1000)}")
        yield
    finally:
        driver.patience_s = usual


def _as_of_sqlalchemy(error: psycopg.Error, driver: PatientConnection) -> Exception:
    is_lost = driver.closed or driver.broken
    return DBAPIError.instance(
        "BEGIN", None, error, psycopg.Error, hide_parameters=True, connection_invalidated=is_lost
    )


# Of our own schema: another program's may be on the path, too.
_REVISION = (
    "SELECT version_num FROM alembic_version "
    "WHERE tableoid = to_regclass(quote_ident(current_schema()) || '.alembic_version')"
)


# What another role has put in the way, which would run with the rights of who asks: functions and operators
# beside the tables under names of PostgreSQL's own (the one that fits best is run), also as members of an
# extension of that role; triggers of our tables; a schema named as we are, which comes first on the usual
# path; tables that it made before us where everybody may make some. The division ends what would follow.
_OF_OTHERS = """
    JOIN pg_catalog.pg_namespace s ON s.oid = o.{0}namespace
    WHERE s.nspname = ANY (pg_catalog.current_schemas(false))
      AND o.{0}owner NOT IN (SELECT oid FROM trusted)
      AND EXISTS (SELECT FROM pg_catalog.pg_{1} c WHERE c.{0}name = o.{0}name
                  AND c.{0}namespace = 'pg_catalog'::pg_catalog.regnamespace)
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                      JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                      WHERE d.objid = o.oid AND d.deptype = 'e'
                        AND e.extowner IN (SELECT oid FROM trusted))"""
_TABLES = ", ".join(f"'{name}'" for name in sorted(metadata.tables))
_PLANTED = f"""
WITH masters AS (
    SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper OR rolname = current_user
    UNION SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
), here AS (
    SELECT oid, nspowner, pg_catalog.has_schema_privilege('public', oid, 'CREATE') AS is_open
    FROM pg_catalog.pg_namespace WHERE nspname = pg_catalog.current_schema()
), owner AS (
    SELECT r.relowner, h.is_open FROM pg_catalog.pg_class r JOIN here h ON h.oid = r.relnamespace
    WHERE r.relname = 'alembic_version'
), trusted AS (
    SELECT oid FROM masters UNION SELECT nspowner FROM here
    UNION SELECT relowner FROM owner WHERE NOT is_open
)
SELECT 1 / CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_proc o {_OF_OTHERS.format("pro", "proc")})
    OR EXISTS (SELECT FROM pg_catalog.pg_operator o {_OF_OTHERS.format("opr", "operator")})
    OR EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc o ON o.oid = t.tgfoid
               JOIN pg_catalog.pg_class r ON r.oid = t.tgrelid
               JOIN pg_catalog.pg_namespace s ON s.oid = r.relnamespace
               WHERE NOT t.tgisinternal AND s.nspname = pg_catalog.current_schema()
                 AND r.relname IN ({_TABLES}) AND o.proowner NOT IN (SELECT oid FROM trusted))
    OR EXISTS (SELECT FROM pg_catalog.pg_namespace s
               WHERE s.nspname = pg_catalog.current_schema() AND s.nspname = current_user
                 AND s.nspowner NOT IN (SELECT oid FROM masters))
    OR EXISTS (SELECT FROM owner WHERE relowner NOT IN (SELECT oid FROM trusted))
    THEN 0 ELSE 1 END"""


@contextmanager
def _nothing_planted(driver: PatientConnection) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DivisionByZero:
        if driver.autocommit and not driver.only_reads:
            driver.close()  # it is of no pool yet
        raise StoreError(
            "another role of the server has put functions beside perfdb's tables, under names of "
            "PostgreSQL's own, triggers on them, a schema before theirs that is named as you are, or made "
            "these tables where everybody may make some: what it made would be run with your rights; drop "
            "it, and let nobody make more: REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ) from None


def _ask_nothing_first(dialect: Any) -> None:
    """Have SQLAlchemy take from the connection what it would ask the server before the first query."""

    def version(connection: Connection) -> tuple[int, int]:
        driver: Any = connection.connection.driver_connection
        number: int = driver.info.server_version
        return divmod(number, 10_000)

    dialect._get_server_version_info = version
    dialect._get_default_schema_name = lambda connection: None
    dialect._set_backslash_escapes = lambda connection: None  # of literals in SQL, which has none of ours
    dialect.get_default_isolation_level = lambda connection: "READ COMMITTED"


def _settings(how: str, values: Mapping[str, int]) -> str:
    return ";".join(f"{how} {name} = {value}" for name, value in values.items())


def _require_utf8(connection: PatientConnection, url: URL) -> None:
    """Refuse a database that cannot hold every text: some steps would be stored and others not.

    Raises:
        StoreError: its encoding is another.
    """
    found = connection.execute("SHOW server_encoding").fetchone()
    encoding = str(found[0]) if found else "unknown"
    if encoding != "UTF8":
        raise StoreError(
            f"{shown_address(url)} has the encoding {encoding}, which does "
            f"not hold every text; perfdb needs one in UTF8: createdb -T template0 -E UTF8 NEW_NAME"
        )


def _statement_limit_s(role: str, lock_wait_s: float) -> float:
    """Return the seconds a statement may take; 0 is no limit."""
    if role == "migration":
        return 0.0
    if role == "reader":
        return _LONGEST_STATEMENT_S
    return min(_LONGEST_STATEMENT_S, max(_SHORTEST_STATEMENT_S, 40 * lock_wait_s))
