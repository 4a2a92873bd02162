"""How long steps take, exactly and over the whole history: what indexes can answer alone.

A percentile is sought by stepping over the smaller part of the entries of a series. Both databases
give the same numbers; percentiles interpolate linearly, as numpy's do by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, select, text

from perfdb.analysis.series import neighbours, quantile
from perfdb.store.models import FAILED_CODE, series, storable_name
from perfdb.vocabulary import UNCOUNTED_TAGS

Percentile = tuple[float, int]
"""Share, and the least n for which it is given."""

Row = tuple[Any, ...]

# Conditions are spelt as the partial indexes spell them, or SQLite will not use these.
_TAGS = ", ".join(f"'{tag}'" for tag in UNCOUNTED_TAGS)
_TAGGED = f"EXISTS (SELECT 1 FROM session_tags t WHERE t.session_pk = {{}} AND t.name IN ({_TAGS}))"
# One walk over the index: asking per series costs a comparison more per step.
_MEASURED = text("SELECT series_id, count(*), avg(duration) FROM steps WHERE counted GROUP BY series_id")
_MEASURED_ONE = text(
    "SELECT series_id, count(*), avg(duration) FROM steps WHERE counted AND series_id = :series_id "
    "GROUP BY series_id"
)
_FAILED = text(
    "SELECT count(*) FROM steps WHERE status = 2 AND series_id = :series_id "
    f"AND NOT {_TAGGED.format('steps.session_pk')}"
)
_FAILED_BY_DAY = text(
    "SELECT day, count(*) AS n FROM steps WHERE status = 2 AND series_id = :series_id "
    f"AND NOT {_TAGGED.format('steps.session_pk')} GROUP BY day"
)
_MEASURED_BY_DAY = text(
    "SELECT day, count(*), avg(duration) FROM steps WHERE counted AND series_id = :series_id GROUP BY day"
)
_BY_DAY = text(
    "SELECT day, duration FROM steps WHERE counted AND series_id = :series_id ORDER BY day, duration"
)
_TOTALS = text(
    "SELECT start_time, total_duration, status FROM sessions "
    "WHERE series_id = :series_id AND (status = 2 OR status = 1 AND counted) AND total_duration IS NOT NULL "
    f"AND NOT {_TAGGED.format('sessions.id')}"
)
_SECONDS_A_DAY = 86_400


def step_statistics(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    step: str | None = None,
    pipeline: str | None = None,
) -> list[Row]:
    """Return (pipeline, step name, mode, None, n, failures, mean, one per percentile) of each step series.

    Successful steps of sessions that count make the durations (s). What has too few runs is None.
    """
    chosen = _steps_of(connection, step, pipeline)
    asked = [{"series_id": number} for number, *_ in chosen]
    found = (
        connection.execute(_MEASURED).all()
        if step is None and pipeline is None
        else [row for each in asked for row in connection.execute(_MEASURED_ONE, each)]
    )
    measured = {number: (n, mean) for number, n, mean in found}
    rows: list[Row] = []
    for number, *names in chosen:
        n, mean = measured.get(number, (0, None))
        failures = connection.execute(_FAILED, {"series_id": number}).scalar_one()
        if n or failures:
            sought = _Seeker(connection, "series_id").percentiles(percentiles, n, number)
            rows.append((*names, None, n, failures, mean, *sought))
    return rows


def daily_statistics(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    step: str | None = None,
    pipeline: str | None = None,
) -> list[Row]:
    """Return (pipeline, step name, mode, day, n, failures, mean, percentiles …) of each step series and day.

    As ``step_statistics``; days count from 1970-01-01, UTC.
    """
    seek = _Seeker(connection, "series_id", "day")
    rows: list[Row] = []
    for number, *names in _steps_of(connection, step, pipeline):
        failed = _failed_by_day(connection, number)
        measured = {
            day: (n, mean) for day, n, mean in connection.execute(_MEASURED_BY_DAY, {"series_id": number})
        }
        for day in sorted({*measured, *failed}):
            n, mean = measured.get(day, (0, None))
            found = seek.percentiles(percentiles, n, number, day)
            rows.append((*names, day, n, failed.get(day, 0), mean, *found))
    return rows


def weekly_statistics(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    step: str | None = None,
    pipeline: str | None = None,
) -> list[Row]:
    """Return what ``daily_statistics`` does for weeks; the day is their Monday. All durations are read."""
    rows: list[Row] = []
    for number, *names in _steps_of(connection, step, pipeline):
        found = connection.execute(_BY_DAY, {"series_id": number}).cursor.fetchall()
        days = ((day, duration, False) for day, duration in found)
        failed = _failed_by_day(connection, number)
        failures = ((day, 0.0, True) for day, n in failed.items() for _ in range(n))
        rows += [(*names, *row) for row in _by_period([*days, *failures], percentiles, monday)]
    return rows


of_steps = {"all": step_statistics, "day": daily_statistics, "week": weekly_statistics}


def of_totals(
    connection: Connection, percentiles: Sequence[Percentile], *, by: str, pipeline: str | None = None
) -> list[Row]:
    """Return what ``of_steps[by]`` does of the sessions' totals; the step name is None. All are read."""
    query = select(series.c.id, series.c.pipeline, series.c.step_name, series.c.mode)
    query = query.where(series.c.step_name.is_(None)).order_by(series.c.pipeline, series.c.mode)
    if pipeline is not None:
        query = query.where(series.c.pipeline == storable_name(pipeline))
    rows: list[Row] = []
    for number, *names in connection.execute(query).all():
        found = connection.execute(_TOTALS, {"series_id": number}).cursor.fetchall()
        totals = [
            (int(start // _SECONDS_A_DAY), duration, status == FAILED_CODE)
            for start, duration, status in found
        ]
        rows += [(*names, *row) for row in _by_period(totals, percentiles, _PERIODS[by])]
    return rows


def monday(day: int) -> int:
    """Return the Monday of a day; both count days since 1970, which began on a Thursday."""
    return day - (day + 3) % 7


_PERIODS: dict[str, Callable[[int], int | None]] = {
    "all": lambda day: None,
    "day": lambda day: day,
    "week": monday,
}


def _steps_of(connection: Connection, step: str | None, pipeline: str | None) -> Sequence[Any]:
    query = select(series.c.id, series.c.pipeline, series.c.step_name, series.c.mode)
    query = query.where(series.c.step_name.is_not(None))
    for column, value in ((series.c.step_name, step), (series.c.pipeline, pipeline)):
        if value is not None:
            query = query.where(column == storable_name(value))
    return connection.execute(query.order_by(series.c.pipeline, series.c.mode, series.c.step_name)).all()


def _failed_by_day(connection: Connection, number: int) -> dict[int, int]:
    return {row.day: row.n for row in connection.execute(_FAILED_BY_DAY, {"series_id": number})}


class _Seeker:
    """Seeks percentiles among the counted steps that agree in some columns of an index.

    It speaks to the driver: a seek takes microseconds, and there are thousands where days are asked for.
    """

    def __init__(self, connection: Connection, *columns: str) -> None:
        self._cursor = connection.connection.cursor()
        sign = "?" if connection.dialect.paramstyle == "qmark" else "%s"
        where = " AND ".join(f"{column} = {sign}" for column in columns)
        seek = f"SELECT duration FROM steps WHERE counted AND {where} ORDER BY duration"
        self._from_below = f"{seek} LIMIT 2 OFFSET {sign}"
        self._from_above = f"{seek} DESC LIMIT 2 OFFSET {sign}"

    def percentiles(self, wanted: Sequence[Percentile], n: int, *key: int) -> list[float | None]:
        """Return the percentiles of the ``n`` durations of one key."""
        return [self._seek(n, share, key) if n >= max(least, 1) else None for share, least in wanted]

    def _seek(self, n: int, share: float, key: tuple[int, ...]) -> float:
        low, part = neighbours(n, share)
        above = n - 2 - low  # entries over the two neighbours
        if low <= above or above < 0:
            self._cursor.execute(self._from_below, (*key, low))
            pair = [row[0] for row in self._cursor.fetchall()]
        else:
            self._cursor.execute(self._from_above, (*key, above))
            pair = [row[0] for row in self._cursor.fetchall()][::-1]
        return float(pair[0] + (pair[-1] - pair[0]) * part)


def _by_period(
    runs: Iterable[tuple[int, float, bool]],
    percentiles: Sequence[Percentile],
    period: Callable[[int], int | None],
) -> Iterable[Row]:
    """Yield (first day, n, failures, mean, percentiles …) for (day, duration, failed) by period."""
    named = sorted(
        ((period(day), failed, duration) for day, duration, failed in runs),
        key=lambda run: (run[0] or 0, run[1:]),
    )
    for first, group in groupby(named, key=lambda run: run[0]):
        kept = list(group)
        durations = [duration for _, failed, duration in kept if not failed]
        n = len(durations)
        mean = math.fsum(durations) / n if n else None
        found = (quantile(durations, share) if n >= max(least, 1) else None for share, least in percentiles)
        yield (first, n, len(kept) - n, mean, *found)
