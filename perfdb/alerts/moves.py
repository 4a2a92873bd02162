"""Where the levels of a history moved: of every series, of one, in a window, and at a moment.

Terminal, pages and pictures ask here, so that one move has one date and one figure. No pandas, because the
worker asks too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perfdb.alerts.causes import Beside
from perfdb.alerts.events import beside_moves, switch_of, with_causes
from perfdb.alerts.long_moves import Days, days_of, is_long, long_moves
from perfdb.alerts.places import place_kept, placed, with_kept_figures
from perfdb.analysis.change_points import WATCHED
from perfdb.analysis.regressions import Move, find_moves
from perfdb.analysis.series import Series, SeriesName
from perfdb.measures import DURATION, Measure
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.series import days_before, newest_of_each, read_past
from perfdb.store.together import for_each, together

if TYPE_CHECKING:
    from sqlalchemy import Connection

_AT_ONCE = 100  # series, whose newest runs are read together
_OF_SERIES = {"pipeline", "step", "mode"}  # filters that choose whole series


def moves_of(
    connection: Connection,
    *,
    better: bool = False,
    looking_back: bool = False,
    measure: Measure = DURATION,
    **filters: Any,
) -> list[Move]:
    """Return where the level of any series moved for the worse, without causes.

    Args:
        connection: of any role.
        better: where it moved for the better instead.
        looking_back: see ``find_moves``; what an import opens is what the rules would have opened.
        measure: whose levels, and which way is better.
        filters: as ``store.series.read_past`` takes them.
    """
    falls = better != (measure.direction == "down")
    given = {name: value for name, value in filters.items() if value is not None}
    past = days_before(connection, measure) if given.keys() - _OF_SERIES else None
    if looking_back and given.keys() <= {"pipeline", "step", "until"}:
        long = _moves_of_long(connection, better=falls, measure=measure, **given)
        if long is not None:
            return long

    def moves_in(runs: Series) -> list[Move]:
        return list(find_moves(runs, better=falls, looking_back=looking_back, past=past))

    of_each = for_each(connection, moves_in, read_past(connection, measure=measure, **filters))
    return [move for moves in of_each for move in moves]


def _moves_of_long(
    connection: Connection,
    *,
    better: bool,
    measure: Measure,
    step: str | None = None,
    pipeline: str | None = None,
    until: float | None = None,
) -> list[Move] | None:
    """Return the moves of a long history: its days say where to look, the runs there what moved.

    None where no series is so long that its periods are looked at.
    """
    pasts = days_of(connection, step=step, pipeline=pipeline, until=until, measure=measure)
    are_long = {name: is_long(days) for name, days in pasts.items()}
    if not any(are_long.values()):
        return None
    found: list[Move] = []
    for kind in dict.fromkeys((name.pipeline, name.mode) for name, is_so in are_long.items() if not is_so):
        of_kind: dict[str, Any] = {"pipeline": kind[0], "mode": kind[1], "step": step, "until": until}
        for runs in read_past(connection, measure=measure, **of_kind):
            if not are_long.get(runs.name):
                found += find_moves(runs, better=better, looking_back=True)
    names = [name for name, is_so in are_long.items() if is_so]
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        newest: dict[SeriesName, Series] = {}
        if measure.is_duration:
            newest = newest_of_each(connection, some, last=WATCHED, until=until)

        def moves_in(long: SeriesName, newest: Mapping[SeriesName, Series] = newest) -> list[Move]:
            medians = [(day, p50) for day, _, p50 in pasts[long]]
            asked: dict[str, Any] = {"until": until, "newest": newest.get(long), "measure": measure}
            return list(long_moves(connection, long, medians, better=better, **asked))

        found += [move for moves in for_each(connection, moves_in, some) for move in moves]
    return found


def is_of_whole_series(filters: Mapping[str, Any]) -> bool:
    """Say whether filters choose whole series until now: what an alert tells is of those."""
    return is_whole(filters) and filters.get("until") is None


def is_whole(filters: Mapping[str, Any]) -> bool:
    """Say whether filters choose whole series, until a moment: only of such do the days tell."""
    return {name for name, value in filters.items() if value is not None} <= {*_OF_SERIES, "until"}


def moves_of_series(
    connection: Connection,
    name: SeriesName,
    days: Days,
    *,
    measure: Measure = DURATION,
    newest: Series | None = None,
    until: float | None = None,
    **filters: Any,
) -> list[Move]:
    """Return where the level of one series moved in its whole history, either way, as ``moves_of`` does.

    ``days`` are as ``days_of`` gives them, ``newest`` and ``until`` as ``long_moves`` takes them.
    """
    among = {key: value for key, value in filters.items() if value is not None and key not in _OF_SERIES}
    if is_whole(filters) and is_long(days):
        medians = [(day, p50) for day, _, p50 in days]
        asked: dict[str, Any] = {"until": until, "newest": newest, "measure": measure}
        return list(long_moves(connection, name, medians, better=None, **asked))
    among["until"] = until
    asked = {**among, "pipeline": name.pipeline, "mode": name.mode, "step": name.step_name}
    past = days_before(connection, measure) if any(value is not None for value in among.values()) else None
    return [
        move
        for runs in read_past(connection, measure=measure, only_totals=name.step_name is None, **asked)
        if runs.name == name
        for move in find_moves(runs, better=None, looking_back=True, past=past)
    ]


def told_in(
    connection: Connection,
    name: SeriesName,
    window: tuple[float, float],
    alerts: Sequence[Alert],
    days: Callable[[], Days],
    *,
    moved: bool,
    newest: bool = False,
    measure: Measure = DURATION,
    beside: Beside | None = None,
    **filters: Any,
) -> list[Move]:
    """Return the moves of a series' whole history that lie in a window, as `regressions` has them, in order.

    A window only chooses among them: by its own runs alone a move would have another date and other figures.
    They are asked for where these runs seem to move, or an alert says that they do.

    Args:
        connection: of any role.
        name: of the series.
        window: its first moment and its last, epoch s.
        alerts: of the series, and maybe of others.
        days: of the series, see ``days_of``.
        moved: whether its runs seem to move.
        newest: only the last of them.
        measure: what the values are of.
        beside: as ``beside_moves`` gives it, where many series are asked.
        filters: choose the sessions that make the history, as ``store.series.read_past`` takes them.
    """
    first, last = window
    told = any(
        (alert.pipeline, alert.step_name, alert.mode, alert.metric) == (*name, measure.name)
        and first < alert.since_time <= last
        for alert in alerts
    )
    if not (moved or told):
        return []
    found = near(moves_of_series(connection, name, days(), measure=measure, **filters), window)
    for some in ([move] for move in reversed(found)) if newest else (found,):
        if kept := settled(connection, some, window, alerts, measure=measure, beside=beside, **filters):
            return kept
    return []


def move_at(
    connection: Connection, name: SeriesName, moment: float, effect: float, measure: Measure = DURATION
) -> Move | None:
    """Return the move of a series at about a moment, up or down, as `regressions` tells it."""
    days, alerts = together(
        connection,
        lambda: days_of(connection, of=name, measure=measure),
        lambda: store.read_alerts(connection, "all", of_series=name),
    )
    same = [
        move
        for move in moves_of_series(connection, name, days.get(name, []), measure=measure)
        if move.change.effect_percent * effect > 0 and (move.is_at(moment) or move.may_be_at(moment))
    ]
    if not same:
        return None
    nearest = min(same, key=lambda move: abs(move.since_time - moment))
    return with_causes(connection, [placed(nearest, alerts)], measure=measure)[0]


def near(moves: Iterable[Move], window: tuple[float, float]) -> list[Move]:
    """Return the moves that may lie in a window."""
    first, last = window
    return [move for move in moves if move.reach[0] <= last and first <= move.reach[1]]


def settled(
    connection: Connection,
    moves: Iterable[Move],
    window: tuple[float, float],
    alerts: Sequence[Alert],
    *,
    measure: Measure = DURATION,
    beside: Beside | None = None,
    **filters: Any,
) -> list[Move]:
    """Return the moves that lie in a window: where an alert has them, or an attribute switched with them."""
    beside = beside or beside_moves(connection, filters)

    def at_its_place(move: Move) -> Move:
        moment = place_kept(move, alerts)
        if moment is None:
            moment = switch_of(connection, move, filters, measure, beside)
        move = move if moment is None else move.moved_to(moment)
        return with_kept_figures(move, alerts) if is_of_whole_series(filters) else move

    found = for_each(connection, at_its_place, moves)
    return [move for move in found if window[0] < move.since_time <= window[1]]
