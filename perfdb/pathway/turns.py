"""Lets threads take memory in turns, so that all of them together stay below a limit."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Bytes that the threads of this process may take at once; who came first is served first."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)  # their threads stayed in the parent

    def _forget(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0
        self._queue: deque[object] = deque()

    @contextmanager
    def of(self, size: int, limit: int) -> Iterator[None]:
        """Wait until ``size`` bytes fit beside what others hold; what is larger than the limit goes alone."""
        me, size = object(), min(size, limit)
        with self._changed:
            self._queue.append(me)
            try:
                self._changed.wait_for(lambda: self._queue[0] is me and self._taken + size <= limit)
                self._taken += size
            finally:
                self._queue.remove(me)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
