"""A series in a window of too many runs to read them: what its days were together, and which runs stick out.

Days that are over come from daily figures; those that are stale, or not all in the window, from their runs.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, text, true

from perfdb.analysis.series import DAY_S, Series, SeriesName
from perfdb.measures import DURATION
from perfdb.store import rollups
from perfdb.store.buckets import Figures, Packed, Together
from perfdb.store.models import rollups as daily
from perfdb.store.models import series, sessions
from perfdb.store.reading import driver_rows
from perfdb.store.series import runs_of_series
from perfdb.store.statistics import EXACT_RUNS
from perfdb.store.together import for_each, together

_MOST_READ = 31  # days that are stale: of more a worker has to roll up some first
_MOST_OF_DAY = 100_000  # runs of a day at an end of the window

# The quickest and the slowest run of each day that is rolled up, each by one look into an index; + has SQLite
# take that of the value, because few runs have the same.
_OUTERMOST = {
    False: "(SELECT session_pk FROM steps WHERE counted AND series_id = r.series_id AND day = r.day "
    "AND duration = r.{end} LIMIT 1)",
    True: "(SELECT id FROM sessions WHERE total_duration = r.{end} AND +series_id = r.series_id "
    "AND status = 1 AND counted AND +start_time >= r.day * 86400.0 "
    "AND +start_time < (r.day + 1) * 86400.0 LIMIT 1)",
}


@dataclass(frozen=True, slots=True)
class LongSeries:
    """The runs of a series in a window, by the days (UTC) on which they began.

    Attributes:
        name: whose they are.
        days: what the runs of each day were together, in order.
        outermost: the quickest and the slowest run of each day whose sessions are still there, oldest first.
    """

    name: SeriesName
    days: dict[int, Together]
    outermost: list[tuple[str, float, float]]  # session id, start, value


def long_series(
    connection: Connection, name: SeriesName, since: float, until: float | None, *, most: int
) -> LongSeries | None:
    """Return the days of a series between two moments; None where they have ``most`` runs or fewer.

    None also where the runs answer everything, see ``statistics.by_days``, or too many days are stale.
    """
    (runs, some_were_pruned), stale, number = together(
        connection,
        lambda: rollups.known(connection),
        lambda: rollups.stale(connection),
        lambda: _number_of(connection, name),
    )
    if number is None or (runs <= EXACT_RUNS and not some_were_pruned):
        return None
    first, end = math.ceil(since / DAY_S), math.inf if until is None else until // DAY_S
    own = {day for day in stale if first <= day < end}
    if len(own) > _MOST_READ:
        return None
    at = daily.c
    figures = at.n, at.failures, at.total, at.low, at.high, at.buckets
    query = select(at.day, at.pruned, *figures).where(at.series_id == number, at.measure == DURATION.name)
    query = query.where(at.day >= first, true() if until is None else at.day < end)
    kept = [row for row in driver_rows(connection, query) if row[1] or row[0] not in own]
    if sum(row[2] + row[3] for row in kept) <= most:
        return None
    edges: list[tuple[float, float]] = [(since, first * DAY_S)] if since < first * DAY_S else []
    if until is not None and end * DAY_S < until:
        edges.append((max(since, end * DAY_S), until))
    read, at_edges, outermost = together(
        connection,
        lambda: rollups.runs_of(connection, own, [number]),
        lambda: for_each(
            connection,
            lambda edge: runs_of_series(connection, *name, last=_MOST_OF_DAY, since=edge[0], until=edge[1]),
            edges,
        ),
        lambda: _outermost(connection, number, name, {row[0] for row in kept if not row[1]}),
    )
    found: dict[int, Together] = {}
    for day, _, *row in kept:
        found.setdefault(day, Together()).add(tuple(row))
    for (_, day), of_day in read.items():
        found.setdefault(day, Together()).add(of_day.packed())
    for runs_there in at_edges:
        if len(runs_there):
            day = rollups.day_of(runs_there.start_times[0])
            found.setdefault(day, Together()).add(_packed(runs_there))
    return LongSeries(name, dict(sorted(found.items())), outermost)


def _number_of(connection: Connection, name: SeriesName) -> int | None:
    of_name = (
        series.c.pipeline == name.pipeline,
        series.c.mode == name.mode,
        series.c.step_name == name.step_name,
    )
    found: int | None = connection.execute(select(series.c.id).where(*of_name)).scalar()
    return found


def _packed(runs: Series) -> Packed:
    figures = Figures()
    figures.add(runs.good.values, sum(runs.failed))
    return figures.packed()


def _outermost(
    connection: Connection, number: int, name: SeriesName, days: Collection[int]
) -> list[tuple[str, float, float]]:
    if not days:
        return []
    ends = ", ".join(_OUTERMOST[name.step_name is None].format(end=end) for end in ("low", "high"))
    query = text(
        f"SELECT r.low, r.high, {ends} FROM rollups r WHERE r.series_id = :number AND r.measure = 'duration' "
        "AND NOT r.pruned AND r.day BETWEEN :first AND :last"
    )
    asked = {"number": number, "first": min(days), "last": max(days)}
    value_of: dict[int, float] = {}
    for low, high, quickest, slowest in connection.execute(query, asked).cursor.fetchall():
        value_of |= {pk: value for pk, value in ((quickest, low), (slowest, high)) if pk is not None}
    begun = select(sessions.c.id, sessions.c.session_id, sessions.c.start_time)
    pks = sorted(value_of)
    rows: list[Any] = []
    for piece in for_each(
        connection,
        lambda place: driver_rows(connection, begun.where(sessions.c.id.in_(pks[place : place + 500]))),
        range(0, len(pks), 500),
    ):
        rows += piece
    return sorted(
        ((session_id, start, value_of[pk]) for pk, session_id, start in rows), key=lambda run: run[1]
    )
