"""The JSON report of a session: the seed's fields first, in the seed's order, then perfdb's own.

A report is written whole or not at all and is readable by its owner only. ``read_report``
returns an equal Session.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perfdb.errors import ReportError
from perfdb.recording.native import monotonic, sleep
from perfdb.recording.report_reader import SCHEMA_VERSION, read_report
from perfdb.records import Session, Step, check_session_id

__all__ = ["read_report", "report_name", "to_report", "write_report"]

HIDDEN = ".performance_report.tmp"
TURN_S = 0.25  # a report of 10 MB is in place in a twentieth of that


def to_report(session: Session) -> dict[str, Any]:
    """Return the session as the report holds it: JSON values, seconds rounded to the microsecond."""
    return {
        "session_id": session.session_id,
        "total_duration": _rounded(session.total_duration),
        "fast_mode": session.fast_mode,
        "success": session.success,
        "product_count": session.product_count,
        "timestamp": session.timestamp,
        "steps": [_step_to_report(step) for step in session.steps],
        "schema_version": SCHEMA_VERSION,
        "pipeline": session.pipeline,
        "status": session.status,
        "start_time": _rounded(session.start_time),
        "utc_offset": session.utc_offset,
        "mode": session.mode,
        "error_message": session.error_message,
        "attributes": dict(session.attributes),
        "tags": list(session.tags),
        "step_durations": {name: _rounded(seconds) for name, seconds in session.step_durations.items()},
        "cpu_s": _rounded(session.cpu_s),
        "cpu_percent": _cpu_percent(session.cpu_s, session.total_duration),
        "rss_peak_bytes": session.rss_peak_bytes,
        "rss_mean_bytes": session.rss_mean_bytes,
        "host": session.host,
        "pid": session.pid,
        "python_version": session.python_version,
        "perfdb_version": session.perfdb_version,
        "git_commit": session.git_commit,
        "command": session.command,
        "samples": [
            [_rounded(sample.time), _rounded(sample.cpu_percent), sample.rss_bytes]
            for sample in session.samples
        ],
    }


def _step_to_report(step: Step) -> dict[str, Any]:
    return {
        "step_name": step.step_name,
        "start_time": _rounded(step.start_time),
        "end_time": _rounded(step.end_time),
        "duration": _rounded(step.duration),
        "success": step.success,
        "error_message": step.error_message,
        "additional_data": dict(step.additional_data),
        "seq": step.seq,
        "parent_seq": step.parent_seq,
        "lane": step.lane,
        "attempts": [
            {
                "start_time": _rounded(attempt.start_time),
                "duration": _rounded(attempt.duration),
                "wait": _rounded(attempt.wait),
                "success": attempt.success,
                "error_message": attempt.error_message,
            }
            for attempt in step.attempts
        ],
        "events": [
            {"name": event.name, "time": _rounded(event.time), "data": dict(event.data)}
            for event in step.events
        ],
        "cpu_s": _rounded(step.cpu_s),
        "cpu_percent": _cpu_percent(step.cpu_s, step.duration),
        "rss_peak_bytes": step.rss_peak_bytes,
        "rss_mean_bytes": step.rss_mean_bytes,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _cpu_percent(cpu_s: float | None, duration: float | None) -> float | None:
    return None if cpu_s is None or not duration else round(100.0 * cpu_s / duration, 6)


def report_name(session_id: str) -> str:
    """Return the file name of a session's report.

    Raises:
        InvalidSessionIdError: the id must not become a file name.
    """
    return f"performance_report_{check_session_id(session_id)}.json"


def write_report(report: Mapping[str, Any], folder_or_path: str | Path) -> Path:
    """Write the report into a folder under its own name, or to a path that ends in ``.json``.

    An earlier report is replaced in one piece and a symbolic link is replaced, not followed.
    A missing folder is made, for its owner only.

    Raises:
        InvalidSessionIdError: the report's id must not become a file name.
        ReportError: a value is not JSON, such as NaN.
        OSError: the folder cannot be made or written; nothing is left behind.
    """
    name = report_name(report["session_id"])
    path = Path(folder_or_path)
    if path.suffix != ".json" or path.is_dir():
        path = path / name
    content = _as_json(report)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_whole(path, content)
    return path


def _as_json(report: Mapping[str, Any]) -> bytes:
    """Return the report as indented JSON with one line per sample."""
    head = {key: value for key, value in report.items() if key != "samples"}
    try:
        text = json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False)
        rows = [json.dumps(row, allow_nan=False) for row in report.get("samples", ())]
    except (TypeError, ValueError, RecursionError) as error:
        raise ReportError(f"the report of session {report['session_id']} is not JSON: {error}") from None
    if "samples" in report:
        lines = ",".join(f"\n    {row}" for row in rows)
        text = f'{text[:-2]},\n  "samples": [{lines}{chr(10) + "  " if rows else ""}]\n}}'
    # a lone surrogate has no UTF-8, but its escape is JSON
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _write_whole(path: Path, content: bytes) -> None:
    """Put the content in place in one step, so that a kill leaves the old file or the new one."""
    with _hidden_name(path.parent) as hidden:
        if _write_nameless(path, hidden, content):
            return
        if not hidden.exists():
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(hidden, flags, 0o600), "wb") as file:
                file.write(content)
        os.replace(hidden, path)


@contextmanager
def _hidden_name(folder: Path) -> Iterator[Path]:
    """Yield the name that a report may have before it is in place; nothing stays under it.

    The writers of a folder take turns with one name, so that the next one removes what a killed one left.
    Who cannot have the turn, because a writer was stopped in the middle, has a name of its own.
    """
    hidden = folder / HIDDEN
    descriptor = -1
    try:
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _take_turn(descriptor)
            hidden.unlink(missing_ok=True)
        except OSError:
            hidden = folder / f"{HIDDEN}.{os.urandom(6).hex()}"
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)
        if descriptor >= 0:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold the descriptor open
            os.close(descriptor)


def _take_turn(descriptor: int) -> None:
    """Lock the folder against other writers of reports.

    Raises:
        OSError: another one has it for too long, or this file system knows no locks.
    """
    deadline = monotonic() + TURN_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() > deadline:
                raise
            sleep(0.001)


def _write_nameless(path: Path, hidden: Path, content: bytes) -> bool:
    """Write a file without a name and then give it one, so that a kill in between leaves no litter.

    Returns True when it is in place under ``path``. Otherwise it has the hidden name because
    ``path`` exists, or no name because the system cannot do this (it is Linux's).
    """
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except (AttributeError, OSError):
        return False
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        source = f"/proc/self/fd/{descriptor}"
        try:
            # with a dir_fd Python calls linkat(), which follows the link of /proc as link() does not
            os.link(source, path, src_dir_fd=descriptor)
            return True
        except FileExistsError:
            os.link(source, hidden, src_dir_fd=descriptor)
        except OSError:
            pass
    return False
