"""Find where the level of a series moved: be right, and be quiet.

``quiet`` replays the series as a watcher saw it who looked after every point, so that its false alarms are
those of a watcher; ``sensitive`` looks back once at the whole series. Both are pure and deterministic.
Values that are all > 0 are compared as logarithms, others as they are.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["ChangePoint", "find_change_points"]

Floats = npt.NDArray[np.float64]

_MIN_PERCENT = 5.0  # a smaller move of the median is nobody's business
_MIN_SD = 0.8  # and one of less than this many robust standard deviations is hard to believe

# quiet: sums of the last k scores, k after a candidate, and the limit that each has to pass
_FAST = np.arange(3, 15)  # normal scores, which see how extreme a few values are
_SLOW = np.r_[8:21, 22:41:2, 45:101:5]  # uniform scores, which are best for skewed noise
_WINDOWS = np.r_[_FAST, _SLOW]
_LANES = np.repeat([0, 1], [_FAST.size, _SLOW.size])
_LIMITS = np.select([_WINDOWS == 3, _WINDOWS <= 10], [3.87, 3.95], 4.1)  # benchmarks/change_points.py
_MIN_BASELINE = 15
_MAX_RHO = 0.95
_REFERENCE = 500  # a point is ranked among this many points before it
_SETTLE = 5  # a change may move by this much while points arrive,
_SETTLED_AFTER = 60  # and no more after this many
_NEIGHBOURS = 200  # points before a change that locate it
_BLOCK = 1024

_YOUNG = 30  # the newest alarm is not doubted before its level has this many points
_LASTING_PENALTY = 3.0  # times f ln n, for each alarm that is kept in hindsight

# sensitive
_MIN_SEGMENT = 5
_PENALTY = 2.0  # times sqrt(f) ln n, for each segment
_MIN_Z = 2.6
_HORIZON = 5_000  # longer segments are cut, and joined again by the confirmation

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """One move of the level; before and after reach to the neighbouring change, or to the end.

    Attributes:
        index: 0-based, the first point of the new level.
        before_median: of the ``before_n`` points before, in the unit of the series.
        after_median: of the ``after_n`` points after.
        before_n: points since the change before this one.
        after_n: points until the next change.
        effect_percent: (after - before) / abs(before), in percent; infinite when before is 0.
        effect_sd: difference of the medians (logarithms when all values are > 0) in robust standard
            deviations, 1.4826 MAD within the two levels; infinite when they have no noise.
        p_value: two-sided Mann-Whitney, corrected for ties and autocorrelation; one comparison, so it
            describes the change and is not the limit that raised it.
        interval: first and last index that explain the data about as well (likelihood ratio, 95 %).
    """

    index: int
    before_median: float
    after_median: float
    before_n: int
    after_n: int
    effect_percent: float
    effect_sd: float
    p_value: float
    interval: tuple[int, int]


def find_change_points(
    values: Sequence[float] | npt.NDArray[np.generic], *, profile: Literal["quiet", "sensitive"] = "quiet"
) -> list[ChangePoint]:
    """Return the points where the level of ``values`` moved for good, in order.

    ``quiet`` is for alerts: asked again after every point it is silent on healthy series and finds a large
    step within three points (figures: ``benchmarks/README.md``). A change once found moves by at most 5, and
    is taken back only when its level did not last. ``sensitive`` is for looking back: it tells more, and
    may change its mind with every new point.

    Args:
        values: one finite number per run, oldest first, in any unit.
        profile: ``quiet`` or ``sensitive``.

    Raises:
        ValueError: a value is NaN or infinite, the values are not one-dimensional, or no such profile.
    """
    series = _Series.of(_checked(values))
    if profile == "quiet":
        indexes = _settle(series.levels, _lasting(series.levels, _replay(series)))
    elif profile == "sensitive":
        indexes = _look_back(series)
    else:
        raise ValueError(f"profile is {profile!r}; choose 'quiet' or 'sensitive'")
    return [_describe(series, *part) for part in _triples(indexes, series.values.size)]


@dataclass(frozen=True, slots=True)
class _Series:
    """Values in their unit, and the levels compared: logarithms if all values are > 0, else scaled only."""

    values: Floats
    levels: Floats

    @classmethod
    def of(cls, values: Floats) -> _Series:
        if values.min(initial=1) > 0:
            return cls(values, np.log(values))
        return cls(values, values / (np.abs(values).max() or 1.0))

    def matters(self, start: int, index: int, end: int) -> bool:
        """Say whether the median moved by enough to tell somebody of it."""
        before, after = (
            float(np.median(part)) for part in (self.values[start:index], self.values[index:end])
        )
        percent = _ratio(100 * (after - before), abs(before))
        return (
            abs(percent) >= _MIN_PERCENT
            and abs(_effect_sd(self.levels[start:index], self.levels[index:end])) >= _MIN_SD
        )


def _triples(indexes: list[int], size: int) -> list[tuple[int, int, int]]:
    """Return (previous change or 0, change, next change or the end) for each change."""
    bounds = [0, *indexes, size]
    return list(zip(bounds, bounds[1:], bounds[2:], strict=False))


def _checked(values: Sequence[float] | npt.NDArray[np.generic]) -> Floats:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values have {series.ndim} dimensions; give one number per run")
    wrong = np.flatnonzero(~np.isfinite(series))
    if wrong.size:
        raise ValueError(f"value {series[wrong[0]]} at index {wrong[0]} is not finite; leave that run out")
    return series


# ---------------------------------------------------------------- quiet: watch every point


def _replay(series: _Series) -> list[int]:
    """Return the changes a watcher would have reported, each where it was first seen."""
    alarms: list[int] = []
    start = looked = 0
    while (alarm := _first_alarm(series, start, looked)) is not None:
        start, looked = alarm
        alarms.append(start)
    return alarms


def _first_alarm(series: _Series, start: int, looked: int) -> tuple[int, int] | None:
    """Return the first move of the level since ``start`` and how many points made it clear, or None.

    ``looked`` points were there already when the level at ``start`` was found.

    Each point is ranked among those before it. While the level holds, such sequential ranks are
    independent and uniform whatever the distribution of the noise (Rényi 1962), so that one limit holds
    for every series and for repeated looks; sums of the last k are compared with it for many k at once
    (a GLR chart of sequential normal scores: Conover, Tercero-Gómez & Cordero-Franco 2017).
    """
    segment = series.levels[start:]
    sums = np.zeros((3, segment.size + 1))
    ranks = _sequential_ranks(segment)
    begin = 0
    while begin < segment.size:
        end = min(2 * begin + 64, begin + _BLOCK, segment.size)
        _add_scores(sums, begin, np.fromiter(ranks, dtype=np.float64, count=end - begin))
        for t, n in _suspects(sums, max(begin, looked - start) + 1, end):
            if series.matters(start + max(0, t - _REFERENCE), start + t, start + n):
                return start + _locate(segment[:n], t, _MIN_BASELINE, n - 3), start + n
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
    normal = [_NORMAL.inv_cdf(rank) for rank in ranks.tolist()]
    uniform = (ranks - 0.5) * math.sqrt(12)
    before = sums[1, begin] - sums[1, begin - 1] if begin else 0.0
    products = uniform * np.r_[before, uniform[:-1]]
    for row, scores in zip(sums, (normal, uniform, products), strict=True):
        row[begin + 1 : begin + 1 + ranks.size] = row[begin] + np.cumsum(scores)


def _suspects(sums: Floats, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield (candidate, points seen) for each n in ``first`` … ``last`` whose largest sum passes the limit.

    The variance of a sum grows with f = (1 + rho) / (1 - rho), rho being the lag-1 autocorrelation before the
    candidate less 0.6 standard errors: independent noise has to pay nothing for the correction.
    """
    earliest = max(first - int(_WINDOWS[-1]), 1)
    seen = np.arange(earliest, last + 1)
    rho = sums[2, seen] / seen - 0.6 / np.sqrt(seen)
    weight = np.sqrt(2 / (1 + np.clip(rho, 0, 0.9)) - 1)  # 1 / sqrt(f)
    n = np.arange(first, last + 1)[:, None]
    t = np.maximum(n - _WINDOWS, earliest)
    weight /= np.maximum(seen / 100, 1) ** 0.05  # ranks among more points reach further: 5 % at 265
    z = np.abs(sums[_LANES, n] - sums[_LANES, t]) * weight[t - earliest] / (_LIMITS * np.sqrt(_WINDOWS))
    z[n - _WINDOWS < _MIN_BASELINE] = 0
    for row in np.flatnonzero(z.max(axis=1, initial=0) > 1):
        yield int(t[row, z[row].argmax()]), int(n[row, 0])


def _lasting(levels: Floats, alarms: list[int]) -> list[int]:
    """Return the alarms that are still worth their penalty; the newest is not judged before it has settled.

    A least squares partition whose segments begin at alarms only: an excursion costs two changes, and a
    level that was not kept leaves little to explain.
    """
    if not alarms:
        return []
    noise = np.concatenate([part - np.median(part) for part in np.split(levels, alarms)])
    sd = _robust_sd(noise)
    if sd == 0:
        return alarms
    sums = np.r_[0.0, np.cumsum((levels - noise + np.clip(noise, -2.5 * sd, 2.5 * sd) - levels.mean()) / sd)]
    penalty = _LASTING_PENALTY * _inflation(noise) * math.log(levels.size)
    bounds = np.array([0, *alarms, levels.size])
    young = levels.size - alarms[-1] <= _YOUNG
    cost, previous = np.zeros(bounds.size), [0] * bounds.size
    for i in range(1, bounds.size):
        first = i - 1 if young and i == bounds.size - 1 else 0
        costs = cost[first:i] - (sums[bounds[i]] - sums[bounds[first:i]]) ** 2 / (bounds[i] - bounds[first:i])
        previous[i] = first + int(costs.argmin())
        cost[i] = costs.min() + penalty
    return [int(bounds[i]) for i in _chain(previous)]


def _chain(previous: Sequence[int]) -> list[int]:
    """Return the starts of the segments, first to last, by following the best predecessor from the end."""
    starts: list[int] = []
    position = int(previous[-1])
    while position > 0:
        starts.append(position)
        position = int(previous[position])
    return starts[::-1]


def _settle(levels: Floats, alarms: list[int]) -> list[int]:
    """Place each change with the points that came after its alarm, at most ``_SETTLE`` from there."""
    settled = []
    for start, alarm, end in _triples(alarms, levels.size):
        near = levels[start : min(end, alarm + _SETTLED_AFTER)]
        settled.append(start + _locate(near, alarm - start, alarm - start - _SETTLE, alarm - start + _SETTLE))
    return settled


def _locate(segment: Floats, guess: int, low: int, high: int) -> int:
    """Return the index between ``low`` and ``high`` that splits ``segment`` best, knowing roughly where."""
    start = max(0, guess - _NEIGHBOURS)
    low, high = max(low, start + 1), min(high, segment.size - 1)
    misfit = _misfit(_winsorised(segment[start:], guess - start))
    return low + int(misfit[low - start - 1 : high - start].argmin())


# ---------------------------------------------------------------- sensitive: look back once


def _look_back(series: _Series) -> list[int]:
    """Return the best segmentation of the whole series, without changes that do not bear a second look."""
    levels = series.levels
    if levels.size < 2 * _MIN_SEGMENT:
        return []
    scores = _normal_scores(levels)
    inflation = 1.0
    for _ in range(2):
        indexes = _best_partition(scores, _PENALTY * math.sqrt(inflation) * math.log(levels.size))
        inflation = _inflation(np.concatenate([part - part.mean() for part in np.split(scores, indexes)]))
    indexes = _best_partition(scores, _PENALTY * math.sqrt(inflation) * math.log(levels.size))
    while indexes:
        belief = [_belief(series, *part) for part in _triples(indexes, levels.size)]
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
    cost = np.full(scores.size + 1, np.inf)
    cost[0] = -penalty
    previous = [0] * (scores.size + 1)
    starts = np.array([0])
    for end in range(_MIN_SEGMENT, scores.size + 1):
        costs = cost[starts] - (sums[end] - sums[starts]) ** 2 / (end - starts)
        best = int(costs.argmin())
        cost[end], previous[end] = costs[best] + penalty, int(starts[best])
        starts = np.append(starts[costs <= cost[end]], end - _MIN_SEGMENT + 1)[-_HORIZON:]
    return _chain(previous)


def _belief(series: _Series, start: int, index: int, end: int) -> float:
    """Return |z| of Mann and Whitney's test, or 0 when the move is too small to matter."""
    z = _mann_whitney(series.levels[start:index], series.levels[index:end])
    return abs(z) if series.matters(start, index, end) else 0.0


# ---------------------------------------------------------------- two neighbouring levels


def _describe(series: _Series, start: int, index: int, end: int) -> ChangePoint:
    before, after = (
        float(np.median(part)) for part in (series.values[start:index], series.values[index:end])
    )
    old, new = series.levels[start:index], series.levels[index:end]
    z = _mann_whitney(old, new) / math.sqrt(_inflation(_noise(old, new)))
    return ChangePoint(
        index=index,
        before_median=before,
        after_median=after,
        before_n=index - start,
        after_n=end - index,
        effect_percent=_ratio(100 * (after - before), abs(before)),
        effect_sd=_effect_sd(old, new),
        p_value=math.erfc(abs(z) / math.sqrt(2)),
        interval=_interval(series.levels[start:end], index - start, start),
    )


def _effect_sd(before: Floats, after: Floats) -> float:
    old, new = _medians(before, after)
    return _ratio(new - old, _robust_sd(_noise(before, after)))


def _medians(before: Floats, after: Floats) -> tuple[float, float]:
    return float(np.median(before)), float(np.median(after))


def _ratio(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else math.copysign(math.inf, difference)


def _noise(before: Floats, after: Floats) -> Floats:
    """Return what remains of both levels without their medians."""
    return np.concatenate([before - np.median(before), after - np.median(after)])


def _robust_sd(noise: Floats) -> float:
    """Return 1.4826 MAD, or 1.2533 times the mean deviation where more than half of the values are equal."""
    return 1.4826 * float(np.median(np.abs(noise))) or 1.2533 * float(np.abs(noise).mean())


def _inflation(noise: Floats) -> float:
    """Return f = (1 + rho) / (1 - rho): n autocorrelated values tell as much as n / f independent ones."""
    sd = _robust_sd(noise)
    clipped = np.clip(noise, -3 * sd, 3 * sd)
    power = float(clipped @ clipped)
    rho = min(max(float(clipped[1:] @ clipped[:-1]) / power, 0.0), _MAX_RHO) if power > 0 else 0.0
    return (1 + rho) / (1 - rho)


def _mann_whitney(before: Floats, after: Floats) -> float:
    """Return z of Mann and Whitney's test with the correction for ties; positive when ``after`` is higher."""
    pooled = np.concatenate([before, after])
    ordered = np.sort(pooled)
    ranks = np.searchsorted(ordered, pooled, "left") + np.searchsorted(ordered, pooled, "right") + 1.0
    n, variance = pooled.size, float(ranks.var(ddof=1))
    if variance == 0:
        return 0.0
    return float(ranks[before.size :].mean() - ranks.mean()) / math.sqrt(variance * (1 / after.size - 1 / n))


def _winsorised(segment: Floats, index: int) -> Floats:
    """Return ``segment`` with values pulled to at most two standard deviations outside its two levels."""
    before, after = segment[:index], segment[index:]
    low, high = sorted(_medians(before, after))
    reach = 2 * _robust_sd(_noise(before, after))
    return np.clip(segment, low - reach, high + reach)


def _misfit(segment: Floats) -> Floats:
    """Return the residual sum of squares of two constant levels, for a split before 1, 2, ... size - 1."""
    deviations = segment - segment.mean()
    n, left = segment.size, np.arange(1, segment.size)
    explained = np.cumsum(deviations)[:-1] ** 2 * n / (left * (n - left))
    misfit: Floats = np.maximum(float(deviations @ deviations) - explained, 0.0)
    return misfit


def _interval(segment: Floats, index: int, start: int) -> tuple[int, int]:
    """Return the indexes whose log-likelihood is close to the best.

    For a large sample the loss at the true change is distributed as the larger of two independent
    exponentials, which gives -2 ln(1 - sqrt(.95)) = 7.35 (Siegmund 1988), times f for autocorrelation.
    """
    misfit = _misfit(_winsorised(segment, index))
    limit = 7.35 * _inflation(_noise(segment[:index], segment[index:])) / segment.size
    good = np.flatnonzero(misfit <= misfit.min() * math.exp(limit) + 1e-12) + 1
    return start + min(index, int(good[0])), start + max(index, int(good[-1]))
