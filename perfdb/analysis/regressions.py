"""Where the levels of a history moved for the worse: every series looked at from its first run on.

Pure: sequences in, frozen records out. A move is 5 % or more, with 5 runs or more of the new level, and more
than a busy machine adds by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from perfdb.analysis.cause import Cause
from perfdb.analysis.change_points import ChangePoint, find_change_points
from perfdb.analysis.rules.base import LASTING_JITTERS, SAME_CHANGE, SHIFT_PERCENT
from perfdb.analysis.rules.change import RUNS_AFTER_CHANGE
from perfdb.analysis.series import Series


@dataclass(frozen=True, slots=True)
class Move:
    """A move of one series' level.

    Attributes:
        runs: of the series, those that count.
        change: where and how far it moved, and how sure that is.
        lasts: no other move came after it.
        cause: the parts of the total's move and what switched with it, where that was asked.
        event_session_id: where the event began that this move is part of: see ``alerts.backfill``.
    """

    runs: Series = field(repr=False)
    change: ChangePoint
    lasts: bool
    cause: Cause | None = None
    event_session_id: str = ""

    @property
    def since_session_id(self) -> str:
        """The first session of the new level."""
        return self.runs.session_ids[self.change.index]

    @property
    def since_time(self) -> float:
        """When that session began, epoch s."""
        return self.runs.start_times[self.change.index]

    @property
    def began(self) -> float:
        """When the level before began, epoch s."""
        return self.runs.start_times[self.change.index - self.change.before_n]

    @property
    def ended(self) -> float | None:
        """When the new level ended, epoch s; None while it lasts."""
        place = self.change.index + self.change.after_n
        return self.runs.start_times[place] if place < len(self.runs.start_times) else None

    @property
    def reach(self) -> tuple[float, float]:
        """The earliest and latest moment where it may have been, at most 5 sessions away (epoch s)."""
        first, last = self.change.interval
        low = max(first, self.change.index - SAME_CHANGE)
        high = min(last, self.change.index + SAME_CHANGE)
        return self.runs.start_times[low], self.runs.start_times[high]

    def is_at(self, moment: float) -> bool:
        """Say whether something that began at a moment is the same move: within 5 sessions."""
        return abs(self.runs.place_of(moment) - self.change.index) <= SAME_CHANGE


def find_moves(
    runs: Series, *, jitter: float = 0.0, better: bool = False, looking_back: bool = False
) -> Iterator[Move]:
    """Yield where the level of a series moved, oldest first.

    Args:
        runs: of one series, those that count.
        jitter: what the machine itself may add to a run (s); see ``Rule.jitter``.
        better: yield moves for the better instead.
        looking_back: tell what the trend's page and chart tell, and not only what would have opened an alert.
    """
    if looking_back:
        from perfdb.analysis.trend_view import changes_in

        changes = changes_in(runs.start_times, runs.values)
    else:
        changes = find_change_points(runs.values)
    for number, change in enumerate(changes):
        rose = change.after_median - change.before_median
        if better:
            rose = -rose
        if (
            rose > 0
            and abs(change.effect_percent) >= SHIFT_PERCENT
            and change.after_n >= RUNS_AFTER_CHANGE
            and rose >= LASTING_JITTERS * jitter
        ):
            yield Move(runs, change, number == len(changes) - 1)
