"""The threads on which designs are made for code that runs in an event loop.

The steps are the same ones: the libraries that they call wait in a thread, and the loop does not. Threads of
its own, because the loop's are few and others' work waits for them.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio.to_thread

from perfdb.pathway.watching import Watch


class Crew:
    """So many designs at a time, for any event loop; its threads begin with the first one."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: ThreadPoolExecutor | None = None
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()

    async def generate(
        self, work: Callable[..., dict[str, Any]], image: object, watch: Watch, **options: Any
    ) -> dict[str, Any]:
        """Return what ``work(image, watch=watch, **options)`` returns; a cancelled task calls it off."""

        def run() -> dict[str, Any]:
            watch.check()
            return work(image, watch=watch, **options)

        # beginning a thread waits for all others of the process that begin one: not in the loop
        context = contextvars.copy_context()
        try:
            future = await anyio.to_thread.run_sync(self._begun, partial(context.run, run), watch)
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            watch.cancel("its task was cancelled")
            raise

    def _begun(self, run: Callable[[], dict[str, Any]], watch: Watch) -> Future[dict[str, Any]]:
        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(self._size, thread_name_prefix="perfdb-design")
            future = self._pool.submit(run)
            self._watches.add(watch)
        future.add_done_callback(lambda _: self._watches.discard(watch))
        return future

    def close(self) -> None:
        """Call off what runs, and wait until it has ended."""
        with self._lock:
            pool, self._pool = self._pool, None
        for watch in list(self._watches):
            watch.cancel("the pathway was closed")
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
