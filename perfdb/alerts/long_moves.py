"""Where the level of a long history moved: its days say where to look, the runs there what moved.

No pandas, because the worker takes in old sessions too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perfdb.analysis.change_points import (
    SURE_RUNS,
    WATCHED,
    find_moved_periods,
    find_new_changes,
    find_place,
)
from perfdb.analysis.regressions import Move, find_move
from perfdb.analysis.series import DAY_S, Past, Series, SeriesName, Statistics
from perfdb.analysis.waves import without_wave, without_wave_of
from perfdb.measures import DURATION, Measure
from perfdb.store.series import RUNS_FOR_WAVE, days_before, runs_beside, runs_of_series
from perfdb.store.statistics import by_days
from perfdb.store.together import for_each, together

if TYPE_CHECKING:
    from sqlalchemy import Connection

_BESIDE = 1_000  # runs on either side of a move in a long past
_AROUND_DAYS = 7  # on either side of the day with which a level moved: they tell at which run
Days = Sequence[tuple[int, int, float]]
"""The days of a series since 1970, in order, with how many of its runs count and their median."""
_Span = tuple[float | None, float, float | None]
_Beside = tuple[Series, Series, Series]


def days_of(
    connection: Connection,
    *,
    step: str | None = None,
    pipeline: str | None = None,
    of: SeriesName | None = None,
    until: float | None = None,
    measure: Measure = DURATION,
) -> dict[SeriesName, Days]:
    """Return the days of each series, where daily figures answer: else its runs do, and there is nothing.

    Only whole days until a moment are told; ``of`` is the one series that is asked for.
    """
    rows = by_days(connection, [(0.5, 1)], by="day", step=step, pipeline=pipeline, of=of, measure=measure)
    last = math.inf if until is None else until // DAY_S
    return days_in(row for row in rows or () if row.first_day is None or row.first_day < last)


def days_in(rows: Iterable[Statistics]) -> dict[SeriesName, Days]:
    """Return the days of each series in rows whose first percentile is the median."""
    found: dict[SeriesName, list[tuple[int, int, float]]] = {}
    for name, day, n, _, _, (p50, *_) in sorted(rows, key=lambda row: row.first_day or 0):
        if day is not None and p50 is not None:
            found.setdefault(name, []).append((day, n, p50))
    return dict(found)


def is_long(days: Days) -> bool:
    """Say whether a series is so long that its days say where to look."""
    from perfdb.analysis.trend_view import MOST_RUNS, unit_of

    return (
        len(days) > 0
        and sum(n for _, n, _ in days) > MOST_RUNS
        and unit_of([DAY_S * days[0][0], DAY_S * days[-1][0]]) != "hour"
    )


def long_moves(
    connection: Connection,
    name: SeriesName,
    days: Sequence[tuple[int, float]],
    *,
    better: bool | None,
    until: float | None = None,
    newest: Series | None = None,
    measure: Measure = DURATION,
) -> Iterator[Move]:
    """Yield where the level of a series moved whose days, with their medians, say where to look.

    Args:
        connection: of any role.
        name: of the series.
        days: since 1970, those with runs that count, in order.
        better: where it moved for the better; None: either way.
        until: what is newest is before this moment.
        newest: its newest ``WATCHED`` runs before that, if somebody has read them.
        measure: whose level.
    """
    if newest is None:
        newest = runs_of_series(connection, *name, last=WATCHED, until=until, measure=measure)
    newest, _ = newest.good.per_session()
    if not newest:
        return
    young = newest.start_times[max(0, len(newest) - SURE_RUNS)]
    moments = [DAY_S * days[place][0] for place in find_moved_periods([p50 for _, p50 in days])]
    moments = [moment for moment in moments if moment <= young]

    def beside(of: _Span) -> _Beside:
        since, moment, until = of
        return runs_beside(connection, *name, moment, since=since, until=until, most=_BESIDE, measure=measure)

    def of_day(of: _Span) -> list[Any]:
        return together(
            connection, lambda: _around(connection, name, *of, measure=measure), lambda: beside(of)
        )

    read = for_each(connection, of_day, _spans(moments, until))
    places = [_place_by(around, moment) for (around, _), moment in zip(read, moments, strict=True)]
    known = [newest.place_of(each.moment) for each in places if each.moment >= newest.start_times[0]]
    places += _new_places(newest, known, days_before(connection, measure))
    spans = _spans([each.moment for each in places], until)
    found = {number: runs for number, (_, runs) in enumerate(read) if _holds(runs, spans[number])}
    further = [number for number in range(len(spans)) if number not in found]
    found |= zip(further, for_each(connection, beside, [spans[number] for number in further]), strict=True)
    moves = [each.move_of(*found[number]) for number, each in enumerate(places)]
    told = [move for move in moves if move is not None]
    for move in told:
        if better is None or better == (move.change.after_median < move.change.before_median):
            yield replace(move, lasts=move is told[-1])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a level moved: at about a moment, between ``first`` and ``last`` (epoch s).

    ``around`` are runs that show the wave of its days.
    """

    moment: float
    first: float
    last: float
    around: Series | None = None

    def move_of(self, before: Series, after: Series, later: Series) -> Move | None:
        """Return the move at the run that parts those beside best, without the wave of the days around."""
        runs, place = before.joined(after), len(before)
        calm: list[float] | None = None
        if self.around is not None and before and after:
            around = self.around.start_times, self.around.values
            of_wave = without_wave_of(around, runs.start_times, runs.values)
            calm = None if of_wave is None else of_wave.tolist()
            if self.first < self.last:
                low, high = runs.place_of(self.first), runs.place_of(self.last) + 1
                place = find_place(runs.values if calm is None else calm, place, low, high)
        parts = runs.between(0, place), runs.between(place), later
        return find_move(*parts, lasts=True, better=None, calm=calm)


def _spans(moments: Sequence[float], until: float | None) -> list[_Span]:
    """Return each moment between the one before and the one after."""
    return list(zip([None, *moments], moments, [*moments[1:], until], strict=False))


def _holds(beside: _Beside, of: _Span) -> bool:
    """Say whether most runs beside a day are on their side of the moment, too, and none of another level."""
    since, moment, until = of
    before, after, _ = beside
    runs = before.joined(after)
    if not runs:
        return True
    place = runs.place_of(moment)
    return (
        (since is None or since <= runs.start_times[0])
        and (until is None or runs.start_times[-1] < until)
        and 2 * place >= len(before)
        and 2 * (len(runs) - place) >= len(after)
    )


def _around(
    connection: Connection,
    name: SeriesName,
    since: float | None,
    moment: float,
    until: float | None,
    *,
    measure: Measure,
) -> Series:
    """Return runs that count of the days around a moment, thinned: one point for each session."""
    first, end = moment - _AROUND_DAYS * DAY_S, moment + _AROUND_DAYS * DAY_S
    runs = runs_of_series(
        connection,
        *name,
        last=RUNS_FOR_WAVE,
        since=first if since is None else max(first, since),
        until=end if until is None else min(end, until),
        measure=measure,
        thinned=True,
    )
    return runs.good.per_session()[0]


def _place_by(runs: Series, moment: float) -> _Place:
    """Return where the level moved that moved with a day, or one beside it, as far as thinned runs say."""
    place = runs.place_of(moment)
    if not 0 < place < len(runs):
        return _Place(moment, moment, moment)
    low, high = (runs.place_of(moment + days * DAY_S) for days in (-1, 2))
    calm = without_wave(runs.start_times, runs.values)
    place = find_place(runs.values if calm is None else calm.tolist(), place, low, high)
    first, last = (runs.start_times[each] for each in (place - 1, min(place + 1, len(runs) - 1)))
    return _Place(runs.start_times[place], first, last, runs)


def _new_places(newest: Series, known: Sequence[int], past: Past) -> list[_Place]:
    """Return where the newest moves began, which no day shows yet: without the wave, which makes some."""
    from perfdb.analysis.course import is_short

    starts, found = newest.start_times, find_new_changes(newest.values, known)
    around = newest
    if found:
        calm = None
        if is_short(starts):
            of_days, _ = past(newest.name, starts[-1]).good.per_session()
            calm = without_wave_of((of_days.start_times, of_days.values), starts, newest.values)
            around = newest if calm is None else of_days
        calm = without_wave(starts, newest.values) if calm is None else calm
        found = found if calm is None else find_new_changes(calm.tolist(), known)
    return [_Place(starts[place], starts[place], starts[place], around) for place in found]
