"""The journals of this process: which one new sessions write, and how much of each the database has."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from perfdb.guard import raise_foreign
from perfdb.recording.environment import describe_process
from perfdb.recording.health import Health
from perfdb.recording.journal import Journal, new_journal_id
from perfdb.recording.judged import note_judged
from perfdb.recording.native import epoch, monotonic
from perfdb.surroundings import make_private_folder
from perfdb.version import __version__

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from perfdb.recording.live import LiveSession

ROTATE_BYTES = 16 << 20  # a longer journal is left to its sessions, new ones get a new file
JOURNAL_RETRY_S = 5.0


def waiting_text(number: int, folder: Path) -> str:
    """Return that so many runs of ended programs are in journals only, and what brings them in."""
    waiting = "1 run waits" if number == 1 else f"{number:,} runs wait"
    return f"{waiting} in the journal ({folder}): perfdb recover, or the next program that records there"


class Journals:
    """Open journals, oldest first; adding or removing one requires the worker's lock."""

    def __init__(self, folder: Path, health: Health, *, fsync: bool) -> None:
        self._folder = folder
        self._health = health
        self._fsync = fsync
        self._journals: list[Journal] = []  # the last one is written by new sessions
        self._read: dict[str, int] = {}  # offsets that are known to be in the database
        self._judged: dict[str, int] = {}  # those that are noted beside the journals
        self._none_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._journals)

    def all(self) -> list[Journal]:
        """Return them."""
        return list(self._journals)

    def current(self, sessions: Iterable[LiveSession], doubt: Callable[[], str | None]) -> Journal | None:
        """Return the one for new sessions; None while there can be none.

        Args:
            sessions: those that run.
            doubt: says why the folder is not ours to write to, once it is there.
        """
        if self._journals and not self._journals[-1].is_closed:
            newest = self._journals[-1]
            if newest.size < ROTATE_BYTES or self._has_former(sessions):
                return newest
        if monotonic() < self._none_until:
            return None
        try:
            header = {
                "journal_id": new_journal_id(),
                "created": round(epoch(), 6),
                "perfdb_version": __version__,
                **describe_process(),
            }
            make_private_folder(self._folder.parent)  # another user cannot make it later and give us theirs
            if (reason := doubt()) is not None:
                raise PermissionError(reason)
            self._journals.append(Journal.create(self._folder, header, fsync=self._fsync))
        except OSError as error:
            raise_foreign(error)
            self._none_until = monotonic() + JOURNAL_RETRY_S
            self._health.failed(f"making a journal in {self._folder} (runs are not recorded)", error)
            return None
        return self._journals[-1]

    def _has_former(self, sessions: Iterable[LiveSession]) -> bool:
        """Whether an earlier journal is still to be brought in, or removed: one such open file is enough."""
        in_use = {id(session.journal) for session in sessions}
        return any(id(each) not in in_use or self._unread(each) for each in self._journals[:-1])

    def spent(self, sessions: Iterable[LiveSession]) -> list[Journal]:
        """Return the journals that are in the database whole and get no more lines."""
        in_use = {id(session.journal) for session in sessions}
        return [
            journal
            for journal in self._journals[:-1]
            if id(journal) not in in_use and journal.ends_at(self._read.get(journal.name))
        ]

    def remove(self, journal: Journal) -> None:
        """Take it out of the list."""
        self._journals.remove(journal)

    def take_all(self) -> list[Journal]:
        """Take all of them out."""
        journals, self._journals = self._journals, []
        return journals

    def let_go(self, journal: Journal, *, remove: bool) -> bool:
        """Close a journal, and remove it when the database has all of it; return whether that is so."""
        offset = self._read.pop(journal.name, None)
        self._judged.pop(journal.name, None)
        if remove and journal.retire(offset):
            return True
        journal.close()
        return False

    def backlog(self) -> int:
        """Return how many bytes the database does not have yet."""
        return sum([self._unread(each) for each in self.all()])

    def _unread(self, journal: Journal) -> int:
        return journal.size - self.read_to(journal)

    def read_to(self, journal: Journal) -> int:
        """Return up to where the database is known to have a journal."""
        return self._read.get(journal.name, 0)

    def note_read(self, journal: Journal, offset: int) -> None:
        """Take note of up to where it has it now."""
        self._read[journal.name] = offset

    def note_judged(self) -> None:
        """Note beside the journals that all sessions in the database are evaluated."""
        for journal in self._journals:
            offset = self.read_to(journal)
            if offset != self._judged.get(journal.name, 0):
                note_judged(journal.path, offset)
                self._judged[journal.name] = offset

    def after_fork_in_child(self) -> None:
        """Leave the parent's files to it."""
        for journal in self._journals:
            journal.after_fork_in_child()
        self._journals, self._read, self._judged = [], {}, {}
