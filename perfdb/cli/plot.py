"""A series as a picture in the terminal: a dot for each run, a line for each level, a mark where it moved.

Braille dots, eight to a character; stars where stdout cannot print them.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from perfdb.cli.text import can_print

ROWS = 8
MOST_COLUMNS = 100
_EMPTY = 0x2800
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a character: by row and column
_FINE = ("─", "┄", "┤", "└", "▲", "↑", "↓")
_PLAIN = ("-", ".", "|", "+", "^", "^", "v")


def plot(
    values: Sequence[float],
    *,
    at: int | None,
    levels: Sequence[tuple[int, int]] = (),
    labels: Sequence[str],
    width: int,
    bounds: tuple[float, float],
    limit: float | None = None,
) -> list[str]:
    """Return the lines of a picture of a series, oldest run left.

    Args:
        values: one per run.
        at: index of the run that is marked below.
        levels: first and end of the runs that get a line at their median.
        labels: the words for the highest and the lowest value shown.
        width: columns that it may take.
        bounds: the lowest and the highest value shown, as ``trend_view.shown_bounds`` gives them; what lies
            outside is an arrow at the edge.
        limit: a line across.
    """
    fine = can_print("".join(_FINE) + chr(_EMPTY))
    line, dashes, side, corner, mark, above, below_it = _FINE if fine else _PLAIN
    margin = max(map(len, labels)) + 2
    columns = max(10, min(width - margin, MOST_COLUMNS, max(20, len(values))))
    low, high = bounds
    span = (high - low) or 1.0

    def height_of(value: float) -> int:
        return round((min(max(value, low), high) - low) / span * (4 * ROWS - 1))

    def place_of(index: float) -> int:
        return round(index / max(1, len(values) - 1) * (2 * columns - 1))

    cells = [[0] * columns for _ in range(ROWS)]
    outside: list[tuple[int, int, str]] = []
    for index, value in enumerate(values):
        up, across = 4 * ROWS - 1 - height_of(value), place_of(index)
        if not low <= value <= high:
            outside.append(
                (0 if value > high else ROWS - 1, across // 2, above if value > high else below_it)
            )
            continue
        cells[up // 4][across // 2] |= _DOTS[up % 4][across % 2]
    drawn = [[_cell(bits, fine=fine) for bits in row] for row in cells]
    for first, end in levels:
        row = ROWS - 1 - height_of(median(values[first:end])) // 4
        _draw(drawn[row], place_of(first) // 2, place_of(end - 1) // 2, line)
    if limit is not None and low <= limit <= high:
        _draw(drawn[ROWS - 1 - height_of(limit) // 4], 0, columns - 1, dashes)
    for row, column, arrow in outside:
        drawn[row][column] = arrow
    words = [labels[0], *[""] * (ROWS - 2), labels[1]]
    lines = [
        f"{word:>{margin - 2}} {side}{''.join(row)}".rstrip() for word, row in zip(words, drawn, strict=True)
    ]
    below = [line] * columns
    if at is not None:
        below[place_of(min(at, len(values) - 1)) // 2] = mark
    return [*lines, f"{'':>{margin - 2}} {corner}{''.join(below)}"]


def _cell(bits: int, *, fine: bool) -> str:
    if not bits:
        return " "
    return chr(_EMPTY + bits) if fine else "*"


def _draw(row: list[str], first: int, last: int, line: str) -> None:
    """Draw a line through the empty cells of a row."""
    for place in range(first, last + 1):
        if row[place] == " ":
            row[place] = line
