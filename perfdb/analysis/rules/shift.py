"""The kind ``fast_shift``: the last five runs clearly above those before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from perfdb.analysis.rules.base import (
    EVERY,
    LEAST_PREVIOUS,
    MEDIAN_ERROR,
    PREVIOUS,
    SHIFT_PERCENT,
    Frozen,
    Rule,
    Verdict,
    begin,
    bound_between,
    level_since,
    logs_of,
    middle_of,
    percent_over,
    scale,
    shown,
    shown_percent,
    too_few,
    usual,
    yes,
)
from perfdb.analysis.rules.kind import Kind

RECENT = 5  # runs that make the new level
SHIFT_LIMIT = 6.0


def evaluate_shift(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """T = (median of the last 5 - median of the 10 to 30 before) / (1.2533 sigma sqrt(1/5 + 1/n)) >= 6.

    sigma is 1.4826 MAD, widened for n < 30 because a MAD of few runs is often too small, and at least 3 % and
    the rule's jitter; 4 of the 5 must lie above nine tenths of the old runs: a second mode is no shift.
    """
    if frozen is not None:
        return still_shifted(rule, values, frozen)
    before, after = values[-PREVIOUS - RECENT : -RECENT], values[-RECENT:]
    if len(before) < LEAST_PREVIOUS:
        return too_few(len(values), LEAST_PREVIOUS + RECENT)
    old, new, n = median(before), median(after), len(before)
    level, sigma, logarithmic = scale(before, after, rule.jitter)
    t = (level(new) - level(old)) / (MEDIAN_ERROR * sigma * math.sqrt(1 / RECENT + 1 / n)) if sigma else 0.0
    if not sigma and new != old:
        t = math.copysign(math.inf, new - old)
    effect = percent_over(new, old)
    clear = sorted(after)[1] > sorted(before)[math.ceil(0.9 * n) - 1]
    large = effect is not None and effect >= SHIFT_PERCENT
    hit = t >= SHIFT_LIMIT and large and clear
    since = begin(values, RECENT, middle_of(old, new))
    logs = logs_of(logarithmic)
    return Verdict(
        hit=hit,
        good=not hit,
        value=new,
        baseline=old,
        effect=effect,
        limit=SHIFT_LIMIT,
        bound=bound_between(old, new),
        n=len(values) - since,
        baseline_n=n,
        since=since,
        usual=usual(before),
        arithmetic=f"T = (median of last {RECENT} {logs}{new:.6g} - median of previous {n} {logs}{old:.6g})"
        f" / ({MEDIAN_ERROR} x {sigma:.4g} x sqrt(1/{RECENT} + 1/{n})) = {t:.2f} >= {SHIFT_LIMIT:g} and "
        f"{shown_percent(effect)} >= +{SHIFT_PERCENT:g} % and 4 of {RECENT} above 9 of 10 "
        f"runs before ({yes(clear)}): {yes(hit)}",
    )


def still_shifted(rule: Rule, values: Sequence[float], frozen: Frozen) -> Verdict:
    """Evaluate a moved level against the baseline it left: each run is back, or it is not."""
    bound, old = frozen.bound, frozen.baseline
    new, since = level_since(values, RECENT, frozen)
    n = len(values) - since
    hit = bound is None or values[-1] > bound
    return Verdict(
        hit=hit,
        good=not hit,
        value=new,
        baseline=old,
        effect=percent_over(new, old),
        bound=bound,
        n=n,
        baseline_n=frozen.baseline_n,
        since=since,
        arithmetic=f"newest run {values[-1]:.6g} > {shown(bound)}: {yes(hit)}; that bound lies between "
        f"the level before, {shown(old)}, and the new one; median of the last {n} {new:.6g}",
    )


FAST_SHIFT = Kind(
    name="fast_shift",
    summary="the last 5 runs above those before, by 5 % and by more than chance",
    evaluate=evaluate_shift,
    window=PREVIOUS + RECENT,
    finds="level",
    by_change_points=True,
    # Two sessions in a row: five runs share a bad minute of the machine more often than one thinks.
    default=Rule(name="fast_shift", kind="fast_shift", step=EVERY, hits=2, default=True),
)
