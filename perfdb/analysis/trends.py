"""How long each series takes and where that is going: percentiles, slopes, moves of the level.

Rows need no pandas, which takes as long to import as a long history to answer; frames are made of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from perfdb.analysis.course import changes_in, course, drift
from perfdb.analysis.rows import TEXT, of_types
from perfdb.analysis.series import DAY_S, PERCENTILES, Past, Series, SeriesName, Statistics, monday
from perfdb.analysis.slopes import LEAST_FOR_SLOPE, relative

if TYPE_CHECKING:
    import pandas as pd

By = Literal["last", "all", "day", "week"]
Going = tuple[float | None, ...]
"""What a series is going like: the columns of ``_OF_A_SERIES``."""

Told = Callable[[SeriesName, tuple[float, float], bool], tuple[float, float] | None]
"""Says when a series moved last from one moment to another, and how far; and is told whether it seems to."""

_OF_A_SERIES = (
    "slope_percent_per_session", "slope_percent_per_day", "p_value", "drift_percent", "since_time", "effect",
)  # fmt: skip
_NOTHING: Going = (None,) * len(_OF_A_SERIES)

COLUMNS = ("pipeline", "step_name", "mode", "period", "n", "failures", "mean", *PERCENTILES, *_OF_A_SERIES)
Row = dict[str, Any]
"""The ``COLUMNS`` by name; the ``period`` is its first day as ISO text, and what is missing is None."""


def trends(
    runs: Iterable[Series],
    *,
    by: By = "last",
    zone: tzinfo | None = UTC,
    past: Past | None = None,
    told: Told | None = None,
    spread: Callable[..., Iterable[Any]] = map,
) -> pd.DataFrame:
    """Return how each series did: over all the runs given, or per day or week.

    Args:
        runs: as ``runs.runs_of`` gives them.
        by: ``last``: one row per series, with its slope; ``all``: without; ``day`` and ``week`` (from
            Monday): one row per series and period.
        zone: whose days and weeks; None is this machine's.
        past: what came before, see ``series.Past``.
        told: gives the newest move of the level that lies in these runs; without, they are asked alone.
        spread: ``map``, or what asks ``past`` of all series at once.

    Returns:
        Per row ``pipeline``, ``step_name`` (None: the session's total), ``mode``, ``period`` (when its first
        day began, datetime64[us] of the zone; NaT for ``last`` and ``all``), ``n`` and ``failures``; ``mean``
        and ``p50`` to ``p99`` (s),
        missing with fewer than 1, 1, 10, 20 and 100 runs; ``slope_percent_per_session`` and
        ``slope_percent_per_day`` (of the median) with the ``p_value`` of there being none, missing with
        fewer than 10 points. With ``last`` the points are the sessions, and no slope per day is given for
        less than a day; with ``day`` and ``week`` they are the medians of the periods, so that all rows of
        a series carry one slope, and none per session. ``drift_percent``: what that slope amounts to over
        all the runs, where it is sure and 5 or more; ``since_time`` (epoch s) and ``effect`` (percent): where
        the level moved last, if it did; without ``told`` by days with ``day`` and ``week``.

    Raises:
        ValueError: ``by`` is none of these.
    """
    return frame_of(trend_rows(runs, by=by, zone=zone, past=past, told=told, spread=spread), zone)


def trend_rows(
    runs: Iterable[Series],
    *,
    by: By = "last",
    zone: tzinfo | None = UTC,
    past: Past | None = None,
    told: Told | None = None,
    spread: Callable[..., Iterable[Any]] = map,
) -> list[Row]:
    """Return the rows of ``trends``."""
    if by not in get_args(By):
        raise ValueError(f"by={by!r} must be one of {', '.join(get_args(By))}")
    found = list(runs)
    if by == "last":
        goings = list(spread(partial(_going, past=past, told=told), found))
        return _rows([_statistics(series, None) for series in found], goings)
    days = [each for series in found for each in _by_period(series, "day", zone)] if by == "week" else ()
    rows = [each for series in found for each in _by_period(series, by, zone)]
    return of_statistics(rows, days=days, zone=zone, told=told, spread=spread)


def of_statistics(
    rows: Iterable[Statistics],
    *,
    days: Iterable[Statistics] = (),
    zone: tzinfo | None = UTC,
    told: Told | None = None,
    spread: Callable[..., Iterable[Any]] = map,
) -> list[Row]:
    """Return statistics of series or of their periods as rows of ``trends``.

    ``days`` are those of days, with the median as their first percentile, if the periods are weeks.
    """
    rows = list(rows)
    spent: dict[SeriesName, float] = {}
    for row in rows:
        spent[row.name] = spent.get(row.name, 0.0) + row.n * (row.mean or 0.0)

    def order(row: Statistics) -> tuple[Any, ...]:
        pipeline, step_name, mode = row.name
        return pipeline, mode, step_name is not None, -spent[row.name], str(step_name), row.first_day or 0

    rows.sort(key=order)
    medians = _medians(rows)
    of_days = _medians(days) or medians

    def going(name: SeriesName) -> Going:
        return _going_by_period(name, *medians[name], *of_days.get(name, ([], [])), zone, told)

    goings = dict(zip(medians, spread(going, medians), strict=True))
    return _rows(rows, [goings.get(row.name, _NOTHING) for row in rows])


def _rows(rows: Sequence[Statistics], goings: Iterable[Going]) -> list[Row]:
    """Return a row for each, with what its series is going like."""
    found = []
    for row, going in zip(rows, goings, strict=True):
        period = None if row.first_day is None else first_day(row.first_day)
        numbers = map(_finite, (row.mean, *row.percentiles, *going))
        values = (*row.name, period, row.n, row.failures, *numbers)
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def frame_of(rows: Sequence[Row], zone: tzinfo | None = UTC) -> pd.DataFrame:
    """Return rows as a frame with the right types; a ``period`` begins at midnight in a zone."""
    import pandas as pd

    frame = pd.DataFrame([tuple(row.values()) for row in rows], columns=list(COLUMNS))
    dates = np.array(["NaT" if row["period"] is None else row["period"] for row in rows], "datetime64[D]")
    first = np.ones(len(dates), dtype=bool)  # of two midnights, when clocks are put back
    frame["period"] = pd.DatetimeIndex(dates.astype("datetime64[us]")).tz_localize(
        "tzlocal()" if zone is None else zone, ambiguous=first, nonexistent="shift_forward"
    )
    whole = {"n": "int64", "failures": "int64"}
    texts = {"pipeline": TEXT, "step_name": "object", "mode": TEXT}
    floats = [name for name in COLUMNS if name not in (*whole, *texts, "period")]
    return of_types(frame, whole | texts | dict.fromkeys(floats, "float64"))


def _medians(rows: Iterable[Statistics]) -> dict[SeriesName, tuple[list[int], list[float]]]:
    """Return the first days of a series' periods with runs that count, and the medians of these."""
    found: dict[SeriesName, tuple[list[int], list[float]]] = {}
    for row in sorted((row for row in rows if row.first_day is not None), key=lambda row: row.first_day or 0):
        median = row.percentiles[0]
        if row.first_day is not None and median is not None:
            days, values = found.setdefault(row.name, ([], []))
            days.append(row.first_day)
            values.append(median)
    return found


def _going_by_period(
    name: SeriesName,
    periods: list[int],
    medians: list[float],
    days: list[int],
    of_days: list[float],
    zone: tzinfo | None,
    told: Told | None,
) -> Going:
    """Return the slope through the medians of the periods, and the last move: by those of the days."""
    slope = relative(periods, np.array(medians))
    starts = np.array(periods, dtype=float) * DAY_S
    over = drift(starts, math.nan, slope.per_x, slope.p_value, len(periods))
    changes = changes_in([float(DAY_S) * day for day in days], of_days)
    newest: tuple[float, float] | None = None
    if told is not None and days:
        window = _midnight(days[0], zone), _midnight(days[-1] + 1, zone)
        newest = told(name, window, bool(changes) or over is not None)
    elif changes:
        newest = _midnight(days[changes[-1].index], zone), changes[-1].effect_percent
    return None, slope.per_x, slope.p_value, over, *(newest or (None, None))


def _midnight(day: int, zone: tzinfo | None) -> float:
    """Return when a day since 1970 began in a zone, epoch s."""
    return datetime.fromisoformat(first_day(day)).replace(tzinfo=zone).timestamp()


def _by_period(series: Series, by: By, zone: tzinfo | None) -> Iterator[Statistics]:
    if by == "all":
        yield _statistics(series, None)
        return
    days = np.array(_days(series.start_times, by, zone), dtype=int)
    for day in np.unique(days).tolist():
        yield _statistics(series.at(np.flatnonzero(days == day).tolist()), day)


def _statistics(series: Series, first_day: int | None) -> Statistics:
    return Statistics.of(series.name, first_day, series.good.values, sum(series.failed), PERCENTILES.values())


def _going(series: Series, past: Past | None, told: Told | None) -> Going:
    """Return where a series is going, one point per session; little of fewer than 10."""
    good = series.good
    if len(good) < LEAST_FOR_SLOPE:
        return _NOTHING
    found = course(good, past)
    newest: tuple[float, float] | None = None
    if told is not None:
        newest = told(good.name, (good.start_times[0], good.start_times[-1]), found.seems_to_move)
    elif found.changes:
        newest = good.start_times[found.changes[-1].index], found.changes[-1].effect_percent
    return found.per_run, found.per_day, found.p_value, found.drift, *(newest or (None, None))


def _days(start_times: Sequence[float], by: By, zone: tzinfo | None) -> list[int]:
    if zone is UTC:
        days = [int(start // DAY_S) for start in start_times]
    else:
        epoch = datetime(1970, 1, 1).date().toordinal()
        days = [datetime.fromtimestamp(start, zone).date().toordinal() - epoch for start in start_times]
    return [monday(day) for day in days] if by == "week" else days


def first_day(day: int) -> str:
    """Return the date of a day since 1970 as ISO text."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
