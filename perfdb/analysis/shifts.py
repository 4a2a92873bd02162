"""Judge the newest runs by the level of those before: has it moved, since when, and is it back?

Values that are all > 0 are compared as logarithms, others as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from perfdb.analysis.rules import (
    ANOMALY_LIMIT,
    ANOMALY_PERCENT,
    HYSTERESIS,
    LASTING_JITTERS,
    LEAST_CHANGE_RUNS,
    LEAST_PINNED_RUNS,
    LEAST_PREVIOUS,
    LEAST_SIGMA,
    LEAST_TREND_RUNS,
    MEDIAN_ERROR,
    PINNED_LIMIT,
    PINNED_RUNS,
    PREVIOUS,
    RECENT,
    RELATIVE_RECENT,
    RUNS_AFTER_CHANGE,
    SHIFT_LIMIT,
    SHIFT_PERCENT,
    TREND_PERCENT,
    TREND_RUNS,
    TREND_Z,
    Frozen,
    Rule,
    Verdict,
    bound_between,
    middle_of,
    percent_over,
    too_few,
    usual,
    yes,
)


def judge_relative(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge the median of the last 3 by that of the 10 to 30 before, plus some percent."""
    before = values[-PREVIOUS - RELATIVE_RECENT : -RELATIVE_RECENT]
    if len(before) < LEAST_PREVIOUS and frozen is None:
        return too_few(len(values), LEAST_PREVIOUS + RELATIVE_RECENT)
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
        usual=usual(before),
        arithmetic=f"median of the last {RELATIVE_RECENT} {recent:.6g} > baseline {baseline:.6g} (n = {n}) "
        f"+ {rule.percent:g} % = {limit:.6g} is {yes(hit)}",
    )


def judge_pinned(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
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
    level, sigma, logarithmic = _scale(window, [old], rule.jitter)
    sigma = max(sigma, pin.spread if logarithmic == (old > 0) else 0.0)
    factor = _autocorrelation_factor([level(value) - level(new) for value in window])
    error = MEDIAN_ERROR * sigma * math.sqrt(factor * (1 / n + 1 / pin.n))
    t = (level(new) - level(old)) / error if error else 0.0
    effect = percent_over(new, old)
    large = effect is not None and effect >= rule.percent
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
        arithmetic=f"T = (median of last {n} {new:.6g} - pinned median of {pin.n} {old:.6g}) / "
        f"({MEDIAN_ERROR} x {sigma:.4g} x sqrt({factor:.2f} x (1/{n} + 1/{pin.n}))) = {t:.2f} >= "
        f"{PINNED_LIMIT:g} and {_shown_percent(effect)} >= +{rule.percent:g} %: {yes(hit)}",
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


def judge_shift(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """T = (median of the last 5 - median of the 10 to 30 before) / (1.2533 sigma sqrt(1/5 + 1/n)) >= 6.

    sigma is 1.4826 MAD, widened for n < 30 because a MAD of few runs is often too small, and at least 3 % and
    the rule's jitter; 4 of the 5 must lie above nine tenths of the old runs: a second mode is no shift.
    """
    if frozen is not None:
        return _still_shifted(rule, values, frozen)
    before, after = values[-PREVIOUS - RECENT : -RECENT], values[-RECENT:]
    if len(before) < LEAST_PREVIOUS:
        return too_few(len(values), LEAST_PREVIOUS + RECENT)
    old, new, n = median(before), median(after), len(before)
    level, sigma, logarithmic = _scale(before, after, rule.jitter)
    t = (level(new) - level(old)) / (MEDIAN_ERROR * sigma * math.sqrt(1 / RECENT + 1 / n)) if sigma else 0.0
    if not sigma and new != old:
        t = math.copysign(math.inf, new - old)
    effect = percent_over(new, old)
    clear = sorted(after)[1] > sorted(before)[math.ceil(0.9 * n) - 1]
    large = effect is not None and effect >= SHIFT_PERCENT
    hit = t >= SHIFT_LIMIT and large and clear
    since = _begin(values, RECENT, middle_of(old, new))
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
        usual=usual(before),
        arithmetic=f"T = (median of last {RECENT} {logs}{new:.6g} - median of previous {n} {logs}{old:.6g})"
        f" / ({MEDIAN_ERROR} x {sigma:.4g} x sqrt(1/{RECENT} + 1/{n})) = {t:.2f} >= {SHIFT_LIMIT:g} and "
        f"{_shown_percent(effect)} >= +{SHIFT_PERCENT:g} % and 4 of {RECENT} above 9 of 10 "
        f"runs before ({yes(clear)}): {yes(hit)}",
    )


def judge_change(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Ask ``find_change_points`` for the newest change: worse, by 5 % or more, with 5 runs after it."""
    if frozen is not None:
        return _still_shifted(rule, values, frozen)
    if len(values) < LEAST_CHANGE_RUNS:
        return too_few(len(values), LEAST_CHANGE_RUNS)
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
    since = _begin(values, newest.after_n, middle_of(newest.before_median, newest.after_median))
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
        usual=usual(values[max(0, newest.index - PREVIOUS) : newest.index]),
        arithmetic=f"newest change at run {newest.index + 1} of {len(values)}: {newest.before_median:.6g} "
        f"(n = {newest.before_n}) to {newest.after_median:.6g} (n = {newest.after_n}), "
        f"{newest.effect_percent:+.1f} % >= +{SHIFT_PERCENT:g} % and {newest.after_n} >= {RUNS_AFTER_CHANGE} "
        f"runs after it: {yes(hit)}; p = {newest.p_value:.2g}",
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
        f"{_shown(old)} and the level it left for, is {yes(hit)}; median of last {len(after)} {new:.6g}",
    )


def judge_anomaly(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Judge one run by its distance from those before: 6 sigma and 20 %."""
    before, value = values[-PREVIOUS - 1 : -1], values[-1]
    if len(before) < LEAST_PREVIOUS:
        return too_few(len(values), LEAST_PREVIOUS + 1)
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
        usual=usual(before),
        arithmetic=f"{value:.6g} is {z:.1f} sigma from the median {old:.6g} of {len(before)} runs "
        f"(>= {ANOMALY_LIMIT:g}) and {_shown_percent(effect)} (>= +{ANOMALY_PERCENT:g} %): {yes(hit)}",
    )


def judge_trend(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Theil-Sen slope with Mann-Kendall's test over the last 50 runs."""
    window = values[-TREND_RUNS:]
    n = len(window)
    if n < LEAST_TREND_RUNS:
        return too_few(n, LEAST_TREND_RUNS)
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
        f"Mann-Kendall z = {z:.2f} (>= {TREND_Z:g}): {yes(hit)}",
    )


# --- small parts ----------------------------------------------------------------------------------------


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


def _begin(values: Sequence[float], recent: int, middle: float) -> int:
    """Return the first of the last runs that is over the middle and so is most of what follows it."""
    start = max(0, len(values) - recent)
    for index in range(start, len(values)):
        rest = values[index:]
        if values[index] > middle and sum(value > middle for value in rest) * 2 > len(rest):
            return index
    return start


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _shown_percent(effect: float | None) -> str:
    return "no percentage" if effect is None else f"{effect:+.1f} %"
