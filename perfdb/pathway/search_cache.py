"""Keeps what was found for a while, so that the same search is not paid for twice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Found = TypeVar("Found")
_MOST = 1_000  # searches; those not asked for the longest go first


class SearchCache(Generic[Found]):
    """What searches found, by what was asked; of one process, shared by its threads.

    Args:
        seconds: how old an answer may be; 0: nothing is kept.
        clock: seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, Found]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, asked: Hashable) -> tuple[Found, float] | None:
        """Return what was found and its age in seconds; None when it is unknown or too old."""
        with self._lock:
            kept = self._kept.get(asked)
            if kept is None:
                return None
            age = self._clock() - kept[0]
            if age > self._seconds:
                del self._kept[asked]
                return None
            self._kept.move_to_end(asked)
            return kept[1], age

    def put(self, asked: Hashable, found: Found) -> None:
        """Keep what was found just now."""
        if self._seconds <= 0:
            return
        with self._lock:
            self._kept[asked] = self._clock(), found
            self._kept.move_to_end(asked)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
