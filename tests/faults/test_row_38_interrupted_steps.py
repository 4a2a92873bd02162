"""Row 38: an exception in the middle of beginning or ending a step leaves no step half done."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.recording import context
from perfdb.recording import live as live_module
from perfdb.recording.tracker import Tracker

PACKAGE = str(Path(perfdb.__file__).parent)


class Interrupt(Exception):  # noqa: N818 (no error)
    """Raised as a signal handler does it, at a moment of the test's choice."""


class Interrupter:
    """Raises once, when the given number of lines of perfdb has run in this thread."""

    def __init__(self, line: int) -> None:
        self.error: BaseException = Interrupt(line)
        self.left = line
        self.place: str | None = None

    def __enter__(self) -> Interrupter:
        sys.settrace(self._traced)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _traced(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event in ("call", "line"):
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_qualname}:{frame.f_lineno} ({event})"
                sys.settrace(None)
                raise self.error
        return self._traced


def lines_of(tracker: Tracker, read: dict[Path, int]) -> list[dict[str, Any]]:
    """Return a session's lines; ``read`` says up to where its journal was read for those before it."""
    assert tracker._live is not None
    journal = tracker._live.journal
    assert journal is not None
    lines = list(journal.lines(read.get(journal.path, 0)))
    if lines:
        read[journal.path] = lines[-1].end
    records = [line.record for line in lines]
    return [each for each in records if each is not None and each.get("session_id") == tracker.session_id]


def nested(tracker: Tracker) -> None:
    tracker.start_pipeline(customer="acme")
    try:
        with tracker.step("a", rows=3):
            pass
        with tracker.step("b") as step:
            step.event("hit")
            with tracker.step("c"):
                pass
    finally:
        tracker.end_pipeline(success=True, product_count=1)


def by_hand(tracker: Tracker) -> None:
    tracker.start_pipeline()
    try:
        step = tracker.step("a").start()
        with step.attempt():
            pass
        step.stop()
        tracker.step("b").start().stop(error="no")
    finally:
        tracker.end_pipeline(success=True)


@pytest.fixture
def locks_let_go(home: Path) -> Iterator[None]:
    """Let go of the writers' locks: the interrupter cuts off the end of a ``with``, where no handler runs.

    A writer that waits for one, or has a thousand sessions to judge, would hold up the end of this test. What
    was cut off between open() and ``with`` is collected here: the warning about it is no later test's.
    """
    yield
    gc.collect()
    for worker in recorder._workers.values():
        for lock in (worker._lock, worker.turn_lock):
            while lock._is_owned():  # type: ignore[attr-defined]
                lock.release()
        worker.end_thread()


@pytest.mark.usefixtures("locks_let_go")
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO")
@pytest.mark.parametrize(
    ("kind", "status"),
    [(Interrupt, "failed"), (KeyboardInterrupt, "failed"), (CancelledError, "interrupted")],
)
def test_row_38_an_exception_that_breaks_a_beginning_off_says_what_became_of_it(
    tmp_path: Path, kind: type[BaseException], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    nested(perfdb.create_tracker(home=tmp_path, console=False, monitor=False))  # imports
    found: Counter[str | None] = Counter()
    for line in range(1, 100_000, 7):
        tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)
        interrupter = Interrupter(line)
        interrupter.error = kind("stop")
        with suppress(kind), interrupter:
            tracker.start_pipeline()
        if interrupter.place is None:
            tracker.end_pipeline()
            break
        if tracker.session is not None:
            found[tracker.session.status] += 1
            assert "stop" in str(tracker.session.error_message), interrupter.place
    assert set(found) == {status}


@pytest.mark.usefixtures("locks_let_go")
@pytest.mark.filterwarnings("ignore:Exception ignored in.*FileIO")  # cut off between open() and with
@pytest.mark.parametrize("work", [nested, by_hand])
def test_row_38_wherever_an_exception_comes_the_session_ends_and_no_step_is_half_done(
    tmp_path: Path, work: Callable[[Tracker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)
    work(tracker)  # imports
    wrong: list[str] = []
    read: dict[Path, int] = {}
    for line in range(1, 100_000, 2):
        tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)
        with Interrupter(line) as interrupter:
            try:
                work(tracker)
                arrived = None
            except Interrupt as error:
                arrived = error
        if interrupter.place is None:
            assert line > 300  # it has been everywhere
            break
        found = [] if arrived is interrupter.error else ["the exception did not arrive"]
        found += what_is_wrong_with(tracker, read, by_hand=work is by_hand)
        wrong += [f"{interrupter.place}: {each}" for each in found]
    assert wrong == []


def what_is_wrong_with(tracker: Tracker, read: dict[Path, int], *, by_hand: bool) -> list[str]:
    wrong = []
    if tracker.running:  # the end did not even begin: the host goes on
        with tracker.step("after"):
            pass
        tracker.end_pipeline()
        assert tracker.session is not None
        if [step.parent_seq for step in tracker.session.steps if step.step_name == "after"] != [None]:
            wrong.append("a phantom is the parent of what follows")
    health = tracker.health()
    # a step that is started by hand and then not stopped was left open by the host
    if any(health[name] for name in ("errors", "refused", "lost", *([] if by_hand else ["misuse"]))):
        wrong.append(str(health))
    if tracker._live is not None:
        lines = lines_of(tracker, read)
        kinds = Counter(each["type"] for each in lines)
        # a line that was interrupted just behind its write is written again, and counts once
        if not kinds["start"] or kinds["end"] not in (1, 2) or lines[-1]["type"] != "end":
            wrong.append(f"the journal has {dict(kinds)}")
        assert tracker.session is not None
        if tracker._live.open_steps or any(step.duration is None for step in tracker.session.steps):
            wrong.append("a step is open")
        in_journal = {each["seq"] for each in lines if each["type"] == "step"}
        if in_journal != {step.seq for step in tracker.session.steps}:
            wrong.append("memory and journal hold different steps")
    if context.open_from(context.current.get()) is not None or context.running:
        wrong.append("something is still current")
        context.current.set(None)
        context.running.clear()
    return wrong


def test_row_38_an_interrupt_while_a_step_begins_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)
    tracker.start_pipeline()

    def interrupted(who: int) -> Any:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("nobody interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(live_module, "getrusage", interrupted)
        with pytest.raises(KeyboardInterrupt), tracker.step("a"):
            pass
    with tracker.step("b"):
        pass
    tracker.end_pipeline()
    assert tracker.session is not None
    assert [(step.step_name, step.parent_seq) for step in tracker.session.steps] == [("b", None)]
    assert tracker.session.status == "completed"
    assert tracker.health()["ok"]


def test_row_38_a_block_that_an_exception_left_without_its_end_is_no_parent(tmp_path: Path) -> None:
    tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)
    tracker.start_pipeline()

    def left() -> None:
        step = tracker.step("left")
        with Interrupter(0) as interrupter:
            sys.settrace(None)
            with step:
                interrupter.left = 1
                sys.settrace(interrupter._traced)  # the next call is that of __exit__

    with pytest.raises(Interrupt):
        left()
    with tracker.step("after"):
        pass
    tracker.end_pipeline()
    assert tracker.session is not None
    steps = {step.step_name: step for step in tracker.session.steps}
    assert steps["after"].parent_seq is None
    assert steps["left"].success is False
    assert tracker.health()["misuse"] == 0


@pytest.mark.process
def test_row_38_control_c_at_any_moment_leaves_sessions_with_an_end(
    start: Callable[[str], subprocess.Popen[str]], history: Callable[[], perfdb.History]
) -> None:
    code = """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("ready", flush=True)
        while True:
            with perfdb.track("p", console=False, monitor=False) as run:
                for i in range(20):
                    with run.step("a", i=i):
                        with run.step("b"):
                            pass
    """
    for n in range(8):
        program = start(code)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        for _ in range(n * 3):
            os.sched_yield()
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
        assert program.returncode in (1, -signal.SIGINT)  # in order, not killed by our own limit
    sessions = history().sessions(last=100_000)
    assert set(sessions["status"]) <= {"completed", "failed", "interrupted"}
    assert sessions["total_duration"].notna().all()
    steps = history().steps(last=100_000)
    assert not steps[(steps["step_name"] == "a") & steps["parent_seq"].notna()].shape[0]
