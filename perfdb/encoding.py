"""JSON encoders that are put together once, and gzip; apart, because their rooms share nothing else."""

from __future__ import annotations

import json
from json import encoder as of_json

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

GZIP = b"\x1f\x8b"  # how it begins
MOST_MEMBERS = 16  # of gzip: each is copied


def encoder_of(made: json.JSONEncoder) -> Callable[[Any], str]:
    """Return ``made.encode``, which puts its parts together with each call, in a third to half of its time.

    What holds itself is a RecursionError rather than a ValueError.
    """
    build = getattr(of_json, "c_make_encoder", None)
    if build is None:  # an interpreter without it
        return made.encode
    quoted = of_json.encode_basestring_ascii if made.ensure_ascii else of_json.encode_basestring
    pieces_of = build(
        None,
        made.default,
        quoted,
        None,
        made.key_separator,
        made.item_separator,
        made.sort_keys,
        made.skipkeys,
        made.allow_nan,
    )

    def encode(value: Any) -> str:
        return "".join(pieces_of(value, 0))

    return encode


to_json = encoder_of(json.JSONEncoder(separators=(",", ":"), allow_nan=False))  # of what is clean


def unpacked(content: bytes, most: int) -> bytes:
    """Return what gzip packed, of one or several members; longer than ``most`` is not unpacked further.

    Raises:
        ValueError: it is no gzip, is cut off, or has too many members.
    """
    import zlib

    found = bytearray()
    for _ in range(MOST_MEMBERS):
        member = zlib.decompressobj(wbits=31)
        try:
            found += member.decompress(content, most + 1 - len(found))
        except zlib.error:
            raise ValueError("is not gzip, or damaged") from None
        if len(found) > most:
            return bytes(found)
        if not member.eof:
            raise ValueError("is cut off")
        content = member.unused_data.lstrip(b"\0")
        if not content:
            return bytes(found)
    raise ValueError(f"has more than {MOST_MEMBERS} members of gzip")
