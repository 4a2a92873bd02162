"""Programs that record and meet a fault, and what the database holds of them afterwards."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg
import pytest

import perfdb
from perfdb import recorder
from perfdb.store.engine import sqlite_path
from perfdb.worker.recovery import recover

# A program's steps are acknowledged once they are printed: what it printed must be found again.
PRELUDE = """
import json, os, signal, sys, threading, time
import perfdb
tracker = perfdb.create_tracker(console=False, monitor=False)
def steps(n, name="work"):
    for i in range(n):
        with tracker.step(name, i=i):
            pass
    print("acknowledged", n, flush=True)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder that this test and its programs record to."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    recorder.close()
    end_writers()


def end_writers() -> None:
    """End what has thousands of sessions left to judge: it would hold up the ends of all later tests."""
    for key, worker in list(recorder._workers.items()):
        worker.end_thread()
        if worker.alerting.wait_for_end(2) and (worker._thread is None or worker._thread.join(2)):
            worker._close_files()
            del recorder._workers[key]


@pytest.fixture
def recorded_url(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have this test and its programs record to an empty database of either kind; give its URL."""
    monkeypatch.setenv("PERFDB_DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def start(home: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Give a function that starts a program, to be waited for with ``communicate``."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", PRELUDE + textwrap.dedent(code)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(program, text=True, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


@pytest.fixture
def run(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give a function that runs a program to its end, whatever that is."""

    def run(code: str, *, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-c", PRELUDE + textwrap.dedent(code)]
        return subprocess.run(program, capture_output=True, text=True, timeout=timeout)

    return run


@pytest.fixture
def history(home: Path) -> Callable[..., perfdb.History]:
    """Give a function that takes in what dead processes left, and returns the history."""

    def history(url: str | None = None) -> perfdb.History:
        url = url or f"sqlite:///{home}/perfdb.sqlite3"
        for worker in list(recorder._workers.values()):  # on a busy machine its first rows take seconds
            deadline = time.monotonic() + 60
            while (status := worker.status())["backlog_bytes"] and not status["database_error"]:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        recover(home, url)
        return perfdb.History(url)

    return history


@pytest.fixture
def journals(home: Path) -> Callable[[], list[Path]]:
    """Give a function that lists the journals that are left."""
    return lambda: sorted((home / "journal").glob("*.journal"))


@pytest.fixture
def wait_until_well() -> Callable[[perfdb.Tracker], None]:
    """Give a function that waits until all is in the database."""

    def wait_until_well(tracker: perfdb.Tracker) -> None:
        deadline = time.monotonic() + 60
        while (health := tracker.health())["database_error"] or health["backlog_bytes"]:
            assert time.monotonic() < deadline, health
            time.sleep(0.02)

    return wait_until_well


@pytest.fixture
def write_lock() -> Callable[[str], AbstractContextManager[None]]:
    """Give a context manager that holds what the writers of a database need."""

    @contextmanager
    def write_lock(url: str) -> Iterator[None]:
        path = sqlite_path(url)
        if path is not None:
            file = sqlite3.connect(path, isolation_level=None)
            file.execute("BEGIN IMMEDIATE")
            yield
            file.execute("ROLLBACK")
            file.close()
            return
        with psycopg.connect(url) as server:
            server.execute("LOCK TABLE sessions, steps, journals IN ACCESS EXCLUSIVE MODE")
            yield
            server.rollback()

    return write_lock
