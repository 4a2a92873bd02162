"""Which values and texts sessions have, day by day: what few have is found without the others.

Of each value of an attribute a digest of 4 bytes and the hours of the day (UTC) in which a session with it
began. A digest may stand for other values too: sessions are looked at before they are believed. The same of
each three letters that follow each other in a session's error or attributes: a text is only where all of its
own are. A day whose letters would take more than ``_BYTES_A_SESSION`` has none, and is looked through.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Select,
    Text,
    and_,
    cast,
    func,
    null,
    or_,
    select,
)

from perfdb.store.dialects import as_text, holds_bytes, place_of_bytes
from perfdb.store.models import LONGEST_TEXT, daily_values, from_json, sessions, stale_days, storable_text
from perfdb.store.together import together
from perfdb.vocabulary import remembered

_DAY, _HOUR = 86_400.0, 3_600.0
_WHOLE_DAY = (1 << 24) - 1
_MOST_HOURS = 600  # that are looked through for one value; what is in more is found sooner from the newest on
_MOST_FOUND = 5_000
_TOGETHER = 40  # ranges of one query
_BYTES_A_SESSION = 16  # of letters
_LETTERS = 3
_MOST_ASKED = 12  # groups of letters of a text that are looked for
_MOST_LOOKED_THROUGH = 20_000  # sessions in which one search looks for a text


def digests_of_day(connection: Connection, day: int) -> tuple[bytes, bytes]:
    """Return the digests of the values that sessions of a day have, and the groups of letters of their texts.

    Of each 4 bytes, and behind them as many masks of 4 bytes: the hours.
    """
    values: dict[int, int] = {}
    letters: dict[str, int] = {}
    texts = as_text(connection, sessions.c.attributes), sessions.c.error_message
    query = select(sessions.c.start_time, *(cast(each, Text) for each in texts)).where(
        sessions.c.start_time >= day * _DAY, sessions.c.start_time < (day + 1) * _DAY
    )
    rows = connection.execute(query).all()
    for start, *contents in rows:
        bit = 1 << min(23, int((start - day * _DAY) / _HOUR))
        for each in () if contents[0] is None else _digests_in(contents[0]):
            values[each] = values.get(each, 0) | bit
        for content in contents:
            for group in () if content is None else _letters_in(content):
                letters[group] = letters.get(group, 0) | bit
    coded = {int.from_bytes(each.encode(), "little"): mask for each, mask in letters.items()}
    return _packed(values), b"" if 8 * len(coded) > _BYTES_A_SESSION * len(rows) else _packed(coded)


def _packed(hours: Mapping[int, int]) -> bytes:
    found = sorted(hours)
    return struct.pack(f"<{2 * len(found)}I", *found, *(hours[each] for each in found))


@remembered(256, LONGEST_TEXT)
def _letters_in(text: str) -> frozenset[str]:
    """Return the groups of ASCII letters of a text: what a database takes for the same has the same ones."""
    lower = text.replace("\u0130", "i").lower()  # the one capital that Python makes two letters of
    groups = {lower[place : place + _LETTERS] for place in range(len(lower) - _LETTERS + 1)}
    return frozenset(groups) if lower.isascii() else frozenset(each for each in groups if each.isascii())


@remembered(256, LONGEST_TEXT)  # the runs of a day often have the same
def _digests_in(attributes: str) -> Sequence[int]:
    document = from_json(attributes)
    found = (document if isinstance(document, dict) else {}).items()
    return [int.from_bytes(made, "little") for key, value in found if (made := digest(key, value))]


def digest(key: str, value: object) -> bytes | None:
    """Return the digest of an attribute that has a value; None for a value that nothing is compared with."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        same: object = storable_text(value) if isinstance(value, str) else value
    elif isinstance(value, int | float):
        same = float(value) + 0.0  # 1 is 1.0, and -0 is 0
    else:
        return None
    return blake2b(f"{key}\0{type(same).__name__}\0{same!r}".encode(), digest_size=4).digest()


def sessions_with(
    connection: Connection, key: str, values: Iterable[object], fits: ColumnElement[bool]
) -> list[int] | None:
    """Return the sessions of which ``fits`` is true, an attribute's being one of these values.

    None where many hours have sessions with one: then they are not looked for here.
    """
    wanted = [each for value in values if (each := digest(key, value)) is not None]
    if not wanted:
        return []
    holding = or_(*(holds_bytes(connection, daily_values.c.digests, each) for each in wanted))
    query = (
        select(daily_values.c.day, daily_values.c.digests)
        .where(holding, daily_values.c.day.not_in(select(stale_days.c.day)))
        .union_all(select(stale_days.c.day, cast(null(), LargeBinary)).distinct())
    )
    hours: dict[int, int] = {}
    for day, digests in connection.execute(query):
        hours[day] = _WHOLE_DAY if digests is None else _hours_of(bytes(digests), wanted)
    if sum(mask.bit_count() for mask in hours.values()) > _MOST_HOURS:
        return None
    ranges = list(_ranges(hours))
    found: list[int] = []
    for first in range(0, len(ranges), _TOGETHER):
        within = _within(ranges[first : first + _TOGETHER])
        found += [pk for (pk,) in connection.execute(select(sessions.c.id).where(within, fits))]
    return found if len(found) <= _MOST_FOUND else None


class Searched(NamedTuple):
    """The sessions that a search found, the newest first; those before ``since`` were not looked through."""

    ids: list[int]
    since: float | None


def search(
    connection: Connection,
    chosen: Select[Any],
    fits: ColumnElement[bool],
    hours: Mapping[int, int] | None,
    *,
    most: int,
) -> Searched:
    """Look for a text in the newest of the chosen sessions.

    Args:
        connection: of any role.
        chosen: the sessions, a query of their ids.
        fits: what is true of those that are meant.
        hours: of ``hours_with``, in which they are; None if they may be in any.
        most: sessions that are found; then the search ends.
    """
    begun = sessions.c.start_time
    query = chosen.with_only_columns(sessions.c.id, begun).where(fits)
    query = query.order_by(begun.desc(), sessions.c.id.desc()).limit(most + 1)
    found: list[Any] = []
    since: float | None = None
    if hours is None:
        oldest = chosen.with_only_columns(begun).order_by(begun.desc())
        oldest = oldest.offset(_MOST_LOOKED_THROUGH).limit(1)
        bound = func.coalesce(oldest.correlate(None).scalar_subquery(), -math.inf)
        since, found = together(
            connection,
            partial(connection.scalar, oldest),
            lambda: connection.execute(query.where(begun >= bound)).all(),
        )
    else:
        starts = [
            day * _DAY + hour * _HOUR
            for day, mask in sorted(hours.items(), reverse=True)
            for hour in reversed(range(24))
            if mask >> hour & 1
        ]
        looked_through = 0
        for first in range(0, len(starts), _TOGETHER):
            if looked_through > _MOST_LOOKED_THROUGH or len(found) > most:
                since = starts[first - 1]
                break
            within = _within((start, start + _HOUR) for start in starts[first : first + _TOGETHER])
            counted = select(func.count()).select_from(sessions).where(within)
            # Their ids first: SQLite would rather go through all sessions in the order that is asked for.
            inside = query.where(sessions.c.id.in_(select(sessions.c.id).where(within)))
            n, rows = together(
                connection, partial(connection.scalar, counted), partial(connection.execute, inside)
            )
            looked_through += n
            found += rows
    if len(found) > most:
        since = found[most - 1][1]
    return Searched([row[0] for row in found[:most]], since)


def hours_with(
    connection: Connection, text: str, since: float | None, until: float | None
) -> dict[int, int] | None:
    """Return the hours of each day, as a mask, that may have a session with a text; None of too many."""
    groups = sorted(_letters_in(text))
    if not groups:
        return None
    letters, day = daily_values.c.letters, daily_values.c.day
    half = func.length(letters, type_=Integer) // 2
    places = [
        place_of_bytes(connection, letters, each.encode() + b"\0")
        for each in groups[:: 1 + len(groups) // _MOST_ASKED]
    ]
    is_unknown = or_(letters.is_(None), half == 0)
    days = select(day, *(func.substr(letters, half + place, 4, type_=LargeBinary) for place in places)).where(
        day.not_in(select(stale_days.c.day)),
        or_(is_unknown, and_(*(place.between(1, half) for place in places))),
    )
    known, stale = together(
        connection,
        lambda: connection.execute(days).all(),
        lambda: connection.execute(select(stale_days.c.day).distinct()).all(),
    )
    hours = {number: _WHOLE_DAY for (number,) in stale}
    for number, *masks in known:
        hours[number] = _WHOLE_DAY
        for each in masks:
            hours[number] &= int.from_bytes(bytes(each), "little") if each else _WHOLE_DAY
    first, last = -math.inf if since is None else since // _DAY, math.inf if until is None else until // _DAY
    hours = {number: mask for number, mask in hours.items() if first <= number <= last}
    return None if sum(mask.bit_count() for mask in hours.values()) > _MOST_HOURS else hours


def _within(ranges: Iterable[tuple[float, float]]) -> ColumnElement[bool]:
    return or_(
        *(and_(sessions.c.start_time >= since, sessions.c.start_time < until) for since, until in ranges)
    )


def _hours_of(digests: bytes, wanted: Iterable[bytes]) -> int:
    """Return the hours in which any of the digests is: they stand before as many masks."""
    half = len(digests) // 2
    mask = 0
    for each in wanted:
        place = digests.find(each)
        while 0 <= place < half:
            if place % 4 == 0:
                mask |= int.from_bytes(digests[half + place : half + place + 4], "little")
                break
            place = digests.find(each, place + 1)
    return mask & _WHOLE_DAY


def _ranges(hours: dict[int, int]) -> Iterator[tuple[float, float]]:
    """Yield from when until when the hours are, those one after the other together."""
    begun: float | None = None
    end = 0.0
    for day, mask in sorted(hours.items()):
        for hour in range(24):
            if mask >> hour & 1:
                at = day * _DAY + hour * _HOUR
                if begun is not None and at == end:
                    end = at + _HOUR
                    continue
                if begun is not None:
                    yield begun, end
                begun, end = at, at + _HOUR
    if begun is not None:
        yield begun, end
