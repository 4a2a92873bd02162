"""Celery tasks as sessions, through its signals: ``record_tasks()`` where the application is made.

A task is a session of the pipeline that is called as it is; each retry is a further one with the same
``root_id``. Prefork workers record in their children.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from signal import SIGTERM
from typing import Any

from celery import signals

from perfdb.guard import raise_foreign
from perfdb.integrations.sessions import Recording, Sessions
from perfdb.recording.context import context, read_traceparent

SENT_AT = "perfdb_sent_at"  # header of a message: epoch seconds
_TERMINATED = SIGTERM - 256  # what the pool's handler of that signal exits with

_tasks: _Tasks | None = None


def record_tasks(**options: Any) -> None:
    """Record all tasks of this process, and of those that it forks; again, with other options.

    Args:
        options: ``home`` and ``database_url`` as for ``perfdb.create_tracker``, or ``settings``.

    Raises:
        SettingsError: a setting is unknown, of the wrong type or out of range.
    """
    global _tasks
    made = _Tasks(Sessions(**options))
    if _tasks is not None:
        _tasks.end()
    _tasks = made
    _tasks.connect()


class _Tasks:
    """The receivers of Celery's signals."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._running: dict[str, Recording] = {}
        self._receivers = (
            (signals.before_task_publish, self._sent),
            (signals.worker_init, self._prepare),
            (signals.task_prerun, self._begin),
            (signals.task_postrun, self._end),
        )

    def connect(self) -> None:
        for signal, receiver in self._receivers:
            signal.connect(receiver, weak=False)

    def end(self) -> None:
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    def _prepare(self, **_: Any) -> None:
        self._sessions.prepare()

    def _sent(self, headers: Any = None, **_: Any) -> None:
        if isinstance(headers, dict):
            headers[SENT_AT] = time.time()  # of a retry, its own
            if (trace := context().traceparent) and "traceparent" not in headers:
                headers["traceparent"] = trace

    def _begin(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        attributes: dict[str, Any] = {"task_id": task_id}
        try:
            attributes |= _attributes_of(task.request, task_id)
        except Exception as error:
            raise_foreign(error)
            self._sessions.health.failed("reading a task's request", error)
        self._running[task_id] = recording = self._sessions.new()
        recording.begin(str(task.name), attributes)

    def _end(self, task_id: str = "", state: str | None = None, retval: Any = None, **_: Any) -> None:
        recording = self._running.pop(task_id, None)
        if recording is None:
            return
        if state == "SUCCESS":
            recording.end()
        elif isinstance(retval, BaseException):
            recording.end(retval)  # Retry, Ignore and Reject say that they are no failures
        elif state in ("RETRY", "IGNORED", "REJECTED"):
            recording.end(state.lower(), interrupted=True)
        else:  # an exception that is none of Celery's to handle, on its way
            error: BaseException | str = sys.exception() or f"the task ended in state {state}"
            if isinstance(error, SystemExit) and error.code == _TERMINATED:
                error = "the worker ended the task: its hard time limit, or a revocation"
            recording.end(error)


def _attributes_of(request: Any, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {"root_id": request.root_id or task_id, "retries": request.retries or 0}
    if request.parent_id:
        found["parent_id"] = request.parent_id
    delivery = request.delivery_info or {}
    if queue := delivery.get("routing_key"):
        found["queue"] = queue
    headers = request.headers or {}
    sent = getattr(request, SENT_AT, None) or headers.get(SENT_AT)
    if isinstance(sent, (int, float)):
        if request.eta:  # a task that is put off does not wait until then
            sent = max(sent, datetime.fromisoformat(request.eta).timestamp())
        found["queue_s"] = round(max(0.0, time.time() - sent), 6)
    trace = getattr(request, "traceparent", None) or headers.get("traceparent")
    if isinstance(trace, str) and read_traceparent(trace) is not None:
        found["traceparent"] = trace
    return found
