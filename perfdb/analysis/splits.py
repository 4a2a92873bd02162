"""Attributes whose values tell different stories: one customer's move that is lost among the others'.

Pure: the totals of sessions in, frozen records out. Only moves for the worse that last, and that the series
as a whole does not show, are returned: what everybody sees needs no hint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from perfdb.analysis.regressions import Move, find_moves
from perfdb.analysis.rules.base import percent_over
from perfdb.analysis.series import Series
from perfdb.stopping import look

LEAST_RUNS = 20  # of a value, of which a move can be seen
MOST_VALUES = 8  # of an attribute: with more it is no kind of session
_SCALAR = (str, int, float, bool)


@dataclass(slots=True)
class _Runs:
    session_ids: list[str] = field(default_factory=list)
    start_times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, row: Mapping[Any, Any]) -> None:
        self.session_ids.append(row["session_id"])
        self.start_times.append(row["start_time"])
        self.values.append(row["total_duration"])


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
        whole = _moves(pipeline, mode, rows)
        names = dict.fromkeys(name for row in rows for name in row["attributes"])
        for name in names:
            if name in passed_over:
                continue
            groups: dict[tuple[type, object], list[Mapping[Any, Any]]] = {}
            for row in rows:
                value = row["attributes"].get(name)
                if isinstance(value, _SCALAR):
                    groups.setdefault((type(value), value), []).append(row)
                if len(groups) > MOST_VALUES:
                    break
            if not 2 <= len(groups) <= MOST_VALUES:
                continue
            for (_, value), part in groups.items():
                if len(part) >= LEAST_RUNS:
                    own = {id(row) for row in part}
                    others = [row for row in rows if id(row) not in own]
                    found += [
                        Split(pipeline, mode, str(name), value, move)
                        for move in _moves(pipeline, mode, part)
                        if move.lasts
                        and not any(_is_one(each, move) for each in whole)
                        and not _is_everywhere(move, others)
                    ]
    return sorted(found, key=lambda each: -each.move.change.effect_percent)


def _is_one(whole: Move, move: Move) -> bool:
    """Say whether a move of some sessions is that of all, as far as their places can be told."""
    return whole.is_at(move.since_time) or whole.may_be(move) or move.may_be(whole)


def _is_everywhere(move: Move, others: Sequence[Mapping[Any, Any]]) -> bool:
    """Say whether the sessions with other values moved by half as much at that time, or more."""
    end = math.inf if move.ended is None else move.ended
    before: list[float] = []
    after: list[float] = []
    for row in others:
        if move.began <= row["start_time"] < end:
            (before if row["start_time"] < move.since_time else after).append(row["total_duration"])
    if not before or not after:
        return False
    effect = percent_over(median(after), median(before))
    return effect is not None and effect >= 0.5 * move.change.effect_percent


def _moves(pipeline: str, mode: str, rows: Sequence[Mapping[Any, Any]]) -> list[Move]:
    look()
    runs = _Runs()
    for row in rows:
        runs.add(row)
    series = Series(
        pipeline,
        None,
        mode,
        session_ids=runs.session_ids,
        start_times=runs.start_times,
        values=runs.values,
        counted=[True] * len(rows),
        failed=[False] * len(rows),
    )
    return list(find_moves(series, looking_back=True))
