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
from perfdb.text import counted

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

    The rows go last: while they are there the same filters find the sessions again, whatever failed. Journals
    of programs that still run keep their lines until these end and are taken in.

    Raises:
        StoreError: a file cannot be removed, or the database takes no changes; the sessions are still there,
            and the error says what is not.
    """
    from perfdb.history.access import writing
    from perfdb.store.erasing import erase_traces as erase

    wanted = frozenset(session_ids)
    lake = _erase_in_lake(history, wanted)
    erased = [] if lake is None else [f"what {lake} has of them"]
    try:
        reports, kept = _erase_reports(history, wanted)
        erased += [counted(reports, "report")] if reports else []
        if kept is not None:
            raise kept
        lines = _erase_lines(history, wanted)
        erased += [f"{counted(lines, 'line')} put aside"] if lines else []
        with writing(history) as connection:
            gone = erase(connection, wanted)
    except (OSError, StoreError) as error:
        what = str(error)
        if isinstance(error, OSError):
            what = f"{error.filename} cannot be removed ({error.strerror})"
        so_far = f"; erased before that: {', '.join(erased)}" if erased else ""
        raise StoreError(
            f"{what}: no session was deleted{so_far}. The same command goes on where this one stopped."
        ) from error
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


def _erase_reports(history: History, session_ids: Collection[str]) -> tuple[int, OSError | None]:
    """Remove the reports that can be; return how many, and why the first of the others cannot."""
    removed, kept = 0, None
    for session_id in session_ids:
        with suppress(InvalidSessionIdError):  # it names no file of ours
            path = history.settings.report_dir / report_name(session_id)
            try:
                path.unlink()
                removed += 1
            except FileNotFoundError:
                pass
            except OSError as error:
                kept = kept or error
    return removed, kept


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
