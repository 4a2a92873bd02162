"""Sessions that were measured elsewhere: without credentials, and as the records of a journal.

An import, a test run and a collector of OpenTelemetry hand over whole sessions. Each is said in the records
that a tracker would have written, so that there is one way into the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from itertools import islice
from operator import attrgetter
from typing import Any

from perfdb.guard import raise_foreign
from perfdb.measures import measured
from perfdb.recording.redaction import redact, redact_name, withheld
from perfdb.recording.values import MAX_TOTAL, clean
from perfdb.records import ENVIRONMENT, FURTHER_OF_SESSION, Attempt, Event, Session, Step
from perfdb.settings import Settings
from perfdb.vocabulary import INTERRUPTED, MAX_SEQ, RUNNING, mode_of

OF_PROCESS = (*ENVIRONMENT, "pid")
_OF_ATTEMPT, _OF_EVENT = (tuple(each.name for each in fields(of)) for of in (Attempt, Event))
_ELSEWHERE = ("step_name", "start_time", "seq", "lane", "attempts", "events", "interrupted")
_MAY_BE_NONE = tuple(each.name for each in fields(Step) if each.name not in _ELSEWHERE)  # then it is not said
_NOT_OF_THE_SPAN = frozenset(("parent_span_id", "span_name", "events"))
_MOST_ENTRIES = MAX_TOTAL // 5  # of one set: as many as a program can record, in whatever pieces
_values_of_step = attrgetter(*_MAY_BE_NONE)


def records_of(
    session: Session, *, with_environment: bool = False, provisional: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield the session as a start, its steps, its samples and an end.

    With its environment the start says on which machine it ran, whoever writes the journal. What is
    provisional gives way to the same session's start and end from elsewhere, and keeps its steps. A session
    that was saved while it ran is interrupted.
    """
    key = {"session_id": session.session_id}
    own = span_as_step(session) if provisional else None
    environment = {name: getattr(session, name) for name in OF_PROCESS} if with_environment else {}
    marks = {"provisional": True} if provisional else {}
    of_span = {"own_step": own} if own is not None else {}
    yield {
        "type": "start",
        **key,
        "pipeline": session.pipeline,
        "start_time": session.start_time,
        "utc_offset": session.utc_offset,
        "fast_mode": session.fast_mode,
        "mode": session.mode,
        "attributes": dict(session.attributes),
        **environment,
        **marks,
        **of_span,
    }
    inside = {"parent_seq": own["seq"]} if own is not None else {}
    for step in session.steps:
        called_off = {"status": INTERRUPTED} if step.interrupted else {}
        yield {"type": "step", **key, **inside, **_step_record(step), **called_off}
    if session.samples:
        rows = [(each.time, each.cpu_percent, each.rss_bytes) for each in session.samples]
        yield {"type": "samples", **key, "rows": rows}
    yield {
        "type": "end",
        **key,
        **marks,
        "total_duration": session.total_duration,
        "status": INTERRUPTED if session.status == RUNNING else session.status,
        "success": session.success,
        "product_count": session.product_count,
        "error_message": session.error_message,
        "attributes": dict(session.attributes),
        **measured(session),
        **{name: getattr(session, name) for name in FURTHER_OF_SESSION if name not in OF_PROCESS},
    }


def span_as_step(session: Any) -> dict[str, Any] | None:
    """Return the step that a provisional session's own span is, once the session has its beginning.

    A trace whose root is elsewhere is the session of its topmost span. When the root comes, that span is one
    of the steps, as it would have been had it come later.

    Args:
        session: a ``Session``, or its row.
    """
    attributes = session.attributes
    if not isinstance(attributes, Mapping):
        return None
    seq, parent = (span_number(attributes.get(name)) for name in ("span_id", "parent_span_id"))
    if seq is None or parent is None:
        return None
    data = {name: value for name, value in attributes.items() if name not in _NOT_OF_THE_SPAN}
    events = attributes.get("events")
    return {
        "step_name": attributes.get("span_name") or session.pipeline,
        "start_time": session.start_time,
        "duration": session.total_duration,
        "success": session.success,
        "error_message": session.error_message,
        "additional_data": data,
        "seq": seq,
        "parent_seq": parent,
        "events": events if isinstance(events, (list, tuple)) else [],
    }


def span_number(span_id: object) -> int | None:
    """Return the number of a span's step: of its id, because others may come later, and from elsewhere."""
    try:
        return int(span_id, 16) & MAX_SEQ if isinstance(span_id, str) and len(span_id) == 16 else None
    except ValueError as error:
        raise_foreign(error)
        return None


def _step_record(step: Step) -> dict[str, Any]:
    """Return the fields of a step; `asdict` would copy its data, at three times the cost of all the rest."""
    record: dict[str, Any] = {
        "step_name": step.step_name,
        "start_time": step.start_time,
        "seq": step.seq,
    }
    for name, value in zip(_MAY_BE_NONE, _values_of_step(step), strict=True):
        if value is not None:
            record[name] = value
    if step.lane:
        record["lane"] = step.lane
    if step.attempts:
        record["attempts"] = [{name: getattr(each, name) for name in _OF_ATTEMPT} for each in step.attempts]
    if step.events:
        record["events"] = [{name: getattr(each, name) for name in _OF_EVENT} for each in step.events]
    return record


def prepared(session: Session, settings: Settings) -> Session:
    """Return the session without credentials, and with the mode of these settings where it names none.

    What perfdb did not write itself names none, and nothing was withheld, or cut, in it.
    """
    extra = settings.redact
    attributes = withheld(_at_most(session.attributes), extra)
    if session.perfdb_version is None:
        mode = mode_of({"fast_mode": session.fast_mode, **attributes}, settings.mode_attributes)
    else:
        mode = _mode_without_credentials(session.mode, extra)
    return replace(
        session,
        pipeline=redact_name(session.pipeline),
        error_message=session.error_message and redact(session.error_message),
        mode=mode,
        tags=tuple(redact(tag) for tag in session.tags),
        attributes=attributes,
        host=session.host and redact_name(session.host),
        python_version=session.python_version and redact_name(session.python_version),
        perfdb_version=session.perfdb_version and redact_name(session.perfdb_version),
        git_commit=session.git_commit and redact_name(session.git_commit),
        command=session.command and redact(session.command),
        git_branch=session.git_branch and redact_name(session.git_branch),
        steps=tuple([_step_without_credentials(step, extra) for step in session.steps]),
    )


def plain(session: Session) -> Session:
    """Return the session with attributes and data as JSON can say them: no NaN, no bytes, no objects."""
    steps = tuple(
        replace(
            step,
            additional_data=clean(step.additional_data),
            events=tuple(replace(each, data=clean(each.data)) for each in step.events),
        )
        for step in session.steps
    )
    return replace(session, attributes=clean(session.attributes), steps=steps)


def _at_most(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return attributes of no more entries than a tracker records; what is cut is counted under ``…``."""
    cut = len(data) - _MOST_ENTRIES
    if cut <= 1:  # the one is the mark of an earlier cut
        return data
    return dict(islice(data.items(), _MOST_ENTRIES)) | {"…": f"{cut} more entries cut"}


def _mode_without_credentials(mode: str, extra: Iterable[str]) -> str:
    try:
        values = json.loads(mode)
    except (ValueError, RecursionError) as error:
        raise_foreign(error)
        return redact(mode)
    redacted = withheld(values, extra) if isinstance(values, dict) else redact(mode)
    return (
        mode
        if redacted in (values, mode)
        else mode_of(redacted, tuple(redacted))
        if isinstance(redacted, dict)
        else redacted
    )


def _step_without_credentials(step: Step, extra: Iterable[str]) -> Step:
    name, data = redact_name(step.step_name), withheld(_at_most(step.additional_data), extra)
    plain = not (step.error_message or step.attempts or step.events)
    if plain and name == step.step_name and (data is step.additional_data or data == step.additional_data):
        return step
    return replace(
        step,
        step_name=name,
        error_message=step.error_message and redact(step.error_message),
        additional_data=data,
        attempts=tuple(
            replace(each, error_message=each.error_message and redact(each.error_message))
            for each in step.attempts
        ),
        events=tuple(
            replace(each, name=redact(each.name), data=withheld(each.data, extra)) for each in step.events
        ),
    )
