"""Stop an answer that takes too long, whatever computes it.

Somebody in front says how long an answer may take; what reads and computes looks now and then whether
the time is over. Where nobody said anything a look costs next to nothing and never stops.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from perfdb.errors import TimeLimitError

_LOOK_EVERY = 512  # things between two looks of ``looking``: far below a millisecond of what is done here

_Thing = TypeVar("_Thing")
_until: ContextVar[tuple[float, float] | None] = ContextVar("perfdb_until", default=None)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what is computed inside, in this context, after so many seconds; an earlier end stays."""
    until = time.monotonic() + seconds
    outer = _until.get()
    token = _until.set((until, seconds) if outer is None or until < outer[0] else outer)
    try:
        yield
    finally:
        _until.reset(token)


def seconds_left() -> float | None:
    """Return how long this answer may still take, at least 0; None when nobody limits it."""
    limit = _until.get()
    return None if limit is None else max(0.0, limit[0] - time.monotonic())


def look() -> None:
    """Go on while there is time.

    Raises:
        TimeLimitError: the time of this answer is over.
    """
    limit = _until.get()
    if limit is not None and time.monotonic() > limit[0]:
        raise took_too_long(limit[1])


def looking(things: Iterable[_Thing]) -> Iterator[_Thing]:
    """Yield the things, with a look now and then.

    Raises:
        TimeLimitError: the time of this answer is over.
    """
    if _until.get() is None:
        yield from things
        return
    for number, thing in enumerate(things):
        if number % _LOOK_EVERY == 0:
            look()
        yield thing


def took_too_long(seconds: float) -> TimeLimitError:
    """Return the error that says what happened and what to do."""
    return TimeLimitError(
        f"the answer took longer than {seconds:g} s and was stopped: choose fewer sessions or a shorter time"
    )
