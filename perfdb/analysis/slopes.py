"""Slopes with their significance: numbers in, numbers out.

Theil-Sen gives the slope and Mann-Kendall its significance: neither minds outliers or skewed
durations. The variance of the latter is corrected for autocorrelation, without which slow drifts
of the machine would be significant every other day.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEAST_FOR_SLOPE = 10
MOST_FOR_SLOPE = 1000  # all pairs are compared: longer series are thinned evenly


class Slope(NamedTuple):
    """A straight line through a series; ``per_x`` in units of y per unit of x."""

    per_x: float
    p_value: float


def theil_sen(x: Floats, y: Floats) -> float:
    """Return the median slope of all pairs of points (Theil 1950, Sen 1968)."""
    slopes_of = np.empty(x.size * (x.size - 1) // 2)
    place = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        for apart in range(1, x.size):
            of_these = slopes_of[place : place + x.size - apart]
            np.subtract(y[apart:], y[:-apart], out=of_these)
            of_these /= x[apart:] - x[:-apart]
            place += of_these.size
    if np.unique(x).size < x.size:  # two at the same place have no slope
        slopes_of = slopes_of[np.isfinite(slopes_of)]
    return float(np.median(slopes_of, overwrite_input=True)) if slopes_of.size else math.nan


def mann_kendall(values: Floats) -> float:
    """Return the two-sided p of a monotonic trend in a series, with ties and autocorrelation allowed for.

    Mann (1945), Kendall (1975). The variance is multiplied by (1 + r) / (1 - r), r being the lag-1
    autocorrelation of the ranks left by the trend, between 0 and 0.9: the AR(1) case of Hamed & Rao (1998).
    """
    n = values.size
    score, before = 0, list[float]()
    for value in values.tolist():
        score += bisect_left(before, value) + bisect_right(before, value) - len(before)
        insort(before, value)
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    variance *= _inflation(values)
    if variance <= 0 or score == 0:
        return 1.0
    z = (abs(score) - 1) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def _inflation(values: Floats) -> float:
    x = np.arange(values.size, dtype=float)
    left = values - theil_sen(x, values) * x
    ordered = np.sort(left)
    ranks = (np.searchsorted(ordered, left, "left") + np.searchsorted(ordered, left, "right")) / 2
    ranks = ranks - ranks.mean()
    power = float(ranks @ ranks)
    r = min(max(float(ranks[1:] @ ranks[:-1]) / power, 0.0), 0.9) if power > 0 else 0.0
    return (1 + r) / (1 - r)


def slopes(start_times: Floats, values: Floats) -> tuple[float, float, float]:
    """Return the slope per point, that per day (both in percent of the median), and the p-value of the first.

    NaN with fewer than 10 points; the slope per day also with less than a day.

    Args:
        start_times: epoch s, rising.
        values: one per session.
    """
    days = start_times / 86_400
    per_session = relative(np.arange(values.size), values)
    per_day = _percent_per(days, values) if days.size and np.ptp(days) >= 1 else math.nan
    return per_session.per_x, per_day, per_session.p_value


def relative(x: object, values: Floats) -> Slope:
    """Return the slope in percent of the median per unit of x, and its p; NaN with too few points."""
    if not _has_slope(values):
        return Slope(math.nan, math.nan)
    return Slope(_percent_per(x, values), mann_kendall(values[_kept(values.size)]))


def _percent_per(x: object, values: Floats) -> float:
    if not _has_slope(values):
        return math.nan
    kept = _kept(values.size)
    places = np.asarray(x, dtype=float)[kept]
    return 100 * theil_sen(places - places[0], values[kept]) / float(np.median(values))


def _has_slope(values: Floats) -> bool:
    return values.size >= LEAST_FOR_SLOPE and float(np.median(values)) > 0


def _kept(size: int) -> npt.NDArray[np.intp]:
    """Return the places of the points that are compared: of too many, evenly chosen ones."""
    if size <= MOST_FOR_SLOPE:
        return np.arange(size)
    return np.linspace(0, size - 1, MOST_FOR_SLOPE).round().astype(np.intp)
