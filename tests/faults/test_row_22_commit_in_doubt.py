"""COMMIT reports an error though it committed: the batch is given again, and nothing is doubled."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine.default import DefaultDialect

import perfdb


def lost_connection(dialect: str) -> Exception:
    if dialect == "postgresql":
        return psycopg.OperationalError("server closed the connection unexpectedly")
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


def test_row_22_commit_in_doubt(
    migrated_url: str,
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[str], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    monkeypatch.setenv("PERFDB_DATABASE_URL", migrated_url)
    commit = DefaultDialect.do_commit
    commits = 0

    def commit_and_fail_every_second(self: DefaultDialect, connection: Any) -> None:
        nonlocal commits
        commit(self, connection)
        commits += 1
        if commits % 2:
            raise lost_connection(self.name)

    tracker = perfdb.create_tracker(console=False)
    with monkeypatch.context() as faulty:
        faulty.setattr(DefaultDialect, "do_commit", commit_and_fail_every_second)
        for _ in range(3):
            tracker.start_pipeline()
            for number in range(20):
                with tracker.step("work", i=number):
                    pass
            tracker.end_pipeline()
            wait_until_well(tracker)
    assert commits > 3
    assert tracker.health()["quarantined"] == 0
    found = history(migrated_url)
    assert list(found.sessions()["status"]) == ["completed"] * 3
    assert Counter(data["i"] for data in found.steps()["additional_data"]) == dict.fromkeys(range(20), 3)
