"""The JSON report of a session: the seed's fields first, in the seed's order, then perfdb's own.

A report is written whole or not at all and is readable by its owner only. ``read_report``
returns an equal Session.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfdb.errors import ReportError
from perfdb.guard import raise_foreign
from perfdb.measures import SPENT, measured, number
from perfdb.outputs import write_output, write_own
from perfdb.recording.report_reader import SCHEMA_VERSION, read_report
from perfdb.records import FURTHER_OF_SESSION, FURTHER_OF_STEP, Session, Step
from perfdb.surroundings import make_private_folder
from perfdb.vocabulary import INTERRUPTED, check_session_id

__all__ = ["read_report", "report_name", "to_report", "write_report"]


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
        **_measured(session, session.total_duration),
        **{name: _rounded(getattr(session, name)) for name in FURTHER_OF_SESSION},
        **({"spent": spent} if (spent := spent_of(session)) else {}),
        "samples": [
            [_rounded(sample.time), _rounded(sample.cpu_percent), sample.rss_bytes]
            for sample in session.samples
        ],
    }


def spent_of(session: Session) -> dict[str, Any]:
    """Return dollars, tokens and images of the session, and under ``steps`` by step name; empty without any.

    What the session says of itself wins; else its steps make it together.
    """
    steps: dict[str, dict[str, float]] = {}
    together: dict[str, float] = {}
    for step in session.steps:
        for name in SPENT:
            amount = number(step.additional_data.get(name))
            if amount is not None:
                own = steps.setdefault(step.step_name, {})
                own[name] = own.get(name, 0) + amount
                together[name] = together.get(name, 0) + amount
    said = {name: amount for name in SPENT if (amount := number(session.attributes.get(name))) is not None}
    total = {name: _tidy((together | said)[name]) for name in SPENT if name in together or name in said}
    by_step = {step: {name: _tidy(amount) for name, amount in own.items()} for step, own in steps.items()}
    return {**total, "steps": by_step} if total else {}


def _tidy(amount: float) -> float:
    """Return an amount without what binary fractions add to it: a count as a whole number."""
    return int(amount) if amount == int(amount) else round(amount, 9)


def _step_to_report(step: Step) -> dict[str, Any]:
    return {
        "step_name": step.step_name,
        "start_time": _rounded(step.start_time),
        "end_time": _rounded(step.end_time),
        "duration": _rounded(step.duration),
        "success": step.success,
        "error_message": step.error_message,
        "additional_data": dict(step.additional_data),
        **({"status": INTERRUPTED} if step.interrupted else {}),
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
        **_measured(step, step.duration),
        **{name: _rounded(getattr(step, name)) for name in FURTHER_OF_STEP},
    }


def _measured(record: Session | Step, duration: float | None) -> dict[str, Any]:
    cpu_s, *others = ((name, _rounded(value)) for name, value in measured(record).items())
    percent = None if record.cpu_s is None or not duration else round(100.0 * record.cpu_s / duration, 6)
    return dict([cpu_s, ("cpu_percent", percent), *others])


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value


def report_name(session_id: str) -> str:
    """Return the file name of a session's report.

    Raises:
        InvalidSessionIdError: the id must not become a file name.
    """
    return f"performance_report_{check_session_id(session_id)}.json"


def write_report(report: Mapping[str, Any], folder_or_path: str | Path) -> Path:
    """Write the report into a folder under its own name, or to a path that ends in ``.json``.

    An earlier report is replaced in one piece. In a folder a symbolic link of that name is replaced and not
    followed, and what is no file of ours is left alone; a path that is given is followed, and a device or
    FIFO is written to. A missing folder is made, for its owner only.

    Raises:
        InvalidSessionIdError: the report's id must not become a file name.
        ReportError: a value is not JSON, such as NaN.
        OSError: the folder cannot be made or written; nothing is left behind.
    """
    name = report_name(report["session_id"])
    path = Path(folder_or_path)
    content = _as_json(report)
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        raise_foreign(error)
        kind = 0  # nothing yet
    if kind != stat.S_IFDIR and (path.suffix == ".json" or kind not in (0, stat.S_IFREG)):
        make_private_folder(path.parent)
        write_output(path, [content], patient=False)  # a host does not wait for a reader
        return path
    path = path.joinpath(name)
    make_private_folder(path.parent)
    write_own(path, content)
    return path


def _as_json(report: Mapping[str, Any]) -> bytes:
    """Return the report as indented JSON with one line per sample."""
    head = {key: value for key, value in report.items() if key != "samples"}
    try:
        text = json.dumps(head, indent=2, ensure_ascii=False, allow_nan=False)
        rows = [json.dumps(row, allow_nan=False) for row in report.get("samples", ())]
    except (TypeError, ValueError, RecursionError) as error:
        raise_foreign(error)
        raise ReportError(f"the report of session {report['session_id']} is not JSON: {error}") from None
    if "samples" in report:
        lines = ",".join(f"\n    {row}" for row in rows)
        text = f'{text[:-2]},\n  "samples": [{lines}{chr(10) + "  " if rows else ""}]\n}}'
    # a lone surrogate has no UTF-8, but its escape is JSON
    return f"{text}\n".encode("utf-8", "backslashreplace")
