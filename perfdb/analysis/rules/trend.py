"""The kind ``trend``: a slow drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from perfdb.analysis.rules.base import (
    EVERY,
    Frozen,
    Rule,
    Verdict,
    percent_over,
    scale,
    shown_percent,
    too_few,
    yes,
)
from perfdb.analysis.rules.kind import Amount, Kind, became
from perfdb.records import Alert

TREND_RUNS, LEAST_TREND_RUNS, TREND_PERCENT, TREND_Z = 50, 30, 10.0, 3.29


def evaluate_trend(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Theil-Sen slope with Mann-Kendall's test over the last 50 runs; an open alert's ends keep length."""
    window = values[-TREND_RUNS:]
    n = len(window)
    if n < LEAST_TREND_RUNS:
        return too_few(n, LEAST_TREND_RUNS)
    third = (frozen.baseline_n if frozen else 0) or n // 3
    old, new = median(window[:third]), median(window[-third:])
    effect = percent_over(new, old)
    since = len(values) - n
    calm = Verdict(
        good=True, value=new, baseline=old, effect=effect, n=n, baseline_n=third, since=since,
        arithmetic=f"median of the last {third} of {n} runs {new:.6g}, of the first {third} {old:.6g}: "
        f"{shown_percent(effect)} < +{TREND_PERCENT:g} %",
    )  # fmt: skip
    if effect is None or effect < TREND_PERCENT:
        return calm  # most series end here: all pairs cost more than all else
    level, _, logarithmic = scale(window, (), 0.0)
    levels = [level(value) for value in window]
    pairs = [(levels[j] - levels[i], j - i) for i in range(n) for j in range(i + 1, n)]
    slope = median(difference / distance for difference, distance in pairs)
    score = sum((difference > 0) - (difference < 0) for difference, _ in pairs)
    z = (score - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if score > 0 else 0.0
    drift = 100 * (math.exp(slope * (n - 1)) - 1) if logarithmic else percent_over(old + slope * (n - 1), old)
    hit = z >= TREND_Z and drift is not None and drift >= TREND_PERCENT
    return replace(
        calm,
        hit=hit,
        good=not hit,
        limit=TREND_PERCENT,
        arithmetic=f"Theil-Sen over {n} runs: {shown_percent(drift)} (>= +{TREND_PERCENT:g} %), "
        f"Mann-Kendall z = {z:.2f} (>= {TREND_Z:g}): {yes(hit)}",
    )


def _says(alert: Alert, amount: Amount) -> str:
    """Say how far the end of the runs since a session lies from their beginning."""
    before, runs = (
        f"median of the first {alert.baseline_n} of {alert.n} runs",
        f"of the last {alert.baseline_n}",
    )
    return became(alert, amount, verb="drifts", before=before, runs=runs)


TREND = Kind(
    name="trend",
    summary="a drift of 10 % over the last 50 runs",
    evaluate=evaluate_trend,
    window=TREND_RUNS,
    finds="drift",
    information=True,
    default=Rule(name="trend", kind="trend", step=EVERY, severity="info", default=True),
    says=_says,
)
