"""What a format of imported files is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perfdb.errors import ReportError
from perfdb.records import Session

LARGEST_EXPORT_BYTES = 1 << 30
BEGINNING_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        words: for a file of it, in the help.
        fits: says whether a file is one, of its path and its first bytes.
        read: yields its sessions; a ReportError says what is wrong with it.
    """

    words: str
    fits: Callable[[Path, bytes], bool]
    read: Callable[[Path], Iterator[Session]]


def content(file: Path) -> bytes:
    """Return what a file holds.

    Raises:
        ReportError: it is too large.
    """
    if file.stat().st_size > LARGEST_EXPORT_BYTES:
        raise ReportError(
            f"{file}: larger than {LARGEST_EXPORT_BYTES} bytes: export fewer sessions at a time"
        )
    return file.read_bytes()
