"""Propose limits from history: high enough to be quiet, low enough to mean something."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from perfdb.analysis.rows import TEXT, of_types
from perfdb.analysis.runs import Floats
from perfdb.analysis.series import Series, quantile

LEAST_RUNS = 20
SIGMAS = 4.0
LEAST_OVER_MEDIAN = 1.25
MOST_OVER_HIGHEST = 2.0  # of values at two levels, such as the costs of two models, σ says nothing
MOST_FLAGGED = 0.05

COLUMNS = (
    "pipeline",
    "step_name",
    "mode",
    "n",
    "p50",
    "p95",
    "min",
    "max",
    "limit",
    "flagged",
    "flagged_percent",
    "rule_kind",
)


def suggest_thresholds(runs: Iterable[Series], *, higher_is_better: bool = False) -> pd.DataFrame:
    """Return a ``max`` limit for each series with at least 20 runs that count.

    The limit is a robust upper quantile: the median times exp(4 σ), σ being 1.4826 MAD of the logarithms,
    so that a few wild runs do not raise it; at least 1.25 medians, at most twice the highest run, and rounded
    up to two digits. For log-normal durations one run in 30,000 lies above it by chance.

    Args:
        runs: as ``runs.runs_of`` gives them.
        higher_is_better: the limit is a ``min``: the mirror of the above, by the inverse of the values.

    Returns:
        ``pipeline``, ``step_name`` (None: the session's total), ``mode``, ``n``, ``p50``, ``p95``, ``min``,
        ``max`` and ``limit`` (s), ``flagged``: how many of the ``n`` runs the limit would have flagged, and
        ``flagged_percent``, and ``rule_kind``: ``max`` or ``min``. Totals first, then the
        steps by the time they took.
    """
    rows: list[tuple[object, ...]] = []
    for series in runs:
        values = np.array(series.good.values)
        values = values[values > 0]
        if values.size < LEAST_RUNS:
            continue
        if higher_is_better:
            limit = rounded_down(1 / robust_limit(1 / values, rounded=False))
        else:
            limit = robust_limit(values)
        flagged = int((values < limit).sum() if higher_is_better else (values > limit).sum())
        ordered = np.sort(values)
        p50, p95 = quantile(ordered, 0.5), quantile(ordered, 0.95)
        share = 100 * flagged / values.size
        lowest, highest = ordered[[0, -1]].tolist()
        kind = "min" if higher_is_better else "max"
        rows.append((*series.name, values.size, p50, p95, lowest, highest, limit, flagged, share, kind))
    floats = ("p50", "p95", "min", "max", "limit", "flagged_percent")
    others = {"pipeline": TEXT, "step_name": "object", "mode": TEXT, "rule_kind": "object"}
    return of_types(
        pd.DataFrame(rows, columns=list(COLUMNS)),
        dict.fromkeys(floats, "float64") | {"n": "int64", "flagged": "int64"} | others,
    )


def robust_limit(values: Floats, *, rounded: bool = True) -> float:
    """Return the proposed upper limit of positive values, see ``suggest_thresholds``."""
    logs = np.log(values)
    middle = float(np.median(logs))
    sigma = 1.4826 * float(np.median(np.abs(logs - middle)))
    limit = math.exp(middle) * max(LEAST_OVER_MEDIAN, math.exp(SIGMAS * sigma))
    limit = min(limit, MOST_OVER_HIGHEST * float(values.max()))
    if (values > limit).mean() > MOST_FLAGGED:
        limit = quantile(np.sort(values), 0.99)
    return rounded_up(limit) if rounded else limit


def rounded_up(value: float) -> float:
    """Return the least number of two significant digits that is not below ``value``."""
    digits = 1 - math.floor(math.log10(value))
    # ten times as many digits first: 0.3 is 0.30000000000000004 after enough arithmetic
    scaled = round(value * 10.0**digits, 9)
    return round(math.ceil(scaled) / 10.0**digits, max(0, digits))


def rounded_down(value: float) -> float:
    """Return the greatest number of two significant digits that is not above ``value``."""
    digits = 1 - math.floor(math.log10(value))
    return round(math.floor(round(value * 10.0**digits, 9)) / 10.0**digits, max(0, digits))


def rule_name(
    step_name: str | None,
    pipeline: str,
    mode: Sequence[tuple[str, object]],
    measure: str = "duration",
    kind: str = "max",
) -> str:
    """Return a readable name for the rule of a series: ``vision-analysis-slow``, ``design-total-slow``."""
    words = [step_name if step_name is not None else f"{pipeline} total"]
    for name, value in mode:
        if value not in (None, False):
            words.append(name if value is True else f"{name} {value}")
    last = ["slow"] if measure == "duration" else [measure, "low" if kind == "min" else "high"]
    spelt = "".join(each if each.isalnum() else "-" for each in " ".join([*words, *last]).lower())
    return "-".join(part for part in spelt.split("-") if part)
