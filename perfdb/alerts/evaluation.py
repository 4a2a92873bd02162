"""Apply all rules after a session, or to one that still runs, in the caller's transaction.

Reads the windows, asks the rules, moves the alerts on, puts one digest per channel into the outbox. The
caller commits; nothing here waits, sends or calls back.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import compress, groupby, islice, repeat
from statistics import median
from typing import TYPE_CHECKING, Any

from perfdb.alerts.causes import as_details, cause_at, facts_before
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.digests import due_of, put_digests, source_of, urgency
from perfdb.alerts.lifecycle import LONG_AGO, Seen, advance, frozen_of, group, remove_unruled
from perfdb.alerts.messages import headline, host_of, message
from perfdb.analysis.error_kinds import without_ids
from perfdb.analysis.rules import EVERY, TABLE, Frozen, Level, Rule, Verdict, evaluate, kind_of
from perfdb.analysis.rules.base import HYSTERESIS, SAME_CHANGE, percent_over
from perfdb.analysis.rules.change import CHANGE_POINT, CHANGE_RUNS
from perfdb.analysis.rules.limits import MAX
from perfdb.analysis.rules.shift import FAST_SHIFT
from perfdb.analysis.series import Series, SeriesName
from perfdb.measures import METRICS, Measure, named
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.baselines import Pin, pinned
from perfdb.store.windows import (
    SessionRef,
    errors_since,
    find_session_ref,
    hosts_since,
    last_error,
    read_windows,
    with_day_sums,
)
from perfdb.vocabulary import ACKNOWLEDGED, EXPECTED, FALSE_ALARM, FIRING

MOST_OPENED = 100  # by one session; more say nothing that these do not
MOST_CONFIRMATIONS = 10  # that an alert's story tells singly; then the 16th, 32nd, 64th …
AROUND = 100  # sessions on either side of a move that are asked for its cause: other writers wait meanwhile
WAVE_DAYS = 3  # of the runs at hand that may hide a move in their wave
WAVE_RUNS = 1_500  # in which a wave of the day is looked for, where a level seems to have moved
KNOWN_OF, KNOWN_SHARE = 500, 0.01  # runs before, and the share that may have been at a level that is new
STAYED = 10  # runs, and change points, that a level has to show otherwise: it may be a burst
BEYOND, BEYOND_OF = 0.8, 100  # of pairs with so many runs before: who looks at the runs sees that they moved,
BEYOND_LATER, SMALL_STAYED = 0.75, 100  # and a smaller move has to stay for so many runs
LEAST_NEW = 20  # old sessions of one pipeline and mode that make a history: of fewer the newest is evaluated
LOCATE_AGAIN = (10, 20, 40)  # runs since the move, after which it is placed more exactly
MEASURED = METRICS

if TYPE_CHECKING:
    from sqlalchemy import Connection

Change = tuple[Alert, tuple[str, ...]]
"""An alert as a verdict left it, and what happened to it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an evaluation.

    ``fired``: the alerts to notify people of now; ``of_session``: those that this session opened or confirmed
    and that are at least warnings, one per group; ``messages``: how many were put into the outbox.
    """

    fired: tuple[Alert, ...] = ()
    of_session: tuple[Alert, ...] = ()
    messages: int = 0


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """A rule's verdict on one series."""

    rule: Rule
    window: Series
    sessions: Sequence[int]  # the indices in it of the values that were evaluated
    verdict: Verdict


def after_session(
    connection: Connection, session_id: str, settings: AlertSettings, now: float, *, historic: bool = False
) -> Outcome:
    """Evaluate the rules on a session that has ended, all in one transaction.

    Args:
        connection: in a writer's transaction.
        session_id: a session that is in the database.
        settings: rules and channels.
        now: epoch s.
        historic: it is old data: its alerts are ``historic``, and nobody is notified.
    """
    store.take_turn(connection)
    found = look_at_session(connection, session_id, settings, now, historic=historic)
    return Outcome() if found is None else _settle_found(connection, found, settings, now)


def settle_session(
    connection: Connection, found: Findings, settings: AlertSettings, now: float
) -> Outcome | None:
    """Write what ``look_at_session`` found; None, and nothing, when that rests on what others changed since.

    Other writers wait for this transaction: what takes long was done before it began.
    """
    store.take_turn(connection)
    session = found.session
    if (
        find_session_ref(connection, session.session_id) != session
        or _said_of(connection, session.pipeline, session.mode) != found.said
    ):
        return None
    return _settle_found(connection, found, settings, now)


@dataclass(frozen=True, slots=True)
class _Said:
    """What people and earlier verdicts said of a pipeline and mode."""

    active: Mapping[int, Alert]
    accepted: Mapping[tuple[str | None, str], store.Baseline]
    pins: Mapping[tuple[str | None, str], Pin]


def _said_of(connection: Connection, pipeline: str, mode: str) -> _Said:
    return _Said(
        {alert.id: alert for alert in store.active_alerts(connection, pipeline, mode)},
        store.accepted_baselines(connection, pipeline, mode),
        pins_of(connection, pipeline, mode),
    )


@dataclass(frozen=True, slots=True)
class Findings:
    """What the rules say of a session, before anything is written."""

    session: SessionRef
    said: _Said
    total: Series
    changes: Sequence[Change]
    historic: bool


def look_at_session(
    connection: Connection, session_id: str, settings: AlertSettings, now: float, *, historic: bool = False
) -> Findings | None:
    """Return what the rules say of a session, with what explains it; None when that changes nothing.

    After most sessions it does not; the lock that every writer waits for is not taken for those.

    Args:
        connection: of any role; nothing is written.
        session_id: a session that is in the database.
        settings: rules and channels.
        now: epoch s.
        historic: see ``after_session``.
    """
    session = find_session_ref(connection, session_id)
    if session is None:
        return None
    said = _said_of(connection, session.pipeline, session.mode)
    active = list(said.active.values())
    rules = settings.rules_for(metric for _, metric in said.pins)
    windows = windows_of(connection, session, rules)
    if not windows:
        return None
    by_fingerprint = {fingerprint(alert): alert for alert in active}
    changes: list[Change] = []
    opened = 0
    longer = cache(lambda: windows_of(connection, session, rules, most=WAVE_RUNS))
    for found in evaluate_rules(
        session, windows, rules, said.accepted, by_fingerprint, said.pins, longer=longer
    ):
        key = (found.rule.name, found.window.step_name, found.rule.metric, found.rule.direction)
        alert = by_fingerprint.get(key)
        moved, events = advance(alert, found.rule, found.verdict, _seen(session, found, alert, now, historic))
        if moved is None or moved == alert:
            continue
        if found.verdict.in_wave and not moved.details.get("in_wave"):
            moved = replace(moved, details={**moved.details, "in_wave": True})
        pin = said.pins.get((moved.step_name, moved.metric))
        if pin is not None and kind_of(moved.kind).finds == "level":
            moved = replace(moved, details={**moved.details, "pinned": {"value": pin.value, "n": pin.n}})
            if moved == alert:
                continue
        if "confirmed" in events and moved.n in LOCATE_AGAIN:
            baseline = said.accepted.get((moved.step_name, moved.metric))
            moved, events = _located_again(moved, events, found, baseline)
        if alert is None:
            opened += 1
            if opened > MOST_OPENED or _was_decided(moved, active, windows[0]):
                continue
        changes.append((moved, events))
    if not changes and not remove_unruled(active, (rule.name for rule in settings.rules), now):
        return None
    explained = _explained(connection, session, windows, changes, settings)
    return Findings(session, said, windows[0], explained, historic)


def _explained(
    connection: Connection,
    session: SessionRef,
    windows: Sequence[Series],
    changes: Iterable[Change],
    settings: AlertSettings,
) -> list[Change]:
    """Return the changes with what explains them; it is looked for in the history."""
    causes: dict[tuple[str, str], dict[str, Any]] = {}
    found: list[Change] = []
    for changed, events in changes:
        if events and kind_of(changed.kind).finds == "failures":
            changed = _with_error(connection, session, changed)
        if kind_of(changed.kind).finds == "modes" and not _BEGINNINGS.isdisjoint(events):
            changed = _with_switch(connection, session, windows, changed)
        if kind_of(changed.kind).finds in ("level", "loss") and not _BEGINNINGS.isdisjoint(events):
            measure = named(changed.metric, settings.measures)
            changed = _with_cause(connection, changed, measure, causes)
        if kind_of(changed.kind).finds == "level" and not {"fired", *_BEGINNINGS}.isdisjoint(events):
            changed = _with_everything(connection, session, windows, changed)
        found.append((changed, events))
    return found


def _settle_found(connection: Connection, found: Findings, settings: AlertSettings, now: float) -> Outcome:
    active = list(found.said.active.values())
    return _settle(
        connection, found.session, settings, active, found.changes, found.total, now, found.historic
    )


def while_running(
    connection: Connection,
    session_id: str,
    elapsed: Mapping[str | None, float],
    settings: AlertSettings,
    now: float,
) -> Outcome:
    """Evaluate the ``max`` rules on durations on a session that still runs.

    Args:
        connection: in a writer's transaction.
        session_id: a session that is in the database.
        elapsed: seconds so far per step name of the open steps; None is the session.
        settings: rules and channels.
        now: epoch s.
    """
    session = find_session_ref(connection, session_id)
    if session is None:
        return Outcome()
    store.take_turn(connection)
    active = store.active_alerts(connection, session.pipeline, session.mode)
    accepted = store.accepted_baselines(connection, session.pipeline, session.mode)
    by_fingerprint = {fingerprint(alert): alert for alert in active}
    changes: list[Change] = []
    for rule in rules_for_running(settings.rules, session.pipeline, session.mode):
        for step_name, seconds in elapsed.items():
            if not rule.is_about(SeriesName(session.pipeline, step_name, session.mode)):
                continue
            fitted = _with_accepted(rule, accepted.get((step_name, rule.metric)))
            alert = by_fingerprint.get((rule.name, step_name, rule.metric, rule.direction))
            verdict = evaluate(fitted, [seconds])
            if verdict.hit:
                window = Series(
                    session.pipeline,
                    step_name,
                    session.mode,
                    session_ids=[session_id],
                    start_times=[session.start_time],
                )
                found = SeriesVerdict(rule, window, [0], verdict)
                seen = replace(_seen(session, found, alert, now, False), running=True)
                moved, events = advance(alert, rule, verdict, seen)
                if moved is not None and moved != alert:
                    changes.append((moved, events))
    return _settle(connection, session, settings, active, changes, None, now, False)


def after_silence(connection: Connection, settings: AlertSettings, now: float) -> Outcome:
    """Notify of alerts that still fire after the silence in which they were last seen.

    Args:
        connection: in a writer's transaction.
        settings: rules and channels.
        now: epoch s.
    """
    store.take_turn(connection)
    fired: list[Alert] = []
    put = 0
    heard = [replace(alert, silenced=False) for alert in store.no_longer_silenced(connection, now)]
    for source, alerts in groupby(sorted(heard, key=source_of), key=source_of):
        known = {alert.id: alert for alert in alerts}
        due = due_of([alert for alert in known.values() if not alert.good], settings, now)
        put += put_digests(connection, source, settings.channels, due, (), now)
        for alert in due:
            store.add_event(connection, alert.id, "silence ended", now)
            known[alert.id] = replace(alert, notified_at=now, notified_severity=alert.severity)
            fired.append(known[alert.id])
        for alert in known.values():
            store.save_alert(connection, alert)
    return Outcome(tuple(fired), messages=put)


def rules_for_running(rules: Iterable[Rule], pipeline: str, mode: str) -> list[Rule]:
    """Return the rules that can be broken before a step has ended."""
    return [
        rule
        for rule in rules
        if rule.kind == MAX.name and rule.metric == "duration" and rule.is_of(pipeline, mode)
    ]


def lowest_limits(rules: Iterable[Rule], pipeline: str, mode: str) -> dict[str | None, float]:
    """Return the lowest limit that can be broken while running, per step name; see ``Rule.step``."""
    limits: dict[str | None, float] = {}
    for rule in rules_for_running(rules, pipeline, mode):
        if rule.limit is not None:
            limits[rule.step] = min(rule.limit, limits.get(rule.step, rule.limit))
    return limits


def windows_of(
    connection: Connection,
    session: SessionRef,
    rules: Sequence[Rule],
    *,
    most: int | None = None,
    only: SeriesName | None = None,
) -> list[Series]:
    """Read as much history as the rules for a session's pipeline and mode look at, or so many runs.

    For one series alone more runs can be read than for all.
    """
    fitting = [rule for rule in rules if rule.is_of(session.pipeline, session.mode)]
    if not fitting:
        return []
    metrics = {rule.metric for rule in fitting if rule.metric in MEASURED} | {"duration"}
    attributes: dict[str | None, dict[str, Measure]] = {}
    for rule in fitting:
        if rule.metric not in MEASURED:
            attributes.setdefault(rule.step, {})[rule.metric] = measure_of(rule)
            if rule.step == EVERY:
                attributes.setdefault(None, {})[rule.metric] = measure_of(rule)
    # Some of the last sessions failed or were tagged: a few more than the rules ask for.
    runs = (most or max(TABLE[rule.kind].window for rule in fitting)) + 10
    further = {step: of_step.values() for step, of_step in attributes.items()}
    windows = read_windows(connection, session, runs, metrics=metrics, attributes=further, only=only)
    return with_sums(connection, windows, fitting)


def with_sums(connection: Connection, windows: Sequence[Series], rules: Iterable[Rule]) -> list[Series]:
    """Return the windows, with the sums of days where a rule looks at them."""
    adding = [rule for rule in rules if TABLE[rule.kind].looks_at == "day"]

    def made(window: Series) -> Series:
        for rule in adding:
            if rule.metric == window.metric and rule.is_about(window):
                return with_day_sums(connection, window, measure_of(rule))
        return window

    return [made(window) for window in windows]


def measure_of(rule: Rule) -> Measure:
    """Return the measure that a rule looks at, as its settings describe it."""
    return rule.measure or named(rule.metric)


def evaluate_rules(
    session: SessionRef,
    windows: Sequence[Series],
    rules: Iterable[Rule],
    accepted: Mapping[tuple[str | None, str], store.Baseline],
    active: Mapping[tuple[Any, ...], Alert],
    pins: Mapping[tuple[str | None, str], Pin],
    *,
    lately: bool = False,
    longer: Callable[[], Sequence[Series]] | None = None,
) -> Iterator[SeriesVerdict]:
    """Yield each rule's verdict on each series that it is about.

    Args:
        session: the one that ended.
        windows: see ``windows_of``.
        rules: those for other pipelines and modes are passed over.
        accepted: see ``store.alerts.accepted_baselines``.
        active: the alerts that verdicts look at, by fingerprint.
        pins: see ``pins_of``.
        lately: judge the newest run that says something, though it is not of this session.
        longer: reads windows that are long enough for a wave of the day; None where these are.
    """
    for rule in rules:
        if not rule.is_of(session.pipeline, session.mode):
            continue
        for window in windows:
            if window.metric != rule.metric or rule.step not in (EVERY, window.step_name):
                continue
            baseline = accepted.get((window.step_name, rule.metric))
            needs_pin = TABLE[rule.kind].finds == "loss"
            pin = pins.get((window.step_name, rule.metric)) if needs_pin else None
            if needs_pin:
                if pin is None:
                    continue
                baseline = _since_pinned(pin, baseline)
            alert = active.get((rule.name, window.step_name, rule.metric, rule.direction))
            frozen = frozen_of(alert)
            is_level = TABLE[rule.kind].finds == "level"  # all that an open alert is about makes its value
            most = CHANGE_RUNS if frozen is not None and is_level else None
            values, places = values_for(rule, window, baseline, most=most)
            if not places or not (lately or window.session_ids[places[-1]] == session.session_id):
                continue  # this session says nothing about it: it failed, or has no such attribute
            if alert is not None and frozen is not None and is_level:
                since = sum(window.start_times[each] < alert.since_time for each in places)
                frozen = replace(frozen, since=since)
            asked = _with_accepted(rule, baseline)
            if pin is not None:
                asked = replace(asked, pinned=Level(pin.value, pin.spread, pin.n))
            past = partial(_past_of, window, longer)
            in_wave = alert is not None and bool(alert.details.get("in_wave"))
            verdict = judged(asked, values, frozen, window, past, in_wave=in_wave)
            yield SeriesVerdict(rule, window, places, verdict)


def _past_of(window: Series, longer: Callable[[], Sequence[Series]] | None) -> Series:
    known = [window] if longer is None else longer()
    same = [each for each in known if (each.name, each.metric) == (window.name, window.metric)]
    return same[0] if same else window


def judged(
    rule: Rule,
    values: Sequence[float],
    frozen: Frozen | None,
    window: Series,
    past: Callable[[], Series],
    *,
    in_wave: bool = False,
) -> Verdict:
    """Return a rule's verdict; that on a level is asked again without the wave of the day, if there is one.

    A level to which the runs have come back before is no move, see ``analysis.modes``.

    Args:
        rule: what to ask.
        values: of the runs, oldest first.
        frozen: see ``evaluate``.
        window: the series as far back as it is at hand, up to the newest of the values: where that is days, a
            wave may hide a move.
        past: reads it as far back as a wave is looked for.
        in_wave: the alert that is open rests on runs without their wave.
    """
    verdict = _beside_wave(rule, values, frozen, window, past, in_wave=in_wave)
    if not verdict.hit or frozen is not None or TABLE[rule.kind].finds != "level":
        return verdict
    from perfdb.analysis.modes import begin_of_new
    from perfdb.analysis.waves import resumes_after_weekend, without_wave

    runs = past().good
    known = runs.calm or runs.values
    calm = without_wave(runs.start_times, known) if verdict.in_wave else None
    levels = known if calm is None else calm.tolist()
    first = len(runs) - len(values) + verdict.since
    if first > 0 and resumes_after_weekend(runs.start_times, levels, first):
        said = f"{verdict.arithmetic}; but that is the level of the days before the weekend: no"
        return replace(verdict, hit=False, good=True, arithmetic=said)
    begin = first if first <= 0 else begin_of_new(levels, first)
    few = rule.kind == FAST_SHIFT.name or len(levels) - first < STAYED
    if few and first > 0 and _was_there(levels, first):
        said = f"{verdict.arithmetic}; but runs of that level were there before: no"
        return replace(verdict, hit=False, good=True, arithmetic=said)
    if rule.kind == CHANGE_POINT.name and not _is_seen(rule, levels, first, verdict.baseline_n):
        said = f"{verdict.arithmetic}; but too many runs of both levels lie beside each other: no"
        return replace(verdict, hit=False, good=True, arithmetic=said)
    if begin is None:
        said = f"{verdict.arithmetic}; but the runs come and go between that level and the one before: no"
        return replace(verdict, hit=False, good=True, arithmetic=said)
    if begin > first:
        level = median(levels[begin:])
        since, n = verdict.since + begin - first, len(levels) - begin
        effect = percent_over(level, verdict.baseline)
        return replace(verdict, value=level, effect=effect, n=n, since=since)
    return verdict


def _was_there(levels: Sequence[float], first: int) -> bool:
    """Say whether the level since a run is one of single runs before: few runs since say too little."""
    before, after = levels[max(0, first - KNOWN_OF) : first], sorted(levels[first:])
    low = after[len(after) // 4]
    return sum(each >= low for each in before) > max(1, KNOWN_SHARE * len(before))


def _is_seen(rule: Rule, levels: Sequence[float], first: int, baseline_n: int) -> bool:
    """Say whether the runs since ``first`` are worse than those of the level before in enough of the pairs.

    While few runs say so it may be a burst: less one standard error (Hanley and McNeil 1982).
    """
    before = sorted(levels[max(0, first - min(baseline_n, BEYOND_OF)) : first])
    after = levels[first:]
    if not before:
        return True
    places = sum(bisect_left(before, each) + bisect_right(before, each) for each in after)
    share = places / (2 * len(before) * len(after))
    share = 1 - share if rule.direction == "down" else share
    if len(after) >= SMALL_STAYED:
        return share >= BEYOND_LATER
    error = share * math.sqrt((1 - share) / (1 + share) * (1 / len(after) + 1 / len(before)))
    return share - error >= BEYOND


def _beside_wave(
    rule: Rule,
    values: Sequence[float],
    frozen: Frozen | None,
    window: Series,
    past: Callable[[], Series],
    *,
    in_wave: bool,
) -> Verdict:
    verdict = evaluate(rule, values, frozen)
    if rule.metric != "duration" or TABLE[rule.kind].finds != "level" or not values:
        return verdict
    asks_all = in_wave if frozen is not None else verdict.hit
    if not asks_all and (
        frozen is not None
        or rule.kind != CHANGE_POINT.name
        or window.start_times[-1] - window.start_times[0] < WAVE_DAYS * 86_400
    ):
        return verdict
    from perfdb.analysis.waves import without_wave

    for known in (past,) if asks_all else (lambda: window, past):  # the longer one knows the wave better
        runs = known().good
        calm = without_wave(runs.start_times, runs.values)
        if calm is None or calm.size < len(values):
            return verdict
        verdict = replace(evaluate(rule, calm[-len(values) :].tolist(), frozen), in_wave=True)
        if not verdict.hit:
            break
    return verdict


def values_for(
    rule: Rule, window: Series, baseline: store.Baseline | None = None, *, most: int | None = None
) -> tuple[list[float], list[int]]:
    """Return the values that a rule looks at, oldest first, and their places in the window.

    A step that runs several times in a session counts with its mean, or as the kind says with its worst
    run. What lies before an accepted baseline is left out.
    """
    kind = TABLE[rule.kind]
    values: Sequence[float]
    counted: Iterable[bool]
    if kind.looks_at == "failed":
        values, counted = window.failed, repeat(True)
    elif kind.looks_at == "day":  # also of runs that failed: they were paid for
        values, counted = window.of_day, map(math.isfinite, reversed(window.of_day))
    else:
        values = {"highest": window.highest, "lowest": window.lowest}.get(kind.looks_at, window.values)
        if kind.compares or kind.finds == "run":  # runs of one moment with those of another
            values = window.calm or values
        counted = reversed(window.counted)
    first = 0
    if baseline is not None and kind.finds != "breach":
        first = window.place_of(baseline.since_time)
    newest_first = compress(range(len(values) - 1, first - 1, -1), counted)
    places = list(islice(newest_first, most or kind.window))[::-1]
    return [float(values[place]) for place in places], places


def pins_of(connection: Connection, pipeline: str, mode: str) -> dict[tuple[str | None, str], Pin]:
    """Return the pinned baselines of a pipeline and mode by step name and metric."""
    return {(pin.step_name, pin.metric): pin for pin in pinned(connection, pipeline, mode)}


def _since_pinned(pin: Pin, accepted: store.Baseline | None) -> store.Baseline:
    """Return from where on runs are compared with a pin: after those that it is made of."""
    after = math.nextafter(pin.until_time, math.inf)
    if accepted is not None and accepted.since_time > after:
        return accepted
    return store.Baseline(after, pin.until_session_id, None)


def fingerprint(alert: Alert) -> tuple[Any, ...]:
    """Return what makes an alert the same as another, within one pipeline and mode."""
    return (alert.rule, alert.step_name, alert.metric, alert.direction)


def _with_accepted(rule: Rule, baseline: store.Baseline | None) -> Rule:
    """Return the rule with a limit that lets an accepted level pass."""
    kind = TABLE[rule.kind]
    if baseline is None or baseline.value is None or rule.limit is None or kind.finds != "breach":
        return rule
    room = HYSTERESIS * abs(baseline.value)
    if kind.looks_at == "lowest":
        return replace(rule, limit=min(rule.limit, baseline.value - room))
    return replace(rule, limit=max(rule.limit, baseline.value + room))


def _seen(session: SessionRef, found: SeriesVerdict, alert: Alert | None, now: float, historic: bool) -> Seen:
    window = found.window
    at = found.sessions[min(found.verdict.since, len(found.sessions) - 1)]
    distance = None
    if alert is not None and alert.since_session_id in window.session_ids:
        distance = abs(window.session_ids.index(alert.since_session_id) - at)
    return Seen(
        session_id=session.session_id,
        start_time=session.start_time,
        now=now,
        pipeline=session.pipeline,
        step_name=window.step_name,
        mode=session.mode,
        since_session_id=window.session_ids[at],
        since_time=window.start_times[at],
        distance=distance,
        historic=historic,
    )


def _located_again(
    alert: Alert, events: tuple[str, ...], found: SeriesVerdict, baseline: store.Baseline | None
) -> Change:
    """Return the alert since the session where its level is seen to have moved now that more runs are known.

    Within 5 sessions it is the same move; what lies further away is another one and has its own alert.
    """
    if not kind_of(alert.kind).by_change_points:
        return alert, events
    from perfdb.analysis.change_points import find_change_points

    window = found.window
    if alert.since_session_id not in window.session_ids:
        return alert, events
    values, places = values_for(replace(found.rule, kind=CHANGE_POINT.name), window, baseline)
    at = window.session_ids.index(alert.since_session_id)
    worse = 1 if alert.direction == "up" else -1
    near = [
        places[change.index]
        for change in find_change_points(values)
        if worse * change.effect_percent > 0 and abs(places[change.index] - at) <= SAME_CHANGE
    ]
    place = min(near, key=lambda each: abs(each - at), default=at)
    if place == at:
        return alert, events
    since = values[places.index(place) :]
    level = median(since)
    moved = replace(
        alert,
        since_session_id=window.session_ids[place],
        since_time=window.start_times[place],
        value=level,
        n=len(since),
        effect=percent_over(level, alert.baseline),
    )
    return moved, (*events, "moved")


def _was_decided(alert: Alert, active: Iterable[Alert], total: Series) -> bool:
    """Say whether a person has just decided about this move, as another rule saw it."""
    at = bisect_left(total.start_times, alert.since_time)
    return any(
        each.state in (EXPECTED, FALSE_ALARM)
        and (each.step_name, each.metric, each.direction) == (alert.step_name, alert.metric, alert.direction)
        and abs(bisect_left(total.start_times, each.since_time) - at) <= SAME_CHANGE
        for each in active
    )


def _settle(
    connection: Connection,
    session: SessionRef,
    settings: AlertSettings,
    active: Sequence[Alert],
    changes: Sequence[Change],
    total: Series | None,
    now: float,
    historic: bool,
) -> Outcome:
    """Save what changed, let one speak for each group, and put the notifications into the outbox."""
    unruled = remove_unruled(active, (rule.name for rule in settings.rules), now)
    if not changes and not unruled:
        return Outcome()
    stored = {alert.id: alert for alert in active}
    current = dict(stored)
    resolved: list[Alert] = []
    touched: set[int] = set()
    for alert in unruled:
        current[alert.id] = alert
        store.add_event(connection, alert.id, "rule removed", now)
    store.look_up_series(connection, session.pipeline, session.mode, (changed for changed, _ in changes))
    happened: list[tuple[int, str, str | None]] = []
    for changed, events in changes:
        alert_id = changed.id or store.save_alert(connection, changed)
        current[alert_id] = replace(changed, id=alert_id)
        happened += ((alert_id, event, note) for event, note in _kept(events, changed.hits))
        if events:
            touched.add(alert_id)
        if "resolved" in events and stored[alert_id].inhibited_by is None:
            resolved.append(current[alert_id])
    store.add_events(connection, happened, now, session_id=session.session_id)
    final = _grouped(connection, session, current, touched, total, now)
    own = [
        alert for alert in final.values() if alert.last_session_id == session.session_id and not alert.good
    ]
    due = [] if historic else due_of(own, settings, now)
    source = session.pipeline, session.mode, session.session_id
    put = put_digests(connection, source, settings.channels, due, resolved, now)
    for alert in due:
        final[alert.id] = replace(alert, notified_at=now, notified_severity=alert.severity)
    store.save_alerts(connection, (alert for number, alert in final.items() if alert != stored.get(number)))
    confirmed = [
        final[alert.id]
        for alert in own
        if alert.state in (FIRING, ACKNOWLEDGED)
        and alert.inhibited_by is None
        and alert.severity != "info"
        and not alert.silenced
    ]
    return Outcome(tuple(final[alert.id] for alert in due), tuple(sorted(confirmed, key=urgency)), put)


def _kept(events: Iterable[str], hits: int) -> Iterator[tuple[str, str | None]]:
    """Yield the events to keep for an alert, each with a note; the longer it lasts, the fewer."""
    for event in events:
        if event != "confirmed" or hits <= MOST_CONFIRMATIONS:
            yield event, None
        elif hits.bit_count() == 1:
            yield "still confirmed", f"{hits} sessions so far"


def _grouped(
    connection: Connection,
    session: SessionRef,
    current: Mapping[int, Alert],
    touched: Collection[int],
    total: Series | None,
    now: float,
) -> dict[int, Alert]:
    """Return the alerts with silences and groups applied, and with their texts."""
    quiet = store.silences_in_force(connection, now)
    flagged = [
        replace(alert, silenced=any(silence.fits(alert) for silence in quiet)) for alert in current.values()
    ]
    others: list[Alert] = []
    if total is None:  # the session still runs: what it breaks is one group, the rest stays as it is
        others = [alert for alert in flagged if alert.last_session_id != session.session_id]
        flagged = [alert for alert in flagged if alert.last_session_id == session.session_id]
    times = total.start_times if total is not None else []
    first = times[0] if times else -math.inf
    positions = {
        alert.id: bisect_left(times, alert.since_time) if alert.since_time >= first else LONG_AGO
        for alert in flagged
    }
    grouped = group(flagged, positions)
    spoken_for = _of_one_host(connection, grouped, total)
    grouped = [replace(each, inhibited_by=spoken_for.get(each.id, each.inhibited_by)) for each in grouped]
    return {alert.id: alert for alert in _worded([*grouped, *others], touched)}


def _with_error(connection: Connection, session: SessionRef, alert: Alert) -> Alert:
    error = last_error(connection, session, alert.step_name)
    if not error:
        return alert
    said = [
        without_ids(each) for each in errors_since(connection, session, alert.step_name, alert.since_time)
    ]
    alike = {"failures": len(said), "failures_alike": said.count(without_ids(error))}
    return replace(alert, details={**alert.details, "error": error[:200], **alike})


_BEGINNINGS = {"opened", "opened pending", "opened historic", "opened again", "moved"}


def _with_cause(
    connection: Connection,
    alert: Alert,
    measure: Measure,
    known: dict[tuple[str, str], dict[str, Any]],
) -> Alert:
    """Return the alert with what explains its move; steps and total that moved together share it."""
    key = alert.metric, alert.since_session_id
    if key not in known:
        cause = cause_at(
            connection, alert.pipeline, alert.mode, alert.since_time, most=AROUND, measure=measure
        )
        known[key] = {} if cause is None else {"cause": as_details(cause)}
    return replace(alert, details={**alert.details, **known[key]})


def _with_switch(
    connection: Connection, session: SessionRef, windows: Sequence[Series], alert: Alert
) -> Alert:
    """Return the alert with the attribute that tells at which of its two levels a run is, if one does."""
    from perfdb.analysis.modes import by_words, explained_by

    window = next(
        each for each in windows if (each.step_name, each.metric) == (alert.step_name, alert.metric)
    ).good
    levels = dict(zip(window.session_ids, window.values, strict=True))
    facts = facts_before(connection, session.pipeline, session.mode, session.start_time, CHANGE_RUNS)
    by = explained_by(levels, facts, alert.step_name)
    if by is None:
        return alert
    return replace(alert, details={**alert.details, "switches_with": by_words(by)})


def _with_everything(
    connection: Connection, session: SessionRef, windows: Sequence[Series], alert: Alert
) -> Alert:
    """Return the alert with the host on which every step moved by about as much, where that is so."""
    if alert.metric != "duration" or alert.direction != "up":
        return alert
    from perfdb.analysis.regressions import moved_everywhere

    everywhere = moved_everywhere(windows, alert.since_time)
    if everywhere is None:
        return replace(alert, details={k: v for k, v in alert.details.items() if k != "everything"})
    hosts = hosts_since(connection, session, alert.since_time)
    told = {"effect": everywhere[0], "steps": everywhere[1], "host": hosts.pop() if len(hosts) == 1 else None}
    return replace(alert, details={**alert.details, "everything": told})


def _first(alert: Alert) -> tuple[float, str, str]:
    return alert.since_time, alert.pipeline, alert.mode


def _of_one_host(connection: Connection, alerts: Sequence[Alert], total: Series | None) -> dict[int, int]:
    """Return which alerts, by number, one of another pipeline or mode on the same host speaks for.

    They began within 5 sessions of it, and both say that everything there moved; the first speaks.
    """
    heads = {each.id: host for each in alerts if each.inhibited_by is None and (host := host_of(each))}
    if not heads or total is None:
        return {}
    own = {each.id for each in alerts}
    foreign = [each for each in store.read_alerts(connection, "open") if each.id not in own and host_of(each)]
    spoken_for: dict[int, int] = {}
    for alert in alerts:
        place = bisect_left(total.start_times, alert.since_time)
        head = next(
            (
                each
                for each in sorted(foreign, key=_first)
                if _first(each) < _first(alert)
                and host_of(each) == heads.get(alert.id)
                and abs(bisect_left(total.start_times, each.since_time) - place) <= SAME_CHANGE
            ),
            None,
        )
        if head is not None:
            spoken_for[alert.id] = head.id
    return spoken_for


def _worded(alerts: Sequence[Alert], touched: Collection[int]) -> Iterator[Alert]:
    """Yield the alerts with their texts; those that changed, and those that speak for one that did."""
    for alert in alerts:
        others = [each for each in alerts if each.inhibited_by == alert.id]
        if alert.id in touched or not alert.message or any(each.id in touched for each in others):
            if alert.inhibited_by is not None:
                others = [each for each in alerts if each.id == alert.inhibited_by]
            alert = replace(alert, headline=headline(alert), message=message(alert, others))
        yield alert
