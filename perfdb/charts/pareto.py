"""What one would choose between, such as models: seconds against cost, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from perfdb.analysis.labels import Box, along, placed
from perfdb.analysis.pareto import advice, named, told
from perfdb.charts.style import (
    BLUE,
    DPI,
    INK,
    MUTED,
    ORANGE,
    bare,
    figure,
    sentence,
    to_drawable,
    value_axis,
    write,
)
from perfdb.measures import Measure
from perfdb.text import amount_text, duration_text, inert, shortened, step_label

if TYPE_CHECKING:
    import pandas as pd

MOST_CHOICES = 20
_MARKERS = "osD^vP"
_CAP = 7.0  # pixels to both sides of an interval
_FAR = 0.85  # of the largest value: where all lie beyond, an axis does not begin at 0

Row = Mapping[Hashable, Any]


def pareto(found: pd.DataFrame, *, by: str, measure: Measure, context: str = "") -> Figure:
    """Draw each value of an attribute where its seconds and its cost are.

    Args:
        found: rows of ``analysis.pareto.choices``, of one pipeline and mode.
        by: the attribute.
        measure: what the seconds are held against.
        context: what chose the sessions, for the second line.
    """
    if found.empty:
        return sentence(f"No {by} to choose", f"No run that counts has both {by} and {measure.name}.")
    shown = found.sort_values("n", ascending=False, kind="stable").head(MOST_CHOICES)
    rows = sorted(shown.to_dict("records"), key=lambda row: (row["seconds"], row["cost"]))
    hidden = len(found) - len(shown)
    made = figure(
        told(rows, by=by, measure=measure),
        ", ".join(part for part in (advice(rows, measure=measure), context) if part),
        "medians with 95 % bootstrap intervals (5 runs or more); on the front: no other of the same step is "
        f"both as fast and as good{f'; {hidden} with fewer runs are not drawn' if hidden > 0 else ''}",
    )
    axes = made.add_subplot()
    steps = list(dict.fromkeys(row["step_name"] for row in rows))
    for number, step in enumerate(steps):
        of_step = [row for row in rows if row["step_name"] == step]
        front = [row for row in of_step if row["front"]]
        marker = _MARKERS[number % len(_MARKERS)]
        if len(front) > 1:
            axes.plot(
                [row["seconds"] for row in front], [row["cost"] for row in front],
                color=ORANGE, linewidth=2, linestyle=(0, (6, 3)), zorder=2,
                label="Pareto front" if number == 0 else None,
            )  # fmt: skip
        for row in of_step:
            _point(axes, row, marker)
    right, top = (_limits(axes, rows, name) for name in ("seconds", "cost"))
    bare(axes, grid="both")
    value_axis(axes.xaxis, right, "median duration", "s", span=right - axes.get_xlim()[0])
    label = f"median {inert(measure.words)}"
    value_axis(axes.yaxis, top, label, measure.unit, span=top - axes.get_ylim()[0])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), frameon=False, fontsize=11, labelcolor=INK)
    made.draw_without_rendering()  # the layout says where the points are
    _write_names(axes, rows, [_name(row, by, measure, with_step=len(steps) > 1) for row in rows])
    return made


def _limits(axes: Axes, rows: Sequence[Row], name: str) -> float:
    """Let an axis begin at 0, unless that would press all into its last third; return where it ends."""
    ends = [float(row[f"{name}{end}"]) for row in rows for end in ("", "_low", "_high")]
    known = [each for each in ends if each == each]
    low, high = min(known), max(known)
    room = (high - low) or 0.5 * abs(high) or 1.0
    end = high + (0.12 * max(high, room) if low <= _FAR * high else 0.35 * room)
    begin = min(0.0, low - 0.1 * room) if low <= _FAR * high else low - 0.8 * room
    (axes.set_xlim if name == "seconds" else axes.set_ylim)(begin, end)
    return end


def _point(axes: Axes, row: Row, marker: str) -> None:
    colour = BLUE if row["front"] else MUTED
    bars: dict[str, Any] = {}
    for name, axis in (("seconds", "xerr"), ("cost", "yerr")):
        (low, middle, high) = _reach(row, name)
        if low < high:
            bars[axis] = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
    axes.errorbar(
        [float(row["seconds"])], [float(row["cost"])], **bars, fmt=marker, markersize=11, color=colour,
        ecolor=colour, elinewidth=2, capsize=5, markerfacecolor=colour if row["front"] else "white",
        markeredgewidth=2, zorder=4,
    )  # fmt: skip


def _reach(row: Row, name: str) -> tuple[float, float, float]:
    """Return the interval of a median and the median between its ends."""
    middle, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return (middle, middle, middle) if math.isnan(low) else (low, middle, high)


def _name(row: Row, by: str, measure: Measure, *, with_step: bool) -> str:
    value = row["value"] if isinstance(row["value"], str) else f"{by} {named(row['value'])}"
    name = to_drawable(shortened(inert(value), 40))
    if with_step:
        name += f" ({to_drawable(shortened(inert(step_label(row['step_name'])), 30))})"
    cost = to_drawable(amount_text(float(row["cost"]), measure.unit))
    return f"{name}\n{duration_text(float(row['seconds']))}, {cost}, n = {int(row['n']):,}"


def _write_names(axes: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Write each name where it lies on no other, no point and no interval; a line leads to its point."""

    def seen(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y))
        return float(across), float(up)

    shapes: list[Box] = []
    for row in rows:
        (left, x, right), (low, y, high) = _reach(row, "seconds"), _reach(row, "cost")
        (x0, y0), (x1, y1) = seen(left, low), seen(right, high)
        middle_x, middle_y = seen(x, y)
        shapes += [(x0, middle_y - _CAP, x1, middle_y + _CAP), (middle_x - _CAP, y0, middle_x + _CAP, y1)]
    for line in axes.lines:
        if len(line.get_xdata()) > 1:  # type: ignore[arg-type]
            shapes += along([seen(x, y) for x, y in line.get_xydata().tolist()])  # type: ignore[union-attr]
    order = sorted(range(len(rows)), key=lambda place: (not rows[place]["front"], place))
    texts = [
        axes.annotate(
            names[place],
            (rows[place]["seconds"], rows[place]["cost"]),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=10,
            color=INK if rows[place]["front"] else MUTED,
            zorder=5,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkB": 6},
        )
        for place in order
    ]
    points = [seen(rows[place]["seconds"], rows[place]["cost"]) for place in order]
    extents = [Text.get_window_extent(write(text)) for text in texts]  # without the lines
    sizes = [(extent.width + 6, extent.height + 4) for extent in extents]
    inside = axes.get_window_extent()
    boxes = placed(points, sizes, (inside.x0, inside.y0, inside.x1, inside.y1), shapes=shapes, gap=12)
    to_points = 72 / DPI
    for text, (x, y), (left, low, _, _) in zip(texts, points, boxes, strict=True):
        text.xyann = (left + 3 - x) * to_points, (low + 2 - y) * to_points
