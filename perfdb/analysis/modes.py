"""Two known levels between which a series switches: two hosts, two regions, a cache that is warm or cold.

Pure. Runs lie at one of two levels with a gap between them, and came back to each: such a switch is no move.
A level that lies elsewhere is one, and so is a known one that stays much longer than it ever did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from perfdb.analysis.change_points import ChangePoint, describe_changes
from perfdb.analysis.levels import Floats, robust_sd
from perfdb.analysis.rules.base import MEDIAN_ERROR
from perfdb.stopping import looking
from perfdb.text import amount_text, inert, shortened

LEAST_RUNS = 30
LEAST_APART = 0.08  # of the lower level
LEAST_SD = 3.6  # robust standard deviations within the levels, between them; halves of one heap have 2.3
LEAST_SHARE = 0.05  # of the runs, at each level
LEAST_ASTRAY = 0.01  # of the runs, that one move does not explain
LEAST_RUNS_MIXED = 45  # of fewer, one heap looks like two in one of forty histories
LEAST_MIXED = 0.15  # of the runs of each third, where the levels come by turns all the time
MOST_BETWEEN = 0.35  # times the runs of the rarer level, in the middle third of the gap
LEAST_SWITCHES = 3  # there, back, and there again
LEAST_SWITCHES_LONG, LONG_STAY = 4, 50  # … of stays of more runs: a regression and the next are none
MANY_SWITCHES = 6  # of fewer, the stays at a level must agree
AGREES, AGREES_ERRORS = 0.06, 2.0  # of the gap, or standard errors: two regressions are seldom so much alike
LEAST_ALIKE = 2.0  # standard errors of their autocorrelation; of heaps of noise one in a hundred has more
LEAST_STAY = 5  # runs of a stay that says where its level is
NEAR = 0.25  # of the gap: what lies further from both levels is at neither
OVERLONG, OVERLONG_TIMES = 60, 5  # runs, and times the longest stay before: it has come to stay
SMOOTHED = (1, 5, 11)  # runs of which the median is looked at
MOST_VALUES = 12  # of an attribute that explains anything
LEAST_EXPLAINED = 0.8  # of the runs at the rarer level

States = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The attribute whose values tell at which level a run is: the commonest values at either."""

    name: str
    low: object
    high: object


@dataclass(frozen=True, slots=True)
class Modes:
    """Two levels that a series switches between.

    Attributes:
        low, high: their medians, in the unit of the series.
        states: per run 0 at the low and 1 at the high level.
        since: place of the first run of the first switch.
        switches: how often it went from one to the other.
    """

    low: float
    high: float
    states: States = field(repr=False)
    since: int
    switches: int

    def knows(self, level: float) -> bool:
        """Say whether a level is one of the two."""
        places = np.log([self.low, self.high])
        return level > 0 and bool(np.abs(places - math.log(level)).min() <= NEAR * (places[1] - places[0]))

    def settled(self) -> bool:
        """Say whether the newest stay is much longer than any before: somebody moved the level to it."""
        steady = _steadied(self.states)
        *before, (begin, end) = _stays(steady)
        same = [last - first for first, last in before if steady[first] == steady[begin]]
        return end - begin >= max(OVERLONG, OVERLONG_TIMES * max(same, default=0))


def find_modes(values: Sequence[float] | Floats) -> Modes | None:
    """Return the two levels that runs switch between, each of them more than once; None where they do not."""
    runs = np.asarray(values, dtype=float)
    if runs.size < LEAST_RUNS or runs.min() <= 0:
        return None
    logs = np.log(runs)
    for width in SMOOTHED:
        smooth = _smoothed(logs, width)
        middle = _gap(smooth)
        if middle is None:
            continue
        states: States = (smooth > middle).astype(np.int8)
        steady = _steadied(states, max(LEAST_STAY, width))  # medians make such stays of noise
        stays = _stays(steady)
        mixed = width == 1 and _is_mixed(states)
        if not mixed and (not _come_and_go(stays) or _is_one_move(steady) or not _resemble(logs)):
            continue
        low, high = (float(np.median(logs[states == state])) for state in (0, 1))
        if high - low < math.log1p(LEAST_APART) or not _is_true_to(logs, stays, low, high):
            continue
        stays = _stays(states) if mixed else stays
        return Modes(math.exp(low), math.exp(high), states, stays[1][0], len(stays) - 1)
    return None


def _come_and_go(stays: Sequence[tuple[int, int]]) -> bool:
    """Say whether the levels come back so often that nobody moved them."""
    if len(stays) <= LEAST_SWITCHES:
        return False
    usual = float(np.median([end - begin for begin, end in stays[:-1]]))
    return usual <= LONG_STAY or len(stays) > LEAST_SWITCHES_LONG


def _resemble(logs: Floats) -> bool:
    """Say whether runs resemble the one before: medians of a few make stays of mere noise, too."""
    reach = 3 * robust_sd(logs)
    apart = np.clip(logs - np.median(logs), -reach, reach)
    apart = apart - apart.mean()
    power = float(apart @ apart)
    return power > 0 and float(apart[1:] @ apart[:-1]) / power * math.sqrt(apart.size) > LEAST_ALIKE


def _is_one_move(states: States) -> bool:
    """Say whether one move explains all but very few runs: among very many some lie elsewhere by chance."""
    high = np.r_[0, np.cumsum(states)]
    as_rise = high + (states.size - np.arange(high.size)) - (high[-1] - high)
    return float(min(as_rise.min(), (states.size - as_rise).min())) < LEAST_ASTRAY * states.size


def _is_mixed(states: States) -> bool:
    """Say whether both levels are in each third of the runs, and stays at them are short."""
    if states.size < LEAST_RUNS_MIXED or len(_stays(states)) * 2 * LEAST_STAY < states.size:
        return False
    shares = [float(part.mean()) for part in np.array_split(states, 3)]
    return min(shares) >= LEAST_MIXED and max(shares) <= 1 - LEAST_MIXED


def _steadied(states: States, least: int = LEAST_STAY) -> States:
    """Return the states with short stays taken for what is around them."""
    steady = states.copy()
    for begin, end in _stays(states):
        if begin > 0 and end - begin < least:
            steady[begin:end] = steady[begin - 1]
    return steady


def beside_modes(values: Sequence[float] | Floats, changes: list[ChangePoint]) -> list[ChangePoint]:
    """Return the changes but those from one of two known levels to the other."""
    if not changes:
        return changes
    runs = np.asarray(values, dtype=float)
    modes, of = None, runs.size
    for of in dict.fromkeys([runs.size, *(change.index for change in changes[:-4:-1])]):
        modes = find_modes(runs[:of])  # a new level at the end hides the two that were there
        if modes is not None:
            break
    if modes is None:
        return changes
    kept = []
    for change in changes:
        known = modes.knows(change.before_median) and modes.knows(change.after_median)
        stays = change.index + change.after_n < runs.size or of < runs.size or not modes.settled()
        if not (known and stays):
            kept.append(change)
    if len(kept) == len(changes):
        return changes
    again = describe_changes(values, [change.index for change in kept])
    return [replace(new, interval=old.interval) for new, old in zip(again, kept, strict=True)]


def begin_of_new(values: Sequence[float] | Floats, first: int) -> int | None:
    """Return where a new level begins; None where that since ``first`` is one that runs come and go to.

    Args:
        values: of the runs, oldest first.
        first: where the level seems to have moved last.
    """
    runs = np.asarray(values, dtype=float)
    modes = find_modes(runs) or find_modes(runs[:first])
    if modes is None or (modes.states.size == runs.size and modes.settled()):
        return first
    above = runs > modes.high * (modes.high / modes.low) ** NEAR
    rest = np.flatnonzero(~above)
    begin = int(rest[-1]) + 1 if rest.size else 0
    if runs.size - begin >= LEAST_STAY:
        return max(begin, first)
    return None if modes.knows(float(np.median(runs[first:]))) else first


def explained_by(
    levels: Mapping[str, float], facts: Mapping[str, Mapping[str, object]], step_name: str | None = None
) -> Explanation | None:
    """Return the attribute that tells at which of two levels a run is; None where none does.

    Args:
        levels: by session what it took, oldest first.
        facts: by session what is known of it, as ``store.neighbours`` has it.
        step_name: of the data of steps only that of this one is asked; of all for a total.
    """
    ids = [session_id for session_id in levels if session_id in facts]
    modes = find_modes([levels[session_id] for session_id in ids])
    if modes is None:
        return None
    rarer = min(int(modes.states.sum()), modes.states.size - int(modes.states.sum()))
    best: tuple[float, Explanation] | None = None
    for name in looking(dict.fromkeys(name for each in ids for name in facts[each])):
        if " of " in name and step_name is not None and not name.endswith(f" of {step_name}"):
            continue
        counts: dict[str, list[int]] = {}
        shown: dict[str, object] = {}
        for session_id, state in zip(ids, modes.states.tolist(), strict=True):
            value = facts[session_id].get(name)
            key = json.dumps(value, sort_keys=True, default=str)
            shown.setdefault(key, value)
            counts.setdefault(key, [0, 0])[state] += 1
            if len(counts) > MOST_VALUES:
                break
        if not 2 <= len(counts) <= MOST_VALUES:
            continue
        share = 1 - sum(min(each) for each in counts.values()) / max(rarer, 1)
        low, high = (max(counts, key=lambda key: counts[key][at] - counts[key][1 - at]) for at in (0, 1))
        if share >= LEAST_EXPLAINED and low != high and (best is None or share > best[0]):
            best = share, Explanation(name, shown[low], shown[high])
    return None if best is None else best[1]


def by_words(by: Explanation) -> str:
    """Return an explanation in words: ``host (build-1, build-2)``, the value of the low level first."""
    texts = (each if isinstance(each, str) else json.dumps(each, default=str) for each in (by.low, by.high))
    low, high = (shortened(inert(text), 40) for text in texts)
    return f"{shortened(inert(by.name), 40)} ({low}, {high})"


def modes_words(low: float, high: float, by: Explanation | None = None, unit: str = "s") -> str:
    """Return the modes in words: ``switches between 62 ms and 85 ms with host (build-1, build-2)``."""
    said = f"switches between {amount_text(low, unit)} and {amount_text(high, unit)}"
    return said if by is None else f"{said} with {by_words(by)}"


def _smoothed(logs: Floats, width: int) -> Floats:
    if width == 1:
        return logs
    half = width // 2
    padded = np.pad(logs, half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    found: Floats = np.partition(windows, half, axis=1)[:, half]
    return found


def _gap(levels: Floats) -> float | None:
    """Return the middle between two heaps of values; None where they are one, or one is of a few."""
    ordered = np.sort(levels)
    n = ordered.size
    least = max(LEAST_STAY, int(np.ceil(LEAST_SHARE * n)))
    left = np.arange(1, n)
    deviations = ordered - ordered.mean()
    explained = np.cumsum(deviations)[:-1] ** 2 / (left * (n - left))
    split = least + int(explained[least - 1 : n - least].argmax())
    low, high = float(np.median(ordered[:split])), float(np.median(ordered[split:]))
    apart = high - low
    within = robust_sd(np.r_[ordered[:split] - low, ordered[split:] - high])
    if apart <= 0 or apart < LEAST_SD * within:
        return None
    between = np.searchsorted(ordered, high - apart / 3) - np.searchsorted(ordered, low + apart / 3)
    below = int(np.searchsorted(ordered, middle := (low + high) / 2))
    rarer = min(below, n - below)
    return middle if rarer >= least and between <= MOST_BETWEEN * rarer else None


def _stays(states: States) -> list[tuple[int, int]]:
    """Return first and end of each unbroken stay at a level."""
    bounds = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), states.size]
    return list(pairwise(bounds)) if states.size else []


def _is_true_to(logs: Floats, stays: Sequence[tuple[int, int]], low: float, high: float) -> bool:
    """Say whether the longer stays lie at the two levels, but for a tenth of their runs."""
    long = [(begin, end) for begin, end in stays if end - begin >= LEAST_STAY]
    away = 0
    for begin, end in long:
        level = float(np.median(logs[begin:end]))
        if min(abs(level - low), abs(level - high)) > NEAR * (high - low):
            away += end - begin
    if away > 0.1 * max(sum(end - begin for begin, end in long), 1):
        return False
    return len(stays) > MANY_SWITCHES or all(_agree(logs, stays[at::2], high - low) for at in (0, 1))


def _agree(logs: Floats, stays: Sequence[tuple[int, int]], gap: float) -> bool:
    """Say whether stays at one level are as near to each other as their noise lets them be."""
    parts = [logs[begin:end] for begin, end in stays if end - begin >= LEAST_STAY]
    if len(parts) < 2:
        return True
    middles = [float(np.median(part)) for part in parts]
    sigma = robust_sd(np.concatenate([part - middle for part, middle in zip(parts, middles, strict=True)]))
    return all(
        abs(one - two)
        <= max(AGREES * gap, AGREES_ERRORS * MEDIAN_ERROR * sigma * math.sqrt(1 / a.size + 1 / b.size))
        for (one, a), (two, b) in combinations(zip(middles, parts, strict=True), 2)
    )
