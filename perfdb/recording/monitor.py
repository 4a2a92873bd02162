"""CPU and memory of the process while sessions run.

CPU seconds and the high-water mark of memory are read at both ends of every step
(one system call, exact). A thread adds readings in between: every 50 ms at first,
then rarer as a session grows, down to one a second. It ends when nothing runs.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time

from perfdb.guard import raise_foreign

MIN_INTERVAL_S = 0.05
MAX_INTERVAL_S = 1.0
_READINGS_PER_AGE = 20  # a session of 10 s is read every 0.5 s
_IDLE_S = 2.0  # how long the thread outlives the last session

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Protocol

    class Watched(Protocol):
        """A session as the monitor sees it."""

        started: float  # monotonic clock
        ended: bool  # nothing more is to be read for it

        def observe(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
            """Take one reading."""

        def unobserved(self, error: Exception) -> None:
            """Hear that there will be no further readings."""


def usage() -> tuple[float, int]:
    """Return the CPU seconds (user and system, all threads) and the highest resident bytes so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * MAXRSS_UNIT


def resident_bytes() -> int | None:
    """Return what the process holds in memory now; None where ``/proc`` does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError) as error:
        raise_foreign(error)
        return None


class Monitor:
    """Reads the process for all its sessions, on one thread."""

    def __init__(self) -> None:
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin with no session and no thread: those of the parent do not exist here."""
        self._watched: list[Watched] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.importing = threading.Lock()  # held while the thread imports: a fork must wait

    def watch(self, session: Watched) -> None:
        """Begin to read for a session."""
        with self._lock:
            self._watched.append(session)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="perfdb-monitor", daemon=True)
                self._thread.start()

    def unwatch(self, session: Watched) -> None:
        """Stop reading for a session; one that was never watched is fine."""
        with self._lock:
            if session in self._watched:
                self._watched.remove(session)

    def _run(self) -> None:
        try:
            self._read()
        except Exception as error:
            with self._lock:
                watched, self._watched, self._thread = self._watched, [], None
            for session in watched:
                session.unobserved(error)

    def _read(self) -> None:
        with self.importing:
            import psutil

        process = psutil.Process(os.getpid())
        last_busy = last = time.perf_counter()
        last_cpu, _ = usage()
        while True:
            time.sleep(self._interval())
            now = time.perf_counter()
            with self._lock:
                self._watched = watched = [session for session in self._watched if not session.ended]
                if not watched and now - last_busy > _IDLE_S:
                    self._thread = None
                    return
            cpu, _ = usage()
            if watched:
                last_busy = now
                rss = process.memory_info().rss
                percent = 100.0 * max(0.0, cpu - last_cpu) / max(now - last, 1e-9)
                for session in watched:
                    session.observe(now, percent, rss)
            last, last_cpu = now, cpu

    def _interval(self) -> float:
        now = time.perf_counter()
        youngest = min((now - session.started for session in list(self._watched)), default=0.0)
        return min(MAX_INTERVAL_S, max(MIN_INTERVAL_S, youngest / _READINGS_PER_AGE))
