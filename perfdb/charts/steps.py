"""What each session's time was spent on: a stacked bar per session, whose parts add up to wall time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from perfdb.charts.style import (
    FILLS,
    HATCH_INK,
    INK,
    NOTHING,
    OTHERS,
    bare,
    figure,
    label_sessions,
    name_label,
    period,
    sentence,
    value_axis,
    zone,
)
from perfdb.measures import DURATION, Measure
from perfdb.text import amount_text, counted, inert, shortened, step_label
from perfdb.vocabulary import OTHER

if TYPE_CHECKING:
    import pandas as pd

MOST_BARS = 120


def steps(
    seconds: pd.DataFrame, starts: pd.Series[float], *, context: str = "", measure: Measure = DURATION
) -> Figure:
    """Draw what the time of each session was spent on.

    Args:
        seconds: one row per session, oldest first; a column per top-level step with its seconds on the
            critical path, and one called None (or NaN) with those of no step: a row adds up to wall time.
        starts: epoch seconds of the sessions, in the same order.
        context: what chose the sessions, for the second line.
        measure: what the seconds are, if they are others or none.
    """
    if seconds.empty:
        return sentence(
            "No steps to draw", "No session that counts matches. Loosen the filters, or record runs first."
        )
    parts = _parts(seconds)
    total = sum(float(values.sum()) for _, values in parts) or 1.0
    shares = [float(values.sum()) / total for _, values in parts]
    instants = starts.to_numpy(dtype=float)
    walls = np.sum([values for _, values in parts], axis=0)
    name, share = max(zip([name for name, _ in parts], shares, strict=True), key=lambda each: each[1])
    of = "time" if measure.is_duration else inert(measure.words)
    part, whole = (amount_text(each * float(walls.mean()), measure.unit) for each in (share, 1.0))
    title = (
        f"{shortened(inert(_label(name)), 60)} {'takes' if measure.is_duration else 'is'} "
        f"{100 * share:.0f} % of the {of}: {part} of {whole}{' on average' if len(seconds) > 1 else ''}"
    )
    said = [context, counted(len(seconds), "session"), period(instants[0], instants[-1])]
    groups = np.array_split(np.arange(len(seconds)), min(MOST_BARS, len(seconds)))
    small = f"{_small_print(len(groups[0]), measure)}; {zone(instants[0], instants[-1])}"
    made = figure(title, ", ".join(part for part in said if part), small)
    axes = made.add_subplot()
    bottom = np.zeros(len(groups))
    for number, ((name, values), share) in enumerate(zip(parts, shares, strict=True)):
        colour, hatch = NOTHING if name is None else OTHERS if number >= len(FILLS) else FILLS[number]
        heights = np.array([values[group].mean() for group in groups])
        axes.bar(
            np.arange(len(groups)),
            heights,
            bottom=bottom,
            width=0.86 if len(groups) < 80 else 1.0,
            color=colour,
            hatch=hatch,
            edgecolor=HATCH_INK,
            linewidth=0,
            # behind a hair's breadth: matplotlib leaves labels that begin with _ out
            label=f"\u200a{name_label(_label(name), 26)}  {100 * share:.1f} %",
        )
        bottom += heights
    bare(axes)
    label = "seconds on the critical path" if measure.is_duration else inert(measure.words)
    value_axis(axes.yaxis, float(bottom.max()), label, measure.unit)
    axes.set_ylim(0, 1.04 * float(bottom.max()) or 1)
    margin = max(0.6, (9 - len(groups)) / 2)
    axes.set_xlim(-margin, len(groups) - 1 + margin)
    label_sessions(axes, np.array([instants[group[0]] for group in groups]))
    axes.legend(
        *(reversed(each) for each in axes.get_legend_handles_labels()),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handleheight=1.4,
        labelspacing=0.7,
        title=f"share of the {of}",
        title_fontproperties={"size": 10},
        alignment="left",
    )
    return made


def _label(name: str | None) -> str:
    return OTHER if name is None else step_label(name)


def _parts(seconds: pd.DataFrame) -> list[tuple[str | None, np.ndarray[tuple[int], np.dtype[np.float64]]]]:
    """Return names and values in the order of the pipeline: the largest, the rest as one, no step last."""
    names: list[Any] = seconds.columns.tolist()
    named = [name for name in names if isinstance(name, str)]
    largest = sorted(named, key=lambda name: -float(seconds[name].to_numpy().sum()))[: len(FILLS)]
    parts: list[Any] = [(name, seconds[name].to_numpy(dtype=float)) for name in named if name in largest]
    small = [name for name in named if name not in largest]
    if small:
        parts.append((counted(len(small), "other step"), seconds[small].sum(axis=1).to_numpy(dtype=float)))
    rest = [place for place, name in enumerate(names) if not isinstance(name, str)]
    if rest and float(seconds.iloc[:, rest].to_numpy().sum()) > 0:
        parts.append((None, seconds.iloc[:, rest].sum(axis=1).to_numpy(dtype=float)))
    return parts


def _small_print(grouped: int, measure: Measure) -> str:
    whole = "wall time" if measure.is_duration else inert(measure.words)
    each = f"a bar is the mean of about {grouped:,} sessions" if grouped > 1 else "a bar is a session"
    return f"{each}; the steps of a bar add up to its {whole}"
