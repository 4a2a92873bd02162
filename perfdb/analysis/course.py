"""Where a series is going: the moves of its level, its drift, the levels between which it comes and goes.

Pure. Terminal, chart, page and report ask here. Of a long past the periods are asked instead of the runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from perfdb.analysis.change_points import ChangePoint, describe_changes, find_past_changes
from perfdb.analysis.modes import Explanation, Modes, explained_by, find_modes
from perfdb.analysis.series import DAY_S, PERCENTILES, WAVE_DAYS, Past, Series, percentile
from perfdb.analysis.slopes import Floats, slopes
from perfdb.analysis.trend_view import MOST_RUNS, periods, unit_of
from perfdb.analysis.waves import Wave, calmed, changes_of_calm, find_wave, without_wave, without_wave_of

SIGNIFICANT = 0.01  # of one series; dozens are listed at a time
LEAST_FOR_MOVES = 15  # runs; of fewer nobody can tell whether their level moved
LEAST_DRIFT = 5.0  # percent over all runs; less is nobody's business, as with a move of the level
_MOST_SWITCHES_OF_DAY = 3  # of night and day: what comes and goes more often has another reason


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


def changes_in(
    start_times: Sequence[float] | Floats, durations: Sequence[float] | Floats
) -> list[ChangePoint]:
    """Return where the level moved, of one point per session: of a long past by its periods."""
    return _changes(start_times, durations, _calm(start_times, durations))


def changes_of(
    good: Series, past: Past | None = None
) -> tuple[list[ChangePoint], Sequence[float] | Floats | None]:
    """Return where the level of a series moved, as ``course`` does, and its values without their wave.

    Its runs are one per session.
    """
    calm = _calm(good.start_times, good.values)
    found = _changes(good.start_times, good.values, calm)
    if found and (by_past := calm_by_past(good, good.start_times, good.values, past)) is not None:
        calm = by_past
        found = _changes(good.start_times, good.values, calm)
    return found, calm


def _calm(start_times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> Floats | None:
    """Return the values without the wave that they show, which a part of very many shows as well."""
    if len(values) <= MOST_RUNS:
        return without_wave(start_times, values)
    starts, runs = np.asarray(start_times, dtype=float), np.asarray(values, dtype=float)
    part = np.linspace(0, runs.size - 1, MOST_RUNS).round().astype(np.intp)
    return without_wave_of((starts[part], runs[part]), starts, runs)


def is_short(starts: Sequence[float] | Floats) -> bool:
    """Say whether runs that began then are of so few days that those before them know the wave better."""
    return bool(starts[-1] - starts[0] < WAVE_DAYS * DAY_S)


def calm_by_past(
    good: Series,
    starts: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    past: Past | None,
) -> Floats | None:
    """Return the values of a short window without the wave that the days before it show."""
    if past is None or not is_short(starts):
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
        over = per_day * float(start_times[-1] - start_times[0]) / DAY_S
    return 100 * math.expm1(over / 100) if abs(over) >= LEAST_DRIFT else None


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
        <= _MOST_SWITCHES_OF_DAY * ((newest.start_times[-1] - newest.start_times[0]) / DAY_S) + 1
    ):
        known = calm_by_past(good, newest.start_times, newest.values, past)
        if known is not None and find_modes(known) is None:
            calm, modes = known.tolist(), None
    return Levels(replace(newest, values=calm), wave, modes)


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
