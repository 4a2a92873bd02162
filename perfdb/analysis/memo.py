"""What was computed of a few thousand sessions, for the next question about the same ones.

A session that ended seldom changes, and a page that many look at asks the same of it again and again. What is
kept goes by the content that it was computed from, so that nothing has to be forgotten when that changes.
"""

from __future__ import annotations

import marshal
import threading
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")


def digest(*columns: Any) -> bytes:
    """Return what tells contents apart; columns are lists of numbers, texts and None, or such values."""
    # of version 2: later ones tell an object that occurs twice from two equal ones
    return blake2b(marshal.dumps(columns, 2), digest_size=16).digest()


class Memo(Generic[Value]):
    """What was computed last, by content; for threads.

    Args:
        most: how much is kept, by the weights that callers give; what was not asked for longest goes first.
    """

    def __init__(self, most: int) -> None:
        self._most, self._weight = most, 0
        self._found: dict[bytes, tuple[Value, int]] = {}
        self._lock = threading.Lock()

    def of(self, key: bytes, weight: int, make: Callable[[], Value]) -> Value:
        """Return what is known under a key, or else make it."""
        known = self._changed(lambda: self._asked(key))
        if known is not None:
            return known[0]
        made = make()
        self._changed(lambda: self._keep(key, made, weight))
        return made

    def _changed(self, change: Callable[[], Result]) -> Result | None:
        """Do it, unless another thread is at it: in a process that was forked meanwhile it stays so."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return change()
        finally:
            self._lock.release()

    def _asked(self, key: bytes) -> tuple[Value, int] | None:
        known = self._found.pop(key, None)
        if known is not None:
            self._found[key] = known  # now the newest
        return known

    def _keep(self, key: bytes, made: Value, weight: int) -> None:
        if key in self._found or weight > self._most:
            return
        self._found[key] = made, weight
        self._weight += weight
        while self._weight > self._most:
            _, gone = self._found.pop(next(iter(self._found)))
            self._weight -= gone
