"""Turn journal records into rows that both databases can hold.

Every function here is total: whatever a record contains, out comes a value that
its column accepts, so that one hostile record cannot spoil a batch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from perfdb.records import INTERRUPTED
from perfdb.store.models import (
    COMPLETED_CODE,
    FAILED_CODE,
    INTERRUPTED_CODE,
    RUNNING_CODE,
    STATUS_CODES,
    storable_text,
)
from perfdb.vocabulary import MAX_NAME, MAX_SEQ, recorded_name

Record = Mapping[str, Any]
SeriesKey = tuple[str, str, str | None]  # pipeline, mode, step name (None: the session's total)

UNKNOWN_PIPELINE = "unknown"  # until the line with the session's start turns up

SECONDS_A_DAY = 86_400

_MAX_BIGINT = (1 << 63) - 1
_MAX_DURATION = 1e9  # 31 years
_MAX_INSTANT = 253_402_300_799.0 - _MAX_DURATION  # so that no end is after 9999, where ISO texts stop
_MAX_NAME_BYTES = 4 * MAX_NAME  # three of them must fit into one index entry of PostgreSQL (2,700 bytes)


def real(value: object, low: float = -math.inf, high: float = math.inf) -> float | None:
    """Return a finite float between the bounds, None for anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return min(max(number, low), high) if math.isfinite(number) else None


def integer(value: object, low: int = -_MAX_BIGINT, high: int = _MAX_BIGINT) -> int | None:
    """Return an int between the bounds, None for anything that is no number."""
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


def document(value: object) -> Any:
    """Return a non-empty dict or list; what is empty or neither is stored as NULL."""
    return value if value and isinstance(value, (dict, list, tuple)) else None


def is_cached(data: object) -> bool:
    """Say whether attributes or a step's data say that the answer came from a cache: ``cached=True``."""
    return isinstance(data, Mapping) and data.get("cached") is True


def name(value: object, default: str) -> str:
    """Return the one form of a name, which is short enough for an index."""
    found = text(value)
    return default if found is None else recorded_name(found)


def instant(value: object) -> float | None:
    """Return epoch seconds that a calendar knows."""
    return real(value, 0.0, _MAX_INSTANT)


def series_key(start: Record) -> SeriesKey:
    """Return the series of the session's total."""
    mode = text(start.get("mode")) or "{}"
    if len(mode.encode()) > _MAX_NAME_BYTES:  # cut, it would be no JSON
        mode = json.dumps({"sha256": hashlib.sha256(mode.encode()).hexdigest()}, separators=(",", ":"))
    return name(start.get("pipeline"), UNKNOWN_PIPELINE), mode, None


def start_columns(start: Record, header: Record) -> dict[str, Any]:
    """Return what a session's first line says, apart from its keys."""
    begun = instant(start.get("start_time"))
    return {
        "start_time": begun if begun is not None else instant(header.get("created")) or 0.0,
        "fast_mode": flag(start.get("fast_mode")),
        "attributes": document(start.get("attributes")),
        "utc_offset": integer(start.get("utc_offset"), -86_400, 86_400) or 0,
        "pid": integer(header.get("pid")),
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
        "cpu_s": real(end.get("cpu_s"), 0.0, _MAX_DURATION),
        "rss_peak_bytes": integer(end.get("rss_peak_bytes")),
        "rss_mean_bytes": integer(end.get("rss_mean_bytes")),
    }


_RUNNING: dict[str, Any] = {
    "status": RUNNING_CODE,
    "success": None,
    "total_duration": None,
    "product_count": None,
    "error_message": None,
    "cpu_s": None,
    "rss_peak_bytes": None,
    "rss_mean_bytes": None,
}


def step_columns(step: Record, *, session_status: int, session_counted: bool) -> dict[str, Any]:
    """Return a step's row, apart from its keys."""
    success = step.get("success")
    if success is True:
        status = COMPLETED_CODE
    elif success is False:
        status = INTERRUPTED_CODE if step.get("status") == INTERRUPTED else FAILED_CODE
    else:
        status = RUNNING_CODE if session_status == RUNNING_CODE else INTERRUPTED_CODE
    duration = real(step.get("duration"), 0.0, _MAX_DURATION)
    start_time = instant(step.get("start_time")) or 0.0
    return {
        "start_time": start_time,
        "day": int(start_time // SECONDS_A_DAY),
        "duration": duration,
        "status": status,
        "counted": session_counted
        and status == COMPLETED_CODE
        and duration is not None
        and not is_cached(step.get("additional_data")),
        "parent_seq": integer(step.get("parent_seq"), 0, MAX_SEQ),
        "lane": integer(step.get("lane"), 0, (1 << 31) - 1) or 0,
        "error_message": text(step.get("error_message")),
        "additional_data": document(step.get("additional_data")),
        "attempts": document(step.get("attempts")),
        "events": document(step.get("events")),
        "cpu_s": real(step.get("cpu_s"), 0.0, _MAX_DURATION),
        "rss_peak_bytes": integer(step.get("rss_peak_bytes")),
        "rss_mean_bytes": integer(step.get("rss_mean_bytes")),
    }


def sample_columns(row: object) -> dict[str, Any] | None:
    """Return a sample's row, apart from its session; None when it is none."""
    if not isinstance(row, (list, tuple)) or len(row) != 3:
        return None
    time = instant(row[0])
    if time is None:
        return None
    return {"time": time, "cpu_percent": real(row[1], 0.0, _MAX_DURATION), "rss_bytes": integer(row[2])}


ENVIRONMENT = ("host", "python_version", "perfdb_version", "git_commit", "command")


def environment_columns(header: Record) -> dict[str, Any] | None:
    """Return the environment that a header names, with its digest; None when it names nothing."""
    values: dict[str, Any] = {column: text(header.get(column)) for column in ENVIRONMENT}
    if not any(values.values()):
        return None
    canonical = json.dumps(values, sort_keys=True).encode()
    return {"digest": hashlib.sha256(canonical).hexdigest()[:32], **values}
