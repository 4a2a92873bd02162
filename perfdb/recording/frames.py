"""Read from the stack what no context variable knows: which ``with`` blocks of steps are running.

Two cases need it. An exception that a signal handler raises between a block's last statement and the first of
``__exit__`` leaves the block without its end: that step must not become the parent of what follows. And a web
framework that resumes a generator in a fresh copy of the context each time loses what the generator's own
blocks have made current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from opcode import opmap
from types import CodeType, FrameType

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    class Entered(Protocol):
        """What a ``with`` block of some frame has entered at an instruction of it."""

        _frame: FrameType | None
        _entered_at: int

    Block = TypeVar("Block", bound=Entered)

_RESUMABLE = 0x20 | 0x80 | 0x200  # generators, coroutines and asynchronous generators may wait off the stack


def was_left(frame: FrameType, entered_at: int) -> bool:
    """Tell whether the ``with`` block that a frame entered at an instruction is certainly no longer running.

    Call it in the thread that entered the block.
    """
    handler = _handler_of_with(frame.f_code, entered_at)
    if handler is None:  # ``start()``, ``ExitStack.enter_context``: no block to ask for
        return False
    running: FrameType | None = sys._getframe(1)
    while running is not None:
        if running is frame:
            return not _is_inside(frame.f_code, frame.f_lasti, handler)
        running = running.f_back
    return not frame.f_code.co_flags & _RESUMABLE and not _in_greenlet()


def innermost_on_stack(steps: Iterable[Block]) -> Block | None:
    """Return the step whose ``with`` block is the innermost one that runs in this thread."""
    entered: dict[FrameType, list[Block]] = {}
    for step in steps:
        if step._frame is not None:
            entered.setdefault(step._frame, []).append(step)
    running: FrameType | None = sys._getframe(1) if entered else None
    while running is not None:
        for step in reversed(entered.get(running, ())):  # the last one entered
            handler = _handler_of_with(running.f_code, step._entered_at)
            if handler is not None and _is_inside(running.f_code, running.f_lasti, handler):
                return step
        running = running.f_back
    return None


def _in_greenlet() -> bool:
    """Tell whether this is no thread's own stack: others that wait may hold the frame."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and greenlet.getcurrent().parent is not None


@lru_cache(maxsize=1024)
def _handler_of_with(code: CodeType, entered_at: int) -> int | None:
    """Return where the exception handler of a ``with`` block begins; None when no block is entered there."""
    bytecode = code.co_code
    if not 0 <= entered_at < len(bytecode):
        return None
    if bytecode[entered_at] == opmap["BEFORE_WITH"]:
        return _handler_at(code, entered_at + 2)
    # ``async with``: BEFORE_ASYNC_WITH, GET_AWAITABLE, LOAD_CONST, and the SEND that awaits ``__aenter__``
    if bytecode[entered_at] == opmap["CACHE"]:  # of SEND, in CPython 3.12
        entered_at -= 2
    if (
        bytecode[entered_at] == opmap["SEND"]
        and bytecode[max(0, entered_at - 6)] == opmap["BEFORE_ASYNC_WITH"]
    ):
        for start, _, handler in _exception_table(code):
            if start > entered_at and bytecode[handler + 2] == opmap["WITH_EXCEPT_START"]:
                return handler
    return None


def _is_inside(code: CodeType, instruction: int, handler: int) -> bool:
    at: int | None = instruction
    while at is not None:
        at = _handler_at(code, at)
        if at == handler:
            return True
    return False


def _handler_at(code: CodeType, instruction: int) -> int | None:
    for start, end, handler in _exception_table(code):
        if start <= instruction < end:
            return handler
    return None


@lru_cache(maxsize=1024)
def _exception_table(code: CodeType) -> tuple[tuple[int, int, int], ...]:
    """Return first byte, end and handler of each range of a function.

    Four numbers make an entry, six bits a byte; see CPython's ``Objects/exception_handling_notes.txt``.
    """
    values: list[int] = []
    number = 0
    for byte in code.co_exceptiontable:
        number = number << 6 | byte & 63
        if not byte & 64:
            values.append(number)
            number = 0
    return tuple(
        (start * 2, (start + length) * 2, handler * 2)
        for start, length, handler in zip(values[::4], values[1::4], values[2::4], strict=True)
    )
