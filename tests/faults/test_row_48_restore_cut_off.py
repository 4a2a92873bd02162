"""Row 48: a restore that is killed, or has no room, leaves the database as it was or as it is to be."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from perfdb.records import Session, Step
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.upkeep.backup import back_up

PERFDB = str(Path(sys.executable).with_name("perfdb"))
TARGETS = ("readable", "missing", "damaged")
SEVERAL = 400
LONG_TEXT = "a word " * 300


def fill(path: Path, name: str, count: int) -> None:
    """Write sessions whose ids begin so."""
    sessions = [
        Session(
            session_id=f"{name}{number}", pipeline="etl", start_time=1.7e9 + 60 * number, total_duration=1.0,
            status="completed", success=True, attributes={"note": LONG_TEXT},
            steps=(Step(step_name="load", start_time=1.7e9 + 60 * number, duration=1.0, success=True),),
        )
        for number in range(count)
    ]  # fmt: skip
    with Database(f"sqlite:///{path}", 5.0) as database, database.writing() as connection:
        insert_sessions(connection, sessions)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> Path:
    """Give where the database is to be, beside ``backup.sqlite3``; what is there is the parameter."""
    other = tmp_path / "other" / "perfdb.sqlite3"
    other.parent.mkdir()
    shutil.copy(migrated_file, other)
    fill(other, "theirs", SEVERAL)
    back_up(f"sqlite:///{other}", tmp_path / "backup.sqlite3")
    path = tmp_path / "home" / "perfdb.sqlite3"
    if request.param != "missing":
        path.parent.mkdir()
        shutil.copy(migrated_file, path)
        fill(path, "mine", SEVERAL)
    if request.param == "damaged":
        whole = path.read_bytes()
        path.write_bytes(whole[:8192] + b"\xff" * 65_536 + whole[8192 + 65_536 :])
    return path


def restore(place: Path, *, most_bytes: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    arguments = [PERFDB, "restore", "backup.sqlite3", "--yes", "-d", str(place)]
    return subprocess.Popen(
        arguments, cwd=place.parents[1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=limit,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> None:
    said = process.communicate()
    assert process.returncode == 0, said


def everything(folder: Path) -> dict[str, str]:
    """Return the content of every file, but for SQLite's own beside the database, which readers make."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def held(place: Path) -> set[str]:
    """Return which sessions are in a database that passes every check of SQLite's."""
    with closing(sqlite3.connect(place)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {row[0] for row in connection.execute("SELECT session_id FROM sessions")}


THEIRS = {f"theirs{number}" for number in range(SEVERAL)}
MINE = {f"mine{number}" for number in range(SEVERAL)}


@pytest.mark.parametrize("place", ["readable", "missing"], indirect=True)
def test_killed_at_any_moment_it_is_the_one_or_the_other(place: Path, tmp_path: Path) -> None:
    rng = random.Random(48)
    before = MINE if place.exists() else None
    original = place.read_bytes() if place.exists() else None
    for attempt in range(10):
        process = restore(place)
        assert process.stderr is not None
        process.stderr.readline()  # "Write …": the work begins
        time.sleep(rng.uniform(0, 0.05 * attempt))
        process.kill()
        process.communicate()
        if not place.exists():
            assert before is None
            continue
        found = held(place)
        assert found in (THEIRS, before)
        if found == THEIRS:
            for file in place.parent.glob("perfdb.sqlite3*"):
                file.unlink()
            if original is not None:
                place.write_bytes(original)
    finished(restore(place))
    assert held(place) == THEIRS


@pytest.mark.parametrize("place", TARGETS, indirect=True)
@pytest.mark.parametrize("share", [0.0, 0.4, 1.002, 1.5])
def test_without_room_everything_is_as_it_was(place: Path, tmp_path: Path, share: float) -> None:
    before = everything(tmp_path)
    size = (tmp_path / "backup.sqlite3").stat().st_size
    process = restore(place, most_bytes=4_096 + int(share * size))
    out, err = process.communicate()
    if process.returncode == 0:
        assert held(place) == THEIRS
        return
    assert (process.returncode, out) == (2, ""), err
    assert "Traceback" not in err
    assert everything(tmp_path) == before
    assert place.parent.exists() == any(name.startswith("home/") for name in before)
    finished(restore(place))
    assert held(place) == THEIRS


def test_what_a_killed_restore_left_beside_the_database_goes_in_time(
    tmp_path: Path, migrated_file: Path
) -> None:
    path = Path(shutil.copy(migrated_file, tmp_path / "perfdb.sqlite3"))
    old, new, other = (
        tmp_path / f".copy.sqlite3.{name}.part" for name in ("1.aabbccdd", "2.aabbccdd", "mine")
    )
    for file in (old, new, other):
        file.write_bytes(b"half")
    long_ago = time.time() - 7_200
    for file in (old, other):
        os.utime(file, (long_ago, long_ago))
    back_up(f"sqlite:///{path}", tmp_path / "copy.sqlite3")
    assert [file.exists() for file in (old, new, other)] == [False, True, True]
