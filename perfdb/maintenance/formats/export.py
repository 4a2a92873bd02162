"""What `perfdb export --format json` wrote: reports in the rows of one document, each checked by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from perfdb.errors import ReportError
from perfdb.maintenance.formats.base import Format, content
from perfdb.recording.report_reader import MAX_BYTES, MAX_DEPTH, read_report
from perfdb.recording.secret_spans import sound
from perfdb.records import Session

MOST_BRACKETS = 1_000_000  # of one row: ten times those of a session as long as a report can be
_EXPORT = re.compile(rb'\A(?:\xef\xbb\xbf)?\s*\{\s*"schema_version"\s*:\s*1\s*,\s*"rows"\s*:\s*\[')
_SPACE = re.compile(r"[\s,]*")
_TO_BRACKET = re.compile(sound(r"""(?s)(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([{}\[\]])"""))


def is_export(beginning: bytes) -> bool:
    """Say whether a document is an export, by how it begins."""
    return _EXPORT.match(beginning) is not None


def rows_of(content: bytes, name: str) -> Iterator[Session]:
    """Yield the sessions of what `perfdb export --format json` wrote; ``name`` stands in the errors."""
    start = _EXPORT.match(content)
    try:
        text = content[start.end() if start else 0 :].decode("utf-8")
        for number, row in enumerate(_rows_in(text), start=1):
            try:
                yield read_report(row.encode())
            except ReportError as error:
                raise ReportError(f"row {number}: {error}") from None
    except ReportError as error:
        raise ReportError(f"{name}, {error}") from None
    except ValueError:
        raise ReportError(f"{name}: not a whole JSON document") from None


def _rows_in(text: str) -> Iterator[str]:
    """Yield each row of an export unread, so that it is checked like a report of its own, size first.

    Raises:
        ValueError: the text ends too early, or is no list of objects.
    """
    position = _SPACE.match(text).end()  # type: ignore[union-attr]  # matches the empty text too
    while not text.startswith("]", position):
        end = _end_of_object(text, position)
        yield text[position:end]
        position = _SPACE.match(text, end).end()  # type: ignore[union-attr]


def _end_of_object(text: str, begin: int) -> int:
    depth, position, most = 0, begin, begin + MAX_BYTES
    for _ in range(MOST_BRACKETS):
        bracket = _TO_BRACKET.match(text, position, most)
        if bracket is None and most < len(text):
            raise ReportError(f"larger than {MAX_BYTES} bytes: not read")
        if bracket is None or (depth == 0 and bracket[1] != "{"):
            raise ValueError("no object")
        position = bracket.end()
        depth += 1 if bracket[1] in "{[" else -1
        if depth == 0:
            return position
        if depth > MAX_DEPTH + 1:
            raise ReportError(f"nested more than {MAX_DEPTH} levels deep")
    raise ReportError(f"holds more than {MOST_BRACKETS // 2} objects and arrays: not read")


EXPORT = Format(
    words="a file that `perfdb export --format json` wrote",
    fits=lambda file, beginning: is_export(beginning),
    read=lambda file: rows_of(content(file), str(file)),
)
