"""Lines of journals that the database does not have: damaged ones, and those that it refused.

They are kept in a file beside the journal, after the journal's own first line, and outlive the journal: what
refused them may be fixed later. Adding and taking lines requires a lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from perfdb.recording.journal import (
    VERSION,
    Line,
    encode,
    files_in,
    frame,
    is_written,
    read_header,
    read_lines,
)
from perfdb.surroundings import open_private_file

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

BAD_SUFFIX = ".bad"


class Quarantine:
    """The file of one journal, held alone."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.header = read_header(descriptor) or {
            "type": "journal",
            "version": VERSION,
            "journal_id": path.stem,
        }

    @classmethod
    @contextmanager
    def hold(cls, path: Path, *, wait: bool = True) -> Iterator[Quarantine]:
        """Open the file, made where there is none, and keep it locked meanwhile.

        Raises:
            OSError: it cannot be opened or made.
            BlockingIOError: somebody else holds it, and we do not ``wait``.
        """
        while True:
            descriptor = open_private_file(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.fstat(descriptor).st_nlink:  # else it was emptied while we waited: there is a new one
                    yield cls(path, descriptor)
                    return
            finally:
                os.close(descriptor)

    @property
    def has_living_writer(self) -> bool:
        """Whether the process that wrote these lines lives."""
        return is_written(self.path.parent, str(self.header["journal_id"]))

    def lines(self) -> Iterator[Line]:
        """Yield the lines, those that were damaged before they came here without a record."""
        for line in read_lines(self._descriptor):
            if line.record is None or line.record["type"] != "journal":
                yield line

    def add(self, header: Mapping[str, Any], lines: Iterable[bytes]) -> None:
        """Add lines that were read under a journal's header; what a kill cut short spoils no other."""
        size = os.fstat(self._descriptor).st_size
        if not size:
            lines = chain([frame(encode({"type": "journal", "version": VERSION, **header}))], lines)
        elif os.pread(self._descriptor, 1, size - 1) != b"\n":
            lines = chain([b"\n"], lines)
        with open(self._descriptor, "ab", closefd=False) as file:
            file.writelines(lines)

    def keep_only(self, lines: list[Line]) -> None:
        """Drop all other lines; when none is left, the file is removed."""
        if lines:
            with Quarantine.hold(self.path.with_suffix(".new")) as rest:
                os.ftruncate(rest._descriptor, 0)  # of one that was killed here
                rest.add(self.header, [line.raw for line in lines])
                os.replace(rest.path, self.path)
        else:
            self.path.unlink()


def put_aside(journal: Path, header: Mapping[str, Any], lines: list[bytes]) -> None:
    """Keep lines of a journal that cannot be used. The caller has the write lock, which the holder may want.

    Raises:
        OSError: the disk does not take them, or somebody looks through those that are there: try later.
    """
    if lines:
        with Quarantine.hold(journal.with_suffix(BAD_SUFFIX), wait=False) as quarantine:
            quarantine.add(header, lines)


def quarantines_in(folder: Path) -> list[Path]:
    """Return the files of lines that were put aside, oldest journal first."""
    return files_in(folder, BAD_SUFFIX)[0]
