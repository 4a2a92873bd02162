"""Tiers of the tests, by what each one uses: `pytest -m quick -n auto` is a first answer in two minutes.

``postgres`` uses a server, ``browser`` a Chromium, ``process`` starts programs or forks; of those that do
none of these, ``long`` took long when that was last noted (`durations.py`), and ``quick`` are all the others.
Nobody writes the tiers down: fixtures, parameters and the code of a test tell them, and whatever was
overlooked fails, since no ``quick`` or ``long`` test can start a process. ``pytest.mark.process`` is for the
rare test whose code does not show it.
"""

from __future__ import annotations

import dis
import inspect
import multiprocessing.process
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from tests import durations

TIERS = {
    "postgres": "uses a PostgreSQL server",
    "browser": "uses a browser",
    "process": "starts programs or forks",
    "long": "does all its work in this process, but takes long",
    "quick": "does all its work in this process",
}
IN_PROCESS = ("long", "quick")
LONG_S = 0.3
SLOW_FIRST = ("browser", "process", "postgres")  # the last to begin should be short
FIXTURES = {"cluster": "postgres", "own_cluster": "postgres", "chromium": "browser"}
STARTERS = frozenset(
    """subprocess multiprocessing Popen ProcessPoolExecutor create_subprocess_exec create_subprocess_shell
    fork forkpty posix_spawn posix_spawnp""".split()
)
EVENTS = frozenset(
    "subprocess.Popen os.fork os.forkpty os.posix_spawn os.system os.spawn os.exec pty.spawn".split()
)
OURS = f"{Path(__file__).parents[1]}/"

_test_in_process: str | None = None  # which one runs now


def tiers_of(item: pytest.Function, seen: dict[Any, bool], seconds: float) -> set[str]:
    """Return what a test uses, time among it; ``seen`` keeps what is known of functions."""
    found = {tier for tier in TIERS if item.get_closest_marker(tier)}
    found |= {FIXTURES[name] for name in item.fixturenames if name in FIXTURES}
    callspec = getattr(item, "callspec", None)
    if callspec is not None and any(
        isinstance(v, str) and v == "postgresql" for v in callspec.params.values()
    ):
        found.add("postgres")
    fixtures = [
        each[-1].func
        for name, each in item._fixtureinfo.name2fixturedefs.items()
        if name != "run_of_tests"  # it can start the server, for those that ask it
    ]
    if any(starts_processes(function, seen) for function in (item.function, *fixtures)):
        found.add("process")
    return found or {"long" if seconds >= LONG_S else "quick"}


def starts_processes(function: Any, seen: dict[Any, bool]) -> bool:
    """Tell whether the code of a function, or of ours that it calls, names a way to start a process."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(function, FunctionType) or not function.__code__.co_filename.startswith(OURS):
        return False
    if function not in seen:
        seen[function] = False  # for those that call each other
        codes = list(_codes(function.__code__))
        seen[function] = any(not STARTERS.isdisjoint(code.co_names) for code in codes) or any(
            starts_processes(each, seen) and _is_global(name, code)  # the latter takes long to tell
            for code in codes
            for name in code.co_names
            for each in _functions(function.__globals__.get(name))
        )
    return seen[function]


def _is_global(name: str, code: CodeType) -> bool:
    """Tell whether a name is one of the module's, and no attribute."""
    return any(step.argval == name and "GLOBAL" in step.opname for step in dis.get_instructions(code))


def _functions(named: Any) -> list[Any]:
    if isinstance(named, type):
        return [each for each in vars(named).values() if callable(each)]
    return [named]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def mark_and_sort(items: list[pytest.Item]) -> None:
    """Give every test its tiers, and bring those modules first whose tests take long.

    The tests of a module that use the same stay beside each other: they share fixtures.
    """
    seen: dict[Any, bool] = {}
    known = durations.known()
    ranks: dict[pytest.Item, tuple[int, Path]] = {}
    longest: dict[tuple[int, Path], float] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        seconds = known.get(durations.name_of(item.nodeid), 0.0)
        found = tiers_of(item, seen, seconds)
        for tier in found:
            item.add_marker(tier)
        rank = min((SLOW_FIRST.index(tier) for tier in found if tier in SLOW_FIRST), default=9)
        ranks[item] = rank, item.path
        longest[ranks[item]] = max(longest.get(ranks[item], 0.0), seconds)
    items.sort(key=lambda item: (-longest[ranks[item]], ranks[item][0]))


@contextmanager
def guarded(item: pytest.Item) -> Iterator[None]:
    """Let nothing start a process meanwhile, if this is a test that does not say so."""
    global _test_in_process
    _test_in_process = item.nodeid if any(map(item.get_closest_marker, IN_PROCESS)) else None
    try:
        yield
    finally:
        _test_in_process = None


def refuse(what: str) -> None:
    """Fail the test that runs now, if it is one that works in this process."""
    if _test_in_process is not None and not _of_a_library():
        # not an Exception: what recording swallows is perfdb's own failures
        pytest.fail(f"{_test_in_process} works in its own process, but uses {what}: mark it", pytrace=True)


def _of_a_library() -> bool:
    """Tell whether a library looks around: matplotlib asks fc-list when imported, the OpenAI SDK uname."""
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        importing = frame.f_code.co_filename.startswith("<frozen importlib")
        if importing or frame.f_globals.get("__name__") == "platform":
            return True
    return False


def watch() -> None:
    """Have the interpreter ask before it starts a process."""

    def hook(event: str, _: object) -> None:
        if _test_in_process is not None and event in EVENTS:
            refuse(event)

    def start(process: Any) -> None:
        refuse("multiprocessing")
        start_process(process)

    start_process = multiprocessing.process.BaseProcess.start
    multiprocessing.process.BaseProcess.start = start  # type: ignore[method-assign]
    sys.addaudithook(hook)
