"""How the runs of one branch compare with those of another: one series at a time, with as few as there are.

Pure, and standard library only. The sum is that of ``fast_shift``; of fewer runs more is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from perfdb.analysis.rules.base import (
    MEDIAN_ERROR,
    PREVIOUS,
    SHIFT_PERCENT,
    logs_of,
    percent_over,
    scale,
    shown,
    shown_percent,
    yes,
)
from perfdb.analysis.rules.shift import RECENT, SHIFT_LIMIT
from perfdb.analysis.series import SeriesName

LEAST_BASE = 5  # runs of the other branch
LEAST_OF_ALONE = 10  # of it, where this branch has fewer than LEAST_RUNS
LEAST_RUNS = 3  # of this branch: the median of fewer is one run
ALONE = 2.0  # times the limit that one or two runs have to pass
SLOWER, FASTER, SAME, UNKNOWN = "slower", "faster", "same", "too few runs"


@dataclass(frozen=True, slots=True)
class Compared:
    """What can be told of one series.

    ``verdict``: ``slower``, ``faster``, ``same`` or ``too few runs``; ``value`` and ``baseline`` are medians
    (s), of ``n`` runs of this branch, which began at ``start_times``, and ``baseline_n`` of the other.
    """

    series: SeriesName
    verdict: str
    n: int
    baseline_n: int
    value: float | None = None
    baseline: float | None = None
    effect: float | None = None
    arithmetic: str = ""
    session_ids: Sequence[str] = ()
    start_times: Sequence[float] = ()


def judge(new: Sequence[float], base: Sequence[float]) -> tuple[str, str]:
    """Return what the newest runs of a branch are beside a level, and the arithmetic of that.

    Args:
        new: runs of the branch, at most 5.
        base: runs of the level, at most 30.
    """
    few = len(new) < LEAST_RUNS
    if not new or len(base) < (LEAST_OF_ALONE if few else LEAST_BASE):
        return UNKNOWN, f"{len(new)} of {LEAST_RUNS} and {len(base)} of {LEAST_BASE} runs"
    now, old, n = median(new), median(base), len(base)
    level, sigma, logarithmic = scale(base, new, 0.0)
    error = MEDIAN_ERROR * math.sqrt(1 / len(new) + 1 / n)
    t = (level(now) - level(old)) / (sigma * error) if sigma else math.copysign(math.inf, now - old)
    effect = percent_over(now, old)
    limit = SHIFT_LIMIT * (ALONE if few else 1.0)
    large = effect is not None and abs(effect) >= SHIFT_PERCENT
    worse = t > 0
    beyond = _beyond(new, base, worse=worse, all_of_them=few)
    clear = abs(t) >= limit and large and beyond
    logs = logs_of(logarithmic)
    return (SLOWER if worse else FASTER) if clear else UNKNOWN if few else SAME, (
        f"T = (median of {len(new)} {logs}{shown(now)} - median of {n} {logs}{shown(old)}) / "
        f"({MEDIAN_ERROR} x {sigma:.4g} x sqrt(1/{len(new)} + 1/{n})) = {t:.2f}, "
        f"limit {limit:g}; {shown_percent(effect)}, limit {SHIFT_PERCENT:g} %; "
        f"outside of the runs before ({yes(beyond)}): {yes(clear)}"
    )


def _beyond(new: Sequence[float], base: Sequence[float], *, worse: bool, all_of_them: bool) -> bool:
    """Say whether the new runs, of five all but one, lie outside of what was: of nine tenths, or of all."""
    sign = 1 if worse else -1
    before, after = sorted(sign * each for each in base), sorted(sign * each for each in new)
    place = len(before) if all_of_them else math.ceil(0.9 * len(before))
    return after[1 if len(after) >= RECENT else 0] > before[place - 1]


MOST_BASE = PREVIOUS
