"""The facts that everyone shares: a session, its steps, its samples; and what was found to be wrong.

A record is made when something has been measured or read, and is never changed. Names
are those of the JSON report; instants are epoch seconds (UTC), durations are seconds of
the monotonic clock, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, timezone
from typing import Any

from perfdb.vocabulary import COMPLETED, OPEN_STATES, UNCOUNTED_TAGS


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


# not frozen: it takes three times as long to make one, and there are many
@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class Step:
    """One timed part of a session.

    ``duration`` and ``success`` are None while it runs, and for ever when the
    writer died in it. ``interrupted`` says that it was called off: it has an end and a reason
    (``error_message``), no success, and is no failure. ``seq`` counts from 0 in the order
    of starts; ``parent_seq`` is the enclosing step; ``lane`` numbers the thread it ran in
    (0 is the first). ``cpu_wait_s`` is how long that thread was ready and the machine ran something
    else; None where nobody tells, as of less than 1 ms.
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
    cpu_wait_s: float | None = None
    interrupted: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended without success and was not called off."""
        return self.success is False and not self.interrupted

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
    """One recorded run of a pipeline, with its steps in the order of their starts.

    ``interrupted`` with a ``total_duration`` was called off, for the reason in ``error_message``;
    without one its process died.
    """

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
    cpu_wait_s: float | None = None
    utc_offset: int = 0
    host: str | None = None
    pid: int | None = None
    python_version: str | None = None
    perfdb_version: str | None = None
    git_commit: str | None = None
    command: str | None = None
    git_branch: str | None = None

    @property
    def end_time(self) -> float | None:
        """Epoch seconds, or None while it runs."""
        return None if self.total_duration is None else self.start_time + self.total_duration

    @property
    def counted(self) -> bool:
        """Whether its durations are in baselines and trends."""
        return (
            self.status == COMPLETED
            and self.total_duration is not None
            and counts(self.success, self.attributes, self.mode, self.tags)
        )

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


_KINDS = {"float | None": float, "int | None": int, "str | None": str, "bool | None": bool}


def _further(record: type, last: str) -> dict[str, type]:
    """Return the fields behind ``last``, each with the kind of its one value."""
    names = [each.name for each in fields(record)]
    behind = fields(record)[names.index(last) + 1 :]
    return {each.name: _KINDS[each.type] for each in behind if isinstance(each.type, str)}


# What passes by its name alone through report, journal, table and frame, in this order: a field that is added
# at the end of ``Session`` or ``Step`` needs a column, and somebody who says it.
FURTHER_OF_SESSION = _further(Session, "utc_offset")
FURTHER_OF_STEP = _further(Step, "interrupted")
ENVIRONMENT = ("host", "python_version", "perfdb_version", "git_commit", "command", "git_branch")
"""What of it many sessions share: it is stored once."""


def is_cached(data: object) -> bool:
    """Say whether attributes or a step's data say that the answer came from a cache: ``cached=True``."""
    return isinstance(data, Mapping) and data.get("cached") is True


def counts(success: bool | None, attributes: object, mode: str, tags: Iterable[str] = ()) -> bool:
    """Say whether a session that completed is in baselines and trends, and its steps with it.

    Where ``cached`` makes a mode of its own, answers from a cache count there.
    """
    fresh = not is_cached(attributes) or '"cached":' in mode
    return fresh and success is not False and not any(tag in UNCOUNTED_TAGS for tag in tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A finding that is kept, deduplicated and notified.

    ``step_name`` None is the session's total. ``value``, ``baseline``, ``limit`` and ``bound`` are in the
    metric's unit, those of rules that judge shares of runs are shares; ``effect`` is the percent by which
    ``value`` differs from the baseline, or from the limit of a rule that knows no baseline; of shares the
    percentage points. The baseline is that of the moment it opened.
    """

    rule: str
    kind: str
    severity: str
    state: str
    pipeline: str
    step_name: str | None
    metric: str
    mode: str
    direction: str  # "up" or "down": where worse is
    value: float
    since_session_id: str
    since_time: float
    last_session_id: str  # the newest that was judged
    last_time: float
    opened_at: float
    updated_at: float
    id: int = 0  # 0 until the store gave one
    baseline: float | None = None
    effect: float | None = None
    limit: float | None = None
    bound: float | None = None  # a run at or inside it is a good one
    n: int = 1  # runs that make the value
    baseline_n: int = 0
    hits: int = 1  # sessions that confirmed it
    good: int = 0  # good runs in a row
    reopened: int = 0
    active: bool = True  # the next verdict on its fingerprint looks at it
    inhibited_by: int | None = None  # the alert that speaks for it
    silenced: bool = False  # when it was read; in the database: at the last verdict
    closed_at: float | None = None
    notified_at: float | None = None
    notified_severity: str | None = None
    headline: str = ""
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether it waits, fires, is acknowledged or historic."""
        return self.state in OPEN_STATES

    @property
    def suspect(self) -> str | None:
        """What switched when it began, as ``name=value``; None where nothing did, or nobody looked."""
        cause = self.details.get("cause")
        suspects = cause.get("suspects") if isinstance(cause, Mapping) else None
        first = suspects[0] if isinstance(suspects, list) and suspects else None
        return f"{first.get('name')}={first.get('after')}" if isinstance(first, Mapping) else None

    def __str__(self) -> str:
        return self.headline

    def as_dict(self) -> dict[str, Any]:
        """Return its public row: the first columns of ``History.alerts()``."""
        return {name: getattr(self, name) for name in ALERT_ROW}


ALERT_ROW = (
    "id", "rule", "severity", "state", "pipeline", "step_name", "metric", "mode", "value", "baseline",
    "effect", "since_session_id", "message",
)  # fmt: skip
