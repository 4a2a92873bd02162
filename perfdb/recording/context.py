"""Where a new step belongs: what is current in this thread, task or generator, and how to carry it elsewhere.

What is current is the innermost open step, or the session that no step is open in. It lives in a context
variable, so that every thread and task has its own; ``carry`` takes it along to a pool's threads, a token to
other processes. A step that ended in another context stays in the variable of the one it began in; a lookup
skips it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextvars import ContextVar

from perfdb.errors import InvalidSessionIdError, UsageError
from perfdb.guard import raise_foreign
from perfdb.recording.frames import innermost_on_stack
from perfdb.recording.native import load
from perfdb.vocabulary import MAX_SEQ, check_session_id

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any, ParamSpec, Protocol, Self, TypeVar

    from perfdb.recording.health import Health

    P = ParamSpec("P")
    R = TypeVar("R")

    class Running(Protocol):
        """What this module needs to know of a running session."""

        session_id: str
        root_seq: int | None
        open_steps: dict[int, Any]

        def failed(self, doing: str, error: Exception) -> None:
            """Note a failure of perfdb's own."""

        def lost(self, what: str) -> None:
            """Note that something was recorded nowhere."""


NEW, OPEN, CLOSED = range(3)  # states of a step, or of a session's scope
_MISSING = object()
_AWAITED_GENERATOR = 0x100  # inspect.CO_ITERABLE_COROUTINE
TOKEN_VARIABLE = "PERFDB_CONTEXT"  # noqa: S105 (no secret: it names a session)


class OfThisProcess:
    """Something that a copy of what holds it shares, and that no other process can have."""

    __slots__ = ()

    def __copy__(self) -> Self:
        """Return itself."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself."""
        return self

    def __reduce__(self) -> str:
        """Refuse: a pickled one would record nothing where it is unpickled."""
        raise TypeError(
            "trackers and steps cannot be pickled: give the other process perfdb.context(), and let it call "
            "perfdb.join(token)"
        )


class Node(OfThisProcess):
    """Something that can be current: an open step, or a session that no step is open in."""

    __slots__ = ()

    _state: int
    outer: Node | None  # what was current when it began
    session: Any


current: ContextVar[Node | None] = ContextVar("perfdb_current", default=None)
running: set[Running] = set()  # sessions of this process, of which somebody may be unaware


class Scope(Node):
    """A session as something that is current, while it runs."""

    __slots__ = ("_state", "health", "outer", "session", "tracker")

    def __init__(self, tracker: Any, session: Running, health: Health, outer: Node | None) -> None:
        self._state = OPEN
        self.tracker = tracker
        self.session: Running | None = session
        self.health = health
        self.outer = outer

    def innermost_step(self) -> Any:
        """Return the step of the session whose ``with`` block runs in this thread, whatever is current."""
        if self.session is None or not self.session.open_steps:
            return None

        return innermost_on_stack(list(self.session.open_steps.values()))

    def enter(self) -> None:
        """Become current."""
        if self.session is not None:
            running.add(self.session)
        current.set(self)

    def leave(self) -> None:
        """Make current again what was before, if this is the context of ``enter``."""
        self._state = CLOSED  # in any other context it is passed over
        if self.session is not None:
            running.discard(self.session)
        node = current.get()
        while node is not None and node is not self:
            if node._state == OPEN:
                break
            node = node.outer
        if node is self:
            current.set(open_from(self.outer))
        self.tracker = self.session = None  # a context may live for long: let it hold no steps


def open_from(node: Node | None) -> Node | None:
    """Return the innermost open step or session, from a node outwards."""
    while node is not None and node._state != OPEN:
        node = node.outer
    return node


def health_of_ended() -> Health | None:
    """Return the health of the ended session that this context belonged to: it counts what comes late."""
    node = current.get()
    while node is not None and not isinstance(node, Scope):
        node = node.outer
    return node.health if node is not None and node._state == CLOSED else None


def find_current() -> Node | None:
    """Return the innermost open step or session here. Never raises: libraries call it anywhere."""
    try:
        return open_from(current.get())
    except Exception as error:
        failed("finding what is current", error)
        return None


def failed(doing: str, error: Exception) -> None:
    """Let the sessions of this process know of a failure of perfdb's own; called in the ``except`` block."""
    raise_foreign(error)
    for session in list(running):
        session.failed(doing, error)


# -- functions that run inside of something ------------------------------------------------


class Carried:
    """A context manager that makes a step or session current, in whatever thread or task it is entered."""

    __slots__ = ("_before", "_node")

    def __init__(self, node: Node | None) -> None:
        self._node = node
        self._before: Node | None = None

    def __enter__(self) -> None:
        self._before = current.get()
        current.set(self._node)

    def __exit__(self, *_: object) -> None:
        current.set(self._before)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a function so that it runs inside the caller's step and session, in whatever thread or task.

    Works with every pool: ``pool.submit(perfdb.carry(fetch), url)``; and with functions, coroutine functions
    and generator functions of both kinds.
    """
    node = find_current()
    return called_within(lambda: Carried(node), function)


def called_within(
    entered: Callable[[], AbstractContextManager[Any]], function: Callable[P, R]
) -> Callable[P, R]:
    """Wrap a function of any kind so that each call runs inside a context of its own.

    That of a generator lasts until it is exhausted or closed. Between two items the consumer runs, whose own
    steps are not inside of it, and what the generator itself has opened waits with it.
    """
    try:
        load("inspect")
    except Exception as error:
        raise_foreign(error)
    import inspect

    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(called_within(entered, function.__func__))

    def is_a(tells: Callable[[object], bool]) -> bool:
        """Say whether a function, or an object that is called like one, is of a kind."""
        return tells(function) or tells(getattr(type(function), "__call__", None))  # noqa: B004

    def is_awaited(kind: object) -> bool:
        if inspect.isgeneratorfunction(kind):  # `types.coroutine` makes one that is awaited
            return bool(getattr(kind, "__code__", is_awaited.__code__).co_flags & _AWAITED_GENERATOR)
        return inspect.iscoroutinefunction(kind)

    called: Any = function
    wrapped: Any
    if is_a(inspect.isasyncgenfunction):

        async def wrapped(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            outside, manager = current.get(), entered()
            with manager:
                inside = current.get()
                current.set(outside)
                generator = called(*args, **kwargs)
                resume, value = generator.asend, None
                while True:
                    outside = current.get()
                    current.set(inside)
                    try:
                        item = await resume(value)
                    except StopAsyncIteration as end:
                        raise_foreign(end)
                        return
                    finally:
                        inside = current.get()
                        current.set(outside)
                    try:
                        resume, value = generator.asend, (yield item)
                    except GeneratorExit:
                        with Carried(inside):
                            await generator.aclose()
                        manager.__exit__(None, None, None)  # the consumer had enough: no failure
                        raise
                    except BaseException as error:
                        resume, value = generator.athrow, error

    elif is_a(is_awaited):

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            with entered():
                return await called(*args, **kwargs)

    elif is_a(inspect.isgeneratorfunction):

        def wrapped(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            outside, manager = current.get(), entered()
            with manager:
                inside = current.get()
                current.set(outside)
                generator = called(*args, **kwargs)
                resume, value = generator.send, None
                while True:
                    outside = current.get()
                    current.set(inside)
                    try:
                        item = resume(value)
                    except StopIteration as end:
                        raise_foreign(end)
                        return end.value
                    finally:
                        inside = current.get()
                        current.set(outside)
                    try:
                        resume, value = generator.send, (yield item)
                    except GeneratorExit:
                        with Carried(inside):
                            generator.close()
                        manager.__exit__(None, None, None)  # the consumer had enough: no failure
                        raise
                    except BaseException as error:
                        resume, value = generator.throw, error

    else:

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with entered():
                return function(*args, **kwargs)

    made: Callable[P, R] = like(function, wrapped)
    return made


def like(function: Any, wrapper: Any) -> Any:
    """Return a wrapper that looks like its function, as `functools.wraps` does it.

    That one takes the AttributeError of a signal handler for a function without such an attribute.
    """
    for name in functools.WRAPPER_ASSIGNMENTS:
        value = getattr(function, name, _MISSING)
        if value is not _MISSING:
            setattr(wrapper, name, value)
    vars(wrapper).update(getattr(function, "__dict__", {}))
    wrapper.__wrapped__ = function
    return wrapper


# -- other processes -------------------------------------------------------------------------


class Context(str):
    """A short text that says which session and step is current, for ``perfdb.join`` in another process.

    Empty, and therefore false, where nothing is recorded.
    """

    @property
    def trace_id(self) -> str:
        """Return the trace that the session was given; empty without one."""
        return self.split(":", 2)[2] if self.count(":") == 2 else ""

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables to start a program with: ``{**os.environ, **perfdb.context().environ}``."""
        return {TOKEN_VARIABLE: str(self), "TRACEPARENT": self.traceparent} if self else {}

    @property
    def traceparent(self) -> str:
        """Return it as a W3C ``traceparent``; its ids are made from the session's and the step's.

        A session that was given a ``traceparent`` continues that trace.
        """
        if not self:
            return ""
        load("hashlib")
        from hashlib import sha256

        own = self.removesuffix(self.trace_id).rstrip(":")
        trace, span = sha256(self.partition(":")[0].encode()), sha256(own.encode())
        return f"00-{self.trace_id or trace.hexdigest()[:32]}-{span.hexdigest()[:16]}-01"


def context() -> Context:
    """Return what is current here as a text that ``perfdb.join`` takes in another process."""
    node = find_current()
    if node is None or node.session is None:
        return Context()
    if isinstance(node, Scope):
        seq = node.session.root_seq
    else:
        seq = getattr(node, "seq", None)
    found = f"{node.session.session_id}" if seq is None else f"{node.session.session_id}:{seq}"
    came_in = parent_of(node.session.attributes)
    if came_in is not None:
        found += f":{came_in[0]}" if seq is not None else f"::{came_in[0]}"
    return Context(found)


def parent_of(attributes: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return trace and span of the ``traceparent`` among a session's attributes; None without a valid one."""
    given = attributes.get("traceparent")
    found = read_traceparent(given.strip().lower()) if isinstance(given, str) else None
    return None if found is None else found[:2]


def read_traceparent(text: str) -> tuple[str, str, str] | None:
    """Return trace, span and flags of a W3C ``traceparent``; None of what is none."""
    parts = text.split("-")
    if len(parts) < 4 or [len(part) for part in parts[:4]] != [2, 32, 16, 2] or parts[0] == "ff":
        return None
    if "".join(parts[:4]).strip("0123456789abcdef"):
        return None
    _, trace_id, span_id, flags = parts[:4]
    return (trace_id, span_id, flags) if trace_id.strip("0") and span_id.strip("0") else None


def read_token(token: str) -> tuple[str, int | None, str]:
    """Return the session id, the number of the step and the trace that a token names, if it names them.

    Raises:
        UsageError: it is none.
    """
    session_id, *further = str(token).split(":")
    number, trace = [*further, "", ""][:2]
    try:
        check_session_id("" if read_traceparent(session_id) else session_id)  # a header, not a session
        is_trace = len(further) == 2 and len(trace) == 32 and not trace.strip("0123456789abcdef")
        is_number = number.isascii() and number.isdigit() and int(number) <= MAX_SEQ
        if not further or (is_number and len(further) == 1) or (is_trace and (is_number or not number)):
            return session_id, int(number) if number else None, trace
    except (InvalidSessionIdError, ValueError) as error:
        raise_foreign(error)
    raise UsageError(
        f"what was given ({len(str(token))} characters) is no token to join: give what perfdb.context() "
        "returned in the other process"
    )
