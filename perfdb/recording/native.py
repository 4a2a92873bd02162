"""Native threads, locks and clocks, whatever ``threading`` and ``time`` were replaced by.

gevent and eventlet replace the parts of those modules by ones that switch greenlets, before or after
perfdb is imported: a lock made before and a thread made after do not go together. freezegun stops the
clocks that a deadline is read from. A fresh copy of the interpreter's own built-in modules has the
originals, whenever it is made.

``threading`` does not know these threads, and the interpreter does not wait for them at its end: the code
that starts one has to end it.
"""

from __future__ import annotations

import os
import sys
import time as possibly_replaced
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from perfdb.guard import raise_foreign

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    import threading
    from types import FrameType
    from typing import Any, TypeVar

    T = TypeVar("T")


def _original(name: str) -> Any:
    import _frozen_importlib as importlib

    try:
        spec = importlib.BuiltinImporter.find_spec(name)
        if spec is not None:
            module = importlib.module_from_spec(spec)
            importlib.BuiltinImporter.exec_module(module)
            return module
    except (ImportError, AttributeError):
        pass
    return importlib.__import__(name)  # an interpreter that has it elsewhere


_thread, _time = _original("_thread"), _original("time")
if TYPE_CHECKING:
    Lock, RLock = threading.Lock, threading.RLock
else:
    Lock, RLock = _thread.allocate_lock, _thread.RLock
epoch: Callable[[], float] = _time.time
gmtime: Callable[[float], possibly_replaced.struct_time] = _time.gmtime
localtime: Callable[[float], possibly_replaced.struct_time] = _time.localtime
strftime: Callable[[str, possibly_replaced.struct_time], str] = _time.strftime
monotonic: Callable[[], float] = _time.monotonic
perf_counter: Callable[[], float] = _time.perf_counter
process_time: Callable[[], float] = _time.process_time
sleep: Callable[[float], None] = _time.sleep
thread_id: Callable[[], int] = _thread.get_ident
# An isolated sub-interpreter (3.12) lets no thread outlive it: one of ours would abort the process.
may_have_threads: Callable[[], bool] = getattr(_thread, "daemon_threads_allowed", lambda: True)

_GONE_S = 1.0  # at most, from the last line of a thread until the system has none of that number
_QUICK_S = 0.00002
_GREENLETS_LOOK_S = 0.002
_LOOK_S = 0.005
_BETWEEN_IMPORTS_S = 1.0  # a thread that is to end reaches a safe point meanwhile
_APART_S = 5.0  # at most; on a busy machine an import takes seconds
_START_S = 5.0  # so long a busy machine may take to begin with one

_IMPORTS = "<frozen importlib._bootstrap>"
# What glibc loads when the interpreter stops a thread at its very end, as one that SQLite holds up.
_ENDS_THREADS = "libgcc_s.so.1"

_FAULTS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS")
_NEVER_BLOCKED = ("SIGKILL", "SIGSTOP")

_exiting = _no_more = _can_be_stopped = False
_started: list[Thread] = []  # those that the system may still know
_blocked_by_host: set[int] | None = None  # signals, in the thread that started ours


def leave_signals_to_the_host() -> None:
    """Take no signal in this thread, which outlives a call of the host's.

    One that the host's threads block, to wait for it with ``sigwait``, would be delivered here, and end the
    process. Those of faults stay: they concern who causes them.
    """
    import _signal  # type: ignore[import-not-found]  # see guard.py

    global _blocked_by_host
    left = set(_signal.valid_signals()) - {getattr(_signal, name, 0) for name in _FAULTS + _NEVER_BLOCKED}
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, left)
    if not left <= before:  # else one of ours has started this one
        _blocked_by_host = before


@contextmanager
def signals_as_usual() -> Iterator[None]:
    """Take signals in this thread as the host does: what is called may start programs, which inherit that."""
    import _signal

    blocked = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    if _blocked_by_host is not None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, _blocked_by_host)
    try:
        yield
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)


class Flag:
    """Wakes the one thread that waits for it; set earlier, it lets the next wait return at once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the waiting thread, or the next one that waits."""
        if self._lock.locked():  # an exception in vain costs as much as all else at the end of a session
            try:
                self._lock.release()
            except RuntimeError as error:  # another thread has just set it
                raise_foreign(error)

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; return whether it was set, and clear it."""
        return self._lock.acquire(timeout=max(0.0, seconds))


class Latch:
    """Set once, for all waiting threads; unlike an `Event`, it survives an exception in a wait."""

    def __init__(self) -> None:
        self._is_set = False
        self._lock = Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Release all waiting threads, present and future."""
        if not self._is_set:
            self._is_set = True
            self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; return whether it is set."""
        if not self._is_set and self._lock.acquire(timeout=max(0.0, seconds)):
            self._lock.release()  # the next one's
        return self._is_set


class Thread:
    """A thread that can be waited for until the system knows it no more; alive from the moment it is made."""

    def __init__(self, run: Callable[[], None], *, is_brief: bool = False) -> None:
        self._run = run
        self._is_brief = is_brief  # who starts it waits for its end
        self._made = monotonic()
        self._ended = Lock()
        self._ended.acquire()
        self.ident = 0  # as in sys._current_frames()
        self._number = 0
        self._has_left = False

    def start(self) -> None:
        """Begin to run.

        Raises:
            RuntimeError: there can be no further thread: the process ends, or a limit is reached.
        """
        try:
            if _no_more:
                raise RuntimeError("the process ends")
            if not may_have_threads():
                raise RuntimeError("this sub-interpreter allows none")
            _thread.start_new_thread(self._begin, ())
        except RuntimeError:
            self._end()
            raise
        _started[:] = [each for each in _started if each._is_known()] + [self]

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is about to, and has not left.

        An exception of the host's may come just before it is started: then nobody hears of it.
        """
        is_begun = bool(self.ident) or monotonic() - self._made < _START_S
        return self._ended.locked() and is_begun and not self._has_left

    def leave(self) -> None:
        """Count as ended: it does nothing any more but return."""
        self._has_left = True

    @property
    def is_current(self) -> bool:
        """Whether it is the calling thread."""
        return bool(self.ident == _thread.get_ident())

    @property
    def frames(self) -> list[FrameType]:
        """What it is in at the moment, the innermost first; nothing once it has ended."""
        frames: list[FrameType] = []
        frame = sys._current_frames().get(self.ident) if self.is_alive else None
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        return frames

    @property
    def is_importing(self) -> bool:
        """Whether it is in an import at the moment."""
        return _IMPORTS in [frame.f_code.co_filename for frame in self.frames]

    def join(self, seconds: float) -> bool:
        """Wait so long for its end; return whether it has ended."""
        if not self._ended.acquire(timeout=max(0.0, seconds)):
            return False
        self._ended.release()
        return True

    def _begin(self) -> None:
        self.ident, self._number = _thread.get_ident(), _thread.get_native_id()
        try:
            if not self._is_brief:
                _let_threads_be_stopped()
            self._run()
        finally:
            _forget_dummy(self.ident)
            self._end()

    def _end(self) -> None:
        try:
            self._ended.release()
        except RuntimeError as error:  # it has ended
            raise_foreign(error)

    def _is_known(self) -> bool:
        return self._ended.locked() or (
            bool(self._number) and os.access(f"/proc/self/task/{self._number}", os.F_OK)
        )


def apart(call: Callable[[], T]) -> T:
    """Call something short in a thread of ours, where no signal handler runs, and return what it returns.

    An exception that a handler raises during an import, or while a pattern is compiled, is taken for a
    failure of that: it is lost, and a half-imported module may stay. Where greenlets replace threads, the
    call is made here.
    """
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:
            raised.append(error)

    if not is_greenlet_world():
        thread = Thread(run, is_brief=True)
        try:
            thread.start()
        except RuntimeError as error:  # there can be no further thread
            raise_foreign(error)
        else:
            if not thread.join(_APART_S):
                _let_threads_be_stopped()
    if raised:
        raise raised[0]
    return returned[0] if returned else call()


def load(*modules: str) -> None:
    """Import modules that an `import` on the host's time is about to ask for, which tells what is wrong.

    One that another thread is importing just now is waited for elsewhere, too: a handler's exception could
    leave the lock of all imports held.
    """
    missing = [name for name in modules if not _is_loaded(name)]
    if missing:
        try:
            apart(lambda: [__import__(name) for name in missing])
        except Exception as error:
            raise_foreign(error)


def _is_loaded(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def _let_threads_be_stopped() -> None:
    """Load, once and early, what the end of a held-up thread needs: without it glibc aborts the process.

    At the exit there may be neither memory nor a file descriptor left for it.
    """
    global _can_be_stopped
    if _can_be_stopped or sys.platform != "linux":
        return
    _can_be_stopped = True
    try:
        import _ctypes  # not ctypes, which takes ten times as long

        _ctypes.dlopen(_ENDS_THREADS, os.RTLD_NOW)
    except (ImportError, AttributeError, OSError, MemoryError):  # musl and PyPy need none
        return


def _forget_dummy(ident: int) -> None:
    """Remove what `threading` made up when somebody, such as a logger, asked for the name of our thread."""
    known: dict[int, Any] = getattr(sys.modules.get("threading"), "_active", {})
    if type(known.get(ident)).__name__ == "_DummyThread":
        known.pop(ident, None)


def wait_until_gone(seconds: float = _GONE_S) -> None:
    """Wait, a moment, until the system knows none of our threads that have ended: it is asked at a fork."""
    until = monotonic() + seconds
    for thread in list(_started):
        while not (thread.is_alive or thread.is_current) and thread._is_known() and monotonic() < until:
            sleep(_QUICK_S)  # it needs the processor


def wait_for_imports(seconds: float) -> None:
    """Wait at an exit while a thread of ours imports, and a moment longer: it may go on to the next import.

    One that the interpreter stops in there leaves the lock of all imports held: whatever imports after it,
    such as a destructor or a generator that is closed at the very end, would wait for ever.
    """
    now = monotonic()
    until, imports_until = now + seconds, now
    while now < until:
        running = [thread for thread in list(_started) if thread.is_alive]
        if [thread for thread in running if thread.is_importing]:
            imports_until = now + _BETWEEN_IMPORTS_S
        if now >= imports_until or not running:
            return
        sleep(_LOOK_S)
        now = monotonic()


def is_alone() -> bool:
    """Tell whether the system knows no thread of this process but the calling one."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError as error:
        raise_foreign(error)
        return len(sys._current_frames()) == 1


def after_fork_in_child() -> None:
    """Forget the parent's threads."""
    _started.clear()


def begin_exit() -> None:
    """Note that the process ends: from now on, work is done in the thread that asks for it."""
    global _exiting
    _exiting = True


def start_no_more() -> None:
    """Start no further thread: one that runs while the interpreter goes down may abort the process."""
    global _no_more
    _no_more = True


def is_exiting() -> bool:
    """Tell whether the process ends."""
    return _exiting


def wait_for(event: Latch, seconds: float) -> None:
    """Wait for an event that a thread of ours sets; other greenlets run meanwhile."""
    if is_greenlet_world():  # an event of theirs cannot be set from a thread of the machine
        possibly_replaced.sleep(min(seconds, _GREENLETS_LOOK_S))
    else:
        event.wait(seconds)


def is_greenlet_world() -> bool:
    """Tell whether gevent or eventlet replaced waiting: their greenlets only run during their own sleep."""
    return not isinstance(possibly_replaced.sleep, type(len))


def prepare_greenlets() -> None:
    """Make gevent's hub of this thread, before a thread of the machine begins that imports.

    gevent's locks are those of imports, too, and make a hub of their own in each thread. The first hub
    imports: made by two threads at once, each waits for what the other one imports.
    """
    gevent = sys.modules.get("gevent")
    if gevent is not None and is_greenlet_world():
        gevent.get_hub()


@contextmanager
def quick_switching() -> Iterator[None]:
    """Pass the interpreter's lock around more often, while one thread waits for others beside busy ones."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _QUICK_S))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
