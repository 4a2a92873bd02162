"""The kind ``error_rate``: a share of failed runs that chance does not explain."""

from __future__ import annotations

import math
from collections.abc import Sequence

from perfdb.analysis.rules.base import EVERY, HYSTERESIS, Frozen, Rule, Verdict, points_over, too_few, yes
from perfdb.analysis.rules.kind import Amount, Kind, Told
from perfdb.records import Alert

ERROR_RUNS, LEAST_ERROR_RUNS = 20, 10
ERROR_RATE_LIMIT = 0.05


def wilson_interval(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval for a share (Wilson 1927); 95 % for z = 1.96."""
    if n == 0:
        return 0.0, 1.0
    share, square = hits / n, z * z
    middle = share + square / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + square / n)), min(1.0, (middle + spread) / (1 + square / n))


def wilson_lower(failures: int, n: int) -> float:
    """Return the lower bound of the 95 % interval of a share."""
    return wilson_interval(failures, n)[0]


def evaluate_errors(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate the share of failed runs by the lower bound of its 95 % interval.

    It is so since the first failure of the first window, of those without a gap up to now, that is a hit;
    what was before is compared with it. An import finds runs that failed so often long before the newest.
    """
    limit = ERROR_RATE_LIMIT if rule.limit is None else rule.limit
    if len(values) < LEAST_ERROR_RUNS:
        return too_few(len(values), LEAST_ERROR_RUNS)
    window = values[-ERROR_RUNS:]
    failures, n = sum(value > 0 for value in window), len(window)
    lower = wilson_lower(failures, n)
    start = len(values) - n
    if lower > limit:
        while start and wilson_lower(sum(value > 0 for value in values[start - 1 :][:n]), n) > limit:
            start -= 1
    since = next((index for index in range(start, len(values)) if values[index]), len(values) - 1)
    before = values[:start]
    bound = limit * (1 - HYSTERESIS)
    usual = sum(value > 0 for value in before) / len(before) if before else None
    usual_n = len(before)
    if frozen is not None and frozen.baseline is not None:
        usual, usual_n = frozen.baseline, frozen.baseline_n
    return Verdict(
        hit=lower > limit,
        good=not values[-1] and lower <= bound,
        value=failures / n,
        baseline=usual,
        effect=points_over(failures / n, limit if usual is None else usual),
        limit=limit,
        bound=bound,
        n=n,
        baseline_n=usual_n,
        since=since,
        arithmetic=f"{failures} of {n} failed: Wilson lower bound {100 * lower:.1f} % > {100 * limit:g} %: "
        f"{yes(lower > limit)}",
    )


def _says(alert: Alert, amount: Amount) -> str:
    failed = round(alert.value * alert.n)
    before = (
        "" if alert.baseline is None else f" ({100 * alert.baseline:.0f} % of the {alert.baseline_n} before)"
    )
    return f"failed in {failed} of the last {alert.n} runs{before}"


def _short(alert: Told, amount: Amount) -> str:
    return f"fails in {100 * alert.value:.0f} % of its last {alert.n} runs"


ERROR_RATE = Kind(
    name="error_rate",
    summary="more failed runs among the last 20 than the limit (0.05 is 5 %), and than chance explains",
    evaluate=evaluate_errors,
    window=2 * ERROR_RUNS,
    finds="failures",
    looks_at="failed",
    settings={"limit": (0, 1)},
    defaults={"limit": ERROR_RATE_LIMIT},
    sided=False,
    limit_is="share",
    default=Rule(name="error_rate", kind="error_rate", step=EVERY, limit=ERROR_RATE_LIMIT, default=True),
    says=_says,
    short=_short,
)
