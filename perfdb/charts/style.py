"""How every picture looks: size, colours, head line, axes in human units.

The colours are Okabe and Ito's, which colour-blind eyes tell apart, those of words as dark as words
need; hatches and markers tell the same things in grey print. No pyplot, no global settings: figures
may be made in any thread.
"""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MultipleLocator

from perfdb.analysis.scales import scale
from perfdb.text import inert, shortened

SIZE = (12.0, 7.0)  # inches, at DPI: 1200 x 700 pixels
DPI = 100

INK, MUTED, GRID = "#1a1a1a", "#5c5c5c", "#dcdcdc"
BLUE, SKY, ORANGE, VERMILLION = "#0072b2", "#56b4e9", "#e69f00", "#ba4900"
GREEN, PURPLE, YELLOW = "#00795a", "#cc79a7", "#f0e442"
# Neighbours in a stack differ in lightness and in hatch, not in hue alone.
FILLS: tuple[tuple[str, str], ...] = (
    (BLUE, ""),
    (YELLOW, "///"),
    (GREEN, ""),
    (ORANGE, "..."),
    (SKY, "\\\\\\"),
    (VERMILLION, ""),
    (PURPLE, "xxx"),
)
OTHERS: tuple[str, str] = ("#c4c4c4", "||")
NOTHING: tuple[str, str] = ("#f0f0f0", "")
HATCH_INK = "#33333388"

_LEFT = 0.012
_SPARE = 0.96  # of the room: readers of an SVG measure letters in their own way
_MOST_MEASURED = 400  # characters of which the usual width is taken
# What DejaVu Sans lacks is looked up in those of these that the machine has. Fonts of coloured emoji hold
# bitmaps, which matplotlib cannot draw.
_OTHER_FONTS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC",
    "Noto Sans KR", "Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "IPAGothic", "NanumGothic", "Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Yu Gothic",
    "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "Noto Sans", "Noto Emoji", "Segoe UI Emoji",
    "Symbola", "Unifont",
)  # fmt: skip

_GLUE = "\x1f"  # which no text has that is inert: it keeps a number and its unit, or a date, in one line
_UNBROKEN = re.compile(
    r"(?<=\d) (?=(?:%|×|[nµm]?s|min|h|d|[kMGT]?i?B|USD)(?!\w))"  # before a unit
    r"|(?<=\d) (?=[A-Z][a-z]{2} \d{4}\b)|(?<=\d [A-Z][a-z]{2}) (?=\d{4}\b)"  # in a date
)

logger = logging.getLogger("perfdb")


class Picture(Figure):
    """A figure of ours: a notebook shows it in its own theme, and those of others as it always did."""


def figure(title: str, subtitle: str = "", footer: str = "") -> Figure:
    """Return an empty figure with a head line that says the finding, and small print below."""
    made = Picture(figsize=SIZE, dpi=DPI, facecolor="white")
    head = made.text(_LEFT, 0.975, "", fontweight="bold", color=INK, va="top")
    top = 0.975 - 0.042 * _fit(head, title, (16, 2), (14, 2), (13, 2), (12, 3))
    if subtitle:
        context = made.text(_LEFT, top, "", color=MUTED, va="top")
        top -= 0.005 + 0.03 * _fit(context, subtitle, (11, 1), (10, 1), (9, 1), (9, 2))
    if footer:
        _fit(made.text(_LEFT, 0.012, "", color=MUTED, va="bottom"), footer, (9, 1), (8, 1))
    bottom = 0.04 if footer else 0.01
    made.set_layout_engine(
        ConstrainedLayoutEngine(rect=(0.006, bottom, 0.986, top - 0.012 - bottom), h_pad=0.06, w_pad=0.06)
    )
    return made


def _fit(text: Text, said: str, *sizes: tuple[int, int]) -> int:
    """Write into the first size and so many lines that hold it; return how many. The last one cuts it."""
    said = _UNBROKEN.sub(_GLUE, inert(said))
    most = _SPARE * (1 - 2 * _LEFT) * SIZE[0] * DPI
    for size, most_lines in sizes:
        text.set_fontsize(size)
        part = said[:_MOST_MEASURED].replace(_GLUE, " ")
        room = max(20, int(1.15 * len(part) * most / max(1.0, _width(text, part))))
        lines = _wrapped(said, room, most_lines)
        while _width(text, "\n".join(lines)) > most and room > 20:
            room -= max(1, room // 40)
            lines = _wrapped(said, room, most_lines)
        if len(textwrap.wrap(said, room)) <= most_lines:
            break
    return len(lines)


def _wrapped(said: str, room: int, most_lines: int) -> list[str]:
    lines = textwrap.wrap(said, room, max_lines=most_lines, placeholder=" …") or [""]
    return [line.replace(_GLUE, " ") for line in lines]


def _width(text: Text, said: str) -> float:
    """Return the pixels that a text takes, which is set to it."""
    text.set_text("\n".join(map(to_drawable, said.split("\n"))))
    return float(write(text).get_window_extent(_ruler()).width)


@cache
def _ruler() -> RendererAgg:
    return RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]


def sentence(title: str, text: str) -> Figure:
    """Return a picture of a sentence, for a history that has nothing to draw."""
    made = figure(title)
    lines = "\n".join(map(to_drawable, textwrap.wrap(inert(text), 80)))
    write(made.text(0.5, 0.5, lines, fontsize=14, color=MUTED, ha="center"))
    return made


def to_drawable(text: object) -> str:
    """Return a recorded text as matplotlib draws it to the letter.

    It is inert, has no formula between dollars, and what no font of this machine can draw is a box, which is
    said once.
    """
    known = _drawable()
    said = inert(text)
    shown = "".join(character if ord(character) in known else "□" for character in said)
    if shown != said:
        _say_that_fonts_are_missing()
    return shown.replace("$", r"\$")


def name_label(name: object, characters: int = 34) -> str:
    """Return a name for the side of a picture, in at most two lines."""
    text = shortened(inert(name), 2 * characters - 4)
    return "\n".join(
        to_drawable(line) for line in textwrap.wrap(text, characters, max_lines=2, placeholder="…")
    )


def names_at_left(axes: Axes, names: Sequence[str], size: float) -> None:
    """Write the names of rows 0, 1, … one below the other, from one edge: so a tree is seen as a tree."""
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0, labelsize=size, labelcolor=INK)
    widest = max(float(write(name).get_window_extent(_ruler()).width) for name in axes.get_yticklabels())
    axes.tick_params(axis="y", pad=widest * 72 / DPI + 6)
    for name in axes.get_yticklabels():
        name.set_horizontalalignment("left")


@cache
def fonts() -> tuple[str, ...]:
    """Return the font families to draw texts with; the later ones fill what the first lacks."""
    known = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _OTHER_FONTS if name in known))


@cache
def _drawable(*names: str) -> frozenset[int]:
    """Return the code points that one of the fonts has, and the newline."""
    files = [font_manager.findfont(name) for name in names or fonts()]
    return frozenset({10}.union(*(font_manager.get_font(file).get_charmap() for file in files)))


@cache
def _say_that_fonts_are_missing() -> None:
    logger.warning(
        "no font of this machine has all characters of the names in a picture: each such character is a box. "
        "Install Noto Sans CJK or Noto Emoji, for instance; reports and the dashboard need none"
    )


def write(text: Text) -> Text:
    """Set the fonts of a text that may hold recorded names.

    Only the first of them is sure to have a bold face, and matplotlib complains of the others.
    """
    families = list(fonts())
    if text.get_fontweight() == "bold":
        if all(ord(character) in _drawable(families[0]) for character in text.get_text()):
            families = families[:1]
        else:
            text.set_fontweight("normal")
    text.set_fontfamily([*families, "sans-serif"])  # for a reader of an SVG who has none of these
    return text


def bare(axes: Axes, *, grid: str | None = "y") -> None:
    """Take away what carries no data, and draw a light grid behind it."""
    for side in ("top", "right", "left" if grid == "y" else "bottom" if grid == "x" else "left"):
        axes.spines[side].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
    axes.tick_params(colors=MUTED, labelsize=10, length=3)
    if grid is not None:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
        axes.set_axisbelow(True)


def value_axis(
    axis: Any, longest: float, label: str, unit: str, *, span: float | None = None, most: int = 7
) -> None:
    """Label an axis of any measure at round steps; the arguments are those of ``scales.scale``."""
    divided = scale(longest, unit, span=span, most=most)
    axis.set_major_locator(MultipleLocator(divided.step))
    axis.set_major_formatter(FuncFormatter(lambda value, _: divided.number(value)))
    title = f"{label} ({divided.unit})" if divided.unit else label
    axis.set_label_text(to_drawable(title), color=MUTED, fontsize=11)


def moment(epoch: float) -> str:
    """Return an instant in local time: ``22 Nov 2026, 23:26``."""
    return datetime.fromtimestamp(epoch).strftime("%-d %b %Y, %H:%M")


def period(first: float, last: float) -> str:
    """Return two instants in local time as one phrase."""
    start, end = datetime.fromtimestamp(first), datetime.fromtimestamp(last)
    if start.date() == end.date():
        if last - first < 1:
            return moment(first)
        form = "%H:%M:%S" if last - first < 600 else "%H:%M"
        return f"{start:%-d %b %Y}, {start.strftime(form)} to {end.strftime(form)}"
    return f"{start:%-d %b %Y} to {end:%-d %b %Y}"


def zone(*moments: float) -> str:
    """Return which time zone a picture of these moments speaks, for the small print."""
    offsets = [datetime.fromtimestamp(each).astimezone().strftime("%z") for each in moments]
    names = ["UTC" if each == "+0000" else f"UTC{each[:3]}:{each[3:]}" for each in dict.fromkeys(offsets)]
    return f"local times ({', then '.join(names)})"


def label_sessions(axes: Axes, starts: npt.NDArray[np.float64]) -> None:
    """Write the local start of some sessions below an axis that counts sessions; the year where it is new."""
    places = np.unique(np.linspace(0, starts.size - 1, min(8, starts.size)).astype(int))
    span = starts[-1] - starts[0]
    form = "%H:%M:%S" if span < 1200 else "%-d %b\n%H:%M" if span < 12 * 86400 else "%-d %b"
    labels, year = [], None
    for when in (datetime.fromtimestamp(starts[place]) for place in places):
        labels.append(when.strftime(form if span < 12 * 86400 or when.year == year else f"{form}\n%Y"))
        year = when.year
    axes.xaxis.set_major_locator(FixedLocator(places.tolist()))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.set_xlabel("session, oldest first (with its start)", color=MUTED, fontsize=11)


def date_axis(axes: Axes) -> None:
    """Label an axis of local times: a day always has its month."""
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        ConciseDateFormatter(  # type: ignore[no-untyped-call]
            locator,
            formats=["%Y", "%b %Y", "%-d %b", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%b %Y", "%-d %b", "%-d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
    )
    axes.set_xlabel("start", color=MUTED, fontsize=11)
