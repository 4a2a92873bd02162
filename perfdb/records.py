"""The facts that everyone shares: a session, its steps, its samples.

They are frozen: a record is made when something has been measured or read, and
is never changed. Names are those of the JSON report; instants are epoch seconds
(UTC), durations are seconds of the monotonic clock, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from perfdb.vocabulary import (
    COMPLETED,
    COMPOSITE_CREATION,
    DESIGN_STEPS,
    FAILED,
    IMAGE_GENERATION,
    INTERRUPTED,
    PRODUCT_SEARCH,
    RUNNING,
    STATUSES,
    VISION_ANALYSIS,
    check_session_id,
    mode_of,
)

__all__ = [
    "COMPLETED",
    "COMPOSITE_CREATION",
    "DESIGN_STEPS",
    "FAILED",
    "IMAGE_GENERATION",
    "INTERRUPTED",
    "PRODUCT_SEARCH",
    "RUNNING",
    "STATUSES",
    "VISION_ANALYSIS",
    "Attempt",
    "Event",
    "Sample",
    "Session",
    "Step",
    "check_session_id",
    "mode_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at a step's work; ``wait`` is the back-off in seconds before it began."""

    start_time: float
    duration: float
    wait: float = 0.0
    success: bool = True
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened at one instant of a step."""

    name: str
    time: float
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of the process: CPU of all its threads (100 = one core), resident memory."""

    time: float
    cpu_percent: float
    rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One timed part of a session.

    ``duration`` and ``success`` are None while it runs, and for ever when the
    writer died in it. ``seq`` counts from 0 in the order of starts; ``parent_seq``
    is the enclosing step; ``lane`` numbers the thread it ran in (0 is the first).
    """

    step_name: str
    start_time: float
    duration: float | None
    success: bool | None
    error_message: str | None = None
    additional_data: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    parent_seq: int | None = None
    lane: int = 0
    attempts: tuple[Attempt, ...] = ()
    events: tuple[Event, ...] = ()
    cpu_s: float | None = None
    rss_peak_bytes: int | None = None
    rss_mean_bytes: int | None = None

    @property
    def end_time(self) -> float | None:
        """Epoch seconds, or None while it runs."""
        return None if self.duration is None else self.start_time + self.duration

    @property
    def cpu_percent(self) -> float | None:
        """CPU seconds of the whole process per second of the step; 100 is one core."""
        return None if self.cpu_s is None or not self.duration else 100.0 * self.cpu_s / self.duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One recorded run of a pipeline, with its steps in the order of their starts."""

    session_id: str
    pipeline: str
    start_time: float
    total_duration: float | None
    status: str
    fast_mode: bool | None = None
    success: bool | None = None
    product_count: int | None = None
    error_message: str | None = None
    mode: str = "{}"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    samples: tuple[Sample, ...] = ()
    cpu_s: float | None = None
    rss_peak_bytes: int | None = None
    rss_mean_bytes: int | None = None
    utc_offset: int = 0
    host: str | None = None
    pid: int | None = None
    python_version: str | None = None
    perfdb_version: str | None = None
    git_commit: str | None = None
    command: str | None = None

    @property
    def end_time(self) -> float | None:
        """Epoch seconds, or None while it runs."""
        return None if self.total_duration is None else self.start_time + self.total_duration

    @property
    def timestamp(self) -> str:
        """The start as the report says it: local time of the writer, ISO 8601, without a zone."""
        zone = timezone(timedelta(seconds=self.utc_offset))
        return datetime.fromtimestamp(self.start_time, zone).replace(tzinfo=None).isoformat()

    @property
    def step_durations(self) -> dict[str, float]:
        """Seconds per step name; repeated names add up."""
        durations: dict[str, float] = {}
        for step in self.steps:
            if step.duration is not None:
                durations[step.step_name] = durations.get(step.step_name, 0.0) + step.duration
        return durations
