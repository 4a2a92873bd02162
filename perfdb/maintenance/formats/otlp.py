"""OTLP in files: a request in JSON or protobuf, or JSON lines as the file exporters write them.

The spans of one trace may be spread over several files, so that those of one import are gathered before they
become sessions; a trace that the database has gets what is new in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from perfdb.errors import MissingExtraError, ReportError
from perfdb.maintenance.formats.base import Format, content, suffix_of
from perfdb.maintenance.formats.spans import Span, from_json, from_protobuf
from perfdb.maintenance.formats.traces import Reading
from perfdb.records import Session

_JSON = re.compile(rb'\A(?:\xef\xbb\xbf)?\s*\{.{0,4096}?"resourceSpans"\s*:', re.DOTALL)
_PROTOBUF = re.compile(rb"\A\x0a(?!\s*[\[{])")  # field 1, a message


def spans_in(file: Path) -> list[Span]:
    """Return the spans of a file.

    Raises:
        ReportError: it is too large, or no OTLP; a line is named by its number.
    """
    found = content(file)
    try:
        if not _JSON.match(found):
            return from_protobuf(found)
        try:
            return from_json(found.removeprefix(b"\xef\xbb\xbf"))
        except ReportError:
            lines = found.removeprefix(b"\xef\xbb\xbf").splitlines()
            if len(lines) < 2 or not lines[0].rstrip().endswith(b"}"):
                raise
        return list(_of_lines(lines))
    except MissingExtraError as error:
        raise ReportError(f"{file}: {error}") from None
    except ReportError as error:
        raise ReportError(f"{file}: {error}") from None


def _of_lines(lines: Iterable[bytes]) -> Iterator[Span]:
    for number, line in enumerate(lines, start=1):
        try:
            yield from from_json(line) if line.strip() else ()
        except ReportError as error:
            raise ReportError(f"line {number}: {error}") from None


def traces_in(spans: Iterable[Span], reading: Reading) -> Iterator[tuple[Session, bool]]:
    """Yield the session of each trace, and whether its root is there."""
    traces: dict[str, dict[str, Span]] = {}
    for span in spans:
        known = traces.setdefault(span.session_id, {}).setdefault(span.span_id, span)
        if known is not span and span.is_more_than(known):
            traces[span.session_id][span.span_id] = span
    for found in traces.values():
        session = reading.session_of(found.values())
        if session is not None:
            yield session, any(span.is_root for span in found.values())


def _read(file: Path) -> Iterator[Session]:
    yield from (session for session, _ in traces_in(spans_in(file), Reading()))


def _fits(file: Path, beginning: bytes) -> bool:
    if _JSON.match(beginning):
        return True
    if not _PROTOBUF.match(beginning):
        return False
    try:
        return bool(from_protobuf(content(file)))
    except MissingExtraError:
        return suffix_of(file) in OTLP.suffixes
    except ReportError:
        return False


OTLP = Format(
    words="traces of OpenTelemetry (OTLP)",
    fits=_fits,
    read=_read,
    suffixes=(".jsonl", ".pb", ".otlp", ".binpb"),
)
