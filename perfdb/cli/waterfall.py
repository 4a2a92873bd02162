"""Draw one session as a waterfall: a line per step, its place in time, duration and share.

Pure: a session and a width in, lines out. The shares are seconds on the critical path over
wall time, so those of the top-level steps and of Other sum to 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from perfdb.analysis.measuring import of_step
from perfdb.analysis.timeline import DEEPEST, Bar, guides, in_tree_order, status_of, timeline
from perfdb.cli.render import colour
from perfdb.cli.text import (
    COLOURS,
    amount_text,
    can_print,
    cut,
    cut_apart,
    duration_text,
    facts_text,
    inert,
    mark,
    pad,
    width,
)
from perfdb.measures import named
from perfdb.records import Session, Step
from perfdb.text import step_label

_NAME_SHARE = 0.4
_LEAST_BAR = 12
_DURATION, _SHARE, _COST = 11, 8, 12
COST = named("cost_usd")


@dataclass(frozen=True)
class _Glyphs:
    critical: str
    beside: str
    wait: str
    open: str
    tree: dict[int, int]  # what the guides of a tree are written with


_UNICODE = _Glyphs(critical="█", beside="▒", wait="·", open="►", tree={})
_ASCII = _Glyphs(critical="#", beside="=", wait=".", open=">", tree=str.maketrans("│├└", "||`"))


@dataclass(frozen=True)
class _Scale:
    """Seconds since the start of the session to columns of the bar."""

    wall_s: float
    columns: int

    def column(self, seconds: float) -> int:
        share = seconds / self.wall_s if self.wall_s > 0 else 0.0
        return min(self.columns, max(0, math.floor(share * self.columns + 1e-9)))

    def cells(self, first: float, last: float) -> range:
        """Return the cells between two instants; at least one."""
        begin = min(self.column(first), self.columns - 1)
        return range(begin, max(begin + 1, self.column(last)))


def waterfall(
    session: Session,
    *,
    columns: int,
    now: float,
    most: int,
    data: bool = False,
    depth: int | None = None,
    order: Sequence[Step] | None = None,
    usual: Mapping[str | None, float] | None = None,
    only: Collection[int] | None = None,
) -> Iterator[str]:
    """Yield the lines of a session's steps.

    Args:
        session: what to draw.
        columns: the width that no line exceeds; at least 60.
        now: epoch seconds; where a running session ends for the time being.
        most: how many steps to draw; what is left out is counted in the last line.
        data: draw each step's additional_data below it.
        depth: how many levels of steps in steps to draw; all of them without.
        order: the steps as they are to be listed, not as a tree.
        usual: usual seconds by step name, for the steps that are open.
        only: the numbers (``seq``) of those to draw; the others are counted as left out.
    """
    laid_out = timeline(session, now, usual)
    bars = {bar.step.seq: bar for bar in laid_out.bars()}
    glyphs = _UNICODE if can_print("█▒·►│├└") else _ASCII
    tree = in_tree_order(session.steps) if order is None else [(step, 0) for step in order]
    levels = len(session.steps) if depth is None else depth
    tree = [(step, level) for step, level in tree if level < levels]
    chosen = [(step, level) for step, level in tree if only is None or step.seq in only]
    drawn = chosen[:most]
    before = guides([min(level, DEEPEST) for _, level in chosen])
    names = [
        guide.translate(glyphs.tree) + inert(step_label(step.step_name))
        for (step, _), guide in zip(drawn, before, strict=False)
    ]
    lanes = any(step.lane for step, _ in drawn)
    lane_columns = 6 if lanes else 0
    costs = {step.seq: of_step(step, COST) for step, _ in drawn}
    cost_columns = _COST if any(cost is not None for cost in costs.values()) else 0
    room = columns - lane_columns - _DURATION - _SHARE - cost_columns - 4  # for names and bars
    name_columns = min(max(map(width, [*names, "Other"])), int(columns * _NAME_SHARE), room - _LEAST_BAR)
    scale = _Scale(laid_out.wall_s, room - name_columns)
    yield _axis(name_columns, lane_columns, scale.columns, laid_out.wall_s, cost_columns)
    used: set[str] = set()
    for (step, _), name in zip(drawn, cut_apart(names, name_columns), strict=True):
        bar = bars[step.seq]
        cells = _cells(bar, scale, glyphs)
        used.update(cells)
        share = laid_out.share_text(bar.critical_s) if bar.critical_s else ""
        status = status_of(step, session)
        paint = COLOURS[status]
        yield "".join(
            (
                colour(mark(status), paint),
                " ",
                pad(name, name_columns),
                pad(str(step.lane), lane_columns - 1, right=True) if lanes else "",
                " ",
                colour(cells, paint if step.failed else "blue"),
                pad(duration_text(None if bar.is_open else step.duration), _DURATION, right=True),
                pad(share, _SHARE, right=True),
                pad(_money(costs[step.seq]), cost_columns, right=True) if cost_columns else "",
            )
        ).rstrip()
        yield from _remarks(step, columns, data, bar.so_far)
    if laid_out.shows_other:
        filler = " " * (lane_columns - 1 if lanes else 0) + " " * (scale.columns + 1)
        yield (
            "  "
            + pad("Other", name_columns)
            + filler
            + pad(duration_text(laid_out.other_s), _DURATION, right=True)
            + pad(laid_out.share_text(laid_out.other_s), _SHARE, right=True)
        )
    if left_out := len(tree) - len(drawn):
        more = f"{left_out} more step{'s' if left_out > 1 else ''}"
        yield f"  and {more}: perfdb show {inert(session.session_id)} --all"
    if below := len(session.steps) - len(tree):
        yield f"  and {below} step{'s' if below > 1 else ''} inside: --depth {levels + 1}"
    legend = [
        f"{glyphs.critical} on the critical path" if glyphs.critical in used else "",
        f"{glyphs.beside} beside it" if glyphs.beside in used else "",
        f"{glyphs.wait} waiting to try again" if glyphs.wait in used else "",
    ]
    if used & {glyphs.beside, glyphs.wait}:
        yield cut("  " + "   ".join(filter(None, legend)), columns)


def _money(cost: float | None) -> str:
    return "" if cost is None else amount_text(cost, COST.unit)


def _axis(name_columns: int, lane_columns: int, bar: int, wall: float, cost_columns: int) -> str:
    right = duration_text(wall)
    lane = pad("lane", lane_columns - 1, right=True) if lane_columns else ""
    line = "─" if can_print("─") else "-"
    middle = f"0 {line * max(1, bar - width(right) - 3)} {right}"
    titles = pad("duration", _DURATION, right=True) + pad("share", _SHARE, right=True)
    titles += pad("cost", cost_columns, right=True) if cost_columns else ""
    return colour("  " + pad("step", name_columns) + lane + " " + middle + titles, None, bold=True)


def _cells(bar: Bar, scale: _Scale, glyphs: _Glyphs) -> str:
    cells = [" "] * scale.columns
    waits = [wait for wait in bar.waits if scale.column(wait[1]) > scale.column(wait[0])]
    for glyph, parts in (
        (glyphs.beside, [(bar.start, bar.end)]),
        (glyphs.critical, bar.critical),
        (glyphs.wait, waits),
    ):
        for part in parts:
            for place in scale.cells(*part):
                cells[place] = glyph
    if bar.is_open:
        cells[-1] = glyphs.open
    return "".join(cells)


def _remarks(step: Step, columns: int, data: bool, so_far: str) -> Iterator[str]:
    remarks = [f"open: {so_far}"] if so_far else []
    if len(step.attempts) > 1:
        wait = sum(attempt.wait for attempt in step.attempts)
        remarks.append(f"{len(step.attempts)} attempts, {duration_text(wait)} waiting between them")
    if step.error_message:
        remarks.append(inert(step.error_message))
    if data and step.additional_data:
        remarks.append(facts_text(step.additional_data))
    for remark in remarks:
        yield cut("    " + remark, columns)
