"""Judge the newest run by what a person set: max, min, a budget of slow runs, a share of failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from perfdb.analysis.rules import (
    BUDGET_RECENT,
    BUDGET_RUNS,
    ERROR_RUNS,
    HYSTERESIS,
    LEAST_ERROR_RUNS,
    PREVIOUS,
    Frozen,
    Rule,
    Verdict,
    exceeds,
    percent_over,
    too_few,
    usual,
    yes,
)


def judge_limit(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge one run by a limit; it is good again 5 % inside of it."""
    if rule.limit is None:
        raise ValueError(f"rule {rule.name!r} has no limit")
    limit, value = rule.limit, values[-1]
    bound = limit - HYSTERESIS * abs(limit) if rule.kind == "max" else limit + HYSTERESIS * abs(limit)
    hit = exceeds(value, limit, rule.kind)
    since = len(values) - 1
    while hit and since > 0 and exceeds(values[since - 1], limit, rule.kind):
        since -= 1
    before = values[max(0, since - PREVIOUS) : since]
    sign = ">" if rule.kind == "max" else "<"
    return Verdict(
        hit=hit,
        good=not exceeds(value, bound, rule.kind),
        value=value,
        baseline=median(before) if before else None,
        effect=percent_over(value, limit),
        limit=limit,
        bound=bound,
        n=len(values) - since if hit else 1,
        baseline_n=len(before),
        since=since,
        usual=usual(before),
        arithmetic=f"{value:.6g} {sign} limit {limit:.6g} is {yes(hit)}; "
        f"a good run is at or inside {bound:.6g}",
    )


def judge_budget(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge the share of slow runs: over the budget in the last 50, over three times that in the last 10."""
    if rule.limit is None:
        raise ValueError(f"rule {rule.name!r} has no limit")
    if len(values) < BUDGET_RUNS:
        return too_few(len(values), BUDGET_RUNS)
    limit, window = rule.limit, values[-BUDGET_RUNS:]
    over = [value > limit for value in window]
    share, recent = sum(over) / BUDGET_RUNS, sum(over[-BUDGET_RECENT:]) / BUDGET_RECENT
    allowed = 1 - rule.target
    hit = share > allowed + 1e-9 and recent > 3 * allowed + 1e-9
    bound = limit - HYSTERESIS * abs(limit)
    return Verdict(
        hit=hit,
        good=values[-1] <= bound,
        value=share,
        baseline=allowed,
        effect=percent_over(share, allowed),
        limit=limit,
        bound=bound,
        n=BUDGET_RUNS,
        baseline_n=BUDGET_RUNS,
        since=len(values) - BUDGET_RUNS + (over.index(True) if any(over) else BUDGET_RUNS - 1),
        usual=usual(window),
        arithmetic=f"{sum(over)} of {BUDGET_RUNS} runs over {limit:.6g} = {share:.1%} > {allowed:.1%}, and "
        f"{sum(over[-BUDGET_RECENT:])} of the last {BUDGET_RECENT} = {recent:.1%} > {3 * allowed:.1%}: "
        f"{yes(hit)}",
    )


def wilson_lower(failures: int, n: int, z: float = 1.96) -> float:
    """Return the lower bound of Wilson's interval for a share (Wilson 1927); 95 % for z = 1.96."""
    if n == 0:
        return 0.0
    share, square = failures / n, z * z
    middle = share + square / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + square / n))


def judge_errors(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge the share of failed runs by the lower bound of its 95 % interval."""
    limit = 0.05 if rule.limit is None else rule.limit
    if len(values) < LEAST_ERROR_RUNS:
        return too_few(len(values), LEAST_ERROR_RUNS)
    window, before = values[-ERROR_RUNS:], values[:-ERROR_RUNS]
    failures, n = sum(value > 0 for value in window), len(window)
    lower = wilson_lower(failures, n)
    first = next((index for index, value in enumerate(window) if value), n - 1)
    bound = limit * (1 - HYSTERESIS)
    return Verdict(
        hit=lower > limit,
        good=not values[-1] and lower <= bound,
        value=failures / n,
        baseline=sum(value > 0 for value in before) / len(before) if before else None,
        effect=percent_over(failures / n, limit),
        limit=limit,
        bound=bound,
        n=n,
        baseline_n=len(before),
        since=len(values) - n + first,
        arithmetic=f"{failures} of {n} failed: Wilson lower bound {lower:.1%} > {limit:.1%} "
        f"is {yes(lower > limit)}",
    )
