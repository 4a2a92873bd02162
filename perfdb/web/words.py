"""The words that pages are written with: times, durations, changes, links, recorded texts.

What was recorded goes through ``shown``: escaped, inert and isolated. Times are ``<time>`` elements in UTC,
which a script turns into the viewer's zone; nothing here needs that script.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from perfdb.pages.parts import safe
from perfdb.text import duration_text, size_text

_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def shown(text: object, longest: int = 120) -> Markup:
    """Return a recorded text as HTML that shows it to the letter."""
    return Markup(safe(text, longest=longest))  # noqa: S704 (it is escaped there)


def drawn(shape: str) -> Markup:
    """Mark what ``pages.svg`` drew as HTML."""
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
    return "0 s" if abs(value) < 5e-7 else f"{'−' if value < 0 else '+'}{duration_text(abs(value))}"


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


def when(epoch: float | None, form: str = "short", now: float | None = None) -> Markup:
    """Return an instant as an element: ``short`` (to the minute), ``full`` (to the second) or ``ago``."""
    if epoch is None:
        return Markup("–")
    moment = datetime.fromtimestamp(epoch, UTC)
    told = f"{moment:%Y-%m-%d %H:%M:%S}"
    if form == "ago" and now is not None:
        text = ago(now - epoch)
    else:
        year = "" if moment.year == datetime.now(UTC).year else f" {moment.year}"
        short = f"{moment.day:02} {_MONTHS[moment.month - 1]}{year} {moment:%H:%M}"
        text = f'{told if form == "full" else short}<span class="utc"> UTC</span>'
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup(f'<time datetime="{iso}" title="{told} UTC" data-form="{form}">{text}</time>')  # noqa: S704


def ago(seconds_ago: float) -> str:
    """Return an age in its largest unit: ``just now``, ``12 min ago``, ``3 days ago``."""
    for unit, length in (("day", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        number = int(seconds_ago // length)
        if number >= 1:
            plural = "s" if unit == "day" and number > 1 else ""
            return f"{number} {unit}{plural} ago"
    return "just now"


def link(path: str, **parameters: Any) -> str:
    """Return an address with the parameters that have a value; a list stands for several of one name."""
    given = [
        (name, _word(each))
        for name, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
        if each not in (None, "")
    ]
    return f"{quote(path)}?{urlencode(given)}" if given else quote(path)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def value_text(value: object) -> str:
    """Return an attribute's value as it would be typed."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def day(epoch: float) -> str:
    """Return the UTC day of an instant: ``23 Nov``."""
    moment = datetime.fromtimestamp(epoch, UTC)
    return f"{moment.day:02} {_MONTHS[moment.month - 1]}"
