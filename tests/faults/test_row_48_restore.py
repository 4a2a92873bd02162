"""Row 48: what is no whole backup of perfdb is refused before anything is replaced, and leaves nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.cli import main
from perfdb.records import Session, Step
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions

VIEWS = ("DROP VIEW v_sessions", "DROP VIEW v_steps")
RECURSIVE = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n"
WRITABLE = "PRAGMA writable_schema = ON"


def in_table(words: str, others: str) -> str:
    """Return the statement that has other words in the making of each table."""
    return f"UPDATE sqlite_master SET sql = replace(sql, '{words}', '{others}') WHERE type = 'table'"


BROKEN = {
    "a default that computes": [
        "PRAGMA writable_schema = ON",
        (
            "UPDATE sqlite_master SET sql = replace(sql, 'error_message TEXT', "
            "'error_message TEXT DEFAULT (randomblob(999999999))') WHERE name = 'sessions'"
        ),
    ],
    "no sessions": (*VIEWS, "DROP TABLE sessions"),
    "no steps": (*VIEWS, "DROP TABLE steps"),
    "no samples": ("DROP TABLE samples",),
    "no outbox": ("DROP TABLE outbox",),
    "no views": VIEWS,
    "a column less": (*VIEWS, "ALTER TABLE sessions DROP COLUMN error_message"),
    "a column of another name": ("ALTER TABLE journals RENAME COLUMN pid TO process",),
    "a computed column": ("ALTER TABLE sessions ADD COLUMN more AS (start_time + 1)",),
    "a column that computes": (
        "ALTER TABLE journals DROP COLUMN host",
        "ALTER TABLE journals ADD COLUMN host TEXT AS (hex(zeroblob(10)))",
    ),
    "a column that computes too much": (
        "ALTER TABLE sessions ADD COLUMN more TEXT AS (hex(zeroblob(900000000)))",
    ),
    "a column that a comment hides": (
        "ALTER TABLE sessions ADD COLUMN more TEXT AS/* */(hex(zeroblob(900000000)))",
    ),
    "a condition that takes memory": (
        WRITABLE,
        in_table("name TEXT NOT NULL", "name TEXT NOT NULL CHECK (length(hex(zeroblob(90000000))) > 0)"),
    ),
    "a session named like a path": ("UPDATE sessions SET session_id = '../../etc/x'",),
    "a session named in bytes": ("UPDATE sessions SET session_id = x'ff00'",),
    "a trigger": ("CREATE TRIGGER t AFTER INSERT ON sessions BEGIN DELETE FROM steps; END",),
    "a trigger on a view": ("CREATE TRIGGER t INSTEAD OF INSERT ON v_steps BEGIN DELETE FROM steps; END",),
    "a view more": ("CREATE VIEW v_more AS SELECT 1",),
    "a view that never ends": (VIEWS[0], f"CREATE VIEW v_sessions AS {RECURSIVE} AS session_id FROM r"),
    "a view for a table": ("DROP TABLE samples", f"CREATE VIEW samples AS {RECURSIVE} AS session_pk FROM r"),
    "a virtual table": ("CREATE VIRTUAL TABLE found USING fts5(text)",),
    "rows that refer to nothing": ("INSERT INTO session_tags VALUES (12345, 'lost')",),
    "no unique key": ("DROP INDEX uq_alerts_active",),
    "a unique key more": ("CREATE UNIQUE INDEX one ON sessions (status)",),
    "a key that replaces": (
        WRITABLE,
        in_table("UNIQUE (session_id)", "UNIQUE (session_id) ON CONFLICT REPLACE"),
    ),
    "a condition more": (
        WRITABLE,
        in_table("pipeline TEXT NOT NULL", "pipeline TEXT NOT NULL CHECK (id < 9)"),
    ),
    "a key that keeps rows": (WRITABLE, in_table("ON DELETE CASCADE", "ON DELETE RESTRICT")),
    "an index that computes": ("CREATE INDEX one ON sessions (abs(start_time))",),
    "an index of some rows": ("CREATE INDEX one ON sessions (start_time) WHERE abs(id) > 1",),
    "a text that no reader takes": ("UPDATE sessions SET error_message = hex(zeroblob(34000000))",),
    "daily figures that nobody packed": (
        "INSERT INTO rollups SELECT id, 'duration', 1, 0, 5, 0, 1.0, 0.1, 0.3, x'0102' FROM series",
    ),
    "measures of pruned runs that nobody wrote": ("INSERT INTO pruned_measures (content) VALUES (x'78')",),
    "an unknown revision": ("UPDATE alembic_version SET version_num = 'abc'",),
    "a newer revision": ("UPDATE alembic_version SET version_num = '9999'",),
    "an older revision than its tables": ("UPDATE alembic_version SET version_num = '0001'",),
    "no revision": ("DELETE FROM alembic_version",),
    "two revisions": ("INSERT INTO alembic_version VALUES ('0001')",),
    "no tables of perfdb": ("DROP TABLE alembic_version",),
}


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Give a function that runs a command and returns its exit code and what it said."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def backup(say: Callable[..., Any], home: Path) -> Path:
    """Give a backup; the history has gone on since."""
    record(home, "theirs", 1.7e9)
    assert say("backup", "backup.sqlite3")[0] == 0
    record(home, "mine", 1.7e9 + 60)
    return Path("backup.sqlite3")


def record(home: Path, session_id: str, start: float) -> None:
    """Write a session to the database, as a recording does."""
    step = Step(step_name="load", start_time=start, duration=1.0, success=True)
    session = Session(
        session_id=session_id, pipeline="etl", start_time=start, total_duration=1.0, status="completed",
        steps=(step,),
    )  # fmt: skip
    with Database(f"sqlite:///{home}/perfdb.sqlite3", 5.0) as database, database.writing() as connection:
        insert_sessions(connection, [session])


def everything(folder: Path) -> dict[str, str]:
    """Return the content of every file, but for SQLite's own beside the database, which readers make."""
    return {
        str(path): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def refused(say: Callable[..., Any], file: str, home: Path) -> str:
    before = everything(home.parent)
    code, out, err = say("restore", file, "--yes")
    assert (code, out) == (2, ""), (out, err)
    assert everything(home.parent) == before
    assert list(perfdb.History().sessions()["session_id"]) == ["theirs", "mine"]
    record(home, "after", 1.7e9 + 120)
    assert len(perfdb.History().sessions()) == 3
    return str(err)


@pytest.mark.parametrize("kind", BROKEN)
def test_a_backup_that_is_not_whole_or_holds_more_is_refused(
    kind: str, say: Callable[..., Any], backup: Path, home: Path
) -> None:
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        for statement in BROKEN[kind]:
            connection.execute(statement)
    assert "backup.sqlite3" in refused(say, str(backup), home)


def test_a_backup_with_nothing_but_its_revision_is_refused(
    say: Callable[..., Any], backup: Path, home: Path
) -> None:
    with closing(sqlite3.connect("only.sqlite3", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0005')")
    assert "is missing" in refused(say, "only.sqlite3", home)


def test_a_damaged_page_anywhere_is_refused(say: Callable[..., Any], backup: Path, home: Path) -> None:
    whole = backup.read_bytes()
    step = 4096 * 7
    for page in range(4096, len(whole), step):
        backup.write_bytes(whole[:page] + b"\xff" * 4096 + whole[page + 4096 :])
        before = everything(home)
        code, _, err = say("restore", str(backup), "--yes")
        assert (code, everything(home)) == (2, before), (page, err)
    backup.write_bytes(whole[: len(whole) // 2])
    refused(say, str(backup), home)


@pytest.mark.parametrize("kind", ["csv", "empty", "folder", "fifo", "magic only", "missing", "no text"])
def test_what_is_no_database_is_refused_in_words(
    kind: str, say: Callable[..., Any], backup: Path, home: Path
) -> None:
    file = Path("given")
    if kind == "csv":
        assert say("export", "--format", "csv", "-o", "given")[0] == 0
    elif kind == "empty":
        file.touch()
    elif kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "no text":  # in the names of its schema
        file.write_bytes(backup.read_bytes().replace(b"CREATE TABLE samples", b"CREATE \xdc\xffBLE samples"))
    elif kind == "magic only":
        file.write_bytes(b"SQLite format 3\0")
    assert "given" in refused(say, "given", home)


def test_a_failure_in_the_middle_leaves_no_copy(say: Callable[..., Any], backup: Path, home: Path) -> None:
    locked = sqlite3.connect(home / "perfdb.sqlite3", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    before = everything(home.parent)
    code, _, err = say("restore", str(backup), "--yes")
    assert (code, "it is as it was" in err) == (2, True)
    locked.execute("ROLLBACK")
    locked.close()
    assert everything(home.parent) == before


def test_without_a_terminal_nothing_is_overwritten_unasked(
    say: Callable[..., Any], backup: Path, home: Path
) -> None:
    before = everything(home.parent)
    code, _, err = say("restore", str(backup))
    assert (code, "--yes" in err) == (2, True)
    assert everything(home.parent) == before
    shutil.rmtree(home)
    assert say("restore", str(backup))[0] == 0  # there is nothing to lose


def test_a_folder_that_was_made_for_it_goes_when_it_fails(
    say: Callable[..., Any], backup: Path, home: Path
) -> None:
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        connection.execute("DROP TABLE samples")
    assert say("restore", str(backup), "--yes", "-d", "new/folder/perfdb.sqlite3")[0] == 2
    assert not Path("new").exists()


@pytest.mark.parametrize("place", ["folder", "fifo"])
def test_what_is_no_file_is_not_replaced(
    place: str, say: Callable[..., Any], backup: Path, home: Path
) -> None:
    target = Path("target.sqlite3")
    target.mkdir() if place == "folder" else os.mkfifo(target)
    kind = target.stat().st_mode
    code, _, err = say("restore", str(backup), "--yes", "-d", str(target))
    assert (code, "target.sqlite3" in err, target.stat().st_mode) == (2, True, kind)


def test_a_damaged_database_and_one_damaged_before_are_both_kept(
    say: Callable[..., Any], backup: Path, home: Path
) -> None:
    path = home / "perfdb.sqlite3"
    for text in ("first", "second"):
        path.write_text(text)
        assert say("restore", str(backup), "--yes")[0] == 0
    assert {file.read_text() for file in home.glob("*.damaged*")} == {"first", "second"}


@pytest.mark.parametrize("released", sorted((Path(__file__).parents[1] / "databases").glob("*.sqlite3")))
def test_a_backup_of_every_released_schema_is_brought_up_to_date(
    released: Path, say: Callable[..., Any], home: Path
) -> None:
    held = released.read_bytes()
    code, out, err = say("restore", str(released), "--yes")
    assert (code, "Restored" in out) == (0, True), err
    assert say("db", "check")[0] == 0
    assert released.read_bytes() == held


@pytest.mark.parametrize("page_size", [512, 65536])
def test_a_backup_with_pages_of_another_size_is_restored(
    say: Callable[..., Any], backup: Path, home: Path, page_size: int
) -> None:
    with closing(sqlite3.connect(backup, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {page_size}")
        connection.execute("VACUUM")
    assert say("restore", str(backup), "--yes")[0] == 0
    assert list(perfdb.History().sessions()["session_id"]) == ["theirs"]


@pytest.mark.parametrize("there", ["another", "nothing", "no bytes"])
def test_the_log_of_a_database_that_was_replaced_is_not_applied(
    say: Callable[..., Any], backup: Path, home: Path, tmp_path: Path, there: str
) -> None:
    database, log = home / "perfdb.sqlite3", home / "perfdb.sqlite3-wal"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("UPDATE sessions SET total_duration = 7.0")
        connection.execute("CREATE TABLE more AS SELECT * FROM steps")
        hot = log.read_bytes()
    database.unlink()
    if there != "nothing":
        database.write_bytes(backup.read_bytes() if there == "another" else b"")
    log.write_bytes(hot)
    assert say("restore", str(backup), "--yes")[0] == 0
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT session_id, total_duration FROM sessions").fetchall() == [
            ("theirs", 1.0)
        ]
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'more'").fetchall()


def test_the_database_behind_a_link_is_replaced_and_the_link_stays(
    say: Callable[..., Any], backup: Path, home: Path
) -> None:
    elsewhere = home.parent / "elsewhere.sqlite3"
    (home / "perfdb.sqlite3").rename(elsewhere)
    (home / "perfdb.sqlite3").symlink_to(elsewhere)
    assert say("restore", str(backup), "--yes")[0] == 0
    assert (home / "perfdb.sqlite3").is_symlink()
    assert len(perfdb.History(elsewhere).sessions()) == 1
