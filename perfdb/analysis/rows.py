"""The rows of the answers about the past: the names, the order and the types of their columns, in one place.

Frames are made with ``frame_from``; the dashboard's API answers with the rows themselves. Instants are epoch
seconds UTC; a missing value is None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

RowKind = Literal["step", "total", "medians", "other"]  # other: the time of no step
Severity = Literal["info", "warning", "critical"]
AlertState = Literal["pending", "firing", "acknowledged", "historic", "resolved", "expected", "false alarm"]

TEXT = "text"  # in every row
_DTYPES = {
    "float": "float64", "float | None": "float64", "int": "int64", "int | None": "Int64", "bool": "bool",
    "str | None": "object", "AlertState | None": "object", "str": TEXT, "RowKind": TEXT, "Severity": TEXT,
    "Literal['level', 'pinned']": TEXT,
}  # fmt: skip


def columns(row: Any) -> tuple[str, ...]:
    """Return the names of a row's columns, in their order."""
    return tuple(each.name for each in fields(row))


def frame_from(rows: Iterable[Any], row: Any) -> pd.DataFrame:
    """Return tuples in the order of a row's columns, or dictionaries by their names, as a frame."""
    import pandas as pd

    named = {each.name: _DTYPES.get(str(each.type), "object") for each in fields(row)}
    values: dict[str, list[Any]] = {name: [] for name in named}
    for found in rows:
        cells = found if isinstance(found, Mapping) else dict(zip(values, found, strict=True))
        for name, column in values.items():
            column.append(cells.get(name))
    return of_types(pd.DataFrame({name: pd.Series(values[name], dtype="object") for name in named}), named)


def of_types(frame: pd.DataFrame, types: Mapping[str, str]) -> pd.DataFrame:
    """Return a frame with columns of these types, which are the same where it has no row.

    Args:
        frame: with these columns, and maybe others.
        types: of pandas, or ``TEXT``: its own of texts.
    """
    import pandas as pd

    text = pd.Series([""]).dtype
    return frame.astype({name: text if kind == TEXT else kind for name, kind in types.items()})


@dataclass(frozen=True)
class CostRow:
    """What one step costs the sessions of a pipeline and mode, see ``History.bottlenecks``."""

    pipeline: str
    mode: str
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
    measure: str
    unit: str
    value: float | None


@dataclass(frozen=True)
class ExplainedStep:
    """What one step added to the session's time over what is usual."""

    step_name: str
    seconds: float | None
    usual_s: float | None
    excess_s: float | None
    percentile: float | None
    n: int
    busy_s: float | None
    attempts: int | None
    retry_s: float | None
    wait_s: float | None
    queue_s: float | None
    cpu_s: float | None
    usual_cpu_s: float | None
    rss_peak_bytes: float | None
    usual_rss_peak_bytes: float | None
    cause: str
    kind: RowKind
    value: float | None
    usual: float | None
    excess: float | None


@dataclass(frozen=True)
class Violation:
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


@dataclass(frozen=True)
class Regression:
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
    without_wave: bool
    nearest_only: bool
    p_value: float | None
    first_session_id: str
    last_session_id: str
    lasts: bool
    event_session_id: str
    total_s: float | None
    total_before_n: int | None
    total_after_n: int | None
    total_without_wave: bool
    contributes_percent: float | None
    parts: list[dict[str, Any]]
    suspects: list[dict[str, Any]]
    cause: str
    confounded: bool
    alert_id: int | None
    alert_state: AlertState | None
    difference: float | None
    total_difference: float | None
    measure: str
    unit: str
    attribute: str | None
    attribute_value: Any


@dataclass(frozen=True)
class SideBySide:
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
    a: float | None
    b: float | None
    difference: float | None
    measure: str
    unit: str


@dataclass(frozen=True)
class CommonRow:
    """A value of an attribute among slow runs and among the rest."""

    attribute: str
    value: str
    slow_n: int
    slow_of: int
    slow_percent: float
    low_percent: float
    high_percent: float
    rest_n: int
    rest_of: int
    rest_percent: float
    lift: float | None
    sure: bool


@dataclass(frozen=True)
class HitRow:
    """How much the runs with a value of an attribute moved at a moment, and all the others."""

    attribute: str
    value: str
    before_n: int
    after_n: int
    effect: float
    low: float
    high: float
    rest_effect: float
    sure: bool


@dataclass(frozen=True)
class GroupedRow:
    """One series of two groups of sessions."""

    pipeline: str
    mode: str
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
    difference: float | None
    low: float | None
    high: float | None
    measure: str
    unit: str
    a_s: float | None
    b_s: float | None
    more_s: float | None
    more_low_s: float | None
    more_high_s: float | None


@dataclass(frozen=True)
class ChoiceRow:
    """One value of an attribute: how long its runs take, and what they cost; see ``analysis.pareto``."""

    pipeline: str
    mode: str
    step_name: str | None
    value: Any
    n: int
    seconds: float
    seconds_low: float | None
    seconds_high: float | None
    cost: float
    cost_low: float | None
    cost_high: float | None
    front: bool
    measure: str
    unit: str
