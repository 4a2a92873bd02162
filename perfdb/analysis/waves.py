"""The wave of the day or of the week in a series: runs are compared with those of the same phase.

Pure. A wave is some harmonics of the hour (UTC), and what each weekday lies over or under the level around;
a series in which that explains little is left as it is.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from perfdb.analysis.change_points import ChangePoint, describe_changes
from perfdb.analysis.levels import Floats, robust_sd
from perfdb.analysis.modes import beside_modes
from perfdb.analysis.rules.base import MEDIAN_ERROR

LEAST_RUNS = 100
LEAST_DAYS = 2.0
LEAST_WEEKS_DAYS = 14  # with runs, which show a wave of the week
LEAST_OF_WEEKDAY = 5  # runs, and on two days: what fewer took is chance, and that weekday is as the others
LEAST_EXPLAINED = 0.1  # share of the variance within the level
LEAST_SURE = 0.01  # probability that chance does so much at any of the places
LEAST_F = 10.0  # and so many times what chance explains: neighbours that resemble each other make it more
LEAST_VARIANCE = 1e-8  # a ten-thousandth of the level: what never differs has no wave
_DAY, _WEEK = 86_400.0, 7
_AROUND_DAYS = 3.0  # that make the level around
_REACH = 2.5  # robust standard deviations, to which what sticks out is pulled in
_HARMONICS = (2, 4)  # a wave of sharper form needs more of them
LEAST_BESIDE_WEEKEND = 10  # runs before a weekend that tell the level of working days,
SAME_AS_BEFORE = 1.05  # which that of a Monday may exceed by so much, and three standard errors
_RECENT = 30  # runs that make the level of now

_MOST_KNOWN = 1_000
_known: dict[bytes, tuple[Wave | None]] = {}  # by the digest of the runs


@dataclass(frozen=True, slots=True)
class Wave:
    """How far the runs of each hour and weekday lie over or under the level, in logarithms.

    Attributes:
        of_day: the weights of cosine and sine of each harmonic of the day; empty without a wave of the day.
        of_week: what Monday to Sunday add; empty without a wave of the week.
        middle: mean of both over the runs: they lie around it, with and without the wave.
        level: of the newest runs, without the wave, in the unit of the series.
    """

    of_day: tuple[float, ...]
    of_week: tuple[float, ...]
    middle: float = 0.0
    level: float = 1.0

    def at(self, start_times: Sequence[float] | Floats) -> Floats:
        """Return the logarithm of what runs that began then take, over that of the level."""
        starts = np.asarray(start_times, dtype=float)
        above: Floats = np.full(starts.size, -self.middle)
        if self.of_day:
            above = above + _harmonics(starts, len(self.of_day) // 2) @ np.array(self.of_day)
        if self.of_week:
            above = above + np.array(self.of_week)[_weekdays(starts // _DAY)]
        return above

    def at_level_of(self, start_times: Sequence[float], values: Sequence[float]) -> Wave:
        """Return the same wave over the level of these runs; as it is without any."""
        return replace(self, level=float(np.median(calmed(self, start_times, values)))) if values else self

    def usual_at(self, start_time: float) -> float:
        """Return what a run that begins then usually takes now, in the unit of the series."""
        return self.level * float(np.exp(self.at([start_time])[0]))


def find_wave(start_times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> Wave | None:
    """Return the wave of the day, of the week, or of both in a series; None where it has neither.

    Of the same runs it is found once: pages ask for it again and again.
    """
    starts, runs = np.asarray(start_times, dtype=float), np.asarray(values, dtype=float)
    if runs.size < LEAST_RUNS or not runs.min() > 0 or starts[-1] - starts[0] < LEAST_DAYS * _DAY:
        return None
    key = blake2b(runs.tobytes(), key=blake2b(starts.tobytes()).digest(), digest_size=16).digest()
    known = _known.get(key)
    if known is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[key] = (_wave_in(starts, runs),)
    return known[0]


def _wave_in(starts: Floats, runs: Floats) -> Wave | None:
    logs = np.log(runs)
    of_day = _of_day(starts, logs)
    calm = logs - _harmonics(starts, len(of_day) // 2) @ np.array(of_day) if of_day else logs
    of_week = _of_week(starts, calm)
    if of_week and not of_day:  # what a weekday adds may have hidden the hours
        of_day = _of_day(starts, logs - np.array(of_week)[_weekdays(starts // _DAY)])
    if not of_day and not of_week:
        return None
    wave = Wave(of_day, of_week)
    wave = replace(wave, middle=float(wave.at(starts).mean()))
    return replace(wave, level=float(np.exp(np.median((logs - wave.at(starts))[-_RECENT:]))))


def without_wave(start_times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> Floats | None:
    """Return the values of a series without its wave of the day and the week; None where it has none."""
    wave = find_wave(start_times, values)
    return None if wave is None else calmed(wave, start_times, values)


def calmed(wave: Wave, start_times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> Floats:
    """Return the values without this wave."""
    calm: Floats = np.asarray(values, dtype=float) * np.exp(-wave.at(start_times))
    return calm


def without_wave_of(
    longer: tuple[Sequence[float] | Floats, Sequence[float] | Floats],
    start_times: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
) -> Floats | None:
    """Return values without the wave that others of their series have; None where those have none.

    Args:
        longer: start times and values of the others: thinned ones, or of the days before.
        start_times: of the values.
        values: to take it from.
    """
    wave = find_wave(*longer)
    return None if wave is None else calmed(wave, start_times, values)


def changes_of_calm(
    values: Sequence[float] | Floats,
    calm: Floats | None,
    find: Callable[[Sequence[float] | Floats], list[ChangePoint]],
) -> list[ChangePoint]:
    """Return what ``find`` finds in the values without their wave, or as they are where they have none.

    The wave hid small moves, and what is left of it makes others: each must be sure among all places. A
    switch between two known levels is none, see ``modes``. The medians are without the wave, too: those of
    a few days would be as much of the hours at which the runs began as of the level.
    """
    if calm is None:
        return beside_modes(values, find(values))
    found = [change for change in find(calm) if change.p_value * calm.size <= LEAST_SURE]
    found = beside_modes(calm, found)
    return [
        replace(level, p_value=change.p_value, interval=change.interval, without_wave=True)
        for change, level in zip(found, describe_changes(calm, [each.index for each in found]), strict=True)
    ]


def resumes_after_weekend(start_times: Sequence[float], levels: Sequence[float], first: int) -> bool:
    """Say whether a level that begins on a Monday is that of the days before the weekend, which was lower.

    One weekend is no wave of the week yet; it is no reason to tell of its end either.

    Args:
        start_times: of the runs, oldest first.
        levels: theirs, without the wave of the day where there is one.
        first: the first run of the level.
    """
    starts = np.asarray(start_times, dtype=float)
    into_week = (starts[first] + 3.5 * _DAY) % (_WEEK * _DAY)  # since Sunday noon: nobody knows their clocks
    if into_week > 1.5 * _DAY:
        return False
    monday = starts[first] - into_week + 0.5 * _DAY
    bounds = np.searchsorted(starts, [monday - _WEEK * _DAY, monday - 2.5 * _DAY, monday - 1.5 * _DAY])
    before, weekend = levels[bounds[0] : bounds[1]], levels[bounds[2] : first]
    if len(before) < LEAST_BESIDE_WEEKEND or len(weekend) < 2:
        return False
    usual, now = float(np.median(before)), float(np.median(levels[first:]))
    error = MEDIAN_ERROR * robust_sd(np.asarray(before) - usual) / math.sqrt(len(levels) - first)
    return float(np.median(weekend)) < min(usual, now) and now <= SAME_AS_BEFORE * usual + 3 * error


def _of_day(starts: Floats, logs: Floats) -> tuple[float, ...]:
    """Return the weights of the harmonics of the day; empty where they explain little."""
    width = int(min(logs.size // 2, max(15, logs.size * _AROUND_DAYS * _DAY / (starts[-1] - starts[0])))) | 1
    rest = _pulled_in(logs - _level_around(logs, width))
    found: tuple[float, ...] = ()
    explained, left, terms = 0.0, float(rest.var()), 0
    for harmonics in _HARMONICS:
        waves = _harmonics(starts, harmonics)
        weights = np.linalg.lstsq(np.column_stack([np.ones_like(starts), waves]), rest, rcond=None)[0][1:]
        fitted = waves @ weights
        more, still = float(fitted.var()) - explained, float((rest - fitted - np.mean(rest - fitted)).var())
        added = weights.size - terms
        if more <= max(LEAST_EXPLAINED * left, LEAST_F * added * still / logs.size, LEAST_VARIANCE):
            break
        found, explained, left, terms = tuple(weights.tolist()), float(fitted.var()), still, weights.size
    return found


def _of_week(starts: Floats, logs: Floats) -> tuple[float, ...]:
    """Return what each weekday adds; empty where that is little, or chance among the days."""
    days = np.floor(starts / _DAY)
    bounds = np.r_[0, np.flatnonzero(np.diff(days)) + 1]
    if bounds.size < LEAST_WEEKS_DAYS:
        return ()
    numbers = days[bounds]
    counts = np.diff(np.r_[bounds, logs.size])
    by_day = logs[np.lexsort((logs, np.repeat(np.arange(bounds.size), counts)))]
    of_day = (by_day[bounds + (counts - 1) // 2] + by_day[bounds + counts // 2]) / 2  # its median
    weekdays = _weekdays(numbers)
    runs_of = np.bincount(weekdays, counts, _WEEK)
    present = np.flatnonzero((runs_of >= LEAST_OF_WEEKDAY) & (np.bincount(weekdays, minlength=_WEEK) > 1))
    if present.size < 2 or numbers[-1] - numbers[0] < 2 * _WEEK - 1 or bounds.size < 2 * present.size:
        return ()
    rest = of_day - _level_around(of_day, present.size | 1)
    middles = np.zeros(_WEEK)
    for day in present:
        middles[day] = np.median(rest[weekdays == day])
    fitted = middles[weekdays]
    freedom = bounds.size - present.size
    explained, left = float(fitted.var()), float((_pulled_in(rest - fitted) ** 2).sum()) / freedom
    if explained * bounds.size <= max(LEAST_F * (present.size - 1) * left, LEAST_VARIANCE):
        return ()
    within = logs - np.repeat(of_day, counts)
    if explained < LEAST_EXPLAINED * float(_pulled_in(within).var() + rest.var()):
        return ()
    return tuple((middles - float(np.median(middles[present]))).tolist())


def _harmonics(starts: Floats, count: int) -> Floats:
    hour = 2 * np.pi * starts / _DAY
    return np.column_stack([f(k * hour) for k in range(1, count + 1) for f in (np.cos, np.sin)])


def _weekdays(days: Floats) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the weekdays, Monday 0, of days since 1970, which began on a Thursday."""
    return ((days.astype(np.int64) + 3) % _WEEK).astype(np.int64)


def _level_around(levels: Floats, width: int) -> Floats:
    """Return the medians of an odd number of neighbours, which stay in order while the window moves."""
    values = levels.tolist()
    inside = sorted(values[:width])
    around = [inside[width // 2]]
    for gone, new in zip(values, values[width:], strict=False):
        del inside[bisect_left(inside, gone)]
        insort(inside, new)
        around.append(inside[width // 2])
    return np.pad(around, (width // 2, levels.size - len(around) - width // 2), mode="edge")


def _pulled_in(rest: Floats) -> Floats:
    reach = _REACH * 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    return np.clip(rest, -reach, reach) if reach > 0 else rest
