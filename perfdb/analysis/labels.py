"""Where names stand beside the points of a picture: on no other name, nearest to their own point. Pure.

Lengths are in pixels, or in whatever unit the picture measures its letters; either way may be up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # least x, least y, largest x, largest y

_RINGS = 60  # distances that are tried, each by half the height of a name
_ON_NAME, _OUTSIDE, _ON_SHAPE = 100.0, 100.0, 4.0  # how bad a unit of area is; of distance a unit is 1
_NEARER_ANOTHER = 40.0  # how bad it is to stand nearer to another point than to one's own
_SAMPLES = 24  # of a line


def placed(
    points: Sequence[Point],
    sizes: Sequence[Point],
    inside: Box,
    *,
    shapes: Sequence[Box] = (),
    gap: float = 9.0,
) -> list[Box]:
    """Return a box for the name of each point; the first ones choose first.

    Args:
        points: what is named.
        sizes: width and height of each name.
        inside: where names may stand.
        shapes: what they should leave free, besides the points.
        gap: from a point to its name, at least.
    """
    taken = [*shapes, *((x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in points)]
    found: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        least, best = math.inf, inside
        for (left, low, right, high), away in _candidates(point, size, gap):
            if away > least:
                break  # nothing farther away can be better
            aside = max(0.0, inside[0] - left) or min(0.0, inside[2] - right)  # near an edge it turns inwards
            box = (left + aside, low, right + aside, high)
            bad = away + _badness(box, found, taken, inside)
            own = _distance(point, box)
            if any(_distance(other, box) <= own for other in points if other != point):
                bad += _NEARER_ANOTHER
            if bad < least:
                least, best = bad, box
        found.append(best)
    return found


def _badness(box: Box, names: Sequence[Box], shapes: Sequence[Box], inside: Box) -> float:
    on_names, on_shapes = (sum(_common(box, other) for other in others) for others in (names, shapes))
    outside = (box[2] - box[0]) * (box[3] - box[1]) - _common(box, inside)
    return _ON_NAME * on_names + _OUTSIDE * outside + _ON_SHAPE * on_shapes


def along(line: Sequence[Point], thick: float = 3.0) -> list[Box]:
    """Return boxes that cover a line, as ``shapes``."""
    half = thick / 2
    boxes = []
    for (x, y), (to_x, to_y) in pairwise(line):
        for place in range(_SAMPLES + 1):
            part = place / _SAMPLES
            at_x, at_y = x + part * (to_x - x), y + part * (to_y - y)
            boxes.append((at_x - half, at_y - half, at_x + half, at_y + half))
    return boxes


def _candidates(point: Point, size: Point, gap: float) -> Iterator[tuple[Box, float]]:
    """Yield boxes around a point with how far each is, the usual ones first: right, left, above and below."""
    x, y = point
    width, height = size
    for ring in range(_RINGS):
        away = gap + ring * height / 2
        aside = gap if ring == 0 else 0.5 * away
        for left, low in (
            (x + aside, y + away / 2),
            (x + aside, y - away / 2 - height),
            (x - aside - width, y + away / 2),
            (x - aside - width, y - away / 2 - height),
            (x + away, y - height / 2),
            (x - away - width, y - height / 2),
            (x - width / 2, y + away),
            (x - width / 2, y - away - height),
        ):
            yield (left, low, left + width, low + height), away


def _distance(point: Point, box: Box) -> float:
    """Return how far a point is from a box; 0 in it."""
    (x, y), (left, low, right, high) = point, box
    return math.hypot(max(left - x, 0.0, x - right), max(low - y, 0.0, y - high))


def _common(one: Box, other: Box) -> float:
    """Return the area that two boxes share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
