"""A note beside a journal: up to which byte the rules were evaluated for the sessions that ended.

The process that recovers the journal of a dead one evaluates the others. The note may lag, because evaluating
a session twice changes nothing. Kept in the database, it would take the write lock once per session.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from perfdb.surroundings import open_private_file

SUFFIX = ".judged"
UNJUDGED = ".unjudged"  # ids of sessions whose own journal is gone: the database has its rows


def judged_until(journal: Path) -> int:
    """Return the offset that was noted; 0 when there is none."""
    try:
        descriptor = open_private_file(journal.with_suffix(SUFFIX), os.O_RDONLY)
        try:
            return max(0, int(os.read(descriptor, 100)))
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return 0


def note_judged(journal: Path, offset: int) -> None:
    """Note that the sessions that ended before ``offset`` are evaluated, if the disk takes it."""
    with suppress(OSError):
        descriptor = open_private_file(journal.with_suffix(SUFFIX), os.O_WRONLY | os.O_CREAT)
        try:
            os.write(descriptor, b"%20d" % offset)  # of one length: it is never half of two numbers
        finally:
            os.close(descriptor)


def unjudged_beside(journal: Path) -> list[str]:
    """Return the sessions of former journals that were noted as not evaluated yet."""
    try:
        with open(open_private_file(journal.with_suffix(UNJUDGED), os.O_RDONLY), encoding="ascii") as file:
            return file.read().split()
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
        descriptor = open_private_file(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(hidden, place)
    except OSError:
        return False
    return True
