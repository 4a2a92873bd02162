"""A session while it runs: its clock, its open and finished steps, and the lines it puts into the journal."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from math import floor
from resource import RUSAGE_SELF, getrusage
from threading import get_ident

from perfdb.encoding import to_json
from perfdb.recording import counters
from perfdb.recording.console import Console
from perfdb.recording.health import Health, debugging
from perfdb.recording.journal import Journal, encode
from perfdb.recording.monitor import MAXRSS_UNIT, Waits, resident_bytes
from perfdb.recording.native import Latch, RLock, epoch, localtime, perf_counter
from perfdb.recording.timed import Timed
from perfdb.recording.values import MAX_NAME, Cleaner, clean_json, clean_name
from perfdb.vocabulary import COMPLETED, INTERRUPTED, RUNNING

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeAlias

    from perfdb.recording.gpu import Use

    # instant, CPU seconds (user and system, all threads), highest resident memory in MAXRSS_UNIT bytes
    Reading: TypeAlias = tuple[float, float, int]

    class Clock(Protocol):
        """Where time comes from; tests bring their own."""

        def time(self) -> float:
            """Return epoch seconds."""

        def monotonic(self) -> float:
            """Return seconds that never run backwards."""


MAX_STEPS = 10_000  # steps kept in memory for the report; all of them reach the database
MAX_DATA = 16 << 20  # characters of their additional_data, likewise
MAX_NAMES = 10_000
MAX_SAMPLES = 2_000
SAMPLES_PER_LINE = 20
# Its times are whole microseconds with an exponent: to print a float takes three times as long.
_LINE = (
    b'{"type":"step","session_id":"ID","seq":%d,"parent_seq":%b,"step_name":%b,"lane":%d,'
    b'"start_time":%de-6,"duration":%de-6%b,"additional_data":%b,"cpu_s":%de-6%b'
)
_SUCCEEDED = b',"success":true,"error_message":null'
_CALLED_OFF = f',"status":"{INTERRUPTED}"'  # of a step whose success is false


class _Names(dict[object, tuple[str, bytes]]):
    """Step names as they may stand on the disk, and as JSON."""

    def __missing__(self, name: object) -> tuple[str, bytes]:
        return know_name(name)


KNOWN_NAMES = _Names()


def _numbers_of_its_own() -> Iterator[int]:
    """Yield numbers of steps that no other process gives: 65,536 to each 37 random bits."""
    while True:
        block = int.from_bytes(os.urandom(5), "big") >> 3
        if block:  # the process that started the session counts from 0
            yield from range(block << 16, (block + 1) << 16)


_CONSTANTS = {None: "null", True: "true", False: "false"}
_quoted = lru_cache(500)(to_json)  # of pipelines and modes


class SystemClock:
    """The clock of the machine."""

    monotonic = staticmethod(perf_counter)
    time = staticmethod(epoch)


class LiveSession:
    """What the tracker knows of the session that runs, until it is finished and for its report."""

    # so many in a dictionary would be new to the interpreter's caches with each session
    __slots__ = tuple(
        "__weakref__ _console _cpu _data_kept _debug _gpu _health _highest_rss _is_measured _line _lock "
        "_open_journal _rss_count _rss_sum _seconds_not_kept _secret_words _start_us _unwritten "
        "_used _wait_at_start _waits alerts attributes begun cpu_s ended error_message expected fast_mode "
        "finished in_database inherited journal lanes last_rss mode monotonic next_seq of_gpu open_steps "
        "pipeline product_count reading root_seq rss_peak samples session_id start_time started status "
        "steps steps_not_kept success tells total_duration usual utc_offset".split()
    )

    def __init__(
        self,
        session_id: str,
        pipeline: str,
        *,
        fast_mode: bool | None,
        mode: str,
        attributes: dict[str, Any],
        journal: Callable[[], Journal | None],
        health: Health,
        clock: Clock,
        console: Console | None = None,
        secret_words: Iterable[str] = (),
        measured: bool = True,
    ) -> None:
        self.session_id = session_id
        self.pipeline = pipeline
        self.fast_mode = fast_mode
        self.mode = mode
        self.attributes = attributes
        self.monotonic = clock.monotonic
        self.started = clock.monotonic()
        self._start_us = round(clock.time() * 1e6)
        self.start_time = self._start_us / 1e6
        self.utc_offset = localtime(self.start_time).tm_gmtoff
        self.status = RUNNING
        self.ended = False  # ``end_pipeline`` was called, or a later start took its place
        self.begun = False  # its start is in the journal
        self.finished = False  # and its end is in the journal
        self.success: bool | None = None
        self.expected: tuple[type[BaseException], ...] = ()  # exceptions that call it and its steps off
        self.product_count: int | None = None
        self.error_message: str | None = None
        self.total_duration: float | None = None
        self.cpu_s: float | None = None
        self.steps: list[Timed] = []
        self.steps_not_kept = 0
        self._seconds_not_kept: dict[str, float] = {}
        self._data_kept = 0
        self.open_steps: dict[int, Timed] = {}
        self.of_gpu: dict[str, Any] = {}  # what the monitor read of graphics processors
        self._gpu: dict[int | None, Use] = {}  # the same while it is made, by step; None is the session
        self.samples: list[tuple[float, float, int]] = []  # epoch s, percent of a core, bytes
        self.next_seq = itertools.count().__next__
        self.in_database = Latch()  # set by the worker when its end is committed
        self.alerts: list[Any] = []  # what it opened or confirmed; known by then unless many sessions wait
        self.usual: Mapping[str, float] | None = None  # seconds per step name, once somebody asked
        self.inherited = False  # another process started it, and will end it
        self.root_seq: int | None = None  # its step that all steps of this one are inside of
        self.journal: Journal | None = None
        self._open_journal = journal
        self._console = console
        self._health = health
        self._debug = debugging()
        self._secret_words = tuple(secret_words)
        self.lanes: dict[int, int] = {}
        self._unwritten: list[tuple[float, float, int]] = []
        self._lock = RLock()
        self._waits = Waits()
        self._is_measured = measured  # of many at once in a process none has a CPU time of its own
        self.reading: Reading = (float("-inf"), 0.0, 0)
        self._cpu, self._highest_rss = self.read_usage()[1:] if measured else (0.0, 0)
        self._wait_at_start = self._waits.newest
        self._used = counters.read() if measured else {}  # of further counters, first as they are now
        self.last_rss = self.rss_peak = (resident_bytes() or 0) if measured else 0
        self._rss_sum = self._rss_count = 0
        self.tells = console is not None or self._debug is not None
        self._line = _LINE.replace(b"ID", session_id.encode("ascii"))

    def wall(self, instant: float) -> float:
        """Return the epoch seconds of an instant of the monotonic clock, to the microsecond.

        All instants hang on one reading of the wall clock, so that setting it back disorders nothing.
        """
        return (self._start_us + floor((instant - self.started) * 1e6 + 0.5)) / 1e6

    def now(self) -> float:
        """Return epoch seconds, derived from the same reading of the wall clock as the steps'."""
        return self.wall(self.monotonic())

    def read_usage(self) -> Reading:
        """Read the clock and what the process has used: CPU seconds, and the most memory so far."""
        now = self.monotonic()
        used = getrusage(RUSAGE_SELF)
        self.reading = (now, used.ru_utime + used.ru_stime, used.ru_maxrss)
        if now >= self._waits.next_at:
            self._waits.read(now)
        return self.reading

    # -- lines -----------------------------------------------------------------

    def write(self, body: bytes) -> None:
        """Put one record into the journal."""
        journal = self.journal
        if journal is None or not journal.write(body):
            self._insist(journal, body)

    def _insist(self, journal: Journal | None, body: bytes) -> None:
        """Find another journal for a record when one was closed; count what the disk refuses."""
        taken = False
        while not taken:
            if journal is not None and not journal.is_closed:
                refused = f"the disk refuses records ({journal.path}): free some space"
                self._health.count("refused", 1, refused)
                return
            journal = self.journal = self._open_journal()  # the worker rests, or the process ends
            if journal is None:
                return
            taken = journal.write(body)

    def begin(self) -> None:
        """Write that the session runs; a second line of that kind changes nothing."""
        if self._debug is not None:
            self._debug("session %s of %s starts, mode %s", self.session_id, self.pipeline, self.mode)
        line = (
            f'{{"type":"start","session_id":"{self.session_id}","pipeline":{_quoted(self.pipeline)}'
            f',"start_time":{self.start_time!r},"utc_offset":{self.utc_offset}'
            f',"fast_mode":{_CONSTANTS[self.fast_mode]},"mode":{_quoted(self.mode)}'
            f',"attributes":{to_json(self.attributes) if self.attributes else "{}"}}}'
        )
        self.write(line.encode("ascii"))
        self.begun = True

    def unregister(self, step: Timed) -> None:
        """Forget a step whose beginning was broken off."""
        self.open_steps.pop(step.seq, None)
        if step in self.steps:
            self.steps.remove(step)

    def lane_here(self) -> int:
        """Return the lane of this thread; -1 when it has none."""
        return self.lanes.get(get_ident(), -1)

    def new_lane(self, thread: int) -> int:
        """Return the lane of a thread whose first step in this session begins."""
        with self._lock:
            return self.lanes.setdefault(thread, len(self.lanes))

    def closed(self, step: Timed) -> None:
        """Write the line of a step that has just ended; again when that was interrupted: it counts once."""
        global _last_memory
        if not step.rss_count:  # too short for a reading of its own
            step.rss_sum, step.rss_count = self.last_rss, 1
            if step.rss_peak < step.rss_sum:
                step.rss_peak = step.rss_sum
        figures = step.rss_peak, step.rss_sum // step.rss_count
        known, memory = _last_memory
        if figures != known:
            memory = _memory_of(*figures)
            _last_memory = figures, memory
        duration_us = step.duration_us or 0
        if duration_us >= 1_000:
            self._add_wait(step, duration_us / 1e6)
        data = b"{}"
        if step.data:
            # a copy: others may change it meanwhile
            step.data, data = clean_json(step.data.copy(), self._secret_words)
            self._data_kept = kept = self._data_kept + len(data)
            if kept > MAX_DATA:
                step.data = {"…": "too much for the report: the database has it"}
        seq, parent_seq = step.seq, step.parent_seq
        body = self._line % (
            seq,
            b"null" if parent_seq is None else b"%d" % parent_seq,
            step.name_json,
            step.lane,
            self._start_us + floor((step.begun - self.started) * 1e6 + 0.5),
            duration_us,
            _SUCCEEDED if step.success and step.error_message is None else _outcome_of(step),
            data,
            step.cpu_us,
            memory,
        )
        if step.has_parts:
            body = _with_the_rest(body, step)
        journal = self.journal
        if journal is None or not journal.write(body):
            self._insist(journal, body)
        if self.open_steps.pop(seq, None) is None:
            return
        if not step.kept:
            self._add_up(step.name, duration_us / 1e6)
        if self.tells:
            self._tell_end(step, body)

    def _add_wait(self, step: Timed, duration: float) -> None:
        """Note how long the thread of a step that has just ended waited for a CPU meanwhile."""
        now = self.reading[0]
        if now >= self._waits.next_at:
            self._waits.read(now)
        wait = self._waits.during(step.begun, duration)
        if wait is not None:
            step.used, step.has_parts = {**step.used, "cpu_wait_s": round(wait, 6)}, True

    def tell_start(self, step: Timed) -> None:
        """Say on the console, or to the host's log, that a step begins."""
        if self._debug is not None:
            self._debug(
                "step %d %r starts in lane %d, parent %s", step.seq, step.name, step.lane, step.parent_seq
            )
        if self._console is not None:
            self._console.step_started(step.name, step.depth, _detail_of(step))

    def _tell_end(self, step: Timed, body: bytes) -> None:
        if self._debug is not None:
            self._debug("step %d %r ends: %s", step.seq, step.name, body.decode("ascii"))
        if self._console is not None:
            detail, duration = _detail_of(step), (step.duration_us or 0) / 1e6
            if step.success:
                self._console.step_completed(step.name, duration, step.depth, detail)
            else:
                tell = self._console.step_interrupted if step.interrupted else self._console.step_failed
                tell(step.name, duration, step.error_message or "", step.depth, detail)

    def _add_up(self, name: str, duration: float) -> None:
        with self._lock:
            self.steps_not_kept += 1
            if len(self._seconds_not_kept) >= MAX_NAMES and name not in self._seconds_not_kept:
                name = "…"  # a host that counts in its step names
            self._seconds_not_kept[name] = self._seconds_not_kept.get(name, 0.0) + duration

    def failed(self, doing: str, error: Exception) -> None:
        """Note a failure of perfdb's own that no tracker can take."""
        self._health.failed(doing, error)

    def lost(self, what: str) -> None:
        """Note that something was recorded nowhere, in a thread or task that knew of no session."""
        self._health.count(
            "lost",
            1,
            f"{what} of perfdb.current() is not recorded: no session is current in that thread or task. "
            "Carry the session with perfdb.carry(function), perfdb.Executor or perfdb.carry_in_pools()",
        )

    def cleaner(self) -> Cleaner:
        """Return what bounds and redacts the events of a step, or of the session."""
        return Cleaner(self._secret_words)

    def announce(self, step: Timed) -> None:
        """Write that a step has been running for a while, for live views and for reading after a crash."""
        step.announced = True
        self.write(
            encode(
                {
                    "type": "open",
                    "session_id": self.session_id,
                    "seq": step.seq,
                    "parent_seq": step.parent_seq,
                    "step_name": step.name,
                    "lane": step.lane,
                    "start_time": round(self.wall(step.begun), 6),
                }
            )
        )

    def observe(self, now: float, cpu_percent: float, rss_bytes: int) -> None:
        """Take a reading of the monitor, for the session and for its open steps."""
        self.last_rss = rss_bytes
        self.rss_peak = max(self.rss_peak, rss_bytes)
        self._rss_sum += rss_bytes
        self._rss_count += 1
        for step in list(self.open_steps.values()):
            step.observe(rss_bytes)
        with self._lock:
            sample = (round(self.wall(now), 6), round(cpu_percent, 1), rss_bytes)
            self.samples.append(sample)
            if len(self.samples) > MAX_SAMPLES:
                del self.samples[::2]
            self._unwritten.append(sample)
            if len(self._unwritten) >= SAMPLES_PER_LINE:
                self.write_samples()

    def observe_gpu(self, percent: float, memory: int) -> None:
        """Take a reading of the graphics processors, for the session and for its open steps.

        It goes into the data of a step while that is open: who has no such processor pays nothing for it.
        """
        from perfdb.recording.gpu import Use

        self._gpu.setdefault(None, Use()).add(percent, memory, self.of_gpu)
        for seq, step in list(self.open_steps.items()):
            self._gpu.setdefault(seq, Use()).add(percent, memory, step.data)
        if len(self._gpu) > MAX_NAMES:  # steps that have ended
            self._gpu = {seq: use for seq, use in self._gpu.items() if seq in (None, *self.open_steps)}

    def unobserved(self, error: Exception) -> None:
        """Note that the monitor has failed: the session goes on without readings."""
        self._health.failed("reading CPU and memory", error)

    def write_samples(self) -> None:
        """Put the readings that wait into the journal."""
        with self._lock:
            rows, self._unwritten = self._unwritten, []
            if rows:
                self.write(encode({"type": "samples", "session_id": self.session_id, "rows": rows}))

    def finish(
        self, status: str, *, product_count: int | None, error: str | None, attributes: dict[str, Any]
    ) -> None:
        """Write that the session has ended; a further process of it leaves that to the one that began it."""
        if self.total_duration is None:
            self.total_duration = round(max(0.0, self.monotonic() - self.started), 6)
        if self._is_measured:
            _, cpu, highest_rss = self.read_usage()
            self.cpu_s = round(max(0.0, cpu - self._cpu), 6)
            if highest_rss > self._highest_rss:
                self.rss_peak = max(self.rss_peak, highest_rss * MAXRSS_UNIT)
            self._used = counters.used_since(self._used)
            wait = self._waits.since(self._wait_at_start)
            if wait is not None:
                self._used["cpu_wait_s"] = round(wait, 6)
        self.status = status
        self.ended = True
        self.success = status == COMPLETED
        self.product_count = product_count
        self.error_message = error
        self.attributes = attributes = {**self.of_gpu, **attributes}
        if self._debug is not None:
            self._debug("session %s is %s after %.6f s", self.session_id, status, self.total_duration)
        if self.inherited:
            self.finished = True
            return
        if not self.begun:
            self.begin()
        self.write_samples()
        line = (
            f'{{"type":"end","session_id":"{self.session_id}","total_duration":{self.total_duration!r}'
            f',"status":"{status}","success":{_CONSTANTS[self.success]}'
            f',"attributes":{to_json(attributes) if attributes else "{}"}'
        )
        further = {"product_count": product_count, "error_message": error, **self.measured()}
        if said := {name: value for name, value in further.items() if value is not None}:
            line += "," + to_json(said)[1:-1]
        self.write(f"{line}}}".encode("ascii"))
        self.finished = True

    def go_on(self) -> None:
        """Accept further steps and another end, after a provisional end was written."""
        self.ended = self.finished = False
        self.total_duration = None

    def join(self, root_seq: int | None = None) -> None:
        """Become a further process's part of a session: its steps only, inside of step ``root_seq``.

        They are numbered from random bits, which no pid could replace: two containers may have the same one.
        """
        self.inherited = True
        self.journal = None
        self.root_seq = root_seq if root_seq is not None else self.root_seq
        self.next_seq = _numbers_of_its_own().__next__

    def after_fork_in_child(self) -> None:
        """Become the child's view of the parent's session: further steps only, in a journal of its own."""
        self.join()
        self._lock = RLock()
        for step in self.open_steps.values():
            step.leave_to_parent()
        self.open_steps = {}
        self._unwritten = []

    def step_durations(self) -> dict[str, float]:
        """Return the seconds per step name of the steps that have ended."""
        seconds: dict[str, float] = {}
        for step in list(self.steps):
            if step.duration is not None:
                seconds[step.name] = seconds.get(step.name, 0.0) + round(step.duration, 6)
        for name, more in list(self._seconds_not_kept.items()):
            seconds[name] = seconds.get(name, 0.0) + more
        return seconds

    def measured(self) -> dict[str, Any]:
        """Return what was measured of it by now."""
        return {
            "cpu_s": self.cpu_s,
            "rss_peak_bytes": self.rss_peak or None,
            "rss_mean_bytes": self.rss_mean,
            **(self._used if self.ended else {}),
        }

    @property
    def cpu_wait_s(self) -> float | None:
        """Seconds that its thread was ready and the machine ran something else, once it has ended."""
        return self._used.get("cpu_wait_s") if self.ended else None

    @property
    def rss_mean(self) -> int | None:
        """Mean resident bytes of the readings so far, the first one before there are any."""
        return (self._rss_sum // self._rss_count if self._rss_count else self.last_rss) or None


def _outcome_of(step: Timed) -> bytes:
    outcome = (
        f',"success":{"true" if step.success else "false"}{_CALLED_OFF if step.interrupted else ""}'
        f',"error_message":{"null" if step.error_message is None else to_json(step.error_message)}'
    )
    return outcome.encode("ascii")


def _memory_of(peak: int, mean: int) -> bytes:
    """Return the end of a step's JSON object; where a figure is 0, nothing tells it."""
    return b',"rss_peak_bytes":%b,"rss_mean_bytes":%b}' % tuple(
        b"%d" % figure if figure else b"null" for figure in (peak, mean)
    )


_last_memory = (0, 0), _memory_of(0, 0)  # a step's, and how its line says it: most are as the one before


def _with_the_rest(body: bytes, step: Timed) -> bytes:
    """Add what only some steps have to their JSON object."""
    parts = "".join(f',"{name}":{to_json(amount)}' for name, amount in step.used.items())
    if step.attempts:
        parts += f',"attempts":{to_json(step.attempts)}'
    if step.events:
        events = [{"name": name, "time": instant, "data": data} for name, instant, data in step.events]
        parts += f',"events":{to_json(events)}'
    return body[:-1] + parts.encode("ascii") + b"}"


def _detail_of(step: Timed) -> str:
    return "" if step.detail is None else clean_name(step.detail)


def know_name(name: object) -> tuple[str, bytes]:
    """Return the name of a step as it may stand on the disk, and as JSON; remember it."""
    text = clean_name(name).strip() or "unnamed"
    both = (text, to_json(text).encode("ascii"))
    if type(name) is str and len(name) <= MAX_NAME and len(KNOWN_NAMES) < MAX_NAMES:
        KNOWN_NAMES[name] = both
    return both
