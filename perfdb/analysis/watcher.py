"""Watch a series point by point: what was reported after every one, and what lasted.

The answer for a series is a replay: what a watcher holds true after its last point, which alarm reported each
change as soon as it was clear, and of some that are forgotten since.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator
from functools import cache, lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from perfdb.analysis.levels import (
    Floats,
    Series,
    chain,
    inflation,
    median,
    misfit,
    noise,
    robust_sd,
    triples,
    winsorised,
)

# Sums of the last k scores, k after a candidate, and the limit that each has to pass (benchmarks/README.md).
_FAST = np.arange(3, 15)  # normal scores, which see how extreme a few values are
_SLOW = np.r_[8:21, 22:41:2, 45:101:5]  # uniform scores, which are best for skewed noise
_WINDOWS = np.r_[_FAST, _SLOW]
_LANES = np.repeat([0, 1], [_FAST.size, _SLOW.size])
_NORMAL_LIMIT, _UNIFORM_LIMIT = 4.05, 3.95
# A sum of k uniform scores has lighter tails than a normal value: the same probability lies further in (first
# term of Cornish and Fisher's expansion, excess kurtosis -1.2 / k).
_LIGHTER = 1.2 * (_UNIFORM_LIMIT**3 - 3 * _UNIFORM_LIMIT) / 24
_LIMITS = np.r_[
    np.where(_FAST == 3, 3.87, _NORMAL_LIMIT),  # the third point of a doubled level
    _UNIFORM_LIMIT - _LIGHTER / _SLOW,
]
MIN_BASELINE = 15
_OUTSIDE_SD, _RANGE_OF = 4.0, 100  # robust standard deviations of so many points before
_REFERENCE = 500  # a point is ranked among this many points before it
_SETTLE = 5  # a change may move by this much while points arrive,
_SETTLED_AFTER = 60  # and no more after this many
_NEIGHBOURS = 200  # points before a change that locate it
_FIRST_BLOCK, _BLOCK = 256, 1024  # points that are looked at in one go

# What else an alarm has to have, so that people believe it (benchmarks/README.md). A run of the new level
# lies beyond one of those before in so large a share of the pairs, less one standard error while it is young.
_BEYOND, _BEYOND_LATER = 0.75, 0.70
_STAYED = 40  # a level that stayed so long is no burst,
_EXCURSION = 30  # nor, after so many points, what comes back from an excursion
_KNOWN_LIMIT = 1.15  # times the limits, for a young level where more than
_KNOWN, _LONG_BEFORE = 0.01, 500  # so many of so many points before have been already
_AMONG_WILD = 4  # points at least, where wild runs came before

_PENALTY = 4.5  # times sqrt(f) ln n, what each alarm has to explain to be reported

_NORMAL = NormalDist()
_score_of = lru_cache(maxsize=2_000)(_NORMAL.inv_cdf)  # ranks among the newest are few
_UNIFORM = math.sqrt(12)  # times an uniform value: its standard deviation is 1
_ROWS = 200  # that are looked at in one go


def watch(series: Series) -> list[int]:
    """Return the changes that were reported and that lasted, each where it is seen best."""
    return _settle(series.levels, _lasting(series.levels, _replay(series)))


def _replay(series: Series) -> list[int]:
    """Return the changes a watcher would have reported, each where it was first seen."""
    alarms: list[int] = []
    start = looked = 0
    while (alarm := _first_alarm(series, start, looked)) is not None:
        start, looked = alarm
        alarms.append(start)
    return alarms


def _first_alarm(series: Series, start: int, looked: int) -> tuple[int, int] | None:
    """Return the first move of the level since ``start`` and how many points made it clear, or None.

    ``looked`` points were there already when the level at ``start`` was found.

    Each point is ranked among those before it. While the level holds, such sequential ranks are
    independent and uniform whatever the distribution of the noise (Rényi 1962), so that one limit holds
    for every series and for repeated looks; sums of the last k are compared with it for many k at once
    (a GLR chart of sequential normal scores: Conover, Tercero-Gómez & Cordero-Franco 2017).
    """
    segment = series.levels[start:]
    if segment.size < MIN_BASELINE + int(_WINDOWS[0]):
        return None  # no window has a baseline; of a hundred thousand names, most are as short
    sums = np.zeros((3, segment.size + 1))
    ranks = _sequential_ranks(segment)
    begin = 0
    while begin < segment.size:
        end = min(2 * begin + _FIRST_BLOCK, begin + _BLOCK, segment.size)
        _add_scores(sums, begin, np.fromiter(ranks, dtype=np.float64, count=end - begin))
        for t, n, size in _suspects(segment, sums, max(begin, looked - start) + 1, end):
            if series.matters(start + max(0, t - _REFERENCE), start + t, start + n) and _is_believed(
                series.levels, start, start + t, start + n, size
            ):
                return start + _locate(segment[:n], t, MIN_BASELINE, n - 3), start + n
        begin = end
    return None


def _sequential_ranks(segment: Floats) -> Iterator[float]:
    """Yield the rank of each point among those before it, between 0 and 1; ties count half."""
    ordered: list[float] = []
    recent: deque[float] = deque()
    for value in segment.tolist():
        low, high = bisect_left(ordered, value), bisect_right(ordered, value)
        yield (low + high + 1) / (2 * len(ordered) + 2)
        ordered.insert(high, value)
        recent.append(value)
        if len(recent) > _REFERENCE:
            del ordered[bisect_left(ordered, recent.popleft())]


def _add_scores(sums: Floats, begin: int, ranks: Floats) -> None:
    """Continue the running sums of normal scores, uniform scores and products of neighbouring scores."""
    normal = [_score_of(rank) for rank in ranks.tolist()]
    uniform = (ranks - 0.5) * _UNIFORM
    before = sums[1, begin] - sums[1, begin - 1] if begin else 0.0
    products = uniform * np.r_[before, uniform[:-1]]
    for row, scores in zip(sums, (normal, uniform, products), strict=True):
        row[begin + 1 : begin + 1 + ranks.size] = row[begin] + np.cumsum(scores)


def _suspects(levels: Floats, sums: Floats, first: int, last: int) -> Iterator[tuple[int, int, float]]:
    """Yield (candidate, points seen, sum / limit) for n in ``first`` … ``last`` whose largest sum passes it.

    The variance of a sum grows with f = (1 + rho) / (1 - rho), rho being the lag-1 autocorrelation before the
    candidate. A level outside of the range of those before pays nothing: noise wanders within it, however it
    is correlated.
    """
    earliest = max(first - int(_WINDOWS[-1]), 1)
    seen = np.arange(earliest, last + 1)
    rho = sums[2, seen] / seen
    weight = np.sqrt(2 / (1 + np.clip(rho, 0, 0.9)) - 1)  # 1 / sqrt(f)
    reach = _reach(seen)
    n = np.arange(first, last + 1)[:, None]
    t = np.maximum(n - _WINDOWS, earliest)
    sizes = np.abs(sums[_LANES, n] - sums[_LANES, t]) / (reach[t - earliest] * _LIMITS * np.sqrt(_WINDOWS))
    sizes[n - _WINDOWS < MIN_BASELINE] = 0
    z = sizes * weight[t - earliest]
    for row in np.flatnonzero(sizes.max(axis=1, initial=0) > 1):
        end = int(n[row, 0])
        if z[row].max() > 1:
            yield int(t[row, z[row].argmax()]), end, float(z[row].max())
        elif _outside(levels, start := int(t[row, sizes[row].argmax()]), end):
            yield start, end, float(sizes[row].max())


def soonest_alarms(rows: Floats) -> npt.NDArray[np.int64]:
    """Return for each row of values, all of one length, after how many of them ``watch`` may report anything.

    It is one more than there are where it cannot. No alarm comes before a sum of scores has passed its limit.
    Autocorrelation, which only makes sums smaller, and belief are left to ``watch``.
    """
    pieces = [_passed(rows[first : first + _ROWS]) for first in range(0, len(rows), _ROWS)]
    return np.concatenate(pieces)


def _passed(rows: Floats) -> npt.NDArray[np.int64]:
    points = rows.shape[1]
    places = np.zeros(rows.shape, dtype=np.int64)  # twice the rank among those before
    for point in range(points):
        before, own = rows[:, :point], rows[:, point, None]
        places[:, point] = (before < own).sum(axis=1) + (before <= own).sum(axis=1)
    among = np.arange(1, points + 1)
    scores = _normal_scores(points)[among - 1, places], ((places + 1) / (2 * among) - 0.5) * _UNIFORM
    lanes = [np.pad(np.cumsum(each, axis=1), ((0, 0), (1, 0))) for each in scores]
    reach = _reach(np.arange(points + 1))
    soonest = np.full(len(rows), points + 1)
    for width, lane, limit in zip(_WINDOWS.tolist(), _LANES.tolist(), _LIMITS.tolist(), strict=True):
        first = MIN_BASELINE + width
        if first > points:
            continue
        before, since = lanes[lane][:, MIN_BASELINE : points + 1 - width], lanes[lane][:, first:]
        most = (1 - 1e-9) * limit * math.sqrt(width) * reach[MIN_BASELINE : points + 1 - width]
        passes = np.abs(since - before) > most
        soonest = np.where(passes.any(axis=1), np.minimum(soonest, first + passes.argmax(axis=1)), soonest)
    return soonest


@cache
def _normal_scores(points: int) -> Floats:
    """Return the normal score of each place among so many values, see ``_sequential_ranks``."""
    scores = np.full((points, 2 * points), math.nan)
    for among in range(points):
        scores[among, : 2 * among + 1] = [
            _NORMAL.inv_cdf((place + 1) / (2 * among + 2)) for place in range(2 * among + 1)
        ]
    return scores


def _reach(seen: npt.NDArray[np.int64]) -> Floats:
    """Return by how much ranks among so many points reach further: 5 % at 265."""
    reach: Floats = np.maximum(seen / 100, 1) ** 0.05
    return reach


def _is_believed(levels: Floats, start: int, index: int, end: int, size: float) -> bool:
    """Say whether a move at ``index`` of the level since ``start`` is more than noise that wanders or bursts.

    A young level is held against the runs just before, an excursion and what was before it alike. ``size`` is
    its sum in units of the limit.
    """
    after, young = levels[index:end], end - index < _STAYED
    own = levels[max(start, index - _RANGE_OF) : index]
    before = levels[max(0, index - _RANGE_OF) : index] if after.size < _EXCURSION else own
    sign = math.copysign(1.0, median(after) - median(own))
    share = _share_beyond(sign * before, sign * after)
    error = share * math.sqrt(
        (1 - share) / (1 + share) * (1 / after.size + 1 / before.size) * inflation(noise(before, after))
    )
    if not young:
        return share >= _BEYOND_LATER
    if share - error < _BEYOND:
        return False
    if after.size < _AMONG_WILD:
        rest = before - median(before)
        if np.abs(rest).max() > _OUTSIDE_SD * robust_sd(rest):
            return False
    past = sign * levels[max(0, index - _LONG_BEFORE) : index]
    was_there = float(np.mean(past >= np.quantile(sign * after, 0.25)))
    return size >= _KNOWN_LIMIT or was_there <= _KNOWN


def _share_beyond(before: Floats, after: Floats) -> float:
    """Return in which share of all pairs the later point is larger; ties count half (AUC)."""
    ordered = np.sort(before)
    ranks = np.searchsorted(ordered, after, "left") + np.searchsorted(ordered, after, "right")
    return float(ranks.mean()) / (2 * before.size)


def _outside(levels: Floats, start: int, end: int) -> bool:
    """Say whether most of the points from ``start`` to ``end`` lie outside of the range of those before."""
    before = levels[max(0, start - _RANGE_OF) : start]
    middle = median(before)
    away = median(levels[start:end]) - middle
    return abs(away) > _OUTSIDE_SD * robust_sd(before - middle)


def _lasting(levels: Floats, alarms: list[int]) -> list[int]:
    """Return the alarms that are worth their penalty, as far as one can see by now.

    A least squares partition whose segments begin at alarms only: an excursion costs two changes, and a
    level that was not kept leaves little to explain. Ranks say that something moved, squares by how much:
    chance seldom has both.
    """
    if not alarms:
        return []
    rest = np.concatenate([part - median(part) for part in np.split(levels, alarms)])
    reach = 2 * robust_sd(rest)
    if reach == 0:
        return alarms
    clipped = np.clip(rest, -reach, reach)
    steps = (levels - rest + clipped - levels.mean()) / math.sqrt(float(clipped @ clipped) / clipped.size)
    sums = np.r_[0.0, np.cumsum(steps)]
    penalty = _PENALTY * math.sqrt(inflation(rest)) * math.log(levels.size)
    bounds = np.array([0, *alarms, levels.size])
    cost, previous = np.zeros(bounds.size), [0] * bounds.size
    for i in range(1, bounds.size):
        costs = cost[:i] - (sums[bounds[i]] - sums[bounds[:i]]) ** 2 / (bounds[i] - bounds[:i])
        previous[i] = int(costs.argmin())
        cost[i] = costs.min() + penalty
    return [int(bounds[i]) for i in chain(previous)]


def _settle(levels: Floats, alarms: list[int]) -> list[int]:
    """Place each change with the points that came after its alarm, at most ``_SETTLE`` from there."""
    settled = []
    for start, alarm, end in triples(alarms, levels.size):
        near = levels[start : min(end, alarm + _SETTLED_AFTER)]
        settled.append(start + _locate(near, alarm - start, alarm - start - _SETTLE, alarm - start + _SETTLE))
    return settled


def _locate(segment: Floats, guess: int, low: int, high: int) -> int:
    """Return the index between ``low`` and ``high`` that splits ``segment`` best, knowing roughly where."""
    start = max(0, guess - _NEIGHBOURS)
    low, high = max(low, start + 1), min(high, segment.size - 1)
    losses = misfit(winsorised(segment[start:], guess - start))
    return low + int(losses[low - start - 1 : high - start].argmin())
