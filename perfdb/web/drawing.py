"""Draw answers as the shapes of ``perfdb.pages.svg``: what a page shows before, or without, its scripts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from perfdb.analysis.trend_view import kept_places
from perfdb.pages import svg
from perfdb.text import duration_text, size_text
from perfdb.vocabulary import FAILED
from perfdb.web.answers.trends import Rate
from perfdb.web.schemas import BarRow, SampleSeries, SessionAnswer, TimelineRow, TrendAnswer

MOST_DOTS = 300


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
            bars.append(svg.DrawnBar(name, bar.start, bar.end, bar.critical, waits, failed, bar.so_far))
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
    if any(bar.so_far for row in answer.timeline.rows for bar in row.bars):
        kinds.append(("k5", "has not ended"))
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


def trend(answer: TrendAnswer, limits: Sequence[float] = (), marks: Sequence[float] = ()) -> str:
    """Return the runs of a series as dots over time, with the line of the median.

    Args:
        answer: the series, as pictures show it.
        limits: seconds.
        marks: instants, epoch s.
    """
    points = answer.points
    if not points.start_time:
        return ""
    first, last = points.start_time[0], points.start_time[-1]
    shown = [
        (
            points.start_time[place] - first,
            points.duration[place],
            points.failed[place],
            duration_text(points.duration[place]),
        )
        for place in kept_places(points.duration, MOST_DOTS)
    ]
    return svg.dots(
        shown,
        _pieces(answer),
        last - first,
        answer.top,
        limits=[limit for limit in limits if limit < answer.top],
        marks=[mark - first for mark in marks if first <= mark <= last],
    )


def rate(found: Rate, limit: float | None, mark: float) -> tuple[float, str]:
    """Return the top of the scale, and the share of failed runs over time as dots with a line.

    Args:
        found: the shares.
        limit: a share that is allowed.
        mark: an instant, epoch s.
    """
    first, last = found.start_times[0], found.start_times[-1]
    top = min(1.0, 1.15 * max([*found.shares, limit or 0.0, 0.1]))
    places = kept_places(found.shares, MOST_DOTS)
    line = [(found.start_times[place] - first, found.shares[place]) for place in places]
    dots = [
        (*point, found.failed[place], f"{100 * point[1]:.0f} %")
        for place, point in zip(places, line, strict=True)
    ]
    shape = svg.dots(
        dots,
        [line],
        last - first,
        top,
        limits=[] if limit is None else [limit],
        marks=[mark - first] if first <= mark <= last else [],
    )
    return top, shape


def _pieces(answer: TrendAnswer) -> list[list[tuple[float, float]]]:
    """Return the median's line in pieces: it crosses neither a pause nor a change of the level."""
    points = answer.points
    cuts = sorted([*(end for _, end in answer.pauses), *(each.start_time for each in answer.changes)])
    pieces: list[list[tuple[float, float]]] = [[] for _ in range(len(cuts) + 1)]
    for time, height in zip(points.start_time, points.median, strict=True):
        if height is not None:
            pieces[bisect_right(cuts, time)].append((time - points.start_time[0], height))
    return [[piece[place] for place in _evenly(len(piece))] for piece in pieces if piece]


def _evenly(count: int) -> list[int]:
    stride = max(1, -(-count // MOST_DOTS))
    return sorted({*range(0, count, stride), count - 1})
