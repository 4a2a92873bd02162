"""Read a performance report back: perfdb's own, or one of the seed's old ones.

What is not a report is refused with the file, the field and the value named, before it can
cost memory or time.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from perfdb import records
from perfdb.encoding import GZIP, unpacked
from perfdb.errors import InvalidSessionIdError, ReportError
from perfdb.measures import MEASURES
from perfdb.recording.redaction import redact
from perfdb.records import Attempt, Event, Sample, Session, Step
from perfdb.search import open_file
from perfdb.vocabulary import COMPLETED, FAILED, INTERRUPTED, STATUSES, check_session_id, mode_of

SCHEMA_VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 64
MAX_VALUES = 2_000_000  # as objects they take fifty times the room that they take as text
_LAST_INSTANT = 250_000_000_000.0  # year 9892: datetime can still show it in any zone
_BIGGEST = (1 << 63) - 1


def read_report(source: str | Path | bytes, *, max_bytes: int = MAX_BYTES) -> Session:
    """Read a report, perfdb's or the seed's own, from a path or from its bytes.

    A seed report has no ``start_time``: it is that of its first step, else its ``timestamp``,
    which is taken as local time of this machine. Texts that no database can hold (NUL, lone
    surrogates) come back with U+FFFD in their place.

    Raises:
        ReportError: the file cannot be read, is too large, is not strict JSON, or is not a
            report; file, field and value are named.
    """
    name = "the report" if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else _content(Path(source), max_bytes)
    if len(content) > max_bytes:
        raise ReportError(f"{name}: larger than {max_bytes} bytes: not read")
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ReportError(f"{name}: holds more than {MAX_VALUES} values: not read")
    values = parse_document(content, name)
    if not isinstance(values, dict):
        raise ReportError(f"{name}: not a performance report: its top level is {_shown(values)}")
    for key in ("session_id", "steps"):
        if key not in values:
            raise ReportError(f"{name}: not a performance report: it has no {key!r}")
    return _session(Fields(values, name))


def _content(path: Path, max_bytes: int) -> bytes:
    try:
        with open_file(path) as file:
            is_too_large = os.fstat(file.fileno()).st_size > max_bytes
            content = b"" if is_too_large else file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if is_too_large:
        raise ReportError(f"{path}: larger than {max_bytes} bytes: not read")
    return plain(content, str(path), max_bytes)


def plain(content: bytes, name: str, most: int) -> bytes:
    """Return what a file holds, unpacked where gzip packed it: at most a byte more than ``most`` of that.

    Raises:
        ReportError: it cannot be unpacked.
    """
    if not content.startswith(GZIP):
        return content
    try:
        return unpacked(content, most)
    except ValueError as error:
        raise ReportError(f"{name}: {error}") from None


def parse_document(content: bytes, name: str, *, strict: bool = True) -> Any:
    """Return the values of a JSON document.

    Args:
        content: its bytes.
        name: stands in the errors.
        strict: refuse NaN and keys that appear twice; else they are None, and the last holds.

    Raises:
        ReportError: it is no JSON, or nested too deep.
    """

    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise ReportError(f"{name}: the key {_shown(twice)} appears twice in one object")
        return values

    def finite(text: str) -> float:
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ReportError(f"{name}: the number {text[:40]} is too large")
        return number

    def no_constant(text: str) -> NoReturn:
        raise ReportError(f"{name}: {text} is not JSON")

    try:
        values = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=without_duplicates if strict else None,
            parse_float=finite,
            parse_constant=no_constant if strict else lambda text: None,
        )
    except ReportError:
        raise
    except UnicodeDecodeError as error:
        raise ReportError(f"{name}: not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"{name}, line {error.lineno}: not JSON: {error.msg}") from None
    except ValueError:
        raise ReportError(f"{name}: a number has too many digits") from None
    except RecursionError:
        raise ReportError(f"{name}: nested more than {MAX_DEPTH} levels deep") from None
    if _deeper_than(values, MAX_DEPTH):
        raise ReportError(f"{name}: nested more than {MAX_DEPTH} levels deep")
    return _storable(values) if re.search(rb"\\u(?:0000|[dD][89a-fA-F])", content) else values


def _deeper_than(values: Any, limit: int) -> bool:
    level = [values]
    for _ in range(limit + 1):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub("[\0\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


_REQUIRED: Any = object()


class Fields:
    """The fields of one JSON object, each checked as it is taken; errors name file, field and value."""

    __slots__ = ("name", "prefix", "values")

    def __init__(self, values: Any, name: str, prefix: str = "") -> None:
        self.values: dict[str, Any] = values
        self.name = name
        self.prefix = prefix
        if not isinstance(values, dict):
            raise ReportError(f"{name}: {prefix.rstrip('.')} must be an object, not {_shown(values)}")

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Say what must stand there instead."""
        if key not in self.values:
            raise ReportError(f"{self.name}: {self.prefix}{key} is missing; it must be {expected}")
        raise ReportError(
            f"{self.name}: {self.prefix}{key} must be {expected}, not {_shown(self.values[key])}"
        )

    def number(
        self, key: str, default: Any = _REQUIRED, *, low: float = 0.0, high: float = _LAST_INSTANT
    ) -> Any:
        """Return a number as a float."""
        value = self.values.get(key, default)
        if value is default and default is not _REQUIRED:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return float(value)
        return self.refuse(key, f"a number from {low:g} to {high:g}")

    def whole(self, key: str, default: Any = _REQUIRED, *, low: int = 0, high: int = _BIGGEST) -> Any:
        """Return a whole number."""
        value = self.values.get(key, default)
        if value is default and default is not _REQUIRED:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        return self.refuse(key, f"a whole number from {low} to {high}")

    def typed(self, key: str, kind: type, expected: str, default: Any = _REQUIRED) -> Any:
        """Return a value of that kind."""
        value = self.values.get(key, default)
        if isinstance(value, kind) or (value is default and default is not _REQUIRED):
            return value
        return self.refuse(key, expected)

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a text."""
        return self.typed(key, str, "a text", default)

    def boolean(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return true or false."""
        return self.typed(key, bool, "true or false", default)

    def measured(self) -> dict[str, Any]:
        """Return the measures."""
        return {
            each.name: (self.number if each.unit == "s" else self.whole)(each.name, None) for each in MEASURES
        }

    def further(self, kinds: dict[str, type]) -> dict[str, Any]:
        """Return what passes by its name alone."""
        read = {float: self.number, int: self.whole, str: self.text, bool: self.boolean}
        return {name: read[kind](name, None) for name, kind in kinds.items()}

    def mapping(self, key: str) -> dict[str, Any]:
        """Return an object, which may be missing."""
        value = self.values.get(key)
        return {} if value is None else self.typed(key, dict, "an object")

    def array(self, key: str) -> list[Any]:
        """Return an array, which may be missing."""
        value = self.values.get(key)
        return [] if value is None else self.typed(key, list, "an array")

    def objects(self, key: str) -> Iterable[Fields]:
        """Return the objects of an array."""
        for index, value in enumerate(self.array(key)):
            yield Fields(value, self.name, f"{self.prefix}{key}[{index}].")


def _session(fields: Fields) -> Session:
    version = fields.whole("schema_version", None)
    if version is not None and version > SCHEMA_VERSION:
        raise ReportError(f"{fields.name}: schema_version {version} is of a newer perfdb: upgrade perfdb")
    try:
        session_id = check_session_id(fields.values["session_id"])
    except InvalidSessionIdError as error:
        raise ReportError(f"{fields.name}: {error}") from None
    steps = _steps(fields)
    start_time = fields.number("start_time", None)
    if start_time is None:
        start_time = steps[0].start_time if steps else _naive_local(fields)
    success = fields.boolean("success", None)
    fast_mode = fields.boolean("fast_mode", None)
    total_duration = fields.number("total_duration", None)
    mode = fields.text("mode", None)
    return Session(
        session_id=session_id,
        pipeline=fields.text("pipeline", "design"),
        start_time=start_time,
        total_duration=total_duration,
        status=_status(fields, success, total_duration),
        fast_mode=fast_mode,
        success=success,
        product_count=fields.whole("product_count", None),
        error_message=fields.text("error_message", None),
        mode=mode_of({"fast_mode": fast_mode}, ("fast_mode",)) if mode is None else mode,
        attributes=fields.mapping("attributes"),
        tags=_tags(fields),
        steps=steps,
        samples=_samples(fields),
        utc_offset=fields.whole("utc_offset", time.localtime(start_time).tm_gmtoff, low=-86_399, high=86_399),
        **fields.measured(),
        **fields.further(records.FURTHER_OF_SESSION),
    )


def _status(fields: Fields, success: bool | None, total_duration: float | None) -> str:
    if "status" in fields.values:
        status: str = fields.values["status"]
        return status if status in STATUSES else fields.refuse("status", ", ".join(STATUSES))
    if success is None and total_duration is None:
        return INTERRUPTED
    return FAILED if success is False else COMPLETED


def _naive_local(fields: Fields) -> float:
    try:
        instant = datetime.fromisoformat(fields.text("timestamp")).timestamp()
    except (ValueError, OverflowError, OSError):
        fields.refuse("timestamp", "an ISO 8601 time such as 2025-07-30T14:30:22")
    if not 0.0 <= instant <= _LAST_INSTANT:
        fields.refuse("timestamp", "a time after 1970")
    return round(instant, 6)


def _tags(fields: Fields) -> tuple[str, ...]:
    tags = fields.array("tags")
    if not all(isinstance(tag, str) for tag in tags):
        fields.refuse("tags", "an array of texts")
    for index, tag in enumerate(tags):
        if not 1 <= len(tag.strip()) <= 64:
            place = f"{fields.name}: {fields.prefix}tags[{index}]"
            raise ReportError(f"{place} has {len(tag.strip())} characters; a tag has 1 to 64")
    return tuple(tags)


def _samples(fields: Fields) -> tuple[Sample, ...]:
    samples = []
    for index, row in enumerate(fields.array("samples")):
        columns = (
            dict(zip(("time", "cpu_percent", "rss_bytes"), row, strict=False)) if type(row) is list else row
        )
        sample = Fields(columns, fields.name, f"samples[{index}].")
        samples.append(
            Sample(
                time=sample.number("time"),
                cpu_percent=sample.number("cpu_percent"),
                rss_bytes=sample.whole("rss_bytes"),
            )
        )
    return tuple(samples)


def _steps(fields: Fields) -> tuple[Step, ...]:
    """Return the steps in the order of their starts, numbered so when the report does not number them."""
    rows = list(fields.objects("steps"))
    if not all("seq" in row.values for row in rows):
        rows.sort(key=lambda row: row.number("start_time"))
        rows = [Fields(row.values | {"seq": seq}, row.name, row.prefix) for seq, row in enumerate(rows)]
    steps = [_step(row) for row in rows]
    seen: set[int] = set()
    for step, row in zip(steps, rows, strict=True):
        if step.seq in seen:
            row.refuse("seq", "different for each step")
        seen.add(step.seq)
    return tuple(steps)


def _step(fields: Fields) -> Step:
    start_time = fields.number("start_time")
    duration = fields.number("duration", None)
    end_time = fields.number("end_time", None)
    if duration is None and end_time is not None:
        duration = max(0.0, round(end_time - start_time, 6))
    success = fields.boolean("success", None)
    called_off = fields.values.get("status") == INTERRUPTED and success is False
    return Step(
        step_name=fields.text("step_name"),
        start_time=start_time,
        duration=duration,
        success=success,
        interrupted=called_off and duration is not None,
        error_message=fields.text("error_message", None),
        additional_data=fields.mapping("additional_data"),
        seq=fields.whole("seq"),
        parent_seq=fields.whole("parent_seq", None),
        lane=fields.whole("lane", 0),
        attempts=tuple(
            Attempt(
                start_time=attempt.number("start_time"),
                duration=attempt.number("duration"),
                wait=attempt.number("wait", 0.0),
                success=attempt.boolean("success", True),
                error_message=attempt.text("error_message", None),
            )
            for attempt in fields.objects("attempts")
        ),
        events=tuple(
            Event(name=event.text("name"), time=event.number("time"), data=event.mapping("data"))
            for event in fields.objects("events")
        ),
        **fields.measured(),
        **fields.further(records.FURTHER_OF_STEP),
    )


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(redact(value) if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:59]}…"
