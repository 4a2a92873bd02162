"""A step as the host holds it while it runs: context manager, decorator, or started and stopped by hand.

Entering and leaving one costs two clock readings, two resource readings and one
line of the journal. Nothing here raises into the host, and the host's own
exceptions pass through untouched.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextvars import ContextVar
from math import inf
from resource import RUSAGE_SELF, getrusage
from types import TracebackType

from perfdb.recording.monitor import MAXRSS_UNIT
from perfdb.recording.outcomes import judge, message_of, outcome, take_expected
from perfdb.recording.values import MAX_NAME, MAX_TEXT, clean_name, is_true
from perfdb.vocabulary import COMPLETED, INTERRUPTED

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from resource import struct_rusage
    from typing import Any, ParamSpec, TypeVar

    from perfdb.recording.live import LiveSession
    from perfdb.recording.outcomes import Expected
    from perfdb.recording.tracker import Tracker
    from perfdb.recording.values import Cleaner

    P = ParamSpec("P")
    R = TypeVar("R")

NEW, OPEN, CLOSED = range(3)
MAX_PARTS = 1_000  # attempts or events of one step
FULL_ERRORS = 16  # attempts whose error is kept at length: a retry says the same again and again

current_step: ContextVar[Step | None] = ContextVar("perfdb_step", default=None)


class Step:
    """One timed part of a session, made by ``tracker.step(name, **data)``.

    ``data`` and whatever ``set`` adds become ``additional_data`` of the record.
    """

    # What most steps never change stands on the class: one store less for each, on the host's time.
    session: LiveSession | None = None
    outer: Step | None = None
    # known once it runs
    seq: int
    parent_seq: int | None = None
    lane: int
    depth = 0  # a step of the session itself
    name_json: str
    begun = inf  # monotonic clock
    announced = False  # as open, in the journal
    kept = True  # in memory, for the report
    # known once it has ended
    duration: float | None = None
    cpu_s: float | None = None
    success: bool | None = None
    interrupted = False  # it was called off: an end without success that is no failure
    error_message: str | None = None
    expected: Expected = ()  # exceptions that call it off
    # readings of the monitor, bytes
    rss_peak = 0
    rss_sum = 0
    rss_count = 0
    attempts: Sequence[dict[str, Any]] = ()
    events: Sequence[tuple[str, float, dict[str, Any]]] = ()
    _state = NEW
    _usage: struct_rusage  # when it began
    _failed_until: float | None = None
    _cleaner: Cleaner | None = None  # of the events: one bound for all of them
    _closed_by_end = False

    def __init__(self, tracker: Tracker, name: str, data: dict[str, Any]) -> None:
        self._tracker = tracker
        self.name = name
        self.data = data
        if "expected" in data:
            self.expected = take_expected(data)

    # -- running ---------------------------------------------------------------

    def start(self) -> Step:
        """Begin; ``with`` does it for you."""
        return self.__enter__()

    def stop(self, *, success: bool = True, error: BaseException | str | None = None) -> None:
        """End; ``error`` becomes its ``error_message`` and makes it failed.

        An exception that calls work off, such as a cancellation, makes it interrupted; ``SystemExit(0)`` is
        a success.
        """
        try:
            self._end(is_true(success), error)
        except Exception as problem:
            self._tracker._health.failed("recording a step", problem)

    def set(self, **data: Any) -> None:
        """Add to ``additional_data``; later values replace earlier ones."""
        self.data.update(data)

    def event(self, name: str, /, **data: Any) -> None:
        """Note that something happened now."""
        try:
            self._note(name, data)
        except Exception as error:
            self._tracker._health.failed("recording an event", error)

    def attempt(self) -> Attempt:
        """Return a context manager around one try; the time after a failed one is its back-off."""
        return Attempt(self)

    @property
    def start_time(self) -> float:
        """Epoch seconds."""
        return self.session.wall(self.begun) if self.session is not None else 0.0

    @property
    def is_open(self) -> bool:
        """Whether it runs."""
        return self._state == OPEN

    def abandon(self) -> None:
        """Leave its end to another process: this one is a fork."""
        self._state = CLOSED
        self._closed_by_end = True

    def step(self, name: str, /, **data: Any) -> Step:
        """Return a further step of the same tracker; inside this one it is nested."""
        return Step(self._tracker, name, data)

    def _begin(self) -> None:
        if self._state == OPEN:
            self._tracker._health.misused(
                f"step {self.name!r} was started while it runs: make a new one with step()"
            )
            return
        session = self._tracker._live
        if session is None or session.ended:
            when = "before start_pipeline()" if session is None else "after end_pipeline()"
            self._tracker._health.misused(
                f"step {self.name!r} was entered {when}: it runs, but is not recorded"
            )
            return
        if self._state == CLOSED:
            self._forget()
        self.session = session
        outer = current_step.get()
        if outer is not None:
            self.outer = outer
            parent: Step | None = outer
            while parent is not None and (parent.session is not session or parent._state != OPEN):
                parent = parent.outer
            if parent is not None:
                self.parent_seq, self.depth = parent.seq, parent.depth + 1
        session.starting(self)
        self._state = OPEN
        current_step.set(self)
        self._usage = getrusage(RUSAGE_SELF)
        self.begun = session.monotonic()

    def _note(self, name: str, data: dict[str, Any]) -> None:
        session = self.session
        if session is None or self._state != OPEN or len(self.events) >= MAX_PARTS:
            return
        if self._cleaner is None:
            self._cleaner = session.cleaner()
        event = (clean_name(name), round(session.now(), 6), self._cleaner.clean(data))
        self.events = (*self.events, event)

    def _forget(self) -> None:
        """Become new again: a handle may be entered several times."""
        kept = {
            "_tracker": self._tracker,
            "name": self.name,
            "data": dict(self.data),
            "expected": self.expected,
        }
        self.__dict__.clear()
        self.__dict__.update(kept)

    def _end(
        self,
        success: bool,
        error: BaseException | str | None,
        *,
        by_end: bool = False,
        called_off: bool = False,
    ) -> None:
        session = self.session
        if session is None or self._state != OPEN:
            if session is not None and not self._closed_by_end:
                self._tracker._health.misused(f"step {self.name!r} was stopped, but it does not run")
            return
        now = session.monotonic()
        used, before = getrusage(RUSAGE_SELF), self._usage
        del self._usage  # kept for the report it would weigh as much as the step
        self._state = CLOSED
        if by_end:
            self._closed_by_end = True
        if used.ru_maxrss > before.ru_maxrss:  # a new record of the process was set inside this step
            self.rss_peak = max(self.rss_peak, used.ru_maxrss * MAXRSS_UNIT)
        self.success = success
        if error is not None:
            status, self.error_message = judge(success, error, self.expected + session.expected)
            self.success, self.interrupted = status == COMPLETED, called_off or status == INTERRUPTED
        if current_step.get() is self:
            current_step.set(self.outer)
        duration_us = int((now - self.begun) * 1e6 + 0.5)
        cpu_us = int((used.ru_utime - before.ru_utime + used.ru_stime - before.ru_stime) * 1e6 + 0.5)
        self.duration, self.cpu_s = duration_us / 1e6, cpu_us / 1e6
        session.closed(self, duration_us, cpu_us)

    @property
    def rss_mean(self) -> int:
        """Mean resident bytes of its readings."""
        return self.rss_sum // self.rss_count if self.rss_count else 0

    def observe(self, rss_bytes: int) -> None:
        """Take a reading of the monitor."""
        self.rss_peak = max(self.rss_peak, rss_bytes)
        self.rss_sum += rss_bytes
        self.rss_count += 1

    # -- as a context manager and decorator ------------------------------------

    def __enter__(self) -> Step:
        try:
            self._begin()
        except Exception as error:
            self._tracker._health.failed("starting a step", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state == OPEN:
            try:
                self._end(True, error)
            except Exception as problem:
                self._tracker._health.failed("recording a step", problem)

    async def __aenter__(self) -> Step:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function, coroutine function or generator: each call is a step of its own."""
        import inspect

        if inspect.isasyncgenfunction(function):
            stepped = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            stepped = self._around_generator(function)
        else:
            return called_within(self._again, function)
        wrapped: Callable[P, R] = functools.wraps(function)(stepped)
        return wrapped

    def _again(self) -> Step:
        again = Step(self._tracker, self.name, dict(self.data))
        again.expected = self.expected
        return again

    def _around_generator(self, function: Callable[..., Generator[Any, Any, Any]]) -> Any:
        # between two items the consumer runs, whose own steps are not part of this one
        def stepped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with self._again() as step:
                generator = function(*args, **kwargs)
                resume: Callable[[Any], Any] = generator.send
                value: Any = None
                while True:
                    current_step.set(step)
                    try:
                        item = resume(value)
                    except StopIteration as end:
                        return end.value
                    current_step.set(step.outer)
                    try:
                        resume, value = generator.send, (yield item)
                    except GeneratorExit:  # the consumer had enough
                        generator.close()
                        step.stop()
                        raise
                    except BaseException as error:
                        resume, value = generator.throw, error

        return stepped

    def _around_async_generator(self, function: Callable[..., AsyncGenerator[Any, Any]]) -> Any:
        async def stepped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            with self._again() as step:
                generator = function(*args, **kwargs)
                resume: Callable[[Any], Any] = generator.asend
                value: Any = None
                while True:
                    current_step.set(step)
                    try:
                        item = await resume(value)
                    except StopAsyncIteration:
                        return
                    current_step.set(step.outer)
                    try:
                        resume, value = generator.asend, (yield item)
                    except GeneratorExit:
                        await generator.aclose()
                        step.stop()
                        raise
                    except BaseException as error:
                        resume, value = generator.athrow, error

        return stepped


class Attempt:
    """One try at the work of a step; an exception makes it failed and passes."""

    __slots__ = ("_started", "_step", "wait")

    def __init__(self, step: Step) -> None:
        self._step = step
        self._started: float | None = None
        self.wait = 0.0

    def __enter__(self) -> Attempt:
        try:
            self._begin()
        except Exception as error:
            self._step._tracker._health.failed("starting an attempt", error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(error)
        except Exception as problem:
            self._step._tracker._health.failed("recording an attempt", problem)

    def _begin(self) -> None:
        session = self._step.session
        if session is not None:
            self._started = session.monotonic()
            if self._step._failed_until is not None:
                self.wait = max(0.0, self._started - self._step._failed_until)

    def _end(self, error: BaseException | None) -> None:
        step, session = self._step, self._step.session
        if session is None or self._started is None or step._state != OPEN:
            return
        now = session.monotonic()
        success = error is None or outcome(error) == COMPLETED
        step._failed_until = None if success else now
        if len(step.attempts) < MAX_PARTS:
            limit = MAX_TEXT if len(step.attempts) < FULL_ERRORS else MAX_NAME
            step.attempts = (
                *step.attempts,
                {
                    "start_time": round(session.wall(self._started), 6),
                    "duration": round(now - self._started, 6),
                    "wait": round(self.wait, 6),
                    "success": success,
                    "error_message": None if error is None or success else message_of(error, limit),
                },
            )

    async def __aenter__(self) -> Attempt:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def called_within(
    entered: Callable[[], AbstractContextManager[Any]], function: Callable[P, R]
) -> Callable[P, R]:
    """Wrap a function or coroutine function so that each call runs inside a context of its own."""
    import inspect

    wrapped: Any
    if inspect.iscoroutinefunction(function):

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            with entered():
                return await function(*args, **kwargs)

    else:

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with entered():
                return function(*args, **kwargs)

    return functools.wraps(function)(wrapped)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it keeps the caller's step as its parent when it runs in another thread.

    Works with every pool: ``pool.submit(perfdb.carry(fetch), url)``.
    """
    step = current_step.get()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = current_step.set(step)
        try:
            return function(*args, **kwargs)
        finally:
            current_step.reset(token)

    return carried
