"""When a lock of somebody else's is a matter of turns, and when it is worth a word."""

from __future__ import annotations

import _thread
import importlib
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from perfdb.recording.health import Health
from perfdb.store.database import Database
from perfdb.testing import ManualClock
from perfdb.worker.outage import BUSY_IS_NEWS_S, CROWD_IS_NEWS_S, EAGER_S, Outage


def test_a_module_that_was_loaded_while_the_threads_were_patched_is_loaded_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole.py").write_text("import torn")
    (tmp_path / "torn.py").write_text("import _thread; _thread.get_ident = lambda: 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_thread, "get_ident", _thread.get_ident)  # is put back
    with pytest.raises(RuntimeError) as caught:
        importlib.import_module("whole")
    monkeypatch.undo()
    monkeypatch.syspath_prepend(tmp_path)
    outage = Outage(Database(f"sqlite:///{tmp_path / 'perfdb.sqlite3'}"), Health())
    outage.note(caught.value, has_rows=False)
    assert outage.problem is None
    loading = threading.Thread(target=importlib.import_module, args=("whole",), daemon=True)
    loading.start()
    loading.join(60)  # it would wait without end
    assert not loading.is_alive()
    outage.note(RuntimeError("any other"), has_rows=False)
    assert outage.problem == "RuntimeError: any other"


class Scene:
    """A database that another writer has, and what is thought of that."""

    def __init__(self, database: Database, other: sqlite3.Connection) -> None:
        self.clock = ManualClock()
        self.outage = Outage(database, Health(), self.clock.monotonic)
        self._database, self._other = database, other
        other.execute("BEGIN IMMEDIATE")

    def others_commit(self) -> None:
        """Let the other writer end its transaction, and begin the next one at once."""
        self._other.execute("UPDATE journals SET byte_offset = byte_offset + 1")
        self._other.execute("COMMIT")
        self._other.execute("BEGIN IMMEDIATE")

    def meet_the_lock(self, after_s: float) -> None:
        """Ask in vain, so many seconds later."""
        self.clock.advance(after_s)
        with pytest.raises(Exception, match="locked") as caught, self._database.writing():
            pass
        self.outage.note(caught.value, has_rows=True)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    path = tmp_path / "perfdb.sqlite3"
    with Database(f"sqlite:///{path}", 0.0) as database:
        with database.writing() as connection:
            connection.exec_driver_sql(
                "INSERT INTO journals (journal_id, byte_offset, quarantined, updated_at)"
                " VALUES ('j', 0, 0, 0)"
            )
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            yield Scene(database, other)


def test_writers_that_take_turns_are_asked_at_once_and_no_news(scene: Scene) -> None:
    scene.meet_the_lock(0.0)
    for _ in range(int(CROWD_IS_NEWS_S / BUSY_IS_NEWS_S) - 1):
        scene.others_commit()
        scene.meet_the_lock(BUSY_IS_NEWS_S)
        assert scene.outage.pause_s < EAGER_S / 10
    assert scene.outage.problem is None
    assert not scene.outage.is_known


def test_a_lock_that_one_writer_keeps_is_news(scene: Scene) -> None:
    scene.meet_the_lock(0.0)
    scene.others_commit()
    scene.meet_the_lock(BUSY_IS_NEWS_S / 2)
    scene.meet_the_lock(BUSY_IS_NEWS_S / 2)
    assert scene.outage.problem is None
    scene.meet_the_lock(BUSY_IS_NEWS_S / 2)
    assert scene.outage.problem is not None
    assert "locked" in scene.outage.problem
    assert scene.outage.is_known


def test_who_never_gets_a_turn_says_so(scene: Scene) -> None:
    scene.meet_the_lock(0.0)
    for _ in range(int(CROWD_IS_NEWS_S / BUSY_IS_NEWS_S)):
        scene.others_commit()
        scene.meet_the_lock(BUSY_IS_NEWS_S)
    assert scene.outage.problem is not None
