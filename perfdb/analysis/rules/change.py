"""The kind ``change_point``: the newest move of the level, found in the long history."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from perfdb.analysis.rules.base import (
    EVERY,
    LEAST_PREVIOUS,
    PREVIOUS,
    SHIFT_PERCENT,
    Frozen,
    Rule,
    Verdict,
    begin,
    bound_between,
    middle_of,
    too_few,
    usual,
    yes,
)
from perfdb.analysis.rules.kind import Kind
from perfdb.analysis.rules.shift import still_shifted
from perfdb.text import p_text

if TYPE_CHECKING:
    from perfdb.analysis.change_points import ChangePoint

CHANGE_RUNS, LEAST_CHANGE_RUNS, RUNS_AFTER_CHANGE = 200, 20, 5


def evaluate_change(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Ask ``find_change_points`` for the newest change: worse, by 5 % or more, with 5 runs after it."""
    if frozen is not None:
        return still_shifted(rule, values, frozen)
    if len(values) < LEAST_CHANGE_RUNS:
        return too_few(len(values), LEAST_CHANGE_RUNS)
    if not _may_have_risen(values):
        return Verdict(
            good=True,
            value=values[-1],
            n=len(values),
            arithmetic="the newest runs are no higher than those before them",
        )
    from perfdb.analysis.change_points import find_change_points

    found = find_change_points(values)
    if not found:
        return Verdict(
            good=True, value=values[-1], n=len(values), arithmetic=f"no change in {len(values)} runs"
        )
    newest = found[-1]
    # It may lie some runs early: what still kept the old level is no part of the new one.
    since = begin(values, newest.after_n, middle_of(newest.before_median, newest.after_median))
    hit = newest.effect_percent >= SHIFT_PERCENT and newest.after_n >= RUNS_AFTER_CHANGE
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
        arithmetic=f"newest {change_text(newest, len(values))}: {yes(hit)}",
    )


def change_text(change: ChangePoint, of: int) -> str:
    """Return where the level of so many runs moved, and each number that this rests on by its name."""
    return (
        f"change at run {change.index + 1} of {of}: median of {change.before_n} runs before "
        f"{change.before_median:.6g}, of {change.after_n} since {change.after_median:.6g}; "
        f"{change.effect_percent:+.1f} % >= +{SHIFT_PERCENT:g} % and {change.after_n} >= {RUNS_AFTER_CHANGE} "
        f"runs since, chance p {p_text(change.p_value)}"
    )


def _may_have_risen(values: Sequence[float]) -> bool:
    """Say whether asking for change points can bring anything: some end of the runs lies higher.

    It saves the worker numpy on a healthy series; 3 % leaves room for levels that begin elsewhere.
    """
    for length in (5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160):
        before = values[max(0, len(values) - length - 2 * PREVIOUS) : -length]
        if len(before) < LEAST_PREVIOUS:
            return False
        old, new = median(before), median(values[-length:])
        if new - old >= 0.03 * abs(old):
            return True
    return False


CHANGE_POINT = Kind(
    name="change_point",
    summary="the newest change of the level is for the worse, by 5 %, and 5 runs lie after it",
    evaluate=evaluate_change,
    window=CHANGE_RUNS,
    finds="level",
    by_change_points=True,
    looks_back=True,
    default=Rule(name="change_point", kind="change_point", step=EVERY, default=True),
)
