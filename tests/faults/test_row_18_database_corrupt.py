"""A database that is corrupt, none, or empty: it is said, the file stays, and the journal keeps the rows."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import perfdb
from perfdb.records import Session, Step
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions

PAGE = 4096


def spoil_header(path: Path) -> None:
    """Overwrite the first page."""
    with path.open("r+b") as file:
        file.seek(16)
        file.write(os.urandom(PAGE - 16))


def spoil_pages(path: Path) -> None:
    """Overwrite all pages but the first."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(b"\xff" * (size - PAGE))


def replace_by_text(path: Path) -> None:
    """Put something else in its place."""
    path.write_text("precious notes, not a database. " * 100)


def restore(copy: Path, path: Path) -> None:
    """Do what a person does who has a copy."""
    new = shutil.copy(copy, path.with_name("new"))
    Path(new).replace(path)


@pytest.mark.parametrize("ask", ["sessions", "steps", "session_rows", "step_rows", "bottlenecks"])
def test_row_18_a_damaged_page_is_an_error_in_words_wherever_it_is_met(tmp_path: Path, ask: str) -> None:
    path = tmp_path / "perfdb.sqlite3"
    runs = (
        Session(
            session_id=f"run_{n:04d}",
            pipeline="design",
            start_time=1.7e9 + n,
            total_duration=1.0,
            status="completed",
            attributes={"note": "x" * 500},
            steps=(Step(step_name="work", start_time=1.7e9 + n, duration=1.0, success=True),),
        )
        for n in range(60)
    )
    with Database(f"sqlite:///{path}", 5.0) as database, database.writing() as connection:
        insert_sessions(connection, runs)
    whole = path.read_bytes()
    refused = 0
    for page in range(PAGE, len(whole), PAGE):
        path.write_bytes(whole[:page] + b"\xff" * PAGE + whole[page + PAGE :])
        try:
            getattr(perfdb.History(path), ask)()
        except perfdb.PerfdbError as error:
            refused += "perfdb.sqlite3" in str(error)
    assert refused


@pytest.mark.parametrize("spoil", [spoil_header, spoil_pages, replace_by_text])
def test_row_18_database_corrupt(
    spoil: Callable[[Path], None],
    home: Path,
    migrated_file: Path,
    journals: Callable[[], list[Path]],
    history: Callable[[], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    home.mkdir()
    path = Path(shutil.copy(migrated_file, home / "perfdb.sqlite3"))
    spoil(path)
    before = path.read_bytes()
    tracker = perfdb.create_tracker(console=False)
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    health = tracker.health()
    assert health["ok"] is False
    assert str(path) in health["database_error"] or "malformed" in health["database_error"]
    assert path.read_bytes() == before
    assert len(journals()) == 1
    restore(migrated_file, path)
    wait_until_well(tracker)
    assert [step.step_name for step in history().session("last").steps] == ["work"]


@pytest.mark.parametrize("spoil", [spoil_pages, replace_by_text])
def test_row_18_database_spoilt_while_in_use(
    spoil: Callable[[Path], None],
    home: Path,
    migrated_file: Path,
    history: Callable[[], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    tracker = perfdb.create_tracker(console=False)
    tracker.start_pipeline()
    tracker.end_pipeline()
    sqlite3.connect(home / "perfdb.sqlite3").execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
    spoil(home / "perfdb.sqlite3")
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    assert tracker.health()["database_error"] is not None
    restore(migrated_file, home / "perfdb.sqlite3")
    wait_until_well(tracker)
    assert list(history().steps()["step_name"]) == ["work"]
    assert len(history().sessions()) == 2


def test_row_18_database_empty(
    home: Path,
    history: Callable[[], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    home.mkdir()
    (home / "perfdb.sqlite3").touch()
    tracker = perfdb.create_tracker(console=False)
    tracker.start_pipeline()
    with tracker.step("into a new file"):
        pass
    tracker.end_pipeline()
    wait_until_well(tracker)
    (home / "perfdb.sqlite3").write_bytes(b"")  # somebody empties it
    tracker.start_pipeline()
    with tracker.step("after it was emptied"):
        pass
    tracker.end_pipeline()
    wait_until_well(tracker)
    assert tracker.health()["replaced"] == 1
    assert list(history().steps()["step_name"]) == ["into a new file", "after it was emptied"]
