"""The kind ``relative``: the last runs above the median of those before, by some percent."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from perfdb.analysis.rules.base import (
    HYSTERESIS,
    LEAST_PREVIOUS,
    PREVIOUS,
    Frozen,
    Rule,
    Verdict,
    begin,
    level_before,
    level_since,
    percent_over,
    too_few,
    usual,
    yes,
)
from perfdb.analysis.rules.kind import Kind

RELATIVE_RECENT = 3


def evaluate_relative(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate the median of the last 3 against that of the 10 to 30 before, plus some percent."""
    before = values[-PREVIOUS - RELATIVE_RECENT : -RELATIVE_RECENT]
    if len(before) < LEAST_PREVIOUS and frozen is None:
        return too_few(len(values), LEAST_PREVIOUS + RELATIVE_RECENT)
    recent = median(values[-RELATIVE_RECENT:])
    baseline, n = level_before(before, frozen)
    limit = baseline + abs(baseline) * rule.percent / 100
    bound = max(baseline, limit - HYSTERESIS * abs(limit))
    hit = recent > limit if frozen is None else values[-1] > bound
    since = begin(values, RELATIVE_RECENT, limit)
    value = recent
    if frozen is not None and frozen.since is not None:
        value, since = level_since(values, RELATIVE_RECENT, frozen)
    return Verdict(
        hit=hit,
        good=values[-1] <= bound,
        value=value,
        baseline=baseline,
        effect=percent_over(value, baseline),
        limit=limit,
        bound=bound,
        n=len(values) - since,
        baseline_n=n,
        since=since,
        usual=usual(before),
        arithmetic=f"median of the last {RELATIVE_RECENT} {recent:.6g} > baseline {baseline:.6g} (n = {n}) "
        f"+ {rule.percent:g} % = {limit:.6g}: {yes(hit)}",
    )


RELATIVE = Kind(
    name="relative",
    summary="the median of the last 3 runs above that of those before by so many percent",
    evaluate=evaluate_relative,
    window=PREVIOUS + RELATIVE_RECENT,
    finds="level",
    settings={"percent": (0.1, 100_000)},
    needs=("percent",),
    limit_is="value",
)
