"""The n-th write, fsync, open, rename or SQL statement fails, once or for ever: nothing reaches the host, and
what was acknowledged is in the database as soon as the fault is over.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import outputs, recorder
from perfdb.recording import journal as journal_module
from perfdb.recording.journal import Journal, decode
from perfdb.store import engine as engine_module
from perfdb.worker.recovery import recover
from tests.faults.conftest import end_writers

SYSTEM_CALLS = ("write", "fsync", "open", "rename", "replace", "link", "ftruncate", "pread", "close")


class Faults:
    """Counts the calls to the outside and lets the n-th fail, or all from there on."""

    def __init__(self, *, nth: int, for_ever: bool, disk: bool, sql: bool) -> None:
        self._nth = nth
        self._for_ever = for_ever
        self._disk, self._sql = disk, sql
        self.calls = 0

    def strike(self) -> bool:
        self.calls += 1
        return self.calls == self._nth or (self._for_ever and self.calls > self._nth)

    def disk(self) -> None:
        if self._disk and self.strike():
            raise OSError(errno.EIO, "Input/output error")

    def sql(self) -> None:
        if self._sql and self.strike():
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error


class FaultyOs:
    """The module ``os``, whose calls may fail."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in SYSTEM_CALLS:
            return real

        def call(*arguments: Any, **options: Any) -> Any:
            self._faults.disk()
            return real(*arguments, **options)

        return call


def faulty_sqlite(faults: Faults) -> Any:
    """Return the module ``sqlite3``, whose statements may fail."""

    class FaultyCursor(sqlite3.Cursor):
        def execute(self, *arguments: Any) -> Any:
            faults.sql()
            return super().execute(*arguments)

        def executemany(self, *arguments: Any) -> Any:
            faults.sql()
            return super().executemany(*arguments)

    class FaultyConnection(sqlite3.Connection):
        def cursor(self, *_: Any) -> Any:
            return super().cursor(FaultyCursor)

        def execute(self, *arguments: Any) -> Any:
            faults.sql()
            return super().execute(*arguments)

        def commit(self) -> None:
            faults.sql()
            super().commit()

    class Module:
        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        def connect(self, *arguments: Any, **options: Any) -> Any:
            return sqlite3.connect(*arguments, factory=FaultyConnection, **options)

    return Module()


@pytest.fixture
def acknowledged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the numbers of the steps that the journal took, as they come."""
    taken: list[int] = []
    write = Journal.write

    def write_and_note(self: Journal, body: bytes) -> bool:
        took = write(self, body)
        record = decode(journal_module.frame(body)[:-1])
        if took and record is not None and record["type"] == "step":
            taken.append(record["additional_data"]["i"])
        return took

    monkeypatch.setattr(Journal, "write", write_and_note)
    return taken


def whole_api(home: Path) -> None:
    """Call all that a host can call; an exception fails the test."""
    tracker = perfdb.create_tracker(home=home, console=False, monitor=False)
    tracker.start_pipeline(fast_mode=True, git="abc")
    with tracker.step("outer", i=0) as step:
        step.event("retry", code=429)
        with step.attempt(), tracker.step("inner", i=1):
            pass
    with pytest.raises(KeyError), tracker.step("failing", i=2):
        raise KeyError("of the host")
    tracker.map(lambda i: tracker.step("mapped", i=i).start().stop(), [3, 4])
    tracker.set(products=6)
    tracker.end_pipeline(success=True, product_count=6)
    tracker.save_performance_report()
    tracker.health()
    with perfdb.track("other", home=home, console=False, monitor=False) as run, run.step("more", i=5):
        perfdb.current().set(rows=3)


@pytest.fixture
def faulty(
    tmp_path: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch, acknowledged: list[int]
) -> Iterator[Callable[..., int]]:
    """Give a function that runs the whole API under faults, and returns how many calls there were."""
    monkeypatch.setenv("PERFDB_FSYNC", "1")
    monkeypatch.setenv("PERFDB_WAIT_S", "0.05")
    monkeypatch.setattr("sys.stdout", io.StringIO())

    def run(**plan: Any) -> int:
        faults = Faults(**plan)
        home = tmp_path / f"{plan['nth']}-{plan['for_ever']}"
        home.mkdir()
        shutil.copy(migrated_file, home / "perfdb.sqlite3")
        acknowledged.clear()
        with monkeypatch.context() as broken:
            broken.setattr(journal_module, "os", FaultyOs(faults))
            broken.setattr(outputs, "os", FaultyOs(faults))
            broken.setattr(engine_module, "sqlite3", faulty_sqlite(faults))
            whole_api(home)
            recorder.close(0.3)
        recorder.close(10)
        end_writers()  # one that goes on after a fault would open its database again
        url = f"sqlite:///{home}/perfdb.sqlite3"
        recover(home, url)
        found = [data["i"] for data in perfdb.History(url).steps()["additional_data"]]
        assert len(found) == len(set(found))
        assert set(acknowledged) <= set(found), plan
        return faults.calls

    yield run
    recorder.close(0)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_row_15_nth_system_call_fails(faulty: Callable[..., int], for_ever: bool) -> None:
    calls = faulty(nth=0, for_ever=False, disk=True, sql=False)
    assert calls > 15
    for nth in range(1, calls + 1, 4 if for_ever else 1):
        faulty(nth=nth, for_ever=for_ever, disk=True, sql=False)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
def test_row_15_nth_statement_fails(faulty: Callable[..., int], for_ever: bool) -> None:
    calls = faulty(nth=0, for_ever=False, disk=False, sql=True)
    assert calls > 15
    for nth in range(1, min(calls, 40) + 1, 8 if for_ever else 2):
        faulty(nth=nth, for_ever=for_ever, disk=False, sql=True)
