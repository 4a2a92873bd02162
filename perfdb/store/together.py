"""Ask a server that is far away several things in one exchange.

Pieces of work that each ask the database go on side by side until all of them wait for an answer; then all
that they asked is sent at once (psycopg's pipeline). One of them runs at a time: each has a thread, and the
baton goes from one to the next. SQLite is near: there they are done one after the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache, partial
from typing import Any, TypeVar

from sqlalchemy import Connection

from perfdb.store.dialects import begin, is_shared

_AT_ONCE = 100  # pieces of work that have threads

Answer = TypeVar("Answer")
Question = Callable[[], object]


def together(connection: Connection | None, *works: Callable[[], Any]) -> list[Any]:
    """Return what each piece of work returns; what they ask at the same time is asked in one exchange."""
    if connection is None or len(works) < 2 or not is_shared(connection):
        return [work() for work in works]
    driver: Any = connection.connection.driver_connection
    if not driver.only_reads:  # a worker is in a host that may fork
        return [work() for work in works]
    begin(connection)
    found: list[Any] = []
    for place in range(0, len(works), _AT_ONCE):
        found += _together(driver, works[place : place + _AT_ONCE])
    return found


def keep_answers(connection: Connection) -> None:
    """Have a server asked only once for the same, as long as this reading goes on and sees one moment."""
    if is_shared(connection):
        begin(connection)
        connection.connection.driver_connection.kept = {}  # type: ignore[union-attr]


def for_each(connection: Connection, work: Callable[[Any], Answer], items: Iterable[Any]) -> list[Answer]:
    """Return what the work makes of each item, as ``together`` does."""
    if not is_shared(connection):
        return [work(item) for item in items]  # one at a time: there may be many
    return together(connection, *(partial(work, item) for item in items))


def when_needed(connection: Connection | None, read: Callable[[], Answer]) -> Callable[[], Answer]:
    """Return what gives the answer of a read that may not be needed; a server is asked now, beside others."""
    if connection is None or not is_shared(connection):
        return cache(read)
    found = read()
    return lambda: found


def _together(driver: Any, works: tuple[Callable[[], Any], ...]) -> list[Any]:
    is_first = driver.side_by_side is None
    hub = Hub(driver) if is_first else driver.side_by_side
    driver.side_by_side = hub
    try:
        return hub.run(works)
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C: what the server computes is for nobody
            driver.close()
        raise
    finally:
        if is_first:
            driver.side_by_side = None


class Hub:
    """Work that goes on side by side over one connection of psycopg."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._baton = threading.Lock()  # held by the work that runs
        self._running = 1
        self._asked: list[tuple[Question, _Waiting]] = []
        self._baton.acquire()

    def ask(self, question: Question) -> None:
        """Have a question sent with those of the others; its answer is there afterwards."""
        waiting = _Waiting()
        self._asked.append((question, waiting))
        self._pause()
        with self._resting():
            waiting.done.wait()
        if waiting.error is not None:
            raise waiting.error

    def run(self, works: tuple[Callable[[], Any], ...]) -> list[Any]:
        """Do the work, each piece in a thread, and return what it returns."""
        results: list[Any] = [None] * len(works)
        errors: list[BaseException] = []
        ended, left = threading.Event(), len(works)

        def do(place: int, work: Callable[[], Any]) -> None:
            nonlocal left
            self._baton.acquire()
            try:
                results[place] = work()
            except BaseException as error:
                errors.append(error)
            finally:
                left -= 1
                if not left:
                    self._running += 1  # whoever waits for us
                    ended.set()
                self._pause()
                self._baton.release()

        self._running += len(works)
        for place, work in enumerate(works):
            context = copy_context()
            threading.Thread(target=context.run, args=(do, place, work), daemon=True).start()
        self._pause()
        with self._resting():
            ended.wait()
        if errors:
            raise errors[0]
        return results

    @contextmanager
    def _resting(self) -> Iterator[None]:
        self._baton.release()
        try:
            yield
        finally:
            self._baton.acquire()

    def _pause(self) -> None:
        """Have one less run; the last one sends what all the others asked."""
        self._running -= 1
        if self._running or not self._asked:
            return
        asked, self._asked = self._asked, []
        self._running += len(asked)
        error: BaseException | None = None
        self._driver.side_by_side = None  # they are asked now
        try:
            with self._driver.pipeline():
                for question, _ in asked:
                    question()
        except BaseException as failure:
            error = failure
        finally:
            self._driver.side_by_side = self
        for _, waiting in asked:
            waiting.error = error
            waiting.done.set()


class _Waiting:
    def __init__(self) -> None:
        self.done = threading.Event()
        self.error: BaseException | None = None
