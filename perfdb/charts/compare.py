"""Two sessions, or two groups of them, step by step: what differs, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from perfdb.analysis.compare import beyond_chance
from perfdb.charts.style import (
    BLUE,
    HATCH_INK,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    bare,
    figure,
    name_label,
    sentence,
    to_drawable,
    value_axis,
    write,
)
from perfdb.measures import DURATION, Measure
from perfdb.text import amount_text, counted, inert, is_nothing, shortened, step_label

if TYPE_CHECKING:
    import pandas as pd

MOST_STEPS = 12  # each has two lines
_ROOMY = 9  # rows whose two lines have room in a larger size
_ONE_LINE = 36
_BOTH_IN_ONE = 80  # characters of both names, beside each other above the bars


def compare(
    found: pd.DataFrame,
    *,
    name_a: str,
    name_b: str,
    title: str,
    context: str = "",
    of: str = "median",
    measure: Measure = DURATION,
) -> Figure:
    """Draw the durations of A and B side by side, with the difference and its interval.

    Args:
        found: ``step_name``, ``a`` and ``b`` (s; missing where a side has no such step), and where known
            ``kind``, ``n_a``, ``n_b``, ``low`` and ``high`` (s: the 95 % interval of b - a); the total first.
        name_a: what the first side is.
        name_b: what the second side is.
        title: the finding.
        context: what chose the sessions, for the second line.
        of: what ``a`` and ``b`` are of the runs.
        measure: what the durations are.
    """
    if found.empty:
        return sentence("Nothing to compare", "One of the two sides has no finished session.")
    shown = found.head(MOST_STEPS)
    if "kind" in found and (of_none := found[found["kind"] == "other"]).index.difference(shown.index).size:
        import pandas as pd

        shown = pd.concat([shown.iloc[: MOST_STEPS - len(of_none)], of_none])  # it may be the most of it
    hidden = len(found) - len(shown)
    made = figure(
        title,
        context,
        "in brackets the interval that holds the difference B − A with 95 % confidence"
        if "low" in shown and shown["low"].notna().any()
        else "",
    )
    axes = made.add_subplot()
    places = np.arange(len(shown), dtype=float)
    values = {side: shown[side].to_numpy(dtype=float) for side in "ab"}
    longest = float(np.nanmax(np.concatenate(list(values.values())))) or 1.0
    for side, name, offset, colour, hatch in (
        ("a", name_a, -0.2, ORANGE, "///"),
        ("b", name_b, 0.2, BLUE, ""),
    ):
        label = f"{side.upper()}: {to_drawable(shortened(inert(name), 60))}"
        axes.barh(
            places + offset,
            np.nan_to_num(values[side]),
            height=0.38,
            color=colour,
            hatch=hatch,
            edgecolor=HATCH_INK,
            linewidth=0,
            label=label,
        )
        for place, seconds in zip(places, values[side], strict=True):
            text = "no such step" if math.isnan(seconds) else amount_text(float(seconds), measure.unit)
            axes.annotate(
                text,
                (0 if math.isnan(seconds) else seconds, place + offset),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=10,
                color=MUTED,
                parse_math=False,
            )
    for place, row in zip(places, shown.to_dict("records"), strict=True):
        text, colour = _difference(row, measure)
        axes.annotate(
            text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(8, 0),
            textcoords="offset points",
            annotation_clip=False,
            ha="left",
            va="center",
            fontsize=8.5 if len(shown) > _ROOMY else 10,
            fontweight="bold",
            color=colour,
            parse_math=False,
        )
    bare(axes, grid="x")
    axes.set_yticks(places, [_label(row) for row in shown.to_dict("records")])
    for tick in axes.get_yticklabels():
        write(tick)
    axes.tick_params(axis="y", length=0, labelsize=8.5 if len(shown) > _ROOMY else 11, labelcolor=INK)
    axes.set_ylim(max(len(shown), 4) - 0.4, -0.6)
    axes.annotate(
        "B − A",
        (1, 1),
        xycoords="axes fraction",
        xytext=(8, 5),
        textcoords="offset points",
        va="bottom",
        fontsize=10,
        color=MUTED,
    )
    axes.set_xlim(0, 1.25 * longest)  # the longest bar has its amount beside it
    more = f"; {counted(hidden, 'more step')} not drawn" if hidden > 0 else ""
    value_axis(axes.xaxis, longest, f"{of}{more}", measure.unit)
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=2 if len(name_a) + len(name_b) <= _BOTH_IN_ONE else 1,
        borderaxespad=1.7,
        frameon=False,
        fontsize=11,
        labelcolor=INK,
        handleheight=1.2,
    )
    for entry in legend.get_texts():
        write(entry)
    return made


def _label(row: Mapping[Hashable, Any]) -> str:
    counts = (row.get("n_a"), row.get("n_b"))
    known = all(isinstance(count, int | float) and count == count for count in counts)
    name = step_label(row["step_name"], row.get("kind", ""))
    if not known or counts == (1, 1):
        return name_label(name)
    return f"{to_drawable(shortened(inert(name), _ONE_LINE))}\nn = {counts[0]:,.0f} and {counts[1]:,.0f}"


def _difference(row: Mapping[Hashable, Any], measure: Measure) -> tuple[str, str]:
    a, b = (float(row[side]) for side in "ab")
    if math.isnan(a) or math.isnan(b):
        return "", MUTED
    seconds = b - a
    told = row.get("difference_percent", 0.0)  # the table has none of what is left between the steps
    percent = round(100 * seconds / a) if a > 0 and not math.isnan(told) else 0
    moved = _signed(seconds, measure)
    text = moved + (f" ({'−' if percent < 0 else '+'}{abs(percent)} %)" if percent else "")
    way = VERMILLION if (seconds > 0) == (measure.direction == "up") else BLUE
    if "low" not in row:  # two sessions, of which it is a fact
        return text, MUTED if is_nothing(seconds, measure.unit) else way
    low, high = float(row["low"]), float(row["high"])
    if math.isnan(low) or math.isnan(high):
        return f"{text}\ntoo few runs", MUTED
    sure = beyond_chance(low, high)
    interval = f"[{_signed(low, measure)}, {_signed(high, measure)}]"
    return f"{text}\n{interval}{'' if sure else ' may be chance'}", way if sure else MUTED


def _signed(value: float, measure: Measure) -> str:
    if is_nothing(value, measure.unit):
        return "±0"
    return f"{'−' if value < 0 else '+'}{amount_text(abs(value), measure.unit)}"
