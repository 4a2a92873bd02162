"""The kind ``anomaly``: one wild run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from perfdb.analysis.rules.base import (
    EVERY,
    LEAST_PREVIOUS,
    PREVIOUS,
    Frozen,
    Rule,
    Verdict,
    percent_over,
    scale,
    shown_percent,
    too_few,
    usual,
    yes,
)
from perfdb.analysis.rules.kind import Kind

ANOMALY_LIMIT, ANOMALY_PERCENT = 6.0, 20.0


def evaluate_anomaly(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate one run by its distance from those before: 6 sigma and 20 %."""
    before, value = values[-PREVIOUS - 1 : -1], values[-1]
    if len(before) < LEAST_PREVIOUS:
        return too_few(len(values), LEAST_PREVIOUS + 1)
    old = median(before)
    level, sigma, _ = scale(before, [value], rule.jitter)
    z = (level(value) - level(old)) / sigma if sigma else 0.0
    effect = percent_over(value, old)
    hit = z >= ANOMALY_LIMIT and effect is not None and effect >= ANOMALY_PERCENT
    return Verdict(
        hit=hit,
        good=not hit,
        value=value,
        baseline=old,
        effect=effect,
        limit=ANOMALY_LIMIT,
        n=1,
        baseline_n=len(before),
        since=len(values) - 1,
        usual=usual(before),
        arithmetic=f"{value:.6g} is {z:.1f} sigma from the median {old:.6g} of {len(before)} runs "
        f"(>= {ANOMALY_LIMIT:g}) and {shown_percent(effect)} (>= +{ANOMALY_PERCENT:g} %): {yes(hit)}",
    )


ANOMALY = Kind(
    name="anomaly",
    summary="one run 6 sigma and 20 % above those before",
    evaluate=evaluate_anomaly,
    window=PREVIOUS + 1,
    finds="run",
    information=True,
    default=Rule(name="anomaly", kind="anomaly", step=EVERY, severity="info", default=True),
)
