"""Shapes for the pages: bars, lines and dots, stretched by the page to its width.

Texts stand beside them as HTML, so that they stay readable on a telephone, and for those who listen; but what
stands at the lines of a scale, and names of dots, are placed by percent and are not stretched.
Widths are parts of 1000; a ``title`` tells a shape's own story when the pointer rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from perfdb.analysis.labels import Box, placed
from perfdb.analysis.scales import scale
from perfdb.analysis.timeline import Bar, Interval, Row, longest
from perfdb.measures import LOWER
from perfdb.pages.words import escaped
from perfdb.text import duration_text

WIDTH = 1000.0
_NARROWEST = 1.5
_HEIGHT = 20.0
LEAST_SPAN = 0.5  # of its largest value, in a sparkline
_LETTER, _NARROW, _WIDE = 16.0, 6.9, 12.0  # pixels of a name: its height, and its letters
_LAST_NARROW = 0x2E7F  # later letters are as wide as they are high
MOST_SHAPES = 400  # of a row of more the longest are drawn


@dataclass(frozen=True, slots=True)
class DrawnBar:
    """A step as a waterfall draws it; seconds since the start of the session."""

    name: str
    start: float
    end: float
    critical: Sequence[Interval] = ()
    waits: Sequence[Interval] = ()
    failed: bool = False
    so_far: str = ""
    seq: int | None = None  # of the step, for a page that can tell more of it


def row_of_bars(row: Row, wall: float) -> str:
    """Return the bars of a timeline's row, see ``bars``."""
    return bars([_drawn(bar) for bar in longest(row.bars, MOST_SHAPES)], wall, inner=row.depth > 0)


def bars(drawn: Iterable[DrawnBar], wall: float, *, inner: bool = False) -> str:
    """Return a waterfall's row: beside the critical path light, on it dark, waiting white."""
    shapes = "".join(_bar(bar, wall) for bar in drawn)
    return _svg("bar inner" if inner else "bar", _HEIGHT, _grid(_HEIGHT) + shapes)


def _drawn(bar: Bar) -> DrawnBar:
    return DrawnBar(
        bar.step.step_name, bar.start, bar.end, bar.critical, bar.waits, bar.step.failed, bar.so_far
    )


def _bar(bar: DrawnBar, wall: float) -> str:
    took = bar.so_far or duration_text(bar.end - bar.start)
    title = f"{escaped(bar.name)}: {took}, after {duration_text(bar.start)}"
    shapes = [
        _rectangle("beside", bar.start, bar.end, wall),
        *(_rectangle("critical", first, last, wall) for first, last in bar.critical[:MOST_SHAPES]),
        *(_rectangle("wait", first, last, wall, inset=5.5) for first, last in bar.waits),
    ]
    kind = ' class="failed"' if bar.failed else ' class="open"' if bar.so_far else ""
    kind += "" if bar.seq is None else f' data-seq="{bar.seq}"'
    return f"<g{kind}><title>{title}</title>{''.join(shapes)}</g>"


def minimap(critical: Iterable[Interval], ends: Iterable[Interval], wall: float) -> str:
    """Return a whole session in one row: where any step ran, and of it the critical path."""
    near = wall / WIDTH
    shapes = [_rectangle("beside", *each, wall, inset=4.0) for each in _joined(ends, near)]
    shapes += [_rectangle("critical", *each, wall, inset=6.0) for each in _joined(critical, near)]
    return _svg("bar", _HEIGHT, "".join(shapes[:MOST_SHAPES]))


def outside(parts: Iterable[Interval], wall: float) -> str:
    """Return a row of the time that no step explains."""
    shapes = [_rectangle("none", *each, wall, inset=4.0) for each in _joined(parts, wall / WIDTH)]
    return _svg("bar inner", _HEIGHT, _grid(_HEIGHT) + "".join(shapes[:MOST_SHAPES]))


def _joined(intervals: Iterable[Interval], near: float) -> list[Interval]:
    """Return intervals in order, as one where no more than ``near`` is between them."""
    found: list[Interval] = []
    for first, last in sorted(intervals):
        if found and first - found[-1][1] <= near:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def pair_of_bars(critical: float, busy: float, longest: float) -> str:
    """Return a step's critical seconds over its busy seconds, from the left."""
    return _svg(
        "bar",
        _HEIGHT,
        _rectangle("beside", 0.0, busy, longest) + _rectangle("critical", 0.0, critical, longest, inset=5.0),
    )


def scale_of(bars: Sequence[tuple[float | None, float | None, float | None]]) -> float:
    """Return what the longest of bars stands for, of (value, low, high).

    Their intervals fit, unless one is twice as long as any bar: that would make all bars short.
    """
    longest = max((abs(value or 0.0) for value, _, _ in bars), default=0.0)
    ends = [abs(end) for _, *both in bars for end in both if end is not None]
    return min(max([longest, *ends]), 2 * longest)


def difference(
    seconds: float,
    largest: float,
    *,
    sure: bool = True,
    better: str = LOWER,
    low: float | None = None,
    high: float | None = None,
) -> str:
    """Return a bar from the middle: more to the right, less to the left; grey when it may be chance.

    Its colour says whether that is worse, which less may be; a line from ``low`` to ``high`` is its interval.
    """
    half = largest if largest > 0 else 1.0
    first, last = min(0.0, seconds), max(0.0, seconds)
    kind = ("more-of" if (seconds > 0) == (better == LOWER) else "less-of") if sure else "chance-of"
    shape = _rectangle(kind, half + first, half + last, 2 * half, inset=4.0) if seconds else ""
    if low is not None and high is not None:
        left, right = (min(max(0.0, WIDTH / 2 * (1 + end / half)), WIDTH) for end in (low, high))
        shape += f'<path class="reach" d="M{left:.1f} {_HEIGHT / 2:g}H{right:.1f}"/>'
    return _svg("bar", _HEIGHT, f'{shape}<path class="zero" d="M{WIDTH / 2:g} 0V{_HEIGHT:g}"/>')


def meter(done: float, usual: float) -> str:
    """Return how far something got beside what is usual, which is the whole width until it is exceeded."""
    whole = max(done, usual)
    shapes = _rectangle("track", 0.0, whole, whole, inset=0.0)
    shapes += _rectangle("critical", 0.0, min(done, usual), whole, inset=0.0)
    if done > usual:
        shapes += _rectangle("over", usual, done, whole, inset=0.0)
    return _svg("bar thin meter", _HEIGHT, shapes)


def sparkline(values: Sequence[float], usual: float | None = None, flagged: Sequence[int] = ()) -> str:
    """Return a small line through the values, oldest first, over a dashed one at what is usual or the limit.

    Args:
        values: oldest first.
        usual: where the dashed line lies.
        flagged: places of the values that have a dot.
    """
    if not values:
        return ""
    levels = [*values, *([] if usual is None else [usual])]
    low, high = min(levels), max(levels)
    span = max(high - low, LEAST_SPAN * abs(high)) or 1.0  # noise shall look like noise
    low = (low + high) / 2 - 0.6 * span
    top = 1.2 * span

    def placed(x: float, value: float) -> tuple[float, float]:
        return _place(x, value - low, max(1.0, len(values) - 1.0), top, 100.0)

    path = " ".join(f"{x:.0f},{y:.0f}" for x, y in (placed(i, value) for i, value in enumerate(values)))
    x, y = placed(len(values) - 1, values[-1])
    line = "" if usual is None else f'<path class="usual" d="M0 {placed(0, usual)[1]:.0f}H{WIDTH:g}"/>'
    dots = "".join(f"M{x:.0f} {y:.0f}h0" for x, y in (placed(place, values[place]) for place in flagged))
    line += f'<polyline class="line" points="{path}"/><path class="dot last" d="M{x:.0f} {y:.0f}h0"/>'
    return _svg("spark", 100.0, line + (f'<path class="dot over" d="{dots}"/>' if dots else ""))


def histogram(bins: Sequence[tuple[float, float, str, str]]) -> str:
    """Return columns side by side, each a link, of which a part failed.

    Args:
        bins: how many, how many of them failed, what to tell of them, and where they are to be seen.
    """
    top = max((count for count, *_ in bins), default=0) or 1
    wide = WIDTH / max(1, len(bins))
    shapes = []
    for place, (count, failed, title, address) in enumerate(bins):
        if not count:
            continue
        high, bad = (100.0 * max(each / top, 0.02 if each else 0.0) for each in (count, failed))
        x = f'x="{place * wide + 0.08 * wide:.1f}" width="{0.84 * wide:.1f}"'
        whole = f'<rect class="count" {x} y="{100 - high:.1f}" height="{high:.1f}"/>'
        part = f'<rect class="count bad" {x} y="{100 - bad:.1f}" height="{bad:.1f}"/>' if failed else ""
        reach = f'<rect class="reach" x="{place * wide:.1f}" width="{wide:.1f}" y="0" height="100"/>'
        shapes.append(
            f'<a xlink:href="{escape(address)}" tabindex="-1"><title>{escaped(title)}</title>'
            f"{reach}{whole}{part}</a>"
        )
    return _svg("histogram", 100.0, "".join(shapes))


def columns(counts: Sequence[tuple[int, str]], most: int) -> str:
    """Return small columns side by side, each with what to tell of it, in a height of ``most``."""
    wide = WIDTH / max(1, len(counts))
    shapes = "".join(
        f'<rect class="count" x="{place * wide + 0.1 * wide:.1f}" width="{0.8 * wide:.1f}" '
        f'y="{100 - high:.1f}" height="{high:.1f}"><title>{escaped(title)}</title></rect>'
        for place, (count, title) in enumerate(counts)
        for high in [100.0 * count / max(1, most)]
        if count
    )
    return _svg("histogram", 100.0, shapes)


def ticks(top: float, unit: str, most: int = 5) -> list[tuple[float, str]]:
    """Return where the lines of a scale from 0 to ``top`` lie, in the unit, and what stands at each."""
    divided = scale(top, unit, most=most)
    return [(line, divided.label(line)) for line in divided.lines(0.0, top)]


def area(
    points: Sequence[tuple[float, float]],
    right: float,
    top: float,
    *,
    second: bool = False,
    lines: Sequence[tuple[float, str]] = (),
) -> str:
    """Return a line with the area below it; points are (x, y) of 0..right and 0..top, in the order of x.

    ``lines`` of the scale are those of ``ticks``.
    """
    placed = [_place(x, y, right, top, 100.0) for x, y in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    kind = " second" if second else ""
    closed = f"{placed[0][0]:.1f},100 {path} {placed[-1][0]:.1f},100" if placed else ""
    shapes = f'<polygon class="area{kind}" points="{closed}"/><polyline class="line{kind}" points="{path}"/>'
    return _plot("plot low", shapes, top, lines)


def dots(
    points: Iterable[tuple[float, float, bool, str]],
    pieces: Iterable[Sequence[tuple[float, float]]],
    right: float,
    top: float,
    *,
    limits: Sequence[float] = (),
    marks: Sequence[float] = (),
    events: Sequence[float] = (),
    pauses: Iterable[tuple[float, float]] = (),
    ribbons: Iterable[Sequence[tuple[float, float, float]]] = (),
    lines: Sequence[tuple[float, str]] = (),
) -> str:
    """Return dots and a line, in pieces, through the same plane.

    Args:
        points: x, y, whether it failed, and what to tell of it.
        pieces: x and y of the line where it is unbroken.
        right: the largest x.
        top: the largest y; what is above is an arrow at the edge.
        limits: y of lines across.
        marks: x of lines upright.
        events: x of fainter ones.
        pauses: from x to x, where nothing ran.
        ribbons: x, the lower and the upper y of areas.
        lines: of the scale, see ``ticks``.
    """
    shapes = []
    for first, last in pauses:
        left, right_end = (_place(x, 0.0, right, top, 100.0)[0] for x in (first, last))
        width = max(0.0, right_end - left)
        shapes.append(f'<rect class="pause" x="{left:.1f}" y="0" width="{width:.1f}" height="100"/>')
    for ribbon in ribbons:
        edge = [(x, high) for x, _, high in ribbon] + [(x, low) for x, low, _ in reversed(ribbon)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(x, y, right, top, 100.0) for x, y in edge))
        shapes.append(f'<polygon class="ribbon" points="{path}"/>')
    shapes += [f'<path class="event" d="M{_place(x, 0.0, right, top, 100.0)[0]:.1f} 0V100"/>' for x in events]
    shapes += [f'<path class="mark" d="M{_place(x, 0.0, right, top, 100.0)[0]:.1f} 0V100"/>' for x in marks]
    shapes += [
        f'<path class="limit" d="M0 {_place(0.0, y, right, top, 100.0)[1]:.1f}H{WIDTH:g}"/>' for y in limits
    ]
    for x, y, failed, title in points:
        px, py = _place(x, y, right, top, 100.0)
        kind = " failed" if failed else ""
        if y > top:
            shape = f'<path class="beyond{kind}" d="M{px - 4:.1f} 5L{px:.1f} 0L{px + 4:.1f} 5z">'
        else:
            shape = f'<path class="dot{kind}" d="M{px:.1f} {py:.1f}h0">'
        shapes.append(f"{shape}<title>{escaped(title)}</title></path>")
    for piece in pieces:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(x, y, right, top, 100.0) for x, y in piece))
        shapes.append(f'<polyline class="line second" points="{path}"/>')
    return _plot("plot", "".join(shapes), top, lines)


def plane(
    points: Iterable[tuple[float, float, tuple[float, float], tuple[float, float], bool, str]],
    fronts: Iterable[Sequence[tuple[float, float]]],
    right: float,
    top: float,
    *,
    lines: Sequence[tuple[float, str]] = (),
    upright: Sequence[tuple[float, str]] = (),
) -> str:
    """Return what one would choose between, where two figures of each are, with their intervals.

    Args:
        points: x, y, the ends of the intervals along x and y, whether it is on the front, what to tell of it.
        fronts: x and y of lines through those on the front.
        right: the largest x.
        top: the largest y.
        lines: of the scale of y, see ``ticks``.
        upright: of that of x.
    """
    shapes = []
    for front in fronts:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(*each, right, top, 100.0) for each in front))
        shapes.append(f'<polyline class="line second" points="{path}"/>')
    for x, y, across, up, on_front, title in points:
        px, py = _place(x, y, right, top, 100.0)
        (left, _), (end, _) = (_place(each, y, right, top, 100.0) for each in across)
        (_, low), (_, high) = (_place(x, each, right, top, 100.0) for each in up)
        kind = "choice" if on_front else "choice beaten"
        bars = f"M{left:.1f} {py:.1f}H{end:.1f}M{px:.1f} {low:.1f}V{high:.1f}"
        shapes.append(
            f'<g class="{kind}"><title>{escaped(title)}</title><path class="reach" d="{bars}"/>'
            f'<path class="dot" d="M{px:.1f} {py:.1f}h0"/></g>'
        )
    return _plot("plot", "".join(shapes), top, lines, right, upright)


def names(
    points: Iterable[tuple[float, float, str]],
    right: float,
    top: float,
    *,
    size: tuple[float, float],
    shapes: Sequence[Box] = (),
    kind: str = "",
) -> str:
    """Return the names of what lies in a plane, each beside its place, to be drawn over it.

    A plane is stretched to its screen, letters are not: a place is a percent, and from there on it is pixels.
    What is apart in the least size is apart in any wider one.

    Args:
        points: x, y and the name; the first ones choose their places first.
        right: the largest x.
        top: the largest y.
        size: pixels that the plane has at least.
        shapes: what names should not lie on, as parts of the plane: x and y of two corners.
        kind: a class of the style sheet.
    """
    wide, high = size
    parts = [(*_place(x, y, right, top, 1.0), name) for x, y, name in points]
    places = [(x / WIDTH * wide, y * high) for x, y, _ in parts]
    sizes = [
        (sum(_WIDE if ord(each) > _LAST_NARROW else _NARROW for each in name) + 6, _LETTER)
        for *_, name in parts
    ]
    taken = [(x0 * wide, y0 * high - 5, x1 * wide, y1 * high + 5) for x0, y0, x1, y1 in shapes]
    found = []
    for (x, y, name), place, box in zip(
        parts, places, placed(places, sizes, (0.0, 0.0, wide, high), shapes=taken, gap=8.0), strict=True
    ):
        left, end, middle = box[0] - place[0] + 3, box[2] - place[0] - 3, (box[1] + box[3]) / 2 - place[1]
        near = min(max(0.0, left), end)
        far = abs(middle) > 2 * _LETTER or (min(abs(left), abs(end)) > 2 * _LETTER and abs(near) > 0)
        leader = f'<path d="M0 0L{near:.0f} {middle:.0f}"/>' if far else ""
        found.append(
            f'<svg x="{x / 10:.1f}%" y="{100 * y:.1f}%">{leader}'
            f'<text x="{left:.0f}" y="{middle:.0f}" dy=".35em">{escaped(name)}</text></svg>'
        )
    return f'<svg class="names{kind and " " + kind}" aria-hidden="true">{"".join(found)}</svg>'


def _plot(
    kind: str,
    shapes: str,
    top: float,
    lines: Sequence[tuple[float, str]],
    right: float = 0.0,
    upright: Sequence[tuple[float, str]] = (),
) -> str:
    """Return shapes of a plane of 1000 to 100 over the lines of their scales, with their labels outside."""
    across = [(_place(0.0, y, 1.0, top, 100.0)[1], label) for y, label in lines]
    up = [(_place(x, 0.0, right, top, 100.0)[0], label) for x, label in upright]
    grid = "".join([*(f"M0 {y:.1f}H{WIDTH:g}" for y, _ in across), *(f"M{x:.1f} 0V100" for x, _ in up)])
    texts = [
        f'<text class="at-y" x="-8" y="{y:.1f}%" dy=".32em">{escaped(label)}</text>' for y, label in across
    ]
    texts += [
        f'<text class="at-x" x="{x / 10:.1f}%" y="100%" dy="1.4em">{escaped(label)}</text>' for x, label in up
    ]
    box = f'viewBox="0 0 {WIDTH:g} 100" preserveAspectRatio="none" height="100%"'
    inside = f'<svg {box}><path class="grid" d="{grid or "M0 100"}"/>{shapes}</svg>'
    return f'<svg class="{kind}{" axed" if lines else ""}" aria-hidden="true">{inside}{"".join(texts)}</svg>'


def _svg(kind: str, height: float, content: str) -> str:
    box = f'viewBox="0 0 {WIDTH:g} {height:g}" preserveAspectRatio="none"'
    return f'<svg class="{kind}" {box} aria-hidden="true">{content}</svg>'


def _grid(height: float) -> str:
    lines = "".join(f"M{x:g} 0V{height:g}" for x in (0, 250, 500, 750, 1000))
    return f'<path class="grid" d="{lines}"/>'


def _rectangle(kind: str, first: float, last: float, wall: float, *, inset: float = 1.0) -> str:
    scale = WIDTH / wall if wall > 0 else 0.0
    width = max(_NARROWEST, (last - first) * scale)
    x = min(max(0.0, first * scale), WIDTH - _NARROWEST)
    width = min(width, WIDTH - x)
    tall = _HEIGHT - 2 * inset
    return f'<rect class="{kind}" x="{x:.1f}" y="{inset:g}" width="{width:.1f}" height="{tall:g}"/>'


def _place(x: float, y: float, right: float, top: float, height: float) -> tuple[float, float]:
    across = x / right if right > 0 else 0.5
    up = min(1.0, y / top) if top > 0 else 0.0
    return WIDTH * across, height * (1 - up)
