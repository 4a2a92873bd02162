"""Which moves are one event, and what explains it.

In the caller's transaction; no pandas, because the worker asks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perfdb.alerts.causes import Beside, cause_at, facts_beside, switched_at
from perfdb.analysis.regressions import Move
from perfdb.measures import DURATION, Measure
from perfdb.store.dialects import is_shared
from perfdb.store.together import for_each

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.analysis.cause import Cause

_OWN = ("pipeline", "mode", "since", "until")  # of a move: arguments of their own


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
    causes = _Causes(connection, measure, filters)
    if is_shared(connection):  # most of them are heads at first sight: their causes are asked at once
        first: list[Move] = []
        for move in ordered:
            if not any(_is_one_event(head, move) for head in first):
                first.append(move)
        for_each(connection, causes.settled, first)
    found = _by_event(ordered, causes)
    tellers: dict[str, Move] = {}
    for move in found:
        if move.runs.step_name is None or move.event_session_id not in tellers:
            tellers[move.event_session_id] = move
    apart = [move for move in tellers.values() if _is_apart(move)]
    of_apart = for_each(connection, lambda move: _told_at(causes.explained(move), move), apart)
    told = dict(zip((move.event_session_id for move in apart), of_apart, strict=True))
    return [
        replace(move, cause=at.cause, event_session_id=at.since_session_id)
        if (at := told.get(move.event_session_id)) is not None
        else move
        for move in found
    ]


class _Causes:
    """What explains moves; asked once for each place and what is around it."""

    def __init__(self, connection: Connection, measure: Measure, filters: Mapping[str, Any]) -> None:
        self._asked_of = connection, measure, filters
        self._known: dict[tuple[Any, ...], Cause | None] = {}

    def explained(self, move: Move) -> Move:
        """Return a move with its cause."""
        runs = move.runs
        asked = runs.pipeline, runs.mode, move.since_time, move.began, move.ended, move.reach, move.likely
        if asked not in self._known:
            self._known[asked] = _cause_of(move, *self._asked_of)
        return replace(move, cause=self._known[asked])

    def settled(self, move: Move) -> Move:
        """Return a move with its cause, where that says that it was."""
        move = self.explained(move)
        if move.cause is None or move.cause.switched_at is None:
            return move
        moved = move.moved_to(move.cause.switched_at)
        return move if moved is move else self.explained(moved)


def _by_event(ordered: Iterable[Move], causes: _Causes) -> list[Move]:
    """Return moves, the clearest first, with event and cause of the first of them that is one with each."""
    heads: list[Move] = []
    found: list[Move] = []
    for move in ordered:
        head = next((head for head in heads if _is_one_event(head, move)), None)
        if head is None:
            clearer = next(
                (each for each in heads if _is_of_pipeline(each, move) and each.may_be(move)), None
            )
            head = move if clearer is None else move.moved_to(clearer.since_time)
            head = _as_elsewhere(causes.settled(head), heads)
            heads.append(head)
        switched = head.cause is not None and head.cause.switched_at is not None
        moved = move.moved_to(head.since_time) if switched else move
        found.append(replace(moved, cause=head.cause, event_session_id=head.since_session_id))
    return found


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


def _cause_of(
    move: Move, connection: Connection, measure: Measure, filters: Mapping[str, Any]
) -> Cause | None:
    around, among = _around_of(move, filters), _among(filters)
    return cause_at(connection, *_place_of(move), **around, among=among, measure=measure)


def switch_of(
    connection: Connection, move: Move, filters: Mapping[str, Any], measure: Measure, beside: Beside
) -> float | None:
    """Return when what explains a move switched; ``beside`` is as ``beside_moves`` gives it."""
    if measure.is_duration:
        return switched_at(beside, *_place_of(move), **_around_of(move, filters))
    cause = _cause_of(move, connection, measure, filters)
    return None if cause is None else cause.switched_at


def beside_moves(connection: Connection, filters: Mapping[str, Any]) -> Beside:
    """Return what reads what is known of the sessions beside moves, which may be those of many series."""
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
