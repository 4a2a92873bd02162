"""A History for a program that answers many questions: one kept connection, a time limit, no side effects.

Reading never takes journals in; ``take_in`` does, when somebody looks and at most every few seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from perfdb.errors import StoreError
from perfdb.filters import Chosen, Filters, checked_filters
from perfdb.history.access import _held
from perfdb.history.history import History
from perfdb.history.queries import limits
from perfdb.store.database import Database, Watch
from perfdb.store.frames import SESSION_COLUMNS, STEP_COLUMNS

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection

    from perfdb.lake.lake import LakeWatch

QUERY_LIMIT_S = 5.0
TAKE_IN_EVERY_S = 3.0


class ServedHistory(History):
    """The history behind the dashboard; every read is one moment of the database, and is limited in time.

    Args:
        history: names the database and its home.
        limit_s: how long the queries of one answer may take.
    """

    def __init__(self, history: History, *, limit_s: float = QUERY_LIMIT_S) -> None:
        history.require_access()
        named = history.url if history._lake is None else history._lake.text
        super().__init__(named, home=history.settings.home)
        self._settings = history.settings  # which remember whether somebody named the home
        self._explicit, self._home_may_wait = history.is_explicit, history._home_may_wait
        if self._lake is None:
            self._database = Database(
                history.url, migrates=False, limit_s=limit_s, ends=lambda: self._is_closed
            )
        else:
            self._lake.limit(limit_s, lambda: self._is_closed)
        self._is_closed = False
        self._taking_in = threading.Lock()
        self._taken_in_at = 0.0
        self.measures_offered: tuple[float, list[str]] = (0.0, [])  # when, and which

    @contextmanager
    def reading(
        self, filters: Chosen | None = None, *, sessions: tuple[str, ...] = ()
    ) -> Iterator[Connection | None]:
        """Yield a connection for ``store`` that sees one moment; None while nothing is recorded."""
        from perfdb.store.engine import ALL_ERRORS

        held = _held.get()
        if held is not None and held[0] is self:
            yield held[1]
            return
        try:
            found = self._of(filters, sessions).reading_if_there()
            with self._in_words("read"), found as connection:
                self._say_what_waits(connection)
                yield connection
        except ALL_ERRORS as error:
            raise StoreError(f"{self.database} cannot be read now: {error}") from error

    _reading = reading

    @property
    def is_far(self) -> bool:
        """Whether it is a server's, which is asked many things at once."""
        return self._lake is None and self._database.is_shared

    def watch(self) -> Watch | LakeWatch:
        """Return what notices that something was written."""
        return self._database.watch() if self._lake is None else self._lake.watch()

    def sessions_and_steps(
        self,
        *,
        last: int | None,
        of_sessions: Collection[str] = SESSION_COLUMNS,
        of_steps: Collection[str] = STEP_COLUMNS,
        **filters: Unpack[Filters],
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return ``sessions`` and ``steps`` of the newest sessions, so many as an answer may read.

        ``of_sessions`` and ``of_steps`` name the columns that are needed.
        """
        chosen = checked_filters(last, filters)
        with self.reading(chosen) as connection:
            return limits.sessions_and_steps(connection, of_sessions=of_sessions, of_steps=of_steps, **chosen)

    def take_in(self) -> None:
        """Take in what dead writers left in the default home; a database given by a URL is only read."""
        if self._explicit or not self._taking_in.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._taken_in_at >= TAKE_IN_EVERY_S:
                self._take_in_journals()
                self._taken_in_at = time.monotonic()
        finally:
            self._taking_in.release()

    def close(self) -> None:
        """Let go of the connections; an answer that is still worked on opens none any more."""
        self._is_closed = True
        self._database.forget()
