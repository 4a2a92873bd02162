"""Find where the level of a series moved: be right, and be quiet.

``quiet`` replays the series as a watcher saw it who looked after every point, so that its false alarms are
those of a watcher: alerts are its own. ``sensitive`` looks back once at the whole series, and knows trends;
``find_past_changes`` puts the two together for questions about the past. All are pure and deterministic.
Values that are all > 0 are compared as logarithms, others as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from perfdb.analysis.levels import (
    Floats,
    Series,
    effect_sd,
    inflation,
    mann_whitney,
    median,
    medians,
    misfit,
    noise,
    ratio,
    triples,
    winsorised,
)
from perfdb.analysis.partition import look_back
from perfdb.analysis.trend_lines import turns
from perfdb.analysis.watcher import MIN_BASELINE, watch

__all__ = ["ChangePoint", "find_change_points", "find_past_changes"]

SURE_RUNS = 20  # of the newest level; a younger one is reported only when the watcher reports it too
WATCHED = 2_000  # of a long past the watcher sees so many of the newest
_SE_MEDIAN = 1.2533  # sd / sqrt(n) of a median, of normal values: sqrt(pi / 2)
_SUREST = 1e-9  # the tail of a normal distribution says no more of real runs
_MENDED = 2  # there, and back
_REMEMBERED = 500  # runs in which it was
_CLEAR_SD = 3.0  # robust standard deviations of such moves: autocorrelated noise has one to two
_EARLY_RUNS, _EARLY_P, _EARLY_RANK_P = 5, 1e-6, 2e-3  # on either side, and of chance
_WAVE = 4  # moves up and down by turns
_AROUND = 4  # periods on either side of one in which the level moved tell at which run it did
_SAME = 5  # points within which both tell of the same change


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
        p_value: that chance does so much: the smaller one of ``rank_p_value`` and of the distance of the
            medians (standard error 1.2533 sd sqrt(1/n + 1/m)), corrected for autocorrelation. A rank test
            alone cannot be sure of a dozen runs, however far away they are. One comparison, so it describes
            the change and is not the limit that raised it.
        rank_p_value: two-sided Mann-Whitney, corrected for ties and autocorrelation.
        interval: first and last index that explain the data about as well (likelihood ratio, 95 %).
        without_wave: the medians, and so the effect, are without the wave of the day and week.
        nearest_only: before and after are the nearest points only, as many as were looked at in a long past.
    """

    index: int
    before_median: float
    after_median: float
    before_n: int
    after_n: int
    effect_percent: float
    effect_sd: float
    p_value: float
    rank_p_value: float
    interval: tuple[int, int]
    without_wave: bool = False
    nearest_only: bool = False


def find_change_points(
    values: Sequence[float] | npt.NDArray[np.generic], *, profile: Literal["quiet", "sensitive"] = "quiet"
) -> list[ChangePoint]:
    """Return the points where the level of ``values`` moved for good, in order.

    ``quiet`` is for alerts: asked again after every point it is silent on healthy series and finds a large
    step within three points (figures: ``benchmarks/README.md``). A change once found moves by at most 5, and
    is taken back only when its level did not last. ``sensitive`` is for looking back: it tells more, may
    change its mind with every new point, and in a series that rises or falls all the time it tells where the
    trend breaks, whatever the levels on both sides are.

    Args:
        values: one finite number per run, oldest first, in any unit.
        profile: ``quiet`` or ``sensitive``.

    Raises:
        ValueError: a value is NaN or infinite, the values are not one-dimensional, or no such profile.
    """
    series = Series.of(_checked(values))
    if profile == "quiet":
        indexes = _seen(series)
    elif profile == "sensitive":
        broken = turns(series)
        indexes = look_back(series) if broken is None else broken
    else:
        raise ValueError(f"profile is {profile!r}; choose 'quiet' or 'sensitive'")
    return _described(series, indexes)


def find_past_changes(
    values: Sequence[float] | npt.NDArray[np.generic], firsts: Sequence[int] | None = None
) -> list[ChangePoint]:
    """Return where the level of a past moved, in order: what a page, a chart and `regressions` tell.

    It looks back, as ``sensitive``, where there is enough to look back at; the newest runs belong to the
    watcher, as ``quiet``, so that the answer for today is what an alert would report, no less and no more.
    But from the first runs the watcher only learns, of a new level too: a clear change among them is told,
    and that the newest runs are clearly back at the level before. A turn of a trend between levels that
    hardly differ is no move, nor is a level that goes up and down by turns, as with the hours of the day.

    Args:
        values: one finite number per run, oldest first, in any unit.
        firsts: of a long past, where its periods begin (indexes, from 0 on): the medians of the periods are
            looked at, and a change lies at the run within one, or the one beside, that parts them best.

    Raises:
        ValueError: as ``find_change_points``.
    """
    runs = Series.of(_checked(values))
    newest = runs if firsts is None else Series.of(runs.values[-WATCHED:])
    young = runs.values.size - SURE_RUNS
    back = cache(look_back)  # at few runs both look
    watched = [runs.values.size - newest.values.size + index for index in _seen(newest, back)]
    if firsts is None:
        past, places = runs, list(range(runs.values.size))
    else:
        past, places = Series.of(_medians(runs.values, firsts)), list(firsts)
    moved = _moves_in(past, back)
    moved = moved if firsts is None else _settled(past.levels, moved)
    is_unlearnt = firsts is None and any(young < index < MIN_BASELINE for index in moved)
    early = {each.index for each in _described(runs, moved) if _is_early(each)} if is_unlearnt else set()
    kept = [index for index in moved if places[index] <= young or index in early]
    kept = [places[index] for index in kept] if firsts is None else _within(runs, places, kept)
    newer = [index for index in watched if index > young and index not in kept]
    told = [each for each in _described(runs, sorted([*kept, *newer])) if each.index in kept]
    kept += [index for index in newer if not any(_is_of(index, each) for each in told)]
    found = _described(runs, sorted(kept))
    ended = _returned(runs, found[-1]) if found else []
    return _described(runs, [*sorted(kept), *ended]) if ended else found


def _returned(runs: Series, newest: ChangePoint) -> list[int]:
    """Return where the newest level ended, if what ran since is clearly back at the level before it."""
    before, levels = np.split(runs.levels[newest.index - newest.before_n :], [newest.before_n])
    latest = levels.size - _EARLY_RUNS
    since, first = median(levels[latest:]), median(levels[:_EARLY_RUNS])
    if latest < _EARLY_RUNS or abs(since - median(before)) > abs(since - first):
        return []
    place = newest.index + _parted(levels, latest, _EARLY_RUNS, latest + 1)
    return [place] if _is_clear(_describe(runs, newest.index, place, runs.values.size)) else []


def _settled(levels: Floats, moved: Sequence[int]) -> list[int]:
    """Return the periods that part the levels beside each move best.

    Among the ranks of a long past days of the old level that were a little high are hardly less than the new
    one: the partition, which looks at ranks, may begin a move with them.
    """
    found = []
    for before, place, after in zip([0, *moved], moved, [*moved[1:], levels.size], strict=False):
        found.append(before + _parted(levels[before:after], place - before, 2, after - before - 1))
    return found


def _within(runs: Series, firsts: Sequence[int], moved: Sequence[int]) -> list[int]:
    """Return the runs at which the level moved, by the periods in which it did."""
    ends = [*firsts, runs.values.size]
    found = []
    for before, period, after in zip([0, *moved], moved, [*moved[1:], len(firsts)], strict=False):
        first, end = ends[max(before, period - _AROUND)], ends[min(after, period + _AROUND)]
        low, high = ends[max(before, period - 1)], ends[min(after, period + 2)]
        found.append(first + _parted(runs.levels[first:end], ends[period] - first, low - first, high - first))
    return found


def _parted(levels: Floats, place: int, low: int, high: int) -> int:
    low = max(low, 1)
    return low + int(np.argmin(misfit(winsorised(levels, place))[low - 1 : high - 1]))


def find_moved_periods(medians: Sequence[float]) -> list[int]:
    """Return the periods of a long past at which its level moved, as ``find_past_changes`` does."""
    periods = Series.of(_checked(medians))
    return _settled(periods.levels, _moves_in(periods))


def find_place(values: Sequence[float], place: int, low: int, high: int) -> int:
    """Return the index from ``low`` to before ``high`` that parts the values best; ``place`` does about."""
    return _parted(Series.of(_checked(values)).levels, place, low, high)


def find_new_changes(newest: Sequence[float], known: Sequence[int] = ()) -> list[int]:
    """Return the newest changes of a long past, which no period shows yet: indexes among its newest runs.

    Args:
        newest: values of runs, oldest first; ``WATCHED`` of them are looked at.
        known: where the level moved before, as far as it was among these runs.
    """
    young = len(newest) - SURE_RUNS
    first = max(0, len(newest) - WATCHED)
    found = [first + index for index in _seen(Series.of(_checked(newest[first:])))]
    return [i for i in found if i > young and all(abs(i - other) > _SAME for other in known)]


def _seen(series: Series, back: Callable[[Series], list[int]] = look_back) -> list[int]:
    """Return what a watcher saw who looked after every point, and who knows which moves were mended.

    A regression that was mended a dozen runs later is no level to him: those runs would belong to what he
    holds for usual, and hide the next one.
    """
    indexes = watch(series)
    first = max(0, series.values.size - _REMEMBERED)
    rest = Series.of(series.values[first:]) if first else series
    past = _described(rest, back(rest))
    moved = [first + each.index for each in past if rest.matters(*_reach(each))]
    if len(moved) > _WAVE or any(abs(each.effect_sd) < _CLEAR_SD for each in past[:-1]):
        return indexes
    for known in (moved, moved[:-1]):  # the newest may be the one that he is to see
        if len(known) < _MENDED or (indexes and indexes[-1] >= known[-1]):
            break
        if again := watch(Series.of(series.values[known[-1] :])):
            return [*known, *(known[-1] + index for index in again)]
    return indexes


def _moves_in(past: Series, back: Callable[[Series], list[int]] = look_back) -> list[int]:
    broken = turns(past)
    found = _described(past, back(past) if broken is None else broken)
    moved = [change for change in found if past.matters(*_reach(change))]
    return [] if _is_wave(moved) else [change.index for change in moved]


def describe_changes(
    values: Sequence[float] | npt.NDArray[np.generic], indexes: list[int]
) -> list[ChangePoint]:
    """Return what is to be said of changes at these indexes, in order."""
    return _described(Series.of(_checked(values)), indexes)


def _medians(values: Floats, firsts: Sequence[int]) -> Floats:
    parts = np.split(values, [first for first in firsts if first > 0])
    return np.array([median(part) for part in parts])


def _is_wave(changes: Sequence[ChangePoint]) -> bool:
    return len(changes) >= _WAVE and all(
        one.effect_percent * two.effect_percent < 0 for one, two in pairwise(changes)
    )


def _is_early(change: ChangePoint) -> bool:
    """Say whether a clear change lies among the first runs, which the watcher only learns from."""
    return change.index < MIN_BASELINE and _is_clear(change)


def _is_clear(change: ChangePoint) -> bool:
    return (
        change.after_n >= _EARLY_RUNS <= change.before_n
        and abs(change.effect_sd) >= _CLEAR_SD
        and change.p_value <= _EARLY_P
        and change.rank_p_value <= _EARLY_RANK_P
    )


def _is_of(index: int, change: ChangePoint) -> bool:
    """Say whether a change at an index may be this one."""
    return change.interval[0] - _SAME <= index <= change.interval[1] + _SAME


def _reach(change: ChangePoint) -> tuple[int, int, int]:
    return change.index - change.before_n, change.index, change.index + change.after_n


def _described(series: Series, indexes: list[int]) -> list[ChangePoint]:
    return [_describe(series, *part) for part in triples(indexes, series.values.size)]


def _checked(values: Sequence[float] | npt.NDArray[np.generic]) -> Floats:
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1:
        raise ValueError(f"values have {series.ndim} dimensions; give one number per run")
    wrong = np.flatnonzero(~np.isfinite(series))
    if wrong.size:
        raise ValueError(f"value {series[wrong[0]]} at index {wrong[0]} is not finite; leave that run out")
    return series


def _describe(series: Series, start: int, index: int, end: int) -> ChangePoint:
    before, after = medians(series.values[start:index], series.values[index:end])
    old, new = series.levels[start:index], series.levels[index:end]
    displacement, f = effect_sd(old, new), inflation(noise(old, new))
    of_medians = displacement / (_SE_MEDIAN * math.sqrt(1 / old.size + 1 / new.size))
    p_values = [math.erfc(abs(z) / math.sqrt(2 * f)) for z in (mann_whitney(old, new), of_medians)]
    return ChangePoint(
        index=index,
        before_median=before,
        after_median=after,
        before_n=index - start,
        after_n=end - index,
        effect_percent=ratio(100 * (after - before), abs(before)),
        effect_sd=displacement,
        p_value=min(p_values[0], max(p_values[1], _SUREST)),
        rank_p_value=p_values[0],
        interval=_interval(series.levels[start:end], index - start, start),
    )


def _interval(segment: Floats, index: int, start: int) -> tuple[int, int]:
    """Return the indexes whose log-likelihood is close to the best.

    For a large sample the loss at the true change is distributed as the larger of two independent
    exponentials, which gives -2 ln(1 - sqrt(.95)) = 7.35 (Siegmund 1988), times f for autocorrelation.
    """
    losses = misfit(winsorised(segment, index))
    limit = 7.35 * inflation(noise(segment[:index], segment[index:])) / segment.size
    good = np.flatnonzero(losses <= losses.min() * math.exp(limit) + 1e-12) + 1
    return start + min(index, int(good[0])), start + max(index, int(good[-1]))
