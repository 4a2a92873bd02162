"""Look back once at a whole series: the partition that explains it best, and bears a second look."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from perfdb.analysis.levels import Floats, Series, chain, inflation, mann_whitney, triples

_MIN_SEGMENT = 5
_PENALTY = 2.0  # times sqrt(f) ln n, for each segment
_MIN_Z = 2.6
_HORIZON = 5_000  # longer segments are cut, and joined again by the confirmation

_NORMAL = NormalDist()


def look_back(series: Series) -> list[int]:
    """Return the best segmentation of the whole series, without changes that do not bear a second look."""
    levels = series.levels
    if levels.size < 2 * _MIN_SEGMENT:
        return []
    scores = _normal_scores(levels)
    factor = 1.0
    for _ in range(2):
        indexes = _best_partition(scores, _PENALTY * math.sqrt(factor) * math.log(levels.size))
        if not indexes:  # nor would there be any with the higher fee for autocorrelation
            return []
        factor = inflation(np.concatenate([part - part.mean() for part in np.split(scores, indexes)]))
    indexes = _best_partition(scores, _PENALTY * math.sqrt(factor) * math.log(levels.size))
    while indexes:
        belief = [_belief(series, *part) for part in triples(indexes, levels.size)]
        weakest = int(np.argmin(belief))
        if belief[weakest] >= _MIN_Z:
            break
        del indexes[weakest]
    return indexes


def _normal_scores(levels: Floats) -> Floats:
    ordered = np.sort(levels)
    ranks = (np.searchsorted(ordered, levels, "left") + np.searchsorted(ordered, levels, "right")) / 2
    scores = np.array([_NORMAL.inv_cdf(rank) for rank in (ranks / levels.size).clip(1e-9, 1 - 1e-9).tolist()])
    centred: Floats = scores - scores.mean()
    return centred / (float(centred.std()) or 1.0)


def _best_partition(scores: Floats, penalty: float) -> list[int]:
    """Return the segmentation of least squares plus ``penalty`` per segment (PELT: Killick et al. 2012)."""
    sums = np.r_[0.0, np.cumsum(scores)]
    size = scores.size + 1
    cost = np.full(size, np.inf)
    cost[0] = -penalty
    previous = [0] * size
    starts, of_starts, upto = np.zeros(size, dtype=int), np.full(size, -penalty), np.zeros(size)
    first, beyond = 0, 1  # where those are that may begin the last segment, with their cost and sum
    for end in range(_MIN_SEGMENT, size):
        some = slice(first, beyond)
        costs = of_starts[some] - (sums[end] - upto[some]) ** 2 / (end - starts[some])
        best = int(costs.argmin())
        cost[end], previous[end] = costs[best] + penalty, int(starts[first + best])
        kept = costs <= cost[end]
        if (number := int(np.count_nonzero(kept))) < beyond - first:
            for each in (starts, of_starts, upto):
                each[first : first + number] = each[some][kept]
            beyond = first + number
        start = end - _MIN_SEGMENT + 1
        starts[beyond], of_starts[beyond], upto[beyond] = start, cost[start], sums[start]
        beyond += 1
        first = max(first, beyond - _HORIZON)
    return chain(previous)


def _belief(series: Series, start: int, index: int, end: int) -> float:
    """Return |z| of Mann and Whitney's test, or 0 when the move is too small to matter."""
    z = mann_whitney(series.levels[start:index], series.levels[index:end])
    return abs(z) if series.matters(start, index, end) else 0.0
