"""Distinguish perfdb's own failures, which the host never sees, from exceptions that pass through its frames.

A signal handler may raise at any moment, in the middle of a statement of perfdb's: a time limit of a task
queue, an alarm, Ctrl-C. Other threads, greenlets and time-outs throw exceptions in from outside. All of these
belong to the host and must reach it, as the same object, once the work of perfdb's that they interrupted is
done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, Protocol

    class FailureCounter(Protocol):
        """Counts failures; ``perfdb.recording.health.Health`` is one."""

        def failed(self, doing: str, error: BaseException) -> None:
            """Note that perfdb itself failed at ``doing``."""


# of every exception, whatever its class answers
_ATTRIBUTES: Any = BaseException.__dict__
_trace_of, _context_of, _cause_of = [
    _ATTRIBUTES[name].__get__ for name in ("__traceback__", "__context__", "__cause__")
]
_TRIES = 5  # of an action that foreign exceptions keep interrupting

# perfdb and what it calls: their exceptions are failures of recording
_LIBRARIES = frozenset(
    "perfdb alembic apprise certifi click cycler dateutil fastapi h11 jinja2 kiwisolver mako markdown "
    "markupsafe matplotlib numpy pandas psutil psycopg psycopg_binary pyarrow pydantic pyparsing pytz "
    "requests six sqlalchemy starlette tzdata urllib3 uvicorn yaml".split()
)
# what functions in C raise without an argument
_WITHOUT_WORDS = frozenset(
    "builtins.EOFError builtins.MemoryError builtins.StopAsyncIteration builtins.StopIteration "
    "_queue.Empty queue.Empty".split()
)
# libraries that switch tasks: exceptions of other tasks enter through their frames
_SWITCHING = frozenset("anyio eventlet gevent greenlet trio uvloop".split())


def foreign(error: BaseException, catcher: FrameType | None = None) -> BaseException | None:
    """Return the exception that has to reach the host, or None when it is a failure of perfdb's own.

    An exception belongs to the host if the frame of a signal handler raised it or another thread set it; if
    its class is defined outside of builtins, the standard library, perfdb and its libraries, or is no
    ``Exception``, unless code of the host that perfdb called on purpose (a ``__repr__``, a stream, a
    callback) raised it itself. For a failure that replaced such an exception, the replaced one is returned.

    Args:
        error: as caught.
        catcher: the frame that caught it, so that only what came up below it counts; the caller's.
    """
    try:
        return _foreign(error, catcher or sys._getframe(1))
    except MemoryError as problem:
        if type(problem) is not MemoryError:  # of a signal handler
            raise
        # too little is left even to look; most likely it is what perfdb met, too
        return None if isinstance(error, Exception) else error


def _foreign(error: BaseException, catcher: FrameType) -> BaseException | None:
    seen, is_below = error, True
    for _ in range(20):  # contexts can be made to go round in circles
        if is_below and _is_foreign(seen):
            return seen
        replaced = _context_of(seen)
        if replaced is None:
            return None
        # what ended a generator is no longer on any stack, but the cause of what the interpreter makes of it
        is_cause = is_below and replaced is _cause_of(seen)
        is_below = is_cause or _came_up_below(replaced, catcher)
        seen = replaced
    return None


def raise_foreign(error: BaseException) -> None:
    """Raise an exception that has to reach the host; called first in an ``except`` block."""
    other = foreign(error, sys._getframe(1))
    if other is not None:
        raise other


def to_its_end(health: FailureCounter, doing: str, action: Callable[[], object]) -> None:
    """Call ``action``; when an exception of the host's interrupts it, call it again, then raise that one.

    Args:
        health: where a failure of perfdb's own is counted.
        doing: what ``action`` does, for the message.
        action: may be called again at any point of it, and does then what is left.
    """
    passing: BaseException | None = None
    for _ in range(_TRIES):
        try:
            action()
            break
        except BaseException as error:
            other = foreign(error)
            if other is None:
                if passing is None:
                    health.failed(doing, error)
                break
            passing = passing or other
    if passing is not None:
        raise passing


def _is_foreign(error: BaseException) -> bool:
    trace = _trace_of(error)
    if _is_from_handler(trace) or _is_set_by_thread(error, trace):
        return True
    if not isinstance(error, Exception):
        return not _is_raised_by_called(error, trace)
    return not _is_known(type(error).__module__) and not _is_from_called(trace)


def _is_from_handler(trace: TracebackType | None) -> bool:
    """Tell whether a signal handler's frame is in the traceback: its argument is the frame it interrupted."""
    if trace is None or trace.tb_next is None:
        return False
    installed = _installed_handlers()
    while trace.tb_next is not None:
        interrupted, frame = trace.tb_frame, trace.tb_next.tb_frame
        if frame.f_code in installed or any([value is interrupted for value in _arguments(frame)]):
            return True
        trace = trace.tb_next
    return False


def _is_set_by_thread(error: BaseException, trace: TracebackType | None) -> bool:
    """Tell whether another thread set it (``PyThreadState_SetAsyncExc``): nobody raised it, nor said why."""
    if trace is None or error.args or f"{type(error).__module__}.{type(error).__name__}" in _WITHOUT_WORDS:
        return False
    return not _is_raised_at(_innermost(trace))


def _is_raised_by_called(error: BaseException, trace: TracebackType | None) -> bool:
    """Tell whether code of the host's that was called raised it, and nothing that came there from outside."""
    if trace is None:
        return False
    within = _innermost(trace)
    is_exit = isinstance(error, SystemExit)  # of `sys.exit`, which has no frame
    return _is_from_called(within) and (is_exit or _is_raised_at(within))


def _innermost(trace: TracebackType) -> TracebackType:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _is_raised_at(trace: TracebackType) -> bool:
    code, at = trace.tb_frame.f_code.co_code, trace.tb_lasti
    return not 0 <= at < len(code) or code[at] in _raising()


def _raising() -> frozenset[int]:
    import opcode

    return frozenset(opcode.opmap[name] for name in ("RAISE_VARARGS", "RERAISE"))


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    if _is_known(frame.f_globals.get("__name__")):
        return []
    count = code.co_argcount + code.co_kwonlyargcount
    if count == 0 and not code.co_flags & 0x0C:  # neither *args nor **kwargs
        return []
    values = frame.f_locals
    found = [values.get(name) for name in code.co_varnames[:count]]
    if code.co_flags & 0x04:  # *args
        found += values.get(code.co_varnames[count]) or ()
    return found


def _installed_handlers() -> set[CodeType]:
    """Return the code of the handlers that are installed: one may forget the frame that it was given."""
    # not `signal`: what makes its enumerations takes a handler's ValueError for its own
    signal = sys.modules.get("_signal")
    if signal is None:
        return set()
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = [getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers]
    return {code for code in codes if code is not None}


def _is_from_called(trace: TracebackType | None) -> bool:
    """Tell whether code that is neither perfdb's nor its libraries' was called, and raised."""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__")
        if not _is_known(name) and str(name).partition(".")[0] not in _SWITCHING:
            return True
        trace = trace.tb_next
    return False


def _is_known(module: object) -> bool:
    top = str(module).partition(".")[0]
    return top in _LIBRARIES or (top in sys.stdlib_module_names and top != "__main__") or top == "builtins"


def _came_up_below(error: BaseException, catcher: FrameType) -> bool:
    """Tell whether an exception was raised in a call of the frame, and not handled by its callers before."""
    trace = _trace_of(error)
    frame: FrameType | None = trace.tb_frame if trace is not None else None
    while frame is not None:
        if frame is catcher:
            return True
        frame = frame.f_back
    return False
