"""A database that is locked for ever does not hold up the exit of a process, nor lose its steps."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import urlsplit

import pytest

import perfdb
from perfdb.store.schema import ensure_schema
from perfdb.worker.recovery import recover

EXIT_S = 2.5


def test_row_05_exit_while_locked(
    recorded_url: str,
    write_lock: Callable[[str], AbstractContextManager[None]],
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    ensure_schema(recorded_url)
    with write_lock(recorded_url):
        done = run(
            """
            tracker.start_pipeline(); steps(100); tracker.end_pipeline()
            print(tracker.health()["backlog_bytes"], time.monotonic(), flush=True)
            """
        )
        ended = time.monotonic()
    backlog, last_line = done.stdout.split()[-2:]
    assert done.returncode == 0
    assert int(backlog) > 0
    assert ended - float(last_line) < EXIT_S + 3  # a process of others may have the processor
    session = history(recorded_url).session("last")
    assert (session.status, len(session.steps)) == ("completed", 100)


@contextmanager
def far_away(url: str, seconds: float) -> Iterator[str]:
    """Give the URL of a server by a way that takes so long in each direction."""
    parsed = urlsplit(url)
    front = socket.create_server(("127.0.0.1", 0))
    ends = [front]
    threads: list[threading.Thread] = []

    def begin(target: Callable[..., None], *given: socket.socket) -> None:
        threads.append(threading.Thread(target=target, args=given))
        threads[-1].start()

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                time.sleep(seconds)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = front.accept()
                far = socket.create_connection((parsed.hostname, parsed.port))
                ends.extend((near, far))
                begin(pass_on, near, far)
                begin(pass_on, far, near)

    begin(serve)
    try:
        yield url.replace(f":{parsed.port}/", f":{front.getsockname()[1]}/")
    finally:
        for end in list(ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for end in ends:
            end.close()


def test_row_05_an_exit_goes_on_while_a_far_server_answers(
    create_database: Callable[..., str],
    run: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tables alone take seconds there: programs that are all short would never bring anything in."""
    url = create_database()
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    with far_away(url, 0.03) as far:
        monkeypatch.setenv("PERFDB_DATABASE_URL", far)
        done = run("tracker.start_pipeline(); steps(1); tracker.end_pipeline()")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(perfdb.History(url).sessions()) == 1


def test_row_05_what_an_exit_left_is_said_by_it_and_by_readers(
    database_url: str,
    run: Callable[..., CompletedProcess[str]],
    journals: Callable[[], list[Path]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ensure_schema(database_url)
    monkeypatch.setattr("perfdb.recording.health._warned", set())  # another test may have said the same
    monkeypatch.setenv("PERFDB_DATABASE_URL", database_url)
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    done = run(
        """
        from perfdb.worker import thread
        thread.EXIT_WAIT_S = thread.EXIT_ANSWERED_S = 0.0
        thread.Worker._drain = lambda *given: None  # it does not come so far
        for _ in range(2):
            tracker.start_pipeline(); steps(1); tracker.end_pipeline()
        """
    )
    assert len(journals()) == 1
    assert done.stderr.startswith("perfdb: 2 runs wait in the journal (")
    assert "perfdb recover" in done.stderr
    assert len(perfdb.History().sessions()) == 0, "a database that is named by its URL is only read"
    (said,) = [each.getMessage() for each in caplog.records]
    assert said.startswith("perfdb: 2 runs wait in the journal (home/journal): perfdb recover")
    assert len(perfdb.History(database_url).sessions()) == 0
    recover(Path("home"), database_url)
    assert len(perfdb.History().sessions()) == 2
    assert len(caplog.records) == 1


FROZEN = """
class Frozen:
    monotonic = perf_counter = staticmethod(lambda: 12.0)
time.monotonic, time.perf_counter, time.time = Frozen.monotonic, Frozen.perf_counter, lambda: 1577836800.0
"""


def test_row_05_exit_while_locked_and_the_clock_stands_still(
    recorded_url: str,
    write_lock: Callable[[str], AbstractContextManager[None]],
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    ensure_schema(recorded_url)
    with write_lock(recorded_url):
        done = run(FROZEN + "tracker.start_pipeline(); steps(10); tracker.end_pipeline()", timeout=60)
    assert done.returncode == 0
    assert len(history(recorded_url).session("last").steps) == 10


def test_row_05_nobody_waits_for_a_database_that_is_known_to_be_away(
    recorded_url: str,
    write_lock: Callable[[str], AbstractContextManager[None]],
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    ensure_schema(recorded_url)
    with write_lock(recorded_url):
        done = run(
            """
            os.environ["PERFDB_WAIT_S"] = "100"
            tracker = perfdb.create_tracker(console=False, monitor=False)
            for _ in range(5):
                tracker.start_pipeline(); steps(1); tracker.end_pipeline()
            print(tracker.health()["database_error"], flush=True)
            """,
            timeout=60,
        )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] != "None"
    assert list(history(recorded_url).sessions()["status"]) == ["completed"] * 5


def test_row_05_exit_handlers_that_come_after_ours_are_recorded(
    recorded_url: str,
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    done = run(
        """
        import atexit
        atexit._clear()
        def late():
            steps(1, "in a handler")
            tracker.end_pipeline()
            with perfdb.track("late") as run, run.step("all of it"): pass
            with perfdb.track("elsewhere", home="elsewhere") as run, run.step("all of it"): pass
        atexit.register(late)
        atexit.register(perfdb.recorder._close_at_exit)
        tracker.start_pipeline()
        steps(1, "before")
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = history(recorded_url)
    sessions = [found.session(session_id) for session_id in found.sessions()["session_id"]]
    assert sorted(
        (each.pipeline, each.status, [step.step_name for step in each.steps]) for each in sessions
    ) == [
        ("design", "completed", ["before", "in a handler"]),
        ("elsewhere", "completed", ["all of it"]),
        ("late", "completed", ["all of it"]),
    ]


def test_row_05_no_thread_of_ours_is_left_at_the_very_end(run: Callable[..., CompletedProcess[str]]) -> None:
    """One that the interpreter stops there needs memory to die; without it, it takes the process with it."""
    done = run(
        """
        import atexit
        atexit._clear()
        atexit.register(lambda: print(len(os.listdir("/proc/self/task"))))
        atexit.register(perfdb.recorder._close_at_exit)
        with perfdb.track("p", monitor=True) as run, run.step("work"):
            while not run.session.samples: time.sleep(0.01)  # all is imported
        perfdb.recorder.close(60)
        with perfdb.track("p", monitor=True) as run, run.step("work"): pass
        """
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "1\n")


EXHAUSTED = """
import os, resource, sys, time
from perfdb.recording.native import Thread

class Slow:
    def __del__(self, sleep=time.sleep):  # the thread wants to go on while the interpreter goes down
        sleep(0.5)

slow = Slow()
Thread(lambda: [time.sleep(0.01) for _ in range(1000)]).start()
time.sleep(0.1)
if sys.argv[1] == "descriptors":
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            os.dup(0)
    except OSError:
        pass
else:
    resource.setrlimit(resource.RLIMIT_AS, (1, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("of", ["descriptors", "memory"])
def test_a_thread_that_outlives_the_exit_aborts_nothing_when_there_is_no_room_left(of: str) -> None:
    """What ends such a thread is a library that glibc loads then, unless it is there already."""
    ended = subprocess.run([sys.executable, "-c", EXHAUSTED, of], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
