"""The three roles, and what is said when a database cannot be opened."""

from __future__ import annotations

import builtins
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from perfdb.errors import MissingExtraError, StoreError
from perfdb.store.engine import Role, connected, is_transient, open_engine, shown_url, sqlite_path
from perfdb.store.schema import ensure_schema


def pragma(connection: object, name: str) -> object:
    return connection.exec_driver_sql(f"PRAGMA {name}").scalar()  # type: ignore[attr-defined]


def test_the_writer_keeps_keys_and_uses_wal(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url, role="writer")
    with engine.connect() as connection:
        assert pragma(connection, "journal_mode") == "wal"
        assert pragma(connection, "synchronous") == 1
        assert pragma(connection, "foreign_keys") == 1
    engine.dispose()


@pytest.mark.parametrize("role", ["writer", "reader"])
def test_an_interrupt_while_a_database_is_opened_leaves_nothing_open(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    class Interrupted(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            raise KeyboardInterrupt

        def close(self) -> None:
            closed.append(True)
            super().close()

    closed: list[bool] = []
    ensure_schema(sqlite_url)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **options: connect(*a, factory=Interrupted, **options))
    engine = open_engine(sqlite_url, role=role)
    with pytest.raises(KeyboardInterrupt):
        engine.connect()
    assert closed == [True]


def test_the_writers_one_connection_can_be_used_from_another_thread(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url, role="writer")
    connection = engine.connect()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(connection.execute(text("SELECT 1")).scalar()))
    thread.start()
    thread.join()
    connection.close()
    engine.dispose()
    assert found == [1]


def test_a_writer_waits_for_the_lock_of_another(sqlite_url: str) -> None:
    ensure_schema(sqlite_url)
    first = open_engine(sqlite_url, role="writer")
    second = open_engine(sqlite_url, role="writer", busy_timeout_s=30.0)
    got_it = threading.Event()

    def write() -> None:
        with second.begin():
            got_it.set()

    with first.begin():
        thread = threading.Thread(target=write)
        thread.start()
        assert not got_it.wait(0.1)
    thread.join()
    assert got_it.is_set()
    first.dispose()
    second.dispose()


def test_a_writer_holds_the_lock_from_its_begin(sqlite_url: str) -> None:
    ensure_schema(sqlite_url)
    first = open_engine(sqlite_url, role="writer")
    second = open_engine(sqlite_url, role="writer", busy_timeout_s=0.01)
    with first.begin(), pytest.raises(DBAPIError, match="locked"), second.begin():
        pass
    first.dispose()
    second.dispose()


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "perfdb.sqlite3"
    ensure_schema(f"sqlite:///{path}")
    engine = open_engine(f"sqlite:///{path}", role="writer")
    with engine.begin():
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (path, *path.parents[:2])}
        modes["wal"] = stat.S_IMODE(Path(f"{path}-wal").stat().st_mode)
    engine.dispose()
    assert modes == {"perfdb.sqlite3": 0o600, "b": 0o700, "a": 0o700, "wal": 0o600}


def test_a_reader_cannot_write(migrated_url: str) -> None:
    engine = open_engine(migrated_url, role="reader")
    with engine.connect() as connection, pytest.raises(DBAPIError, match=r"read-?only"):
        connection.execute(text("DELETE FROM sessions"))
    engine.dispose()


def test_a_missing_file_is_named_and_not_created(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/no.sqlite3", role="reader")
    with pytest.raises(StoreError, match=r"no\.sqlite3"):
        engine.connect()
    assert list(tmp_path.iterdir()) == []


READ_A_COPY = """
import sys
from perfdb.store.engine import open_engine
engine = open_engine("sqlite:///" + sys.argv[1], role="reader")
with engine.connect() as connection:
    print(connection.exec_driver_sql("SELECT count(*) FROM v_sessions").scalar())
"""


def test_a_copied_file_in_a_read_only_folder_is_read(tmp_path: Path, sqlite_url: str) -> None:
    ensure_schema(sqlite_url)
    folder = tmp_path / "copy"
    folder.mkdir()
    path = shutil.copy(sqlite_path(sqlite_url) or "", folder / "with space#.sqlite3")
    os.chmod(path, 0o444)
    os.chmod(folder, 0o555)
    if os.geteuid() != 0:
        command = [sys.executable, "-c", READ_A_COPY, str(path)]
    elif shutil.which("setpriv") is not None:  # root may write anywhere, unless it gives that up
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--securebits=+noroot,+noroot_locked"]
        command = [*drop, sys.executable, "-c", READ_A_COPY, str(path)]
    else:
        pytest.skip("root, and no setpriv to give its powers up")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    os.chmod(folder, 0o755)
    assert (done.stdout.strip(), done.returncode) == ("0", 0), done.stderr
    assert [each.name for each in folder.iterdir()] == ["with space#.sqlite3"]


@pytest.mark.parametrize("role", ["reader", "writer", "migration"])
def test_what_is_no_database_is_left_alone(tmp_path: Path, role: str) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(b"this is no database, and longer than its header of a hundred bytes" * 20)
    before = path.read_bytes()
    engine = open_engine(f"sqlite:///{path}", role=role)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=r"x\.sqlite3 is damaged or is not a SQLite database"):
        engine.connect()
    assert path.read_bytes() == before


def test_a_file_in_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreError, match="cannot create the database"):
        open_engine(f"sqlite:///{tmp_path}/home/perfdb.sqlite3", role="writer").connect()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://host/db", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(StoreError):
        open_engine(url, role="writer")


def test_the_password_is_hidden() -> None:
    assert shown_url("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert "secret" not in shown_url("me:secret@host")
    for option in ("password=", "sslpassword=", "token=", "sslkey=ghp_abcdefghijklmnopqrst0123"):
        assert "0123" not in shown_url(f"postgresql://host/db?sslmode=require&{option}secret-0123")


def test_sqlite_path_is_none_for_postgresql() -> None:
    assert sqlite_path("sqlite:////a/b.sqlite3") == Path("/a/b.sqlite3")
    assert sqlite_path("postgresql://host/db") is None


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_psycopg(name: str, *args: object, **kwargs: object) -> object:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return imported(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_psycopg)
    with pytest.raises(MissingExtraError, match=r"pip install 'perfdb\[postgres\]'") as caught:
        open_engine("postgresql://me:secret@host/db", role="writer")
    assert "secret" not in str(caught.value)


def test_postgresql_time_outs_are_set(postgres: str) -> None:
    engine = open_engine(f"{postgres}/postgres", role="writer", busy_timeout_s=2.0)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "2s"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
        assert connection.exec_driver_sql("SHOW application_name").scalar() == "perfdb writer"
    engine.dispose()


@pytest.mark.parametrize(
    ("role", "wait_s", "limit"),
    [("writer", 0.25, "10s"), ("writer", 30.0, "1min"), ("reader", 30.0, "1min"), ("migration", 30.0, "0")],
)
def test_a_writer_that_waits_little_waits_little_for_anything(
    postgres: str, role: Role, wait_s: float, limit: str
) -> None:
    engine = open_engine(f"{postgres}/postgres", role=role, busy_timeout_s=wait_s)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == limit
    engine.dispose()


@pytest.mark.parametrize("role", ["migration", "writer", "reader"])
def test_postgresql_compiles_none_of_our_queries(postgres: str, role: Role) -> None:
    engine = open_engine(f"{postgres}/postgres", role=role)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW jit").scalar() == "off"
    engine.dispose()


@pytest.mark.parametrize("role", ["migration", "writer", "reader"])
def test_a_connection_that_the_server_has_closed_is_given_back_without_a_word(
    postgres: str, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    with connected(f"{postgres}/postgres", role=role) as connection:
        driver: Any = connection.connection.driver_connection
        with psycopg.connect(f"{postgres}/postgres", autocommit=True) as other:
            assert other.execute(
                "SELECT pg_terminate_backend(%s, 10000)", [driver.info.backend_pid]
            ).fetchone() == (True,)
        with pytest.raises(DBAPIError):
            connection.execute(text("SELECT 1"))
    assert not caplog.records  # a pool tells at length what its drivers raise


def test_a_connection_that_ended_among_many_statements_is_given_back_without_a_word(
    postgres: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As behind a pooler: the server says that it goes while libpq still waits for the other answers."""
    engine = open_engine(f"{postgres}/postgres", role="writer")
    with engine.connect() as connection:  # is rolled back at the end
        connection.begin()
        driver: Any = connection.connection.driver_connection
        driver.pgconn.enter_pipeline_mode()
        driver.pgconn.send_query_params(b"SELECT 1", None)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()
    assert not caplog.records


def test_a_server_that_falls_silent_in_the_middle_is_given_up(postgres: str) -> None:
    engine = open_engine(f"{postgres}/postgres", role="writer")
    with engine.connect() as connection:
        server = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        driver: Any = connection.connection.driver_connection
        driver.patience_s = 0.5
        os.kill(server, signal.SIGSTOP)
        try:
            with pytest.raises(DBAPIError, match="has not answered for") as caught:
                connection.exec_driver_sql("SELECT 1")
        finally:
            os.kill(server, signal.SIGCONT)
        assert is_transient(caught.value)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()


def test_ctrl_c_inside_of_an_exchange_leaves_none_going_on(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(2))

    def interrupted_at_the_second_look() -> float:
        if next(looks, None) is None:
            raise KeyboardInterrupt
        return time.monotonic()

    engine = open_engine(f"{postgres}/postgres", role="writer")
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        monkeypatch.setattr("perfdb.store.postgres.time", Mock(monotonic=interrupted_at_the_second_look))
        with pytest.raises(KeyboardInterrupt):
            driver.execute("SELECT pg_sleep(30)")
        monkeypatch.undo()
        assert driver.closed
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    engine.dispose()


def test_importing_the_engine_loads_neither_pandas_nor_alembic() -> None:
    code = (
        "import sys, perfdb.store.schema, perfdb.store.ingest; "
        ""
        "print([m for m in ('pandas', 'numpy', 'alembic', 'sqlalchemy.orm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_corrupt_page_is_an_error_that_names_the_file(sqlite_url: str) -> None:
    ensure_schema(sqlite_url)
    path = sqlite_path(sqlite_url)
    assert path is not None
    sqlite3.connect(path).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * (4096 - 100)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)):
        ensure_schema(sqlite_url)
    assert path.read_bytes() == bytes(content)


@pytest.mark.parametrize("hosts", ["host=a&host=b&port=1", "host=a,b&port=1,2,3", "host=a:1,b&host=c"])
def test_hosts_and_ports_that_do_not_fit_are_said_without_the_password(hosts: str) -> None:
    with pytest.raises(StoreError, match="several hosts") as refused:
        open_engine(f"postgresql://u:hidden@/x?{hosts}", role="reader")
    assert "hidden" not in str(refused.value)
