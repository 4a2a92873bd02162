"""What the rules say of the series of a session: their windows are read, and each is judged.

Nothing is written, and no alert moves.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress, islice, repeat
from statistics import median
from typing import TYPE_CHECKING, Any

from perfdb.alerts.lifecycle import frozen_of
from perfdb.analysis.rules import EVERY, TABLE, Frozen, Level, Rule, Verdict, evaluate
from perfdb.analysis.rules.base import HYSTERESIS, percent_over, usual
from perfdb.analysis.rules.change import CHANGE_POINT, CHANGE_RUNS
from perfdb.analysis.rules.shift import FAST_SHIFT
from perfdb.analysis.series import Series, SeriesName
from perfdb.measures import METRICS, Measure
from perfdb.records import Alert
from perfdb.store import alerts as store
from perfdb.store.baselines import Pin, pinned
from perfdb.store.windows import (
    MOST_STEPS,
    SessionRef,
    read_windows,
    with_day_sums,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection


WAVE_DAYS = 3  # of the runs at hand that may hide a move in their wave
KNOWN_OF, KNOWN_SHARE = 500, 0.01  # runs before, and the share that may have been at a level that is new
STAYED = 10  # runs, and change points, that a level has to show otherwise: it may be a burst
BEYOND, BEYOND_OF = 0.8, 100  # of pairs with so many runs before: who looks at the runs sees that they moved,
BEYOND_LATER, SMALL_STAYED = 0.75, 100  # and a smaller move has to stay for so many runs
WAITED = ", without the time that runs waited for a CPU"
MEASURED = METRICS


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """A rule's verdict on one series."""

    rule: Rule
    window: Series
    sessions: Sequence[int]  # the indices in it of the values that were evaluated
    verdict: Verdict


def windows_of(
    connection: Connection,
    session: SessionRef,
    rules: Sequence[Rule],
    *,
    most: int | None = None,
    only: SeriesName | None = None,
    most_steps: int = MOST_STEPS,
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
            attributes.setdefault(rule.step, {})[rule.metric] = rule.of_measure
            if rule.step == EVERY:
                attributes.setdefault(None, {})[rule.metric] = rule.of_measure
    # Some of the last sessions failed or were tagged: a few more than the rules ask for.
    runs = (most or max(TABLE[rule.kind].window for rule in fitting)) + 10
    further = {step: of_step.values() for step, of_step in attributes.items()}
    windows = read_windows(
        connection, session, runs, metrics=metrics, attributes=further, only=only, most_steps=most_steps
    )
    return with_sums(connection, windows, fitting)


def with_sums(connection: Connection, windows: Sequence[Series], rules: Iterable[Rule]) -> list[Series]:
    """Return the windows, with the sums of days where a rule looks at them."""
    adding = [rule for rule in rules if TABLE[rule.kind].looks_at == "day"]

    def made(window: Series) -> Series:
        for rule in adding:
            if rule.metric == window.metric and rule.is_about(window):
                return with_day_sums(connection, window, rule.of_measure)
        return window

    return [made(window) for window in windows]


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
    told: set[str] | None = None,
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
        told: names of rules that one verdict is enough of: those that had one are added, and their further
            series are not judged.
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
            if told is not None and rule.name in told:
                yield SeriesVerdict(rule, window, places, Verdict(enough=False, arithmetic="not judged"))
                continue
            if alert is not None and frozen is not None and is_level:
                since = sum(window.start_times[each] < alert.since_time for each in places)
                frozen = replace(frozen, since=since)
            asked = with_accepted(rule, baseline)
            if pin is not None:
                asked = replace(asked, pinned=Level(pin.value, pin.spread, pin.n))
            past = partial(_past_of, window, longer)
            in_wave = alert is not None and bool(alert.details.get("in_wave"))
            verdict = judged(asked, values, frozen, window, past, in_wave=in_wave)
            if TABLE[rule.kind].looks_at == "mean" and not verdict.in_wave:
                recorded = [window.values[place] for place in places] if window.calm else values
                verdict = as_recorded(rule, verdict, recorded, frozen, waited=recorded != values)
            if told is not None and verdict.enough:
                told.add(rule.name)
            yield SeriesVerdict(rule, window, places, verdict)


def as_recorded(
    rule: Rule, verdict: Verdict, recorded: Sequence[float], frozen: Frozen | None, *, waited: bool
) -> Verdict:
    """Return a verdict with the medians of the runs that it names, as recorded.

    Args:
        rule: whose verdict it is.
        verdict: of the runs, without what they waited for a CPU.
        recorded: those runs.
        frozen: see ``evaluate``.
        waited: they waited.
    """
    kind = TABLE[rule.kind]
    finds = kind.finds
    n = verdict.baseline_n if finds == "drift" else verdict.n  # its ends are of the same length
    if verdict.value is None or finds not in ("level", "loss", "drift", "run"):
        return verdict
    if not waited and not (verdict.hit and kind.by_change_points):
        return verdict
    first = verdict.since if finds in ("level", "run") else len(recorded) - n
    end = verdict.since + n if finds == "drift" else first
    before = recorded[max(0, end - verdict.baseline_n) : end] if finds != "loss" and frozen is None else ()
    value = median(recorded[first:] or recorded[-1:])
    baseline = median(before) if before and verdict.baseline is not None else verdict.baseline
    return replace(
        verdict,
        value=value,
        baseline=baseline,
        effect=verdict.effect if baseline is None else percent_over(value, baseline),
        usual=verdict.usual and (usual(before) or verdict.usual),
        arithmetic=verdict.arithmetic + (WAITED if waited else ""),
    )


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
    if not verdict.hit or frozen is not None or TABLE[rule.kind].finds not in ("level", "drift"):
        return verdict
    from perfdb.analysis.modes import begin_of_new, find_modes
    from perfdb.analysis.waves import resumes_after_weekend, without_wave

    runs = past().good
    known = runs.calm or runs.values
    if TABLE[rule.kind].finds == "drift":
        modes = find_modes(known[-CHANGE_RUNS:])
        if modes is None or modes.settled():
            return verdict
        said = f"{verdict.arithmetic}; but the runs come and go between two levels: no"
        return replace(verdict, hit=False, good=True, arithmetic=said)
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
    """Say whether the level since a run is one of single runs before: few runs since say too little.

    The runs that lead up to it without a gap are of the same move: of a loop not each run is judged.
    """
    after = sorted(levels[first:])
    low = after[len(after) // 4]
    while first > 0 and levels[first - 1] >= low:
        first -= 1
    before = levels[max(0, first - KNOWN_OF) : first]
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
    if rule.metric != "duration" or TABLE[rule.kind].finds not in ("level", "modes") or not values:
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


def with_accepted(rule: Rule, baseline: store.Baseline | None) -> Rule:
    """Return the rule with a limit that lets an accepted level pass."""
    kind = TABLE[rule.kind]
    if baseline is None or baseline.value is None or rule.limit is None or kind.finds != "breach":
        return rule
    room = HYSTERESIS * abs(baseline.value)
    if kind.looks_at == "lowest":
        return replace(rule, limit=min(rule.limit, baseline.value - room))
    return replace(rule, limit=max(rule.limit, baseline.value + room))
