"""What a baseline is made of: the level of past runs, in figures that stay when the runs are gone. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from perfdb.analysis.rules import Level
from perfdb.analysis.rules.base import percent_over
from perfdb.analysis.rules.pinned import PINNED_RUNS

LEAST_RUNS = 10  # fewer make no level that anything could be held against


def level_of(durations: Sequence[float]) -> Level:
    """Return median, robust standard deviation (1.4826 MAD; of the logarithms if all are > 0) and count.

    Raises:
        ValueError: there are fewer than 10 runs.
    """
    if len(durations) < LEAST_RUNS:
        raise ValueError(f"a baseline is made of {LEAST_RUNS} runs or more, not {len(durations)}")
    logarithmic = min(durations) > 0
    levels = [math.log(each) if logarithmic else each for each in durations]
    middle = median(levels)
    return Level(median(durations), 1.4826 * median(abs(each - middle) for each in levels), len(durations))


def distance(pinned: float, durations: Sequence[float]) -> tuple[float | None, int, float | None]:
    """Return the median of the newest runs, how many they are, and its percent above a pinned level.

    As many runs are looked at as the rule ``pinned`` does: 50 at most.
    """
    newest = list(durations)[-PINNED_RUNS:]
    if not newest:
        return None, 0, None
    now = median(newest)
    return now, len(newest), percent_over(now, pinned)
