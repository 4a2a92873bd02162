"""What happens to recorded steps when processes die, fork, exit or find the database away.

Of: worker/journals.py, worker/shipping.py.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts.delivery import pause_s
from perfdb.worker.thread import Worker

PRELUDE = """
import os, sys, time, signal
import perfdb
tracker = perfdb.create_tracker(home="home", console=False)
def steps(n, name="work"):
    for i in range(n):
        with tracker.step(name, i=i):
            pass
    print("acknowledged", n, flush=True)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    recorder.close()


def run(code: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    program = PRELUDE + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=timeout)


def history() -> perfdb.History:
    return perfdb.History(home="home")


def journals() -> list[Path]:
    return list(Path("home/journal").glob("*.journal"))


def test_who_waits_for_the_rows_makes_no_turn_while_another_thread_has_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What sends messages is there when the worker's own thread has ended, and uses the same connection."""
    monkeypatch.setattr(Worker, "_ensure_thread", lambda self: None)
    tracker = perfdb.create_tracker(home="home", console=False, monitor=False)
    tracker.start_pipeline()
    tracker.end_pipeline()
    worker = tracker._writer
    assert isinstance(worker, Worker)
    with ThreadPoolExecutor(1) as another, worker.turn_lock:
        assert not another.submit(worker.bring_in, 0.1).result()
    assert worker.bring_in(20)


def test_a_clean_exit_leaves_no_journal_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFDB_WAIT_S", "20")  # an exit waits for 2 s only, however busy the machine is
    done = run("tracker.start_pipeline(); steps(4); tracker.end_pipeline()")
    assert (done.returncode, done.stderr) == (0, "")
    assert journals() == []
    with sqlite3.connect("home/perfdb.sqlite3") as connection:
        assert connection.execute("SELECT status, count(*) FROM v_sessions").fetchall() == [("completed", 1)]
    connection.close()


def test_running_sessions_are_rows_before_they_end() -> None:
    tracker = recorder.create_tracker(home="home", console=False)
    session_id = tracker.start_pipeline()
    with tracker.step("first"):
        pass
    deadline = time.monotonic() + 20
    while len(history().sessions()) == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    (row,) = history().sessions().to_dict("records")
    assert (row["session_id"], row["status"]) == (session_id, "running")
    tracker.end_pipeline()


def test_an_event_loop_is_not_made_to_wait() -> None:
    import asyncio

    async def design() -> None:
        tracker = recorder.create_tracker(home="home", console=False)
        tracker.start_pipeline()
        tracker.end_pipeline()

    asyncio.run(design())
    recorder.close(20)
    assert history().session().status == "completed"


def test_the_hosts_random_numbers_are_those_that_it_seeded() -> None:
    tracker = recorder.create_tracker(home="home", console=False, monitor=False)
    tracker.start_pipeline()
    tracker.end_pipeline()
    recorder.close(20)
    random.seed(7)
    before = random.getstate()
    with closing(sqlite3.connect("home/perfdb.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        tracker.start_pipeline()
        tracker.end_pipeline()
        deadline = time.monotonic() + 20
        while not tracker.health()["database_error"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert tracker.health()["database_error"]
    recorder.close(20)
    assert pause_s(3) > 0
    assert random.getstate() == before


def test_many_threads_and_sessions_at_once() -> None:
    def runs() -> None:
        for _ in range(10):
            tracker = recorder.create_tracker(home="home", console=False)
            tracker.start_pipeline()
            with tracker.step("a"), tracker.step("b"):
                pass
            tracker.end_pipeline()

    threads = [threading.Thread(target=runs) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    assert (len(history().sessions()), len(history().steps())) == (80, 160)


def test_a_long_journal_is_replaced_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    from perfdb.worker import journals as worker_journals

    monkeypatch.setattr(worker_journals, "ROTATE_BYTES", 2_000)
    tracker = recorder.create_tracker(home="home", console=False)
    for _ in range(20):
        tracker.start_pipeline()
        with tracker.step("work", text="x" * 300):
            pass
        tracker.end_pipeline()
    assert len(journals()) <= 2
    assert len(history().steps()) == 20


def test_many_sessions_leave_two_journals_at_most_whatever_waits_to_be_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from perfdb.worker import journals as worker_journals

    monkeypatch.setattr(worker_journals, "ROTATE_BYTES", 2_000)
    most = 0

    async def runs() -> None:
        nonlocal most
        tracker = recorder.create_tracker(home="home", console=False)
        for _ in range(100):
            tracker.start_pipeline()
            with tracker.step("work", text="x" * 300):
                pass
            tracker.end_pipeline()
            most = max(most, len(journals()))

    import asyncio

    asyncio.run(runs())
    recorder.close(60)
    assert most <= 2
    assert (journals(), list(Path("home/journal").iterdir())) == ([], [])
    assert len(history().steps()) == 100


def test_prepare_leaves_a_database_and_nothing_open(tmp_path: Path) -> None:
    done = run(
        """
        tracker = None
        import numpy  # has threads of its own
        from perfdb import recorder
        before = [len(os.listdir("/proc/self/" + name)) for name in ("fd", "task")]
        perfdb.prepare(home="home")
        assert [len(os.listdir("/proc/self/" + name)) for name in ("fd", "task")] == before
        loaded = set(sys.modules)
        for _ in range(40):  # as many as the rules want before they look for changes
            with perfdb.track("p", home="home") as tracker:
                with tracker.step("work"): time.sleep(0.001)
        recorder.close(30)
        print(sorted(name for name in set(sys.modules) - loaded if name.split(".")[0] in
            ("perfdb", "sqlalchemy", "alembic", "psutil", "numpy")))
        """
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[]\n")
    assert len(history().steps()) == 40


def test_prepare_waits_for_another_process_that_makes_the_tables(tmp_path: Path) -> None:
    Path("home").mkdir()
    lock = sqlite3.connect("home/perfdb.sqlite3", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lock.rollback)
    release.start()
    done = run("tracker = None; perfdb.prepare(home='home')")
    release.join()
    lock.close()
    assert (done.returncode, done.stderr) == (0, "")


def test_prepare_does_not_take_slow_imports_for_a_held_lock(tmp_path: Path) -> None:
    assert run("tracker = None; perfdb.prepare(home='home')").returncode == 0
    lock = sqlite3.connect("home/perfdb.sqlite3", isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN IMMEDIATE")
    release = threading.Timer(1.0, lock.rollback)
    release.start()
    done = run(
        """
        from perfdb.worker import thread
        tracker = None
        passed = [0.0]
        now, prepare = thread.monotonic, thread.secret_shapes.prepare
        thread.monotonic = lambda: now() + passed[0]

        def slow():
            prepare()
            passed[0] = 60.0  # as if the first import took a minute

        thread.secret_shapes.prepare = slow
        perfdb.prepare(home="home")
        """
    )
    release.join()
    lock.close()
    assert (done.returncode, done.stderr) == (0, "")


def test_prepare_says_mistakes_and_survives_what_is_away(tmp_path: Path) -> None:
    with pytest.raises(perfdb.SettingsError):
        perfdb.prepare(home="home", monitor="perhaps")  # type: ignore[arg-type]
    done = run("perfdb.prepare(home='home', database_url='postgresql://127.0.0.1:9/none')")
    assert (done.returncode, "cannot" in done.stderr or "127.0.0.1" in done.stderr) == (0, True)
    assert run("perfdb.prepare(home='/proc/none')").returncode == 0


def test_a_record_that_the_database_refuses_does_not_hold_up_the_others() -> None:
    run("tracker.start_pipeline(session_id='a'); steps(2); os._exit(1)")
    connection = sqlite3.connect("home/perfdb.sqlite3") if Path("home/perfdb.sqlite3").exists() else None
    if connection is None:
        history().sessions()
        connection = sqlite3.connect("home/perfdb.sqlite3")
    with connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON samples BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    connection.close()
    run(
        """
        tracker.start_pipeline(session_id='b')
        with tracker.step('slow'):
            while not tracker.session.samples: time.sleep(0.02)
        tracker.end_pipeline()
        """
    )
    session = history().session("b")
    assert (session.status, [step.step_name for step in session.steps], session.samples) == (
        "completed",
        ["slow"],
        (),
    )
    assert list(Path("home/journal").glob("*.bad"))


def test_importing_and_the_first_step_load_nothing_heavy() -> None:
    code = """
    import perfdb, sys
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("x"): pass
    import json
    heavy = "numpy pandas matplotlib sqlalchemy alembic psutil asyncio".split()
    print(json.dumps([name for name in heavy if name in sys.modules]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
    assert os.path.isdir("performance_tracking")
