"""What an alert rests on, looked at anew: the runs before and since, the test, the parts and the suspects.

For every kind of rule; reads only. What the alert kept when it opened stays what it was.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from perfdb.alerts.causes import cause_at, of_details
from perfdb.alerts.moves import move_at
from perfdb.alerts.verdicts import values_for, windows_of
from perfdb.analysis.cause import Cause
from perfdb.analysis.rules import Rule, kind_of
from perfdb.analysis.rules.base import percent_over
from perfdb.analysis.rules.change import CHANGE_POINT
from perfdb.analysis.series import SeriesName
from perfdb.measures import Measure, named
from perfdb.records import Alert
from perfdb.store.windows import SessionRef, find_session_ref, newest_sessions, runs_since, session_after
from perfdb.vocabulary import HISTORIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from perfdb.analysis.regressions import Move

_USUAL, _MOST, _BEFORE = 200, 2_000, 100  # runs that are looked at; of them before what it is about


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertExplanation:
    """The runs behind an alert, oldest first, and what they say.

    Attributes:
        values: one per run, in the metric's unit; 1.0 for a failed run and 0.0 for a good one where the rule
            counts failures. ``session_ids`` and ``start_times`` (epoch s) are of the same runs.
        at: index of the first run that it is about; None when that is older than these runs.
        before_median: of the ``before_n`` runs just before: those that its baseline was made of, or of the
            same level where the level moved; after_median: of the ``after_n`` since, while that level lasted.
            As the alert has them, without their wave of the day and week where it is found without.
        effect: percent by which they differ.
        p_value: that chance moves a level so much (see ``ChangePoint.p_value``); None where `regressions`
            tells of no move there.
        interval: ids of the sessions between which the level moved (95 %).
        cause: the parts of the total's move and what switched with it: as `regressions` has them now, or as
            a historic alert found them.
    """

    alert: Alert
    values: tuple[float, ...] = ()
    session_ids: tuple[str, ...] = ()
    start_times: tuple[float, ...] = ()
    at: int | None = None
    before_median: float | None = None
    before_n: int = 0
    after_median: float | None = None
    after_n: int = 0
    effect: float | None = None
    p_value: float | None = None
    interval: tuple[str, str] | None = None
    cause: Cause | None = None

    @property
    def failures(self) -> tuple[int, int]:
        """How many of the runs before failed, and of the last, where the rule counts failures."""
        at = self.at or 0
        return int(sum(self.values[at - self.before_n : at])), int(sum(self.values[at:]))


def explain_alert(
    connection: Connection,
    alert: Alert,
    last: tuple[SessionRef, int] | None = None,
    measures: Mapping[str, Measure] | None = None,
) -> AlertExplanation:
    """Return what an alert rests on; nothing but the alert when its sessions are gone.

    Args:
        connection: of any role.
        alert: that is asked about.
        last: what ``last_run_of`` gives, where that is known.
        measures: as the settings describe them.
    """
    measure = named(alert.metric, measures)
    session = find_session_ref(connection, alert.last_session_id) if last is None else last[0]
    if session is None:  # retention took it
        newest = newest_sessions(connection, alert.pipeline)
        session = next((each for each in newest if each.mode == alert.mode), None)
    if session is None:
        return AlertExplanation(alert=alert)
    since = runs_since(connection, session, alert.since_time) if last is None else last[1]
    most = None
    kind = kind_of(alert.kind)
    if kind.looks_at != "failed":
        session, most = _reach(connection, alert, session, since)
    name = SeriesName(alert.pipeline, alert.step_name, alert.mode)
    runs = _runs_of(connection, alert, name, session, most, measure)
    if runs is None:
        return AlertExplanation(alert=alert)
    values, ids, starts = runs
    at = sum(start < alert.since_time for start in starts)
    if kind.looks_at == "failed":  # the runs that make its value, and those just before, as it counts them
        at = max(0, len(values) - alert.n)
    inside = 0 < at < len(values)
    move = None
    if kind.compares:
        move = move_at(connection, name, alert.since_time, alert.effect or 0.0, measure)
    first, end = _sides(alert, starts, at, move)
    before, after = values[first:at], values[at:end]
    if kind.finds == "drift":  # from the beginning of the runs since then to their end
        before, after = after[: alert.baseline_n], after[-alert.baseline_n :]
    old, new = (median(side) if side else None for side in (before, after))
    sides = len(before), len(after)
    as_told = sides == (alert.baseline_n, alert.n) and kind.compares
    if kind.by_change_points and alert.effect is not None and (as_told or alert.details.get("in_wave")):
        old, new, sides = alert.baseline, alert.value, (alert.baseline_n, alert.n)
        as_told = True
    return AlertExplanation(
        alert=alert,
        values=tuple(values),
        session_ids=tuple(ids),
        start_times=tuple(starts),
        at=at if inside else None,
        before_median=old,
        before_n=sides[0],
        after_median=new,
        after_n=sides[1],
        effect=alert.effect if as_told else percent_over(new, old),
        p_value=None if move is None else move.change.p_value,
        interval=None if move is None else move.between,
        cause=_cause(
            connection,
            alert,
            starts[first] if inside else None,
            starts[end] if end < len(starts) else None,
            measure,
            move,
        ),
    )


def _reach(
    connection: Connection, alert: Alert, session: SessionRef, since: int
) -> tuple[SessionRef, int | None]:
    """Return until which session, and how many runs, what the alert is about reaches from well before it."""
    before = _BEFORE
    if kind_of(alert.kind).finds == "level":  # its baseline is shown as it is told
        room = max(_MOST - since, _MOST // 2)
        before = min(max(_BEFORE, alert.baseline_n + alert.baseline_n // 10), room)
    if since + before <= _USUAL:
        return session, None
    if since + before > _MOST:  # until now is too far: as much as there is room for
        return session_after(connection, session, alert.since_time, _MOST - before), _MOST
    return session, since + before


def _runs_of(
    connection: Connection,
    alert: Alert,
    name: SeriesName,
    session: SessionRef,
    most: int | None,
    measure: Measure,
) -> tuple[list[float], list[str], list[float]] | None:
    """Return values, session ids and starts of the runs that an alert is about; None without its series."""
    kind = kind_of(alert.kind)
    as_far = Rule(
        name=alert.rule, kind=CHANGE_POINT.name, step=alert.step_name, metric=alert.metric, measure=measure
    )
    rule = as_far if kind.looks_at == "mean" else replace(as_far, kind=kind.name)
    windows = windows_of(connection, session, [rule, as_far], most=most, only=name)
    window = next(
        (each for each in windows if (each.step_name, each.metric) == (alert.step_name, alert.metric)), None
    )
    if window is None:
        return None
    values, places = values_for(rule, window, most=most)
    if kind.looks_at == "mean":
        values = [window.values[each] for each in places]  # as recorded
    return (
        list(values),
        [window.session_ids[each] for each in places],
        [window.start_times[each] for each in places],
    )


def _sides(alert: Alert, starts: Sequence[float], at: int, move: Move | None) -> tuple[int, int]:
    """Return from where the runs before ``at`` are told, and to where those since."""
    kind, inside = kind_of(alert.kind), 0 < at < len(starts)
    first, end = 0 if inside else at, len(starts)
    if kind.looks_at == "failed":
        first = max(0, at - alert.baseline_n)
    if move is not None and inside:
        first = bisect_left(starts, move.began)
        end = len(starts) if move.ended is None else bisect_left(starts, move.ended)
    if kind.finds == "level" and 0 < alert.baseline_n <= at:  # the runs that its baseline was made of
        first = at - alert.baseline_n
    return first, end


def _cause(
    connection: Connection,
    alert: Alert,
    since: float | None,
    until: float | None,
    measure: Measure,
    move: Move | None,
) -> Cause | None:
    if not kind_of(alert.kind).compares:
        return None
    if alert.state == HISTORIC and (kept := of_details(alert.details)) is not None:
        return kept
    if move is not None:
        return move.cause
    return cause_at(
        connection,
        alert.pipeline,
        alert.mode,
        alert.since_time,
        since=since,
        until=until,
        measure=measure,
    )
