"""Names stand beside their points, on no other name and inside of the picture."""

from __future__ import annotations

import math
import random
import sys
from itertools import combinations

import pytest

from perfdb.analysis.labels import Box, along, placed

INSIDE = (0.0, 0.0, 900.0, 400.0)


def share(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [10.0, 100.0, 380.0])
def test_however_close_points_are_their_names_are_apart(seed: int, spread: float) -> None:
    chance = random.Random(seed)
    points = [(300 + chance.uniform(0, spread), 10 + chance.uniform(0, spread)) for _ in range(12)]
    boxes = placed(points, [(130.0, 15.0)] * 12, INSIDE)
    assert not [pair for pair in combinations(boxes, 2) if share(*pair)]
    assert all(box[0] >= 0 and box[2] <= 900 and box[1] >= 0 and box[3] <= 400 for box in boxes)


def test_a_name_is_beside_its_point_and_leaves_shapes_free() -> None:
    whisker = along([(100.0, 200.0), (500.0, 200.0)])
    (box,) = placed([(300.0, 200.0)], [(130.0, 15.0)], INSIDE, shapes=whisker)
    assert not any(share(box, shape) for shape in whisker)
    assert min(abs(box[1] - 200), abs(box[3] - 200)) < 15
    assert box[0] - 20 < 300 < box[2] + 20


def test_a_name_is_nearest_to_its_own_point() -> None:
    """Two choices on a telephone, with little room above them and wide whiskers."""
    points, inside = [(106.0, 17.0), (190.0, 31.0)], (0.0, 0.0, 240.0, 190.0)
    whiskers = [(80.0, 12.0, 152.0, 22.0), (123.0, 26.0, 240.0, 36.0)]
    boxes = placed(points, [(140.0, 15.0)] * 2, inside, shapes=whiskers, gap=8.0)
    for box, own, other in zip(boxes, points, reversed(points), strict=True):
        assert away(own, box) < away(other, box)
    assert not share(*boxes)


def away(point: tuple[float, float], box: Box) -> float:
    nearest = (sorted((box[0], point[0], box[2]))[1], sorted((box[1], point[1], box[3]))[1])
    return math.dist(point, nearest)


def test_at_an_edge_a_name_turns_inwards() -> None:
    corners = [(0.0, 0.0), (900.0, 0.0), (0.0, 400.0), (900.0, 400.0)]
    for box in placed(corners, [(130.0, 15.0)] * 4, INSIDE):
        assert min(box) >= 0
        assert (box[2] <= 900, box[3] <= 400) == (True, True)


def test_the_work_does_not_grow_with_what_is_drawn_there_already() -> None:
    def calls_among(shapes: int) -> int:
        chance = random.Random(shapes)
        line = along([(chance.uniform(0, 900), chance.uniform(0, 400)) for _ in range(shapes)])
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            placed([(300.0, 200.0)] * 12, [(130.0, 15.0)] * 12, INSIDE, shapes=line)
        finally:
            sys.setprofile(None)
        return calls

    calls_among(2)  # loads what is loaded once
    assert calls_among(100) < 1.5 * calls_among(2)  # a collection of garbage makes calls of its own


def test_a_line_of_many_short_pieces_needs_no_more_boxes_than_a_straight_one() -> None:
    fine = [(0.5 * place, 200.0) for place in range(1_000)]
    assert len(along(fine)) <= 2 * len(fine)
