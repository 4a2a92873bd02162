"""Which values the attributes of sessions have, day by day: what few have is found without the others.

Of each value a digest of 4 bytes and the hours of the day (UTC) in which a session with it began. A digest
may stand for other values too: sessions are looked at before they are believed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b

from sqlalchemy import ColumnElement, Connection, LargeBinary, and_, cast, null, or_, select

from perfdb.store.dialects import holds_bytes
from perfdb.store.models import daily_values, from_json, sessions, stale_days, storable_text

_DAY, _HOUR = 86_400.0, 3_600.0
_WHOLE_DAY = (1 << 24) - 1
_MOST_HOURS = 600  # that are looked through for one value; what is in more is found sooner from the newest on
_MOST_FOUND = 5_000
_TOGETHER = 40  # ranges of one query


def digests_of_day(connection: Connection, day: int) -> bytes:
    """Return the digests of the values that sessions of a day have, and in which hours, in 4 bytes each."""
    hours: dict[int, int] = {}
    query = select(sessions.c.start_time, sessions.c.attributes).where(
        sessions.c.start_time >= day * _DAY,
        sessions.c.start_time < (day + 1) * _DAY,
        sessions.c.attributes.is_not(None),
    )
    for start, attributes in connection.execute(query):
        as_text = attributes if isinstance(attributes, str) else json.dumps(attributes)
        bit = 1 << min(23, int((start - day * _DAY) / _HOUR))
        for each in _digests_in(as_text):
            hours[each] = hours.get(each, 0) | bit
    found = sorted(hours)
    return struct.pack(f"<{2 * len(found)}I", *found, *(hours[each] for each in found))


@lru_cache(maxsize=256)  # the runs of a day often have the same
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
        within = or_(
            *(
                and_(sessions.c.start_time >= since, sessions.c.start_time < until)
                for since, until in ranges[first : first + _TOGETHER]
            )
        )
        found += [pk for (pk,) in connection.execute(select(sessions.c.id).where(within, fits))]
    return found if len(found) <= _MOST_FOUND else None


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
