"""The data of a step, from its start to its record; ``step`` does the timing.

A module of its own, because a session keeps its steps and writes their lines, and a step knows its session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from perfdb.recording.context import NEW, Node

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from perfdb.recording.outcomes import Expected


class Timed(Node):
    """A step with all that its session needs to know."""

    # What most steps never change stands on the class: one store less for each, on the host's time.
    outer: Node | None = None  # what was current when it began
    # known once it runs
    seq: int
    parent_seq: int | None = None
    lane: int
    depth = 0  # a step of the session itself
    detail: str | None = None  # what tells it from others of its name, in its lines on the console
    name_json: bytes
    begun = inf  # monotonic clock
    announced = False  # as open, in the journal
    kept = True  # in memory, for the report
    # known once it has ended
    duration_us: int | None = None
    cpu_us = 0
    success: bool | None = None
    interrupted = False  # it was called off: an end without success that is no failure
    error_message: str | None = None
    expected: Expected = ()  # exceptions that call it off
    # readings of the monitor, bytes
    rss_peak = 0
    rss_sum = 0
    rss_count = 0
    used: Mapping[str, float] = {}  # of further counters, first as they were when it began
    has_parts = False  # it has some of the former or the following
    attempts: Sequence[dict[str, Any]] = ()
    events: Sequence[tuple[str, float, dict[str, Any]]] = ()
    _state = NEW
    _frame: FrameType | None = None  # whose ``with`` block it is, while it is open
    _entered_at = -1  # the instruction in that frame
    _ended_elsewhere = False  # by ``end_pipeline``, or its end is for another process
    name: str
    data: dict[str, Any]

    @property
    def duration(self) -> float | None:
        """Seconds, once it has ended."""
        return None if self.duration_us is None else self.duration_us / 1e6

    @property
    def cpu_s(self) -> float | None:
        """CPU seconds of the process meanwhile, once it has ended."""
        return None if self.duration_us is None else self.cpu_us / 1e6

    def leave_to_parent(self) -> None:
        """Leave its end to another process: this one is a fork, whose steps are inside of it all the same."""
        self._ended_elsewhere = True

    @property
    def rss_mean(self) -> int:
        """Mean resident bytes of its readings."""
        return self.rss_sum // self.rss_count if self.rss_count else 0

    def observe(self, rss_bytes: int) -> None:
        """Take a reading of the monitor."""
        self.rss_peak = max(self.rss_peak, rss_bytes)
        self.rss_sum += rss_bytes
        self.rss_count += 1

    def measured(self) -> dict[str, Any]:
        """Return what was measured of it by now."""
        return {
            "cpu_s": None if self.cpu_s is None else round(self.cpu_s, 6),
            "rss_peak_bytes": self.rss_peak or None,
            "rss_mean_bytes": self.rss_mean or None,
            **self.used,
        }
