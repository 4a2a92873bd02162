"""The disk is full for the database: the journal keeps the rows, and it heals when there is space again."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.store import engine as engine_module


def record(tracker: perfdb.Tracker, steps: int) -> None:
    tracker.start_pipeline()
    for number in range(steps):
        with tracker.step("work", i=number, text="x" * 3_000):
            pass
    tracker.end_pipeline()


def test_row_13_disk_full_by_a_limit_of_pages(
    home: Path,
    migrated_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    home.mkdir()
    shutil.copy(migrated_file, home / "perfdb.sqlite3")
    open_for_writing = engine_module._open_for_writing

    def open_with_few_pages(*arguments: Any) -> sqlite3.Connection:
        connection = open_for_writing(*arguments)
        connection.execute("PRAGMA max_page_count=50")
        return connection

    tracker = perfdb.create_tracker(console=False, monitor=False)
    with monkeypatch.context() as full:
        full.setattr(engine_module, "_open_for_writing", open_with_few_pages)
        record(tracker, 200)
        assert "full" in tracker.health()["database_error"]
        assert tracker.health()["refused"] == 0
    wait_until_well(tracker)
    assert [data["i"] for data in history().steps()["additional_data"]] == list(range(200))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of a disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "perfdb-test", str(folder)]
    if (
        os.geteuid() != 0
        or shutil.which("mount") is None
        or subprocess.run(mount, capture_output=True).returncode
    ):
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_row_13_disk_full_by_other_files(
    small_disk: Path,
    migrated_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[str], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    url = f"sqlite:///{shutil.copy(migrated_file, small_disk / 'perfdb.sqlite3')}"
    monkeypatch.setenv("PERFDB_DATABASE_URL", url)
    (small_disk / "of somebody else").write_bytes(b"x" * 800_000)
    tracker = perfdb.create_tracker(console=False, monitor=False)
    record(tracker, 60)
    health = tracker.health()
    assert (health["ok"], health["refused"]) == (False, 0)
    assert health["database_error"] is not None
    (small_disk / "of somebody else").unlink()
    wait_until_well(tracker)
    perfdb.recorder.close(30)
    assert [data["i"] for data in history(url).steps()["additional_data"]] == list(range(60))
