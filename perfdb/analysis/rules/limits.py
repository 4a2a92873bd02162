"""The kinds ``max``, ``min`` and ``sum``: a run, or the runs of a day, beyond a limit that a person set."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median

from perfdb.analysis.rules.base import HYSTERESIS, PREVIOUS, Frozen, Rule, Verdict, percent_over, usual, yes
from perfdb.analysis.rules.kind import ANY, Amount, Kind, Told, percent_text
from perfdb.records import Alert


def exceeds(value: float, limit: float, kind: str) -> bool:
    """Say whether a value breaks the limit of a ``max``, ``min`` or ``sum`` rule."""
    return value < limit if kind == "min" else value > limit


def evaluate_limit(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate one run against a limit; it is good again 5 % inside of it."""
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
        arithmetic=f"{value:.6g} {sign} limit {limit:.6g}: {yes(hit)}; "
        f"a good run is at or inside {bound:.6g}",
    )


def evaluate_sum(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Evaluate what a day has come to against a limit; the next day begins at nothing, and so is good."""
    if rule.limit is None:
        raise ValueError(f"rule {rule.name!r} has no limit")
    limit, value = rule.limit, values[-1]
    bound = limit - HYSTERESIS * abs(limit)
    hit = value > limit
    since = len(values) - 1
    while hit and since > 0 and limit < values[since - 1] <= values[since]:
        since -= 1
    return Verdict(
        hit=hit,
        good=value <= bound,
        value=value,
        effect=percent_over(value, limit),
        limit=limit,
        bound=bound,
        n=len(values) - since if hit else 1,
        since=since,
        arithmetic=f"sum of the {rule.per} {value:.6g} > limit {limit:.6g}: {yes(hit)}; "
        f"it is good again at or inside {bound:.6g}",
    )


def _says(alert: Alert, amount: Amount, side: str) -> str:
    runs = f", {alert.n} runs in a row" if alert.n > 1 else ""
    before = (
        f"; before it {amount(alert.baseline)} (median of {alert.baseline_n:,} runs)"
        if alert.baseline is not None
        else ""
    )
    return (
        f"is at {amount(alert.value)}, {side} the limit of {amount(alert.limit)}"
        f"{percent_text(alert.effect)}{runs}{before}"
    )


def _short(alert: Told, amount: Amount, side: str) -> str:
    return f"is at {amount(alert.value)}, {side} its limit of {amount(alert.limit)}"


MAX = Kind(
    name="max",
    summary="a run over the limit",
    evaluate=evaluate_limit,
    window=PREVIOUS + 1,
    finds="breach",
    looks_at="highest",
    settings={"limit": ANY},
    needs=("limit",),
    sided=False,
    limit_is="value",
    says=partial(_says, side="over"),
    short=partial(_short, side="over"),
)
MIN = Kind(
    name="min",
    summary="a run under the limit",
    evaluate=evaluate_limit,
    window=PREVIOUS + 1,
    finds="breach",
    looks_at="lowest",
    settings={"limit": ANY},
    needs=("limit",),
    defaults={"direction": "down"},
    sided=False,
    limit_is="value",
    says=partial(_says, side="under"),
    short=partial(_short, side="under"),
)


def _says_of_day(alert: Alert, amount: Amount) -> str:
    runs = f", {alert.n} runs since" if alert.n > 1 else ""
    return (
        f"adds up to {amount(alert.value)} on one day, over the limit of {amount(alert.limit)} a day"
        f"{percent_text(alert.effect)}{runs}"
    )


def _short_of_day(alert: Told, amount: Amount) -> str:
    return f"adds up to {amount(alert.value)} on one day, over its limit of {amount(alert.limit)}"


SUM = Kind(
    name="sum",
    summary="the runs of a day together over the limit, such as a day's spending",
    evaluate=evaluate_sum,
    window=PREVIOUS + 1,
    finds="breach",
    looks_at="day",
    settings={"limit": ANY},
    choices={"per": ("day",)},
    needs=("limit",),
    sided=False,
    limit_is="value",
    says=_says_of_day,
    short=_short_of_day,
)
