"""The kinds of rules, one entry each, and the verdict of a rule on the newest run of a series.

Whatever perfdb does with a kind of rule it reads from its entry: a further kind is a module here that ends
with its entry, and its name in the table below. Pure: sequences in (oldest first, the newest last), frozen
Verdict out. The worker runs the rules after each session: standard library only, and numpy only where
``change_point`` or ``switching`` is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perfdb.analysis.rules.anomaly import ANOMALY
from perfdb.analysis.rules.base import EVERY, Frozen, Level, Rule, Verdict, percent_over, usual
from perfdb.analysis.rules.budget import BUDGET
from perfdb.analysis.rules.change import CHANGE_POINT
from perfdb.analysis.rules.failures import ERROR_RATE
from perfdb.analysis.rules.kind import Kind
from perfdb.analysis.rules.limits import MAX, MIN, SUM, exceeds
from perfdb.analysis.rules.pinned import PINNED
from perfdb.analysis.rules.relative import RELATIVE
from perfdb.analysis.rules.shift import FAST_SHIFT
from perfdb.analysis.rules.switching import SWITCHING
from perfdb.analysis.rules.trend import TREND

__all__ = [
    "EVERY",
    "KINDS",
    "TABLE",
    "Frozen",
    "Kind",
    "Level",
    "Rule",
    "Verdict",
    "evaluate",
    "exceeds",
    "kind_of",
]

TABLE = {
    kind.name: kind
    for kind in (
        MAX, MIN, SUM, RELATIVE, BUDGET, ERROR_RATE, FAST_SHIFT, CHANGE_POINT, PINNED, ANOMALY, TREND,
        SWITCHING,
    )
}  # fmt: skip
"""Every kind by its name, in the order in which default rules are asked."""

KINDS = tuple(TABLE)
INVERSE = "of the inverse"  # how the arithmetic of values of which less is worse begins

_UNKNOWN = Kind(
    name="", summary="", evaluate=lambda rule, values, frozen: Verdict(enough=False), window=1, finds="run"
)


def kind_of(name: str) -> Kind:
    """Return what is known of the kind of an alert, which another version of perfdb may have opened."""
    return TABLE.get(name, _UNKNOWN)


def evaluate(rule: Rule, values: Sequence[float], frozen: Frozen | None = None) -> Verdict:
    """Return a rule's verdict on the last of ``values``.

    Args:
        rule: its kind says how.
        values: finite numbers, oldest first; for ``error_rate`` 1.0 is a failed run and 0.0 a good one.
        frozen: of an open alert: hit and good then rest on it, not on a baseline that follows.

    Raises:
        KeyError: there is no such kind.
    """
    kind = TABLE[rule.kind]
    if not values:
        return Verdict(enough=False, arithmetic="no run yet")
    if rule.direction == "down" and kind.looks_at not in ("lowest", "failed"):
        return _mirrored(kind, rule, values, frozen)
    return kind.evaluate(rule, values, frozen)


def _mirrored(kind: Kind, rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate a metric of which less is worse as its negative; what is shown keeps its sign."""

    def negative(value: float | None) -> float | None:
        return None if value is None else -value

    if all(value > 0 for value in values):  # as logarithms: the inverse is the mirror

        def turn(value: float | None) -> float | None:
            return None if not value else 1 / value
    else:
        turn = negative
    pin = rule.pinned
    mirrored = replace(
        rule,
        limit=turn(rule.limit),
        direction="up",
        jitter=0.0,
        pinned=None if pin is None else replace(pin, value=turn(pin.value) or 0.0),
    )
    turned = Frozen(
        baseline=turn(frozen.baseline), baseline_n=frozen.baseline_n, bound=turn(frozen.bound),
        since=frozen.since,
    ) if frozen else None  # fmt: skip
    verdict = kind.evaluate(mirrored, [turn(value) or 0.0 for value in values], turned)
    if kind.finds == "share":  # which is no value of the metric
        return replace(verdict, limit=rule.limit, bound=turn(verdict.bound))
    value, baseline = turn(verdict.value), turn(verdict.baseline)
    return replace(
        verdict,
        value=value,
        baseline=baseline,
        limit=turn(verdict.limit),
        bound=turn(verdict.bound),
        effect=percent_over(value, baseline),
        usual=usual(values[: max(verdict.since, 0)]),
        arithmetic=f"{INVERSE if turn is not negative else 'of the negative'}: {verdict.arithmetic}",
    )
