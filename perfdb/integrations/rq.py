"""RQ jobs as sessions: ``rq worker --worker-class perfdb.integrations.rq.Worker``.

A job is a session of the pipeline that is called as its function; each retry is a further one with the same
``root_id``. Database and home come from ``PERFDB_*`` variables or the settings file. RQ runs each job in a
forked process, which waits for the database once the job is done, at most ``wait_s``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from rq import Worker as _Worker
from rq.job import Job as _Job

from perfdb.guard import raise_foreign
from perfdb.integrations.sessions import Recording, Sessions

_TRIES_KEPT_S = 7 * 24 * 3600

_made: list[Sessions] = []


def _sessions() -> Sessions:
    if not _made:
        _made.append(Sessions())
    return _made[0]


_last: list[Recording] = []  # that has ended in this process


class Job(_Job):
    """A job that is recorded while it is performed."""

    def perform(self) -> Any:
        """Call the job's function inside of a session."""
        recording = _sessions().new()
        _last[:] = [recording]
        try:
            _begin(self, recording)
            result = super().perform()
        except BaseException as error:
            recording.end(error)
            raise
        recording.end()
        return result


class Worker(_Worker):
    """A worker whose jobs are recorded, and that imports before it forks what they need."""

    def __init__(self, *args: Any, **options: Any) -> None:
        if options.get("job_class") in (None, _Job, "rq.job.Job"):
            options["job_class"] = Job
        super().__init__(*args, **options)

    def work(self, *args: Any, **options: Any) -> Any:
        """Prepare, and take jobs."""
        _sessions().prepare()
        return super().work(*args, **options)

    def perform_job(self, *args: Any, **options: Any) -> Any:
        """Perform a job, and wait for the database once it has its result: its time limit is its own."""
        try:
            return super().perform_job(*args, **options)
        finally:
            if _last:
                _last.pop().wait()


def _begin(job: Job, recording: Recording) -> None:
    attributes: dict[str, Any] = {"task_id": job.id, "root_id": job.id}
    name = "rq job"
    try:
        name = str(job.func_name)
        attributes["queue"] = job.origin
        attributes["retries"] = 0 if job.retries_left is None else _tries_before(job)
        if job.enqueued_at is not None:
            attributes["queue_s"] = round(max(0.0, time.time() - _epoch(job.enqueued_at)), 6)
    except Exception as error:
        raise_foreign(error)
        _sessions().health.failed("reading a job", error)
    recording.begin(name, attributes)


def _tries_before(job: Job) -> int:
    """Return how often a job was tried: RQ itself knows only what is left."""
    key = f"perfdb:tries:{job.id}"
    tries = int(job.connection.incr(key))
    job.connection.expire(key, _TRIES_KEPT_S)
    return tries - 1


def _epoch(instant: datetime) -> float:
    """Return epoch seconds of an instant, which older versions of RQ give without its zone."""
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
