"""Whom a move hits: how much the runs with each value of an attribute moved, beside all the others.

Each value is held against itself before the move. So what came with it, such as a commit, which has no runs
before, is not taken for what it hits. Pure and deterministic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from perfdb.analysis.common import MOST_ROWS, facts_of_runs, groups_of
from perfdb.analysis.levels import Floats, robust_sd
from perfdb.analysis.rows import HitRow, frame_from
from perfdb.analysis.splits import SURE
from perfdb.analysis.waves import without_wave
from perfdb.text import inert, shortened

LEAST_RUNS = 5  # of a value, and of all the others, on each side
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
            ``high``, ``rest_effect``: the same of all other runs; ``sure``: that it moved more than they did,
            by more than chance explains, however many values were looked at.
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
    standard errors on.

    Args:
        sessions: as ``History.sessions`` gives them.
        values: what each of them took, or is worth of a measure, by session id; those without are left out.
        at: epoch s.
        are_failures: the values are 1 where a run failed, and 0 elsewhere.

    Raises:
        ValueError: there are too few runs before or since.
    """
    known = sessions[sessions["session_id"].isin(values.index)]
    levels = np.array(values.reindex(known["session_id"]), dtype=np.float64)
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
            f"{sides[0]:,} of the runs began before then and {sides[1]:,} since: at least {LEAST_RUNS} "
            "of one pipeline and mode are needed on each side; look at a longer time, or at more runs"
        )
    whole, error = moves.move(after, ~after)
    rows = sorted(_rows(known, moves, after, 1.0 if whole >= 0 else -1.0), key=_rank)
    return Hits(
        _sentence(rows, moves, has_moved=abs(whole) > 1.96 * error),
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

    def of(self, kept: Mask) -> _Moves:
        """Return those of some runs."""
        self._values = self._values[kept]
        return self

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

    def move(self, after: Mask, before: Mask) -> tuple[float, float]:
        """Return how far the middle of some runs lies from that of others, and its standard error."""
        sides = self._values[after], self._values[before]
        if self.are_failures:
            rates = [(float(side.sum()) + 1) / (side.size + 2) for side in sides]  # Agresti & Caffo (2000)
            error = sum(rate * (1 - rate) / (side.size + 2) for rate, side in zip(rates, sides, strict=True))
            return float(sides[0].mean() - sides[1].mean()), math.sqrt(error)
        middles = [float(np.median(side)) for side in sides]
        rest = np.concatenate([side - middle for side, middle in zip(sides, middles, strict=True)])
        spread = 1.2533 * robust_sd(rest)  # of a median, as many standard errors of a mean
        return middles[0] - middles[1], spread * math.sqrt(sum(1 / side.size for side in sides))

    def effect(self, move: float) -> float:
        """Return a move in percent, or in percentage points."""
        if self.are_failures:
            return 100 * move
        return 100 * (math.expm1(move) if self.are_logs else move / self._scale)

    def text(self, move: float) -> str:
        """Return a move in words."""
        effect = round(self.effect(move))
        return f"{effect:+d} {'points' if self.are_failures else '%'}" if effect else "±0 %"


def _rows(known: pd.DataFrame, moves: _Moves, after: Mask, sign: float) -> list[dict[str, Any]]:
    of_runs = facts_of_runs(known, with_times=True)
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(name for row in of_runs for name in row):
        values = np.array(groups_of([row.get(name) for row in of_runs]), dtype=object)
        counts = Counter(values.tolist())
        for value in (each for each, n in counts.items() if each is not None and n >= 2 * LEAST_RUNS):
            own = values == value
            sides = own & after, own & ~after, ~own & after, ~own & ~after
            if min(side.sum() for side in sides) < LEAST_RUNS:
                continue
            (moved, error), (rest, error_of_rest) = moves.move(*sides[:2]), moves.move(*sides[2:])
            low, high = moved - 1.96 * error, moved + 1.96 * error
            more = sign * (moved - rest)
            matters = abs(moves.effect(moved - rest)) >= _LEAST_PERCENT
            z = more / (math.hypot(error, error_of_rest) or 1e-12)
            found.append(
                {
                    "attribute": str(name),
                    "value": value,
                    "before_n": int(sides[1].sum()),
                    "after_n": int(sides[0].sum()),
                    "effect": moves.effect(moved),
                    "low": moves.effect(low),
                    "high": moves.effect(high),
                    "rest_effect": moves.effect(rest),
                    "sure": bool(z >= SURE and matters),
                    "moves": (moved, rest),
                    "z": z,
                }
            )
    return found


def _rank(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Put what chance explains least first."""
    return (not row["sure"], -row["z"], row["attribute"], row["value"])


def _sentence(rows: Sequence[Mapping[str, Any]], moves: _Moves, *, has_moved: bool) -> str:
    if rows and rows[0]["sure"]:
        first = rows[0]
        name = f"{shortened(inert(first['attribute']), 40)}={shortened(inert(first['value']), 40)}"
        own, rest = map(moves.text, first["moves"])
        return f"{name}: {own} since then, all other runs {rest}"
    alike = ": it hits all alike" if has_moved else ""
    return f"No value that is recorded moved more than the others then{alike}"
