"""How long each series takes and where that is going: percentiles with enough runs behind them, and slopes.

Theil-Sen gives the slope and Mann-Kendall its significance: neither minds outliers or skewed
durations. The variance of the latter is corrected for autocorrelation, without which slow drifts
of the machine would be significant every other day.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from statistics import median
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from perfdb.analysis.runs import Floats, series_of, text_or_none
from perfdb.analysis.series import PERCENTILES, Series, percentile

By = Literal["last", "all", "day", "week"]

LEAST_FOR_SLOPE = 10
_NO_SLOPE = (None, None, None)
MOST_FOR_SLOPE = 1000  # all pairs are compared: longer series are thinned evenly

COLUMNS = (
    "pipeline", "step_name", "mode", "period", "n", "failures", "mean", *PERCENTILES,
    "slope_percent_per_session", "slope_percent_per_day", "p_value",
)  # fmt: skip


class Slope(NamedTuple):
    """A straight line through a series; ``per_x`` in units of y per unit of x."""

    per_x: float
    p_value: float


def trends(runs: pd.DataFrame, *, by: By = "last") -> pd.DataFrame:
    """Return how each series did: over all the runs given, or per day or week.

    Args:
        runs: as ``runs.runs_of`` gives them.
        by: ``last``: one row per series, with its slope; ``all``: without; ``day`` (UTC) and ``week`` (from
            Monday): one row per series and period.

    Returns:
        Per row ``pipeline``, ``step_name`` (None: the session's total), ``mode``, ``period`` (first day as
        ISO text; None for ``last`` and ``all``), ``n`` and ``failures``; ``mean`` and ``p50`` to ``p99`` (s),
        missing with fewer than 1, 1, 10, 20 and 100 runs; ``slope_percent_per_session`` and
        ``slope_percent_per_day`` (of the median) with the ``p_value`` of there being none, missing with
        fewer than 10 points. With ``last`` the points are the sessions, and no slope per day is given for
        less than a day; with ``day`` and ``week`` they are the medians of the periods, so that all rows of
        a series carry one slope, and none per session.

    Raises:
        ValueError: ``by`` is none of these.
    """
    if by not in get_args(By):
        raise ValueError(f"by={by!r} must be one of {', '.join(get_args(By))}")
    rows: list[tuple[object, ...]] = []
    for series in series_of(runs):
        key = series.name
        if by in ("last", "all"):
            slopes = _slopes_of_runs(series) if by == "last" else _NO_SLOPE
            rows.append((*key, None, *_described(series), *slopes))
            continue
        days = np.array(_days(series, by))
        for day in np.unique(days):
            of_day = series.at(np.flatnonzero(days == day).tolist())
            rows.append((*key, first_day(int(day)), *_described(of_day), *_NO_SLOPE))
    frame = frame_of(rows)
    return frame if by in ("last", "all") else with_slopes(frame)


def frame_of(rows: list[tuple[object, ...]]) -> pd.DataFrame:
    """Return rows in the order of ``COLUMNS`` as a frame with the right types."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = {"n": "int64", "failures": "int64"}
    texts = ("pipeline", "step_name", "mode", "period")
    return frame.astype(
        whole
        | {name: "float64" for name in COLUMNS if name not in whole and name not in texts}
        | {"step_name": object, "period": object}
    )


def of_statistics(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Return (pipeline, step, mode, day or None, n, failures, mean, percentiles …) as ``trends`` does."""
    spent: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key, n, mean = row[:3], row[4], row[6]
        spent[key] = spent.get(key, 0.0) + n * (mean or 0.0)

    def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
        pipeline, step_name, mode, day = row[:4]
        return pipeline, mode, step_name is not None, -spent[row[:3]], str(step_name), day or 0

    ordered = sorted(rows, key=order)
    periods = [None if row[3] is None else first_day(row[3]) for row in ordered]
    frame = frame_of(
        [(*row[:3], period, *row[4:], *_NO_SLOPE) for row, period in zip(ordered, periods, strict=True)]
    )
    return frame if None in periods else with_slopes(frame)


def with_slopes(periods: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of periods with the slope of each series through its medians."""
    slopes = {}
    known = periods.dropna(subset="p50")
    for key, series in known.groupby(["pipeline", "step_name", "mode"], dropna=False):
        days = [datetime.fromisoformat(str(period)).toordinal() for period in series["period"]]
        medians = series["p50"].to_numpy(dtype=float)
        slopes[tuple(text_or_none(part) for part in key)] = _relative(days, medians)
    keys = zip(periods["pipeline"], periods["step_name"], periods["mode"], strict=True)
    none = Slope(math.nan, math.nan)
    found = [slopes.get(tuple(text_or_none(part) for part in key), none) for key in keys]
    return periods.assign(
        slope_percent_per_day=[slope.per_x for slope in found], p_value=[slope.p_value for slope in found]
    )


def week_of(day: int) -> int:
    """Return the Monday of a day; both count days since 1970, which began on a Thursday."""
    return day - (day + 3) % 7


def theil_sen(x: Floats, y: Floats) -> float:
    """Return the median slope of all pairs of points (Theil 1950, Sen 1968)."""
    i, j = _pairs(x.size)
    run = x[j] - x[i]
    moved = run != 0
    rise = y[j] - y[i]
    if not moved.all():
        rise, run = rise[moved], run[moved]
    return float(np.median(rise / run)) if run.size else math.nan


@lru_cache(maxsize=1)
def _pairs(size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the places of all pairs of so many points; a series asks several times for the same."""
    return np.triu_indices(size, 1)


def mann_kendall(values: Floats) -> float:
    """Return the two-sided p of a monotonic trend in a series, with ties and autocorrelation allowed for.

    Mann (1945), Kendall (1975). The variance is multiplied by (1 + r) / (1 - r), r being the lag-1
    autocorrelation of the ranks left by the trend, between 0 and 0.9: the AR(1) case of Hamed & Rao (1998).
    """
    n = values.size
    signs = np.sign(values[None, :] - values[:, None])
    score = float(np.triu(signs, 1).sum())
    _, ties = np.unique(values, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    variance *= _inflation(values)
    if variance <= 0 or score == 0:
        return 1.0
    z = (abs(score) - 1) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def _inflation(values: Floats) -> float:
    x = np.arange(values.size, dtype=float)
    left = values - theil_sen(x, values) * x
    ordered = np.sort(left)
    ranks = (np.searchsorted(ordered, left, "left") + np.searchsorted(ordered, left, "right")) / 2
    ranks = ranks - ranks.mean()
    power = float(ranks @ ranks)
    r = min(max(float(ranks[1:] @ ranks[:-1]) / power, 0.0), 0.9) if power > 0 else 0.0
    return (1 + r) / (1 - r)


def _described(series: Series) -> tuple[object, ...]:
    values = sorted(series.good.values)
    return (
        len(values),
        sum(series.failed),
        math.fsum(values) / len(values) if values else None,
        *(percentile(values, name) for name in PERCENTILES),
    )


def _slopes_of_runs(series: Series) -> tuple[float, float, float]:
    """Return the slopes through one point per session: its median, where a step runs several times in it."""
    good = series.good
    if len(good) < LEAST_FOR_SLOPE:
        return math.nan, math.nan, math.nan
    sessions: dict[str, list[float]] = {}
    starts: dict[str, float] = {}
    for session_id, start, value in zip(good.session_ids, good.start_times, good.values, strict=True):
        sessions.setdefault(session_id, []).append(value)
        starts.setdefault(session_id, start)
    return slopes(np.array(list(starts.values())), np.array([median(each) for each in sessions.values()]))


def slopes(start_times: Floats, values: Floats) -> tuple[float, float, float]:
    """Return the slope per point, that per day (both in percent of the median), and the p-value of the first.

    NaN with fewer than 10 points; the slope per day also with less than a day.

    Args:
        start_times: epoch s, rising.
        values: one per session.
    """
    days = start_times / 86_400
    per_session = _relative(np.arange(values.size), values)
    per_day = _percent_per(days, values) if days.size and np.ptp(days) >= 1 else math.nan
    return per_session.per_x, per_day, per_session.p_value


def _relative(x: object, values: Floats) -> Slope:
    """Return the slope in percent of the median per unit of x, and its p; NaN with too few points."""
    if not _has_slope(values):
        return Slope(math.nan, math.nan)
    return Slope(_percent_per(x, values), mann_kendall(values[_kept(values.size)]))


def _percent_per(x: object, values: Floats) -> float:
    if not _has_slope(values):
        return math.nan
    kept = _kept(values.size)
    places = np.asarray(x, dtype=float)[kept]
    return 100 * theil_sen(places - places[0], values[kept]) / float(np.median(values))


def _has_slope(values: Floats) -> bool:
    return values.size >= LEAST_FOR_SLOPE and float(np.median(values)) > 0


def _kept(size: int) -> npt.NDArray[np.intp]:
    """Return the places of the points that are compared: of too many, evenly chosen ones."""
    if size <= MOST_FOR_SLOPE:
        return np.arange(size)
    return np.linspace(0, size - 1, MOST_FOR_SLOPE).round().astype(np.intp)


def _days(series: Series, by: By) -> list[int]:
    days = [int(start // 86_400) for start in series.start_times]
    return [week_of(day) for day in days] if by == "week" else days


def first_day(day: int) -> str:
    """Return the date of a day since 1970 as ISO text."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
