"""`perfdb prune`.

Of: store/erasing.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.recording.report import to_report, write_report
from perfdb.records import Session
from perfdb.store.schema import ensure_schema


def ids(perfdb: Callable[..., Any]) -> list[str]:
    return [row["session_id"] for row in perfdb("sessions", "--json").rows]


def test_a_dry_run_says_what_would_go_and_changes_nothing(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    perfdb("tag", recorded[0].session_id, "release")
    answer = perfdb("prune", "--keep-last", "1", "--dry-run", "--json")
    assert answer.code == 0
    assert [(row["mode"], row["pruned"], row["kept"], row["tagged"]) for row in answer.rows] == [
        ('{"fast_mode":false}', 0, 1, 1)
    ]
    answer = perfdb("prune", "--older-than", "1d", "--dry-run")
    assert (answer.code, len(ids(perfdb))) == (0, 3)
    assert "2 sessions would be deleted" in answer.err
    assert "1 tagged" in answer.out


def test_more_than_a_database_counts_is_everything(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    answer = perfdb("prune", "--keep-last", str(10**20))
    assert (answer.code, len(ids(perfdb))) == (0, 3)


def test_old_sessions_go_and_their_reports_stay(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    reports = [write_report(to_report(each), folder / "performance_tracking") for each in recorded]
    answer = perfdb("prune", "--older-than", "1d", "--keep-last", "1")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "Deleted 1 session.")
    assert ids(perfdb) == [recorded[2].session_id, recorded[1].session_id]
    assert all(report.exists() for report in reports)


def test_reports_go_too_when_that_is_asked_for(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    reports = [write_report(to_report(each), folder / "performance_tracking") for each in recorded]
    assert perfdb("prune", "--older-than", "1d", "--keep-last", "1", "--reports").code == 0
    assert [report.exists() for report in reports] == [False, True, True]


def test_the_settings_say_what_goes(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    assert perfdb("prune").code == 2
    (folder / "perfdb.toml").write_text('[retention]\nolder_than = "30d"\n')
    assert perfdb("prune").code == 0
    assert ids(perfdb) == []


@pytest.mark.parametrize(
    "arguments", [("--older-than", "soon"), ("--keep-last", "0"), ("--older-than", "90d", "-d", "no.sqlite3")]
)
def test_what_cannot_be_meant_is_refused(perfdb: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    answer = perfdb("prune", *arguments)
    assert answer.code == 2
    assert answer.err.strip()


def test_a_missing_database_is_not_made(perfdb: Callable[..., Any], folder: Path) -> None:
    answer = perfdb("prune", "--older-than", "90d")
    assert (answer.code, list(folder.iterdir())) == (2, [])
    assert "nothing to prune" in answer.err


def old_file(path: Path, rows: int = 400) -> None:
    """Make a database as a perfdb before retention made it, with free space in it."""
    ensure_schema(f"sqlite:///{path}")
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA auto_vacuum=NONE")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executemany(
            "INSERT INTO environments (digest, command) VALUES (?, ?)",
            [(str(n), "x" * 5000) for n in range(rows)],
        )
        connection.execute("DELETE FROM environments")
    connection.close()


def auto_vacuum(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        found: int = connection.execute("PRAGMA auto_vacuum").fetchone()[0]
    connection.close()
    return found


def test_an_older_file_is_compacted_when_nobody_records(perfdb: Callable[..., Any], folder: Path) -> None:
    path = folder / "performance_tracking" / "perfdb.sqlite3"
    old_file(path)
    size = path.stat().st_size
    answer = perfdb("prune", "--older-than", "90d")
    assert (answer.code, auto_vacuum(path)) == (0, 2)
    assert path.stat().st_size < size / 2
    assert "smaller" in answer.err


def test_an_older_file_elsewhere_is_compacted_when_asked(perfdb: Callable[..., Any], folder: Path) -> None:
    path = folder / "elsewhere.sqlite3"
    old_file(path)
    answer = perfdb("prune", "--older-than", "90d", "-d", str(path))
    assert (answer.code, auto_vacuum(path)) == (0, 0)
    assert "perfdb prune --compact" in answer.err
    assert perfdb("prune", "--compact", "-d", str(path)).code == 0
    assert auto_vacuum(path) == 2
