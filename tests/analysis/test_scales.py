"""The lines of a scale lie at round steps, and what stands beside them says so in one way."""

from __future__ import annotations

import pytest

from perfdb.analysis.scales import scale


@pytest.mark.parametrize(
    ("longest", "unit", "labels"),
    [
        (0.5, "s", ["0", "100 ms", "200 ms", "300 ms", "400 ms", "500 ms"]),
        (1.5, "s", ["0", "0.5 s", "1.0 s", "1.5 s"]),
        (119.0, "s", ["0", "20 s", "40 s", "60 s", "80 s", "100 s"]),
        (120.0, "s", ["0", "30 s", "1 min", "1 min 30 s", "2 min"]),
        (120_000.0, "ms", ["0", "30 s", "1 min", "1 min 30 s", "2 min"]),
        (900.0, "s", ["0", "5 min", "10 min", "15 min"]),
        (5_000.0, "s", ["0", "15 min", "30 min", "45 min", "60 min", "75 min"]),
        (9_000.0, "s", ["0", "30 min", "60 min", "90 min", "2 h", "2 h 30 min"]),
        (20_000.0, "s", ["0", "1 h", "2 h", "3 h", "4 h", "5 h"]),
        (250_000.0, "s", ["0", "12 h", "1 d", "1 d 12 h", "2 d", "2 d 12 h"]),
        (3e7, "s", ["0", "50 d", "100 d", "150 d", "200 d", "250 d", "300 d"]),
        (3.2e8, "bytes", ["0", "50 MB", "100 MB", "150 MB", "200 MB", "250 MB", "300 MB"]),
        (0.0242, "usd", ["0", "$0.005", "$0.010", "$0.015", "$0.020"]),
        (85.0, "percent", ["0", "20 %", "40 %", "60 %", "80 %"]),
        (12_345.0, "rows", ["0", "2,000", "4,000", "6,000", "8,000", "10,000", "12,000"]),
        (0.0, "s", ["0"]),
    ],
)
def test_labels_are_round_and_carry_their_unit(longest: float, unit: str, labels: list[str]) -> None:
    divided = scale(longest, unit)
    assert [divided.label(line) for line in divided.lines(0, longest)] == labels


@pytest.mark.parametrize("unit", ["s", "ms", "bytes", "usd", "rows"])
@pytest.mark.parametrize("most", [3, 4, 7])
def test_whatever_the_length_there_are_few_lines_and_no_label_twice(unit: str, most: int) -> None:
    for power in range(-9, 13):
        for digits in (1.0, 1.19, 1.2, 2.4, 3.6, 7.3, 9.99):
            longest = digits * 10.0**power
            divided = scale(longest, unit, most=most)
            labels = [divided.label(line) for line in divided.lines(0, longest)]
            assert 2 <= len(labels) <= most + 1, (longest, labels)
            assert len(set(labels)) == len(labels), (longest, labels)


def test_an_axis_that_does_not_begin_at_zero_has_lines_of_its_span() -> None:
    divided = scale(105.0, "s", span=10.0)
    assert divided.lines(96.0, 105.0) == [96.0, 98.0, 100.0, 102.0, 104.0]


@pytest.mark.parametrize("unit", ["s", "ms", "bytes", "usd", "rows"])
@pytest.mark.parametrize("odd", [5e-324, 1e-310, -1.0, 0.0, float("inf"), float("nan")])
def test_a_length_that_cannot_be_divided_counts_as_none(odd: float, unit: str) -> None:
    assert scale(odd, unit).step == scale(0.0, unit).step
    assert scale(1.0, unit, span=odd).step == scale(1.0, unit).step
    assert scale(odd, unit).lines(0.0, 1e-310) == [0.0]
