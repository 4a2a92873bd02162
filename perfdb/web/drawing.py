"""Draw answers as the shapes of ``perfdb.pages.svg``: what a page shows before, or without, its scripts."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from perfdb.analysis.labels import along
from perfdb.analysis.pareto import named
from perfdb.analysis.timeline import guides
from perfdb.analysis.trend_view import kept_places
from perfdb.pages import svg
from perfdb.text import amount_text, duration_text, inert, shortened, size_text
from perfdb.vocabulary import COMPLETED, FAILED
from perfdb.web.answers.compare import Choice
from perfdb.web.answers.trends import Rate
from perfdb.web.schemas import BarRow, SampleSeries, SessionAnswer, TimelineRow, TrendAnswer

MOST_DOTS = 300
MOST_NAMES, MOST_OF_NAME = 12, 32  # in a picture of choices; letters of each
MOST_OF_SLIM = 24  # letters, on a telephone
MOST_PLANES = 4  # of one pipeline and mode
_LEAST_WIDE, _LEAST_SLIM = (480.0, 250.0), (240.0, 190.0)  # pixels of such a picture on a screen, a telephone


def waterfall(
    answer: SessionAnswer, most: int, most_bars: int = svg.MOST_SHAPES
) -> Iterator[tuple[TimelineRow, str, str]]:
    """Yield the rows of a session's waterfall, each with its bars and its guides; of too many the weightiest.

    The weightiest are those that held the session up most; later rows of the same steps stay with the first.
    Of each row the longest bars are drawn, ``most_bars`` at most.
    """
    rows = answer.timeline.rows
    if len(rows) > most:
        firsts: list[int] = []
        for at, row in enumerate(rows):
            firsts.append(at if row.count or not firsts else firsts[-1])
        order = sorted(range(len(rows)), key=lambda at: (-rows[firsts[at]].critical_s, firsts[at], at))
        rows = [rows[at] for at in sorted(order[:most])]
    name = ""
    for row, guide in zip(rows, guides([row.depth for row in rows]), strict=True):
        name = row.label if row.count else name
        bars = [
            svg.DrawnBar(
                name,
                bar.start,
                bar.end,
                bar.critical,
                bar.waits,
                bar.status == FAILED,
                bar.so_far,
                bar.seq,
            )
            for bar in _longest(row.bars, most_bars)
        ]
        hidden = row.hidden_bars + len(row.bars) - len(bars)
        drawn = svg.bars(bars, answer.timeline.wall_s, inner=row.depth > 0)
        yield row.model_copy(update={"hidden_bars": hidden}), drawn, guide


def tree(answer: SessionAnswer) -> str:
    """Return every row of the waterfall for the script that draws it, as JSON.

    Rows are lists: label, depth, count, busy and critical seconds, bars. So are bars: seq, start, duration;
    then, without what is empty at the end, the parts on the critical path (1: all), status, words and waits.
    Times of bars are whole microseconds, which are short and quick to write.
    """
    line = answer.timeline
    rows = [
        [
            inert(row.label) if row.label.strip() else f"“{row.label}”",  # a name of spaces is a button, too
            row.depth,
            row.count,
            round(row.busy_s, 6),
            round(row.critical_s, 6),
            [_bar(bar) for bar in row.bars],
        ]
        for row in line.rows
    ]
    drawn = {"wall_s": line.wall_s, "other_s": line.other_s, "other": _micros(line.outside), "rows": rows}
    return json.dumps(drawn, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _bar(bar: BarRow) -> list[Any]:
    whole = bar.critical == [(bar.start, bar.end)]
    told = [
        bar.seq,
        round(1e6 * bar.start),
        round(1e6 * (bar.end - bar.start)),
        1 if whole else _micros(bar.critical) or 0,
        "" if bar.status == COMPLETED else bar.status,
        bar.so_far,
        _micros(bar.waits),
    ]
    while len(told) > 3 and not told[-1]:
        told.pop()
    return told


def _micros(parts: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    return [(round(1e6 * first), round(1e6 * last)) for first, last in parts]


def minimap(answer: SessionAnswer) -> str:
    """Return the whole session in one row, from which a part can be chosen."""
    top = [bar for row in answer.timeline.rows if row.depth == 0 for bar in row.bars]
    path = [(part.start, part.end) for part in answer.critical_path if part.seq is not None]
    return svg.minimap(path, [(bar.start, bar.end) for bar in top], answer.timeline.wall_s)


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
    if any(bar.waits for row in answer.timeline.rows for bar in row.bars):
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
            title,
            svg.area(
                list(zip(times, values, strict=True)),
                right,
                1.1 * max(values),
                second=second,
                lines=svg.ticks(1.1 * max(values), unit, 4),
            ),
        )
        for title, values, unit, second in (
            (f"CPU, up to {max(cpu):.0f} % of a core", cpu, "percent", False),
            (f"memory, up to {size_text(max(memory))}", memory, "bytes", True),
        )
    ]


def trend(answer: TrendAnswer, limits: Sequence[float] = (), marks: Sequence[float] = ()) -> str:
    """Return the runs of a series as dots over time, with the line of the median and a ribbon of the usual.

    More runs than there is room for are drawn by their periods: the median, and the area up to the p95.

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
            amount_text(points.duration[place], answer.unit),
        )
        for place in kept_places(points.duration, MOST_DOTS)
    ]
    lines, ribbons = (_bands if answer.bands else _pieces)(answer)
    return svg.dots(
        [] if answer.bands else shown,
        lines,
        last - first,
        answer.top,
        limits=[limit for limit in limits if limit < answer.top],
        marks=[mark - first for mark in marks if first <= mark <= last],
        events=[mark.at - first for mark in answer.marks if first <= mark.at <= last],
        pauses=[(start - first, end - first) for start, end in answer.pauses],
        ribbons=ribbons,
        lines=svg.ticks(answer.top, answer.unit),
    )


def rate(found: Rate, limit: float | None, mark: float) -> str:
    """Return the share of failed runs over time as dots with a line.

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
    return svg.dots(
        dots,
        [line],
        last - first,
        top,
        limits=[] if limit is None else [limit],
        marks=[mark - first] if first <= mark <= last else [],
        lines=[(line / 100, label) for line, label in svg.ticks(100 * top, "percent")],
    )


def planes(rows: Sequence[Choice]) -> list[tuple[str | None, str]]:
    """Return the steps of a pipeline and mode, None: the total, that leave a choice, with a picture of it."""
    steps: dict[str | None, list[Choice]] = {}
    for row in rows:
        steps.setdefault(row.step_name, []).append(row)
    several = [(step, own) for step, own in steps.items() if len(own) > 1]
    several.sort(key=lambda each: -len(each[1]))
    return [(step, _plane(own)) for step, own in several[:MOST_PLANES]]


def _plane(rows: Sequence[Choice]) -> str:
    """Return choices of a step, with names, where their seconds and their costs are."""

    def reach(row: Choice, name: str) -> tuple[float, float]:
        middle = getattr(row, name)
        low, high = getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
        return (middle, middle) if low is None or high is None else (max(0.0, low), high)

    right, top = (1.1 * max(0.0, *(reach(row, name)[1] for row in rows)) for name in ("seconds", "cost"))
    front = sorted((row.seconds, row.cost) for row in rows if row.front)
    points, shapes = [], along([(x / (right or 1.0), 1 - y / (top or 1.0)) for x, y in front], 0.02)
    for row in rows:
        told = f"{duration_text(row.seconds)}, {amount_text(row.cost, row.unit)}, n = {row.n:,}"
        across, up = reach(row, "seconds"), reach(row, "cost")
        points.append((row.seconds, row.cost, across, up, row.front, f"{named(row.value)}: {told}"))
        (x0, x1), (y1, y0) = (
            [each / (end or 1.0) for each in ends] for ends, end in ((across, right), (up, top))
        )
        x, y = row.seconds / (right or 1.0), 1 - row.cost / (top or 1.0)
        shapes += [(x0, y, x1, y), (x, 1 - y0, x, 1 - y1)]
    first = sorted(rows, key=lambda row: not row.front)[:MOST_NAMES]
    drawn = svg.plane(
        points,
        [front] if len(front) > 1 else [],
        right,
        top,
        lines=svg.ticks(top, rows[0].unit, 5),
        upright=svg.ticks(right, "s", 4),
    )
    for kind, size, letters in (("", _LEAST_WIDE, MOST_OF_NAME), ("slim", _LEAST_SLIM, MOST_OF_SLIM)):
        words = [(row.seconds, row.cost, shortened(named(row.value), letters)) for row in first]
        drawn += svg.names(words, right, top, size=size, shapes=shapes, kind=kind)
    return drawn


Lines = list[list[tuple[float, float]]]
Ribbons = list[list[tuple[float, float, float]]]


def _pieces(answer: TrendAnswer) -> tuple[Lines, Ribbons]:
    """Return the median's line in pieces, and what is usual: neither crosses a pause or a change of level."""
    points = answer.points
    cuts = _cuts(answer)
    found: Ribbons = [[] for _ in range(len(cuts) + 1)]
    medians: Lines = [[] for _ in range(len(cuts) + 1)]
    for time, height, low, high in zip(
        points.start_time, points.median, points.low, points.high, strict=True
    ):
        if height is not None and low is not None and high is not None:
            place, x = bisect_right(cuts, time), time - points.start_time[0]
            medians[place].append((x, height))
            found[place].append((x, low, high))
    return (
        [[piece[place] for place in _evenly(len(piece))] for piece in medians if piece],
        [[piece[place] for place in _evenly(len(piece))] for piece in found if len(piece) > 1],
    )


def _bands(answer: TrendAnswer) -> tuple[Lines, Ribbons]:
    """Return the medians of the periods as a line, and the areas from there to their p95."""
    first, last = answer.points.start_time[0], answer.points.start_time[-1]
    medians: Lines = [[]]
    areas: Ribbons = [[]]
    before = first
    for band in answer.bands:
        if band.p50 is None:
            continue
        if any(before < end and start < band.start_time for start, end in answer.pauses):
            medians.append([])
            areas.append([])
        before = band.start_time
        x = min(max(0.0, band.start_time - first), last - first)
        medians[-1].append((x, band.p50))
        areas[-1].append((x, band.p50, band.p50 if band.p95 is None else band.p95))
    return [piece for piece in medians if piece], [piece for piece in areas if len(piece) > 1]


def _cuts(answer: TrendAnswer) -> list[float]:
    return sorted([*(end for _, end in answer.pauses), *(each.start_time for each in answer.changes)])


def _evenly(count: int) -> list[int]:
    stride = max(1, -(-count // MOST_DOTS))
    return sorted({*range(0, count, stride), count - 1})
