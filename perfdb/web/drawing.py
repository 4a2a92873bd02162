"""Draw answers as the shapes of ``perfdb.pages.svg``: what a page shows before, or without, its scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from perfdb.pages import svg
from perfdb.text import duration_text, size_text
from perfdb.vocabulary import FAILED
from perfdb.web.schemas import BarRow, Points, SampleSeries, SessionAnswer, TimelineRow

MOST_DOTS = 300
LEAST_BEHIND = 5  # runs behind the line


def waterfall(answer: SessionAnswer) -> Iterator[tuple[TimelineRow, str]]:
    """Yield the rows of a session's waterfall, each with its bars."""
    steps = {step.seq: step for step in answer.steps}
    begun = answer.session.start_time
    for row in answer.timeline.rows:
        bars = []
        for bar in _longest(row.bars, svg.MOST_SHAPES):
            step = steps.get(bar.seq)
            waits = [
                (each.start_time - each.wait - begun, each.start_time - begun)
                for each in (step.attempts if step is not None else ())
                if each.wait > 0
            ]
            name = row.label if step is None else step.step_name
            failed = bar.status == FAILED
            bars.append(svg.DrawnBar(name, bar.start, bar.end, bar.critical, waits, failed=failed))
        yield row, svg.bars(bars, answer.timeline.wall_s, inner=row.depth > 0)


def _longest(bars: Sequence[BarRow], most: int) -> Sequence[BarRow]:
    if len(bars) <= most:
        return bars
    kept = sorted(range(len(bars)), key=lambda place: bars[place].start - bars[place].end)[:most]
    return [bars[place] for place in sorted(kept)]


def waterfall_keys(answer: SessionAnswer) -> list[tuple[str, str]]:
    """Return what the colours of the waterfall mean."""
    kinds = [("k1", "on the critical path"), ("k2", "beside it")]
    if any(bar.status == FAILED for row in answer.timeline.rows for bar in row.bars):
        kinds.append(("k3", "failed"))
    if any(attempt.wait for step in answer.steps for attempt in step.attempts):
        kinds.append(("k4", "waiting before a retry"))
    return kinds


def resources(samples: SampleSeries, begun: float, wall_s: float) -> tuple[float, list[tuple[str, str]]]:
    """Return the seconds that the areas span, and a title and a shape for CPU and for memory."""
    if len(samples.time) < 2:
        return 0.0, []
    times = [time - begun for time in samples.time]
    right = max(wall_s, times[-1])
    cpu, memory = samples.cpu_percent, [float(each) for each in samples.rss_bytes]
    return right, [
        (
            f"CPU, up to {max(cpu):.0f} % of a core",
            svg.area(list(zip(times, cpu, strict=True)), right, 1.1 * max(cpu)),
        ),
        (
            f"memory, up to {size_text(max(memory))}",
            svg.area(list(zip(times, memory, strict=True)), right, 1.1 * max(memory), second=True),
        ),
    ]


def trend(points: Points, limits: Sequence[float] = (), marks: Sequence[float] = ()) -> str:
    """Return the runs of a series as dots over time, with the median of the runs around each.

    Args:
        points: the runs, oldest first.
        limits: seconds.
        marks: instants, epoch s.
    """
    if not points.start_time:
        return ""
    first, last = points.start_time[0], points.start_time[-1]
    stride = max(1, -(-len(points.start_time) // MOST_DOTS))
    top = top_of(points, limits)
    shown = [
        (
            points.start_time[place] - first,
            points.duration[place],
            points.failed[place],
            duration_text(points.duration[place]),
        )
        for place in range(0, len(points.start_time), stride)
    ]
    line = [(time - first, value) for time, value in rolling_median(points)][::stride]
    return svg.dots(
        shown,
        line,
        last - first,
        top,
        limits=[limit for limit in limits if limit < top],
        marks=[mark - first for mark in marks if first <= mark <= last],
    )


def top_of(points: Points, limits: Sequence[float] = ()) -> float:
    """Return the seconds at the top of a picture: one wild run shall not flatten all the others."""
    if not points.duration:
        return 0.0
    ordered = sorted(points.duration)
    usual = ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))]
    largest = min(ordered[-1], 2.0 * usual)
    return 1.08 * max([largest, *(limit for limit in limits if limit <= 1.5 * largest)])


def rolling_median(points: Points) -> list[tuple[float, float]]:
    """Return time and median of the last runs at each run that counts."""
    good = [
        (time, value)
        for time, value, failed in zip(points.start_time, points.duration, points.failed, strict=True)
        if not failed
    ]
    window = max(LEAST_BEHIND, min(25, len(good) // 15))
    return [
        (good[end - 1][0], median(value for _, value in good[max(0, end - window) : end]))
        for end in range(1, len(good) + 1)
    ]
