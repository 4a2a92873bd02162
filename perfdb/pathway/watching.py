"""A design that runs, as others see it: how far it is, what it used, and how it is called off.

The caller of a design may pass a ``Watch`` and query it from any thread. Code that works on the design asks
``current()`` before it begins anything that costs money: a design that nobody waits for costs no more.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perfdb.pathway.errors import DesignCancelledError
from perfdb.vocabulary import DESIGN_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfdb.recording.tracker import Tracker
    from perfdb.records import Step

UPLOAD = "Upload"
_QUERY = "Product Query"
STEPS = (UPLOAD, *DESIGN_STEPS)

_current: ContextVar[Watch | None] = ContextVar("perfdb-design", default=None)


class Settable(Protocol):
    """The part of a step that is needed here."""

    def set(self, **data: Any) -> None:
        """Add to what is known of it."""


class Counts(Protocol):
    """The tokens of one answer."""

    def counts(self) -> dict[str, int]:
        """Return them by name."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a design used of what is paid for, all attempts together: those as well that brought nothing.

    ``cost`` stays None: prices are known where the history is written, as ``cost_usd`` of the steps.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    searches: int = 0  # that the search service answered anew, not from its cache
    images: int = 0
    cost: float | None = None
    currency: str | None = None

    def as_dict(self) -> dict[str, int | float | str | None]:
        """Return it for an answer."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a design is; seconds."""

    step: str | None  # that runs
    elapsed_s: float | None
    usual_left_s: float | None  # None while the history is too short


class Spending:
    """Adds up in a step what its attempts were answered: a retry is paid for as the first one is.

    Args:
        step: gets the sums.
        once: the service makes a repeated request once, and its answers tell the same again.
    """

    def __init__(self, step: Settable, *, once: bool = False) -> None:
        self._step = step
        self._once = once
        self._counts: Counter[str] = Counter()

    def add(self, tokens: Counts) -> None:
        """Count the tokens that one answer reports."""
        self._add(tokens.counts())

    def made(self) -> None:
        """Count a picture that came."""
        self._add({"pictures": 1, "images": 1})  # the name here, and the one that prices are of

    def _add(self, counts: dict[str, int]) -> None:
        for name, count in counts.items():
            self._counts[name] = max(count, self._counts[name]) if self._once else self._counts[name] + count
        self._step.set(**self._counts)


class Watch:
    """One design as somebody outside of its thread sees it; safe to be used from any thread."""

    def __init__(self) -> None:
        self.named: str | None = None  # the id that its session shall have, if somebody says so
        self.tracker: Tracker | None = None  # once its session runs
        self.picture: Path | None = None  # once it is written
        self._reason: str | None = None
        self._off = threading.Event()

    def cancel(self, reason: str) -> None:
        """Have the design end before its next paid step; the first reason counts."""
        if not self._off.is_set():
            self._reason = reason
            self._off.set()

    @property
    def cancelled(self) -> bool:
        """Whether it was called off; it may run on for a moment."""
        return self._off.is_set()

    def check(self) -> None:
        """Raise a DesignCancelledError when the design was called off."""
        if self._off.is_set():
            raise DesignCancelledError(f"the design was cancelled: {self._reason}")

    def pause(self, seconds: float) -> None:
        """Wait so long, for another attempt; raise a DesignCancelledError as soon as it is called off."""
        self._off.wait(seconds)
        self.check()

    @property
    def session_id(self) -> str | None:
        """The session that records it."""
        return self.tracker.session_id if self.tracker is not None else None

    def progress(self) -> Progress:
        """Return how far it is; the first time it asks the database what is usual."""
        steps = self._steps()
        if self.tracker is None:
            return Progress(None, None, None)
        elapsed = self.tracker.total_duration
        running = next((step for step in steps if step.duration is None and step.step_name in STEPS), None)
        if not self.tracker.running:
            return Progress(None, elapsed, None)
        usual = self.tracker.usual_durations
        known = set(usual) & set(DESIGN_STEPS)
        done = {step.step_name for step in steps if step.duration is not None}
        left = 0.0
        for name in known - done:
            spent = time.time() - running.start_time if running and running.step_name == name else 0.0
            left += max(0.0, usual[name] - spent)
        return Progress(running.step_name if running else None, elapsed, round(left, 3) if known else None)

    def usage(self) -> Usage:
        """Return what it used so far."""
        return usage_of(self._steps())

    def _steps(self) -> Sequence[Step]:
        session = self.tracker.session if self.tracker is not None else None
        return session.steps if session is not None else ()


def usage_of(steps: Sequence[Step]) -> Usage:
    """Return what these steps of a design used of what is paid for."""

    def total(name: str) -> int:
        counts = [step.additional_data.get(name) for step in steps if step.step_name in DESIGN_STEPS]
        return sum(count for count in counts if isinstance(count, int))

    queries = [step.additional_data for step in steps if step.step_name == _QUERY]
    return Usage(
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        searches=sum(data.get("searches", 0) for data in queries),
        images=total("pictures"),
    )


def current() -> Watch:
    """Return the watch of the design that this code works for; a new one where there is none."""
    return _current.get() or Watch()


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Make a watch the current one, in whatever thread this is."""
    before = _current.set(watch)
    try:
        yield
    finally:
        _current.reset(before)
