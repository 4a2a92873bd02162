"""The words that reports and pages are written with: recorded texts, durations, sizes, changes.

Every recorded text goes through ``shown``: escaped for HTML, inert, and isolated, so that a name
written from right to left turns nothing but itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from markupsafe import Markup

from perfdb import text as texts
from perfdb.measures import Measure
from perfdb.text import amount_text, difference_text, duration_text, inert, is_nothing, shortened, size_text

_NEGATIVE = r"(?:(?<=[ (\u00a0])|\A)-(?=\$?\d)"  # the sign of a number that stands by itself


def shown(text: object, longest: int = 120) -> Markup:
    """Return a recorded text as HTML that shows it to the letter."""
    return Markup(f"<bdi>{escaped(text, longest=longest)}</bdi>")  # noqa: S704 (it is escaped there)


def shown_lines(text: object, longest: int) -> Markup:
    """Return a recorded text of several lines, such as a traceback, as ``shown`` does, with its lines."""
    lines = shortened(str(text), longest).splitlines()
    return Markup("\n").join(shown(line, longest) for line in lines)


def unbroken(sentence: str) -> Markup:
    """Return a sentence, or HTML of one, as HTML: no line ends in a figure, a minus is one."""
    said = re.sub(_NEGATIVE, "−", texts.unbroken(Markup.escape(sentence)))
    return Markup(said)  # noqa: S704 (only spaces and signs change)


def escaped(text: object, longest: int = 400) -> Markup:
    """Return a text as HTML for an attribute or a title, where no element may stand."""
    return Markup(escape(shortened(inert(text), longest)))  # noqa: S704


def drawn(shape: str) -> Markup:
    """Mark as HTML what ``pages.svg`` drew, or what a template made."""
    return Markup(shape)  # noqa: S704 (texts are escaped there)


def seconds(value: float | None) -> str:
    """Return a duration in human units; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    return f"−{duration_text(-value)}" if value < 0 else duration_text(value)


def size(value: float | None) -> str:
    """Return bytes in human units; a dash for none."""
    return "–" if value is None else size_text(value)


def difference(value: float | None) -> str:
    """Return seconds with their sign."""
    if value is None or math.isnan(value):
        return "–"
    return "0 s" if is_nothing(value) else f"{'−' if value < 0 else '+'}{duration_text(abs(value))}"


def percent(value: float | None, digits: int = 0) -> str:
    """Return a percentage without a sign."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f} %".replace("-", "−") if round(value, digits) else "0 %"


def change(value: float | None) -> str:
    """Return a percentage with its sign: ``+12 %``, ``−3 %``; from +100 % as a multiple: ``2.3 ×``."""
    if value is None or math.isnan(value):
        return "–"
    if value >= 100:
        return f"{1 + value / 100:.1f} ×"
    return "0 %" if abs(value) < 0.5 else f"{'−' if value < 0 else '+'}{abs(value):.0f} %"


def pairs(values: Mapping[str, Any], longest: int) -> str:
    """Return attributes as one text, each value cut to so many letters."""
    return ", ".join(f"{name}={shortened(value_text(value), longest)}" for name, value in values.items())


def value_text(value: object) -> str:
    """Return an attribute's value as it would be typed."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def in_unit(value: float | None, unit: str) -> str:
    """Return a value with its unit; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    return f"{'−' if value < 0 else ''}{amount_text(abs(value), inert(unit))}"


def difference_in(value: float | None, unit: str) -> str:
    """Return a difference with its sign and unit; a dash for none."""
    if value is None or math.isnan(value):
        return "–"
    return difference_text(value, inert(unit)).replace("-", "−", 1)


def amount_of(value: float | None, measure: Measure) -> str:
    """Return a value of a measure with its unit."""
    return in_unit(value, measure.unit)
