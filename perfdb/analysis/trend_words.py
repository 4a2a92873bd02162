"""What is said of a series beside its picture: its first sentence, what it is called, what is usual.

Pure. Terminal, chart, page and report ask here, so that all say the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import numpy as np

from perfdb.analysis.course import levels_of
from perfdb.analysis.modes import modes_words
from perfdb.analysis.rules import kind_of
from perfdb.analysis.series import Past, Series, percentile
from perfdb.analysis.slopes import Floats
from perfdb.analysis.trend_view import MOST_RUNS
from perfdb.analysis.waves import Wave, find_wave
from perfdb.measures import DURATION, Measure
from perfdb.text import amount_text, counted, inert, shortened
from perfdb.vocabulary import WITHOUT_WAVE


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


def rhythm(
    good: Series,
    *,
    past: Past | None = None,
    before: Past | None = None,
    facts: Callable[[], Mapping[str, Mapping[str, object]]] | None = None,
    unit: str = "s",
    zone: tzinfo | None = None,
) -> tuple[str, str]:
    """Return in words between which known levels runs come and go, and what is usual when the newest began.

    Args:
        good: runs of one series that count.
        past: as ``course`` has it.
        before: reads the runs before the newest that ``explain`` takes for usual: with both, what is usual is
            that of the whole series, whatever window these runs are.
        facts: reads what is known of the sessions, by their ids, where an attribute may explain the levels.
        unit: of the values.
        zone: of the hour that is said; None is the local one, which is not named.
    """
    if not len(good):
        return "", ""
    found = levels_of(good, MOST_RUNS, past)
    newest = float(found.runs.start_times[-1])
    wave = found.wave
    if wave is not None and past is not None and before is not None:
        days, level = past(good.name, newest).good, before(good.name, newest)
        wave = find_wave(days.start_times, days.values)
        wave = None if wave is None else wave.at_level_of(level.start_times, level.values)
    usual = "" if wave is None else usual_words(wave, newest, unit, zone)
    if found.modes is None:
        return "", usual
    by = None if facts is None else found.explained_by(facts())
    return modes_words(found.modes.low, found.modes.high, by, unit), usual


def usual_words(wave: Wave, moment: float, unit: str = "s", zone: tzinfo | None = None) -> str:
    """Return what is usual at a moment: ``usual at 09:12: 7.4 s``; a ``zone`` that is given is named."""
    began = datetime.fromtimestamp(moment, zone)
    day = f"on {began:%A} " if wave.of_week else ""
    at = f"{began:%H:%M %Z}".strip()
    return f"usual {day}at {at}: {amount_text(wave.usual_at(moment), unit)}"


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
    wave = WITHOUT_WAVE if change.get("without_wave") else ""
    return f"{what} {how} since {since} ({before} → {after}{wave})"


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
    return f"alert{number} of {shortened(inert(alert['rule']), 40)} says {effect:+.0f} %"
