"""Open the one database that a History is about, to read it and to change it.

A database given by an explicit URL is only ever read. The default home may first take in
what finished or dead writers left in its journals, so that a reader sees every step that was
acknowledged.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfdb import settings as settings_module
from perfdb.errors import AbsentError, NotFoundError, PerfdbError, StoreError
from perfdb.lake.place import is_lake
from perfdb.recording.health import warn_once
from perfdb.search import doubt_about_home
from perfdb.store.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.filters import Chosen
    from perfdb.lake.lake import Lake
    from perfdb.store.upkeep.backup import Backup

logger = logging.getLogger("perfdb")

_NO_DATABASE = "sqlite:////dev/null/lake"  # in the settings of a lake's reader
_held: ContextVar[tuple[Access, Connection | None] | None] = ContextVar("perfdb_held", default=None)
_SERVER_WORDS = {"host", "hostaddr", "dbname", "user", "password", "service", "passfile"}  # libpq's
_starts_as_address = re.compile(r"\s*(?:postgres(?:ql)?(?:\+\w*)?:|[^\s/:@]+:[^\s/@]+@)", re.IGNORECASE).match
_OF_A_VALUE = (errno.EOVERFLOW, errno.EINVAL)  # as the system says it of a moment that cannot be
READER_WAIT_S = 1.0  # a reader that finds the database busy reads what is there


class Access:
    """One database: which it is, whether it may be read, and connections to it."""

    def __init__(
        self, url: str | os.PathLike[str] | None = None, *, home: str | os.PathLike[str] | None = None
    ) -> None:
        self._lake: Lake | None = None
        self._home_may_wait = False  # its programs write to the database that the environment names, too
        if url is None:
            named = os.environ.get("PERFDB_DATABASE_URL", "").strip() if home is None else ""
        else:
            named = os.fspath(url)
        if named and is_lake(named):
            from perfdb.lake.lake import Lake

            self._lake = Lake(named)
            self._settings = settings_module.load_for_reading(home=home, database_url=_NO_DATABASE)
            self._explicit = True
        elif url is None and home is not None:
            url_of_home = settings_module.sqlite_url(
                settings_module.absolute(home) / settings_module.DATABASE_FILE
            )
            self._settings = settings_module.load_for_reading(home=home, database_url=url_of_home)
            self._explicit = False
        else:
            self._settings = settings_module.load_for_reading(home=home, database_url=_as_url(url))
            self._home_may_wait = url is None and bool(named)
            self._explicit = url is not None or bool(named)
        self._database = Database(self._settings.database_url, migrates=False)
        for warning in self._settings.warnings:
            warn_once(warning)

    @property
    def url(self) -> str:
        """The SQLAlchemy URL, which may hold a password; ``database`` is the form to show.

        Raises:
            StoreError: this is a lake, and something wants a database.
        """
        if self._lake is not None:
            raise StoreError(f"{self.database} is a lake: this works on a database only (perfdb lake --help)")
        return self._settings.database_url

    @property
    def settings(self) -> settings_module.Settings:
        """The settings that named this database."""
        return self._settings

    @property
    def is_lake(self) -> bool:
        """Whether it is a lake, and no database."""
        return self._lake is not None

    @property
    def is_explicit(self) -> bool:
        """Whether the database was named by its URL or path, and is not simply that of the home."""
        return self._explicit

    @property
    def database(self) -> str:
        """The database for people: a path, or a URL whose password is hidden."""
        from perfdb.store.engine import shown_url, sqlite_path

        if self._lake is not None:
            return self._lake.place.shown
        path = sqlite_path(self.url)
        return settings_module.shown_path(path) if path else shown_url(self.url)

    def require_access(self) -> None:
        """Refuse a database that is closed to us, and one that nobody named in a home of others.

        Raises:
            StoreError: it says which, why, and what to do.
        """
        from perfdb.store.engine import sqlite_path

        if self._lake is not None:
            self._lake.place.require()
            return
        path = sqlite_path(self.url)
        if path is not None and (reason := _closed(path)) is not None:
            raise StoreError(f"{self.database} cannot be read: {reason}")
        if not self._explicit:
            home, trust = self._settings.home, settings_module.trust_for(self._settings)
            if (doubt := doubt_about_home(home, trust)) is not None:
                raise StoreError(doubt)
            closed = self._settings.closed_home
            if closed is not None and path is not None and not os.path.exists(path):
                reason = f"{settings_module.shown_path(closed)} cannot be read: {os.strerror(errno.EACCES)}"
                raise StoreError(f"{reason}; for a history of your own: PERFDB_HOME={home}")

    def backup(self, file: str | os.PathLike[str], *, force: bool = False) -> Backup:
        """Copy the database into one file while others write to it; return what was copied and verified.

        Args:
            file: where to; a folder gets a file that is named by the time. Only its owner can read it.
            force: replace an existing file, in one piece.

        Raises:
            StoreError: the file exists, the disk is full, the database is missing or damaged.
        """
        from perfdb.store.upkeep.backup import back_up, is_current

        self.require_access()
        if not self._explicit and is_current(self.url):  # a backup must not migrate what it saves
            self._take_in_journals()
        return back_up(self.url, Path(file), force=force)

    def explained(self, error: Exception, *, certain: bool = False) -> StoreError | None:
        """Return what is wrong with the database when an answer failed because of what it holds.

        None when nothing is, and the failure is a bug, or of another file, as of a full disk that is written
        to. A file that was given by its address may be of anybody: there it is the file, unless only what is
        ``certain`` counts.
        """
        from perfdb.store.engine import QUERY_ERRORS, sqlite_path
        from perfdb.store.sanity import find_nonsense, unreadable

        if isinstance(error, OSError) and error.errno not in _OF_A_VALUE:
            return None
        if self._lake is not None:
            return None if certain else unreadable(self.database, None, error)
        path = sqlite_path(self.url)
        if path is not None and not path.is_file():
            return None
        wrong = None
        try:
            with Database(self.url, migrates=False) as held, held.reading(checked=False) as connection:
                wrong = find_nonsense(connection)
        except StoreError as known:
            return known
        except QUERY_ERRORS:
            wrong = None if path is None else "it is damaged"
        is_of_anybody = path is not None and self._explicit and not certain
        return unreadable(self.database, wrong, error) if wrong or is_of_anybody else None

    def picture_folders(self) -> list[Path]:
        """Return the folders in which pictures of this history's sessions may lie.

        Those of the home if its settings name this database; of a file from elsewhere only the one beside it.
        """
        from perfdb.store.session_files import folders_for

        return [] if self._lake is not None else folders_for(self._settings, self.url)

    def _of(self, filters: Chosen | None, sessions: tuple[str, ...]) -> Database:
        """Return the database that answers: of a lake that of the window which is asked about."""
        if self._lake is None:
            return self._database
        from perfdb.lake.windows import Asked

        return self._lake.database(Asked(filters, sessions))

    @contextmanager
    def _reading(
        self, filters: Chosen | None = None, *, sessions: tuple[str, ...] = ()
    ) -> Iterator[Connection | None]:
        """Yield a connection; a lake wants to know which sessions, or which of these and what was before."""
        held = _held.get()
        if held is not None and held[0] is self:
            yield held[1]
            return
        self.require_access()
        if not self._explicit:
            self._take_in_journals()
        database = self._of(filters, sessions)
        try:
            found = database.reading() if self._explicit else database.reading_if_there()
            with self._in_words("read"), found as connection:
                self._say_what_waits(connection)
                yield connection
        except AbsentError:
            self._say_what_waits(None)
            raise
        finally:
            database.rest()  # between two questions the file may be replaced, or the process forked

    @contextmanager
    def _at_one_moment(self) -> Iterator[None]:
        """Have all that a server is asked meanwhile see one moment, over one connection."""
        if self._lake is not None or not self._database.is_shared or _held.get() is not None:
            yield
            return
        with self._reading() as connection:
            if connection is not None:
                from perfdb.store.together import keep_answers

                keep_answers(connection)
            before = _held.set((self, connection))
            try:
                yield
            finally:
                _held.reset(before)

    @contextmanager
    def _recorded(
        self, filters: Chosen | None = None, *, sessions: tuple[str, ...] = ()
    ) -> Iterator[Connection]:
        with self._reading(filters, sessions=sessions) as connection:
            if connection is None:
                raise self._nothing_recorded()
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._require_database()
        with self._recorded():
            pass
        try:
            with self._in_words("changed"), self._database.writing() as connection:
                yield connection
        finally:
            self._database.rest()

    @contextmanager
    def _in_pieces(self) -> Iterator[Database]:
        """Yield the database, for what is written in several transactions."""
        try:
            with self._in_words("changed"):
                yield self._database
        finally:
            self._database.rest()

    def _require_database(self) -> None:
        """Refuse a lake.

        Raises:
            StoreError: this is one.
        """
        _ = self.url

    @contextmanager
    def _in_words(self, what: str) -> Iterator[None]:
        from perfdb.store.engine import QUERY_ERRORS, reason_of

        try:
            yield
        except QUERY_ERRORS as error:
            raise StoreError(f"{self.database} cannot be {what}: {reason_of(error)}") from error

    def _take_in_journals(self) -> None:
        from perfdb.worker.recovery import has_journals, recover

        home = self._settings.home
        if not has_journals(home):
            return
        from perfdb.store.engine import ALL_ERRORS, reason_of

        try:
            recover(
                home,
                self.url,
                busy_timeout_s=READER_WAIT_S,
                alerts=self._settings.alerts,
                prices=self._settings.prices,
                trust=settings_module.trust_for(self._settings),
            )
        except (PerfdbError, *ALL_ERRORS, OSError) as error:
            # The rest of the history can still be read, from a read-only folder for instance.
            logger.warning("the journals in %s could not be taken in: %s", home, reason_of(error))

    def _say_what_waits(self, connection: Connection | None) -> None:
        """Say once that runs of this home have not reached the database that the environment names."""
        if not self._home_may_wait:
            return
        self._home_may_wait = False
        from perfdb.worker.recovery import has_journals, runs_waiting

        home, trust = self._settings.home, settings_module.trust_for(self._settings)
        if not has_journals(home) or doubt_about_home(home, trust) is not None:
            return
        if number := runs_waiting(home, connection):
            from perfdb.worker.journals import waiting_text

            warn_once(waiting_text(number, Path(settings_module.shown_path(home / "journal"))))

    def _nothing_recorded(self) -> NotFoundError:
        return NotFoundError(
            f"nothing is recorded in {self.database} yet: record a run with perfdb.track(...), "
            "or try: perfdb demo"
        )

    def __repr__(self) -> str:
        return f"History({self.database!r})"


# --- for perfdb's own parts: a History answers questions, and has no connections on its face ------------


def reading(history: Access, filters: Chosen | None = None) -> AbstractContextManager[Connection | None]:
    """Give a connection for ``perfdb.store`` that sees one moment; None where nothing is recorded yet.

    Args:
        history: what is read.
        filters: of a lake: which sessions.

    Raises:
        StoreError: the database is missing, unreadable or not perfdb's.
    """
    return history._reading(filters)


def side_by_side(history: Access, *questions: Callable[[], Any]) -> list[Any]:
    """Return the answers to some questions about a history; a server gets those of all in few exchanges."""
    with history._at_one_moment():
        held = _held.get()
        if held is None or held[1] is None:
            return [question() for question in questions]
        from perfdb.store.together import together

        return together(held[1], *questions)


def writing(history: Access) -> AbstractContextManager[Connection]:
    """Give a connection inside one write transaction on an existing, current database.

    Raises:
        NotFoundError: nothing is recorded.
        StoreError: as ``reading``, or it takes no changes now.
    """
    return history._writing()


def _as_url(database: str | os.PathLike[str] | None) -> str | None:
    """Return the URL; a plain path means an SQLite file."""
    if database is None:
        return None
    text = os.fspath(database)
    if "://" not in text and _is_of_server(text) and not os.path.lexists(text):  # a path would be shown
        raise StoreError(
            "that is no file, and no URL of a server: name a file, or postgresql://user:password@host/name"
        )
    return text if "://" in text else settings_module.sqlite_url(settings_module.absolute(text))


def _is_of_server(text: str) -> bool:
    """Say whether it is meant for a server: libpq's words, an address without its scheme or slashes."""
    words = {word.partition("=")[0].lower() for word in text.split() if "=" in word}
    return bool(_SERVER_WORDS & words) or _starts_as_address(text) is not None


def _closed(path: Path) -> str | None:
    """Return why a file cannot be read, if it is there; to open and close it would drop SQLite's locks."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None if os.access(path, os.R_OK) else os.strerror(errno.EACCES)
