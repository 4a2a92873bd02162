"""The kind ``budget``: more slow runs than are allowed, lately too."""

from __future__ import annotations

from collections.abc import Sequence

from perfdb.analysis.rules.base import HYSTERESIS, Frozen, Rule, Verdict, points_over, too_few, usual, yes
from perfdb.analysis.rules.kind import ANY, Amount, Kind, Told
from perfdb.records import Alert

BUDGET_RUNS, BUDGET_RECENT = 50, 10


def evaluate_budget(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate the share of slow runs: over the budget in the last 50, over 3 times that in the last 10."""
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
        effect=points_over(share, allowed),
        limit=limit,
        bound=bound,
        n=BUDGET_RUNS,
        baseline_n=BUDGET_RUNS,
        since=len(values) - BUDGET_RUNS + (over.index(True) if any(over) else BUDGET_RUNS - 1),
        usual=usual(window),
        arithmetic=f"{sum(over)} of {BUDGET_RUNS} runs beyond the limit = {100 * share:.0f} % > "
        f"{100 * allowed:.3g} %, and "
        f"{sum(over[-BUDGET_RECENT:])} of the last {BUDGET_RECENT} = {100 * recent:.0f} % > "
        f"{300 * allowed:.3g} %: {yes(hit)}",
    )


def _says(alert: Alert, amount: Amount) -> str:
    return f"took more than {amount(alert.limit)} in {100 * alert.value:.0f} % of the last {alert.n} runs"


def _short(alert: Told, amount: Amount) -> str:
    return f"is over {amount(alert.limit)} in {100 * alert.value:.0f} % of its last {alert.n} runs"


BUDGET = Kind(
    name="budget",
    summary="more of the last 50 runs beyond the limit than the target allows (0.95 allows 5 %), "
    "and of the last 10 more than three times that share",
    evaluate=evaluate_budget,
    window=BUDGET_RUNS,
    finds="share",
    settings={"limit": ANY, "target": (0.5, 0.999)},
    needs=("limit",),
    sided=False,
    limit_is="value",
    says=_says,
    short=_short,
)
