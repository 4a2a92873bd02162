"""Traces become sessions: whatever the encoding, the order and the repetitions.

Of: integrations/otel/exporter.py, tokens.py.
"""

from __future__ import annotations

import base64
import json
import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from perfdb import Intake
from perfdb.errors import ReportError
from perfdb.history.history import History
from perfdb.integrations.otel.assembly import JSON, PROTOBUF, Assembler, Spool
from perfdb.maintenance.formats.otlp import traces_in
from perfdb.maintenance.formats.spans import Span, from_json, from_protobuf
from perfdb.maintenance.formats.traces import Reading, number_of
from perfdb.recording.journal import journals_in
from perfdb.records import Session, Step
from perfdb.settings import load
from perfdb.testing import ManualClock
from tests.integrations.otel.payloads import START_NS, TRACE, as_protobuf, pairs, request, span

SERVER = 2
ROOT = span(
    1,
    name="POST /design",
    ms=100,
    kind=SERVER,
    attributes={"http.method": "POST", "http.route": "/design/{id}", "http.status_code": 200},
)
CHILDREN = [
    span(2, 1, name="search", begin_ms=5, ms=60, attributes={"rows": 2**40, "ratio": 0.5, "cached": False}),
    span(3, 2, name="GET", begin_ms=6, ms=40, kind=3),
    span(4, 2, name="GET", begin_ms=7, ms=50, kind=3),
    span(5, 1, name="POST /design http send", begin_ms=99, ms=0.1),
    span(6, 1, name="chat", begin_ms=70, ms=20.000001),
]


def session_of(*spans: dict[str, Any], reading: Reading | None = None) -> Session:
    found = (reading or Reading()).session_of(from_json(request(spans)))
    assert found is not None
    return found


def test_a_trace_is_a_session_and_its_topmost_span_is_not_a_step() -> None:
    session = session_of(*CHILDREN, ROOT)
    assert (session.session_id, session.pipeline, session.status) == (TRACE, "POST /design/{id}", "completed")
    assert (session.start_time, session.total_duration) == (START_NS / 1e9, 0.1)
    assert (session.host, session.pid) == ("build-3", 42)
    assert session.attributes["service.name"] == "shop"
    assert session.attributes["http.status_code"] == 200
    steps = {step.seq: step for step in session.steps}
    assert {step.step_name for step in session.steps} == {"search", "GET", "chat"}
    assert steps[2].parent_seq is None
    assert steps[3].parent_seq == steps[4].parent_seq == 2
    assert steps[3].lane != steps[4].lane
    assert steps[6].duration == 0.020000001  # to the nanosecond
    assert steps[2].additional_data == {"rows": 2**40, "ratio": 0.5, "cached": False, "span_id": f"{2:016x}"}


def test_both_encodings_say_the_same() -> None:
    body = request([*CHILDREN, ROOT])
    assert from_protobuf(as_protobuf(body)) == from_json(body)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"traceId": "00" * 16}, "traceId must be 32 hexadecimal digits"),
        ({"spanId": "xyz"}, "spanId must be 16 hexadecimal digits"),
        ({"startTimeUnixNano": "soon"}, "startTimeUnixNano must be a whole number"),
        ({"endTimeUnixNano": -5}, "endTimeUnixNano must be nanoseconds since 1970"),
        ({"name": 3}, "name must be a text"),
        ({"attributes": {"a": 1}}, "attributes must be an array"),
        ({"attributes": [{"key": "n", "value": {"intValue": "many"}}]}, "intValue must be a whole number"),
        ({"traceId": "CvdlGRbNQ91ESOshHIAxnA=="}, "traceId must be 32 hexadecimal digits"),
    ],
)
def test_what_is_no_otlp_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ReportError, match=words):
        from_json(request([span(1) | change]))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"rows": []}', b"[" * 100_000])
def test_what_is_no_document_of_otlp_is_refused(body: bytes) -> None:
    with pytest.raises(ReportError, match="not OTLP"):
        from_json(body)
    if body:
        with pytest.raises(ReportError, match="not an OTLP request"):
            from_protobuf(body)


def test_metrics_and_logs_are_refused_in_words() -> None:
    metrics = ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="latency")
    metric.exponential_histogram.data_points.add(count=3)
    with pytest.raises(ReportError, match="perfdb takes traces, no metrics or logs"):
        from_protobuf(metrics.SerializeToString())
    for key, words in (("resourceMetrics", "these are metrics"), ("resourceLogs", "these are logs")):
        with pytest.raises(ReportError, match=words):
            from_json(json.dumps({key: []}))


def test_nulls_and_numbers_of_any_kind_are_what_they_stand_for() -> None:
    nulls = dict.fromkeys(("attributes", "events", "links", "status", "parentSpanId", "flags", "traceState"))
    assert from_json(request([span(1) | nulls | {"kind": 2.0}])) == from_json(
        request([span(1, kind="SPAN_KIND_SERVER", flags=0)])
    )


def test_what_is_kept_is_bounded_and_can_be_said(intake: Intake, stored: Callable[[], list[Session]]) -> None:
    chunk = {"timeUnixNano": str(START_NS), "name": "gen_ai.content.completion.chunk"}
    tick = chunk | {"name": "tick", "attributes": pairs({"lag": math.nan})}
    many = {f"app.{n}": n for n in range(300)}
    attributes = {"load": math.nan, "http.target": "/" * 50_000, "gen_ai.usage.cost": math.inf, **many}
    assembler = Assembler(intake)
    body = request([ROOT, span(2, 1, attributes=attributes, events=[chunk] * 500 + [tick] * 500)])
    assembler.add(from_json(body))
    assert assembler.close_all() == 1
    (step,) = stored()[0].steps
    data = step.additional_data
    assert (data["load"], data["cost_usd"]) == ("NaN", "Infinity")
    assert len(data["http.target"]) < 5_000
    assert data["http.target"].endswith("characters cut]")
    assert len(data) < 210
    assert [each.name for each in step.events[:3]] == ["gen_ai.content.completion.chunk", "tick", "tick"]
    assert len(step.events) == 100


def test_a_session_that_json_cannot_say_is_recorded_nevertheless(
    intake: Intake, stored: Callable[[], list[Session]]
) -> None:
    data = {"rows": math.inf, "raw": b"12", "n": 1}
    step = Step(step_name="one", start_time=1.0, duration=1.0, success=True, additional_data=data)
    assert intake.record(replace(session_of(ROOT), steps=(step,)))
    assert stored()[0].steps[0].additional_data == {"rows": "Infinity", "raw": "<2 bytes>", "n": 1}


def test_a_trace_that_cannot_be_a_session_keeps_no_other_from_its_turn(
    intake: Intake, stored: Callable[[], list[Session]]
) -> None:
    assembler = Assembler(intake, quiet_s=0.0)
    broken = replace(*from_json(request([span(1, trace="ab" * 16)])), attributes=None)
    assembler.add([broken, *from_json(request([ROOT]))])
    assert assembler.close_due() == 2
    assert [each.session_id for each in stored()] == [TRACE]
    assert assembler.files_in_use() == set()


def test_of_two_spans_with_one_id_the_order_does_not_decide() -> None:
    said = [span(1, ms=5.0, name="early"), span(1, ms=9.0, name="late"), span(1, ms=9.0, name="other")]
    for spans in permutations(said):
        ((session, _),) = traces_in(from_json(request(spans)), Reading())
        assert (session.pipeline, session.total_duration) == ("other", 0.009)


def test_tokens_that_two_spans_say_are_counted_once() -> None:
    def call(number: int, parent: int, scope: str, begin_ms: float, ms: float) -> Span:
        used = {"llm.model_name": "gpt-4o", "llm.token_count.prompt": 1158, "llm.token_count.completion": 126}
        (made,) = from_json(request([span(number, parent, begin_ms=begin_ms, ms=ms, attributes=used)]))
        return replace(made, scope=scope)

    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 2316}
    spans = [
        *from_json(request([ROOT, span(2, 1, ms=50.0, attributes=agent)])),
        call(3, 2, "langchain", 1.0, 20.0),
        call(4, 1, "openai", 2.0, 18.0),  # the same call, by a library that knows nothing of the other one
        call(5, 2, "langchain", 3.0, 20.0),  # one of the same size beside it
        call(6, 1, "openai", 4.0, 18.0),
    ]
    steps = {step.seq: step.additional_data for step in Reading().session_of(spans).steps}
    assert sum(data.get("input_tokens", 0) for data in steps.values()) == 2 * 1158
    assert {seq for seq, data in steps.items() if "input_tokens" in data} == {4, 6}
    assert all(steps[seq]["model"] == "gpt-4o" for seq in (3, 4, 5, 6))


def test_an_exception_says_why_it_failed() -> None:
    exception = {
        "timeUnixNano": str(START_NS + 10**6),
        "name": "exception",
        "attributes": pairs({"exception.type": "ValueError", "exception.message": "no products"}),
    }
    session = session_of(span(1, status={"code": 2}, events=[exception]), span(2, 1, status={"code": 2}))
    assert (session.status, session.error_message) == ("failed", "ValueError: no products")
    assert session.attributes["events"][0]["data"]["exception.type"] == "ValueError"
    (step,) = session.steps
    assert (step.failed, step.error_message) == (True, "status ERROR")


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"http.status_code": 500}, "HTTP 500"),
        ({"http.response.status_code": 503, "error.type": "503"}, "HTTP 503"),
        ({"http.response.status_code": 200, "error.type": "ReadTimeout"}, "ReadTimeout"),
        ({"error.type": "ConnectError"}, "ConnectError"),
    ],
)
def test_an_answer_that_failed_says_its_status(attributes: dict[str, Any], reason: str) -> None:
    (step,) = session_of(span(1), span(2, 1, status={"code": 2}, attributes=attributes)).steps
    assert step.error_message == reason


def test_prompts_stay_out_and_tokens_get_one_name() -> None:
    openinference = {
        "llm.model_name": "gpt-4o",
        "llm.token_count.prompt": 1158,
        "llm.token_count.completion": 126,
        "llm.token_count.prompt_details.audio": 0,
        "input.value": "Describe the room",
        "llm.input_messages.0.message.content": "secret",
    }
    openllmetry = {
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1158,
        "gen_ai.usage.output_tokens": 126,
        "gen_ai.prompt.0.content": "Describe the room",
        "traceloop.entity.input": "x" * 60_000,
    }
    for attributes in (openinference, openllmetry):
        (step,) = session_of(ROOT, span(2, 1, attributes=attributes)).steps
        assert step.additional_data == {
            "model": "gpt-4o",
            "input_tokens": 1158,
            "output_tokens": 126,
            "span_id": f"{2:016x}",
        }


def test_attributes_of_ones_own_are_kept_while_they_are_short() -> None:
    mine = {
        "tier": "gold",
        "app.region": "eu",
        "app.page": "x" * 5_000,
        "net.peer.port": 4242,
        "db.statement": "q",
    }
    (step,) = session_of(ROOT, span(2, 1, attributes=mine)).steps
    assert set(step.additional_data) == {"tier", "app.region", "span_id"}
    (step,) = session_of(ROOT, span(2, 1, attributes=mine), reading=Reading(attributes=["db.state*"])).steps
    assert step.additional_data["db.statement"] == "q"


def test_a_template_names_the_pipeline() -> None:
    session = session_of(ROOT, reading=Reading("{service.name}: {name} {nothing}"))
    assert session.pipeline == "shop: POST /design"


def test_where_the_root_is_elsewhere_the_served_request_stands_for_it() -> None:
    remote = span(1, 99, name="GET /health", kind=SERVER, flags=768)
    session = session_of(span(2, 1, name="read"), remote)
    assert (session.pipeline, [step.step_name for step in session.steps]) == ("GET /health", ["read"])


def test_odd_spans_are_what_can_be_known_of_them() -> None:
    links = [{"traceId": "f" * 32, "spanId": "e" * 16}, {}]
    session = session_of(
        span(1, 1, name="own parent", ms=50, links=links),
        span(5, 1, name="GET / http send"),
        span(6, 5, name="inside of noise"),
    )
    assert (session.pipeline, [step.parent_seq for step in session.steps]) == ("own parent", [None])
    assert session.attributes["links"] == [{"trace_id": "f" * 32, "span_id": "e" * 16}]
    without_times = {**ROOT, "startTimeUnixNano": "0", "endTimeUnixNano": None}
    session = session_of(without_times, span(2, 1, begin_ms=5, ms=60))
    assert session.start_time == pytest.approx(START_NS / 1e9 + 0.005, abs=1e-6)
    assert session.total_duration == 0.06


def test_a_span_without_any_of_its_ancestors_is_a_step() -> None:
    session = session_of(span(2, 99, name="chat", kind=3))
    assert (session.pipeline, [step.step_name for step in session.steps]) == ("shop", ["chat"])


@pytest.mark.parametrize("nested", [False, True])
def test_thousands_of_spans_at_the_same_time_find_their_lanes(nested: bool) -> None:
    # each looked at the lanes of all others: a request of 8 MB kept the receiver for minutes
    spans = [
        Span(TRACE, f"{n:016x}", f"{n - 1 if nested else 1:016x}" if n > 1 else None, "a", 1, n, 10**9 - n)
        for n in range(1, 15_001)
    ]
    found = Reading().session_of(spans)
    assert found is not None
    assert {step.lane for step in found.steps} == ({0} if nested else set(range(14_999)))


@pytest.mark.parametrize(("kind", "branch"), [("branch", "main"), ("tag", None), (None, "main")])
def test_the_resource_names_the_branch(kind: str | None, branch: str | None) -> None:
    resource = {"vcs.ref.head.name": "main", "vcs.ref.head.type": kind}
    made = [replace(each, resource=resource) for each in from_json(request([span(1)]))]
    found = Reading().session_of(made)
    assert found is not None
    assert found.git_branch == branch


def test_sampling_is_said() -> None:
    for state in ("x=1,ot=th:8", "ot=rv:1;th:8;x:1,y=2", "ot=th:8 , z=1"):
        assert session_of(span(1, traceState=state)).attributes["sampling_probability"] == 0.5
    for state in ("ot=th:8g", f"ot=th:{'8' * 15}", "ot=p:8", "x=th:8"):
        assert "sampling_probability" not in session_of(span(1, traceState=state)).attributes


# -- gathered -------------------------------------------------------------------------


class Clock(ManualClock):
    def __call__(self) -> float:
        return self.monotonic()


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    return Intake(settings=load(cwd=tmp_path, environ={}))


@pytest.fixture
def stored(intake: Intake, tmp_path: Path) -> Callable[[], list[Session]]:
    """Return what brings everything in and reads it."""

    def stored() -> list[Session]:
        assert intake.flush(30)
        history = History(tmp_path / "performance_tracking" / "perfdb.sqlite3")
        return sorted(history.each_session(), key=lambda session: session.session_id)

    return stored


@pytest.mark.parametrize("seed", range(5))
def test_order_and_repetition_change_nothing(
    intake: Intake, stored: Callable[[], list[Session]], seed: int
) -> None:
    clock = Clock()
    assembler = Assembler(intake, clock=clock)
    draw = random.Random(seed)
    spans = [*CHILDREN, ROOT]
    spans += draw.sample(spans, 3)
    draw.shuffle(spans)
    for each in spans:
        assembler.add(from_json(request([each])))
        if draw.random() < 0.3:
            clock.advance(60)
            assembler.close_due()
    assembler.close_all()
    (session,) = stored()
    assert (session.pipeline, session.total_duration, session.attributes["http.status_code"]) == (
        "POST /design/{id}",
        0.1,
        200,
    )
    assert {step.seq for step in session.steps} == {2, 3, 4, 6}


def test_a_trace_waits_for_more_and_opens_again(intake: Intake, stored: Callable[[], list[Session]]) -> None:
    clock = Clock()
    assembler = Assembler(intake, clock=clock)
    assembler.add(from_json(request([ROOT])))
    clock.advance(1.0)
    assert assembler.close_due() == 0
    clock.advance(1.5)
    assert assembler.close_due() == 1
    assembler.add(from_json(request(CHILDREN)))
    clock.advance(29.0)
    assert assembler.close_due() == 0
    clock.advance(1.5)
    assert assembler.close_due() == 1
    (session,) = stored()
    assert (session.pipeline, len(session.steps)) == ("POST /design/{id}", 4)


def test_the_request_of_another_service_becomes_a_step_when_the_root_comes(
    intake: Intake, stored: Callable[[], list[Session]]
) -> None:
    assembler = Assembler(intake)
    assembler.add(from_json(request([span(2, 1, name="GET /stock", kind=SERVER, flags=768), span(3, 2)])))
    assembler.close_all()
    assert [session.pipeline for session in stored()] == ["GET /stock"]
    assembler.add(from_json(request([ROOT])))
    assembler.close_all()
    (session,) = stored()
    assert (session.pipeline, session.total_duration) == ("POST /design/{id}", 0.1)
    assert {step.step_name for step in session.steps} == {"GET /stock", "step 3"}


@pytest.mark.parametrize(
    "order",
    ["abc", "bac", "cab", "bca", "acb", "b c a", "a b c", "c b a", "bc a", "cb a", "b ca", "c ab", "bc cb a"],
)
def test_a_trace_of_several_services_is_whole_in_whatever_order_and_however_often_it_is_read(
    intake: Intake, stored: Callable[[], list[Session]], order: str
) -> None:
    services = {
        "a": [ROOT, span(2, 1, name="call", kind=3)],
        "b": [span(3, 2, name="GET /stock", kind=SERVER, flags=768), span(4, 3, name="SELECT")],
        "c": [span(7, 4, name="replica", kind=SERVER, flags=768), span(8, 7, name="read")],
    }
    for batch in order.split():
        for each in batch:
            assembler = Assembler(intake)  # a receiver that knows nothing of the others
            assembler.add(from_json(request(services[each])))
            assembler.close_all()
        stored()
    (session,) = stored()
    assert (session.pipeline, session.total_duration) == ("POST /design/{id}", 0.1)
    steps = {step.step_name: (step.seq, step.parent_seq) for step in session.steps}
    assert steps == {
        "call": (2, None), "GET /stock": (3, 2), "SELECT": (4, 3), "replica": (7, 4), "read": (8, 7),
    }  # fmt: skip


def test_what_was_acknowledged_is_on_disk_until_it_is_recorded(
    intake: Intake, stored: Callable[[], list[Session]], tmp_path: Path
) -> None:
    folder = tmp_path / "otlp"
    assembler = Assembler(intake)
    spool = Spool(folder, assembler)
    body = request([*CHILDREN, ROOT])
    assert spool.accept(body, JSON)
    assert spool.accept(as_protobuf(request([span(1, trace="ab" * 16)])), PROTOBUF)
    spool.close()  # as if it had died: nothing is recorded
    assert not (tmp_path / "performance_tracking" / "perfdb.sqlite3").exists()
    next_one = Assembler(intake)
    successor = Spool(folder, next_one)
    assert successor.take_over() == 2
    next_one.close_all()
    successor.close()
    assert journals_in(folder) == []
    assert {session.session_id for session in stored()} == {TRACE, "ab" * 16}


@pytest.mark.parametrize("kind", [JSON, PROTOBUF])
def test_what_waits_on_disk_has_no_credentials_and_no_prompts_and_is_the_same_session(
    intake: Intake, stored: Callable[[], list[Session]], tmp_path: Path, kind: str
) -> None:
    facts = {
        "url.full": "https://u:hunter2@shop/?token=hunter2", "db_password": "hunter2", "note": "pwd=hunter2",
        "gen_ai.prompt": "PROMPT", "asgi.scope": "PROMPT", "answer": "PROMPT" * 1_000, "rows": 5,
        "gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 7, "names": ["a", "b"], "wild": 0.5,
    }  # fmt: skip
    events = [{"timeUnixNano": "1", "name": "e", "attributes": pairs({"gen_ai.prompt": "PROMPT", "row": 3})}]
    message = {"code": 2, "message": "password=hunter2"}
    spans = [*CHILDREN, ROOT, span(9, 1, name="call", attributes=facts, events=events, status=message)]
    body = request(spans, {"host.name": "h", "process.command_line": "run --password hunter2", "x": "PROMPT"})
    sent = body if kind == JSON else as_protobuf(body)
    spool = Spool(tmp_path / "otlp", Assembler(intake))
    assert spool.accept(sent, kind)
    (file,) = journals_in(tmp_path / "otlp")
    kept = [file.read_bytes(), *map(base64.b64decode, re.findall(rb"[\w+/]{40,}=*", file.read_bytes()))]
    assert [text for text in (b"hunter2", b"PROMPT") if any(text in each for each in kept)] == []
    assert b"hunter2" in sent
    spool.close()
    later = Assembler(intake)
    assert Spool(tmp_path / "otlp", later).take_over() == 1
    later.close_all()
    (session,) = stored()
    direct = Intake(home=tmp_path / "direct")
    at_once = Assembler(direct)
    at_once.add(from_json(body))
    at_once.close_all()
    assert direct.flush(30)
    (expected,) = History(tmp_path / "direct" / "perfdb.sqlite3").each_session()
    assert replace(session, steps=()) == replace(expected, steps=())
    assert list(session.steps) == list(expected.steps)


def test_a_request_that_cannot_be_kept_is_not_acknowledged(intake: Intake, tmp_path: Path) -> None:
    (tmp_path / "otlp").write_text("in the way")
    assembler = Assembler(intake)
    assert not Spool(tmp_path / "otlp", assembler).accept(request([ROOT]), JSON)
    assert assembler.open_spans == 0


# -- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("at_a_time", [1, 1_000])
def test_files_of_one_import_are_one_history(
    at_a_time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfdb.maintenance.importer.SPANS_AT_A_TIME", at_a_time)
    (tmp_path / "a.pb").write_bytes(as_protobuf(request(CHILDREN[:2])))
    (tmp_path / "b.jsonl").write_bytes(b"\n".join([request(CHILDREN[2:]), request([ROOT]), b""]))
    (tmp_path / "c.json").write_bytes(request([span(1, trace="ab" * 16)]))
    (tmp_path / "d.jsonl").write_bytes(request([ROOT]) + b"\n" + request([span(2, traceId="x")]) + b"\n")
    history = History(tmp_path / "h.sqlite3")
    imported = {Path(each.path).name: each for each in history.import_reports(tmp_path)}
    assert {name: (each.added, each.known) for name, each in imported.items()} == {
        "a.pb": (1, 0),
        "b.jsonl": (0, 1),
        "c.json": (1, 0),
        "d.jsonl": (0, 0),
    }
    assert "d.jsonl: line 2: not OTLP: traceId" in str(imported["d.jsonl"].error)
    assert {step.step_name for step in history.session(TRACE).steps} == {"search", "GET", "chat"}
    again = history.import_reports(tmp_path)
    assert [each.added for each in again] == [0, 0, 0, 0]
    assert len(history.sessions()) == 2


def test_a_later_import_completes_a_trace(tmp_path: Path) -> None:
    history = History(tmp_path / "h.sqlite3")
    for name, spans in (("a.json", CHILDREN[1:]), ("b.json", [ROOT]), ("c.json", CHILDREN[:1])):
        (tmp_path / name).write_bytes(request(spans))
        history.import_reports(tmp_path / name)
    session = history.session(TRACE)
    assert (session.pipeline, session.total_duration) == ("POST /design/{id}", 0.1)
    assert [step.step_name for step in session.steps] == ["search", "GET", "GET", "chat"]


# -- the SDK ------------------------------------------------------------------------------


def test_the_sdk_of_this_process(tmp_path: Path, stored: Callable[[], list[Session]]) -> None:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    from perfdb.integrations.otel import SpanExporter

    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(SpanExporter(home=tmp_path / "performance_tracking")))
    tracer = provider.get_tracer("made")
    with tracer.start_as_current_span("nightly", attributes={"rows": 3}) as root:
        with tracer.start_as_current_span("load"):
            pass
        with pytest.raises(KeyError), tracer.start_as_current_span("draw"):
            raise KeyError("x")
    provider.shutdown()
    (session,) = stored()
    assert session.session_id == f"{root.get_span_context().trace_id:032x}"
    assert (session.pipeline, session.attributes["rows"]) == ("nightly", 3)
    assert [(step.step_name, step.success) for step in session.steps] == [("load", True), ("draw", False)]
    assert session.steps[1].error_message == "KeyError: 'x'"
    assert number_of(session.steps[0].additional_data["span_id"]) == session.steps[0].seq
    assert json.dumps(session.attributes["telemetry.sdk.language"]) == '"python"'


def test_what_recorded_traces_took_is_there_again(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfdb.integrations.otel.assembly.MOST_BYTES", 100)
    clock = ManualClock()
    assembler = Assembler(intake, clock=lambda: clock.passed)
    spans = from_json(request([*CHILDREN[:1], ROOT]))
    for _ in range(2):
        assert assembler.has_room(2, 100)
        assembler.add(spans, size=100)
        assert not assembler.has_room(1, 1)
        clock.advance(100.0)
        assert assembler.close_due() == 1
    assembler.add(spans[:1], size=100)  # without its root it is remembered
    clock.advance(100.0)
    assert assembler.close_due() == 1
    assert assembler.has_room(1, 100)
    assert assembler.open_bytes == 0
