"""While the database takes nothing: how long to pause, and what is reported."""

from __future__ import annotations

import _thread
from collections.abc import Callable

from perfdb.errors import PerfdbError
from perfdb.recording.health import Health
from perfdb.recording.native import monotonic
from perfdb.recording.values import clean_error
from perfdb.store.database import Database

EAGER_S = 0.25  # it is asked without a pause while a lock is held no longer than this
BUSY_IS_NEWS_S = 1.0  # a lock is worth a word when it is held for longer
CROWD_IS_NEWS_S = 10.0  # the same while other writers take turns
MAX_PAUSE_S = 1.5  # with the time-out of a connection less than 5 s: so soon rows flow after an outage
MISSING_PAUSE_S = 60.0  # what could not be imported has cost time, and will fail again


class Outage:
    """Why a worker cannot use its database, if it cannot."""

    def __init__(self, database: Database, health: Health, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._health = health
        self._clock = clock
        self.pause_s = 0.0
        self.problem: str | None = None
        self.is_known = False  # it lasts for a while: nobody waits for the database
        self.busy_since: float | None = None  # since when others hold the lock
        self._held_since = 0.0  # one of them alone
        self._mark: object = None  # of the database, by then

    def note(self, failure: Exception, *, has_rows: bool) -> None:
        """Take note of a failure; ``has_rows``: some wait in the journal."""
        from random import SystemRandom  # the host's own numbers stay what it seeded

        if is_mended(failure):
            return
        if isinstance(failure, ImportError):
            self.pause_s, self.is_known = MISSING_PAUSE_S, True
            self.say(failure, has_rows=has_rows)
            return
        # with jitter, because several processes wait for the same lock
        self.pause_s = min(MAX_PAUSE_S, max(0.01, self.pause_s * 2)) * SystemRandom().uniform(0.75, 1.0)
        if is_locked(failure):
            now, mark = self._clock(), self._database.mark()
            if self.busy_since is None or mark != self._mark:  # somebody commits: it is a matter of turns
                self._mark, self._held_since = mark, now
            self.busy_since = now if self.busy_since is None else self.busy_since
            if now - self._held_since < EAGER_S:
                self.pause_s = 0.001
            if now - self._held_since < BUSY_IS_NEWS_S and now - self.busy_since < CROWD_IS_NEWS_S:
                return
        self.is_known = is_away(failure)
        self.say(failure, has_rows=has_rows)

    def say(self, failure: Exception, *, has_rows: bool) -> None:
        """Report it in the health and the log."""
        error = getattr(failure, "orig", None) or failure  # the driver's own words, without the statement
        self.problem = (
            str(error) if isinstance(error, PerfdbError) else f"{type(error).__name__}: {clean_error(error)}"
        )
        state = "takes no rows now, the journal keeps them" if has_rows else "could not be tended"
        self._health.delayed(f"{_shown(self._database.url)} {state}", error)


def is_mended(failure: Exception) -> bool:
    """Say whether threads were patched while a module was loaded, as gevent does; the next try loads it.

    Who loads it has another number since, and cannot let go of its lock, which others would wait for without
    end: that is done here.
    """
    if not isinstance(failure, RuntimeError) or "un-acquired lock" not in str(failure):
        return False
    from traceback import walk_tb

    error: BaseException | None = failure
    while error is not None:
        for frame, _ in walk_tb(error.__traceback__):
            lock = frame.f_locals.get("self")
            if frame.f_code.co_name == "release" and type(lock).__name__ == "_ModuleLock":
                lock.owner = _thread.get_ident()  # type: ignore[union-attr]
                lock.release()  # type: ignore[union-attr]
        error = error.__context__
    return True


def is_away(failure: Exception) -> bool:
    """Say whether the database is at fault, and may take the same later.

    So may another program, where what speaks to it cannot be imported in this one: in an isolated
    sub-interpreter, or beside a broken installation.
    """
    if isinstance(failure, ImportError):
        return True
    from perfdb.store.engine import is_transient

    return is_transient(failure)


def is_locked(failure: Exception) -> bool:
    """Say whether somebody else writes to it, and nothing is wrong: a matter of turns."""
    if isinstance(failure, ImportError):
        return False
    from perfdb.store.engine import is_busy

    return is_busy(failure)


def _shown(url: str) -> str:
    try:
        from perfdb.store.engine import shown_url

        return shown_url(url)
    except Exception:
        return "the database"
