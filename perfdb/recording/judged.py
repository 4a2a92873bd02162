"""Beside a journal: up to which of its bytes the sessions that ended are judged by the rules.

Whoever takes the journal of a dead process judges the others. The note may lag, because judging a session
twice changes nothing. In the database it would cost each session a turn of the lock that all writers want.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SUFFIX = ".judged"


def judged_until(journal: Path) -> int:
    """Return the offset that was noted; 0 when there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(journal.with_suffix(SUFFIX), flags)
        try:
            return max(0, int(os.read(descriptor, 100)))
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return 0


def note_judged(journal: Path, offset: int) -> None:
    """Note that the sessions that ended before ``offset`` are judged, if the disk takes it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):
        descriptor = os.open(journal.with_suffix(SUFFIX), flags, 0o600)
        try:
            os.write(descriptor, b"%20d" % offset)  # of one length: it is never half of two numbers
        finally:
            os.close(descriptor)
