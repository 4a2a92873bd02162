"""What people say in a question: which sessions, since when, under which name.

Everything is checked here, with an error that says what would be right, before a database is opened.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeAlias, TypedDict

from perfdb.vocabulary import BIGGEST, STATUSES

Moment: TypeAlias = float | str | datetime  # see parse_instant

DAY_S = 86400.0
_YEAR_S = 365.25 * DAY_S
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S, "mo": _YEAR_S / 12, "y": _YEAR_S}
_DAYS_AGO = {"today": 0, "yesterday": 1}
_LATEST_EPOCH = 1e11  # the year 5138; more than that is milliseconds


def parse_age(text: str) -> float:
    """Return the seconds of an age or a length of time: a number and one of ``s m h d w mo y``.

    Raises:
        ValueError: it is of no such form.
    """
    text = text.strip()
    unit = "mo" if text.endswith("mo") else text[-1:]
    try:
        seconds = float(text.removesuffix(unit)) * _UNITS[unit]
        if abs(seconds) < _LATEST_EPOCH:
            return seconds
    except (KeyError, ValueError):
        pass
    raise ValueError(f"{text[:80]!r} is not a length of time: say 30m, 24h, 7d, 12w, 6mo or 2y")


def parse_instant(value: Moment, *, now: float | None = None, zone: tzinfo | None = None) -> float:
    """Return epoch seconds for a moment that a person named.

    Args:
        value: epoch seconds; a datetime or ISO text, local time unless it has a zone; an age before now, as
            ``parse_age`` reads it; or ``today`` or ``yesterday``, the local midnight that it began at.
        now: what ages count from; the clock when None.
        zone: instead of local time, for a text or a datetime without one.

    Raises:
        ValueError: it is of no such form.
    """
    if isinstance(value, str):
        return _instant_of_text(value.strip(), time.time() if now is None else now, zone)
    if not isinstance(value, (int, float)):
        return (value.replace(tzinfo=zone) if value.tzinfo is None else value).timestamp()
    if not is_moment(value):
        raise ValueError(f"{value!r} is not a moment: epoch seconds are a number such as 1767225600")
    return float(value)


def zone_named(name: str) -> tzinfo | None:
    """Return the zone of a name such as ``UTC`` or ``Europe/Berlin``; None, as in datetimes, for ``local``.

    Raises:
        ValueError: there is no such zone.
    """
    if name.upper() == "UTC":
        return UTC
    if name == "local":
        return None
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError(f"{name!r} is not a time zone: say UTC, local or a name as Europe/Berlin") from None


def is_moment(value: float) -> bool:
    """Say whether a number can be meant as epoch seconds; a recorded instant may lie beyond."""
    return abs(value) < _LATEST_EPOCH  # false for NaN too


def _instant_of_text(text: str, now: float, zone: tzinfo | None) -> float:
    from datetime import timedelta

    try:
        if (days := _DAYS_AGO.get(text.lower())) is not None:
            midnight = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
            return (midnight - timedelta(days)).timestamp()
        if text[-1:].isalpha() and not text.endswith("Z"):
            return parse_instant(now - parse_age(text))
        if len(text) > 8 and text.replace(".", "", 1).isdigit():
            return parse_instant(float(text))
        return parse_instant(datetime.fromisoformat(text), zone=zone)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is not a moment: say 7d, 24h, today, 2026-01-31, 2026-01-31T08:00 or epoch seconds"
        ) from None


def checked_tag(name: str) -> str:
    """Return the tag's name when it can be one.

    Raises:
        ValueError: it is empty, longer than 64 characters or not printable.
    """
    if name.strip() and len(name) <= 64 and name.isprintable():
        return name.strip()
    raise ValueError(f"{name[:80]!r} cannot be a tag: use 1 to 64 printable characters")


@dataclass(frozen=True, slots=True)
class Typed:
    """An attribute's value as a person typed it: ``2.4`` is meant as the number, or as that very text."""

    text: str

    @property
    def meanings(self) -> tuple[Any, ...]:
        """What it may stand for: what JSON makes of it, where it is JSON, and the text."""
        import json

        try:
            value = json.loads(self.text)
        except (ValueError, RecursionError):
            return (self.text,)
        return (self.text,) if isinstance(value, str) and value == self.text else (value, self.text)


class Filters(TypedDict, total=False):
    """Which sessions are meant, as a person says it; what is not given, or None, does not matter."""

    pipeline: str | None
    since: Moment | None  # started at or after
    until: Moment | None  # started before
    fast_mode: bool | None
    status: str | None
    attribute: Mapping[str, Any] | None  # the attributes have all these values
    tag: str | None


class Chosen(TypedDict, total=False):
    """Which sessions are meant, as ``perfdb.store`` takes it: checked, with instants in epoch seconds."""

    pipeline: str | None
    since: float | None
    until: float | None
    last: int | None  # so many of the newest that fit
    fast_mode: bool | None
    status: str | None
    attribute: Mapping[str, Any] | None
    tag: str | None
    mode: str | None
    counted: bool | None


def checked_filters(last: int | None, filters: Filters) -> Chosen:
    """Return the filters of ``History.sessions`` for the store; those that were not given are None.

    Raises:
        TypeError: one of them is not known.
        ValueError: one of them has a value that cannot be meant.
    """
    names = Filters.__annotations__
    for name in filters:
        if name not in names:
            raise TypeError(f"there is no filter {name!r}: choose of {', '.join(names)}, last")
    if last is not None and last < 1:
        raise ValueError(f"last={last!r} must be 1 or more")
    status, since, until = filters.get("status"), filters.get("since"), filters.get("until")
    if status is not None and status not in STATUSES:
        raise ValueError(f"status={status!r} must be one of {', '.join(STATUSES)}")
    return {
        "pipeline": filters.get("pipeline"),
        "since": None if since is None else parse_instant(since),
        "until": None if until is None else parse_instant(until),
        "last": None if last is None else min(last, BIGGEST),
        "fast_mode": filters.get("fast_mode"),
        "status": status,
        "attribute": filters.get("attribute"),
        "tag": filters.get("tag"),
    }
