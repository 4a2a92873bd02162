"""Several hosts, each with a home of its own, write to one PostgreSQL database.

Of: worker/recovery.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

import perfdb
from perfdb.maintenance.doctor import examine
from perfdb.settings import load
from perfdb.store.engine import open_engine
from perfdb.store.leases import LEASE_S
from perfdb.worker.recovery import recover

# A host: it records, says so, and goes on when it is asked to.
HOST = """
import sys, time
import perfdb
{before}
with perfdb.track("nightly", home=sys.argv[1], database_url=sys.argv[2]) as run:
    with run.step("load"):
        pass
    with run.step("work"):
        print("working", flush=True)
        sys.stdin.readline()
"""
CLOCK = "real = time.time; time.time = lambda: real() + {shift}"
OFTEN = "from perfdb.store import leases; leases.RENEW_S = 0.05"


@pytest.fixture
def url(create_database: Callable[..., str], migrated_database: str) -> str:
    """Give the database of the team."""
    return create_database(migrated_database)


@contextmanager
def host(home: Path, url: str, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Start a host and give it as soon as its session is in the database."""
    program = textwrap.dedent(HOST).format(before=before)
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(home), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "working\n"
        wait_for(url, "running")
        yield running
    finally:
        running.kill()
        running.communicate()


def statuses(url: str) -> list[str]:
    return perfdb.History(url).sessions()["status"].tolist()


def wait_for(url: str, status: str) -> None:
    deadline = time.monotonic() + 30
    while statuses(url) != [status]:
        assert time.monotonic() < deadline, statuses(url)
        time.sleep(0.02)


def execute(url: str, statement: str) -> None:
    engine = open_engine(url, role="migration")
    with engine.begin() as connection:
        connection.execute(text(statement))


def two_minutes_later(url: str) -> None:
    execute(url, f"UPDATE journals SET seen_at = seen_at - {LEASE_S + 5}")


def test_hosts_that_write_at_once_lose_and_double_nothing(url: str, tmp_path: Path) -> None:
    program = """
import sys, perfdb
sys.stdin.readline()
for number in range(10):
    with perfdb.track(f"p{number % 3}", home=sys.argv[1], database_url=sys.argv[2]) as run:
        for name in ("c", "a", "b", sys.argv[1])[:: 1 if number % 2 else -1]:
            with run.step(name):
                pass
"""
    homes = [tmp_path / name for name in "abcd"]
    hosts = [
        subprocess.Popen([sys.executable, "-c", program, str(home), url], stdin=subprocess.PIPE, text=True)
        for home in homes
    ]
    for each in hosts:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in hosts:
        each.communicate(timeout=120)
        assert each.returncode == 0
    for home in homes:
        recover(home, url)  # what a busy machine has not brought there before the end
    assert statuses(url) == ["completed"] * 40
    steps = perfdb.History(url).steps()
    assert len(steps) == len(steps.drop_duplicates(["session_id", "seq"])) == 160


@pytest.mark.parametrize("shift", [-3600, 3600])
def test_a_clock_that_is_an_hour_off_kills_nobody_and_saves_nobody(
    url: str, tmp_path: Path, shift: int
) -> None:
    with host(tmp_path / "a", url, CLOCK.format(shift=shift)) as running:
        assert recover(tmp_path / "b", url).silent == 0
        assert statuses(url) == ["running"]
        two_minutes_later(url)
        assert recover(tmp_path / "b", url).silent == 1
        assert statuses(url) == ["interrupted"]
        running.communicate("go on\n", timeout=60)
    assert statuses(url) == ["completed"]


def test_a_dead_host_is_taken_for_dead_by_its_own_home_at_once_and_by_others_later(
    url: str, tmp_path: Path
) -> None:
    with host(tmp_path / "a", url) as running:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert recover(tmp_path / "b", url).silent == 0
    assert statuses(url) == ["running"]
    moved = recover(tmp_path / "a", url)
    assert (moved.interrupted, moved.silent) == (1, 0)
    assert statuses(url) == ["interrupted"]


def test_a_host_that_never_comes_back_is_ended_by_another(url: str, tmp_path: Path) -> None:
    with host(tmp_path / "a", url) as running:
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    settings = load(home=tmp_path / "b", database_url=url)
    assert "hosts" not in {each.check for each in examine(settings)}
    two_minutes_later(url)
    (found,) = (each for each in examine(settings) if each.check == "hosts")
    assert found.needs_a_hand
    assert found.found.startswith("1 session listed as running on ")
    with perfdb.track("nightly", home=tmp_path / "b", database_url=url):
        pass
    deadline = time.monotonic() + 30
    while sorted(statuses(url)) != ["completed", "interrupted"]:
        assert time.monotonic() < deadline, statuses(url)
        time.sleep(0.02)


def test_a_writer_that_lives_here_is_known_by_its_lock_whatever_its_lease(url: str, tmp_path: Path) -> None:
    with host(tmp_path / "a", url):
        two_minutes_later(url)
        assert recover(tmp_path / "a", url).silent == 0
        assert statuses(url) == ["running"]


def test_a_host_is_heard_of_while_a_long_step_says_nothing(url: str, tmp_path: Path) -> None:
    with host(tmp_path / "a", url, OFTEN):
        execute(url, "UPDATE sessions SET status = 3")
        wait_for(url, "running")
        two_minutes_later(url)
        silent = "SELECT count(*) FROM journals WHERE seen_at < extract(epoch FROM clock_timestamp()) - 60"
        engine = open_engine(url, role="migration")  # a reader sees one moment
        deadline = time.monotonic() + 30
        with engine.connect() as connection:
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            while connection.execute(text(silent)).scalar():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        engine.dispose()


def test_a_program_holds_one_connection_and_none_through_a_long_step(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    from perfdb.worker import thread

    monkeypatch.setattr(thread, "IDLE_S", 0.05)
    monkeypatch.setattr(thread, "TICK_S", 0.05)
    with psycopg.connect(url, autocommit=True) as looking:

        def connections() -> int:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE %s"
            found = looking.execute(query, [url.rpartition("/")[2], "perfdb%"]).fetchone()
            return 0 if found is None else int(found[0])

        seen = set()
        with perfdb.track("nightly", home=tmp_path, database_url=url, monitor=False) as run:
            for number in range(20):
                with run.step(f"part {number}"):
                    time.sleep(0.01)
                seen.add(connections())
            with run.step("long"):
                deadline = time.monotonic() + 30
                while connections():
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            for number in range(5):
                with run.step(f"more {number}"):
                    time.sleep(0.02)
                seen.add(connections())
    assert seen <= {0, 1}
    assert len(perfdb.History(url).steps()) == 26
