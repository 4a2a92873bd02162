"""Carry messages from the outbox to their channels, on a thread of its own.

What does not arrive is tried again with growing pauses; a channel that fails again and again is left
alone for a while. A notifier may hang, raise or lie: the host and the recording never notice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from random import SystemRandom  # the host's own numbers stay what it seeded
from typing import Any

from perfdb.alerts import callbacks
from perfdb.alerts.channels import DeliveryError, prepare, send, within
from perfdb.alerts.config import Channel
from perfdb.errors import MissingExtraError
from perfdb.recording.health import Health
from perfdb.recording.native import (
    Flag,
    RLock,
    Thread,
    is_exiting,
    leave_signals_to_the_host,
    monotonic,
    sleep,
)
from perfdb.records import Alert
from perfdb.store import outbox

LEASE_S = 120.0
MOST_ATTEMPTS = 8
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 3600.0
BREAK_AFTER = 3  # failures in a row
BREAK_S = 60.0
IDLE_S = 2.0  # the thread ends when there was nothing to do for so long
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
        rests: called when the thread needs the database no more for a while, with whether it ends.

    Attributes:
        sent: messages that arrived.
    """

    def __init__(
        self,
        transaction: Transaction,
        lock: AbstractContextManager[Any],
        health: Health,
        *,
        clock: Callable[[], float] = time.time,
        rests: Callable[[bool], None] = lambda ends: None,
    ) -> None:
        self._transaction = transaction
        self._lock = lock
        self._health = health
        self._clock = clock
        self._rests = rests
        self._channels: dict[str, Channel] = {}
        self._breakers: dict[str, Breaker] = {}
        self._flags = RLock()
        self._calls: deque[Alert] = deque()
        self._thread: Thread | None = None
        self._wake = Flag()
        self._ends = False  # the thread is to end, and no other one to begin
        self._is_outside = False  # in a notifier or a callback, which may hang
        self._asked = 0
        self._is_idle = True
        self._next_due: float | None = None
        self.sent = 0

    def use(self, channels: Sequence[Channel]) -> None:
        """Deliver to these channels from now on."""
        self._channels = {channel.name: channel for channel in channels}
        prepare(channels)

    def wake(self, fired: Sequence[Alert] = ()) -> None:
        """Have the thread look: a message was put in, or alerts fired that callbacks want to know."""
        if callbacks.registered():
            for alert in fired:
                if len(self._calls) < MOST_WAITING:
                    self._calls.append(alert)
                else:
                    self._health.count("dropped_callbacks", 1, "callbacks are too slow: alerts were dropped")
        if not self._channels and not self._calls:
            return
        with self._flags:
            self._asked += 1
            self._is_idle = False
        self._wake.set()
        self._ensure_thread()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is due, at most so long; return whether that is so."""
        until = monotonic() + seconds
        while not self._is_idle and self.is_at_work() and monotonic() < until:
            sleep(0.005)
        return self._is_idle

    def end_thread(self) -> None:
        """Have the thread end when it is in no callback, message or database; none begins."""
        self._ends = True
        self._wake.set()

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until it has ended, or is in a notifier or callback, which may hang; return whether so.

        There it holds nothing that a child could miss.
        """
        until = monotonic() + seconds
        while self.is_at_work() and not self._is_outside:
            if monotonic() >= until:
                return False
            sleep(0.001)
        return True

    def go_on(self) -> None:
        """Let the thread begin again, and begin it when messages wait."""
        self._ends = False
        if not self._is_idle or self._next_due is not None:
            self._ensure_thread()

    def is_at_work(self) -> bool:
        """Whether the thread runs; while a message waits for its next try it does."""
        return self._thread is not None and self._thread.is_alive

    def _ensure_thread(self) -> None:
        with self._flags:
            if self._ends or self.is_at_work():
                return
            thread = self._thread = Thread(self._run)
        try:
            thread.start()
        except RuntimeError as error:  # the outbox keeps the messages
            if not is_exiting():
                self._health.delayed("no thread can be started for messages", error)

    def after_fork_in_child(self, lock: AbstractContextManager[Any]) -> None:
        """Forget the parent's thread and what waits for it."""
        self._lock, self._flags = lock, RLock()
        self._calls.clear()
        self._thread, self._wake, self._ends = None, Flag(), False
        self._is_outside, self._is_idle = False, True

    def _run(self) -> None:
        leave_signals_to_the_host()
        try:
            self._work()
        except Exception as error:  # the next message starts another thread
            self._health.count("errors", 1, f"delivering alerts failed: {type(error).__name__}")
            self._is_idle = True

    def _work(self) -> None:
        busy_at = monotonic()
        while not self._ends:
            asked = self._asked
            if self.turn():
                busy_at = monotonic()
                continue
            ends = self._next_due is None and monotonic() - busy_at >= IDLE_S
            with self._flags:
                self._is_idle = self._asked == asked  # else a message came after the look
                if self._is_idle and ends and self._thread is not None:
                    self._thread.leave()  # what comes from now on begins another
            if not self._is_idle:
                continue
            self._rests(ends)
            if ends:
                return
            # a message that waits for its next try keeps the thread
            due = IDLE_S if self._next_due is None else max(0.05, self._next_due - self._clock())
            self._wake.wait(min(due, LONGEST_PAUSE_S))

    def turn(self) -> bool:
        """Make the callbacks that wait and send one message; return whether there was anything to do."""
        called = False
        try:
            called = self._call_back()
            return self._send_one() or called
        except Exception as error:
            self._health.delayed("the outbox of alerts cannot be read now", error)
            return called

    @contextmanager
    def _outside(self) -> Iterator[None]:
        self._is_outside = True
        try:
            yield
        finally:
            self._is_outside = False

    def _call_back(self) -> bool:
        called = False
        while True:
            if not self._calls or self._ends:
                return called
            alert, called = self._calls.popleft(), True
            for function in callbacks.registered():
                try:
                    with self._outside():
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
            with self._outside():
                send(channel, message.payload, delivery_id=str(message.id))
        except (DeliveryError, MissingExtraError) as problem:
            error = problem
        now = self._clock()
        with self._lock, self._transaction() as connection:
            if error is None:
                breaker.worked()
                self.sent += 1
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
    pause: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempts - 1))
    return pause * SystemRandom().uniform(0.8, 1.0)
