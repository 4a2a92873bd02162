"""What people say in a question: which sessions, since when, under which name.

Everything is checked here, with an error that says what would be right, before a database is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from perfdb.records import STATUSES
from perfdb.vocabulary import BIGGEST

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_LATEST_EPOCH = 1e11  # the year 5138; more than that is milliseconds


def parse_instant(
    value: float | str | datetime, *, now: float | None = None, zone: tzinfo | None = None
) -> float:
    """Return epoch seconds for a moment that a person named.

    Args:
        value: epoch seconds; a datetime or ISO text, local time unless it has a zone; or an age
            before now: a number and one of ``s m h d w``.
        now: what ages count from; the clock when None.
        zone: instead of local time, for a text or a datetime without one.

    Raises:
        ValueError: it is of no such form.
    """
    if isinstance(value, datetime):
        return (value.replace(tzinfo=zone) if value.tzinfo is None else value).timestamp()
    if isinstance(value, str):
        return _instant_of_text(value.strip(), now, zone)
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


def _instant_of_text(text: str, now: float | None, zone: tzinfo | None) -> float:
    import time

    unit = _UNITS.get(text[-1:])
    try:
        if unit is not None:
            return parse_instant((time.time() if now is None else now) - float(text[:-1]) * unit)
        if len(text) > 8 and text.replace(".", "", 1).isdigit():
            return parse_instant(float(text))
        return parse_instant(datetime.fromisoformat(text), zone=zone)
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is not a moment: say 7d, 24h, 2026-01-31, 2026-01-31T08:00 or epoch seconds"
        ) from None


def checked_tag(name: str) -> str:
    """Return the tag's name when it can be one.

    Raises:
        ValueError: it is empty, longer than 64 characters or not printable.
    """
    if name.strip() and len(name) <= 64 and name.isprintable():
        return name.strip()
    raise ValueError(f"{name[:80]!r} cannot be a tag: use 1 to 64 printable characters")


def checked_filters(last: int | None, filters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters of ``History.sessions`` for the store; those that were not given are None.

    Raises:
        TypeError: one of them is not known.
        ValueError: one of them has a value that cannot be meant.
    """
    names = ("pipeline", "since", "until", "fast_mode", "status", "attribute", "tag")
    for name in filters:
        if name not in names:
            raise TypeError(f"there is no filter {name!r}: choose of {', '.join(names)}, last")
    return session_filters(**(dict.fromkeys(names) | dict(filters)), last=last)


def session_filters(
    pipeline: str | None,
    since: float | str | datetime | None,
    until: float | str | datetime | None,
    last: int | None,
    fast_mode: bool | None,
    status: str | None,
    attribute: Mapping[str, Any] | None,
    tag: str | None,
) -> dict[str, Any]:
    """Return what ``checked_filters`` does, spelt out.

    Raises:
        ValueError: one of them has a value that cannot be meant.
    """
    if last is not None and last < 1:
        raise ValueError(f"last={last!r} must be 1 or more")
    if status is not None and status not in STATUSES:
        raise ValueError(f"status={status!r} must be one of {', '.join(STATUSES)}")
    return {
        "pipeline": pipeline,
        "since": None if since is None else parse_instant(since),
        "until": None if until is None else parse_instant(until),
        "last": None if last is None else min(last, BIGGEST),
        "fast_mode": fast_mode,
        "status": status,
        "attribute": attribute,
        "tag": tag,
    }
