"""Call a function for many items on threads; exceptions that arrive while waiting pass through.

The standard library's pool is driven by a thread of ours, where no signal handler runs. An exception that one
raises inside of the pool's own locks would corrupt them, and another would replace it.
"""

from __future__ import annotations

from collections.abc import Callable

from perfdb.guard import raise_foreign
from perfdb.recording.native import Lock, Thread, is_greenlet_world

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, TypeVar

    Item = TypeVar("Item")
    Result = TypeVar("Result")

_LOOK_S = 1.0  # the waiting thread is woken; this is a safety net


def map_in_threads(function: Callable[[Item], Result], items: list[Item], max_workers: int) -> list[Result]:
    """Return the results in the order of the items.

    The first exception in that order, or one that comes in meanwhile, is raised when the running calls are
    done; those that have not begun are left out.
    """
    calls = _Calls(function, items, max_workers)
    calls.run_beside()
    if calls.failure is not None:
        try:
            raise calls.failure
        finally:
            del calls
    return calls.results


class _Calls:
    def __init__(self, function: Callable[[Any], Any], items: list[Any], max_workers: int) -> None:
        self._function = function
        self._items = items
        self._max_workers = max_workers
        self._given_up = False
        self._turn = Lock()
        self._is_done = False
        self._wakes = Lock()
        self._wakes.acquire()
        self.results: list[Any] = []
        self.failure: BaseException | None = None

    def run_beside(self) -> None:
        """Run in another thread, and wait for it."""
        begun = False
        try:
            try:
                if is_greenlet_world():  # the pool's threads are greenlets of this one
                    self.run()
                else:
                    Thread(self.run).start()
            except Exception as error:  # there can be no further thread
                raise_foreign(error)
                self.run()
            begun = True
            self._wait()
        except BaseException:
            self._given_up = True
            if begun:
                self._wait()
            raise

    def run(self) -> None:
        """Run the calls that have not been given up."""
        from concurrent.futures import ThreadPoolExecutor

        if not self._turn.acquire(blocking=False):  # a thread that was thought not to have started does it
            return
        try:
            workers = min(self._max_workers, len(self._items))
            with ThreadPoolExecutor(workers, thread_name_prefix="perfdb-map") as pool:
                try:
                    for future in [pool.submit(self._call, item) for item in self._items]:
                        self.results.append(future.result())
                finally:
                    self._given_up = True
        except BaseException as error:
            self.failure = error
        finally:
            self._is_done = True
            self._wakes.release()

    def _call(self, item: Any) -> Any:
        return None if self._given_up else self._function(item)

    def _wait(self) -> None:
        while not self._is_done:
            self._wakes.acquire(timeout=_LOOK_S)
