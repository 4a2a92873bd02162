"""Rows as JSON and as CSV, piece by piece: the one writer for every command and every export.

The JSON is ``{"schema_version": 1, "rows": [...]}``, pure ASCII, without NaN.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from perfdb.history.values import rows_of

if TYPE_CHECKING:
    import pandas as pd

JSON_VERSION = 1
_SIGNS = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"  # wide ones too
# What is not seen, and left out by some programs: blanks, marks of order and direction, of width zero.
_UNSEEN = (
    r" \0-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\xad\u061c\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
)
_FORMULA = re.compile(rf"[\t\r]|[{_UNSEEN}\t\r\n]*{_SIGNS}")
# Where a spreadsheet splits cells at semicolons or tabs, as Excel does in much of Europe, quotes hold nothing
# together: behind each of them another cell, maybe quoted, and behind a line break another row, begins.
_INNER_FORMULA = re.compile(rf"(?<=[;\t\r\n])(?=[\"{_UNSEEN}]*{_SIGNS})")


def json_pieces(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the JSON object piece by piece, so that a large history needs little memory."""
    yield f'{{"schema_version": {JSON_VERSION}, "rows": ['
    encode = json.JSONEncoder(default=str, allow_nan=False).encode  # to make one takes as long as a row
    separator = "\n"
    for row in rows:
        yield separator + encode(dict(row))
        separator = ",\n"
    yield "\n]}\n" if separator == ",\n" else "]}\n"


def csv_pieces(frames: Iterable[pd.DataFrame]) -> Iterator[bytes]:
    """Yield frames of the same columns as CSV, some thousand rows at a time; no cell is a formula."""
    each = iter(frames)
    first = next(each)
    return csv_of(
        list(first.columns), (row.values() for frame in chain([first], each) for row in rows_of(frame))
    )


def csv_of(columns: Sequence[str], rows: Iterable[Iterable[object]]) -> Iterator[bytes]:
    """Yield rows as CSV under the names of their columns, as ``csv_pieces`` does a frame's."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in columns])
    for number, row in enumerate(rows):
        writer.writerow([_cell(value) for value in row])
        if number % 1000 == 999:
            yield _drained(text)
    yield _drained(text)


def _drained(text: io.StringIO) -> bytes:
    piece = text.getvalue().encode("utf-8", "backslashreplace")
    text.seek(0)
    text.truncate()
    return piece


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list | tuple):
        value = json.dumps(value, default=str)
    if not isinstance(value, str):
        return value
    is_formula = _FORMULA.match(value) is not None
    return "'" * is_formula + _INNER_FORMULA.sub("'", value)
