"""What the dashboard answers, as types: the JSON of ``/api/v1`` and what the pages show.

Names are those of the report: instants are epoch seconds UTC, durations seconds, sizes bytes. A missing
value is null, never 0. ``step_name`` null is the session's total.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, computed_field

from perfdb.store.alerts import AlertEvent
from perfdb.text import mode_text

Status = Literal["running", "completed", "failed", "interrupted"]
RowKind = Literal["step", "total", "other"]  # other: the time of no step
Severity = Literal["info", "warning", "critical"]
AlertState = Literal["pending", "firing", "acknowledged", "historic", "resolved", "expected", "false alarm"]


class Answer(BaseModel):
    """The root of every answer; a field takes a record where it holds an answer with the record's names."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    @classmethod
    def from_records(cls, *records: object, **more: Any) -> Self:
        """Return what records have of the fields, by their names, and what is given beside them."""
        fields = cls.model_fields
        found = {name: getattr(each, name) for each in records for name in fields if hasattr(each, name)}
        return cls(**found | more)


class OfMode(Answer):
    """The root of what is of one pipeline and mode, which ``mode_text`` says in words."""

    pipeline: str
    mode: str

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mode_text(self) -> str:
        """The mode in words."""
        return mode_text(self.mode)


class SeriesName(OfMode):
    """A series that can be asked for."""

    step_name: str | None


class Problem(Answer):
    """Why there is no answer, in a sentence that says what to do."""

    detail: str


class HealthAnswer(Answer):
    """That the dashboard runs, and over which database."""

    status: Literal["ok", "database unreadable"]
    version: str
    database: str
    detail: str | None = None


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


class SessionPage(Answer):
    """A page of sessions; ``after`` and ``before`` are the keys of the next and the previous page."""

    rows: list[SessionRow]
    after: str | None
    before: str | None
    count: int
    count_is_exact: bool  # false: there are more than ``count``
    pipelines: list[str]
    tags: list[str]


class AttemptRow(Answer):
    """One try at a step's work."""

    start_time: float
    duration: float
    wait: float
    success: bool
    error_message: str | None


class EventRow(Answer):
    """Something that happened at one instant of a step."""

    name: str
    time: float
    data: dict[str, Any]


class StepRow(Answer):
    """One step; ``critical_s`` are the seconds in which it held the run up, or a step inside it did.

    ``own_s``: those of the steps inside it left out; of all steps they add up with the time of no step.
    """

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
    critical_s: float | None
    own_s: float | None
    cpu_s: float | None
    cpu_percent: float | None
    rss_peak_bytes: int | None
    rss_mean_bytes: int | None
    cpu_wait_s: float | None
    additional_data: dict[str, Any]
    attempts: list[AttemptRow]
    events: list[EventRow]


class BarRow(Answer):
    """A step in a row of the waterfall; seconds since the start of the session."""

    seq: int
    start: float
    end: float
    status: Status
    critical: list[tuple[float, float]]


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
    """The waterfall; the critical seconds of depth 0 and ``other_s`` add up to ``wall_s``."""

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


class ExplainedStep(Answer):
    """What one step added to the session's time over what is usual."""

    step_name: str
    seconds: float | None
    usual_s: float | None
    excess_s: float | None
    percentile: float | None
    n: int | None
    busy_s: float | None
    attempts: float | None
    retry_s: float | None
    wait_s: float | None
    queue_s: float | None
    cpu_s: float | None
    usual_cpu_s: float | None
    rss_peak_bytes: float | None
    usual_rss_peak_bytes: float | None
    cause: str | None
    kind: RowKind


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


class SessionAnswer(Answer):
    """One session in full."""

    session: SessionRow
    attributes: dict[str, Any]
    cpu_s: float | None
    rss_peak_bytes: int | None
    rss_mean_bytes: int | None
    cpu_wait_s: float | None
    host: str | None
    pid: int | None
    python_version: str | None
    perfdb_version: str | None
    git_commit: str | None
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

    ``p50`` and ``p95`` are of the newest ``n`` runs, p95 with 20 or more of them. ``baseline`` is what a
    person pinned; else that of the alert that is open; else the median of the ``baseline_n`` runs before.
    """

    n: int
    failures: int
    p50: float | None
    p95: float | None
    baseline: float | None
    baseline_n: int
    baseline_of: Literal["pin", "alert", "past"] | None
    change_percent: float | None
    last: float | None
    last_time: float | None
    sparkline: list[float]
    alert_id: int | None


class OpenStep(Answer):
    """A step that runs now; ``usual_s`` is its median of late."""

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


class Overview(Answer):
    """The first page: health now."""

    live: Live
    database: str
    session_count: int
    series: list[SeriesNow]
    alerts: list[AlertRow]


class Period(Answer):
    """One day (UTC) or week of a series."""

    start_time: float
    n: int
    failures: int
    p50: float | None
    p95: float | None


class Points(Answer):
    """Runs of a series, oldest first; at most 2,000, extremes kept; ``of`` is how many there are.

    ``median`` is the height of the median's line at each, where there is one.
    """

    session_id: list[str]
    start_time: list[float]
    duration: list[float]
    failed: list[bool]
    median: list[float | None]
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
    p_value: float | None


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
    cut: str  # what of the window was left out; empty for nothing
    periods: list[Period]
    period: Literal["day", "week"]
    limits: list[Limit]
    changes: list[Change]
    alerts: list[AlertRow]


class Bottleneck(OfMode):
    """What one step costs the sessions of a pipeline and mode, see ``History.bottlenecks``."""

    step_name: str
    inside: str | None
    sessions: int
    n: int
    critical_s: float | None
    busy_s: float | None
    share_percent: float | None
    variance_percent: float | None
    gain_x2_s: float | None
    gain_max_s: float | None
    workers: int | None
    pool_percent: float | None
    straggler_ratio: float | None
    kind: RowKind


class BottlenecksAnswer(Answer):
    """The steps by the seconds they put on the critical path, the costliest first."""

    rows: list[Bottleneck]
    pipelines: list[str]
    note: str | None = None  # what was left out, because it is too much for one answer


class RecordedStep(Answer):
    """One step, with the columns of ``History.steps``."""

    session_id: str
    pipeline: str
    step_name: str
    seq: int
    parent_seq: int | None
    lane: int
    start_time: float
    end_time: float | None
    duration: float | None
    success: bool | None
    status: Status
    error_message: str | None
    additional_data: dict[str, Any]
    attempts: list[dict[str, Any]]
    events: list[dict[str, Any]]
    cpu_s: float | None
    cpu_percent: float | None
    rss_peak_bytes: int | None
    rss_mean_bytes: int | None
    cpu_wait_s: float | None
    fast_mode: bool | None
    mode: str
    started_at: str | None
    ended_at: str | None
    counted: bool


class StepsAnswer(Answer):
    """The steps of the newest sessions that fit, oldest session first."""

    rows: list[RecordedStep]
    note: str | None = None  # what was left out, because it is too much for one answer


class Violation(Answer):
    """One run that broke a limit, see ``History.violations``."""

    session_id: str
    start_time: float
    pipeline: str
    mode: str
    step_name: str | None
    metric: str
    value: float
    limit: float
    excess: float
    excess_percent: float
    rule: str
    kind: str
    severity: Severity


class ViolationsAnswer(Answer):
    """The runs that broke a ``max`` or ``min`` rule, oldest first."""

    rows: list[Violation]
    note: str | None = None  # what was left out, because it is too much for one answer


class Regression(Answer):
    """Where the level of a series moved, see ``History.regressions``."""

    pipeline: str
    step_name: str | None
    mode: str
    against: Literal["level", "pinned"]
    since_session_id: str
    since_time: float
    before_median: float | None
    after_median: float | None
    difference_s: float | None
    effect: float | None
    before_n: int
    after_n: int
    p_value: float | None
    first_session_id: str
    last_session_id: str
    lasts: bool
    event_session_id: str
    total_s: float | None
    contributes_percent: float | None
    parts: list[dict[str, Any]]
    suspects: list[dict[str, Any]]
    cause: str
    confounded: bool
    alert_id: int | None
    alert_state: AlertState | None


class RegressionsAnswer(Answer):
    """Where the level of any series moved for the worse, or for the better, oldest first."""

    rows: list[Regression]
    note: str | None = None  # what was left out, because it is too much for one answer


class WhatIf(Answer):
    """What a session would take if a step took ``factor`` of its time: a replay, not a guess."""

    pipeline: str
    mode: str
    step_name: str
    factor: float
    sessions: int  # that were replayed
    wall_s: float | None  # mean, as recorded
    replayed_s: float | None  # mean, replayed
    gain_s: float | None
    gain_percent: float | None
    sentence: str


class SideBySide(Answer):
    """One step of two sessions; the critical seconds add up to the total's."""

    step_name: str
    a_s: float | None
    b_s: float | None
    difference_s: float | None
    difference_percent: float | None
    a_critical_s: float | None
    b_critical_s: float | None
    critical_difference_s: float | None
    kind: RowKind


class SessionsCompared(Answer):
    """Two sessions step by step."""

    kind: Literal["sessions"] = "sessions"
    a: SessionRow
    b: SessionRow
    sentence: str
    rows: list[SideBySide]


class GroupRow(OfMode):
    """One series of two groups of sessions."""

    step_name: str
    a_n: int
    b_n: int
    a_median: float | None
    b_median: float | None
    difference_s: float | None
    difference_percent: float | None
    low_s: float | None
    high_s: float | None
    effect: float | None
    kind: RowKind


class GroupsCompared(Answer):
    """Two groups of sessions."""

    kind: Literal["groups"] = "groups"
    by: str
    a: Any
    b: Any
    sentence: str
    rows: list[GroupRow]
    confounded: list[str]
    left_out: list[Any]


# --- alerts --------------------------------------------------------------------------------------------


class AlertRow(SeriesName):
    """An alert, as ``History.alerts`` has it."""

    id: int
    rule: str
    kind: str
    severity: Severity
    state: AlertState
    is_open: bool
    metric: str
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


class SilenceRow(Answer):
    """What nobody wants to hear of until ``expires_at``; null fits everything."""

    id: int
    rule: str | None
    pipeline: str | None
    step_name: str | None
    alert_id: int | None
    reason: str | None
    created_at: float
    expires_at: float


class AlertPage(Answer):
    """Alerts, the newest first; ``after`` is the key to ask for the next page with."""

    rows: list[AlertRow]
    after: str | None
    counts: dict[str, int]  # per state
    silences: list[SilenceRow]  # in force


class AlertAnswer(Answer):
    """One alert in full."""

    alert: AlertRow
    group: list[AlertRow]  # for which it speaks
    events: list[AlertEvent]
    silences: list[SilenceRow]
    found: str | None  # the sum that opened it
    arithmetic: str | None  # the newest one


class RuleRow(Answer):
    """A rule with what it has done so far."""

    rule: str
    kind: str
    severity: Severity
    pipeline: str | None
    step_name: str | None
    everything: bool  # it watches the total and every step
    metric: str
    mode: dict[str, Any] | None
    limit: float | None
    limit_text: str  # with its unit: of the metric, a share or a percentage; empty where there is no limit
    percent: float | None
    default: bool
    state: Literal["firing", "quiet", "too little history", "no data"]
    series: int
    alerts: int
    false_alarms: int
    historic: int  # alerts of old data, which are in none of these
    precision: float | None
    last_evaluated_run_at: float | None


class RulesAnswer(Answer):
    """Every configured rule."""

    rows: list[RuleRow]


class RuleHit(Answer):
    """A run that a rule would have flagged."""

    session_id: str
    start_time: float
    pipeline: str
    step_name: str | None
    mode: str
    value: float
    value_text: str
    arithmetic: str


class RuleAnswer(Answer):
    """One rule: what it says of the newest runs, and what it would have flagged among the last ones."""

    rule: RuleRow
    verdicts: list[RuleVerdict]
    judged: int  # runs that were judged for ``flagged``
    flagged: int
    hits: list[RuleHit]  # the newest of them


class RuleVerdict(SeriesName):
    """What a rule says of the newest run of a series."""

    session_id: str
    start_time: float
    hit: bool
    enough: bool
    arithmetic: str


# --- changes -------------------------------------------------------------------------------------------


class Decision(BaseModel):
    """What a person says about an alert."""

    model_config = ConfigDict(extra="forbid")
    note: str | None = None


class SilenceOrder(BaseModel):
    """For how long nobody wants to hear of an alert."""

    model_config = ConfigDict(extra="forbid")
    seconds: float = Field(86_400.0, gt=0, lt=1e9)
    reason: str | None = None


SessionAnswer.model_rebuild()
Overview.model_rebuild()
TrendAnswer.model_rebuild()
RuleAnswer.model_rebuild()
