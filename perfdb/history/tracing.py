"""Sessions for the viewers and collectors of others: OTLP, Chrome's trace events, speedscope.

A session is a span, or the outermost frame, and its steps are those inside. Ids of spans are made from the
session's id and the step's number, as in ``perfdb.context().traceparent``; what came from OpenTelemetry keeps
its own. A session that was given a ``traceparent`` belongs to that trace. In OTLP, ``perfdb.session`` and
``perfdb.step`` hold what a span has no place for, so that an import makes the same session again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from perfdb.maintenance.formats.spans import EXPORTED, OF_SESSION, OF_STEP
from perfdb.recording.context import Context, parent_of
from perfdb.recording.report import to_report
from perfdb.records import Session, Step
from perfdb.version import __version__
from perfdb.vocabulary import FAILED

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}").fullmatch
_OF_HOST = {
    "host": "host.name",
    "pid": "process.pid",
    "python_version": "process.runtime.version",
    "git_commit": "vcs.ref.head.revision",
    "git_branch": "vcs.ref.head.name",
    "command": "process.command_line",
}
_OF_ATTEMPT = ("start_time", "duration", "wait", "success", "error_message")
_ROUNDED_US = 5.0  # start and duration, each to the microsecond, and a float's own
_MOST_THREADS = 20  # of a lane; what has no place even there is left to the viewer
_INTERNAL, _OK, _ERROR = 1, 1, 2  # of spans


# -- OTLP ------------------------------------------------------------------------------


def otlp_lines(sessions: Iterable[Session]) -> Iterator[bytes]:
    """Yield a request of OTLP in JSON, one line, for each session."""
    for session in sessions:
        request = {"resourceSpans": [resource_spans(session)]}
        yield json.dumps(request, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def resource_spans(session: Session) -> dict[str, Any]:
    """Return the ``ResourceSpans`` of a session, as OTLP has it in JSON."""
    report = to_report(session)
    report |= {"start_time": session.start_time, "total_duration": session.total_duration}
    of_steps = report.pop("steps")
    attributes = report.pop("attributes")
    resource: dict[str, Any] = {"service.name": attributes.get("service.name") or session.pipeline}
    for ours, theirs in _OF_HOST.items():
        if (value := getattr(session, ours)) is not None:
            resource[theirs] = value
    if session.python_version is not None:
        resource["telemetry.sdk.language"] = "python"
    trace_id, root_id, parent_id = _ids(session)
    span_ids = {step.seq: _step_id(session, step) for step in session.steps}
    spans = [
        _span(
            trace_id,
            root_id,
            parent_id,
            session.pipeline,
            session.start_time,
            session.total_duration,
            session.error_message if session.success is False or session.status == FAILED else None,
            session.success,
            {**attributes, OF_SESSION: report},
        )
    ]
    for step, told in zip(session.steps, of_steps, strict=True):
        told |= {"start_time": step.start_time, "duration": step.duration, "end_time": step.end_time}
        told["session_id"] = session.session_id
        told["attempts"] = [{name: getattr(each, name) for name in _OF_ATTEMPT} for each in step.attempts]
        told["events"] = [{"name": e.name, "time": e.time, "data": dict(e.data)} for e in step.events]
        data = told.pop("additional_data")
        span = _span(
            trace_id,
            span_ids[step.seq],
            span_ids.get(step.parent_seq, root_id) if step.parent_seq is not None else root_id,
            told.pop("step_name"),
            step.start_time,
            step.duration,
            step.error_message or "failed" if step.failed else None,
            step.success,
            {**data, OF_STEP: told},
        )
        span["events"] = [
            {"timeUnixNano": str(_ns(each.time)), "name": each.name, "attributes": _pairs(each.data)}
            for each in step.events
        ]
        spans.append(span)
    scope = {"name": EXPORTED, "version": __version__}
    return {
        "resource": {"attributes": _pairs(resource)},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }


def _ids(session: Session) -> tuple[str, str, str | None]:
    """Return the ids of the trace, of the session's span, and of the span around it."""
    _, trace_id, root_id, _ = Context(session.session_id).traceparent.split("-")
    attributes = session.attributes
    came_in = parent_of(attributes)
    if came_in is not None:
        return came_in[0], root_id, came_in[1]
    if _TRACE_ID(session.session_id) is not None:
        own, parent = str(attributes.get("span_id", "")), str(attributes.get("parent_span_id", ""))
        own = own if _SPAN_ID(own) is not None else root_id
        return session.session_id, own, parent if _SPAN_ID(parent) is not None else None
    return trace_id, root_id, None


def _step_id(session: Session, step: Step) -> str:
    own = str(step.additional_data.get("span_id", ""))
    if _TRACE_ID(session.session_id) is not None and _SPAN_ID(own) is not None:
        return own
    return Context(f"{session.session_id}:{step.seq}").traceparent.split("-")[2]


def _span(
    trace_id: str,
    span_id: str,
    parent_id: str | None,
    name: str,
    start: float,
    duration: float | None,
    error: str | None,
    success: bool | None,
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    begin = _ns(start)
    status: dict[str, Any] = {"code": _ERROR, "message": error} if error is not None else {}
    return {
        "traceId": trace_id,
        "spanId": span_id,
        **({} if parent_id is None else {"parentSpanId": parent_id}),
        "name": name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(begin + _ns(duration or 0.0)),
        "attributes": _pairs(attributes),
        "status": status or ({"code": _OK} if success else {}),
    }


def _ns(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _pairs(value)}}
    return {"stringValue": str(value)}


# -- Chrome, Perfetto ------------------------------------------------------------------------


def chrome_pieces(sessions: Iterable[Session]) -> Iterator[bytes]:
    """Yield a document of trace events: a process for each session, a thread for each lane.

    Viewers drop what begins inside of another event of its thread and ends after it, as a step does that its
    parent did not wait for, or that a machine with another clock timed: that has a further thread.
    """
    yield b'{"displayTimeUnit":"ms","traceEvents":['
    separator = b"\n"
    for number, session in enumerate(sessions, start=1):
        for event in _chrome_events(session, number):
            yield separator + json.dumps(event, separators=(",", ":"), default=str, allow_nan=False).encode()
            separator = b",\n"
    yield b"\n]}\n"


def _chrome_events(session: Session, number: int) -> Iterator[dict[str, Any]]:
    named = {"name": f"{session.pipeline} {session.session_id}"}
    yield {"ph": "M", "name": "process_name", "pid": number, "tid": 0, "args": named}
    threads = _Threads({0, *(step.lane for step in session.steps)})
    last = _end_of(session)
    args = {"session_id": session.session_id, "status": session.status, **session.attributes}
    begin, end = _us(session.start_time), _us(last)
    where = {"pid": number, "tid": threads.place(0, begin, end)[0]}
    yield _complete(where, session.pipeline, begin, end, args, session.error_message)
    placed = []
    for step in session.steps:
        begin = _us(step.start_time)
        end = max(begin, _us(last if step.duration is None else step.start_time + step.duration))
        placed.append((begin, -end, step.seq, step))
    for begin, minus_end, _, step in sorted(placed, key=lambda each: each[:3]):
        tid, end = threads.place(step.lane, begin, -minus_end)
        where = {"pid": number, "tid": tid}
        yield _complete(where, step.step_name, begin, end, step.additional_data, step.error_message)
        for each in step.events:
            at = {"ts": _us(each.time), "s": "t"}
            yield {"ph": "i", "name": each.name, "cat": "event", **where, **at, "args": dict(each.data)}
    for tid, name in threads.names.items():
        yield {"ph": "M", "name": "thread_name", "pid": number, "tid": tid, "args": {"name": name}}


class _Threads:
    """The threads of one process, in which an event is inside of another one or beside it."""

    def __init__(self, lanes: Iterable[int]) -> None:
        self.names = {lane: f"lane {lane}" for lane in sorted(lanes)}
        self._of_lane = {lane: [lane] for lane in self.names}
        self._open: dict[int, list[tuple[float, float]]] = {}  # begin and end, innermost last

    def place(self, lane: int, begin: float, end: float) -> tuple[int, float]:
        """Return the thread of the next event, and its end; all but the first come in the order of begins.

        Times were rounded: an end that is a few microseconds too late is that of what is around it.
        """
        tids = self._of_lane[lane]
        for tid in tids:
            inside = self._open.setdefault(tid, [])
            while inside and inside[-1][1] <= begin:
                inside.pop()
            if not inside or (inside[-1][0] <= begin and end - inside[-1][1] <= _ROUNDED_US):
                break
        else:
            inside = []
            if len(tids) < _MOST_THREADS:
                tids.append(max(self.names) + 1)
                self.names[tids[-1]] = f"lane {lane}, beside"
            self._open[tids[-1]] = inside
            tid = tids[-1]
        end = min(end, inside[-1][1]) if inside else end
        inside.append((begin, end))
        return tid, end


def _complete(
    where: Mapping[str, int],
    name: str,
    begin: float,
    end: float,
    args: Mapping[str, Any],
    error: str | None,
) -> dict[str, Any]:
    told = {**args, "error": error} if error else dict(args)
    return {"ph": "X", "name": name, "cat": "perfdb", **where, "ts": begin, "dur": end - begin, "args": told}


def _us(seconds: float) -> float:
    """Return microseconds as a float holds them, to a quarter: so the difference of two is exact."""
    return round(seconds * 1e6, 3)


def _end_of(session: Session) -> float:
    """Return the end of a session; of one without, that of what is known of it."""
    if session.end_time is not None:
        return session.end_time
    ends = (step.end_time or step.start_time for step in session.steps)
    return max((session.start_time, *ends))


# -- speedscope --------------------------------------------------------------------------------


def speedscope_pieces(sessions: Iterable[Session]) -> Iterator[bytes]:
    """Yield a document of speedscope: a profile for each lane of a session."""
    frames: dict[str, int] = {}
    yield b'{"$schema":"https://www.speedscope.app/file-format-schema.json","profiles":['
    separator = b"\n"
    for session in sessions:
        for lane in sorted({0, *(step.lane for step in session.steps)}):
            profile = _profile(session, lane, frames)
            yield separator + json.dumps(profile, separators=(",", ":")).encode()
            separator = b",\n"
    shared = json.dumps({"frames": [{"name": name} for name in frames]})
    yield f'\n],"shared":{shared},"exporter":"perfdb {__version__}"}}\n'.encode()


def _profile(session: Session, lane: int, frames: dict[str, int]) -> dict[str, Any]:
    """Return a lane as events that are in order, each inside of the one around it."""
    last = max(0.0, _end_of(session) - session.start_time)
    events: list[dict[str, Any]] = []
    inside: list[tuple[int, float]] = []  # frame and end, innermost last

    def close(until: float) -> None:
        while inside and inside[-1][1] <= until:
            frame, end = inside.pop()
            events.append({"type": "C", "frame": frame, "at": end})

    def enter(name: str, begin: float, end: float) -> None:
        close(begin)
        if inside:
            end = min(end, inside[-1][1])
        frame = frames.setdefault(name, len(frames))
        events.append({"type": "O", "frame": frame, "at": begin})
        inside.append((frame, end))

    if lane == 0:
        enter(session.pipeline, 0.0, last)
    placed = []
    for step in session.steps:
        if step.lane == lane:
            begin = min(last, max(0.0, step.start_time - session.start_time))
            end = last if step.duration is None else begin + step.duration
            placed.append((begin, -min(last, max(begin, end)), step.seq, step.step_name))
    for begin, minus_end, _, name in sorted(placed):
        enter(name, begin, -minus_end)
    close(float("inf"))
    return {
        "type": "evented",
        "name": f"{session.pipeline} {session.session_id}, lane {lane}",
        "unit": "seconds",
        "startValue": 0,
        "endValue": last,
        "events": events,
    }


PIECES = {"otlp": otlp_lines, "chrome": chrome_pieces, "speedscope": speedscope_pieces}
