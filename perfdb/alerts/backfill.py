"""Look at a whole history for moves of its levels: `perfdb regressions`, and what an import opens.

No pandas, because the worker takes in old sessions too. What is opened is written a few alerts at a time,
so that other writers hardly wait; a kill in between leaves some without their group, until the next look.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from perfdb.alerts.causes import Beside, as_details, cause_at, facts_beside, switched_at
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import LEAST_NEW, MOST_OPENED
from perfdb.alerts.lifecycle import of_measure
from perfdb.alerts.messages import headline, message
from perfdb.alerts.places import alert_of, place_kept, placed
from perfdb.alerts.transactions import write_in_pieces
from perfdb.alerts.verdicts import fingerprint
from perfdb.analysis.change_points import (
    SURE_RUNS,
    WATCHED,
    find_moved_periods,
    find_new_changes,
    find_place,
)
from perfdb.analysis.regressions import Move, find_move, find_moves
from perfdb.analysis.rules import Level, Rule, Verdict, evaluate
from perfdb.analysis.rules.base import SHIFT_PERCENT, bound_between
from perfdb.analysis.rules.change import CHANGE_POINT, change_text
from perfdb.analysis.rules.pinned import PINNED
from perfdb.analysis.series import Past, Series, SeriesName, Statistics
from perfdb.analysis.waves import without_wave, without_wave_of
from perfdb.errors import NotFoundError
from perfdb.measures import DURATION, Measure
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.baselines import Pin, pinned
from perfdb.store.database import Database
from perfdb.store.dialects import is_shared
from perfdb.store.series import RUNS_FOR_WAVE, days_before, kinds_of, read_past, runs_beside, runs_of_series
from perfdb.store.statistics import by_days
from perfdb.store.together import for_each, together
from perfdb.vocabulary import HISTORIC

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.analysis.cause import Cause

_DAY_S = 86_400.0
_BESIDE = 1_000  # runs on either side of a move in a long past
_AROUND_DAYS = 7  # on either side of the day with which a level moved: they tell at which run
Days = Sequence[tuple[int, int, float]]
"""The days of a series since 1970, in order, with how many of its runs count and their median."""
_Span = tuple[float | None, float, float | None]
_Beside = tuple[Series, Series, Series]
_OF_SERIES = {"pipeline", "step", "mode"}  # filters that choose whole series
_OWN = ("pipeline", "mode", "since", "until")  # of a move: arguments of their own


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
    is_long = {name: _is_long(days) for name, days in pasts.items()}
    if not any(is_long.values()):
        return None
    found: list[Move] = []
    for kind in dict.fromkeys((name.pipeline, name.mode) for name, is_so in is_long.items() if not is_so):
        of_kind: dict[str, Any] = {"pipeline": kind[0], "mode": kind[1], "step": step, "until": until}
        for runs in read_past(connection, measure=measure, **of_kind):
            if not is_long.get(runs.name):
                found += find_moves(runs, better=better, looking_back=True)
    of_each = for_each(
        connection,
        lambda long: list(
            long_moves(
                connection,
                long,
                [(day, p50) for day, _, p50 in pasts[long]],
                better=better,
                until=until,
                measure=measure,
            )
        ),
        [name for name, is_so in is_long.items() if is_so],
    )
    return found + [move for moves in of_each for move in moves]


def days_of(
    connection: Connection,
    *,
    step: str | None = None,
    pipeline: str | None = None,
    until: float | None = None,
    measure: Measure = DURATION,
) -> dict[SeriesName, Days]:
    """Return the days of each series, where daily figures answer: else its runs do, and there is nothing.

    Only whole days until a moment are told.
    """
    rows = by_days(connection, [(0.5, 1)], by="day", step=step, pipeline=pipeline, measure=measure)
    last = math.inf if until is None else until // _DAY_S
    return days_in(row for row in rows or () if row.first_day is None or row.first_day < last)


def days_in(rows: Iterable[Statistics]) -> dict[SeriesName, Days]:
    """Return the days of each series in rows whose first percentile is the median."""
    found: dict[SeriesName, list[tuple[int, int, float]]] = {}
    for name, day, n, _, _, (p50, *_) in sorted(rows, key=lambda row: row.first_day or 0):
        if day is not None and p50 is not None:
            found.setdefault(name, []).append((day, n, p50))
    return dict(found)


def _is_long(days: Days) -> bool:
    """Say whether a series is so long that its days say where to look."""
    from perfdb.analysis.trend_view import MOST_RUNS, unit_of

    return (
        len(days) > 0
        and sum(n for _, n, _ in days) > MOST_RUNS
        and unit_of([_DAY_S * days[0][0], _DAY_S * days[-1][0]]) != "hour"
    )


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
    if is_whole(filters) and _is_long(days):
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
        lambda: days_of(connection, step=name.step_name, pipeline=name.pipeline, measure=measure),
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
            moment = _switch_of(connection, move, filters, measure, beside)
        return move if moment is None else move.moved_to(moment)

    found = for_each(connection, at_its_place, moves)
    return [move for move in found if window[0] < move.since_time <= window[1]]


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
    moments = [_DAY_S * days[place][0] for place in find_moved_periods([p50 for _, p50 in days])]
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
    places += [_Place(at, at, at) for at in _new_moments(newest, known, days_before(connection, measure))]
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
    """Where a level moved: at about a moment, between ``first`` and ``last`` (epoch s); its days around."""

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
    first, end = moment - _AROUND_DAYS * _DAY_S, moment + _AROUND_DAYS * _DAY_S
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
    low, high = (runs.place_of(moment + days * _DAY_S) for days in (-1, 2))
    calm = without_wave(runs.start_times, runs.values)
    place = find_place(runs.values if calm is None else calm.tolist(), place, low, high)
    first, last = (runs.start_times[each] for each in (place - 1, min(place + 1, len(runs) - 1)))
    return _Place(runs.start_times[place], first, last, runs)


def _new_moments(newest: Series, known: Sequence[int], past: Past) -> list[float]:
    """Return when the newest moves began, which no day shows yet: without the wave, which makes some, too."""
    from perfdb.analysis.trend_view import calm_by_past

    starts, found = newest.start_times, find_new_changes(newest.values, known)
    if found:
        calm = calm_by_past(newest, starts, newest.values, past)
        calm = without_wave(starts, newest.values) if calm is None else calm
        found = found if calm is None else find_new_changes(calm.tolist(), known)
    return [starts[place] for place in found]


@dataclass(frozen=True, slots=True)
class Loss:
    """A series that is slower than its pinned baseline now, as the rule ``pinned`` finds it."""

    runs: Series
    pin: Pin
    verdict: Verdict


def losses_of(
    connection: Connection, *, step: str | None = None, measure: Measure = DURATION, **filters: Any
) -> list[Loss]:
    """Return the series that lost against their pinned baselines, however small each loss was.

    Args:
        connection: of any role.
        step: only this step, without the totals.
        measure: the baselines of this measure.
        filters: as ``store.series.read_past`` takes them.
    """
    pins = {
        (pin.pipeline, pin.step_name, pin.mode): pin
        for pin in pinned(connection)
        if pin.metric == measure.name
    }
    found = []
    pasts = for_each(
        connection, lambda pin: list(_since(connection, pin, step, measure, filters)), pins.values()
    )
    for pin, past in ((pin, past) for pin, found in zip(pins.values(), pasts, strict=True) for past in found):
        level = Level(pin.value, pin.spread, pin.n)
        rule = Rule(
            name="pinned",
            kind=PINNED.name,
            pinned=level,
            direction=measure.direction,
            **PINNED.defaults,
        )
        first = bisect_right(past.start_times, pin.until_time)  # not held against itself
        runs = past.between(first)
        verdict = evaluate(rule, runs.values)
        if verdict.hit:
            found.append(Loss(runs, pin, verdict))
    return found


def _since(
    connection: Connection, pin: Pin, step: str | None, measure: Measure, filters: Mapping[str, Any]
) -> Iterator[Series]:
    """Yield the runs that a pin is held against, if the filters choose its series."""
    own = {"pipeline": pin.pipeline, "mode": pin.mode}
    if any(filters.get(key) not in (None, value) for key, value in own.items()):
        return
    if step is not None and step != pin.step_name:
        return
    since = max(pin.until_time, filters.get("since") or 0.0)
    asked = {**filters, **own, "since": since}
    for past in read_past(connection, step=pin.step_name, measure=measure, **asked):
        if past.name == SeriesName(pin.pipeline, pin.step_name, pin.mode):
            yield past
            return


def with_causes(
    connection: Connection, moves: Iterable[Move], *, measure: Measure = DURATION, **filters: Any
) -> list[Move]:
    """Return the moves with what explains them, among the sessions that they were found in.

    Total and steps of one pipeline and mode that moved within 5 sessions, or at what may be the same session,
    are one event and share its cause; the clearest of them says when the event was, or a clearer move of
    another mode. A move itself is where its own runs say, as on the page of its trend, unless an attribute
    switched at the event: then it is there, if it may have been there. Where none did, the event is where
    the total moved, or its clearest step: a cause tells of the total, and its figures are of these runs.
    """
    ordered = sorted(  # of some hundred runs many have p = 0: there the most runs are the clearest
        moves, key=lambda move: (move.change.p_value, -min(move.change.before_n, move.change.after_n))
    )
    known: dict[tuple[Any, ...], Cause | None] = {}

    def explained(head: Move) -> Move:
        """Return a move with its cause, and where that says that it was."""
        runs = head.runs
        asked = runs.pipeline, runs.mode, head.since_time, head.began, head.ended, head.reach, head.likely
        if asked not in known:
            known[asked] = _with_cause(connection, head, filters, measure).cause
        return replace(head, cause=known[asked])

    def settled(head: Move) -> Move:
        head = explained(head)
        if head.cause is not None and head.cause.switched_at is not None:
            moved = head.moved_to(head.cause.switched_at)
            head = head if moved is head else explained(moved)
        return head

    if is_shared(connection):  # most of them are heads at first sight: their causes are asked at once
        first: list[Move] = []
        for move in ordered:
            if not any(_is_one_event(head, move) for head in first):
                first.append(move)
        for_each(connection, settled, first)
    heads: list[Move] = []
    found: list[Move] = []
    for move in ordered:
        head = next((head for head in heads if _is_one_event(head, move)), None)
        if head is None:
            clearer = next(
                (each for each in heads if _is_of_pipeline(each, move) and each.may_be(move)), None
            )
            head = move if clearer is None else move.moved_to(clearer.since_time)
            head = _as_elsewhere(settled(head), heads)
            heads.append(head)
        switched = head.cause is not None and head.cause.switched_at is not None
        moved = move.moved_to(head.since_time) if switched else move
        found.append(replace(moved, cause=head.cause, event_session_id=head.since_session_id))
    tellers: dict[str, Move] = {}
    for move in found:
        if move.runs.step_name is None or move.event_session_id not in tellers:
            tellers[move.event_session_id] = move
    apart = {event: move for event, move in tellers.items() if _is_apart(move)}
    told = dict(
        zip(
            apart,
            for_each(connection, lambda move: _told_at(explained(move), move), apart.values()),
            strict=True,
        )
    )
    return [
        replace(move, cause=at.cause, event_session_id=at.since_session_id)
        if (at := told.get(move.event_session_id)) is not None
        else move
        for move in found
    ]


def _is_apart(move: Move) -> bool:
    """Say whether the event of a move was found at another session, where no attribute switched."""
    switched = move.cause is not None and move.cause.switched_at is not None
    return move.event_session_id != move.since_session_id and not switched


def _told_at(move: Move, found: Move) -> Move:
    """Return a move with the figures of its own place, and the suspects of the event as it was found."""
    if move.cause is None or found.cause is None:
        return replace(move, cause=found.cause)
    return replace(move, cause=replace(move.cause, suspects=found.cause.suspects))


def _as_elsewhere(move: Move, heads: Iterable[Move]) -> Move:
    """Return the move without the suspects that another mode clears, which moved at the same moment.

    What switched a session before a move of few runs may have been many sessions before that of the others.
    """
    cause = move.cause
    if cause is None or not cause.confounded:
        return move
    for head in heads:
        elsewhere = head.runs.pipeline == move.runs.pipeline and head.runs.mode != move.runs.mode
        if head.cause is None or not (elsewhere and head.may_be(move) and head.is_at(move.since_time)):
            continue
        known = {(each.name, str(each.before), str(each.after)) for each in head.cause.suspects}
        kept = tuple(
            each for each in cause.suspects if (each.name, str(each.before), str(each.after)) in known
        )
        if kept:
            first = cause.switched_at if kept[0] is cause.suspects[0] else None
            return replace(move, cause=replace(cause, suspects=kept, switched_at=first))
    return move


def _is_one_event(head: Move, move: Move) -> bool:
    same = (head.runs.pipeline, head.runs.mode) == (move.runs.pipeline, move.runs.mode)
    return same and head.is_one_with(move)


def _is_of_pipeline(head: Move, move: Move) -> bool:
    one, other = head.runs, move.runs
    return (one.pipeline, one.step_name) == (other.pipeline, other.step_name) and one.mode != other.mode


def _with_cause(connection: Connection, move: Move, filters: dict[str, Any], measure: Measure) -> Move:
    around, among = _around_of(move, filters), _among(filters)
    cause = cause_at(connection, *_place_of(move), **around, among=among, measure=measure)
    return replace(move, cause=cause)


def _switch_of(
    connection: Connection, move: Move, filters: dict[str, Any], measure: Measure, beside: Beside
) -> float | None:
    """Return when what explains a move switched."""
    if measure.is_duration:
        return switched_at(beside, *_place_of(move), **_around_of(move, filters))
    cause = _with_cause(connection, move, filters, measure).cause
    return None if cause is None else cause.switched_at


def beside_moves(connection: Connection, filters: Mapping[str, Any]) -> Beside:
    """Return what reads what is known of the sessions beside moves, which ``told_in`` asks of many series."""
    return facts_beside(connection, _among(filters))


def _among(filters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if name not in _OWN}


def _place_of(move: Move) -> tuple[str, str, float]:
    return move.runs.pipeline, move.runs.mode, move.since_time


def _around_of(move: Move, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return which sessions around a move are looked at for what explains it."""
    ends = [each for each in (move.ended, filters.get("until")) if each is not None]
    return {
        "since": move.began,
        "until": min(ends, default=None),
        "reach": move.reach,
        "likely": move.likely,
    }


def moves_around(connection: Connection, session_ids: Sequence[str]) -> list[Move]:
    """Return, with causes, the moves in the whole history of the pipelines that these sessions came to.

    What the rules would have opened, with the figures that `regressions` and the trend tell of it.
    """
    found: dict[tuple[SeriesName, str], Move] = {}
    for (pipeline, mode), count in kinds_of(connection, session_ids).items():
        if count < LEAST_NEW:
            continue
        told: dict[SeriesName, list[Move]] = {}
        for move in moves_of(connection, pipeline=pipeline, mode=mode):
            name = move.runs.name
            if name not in told:
                told[name] = list(find_moves(move.runs, looking_back=True))
            same = [each for each in told[name] if move.is_one_with(each)]
            move = min(same, key=lambda each: abs(each.change.index - move.change.index), default=move)
            found[name, move.since_session_id] = move
    return with_causes(connection, found.values())


def open_historic(database: Database, moves: Iterable[Move], settings: AlertSettings, now: float) -> None:
    """Open a ``historic`` alert for each move that has no alert yet.

    A move that has an alert already is that alert, and a historic one follows its boundary. Only the
    newest move of a series, if it lasts, is looked at by the next verdicts. Nobody is notified.
    """
    rules = [rule for rule in settings.rules if rule.kind == CHANGE_POINT.name and rule.metric == "duration"]
    moves = sorted(moves, key=lambda move: move.since_time)
    known: dict[SeriesName, list[Alert]] = {}
    with database.reading() as connection:
        for each in store.read_alerts(connection, "all", of_any={move.runs.name for move in moves}):
            known.setdefault(SeriesName(each.pipeline, each.step_name, each.mode), []).append(each)
    opening = _Opening(rules, now)
    due = []
    for place, move in enumerate(moves):
        alert = alert_of(move, known.get(move.runs.name, ()))
        if alert is None or _is_to_follow(alert, move):
            due.append((place, move))
        elif opening.rule_for(move) is not None:
            opening.add(place, move, alert)
    write_in_pieces(database, due, opening.open)
    write_in_pieces(database, opening.grouped(), _regroup)


class _Opening:
    """The alerts that one call opens, and which of them are of one event."""

    def __init__(self, rules: Sequence[Rule], now: float) -> None:
        self._rules = rules
        self._now = now
        self._opened = 0
        self._events: dict[str, list[tuple[int, Alert]]] = {}

    def rule_for(self, move: Move) -> Rule | None:
        return next((rule for rule in self._rules if rule.is_about(move.runs.name)), None)

    def add(self, place: int, move: Move, alert: Alert) -> None:
        self._events.setdefault(move.event_session_id, []).append((place, alert))

    def open(self, connection: Connection, due: tuple[int, Move]) -> None:
        """Open an alert for a move, or have a historic one follow it; others may have done so by now."""
        place, move = due
        rule = self.rule_for(move)
        if rule is None or self._opened >= MOST_OPENED:
            return
        known = store.read_alerts(connection, "all", of_series=move.runs.name)
        alert = alert_of(move, known)
        if alert is None:
            taken = any(each.active and _is_of(each, rule, move) for each in known)
            alert = replace(_alert_of_move(rule, move, self._now), active=move.lasts and not taken)
            alert = _save(connection, alert, "opened historic", self._now)
            self._opened += 1
        elif _is_to_follow(alert, move):
            alert = _save(connection, _follow(alert, rule, move), "moved", self._now)
        self.add(place, move, alert)

    def grouped(self) -> Iterator[Alert]:
        """Yield the alerts whose group is not seen to yet, with it and with their texts."""
        for event in self._events.values():
            yield from _grouped([alert for _, alert in sorted(event, key=lambda each: each[0])])


def _is_to_follow(alert: Alert, move: Move) -> bool:
    if alert.state != HISTORIC or alert.since_session_id != move.since_session_id:
        return alert.state == HISTORIC
    change = move.change
    last = move.runs.session_ids[change.index + change.after_n - 1]
    figures = alert.last_session_id, alert.baseline_n, alert.n
    return alert.kind == CHANGE_POINT.name and figures != (last, change.before_n, change.after_n)


def _is_of(alert: Alert, rule: Rule, move: Move) -> bool:
    series = (alert.pipeline, alert.mode) == (move.runs.pipeline, move.runs.mode)
    return series and fingerprint(alert) == (rule.name, move.runs.step_name, rule.metric, rule.direction)


def _follow(alert: Alert, rule: Rule, move: Move) -> Alert:
    """Return a historic alert where its move is now known to be; one of this kind with its figures, too."""
    made = _alert_of_move(rule, move, alert.updated_at)
    figures = (
        "value", "baseline", "effect", "bound", "n", "baseline_n", "last_session_id", "last_time", "hits",
    )  # fmt: skip
    own = alert.kind == rule.kind
    changed = {name: getattr(made, name) for name in figures} if own else {}
    kept = {name: each for name, each in alert.details.items() if name != "until" or not own}
    details = made.details if own else {name: made.details[name] for name in made.details if name == "cause"}
    return replace(
        alert, since_session_id=made.since_session_id, since_time=made.since_time, **changed,
        details={**kept, **details},
    )  # fmt: skip


def _alert_of_move(rule: Rule, move: Move, now: float) -> Alert:
    runs, change = move.runs, move.change
    end = change.index + change.after_n
    arithmetic = change_text(change, len(runs))
    details: dict[str, object] = {"found": arithmetic, "arithmetic": arithmetic, **of_measure(rule)}
    if not move.lasts:
        details["until"] = runs.session_ids[end]
    if move.cause is not None:
        details["cause"] = as_details(move.cause)
    return Alert(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        state=HISTORIC,
        pipeline=runs.pipeline,
        step_name=runs.step_name,
        metric=rule.metric,
        mode=runs.mode,
        direction=rule.direction,
        value=change.after_median,
        baseline=change.before_median,
        effect=change.effect_percent,
        limit=SHIFT_PERCENT,
        bound=bound_between(change.before_median, change.after_median),
        n=change.after_n,
        baseline_n=change.before_n,
        since_session_id=move.since_session_id,
        since_time=move.since_time,
        last_session_id=runs.session_ids[end - 1],
        last_time=runs.start_times[end - 1],
        opened_at=now,
        updated_at=now,
        hits=change.after_n,
        details=details,
    )


def _save(connection: Connection, alert: Alert, event: str, now: float) -> Alert:
    saved = replace(alert, id=store.save_alert(connection, alert))
    store.add_event(connection, saved.id, event, now, session_id=saved.since_session_id)
    worded = _worded(saved, ())
    store.save_alert(connection, worded)
    return worded


def _grouped(group: Sequence[Alert]) -> Iterator[Alert]:
    """Let one alert speak for the historic ones of its event: a known one, or the step that moved most."""
    head = max(
        group,
        key=lambda each: (
            each.state != HISTORIC,
            each.step_name is not None,
            each.value - (each.baseline or 0.0),
        ),
    )
    spoken_for = head.inhibited_by or head.id
    others = [each for each in group if each.id != head.id]
    spoken = [replace(each, inhibited_by=spoken_for) if each.state == HISTORIC else each for each in others]
    if spoken != others:
        yield _worded(head, spoken)
        yield from (_worded(each, (head,)) for each in spoken if each.state == HISTORIC)


def _regroup(connection: Connection, alert: Alert) -> None:
    """Write who speaks for an alert, and its texts; what else is in its row may have moved on."""
    try:
        current = store.read_alert(connection, alert.id)
    except NotFoundError:
        return
    said = {name: getattr(alert, name) for name in ("inhibited_by", "headline", "message")}
    store.save_alert(connection, replace(current, **said))


def _worded(alert: Alert, others: Sequence[Alert]) -> Alert:
    return replace(alert, headline=headline(alert), message=message(alert, others))
