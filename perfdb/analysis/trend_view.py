"""One series as every picture of it shows it: what is drawn, at which scale, with which marks and words.

Pure, and without numbers of pixels: terminal, chart, page and report ask here for the scale and what lies
beyond it, the lines of the median and where they break, where the level moved, and the first sentence. Of a
long past the periods are shown (hours, days or weeks, UTC) instead of the runs; nothing is left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from perfdb.analysis.change_points import ChangePoint, describe_changes, find_past_changes
from perfdb.analysis.modes import Explanation, Modes, explained_by, find_modes, modes_words
from perfdb.analysis.rules import kind_of
from perfdb.analysis.series import PERCENTILES, WAVE_DAYS, Past, Series, percentile, quantile, quantiles
from perfdb.analysis.slopes import Floats, slopes
from perfdb.analysis.waves import Wave, calmed, changes_of_calm, find_wave, without_wave, without_wave_of
from perfdb.measures import DURATION, Measure
from perfdb.text import amount_text, counted, inert, shortened

MOST_RUNS = 4_000
"""More runs are shown, and asked for changes of their level, by their periods."""

_WAVES_SEEN_DAYS = 15  # of a longer window the days are too narrow to follow

USUAL = (0.1, 0.9)
"""Between these shares of the runs behind a point is what is usual."""

LEAST_FOR_P95 = PERCENTILES["p95"][1]  # runs; no p95 is drawn of fewer
SIGNIFICANT = 0.01  # of one series; dozens are listed at a time
LEAST_FOR_MOVES = 15  # runs; of fewer nobody can tell whether their level moved
LEAST_DRIFT = 5.0  # percent over all runs; less is nobody's business, as with a move of the level
_FIRST = 5  # runs before the median's line begins
_HEADROOM = 1.08
_NEAR = 1.5  # times the largest run shown: a limit that far away is still drawn
_WILD = 2.2  # times the 95th percentile: what is beyond does not set the scale
_PAUSE = 10  # times the usual distance of runs is a pause, if it is a 100th of the picture as well
_PARTS = 100
_MOST_SWITCHES_OF_DAY = 3  # of night and day: what comes and goes more often has another reason
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


@dataclass(frozen=True, slots=True)
class Course:
    """Where a series is going, in the numbers that all surfaces tell.

    Attributes:
        changes: where the level moved; places and medians are those of the runs.
        per_run: slope in percent of the median per session, NaN of too few.
        per_day: the same per day, NaN for less than one.
        p_value: of there being no slope.
        drift: percent over all runs, see ``drift``.
    """

    changes: list[ChangePoint]
    per_run: float
    per_day: float
    p_value: float
    drift: float | None

    @property
    def seems_to_move(self) -> bool:
        """Whether these runs alone show anything."""
        return bool(self.changes) or self.drift is not None


@dataclass(frozen=True, slots=True)
class Taken:
    """What the runs of a series took, as far as a sentence tells it; ``over`` counts those above a limit."""

    n: int
    median: float
    p95: float | None
    longest: float
    over: Callable[[float], int]

    @classmethod
    def of(cls, durations: Sequence[float] | Floats) -> Taken:
        """Return what these runs took."""
        values = np.sort(np.asarray(durations, dtype=float))
        middle, longest = (
            (float(np.median(values)), float(values[-1])) if values.size else (math.nan, math.nan)
        )
        return cls(
            int(values.size),
            middle,
            percentile(values, "p95"),
            longest,
            lambda limit: int(np.count_nonzero(values > limit)),
        )


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


# --- where the level moved, and the words -------------------------------------------------------------------


def changes_in(
    start_times: Sequence[float] | Floats, durations: Sequence[float] | Floats
) -> list[ChangePoint]:
    """Return where the level moved, of one point per session: of a long past by its periods."""
    return _changes(start_times, durations, _calm(start_times, durations))


def changes_of(good: Series, past: Past | None = None) -> list[ChangePoint]:
    """Return where the level of a series moved, as ``course`` does: its runs are one per session."""
    found = changes_in(good.start_times, good.values)
    if found and (calm := calm_by_past(good, good.start_times, good.values, past)) is not None:
        found = _changes(good.start_times, good.values, calm)
    return found


def _calm(start_times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> Floats | None:
    """Return the values without the wave that they show, which a part of very many shows as well."""
    if len(values) <= MOST_RUNS:
        return without_wave(start_times, values)
    starts, runs = np.asarray(start_times, dtype=float), np.asarray(values, dtype=float)
    part = np.linspace(0, runs.size - 1, MOST_RUNS).round().astype(np.intp)
    return without_wave_of((starts[part], runs[part]), starts, runs)


def calm_by_past(
    good: Series,
    starts: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    past: Past | None,
) -> Floats | None:
    """Return the values of a short window without the wave that the days before it show."""
    if past is None or starts[-1] - starts[0] >= WAVE_DAYS * _DAY:
        return None
    known, _ = past(good.name, float(starts[-1])).good.per_session()
    return without_wave_of((known.start_times, known.values), starts, values)


def _changes(
    start_times: Sequence[float] | Floats, values: Sequence[float] | Floats, calm: Floats | None
) -> list[ChangePoint]:
    if len(values) <= MOST_RUNS:
        return changes_of_calm(values, calm, find_past_changes)
    made = periods(start_times, values, np.ones(len(values), dtype=bool), unit_of(start_times))
    return changes_of_calm(values, calm, partial(find_past_changes, firsts=[each.first for each in made]))


def course(good: Series, past: Past | None = None) -> Course:
    """Return where a series is going: of the runs that count, without the wave of the day.

    A step may run several times in a session: medians, effect and chance are then of one point per session.
    What a few hours seem to show is asked again without the wave that the days before them know.

    Args:
        good: runs of one series that count, of a window.
        past: what came before; None: nobody knows more than the window.
    """
    points, firsts = good.per_session()
    starts, values = np.asarray(points.start_times, dtype=float), np.asarray(points.values, dtype=float)
    found = _course(starts, values, _calm(starts, values))
    if (found.changes or found.drift is not None) and (
        calm := calm_by_past(good, starts, values, past)
    ) is not None:
        found = _course(starts, values, calm)
    if len(firsts) == len(good):
        return found
    of_runs = describe_changes(good.values, [firsts[change.index] for change in found.changes])
    changes = [
        replace(
            change,
            index=runs.index,
            before_n=runs.before_n,
            after_n=runs.after_n,
            interval=(firsts[change.interval[0]], firsts[change.interval[1]]),
        )
        for change, runs in zip(found.changes, of_runs, strict=True)
    ]
    return replace(found, changes=changes)


def _course(starts: Floats, values: Floats, calm: Floats | None) -> Course:
    per_run, per_day, p_value = slopes(starts, values if calm is None else calm)
    over = drift(starts, per_run, per_day, p_value, values.size)
    return Course(_changes(starts, values, calm), per_run, per_day, p_value, over)


@dataclass(frozen=True, slots=True)
class Levels:
    """The newest runs of a series, one per session, without its wave, and the levels they switch between."""

    runs: Series
    wave: Wave | None
    modes: Modes | None

    def explained_by(self, facts: Mapping[str, Mapping[str, object]]) -> Explanation | None:
        """Return the attribute that tells at which level a run is, of what is known of the sessions."""
        levels = dict(zip(self.runs.session_ids, self.runs.values, strict=True))
        return explained_by(levels, facts, self.runs.step_name)


def levels_of(good: Series, last: int, past: Past | None = None) -> Levels:
    """Return the levels of the newest runs that count.

    What a few days seem to show is asked again without the wave that the days before them know: night and day
    are not two levels.

    Args:
        good: the runs that count.
        last: how many of them are looked at.
        past: as ``course`` has it.
    """
    newest, _ = good.per_session()
    newest = newest.between(max(0, len(newest) - last))
    wave = find_wave(newest.start_times, newest.values)
    calm = newest.values if wave is None else calmed(wave, newest.start_times, newest.values).tolist()
    modes = find_modes(calm)
    if (
        modes is not None
        and modes.switches
        <= _MOST_SWITCHES_OF_DAY * ((newest.start_times[-1] - newest.start_times[0]) / _DAY) + 1
    ):
        known = calm_by_past(good, newest.start_times, newest.values, past)
        if known is not None and find_modes(known) is None:
            calm, modes = known.tolist(), None
    return Levels(replace(newest, values=calm), wave, modes)


def rhythm(
    good: Series,
    *,
    past: Past | None = None,
    facts: Callable[[], Mapping[str, Mapping[str, object]]] | None = None,
    unit: str = "s",
) -> tuple[str, str]:
    """Return in words between which known levels runs come and go, and what is usual when the newest began.

    Args:
        good: runs of one series that count.
        past: as ``course`` has it.
        facts: reads what is known of the sessions, by their ids, where an attribute may explain the levels.
        unit: of the values.
    """
    if not len(good):
        return "", ""
    found = levels_of(good, MOST_RUNS, past)
    usual = "" if found.wave is None else usual_words(found.wave, float(found.runs.start_times[-1]), unit)
    if found.modes is None:
        return "", usual
    by = None if facts is None else found.explained_by(facts())
    return modes_words(found.modes.low, found.modes.high, by, unit), usual


def usual_words(wave: Wave, moment: float, unit: str = "s") -> str:
    """Return what is usual at the hour of a moment: ``usual at 09:00: 7.4 s``."""
    began = datetime.fromtimestamp(moment)
    day = f"on {began:%A} " if wave.of_week else ""
    return f"usual {day}at {began:%H}:00: {amount_text(wave.usual_at(moment), unit)}"


def drift(start_times: Floats, per_run: float, per_day: float, p_value: float, n: int) -> float | None:
    """Return by how many percent a series drifted over all of its runs; None if that is chance, or little.

    It is of where they began, as the rule ``trend`` has it, and so never a loss of more than all.

    Args:
        start_times: of the runs that count.
        per_run: slope in percent of the median per session.
        per_day: the same per day, NaN for less than one.
        p_value: of there being no slope.
        n: sessions behind them.
    """
    if not p_value < SIGNIFICANT:
        return None
    over = per_run * (n - 1)
    if not math.isnan(per_day):
        over = per_day * float(start_times[-1] - start_times[0]) / _DAY
    return 100 * math.expm1(over / 100) if abs(over) >= LEAST_DRIFT else None


def percent_words(percent: float, measure: Measure = DURATION) -> str:
    """Return how a level moved: ``56 % slower``, ``3.1 times as slow``; of others ``higher`` or ``lower``."""
    if not measure.is_duration:
        if percent >= 200:
            return f"{1 + percent / 100:.1f} times as high"
        return f"{abs(percent):.0f} % {'higher' if percent > 0 else 'lower'}"
    if percent >= 200:
        return f"{1 + percent / 100:.1f} times as slow"
    return f"{abs(percent):.0f} % {'slower' if percent > 0 else 'faster'}"


def name_of(step_name: str | None, pipeline: str, measure: Measure = DURATION) -> str:
    """Return the words for a series: a step's name, or that it is the total; of which measure."""
    name = (
        f"A run of {shortened(inert(pipeline), 60)}" if step_name is None else shortened(inert(step_name), 60)
    )
    return name if measure.is_duration else of_measure(name, measure)


def of_measure(name: str, measure: Measure) -> str:
    """Return the words for a measure of something: ``Cost of a run of design``."""
    words = shortened(inert(measure.words), 60)
    of = f"{name[0].lower()}{name[1:]}" if name.startswith("A run of ") else name
    return f"{words[0].upper()}{words[1:]} of {of}"


def moved_words(what: str, change: Mapping[str, Any], since: str, measure: Measure = DURATION) -> str:
    """Return that a level moved, since when and from where to where."""
    before, after = (amount_text(change[f"{side}_median"], measure.unit) for side in ("before", "after"))
    percent = change["effect_percent"]
    how = (
        "moved" if percent is None or math.isinf(percent) else f"is {percent_words(float(percent), measure)}"
    )
    return f"{what} {how} since {since} ({before} → {after})"


def finding(
    what: str,
    durations: Sequence[float] | Floats | Taken,
    *,
    newest: Mapping[str, Any] | None = None,
    since: str = "",
    alerts: Sequence[str] = (),
    limits: Sequence[float] = (),
    drifted: float | None = None,
    failures: int = 0,
    measure: Measure = DURATION,
    switches: str = "",
    usual: str = "",
) -> str:
    """Return the sentence above a picture: the first of these that there is, and what is usual at an hour.

    Args:
        what: the series, see ``name_of``.
        durations: of the runs that count (s), or what they took.
        newest: the newest change of its level, with ``since`` in words.
        since: see there.
        alerts: what open alerts say of it, in words: where one is open nothing is called steady.
        limits: of ``max`` rules (s).
        drifted: percent over all runs, see ``drift``.
        failures: runs that failed.
        measure: what the values are of.
        switches: between which two known levels it comes and goes, see ``rhythm``.
        usual: what is usual at the hour of the newest run, see ``rhythm``.
    """
    taken = durations if isinstance(durations, Taken) else Taken.of(durations)
    said = _finding(what, taken, newest, since, alerts, limits, drifted, failures, measure, switches=switches)
    return f"{said}; {usual}" if usual else said


def _finding(
    what: str,
    taken: Taken,
    newest: Mapping[str, Any] | None,
    since: str,
    alerts: Sequence[str],
    limits: Sequence[float],
    drifted: float | None,
    failures: int,
    measure: Measure,
    *,
    switches: str,
) -> str:
    amount = partial(amount_text, unit=measure.unit)
    if newest is not None:
        return moved_words(what, newest, since, measure)
    if not taken.n:
        return f"{what} failed in {counted(failures, 'run')} and succeeded in none" if failures else what
    if alerts:
        return f"{what}: {alerts[0]}"
    if switches:
        return f"{what} {switches}"
    for limit in limits:
        if over := taken.over(limit):
            return f"{what}: {over:,} of {counted(taken.n, 'run')} over the limit of {amount(limit)}"
    if taken.n == 1:
        took = "took" if measure.is_duration else "was"
        return f"{what} {took} {amount(taken.median)} in its only run"
    middle = amount(taken.median)
    if drifted is not None and not measure.is_duration:
        grew = "higher" if drifted > 0 else "lower"
        return (
            f"{what} is {abs(drifted):.0f} % {grew} at the end of these {taken.n:,} runs than at their "
            f"beginning, bit by bit; the median is {middle}"
        )
    if drifted is not None:
        grew = "longer" if drifted > 0 else "less"
        return (
            f"{what} takes {abs(drifted):.0f} % {grew} at the end of these {taken.n:,} runs than at "
            f"their beginning, bit by bit; the median is {middle}"
        )
    half = f"{what}: half of the runs {'take' if measure.is_duration else 'have'} up to {middle}"
    if taken.p95 is None:
        most = "longest" if measure.is_duration else "highest"
        return f"{half}, the {most} {amount(taken.longest)}"
    return f"{half}, 95 % up to {amount(taken.p95)}"


def statistics(runs: Series, going: Course | None = None) -> dict[str, Any]:
    """Return what ``analysis.trends`` says of one series, without the price of frames."""
    good = runs.good
    going = going or course(good)
    values = np.sort(np.array(good.values, dtype=float))
    return {
        "n": len(good),
        "failures": len(runs) - len(good),
        "mean": float(values.mean()) if len(good) else None,
        **{name: percentile(values, name) for name in PERCENTILES},
        "longest": float(values[-1]) if len(good) else None,
        "slope_percent_per_session": going.per_run,
        "slope_percent_per_day": going.per_day,
        "p_value": going.p_value,
        "drift_percent": going.drift,
    }


def says_it_moved(alert: Mapping[Any, Any]) -> bool:
    """Say whether an alert tells of a level that moved: its ``kind`` does, and it has an ``effect``."""
    effect = alert.get("effect")
    return (
        kind_of(str(alert.get("kind"))).finds in ("level", "loss", "drift")
        and effect is not None
        and not math.isnan(effect)
    )


def alert_words(alert: Mapping[Any, Any]) -> str:
    """Return what an open alert says of a series: ``rule``, ``effect`` and, where it is known, ``id``."""
    effect = float(alert["effect"])
    number = f" {alert['id']}" if alert.get("id") is not None else ""
    sign = "−" if effect < 0 else "+"
    return f"alert{number} of {shortened(inert(alert['rule']), 40)} says {sign}{abs(effect):.0f} %"
