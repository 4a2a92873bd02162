"""What a format of imported files is, and what the readers of other tools' files share."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perfdb.errors import ReportError
from perfdb.recording.report_reader import MAX_BYTES, Fields, parse_document, plain
from perfdb.records import Session, Step
from perfdb.search import open_file
from perfdb.vocabulary import COMPLETED, FAILED, mode_of

LARGEST_EXPORT_BYTES = 1 << 30
BEGINNING_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        words: for a file of it, in the help.
        fits: says whether a file is one, of its path and its first bytes.
        read: yields its sessions; a ReportError says what is wrong with it.
        suffixes: beside ``.json``, of the files that a folder stands for, when they fit.
    """

    words: str
    fits: Callable[[Path, bytes], bool]
    read: Callable[[Path], Iterator[Session]]
    suffixes: tuple[str, ...] = ()


def content(file: Path, most: int = LARGEST_EXPORT_BYTES) -> bytes:
    """Return what a file holds, unpacked where gzip packed it.

    Raises:
        ReportError: it is too large, or cannot be unpacked.
    """
    if file.stat().st_size > most:
        raise ReportError(f"{file}: larger than {most} bytes: export fewer sessions at a time")
    with open_file(file) as stream:
        packed = stream.read(most)
    found = plain(packed, str(file), MAX_BYTES)
    if found is not packed and len(found) > MAX_BYTES:
        raise ReportError(f"{file}: larger than {MAX_BYTES} bytes unpacked: unpack it first")
    return found


def unpacked_beginning(beginning: bytes) -> bytes:
    """Return the first bytes of what gzip packed; of anything else they are what they are."""
    try:
        return zlib.decompressobj(wbits=31).decompress(beginning, BEGINNING_BYTES) or beginning
    except zlib.error:
        return beginning


def suffix_of(file: Path) -> str:
    """Return the suffix of a file's name, or the one before ``.gz``."""
    return Path(file.name.removesuffix(".gz")).suffix.lower()


# -- JSON of other tools -----------------------------------------------------------------


def document(file: Path, after: bytes = b"") -> Fields:
    """Return the fields of the object that a file holds behind ``after``; NaN in it are None.

    Raises:
        ReportError: it is too large, no JSON, or no object.
    """
    found = content(file, MAX_BYTES)
    if after and after in found:
        found = found.partition(after)[2].strip(b" =;\r\n\t")
    return Fields(parse_document(found, str(file), strict=False), str(file))


def holds(*keys: str, sign: bytes, after: bytes = b"") -> Callable[[Path, bytes], bool]:
    """Return the test for objects with these keys; a file is read whole if the sign is in its beginning."""
    pattern = re.compile(sign)

    def fits(file: Path, beginning: bytes) -> bool:
        if not pattern.search(beginning):
            return False
        try:
            return all(key in document(file, after).values for key in keys)
        except ReportError:
            return False

    return fits


def instant(fields: Fields, key: str) -> float:
    """Return the epoch seconds of an ISO 8601 time; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(fields.text(key))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return fields.refuse(key, "an ISO 8601 time such as 2025-07-30T14:30:22Z")


def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of these values."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, float) and not math.isfinite(value))
    }


def session(
    tool: str,
    source: object,
    steps: Iterable[Step],
    *,
    pipeline: str,
    start_time: float,
    session_id: str | None = None,
    attributes: Mapping[str, Any] | None = None,
    total_duration: float | None = None,
    **further: Any,
) -> Session:
    """Return the run that another tool recorded, whose name stands among its attributes.

    Its id is made of its content, ``source``, so that a file can be moved and imported again; its duration,
    where the tool knows none, is that of its steps together.
    """
    steps = tuple(steps)
    failed = next((step for step in steps if step.failed), None)
    digest = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()
    return Session(
        session_id=session_id or f"{tool}_{digest[:24]}",
        pipeline=pipeline,
        start_time=start_time,
        total_duration=sum(step.duration or 0.0 for step in steps)
        if total_duration is None
        else total_duration,
        status=FAILED if failed else COMPLETED,
        success=failed is None,
        error_message=failed.error_message if failed else None,
        mode=mode_of({}, ()),
        attributes={"tool": tool, **(attributes or {})},
        steps=steps,
        utc_offset=time.localtime(start_time).tm_gmtoff,
        **further,
    )


def one_after_another(start_time: float, steps: Iterable[Mapping[str, Any]]) -> Iterator[Step]:
    """Yield steps of which only the durations are known: each begins where the one before ended."""
    for seq, fields in enumerate(steps):
        step = Step(seq=seq, start_time=start_time, **{"success": True, **fields})
        start_time += step.duration or 0.0
        yield step
