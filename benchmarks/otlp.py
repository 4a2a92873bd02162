"""What taking in traces costs, and whether a receiver that is killed loses or doubles any.

    python -m benchmarks.otlp [--traces 10000] [--requests 100] [--kills 20]

The spans of all traces are shuffled, some are sent twice, and the receiver is killed at random moments; the
client sends again what was not acknowledged. The cost is the CPU time of a process, all of its threads, from
the bodies of the requests until the database has the sessions.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from perfdb import Intake, recorder
from perfdb.history.history import History
from perfdb.integrations.otel.assembly import PROTOBUF, Assembler, Spool
from perfdb.maintenance.formats.spans import from_protobuf
from perfdb.settings import load
from perfdb.web.serving import garbage_collected_rarely

SPANS = 9  # of a trace, its root among them
TWICE = 0.05  # of the spans
START_NS = 1_767_261_600_000_000_000
NAMES = ("vision", "ChatCompletion", "search", "GET", "GET", "GET", "composite", "draw")


def trace_id(number: int) -> bytes:
    return (number + 1).to_bytes(16, "big")


def spans_of(number: int) -> list[Span]:
    """Return the spans of a trace, as instrumented programs make them."""
    begin = START_NS + number * 1_000_000_000
    found = []
    for at in range(SPANS):
        span = Span(
            trace_id=trace_id(number),
            span_id=(number * SPANS + at + 1).to_bytes(8, "big"),
            parent_span_id=b"" if at == 0 else (number * SPANS + (1 if at < 4 else 4)).to_bytes(8, "big"),
            name="POST /design" if at == 0 else NAMES[at - 1],
            kind=Span.SPAN_KIND_SERVER if at == 0 else Span.SPAN_KIND_CLIENT,
            start_time_unix_nano=begin + at * 10_000_000,
            end_time_unix_nano=begin + (900_000_000 if at == 0 else at * 10_000_000 + 9_000_000),
            flags=256,
        )
        for key, value in (("http.method", "GET"), ("http.url", "http://127.0.0.1:8000/search?q=lamp")):
            span.attributes.add(key=key).value.string_value = value
        span.attributes.add(key="http.status_code").value.int_value = 200
        found.append(span)
    return found


def requests_of(traces: int, requests: int, draw: random.Random) -> list[bytes]:
    """Return the bodies of requests that hold all spans, shuffled, some of them twice."""
    spans = [span for number in range(traces) for span in spans_of(number)]
    spans += draw.sample(spans, round(len(spans) * TWICE))
    draw.shuffle(spans)
    bodies = []
    for at in range(requests):
        request = ExportTraceServiceRequest()
        of_resource = request.resource_spans.add()
        of_resource.resource.attributes.add(key="service.name").value.string_value = "shop"
        of_resource.scope_spans.add().spans.extend(spans[at::requests])
        bodies.append(request.SerializeToString())
    return bodies


class Receiver:
    """`perfdb serve --otlp` in a folder; each start takes over what the one before left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("PERFDB_")}
        (folder / "perfdb.toml").write_text("[otlp]\nquiet_s = 0.3\n")
        self.url = ""
        self.start()

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("perfdb")), "serve", "--otlp", "--port", "0"]
        self._process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=self._folder, env=self._environment
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(r"Traces: (http://\S+)", line):
                self.url = found[1]
                return
        raise RuntimeError("the receiver did not start")

    def kill_and_start_again(self) -> None:
        self._process.kill()
        self._process.communicate()
        self.start()

    def end(self) -> None:
        """End it as a person does, so that it records what it has."""
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(self.url.replace("/v1/traces", "/api/v1/health"))
                break
        self._process.terminate()
        self._process.communicate()
        recover = [str(Path(sys.executable).with_name("perfdb")), "recover"]  # what its end did not wait for
        subprocess.run(recover, cwd=self._folder, env=self._environment, check=True, capture_output=True)


def lost_and_doubled(folder: Path, traces: int, requests: int, kills: int, seed: int) -> tuple[int, int]:
    """Send traces to a receiver that is killed now and then; return what is missing, and what is too much."""
    draw = random.Random(seed)
    bodies = [gzip.compress(body, 1) for body in requests_of(traces, requests, draw)]
    receiver = Receiver(folder)
    acknowledged = 0

    def kill() -> None:
        for number in range(kills):
            while acknowledged < number * requests // kills:
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 1.0))
            receiver.kill_and_start_again()

    killer = threading.Thread(target=kill)
    killer.start()
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    with httpx.Client(headers=headers, timeout=60) as client:
        for body in bodies:
            while True:
                with suppress(httpx.HTTPError):
                    answer = client.post(receiver.url, content=body)
                    if answer.status_code == 200:
                        break
                    assert answer.status_code == 503, answer.text
                time.sleep(0.05)
            acknowledged += 1
    killer.join()
    receiver.end()
    return _compared(History(folder / "performance_tracking" / "perfdb.sqlite3"), traces)


def _compared(history: History, traces: int) -> tuple[int, int]:
    found: Counter[tuple[str, str]] = Counter()
    for session in history.each_session():
        found[session.session_id, ""] += session.pipeline == "POST /design"
        found.update((session.session_id, step.additional_data["span_id"]) for step in session.steps)
    wanted = Counter(
        (trace_id(number).hex(), "" if at == 0 else (number * SPANS + at + 1).to_bytes(8, "big").hex())
        for number in range(traces)
        for at in range(SPANS)
    )
    return (wanted - found).total(), (found - wanted).total()


def cpu_per_span(folder: Path, traces: int, requests: int) -> float:
    """Return the seconds of CPU time from a request's body until the database has the span."""
    bodies = requests_of(traces, requests, random.Random(1))
    intake = Intake(settings=load(cwd=folder, environ={}))
    assembler = Assembler(intake)
    spool = Spool(folder / "otlp", assembler)
    assembler.add(from_protobuf(requests_of(1, 1, random.Random(1))[0]))
    assembler.close_all()
    assert intake.flush(600)  # what is loaded once does not count
    with garbage_collected_rarely():  # as the receiver does
        begin = time.process_time()
        for body in bodies:
            assert spool.accept(body, PROTOBUF)
        assembler.close_all()
        spool.close()
        assert intake.flush(600)
        taken = time.process_time() - begin
    history = History(folder / "performance_tracking" / "perfdb.sqlite3")
    assert len(history.sessions(last=traces + 1)) == traces
    recorder.close(30)  # before the folder goes
    return taken / (traces * SPANS)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        cost = cpu_per_span(Path(folder), given.traces, given.requests)
        print(f"CPU per span until the database has it: {cost * 1e6:.1f} us")
    if given.kills:
        with tempfile.TemporaryDirectory() as folder:
            lost, doubled = lost_and_doubled(
                Path(folder), given.traces, given.requests, given.kills, given.seed
            )
        print(f"{given.traces} traces in {given.requests} requests, {given.kills} kills:", end=" ")
        print(f"{lost} spans lost, {doubled} doubled")


if __name__ == "__main__":
    main()
