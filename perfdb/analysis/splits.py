"""Attributes whose values tell different stories: one customer's move that is lost among the others'.

Pure: the totals of sessions in, frozen records out. Only moves for the worse that last, and that the series
as a whole does not show, are returned: what everybody sees needs no hint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perfdb.analysis.levels import robust_sd
from perfdb.analysis.regressions import LEAST_SIDE, Move, find_moves
from perfdb.analysis.series import Series
from perfdb.analysis.waves import without_wave
from perfdb.stopping import look, looking

LEAST_RUNS = 20  # of a value, of which a move can be seen
SURE = 4.0  # standard errors by which its move differs from that of the other sessions
MOST_VALUES = 8  # of an attribute: with more it is no kind of session
_AROUND = 51  # runs, whose median is what all of them do
_SCALAR = (str, int, float, bool)


@dataclass(frozen=True, slots=True)
class Split:
    """A move of the sessions with one value of an attribute that all sessions together do not show."""

    pipeline: str
    mode: str
    attribute: str
    value: object
    move: Move


def find_splits(sessions: Sequence[Mapping[Any, Any]], *, passed_over: Sequence[str] = ()) -> list[Split]:
    """Return the moves that only one value of an attribute shows, the largest first.

    Args:
        sessions: rows as ``History.sessions`` has them, of those that count, oldest first.
        passed_over: attributes that are filtered by, or make the mode.
    """
    of_kind: dict[tuple[str, str], list[Mapping[Any, Any]]] = {}
    for row in sessions:
        of_kind.setdefault((row["pipeline"], row["mode"]), []).append(row)
    found: list[Split] = []
    for (pipeline, mode), rows in of_kind.items():
        whole = _series(pipeline, mode, rows)
        groups = [
            (name, value, places)
            for name in looking(dict.fromkeys(name for row in rows for name in row["attributes"]))
            if name not in passed_over
            for value, places in _groups(name, rows)
            if _may_have_moved(whole, places)
        ]
        if not groups:
            continue
        moves = [*find_moves(whole, looking_back=True), *find_moves(whole, better=True, looking_back=True)]
        calm = without_wave(whole.start_times, whole.values)
        if calm is not None:
            whole = replace(whole, values=calm.tolist())
        for name, value, places in groups:
            look()
            own = [
                replace(move, change=replace(move.change, without_wave=calm is not None))
                for move in _own_moves(whole, places, moves)
            ]
            found += [Split(pipeline, mode, name, value, move) for move in own]
    return sorted(found, key=lambda each: -each.move.change.effect_percent)


def _groups(name: str, rows: Sequence[Mapping[Any, Any]]) -> list[tuple[object, list[int]]]:
    """Return the values of an attribute that have enough runs, with their places; none of too many values."""
    groups: dict[tuple[type, object], list[int]] = {}
    for place, row in enumerate(rows):
        value = row["attributes"].get(name)
        if isinstance(value, _SCALAR):
            groups.setdefault((type(value), value), []).append(place)
        if len(groups) > MOST_VALUES:
            return []
    if len(groups) < 2:
        return []
    return [(value, places) for (_, value), places in groups.items() if len(places) >= LEAST_RUNS]


def _may_have_moved(whole: Series, places: Sequence[int]) -> bool:
    """Say whether some end of these runs lies apart from those before it, beside what all the runs do.

    It saves looking at most values: hardly one in a hundred that does not move gets further.
    """
    values = np.array(whole.values)
    if values.min() <= 0:
        return False
    logs = np.log(values)
    width = min(_AROUND, (len(values) - 1) // 2 * 2 + 1)
    around = np.median(np.lib.stride_tricks.sliding_window_view(logs, width), axis=1)
    level = np.pad(around, (width // 2, logs.size - around.size - width // 2), mode="edge")
    rest = (logs - level)[list(places)]
    reach = 2 * robust_sd(rest - np.median(rest))
    rest = np.clip(rest - np.median(rest), -reach, reach)
    n, ends = rest.size, np.arange(LEAST_SIDE, rest.size - LEAST_SIDE)
    sums = np.cumsum(rest - rest.mean())[ends - 1]
    scale = float(rest.std()) * np.sqrt(ends * (n - ends) / n)
    return bool(scale.size) and bool((np.abs(sums) >= SURE * scale).any()) and float(rest.std()) > 0


def _own_moves(whole: Series, places: Sequence[int], moves: Sequence[Move]) -> Iterator[Move]:
    own = set(places)
    others = whole.at(place for place in range(len(whole)) if place not in own)
    for move in find_moves(whole.at(places), looking_back=True):
        of_all = any(each.is_one_with(move) or move.may_be(each) for each in moves)
        if move.lasts and not of_all and _is_of_its_own(move, others):
            yield move


def _is_of_its_own(move: Move, others: Series) -> bool:
    """Say whether the sessions with other values moved by less than half as much, and surely by less.

    Of many values and places one is further from the others by chance: the difference of the two moves, in
    logarithms, must be four of its standard errors.
    """
    place = move.change.index
    first, end = place - move.change.before_n, place + move.change.after_n
    own = move.runs.values[first:place], move.runs.values[place:end]
    until = math.inf if move.ended is None else move.ended
    begin, at, last = (others.place_of(moment) for moment in (move.began, move.since_time, until))
    rest = others.values[begin:at], others.values[at:last]
    if not all(rest) or min(map(min, (*own, *rest))) <= 0:
        return False  # there is nothing to compare it with
    sides = [np.log(np.array(side)) for side in (*own, *rest)]
    before, after, rest_before, rest_after = (float(np.median(side)) for side in sides)
    moved, with_others = after - before, rest_after - rest_before
    spread = robust_sd(np.concatenate([side - np.median(side) for side in sides]))
    error = 1.2533 * spread * math.sqrt(sum(1 / side.size for side in sides))
    return with_others < moved / 2 and moved - with_others >= SURE * error


def _series(pipeline: str, mode: str, rows: Sequence[Mapping[Any, Any]]) -> Series:
    return Series(
        pipeline,
        None,
        mode,
        session_ids=[row["session_id"] for row in rows],
        start_times=[row["start_time"] for row in rows],
        values=[row["total_duration"] for row in rows],
        counted=[True] * len(rows),
        failed=[False] * len(rows),
    )
