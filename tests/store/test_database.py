"""One front end: what it makes and what it leaves alone, and what it remembers of a file."""

from __future__ import annotations

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from perfdb.errors import AbsentError, SchemaError, StoreError
from perfdb.recording.health import Health
from perfdb.settings import sqlite_url
from perfdb.store.database import Database, EndingError
from perfdb.store.schema import ensure_schema

COUNT, TAG = text("SELECT count(*) FROM series"), text("INSERT INTO series (pipeline, mode) VALUES ('p', :m)")


@pytest.fixture
def copied(migrated_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated_file, tmp_path / "perfdb.sqlite3"))


def counted(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(COUNT).scalar_one())


def add(database: Database, mode: str) -> None:
    with database.writing() as connection:
        connection.execute(TAG, {"m": mode})


def test_what_is_written_is_read_and_a_reader_cannot_write(migrated_url: str) -> None:
    with Database(migrated_url) as database:
        add(database, "a")
        assert counted(database) == 1
        with pytest.raises(DBAPIError), database.reading() as connection:
            connection.execute(TAG, {"m": "b"})
        add(database, "c")
        assert counted(database) == 2


def test_who_records_makes_the_tables_and_others_make_nothing(tmp_path: Path) -> None:
    path = tmp_path / "home" / "perfdb.sqlite3"
    reader = Database(sqlite_url(path), migrates=False)
    for asks in (reader.reading, reader.writing):
        with pytest.raises(AbsentError, match="there is no database"), asks():
            pass
    with reader.reading_if_there() as nothing:
        assert nothing is None
    assert not path.parent.exists()
    with Database(sqlite_url(path)) as recorder:
        assert counted(recorder) == 0
    assert counted(reader) == 0
    reader.forget()


def test_older_tables_are_left_as_they_are_by_who_does_not_migrate(copied: Path) -> None:
    with sqlite3.connect(copied) as file:
        file.execute("UPDATE alembic_version SET version_num = '0001'")
    file.close()
    reader = Database(sqlite_url(copied), migrates=False)
    for asks in (reader.reading, reader.writing, reader.reading_if_there):
        with pytest.raises(SchemaError, match="has schema 0001"), asks():
            pass
    with reader.reading(checked=False) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "0001"
    reader.forget()


@pytest.mark.parametrize("migrates", [True, False])
def test_a_file_that_takes_the_place_of_another_is_the_one_that_is_read(copied: Path, migrates: bool) -> None:
    health = Health()
    other = Path(shutil.copy(copied, copied.with_name("other")))
    database = Database(sqlite_url(copied), 5.0, health, migrates=migrates)
    add(database, "a")
    assert counted(database) == 1
    for log in copied.parent.glob("*-*"):
        log.unlink()
    other.replace(copied)
    assert counted(database) == 0
    assert health.counts["replaced"] == 1
    database.forget()


def test_a_lock_of_others_is_waited_for_no_longer_than_was_said_and_ends_nothing(copied: Path) -> None:
    database = Database(sqlite_url(copied), 0.01)
    assert counted(database) == 0
    lock = sqlite3.connect(copied, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    with pytest.raises(DBAPIError, match="locked"):
        add(database, "a")
    assert counted(database) == 0  # it waits for nobody
    lock.execute("ROLLBACK")
    lock.close()
    add(database, "a")
    assert counted(database) == 1
    database.forget()


def test_many_threads_may_read_at_once(copied: Path) -> None:
    database = Database(sqlite_url(copied), migrates=False, limit_s=30)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: counted(database), range(64))) == [0] * 64
    database.forget()


def test_nothing_begins_for_a_thread_that_is_to_end(copied: Path) -> None:
    ends: list[bool] = []
    database = Database(sqlite_url(copied), ends=lambda: bool(ends))
    assert counted(database) == 0
    ends.append(True)
    for asks in (database.reading, database.writing):
        with pytest.raises(EndingError), asks():
            pass
    database.forget()


def test_what_would_never_end_is_stopped_in_a_file_from_elsewhere(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfdb.store.database._MOST_TO_READ", 50_000_000)
    monkeypatch.setattr("perfdb.store.database._MOST_TO_WRITE", 50_000_000)
    database = Database(sqlite_url(copied), migrates=False)
    endless = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
    with pytest.raises(StoreError, match="longer to read"), database.reading() as connection:
        connection.execute(endless)
    with pytest.raises(DBAPIError, match="interrupted"), database.writing() as connection:
        connection.execute(endless)
    add(database, "a")
    assert counted(database) == 1
    database.forget()


def test_a_watch_that_cannot_look_says_so_and_looks_again(copied: Path) -> None:
    watch = Database(sqlite_url(copied)).watch()
    assert watch.moved()
    good = copied.rename(copied.with_name("good"))
    copied.write_bytes(b"no database" * 1_000)
    with pytest.raises(StoreError):
        watch.moved()
    good.replace(copied)
    assert watch.moved()
    assert not watch.moved()
    watch.close()


def test_what_a_reader_that_nobody_closed_has_open_is_closed_with_it(copied: Path) -> None:
    """As later Pythons ask: they tell of each connection that the garbage collector has to close."""
    used = []
    for _ in range(2):
        database = Database(sqlite_url(copied), migrates=False)
        with database.reading() as connection:
            used.append(connection.connection.dbapi_connection)
        database.forget()
        with database.reading() as connection:
            used.append(connection.connection.dbapi_connection)
        del database
    watch = Database(sqlite_url(copied)).watch()
    assert watch.moved()
    used.append(watch._kept[0].driver_connection)
    del watch
    for each in used:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            each.execute("SELECT 1")


def test_at_its_end_a_program_has_left_nothing_open(copied: Path) -> None:
    program = (
        "import sys, perfdb; histories = [perfdb.History(sys.argv[1])]; histories[0].sessions();"
        "histories.append(histories); sys.here = histories"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, str(copied)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_copy_for_another_process_takes_no_connection_along(copied: Path) -> None:
    database = Database(sqlite_url(copied), migrates=False)
    assert counted(database) == 0
    copy = pickle.loads(pickle.dumps(database))
    assert counted(copy) == counted(database) == 0
    for each in (copy, database):
        each.forget()


def test_a_forked_child_opens_its_own(copied: Path) -> None:
    database = Database(sqlite_url(copied), 5.0)
    add(database, "a")
    child = os.fork()
    if not child:
        try:
            add(database, "b")
            os._exit(counted(database))
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert counted(database) == 2
    database.forget()


def test_what_an_interrupt_broke_off_is_not_there_and_the_next_one_writes(copied: Path) -> None:
    database = Database(sqlite_url(copied), 0.01)
    add(database, "a")

    def is_interrupted() -> None:
        with database.writing() as connection:
            connection.execute(TAG, {"m": "b"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        is_interrupted()
    add(database, "c")
    assert counted(database) == 2
    database.forget()


def test_between_two_transactions_others_may_look_and_tidy(copied: Path) -> None:
    database = Database(sqlite_url(copied), 0.01)
    add(database, "a")
    mark = database.mark()
    assert database.mark() == mark
    with sqlite3.connect(copied) as other:
        other.execute("INSERT INTO series (pipeline, mode) VALUES ('p', 'b')")
    other.close()
    assert database.mark() != mark
    add(database, "c")
    assert database.shrink_log(10**9) > database.shrink_log(0) == 0
    add(database, "d")
    assert counted(database) == 4
    database.forget()


def test_what_is_forgotten_in_a_transaction_is_closed_after_it(copied: Path) -> None:
    database = Database(sqlite_url(copied), 0.01)
    with database.writing() as connection:
        connection.execute(TAG, {"m": "a"})
        database.forget()
    assert connection.closed
    add(database, "b")
    assert counted(database) == 2
    database.forget()
    assert not copied.with_name(copied.name + "-wal").exists()  # the last connection takes it away


def test_threads_that_write_at_once_have_transactions_of_their_own(copied: Path) -> None:
    """On one connection they would end each other's, or the process."""
    database = Database(sqlite_url(copied), 20.0)
    before = counted(database)

    def write(name: str) -> None:
        for number in range(25):
            with database.writing() as connection:
                for part in "ab":
                    connection.execute(TAG, {"m": f"{name}{number}{part}"})

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(write, "xyz"))
    assert counted(database) == before + 150
    database.forget()


def test_a_log_is_found_where_the_file_is_that_took_the_place_of_another(
    copied: Path, tmp_path: Path
) -> None:
    other, link = Path(shutil.copy(copied, tmp_path / "other.sqlite3")), tmp_path / "link.sqlite3"
    link.symlink_to(copied)
    database = Database(sqlite_url(link), 0.01)
    for file in (copied, other):
        link.unlink()
        link.symlink_to(file)
        add(database, "a")
        assert database.shrink_log(10**9) == file.with_name(file.name + "-wal").stat().st_size > 0
    database.forget()


def test_a_limit_of_the_server_itself_is_no_sign_of_damage(postgres: str) -> None:
    ensure_schema(postgres)

    def ask() -> None:
        with Database(postgres, migrates=False) as database, database.reading() as connection:
            connection.exec_driver_sql("SET statement_timeout = 20")
            connection.exec_driver_sql("SELECT pg_sleep(5)")

    with pytest.raises(OperationalError, match="statement timeout"):
        ask()
