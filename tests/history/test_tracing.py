"""Sessions for the viewers and collectors of others.

Of: history/sending.py.
"""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.errors import StoreError, UsageError
from perfdb.history.history import History
from perfdb.history.sending import send_traces
from perfdb.history.tracing import chrome_pieces, otlp_lines, speedscope_pieces
from perfdb.maintenance.formats.spans import from_json, from_protobuf
from perfdb.recording.context import parent_of
from perfdb.records import Attempt, Event, Sample, Session, Step

START = 1_767_261_600.123456
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _get(start: float, duration: float, seq: int) -> Step:
    return Step(
        step_name="GET", start_time=start, duration=duration, success=True, seq=seq, parent_seq=1, lane=1
    )


def made(session_id: str = "20260101_100000_0a1b2c3d", **changes: Any) -> Session:
    steps = (
        Step(
            step_name="search",
            start_time=START + 0.25,
            duration=0.5000001,
            success=False,
            error_message="KeyError: 'x'",
            seq=1,
            additional_data={"prompt": "p" * 2_000, "nested": {"a": [1, None, 2.0]}, "input.value": True},
            attempts=(Attempt(start_time=START + 0.25, duration=0.1, wait=0.05, success=False),),
            events=(Event(name="queued", time=START + 0.3, data={"place": 2}),),
            cpu_s=0.25,
        ),
        Step(
            step_name="GET", start_time=START + 0.3, duration=0.2, success=True, seq=2, parent_seq=1, lane=1
        ),
        Step(
            step_name="GET", start_time=START + 0.4, duration=0.9, success=True, seq=3, parent_seq=1, lane=1
        ),
        Step(step_name="draw", start_time=START + 0.8, duration=None, success=None, seq=4),
    )
    values: dict[str, Any] = {
        "session_id": session_id,
        "pipeline": "design",
        "start_time": START,
        "total_duration": 1.2345678,
        "status": "failed",
        "success": False,
        "fast_mode": True,
        "error_message": "KeyError: 'x'",
        "mode": '{"fast_mode":true}',
        "attributes": {"customer": "c1", "rows": 2**40},
        "tags": ("warmup",),
        "steps": steps,
        "samples": (Sample(time=START, cpu_percent=20.0, rss_bytes=1_000),),
        "utc_offset": 3_600,
        "host": "build-1",
        "pid": 42,
        "python_version": "3.12.4",
        "perfdb_version": "0.1.0",
    }
    return Session(**(values | changes))


def test_what_was_exported_as_otlp_is_imported_as_it_was(tmp_path: Path) -> None:
    source = [
        made(),
        made("second", attributes={"traceparent": PARENT}),
        made("third", attributes={"traceparent": PARENT}),
    ]
    (tmp_path / "t.jsonl").write_bytes(b"".join(otlp_lines(source)))
    history = History(tmp_path / "h.sqlite3")
    (imported,) = history.import_reports(tmp_path / "t.jsonl")
    assert (imported.added, imported.error) == (3, None)
    found = {session.session_id: session for session in history.each_session()}
    for session in source:
        assert found[session.session_id] == session
    assert history.export(tmp_path / "again.jsonl", "otlp") == 3
    (imported,) = history.import_reports(tmp_path / "again.jsonl")
    assert (imported.added, imported.known) == (0, 3)


def test_spans_have_parents_and_the_trace_that_came_in() -> None:
    root, search, first, *_ = from_json(next(otlp_lines([made(attributes={"traceparent": PARENT})])))
    assert (root.trace_id, root.parent_id) == (PARENT[3:35], PARENT[36:52])
    assert search.parent_id == root.span_id
    assert first.parent_id == search.span_id
    assert (root.status, search.status_message, first.status) == (2, "KeyError: 'x'", 1)
    assert root.end_ns - root.start_ns == 1_234_567_800


def test_what_came_from_opentelemetry_keeps_its_ids(tmp_path: Path) -> None:
    from tests.integrations.otel.payloads import request, span

    (tmp_path / "t.json").write_bytes(request([span(1, name="GET /"), span(2, 1), span(3, 2)]))
    history = History(tmp_path / "h.sqlite3")
    history.import_reports(tmp_path / "t.json")
    made_of = from_json(next(otlp_lines(history.each_session())))
    wanted = from_json((tmp_path / "t.json").read_bytes())
    assert [(s.trace_id, s.span_id, s.parent_id, s.start_ns) for s in made_of] == [
        (s.trace_id, s.span_id, s.parent_id, round(s.start_ns / 1e9 * 1e9)) for s in wanted
    ]


def test_trace_events_have_a_thread_for_each_lane() -> None:
    steps = [replace(step, lane=2) if step.seq == 3 else step for step in made().steps]
    events = trace_events([made(steps=tuple(steps)), made("other", steps=())])
    assert {(event["pid"], event["tid"]) for event in events} == {(1, 0), (1, 1), (1, 2), (2, 0)}
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert names == {(1, 0): "lane 0", (1, 1): "lane 1", (1, 2): "lane 2", (2, 0): "lane 0"}
    (search,) = [each for each in events if each["name"] == "search"]
    assert (search["ph"], search["tid"], search["args"]["error"]) == ("X", 0, "KeyError: 'x'")
    assert search["dur"] == pytest.approx(500_000.1, abs=0.25)  # as a float holds an instant of today
    assert search["ts"] == pytest.approx((START + 0.25) * 1e6, abs=0.25)
    assert [each["name"] for each in events if each["ph"] == "i"] == ["queued"]


def test_trace_events_of_one_thread_are_inside_of_each_other_or_apart() -> None:
    def beside(number: int, begin: float, duration: float | None, lane: int = 0) -> Step:
        start = START + begin
        return Step(
            step_name=f"s{number}", start_time=start, duration=duration, success=True, seq=number, lane=lane
        )

    draw = random.Random(5)
    odd = [
        beside(1, -0.5, 2.0),  # of a machine with another clock: before its session, and after it
        beside(2, 0.1, 5.0),  # nobody waited for it
        beside(3, 0.2, 0.5),
        beside(4, 0.3, 0.400003),  # the end of its parent, but for what was rounded
        beside(5, 0.3, 0.0),
        beside(6, 0.9, None),
        beside(7, 9.0, 0.1),
    ]
    many = [beside(n, draw.uniform(0, 1), draw.uniform(0, 0.3), draw.randrange(3)) for n in range(60)]
    ordered = [beside(n, n / 100, 1.0) for n in range(100)]  # more than a lane has threads for
    events = trace_events([made(steps=tuple(odd)), made("many", steps=tuple(many)), made("none", steps=())])
    by_name = {each["name"]: each for each in events if each["ph"] == "X" and each["pid"] == 1}
    session = by_name["design"]
    assert [name for name, each in by_name.items() if each["tid"] == session["tid"]] == [
        "design", "s3", "s4", "s5", "s6", "s7",
    ]  # fmt: skip
    assert by_name["s1"]["dur"] == pytest.approx(2e6, abs=1)  # nothing is cut
    assert by_name["s4"]["ts"] + by_name["s4"]["dur"] == by_name["s3"]["ts"] + by_name["s3"]["dur"]
    assert len(json.loads(b"".join(chrome_pieces([made(steps=tuple(ordered))])))["traceEvents"]) < 130


def trace_events(sessions: list[Session]) -> list[dict[str, Any]]:
    """Return the events of a document that follows the rules of the Trace Event Format."""
    document = json.loads(b"".join(chrome_pieces(sessions)))
    assert document["displayTimeUnit"] in ("ms", "ns")
    processes: set[int] = set()
    threads: set[tuple[int, int]] = set()
    used: set[tuple[int, int]] = set()
    complete: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in document["traceEvents"]:
        where = event["pid"], event["tid"]
        assert [type(each) for each in (*where, event["name"])] == [int, int, str]
        assert isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert isinstance(event["args"]["name"], str)
            if event["name"] == "process_name":
                processes.add(event["pid"])
            else:
                assert event["name"] == "thread_name"
                threads.add(where)
            continue
        used.add(where)
        assert event["ts"] >= 0.0
        if event["ph"] == "X":
            assert event["dur"] >= 0.0
            complete.setdefault(where, []).append((event["ts"], -event["dur"]))
        else:
            assert (event["ph"], event["s"]) == ("i", "t")
    assert used <= threads
    assert {pid for pid, _ in used} == processes
    for found in complete.values():
        ends: list[float] = []
        for begin, minus in sorted(found):
            while ends and ends[-1] <= begin:
                ends.pop()
            assert not ends or begin - minus <= ends[-1], (begin, minus, ends)
            ends.append(begin - minus)
    found_events: list[dict[str, Any]] = document["traceEvents"]
    return found_events


def test_profiles_of_speedscope_are_in_order_and_nested() -> None:
    overlapping = [replace(step, lane=0) for step in made().steps]
    sessions = [made(), made("other", steps=tuple(overlapping)), made("none", steps=(), total_duration=None)]
    document = json.loads(b"".join(speedscope_pieces(sessions)))
    frames = [frame["name"] for frame in document["shared"]["frames"]]
    assert frames == ["design", "search", "draw", "GET"]
    assert len(document["profiles"]) == 4
    for profile in document["profiles"]:
        inside: list[int] = []
        at = profile["startValue"]
        for event in profile["events"]:
            assert at <= event["at"] <= profile["endValue"]
            at = event["at"]
            if event["type"] == "O":
                inside.append(event["frame"])
            else:
                assert inside.pop() == event["frame"]
        assert inside == []


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[int, bytes, dict[str, str]]]]]:
    """Give the URL of a collector, and the requests that it got: it is busy once, then takes them."""
    got: list[tuple[int, bytes, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = 400 if self.path == "/bad" else 302 if self.path == "/moved" else 200 if got else 503
            got.append((status, gzip.decompress(body), {k.lower(): v for k, v in self.headers.items()}))
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.send_header("Location", "/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_sessions_are_sent_to_a_collector_that_was_busy(
    collector: tuple[str, list[tuple[int, bytes, dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-perfdb-token=a%20b,y=1")
    assert send_traces([made()], url) == 1
    assert [status for status, _, _ in got] == [503, 200]
    _, body, headers = got[1]
    assert (headers["x-perfdb-token"], headers["content-type"]) == ("a b", "application/x-protobuf")
    assert from_protobuf(body) == from_json(next(otlp_lines([made()])))
    for path in ("/bad", "/moved"):
        with pytest.raises(StoreError, match="did not take the traces: HTTP"):
            send_traces([made()], url + path)
    for wrong in ("localhost:4318", "file:///etc/passwd", "http://", "http://a:b@localhost"):
        with pytest.raises(UsageError, match="give a URL such as"):
            send_traces([made()], wrong)


def test_a_session_continues_the_trace_that_came_in(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with perfdb.track("design", home=home, console=False, traceparent=PARENT.upper()) as run:
        of_session = perfdb.context().traceparent.split("-")
        with run.step("draw"):
            of_step = perfdb.context().traceparent.split("-")
            token = str(perfdb.context())
    for each in (token, token.replace(":0:", "::")):  # what another process is given
        with perfdb.join(each, home=home) as joined, joined.step("fold"):
            assert perfdb.context().traceparent.split("-")[1] == PARENT[3:35]
    for wrong in ("", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff" + PARENT[2:], "00-é-1-2", 5, None):
        assert parent_of({"traceparent": wrong}) is None
    (session,) = perfdb.History(home / "perfdb.sqlite3").each_session()
    root, step, *_ = from_json(next(otlp_lines([session])))
    assert [root.trace_id, root.span_id] == of_session[1:3] == [PARENT[3:35], root.span_id]
    assert [step.trace_id, step.span_id] == of_step[1:3]
    assert root.parent_id == PARENT[36:52]
