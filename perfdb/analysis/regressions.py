"""Where the levels of a history moved for the worse: every series looked at from its first run on.

Pure: sequences in, frozen records out. A move is 5 % or more, with 5 runs or more of the new level, and more
than a busy machine adds by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from perfdb.analysis.cause import Cause
from perfdb.analysis.change_points import ChangePoint, describe_changes, find_change_points
from perfdb.analysis.levels import Floats
from perfdb.analysis.rules.base import PREVIOUS, SAME_CHANGE, SHIFT_PERCENT, percent_over
from perfdb.analysis.rules.change import RUNS_AFTER_CHANGE
from perfdb.analysis.series import Past, Series
from perfdb.analysis.waves import changes_of_calm, without_wave

LEAST_SIDE = 3  # runs before and since, of which a step's move is told
SURE = 0.01  # p of a move that the days of a long past seem to show: where its runs do not, it is none
LEAST_STEPS = 3  # that moved by about as much: the machine, rather than each of them


@dataclass(frozen=True, slots=True)
class Move:
    """A move of one series' level.

    Attributes:
        runs: of the series, those that count.
        change: where and how far it moved, and how sure that is.
        calm: the values of the runs without their wave, of which the change's medians are; None of none.
        lasts: no other move came after it.
        cause: the parts of the total's move and what switched with it, where that was asked.
        event_session_id: where the event began that this move is part of: see ``alerts.events``.
    """

    runs: Series = field(repr=False)
    change: ChangePoint
    lasts: bool
    calm: Sequence[float] | Floats | None = field(default=None, repr=False)
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

    @property
    def between(self) -> tuple[str, str]:
        """The sessions between which it moved (95 %)."""
        first, last = self.change.interval
        return self.runs.session_ids[first], self.runs.session_ids[last]

    @property
    def likely(self) -> tuple[float, float]:
        """The earliest and latest moment that explain the runs about as well (epoch s)."""
        first, last = self.change.interval
        return self.runs.start_times[first], self.runs.start_times[last]

    def may_be(self, other: Move) -> bool:
        """Say whether another move, in the same direction, may have been at the same session."""
        same_way = self.change.effect_percent * other.change.effect_percent > 0
        return same_way and other.may_be_at(self.since_time)

    def may_be_at(self, moment: float) -> bool:
        """Say whether it may have been at a moment: as far as the runs tell, and 5 sessions more."""
        first, last = self.change.interval
        starts = self.runs.start_times
        low, high = max(0, first - SAME_CHANGE), min(last + SAME_CHANGE, len(starts) - 1)
        return starts[low] <= moment <= starts[high]

    def moved_to(self, moment: float) -> Move:
        """Return the move since the first run from a moment on, if it may have been there; else as it is."""
        place, change = self.runs.place_of(moment), self.change
        first = change.index - change.before_n
        inside = first < place < change.index + change.after_n
        if place == change.index or not inside or not self.may_be_at(moment):
            return self
        values = self.runs.values if self.calm is None else self.calm
        (moved,) = describe_changes(values[first : change.index + change.after_n], [place - first])
        kept = ("interval", "p_value", "effect_sd", "without_wave", "nearest_only")
        of_change = {name: getattr(change, name) for name in kept}
        moved = replace(moved, index=place, **of_change)  # how sure it is was found where it was best seen
        return replace(self, change=moved)

    def seen_in(self, runs: Series) -> ChangePoint:
        """Return the change at its place among runs of a window; its figures stay those of its levels."""
        low, high = (min(runs.place_of(moment), len(runs) - 1) for moment in self.likely)
        return replace(self.change, index=runs.place_of(self.since_time), interval=(low, high))

    def is_at(self, moment: float) -> bool:
        """Say whether something that began at a moment is the same move: within 5 sessions."""
        return abs(self.runs.place_of(moment) - self.change.index) <= SAME_CHANGE

    def is_one_with(self, other: Move) -> bool:
        """Say whether another move is of the same event: within 5 sessions, or at what may be its session."""
        return self.is_at(other.since_time) or self.may_be(other)


def find_moves(
    runs: Series, *, better: bool | None = False, looking_back: bool = False, past: Past | None = None
) -> Iterator[Move]:
    """Yield where the level of a series moved, oldest first.

    Args:
        runs: of one series, those that count.
        better: yield moves for the better instead; None: whichever it is.
        looking_back: tell what the trend's page and chart tell, and not only what would have opened an alert.
        past: for that, what came before the runs.
    """
    if looking_back:
        from perfdb.analysis.course import changes_of

        changes, calm = changes_of(runs, past)
    else:
        calm = without_wave(runs.start_times, runs.values)
        changes = changes_of_calm(runs.values, calm, find_change_points)
    for number, change in enumerate(changes):
        move = Move(runs, change, number == len(changes) - 1, calm)
        if _is_told(move, better=better):
            yield move


def move_at_run(runs: Series, place: int, *, better: bool | None = False) -> Move | None:
    """Return the move of a level at a run that is known to begin it, as ``find_moves`` tells it; or None.

    Args:
        runs: of one series, those that count, one per session.
        place: of the first run of the new level.
        better: as ``find_moves`` has it.
    """
    from perfdb.analysis.course import changes_of

    if not 0 < place < len(runs):
        return None
    changes, calm = changes_of(runs)
    others = [change.index for change in changes if abs(change.index - place) > SAME_CHANGE]
    places = sorted([*others, place])
    found = describe_changes(runs.values if calm is None else calm, places)
    change = replace(found[places.index(place)], without_wave=calm is not None)
    move = Move(runs, change, place == places[-1], calm)
    return move if _is_told(move, better=better) else None


def find_move(
    before: Series,
    after: Series,
    later: Series,
    *,
    lasts: bool,
    better: bool | None = False,
    calm: Sequence[float] | Floats | None = None,
) -> Move | None:
    """Return the move between two parts of a long past, if it is one; its numbers are of these parts.

    Args:
        before: the runs before it, as many as are looked at; those that count.
        after: the runs since, as many, until the level moved again at most.
        later: the run after these, if there is one.
        lasts: the level did not move again.
        better: only a move for the better instead; None: whichever it is.
        calm: the values before and after without their wave; None of none.
    """
    if not before or not after:
        return None
    runs = before.joined(after)
    (change,) = describe_changes(runs.values if calm is None else calm, [len(before)])
    change = replace(change, without_wave=calm is not None, nearest_only=True)
    move = Move(runs.joined(later), change, lasts, calm)
    return move if change.p_value < SURE and _is_told(move, better=better) else None


def _is_told(move: Move, *, better: bool | None) -> bool:
    change = move.change
    rose = change.after_median - change.before_median
    return (
        (abs(rose) if better is None else -rose if better else rose) > 0
        and abs(change.effect_percent) >= SHIFT_PERCENT
        and change.after_n >= RUNS_AFTER_CHANGE
        and _is_calm_too(move.runs, change)
    )


def _is_calm_too(runs: Series, change: ChangePoint) -> bool:
    """Say whether at least half of a move is left without what the machine added, where that is known."""
    if not runs.calm:
        return True
    first, end = change.index - change.before_n, change.index + change.after_n
    old, new = median(runs.calm[first : change.index]), median(runs.calm[change.index : end])
    return abs(new - old) >= max(
        abs(change.after_median - change.before_median) / 2, SHIFT_PERCENT / 100 * old
    )


def moved_everywhere(windows: Sequence[Series], since: float) -> tuple[float, int] | None:
    """Return by how many percent a total moved, and how many steps moved by about as much; None when few did.

    Args:
        windows: durations of the total and of the steps of one pipeline and mode.
        since: when the new level began (epoch s).
    """
    effects: dict[str | None, float] = {}
    for window in windows:
        if window.metric == "duration":
            good = window.good
            runs, place = good.calm or good.values, good.place_of(since)
            if min(place, len(runs) - place) >= LEAST_SIDE:
                effect = percent_over(median(runs[place:]), median(runs[max(0, place - PREVIOUS) : place]))
                effects[window.step_name] = effect or 0.0
    total = effects.pop(None, 0.0)
    alike = sum(0.5 <= effect / total <= 2 for effect in effects.values()) if total else 0
    return (total, alike) if alike >= max(LEAST_STEPS, 0.8 * len(effects)) else None
