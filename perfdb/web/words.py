"""The words that the dashboard has beside those of ``perfdb.pages.words``: times and links.

Times are ``<time>`` elements in UTC, which a script turns into the viewer's zone; nothing here needs it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from perfdb.filters import zone_named

CLOSE_S = 600.0  # so near to each other, times have their seconds
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def when(epoch: float | None, form: str = "short", now: float | None = None) -> Markup:
    """Return an instant as an element.

    Its form is ``short`` (to the minute), ``close`` (the same to the second), ``full`` (as ISO) or ``ago``.
    """
    if epoch is None:
        return Markup("–")
    moment = datetime.fromtimestamp(epoch, UTC)
    full = f"{moment:%Y-%m-%d %H:%M:%S}"
    if form == "ago" and now is not None:
        text = ago(now - epoch)
    else:
        year = "" if moment.year == datetime.now(UTC).year else f" {moment.year}"
        short = f"{moment.day:02} {_MONTHS[moment.month - 1]}{year} {moment:%H:%M}"
        short += f":{moment:%S}" if form == "close" else ""
        text = f'{full if form == "full" else short}<span class="utc"> UTC</span>'
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup(f'<time datetime="{iso}" title="{full} UTC" data-form="{form}">{text}</time>')  # noqa: S704


def close(first: float, last: float) -> str:
    """Return the form of times between two instants: with seconds where minutes are all the same."""
    return "close" if abs(last - first) < CLOSE_S else "short"


def ago(seconds_ago: float) -> str:
    """Return an age in its largest unit: ``just now``, ``12 min ago``, ``3 days ago``."""
    for unit, length in (("day", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        number = int(seconds_ago // length)
        if number >= 1:
            plural = "s" if unit == "day" and number > 1 else ""
            return f"{number} {unit}{plural} ago"
    return "just now"


_KEPT: ContextVar[Mapping[str, str] | None] = ContextVar("perfdb_kept_window", default=None)


@contextmanager
def keeping(window: Mapping[str, str]) -> Iterator[None]:
    """Let the links between pages keep the window of the page that is written: fields of its address."""
    token = _KEPT.set(window)
    try:
        yield
    finally:
        _KEPT.reset(token)


def link(path: str, **parameters: Any) -> str:
    """Return an address with the parameters that have a value; a list stands for several of one name.

    To another page, the window that is kept goes with it.
    """
    kept = _KEPT.get()
    if kept and not path.startswith("/api/") and not any(parameters.get(name) for name in kept):
        parameters = {**parameters, **kept}
    given = [
        (name, _word(each))
        for name, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
        if each not in (None, "")
    ]
    return f"{quote(path)}?{urlencode(given)}" if given else quote(path)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def day(epoch: float, zone: str = "UTC") -> str:
    """Return the day of an instant in a zone: ``23 Nov``."""
    moment = datetime.fromtimestamp(epoch, zone_named(zone))
    return f"{moment.day:02} {_MONTHS[moment.month - 1]}"
