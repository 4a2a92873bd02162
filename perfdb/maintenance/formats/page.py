"""What `perfdb report` wrote: a page that holds its sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perfdb.errors import ReportError
from perfdb.maintenance.formats.base import LARGEST_EXPORT_BYTES, Format, content, suffix_of
from perfdb.maintenance.formats.export import is_export, rows_of
from perfdb.recording.report_reader import MAX_BYTES
from perfdb.records import Session

SUFFIXES = (".html", ".htm")
_MOST_TIMES = 100  # gzip makes what perfdb writes 5 to 50 times shorter, and emptiness a thousand times


def read_page(file: Path) -> Iterator[Session]:
    """Yield the sessions of a page.

    Raises:
        ReportError: it holds none.
    """
    from perfdb.pages.document import data_in

    page = content(file)
    try:
        data = data_in(page, min(LARGEST_EXPORT_BYTES, max(MAX_BYTES, _MOST_TIMES * len(page))))
    except ValueError as error:
        raise ReportError(f"{file}: {error}") from None
    if data is None or not is_export(data):
        raise ReportError(f"{file}: holds no sessions: only pages that `perfdb report` wrote can be imported")
    yield from rows_of(data, str(file))


PAGE = Format(
    words="a page that `perfdb report` wrote",
    fits=lambda file, beginning: suffix_of(file) in SUFFIXES,
    read=read_page,
)
