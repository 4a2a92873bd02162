"""What a rule is, and its Verdict on the newest run of a series.

``verdicts.evaluate`` asks; thresholds are judged in ``limits``, levels that moved in ``shifts``. The worker
runs them after each session: standard library only, and numpy only where ``change_point`` is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RECENT = 5  # runs that make the new level of a shift
PREVIOUS = 30  # runs before them that make the old one, at most
LEAST_PREVIOUS = 10
SHIFT_LIMIT = 6.0
SHIFT_PERCENT = 5.0
LEAST_SIGMA = 0.03  # 3 %: a series may be quieter than anyone's patience
LASTING_JITTERS = 4
MEDIAN_ERROR = 1.2533  # standard error of a median of normal values, in sigma / sqrt(n)
HYSTERESIS = 0.05  # a good run is better than the limit by this share
BUDGET_RUNS, BUDGET_RECENT = 50, 10
ERROR_RUNS, LEAST_ERROR_RUNS = 20, 10
RELATIVE_RECENT = 3
ANOMALY_LIMIT, ANOMALY_PERCENT = 6.0, 20.0
TREND_RUNS, LEAST_TREND_RUNS, TREND_PERCENT, TREND_Z = 50, 30, 10.0, 3.29
CHANGE_RUNS, LEAST_CHANGE_RUNS, RUNS_AFTER_CHANGE = 200, 20, 5
PINNED_RUNS, LEAST_PINNED_RUNS, PINNED_LIMIT, PINNED_PERCENT = 50, 20, 5.0, 5.0
SAME_CHANGE = 5  # sessions by which a change may move and be the same one

# How many runs each kind looks at.
WINDOWS = {
    "max": PREVIOUS + 1,
    "min": PREVIOUS + 1,
    "relative": PREVIOUS + RELATIVE_RECENT,
    "budget": BUDGET_RUNS,
    "error_rate": 2 * ERROR_RUNS,
    "fast_shift": PREVIOUS + RECENT,
    "change_point": CHANGE_RUNS,
    "pinned": CHANGE_RUNS,
    "anomaly": PREVIOUS + 1,
    "trend": TREND_RUNS,
}
KINDS = tuple(WINDOWS)
INFORMATION = ("anomaly", "trend")  # never fail a check, never notify alone


@dataclass(frozen=True, slots=True)
class Level:
    """What a pinned baseline knows of its runs: median, robust sigma (of logarithms if > 0), count."""

    value: float
    spread: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A threshold or statistical condition with a severity.

    Attributes:
        name: unique; the alert carries it.
        kind: one of ``KINDS``.
        step: a step's name; None is the session's total, ``*`` the total and every step, each by itself.
        pipeline: None is every pipeline.
        mode: the attributes that a session's mode must have; None is every mode, each by itself.
        metric: ``duration`` (s), ``cpu_s``, ``rss_peak_bytes``, or a numeric attribute.
        limit: of ``max``, ``min`` and ``budget``, in the metric's unit; of ``error_rate``, a share.
        percent: of ``relative`` and ``pinned``.
        pinned: the baseline that ``pinned`` judges by; None where nobody pinned one.
        target: of ``budget``: the share of runs that shall keep the limit.
        direction: where worse is, ``up`` or ``down``.
        hits: sessions in a row that must agree before it fires.
        jitter: what the machine itself may add to a run, in the metric's unit: no sigma is smaller, and a
            lasting change has 4 times that. A total's is that of its steps together, 5 at most.
    """

    name: str
    kind: str
    severity: str = "warning"
    step: str | None = None
    pipeline: str | None = None
    mode: tuple[tuple[str, object], ...] | None = None
    metric: str = "duration"
    limit: float | None = None
    percent: float = 25.0
    target: float = 0.95
    direction: str = "up"
    hits: int = 1
    jitter: float = 0.0
    pinned: Level | None = None
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What an open alert is judged by: the baseline of the moment when it opened."""

    baseline: float | None
    baseline_n: int
    bound: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rule says about the newest run.

    Attributes:
        hit: the condition holds.
        good: the newest run is inside ``bound``: one step towards resolved.
        enough: there was enough history to judge; otherwise neither hit nor good.
        value: what was judged, in the metric's unit (a share for budget and error_rate).
        baseline: what the past makes us expect; None where the rule knows only a limit.
        effect: percent by which value differs from the baseline, or else from the limit.
        bound: a run at or inside it is good.
        n: runs that make ``value``; ``baseline_n`` those that make the baseline.
        since: index of the run it began with.
        usual: range of the middle 80 % of the runs before, None with fewer than 5.
        arithmetic: the sum as a person would write it, with the actual values.
    """

    hit: bool = False
    good: bool = False
    enough: bool = True
    value: float | None = None
    baseline: float | None = None
    effect: float | None = None
    limit: float | None = None
    bound: float | None = None
    n: int = 0
    baseline_n: int = 0
    since: int = 0
    usual: tuple[float, float] | None = None
    arithmetic: str = ""


def exceeds(value: float, limit: float, kind: str) -> bool:
    """Say whether a value breaks the limit of a ``max`` or ``min`` rule."""
    return value > limit if kind == "max" else value < limit


def percent_over(value: float | None, base: float | None) -> float | None:
    """Return by how many percent a value lies above a base; None where that means nothing."""
    if value is None or not base:
        return None
    return 100 * (value - base) / abs(base)


def bound_between(old: float, new: float) -> float:
    """Return what a run must keep to be good again: 5 % inside the middle of both levels, or the old one."""
    middle = middle_of(old, new)
    return max(old, middle - HYSTERESIS * abs(middle))


def middle_of(old: float, new: float) -> float:
    """Return the level halfway between two: of logarithms where both are > 0."""
    return math.sqrt(old * new) if old > 0 and new > 0 else (old + new) / 2


def usual(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the range of the middle 80 % of the last runs; None for fewer than 5."""
    if len(values) < 5:
        return None
    ordered = sorted(values[-PREVIOUS:])
    tenth = len(ordered) // 10
    return ordered[tenth], ordered[-1 - tenth]


def too_few(n: int, least: int) -> Verdict:
    """Return the verdict of a rule that needs more history."""
    return Verdict(enough=False, n=n, arithmetic=f"too little history: {n} of {least} runs")


def yes(truth: bool) -> str:
    """Return how an arithmetic ends."""
    return "yes" if truth else "no"
