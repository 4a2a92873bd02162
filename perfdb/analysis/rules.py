"""Judge the newest run of a series: one function per kind of rule, and one Verdict.

Pure: sequences in (oldest first, the newest last), frozen Verdict out; no clock, no database. Values that are
all > 0 are compared as logarithms, others as they are. The worker runs this after each session:
standard library only, and numpy only where `change_point` is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

RECENT = 5  # runs that make the new level of a shift
PREVIOUS = 30  # runs before them that make the old one, at most
LEAST_PREVIOUS = 10
SHIFT_LIMIT = 6.0
SHIFT_PERCENT = 5.0
LEAST_SIGMA = 0.03  # 3 %: a series may be quieter than anyone's patience
LASTING_JITTERS = 4
MEDIAN_ERROR = 1.2533  # standard error of a median of normal values, in sigma / sqrt(n)
HYSTERESIS = 0.05  # a good run is better than the limit by this share
BUDGET_RUNS, BUDGET_RECENT = 50, 10
ERROR_RUNS, LEAST_ERROR_RUNS = 20, 10
RELATIVE_RECENT = 3
ANOMALY_LIMIT, ANOMALY_PERCENT = 6.0, 20.0
TREND_RUNS, LEAST_TREND_RUNS, TREND_PERCENT, TREND_Z = 50, 30, 10.0, 3.29
CHANGE_RUNS, LEAST_CHANGE_RUNS, RUNS_AFTER_CHANGE = 200, 20, 5
PINNED_RUNS, LEAST_PINNED_RUNS, PINNED_LIMIT, PINNED_PERCENT = 50, 20, 5.0, 5.0
SAME_CHANGE = 5  # sessions by which a change may move and be the same one

# How many runs each kind looks at.
WINDOWS = {
    "max": PREVIOUS + 1,
    "min": PREVIOUS + 1,
    "relative": PREVIOUS + RELATIVE_RECENT,
    "budget": BUDGET_RUNS,
    "error_rate": 2 * ERROR_RUNS,
    "fast_shift": PREVIOUS + RECENT,
    "change_point": CHANGE_RUNS,
    "pinned": CHANGE_RUNS,
    "anomaly": PREVIOUS + 1,
    "trend": TREND_RUNS,
}
KINDS = tuple(WINDOWS)
INFORMATION = ("anomaly", "trend")  # never fail a check, never notify alone


@dataclass(frozen=True, slots=True)
class Level:
    """What a pinned baseline knows of its runs: median, robust sigma (of logarithms if > 0), count."""

    value: float
    spread: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A threshold or statistical condition with a severity.

    Attributes:
        name: unique; the alert carries it.
        kind: one of ``KINDS``.
        step: a step's name; None is the session's total, ``*`` the total and every step, each by itself.
        pipeline: None is every pipeline.
        mode: the attributes that a session's mode must have; None is every mode, each by itself.
        metric: ``duration`` (s), ``cpu_s``, ``rss_peak_bytes``, or a numeric attribute.
        limit: of ``max``, ``min`` and ``budget``, in the metric's unit; of ``error_rate``, a share.
        percent: of ``relative`` and ``pinned``.
        pinned: the baseline that ``pinned`` judges by; None where nobody pinned one.
        target: of ``budget``: the share of runs that shall keep the limit.
        direction: where worse is, ``up`` or ``down``.
        hits: sessions in a row that must agree before it fires.
        jitter: what the machine itself may add to a run, in the metric's unit: no sigma is smaller, and a
            lasting change has 4 times that. A total's is that of its steps together, 5 at most.
    """

    name: str
    kind: str
    severity: str = "warning"
    step: str | None = None
    pipeline: str | None = None
    mode: tuple[tuple[str, object], ...] | None = None
    metric: str = "duration"
    limit: float | None = None
    percent: float = 25.0
    target: float = 0.95
    direction: str = "up"
    hits: int = 1
    jitter: float = 0.0
    pinned: Level | None = None
    default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What an open alert is judged by: the baseline of the moment when it opened."""

    baseline: float | None
    baseline_n: int
    bound: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a rule says about the newest run.

    Attributes:
        hit: the condition holds.
        good: the newest run is inside ``bound``: one step towards resolved.
        enough: there was enough history to judge; otherwise neither hit nor good.
        value: what was judged, in the metric's unit (a share for budget and error_rate).
        baseline: what the past makes us expect; None where the rule knows only a limit.
        effect: percent by which value differs from the baseline, or else from the limit.
        bound: a run at or inside it is good.
        n: runs that make ``value``; ``baseline_n`` those that make the baseline.
        since: index of the run it began with.
        usual: range of the middle 80 % of the runs before, None with fewer than 5.
        arithmetic: the sum as a person would write it, with the actual values.
    """

    hit: bool = False
    good: bool = False
    enough: bool = True
    value: float | None = None
    baseline: float | None = None
    effect: float | None = None
    limit: float | None = None
    bound: float | None = None
    n: int = 0
    baseline_n: int = 0
    since: int = 0
    usual: tuple[float, float] | None = None
    arithmetic: str = ""


def exceeds(value: float, limit: float, kind: str) -> bool:
    """Say whether a value breaks the limit of a ``max`` or ``min`` rule."""
    return value > limit if kind == "max" else value < limit


def evaluate(rule: Rule, values: Sequence[float], frozen: Frozen | None = None) -> Verdict:
    """Judge the last of ``values`` by a rule.

    Args:
        rule: its kind chooses the function.
        values: finite numbers, oldest first; for ``error_rate`` 1.0 is a failed run and 0.0 a good one.
        frozen: of an open alert: hit and good are then judged by it, not by a baseline that follows.

    Raises:
        KeyError: there is no such kind.
    """
    judge = _JUDGES[rule.kind]
    if not values:
        return Verdict(enough=False, arithmetic="no run yet")
    if rule.direction == "down" and rule.kind not in ("min", "error_rate"):
        return _mirrored(judge, rule, values, frozen)
    return judge(rule, values, frozen)


def _mirrored(judge: _Judge, rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge a metric of which less is worse as its negative; what is shown keeps its sign."""

    def negative(value: float | None) -> float | None:
        return None if value is None else -value

    if all(value > 0 for value in values):  # as logarithms: the inverse is the mirror

        def turn(value: float | None) -> float | None:
            return None if not value else 1 / value
    else:
        turn = negative
    pin = rule.pinned
    mirrored = replace(
        rule,
        limit=turn(rule.limit),
        direction="up",
        jitter=0.0,
        pinned=None if pin is None else replace(pin, value=turn(pin.value) or 0.0),
    )
    turned = Frozen(
        baseline=turn(frozen.baseline), baseline_n=frozen.baseline_n, bound=turn(frozen.bound)
    ) if frozen else None  # fmt: skip
    told = judge(mirrored, [turn(value) or 0.0 for value in values], turned)
    if rule.kind == "budget":
        return replace(told, limit=rule.limit, bound=turn(told.bound))
    value, baseline = turn(told.value), turn(told.baseline)
    return replace(
        told,
        value=value,
        baseline=baseline,
        limit=turn(told.limit),
        bound=turn(told.bound),
        effect=percent_over(value, baseline),
        usual=_usual(values[: max(told.since, 0)]),
        arithmetic=f"of the {'inverse' if turn is not negative else 'negative'}: {told.arithmetic}",
    )


# --- thresholds -----------------------------------------------------------------------------------------


def _judge_limit(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
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
        usual=_usual(before),
        arithmetic=f"{value:.6g} {sign} limit {limit:.6g} is {_yes(hit)}; "
        f"a good run is at or inside {bound:.6g}",
    )


def _judge_budget(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    if rule.limit is None:
        raise ValueError(f"rule {rule.name!r} has no limit")
    if len(values) < BUDGET_RUNS:
        return _too_few(len(values), BUDGET_RUNS)
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
        usual=_usual(window),
        arithmetic=f"{sum(over)} of {BUDGET_RUNS} runs over {limit:.6g} = {share:.1%} > {allowed:.1%}, and "
        f"{sum(over[-BUDGET_RECENT:])} of the last {BUDGET_RECENT} = {recent:.1%} > {3 * allowed:.1%}: "
        f"{_yes(hit)}",
    )


def wilson_lower(failures: int, n: int, z: float = 1.96) -> float:
    """Return the lower bound of Wilson's interval for a share (Wilson 1927); 95 % for z = 1.96."""
    if n == 0:
        return 0.0
    share, square = failures / n, z * z
    middle = share + square / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + square / n))


def _judge_errors(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    limit = 0.05 if rule.limit is None else rule.limit
    if len(values) < LEAST_ERROR_RUNS:
        return _too_few(len(values), LEAST_ERROR_RUNS)
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
        f"is {_yes(lower > limit)}",
    )


# --- levels ---------------------------------------------------------------------------------------------


def _judge_relative(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    before = values[-PREVIOUS - RELATIVE_RECENT : -RELATIVE_RECENT]
    if len(before) < LEAST_PREVIOUS and frozen is None:
        return _too_few(len(values), LEAST_PREVIOUS + RELATIVE_RECENT)
    recent = median(values[-RELATIVE_RECENT:])
    baseline, n = _level_before(before, frozen)
    limit = baseline + abs(baseline) * rule.percent / 100
    bound = max(baseline, limit - HYSTERESIS * abs(limit))
    hit = recent > limit if frozen is None else values[-1] > bound
    since = _begin(values, RELATIVE_RECENT, limit)
    return Verdict(
        hit=hit,
        good=values[-1] <= bound,
        value=recent,
        baseline=baseline,
        effect=percent_over(recent, baseline),
        limit=limit,
        bound=bound,
        n=len(values) - since,
        baseline_n=n,
        since=since,
        usual=_usual(before),
        arithmetic=f"median of the last {RELATIVE_RECENT} {recent:.6g} > baseline {baseline:.6g} (n = {n}) "
        f"+ {rule.percent:g} % = {limit:.6g} is {_yes(hit)}",
    )


def _judge_pinned(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """T = (median of the last 50 - pinned median) / (1.2533 sigma sqrt(f (1/n + 1/pinned n))) >= 5.

    sigma is the larger one of both, at least 3 % and the rule's jitter; f is for autocorrelation, because
    runs that resemble their neighbours wander. Losses too small to be seen one by one add up against a pin.
    """
    pin, window = rule.pinned, values[-PINNED_RUNS:]
    if pin is None:
        return Verdict(enough=False, arithmetic="no baseline is pinned; see: perfdb baseline pin --help")
    if len(window) < LEAST_PINNED_RUNS:
        return _too_few(len(window), LEAST_PINNED_RUNS)
    new, old, n = median(window), pin.value, len(window)
    level, sigma, logarithmic = _scale(window, [old], rule.jitter)
    sigma = max(sigma, pin.spread if logarithmic == (old > 0) else 0.0)
    factor = _autocorrelation_factor([level(value) - level(new) for value in window])
    error = MEDIAN_ERROR * sigma * math.sqrt(factor * (1 / n + 1 / pin.n))
    t = (level(new) - level(old)) / error if error else 0.0
    effect = percent_over(new, old)
    large = effect is not None and effect >= rule.percent
    bound = _middle(old, new) if frozen is None or frozen.bound is None else frozen.bound
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
        arithmetic=f"T = (median of last {n} {new:.6g} - pinned median of {pin.n} {old:.6g}) / "
        f"({MEDIAN_ERROR} x {sigma:.4g} x sqrt({factor:.2f} x (1/{n} + 1/{pin.n}))) = {t:.2f} >= "
        f"{PINNED_LIMIT:g} and {_shown_percent(effect)} >= +{rule.percent:g} %: {_yes(hit)}",
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


def _judge_shift(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """T = (median of the last 5 - median of the 10 to 30 before) / (1.2533 sigma sqrt(1/5 + 1/n)) >= 6.

    sigma is 1.4826 MAD, widened for n < 30 because a MAD of few runs is often too small, and at least 3 % and
    the rule's jitter; 4 of the 5 must lie above nine tenths of the old runs: a second mode is no shift.
    """
    if frozen is not None:
        return _still_shifted(rule, values, frozen)
    before, after = values[-PREVIOUS - RECENT : -RECENT], values[-RECENT:]
    if len(before) < LEAST_PREVIOUS:
        return _too_few(len(values), LEAST_PREVIOUS + RECENT)
    old, new, n = median(before), median(after), len(before)
    level, sigma, logarithmic = _scale(before, after, rule.jitter)
    t = (level(new) - level(old)) / (MEDIAN_ERROR * sigma * math.sqrt(1 / RECENT + 1 / n)) if sigma else 0.0
    if not sigma and new != old:
        t = math.copysign(math.inf, new - old)
    effect = percent_over(new, old)
    clear = sorted(after)[1] > sorted(before)[math.ceil(0.9 * n) - 1]
    large = effect is not None and effect >= SHIFT_PERCENT
    hit = t >= SHIFT_LIMIT and large and clear
    since = _begin(values, RECENT, _middle(old, new))
    logs = "logs of " if logarithmic else ""
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
        usual=_usual(before),
        arithmetic=f"T = (median of last {RECENT} {logs}{new:.6g} - median of previous {n} {logs}{old:.6g})"
        f" / ({MEDIAN_ERROR} x {sigma:.4g} x sqrt(1/{RECENT} + 1/{n})) = {t:.2f} >= {SHIFT_LIMIT:g} and "
        f"{_shown_percent(effect)} >= +{SHIFT_PERCENT:g} % and 4 of {RECENT} above 9 of 10 "
        f"runs before ({_yes(clear)}): {_yes(hit)}",
    )


def _judge_change(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Ask ``find_change_points`` for the newest change: worse, by 5 % or more, with 5 runs after it."""
    if frozen is not None:
        return _still_shifted(rule, values, frozen)
    if len(values) < LEAST_CHANGE_RUNS:
        return _too_few(len(values), LEAST_CHANGE_RUNS)
    if not _may_have_risen(values, LASTING_JITTERS * rule.jitter):
        return Verdict(good=True, value=values[-1], n=len(values), arithmetic="no end of the runs is higher")
    from perfdb.analysis.change_points import find_change_points

    found = find_change_points(values)
    if not found:
        return Verdict(
            good=True, value=values[-1], n=len(values), arithmetic=f"no change in {len(values)} runs"
        )
    newest = found[-1]
    # It may lie some runs early: what still kept the old level is no part of the new one.
    since = _begin(values, newest.after_n, _middle(newest.before_median, newest.after_median))
    hit = (
        newest.effect_percent >= SHIFT_PERCENT
        and newest.after_n >= RUNS_AFTER_CHANGE
        and newest.after_median - newest.before_median >= LASTING_JITTERS * rule.jitter
    )
    return Verdict(
        hit=hit,
        good=not hit,
        value=newest.after_median,
        baseline=newest.before_median,
        effect=newest.effect_percent,
        limit=SHIFT_PERCENT,
        bound=bound_between(newest.before_median, newest.after_median),
        n=len(values) - since,
        baseline_n=newest.before_n,
        since=since,
        usual=_usual(values[max(0, newest.index - PREVIOUS) : newest.index]),
        arithmetic=f"newest change at run {newest.index + 1} of {len(values)}: {newest.before_median:.6g} "
        f"(n = {newest.before_n}) to {newest.after_median:.6g} (n = {newest.after_n}), "
        f"{newest.effect_percent:+.1f} % >= +{SHIFT_PERCENT:g} % and {newest.after_n} >= {RUNS_AFTER_CHANGE} "
        f"runs after it: {_yes(hit)}; p = {newest.p_value:.2g}",
    )


def _may_have_risen(values: Sequence[float], least: float) -> bool:
    """Say whether asking for change points can bring anything: some end of the runs lies higher.

    It saves the worker numpy on a healthy series; 3 % leaves room for levels that begin elsewhere.
    """
    for length in (5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160):
        before = values[max(0, len(values) - length - 2 * PREVIOUS) : -length]
        if len(before) < LEAST_PREVIOUS:
            return False
        old, new = median(before), median(values[-length:])
        if new - old >= max(least, 0.03 * abs(old)):
            return True
    return False


def _still_shifted(rule: Rule, values: Sequence[float], frozen: Frozen) -> Verdict:
    """Judge a level that moved by the baseline it left: each run is back, or it is not."""
    after, bound = values[-RECENT:], frozen.bound
    new, old = median(after), frozen.baseline
    hit = bound is None or values[-1] > bound
    shown = "unknown" if bound is None else f"{bound:.6g}"
    return Verdict(
        hit=hit,
        good=not hit,
        value=new,
        baseline=old,
        effect=percent_over(new, old),
        bound=bound,
        n=len(after),
        baseline_n=frozen.baseline_n,
        since=max(0, len(values) - len(after)),
        arithmetic=f"open: newest run {values[-1]:.6g} > {shown}, which lies between the frozen baseline "
        f"{_shown(old)} and the level it left for, is {_yes(hit)}; median of last {len(after)} {new:.6g}",
    )


def _judge_anomaly(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    before, value = values[-PREVIOUS - 1 : -1], values[-1]
    if len(before) < LEAST_PREVIOUS:
        return _too_few(len(values), LEAST_PREVIOUS + 1)
    old = median(before)
    level, sigma, _ = _scale(before, [value], rule.jitter)
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
        bound=bound_between(old, value) if hit else None,
        n=1,
        baseline_n=len(before),
        since=len(values) - 1,
        usual=_usual(before),
        arithmetic=f"{value:.6g} is {z:.1f} sigma from the median {old:.6g} of {len(before)} runs "
        f"(>= {ANOMALY_LIMIT:g}) and {_shown_percent(effect)} (>= +{ANOMALY_PERCENT:g} %): {_yes(hit)}",
    )


def _judge_trend(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Theil-Sen slope with Mann-Kendall's test over the last 50 runs."""
    window = values[-TREND_RUNS:]
    n = len(window)
    if n < LEAST_TREND_RUNS:
        return _too_few(n, LEAST_TREND_RUNS)
    third = n // 3
    old, new = median(window[:third]), median(window[-third:])
    effect = percent_over(new, old)
    since = len(values) - n
    calm = Verdict(
        good=True, value=new, baseline=old, effect=effect, n=third, baseline_n=third, since=since,
        arithmetic=f"median of the last {third} of {n} runs {new:.6g}, of the first {third} {old:.6g}: "
        f"{_shown_percent(effect)} < +{TREND_PERCENT:g} %",
    )  # fmt: skip
    if effect is None or effect < TREND_PERCENT or new - old < LASTING_JITTERS * rule.jitter:
        return calm  # most series end here: all pairs cost more than all else
    level, _, logarithmic = _scale(window, (), 0.0)
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
        arithmetic=f"Theil-Sen over {n} runs: {_shown_percent(drift)} (>= +{TREND_PERCENT:g} %), "
        f"Mann-Kendall z = {z:.2f} (>= {TREND_Z:g}): {_yes(hit)}",
    )


# --- small parts ----------------------------------------------------------------------------------------

_Judge = Callable[[Rule, Sequence[float], Frozen | None], Verdict]
_JUDGES: dict[str, _Judge] = {
    "max": _judge_limit,
    "min": _judge_limit,
    "relative": _judge_relative,
    "pinned": _judge_pinned,
    "budget": _judge_budget,
    "error_rate": _judge_errors,
    "fast_shift": _judge_shift,
    "change_point": _judge_change,
    "anomaly": _judge_anomaly,
    "trend": _judge_trend,
}


def percent_over(value: float | None, base: float | None) -> float | None:
    """Return by how many percent a value lies above a base; None where that means nothing."""
    if value is None or not base:
        return None
    return 100 * (value - base) / abs(base)


def _too_few(n: int, least: int) -> Verdict:
    return Verdict(enough=False, n=n, arithmetic=f"too little history: {n} of {least} runs")


def _level_before(before: Sequence[float], frozen: Frozen | None) -> tuple[float, int]:
    if frozen is not None and frozen.baseline is not None:
        return frozen.baseline, frozen.baseline_n
    return median(before), len(before)


def _scale(
    before: Sequence[float], after: Sequence[float], jitter: float
) -> tuple[Callable[[float], float], float, bool]:
    """Return how values are compared, their robust sigma before, and whether as logarithms."""
    logarithmic = min(before) > 0 and min(after, default=1) > 0
    level: Callable[[float], float] = math.log if logarithmic else float
    levels = [level(value) for value in before]
    middle = median(levels)
    few = 1 + 3 / len(before) - 3 / PREVIOUS
    sigma = 1.4826 * median(abs(value - middle) for value in levels) * few
    if logarithmic:
        return level, max(sigma, LEAST_SIGMA, jitter / median(before)), True
    return level, max(sigma, LEAST_SIGMA * abs(middle), jitter), False


def _usual(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 5:
        return None
    ordered = sorted(values[-PREVIOUS:])
    tenth = len(ordered) // 10
    return ordered[tenth], ordered[-1 - tenth]


def _middle(old: float, new: float) -> float:
    return math.sqrt(old * new) if old > 0 and new > 0 else (old + new) / 2


def bound_between(old: float, new: float) -> float:
    """Return what a run must keep to be good again: 5 % inside the middle of both levels, or the old one."""
    middle = _middle(old, new)
    return max(old, middle - HYSTERESIS * abs(middle))


def _begin(values: Sequence[float], recent: int, middle: float) -> int:
    """Return the first of the last runs that is over the middle and so is most of what follows it."""
    start = max(0, len(values) - recent)
    for index in range(start, len(values)):
        rest = values[index:]
        if values[index] > middle and sum(value > middle for value in rest) * 2 > len(rest):
            return index
    return start


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _shown_percent(effect: float | None) -> str:
    return "no percentage" if effect is None else f"{effect:+.1f} %"
