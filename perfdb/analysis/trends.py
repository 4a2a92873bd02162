"""How long each series takes and where that is going, as a frame: percentiles, slopes, moves of the level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from perfdb.analysis.runs import series_of, text_or_none
from perfdb.analysis.series import PERCENTILES, Past, Series, percentile
from perfdb.analysis.slopes import LEAST_FOR_SLOPE, relative
from perfdb.analysis.trend_view import changes_in, course, drift

By = Literal["last", "all", "day", "week"]
Key = tuple[str | None, ...]
Medians = Mapping[Key, tuple[list[int], list[float]]]
"""Per pipeline, step name and mode the days since 1970 with runs that count, and the medians of these."""

_OF_A_SERIES = (
    "slope_percent_per_session", "slope_percent_per_day", "p_value", "drift_percent", "since_time", "effect",
)  # fmt: skip
_NOTHING = (None,) * len(_OF_A_SERIES)

COLUMNS = ("pipeline", "step_name", "mode", "period", "n", "failures", "mean", *PERCENTILES, *_OF_A_SERIES)


def trends(
    runs: pd.DataFrame,
    *,
    by: By = "last",
    zone: tzinfo | None = UTC,
    past: Past | None = None,
    spread: Callable[..., Iterable[Any]] = map,
) -> pd.DataFrame:
    """Return how each series did: over all the runs given, or per day or week.

    Args:
        runs: as ``runs.runs_of`` gives them.
        by: ``last``: one row per series, with its slope; ``all``: without; ``day`` and ``week`` (from
            Monday): one row per series and period.
        zone: whose days and weeks; None is this machine's.
        past: what came before, see ``series.Past``.
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
        the level moved last, if it did, by sessions with ``last``, by days with ``day`` and ``week``.

    Raises:
        ValueError: ``by`` is none of these.
    """
    if by not in get_args(By):
        raise ValueError(f"by={by!r} must be one of {', '.join(get_args(By))}")
    rows: list[tuple[object, ...]] = []
    found = list(series_of(runs))
    if by == "last":
        goings = spread(partial(_going, past=past), found)
        rows = [
            (*series.name, None, *_described(series), *going)
            for series, going in zip(found, goings, strict=True)
        ]
        return trends_frame(rows, zone)
    for series in found:
        key = series.name
        if by == "all":
            rows.append((*key, None, *_described(series), *_NOTHING))
            continue
        days = np.array(_days(series.start_times, by, zone), dtype=int)
        for day in np.unique(days):
            of_day = series.at(np.flatnonzero(days == day).tolist())
            rows.append((*key, int(day), *_described(of_day), *_NOTHING))
    frame = trends_frame(rows, zone)
    if by == "all":
        return frame
    return with_slopes(frame, _medians(frame if by == "day" else trends(runs, by="day", zone=zone)), zone)


def trends_frame(rows: list[tuple[object, ...]], zone: tzinfo | None = UTC) -> pd.DataFrame:
    """Return rows in the order of ``COLUMNS``, a period as its first day since 1970, with the right types."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["period"] = _beginnings([row[3] for row in rows], zone)
    whole = {"n": "int64", "failures": "int64"}
    others = ("pipeline", "step_name", "mode", "period")
    return frame.astype(
        whole
        | {name: "float64" for name in COLUMNS if name not in whole and name not in others}
        | {"step_name": object}
    )


def _beginnings(days: Sequence[object], zone: tzinfo | None) -> pd.DatetimeIndex:
    """Return when days since 1970 began in a zone: at midnight, where there was one."""
    dates = np.array(["NaT" if day is None else day for day in days], dtype="datetime64[D]")
    first = np.ones(len(dates), dtype=bool)  # of two midnights, when clocks are put back
    midnights = pd.DatetimeIndex(dates.astype("datetime64[us]"))
    return midnights.tz_localize(
        "tzlocal()" if zone is None else zone, ambiguous=first, nonexistent="shift_forward"
    )


def of_statistics(rows: list[tuple[Any, ...]], days: Iterable[tuple[Any, ...]] = ()) -> pd.DataFrame:
    """Return (pipeline, step, mode, day or None, n, failures, mean, percentiles …) as ``trends`` does.

    ``days`` are such rows for days (UTC), with the median as their first percentile, if those are of weeks.
    """
    spent: dict[tuple[Any, ...], float] = {}
    for row in rows:
        key, n, mean = row[:3], row[4], row[6]
        spent[key] = spent.get(key, 0.0) + n * (mean or 0.0)

    def order(row: tuple[Any, ...]) -> tuple[Any, ...]:
        pipeline, step_name, mode, day = row[:4]
        return pipeline, mode, step_name is not None, -spent[row[:3]], str(step_name), day or 0

    ordered = sorted(rows, key=order)
    frame = trends_frame([(*row, *_NOTHING) for row in ordered])
    if any(row[3] is None for row in ordered):
        return frame
    medians: dict[Key, tuple[list[int], list[float]]] = {}
    for row in sorted(days, key=lambda row: row[3]):
        if row[7] is not None:
            of_series = medians.setdefault(row[:3], ([], []))
            of_series[0].append(row[3])
            of_series[1].append(row[7])
    return with_slopes(frame, medians or _medians(frame), UTC)


def with_slopes(periods: pd.DataFrame, medians: Medians, zone: tzinfo | None) -> pd.DataFrame:
    """Return the frame of periods with the slope of each series through its medians, and its last move."""
    found: dict[Key, tuple[float | None, ...]] = {}
    for key, (days, values) in _medians(periods).items():
        slope = relative(days, np.array(values))
        starts = np.array(days, dtype=float) * 86_400
        over = drift(starts, math.nan, slope.per_x, slope.p_value, len(days))
        since, effect = None, None
        of_days, of_values = medians.get(key, ([], []))
        changes = changes_in([86_400.0 * day for day in of_days], of_values)
        if changes:
            midnight = datetime.fromisoformat(first_day(of_days[changes[-1].index])).replace(tzinfo=zone)
            since, effect = midnight.timestamp(), changes[-1].effect_percent
        found[key] = (slope.per_x, slope.p_value, over, since, effect)
    keys = zip(periods["pipeline"], periods["step_name"], periods["mode"], strict=True)
    nothing = (math.nan,) * 5
    found_of = [found.get(tuple(text_or_none(part) for part in key), nothing) for key in keys]
    names = ("slope_percent_per_day", "p_value", "drift_percent", "since_time", "effect")
    columns = {
        name: np.array([each[place] for each in found_of], dtype=float) for place, name in enumerate(names)
    }
    return periods.assign(**columns)


def _medians(periods: pd.DataFrame) -> Medians:
    found: dict[Key, tuple[list[int], list[float]]] = {}
    known = periods.dropna(subset="p50")
    for key, series in known.groupby(["pipeline", "step_name", "mode"], dropna=False):
        days = series["period"].dt.tz_localize(None).to_numpy("datetime64[D]").astype("int64")
        found[tuple(text_or_none(part) for part in key)] = days.tolist(), series["p50"].tolist()
    return found


def week_of(day: int) -> int:
    """Return the Monday of a day; both count days since 1970, which began on a Thursday."""
    return day - (day + 3) % 7


def _described(series: Series) -> tuple[object, ...]:
    values = sorted(series.good.values)
    return (
        len(values),
        sum(series.failed),
        math.fsum(values) / len(values) if values else None,
        *(percentile(values, name) for name in PERCENTILES),
    )


def _going(series: Series, past: Past | None) -> tuple[float | None, ...]:
    """Return where a series is going, one point per session; little of fewer than 10."""
    good = series.good
    if len(good) < LEAST_FOR_SLOPE:
        return _NOTHING
    found = course(good, past)
    said = found.per_run, found.per_day, found.p_value, found.drift
    if not found.changes:
        return *said, None, None
    newest = found.changes[-1]
    return *said, good.start_times[newest.index], newest.effect_percent


def _days(start_times: Sequence[float], by: By, zone: tzinfo | None) -> list[int]:
    if zone is UTC:
        days = [int(start // 86_400) for start in start_times]
    else:
        epoch = datetime(1970, 1, 1).date().toordinal()
        days = [datetime.fromtimestamp(start, zone).date().toordinal() - epoch for start in start_times]
    return [week_of(day) for day in days] if by == "week" else days


def first_day(day: int) -> str:
    """Return the date of a day since 1970 as ISO text."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()
