"""One timed step of a session.

A step is a context manager (``with`` and ``async with``), a decorator for functions,
coroutines and generators of both kinds, and a handle to start and stop by hand. When it
ends it is in the journal. Nothing of perfdb's own is raised into the host, and the host's
exceptions pass through untouched, also those that arrive in the middle of a start or an end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import floor
from resource import RUSAGE_SELF, getrusage
from threading import get_ident
from types import TracebackType

from perfdb.guard import foreign, raise_foreign, to_its_end
from perfdb.recording import counters, live
from perfdb.recording.context import CLOSED, NEW, OPEN, called_within, open_from
from perfdb.recording.context import current as current_step
from perfdb.recording.counters import COUNTERS
from perfdb.recording.frames import innermost_on_stack, was_left
from perfdb.recording.live import KNOWN_NAMES
from perfdb.recording.monitor import MAXRSS_UNIT
from perfdb.recording.outcomes import message_of, outcome_of, status_of, take_expected
from perfdb.recording.timed import Timed
from perfdb.recording.values import MAX_NAME, MAX_TEXT, clean_name, is_true
from perfdb.vocabulary import COMPLETED, INTERRUPTED

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, ParamSpec, Protocol, TypeVar

    from perfdb.recording.context import Node, Scope
    from perfdb.recording.health import Health
    from perfdb.recording.live import LiveSession, Reading
    from perfdb.recording.values import Cleaner

    P = ParamSpec("P")
    R = TypeVar("R")

    class Owner(Protocol):
        """What a step needs to know of its tracker."""

        _health: Health
        _live: LiveSession | None
        _scope: Scope | None


MAX_PARTS = 1_000  # attempts or events of one step
FULL_ERRORS = 16  # attempts whose error is kept at length: a retry says the same again and again
_READING_HOLDS_S = 2e-5  # a step that begins so soon after another one's end takes over its reading
_NO_READING = (0.0, 0.0, 0)
LEFT = "an exception left it before its end could be recorded"

_KEPT = (
    "_tracker",
    "name",
    "detail",
    "data",
    "expected",
    "_parent",
    "_frame",
    "_entered_at",
)  # when it begins anew
_frame_of_caller = sys._getframe


class Step(Timed):
    """One timed part of a session, made by ``tracker.step(name, **data)``.

    ``data`` and whatever ``set`` adds become ``additional_data`` of the record.
    """

    session: LiveSession | None = None
    _reading: Reading = _NO_READING  # when it began, while it runs
    _failed_until: float | None = None
    _cleaner: Cleaner | None = None  # of the events: one bound for all of them
    _called_off = False  # by the end of its session

    def __init__(self, tracker: Owner, name: str, data: dict[str, Any], parent: Step | None = None) -> None:
        self._tracker = tracker
        self.name = name
        self.data = data
        self._parent = parent
        if "expected" in data:
            self.expected = take_expected(data)
        # what every step asks for later: to find a class's value takes longer than to store one
        self._state = NEW
        self.duration_us = None
        self._ended_elsewhere = self.has_parts = False
        self.kept = True
        self.rss_peak = self.rss_count = 0
        self.parent_seq = self.error_message = None

    # -- running ---------------------------------------------------------------

    def start(self) -> Step:
        """Begin; ``with`` does it for you."""
        try:
            self._begin()
        except BaseException as error:
            self._broken_off(error)
        return self

    def stop(self, *, success: bool = True, error: BaseException | str | None = None) -> None:
        """End; ``error`` becomes its ``error_message`` and makes it failed.

        An exception that calls work off, such as a cancellation, makes it interrupted; ``SystemExit(0)`` is
        a success.
        """
        try:
            self._end(is_true(success), error)
        except BaseException as problem:
            self._go_on_ending(problem, success is True, error)

    def set(self, **data: Any) -> None:
        """Add to ``additional_data``; later values replace earlier ones."""
        self.data.update(data)

    def event(self, name: str, /, **data: Any) -> None:
        """Note that something happened now."""
        try:
            self._note(name, data)
        except Exception as error:
            raise_foreign(error)
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

    def step(self, name: str, /, **data: Any) -> Step:
        """Return a further step of the same tracker, inside this one, whatever thread or task begins it."""
        return Step(self._tracker, name, data, self)

    def _begin(self) -> None:
        """Find its place, be taken in by the session, become current; the clock runs last.

        This and ``_end`` run on the host's time: what only some steps need is in functions of their own.
        """
        tracker = self._tracker
        session = tracker._live
        if self._state != NEW or session is None or session.ended:
            session = self._in_order(session)
            if session is None:
                return
        outer = current_step.get()
        if outer is tracker._scope and self._parent is None and not session.open_steps:
            if session.root_seq is not None:
                self.parent_seq = session.root_seq
        else:
            outer = self._find_place(session, open_from(outer))
        self.outer = outer
        # a function in an attribute is called by way of a name: the interpreter is faster at that
        next_seq, monotonic = session.next_seq, session.monotonic
        self.seq = seq = next_seq()
        thread = get_ident()  # no call in the `try`: after each a signal handler may raise its own KeyError
        try:
            self.lane = session.lanes[thread]
        except KeyError:
            self.lane = session.new_lane(thread)
        name = self.name
        # whatever else it is may have no hash, or one that raises
        self.name, self.name_json = KNOWN_NAMES[name] if type(name) is str else live.know_name(name)
        if session.tells:
            session.tell_start(self)
        session.open_steps[seq] = self
        steps = session.steps
        if len(steps) < live.MAX_STEPS:
            steps.append(self)
        else:
            self.kept = False
        current_step.set(self)
        self.session = session
        self._reading = reading = session.reading
        self.begun = begun = monotonic()
        if begun - reading[0] > _READING_HOLDS_S:
            self._reading = session.read_usage()
            self.begun = monotonic()
        if COUNTERS:
            self.used, self.has_parts = counters.read(), True
        self._state = OPEN

    def _in_order(self, session: LiveSession | None) -> LiveSession | None:
        """Let an ended step begin anew; else return no session, and say what is out of order."""
        if self._state == OPEN:
            self._tracker._health.misused(
                f"step {self.name!r} was started while it runs: make a new one with step()"
            )
            return None
        if session is None or session.ended:
            when = "before start_pipeline()" if session is None else "after end_pipeline()"
            self._tracker._health.misused(
                f"step {self.name!r} was entered {when}: it runs, but is not recorded"
            )
            return None
        self._forget()
        return session

    def _find_place(self, session: LiveSession, outer: Node | None) -> Node | None:
        """Take a parent, which may be none; return what is current."""
        parent: Timed | None = self._parent
        if parent is None or parent.session is not session:
            parent, outer = self._find_parent(session, outer)
        if parent is not None:
            self.parent_seq, self.depth = parent.seq, parent.depth + 1
        elif session.root_seq is not None:
            self.parent_seq = session.root_seq
        return outer

    def _find_parent(self, session: LiveSession, outer: Node | None) -> tuple[Timed | None, Node | None]:
        """Return the innermost open step of the session from ``outer`` outwards, and what is current."""
        lane = session.lane_here()
        while isinstance(outer, Step) and outer._was_left(lane):
            outer._cut_off()
            outer = open_from(outer.outer)
        node = outer
        while node is not None and (node.session is not session or node._state != OPEN):
            node = node.outer
        if isinstance(node, Step):
            return node, outer
        if session.open_steps:
            return innermost_on_stack(list(session.open_steps.values())), outer
        return None, outer

    def _was_left(self, lane: int) -> bool:
        """Tell, in the thread of a lane, whether an exception has left its ``with`` block without its end."""
        if self._frame is None or self.lane != lane:
            return False
        return was_left(self._frame, self._entered_at)

    def _cut_off(self) -> None:
        """End, long after an exception left it."""
        self._end(False, LEFT)
        self._ended_elsewhere = True

    def _broken_off(self, error: BaseException) -> None:
        """Undo a start that ``error`` interrupted; raise the error unless it is perfdb's own."""
        other = foreign(error, sys._getframe(1))
        self._frame = None
        if self._state != OPEN and hasattr(self, "seq"):
            self._tracker._live.unregister(self)  # type: ignore[union-attr]
            if current_step.get() is self:
                current_step.set(self.outer)
            self._forget()
        elif self._state == OPEN:
            self._end(False, error)
        if other is not None:
            raise other
        self._tracker._health.failed("starting a step", error)

    def _note(self, name: str, data: dict[str, Any]) -> None:
        session = self.session
        if session is None or self._state != OPEN or len(self.events) >= MAX_PARTS:
            return
        if self._cleaner is None:
            self._cleaner = session.cleaner()
        event = (clean_name(name), round(session.now(), 6), self._cleaner.clean(data))
        self.events, self.has_parts = (*self.events, event), True

    def _forget(self) -> None:
        """Become new again: a handle may be entered several times."""
        kept = {name: value for name, value in self.__dict__.items() if name in _KEPT}
        self.__dict__.clear()
        self.__dict__.update(kept, data=dict(kept["data"]))

    def _end(self, success: bool, error: BaseException | str | None) -> None:
        """End; called again after an exception of the host's interrupted it, do the rest."""
        session = self.session
        if session is None or self._state != OPEN:
            if session is not None and not self._ended_elsewhere:
                self._tracker._health.misused(f"step {self.name!r} was stopped, but it does not run")
            return
        if self.duration_us is None:
            if self.has_parts and self.used:
                self.used = counters.used_since(self.used)
            monotonic, before = session.monotonic, self._reading
            now = monotonic()
            used = getrusage(RUSAGE_SELF)  # as ``session.read_usage`` does
            cpu_s, highest_rss = used.ru_utime + used.ru_stime, used.ru_maxrss
            session.reading = (now, cpu_s, highest_rss)
            if highest_rss > before[2]:  # a new record of the process was set inside this step
                self.rss_peak = max(self.rss_peak, highest_rss * MAXRSS_UNIT)
            self.success = success
            if error is not None:
                status, self.error_message = outcome_of(success, error, self.expected + session.expected)
                self.success = status == COMPLETED
                self.interrupted = self._called_off or status == INTERRUPTED
            self.cpu_us = floor((cpu_s - before[1]) * 1e6 + 0.5)
            self.duration_us = floor((now - self.begun) * 1e6 + 0.5)
        if current_step.get() is self:
            outer = self.outer
            current_step.set(outer if outer is None or outer._state == OPEN else open_from(outer))
        if not self._ended_elsewhere:
            session.closed(self)
        self._frame, self._reading = None, _NO_READING  # the step itself is kept for the report
        self._state = CLOSED

    def _end_with_session(self, reason: str, *, called_off: bool) -> None:
        """End as failed, or as called off; its own end may still come, and is no mistake then."""
        self._called_off = called_off
        try:
            self._end(False, reason)
        finally:
            self._ended_elsewhere = self._ended_elsewhere or self._state == CLOSED

    # -- as a context manager and decorator ------------------------------------

    def __enter__(self) -> Step:
        try:
            self._frame = frame = _frame_of_caller(1)
            self._entered_at = frame.f_lasti
            self._begin()
        except BaseException as error:
            self._broken_off(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state == OPEN:
            try:
                self._end(True, error)
            except BaseException as problem:
                self._go_on_ending(problem, True, error)

    def _go_on_ending(self, problem: BaseException, success: bool, error: BaseException | str | None) -> None:
        """Finish an end that ``problem`` interrupted; raise that unless it is perfdb's own."""
        other = foreign(problem, sys._getframe(1))
        if other is None:
            self._tracker._health.failed("recording a step", problem)
            return
        if self._state == OPEN:
            to_its_end(self._tracker._health, "recording a step", lambda: self._end(success, error))
        raise other

    async def __aenter__(self) -> Step:
        self._frame = frame = _frame_of_caller(1)
        self._entered_at = frame.f_lasti
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function of any kind: each call is a step of its own."""
        return called_within(self._again, function)

    def _again(self) -> Step:
        again = Step(self._tracker, self.name, dict(self.data), self._parent)
        again.expected = self.expected
        return again


class Attempt:
    """One try at the work of a step; an exception makes it failed and passes."""

    __slots__ = ("_started", "_step", "wait")

    def __init__(self, step: Step) -> None:
        self._step = step
        self._started: float | None = None
        self.wait = 0.0

    def __enter__(self) -> Attempt:
        to_its_end(self._step._tracker._health, "starting an attempt", self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        to_its_end(self._step._tracker._health, "recording an attempt", lambda: self._end(error))

    def _begin(self) -> None:
        session = self._step.session
        if session is not None:
            self._started = session.monotonic()
            if self._step._failed_until is not None:
                self.wait = max(0.0, self._started - self._step._failed_until)

    def _end(self, error: BaseException | None) -> None:
        step, session, started = self._step, self._step.session, self._started
        if session is None or started is None or step._state != OPEN:
            return
        now = session.monotonic()
        success = error is None or status_of(error) == COMPLETED
        step._failed_until = None if success else now
        if len(step.attempts) < MAX_PARTS:
            step.has_parts = True
            limit = MAX_TEXT if len(step.attempts) < FULL_ERRORS else MAX_NAME
            step.attempts = (
                *step.attempts,
                {
                    "start_time": round(session.wall(started), 6),
                    "duration": round(now - started, 6),
                    "wait": round(self.wait, 6),
                    "success": success,
                    "error_message": None if error is None or success else message_of(error, limit),
                },
            )
        self._started = None  # it is recorded once

    async def __aenter__(self) -> Attempt:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
