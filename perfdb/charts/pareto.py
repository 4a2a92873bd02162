"""What one would choose between, such as models: seconds against cost, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from perfdb.analysis.pareto import named, told
from perfdb.charts.style import (
    BLUE,
    GRID,
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
        context,
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
            below = rows.index(row) % 2 == 1
            _point(axes, row, marker, by, measure, with_step=len(steps) > 1, below=below)
    right = _limits(axes.set_xlim, rows, "seconds")
    top = _limits(axes.set_ylim, rows, "cost")
    bare(axes, grid="both")
    value_axis(axes.xaxis, right, "median duration", "s")
    value_axis(axes.yaxis, top, f"median {inert(measure.words)}", measure.unit)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper right", frameon=False, fontsize=11, labelcolor=INK)
    return made


def _limits(set_limits: Any, rows: list[dict[Hashable, Any]], name: str) -> float:
    """Let an axis begin at 0, or where little else than emptiness would be drawn above it; return its end."""
    ends = [float(row[f"{name}{end}"]) for row in rows for end in ("", "_low", "_high")]
    known = [each for each in ends if each == each]
    low, high = min(known), max(known)
    room = (high - low) or abs(high) or 1.0
    set_limits(low - 0.8 * room if low > 0.5 * high else min(0.0, low - 0.2 * room), high + 0.6 * room)
    return high


def _point(
    axes: Any,
    row: Mapping[Hashable, Any],
    marker: str,
    by: str,
    measure: Measure,
    *,
    with_step: bool,
    below: bool,
) -> None:
    x, y = float(row["seconds"]), float(row["cost"])
    colour = BLUE if row["front"] else MUTED
    bars = {}
    for name, middle, axis in (("seconds", x, "xerr"), ("cost", y, "yerr")):
        low, high = float(row[f"{name}_low"]), float(row[f"{name}_high"])
        if not math.isnan(low):
            bars[axis] = [[max(0.0, middle - low)], [max(0.0, high - middle)]]
    axes.errorbar(
        [x], [y], **bars, fmt=marker, markersize=11, color=colour, ecolor=colour, elinewidth=2, capsize=5,
        markerfacecolor=colour if row["front"] else "white", markeredgewidth=2, zorder=4,
    )  # fmt: skip
    value = row["value"] if isinstance(row["value"], str) else f"{by} {named(row['value'])}"
    name = to_drawable(shortened(inert(value), 40))
    if with_step:
        name += f" ({to_drawable(shortened(inert(step_label(row['step_name'])), 30))})"
    text = f"{name}\n{duration_text(x)}, {to_drawable(amount_text(y, measure.unit))}, n = {int(row['n']):,}"
    write(
        axes.annotate(
            text, (x, y), xytext=(10, -34 if below else 8), textcoords="offset points", fontsize=10,
            color=INK if row["front"] else MUTED, zorder=5,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": GRID, "alpha": 0.85},
        )
    )  # fmt: skip
