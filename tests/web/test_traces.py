"""Traces that programs send to the dashboard's port: who may, in what form, and what comes of them."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import perfdb
from perfdb.errors import SettingsError
from perfdb.maintenance.formats.traces import read_otlp_settings
from perfdb.recording.journal import journals_in
from perfdb.settings import load
from perfdb.web import traces
from tests.integrations.otel.payloads import TRACE, as_protobuf, request, span
from tests.web.conftest import serving

PROTOBUF, JSON = "application/x-protobuf", "application/json"
SERVER = 2
ROOT = span(1, name="POST /design", ms=100, kind=SERVER)
CHILD = span(2, 1, name="search", begin_ms=5, ms=60)
BODY = request([ROOT, CHILD])
TOKEN = "t" * 20


@pytest.fixture
def receiver(web_folder: Path, serve: Callable[..., Any]) -> Any:
    return serve(perfdb.History(), otlp=True)


def post(receiver: Any, body: bytes = BODY, kind: str = JSON, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return receiver.client.post("/v1/traces", content=body, headers={"Content-Type": kind} | named)


def test_traces_of_both_encodings_become_sessions(web_folder: Path) -> None:
    (web_folder / "perfdb.toml").write_text(
        '[otlp]\npipeline = "{service.name}: {name}"\nattributes = ["app.*"]\nquiet_s = 0\n'
    )
    other = as_protobuf(request([span(1, trace="ab" * 16, name="nightly")]))
    history = perfdb.History()
    with serving(history, otlp=True) as receiver:
        for answer in (post(receiver), post(receiver, gzip.compress(BODY), Content_Encoding="gzip")):
            assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, JSON, b"{}")
        answer = post(receiver, other, PROTOBUF)
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, PROTOBUF, b"")
    found = {session.session_id: session for session in history.each_session()}
    assert {each.pipeline for each in found.values()} == {"shop: POST /design", "shop: nightly"}
    assert (found[TRACE].host, [step.step_name for step in found[TRACE].steps]) == ("build-3", ["search"])
    assert journals_in(web_folder / "performance_tracking" / "otlp") == []


def test_what_is_refused(receiver: Any) -> None:
    gz = {"Content_Encoding": "gzip"}
    for status, body, headers in (
        (403, BODY, {"Origin": "http://127.0.0.1:8787"}),
        (403, BODY, {"Origin": "null"}),
        (403, BODY, {"Sec_Fetch_Site": "same-origin"}),
        (403, BODY, {"Host": "elsewhere.example"}),
        (415, BODY, {"kind": "text/plain"}),
        (415, BODY, {"kind": "application/x-www-form-urlencoded"}),
        (415, BODY, {"Content_Encoding": "br"}),
        (200, gzip.compress(BODY), {"Content_Encoding": "x-gzip"}),
        (400, b"{", {}),
        (400, b"\xff\xff", {"kind": PROTOBUF}),
        (400, BODY, gz),
        (400, gzip.compress(BODY)[:-9], gz),
        (400, gzip.compress(b"") * 100, gz),
        (413, gzip.compress(bytes(traces.MOST_BYTES + 1)), gz),
        (413, bytes(traces.MOST_BYTES + 1), {}),
    ):
        answer = post(receiver, body, **headers)
        assert answer.status_code == status, (headers, body[:20], answer.text)
        if status == 400:
            kind = headers.get("kind", JSON)
            assert answer.headers["content-type"] == kind
            if kind == JSON:
                assert answer.json()["code"] == 3
            else:  # a google.rpc.Status: the code and the message
                said = b"not an OTLP request in protobuf"
                assert answer.content == b"\x08\x03\x12" + bytes([len(said)]) + said


_BAD_SPANS = {
    "no id": span(3) | {"spanId": ""},
    "an id of zeros": span(3) | {"traceId": "0" * 32},
    "a short id": span(3) | {"traceId": "ab" * 15},
    "a bad parent": span(3) | {"parentSpanId": "abcd"},
}
_HUGE = 10**400
_BAD_IN_JSON = {
    "an endless time": span(3) | {"startTimeUnixNano": _HUGE},
    "endless flags": span(3) | {"flags": _HUGE},
    "an endless attribute": span(3) | {"attributes": [{"key": "a", "value": {"intValue": _HUGE}}]},
    "an event at an endless time": span(3) | {"events": [{"name": "e", "timeUnixNano": _HUGE}]},
    "no object": 3,
    "after the year 9999": span(3) | {"endTimeUnixNano": str(10**21)},
    "a name that is a number": span(3) | {"name": 3},
    "a time that is none": span(3) | {"startTimeUnixNano": "noon"},
    "attributes that are no list": span(3) | {"attributes": {"a": 1}},
    "events that are no objects": span(3) | {"events": [1]},
}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [(bad, kind) for bad in _BAD_SPANS.values() for kind in (JSON, PROTOBUF)]
    + [(bad, JSON) for bad in _BAD_IN_JSON.values()],
    ids=[f"{name} {kind[12:]}" for name in _BAD_SPANS for kind in (JSON, PROTOBUF)] + list(_BAD_IN_JSON),
)
def test_a_span_that_cannot_be_stops_no_other_and_is_named(bad: Any, kind: str, web_folder: Path) -> None:
    made = {JSON: bytes, PROTOBUF: as_protobuf}[kind]
    history = perfdb.History()
    with serving(history, otlp=True) as receiver:
        answer = post(receiver, made(request([ROOT, bad, CHILD, bad])), kind)
        alone = post(receiver, made(request([bad])), kind)
    assert answer.status_code == 200
    told = ExportTraceServiceResponse()
    ParseDict(answer.json(), told) if kind == JSON else told.ParseFromString(answer.content)
    assert told.partial_success.rejected_spans == 2
    assert "not OTLP: " in told.partial_success.error_message
    assert [step.step_name for step in history.session(TRACE).steps] == ["search"]
    assert alone.status_code == 400  # nothing of it is kept


def test_a_text_that_is_no_utf_8_stops_no_other_span_and_what_is_cut_off_is_refused(web_folder: Path) -> None:
    marked = as_protobuf(request([ROOT, span(3) | {"name": "MARK"}, CHILD]))
    spoiled = marked.replace(b"MARK", b"\xff\xfe\xc3(")
    of_resource = spoiled.replace(b"service.name", b"\xff" * 12)
    assert marked != spoiled != of_resource
    history = perfdb.History()
    with serving(history, otlp=True) as receiver:
        answer = post(receiver, spoiled, PROTOBUF)
        refused = [
            post(receiver, each, PROTOBUF).status_code
            for each in (spoiled[:-3], spoiled + b"\x0b", of_resource)
        ]
    assert answer.status_code == 200
    told = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (told.rejected_spans, "UTF-8" in told.error_message) == (1, True)
    assert [step.step_name for step in history.session(TRACE).steps] == ["search"]
    assert refused == [400, 400, 400]


def test_a_kind_and_a_status_that_there_is_none_of_are_those_of_no_kind(web_folder: Path) -> None:
    odd = CHILD | {"kind": _HUGE, "status": {"code": _HUGE}}
    history = perfdb.History()
    with serving(history, otlp=True) as receiver:
        answer = post(receiver, request([ROOT, odd]), JSON)
    assert (answer.status_code, answer.json()) == (200, {})
    assert [step.step_name for step in history.session(TRACE).steps] == ["search"]


def test_only_post_and_only_when_it_was_asked_for(
    receiver: Any, serve: Callable[..., Any], history: perfdb.History
) -> None:
    answer = receiver.client.get("/v1/traces")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    for path, kind in (
        ("/v1/traces/", JSON),
        ("/v1/traces/v1/traces", PROTOBUF),
        ("/", PROTOBUF),
        ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "application/grpc"),
    ):
        answer = receiver.client.post(path, content=b"", headers={"Content-Type": kind})
        assert (answer.status_code, traces.PLACE in answer.text) == (404, True), path
    answer = post(serve(history))
    assert (answer.status_code, traces.PLACE in answer.text) == (404, True)
    for path, kind in (("/v1/metrics", JSON), ("/v1/logs", PROTOBUF)):
        answer = receiver.client.post(path, content=b"", headers={"Content-Type": kind})
        assert answer.status_code == 404
        assert b"perfdb takes traces only" in answer.content


def test_a_token_in_a_header_as_exporters_send_it(web_folder: Path, serve: Callable[..., Any]) -> None:
    receiver = serve(perfdb.History(), otlp=True, token=TOKEN)
    assert post(receiver).status_code == 401
    assert post(receiver, Authorization="Bearer wrong").status_code == 401
    assert post(receiver, Authorization=f"Bearer {TOKEN}").status_code == 200
    assert post(receiver, X_Perfdb_Token=TOKEN).status_code == 200


@pytest.mark.parametrize("full", ["disk", "MOST_SPANS", "MOST_BYTES", "requests"])
def test_what_cannot_be_kept_is_to_be_sent_again(
    web_folder: Path, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    if full == "disk":
        home = web_folder / "performance_tracking"
        home.mkdir()
        (home / "otlp").write_text("in the way")
    elif full.startswith("MOST"):
        monkeypatch.setattr(f"perfdb.integrations.otel.assembly.{full}", 1)
    else:
        monkeypatch.setattr(traces, "MOST_HELD_BYTES", 10)
    answer = post(serve(perfdb.History(), otlp=True))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["code"] in (8, 14)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('pipeline = "shop"', "'pipeline' in [otlp] must hold attributes in braces"),
        ('pipeline = "{name"', "must hold attributes in braces"),
        ("quiet_s = -1", "'quiet_s' in [otlp] must be a number from 0 to 3600"),
        ('attributes = "app.*"', "'attributes' in [otlp] must be an array of texts"),
        ("quiet = 1", "unknown setting 'quiet' in [otlp]; did you mean 'quiet_s'?"),
    ],
)
def test_a_mistake_in_the_settings_is_named(web_folder: Path, toml: str, words: str) -> None:
    (web_folder / "perfdb.toml").write_text(f"[otlp]\n{toml}\n")
    with pytest.raises(SettingsError) as raised:
        read_otlp_settings(load().otlp)
    assert words in str(raised.value)
    (web_folder / "t.json").write_bytes(BODY)
    with pytest.raises(SettingsError):
        perfdb.History().import_reports("t.json")


def test_the_settings_hold_for_imported_files(web_folder: Path) -> None:
    (web_folder / "perfdb.toml").write_text('[otlp]\npipeline = "{service.name}"\n')
    (web_folder / "t.json").write_bytes(BODY)
    perfdb.History().import_reports("t.json")
    assert [session.pipeline for session in perfdb.History().each_session()] == ["shop"]


def test_the_official_exporter_sends_again_what_a_full_receiver_refused(
    web_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporting = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http.trace_exporter", reason="pip install 'perfdb[test-hosts]'"
    )
    (web_folder / "perfdb.toml").write_text("[otlp]\nquiet_s = 0.5\n")
    monkeypatch.setattr("perfdb.integrations.otel.assembly.MOST_SPANS", 2)
    asked: list[float] = []
    refuse = traces._status

    def refused(why: traces.RefusedError, kind: str) -> Any:
        asked.append(time.monotonic())
        return refuse(why, kind)

    monkeypatch.setattr(traces, "_status", refused)
    provider = TracerProvider()
    gathered = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(gathered))
    with provider.get_tracer("shop").start_as_current_span("order"):
        provider.get_tracer("shop").start_span("pack").end()
    history = perfdb.History()
    with serving(history, otlp=True) as receiver:
        exporter = exporting.OTLPSpanExporter(f"{receiver.url}/v1/traces")
        assert post(receiver).status_code == 200  # no more room now, until this trace is recorded
        assert exporter.export(gathered.get_finished_spans()) == SpanExportResult.SUCCESS
        taken = time.monotonic()
        exporter.shutdown()
    waits = [after - before for before, after in pairwise([*asked, taken])]
    assert min(waits) >= traces.RETRY_AFTER_S  # by itself it would have waited for a second
    found = {session.pipeline: len(session.steps) for session in history.each_session()}
    assert found == {"POST /design": 1, "order": 1}


@pytest.mark.parametrize("kind", [JSON, PROTOBUF])
def test_what_a_resource_says_at_length_is_not_kept_for_each_of_its_traces(
    web_folder: Path, kind: str
) -> None:
    names = (
        "service.name", "service.version", "host.name", "process.command_line", "vcs.ref.head.name",
        "vcs.ref.head.revision", "deployment.environment",
    )  # fmt: skip
    resource = dict.fromkeys(names, "long text " * 20_000)
    body = request([span(n, trace=f"{n:032x}", name="") for n in range(1, 101)], resource)
    (web_folder / "t.json").write_bytes(body)
    (web_folder / "perfdb.toml").write_text('[otlp]\npipeline = "{service.name}"\nquiet_s = 0\n')
    history = perfdb.History()
    with serving(history, otlp=True) as receiver:
        assert post(receiver, as_protobuf(body) if kind == PROTOBUF else body, kind).status_code == 200
    database = web_folder / "performance_tracking" / "perfdb.sqlite3"
    assert len(history.sessions()) == 100
    assert sum(each.stat().st_size for each in database.parent.glob("perfdb.sqlite3*")) < 10_000_000
    assert len(history.session("last").host or "") < 10_000
