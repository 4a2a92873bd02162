"""CPU and memory of the process over the steps of one session."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perfdb.analysis.timeline import Row, Timeline, timeline
from perfdb.charts.style import (
    BLUE,
    FILLS,
    GREEN,
    HATCH_INK,
    INK,
    MUTED,
    bare,
    figure,
    moment,
    sentence,
    to_drawable,
    value_axis,
    zone,
)
from perfdb.records import Sample, Session
from perfdb.text import amount_text, counted, duration_text, inert, mode_text, shortened, size_text

MOST_ROWS = 8


def resources(session: Session) -> Figure:
    """Draw the readings of CPU and resident memory above the top-level steps of a session."""
    if not session.samples:
        return sentence(
            f"{session.session_id}: no readings of CPU and memory",
            "The monitor was off, or the run was over before its first reading (every 50 ms).",
        )
    laid_out = timeline(session)
    rows = [row for row in laid_out.rows if row.depth == 0]
    said = [
        session.pipeline,
        mode_text(session.mode),
        counted(len(session.samples), "reading"),
        duration_text(laid_out.wall_s),
        moment(session.start_time),
    ]
    made = figure(
        _finding(session, laid_out),
        ", ".join(part for part in said if part),
        f"session {session.session_id}; CPU of all threads, 100 % is one core; memory: resident; "
        f"{zone(session.start_time)}",
    )
    shown = rows[:MOST_ROWS]
    cpu, memory, below = made.subplots(
        3, 1, sharex=True, height_ratios=[3, 3, max(0.7, 0.42 * max(1, len(shown)))]
    )
    times = [sample.time - session.start_time for sample in session.samples]
    wall = max([laid_out.wall_s, *times]) or 1e-6
    percents = [sample.cpu_percent for sample in session.samples]
    _draw_readings(cpu, times, percents, BLUE, "CPU of a core", "percent")
    sizes = [float(sample.rss_bytes) for sample in session.samples]
    _draw_readings(memory, times, sizes, GREEN, "memory", "bytes")
    for axes in (cpu, memory):
        for row in rows[1:]:
            axes.axvline(row.bars[0].start, color=MUTED, linewidth=0.8, linestyle=":")
    _draw_steps(below, shown, wall)
    hidden = len(rows) - len(shown)
    more = f"; {counted(hidden, 'more step')} not drawn" if hidden else ""
    value_axis(below.xaxis, wall, f"since the start{more}", "s")
    below.set_xlim(0, wall * 1.001)
    return made


def _finding(session: Session, laid_out: Timeline) -> str:
    busiest = max(session.samples, key=lambda sample: sample.cpu_percent)
    largest = max(session.samples, key=lambda sample: sample.rss_bytes)
    return (
        f"CPU peaked at {busiest.cpu_percent:.0f} %{_during(busiest, session, laid_out)}; "
        f"memory at {size_text(largest.rss_bytes)}{_during(largest, session, laid_out)}"
    )


def _during(sample: Sample, session: Session, laid_out: Timeline) -> str:
    at = sample.time - session.start_time
    for row in laid_out.rows:
        if row.depth == 0 and any(bar.start <= at <= bar.end for bar in row.bars):
            return f" in {shortened(inert(row.label or 'a parallel step'), 40)}"
    return ""


def _draw_readings(
    axes: Axes, times: list[float], values: list[float], colour: str, label: str, unit: str
) -> None:
    alone = len(times) < 60
    axes.plot(times, values, color=colour, linewidth=1.8, marker="o" if alone else None, markersize=4)
    axes.fill_between(times, 0, values, color=colour, alpha=0.15, linewidth=0)
    top = max(values) or 1.0
    axes.set_ylim(0, 1.18 * top)
    place = values.index(max(values))
    right = times[place] > 0.85 * max(times[-1], 1e-9)
    axes.annotate(
        f"peak {amount_text(values[place], unit)}",
        (times[place], values[place]),
        xytext=(-6 if right else 6, 5),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize=10,
        fontweight="bold",
        color=INK,
    )
    bare(axes)
    value_axis(axes.yaxis, 1.18 * top, label, unit, most=4)


def _draw_steps(axes: Axes, rows: list[Row], wall: float) -> None:
    for place, row in enumerate(rows):
        colour, hatch = FILLS[place % len(FILLS)]
        axes.broken_barh(
            [(bar.start, max(0.002 * wall, bar.end - bar.start)) for bar in row.bars],
            (place - 0.36, 0.72),
            facecolors=colour,
            hatch=hatch,
            edgecolor=HATCH_INK,
            linewidth=0,
        )
    bare(axes, grid=None)
    axes.spines["left"].set_visible(False)
    labels = [to_drawable(shortened(inert(row.label or "(parallel)"), 30)) for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
