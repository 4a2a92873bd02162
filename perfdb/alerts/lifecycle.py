"""What becomes of an alert: pure functions from an alert and a verdict to the next alert.

pending → firing → resolved; acknowledged, expected and false alarm are decided by a person. Resolved needs
3 good runs; an alert that comes back again and again is held open; what a person closed stays closed
until the condition has been gone once; no data changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from perfdb.analysis.rules import Frozen, Rule, Verdict, kind_of
from perfdb.analysis.rules.base import SAME_CHANGE, percent_over
from perfdb.analysis.rules.kind import contribution
from perfdb.analysis.rules.trend import TREND_RUNS
from perfdb.measures import named
from perfdb.records import Alert
from perfdb.vocabulary import (
    ACKNOWLEDGED,
    EXPECTED,
    FALSE_ALARM,
    FIRING,
    HISTORIC,
    INFO,
    PENDING,
    RESOLVED,
    SEVERITIES,
)

GOOD_RUNS = 3
GOOD_RUNS_FLAPPING = 10
FLAPPING_AFTER = 3  # times it came back
PART_OF_TOTAL = 20  # sessions by which the moves of a step and of the total may seem apart
LONG_AGO = -1  # place of a session that is older than the last ones
REMEMBERED_RUNS = 20  # a resolved alert that comes back within so many runs is the same one


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Whose verdict it is, and when it was given.

    ``since_session_id`` and ``since_time`` are the session at the verdict's ``since``;
    ``distance`` is how many sessions of the window lie between it and the alert's, None when the alert's
    is older than the window.
    """

    session_id: str
    start_time: float
    now: float
    pipeline: str
    step_name: str | None
    mode: str
    since_session_id: str
    since_time: float
    distance: int | None = None
    historic: bool = False
    running: bool = False  # the session has not ended


def frozen_of(alert: Alert | None) -> Frozen | None:
    """Return what an open alert is compared with; None when nothing is open."""
    if alert is None or not alert.is_open:
        return None
    return Frozen(baseline=alert.baseline, baseline_n=alert.baseline_n, bound=alert.bound)


def advance(
    alert: Alert | None, rule: Rule, verdict: Verdict, seen: Seen
) -> tuple[Alert | None, tuple[str, ...]]:
    """Return the alert after a verdict, and the names of what happened to it.

    Args:
        alert: the active alert of the fingerprint, if there is one.
        rule: whose verdict it is.
        verdict: of an evaluation with ``frozen_of(alert)``.
        seen: the session and the moment.
    """
    if not verdict.enough or verdict.value is None:
        return alert, ()  # silence of data never resolves
    if alert is None:
        return _open(rule, verdict, seen) if verdict.hit else (None, ())
    if seen.start_time < alert.last_time:
        return alert, ()  # a run older than what was evaluated already
    if alert.is_open:
        return _confirm(alert, rule, verdict, seen) if verdict.hit else _relieve(alert, verdict, seen)
    if alert.state == RESOLVED:
        return _after_resolved(alert, rule, verdict, seen)
    return _after_a_decision(alert, rule, verdict, seen)


def _open(rule: Rule, verdict: Verdict, seen: Seen) -> tuple[Alert, tuple[str, ...]]:
    if verdict.value is None:
        raise ValueError("a verdict that hits has a value")
    state = HISTORIC if seen.historic else FIRING if rule.hits <= 1 else PENDING
    alert = Alert(
        rule=rule.name,
        kind=rule.kind,
        severity=rule.severity,
        state=state,
        pipeline=seen.pipeline,
        step_name=seen.step_name,
        metric=rule.metric,
        mode=seen.mode,
        direction=rule.direction,
        value=verdict.value,
        baseline=verdict.baseline,
        effect=verdict.effect,
        limit=verdict.limit,
        bound=verdict.bound,
        n=verdict.n,
        baseline_n=verdict.baseline_n,
        since_session_id=seen.since_session_id,
        since_time=seen.since_time,
        last_session_id=seen.session_id,
        last_time=seen.start_time,
        opened_at=seen.now,
        updated_at=seen.now,
        details=_details(rule, verdict, {}),
    )
    return alert, (("opened", "fired") if state == FIRING else (f"opened {state}",))


def _confirm(alert: Alert, rule: Rule, verdict: Verdict, seen: Seen) -> tuple[Alert, tuple[str, ...]]:
    again = seen.session_id == alert.last_session_id
    hits = alert.hits if again else alert.hits + 1
    state, happened = alert.state, []
    if state == PENDING and hits >= rule.hits:
        state = FIRING
        happened.append("fired")
    if state == HISTORIC and not seen.historic:
        state = FIRING  # a new run confirms what the old data showed
        happened.append("fired")
    if SEVERITIES.index(rule.severity) > SEVERITIES.index(alert.severity):
        happened.append("escalated")
    if not happened and not again:
        happened.append("confirmed")
    # what the alert opened with stays, unless the session was still running; the value is today's, and of two
    # levels that runs come and go between both are
    kept = alert.baseline is not None and kind_of(rule.kind).finds != "modes"
    baseline = alert.baseline if kept else verdict.baseline
    changed = replace(
        alert,
        state=state,
        severity=rule.severity,
        hits=hits,
        good=0,
        baseline=baseline,
        baseline_n=alert.baseline_n if kept else verdict.baseline_n,
        value=alert.value if verdict.value is None else verdict.value,
        effect=_effect(verdict, baseline, rule),
        n=_runs_since(alert, verdict, again),
        last_session_id=seen.session_id,
        last_time=seen.start_time,
        updated_at=seen.now,
        details=_details(rule, verdict, alert.details),
    )
    if again and not happened and replace(changed, updated_at=alert.updated_at) == alert:
        return alert, ()  # a replay
    return changed, tuple(happened)


def _effect(verdict: Verdict, baseline: float | None, rule: Rule) -> float | None:
    """Return by how much the value lies over the baseline that the alert names.

    A rule of drifts or of single runs finds another baseline at each run.
    """
    if verdict.value is None or kind_of(rule.kind).finds not in ("drift", "run"):
        return verdict.effect
    return percent_over(verdict.value, baseline)


def _relieve(alert: Alert, verdict: Verdict, seen: Seen) -> tuple[Alert | None, tuple[str, ...]]:
    """Take in a run that does not hit: good ones count towards resolved, others only delay it."""
    if seen.running or seen.session_id == alert.last_session_id:
        return alert, ()
    good = alert.good + 1 if verdict.good else 0
    changed = replace(
        alert, good=good, last_session_id=seen.session_id, last_time=seen.start_time, updated_at=seen.now
    )
    if alert.state == PENDING:  # not confirmed: it never was
        return replace(changed, state=RESOLVED, active=False, closed_at=seen.now), ("not confirmed",)
    needed = GOOD_RUNS_FLAPPING if is_flapping(alert) else GOOD_RUNS
    if good < needed:
        return changed, ()
    return replace(changed, state=RESOLVED, closed_at=seen.now, inhibited_by=None), ("resolved",)


def _after_resolved(alert: Alert, rule: Rule, verdict: Verdict, seen: Seen) -> tuple[Alert, tuple[str, ...]]:
    """A resolved alert that comes back soon is the same one; later it makes room for a new one."""
    quiet = alert.good + (seen.session_id != alert.last_session_id)
    moved_on = replace(alert, last_session_id=seen.session_id, last_time=seen.start_time, good=quiet)
    if not verdict.hit:
        return replace(moved_on, active=quiet <= REMEMBERED_RUNS), ()
    if kind_of(rule.kind).looks_back and _is_same_change(alert, seen):
        return moved_on, ()  # it looks back at the change that is over
    fresh, _ = _open(rule, verdict, seen)
    again = replace(
        fresh,
        id=alert.id,
        reopened=alert.reopened + 1,
        opened_at=alert.opened_at,
        hits=alert.hits + 1,
        notified_at=alert.notified_at if is_flapping(alert) else None,
        notified_severity=alert.notified_severity if is_flapping(alert) else None,
    )
    return again, ("opened again",) if again.state != FIRING else ("opened again", "fired")


def _after_a_decision(
    alert: Alert, rule: Rule, verdict: Verdict, seen: Seen
) -> tuple[Alert, tuple[str, ...]]:
    """What a person closed stays closed while the same thing goes on."""
    moved_on = replace(alert, last_session_id=seen.session_id, last_time=seen.start_time)
    if kind_of(rule.kind).looks_back:
        if not verdict.hit or _is_same_change(alert, seen):
            return moved_on, ()
    elif verdict.hit:
        return moved_on, ()
    return replace(moved_on, active=False), ()


def _is_same_change(alert: Alert, seen: Seen) -> bool:
    return seen.distance is None or seen.distance <= SAME_CHANGE or seen.since_time < alert.since_time


_UNDO = "before_decision"  # in the details of an alert: what it was


def decide(alert: Alert, state: str, now: float, *, head: int | None = None) -> tuple[Alert, tuple[str, ...]]:
    """Return the alert after a person's decision: acknowledged, expected or false alarm.

    Args:
        alert: as it is.
        state: what was decided.
        now: epoch s.
        head: the alert that was decided about, when this one is of its group.

    Raises:
        ValueError: it is closed already, or there is no such decision.
    """
    if state not in (ACKNOWLEDGED, EXPECTED, FALSE_ALARM):
        raise ValueError(f"a person decides for {ACKNOWLEDGED}, {EXPECTED} or {FALSE_ALARM}, not {state!r}")
    if not alert.is_open and not (alert.state == RESOLVED and state == FALSE_ALARM):
        raise ValueError(f"alert {alert.id} is {alert.state} already")
    before = {
        "state": alert.state,
        "closed_at": alert.closed_at,
        "inhibited_by": alert.inhibited_by,
        "head": alert.id if head is None else head,
    }
    details = dict(alert.details) if alert.state == state else {**alert.details, _UNDO: before}
    decided = replace(alert, state=state, updated_at=now, details=details)
    if state == ACKNOWLEDGED:
        return decided, (state,)
    return replace(decided, closed_at=now, inhibited_by=None), (state,)


def decided_with(alert: Alert) -> int:
    """Return the number of the alert that was decided about when this one was."""
    return int(alert.details.get(_UNDO, {}).get("head", alert.id))


def undo(alert: Alert, now: float) -> tuple[Alert, tuple[str, ...]]:
    """Return the alert as it was before a person's decision; what is over by now is resolved.

    Raises:
        ValueError: nobody has decided about it.
    """
    if alert.state not in (ACKNOWLEDGED, EXPECTED, FALSE_ALARM):
        raise ValueError(f"nobody has decided about alert {alert.id}: it is {alert.state}")
    details = {name: value for name, value in alert.details.items() if name != _UNDO}
    before = alert.details.get(_UNDO) or {"state": FIRING, "closed_at": None, "inhibited_by": None}
    restored = replace(
        alert,
        state=before["state"],
        closed_at=before["closed_at"],
        inhibited_by=before["inhibited_by"],
        updated_at=now,
        details=details,
    )
    if restored.is_open and not alert.active:
        restored = replace(restored, state=RESOLVED, closed_at=alert.closed_at or now, inhibited_by=None)
    return restored, ("undone",)


def remove_unruled(alerts: Iterable[Alert], rules: Iterable[str], now: float) -> list[Alert]:
    """Return, closed, the open alerts whose rule is no longer configured."""
    known = set(rules)
    return [
        replace(alert, state=RESOLVED, active=False, closed_at=now, updated_at=now, inhibited_by=None)
        for alert in alerts
        if alert.is_open and alert.rule not in known
    ]


def is_flapping(alert: Alert) -> bool:
    """Say whether it came back so often that it is held open."""
    return alert.reopened >= FLAPPING_AFTER


def is_stale(alert: Alert, now: float, after_s: float) -> bool:
    """Say whether an open alert was not evaluated for long."""
    return alert.is_open and now - alert.updated_at > after_s


def is_due(alert: Alert, now: float, repeat_after_s: float) -> bool:
    """Say whether to notify: it is new, more severe than last notified, or the last notification is old."""
    if alert.state not in (FIRING, ACKNOWLEDGED) or alert.silenced or alert.inhibited_by is not None:
        return False
    if alert.notified_at is None:
        return alert.state == FIRING
    if SEVERITIES.index(alert.severity) > SEVERITIES.index(alert.notified_severity or INFO):
        return True
    return alert.state == FIRING and now - alert.notified_at >= repeat_after_s


# --- alerts that are about the same thing ----------------------------------------------------------------


def group(alerts: Sequence[Alert], positions: Mapping[int, int]) -> list[Alert]:
    """Return the alerts of one pipeline and mode with ``inhibited_by`` set: one speaks for its group.

    Total and steps that moved together are one event, and so are two rules that see the same move. One of
    today speaks for those of old data; the most severe speaks; among equals one that was acknowledged, then a
    step before the total, then the step inside of another that did most of its move, then the largest
    contribution. When another comes to speak for a group, nobody is
    notified again.

    Args:
        alerts: each with its number; those that do not fire are inhibited by nobody.
        positions: per number the place of its ``since_session_id`` among the last sessions, or ``LONG_AGO``.
            Members of a group began within 5 sessions of the one that speaks, or are another view of its
            move: the drift that a step in the level makes, and a total that the step makes most of, whose
            noise hides where it moved.
    """
    levels_of_old = [
        alert for alert in alerts if alert.state == HISTORIC and kind_of(alert.kind).finds == "level"
    ]  # grouped by who looked at the whole history
    firing = [
        alert
        for alert in alerts
        if alert.state in (FIRING, ACKNOWLEDGED, HISTORIC) and alert not in levels_of_old
    ]
    largest: dict[str | None, float] = {}
    for alert in firing:
        moved = abs(contribution(alert)) if alert.metric == "duration" else 0.0
        largest[alert.step_name] = max(largest.get(alert.step_name, 0.0), moved)
    causes = [each.details.get("cause") or {} for each in firing]
    innermost = {part.get("within") for cause in causes for part in cause.get("parts", [])[:1]}

    def precedence(alert: Alert) -> tuple[object, ...]:
        return (
            alert.state == HISTORIC,
            -SEVERITIES.index(alert.severity),
            alert.state != ACKNOWLEDGED,
            alert.step_name is None,
            alert.step_name not in innermost,
            -largest[alert.step_name],
            alert.notified_at is None or alert.inhibited_by is not None,
            alert.opened_at,
            alert.id,
        )

    members: dict[int, list[Alert]] = {}
    heads: list[Alert] = []
    spoken_for = {each.id: each.inhibited_by for each in levels_of_old if each.inhibited_by is not None}
    for alert in sorted(firing, key=precedence):
        move = next((each for each in alerts if _is_drift_of(alert, each, positions)), None)
        head = next((head for head in heads if _belong_together(head, alert, positions)), None)
        if move is not None and move.state == HISTORIC and alert.state == HISTORIC:
            spoken_for[alert.id] = move.inhibited_by or move.id
            continue
        if head is None and move is not None:
            head = next((each for each in heads if move in members[each.id]), None)
        if head is None:
            heads.append(alert)
        members.setdefault((head or alert).id, []).append(alert)
    spoken_for |= {alert.id: head for head, group in members.items() for alert in group if alert.id != head}
    return [
        replace(_notified_with(alert, members.get(alert.id, ())), inhibited_by=spoken_for.get(alert.id))
        for alert in alerts
    ]


def _notified_with(head: Alert, members: Iterable[Alert]) -> Alert:
    notified = [each for each in members if each.notified_at is not None]
    if head.notified_at is not None or not notified:
        return head
    newest = max(notified, key=lambda each: each.notified_at or 0.0)
    return replace(head, notified_at=newest.notified_at, notified_severity=newest.notified_severity)


def _belong_together(head: Alert, alert: Alert, positions: Mapping[int, int]) -> bool:
    finds = [kind_of(each.kind).finds for each in (head, alert)]
    if "loss" in finds and _is_same_loss(head, alert):
        return True
    if (head.metric, head.direction) != (alert.metric, alert.direction) or finds.count("failures") == 1:
        return False
    places = [positions.get(each.id, 0) for each in (head, alert)]
    if LONG_AGO in places:  # as it was then
        together = (head.inhibited_by or head.id) == (alert.inhibited_by or alert.id)
        return together or head.since_session_id == alert.since_session_id
    apart = places[0] - places[1]
    if abs(apart) <= SAME_CHANGE:
        return True
    return finds == ["level", "level"] and abs(apart) <= PART_OF_TOTAL and _makes_most(head, alert)


def _is_drift_of(drift: Alert, move: Alert, positions: Mapping[int, int]) -> bool:
    """Say whether a drift is what a step in the level of the same series makes: that lies in its window."""
    if (kind_of(drift.kind).finds, kind_of(move.kind).finds) != ("drift", "level"):
        return False
    same = [(each.step_name, each.metric, each.direction) for each in (drift, move)]
    began, moved = (positions.get(each.id, 0) for each in (drift, move))
    return same[0] == same[1] and move.is_open and (began == LONG_AGO or 0 <= moved - began <= TREND_RUNS)


def _makes_most(head: Alert, alert: Alert) -> bool:
    """Say whether two alerts are of one series, or a step's move is at least half of the total's."""
    if head.step_name == alert.step_name:
        return True
    if head.step_name is not None and alert.step_name is not None:
        return False
    step, total = (head, alert) if alert.step_name is None else (alert, head)
    return abs(contribution(step)) >= 0.5 * abs(contribution(total))


def _is_same_loss(head: Alert, alert: Alert) -> bool:
    """Say whether one of two alerts is a loss against a pinned baseline that the other tells of as well."""
    if (head.metric, head.direction) != (alert.metric, alert.direction):
        return False
    if head.kind == alert.kind:
        return True  # the total's and its steps'
    moved, lost = sorted((head, alert), key=lambda each: kind_of(each.kind).finds == "loss")
    return kind_of(moved.kind).shifts and abs(contribution(moved)) >= 0.5 * abs(contribution(lost))


def _runs_since(alert: Alert, verdict: Verdict, again: bool) -> int:
    if kind_of(alert.kind).finds == "drift":
        return alert.n if again else alert.n + 1
    return verdict.n


def of_measure(rule: Rule) -> dict[str, object]:
    """Return what the settings say of a rule's measure, for an alert's details; nothing if it is as usual."""
    measure, usual = rule.of_measure, named(rule.metric)
    if (measure.unit, measure.words) == (usual.unit, usual.words):
        return {}
    return {"measure": {"unit": measure.unit, "label": measure.words}}


def _details(rule: Rule, verdict: Verdict, before: Mapping[str, object]) -> dict[str, object]:
    known = {name: value for name, value in before.items() if name != "measure"} | of_measure(rule)
    known.setdefault("found", verdict.arithmetic)  # what opened it; the newest sum beside it
    known["arithmetic"] = verdict.arithmetic
    if "usual" not in known and verdict.usual is not None:
        known["usual"] = list(verdict.usual)
    return known
