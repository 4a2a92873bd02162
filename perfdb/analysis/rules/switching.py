"""The kind ``switching``: the series has two known levels, between which it comes and goes."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from statistics import median

from perfdb.analysis.rules.base import EVERY, Frozen, Rule, Verdict, middle_of, percent_over, too_few, yes
from perfdb.analysis.rules.change import CHANGE_RUNS
from perfdb.analysis.rules.kind import Amount, Kind, Told
from perfdb.records import Alert

LEAST_SWITCHING_RUNS = 40
BLOCK = 5  # runs, whose median is less noisy
MOST_BETWEEN = 0.2  # of the runs in the middle third; of one heap a third lie there
LEAST_APART = 0.08


def evaluate_switching(rule: Rule, values: Sequence[float], frozen: Frozen | None) -> Verdict:
    """Ask ``find_modes`` where the last 200 runs are two heaps; what is open lasts while they are."""
    if len(values) < LEAST_SWITCHING_RUNS:
        return too_few(len(values), LEAST_SWITCHING_RUNS)
    calm = Verdict(good=True, value=values[-1], n=len(values), arithmetic=f"one level in {len(values)} runs")
    if not _has_heaps(values):
        return calm
    from perfdb.analysis.modes import find_modes

    modes = find_modes(values)
    if modes is None and frozen is None:
        return calm
    low, high = _levels_of_heaps(values) if modes is None else (modes.low, modes.high)
    switches = modes.switches if modes is not None else 0
    return Verdict(
        hit=True,
        value=high,
        baseline=low,
        effect=percent_over(high, low),
        n=len(values),
        baseline_n=len(values),
        since=modes.since if modes is not None else 0,
        arithmetic=f"two levels, {switches} switches in {len(values)} runs: {yes(True)}",
    )


def _has_heaps(values: Sequence[float]) -> bool:
    """Say whether the runs may be two heaps: it saves the worker numpy on a series of one."""
    if _is_split(values):
        return True
    blocks = range(0, len(values) - BLOCK + 1, BLOCK)
    return _is_split([sorted(values[first : first + BLOCK])[BLOCK // 2] for first in blocks])


def _levels_of_heaps(values: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the runs below and above the middle of two heaps."""
    ordered = sorted(values)
    tenth = len(ordered) // 10
    place = bisect_right(ordered, middle_of(ordered[tenth], ordered[-1 - tenth]))
    return median(ordered[:place]), median(ordered[place:])


def _is_split(values: Sequence[float]) -> bool:
    ordered = sorted(values)
    tenth = len(ordered) // 10
    low, high = ordered[tenth], ordered[-1 - tenth]
    if low <= 0 or high < low * (1 + LEAST_APART):
        return False
    third = math.pow(high / low, 1 / 3)
    between = bisect_left(ordered, high / third) - bisect_right(ordered, low * third)
    return between <= MOST_BETWEEN * len(ordered)


def _says(alert: Alert, amount: Amount) -> str:
    said = f"switches between {amount(alert.baseline)} and {amount(alert.value)}"
    by = alert.details.get("switches_with")
    return f"{said} with {by}" if by else said


def _short(alert: Told, amount: Amount) -> str:
    return f"switches between two levels, the higher {amount(alert.value)}"


SWITCHING = Kind(
    name="switching",
    summary="two known levels, between which the runs come and go",
    evaluate=evaluate_switching,
    window=CHANGE_RUNS,
    finds="modes",
    sided=False,
    information=True,
    default=Rule(name="switching", kind="switching", step=EVERY, severity="info", default=True),
    says=_says,
    short=_short,
)
