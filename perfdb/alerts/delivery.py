"""Carry messages from the outbox to their channels, on a thread of its own.

What does not arrive is tried again with growing pauses; a channel that fails again and again is left
alone for a while. A notifier may hang, raise or lie: the host and the recording never notice.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from perfdb.alerts import callbacks
from perfdb.alerts.channels import DeliveryError, prepare, send, within
from perfdb.alerts.config import Channel
from perfdb.errors import MissingExtraError
from perfdb.recording.health import Health
from perfdb.records import Alert
from perfdb.store import outbox

LEASE_S = 120.0
MOST_ATTEMPTS = 8
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0
BREAK_AFTER = 3  # failures in a row
BREAK_S = 60.0
IDLE_S = 30.0  # the thread ends when there was nothing to do for so long
CALLBACK_S = 30.0
MOST_WAITING = 1_000  # alerts for callbacks; more are dropped and counted

Transaction = Callable[[], AbstractContextManager[Any]]


class Breaker:
    """Leaves a channel alone for a while after failures in a row."""

    def __init__(self) -> None:
        self._failures = 0
        self.closed_until = 0.0

    def failed(self, now: float) -> None:
        """Count a failure."""
        self._failures += 1
        if self._failures >= BREAK_AFTER:
            self.closed_until = now + BREAK_S

    def worked(self) -> None:
        """Start counting afresh."""
        self._failures = 0
        self.closed_until = 0.0


class Delivery:
    """The messages and callbacks of one process and database.

    Args:
        transaction: gives a connection inside a write transaction.
        lock: held while the thread is in the database, so that no fork happens there.
        health: where failures are counted.
        clock: epoch seconds.
    """

    def __init__(
        self,
        transaction: Transaction,
        lock: AbstractContextManager[Any],
        health: Health,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transaction = transaction
        self._lock = lock
        self._health = health
        self._clock = clock
        self._channels: dict[str, Channel] = {}
        self._breakers: dict[str, Breaker] = {}
        self._calls: queue.Queue[Alert] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._flags = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._next_due: float | None = None

    def use(self, channels: Sequence[Channel]) -> None:
        """Deliver to these channels from now on."""
        self._channels = {channel.name: channel for channel in channels}
        prepare(channels)

    def wake(self, fired: Sequence[Alert] = ()) -> None:
        """Have the thread look: a message was put in, or alerts fired that callbacks want to know."""
        if callbacks.registered():
            for alert in fired:
                try:
                    self._calls.put_nowait(alert)
                except queue.Full:
                    self._health.count("dropped_callbacks", 1, "callbacks are too slow: alerts were dropped")
        if not self._channels and self._calls.empty():
            return
        with self._flags:
            self._idle.clear()
            self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="perfdb-delivery", daemon=True)
            self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is due, at most so long; return whether that is so."""
        return self._idle.wait(max(0.0, seconds))

    def after_fork_in_child(self, lock: AbstractContextManager[Any]) -> None:
        """Forget the parent's thread and what waits for it."""
        self._lock = lock
        self._thread = None
        self._flags = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._calls = queue.Queue(MOST_WAITING)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # the next message starts another thread
            self._health.count("errors", 1, f"delivering alerts failed: {type(error).__name__}")
            self._idle.set()

    def _work(self) -> None:
        busy_at = time.monotonic()
        while True:
            self._wake.clear()
            if self.turn():
                busy_at = time.monotonic()
                continue
            with self._flags:
                if not self._wake.is_set():  # else a message came after the look
                    self._idle.set()
            if self._next_due is not None:  # a message waits for its next try: stay
                self._wake.wait(min(max(0.05, self._next_due - self._clock()), LONGEST_PAUSE_S))
            elif time.monotonic() - busy_at > IDLE_S:
                return
            else:
                self._wake.wait(IDLE_S)

    def turn(self) -> bool:
        """Make the callbacks that wait and send one message; return whether there was anything to do."""
        called = False
        try:
            called = self._call_back()
            return self._send_one() or called
        except Exception as error:
            self._health.delayed("the outbox of alerts cannot be read now", error)
            return called

    def _call_back(self) -> bool:
        called = False
        while True:
            try:
                alert = self._calls.get_nowait()
            except queue.Empty:
                return called
            called = True
            for function in callbacks.registered():
                try:
                    within(CALLBACK_S, partial(function, alert))
                except Exception as error:
                    name = getattr(function, "__name__", "a function")
                    self._health.count(
                        "callback_errors", 1, f"{name}() for alerts raised {type(error).__name__}"
                    )

    def _send_one(self) -> bool:
        if not self._channels:
            return False
        now = self._clock()
        with self._lock, self._transaction() as connection:
            message = outbox.claim(connection, list(self._channels), now, LEASE_S)
            if message is None:
                self._next_due = outbox.next_due(connection, list(self._channels))
                return False
            channel = self._channels[message.channel]
            breaker = self._breakers.setdefault(channel.name, Breaker())
            if breaker.closed_until > now:
                outbox.postpone(connection, message.id, breaker.closed_until)
                return True
        error: DeliveryError | MissingExtraError | None = None
        try:
            send(channel, message.payload, delivery_id=str(message.id))
        except (DeliveryError, MissingExtraError) as problem:
            error = problem
        now = self._clock()
        with self._lock, self._transaction() as connection:
            if error is None:
                breaker.worked()
                outbox.mark_sent(connection, message.id, now)
                return True
            permanent = getattr(error, "permanent", True) or message.attempts >= MOST_ATTEMPTS
            retry_at = None if permanent else now + pause_s(message.attempts)
            outbox.mark_failed(connection, message.id, str(error), retry_at)
        breaker.failed(now)
        self._health.count("undelivered", 1, f"channel {channel.name!r}: {error}")
        return True


def pause_s(attempts: int) -> float:
    """Return how long to wait after so many tries: 5 s, doubling, at most an hour, with some jitter."""
    return float(
        min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1)) * random.uniform(0.8, 1.0)  # noqa: S311
    )
