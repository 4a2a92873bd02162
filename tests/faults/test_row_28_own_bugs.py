"""Row 28: perfdb's own bug. Each of its functions in turn raises, and the host never notices."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import logging
import pkgutil
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts.config import DEFAULT_RULES
from perfdb.recording.health import Health
from perfdb.recording.step import Attempt, Step
from perfdb.recording.tracker import Tracker
from perfdb.settings import load
from perfdb.toml import Table
from perfdb.worker.quarantined import recover_quarantined
from perfdb.worker.thread import Worker

SETTINGS = """
wait_s = 0
[[alerts.rules]]
name = "any"
kind = "max"
limit = 0.0
[[alerts.channels]]
name = "log"
kind = "log"
"""

# What the host calls itself; what only makes a handle for it; and the places where failures are caught.
PUBLIC: tuple[Any, ...] = (Tracker, Step, Attempt, Health, recorder.track, recorder._Nothing)
EXEMPT = {
    "perfdb.recorder:create_tracker", "perfdb.recorder:current", "perfdb.recorder:close",
    "perfdb.recording.context:failed", "perfdb.recorder:_load", "perfdb.recorder:_tracker",
    "perfdb.recorder:_cannot_record", "perfdb.recording.native:wait_for",
    "perfdb.recording.tracker:Tracker._wait_for", "perfdb.recording.tracker:Tracker._surely_end",
    "perfdb.recording.console:Console._forget", "perfdb.recording.design_steps:track_vision_analysis",
    "perfdb.recording.health:_log", "perfdb.recording.health:_log_trace", "perfdb.recording.context:carry",
    "perfdb.recording.context:called_within", "perfdb.recording.context:like",
    "perfdb.recording.context:find_current",
    "perfdb.recording.step:Step._again", "perfdb.recording.tracker:Tracker._known",
    "perfdb.recorder:track._again", "perfdb.worker.thread:Worker._ensure_thread",
    "perfdb.worker.thread:Worker._run", "perfdb.worker.thread:Worker.turn",
    "perfdb.recording.monitor:Monitor._run", "perfdb.alerts.delivery:Delivery._run",
    "perfdb.recording.mapping:map_in_threads",
    "perfdb.recording.mapping:_Calls.run", "perfdb.recording.mapping:_Calls.run_beside",
    "perfdb.recording.mapping:_Calls._call", "perfdb.recording.mapping:_Calls._wait",
}  # fmt: skip

RECORDING = [
    "perfdb.recorder", "perfdb.recording", "perfdb.worker.thread", "perfdb.worker.journals",
    "perfdb.settings", "perfdb.toml",
    "perfdb.vocabulary", "perfdb.text", "perfdb.critical_path",
]  # fmt: skip
BEHIND = [
    "perfdb.worker.thread",
    "perfdb.worker.shipping",
    "perfdb.worker.recovery",
    "perfdb.worker.outage",
    "perfdb.worker.quarantined",
    "perfdb.worker.alerting",
    "perfdb.worker.rolling",
    "perfdb.worker.upkeep",
    "perfdb.alerts",
    "perfdb.store",
]


class BugError(Exception):
    """What perfdb does wrong."""


class HostsError(Exception):
    """What the pipeline does wrong."""


def modules_of(names: list[str]) -> Iterator[Any]:
    for name in names:
        module = importlib.import_module(name)
        yield module
        for found in pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}."):
            yield importlib.import_module(found.name)


def internals(names: list[str]) -> list[str]:
    """Return the dotted name of every function and method that is not for the host to call."""
    found: list[str] = []
    for module in modules_of(names):
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if isinstance(value, FunctionType):
                found.append(f"{module.__name__}:{name}")
            elif inspect.isclass(value):
                for attribute, member in vars(value).items():
                    is_code = isinstance(function_of(member), FunctionType)
                    hidden = value not in PUBLIC or (value is not Health and attribute.startswith("_"))
                    if is_code and hidden and not attribute.startswith("__"):
                        found.append(f"{module.__name__}:{name}.{attribute}")
    return [name for name in found if name not in EXEMPT]


def place_of(target: str) -> tuple[Any, str]:
    """Return the module or class, and the name in it."""
    module_name, _, path = target.partition(":")
    owner: Any = sys.modules[module_name]
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    return owner, name


def broken(target: str, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Have one internal raise wherever it is used; return a function that counts its calls."""
    calls: list[int] = []

    def raising(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise BugError(target)

    owner, name = place_of(target)
    original = inspect.getattr_static(owner, name)
    if inspect.isclass(owner):
        kinds = {property: property, staticmethod: staticmethod, classmethod: classmethod}
        wrap: Any = kinds.get(type(original), lambda function: function)
        patch.setattr(owner, name, wrap(raising))
    else:
        for module in [each for key, each in sys.modules.items() if key.split(".")[0] == "perfdb"]:
            for held, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, held, raising)
    return lambda: len(calls)


SEEN = [True, [0, 2, 4], "carried", True, 8, [1, 2], "later", [dict, list]]
SEEN = [*SEEN, *SEEN, "done", True]


def pipeline() -> tuple[list[Any], list[Callable[[], dict[str, Any]]]]:
    """Use everything that a host may call, twice; return what it sees of its own, and the healths."""
    seen: list[Any] = []
    error = HostsError("the pipeline's own")
    tracker = perfdb.create_tracker(console=True)
    for _ in range(2):
        tracker.start_pipeline(fast_mode=True, model="gpt", nested={"a": [1, "\ud800", {2}]})
        tracker.set(more=1.5)
        tracker.event("begun", rows=2)
        with tracker.step("outer", rows=3) as step:
            step.set(found=6)
            step.event("half", of="it")
            perfdb.current().set(seen=True)
            for failing in (True, False):
                try:
                    with step.attempt():
                        if failing:
                            raise error
                except HostsError as caught:
                    seen.append(caught is error)
            with perfdb.track_vision_analysis(tracker):
                seen.append(tracker.map(lambda number: number * 2, range(3), max_workers=2))
                seen.append(perfdb.carry(lambda: "carried")())
        try:
            with tracker.step("failing"):
                raise error
        except HostsError as caught:
            seen.append(caught is error)

        @tracker.step("decorated")
        def double(number: int) -> int:
            return number * 2

        @tracker.step("generated")
        def numbers() -> Iterator[int]:
            yield from (1, 2)

        @tracker.step("awaited")
        async def later() -> str:
            async with tracker.step("inside"):
                return "later"

        seen += [double(4), list(numbers()), asyncio.run(later())]
        by_hand = tracker.step("by hand").start()
        by_hand.stop(success=False, error="no")
        tracker.step("left open").start()
        tracker.end_pipeline(success=True, product_count=5)
        tracker.save_performance_report()
        tracker.print_summary()
        for known in (tracker.session_id, tracker.total_duration, tracker.session):
            str(known)
        seen.append([type(tracker.step_durations), type(tracker.alerts)])
    with perfdb.track("another", rows=1) as run, run.step("load"):
        pass

    @perfdb.track("decorated")
    def job() -> str:
        return "done"

    seen.append(job())
    try:
        with perfdb.track("another"):
            raise error
    except HostsError as caught:
        seen.append(caught is error)
    return seen, [tracker.health, run.health]


def function_of(member: Any) -> Any:
    """Return the function of a method of any kind; something else for what is none."""
    return getattr(member, "fget", None) or getattr(member, "__func__", member)


def code_of(target: str) -> CodeType:
    owner, name = place_of(target)
    member: Any = inspect.getattr_static(owner, name)
    code: CodeType = function_of(member).__code__
    return code


def called_by(act: Callable[[], object]) -> set[CodeType]:
    """Return the code of every function that runs meanwhile, in any thread."""
    seen: set[CodeType] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            seen.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return seen


@pytest.fixture(autouse=True)
def prepared(home: Path, migrated_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a database with its tables, rules that fire, and writers whose turns the test makes."""
    home.mkdir(mode=0o700)
    shutil.copy(migrated_file, home / "perfdb.sqlite3")
    (home.parent / "perfdb.toml").write_text(SETTINGS)
    monkeypatch.setattr(Worker, "_ensure_thread", lambda self: None)
    monkeypatch.setattr(recorder, "_workers", {})
    yield
    drop_workers()


def turn(worker: Worker) -> int:
    """Make a turn as the worker's thread does: what delivers alerts uses the same connections."""
    with worker.turn_lock:
        return worker.turn()


def drop_workers() -> None:
    """Let go of the writers without bringing anything to the database."""
    for worker in recorder._workers.values():
        worker.end_thread()
        worker.wait_for_end(30.0)  # or what delivers alerts opens the database once more
        worker._database.forget()
        worker.after_fork_in_child()
    recorder._workers.clear()
    recorder._monitor.after_fork_in_child()
    recorder._said_without_worker = Health()


def said_twice(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that one thread logged more than once, and forget all of them."""
    lines = Counter(
        (each.thread, each.getMessage()) for each in caplog.records if each.levelno >= logging.WARNING
    )
    caplog.clear()
    return [line for (_, line), count in lines.items() if count > 1]


def shows_trouble(health: Callable[[], dict[str, Any]]) -> bool:
    """Say whether a health shows that something is wrong; threads may take a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        now = health()
        if not now["ok"] or now["misuse"] or now["delays"]:
            return True
        time.sleep(0.01)
    return False


def test_whatever_raises_in_the_hosts_threads_is_counted_and_said_once(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    used = called_by(pipeline)
    said_twice(caplog)
    targets = [target for target in internals(RECORDING) if code_of(target) in used]
    assert len(targets) > 100
    for target in targets:
        drop_workers()
        with pytest.MonkeyPatch.context() as patch:
            calls = broken(target, patch)
            seen, healths = pipeline()
            called = calls()
            assert seen == SEEN, target
            assert not called or any(map(shows_trouble, healths)), f"health hides {target}"
        assert said_twice(caplog) == [], target


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # what closes them raises, too
def test_whatever_raises_behind_the_hosts_back_is_counted_and_said_once_and_nothing_is_lost(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that a bug keeps out of the database is put aside, and comes in once that is mended."""
    tracker = perfdb.create_tracker(console=False, monitor=False)
    (worker,) = recorder._workers.values()
    judging, quiet = load().alerts, Table({"off": [rule.name for rule in DEFAULT_RULES]})
    put_aside = 0

    def record(alerts: Table) -> str:
        with worker.turn_lock:
            worker._database.forget()
        worker.alerting.use(Table({}))
        worker.alerting.use(alerts)
        worker.health.counts = dict.fromkeys(worker.health.counts, 0)
        worker.health.last_error = None
        worker.health._said.clear()
        tracker.start_pipeline()
        for _ in range(3):
            with tracker.step("work"):
                pass
        tracker.end_pipeline()
        return str(tracker.session_id)

    moving, used = (
        called_by(lambda alerts=alerts: (record(alerts), turn(worker), turn(worker)))
        for alerts in (quiet, judging)
    )
    targets = [target for target in internals(BEHIND) if code_of(target) in moving | used]
    assert len(targets) > 100
    recorded: dict[str, str] = {}
    for target in targets:
        recorded[record(quiet if code_of(target) in moving else judging)] = target
        with pytest.MonkeyPatch.context() as patch:
            calls = broken(target, patch)
            turn(worker)
            turn(worker)
            assert not calls() or shows_trouble(tracker.health), f"health hides {target}"
        assert said_twice(caplog) == [], target
        put_aside += tracker.health()["quarantined"]
    turn(worker)
    gc.collect()
    assert put_aside > 0
    moved = recover_quarantined(home, f"sqlite:///{home}/perfdb.sqlite3")
    assert (moved.records, moved.quarantined) == (put_aside, 0)
    sessions = perfdb.History().sessions(last=None).set_index("session_id")
    steps = perfdb.History().steps(last=None).groupby("session_id").size()
    lost = {
        target
        for each, target in recorded.items()
        if (sessions.status.get(each), steps.get(each)) != ("completed", 3)
    }
    assert lost == set()


PARTS = [
    f"perfdb.worker.thread:Worker.{name}"
    for name in ("_announce_open_steps", "_recover_dead", "_be_heard_of")
]
PARTS += [f"perfdb.worker.thread:Worker.{name}" for name in ("_evaluate", "_retire", "_prune", "_watch_log")]


@pytest.mark.parametrize("part", PARTS)
def test_a_bug_in_one_part_of_a_turn_holds_up_no_other(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    (worker,) = recorder._workers.values()
    with monkeypatch.context() as patch:
        calls = broken(part, patch)
        tracker.start_pipeline()
        with tracker.step("work"):
            pass
        tracker.end_pipeline()
        assert turn(worker) > 0
        assert calls() >= 1
    assert shows_trouble(tracker.health)
    assert [step.step_name for step in perfdb.History().session().steps] == ["work"]
    if part.endswith("._evaluate"):
        turn(worker)
    assert tracker.alerts, "it was judged"
