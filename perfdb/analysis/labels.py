"""Where names stand beside the points of a picture: on no other name, nearest to their own point. Pure.

Lengths are in pixels, or in whatever unit the picture measures its letters; either way may be up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfdb.analysis.slopes import Floats

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # least x, least y, largest x, largest y

_RINGS = 60  # distances that are tried, each by half the height of a name
_ON_NAME, _OUTSIDE, _ON_SHAPE = 100.0, 100.0, 4.0  # how bad a unit of area is; of distance a unit is 1
_NEARER_ANOTHER = 40.0  # how bad it is to stand nearer to another point than to one's own
_SAMPLES = 24  # of a piece of a line, at most


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
    import numpy as np

    taken = [*shapes, *((x - gap / 2, y - gap / 2, x + gap / 2, y + gap / 2) for x, y in points)]
    on_shapes = np.array(taken).reshape(-1, 4)
    found: list[Box] = []
    for point, size in zip(points, sizes, strict=True):
        boxes, away = map(np.array, zip(*_candidates(point, size, gap), strict=True))
        aside = (inside[0] - boxes[:, 0]).clip(0) - (boxes[:, 2] - inside[2]).clip(0)
        boxes[:, ::2] += aside[:, None]  # near an edge it turns inwards
        outside = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - _common(boxes, np.array([inside]))
        bad = away + _OUTSIDE * outside + _ON_SHAPE * _common(boxes, on_shapes)
        bad += _ON_NAME * _common(boxes, np.array(found).reshape(-1, 4))
        others = [other for other in points if other != point]
        if others:
            own, nearest = _distances(boxes, [point])[:, 0], _distances(boxes, others).min(axis=1)
            bad += _NEARER_ANOTHER * (nearest <= own)
        left, low, right, high = boxes[bad.argmin()].tolist()
        found.append((left, low, right, high))
    return found


def along(line: Sequence[Point], thick: float = 3.0) -> list[Box]:
    """Return boxes that cover a line, as ``shapes``."""
    half = thick / 2
    boxes = []
    for (x, y), (to_x, to_y) in pairwise(line):
        samples = min(_SAMPLES, 1 + int(math.hypot(to_x - x, to_y - y) / thick))
        for place in range(samples + 1):
            part = place / samples
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


def _distances(boxes: Floats, points: Sequence[Point]) -> Floats:
    """Return how far each box is from each point; 0 where it holds that."""
    import numpy as np

    away = (
        np.subtract.outer(boxes[:, place], at).clip(0) + (-np.subtract.outer(boxes[:, place + 2], at)).clip(0)
        for place, at in enumerate(zip(*points, strict=True))
    )
    found: Floats = np.hypot(*away)
    return found


def _common(boxes: Floats, others: Floats) -> Floats:
    """Return the area that each box shares with all others."""
    import numpy as np

    wide, high = (
        np.minimum.outer(boxes[:, end], others[:, end]) - np.maximum.outer(boxes[:, begin], others[:, begin])
        for begin, end in ((0, 2), (1, 3))
    )
    shared: Floats = (wide.clip(0) * high.clip(0)).sum(axis=1)
    return shared
