"""What the dashboard answers, as types: the JSON of ``/api/v1`` and what the pages show.

Here is what several answers share; what one function answers stands beside it. Names are those of the
report: instants are epoch seconds UTC, durations seconds, sizes bytes. A missing value is null, never 0.
``step_name`` null is the session's total.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field, create_model
from pydantic.dataclasses import dataclass

from perfdb.analysis.rows import AlertState, ExplainedStep, Severity
from perfdb.measures import MEASURES
from perfdb.records import Attempt, Event
from perfdb.store.alerts import AlertEvent, Silence
from perfdb.store.spending import Spending
from perfdb.text import mode_text

Status = Literal["running", "completed", "failed", "interrupted"]


class Answer(BaseModel):
    """The root of every answer; a field takes a record where it holds an answer with the record's names."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    @classmethod
    def from_records(cls, *records: Any, **given: Any) -> Self:
        """Return what is given, and of the other fields what the last record with such a name has."""
        values: dict[str, Any] = {}
        for each in records:
            kind: type = type(each)
            names, read = _read_by(cls, kind)
            values.update(zip(names, read(each), strict=True))
        return cls.model_validate(values | given)


@cache
def _read_by(wanted: type[Answer], kind: type) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """Return the fields that records of a kind have, and what reads them together."""
    own = {*getattr(kind, "__dataclass_fields__", ()), *getattr(kind, "model_fields", ())}
    names = tuple(name for name in wanted.model_fields if name in own or hasattr(kind, name))
    if len(names) < 2:
        return names, lambda each: tuple(getattr(each, name) for name in names)
    return names, attrgetter(*names)


class OfMode(Answer):
    """The root of what is of one pipeline and mode, which ``mode_text`` says in words."""

    pipeline: str
    mode: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mode_text(self) -> str:
        """The mode in words."""
        return mode_text(self.mode)


@dataclass(frozen=True)
class RowOfMode:
    """The root of a row of an analysis that is of one mode."""

    mode: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mode_text(self) -> str:
        """The mode in words."""
        return mode_text(self.mode)


class SeriesName(OfMode):
    """A series that can be asked for."""

    step_name: str | None


if TYPE_CHECKING:
    Measured = Answer
else:  # the root of what is measured: a field per measure
    kinds = {each.name: (float if each.unit == "s" else int) | None for each in MEASURES}
    Measured = create_model(
        "Measured", __base__=Answer, **{name: (kind, ...) for name, kind in kinds.items()}
    )


class Problem(Answer):
    """Why there is no answer, in a sentence that says what to do."""

    detail: str


class HealthAnswer(Answer):
    """That the dashboard runs, and over which database."""

    status: Literal["ok", "database unreadable"]
    version: str
    database: str
    detail: str | None = None


class AlertRow(SeriesName):
    """An alert, as ``History.alerts`` has it."""

    id: int
    rule: str
    kind: str
    severity: Severity
    state: AlertState
    is_open: bool
    metric: str
    unit: str  # of value, baseline and limit
    label: str  # of the metric, as the settings name it
    direction: Literal["up", "down"]
    value: float
    baseline: float | None
    effect: float | None
    limit: float | None
    n: int
    baseline_n: int
    hits: int
    since_session_id: str
    since_time: float
    last_session_id: str
    last_time: float
    opened_at: float
    closed_at: float | None
    silenced: bool
    inhibited_by: int | None
    headline: str
    message: str
    suspect: str | None = None  # what switched when it began, as name=value


# --- sessions ------------------------------------------------------------------------------------------


class SessionRow(OfMode):
    """One session in a list."""

    session_id: str
    status: Status
    fast_mode: bool | None
    success: bool | None
    product_count: int | None
    start_time: float
    end_time: float | None
    total_duration: float | None
    error_message: str | None
    tags: list[str]
    cost_usd: float | None = None  # where any was recorded
    tokens: float | None = None  # that went in and came out
    usual_s: float | None = None  # in a list of sessions: the median of late of its pipeline and mode
    more: dict[str, Any] = Field(default_factory=dict)  # what ``columns`` asked for


class SessionPage(Answer):
    """A page of sessions; ``after`` and ``before`` are the keys of the next and the previous page.

    A text is looked for in the newest sessions that fit, as many as are looked through in time:
    ``searched_since`` is the start of the oldest of them if there are earlier ones; go on with it as
    ``until``.
    """

    rows: list[SessionRow]
    after: str | None
    before: str | None
    count: int
    count_is_exact: bool  # false: there are more than ``count``, or may be before ``searched_since``
    searched_since: float | None = None
    pipelines: list[str]
    tags: list[str]


class AnyStep(Measured):
    """The root of what is of one step."""

    seq: int
    parent_seq: int | None
    lane: int
    step_name: str
    start_time: float
    end_time: float | None
    duration: float | None
    success: bool | None
    status: Status
    error_message: str | None
    cpu_percent: float | None
    additional_data: dict[str, Any]


class StepRow(AnyStep):
    """One step; ``critical_s`` are the seconds in which it held the run up, or a step inside it did.

    ``own_s``: those of the steps inside it left out; of all steps they add up with the time of no step.
    """

    critical_s: float | None
    own_s: float | None
    usual_s: float | None  # of one that is open, its median of late
    attempts: list[Attempt]
    events: list[Event]


class BarRow(Answer):
    """A step in a row of the waterfall; seconds since the start of the session."""

    seq: int
    start: float
    end: float
    status: Status
    so_far: str  # of one that is open, in words; else empty
    critical: list[tuple[float, float]]
    waits: list[tuple[float, float]]  # between its attempts


class TimelineRow(Answer):
    """Bars that do not overlap, of steps of one name and parent; an empty label continues the last."""

    label: str
    depth: int
    count: int
    busy_s: float
    critical_s: float
    bars: list[BarRow]
    hidden_bars: int  # shorter ones that are too many for a page


class TimelineAnswer(Answer):
    """The waterfall; the critical seconds of depth 0 and ``other_s`` make ``wall_s``, once it has ended."""

    wall_s: float
    other_s: float
    headline: str
    rows: list[TimelineRow]
    hidden_rows: int  # more rows than a page can hold


class PathSegment(Answer):
    """A part of the critical path, in seconds since the start; ``seq`` null is the time of no step."""

    start: float
    end: float
    seq: int | None
    step_name: str | None


class SampleSeries(Answer):
    """CPU (percent of a core) and resident memory over the session, at most 2,000 points."""

    time: list[float]
    cpu_percent: list[float]
    rss_bytes: list[int]
    of: int  # samples that were recorded


class ExplanationAnswer(Answer):
    """Why a session took as long as it did; the ``excess_s`` add up to the session's."""

    session_id: str
    wall_s: float
    usual_s: float | None
    excess_s: float | None
    percentile: float | None
    n: int
    sentence: str
    rows: list[ExplainedStep]


class SessionAnswer(Measured):
    """One session in full; of one that runs, every duration is taken at ``now``."""

    now: float  # of the server's clock
    usual_s: float | None  # of one that runs, the median of late
    session: SessionRow
    usual_cost_usd: float | None  # the median of the sessions that explain it
    attributes: dict[str, Any]
    host: str | None
    pid: int | None
    python_version: str | None
    perfdb_version: str | None
    git_commit: str | None
    git_branch: str | None
    command: str | None
    timeline: TimelineAnswer
    critical_path: list[PathSegment]
    steps: list[StepRow]
    hidden_steps: int  # more than a page can hold
    samples: SampleSeries
    explanation: ExplanationAnswer | None
    not_explained: str | None  # why there is no explanation
    previous_session_id: str | None  # the one before, of the same pipeline and mode
    next_session_id: str | None
    usual_session_id: str | None  # the one in its recent past whose total is the median: the baseline
    alerts: list[AlertRow]


# --- what is slow --------------------------------------------------------------------------------------


class SeriesNow(SeriesName):
    """How a series does now, beside its past.

    ``p50`` and ``p95`` are of the newest ``n`` runs, where ``baseline_of`` is an alert of those since its
    move, p95 with 20 or more of them. ``baseline`` is what a
    person pinned; else that of the alert that is open; else the median of the ``baseline_n`` runs before,
    ``at_these_hours``: where it seems far off, but for the wave that the day of the series has. ``clear``:
    whether the change from the runs before is more than chance among them explains, and still there.
    """

    n: int
    failures: int  # among the newest ``runs``
    runs: int
    p50: float | None
    p95: float | None
    baseline: float | None
    baseline_n: int
    baseline_of: Literal["pin", "alert", "past"] | None
    at_these_hours: bool = False
    clear: bool = True
    change_percent: float | None
    last: float | None
    last_time: float | None
    sparkline: list[float]
    alert_id: int | None


class OpenStep(Answer):
    """A step that runs now; ``usual_s`` is its recent median."""

    step_name: str
    start_time: float
    usual_s: float | None


class RunningSession(OfMode):
    """A session that runs now."""

    session_id: str
    start_time: float
    usual_s: float | None
    steps_done: int
    open_steps: list[OpenStep]


class Live(Answer):
    """What moves: pushed by ``/api/v1/events`` whenever the database changes."""

    version: int  # rises with every change that was noticed
    now: float  # of the server's clock
    running: list[RunningSession]
    sessions: list[SessionRow]  # the newest that ended
    firing: int  # open alerts that fire
    newest_alert_id: int | None


@dataclass(frozen=True, kw_only=True)
class SpendingRow(Spending, RowOfMode):
    """What a pipeline and mode costs, today and per run, see ``History.spending``."""


class PipelineNow(OfMode):
    """How the runs of a pipeline and mode do now: their total, and the worst that is known of its steps.

    ``state``: ``critical`` or ``warning`` where an alert fires, ``failing`` where many of the newest runs
    failed, ``slower`` where a step or the whole takes clearly longer, ``new`` with too few runs to say, or
    too few before the window, else ``good``.
    """

    state: Literal["critical", "warning", "failing", "slower", "new", "good"]
    why: str  # in words
    n: int  # runs that count, of those that are now
    failures: int
    failed_percent: float | None
    runs_per_day: float | None
    p50: float | None
    p95: float | None
    baseline: float | None
    change_percent: float | None
    clear: bool = True  # the change, as in ``SeriesNow``
    cost_usd: float | None  # mean per run, where it is recorded
    alert_id: int | None  # of its total's open alert
    alerts: int  # open ones
    last_time: float | None
    sparkline: list[float]


class Overview(Answer):
    """The first page: health now; ``pipelines`` worst first."""

    pipelines: list[PipelineNow]

    live: Live
    database: str
    session_count: int
    series: list[SeriesNow]
    alerts: list[AlertRow]
    spending: list[SpendingRow]  # empty where neither dollars nor tokens were recorded


class Period(Answer):
    """The runs of a series that themselves began within an hour, a day or a week."""

    start_time: float
    n: int
    failures: int
    p50: float | None
    p95: float | None


class Points(Answer):
    """Runs of a series, oldest first; at most 2,000, extremes kept; ``of`` is how many there are.

    ``median`` is the height of the median's line at each, where there is one; 8 of 10 runs behind it lie
    between ``low`` and ``high``.
    """

    session_id: list[str]
    start_time: list[float]
    duration: list[float]
    failed: list[bool]
    median: list[float | None]
    low: list[float | None]
    high: list[float | None]
    of: int


class Limit(Answer):
    """A configured threshold."""

    rule: str
    limit: float
    severity: Severity
    over: int


class Change(Answer):
    """Where the level moved; ``start_time`` and ``session_id`` are of the first run of the new level."""

    session_id: str
    start_time: float
    before_median: float
    after_median: float
    before_n: int
    after_n: int
    effect_percent: float | None
    without_wave: bool
    nearest_only: bool
    p_value: float | None


class Mark(Answer):
    """What happened while the runs of a series ran: an annotation (``note``), or a switch of theirs."""

    kind: Literal["note", "commit", "host", "Python", "perfdb", "model", "version"]
    text: str
    at: float


class TrendAnswer(Answer):
    """How long the runs of one series took, and where that is going."""

    series: SeriesName | None  # none: nothing fits
    choices: list[SeriesName]
    hidden_choices: int  # series that are too many for a list; each has its trend all the same
    sentence: str
    n: int
    failures: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    longest: float | None
    slope_percent_per_session: float | None
    slope_percent_per_day: float | None
    p_value: float | None
    drift_percent: float | None  # over all these runs, where that is sure and 5 or more
    points: Points
    top: float  # of the scale, which begins at 0 (s)
    beyond: str  # how many runs are larger, and how far; empty for none
    pauses: list[tuple[float, float]]  # from one run to the next: no line crosses them
    shown_by: Literal["run", "hour", "day", "week"]  # what a point of the median's line sums up
    by_hour: bool = False  # the lines rise and fall with the wave of the day or the week
    cut: str  # which part of the window was left out; empty if none
    periods: list[Period]
    period: Literal["day", "week"]
    zone: str = "UTC"  # whose days and weeks the periods are; those of ``bands`` are of UTC
    limits: list[Limit]
    changes: list[Change]
    alerts: list[AlertRow]
    bands: list[Period]  # of more than 2,000 runs all of them, by hour, day or week
    bands_by: Literal["hour", "day", "week"]
    marks: list[Mark]  # what happened meanwhile
    measure: str = "duration"  # of which all values are, in this unit, and how it is called
    unit: str = "s"
    label: str = "duration"
    better: Literal["lower", "higher"] = "lower"


class MeasureRow(Answer):
    """What was measured of one step, or of the sessions, see ``History.measures``."""

    pipeline: str
    mode: str
    step_name: str | None
    measure: str
    unit: str
    label: str
    better: Literal["lower", "higher"]
    total: Literal["sum", "max", "last"]
    n: int
    low: float
    median: float
    high: float
    last: float
    last_session_id: str
    last_time: float


class MeasuresAnswer(Answer):
    """What was measured, by pipeline and mode."""

    rows: list[MeasureRow]
    note: str | None = None  # what was left out, because it is too much for one answer


# --- alerts --------------------------------------------------------------------------------------------


class AlertPage(Answer):
    """Alerts, the newest first; ``after`` is the key to ask for the next page with."""

    rows: list[AlertRow]
    after: str | None
    counts: dict[str, int]  # per state
    silences: list[Silence]  # in force, the newest of them
    more_silences: int  # that are in force as well


class AlertAnswer(Answer):
    """One alert in full."""

    alert: AlertRow
    group: list[AlertRow]  # for which it speaks
    events: list[AlertEvent]
    silences: list[Silence]
    found: str | None  # the sum that opened it
    arithmetic: str | None  # the newest one


# --- changes -------------------------------------------------------------------------------------------


class Decision(BaseModel):
    """What a person says about an alert."""

    model_config = ConfigDict(extra="forbid")
    note: str | None = None


class SilenceOrder(BaseModel):
    """For how long an alert is silenced."""

    model_config = ConfigDict(extra="forbid")
    seconds: float = Field(86_400.0, gt=0, lt=1e9)
    reason: str | None = None
