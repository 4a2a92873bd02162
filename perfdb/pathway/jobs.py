"""The designs of a service: how many run, how many wait, and what became of each.

They run on threads of their own, so that nothing else of the service waits for them. Beyond a bound
nobody is let in: an answer that says when to come again is better than one that comes too late. What is
known of a design lives in this process; the history keeps its session (``elsewhere``).
"""

from __future__ import annotations

import contextvars
import math
import secrets
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from perfdb.pathway.errors import DesignCancelledError
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.watching import Watch

MOST_KEPT = 1_000  # designs that have ended, and can still be asked for
_HOUR_S = 3600.0
_FIRST_GUESS_S = 30.0  # of a design's duration, before one has ended
_MOST_CLIENTS = 10_000  # whose designs of the last hour are counted

QUEUED, RUNNING, COMPLETED, FAILED, CANCELLED = "queued", "running", "completed", "failed", "cancelled"

Response = dict[str, Any]


class BusyError(Exception):
    """There is no room for another design; ``everybody``: not only for this client."""

    def __init__(self, message: str, *, retry_after_s: int, everybody: bool) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.everybody = everybody


@dataclass(frozen=True, slots=True)
class Limits:
    """How many designs a service has in work; 0 of a client's limits is none."""

    designs: int
    queue: int
    per_client: int = 0
    per_client_hour: int = 0

    @classmethod
    def of(cls, settings: PathwaySettings) -> Limits:
        """Return those of the pathway's settings."""
        return cls(
            settings.max_designs,
            settings.max_queued_designs,
            settings.max_client_designs,
            settings.max_client_designs_per_hour,
        )


class Job:
    """One design of the service. ``future`` gives its response, or was cancelled before it ran."""

    future: Future[Response]

    def __init__(self, client: str, job_id: str | None = None, session_id: str | None = None) -> None:
        self.id = job_id or secrets.token_hex(16)  # who knows it may ask for the design
        self.client = client
        self.watch = Watch()
        self.watch.named = session_id
        self.created_at = time.time()
        self.started_at: float | None = None
        self.ended_at: float | None = None

    @property
    def state(self) -> str:
        """Return queued, running, completed, failed or cancelled."""
        if not self.future.done():
            return QUEUED if self.started_at is None else RUNNING
        if self.future.cancelled() or isinstance(self.future.exception(), DesignCancelledError):
            return CANCELLED
        response = self.response
        if response is None:
            return FAILED
        if response["success"]:
            return COMPLETED
        return CANCELLED if response["error"]["type"] == "cancelled" else FAILED

    @property
    def response(self) -> Response | None:
        """Return what ``generate`` answered, once it did."""
        future = self.future
        if not future.done() or future.cancelled() or future.exception() is not None:
            return None
        return future.result()

    def cancel(self, reason: str) -> None:
        """Call it off: at once while it waits, else before its next paid step."""
        self.watch.cancel(reason)
        self.future.cancel()


class Jobs:
    """Lets designs in, runs them, and remembers those that have ended."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._pool = ThreadPoolExecutor(limits.designs, thread_name_prefix="perfdb-design")
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._in_work: Counter[str] = Counter()  # of each client
        self._begun: OrderedDict[str, deque[float]] = OrderedDict()  # when, in the last hour, of each client
        self._took: deque[float] = deque(maxlen=20)
        self._lock = threading.Lock()

    def submit(
        self,
        work: Callable[[Watch], Response],
        *,
        client: str,
        job_id: str | None = None,
        session_id: str | None = None,
    ) -> Job:
        """Take a design on; ``work`` runs on a thread of the service.

        Not for an event loop: beginning a thread waits for all others of the process that begin one.

        Raises:
            BusyError: there is no room.
        """
        job = Job(client, job_id, session_id)

        def run() -> Response:
            job.watch.check()
            job.started_at = time.time()
            try:
                return work(job.watch)
            finally:
                job.ended_at = time.time()

        with self._lock:
            self._look_for_room(client)
            if self.limits.per_client_hour:
                self._begun.setdefault(client, deque()).append(time.monotonic())
                self._begun.move_to_end(client)
                while len(self._begun) > _MOST_CLIENTS:
                    self._begun.popitem(last=False)
            self._in_work[client] += 1
        try:
            job.future = self._pool.submit(contextvars.copy_context().run, run)
        except BaseException:
            with self._lock:
                self._left(client)
            raise
        with self._lock:  # not held meanwhile: the event loop asks for it, too
            self._jobs[job.id] = job
        job.future.add_done_callback(lambda _: self._ended(job))
        return job

    def look_for_room(self, client: str) -> None:
        """Raise a BusyError when another design of this client would not be let in now."""
        with self._lock:
            self._look_for_room(client)

    def get(self, job_id: str) -> Job | None:
        """Return a design by its id, if it is known here."""
        with self._lock:
            return self._jobs.get(job_id)

    def position(self, job: Job) -> int | None:
        """Return how many designs begin before this one; None when it does not wait."""
        with self._lock:
            waiting = [each.id for each in self._jobs.values() if each.state == QUEUED]
        return waiting.index(job.id) if job.id in waiting else None

    def close(self) -> None:
        """Call everything off, and wait until it has ended."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.cancel("the service ends")
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look_for_room(self, client: str) -> None:
        limits, running = self.limits, self._in_work.total()
        if running >= limits.designs + limits.queue:
            raise BusyError(
                f"the service works on {running} designs and takes no more now: try again in a moment",
                retry_after_s=self._turn_s(running - limits.designs + 1),
                everybody=True,
            )
        if limits.per_client and self._in_work[client] >= limits.per_client:
            raise BusyError(
                f"{self._in_work[client]} designs of yours are in work, and more are not allowed at a time",
                retry_after_s=self._turn_s(1),
                everybody=False,
            )
        begun = self._begun.get(client)
        if limits.per_client_hour and begun:
            now = time.monotonic()
            while begun and begun[0] < now - _HOUR_S:
                begun.popleft()
            if len(begun) >= limits.per_client_hour:
                raise BusyError(
                    f"{len(begun)} designs of yours were made within an hour, and more are not allowed",
                    retry_after_s=math.ceil(begun[0] + _HOUR_S - now),
                    everybody=False,
                )

    def _turn_s(self, places: int) -> int:
        """Return after how many seconds so many designs will have ended."""
        each = sum(self._took) / len(self._took) if self._took else _FIRST_GUESS_S
        return max(1, min(3600, math.ceil(each * places / self.limits.designs)))

    def _ended(self, job: Job) -> None:
        if job.ended_at is None:
            job.ended_at = time.time()
        with self._lock:
            self._left(job.client)
            if job.started_at is not None and job.state == COMPLETED:
                self._took.append(job.ended_at - job.started_at)
            ended = [each for each in self._jobs.values() if each.future.done()]
            for each in ended[: max(0, len(ended) - MOST_KEPT)]:
                del self._jobs[each.id]

    def _left(self, client: str) -> None:
        self._in_work[client] -= 1
        if not self._in_work[client]:
            del self._in_work[client]
