"""At which session a move of the level is: the alert that tells of it keeps the place, for every answer.

Pure. Terminal, pages, pictures and `regressions` ask here, so that one move has one date and one figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from perfdb.alerts.causes import of_details
from perfdb.analysis.regressions import Move
from perfdb.analysis.rules import kind_of
from perfdb.records import Alert
from perfdb.vocabulary import SEVERITIES


def place_kept(move: Move, alerts: Iterable[Alert]) -> float | None:
    """Return since when a move is by its alert; one at whose session an attribute switched comes first."""
    name, metric = move.runs.name, move.runs.metric
    of_move = [
        (not _has_switch(alert), abs(alert.since_time - move.since_time), alert.since_time)
        for alert in alerts
        if (alert.pipeline, alert.step_name, alert.mode, alert.metric) == (*name, metric)
        and kind_of(alert.kind).by_change_points
        and (alert.effect or 0.0) * move.change.effect_percent > 0
        and move.may_be_at(alert.since_time)
    ]
    return min(of_move)[-1] if of_move else None


def placed(move: Move, alerts: Iterable[Alert]) -> Move:
    """Return a move where its alert has it, if it has one."""
    moment = place_kept(move, alerts)
    return move if moment is None else move.moved_to(moment)


def with_kept_figures(move: Move, alerts: Iterable[Alert]) -> Move:
    """Return a move of a whole series with the figures of the open alert that has it at the same session.

    The level before is kept by the alert since it opened, and that since is of the runs that it has judged.
    """
    alert = alert_of(move, [each for each in alerts if each.is_open and kind_of(each.kind).by_change_points])
    if (
        alert is None
        or alert.since_session_id != move.since_session_id
        or alert.baseline is None
        or alert.effect is None
        or alert.effect * move.change.effect_percent <= 0
    ):
        return move
    figures = replace(
        move.change,
        before_median=alert.baseline,
        after_median=alert.value,
        before_n=alert.baseline_n,
        after_n=alert.n,
        effect_percent=alert.effect,
        without_wave=bool(alert.details.get("in_wave")),
    )
    return replace(move, change=figures)


def _has_switch(alert: Alert) -> bool:
    """Say whether an attribute switched at the session with which an alert began."""
    cause = of_details(alert.details)
    return cause is not None and any(each.is_switch and each.offset == 0 for each in cause.suspects[:1])


def alert_of(move: Move, alerts: Iterable[Alert]) -> Alert | None:
    """Return the alert about a move, an open one before others, one that speaks for itself before those."""
    series = move.runs.name
    telling = [
        alert
        for alert in alerts
        if kind_of(alert.kind).finds == "level"
        and alert.metric == move.runs.metric
        and (alert.pipeline, alert.step_name, alert.mode) == series
        and (move.is_at(alert.since_time) or move.may_be_at(alert.since_time))
    ]
    return min(
        telling,
        key=lambda alert: (not move.is_at(alert.since_time), *rank(alert, move.since_time)),
        default=None,
    )


def rank(alert: Alert, since_time: float | None) -> tuple[float, ...]:
    """Return what orders alerts about one move: the one that is told comes first.

    Open ones come before others, those that speak for themselves before those that another one tells, then
    the nearest, the more severe, and the newest.

    Args:
        alert: about the series that moved.
        since_time: of the move (epoch s); None where it is not known.
    """
    far = 0.0 if since_time is None else abs(alert.since_time - since_time)
    told_by_another = alert.inhibited_by is not None
    return (not alert.is_open, told_by_another, far, -SEVERITIES.index(alert.severity), -alert.id)
