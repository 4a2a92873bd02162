"""What moves, pushed to all who listen: one cheap look at the database for all of them, none if nobody does.

A look asks SQLite for its ``data_version`` (PostgreSQL for the end of its log); only when that moved
is anything read, once for all listeners.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from perfdb.errors import PerfdbError
from perfdb.web.answers.overview import live
from perfdb.web.schemas import Live
from perfdb.web.served import ServedHistory

logger = logging.getLogger("perfdb")

LOOK_EVERY_S = 0.75  # a recording process writes once a second: what begins is seen within 2 s
BEAT_EVERY_S = 20.0  # a comment, so that proxies and dead connections show
MOST_LISTENERS = 64  # each holds a connection for good


class LiveFeed:
    """The stream of changes of one served history."""

    def __init__(
        self, history: ServedHistory, *, every_s: float = LOOK_EVERY_S, most_listeners: int = MOST_LISTENERS
    ) -> None:
        self._history = history
        self._every_s = every_s
        self._most_listeners = most_listeners
        self._watch = history.watch()
        self._looking = threading.Lock()
        self._is_closed = False
        self._listeners: set[asyncio.Queue[Live]] = set()
        self._latest: asyncio.Future[Live | None] | None = None  # what those who come are given
        self._latest_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.version = 0

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    @property
    def is_looking(self) -> bool:
        """Whether the database is looked at from time to time."""
        return self._task is not None and not self._task.done()

    async def events(self) -> AsyncIterator[str]:
        """Yield server-sent events: ``live`` with a ``schemas.Live`` first and at every change.

        Of too many listeners the newest are sent away, and asked to come again later.
        """
        if len(self._listeners) >= self._most_listeners:
            yield "retry: 15000\n\n"
            return
        queue: asyncio.Queue[Live] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            if not self.is_looking:
                self._task = asyncio.create_task(self._look_again_and_again())
            yield "retry: 2000\n\n"
            while (first := await self._begin()) is None:
                yield ": the database cannot be read now\n\n"
                await asyncio.sleep(self._every_s)
            yield _event(first)
            while True:
                try:
                    answer = await asyncio.wait_for(queue.get(), BEAT_EVERY_S)
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                while not queue.empty():  # a slow listener gets the newest only
                    answer = queue.get_nowait()
                yield _event(answer)
        finally:
            self._listeners.discard(queue)

    async def _begin(self) -> Live | None:
        """Return what moves: read once for all who come between two looks, however many come and go."""
        moment = asyncio.get_running_loop().time()
        latest = self._latest
        if latest is None or (latest.done() and moment - self._latest_at >= self._every_s):
            self._latest = latest = asyncio.create_task(_or_nothing(self.now))
            self._latest_at = moment
        return await asyncio.shield(latest)

    def now(self) -> Live:
        """Return what moves, as it is now."""
        return live(self._history, self.version)

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        with self._looking:  # the thread of a look that was cancelled goes on, and would open it again
            self._is_closed = True
            self._watch.close()

    async def _look_again_and_again(self) -> None:
        while self._listeners:
            answer = await _or_nothing(self.look)
            if answer is not None:
                self._latest = asyncio.get_running_loop().create_future()
                self._latest.set_result(answer)
                for queue in self._listeners:
                    queue.put_nowait(answer)
            await asyncio.sleep(self._every_s)

    def look(self) -> Live | None:
        """Return what moves if anything did since the last look."""
        with self._looking:
            if self._is_closed:
                return None
            self._history.take_in()
            if not self._watch.moved():
                return None
            self.version += 1
            return self.now()


async def _or_nothing(look: Callable[[], Live | None]) -> Live | None:
    try:
        return await asyncio.to_thread(look)
    except PerfdbError as error:  # the database may come back
        logger.debug("nothing can be seen of the database now: %s", error)
    except Exception:  # those who listen would wait for ever
        logger.warning("the live view missed a change", exc_info=True)
    return None


def _event(answer: Live) -> str:
    return f"event: live\nid: {answer.version}\ndata: {answer.model_dump_json()}\n\n"
