"""A note beside a journal: up to which byte the rules were evaluated for the sessions that ended.

The process that recovers the journal of a dead one evaluates the others. The note may lag, because evaluating
a session twice changes nothing. Kept in the database, it would take the write lock once per session.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from perfdb.sharing import share

SUFFIX = ".judged"
UNJUDGED = ".unjudged"  # ids of sessions whose own journal is gone: the database has its rows


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
    """Note that the sessions that ended before ``offset`` are evaluated, if the disk takes it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(OSError):
        descriptor = os.open(journal.with_suffix(SUFFIX), flags, 0o600)
        try:
            share(descriptor, journal)
            os.write(descriptor, b"%20d" % offset)  # of one length: it is never half of two numbers
        finally:
            os.close(descriptor)


def unjudged_beside(journal: Path) -> list[str]:
    """Return the sessions of former journals that were noted as not evaluated yet."""
    try:
        return journal.with_suffix(UNJUDGED).read_text("ascii").split()
    except (OSError, ValueError):
        return []


def note_unjudged(journal: Path, session_ids: Iterable[str]) -> bool:
    """Note them instead of those that were noted before; return whether the disk took it."""
    place = journal.with_suffix(UNJUDGED)
    hidden = journal.with_suffix(f"{UNJUDGED}.new")
    text = "\n".join(session_ids)
    try:
        if not text:
            place.unlink(missing_ok=True)
            return True
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(hidden, flags, 0o600), "w", encoding="ascii") as file:
            share(file.fileno(), journal)
            file.write(text)
        os.replace(hidden, place)
    except OSError:
        return False
    return True
