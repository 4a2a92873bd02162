"""Erase sessions wherever perfdb keeps something of them: reports, journals, alerts, messages, the lake."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfdb.errors import AbsentError, InvalidSessionIdError, StoreError
from perfdb.recording.journal import journals_in
from perfdb.recording.quarantine import Quarantine, quarantines_in
from perfdb.recording.report import report_name

if TYPE_CHECKING:
    from perfdb.history.history import History


@dataclass(frozen=True, slots=True)
class Erased:
    """How much of the sessions there was, beside their rows and pictures; ``journals`` still hold some."""

    reports: int
    alerts: int
    messages: int
    lines: int
    journals: int
    lake: str | None  # in which they are deleted, too


def erase_traces(history: History, session_ids: Collection[str]) -> Erased:
    """Erase what is known of sessions outside of their own rows, which the caller deletes after it.

    Journals of programs that still run keep their lines until these end and are taken in.

    Raises:
        StoreError: a file cannot be removed, or the database takes no changes; the sessions are still there.
    """
    from perfdb.history.access import writing
    from perfdb.store.erasing import erase_traces as erase

    wanted = frozenset(session_ids)
    lake = _erase_in_lake(history, wanted)
    try:
        reports = _erase_reports(history, wanted)
        lines = _erase_lines(history, wanted)
    except OSError as error:
        raise StoreError(
            f"{error.filename} cannot be removed ({error.strerror}): no session was deleted"
        ) from error
    with writing(history) as connection:
        gone = erase(connection, wanted)
    living = len(journals_in(history.settings.home / "journal")) if not history.is_explicit else 0
    return Erased(reports, gone["alerts"], gone["messages"], lines, living, lake)


def _erase_in_lake(history: History, session_ids: Collection[str]) -> str | None:
    """Have the lake of ``[archive]`` delete them, also what it does not have yet; return which it is."""
    from perfdb.history.access import reading
    from perfdb.worker.archiving import read_archive

    configured = read_archive(history.settings.archive)
    if configured is None:
        return None
    from perfdb.lake.changes import change_of
    from perfdb.lake.lake import Lake
    from perfdb.store.upkeep.archiving import starts_of

    lake = Lake(configured[0])
    with reading(history) as connection:
        began = {} if connection is None else starts_of(connection, sorted(session_ids))
    try:
        lake.change(*(change_of(name, start, "delete") for name, start in began.items()))
    except AbsentError:  # nothing was ever pushed
        return None
    return lake.place.shown


def _erase_reports(history: History, session_ids: Collection[str]) -> int:
    removed = 0
    for session_id in session_ids:
        with suppress(InvalidSessionIdError):  # it names no file of ours
            path = history.settings.report_dir / report_name(session_id)
            with suppress(FileNotFoundError):
                path.unlink()
                removed += 1
    return removed


def _erase_lines(history: History, session_ids: Collection[str]) -> int:
    """Let go of what was put aside because the database had refused it."""
    removed = 0
    for path in quarantines_in(history.settings.home / "journal"):
        with Quarantine.hold(path) as quarantine:
            lines = list(quarantine.lines())
            kept = [
                line
                for line in lines
                if line.record is None or line.record.get("session_id") not in session_ids
            ]
            if len(kept) < len(lines):
                removed += len(lines) - len(kept)
                quarantine.keep_only(kept)
    return removed
