"""What a rule is, what it says of the newest run of a series, and the arithmetic that several kinds share.

Standard library only: the worker runs the rules after each session.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from perfdb.measures import named

if TYPE_CHECKING:
    from perfdb.analysis.series import Series, SeriesName
    from perfdb.measures import Measure

EVERY = "*"  # as the step of a rule: the total and every step
PREVIOUS = 30  # runs that make the level before, at most
LEAST_PREVIOUS = 10
HYSTERESIS = 0.05  # a good run is better than the limit by this share
LEAST_SIGMA = 0.03  # 3 %: a series may be quieter than anyone's patience
MEDIAN_ERROR = 1.2533  # standard error of a median of normal values, in sigma / sqrt(n)
SHIFT_PERCENT = 5.0  # a smaller move of a level is nobody's business
SAME_CHANGE = 5  # sessions by which a change may move and be the same one


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
        kind: one of ``rules.KINDS``.
        step: a step's name; None is the session's total, ``*`` the total and every step, each by itself.
        pipeline: None is every pipeline.
        mode: the attributes that a session's mode must have; None is every mode, each by itself.
        metric: ``duration`` (s), ``cpu_s``, ``rss_peak_bytes``, or a numeric attribute.
        measure: what the settings say of the metric; None: what its name says.
        limit: of ``max``, ``min`` and ``budget``, in the metric's unit; of ``error_rate``, a share.
        percent: of ``relative`` and ``pinned``.
        pinned: the baseline that ``pinned`` compares with; None where nobody pinned one.
        per: of ``sum``: what is added up, all sessions of a ``day``.
        target: of ``budget``: the share of runs that shall keep the limit.
        direction: where worse is, ``up`` or ``down``.
        hits: sessions in a row that must agree before it fires.
        jitter: no sigma is smaller, in the metric's unit.
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
    per: str = "day"
    pinned: Level | None = None
    default: bool = False
    measure: Measure | None = field(default=None, compare=False)

    @property
    def of_measure(self) -> Measure:
        """The measure that it looks at, as the settings describe it."""
        return self.measure or named(self.metric)

    def is_about(self, series: Series | SeriesName) -> bool:
        """Say whether it looks at a series."""
        return self.step in (EVERY, series.step_name) and self.is_of(series.pipeline, series.mode)

    def is_of(self, pipeline: str, mode: str) -> bool:
        """Say whether it looks at any series of a pipeline and mode."""
        return self.pipeline in (None, pipeline) and self.is_of_mode(mode)

    def is_of_mode(self, mode: str | None) -> bool:
        """Say whether it looks at runs of a mode; None: of any."""
        if self.mode is None or mode is None:
            return True
        values = json.loads(mode)
        return all(name in values and values[name] == wanted for name, wanted in self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What an open alert is compared with: the baseline of the moment when it opened.

    ``since``: index of the first run that it is about, among those that are evaluated.
    """

    baseline: float | None
    baseline_n: int
    bound: float | None
    since: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rule says about the newest run.

    Attributes:
        hit: the condition holds.
        good: the newest run is inside ``bound``: one step towards resolved.
        enough: there was enough history for a verdict; otherwise neither hit nor good.
        value: what was evaluated, in the metric's unit (a share for budget and error_rate).
        baseline: what the past makes us expect; None where the rule knows only a limit.
        effect: percent by which value differs from the baseline, or else from the limit.
        bound: a run at or inside it is good.
        n: runs that make ``value``; ``baseline_n`` those that make the baseline.
        since: index of the run it began with.
        usual: range of the middle 80 % of the runs before, None with fewer than 5.
        arithmetic: the sum as a person would write it, with the actual values.
        in_wave: runs were compared without the wave of the day, see ``analysis.waves``.
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
    in_wave: bool = False


def percent_over(value: float | None, base: float | None) -> float | None:
    """Return by how many percent a value lies above a base; None where that means nothing."""
    if value is None or not base:
        return None
    return 100 * (value - base) / abs(base)


def points_over(share: float, base: float) -> float:
    """Return by how many percentage points a share of the runs lies above another."""
    return 100 * (share - base)


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


def level_before(before: Sequence[float], frozen: Frozen | None) -> tuple[float, int]:
    """Return the level that runs are held against, and of how many it is made: the frozen one of an alert."""
    if frozen is not None and frozen.baseline is not None:
        return frozen.baseline, frozen.baseline_n
    return median(before), len(before)


def level_since(values: Sequence[float], recent: int, frozen: Frozen | None) -> tuple[float, int]:
    """Return the level of the newest runs and where they begin: of an open alert all that it is about."""
    first = len(values) - recent if frozen is None or frozen.since is None else frozen.since
    first = max(0, min(first, len(values) - 1))
    return median(values[first:]), first


def scale(
    before: Sequence[float], after: Sequence[float], jitter: float
) -> tuple[Callable[[float], float], float, bool]:
    """Return how values are compared, their robust sigma before, and whether as logarithms."""
    logarithmic = min(before) > 0 and min(after, default=1) > 0
    level: Callable[[float], float] = math.log if logarithmic else float
    levels = [level(value) for value in before]
    middle = median(levels)
    few = 1 + 3 / len(before) - 3 / PREVIOUS
    sigma = 1.4826 * median(abs(value - middle) for value in levels) * few
    if logarithmic:
        return level, max(sigma, LEAST_SIGMA, jitter / median(before)), True
    return level, max(sigma, LEAST_SIGMA * abs(middle), jitter), False


def begin(values: Sequence[float], recent: int, middle: float) -> int:
    """Return the first of the last runs that is over the middle and so is most of what follows it."""
    start = max(0, len(values) - recent)
    for index in range(start, len(values)):
        rest = values[index:]
        if values[index] > middle and sum(value > middle for value in rest) * 2 > len(rest):
            return index
    return start


def shown(value: float | None) -> str:
    """Return a value as an arithmetic names it."""
    return "unknown" if value is None else f"{value:.6g}"


def logs_of(logarithmic: bool) -> str:
    """Return the words before a value of which the logarithm counts, as ``scale`` says."""
    return "logs of " if logarithmic else ""


def shown_percent(effect: float | None) -> str:
    """Return a percentage as an arithmetic names it."""
    return "no percentage" if effect is None else f"{effect:+.1f} %"
