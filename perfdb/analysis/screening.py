"""Of a whole series at once: at which runs a rule can hit at all.

A replay asks a rule after every run, and nearly always in vain. What has to hold wherever a rule hits is
found here for all runs together; the rule itself is asked at those that are left. Pure, and apart from
``rules`` because they are to load without numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from perfdb.analysis.levels import Floats
from perfdb.analysis.rules import Rule
from perfdb.analysis.rules.anomaly import ANOMALY, ANOMALY_PERCENT
from perfdb.analysis.rules.base import PREVIOUS, SHIFT_PERCENT
from perfdb.analysis.rules.change import CHANGE_POINT, CHANGE_RUNS
from perfdb.analysis.rules.failures import ERROR_RATE, ERROR_RATE_LIMIT, ERROR_RUNS, wilson_lower
from perfdb.analysis.rules.shift import FAST_SHIFT, RECENT
from perfdb.analysis.rules.switching import BLOCK, LEAST_APART, MOST_BETWEEN, SWITCHING
from perfdb.analysis.rules.trend import TREND, TREND_PERCENT, TREND_RUNS
from perfdb.analysis.watcher import soonest_alarms

_AT_ONCE = 2_000  # windows
_ROUNDING = 1e-9  # of what is computed in another order than the rule does

Marks = npt.NDArray[np.bool_]


def may_hit(rule: Rule, values: Sequence[float]) -> Marks:
    """Return for each run whether the rule can hit when it is the newest, with no alert open.

    Args:
        rule: what to ask.
        values: of all runs, oldest first, as the rule looks at them.
    """
    found = np.ones(len(values), dtype=bool)
    screen = _SCREENS.get(rule.kind)
    window = _WINDOWS.get(rule.kind, 0)
    if screen is None or rule.direction == "down" or not values:
        return found
    runs = np.asarray(values, dtype=float)
    if rule.kind == CHANGE_POINT.name:  # the first of them are looked at as often, and cost most
        found[:window] = np.arange(1, runs.size + 1)[:window] >= soonest_alarms(runs[None, :window])[0]
    for first in range(0, runs.size - window + 1, _AT_ONCE):
        piece = runs[first : first + _AT_ONCE + window - 1]
        whole = np.lib.stride_tricks.sliding_window_view(piece, window)
        found[first + window - 1 : first + window - 1 + len(whole)] = screen(rule, whole)
    return found


def _risen(old: Floats, new: Floats, percent: float) -> Marks:
    found: Marks = new - old >= (percent / 100 - _ROUNDING) * np.abs(old)
    return found


def _of_shift(rule: Rule, whole: Floats) -> Marks:
    before, after = np.sort(whole[:, :PREVIOUS]), np.sort(whole[:, PREVIOUS:])
    risen = _risen(np.median(before, axis=1), np.median(after, axis=1), SHIFT_PERCENT)
    clear: Marks = after[:, 1] > before[:, int(0.9 * PREVIOUS) - 1]
    return risen & clear


def _of_anomaly(rule: Rule, whole: Floats) -> Marks:
    return _risen(np.median(whole[:, :-1], axis=1), whole[:, -1], ANOMALY_PERCENT)


def _of_trend(rule: Rule, whole: Floats) -> Marks:
    third = TREND_RUNS // 3
    old, new = np.median(whole[:, :third], axis=1), np.median(whole[:, -third:], axis=1)
    return _risen(old, new, TREND_PERCENT)


def _of_errors(rule: Rule, whole: Floats) -> Marks:
    limit = ERROR_RATE_LIMIT if rule.limit is None else rule.limit
    hits = np.array([wilson_lower(failures, ERROR_RUNS) > limit for failures in range(ERROR_RUNS + 1)])
    found: Marks = hits[(whole[:, -ERROR_RUNS:] > 0).sum(axis=1)]
    return found


def _of_change(rule: Rule, whole: Floats) -> Marks:
    found: Marks = soonest_alarms(whole) <= whole.shape[1]
    return found


def _of_switching(rule: Rule, whole: Floats) -> Marks:
    """Return where the runs, or the medians of their blocks, may be two heaps: see ``evaluate_switching``."""
    blocks = np.median(whole.reshape(len(whole), -1, BLOCK), axis=2)
    return _is_split(whole) | _is_split(blocks)


def _is_split(rows: Floats) -> Marks:
    tenth = rows.shape[1] // 10
    low, high = np.partition(rows, (tenth, -1 - tenth), axis=1)[:, [tenth, -1 - tenth]].T
    apart = (low > 0) & (high >= low * (1 + LEAST_APART - _ROUNDING))
    third = np.cbrt(np.divide(high, low, out=np.ones_like(high), where=apart)) * (1 + _ROUNDING)
    between = ((rows > (low * third)[:, None]) & (rows < (high / third)[:, None])).sum(axis=1)
    found: Marks = apart & (between <= MOST_BETWEEN * rows.shape[1])
    return found


_SCREENS: dict[str, Callable[[Rule, Floats], Marks]] = {
    ERROR_RATE.name: _of_errors,
    FAST_SHIFT.name: _of_shift,
    CHANGE_POINT.name: _of_change,
    ANOMALY.name: _of_anomaly,
    TREND.name: _of_trend,
    SWITCHING.name: _of_switching,
}
_WINDOWS = {
    ERROR_RATE.name: ERROR_RUNS,
    FAST_SHIFT.name: PREVIOUS + RECENT,
    CHANGE_POINT.name: CHANGE_RUNS,
    ANOMALY.name: PREVIOUS + 1,
    TREND.name: TREND_RUNS,
    SWITCHING.name: CHANGE_RUNS,
}
