"""What a rule would have said of past runs, each evaluated as if it were the newest. Nothing is written."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, get_args

from perfdb.alerts.evaluation import WAVE_RUNS
from perfdb.alerts.lifecycle import Seen, advance, frozen_of
from perfdb.alerts.verdicts import (
    MEASURED,
    SeriesVerdict,
    evaluate_rules,
    judged,
    pins_of,
    values_for,
    windows_of,
    with_sums,
)
from perfdb.analysis.outcomes import Outcome, outcome_of
from perfdb.analysis.rules import EVERY, TABLE, Level, Rule
from perfdb.analysis.rules.base import SAME_CHANGE
from perfdb.analysis.rules.change import CHANGE_POINT, CHANGE_RUNS
from perfdb.analysis.rules.kind import contribution
from perfdb.analysis.series import WAVE_DAYS, Series
from perfdb.records import Alert
from perfdb.stopping import look
from perfdb.store.alerts import Baseline
from perfdb.store.together import together
from perfdb.store.windows import SessionRef, read_windows

_MOST_STEPS = 1_000_000  # that are replayed of a pipeline and mode: 100 MB

if TYPE_CHECKING:
    from sqlalchemy import Connection


def evaluate_past(
    connection: Connection,
    session: SessionRef,
    rule: Rule,
    accepted: Mapping[tuple[str | None, str], Baseline],
    last: int,
) -> Iterator[tuple[SeriesVerdict, int]]:
    """Yield the verdicts on the last runs of each series, the newest first, and the place of each run.

    Args:
        connection: of any role.
        session: the newest session of a pipeline and mode.
        rule: what to evaluate; open alerts play no part.
        accepted: baselines, see ``store.alerts.accepted_baselines``.
        last: how many sessions, ``session`` among them.
    """
    measured = rule.metric in MEASURED
    of_steps = (rule.step, None) if rule.step == EVERY else (rule.step,)
    windows, pins = together(
        connection,
        lambda: read_windows(
            connection,
            session,
            TABLE[rule.kind].window + last,
            metrics={"duration", rule.metric} if measured else {"duration"},
            attributes=None if measured else {step: [rule.of_measure] for step in of_steps},
        ),
        lambda: pins_of(connection, session.pipeline, session.mode),
    )
    if not windows:
        return
    windows = with_sums(connection, windows, [rule])
    total = windows[0]  # has every session
    for session_id, start in list(zip(total.session_ids, total.start_times, strict=True))[: -last - 1 : -1]:
        then = [window.between(0, bisect_right(window.start_times, start)) for window in windows]
        there = replace(session, session_id=session_id, start_time=start)
        for found in evaluate_rules(there, then, [rule], accepted, {}, pins):
            yield found, found.sessions[-1]


# --- the whole past, as if it happened again ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rung:
    """An alert that a rule would have raised: of a step or the total, since a run, and what became of it."""

    step_name: str | None
    since_time: float
    moved: float
    outcome: Outcome


@dataclass(slots=True)
class Replayed:
    """What a rule would have done over a history.

    Attributes:
        runs: how many runs it would have been asked about, each of each series.
        outcomes: its alerts by what became of them: ``lasting``, ``temporary``, ``false`` or ``unknown``;
            what total and steps show at once is one alert. Of rules that count failures all are ``unknown``.
    """

    rule: Rule
    runs: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    @property
    def alerts(self) -> int:
        """How often it would have rung."""
        return self.outcomes.total()

    @property
    def precision(self) -> float | None:
        """Share of its alerts that told of a level that was there for a while; None where nobody knows."""
        real = self.outcomes["lasting"] + self.outcomes["temporary"]
        return real / (real + self.outcomes["false"]) if real + self.outcomes["false"] else None

    def as_dict(self) -> dict[str, Any]:
        """Return the row of the rule."""
        return {
            "rule": self.rule.name,
            "kind": self.rule.kind,
            "severity": self.rule.severity,
            "runs": self.runs,
            "alerts": self.alerts,
            **{outcome: self.outcomes[outcome] for outcome in get_args(Outcome)},
            "precision": self.precision,
            "alerts_per_1000_runs": 1000 * self.alerts / self.runs if self.runs else None,
        }


def replay(
    connection: Connection, session: SessionRef, rules: Sequence[Rule], last: int, until: float = inf
) -> tuple[list[Replayed], int]:
    """Let the rules of a pipeline and mode ring again over its last sessions, without silences and decisions.

    Args:
        connection: of any role.
        session: the newest session of the pipeline and mode.
        rules: what is configured.
        last: how many sessions at most.
        until: of the monotonic clock: after which no further series is looked at.

    Returns:
        One entry per rule, and how many sessions there were.
    """
    windows = windows_of(connection, session, rules, most=last, most_steps=_MOST_STEPS)
    pins = pins_of(connection, session.pipeline, session.mode)
    found = []
    for rule in rules:
        made = Replayed(rule)
        found.append(made)
        rungs: list[Rung] = []
        for window in windows:
            if window.metric != rule.metric or not rule.is_about(window) or monotonic() > until:
                continue
            pin = pins.get((window.step_name, rule.metric)) if TABLE[rule.kind].finds == "loss" else None
            if pin is None and TABLE[rule.kind].finds == "loss":
                continue
            asked = rule if pin is None else replace(rule, pinned=Level(pin.value, pin.spread, pin.n))
            values, places = values_for(asked, window, most=len(window))
            made.runs += len(values)
            rungs += _rungs(asked, window, values, places)
        total = windows[0].start_times if windows else ()
        made.outcomes.update(rung.outcome for rung in _events(rungs, total))
    return found, len(windows[0]) if windows else 0


def _rungs(rule: Rule, window: Series, values: Sequence[float], places: Sequence[int]) -> Iterator[Rung]:
    """Yield the alerts that a rule would have fired on one series, run after run."""
    kind = TABLE[rule.kind]
    alert: Alert | None = None
    hits = _may_hit(rule, window, values, places)
    for end in range(1, len(values) + 1):
        if alert is None and not hits[end - 1]:
            continue
        look()
        first = max(0, end - kind.window)
        frozen = frozen_of(alert)
        if frozen is not None and alert is not None and kind.finds == "level":
            first = max(0, end - CHANGE_RUNS)
            since = sum(window.start_times[place] < alert.since_time for place in places[first:end])
            frozen = replace(frozen, since=since)
        place = places[end - 1]
        past = partial(window.between, max(0, place + 1 - WAVE_RUNS), place + 1)
        in_wave = alert is not None and bool(alert.details.get("in_wave"))
        near = window.between(max(0, place - CHANGE_RUNS), place + 1)
        verdict = judged(rule, values[first:end], frozen, near, past, in_wave=in_wave)
        at = places[min(first + verdict.since, end - 1)]
        distance = None
        if alert is not None:
            distance = abs(window.place_of(alert.since_time) - at)
        seen = Seen(
            session_id=window.session_ids[place],
            start_time=window.start_times[place],
            now=window.start_times[place],
            pipeline=window.pipeline,
            step_name=window.step_name,
            mode=window.mode,
            since_session_id=window.session_ids[at],
            since_time=window.start_times[at],
            distance=distance,
        )
        alert, events = advance(alert, rule, verdict, seen)
        if alert is not None and verdict.in_wave:
            alert = replace(alert, details={**alert.details, "in_wave": True})
        if alert is not None and "fired" in events:
            known: Outcome = "unknown"
            if kind.looks_at != "failed":
                began = bisect_left(places, window.place_of(alert.since_time))
                known = outcome_of(values, began)
            yield Rung(window.step_name, alert.since_time, contribution(alert), known)
        if alert is not None and not alert.active:
            alert = None


def _may_hit(rule: Rule, window: Series, values: Sequence[float], places: Sequence[int]) -> list[bool]:
    """Return for each run whether an alert can begin there; a wave of the day may hide one that is asked."""
    from perfdb.analysis.screening import may_hit

    hits: list[bool] = may_hit(rule, values).tolist()
    if TABLE[rule.kind] is CHANGE_POINT and rule.metric == "duration":
        starts = window.start_times
        for number, place in enumerate(places):
            hits[number] |= starts[place] - starts[max(0, place - CHANGE_RUNS)] >= WAVE_DAYS * 86_400
    return hits


def _events(rungs: Sequence[Rung], starts: Sequence[float]) -> Iterator[Rung]:
    """Yield the one that speaks for all of a moment: a step before the total, then what moved most."""
    heads: list[int] = []
    for rung in sorted(rungs, key=lambda each: (each.step_name is None, -abs(each.moved))):
        place = bisect_left(starts, rung.since_time)
        if not any(abs(place - head) <= SAME_CHANGE for head in heads):
            heads.append(place)
            yield rung
