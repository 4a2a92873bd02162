"""The kind ``pinned``: the newest runs above a baseline that a person pinned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from perfdb.analysis.rules.base import (
    EVERY,
    LEAST_PREVIOUS,
    MEDIAN_ERROR,
    Frozen,
    Rule,
    Verdict,
    logs_of,
    middle_of,
    percent_over,
    scale,
    shown_percent,
    too_few,
    yes,
)
from perfdb.analysis.rules.kind import Amount, Kind, became, worse
from perfdb.records import Alert

PINNED_RUNS, LEAST_PINNED_RUNS, PINNED_LIMIT, PINNED_PERCENT = 50, 20, 5.0, 5.0


def evaluate_pinned(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """T = (median of the last 50 - pinned median) / (1.2533 sigma sqrt(f (1/n + 1/pinned n))) >= 5.

    sigma is the larger one of both, at least 3 % and the rule's jitter; f is for autocorrelation, because
    runs that resemble their neighbours wander. Losses too small to be seen one by one add up against a pin.
    """
    pin, window = rule.pinned, values[-PINNED_RUNS:]
    if pin is None:
        return Verdict(enough=False, arithmetic="no baseline is pinned; see: perfdb baseline pin --help")
    if len(window) < LEAST_PINNED_RUNS:
        return too_few(len(window), LEAST_PINNED_RUNS)
    new, old, n = median(window), pin.value, len(window)
    level, sigma, logarithmic = scale(window, [old], rule.jitter)
    sigma = max(sigma, pin.spread if logarithmic == (old > 0) else 0.0)
    factor = _autocorrelation_factor([level(value) - level(new) for value in window])
    error = MEDIAN_ERROR * sigma * math.sqrt(factor * (1 / n + 1 / pin.n))
    t = (level(new) - level(old)) / error if error else 0.0
    effect = percent_over(new, old)
    large = effect is not None and effect >= rule.percent
    logs = logs_of(logarithmic)
    bound = middle_of(old, new) if frozen is None or frozen.bound is None else frozen.bound
    latest = median(values[-LEAST_PREVIOUS:])
    hit = t >= PINNED_LIMIT and large if frozen is None else latest > bound
    return Verdict(
        hit=hit,
        good=not hit,
        value=new,
        baseline=old,
        effect=effect,
        limit=PINNED_LIMIT,
        bound=bound,
        n=n,
        baseline_n=pin.n,
        since=_begin_above(values, bound),
        arithmetic=f"T = (median of last {n} {logs}{new:.6g} - pinned median of {pin.n} {logs}{old:.6g}) / "
        f"({MEDIAN_ERROR} x {sigma:.4g} x sqrt({factor:.2f} x (1/{n} + 1/{pin.n}))) = {t:.2f} >= "
        f"{PINNED_LIMIT:g} and {shown_percent(effect)} >= +{rule.percent:g} %: {yes(hit)}",
    )


def _autocorrelation_factor(deviations: Sequence[float]) -> float:
    """Return f = (1 + rho) / (1 - rho): n runs that resemble their neighbours tell what n / f others do."""
    reach = 3 * 1.4826 * median(abs(each) for each in deviations)
    clipped = [max(-reach, min(reach, each)) for each in deviations]
    power = sum(each * each for each in clipped)
    if not power:
        return 1.0
    rho = sum(one * two for one, two in pairwise(clipped)) / power
    rho = min(max(rho, 0.0), 0.9)
    return (1 + rho) / (1 - rho)


def _begin_above(values: Sequence[float], middle: float) -> int:
    """Return where the last runs begin whose medians of ten lie above a level."""
    start = len(values)
    while start >= LEAST_PREVIOUS and median(values[start - LEAST_PREVIOUS : start]) > middle:
        start -= LEAST_PREVIOUS
    return min(start, len(values) - 1)


def _says(alert: Alert, amount: Amount) -> str:
    verb = f"is {worse(alert)} than its pinned baseline"
    return became(alert, amount, verb=verb, runs=f"the last {alert.n} runs")


PINNED = Kind(
    name="pinned",
    summary="the last runs above a pinned baseline by so many percent",
    evaluate=evaluate_pinned,
    window=200,
    finds="loss",
    settings={"percent": (0.1, 100_000)},
    defaults={"percent": PINNED_PERCENT},
    # Applies only where a baseline is pinned.
    default=Rule(
        name="pinned_baseline",
        kind="pinned",
        step=EVERY,
        percent=PINNED_PERCENT,
        default=True,
    ),
    says=_says,
)
