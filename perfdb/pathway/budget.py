"""What a call may take: a total of seconds and of bytes, for connecting, head, body and redirects together.

The libraries' own time-outs are for one read of a socket, so an answer in drips never meets one. Here each
read and write of a socket takes at most what its call has left (``sockets`` brings this below the libraries),
and no call has longer than the design that it belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from perfdb.pathway import watching
from perfdb.pathway.errors import DesignTimeoutError

Item = TypeVar("Item")
Result = TypeVar("Result")


class TooManyBytesError(OSError):
    """An answer is longer than its call may receive."""


class Budget:
    """Seconds and bytes of one call, or of a whole design, and whether it may ask this network."""

    def __init__(
        self, seconds: float, max_bytes: int | None, outer: Budget | None, *, public: bool = False
    ) -> None:
        self.seconds = seconds
        self.outer = outer
        end = time.monotonic() + seconds
        self._end: float = end if outer is None else min(end, outer._end)
        self._max_bytes = max_bytes
        self._received = 0
        self.sent = False  # whether anything of a request was written to a socket
        self.overrun = False  # whether more bytes came than it may receive
        self.public = public  # no address is asked but those of the internet
        self.astray = False  # whether another one was to be

    @property
    def left_s(self) -> float:
        """Seconds until its end; not below 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._end

    def received(self, count: int) -> None:
        """Count bytes of the answer.

        Raises:
            TooManyBytesError: it is one more than it may receive.
        """
        self._received += count
        if self._max_bytes is not None and self._received > self._max_bytes:
            self.overrun = True
            raise TooManyBytesError("the answer is too long")


_current: ContextVar[Budget | None] = ContextVar("perfdb_pathway_budget", default=None)


@contextmanager
def within(seconds: float, max_bytes: int | None = None, *, public: bool = False) -> Iterator[Budget]:
    """Give what runs inside a total of seconds, no more than what it is inside of has, and one of bytes.

    What is ``public`` connects to addresses of the internet only.
    """
    budget = Budget(seconds, max_bytes, _current.get(), public=public)
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def current() -> Budget | None:
    """Return the budget of the running call, or of the design between two calls."""
    return _current.get()


def left(timeout: float | None) -> float | None:
    """Return the seconds that one read or write may take: ``timeout``, or less when the call has less.

    Raises:
        TimeoutError: the call has no time left.
    """
    budget = _current.get()
    if budget is None:
        return timeout
    seconds = budget.left_s
    if seconds <= 0:
        raise TimeoutError("timed out")
    return seconds if timeout is None else min(timeout, seconds)


def ensure_time() -> None:
    """Raise a DesignTimeoutError when the design has no time left."""
    budget = _current.get()
    while budget is not None and budget.outer is not None:
        budget = budget.outer
    if budget is not None and budget.expired:
        raise DesignTimeoutError(
            f"the design was given up after {budget.seconds:g} s: raise design_timeout_s under [pathway], "
            "or look at which step takes long"
        )


def carried(function: Callable[[Item], Result]) -> Callable[[Item], Result]:
    """Wrap a function so that it runs within the caller's budget and watch, in whatever thread."""
    budget, watch = _current.get(), watching.current()

    def run(item: Item) -> Result:
        token = _current.set(budget)
        try:
            with watching.watched(watch):
                return function(item)
        finally:
            _current.reset(token)

    return run


def body_of(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """Return an answer's body, decompressed, up to a limit and within the running call's time.

    Raises:
        TooManyBytesError: it is longer.
        TimeoutError: the call's time is over.
    """
    found, size = [], 0
    for chunk in chunks:
        left(None)
        size += len(chunk)
        if size > max_bytes:
            if (budget := _current.get()) is not None:
                budget.overrun = True
            raise TooManyBytesError("the answer is too long")
        found.append(chunk)
    return b"".join(found)
