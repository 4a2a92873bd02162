"""Payloads that exporters, relays and broken clocks send: in both encodings, to a database and out again.

Of: integrations/otel/assembly.py, maintenance/formats/spans.py.
"""

from __future__ import annotations

import gzip
import json
import resource
from pathlib import Path
from typing import Any

import pytest

from perfdb import Intake
from perfdb.errors import ReportError
from perfdb.history.history import History
from perfdb.history.tracing import PIECES
from perfdb.integrations.otel.assembly import JSON, PROTOBUF, Assembler, Spool
from perfdb.maintenance.formats.spans import MOST_DEPTH, MOST_ENTRIES, MOST_EVENTS, from_json, from_protobuf
from perfdb.records import Session
from perfdb.settings import load
from perfdb.web.traces import unpacked
from tests.integrations.otel.payloads import RESOURCE, START_NS, TRACE, as_protobuf, pairs, request, span

SERVER = 2
ROOT = span(1, name="GET /", ms=100, kind=SERVER)
OTHER = "ab" * 16
TIMES = ("startTimeUnixNano", "endTimeUnixNano")
DAYS_MS = 3 * 86_400_000.0


def nested(depth: int, kind: str) -> dict[str, Any]:
    value: dict[str, Any] = {"intValue": "7"}
    for _ in range(depth):
        inside = value if kind == "arrayValue" else {"key": "k", "value": value}
        value = {kind: {"values": [inside]}}
    return value


def recorded(folder: Path, bodies: list[bytes], kind: str) -> list[Session]:
    """Return what the database has of requests that came packed, each closed before the next."""
    intake = Intake(settings=load(cwd=folder, environ={}))
    assembler = Assembler(intake)
    spool = Spool(folder / "otlp", assembler)
    for body in bodies:
        sent = as_protobuf(body) if kind == PROTOBUF else body
        assert spool.accept(unpacked(gzip.compress(sent)), kind)
        assembler.close_all()
    spool.close()
    assert intake.flush(30)
    found = History(folder / "performance_tracking" / "perfdb.sqlite3").each_session()
    return sorted(found, key=lambda session: session.session_id)


Tree = dict[str, str | None]  # of each step's name, the name of what is around it
ODD: dict[str, tuple[list[list[dict[str, Any]]], dict[str, tuple[str, Tree]]]] = {
    "ids in upper case": (
        [[ROOT | {"traceId": TRACE.upper()}, span(0xAB, 1, name="a") | {"spanId": "00000000000000AB"}]],
        {TRACE: ("GET /", {"a": None})},
    ),
    "one parent of the other": (
        [[ROOT, span(2, 3, name="a"), span(3, 2, name="b"), span(4, 3, name="c")]],
        {TRACE: ("GET /", {"a": "b", "b": "a", "c": "b"})},
    ),
    "the same span twice, and again": (
        [[ROOT, span(2, 1, name="a"), span(2, 1, name="a")], [span(2, 1, name="a"), ROOT]],
        {TRACE: ("GET /", {"a": None})},
    ),
    "two traces": (
        [[span(1, name="job", trace=OTHER), span(2, 1, name="b", trace=OTHER), span(2, 1, name="a"), ROOT]],
        {TRACE: ("GET /", {"a": None}), OTHER: ("job", {"b": None})},
    ),
    "a span that comes days later": (
        [[ROOT, span(2, 1, name="a")], [span(3, 2, name="b", begin_ms=DAYS_MS)]],
        {TRACE: ("GET /", {"a": None, "b": "a"})},
    ),
    "a child of a machine whose clock is ahead, and one whose clock is behind": (
        [[ROOT, span(2, 1, name="a", begin_ms=90, ms=5_000), span(3, 1, name="b", begin_ms=-700, ms=20)]],
        {TRACE: ("GET /", {"a": None, "b": None})},
    ),
    "no times, and an end before its start": (
        [[ROOT, span(2, 1, name="a", ms=-5), span(3, 1, name="b") | dict.fromkeys(TIMES, "0")]],
        {TRACE: ("GET /", {"a": None, "b": None})},
    ),
    "no names": ([[ROOT | {"name": ""}, span(2, 1) | {"name": ""}]], {TRACE: ("shop", {"unnamed": None})}),
}  # fmt: skip


@pytest.mark.parametrize("kind", [JSON, PROTOBUF])
@pytest.mark.parametrize("odd", ODD)
def test_odd_traces_are_sessions_that_every_export_can_say(tmp_path: Path, odd: str, kind: str) -> None:
    requests, wanted = ODD[odd]
    sessions = recorded(tmp_path, [request(spans) for spans in requests], kind)
    assert [session.session_id for session in sessions] == sorted(wanted)
    for session in sessions:
        names = {step.seq: step.step_name for step in session.steps}
        tree = {step.step_name: names.get(step.parent_seq or 0) for step in session.steps}
        assert (session.pipeline, tree) == wanted[session.session_id]
        assert len(session.steps) == len(tree)
        assert all(step.duration is not None and step.duration >= 0.0 for step in session.steps)
        assert all(step.start_time > START_NS / 1e9 - 1 for step in session.steps)  # not in 1970
    for name in ("chrome", "speedscope"):
        json.loads(b"".join(PIECES[name](sessions)))
    again = tmp_path / "again.jsonl"
    again.write_bytes(b"".join(PIECES["otlp"](sessions)))
    history = History(tmp_path / "performance_tracking" / "perfdb.sqlite3")
    assert [(each.added, each.known) for each in history.import_reports(again)] == [(0, len(sessions))]


def test_both_encodings_mean_the_same_by_every_kind_of_value() -> None:
    values = {
        "deep array": nested(MOST_DEPTH + 5, "arrayValue"),
        "deep list": nested(MOST_DEPTH + 5, "kvlistValue"),
        "not too deep": nested(MOST_DEPTH, "arrayValue"),
        "empty array": {"arrayValue": {}},
        "empty list": {"kvlistValue": {}},
        "nothing": {},
        "bytes": {"bytesValue": "AQI="},
        "zero": {"intValue": "0"},
        "nought": {"doubleValue": 0.0},
        "no": {"boolValue": False},
        "": {"stringValue": ""},
        "large": {"intValue": str(2**63 - 1)},
        "not a number": {"doubleValue": "NaN"},
    }
    made = [{"key": key, "value": value} for key, value in values.items()]
    event = {"timeUnixNano": str(START_NS), "name": "e", "attributes": made}
    link = {"traceId": OTHER, "spanId": "0" * 15 + "2", "attributes": made}
    body = request([ROOT | {"attributes": made, "events": [event], "links": [link, {}]}])
    assert repr(from_json(body)) == repr(from_protobuf(as_protobuf(body)))  # NaN is not equal to itself
    assert "…" in repr(from_json(body)[0].attributes["deep array"])
    assert "…" not in repr(from_json(body)[0].attributes["not too deep"])


def test_unknown_fields_and_numbers_of_any_spelling_are_taken(tmp_path: Path) -> None:
    of_span = {"droppedAttributesCount": "3", "ext": {"a": [1]}, "flags": "256", "kind": "SPAN_KIND_SERVER"}
    times = {"startTimeUnixNano": START_NS, "endTimeUnixNano": float(START_NS + 10**8)}
    document = json.loads(request([ROOT | of_span | times, span(2, 1, name="a") | {"status": {"code": "2"}}]))
    document["resourceSpans"][0] |= {"schemaUrl": "https://opentelemetry.io/schemas/1.38.0", "x": None}
    (session,) = recorded(tmp_path, [json.dumps(document | {"y": 1}).encode()], JSON)
    assert (session.pipeline, session.total_duration) == ("GET /", pytest.approx(0.1, abs=1e-6))
    assert session.steps[0].success is False
    quoted = from_json(request([ROOT | {"kind": "2", "status": {"code": "STATUS_CODE_ERROR"}}]))
    assert (quoted[0].kind, quoted[0].status) == (2, 2)
    exponent = from_json(request([ROOT | {"startTimeUnixNano": "1.7644500001e+18"}]))
    assert exponent[0].start_ns == 1_764_450_000_100_000_000
    for wrong in ("1.5e0", "1e999", "e", "nan"):
        with pytest.raises(ReportError, match="startTimeUnixNano"):
            from_json(request([ROOT | {"startTimeUnixNano": wrong}]))
    bare = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": OTHER, "spanId": "1" * 16}]}, {}]}, {}]}
    (least,) = from_json(json.dumps(bare))
    assert (least.trace_id, least.name, least.parent_id, least.start_ns) == (OTHER, "", None, 0)


@pytest.mark.parametrize("name", ["traceId", "spanId"])
@pytest.mark.parametrize("found", ["", "ab", "0" * 32, "CvdlGRbNQ91ESOshHIAxnA==", "zz" * 16, None, 5])
def test_ids_that_are_none_are_named_and_stop_no_other(tmp_path: Path, name: str, found: Any) -> None:
    assembler = Assembler(Intake(settings=load(cwd=tmp_path, environ={})))
    spool = Spool(tmp_path / "otlp", assembler)
    wrong = span(2, 1) | {name: found}
    with pytest.raises(ReportError, match=name):
        spool.accept(request([wrong, wrong]), JSON)
    assert assembler.open_spans == 0
    refused = spool.accept(request([wrong, ROOT, wrong]), JSON)
    assert refused is not None
    assert (refused.count, name in refused.reason) == (2, True)
    assert assembler.open_spans == 1


def test_each_of_several_resources_keeps_its_name(tmp_path: Path) -> None:
    document = json.loads(request([ROOT]))
    other = json.loads(
        request([span(2, 1, name="a")], RESOURCE | {"service.name": "stock", "host.name": "s1"})
    )
    document["resourceSpans"] += other["resourceSpans"]
    events = []
    for n in range(2):
        of_event = {"exception.type": "KeyError", "exception.message": f"'{n}'"}
        of_event["exception.stacktrace"] = "T" * 9_000
        events.append({"timeUnixNano": str(START_NS + n), "name": "exception", "attributes": pairs(of_event)})
    failed = span(3, 2, name="b", status={"code": 2, "message": "no"}, events=events)
    other["resourceSpans"][0]["scopeSpans"][0]["spans"].append(failed)
    (session,) = recorded(tmp_path, [json.dumps(document).encode()], PROTOBUF)
    assert (session.host, session.status) == ("build-3", "completed")
    a, b = session.steps
    assert a.additional_data["service.name"] == b.additional_data["service.name"] == "stock"
    assert (b.success, b.error_message) == (False, "KeyError: '1'")
    assert [event.name for event in b.events] == ["exception", "exception"]
    assert "T" * 5_000 not in repr(b)


@pytest.mark.parametrize("empty", [b"\x12\x00", b"\x12\x02\x30\x01"], ids=["nothing", "a kind"])
@pytest.mark.parametrize("level", ["resources", "scopes", "spans", "attributes", "events", "links", "facts"])
def test_very_many_messages_of_nothing_are_refused_before_they_take_room(level: str, empty: bytes) -> None:
    def message(tag: int, body: bytes) -> bytes:
        size, said = len(body), b""
        while size > 127:
            said, size = said + bytes([size & 127 | 128]), size >> 7
        return bytes([tag]) + said + bytes([size]) + body

    many = empty * (3 << 20)
    body = {
        "facts": lambda: message(0x0A, message(0x0A, many.replace(b"\x12", b"\x0a"))),
        **{
            name: lambda tag=tag: message(0x0A, message(0x12, message(0x12, many.replace(b"\x12", tag))))
            for name, tag in (("attributes", b"\x4a"), ("events", b"\x5a"), ("links", b"\x6a"))
        },
        "spans": lambda: message(0x0A, message(0x12, many)),
        "scopes": lambda: message(0x0A, many),
        "resources": lambda: many.replace(b"\x12", b"\x0a"),
    }[level]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ReportError, match="10,000 spans without ids"):
        from_protobuf(body)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_json_with_more_brackets_than_spans_can_have_is_refused_before_it_takes_room() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for empty in (b"{}", b"[]", b'{"":{}}'):
        with pytest.raises(ReportError, match="more objects and arrays"):
            from_json(b'{"resourceSpans":[' + (empty + b",") * (2 << 20) + empty + b"]}")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


@pytest.mark.parametrize(
    "read", [from_json, lambda body: from_protobuf(as_protobuf(body))], ids=[JSON, PROTOBUF]
)
def test_of_very_many_events_the_first_and_the_last_are_read(read: Any) -> None:
    events = [{"timeUnixNano": str(number), "name": "token"} for number in range(1, 5_001)]
    events.append({"timeUnixNano": "5001", "name": "exception"})
    array = {"arrayValue": {"values": [{"intValue": str(number)} for number in range(5_000)]}}
    attributes = [{"key": "samples", "value": array}]
    spans = [span(number, events=events) | {"attributes": attributes} for number in range(1, 202)]
    found = read(request(spans))
    assert len(found[0].events) == MOST_ENTRIES
    assert (found[0].events[0].time_ns, found[0].events[-1].name) == (1, "exception")
    assert len(found[0].attributes["samples"]) == 5_000
    assert sum(len(each.events) for each in found) == MOST_EVENTS


def test_a_large_request_is_read_as_a_small_one() -> None:
    wide = [span(number, name="x" * 300, attributes={"text": "y" * 300}) for number in range(1, 2_501)]
    body = as_protobuf(request(wide))
    assert len(body) > 1 << 20
    assert len(from_protobuf(body)) == 2_500
    with pytest.raises(ReportError, match="not an OTLP request"):
        from_protobuf(body[:-1])
    with pytest.raises(ReportError, match="not an OTLP request"):
        from_protobuf(b"\xff" * (2 << 20))
