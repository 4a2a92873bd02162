"""Series in a window of too many runs to read them: what their days were together, and which runs stick out.

Days that are over come from daily figures; those that are stale, or not all in the window, from their runs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, text

from perfdb.analysis.change_points import WATCHED
from perfdb.analysis.series import DAY_S, Series, SeriesName
from perfdb.measures import DURATION, Measure
from perfdb.store import rollups
from perfdb.store.buckets import Figures, Packed, Together
from perfdb.store.daily_measures import days_without, noted, values_of
from perfdb.store.models import rollups as daily
from perfdb.store.models import series
from perfdb.store.reading import driver_rows
from perfdb.store.series import last_runs, runs_of_series
from perfdb.store.statistics import EXACT_RUNS
from perfdb.store.together import for_each, together

_MOST_READ = 31  # days that are stale: of more a worker has to roll up some first
_MOST_AT_END = 200_000  # runs of the two days at an end of the window
_MOST_STEPS_AT_END = 800_000

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
        newest: the newest runs before the end of the window.
    """

    name: SeriesName
    days: dict[int, Together]
    outermost: list[tuple[str, float, float]]  # session id, start, value
    newest: Series


def long_series(
    connection: Connection,
    name: SeriesName,
    since: float,
    until: float | None,
    *,
    most: int,
    measure: Measure = DURATION,
) -> LongSeries | None:
    """Return the days of a series between two moments; None where they have ``most`` runs or fewer.

    None also where the runs answer everything, see ``statistics.by_days``, or too many days are to be read.
    Of a measure beside the duration no runs stick out: to find them is to read all of them.
    """
    if not rollups.knows(measure, of_totals=name.step_name is None):
        return None
    first, end = _whole_days(since, until)
    at = daily.c
    figures = at.n, at.failures, at.total, at.low, at.high, at.buckets
    number = select(series.c.id).where(
        series.c.pipeline == name.pipeline,
        series.c.mode == name.mode,
        series.c.step_name.is_(None) if name.step_name is None else series.c.step_name == name.step_name,
    )
    query = select(at.series_id, at.day, at.pruned, at.measure, *figures).where(
        at.series_id == number.scalar_subquery(),
        at.measure.in_((measure.name, DURATION.name)),
        _in_whole_days(since, until),
    )
    (runs, some_were_pruned), stale, without, waiting, kept = together(
        connection,
        lambda: rollups.known(connection),
        lambda: rollups.stale(connection),
        lambda: [] if measure.is_duration else days_without(connection, measure.name),
        lambda: {} if measure.is_duration else noted(connection)[1],
        lambda: driver_rows(connection, query),
    )
    stale_ones = {day for day in stale if first <= day < end}
    own = stale_ones | {day for day in without if first <= day < end}
    of = kept[0][0] if kept else None
    kept = _figures_in(kept, measure, stale_ones, own)
    kept += [
        (day, True, each.packed())
        for (number, day, of_measure), each in waiting.items()
        if (number, of_measure) == (of, measure.name) and since / DAY_S <= day < end
    ]
    if (runs <= EXACT_RUNS and not some_were_pruned) or len(own) > _MOST_READ:
        return None
    if of is None or sum(row[0] + row[1] for *_, row in kept) <= most:
        return None
    edges = _edges(since, until, first, end)

    def runs_between(since: float | None, until: float | None, last: int) -> Series:
        return runs_of_series(connection, *name, last=last, since=since, until=until, measure=measure)

    read, at_edges, outermost, newest = together(
        connection,
        lambda: _read(connection, measure, stale_ones, own, of),
        lambda: for_each(connection, lambda edge: runs_between(edge[0], edge[1], _MOST_AT_END), edges),
        lambda: (
            _outermost(connection, of, name, {day for day, pruned, _ in kept if not pruned})
            if measure.is_duration
            else []
        ),
        lambda: runs_between(None, until, WATCHED),
    )
    found: dict[int, Together] = {}
    for day, _, row in (*kept, *read):
        found.setdefault(day, Together()).add(row)
    for runs_there in at_edges:
        for day, of_day in _by_day(runs_there, first, end):
            found.setdefault(day, Together()).add(of_day)
    return LongSeries(name, dict(sorted(found.items())), outermost, newest)


def long_kind(
    connection: Connection, number: int, since: float, until: float | None, *, most: int, most_series: int
) -> dict[str | None, dict[int, Together]] | None:
    """Return the days of a total (None) and of its costliest steps between two moments.

    None where the total has ``most`` runs or fewer on whole days, and where ``long_series`` gives None.

    Args:
        connection: that reads.
        number: of the series of the total.
        since: epoch s.
        until: epoch s; None: until now.
        most: runs of the total that are read one by one.
        most_series: how many there are at most.
    """
    first, end = _whole_days(since, until)
    at, own = daily.c, series.alias()
    names = select(series.c.id, series.c.step_name).join(
        own, (own.c.id == number) & (series.c.pipeline == own.c.pipeline) & (series.c.mode == own.c.mode)
    )
    query = select(
        at.series_id, at.day, at.pruned, at.n, at.failures, at.total, at.low, at.high, at.buckets
    ).where(
        at.series_id.in_(names.with_only_columns(series.c.id)),
        at.measure == DURATION.name,
        _in_whole_days(since, until),
    )
    (runs, some_were_pruned), stale, named, kept = together(
        connection,
        lambda: rollups.known(connection),
        lambda: rollups.stale(connection),
        lambda: dict(driver_rows(connection, names)),
        lambda: driver_rows(connection, query),
    )
    stale_ones = {day for day in stale if first <= day < end}
    kept = [row for row in kept if row[2] or row[1] not in stale_ones]
    if (runs <= EXACT_RUNS and not some_were_pruned) or len(stale_ones) > _MOST_READ:
        return None
    if sum(row[3] + row[4] for row in kept if row[0] == number) <= most:
        return None
    seconds = dict.fromkeys((row[0] for row in kept), 0.0)
    for series_id, _, _, _, _, total, *_ in kept:
        seconds[series_id] += total
    seconds[number] = math.inf
    chosen = sorted(seconds, key=lambda each: -seconds[each])[:most_series]
    read, at_edges = together(
        connection,
        lambda: rollups.runs_of(connection, stale_ones, chosen),
        lambda: for_each(
            connection,
            lambda edge: last_runs(
                connection,
                number,
                last=_MOST_AT_END,
                since=edge[0],
                until=edge[1],
                most_steps=_MOST_STEPS_AT_END,
            ),
            _edges(since, until, first, end),
        ),
    )
    found = {named[series_id]: defaultdict[int, Together](Together) for series_id in chosen}
    rows = [(named[row[0]], row[1], row[3:]) for row in kept if named[row[0]] in found]
    rows += [(named[series_id], day, each.packed()) for (series_id, day), each in read.items()]
    rows += [
        (each.step_name, *of_day)
        for of_edge in at_edges
        for each in of_edge
        if each.step_name in found
        for of_day in _by_day(each, first, end)
    ]
    for step_name, day, figures in rows:
        found[step_name][day].add(figures)
    return {step_name: dict(sorted(days.items())) for step_name, days in found.items()}


_OfDay = tuple[int, bool, Packed]  # a day, whether its runs were pruned, and their figures


def _figures_in(
    rows: Sequence[Any], measure: Measure, stale: Collection[int], own: Collection[int]
) -> list[_OfDay]:
    """Return the figures that answer, of a measure without its own failures, but with all that are known."""
    found: list[_OfDay] = []
    for _, day, pruned, of, *row in rows:
        if of == measure.name and (pruned or day not in own):
            found.append((day, pruned, tuple(row) if measure.is_duration else (row[0], 0, *row[2:])))
        elif of != measure.name and row[1] and (pruned or day not in stale):
            found.append((day, True, rollups.Runs([], row[1]).packed()))
    return found


def _read(
    connection: Connection, measure: Measure, stale: Collection[int], own: Collection[int], of: int
) -> list[_OfDay]:
    """Return the figures of days by their runs."""
    if measure.is_duration:
        found = rollups.runs_of(connection, own, [of])
        return [(day, False, runs.packed()) for (_, day), runs in found.items()]
    values, failed = together(
        connection,
        lambda: values_of(connection, measure, own, [of]),
        lambda: rollups.failures_of(connection, stale, [of]),
    )
    runs = [(day, rollups.Runs(each.values, 0)) for (_, day), each in values.items()]
    runs += [(day, rollups.Runs([], n)) for (_, day), n in failed.items()]
    return [(day, False, each.packed()) for day, each in runs]


def _whole_days(since: float, until: float | None) -> tuple[int, float]:
    """Return the first day all of whose runs are of sessions in a window, and the first that is not.

    A session is in the window by its start, and its steps may begin on the day after: one of a day or less.
    """
    first = math.ceil(since / DAY_S) + 1
    if until is None:
        return first, math.inf
    end = int(until // DAY_S)
    return min(first, end), end


def _in_whole_days(since: float, until: float | None) -> ColumnElement[bool]:
    """Return what says that figures are of whole days; pruned runs are not read: theirs are of all days."""
    first, end = _whole_days(since, until)
    begins = or_(daily.c.day >= first, daily.c.pruned & (daily.c.day >= math.ceil(since / DAY_S)))
    return begins if until is None else begins & (daily.c.day < end)


def _edges(since: float, until: float | None, first: int, end: float) -> list[tuple[float, float]]:
    """Return when the sessions began that have a run in the window, but on none of its whole days."""
    edges: list[tuple[float, float]] = [(since, first * DAY_S)] if since < first * DAY_S else []
    if until is not None:
        edges.append((max(since, (end - 1) * DAY_S, first * DAY_S), until))
    return edges


def _by_day(runs: Series, first: int, end: float) -> Iterator[tuple[int, Packed]]:
    """Yield the figures of the days on which these runs began, without the whole days."""
    runs = runs.by_own_start()
    for day, places in groupby(range(len(runs)), lambda place: rollups.day_of(runs.start_times[place])):
        if not first <= day < end:
            of_day, figures = runs.at(places), Figures()
            figures.add(of_day.good.values, sum(of_day.failed))
            yield day, figures.packed()


def _outermost(
    connection: Connection, number: int, name: SeriesName, days: Collection[int]
) -> list[tuple[str, float, float]]:
    if not days:
        return []
    ends = ", ".join(
        f"{_OUTERMOST[name.step_name is None].format(end=end)} AS {called}"
        for end, called in (("low", "quickest"), ("high", "slowest"))
    )
    query = text(
        "SELECT s.session_id, s.start_time, CASE WHEN s.id = o.quickest THEN o.low ELSE o.high END "
        f"FROM (SELECT r.low, r.high, {ends} FROM rollups r WHERE r.series_id = :number "
        "AND r.measure = 'duration' AND NOT r.pruned AND r.day BETWEEN :first AND :last) o "
        "JOIN sessions s ON s.id IN (o.quickest, o.slowest) ORDER BY s.start_time"
    )
    asked = {"number": number, "first": min(days), "last": max(days)}
    found = connection.execute(query, asked).cursor.fetchall()
    return list(dict.fromkeys(tuple(row) for row in found))
