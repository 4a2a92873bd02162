"""What people say in a question: which sessions, since when, under which name.

Everything is checked here, with an error that says what would be right, before a database is opened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from numbers import Integral
from typing import Any, TypeAlias, TypedDict

from perfdb.errors import FilterError
from perfdb.vocabulary import BIGGEST, LONGEST_TAG, STATUSES, recorded_name

Moment: TypeAlias = float | str | date | timedelta  # see parse_instant; a datetime is a date

DAY_S = 86400.0
_YEAR_S = 365.25 * DAY_S
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S, "w": 7 * DAY_S, "mo": _YEAR_S / 12, "y": _YEAR_S}
_DAYS_AGO = {"today": 0, "yesterday": 1}
_LATEST_EPOCH = 1e11  # the year 5138; more than that is milliseconds
_FINITE = 1e300  # what is greater is compared as a text only


def parse_age(text: str) -> float:
    """Return the seconds of an age or a length of time: a number and one of ``s m h d w mo y``.

    Raises:
        ValueError: it is of no such form.
    """
    text = text.strip()
    unit = "mo" if text.endswith("mo") else text[-1:]
    try:
        seconds = float(text.removesuffix(unit)) * _UNITS[unit]
        if 0 <= seconds < _LATEST_EPOCH:
            return seconds
    except (KeyError, ValueError):
        pass
    raise ValueError(f"{text[:80]!r} is not a length of time: say 30m, 24h, 7d, 12w, 6mo or 2y")


def parse_instant(value: Moment, *, now: float | None = None, zone: tzinfo | None = None) -> float:
    """Return epoch seconds for a moment that a person named.

    Args:
        value: epoch seconds; a datetime or ISO text, local time unless it has a zone; a date, which is the
            local midnight that it began at, as ``today`` and ``yesterday`` are; or an age before now, as a
            timedelta or as ``parse_age`` reads it.
        now: what ages count from; the clock when None.
        zone: instead of local time, for a text, a date or a datetime without one.

    Raises:
        ValueError: it is of no such form.
    """
    if isinstance(value, str):
        return _instant_of_text(value.strip(), time.time() if now is None else now, zone)
    if isinstance(value, timedelta):
        return (time.time() if now is None else now) - value.total_seconds()
    if isinstance(value, date):
        if not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        return (value.replace(tzinfo=zone) if value.tzinfo is None else value).timestamp()
    if not is_moment(value):
        raise ValueError(f"{_shown(value)} is not a moment: epoch seconds are a number such as 1767225600")
    return float(value)


def moment_of(value: object, *, now: float | None = None, zone: tzinfo | None = None) -> float:
    """Return what ``parse_instant`` does, for anything that a person may have given.

    Raises:
        FilterError: it is of no such form, or too far away.
    """
    if isinstance(value, bool) or not isinstance(value, float | int | str | date | timedelta):
        raise FilterError(f"{_shown(value)} is not a moment: give epoch seconds, a date, or an age: 7d")
    try:
        moment = parse_instant(value, now=now, zone=zone)
    except (ValueError, OverflowError, OSError) as error:
        reason = str(error)
        known = "moment" in reason
        raise FilterError(reason if known else f"{_shown(value)} is not a moment: {reason}") from None
    if not is_moment(moment):
        raise FilterError(f"{_shown(value)} is not a moment that can be meant: it is too far away")
    return moment


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
            f"{_shown(text)} is not a moment: say 7d, 24h, today, 2026-01-31, 2026-01-31T08:00 or epoch "
            "seconds"
        ) from None


def checked_tag(name: str) -> str:
    """Return the tag's name when it can be one.

    Raises:
        FilterError: it is empty, longer than 64 characters or not printable.
    """
    if name.strip() and len(name) <= LONGEST_TAG and name.isprintable():
        return recorded_name(name.strip())
    raise FilterError(f"{name[:80]!r} cannot be a tag: use 1 to {LONGEST_TAG} printable characters")


def step_of(name: str | None) -> str | None:
    """Return a step's name as it was recorded.

    Raises:
        FilterError: it is no text.
    """
    if name is not None and not isinstance(name, str):
        raise FilterError(f"step={_shown(name)} must be a name")
    return None if name is None else recorded_name(name)


class OfSeries(TypedDict, total=False):
    """Which series are meant, for what is about a series and no session: alerts, rules, baselines."""

    pipeline: str | None
    step: str | None
    mode: str | None  # canonical JSON, as in every answer
    measure: str | None


def fits_series(each: Any, of: OfSeries) -> bool:
    """Say whether what has ``pipeline``, ``step_name``, ``mode`` and ``metric`` is of the series meant."""
    names = {"pipeline": each.pipeline, "step": each.step_name, "mode": each.mode, "measure": each.metric}
    return all(of.get(name) in (None, value) for name, value in names.items())


class Filters(TypedDict, total=False):
    """Which sessions are meant, as a person says it; what is not given, or None, does not matter."""

    pipeline: str | None
    since: Moment | None  # started at or after
    until: Moment | None  # started before
    fast_mode: bool | None
    status: str | None
    attribute: Mapping[str, Any] | None  # the attributes have all these values
    tag: str | None
    branch: str | None  # of git, that was checked out
    mode: str | None  # canonical JSON, as in every answer


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
    branch: str | None
    mode: str | None
    counted: bool | None
    step_attribute: Mapping[str, Any] | None  # of steps: their own, or their session's


def without_window(chosen: Chosen) -> Chosen:
    """Return which sessions make a history, as it was then, without which part of it is looked at."""
    return {**chosen, "since": None, "last": None}


def checked_filters(last: int | None, filters: Filters) -> Chosen:
    """Return the filters of ``History.sessions`` for the store; those that were not given are None.

    Raises:
        TypeError: one of them is not known.
        FilterError: one of them has a value that cannot be meant.
    """
    names = Filters.__annotations__
    for name in filters:
        if name not in names:
            raise TypeError(f"there is no filter {name!r}: choose of {', '.join(names)}, last")
    if last is not None:
        _check_count(last)
    pipeline, tag, status = filters.get("pipeline"), filters.get("tag"), filters.get("status")
    branch, mode = filters.get("branch"), filters.get("mode")
    since, until = filters.get("since"), filters.get("until")
    if status is not None and status not in STATUSES:
        raise FilterError(f"status={status!r} must be one of {', '.join(STATUSES)}")
    for name, value in (("pipeline", pipeline), ("tag", tag), ("branch", branch), ("mode", mode)):
        if value is not None and not isinstance(value, str):
            raise FilterError(f"{name}={value!r} must be a name")
    chosen: Chosen = {
        "pipeline": None if pipeline is None else recorded_name(pipeline),
        "since": None if since is None else moment_of(since),
        "until": None if until is None else moment_of(until),
        "last": None if last is None else min(int(last), BIGGEST),
        "fast_mode": filters.get("fast_mode"),
        "status": status,
        "attribute": checked_attributes(filters.get("attribute")),
        "tag": None if tag is None else recorded_name(tag),
        "branch": branch,
    }
    if mode is not None:
        chosen["mode"] = mode
    return chosen


def _check_count(last: object) -> None:
    if isinstance(last, bool) or not isinstance(last, Integral) or int(last) < 1:
        raise FilterError(f"last={_shown(last)} must be a whole number of 1 or more")


# --- attributes -------------------------------------------------------------------------------------------


class Either(tuple[Any, ...]):
    """What a person may mean by the value of an attribute: any of these; ``2.4`` is a number or a text."""

    __slots__ = ()


def attribute_of(pair: str) -> tuple[str, Either]:
    """Return the name and the value of ``key=value``, as a person writes it.

    Raises:
        FilterError: it is of no such form, or the value is a list or an object.
    """
    key, equals, text = pair.partition("=")
    if not key or not equals:
        raise FilterError(f"{_shown(pair)} is not of the form key=value")
    return key, value_of(text)


def value_of(text: str) -> Either:
    """Return what a person may mean by the value of an attribute: the text, and what it is as JSON.

    Raises:
        FilterError: it is a list or an object, which no attribute is compared with.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        value = []
    except ValueError:
        return Either(_forms(text))
    if isinstance(value, list | dict):
        raise FilterError(f"{_shown(text)} is a list or an object; {_COMPARED}")
    if isinstance(value, float | int) and not abs(value) < _FINITE:
        return Either(_forms(text))
    return Either((value, *_forms(text)) if value != text else _forms(text))


def _forms(text: str) -> tuple[str, ...]:
    """Return a text composed and decomposed: both look alike, and values are kept as they are."""
    if text.isascii():
        return (text,)
    from unicodedata import normalize

    return tuple(dict.fromkeys((text, normalize("NFC", text), normalize("NFD", text))))


_COMPARED = "an attribute is compared with a text, a number, true, false or null"


def checked_attributes(given: object, *, of: str = "attribute") -> dict[str, Any] | None:
    """Return attributes with their names as they were recorded; ``of`` is what the argument is called.

    Raises:
        FilterError: they are no mapping of names to what an attribute can be compared with.
    """
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise FilterError(f'{of}={_shown(given)} must be a mapping such as {{"model": "gpt-4o"}}')
    for key, value in given.items():
        if not isinstance(key, str):
            raise FilterError(f"attribute {_shown(key)} must be a name")
        for each in value if isinstance(value, Either) else (value,):
            if not isinstance(each, str | int | float | None):
                raise FilterError(f"attribute {key!r} cannot be {_shown(each)}: {_COMPARED}")
            if isinstance(each, int | float) and not abs(each) < _FINITE:
                raise FilterError(f"attribute {key!r} cannot be {_shown(each)}: that is no finite number")
    return {recorded_name(key): value for key, value in given.items()}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
