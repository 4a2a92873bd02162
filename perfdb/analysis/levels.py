"""A series as the levels that are compared, and the robust arithmetic of two neighbouring ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.ma  # which the first median of numpy would import, while others wait
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_MIN_PERCENT = 5.0  # a smaller move of the median is nobody's business
_MIN_SD = 0.8  # and one of less than this many robust standard deviations is hard to believe
_MAX_RHO = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Values in their unit, and the levels compared: logarithms if all values are > 0, else scaled only."""

    values: Floats
    levels: Floats

    @classmethod
    def of(cls, values: Floats) -> Series:
        """Return finite values with what they are compared by."""
        if values.min(initial=1) > 0:
            return cls(values, np.log(values))
        return cls(values, values / (np.abs(values).max() or 1.0))

    def matters(self, start: int, index: int, end: int) -> bool:
        """Say whether the median moved by enough to tell somebody of it."""
        before, after = medians(self.values[start:index], self.values[index:end])
        percent = ratio(100 * (after - before), abs(before))
        return (
            abs(percent) >= _MIN_PERCENT
            and abs(effect_sd(self.levels[start:index], self.levels[index:end])) >= _MIN_SD
        )


def triples(indexes: list[int], size: int) -> list[tuple[int, int, int]]:
    """Return (previous change or 0, change, next change or the end) for each change."""
    bounds = [0, *indexes, size]
    return list(zip(bounds, bounds[1:], bounds[2:], strict=False))


def chain(previous: Sequence[int]) -> list[int]:
    """Return the starts of the segments, first to last, by following the best predecessor from the end."""
    starts: list[int] = []
    position = int(previous[-1])
    while position > 0:
        starts.append(position)
        position = int(previous[position])
    return starts[::-1]


def effect_sd(before: Floats, after: Floats) -> float:
    """Return the difference of the medians in robust standard deviations within the two levels."""
    old, new = medians(before, after)
    return ratio(new - old, robust_sd(noise(before, after)))


def median(values: Floats) -> float:
    """Return ``numpy.median`` of finite values, in a tenth of the time where they are few."""
    half = values.size // 2
    if values.size % 2:
        return float(np.partition(values, half)[half])
    if half == 0:
        return math.nan
    ordered = np.partition(values, (half - 1, half))
    return float(ordered[half - 1] + ordered[half]) / 2


def medians(before: Floats, after: Floats) -> tuple[float, float]:
    """Return the medians of both."""
    return median(before), median(after)


def ratio(difference: float, scale: float) -> float:
    """Return difference / scale, infinite without a scale and 0 without a difference."""
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else math.copysign(math.inf, difference)


def noise(before: Floats, after: Floats) -> Floats:
    """Return what remains of both levels without their medians."""
    return np.concatenate([before - median(before), after - median(after)])


def robust_sd(noise: Floats) -> float:
    """Return 1.4826 MAD, or 1.2533 times the mean deviation where more than half of the values are equal."""
    return 1.4826 * median(np.abs(noise)) or 1.2533 * float(np.abs(noise).mean())


def inflation(noise: Floats) -> float:
    """Return f = (1 + rho) / (1 - rho): n autocorrelated values tell as much as n / f independent ones."""
    sd = robust_sd(noise)
    return inflation_of_shares(np.clip(noise, -3 * sd, 3 * sd))


def inflation_of_shares(noise: Floats) -> float:
    """Return the same of values that are 0 or 1: the rare ones are no outliers, but what is counted."""
    power = float(noise @ noise)
    rho = min(max(float(noise[1:] @ noise[:-1]) / power, 0.0), _MAX_RHO) if power > 0 else 0.0
    return (1 + rho) / (1 - rho)


def mann_whitney(before: Floats, after: Floats) -> float:
    """Return z of Mann and Whitney's test with the correction for ties; positive when ``after`` is higher."""
    pooled = np.concatenate([before, after])
    ordered = np.sort(pooled)
    ranks = np.searchsorted(ordered, pooled, "left") + np.searchsorted(ordered, pooled, "right") + 1.0
    n, variance = pooled.size, float(ranks.var(ddof=1))
    if variance == 0:
        return 0.0
    return float(ranks[before.size :].mean() - ranks.mean()) / math.sqrt(variance * (1 / after.size - 1 / n))


def winsorised(segment: Floats, index: int) -> Floats:
    """Return ``segment`` with values pulled to at most two standard deviations outside its two levels."""
    before, after = segment[:index], segment[index:]
    low, high = sorted(medians(before, after))
    reach = 2 * robust_sd(noise(before, after))
    return np.clip(segment, low - reach, high + reach)


def misfit(segment: Floats) -> Floats:
    """Return the residual sum of squares of two constant levels, for a split before 1, 2, ... size - 1."""
    deviations = segment - segment.mean()
    n, left = segment.size, np.arange(1, segment.size)
    explained = np.cumsum(deviations)[:-1] ** 2 * n / (left * (n - left))
    misfit: Floats = np.maximum(float(deviations @ deviations) - explained, 0.0)
    return misfit
