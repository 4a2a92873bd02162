"""Which steps hold the runs up: seconds on the critical path beside busy seconds, worst first."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from perfdb.charts.style import (
    BLUE,
    HATCH_INK,
    INK,
    MUTED,
    SKY,
    bare,
    figure,
    name_label,
    sentence,
    value_axis,
    write,
)
from perfdb.measures import DURATION, Measure
from perfdb.text import amount_text, inert, shortened, step_label
from perfdb.vocabulary import OTHER

if TYPE_CHECKING:
    import pandas as pd

MOST_BARS = 14


def bottlenecks(found: pd.DataFrame, *, context: str = "", measure: Measure = DURATION) -> Figure:
    """Draw the steps by the seconds they put on the critical path of a run.

    Args:
        found: ``step_name``, ``critical_s`` and ``busy_s`` (mean seconds per session), and
            ``share_percent`` of wall time; rows of another ``kind`` than ``step`` are the time of no step
            (without kinds, the row ``Other``). With ``inside``, the step it runs in is named too.
        context: what chose the sessions, for the second line.
        measure: of another than the duration, ``value`` stands for the seconds.
    """
    if not measure.is_duration:
        found = found.assign(critical_s=found["value"], busy_s=math.nan)
    is_step = found["kind"] == "step" if "kind" in found else found["step_name"] != OTHER
    steps = found[is_step].sort_values("critical_s", ascending=False, kind="stable")
    if steps.empty:
        why = "No session that counts matches. Loosen the filters, or record runs first."
        return sentence("No bottleneck to draw", why if found.empty else "These sessions recorded no steps.")
    worst = steps.iloc[0]
    of_sum = not math.isnan(worst["share_percent"])
    share = f"{worst['share_percent']:.0f} % of the" if of_sum else "the most"
    name = shortened(inert(step_label(worst["step_name"])), 60)
    title = (
        f"{name} has {share} {inert(measure.words)}: {amount_text(worst['critical_s'], measure.unit)} a run"
        if not measure.is_duration
        else f"{name} is the bottleneck: it holds a run up for "
        f"{amount_text(worst['critical_s'], 's')}, {worst['share_percent']:.0f} % of its time"
    )
    made = figure(
        title,
        context,
        "critical: seconds during which nothing else held the run up (they add up to wall time); "
        "busy: seconds of the step, parallel ones added up; means per session"
        if measure.is_duration
        else "means per session",
    )
    hidden = len(steps) - MOST_BARS
    shown = steps.head(MOST_BARS)
    axes = made.add_subplot()
    places = np.arange(len(shown), dtype=float)
    critical, busy = (shown[name].to_numpy(dtype=float) for name in ("critical_s", "busy_s"))
    longest = float(np.nanmax([critical, busy])) or 1.0
    aside = 0.2 if measure.is_duration else 0.0
    axes.barh(places - aside, critical, height=0.38, color=BLUE, label="critical")
    axes.barh(
        places + 0.2,
        busy,
        height=0.38,
        color=SKY,
        hatch="///",
        edgecolor=HATCH_INK,
        linewidth=0,
        label="busy",
    )
    for place, seconds, share in zip(places, critical, shown["share_percent"], strict=True):
        axes.annotate(
            amount_text(float(seconds), measure.unit) + ("" if math.isnan(share) else f"  ({share:.1f} %)"),
            (seconds, place - aside),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            fontweight="bold",
            color=INK,
        )
    for place, seconds in zip(places, busy if measure.is_duration else (), strict=measure.is_duration):
        axes.annotate(
            amount_text(float(seconds), measure.unit),
            (seconds, place + 0.2),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            color=MUTED,
        )
    bare(axes, grid="x")
    axes.set_yticks(places, [_label(row) for row in shown.to_dict("records")])
    for label in axes.get_yticklabels():
        write(label)
    axes.tick_params(axis="y", length=0, labelsize=11 if len(shown) < 9 else 10, labelcolor=INK)
    axes.set_ylim(max(len(shown), 4) - 0.4, -0.6)
    axes.set_xlim(0, 1.25 * longest)
    more = f"; {hidden} smaller steps are not drawn" if hidden > 0 else ""
    value_axis(axes.xaxis, longest, f"mean per session{more}", measure.unit)
    if measure.is_duration:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=2,
            frameon=False,
            fontsize=11,
            labelcolor=INK,
            handleheight=1.2,
        )
    return made


def _label(row: Mapping[Hashable, Any]) -> str:
    inside = row.get("inside")
    name = step_label(row["step_name"])
    return name_label(f"{name} (in {inside})" if isinstance(inside, str) else name)
