"""One session as a waterfall: a row per step, parallel ones packed, the critical path marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import nlargest

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from perfdb.analysis.timeline import DEEPEST, Interval, Row, Timeline, headline, timeline
from perfdb.charts.style import (
    BLUE,
    HATCH_INK,
    INK,
    MUTED,
    OTHERS,
    SKY,
    VERMILLION,
    bare,
    figure,
    moment,
    names_at_left,
    sentence,
    to_drawable,
    value_axis,
    zone,
)
from perfdb.records import Session
from perfdb.text import counted, duration_text, inert, mode_text, shortened, step_label
from perfdb.vocabulary import COMPLETED, OTHER

MOST_ROWS = 32
MOST_BARS = 2_000  # more than a picture has columns
_BUSY, _SHARE = 74, 122  # points to the right of the bars where these columns end
_FAILED_BESIDE = "#f3c09b"
_NARROWEST = 0.0015  # of the width: what is shorter would not be seen


def waterfall(
    session: Session, *, now: float | None = None, usual: Mapping[str | None, float] | None = None
) -> Figure:
    """Draw when each step of a session ran, and which of them held it up.

    Args:
        session: with its steps.
        now: epoch seconds, where a running session ends for the time being; None: at the last moment known.
        usual: usual seconds by step name, for the steps that are open.
    """
    laid_out = timeline(session, now, usual)
    if not laid_out.rows:
        return sentence(f"{session.session_id}: no steps", "This session recorded no steps.")
    shown = laid_out.cut(MOST_ROWS, MOST_BARS)
    drawn = shown.rows
    said = [
        session.pipeline,
        mode_text(session.mode),
        "" if session.status == COMPLETED else session.status,
        counted(len(session.steps), "step"),
        moment(session.start_time),
    ]
    made = figure(
        headline(session, laid_out),
        ", ".join(part for part in said if part),
        f"session {session.session_id}; share: seconds on the critical path over wall time; "
        f"{zone(session.start_time)}",
    )
    axes = made.add_subplot()
    wall = laid_out.wall_s or 1e-6
    figures = [(row.busy_s, row.critical_s) if row.count else None for row in drawn]
    labels = [_label(row) for row in drawn]
    for place, row in enumerate(drawn):
        _draw_row(axes, place, row, wall)
    if laid_out.shows_other:
        _draw_outside(axes, len(drawn), laid_out.outside, wall)
        figures.append((laid_out.other_s, laid_out.other_s))
        labels.append(OTHER)
    for place, seconds in enumerate(figures):
        if seconds is None:
            continue
        share = laid_out.share_text(seconds[1])
        for x, text, colour in ((_BUSY, duration_text(seconds[0]), INK), (_SHARE, share, MUTED)):
            axes.annotate(
                text,
                (1, place),
                xytext=(x, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=10,
                color=colour,
                annotation_clip=False,
            )
    for x, text in ((_BUSY, "busy"), (_SHARE, "share")):
        axes.annotate(
            text,
            (1, 1),
            xytext=(x, 5),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=10,
            color=MUTED,
        )
    bare(axes, grid="x")
    names_at_left(axes, labels, 11 if len(labels) < 20 else 9)
    axes.set_ylim(max(len(labels), 5) - 0.4, -0.6)
    axes.set_xlim(0, wall * 1.005)
    more = ""
    if shown.hidden_rows:
        more = f"; {counted(shown.hidden_rows, 'more row')} with less on the critical path not drawn"
    if shown.hidden_bars:
        more += f"; {counted(shown.hidden_bars, 'shorter step')} of these rows not drawn"
    value_axis(axes.xaxis, wall, f"since the start{more}", "s")
    _legend(axes, session, laid_out)
    return made


def _label(row: Row) -> str:
    if not row.count:
        return ""
    times = f" × {row.count:,}" if row.count > 1 else ""
    depth = min(row.depth, DEEPEST)
    branch = "  " * (depth - 1) + "└ " if depth else ""
    so_far = f"\n{row.so_far}" if row.so_far else ""
    return branch + to_drawable(shortened(inert(step_label(row.label)), 40 - 2 * depth)) + times + so_far


def _draw_row(axes: Axes, place: int, row: Row, wall: float) -> None:
    height = 0.62 if row.depth == 0 else 0.46
    least = _NARROWEST * wall
    for failed, beside, on_path, hatch in (
        (False, SKY, BLUE, None),
        (True, _FAILED_BESIDE, VERMILLION, "xx"),
    ):
        bars = [bar for bar in row.bars if bar.step.failed is failed]
        axes.broken_barh(
            [(bar.start, max(least, bar.end - bar.start)) for bar in bars],
            (place - height / 2, height),
            facecolors=beside,
            hatch=hatch or "///",
            edgecolor=HATCH_INK,
            linewidth=0,
        )
        parts = [(first, max(least, last - first)) for bar in bars for first, last in bar.critical]
        axes.broken_barh(
            nlargest(MOST_BARS, parts, key=lambda part: part[1]) if len(parts) > MOST_BARS else parts,
            (place - height / 2, height),
            facecolors=on_path,
            hatch=hatch,
            edgecolor="#ffffffaa",
            linewidth=0,
        )
    axes.broken_barh(
        [(first, end - first) for bar in row.bars for first, end in bar.waits if end - first > least],
        (place - height / 4, height / 2),
        facecolors="white",
        edgecolor=INK,
        linewidth=0.6,
    )
    going_on = [bar.end for bar in row.bars if bar.is_open]
    if going_on:  # the layout takes an empty line that is not clipped for one in the corner of the picture
        axes.plot(
            going_on,
            [place] * len(going_on),
            marker=">",
            markersize=9,
            linestyle="none",
            color=INK,
            clip_on=False,
        )
    edges = [bar.start for bar in row.bars[1:]]
    if 0 < len(edges) < 200:
        axes.vlines(edges, place - height / 2, place + height / 2, color="white", linewidth=0.9)


def _draw_outside(axes: Axes, place: int, parts: Sequence[Interval], wall: float) -> None:
    """Draw the time of no step in a row of its own."""
    colour, hatch = OTHERS
    shown = [(first, max(_NARROWEST * wall, last - first)) for first, last in parts]
    axes.broken_barh(
        nlargest(MOST_BARS, shown, key=lambda part: part[1]),
        (place - 0.23, 0.46),
        facecolors=colour,
        hatch=hatch,
        edgecolor=HATCH_INK,
        linewidth=0,
    )


def _legend(axes: Axes, session: Session, laid_out: Timeline) -> None:
    handles = [
        Patch(facecolor=BLUE, label="on the critical path"),
        Patch(facecolor=SKY, hatch="///", edgecolor=HATCH_INK, linewidth=0, label="beside it"),
    ]
    if any(step.failed for step in session.steps):
        handles.append(
            Patch(facecolor=VERMILLION, hatch="xx", edgecolor="#ffffffaa", linewidth=0, label="failed")
        )
    if any(attempt.wait for step in session.steps for attempt in step.attempts):
        handles.append(Patch(facecolor="white", edgecolor=INK, linewidth=0.6, label="waiting before a retry"))
    if laid_out.shows_other:
        handles.append(
            Patch(facecolor=OTHERS[0], hatch=OTHERS[1], edgecolor=HATCH_INK, linewidth=0, label="in no step")
        )
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=5,
        borderaxespad=1.8,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handleheight=1.1,
    )
