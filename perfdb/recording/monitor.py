"""CPU and memory of the process while sessions run.

CPU seconds and the high-water mark of memory are read at both ends of every step
(one system call, exact). A thread adds readings in between: every 50 ms at first,
then rarer as a session grows, down to one a second. It ends when nothing runs.
"""

from __future__ import annotations

import os
import resource
import sys
from collections import deque
from math import inf

from perfdb.guard import raise_foreign
from perfdb.recording.native import (
    Flag,
    RLock,
    Thread,
    is_exiting,
    leave_signals_to_the_host,
    perf_counter,
    process_time,
    thread_id,
)

MIN_INTERVAL_S = 0.05
MAX_INTERVAL_S = 1.0
_READINGS_PER_AGE = 20  # a session of 10 s is read every 0.5 s
_IDLE_S = 2.0  # how long the thread outlives the last session

_WAIT_FOR_END_S = 1.0

_BETWEEN_READINGS_S = 0.001
_READINGS_KEPT = 200

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    import psutil

    from perfdb.recording import gpu

    class Watched(Protocol):
        """A session as the monitor sees it."""

        started: float  # monotonic clock
        ended: bool  # nothing more is to be read for it

        def observe(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
            """Take one reading."""

        def observe_gpu(self, percent: float, memory: int) -> None:
            """Take one reading of the graphics processors that the process uses."""

        def unobserved(self, error: Exception) -> None:
            """Hear that there will be no further readings."""


def _read(path: str) -> bytes:
    """Return a line of the system's; a file object would take three times as long."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 200)
    finally:
        os.close(descriptor)


def resident_bytes() -> int | None:
    """Return what the process holds in memory now; None where ``/proc`` does not say it."""
    try:
        return int(_read("/proc/self/statm").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError) as error:
        raise_foreign(error)
        return None


class Waits:
    """How long threads were ready to run while the machine ran something else: readings, one a ms at most.

    A reading takes 5 to 10 us. The steps that are too short for one are not delayed either.
    """

    def __init__(self) -> None:
        self.next_at = -inf  # monotonic clock
        self.newest: tuple[float, int, int] | None = None  # when, which thread, ns since it began
        self._readings: deque[tuple[float, int, int]] = deque(maxlen=_READINGS_KEPT)

    def read(self, now: float) -> None:
        """Read that of this thread, if the system tells."""
        try:
            ran, waiting, _ = _read("/proc/thread-self/schedstat").split()
            if int(ran):
                self.newest = now, thread_id(), int(waiting)
                self._readings.append(self.newest)
            self.next_at = now + _BETWEEN_READINGS_S
        except (OSError, ValueError, AttributeError) as error:
            raise_foreign(error)
            self.next_at = inf

    def since(self, before: tuple[float, int, int] | None) -> float | None:
        """Return the seconds that this thread waited since a reading; None when that is another thread's."""
        if before is None or before[1] != thread_id():
            return None
        newest = next(iter([each for each in self._kept() if each[1] == before[1]]), before)
        return max(0, newest[2] - before[2]) / 1e9

    def during(self, begun: float, duration: float) -> float | None:
        """Return the seconds that this thread waited in a step that has just ended there; None if unknown."""
        thread = thread_id()
        newest = None
        for read_at, of_thread, waiting in self._kept():
            if of_thread == thread:
                newest = waiting if newest is None else newest
                if read_at <= begun:
                    return min(duration, max(0, newest - waiting) / 1e9)
        return None

    def _kept(self) -> Iterator[tuple[float, int, int]]:
        """Return the readings, newest first: as they are now, because other threads add theirs meanwhile."""
        return reversed(list(self._readings))


class Monitor:
    """Reads the process for all its sessions, on one thread."""

    def __init__(self) -> None:
        self._without_gpu = False  # it was looked for: a machine has one when a process begins, or has none
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin with no session and no thread: those of the parent do not exist here."""
        self._watched: list[Watched] = []
        self._thread: Thread | None = None
        self._ends = False  # the thread is to end, and no other one to begin
        self._wake = Flag()
        self._lock = RLock()
        self._importing = False

    def watch(self, session: Watched) -> None:
        """Begin to read for a session."""
        with self._lock:
            self._watched.append(session)
        self._ensure_thread()

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._ends or not self._watched or (self._thread is not None and self._thread.is_alive):
                return
            thread = self._thread = Thread(self._run)
        try:
            thread.start()
        except RuntimeError as error:
            raise_foreign(error)
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            watched, self._watched, self._thread = self._watched, [], None
        if not is_exiting():
            for session in watched:
                session.unobserved(error)

    def end_thread(self) -> None:
        """Have the thread end, never in an import; none begins."""
        self._ends = True
        self._wake.set()

    def wait_for_end(self, import_s: float) -> None:
        """Wait for its end; while it imports, so many seconds."""
        thread = self._thread
        if thread is not None and not thread.join(min(import_s, _WAIT_FOR_END_S)) and self._importing:
            thread.join(import_s)

    def go_on(self) -> None:
        """Let the thread begin again, and begin it when somebody is watched."""
        self._ends = False
        self._ensure_thread()

    def prepare(self) -> None:
        """Import what the thread will need."""
        import psutil

        from perfdb.recording import gpu  # noqa: F401

        psutil.Process().memory_info()

    def unwatch(self, session: Watched) -> None:
        """Stop reading for a session; one that was never watched is fine."""
        with self._lock:
            if session in self._watched:
                self._watched.remove(session)

    def _run(self) -> None:
        leave_signals_to_the_host()
        try:
            self._read()
        except Exception as error:
            self._give_up(error)

    def _read(self) -> None:
        self._importing = True
        try:
            import psutil

            from perfdb.recording.gpu import devices

            graphics = None if self._without_gpu else devices()
            self._without_gpu = graphics is None
        finally:
            self._importing = False
        try:
            self._read_on(psutil.Process(os.getpid()), graphics)
        finally:
            if graphics is not None:
                graphics.close()

    def _read_on(self, process: psutil.Process, graphics: gpu.Devices | None) -> None:
        last_busy = last = perf_counter()
        last_cpu = process_time()
        while not self._ends:
            self._wake.wait(self._interval())
            if self._ends:
                return
            now = perf_counter()
            with self._lock:
                self._watched = watched = [session for session in self._watched if not session.ended]
                if not watched and now - last_busy > _IDLE_S and self._thread is not None:
                    self._thread.leave()
                    return
            cpu = process_time()
            if watched:
                last_busy = now
                rss = process.memory_info().rss
                percent = 100.0 * max(0.0, cpu - last_cpu) / max(now - last, 1e-9)
                for session in watched:
                    session.observe(now, percent, rss)
                if graphics is not None and not self._observe_gpu(graphics, watched):
                    graphics = None
            last, last_cpu = now, cpu

    def _observe_gpu(self, graphics: gpu.Devices, watched: list[Watched]) -> bool:
        """Read the graphics processors; False when that failed, and will again."""
        try:
            used = graphics.read()
        except Exception as error:
            raise_foreign(error)
            return False
        if used is not None:
            for session in watched:
                session.observe_gpu(*used)
        return True

    def _interval(self) -> float:
        now = perf_counter()
        youngest = min((now - session.started for session in list(self._watched)), default=0.0)
        return min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, youngest / _READINGS_PER_AGE))
