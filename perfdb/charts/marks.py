"""What is marked on a trend: limits, changes of the level, alerts, failures."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from perfdb.charts.style import BLUE, GREEN, INK, ORANGE, VERMILLION, to_drawable, write
from perfdb.measures import Measure
from perfdb.text import amount_text, inert, shortened

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

MOST_IN_WORDS = 4  # older changes are lines alone
MOST_CROSSES = 80  # more failures are drawn as ticks
_CHARACTER, _LINE = 0.0088, 0.042  # of a flag: its width and height as parts of the picture
_NEAR = 5  # an alert this close to a change tells of the same
_BOX = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


class _Flag(NamedTuple):
    """Words at one run; the lines are safe to draw."""

    run: int
    lines: tuple[str, ...]
    colour: str


def draw_limits(
    axes: Axes, limits: Sequence[Mapping[str, Any]], durations: Floats, top: float, measure: Measure
) -> None:
    """Draw each limit with its name and how many runs are over it; ``top`` is where the axis ends."""
    for limit in limits:
        value = float(limit["limit"])
        over = int(np.count_nonzero(durations > value))
        name = to_drawable(shortened(inert(limit["name"]), 40))
        label = f"limit {amount_text(value, measure.unit)} ({name}), {over:,} over"
        inside = value <= top
        if inside:
            axes.axhline(value, color=VERMILLION, linewidth=1.6, linestyle=(0, (8, 2, 1, 2)), zorder=3)
        text = label if inside else f"{label}: above this picture"
        at, offset = (0, value if inside else top), (4, 4 if inside else -12)
        _words(axes, text, at, offset, VERMILLION, xycoords=("axes fraction", "data"), ha="left")


def draw_pinned(axes: Axes, pinned: Mapping[str, Any], top: float, measure: Measure) -> None:
    """Draw the pinned baseline with its value, and how many runs made it; ``top`` is where the axis ends."""
    value = float(pinned["value"])
    label = f"pinned baseline {amount_text(value, measure.unit)} (median, n = {int(pinned['n']):,})"
    inside = value <= top
    if inside:
        axes.axhline(value, color=GREEN, linewidth=1.8, linestyle=(0, (2, 2)), zorder=3)
    text = label if inside else f"{label}: above this picture"
    at, corner = (1, min(value, top)), ("axes fraction", "data")
    _words(axes, text, at, (-4, -12), GREEN, xycoords=corner, ha="right")


def _words(
    axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], colour: str, **more: Any
) -> None:
    """Write words beside a place, in a box that keeps lines from crossing them."""
    look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 10, "bbox": _BOX, "zorder": 5} | more
    write(axes.annotate(text, at, xytext=offset, color=colour, **look))


def keep_apart(axes: Axes) -> None:
    """Move words that would lie on others up or down, to where there is room; flags stay where they are."""
    inside = axes.get_window_extent()
    taken: list[Bbox] = []
    for words in sorted(axes.texts, key=lambda each: -each.get_zorder()):
        box = words.get_window_extent()
        shifts = (sign * number * box.height for number in range(6) for sign in (-1, 1))
        places = (box.translated(0, shift) for shift in shifts)
        free = (
            place
            for place in places
            if inside.y0 <= place.y0 and place.y1 <= inside.y1 and not place.count_overlaps(taken)
        )
        place = next(free, box)
        if isinstance(words, Annotation) and place.y0 != box.y0:
            across, up = words.xyann
            words.xyann = across, up + (place.y0 - box.y0) * 72 / axes.figure.dpi
        taken.append(place)


def draw_changes(
    axes: Axes,
    x: Floats,
    changes: Sequence[Mapping[str, Any]],
    alerts: Sequence[Mapping[Hashable, Any]],
    session_ids: list[str],
    measure: Measure,
) -> None:
    """Mark where the level moved, with the medians of both sides, and the alerts; the newest ones in words.

    Args:
        axes: of runs at ``x`` and their durations.
        x: where each run stands.
        changes: as ``trend`` takes them, oldest first.
        alerts: as ``trend`` takes them; one beside a change stands with it.
        session_ids: of the runs.
        measure: which way is worse.
    """
    first_of = {session_id: index for index, session_id in reversed(list(enumerate(session_ids)))}
    alone = [
        (first_of[alert["since_session_id"]], alert)
        for alert in alerts
        if alert.get("since_session_id") in first_of
    ]
    flags = []
    for number, change in enumerate(changes):
        index = int(change["index"])
        with_it = [alert for at, alert in alone if abs(at - index) <= _NEAR]
        alone = [(at, alert) for at, alert in alone if abs(at - index) > _NEAR]
        percent = float(change["effect_percent"])
        colour = VERMILLION if (percent > 0) == (measure.direction == "up") else BLUE
        if number < len(changes) - MOST_IN_WORDS:
            _line(axes, x, index, colour)
            continue
        earlier = int(changes[number - 1]["index"]) if number else 0
        near = "the nearest " if change.get("nearest_only") else ""
        text = f"{near}n = {int(change['before_n']):,}"
        _draw_level(axes, x[earlier:index], float(change["before_median"]), text, measure)
        if number == len(changes) - 1:
            text = f"{near}n = {int(change['after_n']):,}"
            _draw_level(axes, x[index:], float(change["after_median"]), text, measure)
        flags.append(
            _Flag(
                index,
                (f"{'+' if percent > 0 else '−'}{abs(percent):.0f} %", *map(_alert_text, with_it)),
                colour,
            )
        )
    flags += [
        _Flag(index, ("alert", _alert_text(alert)), VERMILLION) for index, alert in alone[:MOST_IN_WORDS]
    ]
    _draw_flags(axes, x, flags)


def _draw_level(axes: Axes, x: Floats, median: float, of: str, measure: Measure) -> None:
    axes.plot([x[0], x[-1]], [median, median], color=ORANGE, linewidth=3, alpha=0.95, zorder=4)
    text = f"median {amount_text(median, measure.unit)}, {of}"
    middle = (x[0] + x[-1]) / 2
    _words(axes, text, (middle, median), (0, -8), INK, ha="center", va="top")


def _draw_flags(axes: Axes, x: Floats, flags: Sequence[_Flag]) -> None:
    """Write the flags beside their lines, each in the first row below the top where no other stands."""
    span = float(x[-1] - x[0]) or 1.0
    taken: list[list[tuple[float, float]]] = []
    for flag in sorted(flags, key=lambda flag: flag.run):
        at = _line(axes, x, flag.run, flag.colour)
        axes.plot(
            [at],
            [0.975],
            transform=axes.get_xaxis_transform(),
            marker="v",
            markersize=9,
            color=flag.colour,
            zorder=6,
        )
        place = float(at - x[0]) / span
        width = _CHARACTER * max(map(len, flag.lines)) + 0.02
        left = place < 0.5
        first, last = (place, place + width) if left else (place - width, place)
        row = next(
            (
                row
                for row, others in enumerate(taken)
                if all(last < low or high < first for low, high in others)
            ),
            len(taken),
        )
        for needed in range(row, row + len(flag.lines)):
            if needed == len(taken):
                taken.append([])
            taken[needed].append((first, last))
        look: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "va": "top",
            "fontsize": 11,
            "fontweight": "bold",
        }
        offset, side = ((9, 0), "left") if left else ((-9, 0), "right")
        place_of_row = (at, 0.965 - _LINE * row)
        _words(axes, "\n".join(flag.lines), place_of_row, offset, flag.colour, ha=side, zorder=6, **look)


def _line(axes: Axes, x: Floats, index: int, colour: str) -> float:
    """Draw the line before a run and return where it is."""
    at = float(x[index] if index == 0 else (x[index - 1] + x[index]) / 2)
    axes.axvline(at, color=colour, linewidth=1.6, linestyle=":", zorder=3)
    return at


def _alert_text(alert: Mapping[Hashable, Any]) -> str:
    return f"{to_drawable(alert['severity'])}: {to_drawable(shortened(inert(alert['rule']), 40))}"


def draw_failures(axes: Axes, x: Floats, starts: Floats, failures: pd.DataFrame | None) -> None:
    """Draw a cross at the foot for each failed run, where it stands between the others."""
    if failures is None or failures.empty:
        return
    when = failures["start_time"].to_numpy(dtype=float)
    if len(x) > 1:
        at = np.interp(when, starts, x)
    else:
        at = np.full(when.size, x[0])
    axes.plot(
        at,
        np.full(when.size, 0.025),
        transform=axes.get_xaxis_transform(),
        linestyle="",
        marker="x" if when.size <= MOST_CROSSES else "|",
        markersize=7,
        markeredgewidth=1.8,
        color=VERMILLION,
        label=f"failed ({when.size:,})",
        zorder=5,
    )
