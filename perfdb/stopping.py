"""Stop an answer that takes too long, whatever computes it.

Somebody in front says how long an answer may take; what reads and computes looks now and then whether
the time is over. Where nobody said anything a look costs next to nothing and never stops.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from perfdb.errors import TimeLimitError

_LOOK_EVERY = 512  # things between two looks of ``looking``: far below a millisecond of what is done here

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class _Limit:
    until: float  # of the monotonic clock
    seconds: float
    steps: int | None
    notes: list[str]


_limit: ContextVar[_Limit | None] = ContextVar("perfdb_limit", default=None)


@contextmanager
def limited(*, seconds: float | None = None, steps: int | None = None) -> Iterator[list[str]]:
    """Limit every answer inside, in this context and the threads it is carried to; yield what it left out.

    Args:
        seconds: after which it is stopped.
        steps: that it may read; of more the newest sessions are looked at.
    """
    until = math.inf if seconds is None else time.monotonic() + seconds
    limit = _Limit(until, math.inf if seconds is None else seconds, steps, [])
    token = _limit.set(limit)
    try:
        yield limit.notes
    finally:
        _limit.reset(token)


def seconds_left() -> float:
    """Return how long this answer may still take, at least 0; infinite when nobody limits it."""
    limit = _limit.get()
    return math.inf if limit is None else max(0.0, limit.until - time.monotonic())


def most_steps() -> int | None:
    """Return how many steps this answer may read; None when nobody limits it."""
    limit = _limit.get()
    return None if limit is None else limit.steps


def notes() -> list[str]:
    """Return what was left out of this answer so far, in sentences."""
    limit = _limit.get()
    return [] if limit is None else limit.notes


def all_notes() -> str | None:
    """Return the same as one text, each sentence once; None where nothing was left out."""
    return " ".join(dict.fromkeys(notes())) or None


def look() -> None:
    """Go on while there is time.

    Raises:
        TimeLimitError: the time of this answer is over.
    """
    limit = _limit.get()
    if limit is not None and time.monotonic() > limit.until:
        raise took_too_long(limit.seconds)


def looking(things: Iterable[_Thing]) -> Iterator[_Thing]:
    """Yield the things, with a look now and then.

    Raises:
        TimeLimitError: the time of this answer is over.
    """
    if _limit.get() is None:
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
