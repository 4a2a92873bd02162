"""The trend of one series: every run, the median and p95 of the last ones, and where the level moved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from perfdb.analysis.trend_view import (
    MOST_RUNS,
    Line,
    beyond,
    kept_places,
    lines,
    pauses,
    scale_top,
    unit_of,
    window,
)
from perfdb.analysis.trend_words import alert_words, finding, of_measure, says_it_moved
from perfdb.charts.marks import draw_changes, draw_failures, draw_limits, draw_pinned, keep_apart
from perfdb.charts.style import (
    BLUE,
    GRID,
    INK,
    SKY,
    bare,
    date_axis,
    figure,
    label_sessions,
    moment,
    period,
    sentence,
    value_axis,
    zone,
)
from perfdb.measures import DURATION, Measure
from perfdb.text import amount_text, counted, inert, shortened

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

DOTS = 3_000  # of more runs than are drawn singly
_FLAGS = 1.08
_LEAST_MARGIN = 1 / 48  # days: what stands around one run


def trend(
    points: pd.DataFrame,
    *,
    what: str,
    context: str = "",
    by: Literal["session", "time"] = "session",
    failures: pd.DataFrame | None = None,
    limits: Sequence[Mapping[str, Any]] = (),
    changes: Sequence[Mapping[str, Any]] = (),
    alerts: Sequence[Mapping[Hashable, Any]] = (),
    pinned: Mapping[str, Any] | None = None,
    drifted: float | None = None,
    measure: Measure = DURATION,
    spoken: tuple[str, str] = ("", ""),
) -> Figure:
    """Draw how the durations of one series moved, or the values of another measure.

    Args:
        points: one row per run that counts, oldest first: ``session_id``, ``start_time`` (epoch s) and
            ``duration`` (s).
        what: the name of the series: a step's, or of the total.
        context: what chose the runs, for the second line: pipeline and mode.
        by: runs at equal distances, or at their times.
        failures: runs that failed and do not count: ``start_time``.
        limits: configured thresholds: ``name`` and ``limit`` (s).
        changes: where the level moved, as ``ChangePoint`` says it: ``index``, ``before_median``,
            ``after_median``, ``before_n``, ``after_n``, ``effect_percent``.
        alerts: ``since_session_id``, ``severity`` and ``rule``; of a move also ``kind``, ``effect``, ``id``.
        pinned: the pinned baseline: ``value`` (s) and ``n``.
        drifted: percent by which it drifted over these runs, where that is sure: ``course.drift``.
        measure: what the durations are.
        spoken: two known levels and what is usual at this hour, in words: ``trend_words.rhythm``.
    """
    what = shortened(inert(what), 60)
    if not measure.is_duration:
        what = of_measure(what, measure)
    durations = points["duration"].to_numpy(dtype=float)
    starts = points["start_time"].to_numpy(dtype=float)
    if durations.size == 0:
        return sentence(
            f"{what}: nothing to draw", "No successful run matches. Loosen the filters, or record runs first."
        )
    subtitle = ", ".join(
        part for part in (context, counted(durations.size, "run"), period(starts[0], starts[-1])) if part
    )
    newest = max(changes, key=lambda change: int(change["index"]), default=None)
    head = finding(
        what,
        durations,
        newest=newest,
        since="" if newest is None else moment(float(starts[int(newest["index"])])),
        alerts=[alert_words(alert) for alert in alerts if says_it_moved(alert)],
        limits=[float(limit["limit"]) for limit in limits],
        drifted=drifted,
        measure=measure,
        switches=spoken[0],
        usual=spoken[1],
    )
    made = figure(head, subtitle, _small_print(starts))
    axes = made.add_subplot()
    x = np.arange(durations.size, dtype=float) if by == "session" else _dates(starts)
    across = [float(limit["limit"]) for limit in limits]
    top = scale_top(durations, [*across, float(pinned["value"])] if pinned is not None else across)
    top *= _FLAGS  # room for the words of the marks
    if by == "time":
        _draw_pauses(axes, x, starts)
    _draw_runs(axes, x, durations, top, measure)
    _draw_lines(axes, x, lines(starts, durations, [int(change["index"]) for change in changes]))
    draw_limits(axes, limits, durations, top, measure)
    if pinned is not None:
        draw_pinned(axes, pinned, top, measure)
    draw_changes(axes, x, changes, alerts, points["session_id"].tolist(), measure)
    draw_failures(axes, x, starts, failures)
    axes.set_ylim(0, top)
    bare(axes)
    value_axis(axes.yaxis, top, inert(measure.words), measure.unit)
    _label_runs(axes, x, starts, by)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=5,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handletextpad=0.5,
        columnspacing=1.6,
    )
    made.draw_without_rendering()  # the layout says where the words are
    keep_apart(axes)
    return made


def _small_print(starts: Floats) -> str:
    if starts.size > MOST_RUNS:
        behind = f"lines: median and 95th percentile of each {unit_of(starts)} (UTC); dots: some of the runs"
    else:
        behind = f"lines: median and 95th percentile of the last {window(starts.size)} runs of the same level"
    return f"{behind}; failed, cached, warm-up and ignored runs do not count; {zone(starts[0], starts[-1])}"


def _dates(starts: Floats) -> Floats:
    # naive local datetimes, so that both sides of a change to summer time read right
    naive = [datetime.fromtimestamp(start) for start in starts.tolist()]
    return np.asarray(date2num(naive), dtype=np.float64)  # type: ignore[no-untyped-call]


def _draw_runs(axes: Axes, x: Floats, durations: Floats, top: float, measure: Measure) -> None:
    shown = np.array(kept_places(durations.tolist(), DOTS if durations.size > MOST_RUNS else MOST_RUNS))
    inside = shown[durations[shown] <= top]
    many = durations.size > 300
    axes.plot(
        x[inside],
        durations[inside],
        linestyle="",
        marker=".",
        markersize=4.5 if many else 7 if durations.size > 60 else 11,
        color="#6e6e6e",
        alpha=0.7 if many else 0.9,
        markeredgewidth=0,
        label="a run",
        zorder=2,
    )
    above = beyond(durations, top)
    if above:
        farthest = amount_text(float(durations.max()), measure.unit)
        axes.plot(
            x[above],
            np.full(len(above), 0.985 * top),
            linestyle="",
            marker="^",
            markersize=6,
            color=INK,
            zorder=4,
            label=f"above the picture ({len(above):,}, up to {farthest})",
        )


def _draw_pauses(axes: Axes, x: Floats, starts: Floats) -> None:
    """Shade from run to run where nothing ran for long: no line crosses that."""
    for number, place in enumerate(pauses(starts)):
        label = "nothing ran" if number == 0 else None
        axes.axvspan(float(x[place - 1]), float(x[place]), color=GRID, alpha=0.45, linewidth=0, label=label)


def _draw_lines(axes: Axes, x: Floats, pieces: Sequence[Line]) -> None:
    """Draw median and p95; a line never crosses a change of the level or a pause."""
    named: set[str] = set()

    def once(label: str) -> str:
        shown = label if label not in named else f"_{label}"
        named.add(label)
        return shown

    for piece in pieces:
        at = np.interp(piece.places, np.arange(x.size), x)
        whole = ~np.isnan(piece.p95)
        if whole.sum() > 1:
            axes.fill_between(
                at[whole], piece.p50[whole], piece.p95[whole], color=SKY, alpha=0.28, linewidth=0, zorder=1
            )
            axes.plot(
                at[whole], piece.p95[whole], color=BLUE, linewidth=1.2, linestyle=(0, (5, 2)), zorder=3,
                label=once("p95"),
            )  # fmt: skip
        axes.plot(
            at, piece.p50, color=BLUE, linewidth=2.4, label=once("median (p50)"), zorder=3,
            marker="o" if at.size == 1 else "", markersize=4,
        )  # fmt: skip


def _label_runs(axes: Axes, x: Floats, starts: Floats, by: str) -> None:
    if by == "time":
        date_axis(axes)
        margin = max(0.012 * float(x[-1] - x[0]), _LEAST_MARGIN)
        axes.set_xlim(float(x[0]) - margin, float(x[-1]) + margin)
        return
    label_sessions(axes, starts)
    margin = max(0.5, 0.012 * len(x))
    axes.set_xlim(-margin, len(x) - 1 + margin)
