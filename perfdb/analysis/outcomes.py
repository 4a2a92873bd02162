"""What became of a level that an alert told of, by hindsight and without any detector: did it last? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from perfdb.analysis.levels import Floats

Outcome = Literal["lasting", "temporary", "false", "unknown"]

LEAST_PERCENT = 4.0  # that medians differ by
_LASTING_RUNS, _LEAST_AFTER, _LEAST_BEFORE = 60, 25, 10
_LASTING_AUC, _LATE_AUC = 0.80, 0.75  # chance that a run since is beyond a run before
_BEFORE, _SOON, _SETTLED = 30, 20, 8
_SOON_AUC = 0.85


def outcome_of(values: Sequence[float], at: int) -> Outcome:
    """Return what became of the level that began at a run, from the runs around it.

    ``lasting``: the 60 runs since, and their second half, differ from the 60 before by 4 % in one direction
    and clearly; ``temporary``: so do the 20 since and their last 12, from the 30 before; ``false``: neither;
    ``unknown``: there are too few runs yet.
    """
    runs = np.asarray(values, dtype=float)
    before, after = runs[max(0, at - _LASTING_RUNS) : at], runs[at : at + _LASTING_RUNS]
    enough = after.size >= _LEAST_AFTER and before.size >= _LEAST_BEFORE
    if enough:
        whole, late = _moved(before, after), _moved(before, after[after.size // 2 :])
        same_way = whole[0] * late[0] > 0
        if same_way and _is_clear(*whole, _LASTING_AUC) and _is_clear(*late, _LATE_AUC):
            return "lasting"
    before, after = runs[max(0, at - _BEFORE) : at], runs[at : at + _SOON]
    if after.size == _SOON and before.size >= _LEAST_BEFORE:
        whole, late = _moved(before, after), _moved(before, after[_SETTLED:])
        rises = whole[0] > 0
        aucs = (whole[1], late[1]) if rises else (1 - whole[1], 1 - late[1])
        if abs(whole[0]) >= LEAST_PERCENT and min(aucs) >= _SOON_AUC:
            return "temporary"
    return "false" if enough else "unknown"


def _moved(before: Floats, after: Floats) -> tuple[float, float]:
    """Return by how many percent the median moved, and the chance that a run after is above one before."""
    old, new = float(np.median(before)), float(np.median(after))
    ordered = np.sort(before)
    over = np.searchsorted(ordered, after, "left") + np.searchsorted(ordered, after, "right")
    effect = 100 * (new - old) / abs(old) if old else 0.0 if new == old else float(np.sign(new - old)) * 100
    return effect, float(over.mean() / (2 * before.size))


def _is_clear(effect: float, auc: float, least: float) -> bool:
    return abs(effect) >= LEAST_PERCENT and (auc if effect > 0 else 1 - auc) >= least
