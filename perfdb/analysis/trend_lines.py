"""Tell a series that goes up or down from one that stands on levels, and find the turns of its trend.

Levels cut a trend into stairs, at places where nothing happened. Where straight lines explain a series much
better than any levels, the points of interest are those where the line breaks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from perfdb.analysis.levels import Floats, Series, inflation

_MOST_CHANGES = 8
_MIN_RUNS = 8  # of a segment, fewer in short series: an eighth of the series, but at least 3
_UNSEEN = 0.05  # of the standard deviation of the whole series: nobody sees so little in a picture
_CLEARLY = 10.0  # difference of BIC that counts as very strong evidence (Kass & Raftery 1995)
_PLACES = 500  # where segments may begin at first, in longer series
_ROWS = 16  # of their costs, that are worked out in one go
_NEAR, _OUTLIER = (
    5,
    4.0,
)  # a point this many robust sd from the median of its 5 + 1 + 5 neighbours is pulled in


def turns(series: Series) -> list[int] | None:
    """Return where the trend of a series breaks; None where levels explain the series as well as lines.

    Both the logarithms and the plain values have to show a trend: skewed noise may feign one in plain
    values. The breaks are those of the plain values, as a picture shows them.
    """
    least = max(3, min(_MIN_RUNS, series.values.size // 8))
    if series.values.size < 2 * least:
        return None
    found: list[int] | None = None
    for values in (series.levels, series.values):
        found = _breaks(_standardised(_without_outliers(values)), least)
        if found is None:
            return None
    return found


def _standardised(values: Floats) -> Floats:
    centred: Floats = values - values.mean()
    return centred / (float(centred.std()) or 1.0)


def _without_outliers(values: Floats) -> Floats:
    """Return values pulled towards the median of their neighbours (Hampel's filter)."""
    padded = np.pad(values, _NEAR, mode="reflect")  # not "edge": a wild last run would be its own neighbours
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEAR + 1)
    middle = np.median(around, axis=1)
    sd = 1.4826 * np.median(np.abs(around - middle[:, None]), axis=1)
    sd = np.maximum(sd, np.median(sd))
    reach = np.where(sd > 0, _OUTLIER * sd, np.inf)
    return np.clip(values, middle - reach, middle + reach)


def _breaks(values: Floats, least: int) -> list[int] | None:
    """Return the breaks of the lines that explain ``values``, or None if levels do about as well.

    A further break has to be worth its three parameters (place, level, slope) by BIC, n being divided by the
    factor for the autocorrelation that it leaves.
    """
    fits = _Fits(values)
    log_n = math.log(values.size)
    tried = fits.partitions(least, lines=True)
    best = next(tried)
    misfit, factor = fits.misfit(best, lines=True)
    for partition in tried:
        smaller, left = fits.misfit(partition, lines=True)
        if (misfit - smaller) / left < 3 * log_n:
            break
        best, misfit, factor = partition, smaller, left
    as_lines = misfit / factor + (3 * len(best) + 2) * log_n
    for partition in fits.partitions(least, lines=False):
        as_levels = fits.misfit(partition, lines=False)[0] / factor + (2 * len(partition) + 1) * log_n
        if as_lines >= as_levels - _CLEARLY:
            return None
    return best


class _Fits:
    """Least squares fits of a level or a line to any part of a series, from running sums."""

    def __init__(self, values: Floats) -> None:
        self._values = values
        places = np.arange(values.size) - values.size / 2
        columns = values, values**2, places, places**2, places * values
        self._sums = [np.r_[0.0, np.cumsum(column)] for column in columns]

    def costs(self, starts: np.ndarray, ends: np.ndarray, *, lines: bool) -> Floats:
        """Return the residual sums of squares of parts from ``starts`` to ``ends``; an empty one has none."""
        n = np.maximum(ends - starts, 1)
        y, yy = (sums[ends] - sums[starts] for sums in self._sums[:2])
        cost = yy - y * y / n
        if lines:
            x, xx, xy = (sums[ends] - sums[starts] for sums in self._sums[2:])
            spread = xx - x * x / n
            cost = cost - (xy - x * y / n) ** 2 / np.where(spread > 1e-9, spread, np.inf)
        found: Floats = np.maximum(cost, 0.0)
        return found

    def partitions(self, least: int, *, lines: bool) -> Iterator[list[int]]:
        """Yield the best partition for 0, 1, 2 … changes (segment neighbourhood: Auger & Lawrence 1989)."""
        yield []
        size = self._values.size
        places = np.unique(np.linspace(0, size, min(size, _PLACES) + 1).astype(int))
        cost = np.full((places.size, places.size), np.inf)  # of the parts to a place (row) from another
        for first in range(0, places.size, _ROWS):  # some rows at a time stay in the processor's cache
            ends, starts = places[first : first + _ROWS, None], places[None, : first + _ROWS]
            some = self.costs(starts, ends, lines=lines)
            some[ends - starts < least] = np.inf
            cost[first : first + _ROWS, : first + _ROWS] = some
        total, previous, every = cost[:, 0], [], np.arange(places.size)
        reached = np.empty_like(cost)
        for _ in range(_MOST_CHANGES):
            np.add(total, cost, out=reached)
            previous.append(reached.argmin(axis=1))
            total = reached[every, previous[-1]]
            if not np.isfinite(total[-1]):
                return
            yield self._nudged(_walk(places, previous), least, lines=lines)

    def _nudged(self, indexes: list[int], least: int, *, lines: bool) -> list[int]:
        """Return the indexes moved to the best place near them, where not every place was tried."""
        size = self._values.size
        reach = size // _PLACES
        bounds = [0, *indexes, size]
        for i in range(1, len(bounds) - 1 if reach else 1):
            low = max(bounds[i] - reach, bounds[i - 1] + least)
            high = min(bounds[i] + reach, bounds[i + 1] - least)
            tried = np.arange(low, high + 1)
            first, last = np.full(tried.size, bounds[i - 1]), np.full(tried.size, bounds[i + 1])
            both = self.costs(first, tried, lines=lines) + self.costs(tried, last, lines=lines)
            bounds[i] = int(tried[both.argmin()])
        return bounds[1:-1]

    def misfit(self, indexes: list[int], *, lines: bool) -> tuple[float, float]:
        """Return n times the logarithm of what a partition leaves, and the factor for its autocorrelation."""
        parts = []
        for start, end in pairwise([0, *indexes, self._values.size]):
            part = self._values[start:end]
            places = np.arange(start, end) - (start + end - 1) / 2
            slope = float(places @ part / (places @ places)) if lines and part.size > 1 else 0.0
            parts.append(part - part.mean() - slope * places)
        noise = np.concatenate(parts)
        return noise.size * math.log(float(noise @ noise) / noise.size + _UNSEEN**2), inflation(noise)


def _walk(places: np.ndarray, previous: list[np.ndarray]) -> list[int]:
    """Return the starts of the segments by following the best predecessors from the end."""
    position, starts = places.size - 1, []
    for best in reversed(previous):
        position = int(best[position])
        starts.append(int(places[position]))
    return starts[::-1]
