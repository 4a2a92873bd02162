"""How long steps take, exactly and over the whole history: what an index can answer alone.

A percentile of a day is sought by stepping over the smaller part of its entries; of more than a day all are
read. Both databases give the same numbers; percentiles interpolate linearly, as numpy's do by default.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Connection, select, text

from perfdb.analysis.series import DAY_S, Percentile, SeriesName, Statistics, monday, neighbours
from perfdb.measures import DURATION, Measure
from perfdb.store import daily_measures
from perfdb.store.buckets import Together, percentiles_of
from perfdb.store.dialects import bound, is_shared
from perfdb.store.filters import NOT_TAGGED
from perfdb.store.models import FAILED_CODE, series, storable_name
from perfdb.store.rollups import Kept, daily_figures, failures_of, known, knows, stale
from perfdb.store.together import together

EXACT_RUNS = 200_000
"""Of so many runs at most every answer is exact; of more it comes from daily figures."""

# Conditions are spelt as the partial indexes spell them, or SQLite will not use these.
_FAILED_BY_DAY = text(
    "SELECT day, count(*) AS n FROM steps WHERE status = 2 AND series_id = :series_id "
    f"AND {NOT_TAGGED.format('steps.session_pk')} GROUP BY day"
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
    f"AND {NOT_TAGGED.format('sessions.id')}"
)


def by_runs(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    by: str,
    step: str | None = None,
    pipeline: str | None = None,
    measure: Measure = DURATION,
) -> list[Statistics]:
    """Return the statistics of each series, of totals too where no step is named, from the runs.

    Of a measure those of the series that have it.
    """
    if not measure.is_duration:
        return _of_measure(connection, percentiles, by=by, step=step, pipeline=pipeline, measure=measure)
    if is_shared(connection):
        return of_server(connection, percentiles, by=by, step=step, pipeline=pipeline)
    rows = of_steps[by](connection, percentiles, step=step, pipeline=pipeline)
    if step is None:
        rows = [*of_totals(connection, percentiles, by=by, pipeline=pipeline), *rows]
    return rows


def of_server(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    by: str,
    step: str | None = None,
    pipeline: str | None = None,
) -> list[Statistics]:
    """Return what ``by_runs`` does with one question to a server, which is far away and groups by itself."""
    names = dict(_series_of(connection, step, pipeline))
    rows: list[Statistics] = []
    parts = [_STEPS_GROUPED] if step is not None else [_STEPS_GROUPED, _TOTALS_GROUPED]
    for number, period, n, failures, mean, found in connection.execute(
        text(" UNION ALL ".join(part.format(period=_GROUPED[by]) for part in parts)),
        {"shares": [float(share) for share, _ in percentiles], "chosen": list(names)},
    ).cursor.fetchall():
        sought = [
            value if n >= max(least, 1) else None
            for value, (_, least) in zip(found or [None] * len(percentiles), percentiles, strict=True)
        ]
        rows.append(Statistics(names[number], period, n, failures, mean, sought))
    return rows


_GROUPED = {"all": "CAST(NULL AS integer)", "day": "day", "week": "day - (day + 3) % 7"}
_GROUP = (
    "SELECT series_id, {{period}}, count(*) FILTER (WHERE NOT failed), count(*) FILTER (WHERE failed), "
    "avg(value) FILTER (WHERE NOT failed), percentile_cont(CAST(:shares AS double precision[])) "
    "WITHIN GROUP (ORDER BY value) FILTER (WHERE NOT failed) FROM ({runs}) runs GROUP BY 1, 2"
)
_CHOSEN = "series_id = ANY(CAST(:chosen AS bigint[]))"
_STEPS_GROUPED = _GROUP.format(
    runs=f"SELECT series_id, day, duration AS value, false AS failed FROM steps WHERE counted AND {_CHOSEN} "
    "UNION ALL SELECT series_id, day, NULL, true FROM steps "
    f"WHERE status = 2 AND {_CHOSEN} AND {NOT_TAGGED.format('steps.session_pk')}"
)
_TOTALS_GROUPED = _GROUP.format(
    runs=f"SELECT series_id, CAST(floor(start_time / {DAY_S}) AS integer) AS day, "
    "total_duration AS value, status = 2 AS failed FROM sessions "
    f"WHERE (status = 2 OR status = 1 AND counted) AND total_duration IS NOT NULL AND {_CHOSEN} "
    f"AND {NOT_TAGGED.format('sessions.id')}"
)


def step_statistics(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    by: str = "all",
    step: str | None = None,
    pipeline: str | None = None,
) -> list[Statistics]:
    """Return the statistics of each step series: of successful steps of sessions that count. All are read."""
    rows: list[Statistics] = []
    for number, name in _steps_of(connection, step, pipeline):
        found = connection.execute(_BY_DAY, {"series_id": number}).cursor.fetchall()
        of_days = ((day, [duration for _, duration in runs]) for day, runs in groupby(found, itemgetter(0)))
        rows += _by_period(name, of_days, _failed_by_day(connection, number), percentiles, by)
    return rows


def daily_statistics(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    step: str | None = None,
    pipeline: str | None = None,
) -> list[Statistics]:
    """Return what ``step_statistics`` does for each day (UTC)."""
    seek = _Seeker(connection)
    rows: list[Statistics] = []
    for number, name in _steps_of(connection, step, pipeline):
        failed = _failed_by_day(connection, number)
        measured = {
            day: (n, mean) for day, n, mean in connection.execute(_MEASURED_BY_DAY, {"series_id": number})
        }
        for day in sorted({*measured, *failed}):
            n, mean = measured.get(day, (0, None))
            found = seek.percentiles(percentiles, n, number, day)
            rows.append(Statistics(name, day, n, failed.get(day, 0), mean, found))
    return rows


def _of_measure(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    by: str,
    step: str | None,
    pipeline: str | None,
    measure: Measure,
) -> list[Statistics]:
    names = dict(_series_of(connection, step, pipeline))
    chosen = None if step is None and pipeline is None else names
    found, failed = together(
        connection,
        lambda: daily_measures.values_of(connection, measure, None, chosen),
        lambda: failures_of(connection, None, chosen),
    )
    of_series: dict[int, dict[int, list[float]]] = {}
    for (number, day), values in found.items():
        of_series.setdefault(number, {})[day] = values.values
    wrong: dict[int, dict[int, int]] = {}
    for (number, day), n in failed.items():
        wrong.setdefault(number, {})[day] = n
    rows: list[Statistics] = []
    for number, days in of_series.items():
        if number in names:
            good = ((day, values) for day, values in days.items() if values)
            rows += _by_period(names[number], good, wrong.get(number, {}), percentiles, by)
    return rows


of_steps: dict[str, Callable[..., list[Statistics]]] = {
    "all": step_statistics,
    "day": daily_statistics,
    "week": partial(step_statistics, by="week"),  # from Monday
}


def of_totals(
    connection: Connection, percentiles: Sequence[Percentile], *, by: str, pipeline: str | None = None
) -> list[Statistics]:
    """Return what ``of_steps[by]`` does of the sessions' totals; the step name is None. All are read."""
    rows: list[Statistics] = []
    for number, name in _series_of(connection, None, pipeline):
        if name.step_name is not None:
            continue
        totals: dict[int, list[float]] = {}
        failed: Counter[int] = Counter()
        found = connection.execute(_TOTALS, {"series_id": number}).cursor.fetchall()
        for start, duration, status in found:
            day = int(start // DAY_S)
            if status == FAILED_CODE:
                failed[day] += 1
            else:
                totals.setdefault(day, []).append(duration)
        rows += _by_period(name, totals.items(), failed, percentiles, by)
    return rows


def is_of_days(connection: Connection, measure: Measure, *, step: str | None) -> bool:
    """Say whether ``by_days`` answers: there are many runs, or some were pruned."""
    runs, some_were_pruned = known(connection)
    return (runs > EXACT_RUNS or some_were_pruned) and knows(measure, of_totals=step is None)


def by_days(
    connection: Connection,
    percentiles: Sequence[Percentile],
    *,
    by: str,
    step: str | None = None,
    pipeline: str | None = None,
    of: SeriesName | None = None,
    measure: Measure = DURATION,
) -> list[Statistics] | None:
    """Return what ``by_runs`` does, from daily figures; ``of``: only those of this series.

    Percentiles are within ``buckets.ERROR_PERCENT``. None where the runs themselves answer in time.
    """
    step, pipeline = (step, pipeline) if of is None else (of.step_name, of.pipeline)
    (runs, some_were_pruned), chosen, of_stale = together(
        connection,
        lambda: known(connection),
        lambda: _series_of(connection, step, pipeline),
        lambda: stale(connection) if is_shared(connection) else None,
    )
    if (runs <= EXACT_RUNS and not some_were_pruned) or not knows(measure, of_totals=step is None):
        return None
    names = {number: name for number, name in chosen if of in (None, name)}
    parts: dict[tuple[int, int | None], list[Kept]] = {}
    period = _PERIODS[by]
    for each in daily_figures(connection, names.keys(), measure, of_stale):
        parts.setdefault((each.series_id, period(each.day)), []).append(each)
    rows: list[Statistics] = []
    owed: list[tuple[int, Together]] = []  # of a row here
    for number, first in sorted(parts, key=lambda key: (key[0], key[1] or 0)):
        kept = parts[number, first]
        only = kept[0].runs if len(kept) == 1 else None
        if only is not None and by == "day":
            rows.append(Statistics.of(names[number], first, only.values, only.failures, percentiles))
            continue
        figures = Together()
        for each in kept:
            figures.add(each.figures)
        owed.append((len(rows), figures))
        rows.append(Statistics(names[number], first, figures.n, figures.failures, figures.mean, ()))
    found = percentiles_of([figures for _, figures in owed], percentiles)
    for (place, _), sought in zip(owed, found, strict=True):
        rows[place] = rows[place]._replace(percentiles=sought)
    return rows


_PERIODS: dict[str, Callable[[int], int | None]] = {
    "all": lambda day: None,
    "day": lambda day: day,
    "week": monday,
}


def _steps_of(connection: Connection, step: str | None, pipeline: str | None) -> list[tuple[int, SeriesName]]:
    return [row for row in _series_of(connection, step, pipeline) if row[1].step_name is not None]


def _series_of(
    connection: Connection, step: str | None, pipeline: str | None
) -> list[tuple[int, SeriesName]]:
    """Return the number and the name of each series that is asked about."""
    query = select(series.c.id, series.c.pipeline, series.c.step_name, series.c.mode)
    for column, value in ((series.c.step_name, step), (series.c.pipeline, pipeline)):
        if value is not None:
            query = query.where(column == storable_name(value))
    found = connection.execute(query.order_by(series.c.pipeline, series.c.mode, series.c.step_name))
    return [(number, SeriesName(*name)) for number, *name in found]


def _failed_by_day(connection: Connection, number: int) -> dict[int, int]:
    return {row.day: row.n for row in connection.execute(_FAILED_BY_DAY, {"series_id": number})}


class _Seeker:
    """Seeks percentiles among the counted steps of a series and a day.

    It speaks to the driver: a seek takes microseconds, and there are thousands.
    """

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.connection.cursor()
        sign = bound(connection)
        where = f"series_id = {sign} AND day = {sign}"
        seek = f"SELECT duration FROM steps WHERE counted AND {where} ORDER BY duration"
        self._from_below = f"{seek} LIMIT 2 OFFSET {sign}"
        self._from_above = f"{seek} DESC LIMIT 2 OFFSET {sign}"

    def percentiles(self, wanted: Sequence[Percentile], n: int, *key: int) -> list[float | None]:
        """Return the percentiles of the ``n`` durations of one series and day."""
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
    name: SeriesName,
    days: Iterable[tuple[int, list[float]]],
    failed: Mapping[int, int],
    percentiles: Sequence[Percentile],
    by: str,
) -> Iterator[Statistics]:
    """Yield the statistics of each period: of what the runs of its days took, and of how many failed."""
    period = _PERIODS[by]
    values: dict[int | None, list[float]] = {}
    failures: Counter[int | None] = Counter()
    for day, durations in days:
        values.setdefault(period(day), []).extend(durations)
    for day, n in failed.items():
        failures[period(day)] += n
    for first in sorted({*values, *failures}, key=lambda first: first or 0):
        yield Statistics.of(name, first, values.get(first, ()), failures[first], percentiles)
