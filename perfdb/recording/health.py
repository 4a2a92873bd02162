"""What went wrong inside perfdb, counted and logged once, so that the host need not care."""

from __future__ import annotations

import sys

from perfdb.errors import UsageError
from perfdb.guard import raise_foreign
from perfdb.recording.native import RLock, load

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from logging import Logger
    from typing import Any


COUNTERS = ("errors", "misuse", "refused", "quarantined", "lost", "delays")


_MOST_WARNINGS = 100
_warned: set[str] = set()


def warn_once(message: str) -> None:
    """Log a warning, unless this process has done so."""
    if message not in _warned and len(_warned) < 1_000:
        _warned.add(message)
        _log(message)


class Health:
    """Counts failures and misuse; every kind is logged the first time only.

    With ``strict`` they are raised instead, which is for tests.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self.counts: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self.last_error: str | None = None
        self.warnings: list[str] = []
        self._said: set[str] = set()
        self._lock = RLock()

    def share_what_was_said(self, other: Health) -> None:
        """Log nothing again that ``other`` has logged: a million requests may have a tracker each."""
        self._said = other._said

    def warn(self, message: str) -> None:
        """Note what somebody should look at though everything works; logged once per process."""
        if message not in self.warnings and len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(message)
        warn_once(message)

    def failed(self, doing: str, error: BaseException) -> None:
        """Note that perfdb itself failed at ``doing``; called in the ``except`` block."""
        try:
            message = f"{doing} failed: {_named(error)}"
            self._note("errors", f"{doing} {type(error).__name__}", message)
            _log_trace(doing, error)
        except MemoryError as problem:
            if type(problem) is not MemoryError:  # of a signal handler
                raise
            self.counts["errors"] += 1
            self.last_error = doing
        if self.strict:
            raise error

    def misused(self, message: str) -> None:
        """Note a call that makes no sense; the host goes on."""
        self._note("misuse", message, message)
        if self.strict:
            raise UsageError(message)

    def delayed(self, what: str, error: BaseException) -> None:
        """Note that something has to wait; it is tried again."""
        self._note("delays", f"{what} {type(error).__name__}", f"{what}: {_named(error)}")

    def count(self, what: str, number: int, message: str) -> None:
        """Add to a counter, and say so the first time."""
        if number:
            self._note(what, what, message, number)

    def _note(self, what: str, kind: str, message: str, number: int = 1) -> None:
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + number
            if what not in ("misuse", "delays"):  # neither loses anything
                self.last_error = message
            new = kind not in self._said and len(self._said) < 1_000
            if new:
                self._said.add(kind)
        if new:
            _log(message)

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = RLock()

    def as_dict(self) -> dict[str, Any]:
        """Return ``ok``, the counters, ``last_error`` and the ``warnings``."""
        with self._lock:
            return {
                "ok": self.last_error is None,
                **self.counts,
                "last_error": self.last_error,
                "warnings": list(self.warnings),
            }


def _named(error: BaseException) -> str:
    try:
        load("perfdb.recording.values")  # a program that meets no failure may not need it
        from perfdb.recording.values import clean_error

        return f"{type(error).__name__}: {clean_error(error)}"
    except BaseException as problem:  # nothing of perfdb's may come out of here
        raise_foreign(problem)
        return type(error).__name__


def _log_trace(doing: str, error: BaseException) -> None:
    """Log the traceback as text: the logger's own would show credentials in the exception's words."""
    try:
        if (debug := debugging()) is not None:
            load("traceback", "perfdb.recording.values")
            from traceback import format_exception

            from perfdb.recording.values import clean_text

            debug("perfdb: %s\n%s", doing, "".join(clean_text(line) for line in format_exception(error)))
    except BaseException as problem:  # of the host's class, as above
        raise_foreign(problem)


def _log(message: str) -> None:
    try:
        logger().warning("perfdb: %s", message)
    except BaseException as problem:  # a filter or handler of the host that raises
        raise_foreign(problem)


def _debug(message: str, *values: object) -> None:
    try:
        logger().debug(message, *values, stacklevel=2)
    except BaseException as problem:  # see _log
        raise_foreign(problem)


def logger() -> Logger:
    """Return the logger "perfdb"."""
    load("logging")
    import logging  # costs milliseconds, and most processes have nothing to say

    return logging.getLogger("perfdb")


def debugging() -> Callable[..., None] | None:
    """Return what logs at level DEBUG where the host wants to see it, else None.

    Called in the host's threads all the time, so it does not take the lock of ``logging``: what a signal
    handler raises inside of ``getLogger`` or ``isEnabledFor`` would leave that locked, and all logging would
    hang.
    """
    logging = sys.modules.get("logging")  # who set a level has imported it
    try:
        if logging is None:
            return None
        known = logging.root.manager.loggerDict.get("perfdb")
        asked = known if isinstance(known, logging.Logger) else logging.root
        if asked.getEffectiveLevel() > logging.DEBUG or logging.root.manager.disable >= logging.DEBUG:
            return None
    except BaseException as error:  # another thread is just importing it, or a class of the host's raises
        raise_foreign(error)
        return None
    return None if asked.disabled else _debug
