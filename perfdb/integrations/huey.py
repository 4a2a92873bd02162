"""Huey tasks as sessions: ``record_tasks(huey)`` where the instance is made.

A task is a session of the pipeline that is called as it is; each retry is a further one with the same
``root_id``. Huey's messages do not say when they were sent, so that no ``queue_s`` is known.
"""

from __future__ import annotations

import threading
from typing import Any

from huey import signals

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
    tasks = _Tasks(Sessions(**options))
    huey.pre_execute(_INSTANCE)(tasks.begin)
    huey.post_execute(_INSTANCE)(tasks.end)
    huey.on_startup(_INSTANCE)(tasks.prepare)
    huey.signal(signals.SIGNAL_CANCELED, signals.SIGNAL_INTERRUPTED)(tasks.called_off)


class _Tasks:
    """What an instance calls."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._here = threading.local()  # the session of the worker's thread

    def prepare(self) -> None:
        self._sessions.prepare()

    def begin(self, task: Any) -> None:
        given = getattr(task, "default_retries", 0) or 0
        attributes: dict[str, Any] = {
            "task_id": task.id,
            "root_id": task.id,
            "retries": max(0, given - (task.retries or 0)),
        }
        self._here.recording = self._sessions.begin(str(task.name), attributes)

    def end(self, task: Any, value: Any, error: BaseException | None) -> None:
        if (recording := self._taken()) is not None:
            recording.end(error)

    def called_off(self, signal: str, task: Any, *_: Any) -> None:
        if (recording := self._taken()) is not None:
            recording.end(f"the task was {signal}", interrupted=True)

    def _taken(self) -> Recording | None:
        recording, self._here.recording = getattr(self._here, "recording", None), None
        return recording
