"""Huey tasks as sessions: ``record_tasks(huey)`` where the instance is made.

A task is a session of the pipeline that is called as it is; each retry is a further one with the same
``root_id``. Huey's messages do not say when they were sent: that is kept with its results until it begins.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from huey import signals

from perfdb.guard import raise_foreign
from perfdb.integrations.sessions import Recording, Sessions

_INSTANCE = "perfdb"  # names our hooks


def record_tasks(huey: Any, **options: Any) -> None:
    """Record all tasks that an instance runs in this process, or in those that it forks.

    Args:
        huey: the instance.
        options: ``home`` and ``database_url`` as for ``perfdb.create_tracker``, or ``settings``.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """
    tasks = _Tasks(huey, Sessions(**options))
    huey.pre_execute(_INSTANCE)(tasks.begin)
    huey.post_execute(_INSTANCE)(tasks.end)
    huey.on_startup(_INSTANCE)(tasks.prepare)
    huey.signal(signals.SIGNAL_CANCELED, signals.SIGNAL_INTERRUPTED)(tasks.called_off)
    huey.signal(signals.SIGNAL_ENQUEUED)(tasks.sent)
    huey.signal(signals.SIGNAL_REVOKED, signals.SIGNAL_EXPIRED)(tasks.never_begins)


class _Tasks:
    """What an instance calls."""

    def __init__(self, huey: Any, sessions: Sessions) -> None:
        self._huey = huey
        self._sessions = sessions
        self._here = (
            threading.local()
        )  # the sessions of the worker's thread: immediate tasks are inside of others

    def prepare(self) -> None:
        self._sessions.prepare()

    def sent(self, signal: str, task: Any) -> None:
        if not self._huey.immediate:
            try:
                self._huey.put(_key(task), time.time())
            except Exception as error:
                raise_foreign(error)
                self._sessions.health.failed("noting when a task is sent", error)

    def never_begins(self, signal: str, task: Any, *_: Any) -> None:
        self._when_sent(task)

    def _when_sent(self, task: Any) -> float | None:
        try:
            found = None if self._huey.immediate else self._huey.get(_key(task))
        except Exception as error:
            raise_foreign(error)
            self._sessions.health.failed("reading when a task was sent", error)
            return None
        return found if isinstance(found, float) else None

    def begin(self, task: Any) -> None:
        running = self._running()
        if not self._huey.immediate:
            for left in running.values():
                left.end("the task was cut off", interrupted=True)
            running.clear()
        given = getattr(task, "default_retries", 0) or 0
        attributes: dict[str, Any] = {
            "task_id": task.id,
            "root_id": task.id,
            "retries": max(0, given - (task.retries or 0)),
        }
        if (sent := self._when_sent(task)) is not None:
            attributes["queue_s"] = round(max(0.0, time.time() - sent), 6)
        running[task.id] = recording = self._sessions.new()
        recording.begin(str(task.name), attributes)

    def end(self, task: Any, value: Any, error: BaseException | None) -> None:
        if (recording := self._running().pop(task.id, None)) is not None:
            recording.end(error)

    def called_off(self, signal: str, task: Any, *_: Any) -> None:
        if (recording := self._running().pop(task.id, None)) is not None:
            recording.end(f"the task was {signal}", interrupted=True)

    def _running(self) -> dict[str, Recording]:
        found: dict[str, Recording] = self._here.__dict__.setdefault("running", {})
        return found


def _key(task: Any) -> str:
    return f"perfdb:sent:{task.id}"
