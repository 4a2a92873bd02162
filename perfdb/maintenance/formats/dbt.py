"""dbt's ``run_results.json``: a session an invocation, a step a node, a lane a thread.

What was skipped is no failure: it was called off, because of another node.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perfdb.errors import InvalidSessionIdError
from perfdb.maintenance.formats.base import Format, document, holds, instant, numbers, session
from perfdb.recording.report_reader import Fields
from perfdb.records import Session, Step
from perfdb.vocabulary import check_session_id

_FAILURES = {"error", "fail", "runtime error", "partial success"}
_SKIPPED = {"skipped", "no-op"}


def _read(file: Path) -> Iterator[Session]:
    fields = document(file)
    metadata = Fields(fields.mapping("metadata"), fields.name, "metadata.")
    elapsed = fields.number("elapsed_time", None)
    written = instant(metadata, "generated_at")
    results = sorted(
        ((_start(each), each) for each in fields.objects("results")), key=lambda pair: pair[0] or 0.0
    )
    known = [start for start, _ in results if start is not None]
    begun = min([*known, written - (elapsed or 0.0)])
    threads: dict[str, int] = {}
    steps = [
        _step(each, seq, begun if start is None else start, threads)
        for seq, (start, each) in enumerate(results)
    ]
    ends = [step.end_time or step.start_time for step in steps]
    yield session(
        "dbt",
        fields.values,
        steps,
        pipeline=next((name for each in fields.objects("results") if (name := _project(each))), "dbt"),
        start_time=begun,
        session_id=_id(metadata.text("invocation_id", None)),
        total_duration=max([elapsed or 0.0, *(end - begun for end in ends)]),
        attributes=numbers(
            {
                "dbt_version": metadata.text("dbt_version", None),
                "command": fields.mapping("args").get("which"),
                "target": fields.mapping("args").get("target"),
            }
        ),
    )


def _start(fields: Fields) -> float | None:
    begun = [
        instant(each, "started_at") for each in fields.objects("timing") if each.text("started_at", None)
    ]
    return min(begun, default=None)


def _step(fields: Fields, seq: int, start: float, threads: dict[str, int]) -> Step:
    status = fields.text("status").lower()
    thread = fields.text("thread_id", None) or ""
    said = fields.values.get("message")  # of its first versions a number: how many rows failed a test
    response = fields.mapping("adapter_response")
    return Step(
        step_name=fields.text("unique_id"),
        start_time=start,
        duration=fields.number("execution_time", None)
        or 0.0,  # of a source that could not be asked none is said
        success=status not in _FAILURES | _SKIPPED,
        interrupted=status in _SKIPPED,
        error_message=str(said or fields.values.get("error") or status)
        if status in _FAILURES | _SKIPPED
        else None,
        seq=seq,
        lane=threads.setdefault(thread, len(threads)),
        additional_data=numbers(
            {
                "status": status,
                "failures": fields.whole("failures", None),
                **{name: value for name, value in response.items() if name != "_message"},
            }
        ),
    )


def _project(fields: Fields) -> str | None:
    parts = fields.text("unique_id").split(".")
    return f"dbt {parts[1]}" if len(parts) > 1 and parts[1] else None


def _id(invocation: str | None) -> str | None:
    try:
        return invocation and check_session_id(invocation)
    except InvalidSessionIdError:
        return None


DBT = Format(
    words="run_results.json of dbt",
    fits=holds("metadata", "results", "elapsed_time", sign=rb'"(?:dbt_schema_version|elapsed_time)"'),
    read=_read,
)
