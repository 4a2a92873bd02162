"""Look at a whole history for moves of its levels, as if each session had been judged when it ended.

In the caller's transaction; no pandas, because the worker takes in old sessions too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from perfdb.alerts.causes import cause_at
from perfdb.alerts.config import JITTER_S
from perfdb.alerts.evaluation import LEVELS, MOST_JITTERS
from perfdb.analysis.regressions import Move, Runs, find_moves
from perfdb.records import Alert
from perfdb.store.levels import read_past


def moves_of(connection: Any, *, better: bool = False, **filters: Any) -> list[Move]:
    """Return where the level of any series moved for the worse, without causes.

    Args:
        connection: of any role.
        better: where it moved for the better instead.
        filters: as ``store.levels.read_past`` takes them.
    """
    pasts = list(read_past(connection, **filters))
    steps = Counter((past.pipeline, past.mode) for past in pasts if past.step_name is not None)
    found: list[Move] = []
    for past in pasts:
        runs = Runs(
            past.pipeline, past.step_name, past.mode, past.session_ids, past.start_times, past.durations
        )
        parts = 1
        if past.step_name is None:  # the jitters of its steps add up in a total
            parts = min(MOST_JITTERS, max(1, steps[past.pipeline, past.mode]))
        found += find_moves(runs, jitter=parts * JITTER_S, better=better)
    return found


def with_causes(connection: Any, moves: Iterable[Move]) -> list[Move]:
    """Return the moves with what explains them.

    Total and steps of one pipeline and mode that moved within 5 sessions are one event and share its cause;
    the clearest of them says when it was.
    """
    heads: list[Move] = []
    found: list[Move] = []
    for move in sorted(moves, key=lambda move: move.change.p_value):
        head = next((head for head in heads if _is_one_event(head, move)), None)
        if head is None:
            head = _with_cause(connection, move)
            heads.append(head)
        found.append(replace(move, cause=head.cause, event_session_id=head.since_session_id))
    return found


def _is_one_event(head: Move, move: Move) -> bool:
    same = (head.runs.pipeline, head.runs.mode) == (move.runs.pipeline, move.runs.mode)
    return same and head.is_at(move.since_time)


def _with_cause(connection: Any, move: Move) -> Move:
    cause = cause_at(
        connection,
        move.runs.pipeline,
        move.runs.mode,
        move.since_time,
        since=move.began,
        until=move.ended,
        reach=move.reach,
    )
    return replace(move, cause=cause)


def alert_of(move: Move, alerts: Iterable[Alert]) -> Alert | None:
    """Return the alert that tells of a move, an open one before others; None when there is none."""
    series = (move.runs.pipeline, move.runs.step_name, move.runs.mode)
    telling = [
        alert
        for alert in alerts
        if alert.kind in LEVELS
        and alert.metric == "duration"
        and (alert.pipeline, alert.step_name, alert.mode) == series
        and move.is_at(alert.since_time)
    ]
    return min(telling, key=lambda alert: (not alert.is_open, -alert.id), default=None)
