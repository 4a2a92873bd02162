"""Lay a session out for a waterfall: rows of bars, and where the critical path runs through them.

Pure, and without numbers of pixels: the picture and the page draw the same rows. Steps that
share a name and a parent share as few rows as they can without overlapping, so that a
hundred parallel requests of eight workers take eight rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import Literal

from perfdb.analysis.error_kinds import NO_MESSAGE
from perfdb.critical_path import (
    ROUNDED_S,
    Segment,
    Span,
    critical_path,
    parts_of_path,
    resolved_parents,
    seconds_on,
    with_inside,
)
from perfdb.records import Session, Step
from perfdb.stopping import look
from perfdb.text import duration_text, inert, shortened, so_far_text, step_label
from perfdb.vocabulary import FAILED, INTERRUPTED, RUNNING

Interval = tuple[float, float]

LEAST_OTHER = 0.0005  # of the wall time
_MOST_OF = 0.8  # of a step's time on the critical path: then the step inside that made so much is told
DEEPEST = 6  # steps in steps are indented so far
_LONGEST_WHY = 110  # characters of an error in a headline; of a longer one its first sentence


@dataclass(frozen=True, slots=True)
class Bar:
    """One step in a row; seconds since the start of the session.

    ``critical`` holds the parts during which this step, or one inside it, was on the critical path.
    """

    step: Step
    start: float
    end: float
    critical: tuple[Interval, ...]
    is_open: bool = False  # it has not ended, nor has its session
    usual_s: float | None = None  # of one that is open

    @property
    def so_far(self) -> str:
        """How long one that is open has taken, in words; empty of one that has ended."""
        return so_far_text(max(0.0, self.end - self.start), self.usual_s) if self.is_open else ""

    @property
    def waits(self) -> list[Interval]:
        """Begin and end of the back-offs between its attempts."""
        if not self.step.attempts:
            return []
        origin = self.step.start_time - self.start
        return [
            (attempt.start_time - attempt.wait - origin, attempt.start_time - origin)
            for attempt in self.step.attempts
            if attempt.wait > 0
        ]

    @property
    def critical_s(self) -> float:
        """How long it, or a step inside it, was on the critical path."""
        return sum(last - first for first, last in self.critical)


@dataclass(frozen=True, slots=True)
class Row:
    """Bars that do not overlap, of steps with one name below one parent.

    Attributes:
        label: the step's name; empty in the second and later rows of the same steps.
        depth: 0 for top-level steps.
        bars: in the order of their starts.
        count: how many steps share the label; 0 in later rows.
        busy_s: their seconds added up.
        critical_s: their seconds on the critical path, those of steps inside them included.
    """

    label: str
    depth: int
    bars: tuple[Bar, ...]
    count: int
    busy_s: float
    critical_s: float

    @property
    def so_far(self) -> str:
        """How long the newest of its steps that is open has taken, in words; empty without one."""
        return next((bar.so_far for bar in reversed(self.bars) if bar.is_open), "")


@dataclass(frozen=True, slots=True)
class Timeline:
    """A session laid out; the critical seconds of depth 0 and ``other_s`` add up to ``wall_s``.

    Of one that runs without an open step, ``other_s`` ends with the last step: the next may have begun,
    which is told once it has lasted a second. ``hidden_rows`` and ``hidden_bars`` were left out by ``cut``.
    ``path`` is the critical path, in the clock of the steps; ``outside`` are its parts that no step explains,
    ``other_s`` together, in seconds since the start.
    """

    wall_s: float
    rows: tuple[Row, ...]
    other_s: float
    hidden_rows: int = 0
    hidden_bars: int = 0
    path: tuple[Segment, ...] = ()
    outside: tuple[Interval, ...] = ()

    @property
    def shows_other(self) -> bool:
        """Whether what no step explains is worth a line."""
        return self.wall_s > 0 and self.other_s / self.wall_s >= LEAST_OTHER

    def share_text(self, seconds: float) -> str:
        """Return the share of the wall time as a picture says it; a dash for none."""
        return f"{100 * seconds / self.wall_s:.1f} %" if self.wall_s > 0 and seconds > 0 else "–"

    def bars(self) -> Iterator[Bar]:
        """Yield every step with its place."""
        return (bar for row in self.rows for bar in row.bars)

    def newest_open(self) -> Bar | None:
        """Return the step that began last of those that are open."""
        return max((bar for bar in self.bars() if bar.is_open), key=lambda bar: bar.start, default=None)

    def cut(self, most_rows: int, most_bars: int) -> Timeline:
        """Return what a picture has room for: the rows that held up most, and of these the longest bars."""
        rows = list(self.rows)
        if len(rows) > most_rows:
            weights = []
            weight = 0.0
            for (
                row
            ) in rows:  # later rows of the same steps have no seconds of their own: they stay with the first
                weight = row.critical_s - 1e-6 * row.depth if row.count else weight - 1e-9
                weights.append(weight)
            kept = sorted(range(len(rows)), key=lambda place: (-weights[place], place))[:most_rows]
            rows = [rows[place] for place in sorted(kept)]
        count = sum(len(row.bars) for row in rows)
        if count > most_bars:
            drawn = {id(bar) for bar in longest([bar for row in rows for bar in row.bars], most_bars)}
            rows = [replace(row, bars=tuple(bar for bar in row.bars if id(bar) in drawn)) for row in rows]
        return replace(
            self,
            rows=tuple(rows),
            hidden_rows=len(self.rows) - len(rows),
            hidden_bars=max(0, count - most_bars),
        )

    def most_critical(self) -> Row | None:
        """Return the top-level row that held the session up longest; None without steps."""
        top = [row for row in self.rows if row.depth == 0 and row.count]
        return max(top, key=lambda row: row.critical_s, default=None)

    def _inside(self, row: Row) -> list[Row]:
        """Return the rows of the steps directly inside of a row's."""
        after = islice(self.rows, next(at for at, each in enumerate(self.rows) if each is row) + 1, None)
        deeper = takewhile(lambda each: each.depth > row.depth or not each.count, after)
        return [each for each in deeper if each.depth == row.depth + 1 and each.count]

    def held_up_by(self) -> tuple[str, float] | None:
        """Return what held the session up longest, in words, and its seconds; None without steps.

        A step that holds all others says nothing: the longest step inside it is named, or what no step inside
        recorded, if that is longer. Of others, the step inside is named that made most of it. Nor is a step
        named where no step took longer.
        """
        worst, alone = self.most_critical(), sum(row.depth == 0 and row.count > 0 for row in self.rows) == 1
        if worst is not None and self.other_s > worst.critical_s:
            return "Time outside of steps", self.other_s
        while worst is not None and (inside := self._inside(worst)):
            unrecorded = worst.critical_s - sum(row.critical_s for row in inside)
            largest = max(inside, key=lambda row: row.critical_s)
            if not alone and largest.critical_s < _MOST_OF * worst.critical_s:
                break
            if unrecorded > largest.critical_s:
                return f"Unrecorded time in {shortened(inert(step_label(worst.label)), 60)}", unrecorded
            worst, alone = largest, alone and len(inside) == 1
        return None if worst is None else (shortened(inert(step_label(worst.label)), 60), worst.critical_s)


def timeline(
    session: Session, now: float | None = None, usual: Mapping[str | None, float] | None = None
) -> Timeline:
    """Lay out the steps of a session; what has not ended runs to now, or the last instant known of it.

    ``usual`` are seconds by step name, for those that are open.
    """
    usual = usual or {}
    is_live = session.status == RUNNING
    start, end = session.start_time, last_instant(session, now)
    spans = [Span(step.seq, step.parent_seq, step.start_time, step.end_time) for step in session.steps]
    parents = resolved_parents(spans)
    path = critical_path(spans, start, end, parents)
    seconds = with_inside(seconds_on(path, parents), parents)
    critical = parts_of_path(
        (Segment(each.start - start, each.end - start, each.seq) for each in path), parents
    )
    children: dict[int | None, list[Step]] = {}
    for step in sorted(session.steps, key=lambda step: (step.start_time, step.seq)):
        children.setdefault(parents[step.seq], []).append(step)
    rows: list[Row] = []
    waiting = _named_groups(children.get(None, ()), 0)
    while waiting:  # a stack of its own: steps may nest deeper than the interpreter's
        look()
        group, depth = waiting.pop()
        bars = [
            Bar(
                step,
                step.start_time - start,
                (end if step.end_time is None else step.end_time) - start,
                critical.get(step.seq, ()),
                *((True, usual.get(step.step_name)) if is_live and step.end_time is None else ()),
            )
            for step in group
        ]
        first, *others = _packed(bars)
        busy_s = sum(bar.end - bar.start for bar in bars)
        critical_s = sum(seconds[step.seq] for step in group)
        rows.append(Row(group[0].step_name, depth, tuple(first), len(group), busy_s, critical_s))
        rows += [Row("", depth, tuple(more), 0, 0.0, 0.0) for more in others]
        inside = [child for step in group for child in children.get(step.seq, ())]
        waiting += _named_groups(inside, depth + 1)
    told = max((step.end_time or end for step in session.steps), default=start) if is_live else end
    outside = tuple(
        (each.start - start, min(each.end, told) - start)
        for each in path
        if each.seq is None and each.start < told
    )
    other_s = seconds[None] - max(0.0, end - told)
    return Timeline(end - start, tuple(rows), other_s, path=tuple(path), outside=outside)


def headline(session: Session, laid_out: Timeline) -> str:
    """Return the sentence above a waterfall: why it failed or was called off, or what held it up longest.

    Of one that runs: for how long, and in which step it is; of one whose program died: in which it was.
    """
    worst = laid_out.held_up_by()
    if session.status == RUNNING:
        newest = laid_out.newest_open()
        step = f", now in {shortened(inert(newest.step.step_name), 60)} ({newest.so_far})" if newest else ""
        return f"It has run for {duration_text(laid_out.wall_s)}{step}"
    if session.status == INTERRUPTED and session.total_duration is None:
        open_steps = [step.step_name for step in session.steps if step.duration is None]
        within = f" in {shortened(inert(open_steps[-1]), 60)}" if open_steps else ""
        return f"It was cut off{within}, {duration_text(laid_out.wall_s)} after it began or later"
    failed = session.status == FAILED
    if session.error_message or failed:
        ended = f"{'Failed' if failed else 'Interrupted'} after {duration_text(laid_out.wall_s)}"
        why = inert(_main_line(session.error_message or _failed_within(session)))
        if len(why) > _LONGEST_WHY and 0 < (end := why.find(". ")) <= _LONGEST_WHY:
            why = why[:end]
        return f"{ended}: {shortened(why, _LONGEST_WHY)}" if why else ended
    if worst is None or laid_out.wall_s <= 0:
        return f"Session {session.session_id}"
    what, seconds = worst
    return (
        f"{what} held this run up for {duration_text(seconds)} "
        f"of {duration_text(laid_out.wall_s)} ({100 * seconds / laid_out.wall_s:.0f} %)"
    )


def _main_line(message: str) -> str:
    """Return the line of a message that says most: the first, or of a traceback the last."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or [message]
    return lines[-1 if lines[0].startswith("Traceback (") else 0]


def _failed_within(session: Session) -> str:
    """Return why the last step that failed did so: a run that was called a failure has no reason itself."""
    failed = [step for step in session.steps if step.success is False and not step.interrupted]
    if not failed:
        return ""
    newest = max(
        failed, key=lambda step: (bool(step.error_message), step.end_time or step.start_time, -step.seq)
    )
    if not newest.error_message:
        return f"{newest.step_name} {NO_MESSAGE}"
    return f"{newest.step_name}: {newest.error_message}"


def last_instant(session: Session, now: float | None = None) -> float:
    """Return when the session ended; of one that runs now, if that is given, or the last moment known."""
    if session.end_time is not None:
        return session.end_time
    if now is not None and session.status == RUNNING:
        return max(now, session.start_time)
    known = [session.start_time]
    for step in session.steps:
        known += [step.start_time, step.start_time if step.end_time is None else step.end_time]
    known += [sample.time for sample in session.samples]
    return max(known)


def in_tree_order(steps: Sequence[Step]) -> list[tuple[Step, int]]:
    """Return the steps with their depth: children below their parent, in the order of starts."""
    parents = resolved_parents((step.seq, step.parent_seq, 0.0, None) for step in steps)
    children: dict[int | None, list[Step]] = {}
    for step in sorted(steps, key=lambda step: (-step.start_time, -step.seq)):
        children.setdefault(parents[step.seq], []).append(step)
    order: list[tuple[Step, int]] = []
    waiting = [(step, 0) for step in children.get(None, ())]
    while waiting:
        step, depth = waiting.pop()
        order.append((step, depth))
        waiting.extend((child, depth + 1) for child in children.get(step.seq, ()))
    return order


def guides(depths: Sequence[int]) -> list[str]:
    """Return what stands before each row of a tree, so that one sees what belongs to what: ``│ ├ ``.

    Args:
        depths: of the rows in their order, 0 at the top.
    """
    found: list[str] = []
    goes_on: list[bool] = []  # per depth, whether a row of it follows below the same parent
    for depth in reversed(depths):
        del goes_on[depth + 1 :]
        goes_on += [False] * (depth + 1 - len(goes_on))
        above = "".join("│ " if goes_on[each] else "  " for each in range(1, depth))
        found.append(above + ("" if depth == 0 else "├ " if goes_on[depth] else "└ "))
        goes_on[depth] = True
    return found[::-1]


def status_of(step: Step, session: Session) -> Literal["running", "completed", "failed", "interrupted"]:
    """Return how a step ended, or that it runs; it was interrupted where its session was."""
    if step.interrupted:
        return "interrupted"
    if step.success is None:
        return "interrupted" if session.status == INTERRUPTED else "running"
    return "completed" if step.success else "failed"


def longest(bars: Sequence[Bar], most: int) -> tuple[Bar, ...]:
    """Return the longest bars in their order: of thousands a picture shows what there is to see."""
    if len(bars) <= most:
        return tuple(bars)
    kept = heapq.nlargest(most, range(len(bars)), key=lambda place: bars[place].end - bars[place].start)
    return tuple(bars[place] for place in sorted(kept))


def _named_groups(siblings: Iterable[Step], depth: int) -> list[tuple[list[Step], int]]:
    """Return the steps grouped by name, each group with its depth; the last group starts first."""
    groups: dict[str, list[Step]] = {}
    for step in siblings:
        groups.setdefault(step.step_name, []).append(step)
    return [(group, depth) for group in reversed(groups.values())]


def _packed(bars: Iterable[Bar]) -> list[list[Bar]]:
    """Return the bars in the fewest rows without overlap; each goes to the row that was free first."""
    rows: list[list[Bar]] = []
    free: list[tuple[float, int]] = []
    for bar in bars:
        if free and free[0][0] <= bar.start + ROUNDED_S:
            row = heapq.heappop(free)[1]
            rows[row].append(bar)
        else:
            row = len(rows)
            rows.append([bar])
        heapq.heappush(free, (bar.end, row))
    return rows
