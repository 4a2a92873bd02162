"""Look back once at a whole series: the partition that explains it best, and bears a second look."""

from __future__ import annotations

import math
from functools import lru_cache
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
    factor, known = 1.0, 0.0
    for _ in range(3):
        if factor == known:
            break
        indexes = _best_partition(scores, _PENALTY * math.sqrt(factor) * math.log(levels.size))
        if not indexes:  # nor would there be any with the higher fee for autocorrelation
            return []
        known = factor
        factor = inflation(np.concatenate([part - part.mean() for part in np.split(scores, indexes)]))
    while indexes:
        belief = [_belief(series, *part) for part in triples(indexes, levels.size)]
        weakest = int(np.argmin(belief))
        if belief[weakest] >= _MIN_Z:
            break
        del indexes[weakest]
    return indexes


def _normal_scores(levels: Floats) -> Floats:
    ordered = np.sort(levels)
    ranks = np.searchsorted(ordered, levels, "left") + np.searchsorted(ordered, levels, "right")
    scores = _scores_of(levels.size)[ranks]
    centred: Floats = scores - scores.mean()
    return centred / (float(centred.std()) or 1.0)


@lru_cache(maxsize=4)
def _scores_of(size: int) -> Floats:
    """Return the normal score of twice each rank among so many; the steps of a pipeline ran as often."""
    shares = (np.arange(2 * size + 1) / (2 * size)).clip(1e-9, 1 - 1e-9)
    return np.array([_NORMAL.inv_cdf(share) for share in shares.tolist()])


def _best_partition(scores: Floats, penalty: float) -> list[int]:
    """Return the segmentation of least squares plus ``penalty`` per segment (PELT: Killick et al. 2012).

    So many ends as a segment has at least do not depend on each other: they are looked at in one go.
    """
    sums = np.r_[0.0, np.cumsum(scores)]
    size = sums.size
    places = np.arange(size, dtype=float)
    cost = np.full(size, np.inf)
    cost[0] = -penalty
    previous = np.zeros(size, dtype=np.intp)
    starts = np.zeros((3, 0))  # where the last segment may begin: place, cost and sum up to there
    too_late = np.triu(np.full((_MIN_SEGMENT, _MIN_SEGMENT), np.inf), 1)  # for the first of the ends
    for begin in range(_MIN_SEGMENT, size, _MIN_SEGMENT):
        new, ends = slice(begin - _MIN_SEGMENT, begin), slice(begin, begin + _MIN_SEGMENT)
        starts = np.concatenate([starts[:, -_HORIZON:], [places[new], cost[new], sums[new]]], axis=1)
        costs = sums[ends, None] - starts[2]
        costs *= costs
        costs /= places[ends, None] - starts[0]
        np.subtract(starts[1], costs, out=costs)
        costs[:, -_MIN_SEGMENT:] += too_late[: len(costs)]
        best = costs.argmin(axis=1)
        cost[ends] = costs[np.arange(len(costs)), best] + penalty
        previous[ends] = starts[0, best]
        starts = starts.compress(costs[-1] <= cost[ends][-1], axis=1)
    return chain(previous.tolist())


def _belief(series: Series, start: int, index: int, end: int) -> float:
    """Return |z| of Mann and Whitney's test, or 0 when the move is too small to matter."""
    z = mann_whitney(series.levels[start:index], series.levels[index:end])
    return abs(z) if series.matters(start, index, end) else 0.0
