"""The wave of the day in a series: runs of the afternoon are compared with those of the morning without it.

Pure. A wave is two harmonics of the hour (UTC), fitted to what lies over and under the level around; a series
in which that explains little is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from perfdb.analysis.change_points import ChangePoint, describe_changes
from perfdb.analysis.levels import Floats

LEAST_RUNS = 100
LEAST_DAYS = 2.0
LEAST_EXPLAINED = 0.1  # share of the variance within the level
LEAST_SURE = 0.01  # probability that chance does so much at any of the places
LEAST_F = 10.0  # and so many times what chance explains: neighbours that resemble each other make it more
_DAY = 86_400.0
_AROUND_DAYS = 3.0  # that make the level around
_REACH = 2.5  # robust standard deviations, to which what sticks out is pulled in


def without_wave(start_times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> Floats | None:
    """Return the values of a series without its wave of the day; None where it has none."""
    starts, runs = np.asarray(start_times, dtype=float), np.asarray(values, dtype=float)
    if runs.size < LEAST_RUNS or runs.min() <= 0 or starts[-1] - starts[0] < LEAST_DAYS * _DAY:
        return None
    logs = np.log(runs)
    width = int(min(runs.size // 2, max(15, runs.size * _AROUND_DAYS * _DAY / (starts[-1] - starts[0])))) | 1
    around = np.median(np.lib.stride_tricks.sliding_window_view(logs, width), axis=1)
    level = np.pad(around, (width // 2, runs.size - around.size - width // 2), mode="edge")
    rest = logs - level
    reach = _REACH * 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    rest = np.clip(rest, -reach, reach)
    hour = 2 * np.pi * starts / _DAY
    waves = np.column_stack([np.ones_like(hour), *(f(k * hour) for k in (1, 2) for f in (np.cos, np.sin))])
    fitted = waves @ np.linalg.lstsq(waves, rest, rcond=None)[0]
    explained, left = fitted.var(), (rest - fitted).var()
    if explained < max(LEAST_EXPLAINED * rest.var(), LEAST_F * (waves.shape[1] - 1) * left / runs.size):
        return None
    calm: Floats = np.exp(logs - (fitted - fitted.mean()))
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
    starts, runs = (np.asarray(each, dtype=float) for each in longer)
    calm = without_wave(starts, runs)
    if calm is None:
        return None
    moments, places = np.unique(starts % _DAY, return_index=True)
    wave = np.interp(np.asarray(start_times) % _DAY, moments, (runs / calm)[places], period=_DAY)
    left: Floats = np.asarray(values, dtype=float) / wave
    return left


def changes_beside_wave(
    start_times: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    find: Callable[[Sequence[float] | Floats], list[ChangePoint]],
) -> list[ChangePoint]:
    """Return what ``find`` finds in a series without its wave, with the medians of the runs as they were."""
    return changes_of_calm(values, without_wave(start_times, values), find)


def changes_of_calm(
    values: Sequence[float] | Floats,
    calm: Floats | None,
    find: Callable[[Sequence[float] | Floats], list[ChangePoint]],
) -> list[ChangePoint]:
    """Return what ``find`` finds in the values without their wave, with the medians of them as they were.

    The wave hid small moves, and what is left of it makes others: each must be sure among all places.
    """
    if calm is None:
        return find(values)
    found = [change for change in find(calm) if change.p_value * calm.size <= LEAST_SURE]
    as_were = describe_changes(values, [change.index for change in found])
    return [
        replace(was, effect_sd=change.effect_sd, p_value=change.p_value, interval=change.interval)
        for change, was in zip(found, as_were, strict=True)
    ]
