"""What the header of a picture says before anything is decoded: how much memory it takes, if it has an end.

A baseline JPEG is decoded at a fraction of its size. One that is progressive, or that has its colours in
scans of their own, keeps all of its coefficients first. ``benchmarks/pathway.py`` measures it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_END, _SCAN = b"\xff\xd9", 0xDA
_ALONE = {0x00, 0x01, *range(0xD0, 0xDA)}  # markers without a length
_NO_FRAMES = {0xC4, 0xC8, 0xCC}  # that look like the start of a frame and are tables
_BASELINE = {0xC0, 0xC1}
_TEXTS = {b"zTXt", b"iTXt", b"iCCP"}  # chunks of a PNG that unfold to up to a megabyte each, to 64 in all
_TEXT_BYTES = 2_000_000
_MAX_TEXTS = 64
_MOST_SEGMENTS = 100_000
# How each begins: of one to four colours.
_SCANS = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_MOST_SCANS = 100  # of ten bytes each, and every one goes through the whole picture; cameras make ten


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says of memory and of completeness."""

    copied: int  # bytes of the file that are in memory once more, or unfolded
    has_end: bool  # the file is not cut off
    is_whole: bool = True  # it cannot be decoded at a fraction of its size
    coefficients: int = 0  # bytes that are kept until all of it is read


def jpeg_header(data: bytes) -> Header:
    """Return what a JPEG's segments say up to its first scan, and if an end follows that.

    Raises:
        ValueError: there is no frame or no scan, or there are so many that to decode them is an attack.
    """
    at, samples, components, frame = 2, 0, 0, -1
    for _ in range(_MOST_SEGMENTS):
        at = data.find(b"\xff", at)  # as every decoder, pass by what lies between segments
        if at < 0 or at + 4 > len(data):
            break
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            frame, samples, components = marker, _samples(body), body[5] if len(body) > 5 else 0
        if marker == _SCAN:
            if frame < 0 or not body:
                break
            if any(number >= _MOST_SCANS for number, _ in enumerate(_SCANS.finditer(data, at))):
                raise ValueError("it has too many scans")
            whole = frame not in _BASELINE or body[0] < components
            # what precedes the scan is kept twice: as it is and in its parts
            return Header(2 * at, data.find(_END, at) >= 0, whole, 2 * samples if whole else 0)
        at += 2 + length
    raise ValueError("there is no picture behind its first segments")


def _samples(frame: bytes) -> int:
    """Return how many samples the components of a frame have, filled up to whole blocks."""
    if len(frame) < 6:
        return 0
    height, width, components = struct.unpack_from(">HHB", frame, 1)
    factors = [(factor >> 4 or 1, factor & 15 or 1) for factor in frame[7 : 6 + 3 * components : 3]]
    if not factors:
        return 0
    widest, highest = max(wide for wide, _ in factors), max(high for _, high in factors)
    across, down = -(-width // (8 * widest)), -(-height // (8 * highest))
    return sum(64 * across * wide * down * high for wide, high in factors)


def png_header(data: bytes) -> Header:
    """Return what a PNG's chunks say.

    Raises:
        ValueError: there are so many that looking at them is an attack.
    """
    at, texts, before = 8, 0, 0
    for _ in range(_MOST_SEGMENTS):
        if at + 12 > len(data):
            return Header(0, False)
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IEND":
            return Header(2 * before + min(texts, _MAX_TEXTS) * _TEXT_BYTES, True)
        texts += kind in _TEXTS
        before += length if kind != b"IDAT" else 0
        at += 12 + length
    raise ValueError("it has too many chunks")


def webp_header(data: bytes) -> tuple[int, int, Header]:
    """Return width and height, too: Pillow's decoder takes the memory for them on opening.

    Raises:
        ValueError: it is cut off before it says so.
    """
    if len(data) < 30:
        raise ValueError("the header is cut off")
    kind = data[12:16]
    if kind == b"VP8X":
        size = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        size = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = struct.unpack_from("<HH", data, 26)
        size = width & 0x3FFF, height & 0x3FFF
    has_end = int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return *size, Header(len(data), has_end)
