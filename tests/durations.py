"""How long each test took when that was last noted: `pytest -n auto --note-durations`, on a quiet machine.

Only what takes long is kept, one line for a test with all its parameters: the seconds of the longest.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("durations.txt")
LEAST_S = 0.25  # what takes less is not kept


def name_of(nodeid: str) -> str:
    """Return a test's name without its parameters."""
    return nodeid.partition("[")[0]


def known() -> dict[str, float]:
    """Return the seconds of each test that takes long."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    return {name: float(seconds) for seconds, name in (line.split(" ", 1) for line in lines)}


class Durations:
    """Notes what the tests of this run take."""

    def __init__(self) -> None:
        self._took: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._took[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        longest = {name: s for name, s in known().items() if (FILE.parents[1] / name.split("::")[0]).exists()}
        for name in {name_of(nodeid) for nodeid in self._took}:
            longest.pop(name, None)
        for nodeid, seconds in self._took.items():
            if seconds >= LEAST_S:
                longest[name_of(nodeid)] = max(longest.get(name_of(nodeid), 0.0), seconds)
        rows = sorted(longest.items(), key=lambda row: (-row[1], row[0]))
        FILE.write_text("".join(f"{seconds:.2f} {name}\n" for name, seconds in rows), encoding="utf-8")
