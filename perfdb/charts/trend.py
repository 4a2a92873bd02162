"""The trend of one series: every run, the median and p95 of the last ones, and where the level moved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from perfdb.charts.marks import draw_changes, draw_failures, draw_limits, draw_pinned
from perfdb.charts.style import (
    BLUE,
    INK,
    MUTED,
    SKY,
    bare,
    duration_axis,
    figure,
    label_sessions,
    moment,
    period,
    sentence,
    zone,
)
from perfdb.text import counted, duration_text, inert, shortened

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

LEAST_FOR_P95 = 20  # runs; no p95 is drawn of fewer
FIRST = 5  # runs before the median's line begins
MOST_POINTS = 2_000  # more runs than the picture has columns are summed up in groups
GROUPS = 200
DOTS = 3_000


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
) -> Figure:
    """Draw how the durations of one series moved.

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
        alerts: ``since_session_id``, ``severity`` and ``rule``.
        pinned: the pinned baseline: ``value`` (s) and ``n``.
    """
    what = shortened(inert(what), 60)
    durations = points["duration"].to_numpy(dtype=float)
    starts = points["start_time"].to_numpy(dtype=float)
    if durations.size == 0:
        return sentence(
            f"{what}: nothing to draw", "No successful run matches. Loosen the filters, or record runs first."
        )
    subtitle = ", ".join(
        part for part in (context, counted(durations.size, "run"), period(starts[0], starts[-1])) if part
    )
    made = figure(_finding(what, durations, starts, limits, changes), subtitle, _small_print(durations.size))
    axes = made.add_subplot()
    x = np.arange(durations.size, dtype=float) if by == "session" else _dates(starts)
    top = _top(durations, [*limits, {"limit": pinned["value"]}] if pinned is not None else limits)
    _draw_runs(axes, x, durations, top)
    _draw_levels(axes, x, durations, [int(change["index"]) for change in changes])
    draw_limits(axes, limits, durations, top)
    if pinned is not None:
        draw_pinned(axes, pinned, top)
    draw_changes(axes, x, changes, alerts, points["session_id"].tolist())
    draw_failures(axes, x, starts, failures)
    axes.set_ylim(0, top)
    bare(axes)
    duration_axis(axes.yaxis, top, "duration")
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
    return made


def _finding(
    what: str,
    durations: Floats,
    starts: Floats,
    limits: Sequence[Mapping[str, Any]],
    changes: Sequence[Mapping[str, Any]],
) -> str:
    if changes:
        newest = max(changes, key=lambda change: int(change["index"]))
        percent = float(newest["effect_percent"])
        since = moment(float(starts[int(newest["index"])]))
        return (
            f"{what} is {abs(percent):.0f} % {'slower' if percent > 0 else 'faster'} since {since} "
            f"({duration_text(newest['before_median'])} → {duration_text(newest['after_median'])})"
        )
    for limit in limits:
        over = int(np.count_nonzero(durations > float(limit["limit"])))
        if over:
            of_all = f"{over:,} of {counted(durations.size, 'run')}"
            return f"{what}: {of_all} over the limit of {duration_text(limit['limit'])}"
    if durations.size == 1:
        return f"{what} took {duration_text(float(durations[0]))} in its only run"
    half = f"{what}: half of the runs take up to {duration_text(float(np.median(durations)))}"
    if durations.size < LEAST_FOR_P95:
        return f"{half}, the longest {duration_text(float(durations.max()))}"
    return f"{half}, 95 % up to {duration_text(float(np.percentile(durations, 95)))}"


def _small_print(runs: int) -> str:
    if runs > MOST_POINTS:
        behind = (
            f"lines: median and 95th percentile of groups of about {runs // GROUPS:,} runs; dots: a selection"
        )
    else:
        behind = f"lines: median and 95th percentile of the last {_window(runs)} runs of the same level"
    return f"{behind}; failed, cached, warm-up and ignored runs do not count; {zone()}"


def _dates(starts: Floats) -> Floats:
    # naive local datetimes, so that both sides of a change to summer time read right
    naive = [datetime.fromtimestamp(start) for start in starts.tolist()]
    return np.asarray(date2num(naive), dtype=np.float64)  # type: ignore[no-untyped-call]


def _top(durations: Floats, limits: Sequence[Mapping[str, Any]]) -> float:
    """Return where the axis ends: a few wild runs must not flatten all the others."""
    usual = float(durations.max())
    if durations.size >= LEAST_FOR_P95:
        usual = min(usual, 2.2 * float(np.percentile(durations, 95)))
    near = [float(limit["limit"]) for limit in limits if float(limit["limit"]) <= 2.2 * usual]
    return 1.16 * max([usual, *near]) or 1.0


def _draw_runs(axes: Axes, x: Floats, durations: Floats, top: float) -> None:
    shown = np.arange(durations.size)
    if durations.size > MOST_POINTS:
        shown = np.unique(np.linspace(0, durations.size - 1, DOTS).astype(int))
    inside = shown[durations[shown] <= top]
    many = durations.size > 300
    axes.plot(
        x[inside],
        durations[inside],
        linestyle="",
        marker=".",
        markersize=3 if many else 7,
        color="#6e6e6e",
        alpha=0.5 if many else 0.9,
        markeredgewidth=0,
        label="a run",
        zorder=2,
    )
    above = np.flatnonzero(durations > top)
    if above.size:
        axes.plot(
            x[above],
            np.full(above.size, 0.985 * top),
            linestyle="",
            marker="^",
            markersize=6,
            color=INK,
            zorder=4,
            label=f"above the picture ({above.size:,}, up to {duration_text(float(durations.max()))})",
        )


def _draw_levels(axes: Axes, x: Floats, durations: Floats, bounds: Sequence[int]) -> None:
    """Draw median and p95; a line never mixes runs from both sides of a change."""
    for number, (first, last) in enumerate(pairwise([0, *bounds, durations.size])):
        windows = _windows(first, last, durations.size)
        parts = [durations[start:end] for start, end in windows]
        if len(parts) < 2:
            continue
        grouped = durations.size > MOST_POINTS
        at = np.array([(x[start] + x[end - 1]) / 2 if grouped else x[end - 1] for start, end in windows])
        median = np.array([np.median(part) for part in parts])
        whole = [place for place, part in enumerate(parts) if part.size >= LEAST_FOR_P95]
        if len(whole) > 1:
            high = np.array([np.percentile(parts[place], 95) for place in whole])
            axes.fill_between(at[whole], median[whole], high, color=SKY, alpha=0.28, linewidth=0, zorder=1)
            axes.plot(
                at[whole],
                high,
                color=BLUE,
                linewidth=1.2,
                linestyle=(0, (5, 2)),
                zorder=3,
                label="_" * bool(number) + "p95",
            )
        axes.plot(at, median, color=BLUE, linewidth=2.4, label="_" * bool(number) + "median (p50)", zorder=3)


def _window(runs: int) -> int:
    """Return how many runs a point of the lines sums up: a long history affords steadier lines."""
    return max(LEAST_FOR_P95, min(100, runs // 8))


def _windows(first: int, last: int, runs: int) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of the runs behind each point of the lines from first to last."""
    if runs > MOST_POINTS:
        groups = max(1, round(GROUPS * (last - first) / runs))
        return list(pairwise(np.linspace(first, last, groups + 1).astype(int).tolist()))
    return [(max(first, end - _window(runs)), end) for end in range(first + FIRST, last + 1)]


def _label_runs(axes: Axes, x: Floats, starts: Floats, by: str) -> None:
    if by == "time":
        locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        axes.set_xlabel("start", color=MUTED, fontsize=11)
        return
    label_sessions(axes, starts)
    margin = max(0.5, 0.012 * len(x))
    axes.set_xlim(-margin, len(x) - 1 + margin)
