"""Draw one session as a waterfall: a line per step, its place in time, duration and share.

Pure: a session and a width in, lines out. The shares are seconds on the critical path over
wall time, so those of the top-level steps and of Other sum to 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from perfdb.cli.render import colour
from perfdb.cli.text import (
    COLOURS,
    can_print,
    cut,
    duration_text,
    facts_text,
    inert,
    mark,
    pad,
    width,
)
from perfdb.critical_path import (
    Segment,
    Span,
    critical_path,
    critical_seconds,
    deepest_first,
    resolved_parents,
)
from perfdb.records import COMPLETED, FAILED, INTERRUPTED, RUNNING, Session, Step

_NAME_SHARE = 0.4
_LEAST_BAR = 12
_DURATION, _SHARE = 11, 8


@dataclass(frozen=True)
class _Glyphs:
    critical: str
    beside: str
    wait: str
    branch: str


_UNICODE = _Glyphs(critical="█", beside="▒", wait="·", branch="└ ")
_ASCII = _Glyphs(critical="#", beside="=", wait=".", branch="- ")


@dataclass(frozen=True)
class _Scale:
    """Instants to columns of the bar."""

    start: float
    end: float
    columns: int

    def column(self, instant: float) -> int:
        share = (instant - self.start) / (self.end - self.start) if self.end > self.start else 0.0
        return min(self.columns, max(0, math.floor(share * self.columns + 1e-9)))

    def cells(self, first: float, last: float) -> tuple[int, int]:
        """Return the first of the cells between two instants, and the one behind the last; at least one."""
        begin = min(self.column(first), self.columns - 1)
        return begin, max(begin + 1, self.column(last))


def waterfall(session: Session, *, columns: int, now: float, most: int, data: bool = False) -> Iterator[str]:
    """Yield the lines of a session's steps.

    Args:
        session: what to draw.
        columns: the width that no line exceeds; at least 60.
        now: epoch seconds; where a running session ends for the time being.
        most: how many steps to draw; what is left out is counted in the last line.
        data: draw each step's additional_data below it.
    """
    end = last_instant(session, now)
    spans = [Span(step.seq, step.parent_seq, step.start_time, step.end_time) for step in session.steps]
    seconds = critical_seconds(spans, session.start_time, end, inclusive=True)
    path = critical_path(spans, session.start_time, end)
    glyphs = _UNICODE if can_print("█▒·└") else _ASCII
    tree = _in_tree_order(session.steps)
    drawn = tree[:most]
    names = [_label(step, depth, glyphs) for step, depth in drawn]
    lanes = any(step.lane for step, _ in drawn)
    lane_columns = 6 if lanes else 0
    room = columns - lane_columns - _DURATION - _SHARE - 4  # for names and bars
    name_columns = min(max(map(width, [*names, "Other"])), int(columns * _NAME_SHARE), room - _LEAST_BAR)
    bar = room - name_columns
    scale = _Scale(session.start_time, end, bar)
    wall = end - session.start_time
    yield _axis(name_columns, lane_columns, bar, wall)
    on_path = _cells_on_path(path, session.steps, scale)
    used: set[str] = set()
    for (step, _), name in zip(drawn, names, strict=True):
        cells = _bar(step, on_path.get(step.seq, 0), scale, end, glyphs)
        used.update(cells)
        share = _percent(seconds[step.seq], wall) if seconds[step.seq] else ""
        paint = COLOURS[_status(step, session)]
        yield "".join(
            (
                colour(mark(_status(step, session)), paint),
                " ",
                pad(cut(name, name_columns), name_columns),
                pad(str(step.lane), lane_columns - 1, right=True) if lanes else "",
                " ",
                colour(cells, paint if step.failed else "blue"),
                pad(duration_text(step.duration), _DURATION, right=True),
                pad(share, _SHARE, right=True),
            )
        ).rstrip()
        yield from _remarks(step, columns, data)
    other = seconds.get(None, 0.0)
    if wall > 0 and other / wall >= 0.0005:
        filler = " " * (lane_columns - 1 if lanes else 0) + " " * (bar + 1)
        yield (
            "  "
            + pad("Other", name_columns)
            + filler
            + pad(duration_text(other), _DURATION, right=True)
            + pad(_percent(other, wall), _SHARE, right=True)
        )
    if len(tree) > most:
        yield f"  and {len(tree) - most} more steps: perfdb show {session.session_id} --all"
    legend = [
        f"{glyphs.critical} on the critical path" if glyphs.critical in used else "",
        f"{glyphs.beside} beside it" if glyphs.beside in used else "",
        f"{glyphs.wait} waiting to try again" if glyphs.wait in used else "",
    ]
    if used & {glyphs.beside, glyphs.wait}:
        yield colour(cut("  " + "   ".join(filter(None, legend)), columns), None, dim=True)


def last_instant(session: Session, now: float) -> float:
    """Return the end of a session; of one without, the last thing known of it (now while it runs)."""
    if session.end_time is not None:
        return session.end_time
    if session.status == RUNNING:
        return max(now, session.start_time)
    known = [step.end_time or step.start_time for step in session.steps]
    known += [sample.time for sample in session.samples]
    return max([session.start_time, *known])


def _in_tree_order(steps: tuple[Step, ...]) -> list[tuple[Step, int]]:
    """Return the steps with their depth: children below their parent, in the order of starts."""
    parents = resolved_parents((step.seq, step.parent_seq, 0.0, None) for step in steps)
    children: dict[int | None, list[Step]] = {}
    for step in steps:
        children.setdefault(parents[step.seq], []).append(step)
    for siblings in children.values():
        siblings.sort(key=lambda step: (-step.start_time, -step.seq))
    order: list[tuple[Step, int]] = []
    waiting = [(step, 0) for step in children.get(None, ())]
    while waiting:
        step, depth = waiting.pop()
        order.append((step, depth))
        waiting.extend((child, depth + 1) for child in children.get(step.seq, ()))
    return order


def _cells_on_path(path: Iterable[Segment], steps: tuple[Step, ...], scale: _Scale) -> dict[int | None, int]:
    """Return per step the cells, a bit each, in which it or a step below it is on the path."""
    found: dict[int | None, int] = {}
    for segment in path:
        begin, end = scale.cells(segment.start, segment.end)
        found[segment.seq] = found.get(segment.seq, 0) | ((1 << end) - (1 << begin))
    parents = resolved_parents((step.seq, step.parent_seq, 0.0, None) for step in steps)
    for seq in deepest_first(parents):
        found[parents[seq]] = found.get(parents[seq], 0) | found.get(seq, 0)
    return found


def _label(step: Step, depth: int, glyphs: _Glyphs) -> str:
    indent = "  " * (min(depth, 6) - 1) + glyphs.branch if depth else ""
    return indent + inert(step.step_name)


def _axis(name_columns: int, lane_columns: int, bar: int, wall: float) -> str:
    right = duration_text(wall)
    lane = pad("lane", lane_columns - 1, right=True) if lane_columns else ""
    line = "─" if can_print("─") else "-"
    middle = f"0 {line * max(1, bar - width(right) - 3)} {right}"
    titles = pad("duration", _DURATION, right=True) + pad("share", _SHARE, right=True)
    return colour("  " + pad("step", name_columns) + lane + " " + middle + titles, None, dim=True)


def _bar(step: Step, critical: int, scale: _Scale, end: float, glyphs: _Glyphs) -> str:
    cells = [" "] * scale.columns
    _fill(cells, scale, step.start_time, step.end_time if step.end_time is not None else end, glyphs.beside)
    for place in range(scale.columns):
        if critical >> place & 1:
            cells[place] = glyphs.critical
    for attempt in step.attempts:
        if attempt.wait and scale.column(attempt.start_time) > scale.column(
            attempt.start_time - attempt.wait
        ):
            _fill(cells, scale, attempt.start_time - attempt.wait, attempt.start_time, glyphs.wait)
    return "".join(cells)


def _fill(cells: list[str], scale: _Scale, first: float, last: float, glyph: str) -> None:
    for index in range(*scale.cells(first, last)):
        cells[index] = glyph


def _remarks(step: Step, columns: int, data: bool) -> Iterator[str]:
    remarks = []
    if len(step.attempts) > 1:
        wait = sum(attempt.wait for attempt in step.attempts)
        remarks.append(f"{len(step.attempts)} attempts, {duration_text(wait)} waiting between them")
    if step.error_message:
        remarks.append(inert(step.error_message))
    if data and step.additional_data:
        remarks.append(facts_text(step.additional_data))
    for remark in remarks:
        yield colour(cut("    " + remark, columns), None, dim=True)


def _status(step: Step, session: Session) -> str:
    if step.success is None or step.interrupted:
        return INTERRUPTED if step.interrupted or session.status == INTERRUPTED else RUNNING
    return COMPLETED if step.success else FAILED


def _percent(seconds: float, wall: float) -> str:
    return f"{100 * seconds / wall:.1f} %" if wall > 0 else "-"
