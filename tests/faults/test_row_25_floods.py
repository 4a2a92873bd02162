"""Row 25: huge attributes, a million steps, a flood of events and samples: memory and lines stay bounded."""

from __future__ import annotations

import gc
import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts.config import DEFAULT_RULES
from perfdb.recording import live
from perfdb.recording.health import Health
from perfdb.recording.live import LiveSession, SystemClock
from perfdb.recording.report import read_report
from perfdb.recording.step import MAX_PARTS
from perfdb.recording.tracker import Tracker
from perfdb.worker.thread import Worker

LINE = 2_000_000  # bytes: every character of a full set of attributes, an error and the events as an escape


@pytest.fixture
def tracker() -> Tracker:
    made = perfdb.create_tracker(console=False, monitor=False)
    made.start_pipeline()
    return made


@pytest.fixture
def memory() -> Iterator[Callable[[], float]]:
    """Give a function that returns the megabytes that were taken since, at the most."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    yield lambda: (tracemalloc.get_traced_memory()[1] - before) / 1e6
    tracemalloc.stop()


def longest_line(home: Path) -> int:
    lines: list[bytes] = []
    for path in (home / "journal").iterdir():
        with suppress(FileNotFoundError):  # all of it is in the database
            lines += path.read_bytes().splitlines()
    return max(map(len, lines))


def test_huge_attributes_are_cut_and_say_so(
    tracker: Tracker, home: Path, history: Callable[..., perfdb.History]
) -> None:
    huge: dict[str, Any] = {f"key {i}": "\U0001f680" * 10_000 for i in range(2_000)}
    with tracker.step("huge", **huge) as step:
        step.set(numbers=list(range(1_000_000)), deep=huge)
    assert longest_line(home) < LINE
    tracker.end_pipeline()
    data = history().session().steps[0].additional_data
    assert "characters cut" in data["key 0"]
    assert data["…"].endswith("more entries cut")


def test_a_flood_of_events_and_attempts_makes_no_long_line(
    tracker: Tracker, home: Path, memory: Callable[[], float], history: Callable[..., perfdb.History]
) -> None:
    with tracker.step("busy") as step:
        for number in range(MAX_PARTS + 200):
            step.event("seen", number=number, text="x" * 50_000)
            try:
                with step.attempt():
                    raise ValueError("no" * 100_000)
            except ValueError:
                pass
    for number in range(5_000):
        tracker.event("of the session", number=number, text="x" * 50_000)
    assert longest_line(home) < LINE
    assert memory() < 40
    tracker.end_pipeline()
    assert longest_line(home) < LINE
    session = history().session()
    assert len(session.steps[0].attempts) == MAX_PARTS
    assert len(session.steps[0].events) == MAX_PARTS
    assert "more entries cut" in str(session.steps[0].events[-1].data)
    assert 100 <= len(session.attributes["events"]) <= 300


def test_steps_without_number_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million by the same law: what is kept does not grow after the first ten thousand."""
    monkeypatch.setattr(Worker, "_ensure_thread", lambda self: None)  # its batches are no part of this
    tracker = perfdb.create_tracker(console=False, monitor=False)
    monkeypatch.setattr(live, "MAX_STEPS", 500)
    monkeypatch.setattr(live, "MAX_NAMES", 500)
    tracker.start_pipeline()

    def steps(number: int, first: int) -> None:
        for each in range(first, first + number):
            with tracker.step(f"{'too long to be remembered':-<80}{each}", rows=each):
                pass

    steps(1_000, 0)
    tracemalloc.start()
    steps(2_000, 1_000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 100_000, "50 bytes for each step"
    assert len(tracker.step_durations) <= 1_001
    report = tracker.save_performance_report()
    assert report is not None
    assert len(read_report(report).steps) == 500
    for worker in recorder._workers.values():
        worker.after_fork_in_child()  # lets go of all that


SIXTY_THOUSAND = """
import resource

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

tracker.start_pipeline()
tracker.end_pipeline()  # the worker has loaded what it needs
tracker.start_pipeline()
steps(15_000)  # more than a report keeps
before = peak_mb()
steps(45_000)
tracker.end_pipeline()
print(peak_mb() - before)
tracker.save_performance_report()
"""


def test_sixty_thousand_steps_take_bounded_memory_all_the_way_to_the_database(
    home: Path, run: Callable[..., CompletedProcess[str]], history: Callable[..., perfdb.History]
) -> None:
    """`benchmarks/recording.py --only long` records a million."""
    done = run(SIXTY_THOUSAND)
    assert float(done.stdout.split()[-1]) < 15, "megabytes: it would be thirty if all steps were kept"
    (report,) = home.glob("*.json")
    assert len(read_report(report).steps) == live.MAX_STEPS
    assert len(history().sessions()) == 2
    with closing(sqlite3.connect(home / "perfdb.sqlite3")) as file:
        assert file.execute("SELECT count(*) FROM v_steps WHERE status = 'completed'").fetchone() == (60_000,)


def test_data_beyond_what_a_report_can_hold_is_in_the_database_and_the_report_says_so(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, history: Callable[..., perfdb.History]
) -> None:
    monkeypatch.setattr(live, "MAX_DATA", 20_000)
    for number in range(10):
        with tracker.step("load", text="x" * 4_000, number=number):
            pass
    tracker.end_pipeline()
    report = tracker.save_performance_report()
    assert report is not None
    reported = [step.additional_data for step in read_report(report).steps]
    assert [data.get("number") for data in reported] == [0, 1, 2, 3, *[None] * 6]
    assert reported[-1] == {"…": "too much for the report: the database has it"}
    assert [step.additional_data["number"] for step in history().session().steps] == list(range(10))


def test_a_flood_of_samples_is_thinned(memory: Callable[[], float]) -> None:
    session = LiveSession(
        "s", "etl", fast_mode=None, mode="{}", attributes={}, journal=lambda: None, health=Health(),
        clock=SystemClock(),
    )  # fmt: skip
    for number in range(10_000):
        session.observe(session.started + number, 50.0, 1_000_000 + number)
    assert live.MAX_SAMPLES / 2 <= len(session.samples) <= live.MAX_SAMPLES
    assert session.samples == sorted(session.samples)
    assert memory() < 2


def test_sessions_that_wait_for_a_database_take_bounded_memory(
    home: Path,
    migrated_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_lock: Callable[[str], AbstractContextManager[None]],
    wait_until_well: Callable[[Tracker], None],
) -> None:
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    off = [rule.name for rule in DEFAULT_RULES]  # judging is no part of this
    Path("perfdb.toml").write_text(f"[alerts]\noff = {off}\n")
    home.mkdir(mode=0o700)
    url = f"sqlite:///{shutil.copy(migrated_file, home / 'perfdb.sqlite3')}"
    tracker = perfdb.create_tracker(console=False, monitor=False)

    def sessions(number: int) -> None:
        for _ in range(number):
            tracker.start_pipeline(model="gpt")
            for each in range(50):
                with tracker.step("work", rows=each):
                    pass
            tracker.end_pipeline()

    sessions(20)
    wait_until_well(tracker)
    with write_lock(url):
        sessions(20)
        while tracker.health()["database_error"] is None:  # from here on the journal is not read in vain
            time.sleep(0.02)
        gc.collect()
        tracemalloc.start()
        sessions(200)
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken < 200_000, "some hundred bytes for each session, none for its steps"
        report = tracker.save_performance_report()
        assert report is not None
        assert len(read_report(report).steps) == 50
    wait_until_well(tracker)
    with closing(sqlite3.connect(home / "perfdb.sqlite3")) as file:
        assert file.execute("SELECT count(*) FROM v_sessions WHERE status = 'completed'").fetchone() == (240,)
        assert file.execute("SELECT count(*) FROM steps").fetchone() == (12_000,)
