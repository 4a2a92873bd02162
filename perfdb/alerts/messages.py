"""Word an alert: what moved, by how much, since when, what explains it, what resolves it, what to type next.

Pure texts. Names that were recorded may be hostile: the code that prints a message makes it inert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from perfdb.alerts.causes import of_details
from perfdb.alerts.lifecycle import (
    GOOD_RUNS,
    GOOD_RUNS_FLAPPING,
    is_flapping,
)
from perfdb.analysis.cause import Cause, Part
from perfdb.analysis.rules import INVERSE, Rule, Verdict, kind_of
from perfdb.analysis.rules.kind import Amount, contribution
from perfdb.measures import Measure, named
from perfdb.records import Alert
from perfdb.text import amount_text, mode_text, step_label
from perfdb.vocabulary import ACKNOWLEDGED, FIRING, HISTORIC, OTHER

_MOST_NAMED = 3
_EXPLAINS = 0.3  # of the total's move, at least


class OfMeasure(Protocol):
    """Something with values of a metric: an alert, or a row of one."""

    @property
    def unit(self) -> str:
        """The unit of the values."""


def amount(value: float | None, metric: str, measures: Mapping[str, Measure] | None = None) -> str:
    """Return a value with its unit: ``23.33 s``, ``128 ms``, ``310 MB``, ``$0.084``, ``1,234``."""
    return "unknown" if value is None else amount_text(value, named(metric, measures).unit)


def amount_of(alert: OfMeasure, value: float | None) -> str:
    """Return a value of what an alert is about, with its unit."""
    return "unknown" if value is None else amount_text(value, alert.unit)


def amounts(rule: Rule) -> Amount:
    """Return what says values of a rule's metric with their unit."""
    return partial(amount, metric=rule.metric, measures={rule.metric: rule.of_measure})


def subject(alert: Alert) -> str:
    """Return what an alert is about: the step or the total, and a metric that is not the duration."""
    name = alert.step_name if alert.step_name is not None else f"{alert.pipeline} (total)"
    if alert.metric == "duration" or kind_of(alert.kind).finds == "failures":
        return name
    return f"{alert.label} of {name}"


def headline(alert: Alert) -> str:
    """Return the alert in one short line."""
    return f"{alert.severity}: {_what_moved(alert)}, since session {alert.since_session_id} [{alert.rule}]"


def message(alert: Alert, group: Sequence[Alert] = ()) -> str:
    """Return all that a person needs to act.

    Args:
        alert: with its number.
        group: the alerts that it speaks for, and others that fire with it.
    """
    where = ", ".join(part for part in (f"pipeline {alert.pipeline}", mode_text(alert.mode)) if part)
    sentences = [
        f"{_what_moved(alert)} ({where}), since session {alert.since_session_id}.",
        _usual(alert),
        _against_pin(alert),
        f"Rule {alert.rule}{_kind(alert)}: {_arithmetic(alert)}.",
        _explanation(alert, group),
        remedy(alert),
        f"Next: perfdb alerts explain {alert.id}"
        + (f"; if this is expected: perfdb alerts expected {alert.id}" if alert.is_open else ""),
    ]
    return " ".join(sentence for sentence in sentences if sentence)


def _what_moved(alert: Alert) -> str:
    said = kind_of(alert.kind).says(alert, partial(amount_of, alert))
    everything = alert.details.get("everything")
    if not everything:
        return f"{subject(alert)} {said}"
    where = f"on {everything['host']}" if everything["host"] else f"of {alert.pipeline}"
    return (
        f"everything {where} became {everything['effect']:.0f} % slower, {everything['steps']} steps alike: "
        f"{subject(alert)} {said}"
    )


def host_of(alert: Alert) -> str | None:
    """Return the host on which everything moved, as an alert says; None where it does not."""
    everything = alert.details.get("everything")
    return everything["host"] if everything and alert.state in (FIRING, ACKNOWLEDGED) else None


def _arithmetic(alert: Alert) -> str:
    """Return the sum behind the figures that the message tells: of now, not of when the alert opened."""
    return sum_text(
        str(alert.details.get("arithmetic") or alert.details.get("found", "")), alert.kind, alert.unit
    )


def sum_text(said: str, kind: str, unit: str) -> str:
    """Return the sum of a rule with the unit of its figures, where they are values of the metric."""
    judge = kind_of(kind)
    if not said or not unit or judge.looks_at == "failed" or judge.finds == "share":
        return said
    return f"{said} (figures in {'1/' * said.startswith(INVERSE)}{unit})"


def verdict_text(rule: Rule, verdict: Verdict) -> str:
    """Return the sum with which a rule judged a run, with the unit of its figures."""
    said = verdict.arithmetic
    return sum_text(said, rule.kind, rule.of_measure.unit) if verdict.enough else said


def _usual(alert: Alert) -> str:
    usual = alert.details.get("usual")
    if not usual:
        return ""
    low, high = (amount_of(alert, each) for each in usual)
    return f"Usual before: {low} to {high}."


def _against_pin(alert: Alert) -> str:
    """Say how far the new level is from the pinned baseline: many small losses add up there."""
    pin = alert.details.get("pinned")
    if not pin or not pin["value"]:
        return ""
    effect = 100 * (alert.value - pin["value"]) / abs(pin["value"])
    return f"Against the pinned baseline of {amount_of(alert, pin['value'])}: {effect:+.0f} %."


def _kind(alert: Alert) -> str:
    parts = [alert.kind] if alert.kind != alert.rule else []
    if alert.limit is not None and kind_of(alert.kind).limit_is == "value":
        parts.append(f"limit {amount_of(alert, alert.limit)}")
    return f" ({', '.join(parts)})" if parts else ""


def _explanation(alert: Alert, group: Sequence[Alert]) -> str:
    """Say which steps moved, and how much of the total's move that is."""
    finds = kind_of(alert.kind).finds
    if finds == "failures":
        error = alert.details.get("error")
        steps = sorted(
            {each.step_name for each in group if each.step_name and each.step_name != alert.step_name}
        )
        failing = f"Failing too: {', '.join(steps[:_MOST_NAMED])}." if steps else ""
        parts = [f"Last error: {_ended(error)}" if error else "", failure_kinds(alert), failing]
        return " ".join(part for part in parts if part)
    if finds == "share":
        return ""
    everyone = (alert, *group)
    cause = of_details(alert.details)
    if cause is not None:
        details = alert.details
        later = details.get("found") and details.get("arithmetic") not in (None, details.get("found"))
        when = "These parts are of when the alert opened." if later else ""  # its figures are of now
        said = (_parts_of(cause, alert), when, _suspicion(cause))
        return " ".join(part for part in said if part)
    if alert.metric != "duration":
        return ""
    total = next((each for each in everyone if each.step_name is None), None)
    steps_moved: dict[str, float] = {}
    for each in everyone:
        if each.step_name is not None:
            steps_moved.setdefault(each.step_name, contribution(each))
    largest = sorted(steps_moved.items(), key=lambda item: -abs(item[1]))[:_MOST_NAMED]
    whole = contribution(total) if total is not None else 0.0
    apart = sum(moved for _, moved in largest) <= 1.005 * whole  # else some are inside of others: no shares
    named = ", ".join(
        f"{name} {_signed(moved)}{_share(moved, whole) if apart else ''}" for name, moved in largest
    )
    if total is None and finds == "breach" and len(largest) < 2:
        return ""
    if total is None:
        return f"Moved together: {named}." if len(largest) > 1 else "The total has not moved enough to tell."
    if not largest:
        return "No single step moved enough to explain it."
    if whole <= 0 or largest[0][1] < _EXPLAINS * whole:
        return f"No single step explains the total's {_signed(whole)}; most moved: {named}."
    return f"It explains the total's {_signed(whole)}: {named}."


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."


def failure_kinds(alert: Alert) -> str:
    """Say how many of the failures are like the last one, whatever ids are in their texts."""
    alike, of = (alert.details.get(name, 0) for name in ("failures_alike", "failures"))
    are = "is" if alike == 1 else "are"
    return f"{alike} of the {of} failures since then {are} of this kind." if of > 1 and alike else ""


def parts_text(parts: Sequence[Part], unit: str = "s") -> str:
    """Return the parts of a total's move as words: ``work +2.00 s (98 %), Other +40 ms (2 %)``."""
    return ", ".join(
        f"{_part_name(part)} {_signed(part.seconds, unit)}"
        + ("" if part.percent is None else f" ({part.percent:.0f} %)")
        for part in parts
        if part.step_name is not None or part.percent is None or abs(part.percent) >= 0.5
    )


def _part_name(part: Part) -> str:
    """Return the step that moved, which may be one inside of the step that is the part."""
    if part.step_name is None:
        return OTHER
    label = step_label(part.step_name)
    return label if part.within is None else f"{step_label(part.within)}, in {label},"


def _parts_of(cause: Cause, alert: Alert) -> str:
    """Say how much of the total's move each step is."""
    unit, step_name = alert.unit, alert.step_name
    of = cause.of_sides(alert.baseline_n, alert.n) if alert.state == HISTORIC else ""
    named, total = parts_text(cause.parts, unit), f"{_signed(cause.total_s, unit)}{of}"
    if not cause.names_a_step:
        return f"No single step explains the total's {total}."
    if cause.parts[0].percent is None:
        return f"The total's {total} is too uncertain for shares: {named}."
    largest = max((part.percent or 0.0 for part in cause.parts if part.step_name is not None), default=0.0)
    if largest < 100 * _EXPLAINS:
        return f"No single step explains the total's {total}; most moved: {named}."
    own = None if step_name is None else cause.part_of(step_name)
    if own is not None and (own.percent or 0.0) >= 100 * _EXPLAINS:
        return f"It explains the total's {total}: {named}."
    return f"The total's {total}: {named}."


def _suspicion(cause: Cause) -> str:
    return f"Suspect: {cause.sentence}." if cause.suspects else ""


def _share(moved: float, whole: float) -> str:
    return f" ({min(100, round(100 * moved / whole))} %)" if whole > 0 else ""


def remedy(alert: Alert) -> str:
    """Say what would resolve an alert, or when it ended."""
    if "until" in alert.details:
        return f"It ended with session {alert.details['until']}."
    runs = GOOD_RUNS_FLAPPING if is_flapping(alert) else GOOD_RUNS
    held = " (it came back several times, so it is held open longer)" if is_flapping(alert) else ""
    kind = kind_of(alert.kind)
    if kind.finds == "failures":
        return f"Resolved when the rate is back under the limit for {runs} runs{held}."
    if alert.bound is None or kind.finds == "run":
        return f"Resolved after {runs} runs without it{held}."
    if kind.looks_at == "day":
        return f"Resolved by {runs} runs whose day has come to at most {amount_of(alert, alert.bound)}{held}."
    side = "at or over" if kind.looks_at == "lowest" or alert.direction == "down" else "at or under"
    return f"Resolved by {runs} runs {side} {amount_of(alert, alert.bound)}{held}."


def _signed(value: float, unit: str = "s") -> str:
    return ("+" if value > 0 else "") + amount_text(value, unit)
