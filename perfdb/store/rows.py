"""Turn journal records into rows that both databases can hold.

Every function here is total: whatever a record contains, out comes a value that
its column accepts, so that one hostile record cannot spoil a batch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import NoneType
from typing import Any

from perfdb import records
from perfdb.measures import MEASURES
from perfdb.recording.values import MAX_TEXT
from perfdb.records import ENVIRONMENT, is_cached
from perfdb.store.models import (
    COMPLETED_CODE,
    FAILED_CODE,
    INTERRUPTED_CODE,
    RUNNING_CODE,
    STATUS_CODES,
    storable_text,
    to_json,
)
from perfdb.text import cut_to
from perfdb.vocabulary import INTERRUPTED, MAX_NAME, MAX_SEQ, recorded_name

Record = Mapping[str, Any]
Row = dict[str, Any]
Fields = Mapping[str, Callable[[object], object]]
SeriesKey = tuple[str, str, str | None]  # pipeline, mode, step name (None: the session's total)

UNKNOWN_PIPELINE = "unknown"  # until the line with the session's start turns up

SECONDS_A_DAY = 86_400

_MAX_BIGINT = (1 << 63) - 1
_MAX_DURATION = 1e9  # 31 years
_MAX_INSTANT = 253_402_300_799.0 - _MAX_DURATION  # so that no end is after 9999, where ISO texts stop
_MAX_NAME_BYTES = 4 * MAX_NAME  # three of them must fit into one index entry of PostgreSQL (2,700 bytes)


def real(value: object, low: float = -math.inf, high: float = math.inf) -> float | None:
    """Return a finite float between the bounds, None for anything that is no number."""
    if type(value) is float and low <= value <= high and value - value == 0.0:  # as most are
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return min(max(number, low), high) if math.isfinite(number) else None


def integer(value: object, low: int = -_MAX_BIGINT, high: int = _MAX_BIGINT) -> int | None:
    """Return an int between the bounds, None for anything that is no number."""
    if type(value) is int and low <= value <= high:  # as most are
        return value
    if isinstance(value, float) and math.isfinite(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return min(max(value, low), high)


def flag(value: object) -> bool | None:
    """Return a bool, None for anything else."""
    return value if isinstance(value, bool) else None


def text(value: object) -> str | None:
    """Return the text as a column can hold it, None for None."""
    if value is None:
        return None
    return storable_text(value if isinstance(value, str) else str(value))


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> object:
    return value if isinstance(value, dict) else None


def document(value: object) -> Any:
    """Return a non-empty dict; what is empty or none is stored as NULL."""
    return value if value and isinstance(value, dict) else None


def entries(value: object, has: Fields, may_have: Fields) -> list[Any] | None:
    """Return those dicts of a list that readers can show; None when none is left.

    Args:
        value: anything.
        has: what each must have.
        may_have: what each may have.
    """
    if not value or not isinstance(value, (list, tuple)):
        return None
    return [
        each
        for each in value
        if isinstance(each, dict)
        and all(_is_kept(read, each.get(field)) for field, read in has.items())
        and all(field not in each or _is_kept(read, each[field]) for field, read in may_have.items())
        and isinstance(each.get("error_message"), (str, NoneType))
    ] or None


def _is_kept(read: Callable[[object], object], value: object) -> bool:
    return value is not None and read(value) == value


def name(value: object, default: str) -> str:
    """Return the one form of a name, which is short enough for an index."""
    found = text(value)
    return default if found is None else recorded_name(found)


def instant(value: object) -> float | None:
    """Return epoch seconds that a calendar knows."""
    return real(value, 0.0, _MAX_INSTANT)


def seconds(value: object) -> float | None:
    """Return a duration that a database can hold."""
    return real(value, 0.0, _MAX_DURATION)


_READERS: dict[type, Callable[[object], Any]] = {float: real, int: integer, str: text, bool: flag}
_MEASURED = {each.name: seconds if each.unit == "s" else integer for each in MEASURES}
_OF_THE_HEADER = (*ENVIRONMENT, "pid")
# What a session's start or end says that has no place of its own above.
FURTHER_OF_SESSION = {
    name: _READERS[kind] for name, kind in records.FURTHER_OF_SESSION.items() if name not in _OF_THE_HEADER
}
_ENTRIES: dict[str, tuple[Fields, Fields]] = {  # what each of a list has, and what it may have
    "attempts": (
        {"start_time": instant, "duration": seconds},
        {"wait": seconds, "success": flag},
    ),
    "events": ({"name": _word, "time": instant}, {"data": _object}),
}
_OF_STEP = {**_MEASURED, **{name: _READERS[kind] for name, kind in records.FURTHER_OF_STEP.items()}}


def series_key(start: Record) -> SeriesKey:
    """Return the series of the session's total."""
    mode = text(start.get("mode")) or "{}"
    if len(mode.encode()) > _MAX_NAME_BYTES or not is_mode(mode):  # cut, it would be no JSON
        mode = json.dumps({"sha256": hashlib.sha256(mode.encode()).hexdigest()}, separators=(",", ":"))
    return name(start.get("pipeline"), UNKNOWN_PIPELINE), mode, None


@lru_cache(maxsize=64)
def is_mode(mode: str) -> bool:
    """Say whether the text is an object of strict JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return isinstance(json.loads(mode, parse_constant=refuse), dict)
    except (ValueError, RecursionError):
        return False


def start_columns(start: Record, header: Record) -> dict[str, Any]:
    """Return what a session's first line says, apart from its keys."""
    begun = instant(start.get("start_time"))
    return {
        "start_time": begun if begun is not None else instant(header.get("created")) or 0.0,
        "fast_mode": flag(start.get("fast_mode")),
        "attributes": document(start.get("attributes")),
        "utc_offset": integer(start.get("utc_offset"), -86_399, 86_399) or 0,
        "pid": integer(header.get("pid")),
        **_read(start, FURTHER_OF_SESSION),
    }


def _read(record: Record, fields: Fields) -> Row:
    """Return these fields of a record as columns hold them; most were not measured, or said."""
    return {
        name: None if (value := record.get(name)) is None else read(value) for name, read in fields.items()
    }


def end_columns(end: Record | None) -> dict[str, Any]:
    """Return what a session's last line says; without it, the columns of a running session."""
    if end is None:
        return _RUNNING
    success = flag(end.get("success"))
    status = STATUS_CODES.get(str(end.get("status")), RUNNING_CODE)
    if status == RUNNING_CODE:
        status = FAILED_CODE if success is False else COMPLETED_CODE
    return {
        "status": status,
        "success": success,
        "total_duration": real(end.get("total_duration"), 0.0, _MAX_DURATION),
        "product_count": integer(end.get("product_count")),
        "error_message": text(end.get("error_message")),
        **_read(end, _MEASURED),
        **{name: read(end[name]) for name, read in FURTHER_OF_SESSION.items() if name in end},
    }


_RUNNING = {**end_columns({}), "status": RUNNING_CODE}


def step_number(step: Record) -> int | None:
    """Return the number that a step's record gives it; None when it is of no use."""
    seq = integer(step.get("seq"))
    return seq if seq is not None and 0 <= seq <= MAX_SEQ else None


def step_row(step: Record, seq: int) -> Row:
    """Return a step's row, with its name in place of its keys, and its documents as JSON text.

    It is running unless it says how it ended, and counts when it may: the session has a word in both.
    """
    success = step.get("success")
    if success is True:
        status = COMPLETED_CODE
    elif success is False:
        status = INTERRUPTED_CODE if step.get("status") == INTERRUPTED else FAILED_CODE
    else:
        status = RUNNING_CODE
    duration = real(step.get("duration"), 0.0, _MAX_DURATION)
    start_time = instant(step.get("start_time")) or 0.0
    data = document(step.get("additional_data"))
    row = {
        "step_name": name(step.get("step_name"), "unnamed"),
        "seq": seq,
        "start_time": start_time,
        "day": int(start_time // SECONDS_A_DAY),
        "duration": duration,
        "status": status,
        "counted": status == COMPLETED_CODE and duration is not None and not is_cached(data),
        "parent_seq": integer(step.get("parent_seq"), 0, MAX_SEQ),
        "lane": integer(step.get("lane"), 0, (1 << 31) - 1) or 0,
        "error_message": text(step.get("error_message")),
        "additional_data": None if data is None else to_json(data),
        "attempts": None,
        "events": None,
        **_read(step, _OF_STEP),
    }
    for key, fields in _ENTRIES.items():
        if (found := entries(step.get(key), *fields)) is not None:
            row[key] = to_json(found)
    return row


def sample_row(row: object) -> Row | None:
    """Return a sample's row, apart from its session; None when it is none."""
    if not isinstance(row, (list, tuple)) or len(row) != 3:
        return None
    time = instant(row[0])
    if time is None:
        return None
    return {"time": time, "cpu_percent": real(row[1], 0.0, _MAX_DURATION), "rss_bytes": integer(row[2])}


def is_as_kept(column: str, value: object) -> bool:
    """Say whether parsed attempts, events, samples or tags are such as the tables have."""
    if not isinstance(value, list):
        return False
    if column == "samples":
        made = [sample_row(each) for each in value]
        times = {row["time"] for row in made if row is not None}
        return len(times) == len(value) and all(
            row is not None and [*row.values()] == each for row, each in zip(made, value, strict=True)
        )
    if column == "tags":
        kept = {each for each in value if isinstance(each, str) and text(each) == each}
        return len(kept) == len(value) and all(0 < len(each) <= MAX_NAME for each in kept)
    return (entries(value, *_ENTRIES[column]) or []) == value


def journal_name(journal_id: object) -> str:
    """Return the id of a journal as its row has it; by another its offset would be 0 for ever."""
    return name(journal_id, "unnamed")


def _fact(value: object) -> str | None:
    """Return what a header says of its host, cut: it stands in one row, and in the answer of each session."""
    found = text(value)
    return None if found is None else cut_to(found, MAX_TEXT)


def environment_columns(header: Record) -> Record | None:
    """Return the environment that a header names, with its digest; None when it names nothing."""
    values = [header.get(column) for column in ENVIRONMENT]
    if all(each is None or (type(each) is str and len(each) <= MAX_TEXT) for each in values):
        return _environment(*values)
    return _environment.__wrapped__(*values)  # not to be kept, whatever it is


@lru_cache(maxsize=64)  # a program has one; the hosts of an import have theirs
def _environment(*values: object) -> Record | None:
    facts = [_fact(value) for value in values]
    if not any(facts):
        return None
    row = dict(zip(ENVIRONMENT, facts, strict=True))
    canonical = json.dumps(row, sort_keys=True).encode()
    return {"digest": hashlib.sha256(canonical).hexdigest()[:32], **row}
