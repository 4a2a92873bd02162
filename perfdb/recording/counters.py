"""What a process uses up beside CPU time: name of the measure → function that counts since the process began.

They are read in the host's thread when a step or a session begins and ends: each must take microseconds and
never raise. Empty, it costs a step nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

COUNTERS: dict[str, Callable[[], float]] = {}


def read() -> dict[str, float]:
    """Return the counters as they are."""
    return {name: count() for name, count in COUNTERS.items()}


def used_since(before: Mapping[str, float]) -> dict[str, float]:
    """Return what was used since an earlier reading."""
    return {
        name: round(max(0.0, count - before[name]), 6) for name, count in read().items() if name in before
    }
