"""The database is deleted or replaced while it is in use: the rows are in the new file, and it is said."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import perfdb
from perfdb import recorder
from perfdb.store.engine import is_overwritten


@pytest.fixture
def recorded(wait_until_well: Callable[[perfdb.Tracker], None]) -> Callable[[perfdb.Tracker, str], str]:
    """Give a function that records a session with one step into the database and returns its id."""

    def recorded(tracker: perfdb.Tracker, name: str) -> str:
        session_id = tracker.start_pipeline()
        with tracker.step(name):
            pass
        tracker.end_pipeline()
        wait_until_well(tracker)
        return session_id

    return recorded


def test_row_17_database_deleted(
    home: Path, history: Callable[[], perfdb.History], recorded: Callable[[perfdb.Tracker, str], str]
) -> None:
    tracker = perfdb.create_tracker(console=False)
    first = recorded(tracker, "before")
    for name in ("", "-wal", "-shm"):
        Path(f"{home}/perfdb.sqlite3{name}").unlink(missing_ok=True)
    second = recorded(tracker, "after")
    health = tracker.health()
    assert (health["replaced"], health["ok"]) == (1, False)
    assert "replaced in use" in health["last_error"]
    recorder.close()
    assert list(history().sessions()["session_id"]) == [first, second]


def test_row_17_database_deleted_in_mid_session(
    home: Path, history: Callable[[], perfdb.History], recorded: Callable[[perfdb.Tracker, str], str]
) -> None:
    tracker = perfdb.create_tracker(console=False)
    recorded(tracker, "earlier")
    tracker.start_pipeline()
    with tracker.step("before"):
        pass
    (home / "perfdb.sqlite3").unlink()  # its write-ahead log stays behind
    with tracker.step("after"):
        pass
    tracker.end_pipeline()
    recorder.close()
    session = history().session("last")
    assert session.status == "completed"
    assert [step.step_name for step in session.steps] == ["before", "after"]


def test_row_17_database_replaced_by_an_older_copy(
    home: Path,
    tmp_path: Path,
    history: Callable[[], perfdb.History],
    recorded: Callable[[perfdb.Tracker, str], str],
) -> None:
    """As when somebody puts a backup in its place."""
    tracker = perfdb.create_tracker(console=False)
    first = recorded(tracker, "in the copy")
    recorder.close()
    copy = shutil.copy(home / "perfdb.sqlite3", tmp_path / "copy")
    second = recorded(tracker, "since the copy")
    Path(copy).replace(home / "perfdb.sqlite3")
    third = recorded(tracker, "in the new file")
    assert tracker.health()["replaced"] == 1
    recorder.close()
    assert list(history().sessions()["session_id"]) == [first, second, third]
    assert len(history().steps()) == 3


@pytest.mark.parametrize("what", ["notes", "half of a copy"])
def test_row_17_something_else_is_written_over_the_database(
    what: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[], perfdb.History],
    recorded: Callable[[perfdb.Tracker, str], str],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    """In place, as `cp` does: the file stays the same one, and open connections go on for long."""
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    tracker = perfdb.create_tracker(console=False, monitor=False)
    sessions = [recorded(tracker, "in the copy")]
    recorder.close()
    copy = Path(shutil.copy(home / "perfdb.sqlite3", tmp_path / "copy"))
    sessions.append(recorded(tracker, "since the copy"))
    content = {"notes": b"precious notes. " * 999, "half of a copy": copy.read_bytes()[:40_000]}[what]
    (home / "perfdb.sqlite3").write_bytes(content)
    deadline = time.monotonic() + 60
    while tracker.health()["database_error"] is None:
        assert time.monotonic() < deadline
        sessions.append(tracker.start_pipeline())
        with tracker.step("acknowledged"):
            pass
        tracker.end_pipeline()
        time.sleep(0.1)
    assert "is damaged or is not a SQLite database" in tracker.health()["database_error"]
    copy.replace(home / "perfdb.sqlite3")
    wait_until_well(tracker)
    recorder.close()
    assert list(history().sessions()["session_id"]) == sessions
    assert len(history().steps()) == len(sessions)


def test_row_17_a_checkpoint_that_is_held_up_replaces_nothing(tmp_path: Path) -> None:
    """Without its log the file looks damaged meanwhile: its first page knows pages that are not there yet."""
    path = tmp_path / "perfdb.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    for number in range(200):
        connection.execute(f"CREATE TABLE t{number} (a TEXT)")
    log = Path(f"{path}-wal").read_bytes()
    size = int.from_bytes(log[8:12], "big")
    frames = [log[place : place + 24 + size] for place in range(32, len(log), 24 + size)]
    first_page = [frame[24:] for frame in frames if int.from_bytes(frame[:4], "big") == 1][-1]
    write = f"import sys; open({str(path)!r}, 'r+b').write(sys.stdin.buffer.read())"
    subprocess.run([sys.executable, "-c", write], input=first_page, check=True)
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as alone,
        pytest.raises(sqlite3.DatabaseError),
    ):
        alone.execute("SELECT count(*) FROM sqlite_master").fetchone()
    assert not is_overwritten(path)
    connection.close()
