"""Whom a move hits: how much the runs with each value of an attribute moved, beside all the others.

Each value is held against itself before the move. So what came with it, such as a commit, which has no runs
before, is not taken for what it hits. Pure and deterministic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from perfdb.analysis.common import MOST_ROWS, TIMES, facts_of_runs, groups_of, names_of
from perfdb.analysis.levels import Floats, inflation, inflation_of_shares, robust_sd
from perfdb.analysis.rows import HitRow, frame_from
from perfdb.analysis.splits import SURE
from perfdb.analysis.waves import without_wave
from perfdb.text import inert, shortened

LEAST_RUNS = 5  # of a value, and of all the others, on each side
_LEAST_DAYS = 3  # of an hour or weekday on each side; what was there once is a stretch of time
_LIMITS = 3.2  # standard errors of each median
_LEAST_PERCENT = 5.0  # of difference; a smaller one is nobody's business

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Hits:
    """Whom a move hits.

    Attributes:
        sentence: what is to be said first.
        frame: one row per attribute and value with runs on both sides, those that moved more than the others
            first: ``attribute``, ``value``, ``before_n``, ``after_n``, ``effect`` (percent by which the
            median of these runs moved; percentage points of failures) with its 95 % interval ``low`` to
            ``high``, ``rest_effect``: the same of all other runs, each value against itself;
            ``sure``: that it moved more than they did, by more than chance explains, however many values
            were looked at.
        effect: of all runs.
        before, after: how many runs there were.
    """

    sentence: str
    frame: pd.DataFrame
    effect: float
    before: int
    after: int

    def __str__(self) -> str:
        return self.sentence


def find_hits(
    sessions: pd.DataFrame, values: pd.Series[float], at: float, *, are_failures: bool = False
) -> Hits:
    """Return how much the runs with each value of an attribute moved at a moment.

    The runs of each pipeline and mode are held against what was usual of them before, without the wave of
    their days, where all are above zero in logarithms. A difference of two moves is sure from four of its
    standard errors on, if the limits of the medians, whatever the distribution, leave no room for none.

    Args:
        sessions: as ``History.sessions`` gives them.
        values: what each of them took, or is worth of a measure, by session id; those without are left out.
        at: epoch s.
        are_failures: the values are 1 where a run failed, and 0 elsewhere.

    Raises:
        ValueError: there are too few runs before or since.
    """
    levels = np.array(values.reindex(sessions["session_id"]), dtype=np.float64)
    known, levels = sessions[~np.isnan(levels)], levels[~np.isnan(levels)]
    moves = _Moves(levels, are_failures=are_failures)
    starts = known["start_time"].to_numpy(dtype=float)
    after = starts >= at
    sides = int((~after).sum()), int(after.sum())
    kept = np.ones(len(known), dtype=bool)
    for places in known.groupby(["pipeline", "mode"], sort=False).indices.values():
        kept[places] = moves.hold_against_usual(places, starts[places], ~after[places])
    known, moves, after = known[kept], moves.of(kept), after[kept]
    if min(after.sum(), (~after).sum()) < LEAST_RUNS:
        raise ValueError(
            f"{sides[0]:,} of the runs that count began before then and {sides[1]:,} since: at least "
            f"{LEAST_RUNS} of one pipeline and mode are needed on each side; look at a longer time, or at "
            "more runs"
        )
    whole = moves.move(after, ~after)
    less, more = moves.interval(after, ~after, 1.96)
    has_moved = not -more <= whole <= less
    rows = sorted(_rows(known, moves, after, whole if has_moved else None), key=_rank)
    return Hits(
        _sentence(rows, moves, has_moved=has_moved),
        frame_from(rows[:MOST_ROWS], HitRow),
        moves.effect(whole),
        int((~after).sum()),
        int(after.sum()),
    )


class _Moves:
    """What is compared of each run: logarithms, values of which some are not above zero, or failures."""

    def __init__(self, values: Floats, *, are_failures: bool) -> None:
        self.are_failures = are_failures
        self.are_logs = not are_failures and values.size > 0 and values.min() > 0
        self._scale = float(np.median(np.abs(values))) or 1.0 if values.size else 1.0
        self._values = np.log(values) if self.are_logs else values.copy()
        self._are_steps = not are_failures and LEAST_RUNS * np.unique(values).size < values.size

    def of(self, kept: Mask) -> _Moves:
        """Return those of some runs."""
        found = copy(self)
        found._values = self._values[kept]
        return found

    def hold_against_usual(self, places: Any, starts: Floats, before: Mask) -> bool:
        """Take what was usual before from the runs of a kind; False when there were none on one side."""
        if before.all() or not before.any():
            return False
        if not self.are_failures:
            own = self._values[places]
            if self.are_logs and (calm := without_wave(starts, np.exp(own))) is not None:
                own = np.log(calm)
            self._values[places] = own - np.median(own[before])
        return True

    def levelled(self, values: npt.NDArray[Any], before: Mask) -> _Moves:
        """Return them with what was usual before of the runs with each value taken from these."""
        found = copy(self)
        found._values = self._values.copy()
        if not self.are_failures:
            for places in pd.Series(values).groupby(values, sort=False).indices.values():
                if (was := before[places]).sum() >= LEAST_RUNS:
                    found._values[places] -= np.median(self._values[places][was])
        return found

    def move(self, after: Mask, before: Mask) -> float:
        """Return how far the middle of some runs lies from that of others."""
        return self._middle(self._values[after]) - self._middle(self._values[before])

    def _middle(self, side: Floats) -> float:
        return float(side.mean() if self.are_failures else np.median(side))

    def error(self, after: Mask, before: Mask) -> float:
        """Return the standard error of ``move``, wider for runs that resemble their neighbours in time."""
        sides = self._values[after], self._values[before]
        noise = np.empty(self._values.size)
        for side, mask in zip(sides, (after, before), strict=True):
            noise[mask] = side - self._middle(side)
        rest = noise[after | before]
        if self.are_failures:
            sums, sizes = zip(*((float(side.sum()) + 1, side.size + 2) for side in sides), strict=True)
            # Agresti & Caffo (2000), and as if nothing moved: of few runs by chance hardly any fails, or all
            apart = sum(n * (1 - n / of) / of**2 for n, of in zip(sums, sizes, strict=True))
            rate = sum(sums) / sum(sizes)
            even = max(apart, rate * (1 - rate) * sum(1 / of for of in sizes))
            return math.sqrt(even * inflation_of_shares(rest))
        # of a median, 1.2533 times that of a mean
        even = (1.2533 * robust_sd(rest)) ** 2 * sum(1 / side.size for side in sides)
        return math.sqrt(even * inflation(rest))

    def interval(self, after: Mask, before: Mask, z: float) -> tuple[float, float]:
        """Return how much less and more than ``move`` it may be: so many standard errors.

        The limits of each median are runs, whatever their distribution: where two levels come and go, the
        median is as uncertain as these lie apart. Those of both sides together: Zou and Donner (2008).
        """
        if self.are_failures:
            return (z * self.error(after, before),) * 2
        sides = self._values[after], self._values[before]
        (less, more), (less_before, more_before) = (_around_median(side, z) for side in sides)
        return self.together(less, more_before), self.together(more, less_before)

    def together(self, one: float, other: float) -> float:
        """Return two limits as one: those of values that many runs share jump, and add up."""
        return one + other if self._are_steps else math.hypot(one, other)

    def effect(self, move: float) -> float:
        """Return a move in percent, or in percentage points."""
        if self.are_failures:
            return 100 * move
        return 100 * (math.expm1(move) if self.are_logs else move / self._scale)

    def text(self, move: float) -> str:
        """Return a move in words."""
        effect = round(self.effect(move))
        return f"{effect:+d}".replace("+0", "±0") + (" points" if self.are_failures else " %")


def _rows(known: pd.DataFrame, moves: _Moves, after: Mask, whole: float | None) -> list[dict[str, Any]]:
    of_runs = facts_of_runs(known, with_times=True)
    days = known["start_time"].to_numpy(dtype=float) // 86_400
    found: list[dict[str, Any]] = []
    for name in names_of(of_runs, 2 * LEAST_RUNS):
        values = np.array(groups_of([row.get(name) for row in of_runs]), dtype=object)
        counts = Counter(values.tolist())
        own_moves = moves.levelled(values, ~after)
        for value in (each for each, n in counts.items() if each is not None and n >= 2 * LEAST_RUNS):
            own = values == value
            sides = own & after, own & ~after, ~own & after, ~own & ~after
            if min(side.sum() for side in sides) < LEAST_RUNS:
                continue
            if name in TIMES and min(np.unique(days[side]).size for side in sides[:2]) < _LEAST_DAYS:
                continue
            moved, rest = own_moves.move(*sides[:2]), own_moves.move(*sides[2:])
            less, more = own_moves.interval(*sides[:2], 1.96)
            z = _standard_errors(own_moves, moved - rest, sides)
            sign = math.copysign(1.0, moved if whole is None else whole)
            matters = abs(moves.effect(moved - rest)) >= _LEAST_PERCENT
            found.append(
                {
                    "attribute": str(name),
                    "value": value,
                    "before_n": int(sides[1].sum()),
                    "after_n": int(sides[0].sum()),
                    "effect": moves.effect(moved),
                    "low": moves.effect(moved - less),
                    "high": moves.effect(moved + more),
                    "rest_effect": moves.effect(rest),
                    "sure": bool(sign * z >= SURE and matters),
                    "moves": (moved, rest),
                    "z": sign * z,
                }
            )
    return found


def _standard_errors(moves: _Moves, apart: float, sides: tuple[Mask, Mask, Mask, Mask]) -> float:
    """Return by how many of its standard errors a difference of two moves is above or below zero.

    Zero where the limits of the medians leave room for none.
    """
    less, more = moves.interval(*sides[:2], _LIMITS)
    less_of_rest, more_of_rest = moves.interval(*sides[2:], _LIMITS)
    limit = moves.together(less, more_of_rest) if apart > 0 else moves.together(more, less_of_rest)
    error = math.hypot(moves.error(*sides[:2]), moves.error(*sides[2:]))
    return 0.0 if abs(apart) <= limit else apart / (error or 1e-12)


def _around_median(side: Floats, z: float) -> tuple[float, float]:
    """Return how much less and more than its median the middle of such runs may be.

    Too few runs for so many standard errors: what the outermost tell is drawn out.
    """
    ordered, n = np.sort(side), side.size
    first = max(math.floor((n + 1 - z * math.sqrt(n)) / 2), 1)
    wider = max(z * math.sqrt(n) / (n + 1 - 2 * first), 1.0)
    middle = float(np.median(ordered))
    return wider * (middle - float(ordered[first - 1])), wider * (float(ordered[n - first]) - middle)


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Put what chance explains least first."""
    return (not row["sure"], -row["z"], row["attribute"], row["value"])


def _sentence(rows: Sequence[Mapping[str, Any]], moves: _Moves, *, has_moved: bool) -> str:
    if rows and rows[0]["sure"]:
        first = rows[0]
        name = f"{shortened(inert(first['attribute']), 40)}={shortened(inert(first['value']), 40)}"
        own, rest = map(moves.text, first["moves"])
        return f"Since then {name} {own}, all other runs {rest}"
    if not rows:
        return f"No value has {LEAST_RUNS} runs on both sides, and others beside it: none can be told apart"
    wider = NormalDist().inv_cdf(1 - 0.025 / len(rows)) / 1.96
    alike = ": it hits all alike" if has_moved else ""
    if any(_apart(row) > wider for row in rows):
        alike = ": too few runs to tell whom it hits"
    return f"No value that is recorded moved more than the others then{alike}"


def _apart(row: Mapping[str, Any]) -> float:
    """Return how many times its 95 % interval, on their side, a value's move is from that of the others."""
    apart = row["effect"] - row["rest_effect"]
    reach = row["effect"] - row["low"] if apart > 0 else row["high"] - row["effect"]
    return abs(apart) / reach if reach > 0 else 0.0
