"""A reader held open while the write-ahead log grows: health says so, and it shrinks afterwards."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

import perfdb
from perfdb.worker import thread as worker


def test_row_23_log_grows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOG_LIMIT_BYTES", 200_000)
    log = home / "perfdb.sqlite3-wal"
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    tracker.end_pipeline()
    reader = sqlite3.connect(home / "perfdb.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sessions").fetchall()

    tracker.start_pipeline()
    for _ in range(1_000):
        with tracker.step("work", text="x" * 500):
            pass
    tracker.end_pipeline()
    assert log.stat().st_size > 200_000
    health = tracker.health()
    assert (health["ok"], health["database_error"], health["backlog_bytes"]) == (False, None, 0)
    assert "a reader holds it open" in health["last_error"]

    reader.execute("COMMIT")
    reader.close()
    deadline = time.monotonic() + 30
    while not tracker.health()["ok"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tracker.health()["ok"]
    assert log.stat().st_size <= 200_000
    assert len(perfdb.History().steps()) == 1_000
