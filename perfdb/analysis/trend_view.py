"""One series as every picture of it shows it: what is drawn, and at which scale.

Pure, and without numbers of pixels: terminal, chart, page and report ask here for the scale and what lies
beyond it, and for the lines of the median and where they break. Of a long past the periods are shown (hours,
days or weeks, UTC) instead of the runs; nothing is left out silently. Where the level moved says ``course``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from perfdb.analysis.series import PERCENTILES, percentile, quantile, quantiles
from perfdb.analysis.slopes import Floats
from perfdb.analysis.waves import calmed, find_wave
from perfdb.text import amount_text, counted

MOST_RUNS = 4_000
"""More runs are shown, and asked for changes of their level, by their periods."""

_WAVES_SEEN_DAYS = 15  # of a longer window the days are too narrow to follow

USUAL = (0.1, 0.9)
"""Between these shares of the runs behind a point is what is usual."""

LEAST_FOR_P95 = PERCENTILES["p95"][1]  # runs; no p95 is drawn of fewer
_FIRST = 5  # runs before the median's line begins
_HEADROOM = 1.08
_NEAR = 1.5  # times the largest run shown: a limit that far away is still drawn
_WILD = 2.2  # times the 95th percentile: what is beyond does not set the scale
_PAUSE = 10  # times the usual distance of runs is a pause, if it is a 100th of the picture as well
_PARTS = 100
_HOUR, _DAY, _WEEK = 3_600.0, 86_400.0, 604_800.0
_MONDAY = 4 * _DAY  # 1970 began on a Thursday


@dataclass(frozen=True, slots=True)
class Period:
    """The runs that began within an hour, a day or a week (UTC); ``first`` and ``end`` are their places."""

    start_time: float
    first: int
    end: int
    n: int
    failures: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """An unbroken piece of the lines: the place and the start of a run, the median and the p95 behind it.

    ``p95`` is NaN where too few runs are behind it. 8 of 10 runs behind a point lie between ``low`` and
    ``high``. ``by_hour``: all rise and fall with the wave of the day or the week that the series has.
    """

    places: Floats
    times: Floats
    p50: Floats
    p95: Floats
    low: Floats
    high: Floats
    by_hour: bool = False


# --- the scale ----------------------------------------------------------------------------------------------


def scale_top(values: Sequence[float] | Floats, limits: Sequence[float] = ()) -> float:
    """Return the value at the top of a picture that begins at 0: wild runs shall not flatten the others.

    A limit within reach is part of the picture. What is larger than the top is for ``beyond``.
    """
    known = np.asarray(values, dtype=float)
    if not known.size:
        return 0.0
    largest = float(known.max())
    if (p95 := percentile(np.sort(known), "p95")) is not None:
        largest = min(largest, _WILD * p95)
    return _HEADROOM * max([largest, *(limit for limit in limits if limit <= _NEAR * largest)]) or 1.0


def shown_bounds(values: Sequence[float], limit: float | None = None) -> tuple[float, float]:
    """Return the lowest and the highest value of a picture that does not begin at 0, of any metric."""
    low, high = min(values), max(values)
    if low >= 0:
        top = scale_top(values, () if limit is None else (limit,)) / _HEADROOM
        return (low if limit is None or limit > top else min(low, limit)), top
    return low, high


def beyond(values: Sequence[float] | Floats, top: float) -> list[int]:
    """Return the places of what a picture cannot show at its height: it gets an arrow, and its value."""
    return [int(place) for place in np.flatnonzero(np.asarray(values, dtype=float) > top * (1 + 1e-9))]


def beyond_words(values: Sequence[float] | Floats, top: float, unit: str = "s") -> str:
    """Return how many runs lie beyond the scale, and how far; empty for none."""
    places = beyond(values, top)
    if not places:
        return ""
    return beyond_said(len(places), max(float(values[place]) for place in places), unit)


def beyond_said(runs: int, farthest: float, unit: str = "s") -> str:
    """Return that so many runs lie beyond the scale, and how far."""
    return f"{counted(runs, 'run')} beyond the scale, up to {amount_text(farthest, unit)}"


def kept_places(values: Sequence[float], most: int) -> list[int]:
    """Return the places of at most ``most`` values: of each of equal parts the least and the greatest."""
    if len(values) <= most:
        return list(range(len(values)))
    parts = most // 2
    kept: list[int] = []
    for part in range(parts):
        inside = range(part * len(values) // parts, (part + 1) * len(values) // parts)
        ends = {min(inside, key=values.__getitem__), max(inside, key=values.__getitem__)}
        kept += sorted(ends)
    return kept


# --- periods and pauses -------------------------------------------------------------------------------------


def unit_of(start_times: Sequence[float] | Floats) -> Literal["hour", "day", "week"]:
    """Return the period by which a long past is shown: ``hour``, ``day`` or ``week``."""
    span = float(start_times[-1]) - float(start_times[0])
    return "hour" if span <= 10 * _DAY else "day" if span <= 1_000 * _DAY else "week"


def periods(
    start_times: Sequence[float] | Floats,
    durations: Sequence[float] | Floats,
    good: Sequence[bool] | Floats,
    unit: str,
) -> list[Period]:
    """Return the runs by hour, day or week (from Monday), UTC; those without a run are left out."""
    starts, values = np.asarray(start_times, dtype=float), np.asarray(durations, dtype=float)
    counting = np.asarray(good, dtype=bool)
    length, offset = {"hour": (_HOUR, 0.0), "day": (_DAY, 0.0), "week": (_WEEK, _MONDAY)}[unit]
    numbers = np.floor((starts - offset) / length)
    bounds = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), starts.size] if starts.size else [0]
    found = []
    for first, end in pairwise(bounds):
        kept = np.sort(values[first:end][counting[first:end]])
        found.append(
            Period(
                float(numbers[first]) * length + offset,
                first,
                end,
                int(kept.size),
                end - first - int(kept.size),
                percentile(kept, "p50"),
                percentile(kept, "p95"),
            )
        )
    return found


def pauses(start_times: Sequence[float] | Floats) -> list[int]:
    """Return the places of the runs before which nothing ran for long: no line is drawn across."""
    starts = np.asarray(start_times, dtype=float)
    if starts.size < 3:
        return []
    distances = np.diff(starts)
    usual = quantile(np.sort(distances), 0.9)
    limit = max(_PAUSE * usual, float(starts[-1] - starts[0]) / _PARTS)
    return [int(place) + 1 for place in np.flatnonzero(distances > limit)] if limit > 0 else []


# --- the lines ----------------------------------------------------------------------------------------------


def window(runs: int) -> int:
    """Return how many runs a point of the lines sums up: a long history affords steadier lines."""
    return max(LEAST_FOR_P95, min(100, runs // 8))


def lines(start_times: Sequence[float] | Floats, durations: Floats, changes: Sequence[int]) -> list[Line]:
    """Return median and p95 of the runs that count; no line crosses a change of the level or a pause.

    Args:
        start_times: of the runs that count, oldest first.
        durations: theirs.
        changes: the places where the level moved.
    """
    starts, values = np.asarray(start_times, dtype=float), np.asarray(durations, dtype=float)
    if values.size > MOST_RUNS:
        return _lines_of_periods(starts, values, changes)
    short = values.size > 1 and starts[-1] - starts[0] <= _WAVES_SEEN_DAYS * _DAY
    wave = find_wave(starts, values) if short else None
    if wave is None:
        return _lines_of_runs(starts, values, changes)
    made = _lines_of_runs(starts, calmed(wave, starts, values), changes)
    least, most = np.quantile(wave.at(starts), (0.05, 0.95))  # hours with hardly a run tell little
    return [_with_wave(line, np.exp(np.clip(wave.at(line.times), least, most))) for line in made]


def _with_wave(line: Line, heights: Floats) -> Line:
    p50, p95, low, high = (each * heights for each in (line.p50, line.p95, line.low, line.high))
    return Line(line.places, line.times, p50, p95, low, high, by_hour=True)


def _lines_of_runs(starts: Floats, values: Floats, changes: Sequence[int]) -> list[Line]:
    reach = window(values.size)
    breaks = sorted({0, *changes, *pauses(starts), values.size})
    found = []
    for first, last in pairwise(breaks):
        if last - first < 2:
            continue
        begin = min(_FIRST, last - first - 1)
        growing = [np.sort(values[first:end]) for end in range(first + begin, min(first + reach, last + 1))]
        middle, high = ([percentile(part, name) for part in growing] for name in ("p50", "p95"))
        least, most = ([quantile(part, share) for part in growing] for share in USUAL)
        if last - first >= reach:  # all at once: one by one takes most of the time of a page
            whole = np.sort(np.lib.stride_tricks.sliding_window_view(values[first:last], reach), axis=1)
            middle += quantiles(whole, 0.5).tolist()
            high += quantiles(whole, 0.95).tolist()
            least += quantiles(whole, USUAL[0]).tolist()
            most += quantiles(whole, USUAL[1]).tolist()
        at = slice(first + begin - 1, last)
        found.append(
            Line(
                np.arange(values.size, dtype=float)[at],
                starts[at],
                np.array(middle, dtype=float),
                np.array(high, dtype=float),
                np.array(least, dtype=float),
                np.array(most, dtype=float),
            )
        )
    return found


def _lines_of_periods(starts: Floats, values: Floats, changes: Sequence[int]) -> list[Line]:
    unit = unit_of(starts)
    found = periods(starts, values, np.ones(values.size, dtype=bool), unit)
    breaks = {*changes, *pauses(starts)}
    cuts = {0, len(found)}
    cuts |= {place for place, each in enumerate(found) if any(each.first <= at < each.end for at in breaks)}
    made = []
    for first, end in pairwise(sorted(cuts)):
        part = found[first:end]
        made.append(
            Line(
                np.array([(each.first + each.end - 1) / 2 for each in part]),
                np.array([(starts[each.first] + starts[each.end - 1]) / 2 for each in part]),
                np.array([each.p50 for each in part], dtype=float),
                np.array([math.nan if each.p95 is None else each.p95 for each in part]),
                *_usual_of(values, part),
            )
        )
    return made


def _usual_of(values: Floats, part: Sequence[Period]) -> tuple[Floats, Floats]:
    ends = [np.sort(values[each.first : each.end]) for each in part]
    low, high = (np.array([quantile(each, share) for each in ends]) for share in USUAL)
    return low, high


def medians_at(
    made: Sequence[Line], places: Sequence[int], of: Literal["p50", "low", "high"] = "p50"
) -> list[float | None]:
    """Return the height of the median's line, or of another, at some places; None where there is none."""
    at = np.asarray(places, dtype=float)
    heights = np.full(at.size, math.nan)
    for line in made:
        inside = (line.places[0] <= at) & (at <= line.places[-1])
        heights[inside] = np.interp(at[inside], line.places, getattr(line, of))
    return [None if height != height else height for height in heights.tolist()]
