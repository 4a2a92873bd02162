"""Connections to PostgreSQL that wait for nothing without an end.

The server ends what waits for a lock or computes for too long, and what a frozen host left open. Only the
client can notice that the server itself has fallen silent: TCP does not, while the kernel of the other side
still answers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from perfdb.errors import StoreError
from perfdb.store.models import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg.abc import PQGen

_CONNECT_TIMEOUT_S = 3  # with the worker's pause less than 5 s, so soon rows flow after an outage
_SILENCE_S = 15.0  # of the network
_LONGEST_STATEMENT_S = 60.0
_SHORTEST_STATEMENT_S = 10.0  # a batch takes some ten milliseconds
_GRACE_S = 3.0  # the server says first that a statement took too long
_IDLE_IN_TRANSACTION_S = 60.0

Answer = TypeVar("Answer")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is closed when its server has sent nothing for ``patience_s`` while we waited."""

    patience_s: float | None = float(_CONNECT_TIMEOUT_S)  # of its first statements; None: for ever
    is_pooled = False  # each transaction may run in another session of the server

    def wait(self, gen: PQGen[Answer], *args: Any, **options: Any) -> Answer:
        """Run one exchange with the server."""
        if self.patience_s is None:
            return super().wait(gen, *args, **options)
        try:
            return super().wait(_heard_within(self.patience_s, gen), *args, **options)
        except _SilentServer:
            self.pgconn.finish()
            raise
        except KeyboardInterrupt:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:  # it struck inside of the exchange
                self.pgconn.finish()  # nobody can end that now: a rollback would find it still going on
            raise


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
    options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0} if role == "writer" else {"pool_size": 2}
    if role == "migration":
        options = {"poolclass": NullPool}
    if role == "reader":
        options["isolation_level"] = "REPEATABLE READ"  # so that several queries see one moment
    engine = create_engine(
        url,
        pool_pre_ping=True,  # a restarted server is noticed before a batch is sent
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
        **options,
    )
    statement_s = _statement_limit_s(role, lock_wait_s)
    limits = {
        "lock_timeout": max(1, int(lock_wait_s * 1000)),
        "statement_timeout": int(statement_s * 1000),
        # A host that was stopped in a transaction must not keep its locks.
        "idle_in_transaction_session_timeout": int(_IDLE_IN_TRANSACTION_S * 1000) if role == "writer" else 0,
    }

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> PatientConnection:
        return PatientConnection.connect(*arguments, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: PatientConnection, _record: object) -> None:
        autocommit = connection.autocommit
        connection.autocommit = True
        if role != "reader":
            _require_utf8(connection, url)
        found = connection.execute("SELECT pg_backend_pid()").fetchone()
        if found is not None and found[0] != connection.info.backend_pid:
            connection.is_pooled = True
            connection.prepare_threshold = None  # the next transaction would not find what this one prepared
        else:
            # By SET rather than start-up options: connection poolers refuse those.
            connection.execute(_settings("SET", limits))
        connection.autocommit = autocommit
        connection.read_only = role == "reader"
        connection.patience_s = statement_s + _GRACE_S if statement_s else None

    @event.listens_for(engine, "begin")
    def _limit(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if driver.is_pooled:  # a plain SET would leak to the next client of that session
            driver.execute(_settings("SET LOCAL", limits))

    return engine


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
            f"{url.render_as_string(hide_password=True)} has the encoding {encoding}, which does "
            f"not hold every text; perfdb needs one in UTF8: createdb -T template0 -E UTF8 NEW_NAME"
        )


def _statement_limit_s(role: str, lock_wait_s: float) -> float:
    """Return the seconds a statement may take; 0 is no limit."""
    if role == "migration":
        return 0.0
    if role == "reader":
        return _LONGEST_STATEMENT_S
    return min(_LONGEST_STATEMENT_S, max(_SHORTEST_STATEMENT_S, 40 * lock_wait_s))
