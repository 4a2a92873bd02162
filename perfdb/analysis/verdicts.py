"""Judge the newest run of a series by a rule.

Pure: sequences in (oldest first, the newest last), frozen Verdict out; no clock, no database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from perfdb.analysis import limits, shifts
from perfdb.analysis.rules import Frozen, Rule, Verdict, percent_over, usual

_Judge = Callable[[Rule, Sequence[float], Frozen | None], Verdict]
_JUDGES: dict[str, _Judge] = {
    "max": limits.judge_limit,
    "min": limits.judge_limit,
    "relative": shifts.judge_relative,
    "pinned": shifts.judge_pinned,
    "budget": limits.judge_budget,
    "error_rate": limits.judge_errors,
    "fast_shift": shifts.judge_shift,
    "change_point": shifts.judge_change,
    "anomaly": shifts.judge_anomaly,
    "trend": shifts.judge_trend,
}


def evaluate(rule: Rule, values: Sequence[float], frozen: Frozen | None = None) -> Verdict:
    """Judge the last of ``values`` by a rule.

    Args:
        rule: its kind chooses the function.
        values: finite numbers, oldest first; for ``error_rate`` 1.0 is a failed run and 0.0 a good one.
        frozen: of an open alert: hit and good are then judged by it, not by a baseline that follows.

    Raises:
        KeyError: there is no such kind.
    """
    judge = _JUDGES[rule.kind]
    if not values:
        return Verdict(enough=False, arithmetic="no run yet")
    if rule.direction == "down" and rule.kind not in ("min", "error_rate"):
        return _mirrored(judge, rule, values, frozen)
    return judge(rule, values, frozen)


def _mirrored(judge: _Judge, rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge a metric of which less is worse as its negative; what is shown keeps its sign."""

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
        baseline=turn(frozen.baseline), baseline_n=frozen.baseline_n, bound=turn(frozen.bound)
    ) if frozen else None  # fmt: skip
    told = judge(mirrored, [turn(value) or 0.0 for value in values], turned)
    if rule.kind == "budget":
        return replace(told, limit=rule.limit, bound=turn(told.bound))
    value, baseline = turn(told.value), turn(told.baseline)
    return replace(
        told,
        value=value,
        baseline=baseline,
        limit=turn(told.limit),
        bound=turn(told.bound),
        effect=percent_over(value, baseline),
        usual=usual(values[: max(told.since, 0)]),
        arithmetic=f"of the {'inverse' if turn is not negative else 'negative'}: {told.arithmetic}",
    )
