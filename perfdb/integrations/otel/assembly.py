"""Spans gathered into traces until each is whole, and recorded as a session then.

Spans come in any order, in several requests, again after a time-out, and late. A trace is closed when its
root is there and it has been quiet for a while, or without a root after a longer one; what comes later
opens it again. Its session's id, and the numbers of its steps, are those of the trace and its spans, so
that whatever is recorded twice is there once.

A receiver keeps what it acknowledged in files of its own until the journal has it: a request's spans are a
line of such a file, without credentials and what no session keeps. Whoever receives next takes over what a
dead one left.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from perfdb.guard import raise_foreign
from perfdb.maintenance.formats.spans import Event, Refused, Span, from_json, from_protobuf
from perfdb.maintenance.formats.traces import QUIET_S, ROOTLESS_QUIET_S, Reading
from perfdb.recording.journal import Journal, encode, journals_in, new_journal_id
from perfdb.recording.redaction import withheld
from perfdb.records import Session

logger = logging.getLogger("perfdb")

REMEMBERED_S = 600.0  # a closed trace whose root was not there
MOST_SPANS = 500_000  # in open traces; more are refused until some are closed
MOST_BYTES = 256 << 20  # of the requests that open traces came in; as objects they take twice that
SPOOL_BYTES = 16 << 20  # of one file
PROTOBUF, JSON = "protobuf", "json"
READERS: dict[str, Callable[[bytes, Refused], list[Span]]] = {PROTOBUF: from_protobuf, JSON: from_json}


class Recorder(Protocol):
    """What takes sessions: a ``perfdb.Intake``."""

    def record(self, session: Session, *, provisional: bool = False) -> bool:
        """Record a session; return whether the journal has it."""


@dataclass(slots=True)
class _Trace:
    spans: dict[str, Span] = field(default_factory=dict)
    heard: float = 0.0
    has_root: bool = False
    closed: bool = False  # recorded, and nothing has come since
    files: set[Path] = field(default_factory=set)
    size: int = 0  # bytes of requests


class Assembler:
    """Gathers spans, and records each trace when it is whole. May be shared by threads.

    Args:
        intake: takes the sessions.
        reading: how spans become sessions.
        quiet_s: how long a trace with its root waits for more.
        rootless_quiet_s: how long one without it does.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        intake: Recorder,
        reading: Reading | None = None,
        *,
        quiet_s: float = QUIET_S,
        rootless_quiet_s: float = ROOTLESS_QUIET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._intake = intake
        self.reading = reading or Reading()
        self._quiet_s = quiet_s
        self._rootless_quiet_s = rootless_quiet_s
        self._clock = clock
        self._lock = threading.RLock()
        self._traces: OrderedDict[str, _Trace] = OrderedDict()  # the one that was quiet for longest first
        self.open_spans = 0
        self.open_bytes = 0

    def add(self, spans: Collection[Span], file: Path | None = None, size: int = 0) -> None:
        """Take spans in, which came in so many bytes; ``file`` holds them until they are recorded."""
        share = size // max(1, len(spans))
        with self._lock:
            now = self._clock()
            for span in spans:
                session_id = span.session_id
                trace = self._traces.get(session_id)
                if trace is None:
                    trace = self._traces[session_id] = _Trace()
                known = trace.spans.get(span.span_id)
                if known is None:
                    self.open_spans += 1
                if known is None or span.is_more_than(known):
                    trace.spans[span.span_id] = span
                trace.size += share
                self.open_bytes += share
                trace.heard, trace.closed = now, False
                trace.has_root = trace.has_root or span.is_root
                if file is not None:
                    trace.files.add(file)
                self._traces.move_to_end(session_id)

    def close_due(self) -> int:
        """Record the traces that have been quiet long enough; return how many."""
        now = self._clock()
        return self._close(
            lambda trace: now - trace.heard >= (self._quiet_s if trace.has_root else self._rootless_quiet_s)
        )

    def close_all(self) -> int:
        """Record every trace as it is; return how many."""
        return self._close(lambda _: True)

    def has_room(self, spans: int, size: int = 0) -> bool:
        """Say whether so many spans of so many bytes may come; traces that are recorded make room."""

        def fits() -> bool:
            return self.open_spans + spans <= MOST_SPANS and self.open_bytes + size <= MOST_BYTES

        with self._lock:
            if not fits():
                for trace_id in [each for each, trace in self._traces.items() if trace.closed]:
                    self._forget(trace_id)
            return fits()

    def files_in_use(self) -> set[Path]:
        """Return the files that hold spans of traces that are not recorded yet."""
        with self._lock:
            return set().union(*(trace.files for trace in self._traces.values() if not trace.closed))

    def _close(self, is_due: Callable[[_Trace], bool]) -> int:
        closed = 0
        with self._lock:
            for trace_id, trace in list(self._traces.items()):
                if trace.closed:
                    if self._clock() - trace.heard > REMEMBERED_S:
                        self._forget(trace_id)
                elif is_due(trace):
                    if not self._record(trace):
                        trace.heard = self._clock()  # later: it keeps no other one from its turn
                        self._traces.move_to_end(trace_id)
                        break  # the disk is full: the files keep them
                    closed += 1
                    trace.closed, trace.files = True, set()
                    if trace.has_root:  # what comes late is added to it
                        self._forget(trace_id)
        return closed

    def _record(self, trace: _Trace) -> bool:
        try:
            session = self.reading.session_of(trace.spans.values())
        except Exception as error:  # tried again it would fail again, and keep others from their turn
            raise_foreign(error)
            logger.exception("perfdb cannot make a session of a trace; it is left out")
            return True
        return session is None or self._intake.record(session, provisional=not trace.has_root)

    def _forget(self, trace_id: str) -> None:
        forgotten = self._traces.pop(trace_id)
        self.open_spans -= len(forgotten.spans)
        self.open_bytes -= forgotten.size


class Spool:
    """Requests on disk until their traces are recorded.

    Args:
        folder: of this and of every other receiver of the home.
        assembler: gets the spans.
        secrets: further words that name credentials.
    """

    def __init__(self, folder: Path, assembler: Assembler, secrets: Iterable[str] = ()) -> None:
        self._folder = folder
        self._assembler = assembler
        self._secrets = tuple(secrets)
        self._lock = threading.Lock()
        self._files: list[Journal] = []  # the last one is written

    def accept(self, body: bytes, kind: str) -> Refused | None:
        """Keep a request and take its spans in; return those that it refuses for good.

        Returns:
            None when it may not be acknowledged.

        Raises:
            ReportError: it is no OTLP.
        """
        refused = Refused()
        spans = READERS[kind](body, refused)
        if not spans:
            return refused
        if not self._assembler.has_room(len(spans), len(body)):
            return None
        record = self._record_of(spans)
        try:
            line = encode(record)
        except ValueError:
            line = encode(_finite(record))
        with self._lock:
            try:
                file = self._current()
                if not file.write(line):
                    return None
            except OSError:
                return None
            self._assembler.add(spans, file.path, len(body))
        return refused

    def _record_of(self, spans: Iterable[Span]) -> dict[str, Any]:
        """Return what is kept of a request: what a session needs of it, each resource once."""
        reading, places = self._assembler.reading, dict[int, int]()
        rows: list[dict[str, Any]] = []
        resources: list[dict[str, Any]] = []
        for span in spans:
            if id(span.resource) not in places:  # the spans of a program share one
                places[id(span.resource)] = len(resources)
                resources.append(withheld(reading.facts_of(span), self._secrets))
            row: dict[str, Any] = {
                "trace_id": span.trace_id,
                "span_id": span.span_id,
                "parent_id": span.parent_id,
                "kind": span.kind,
                "start_ns": span.start_ns,
                "end_ns": span.end_ns,
                "flags": span.flags,
            }
            said = {"name": span.name, "scope": span.scope}
            if span.status or span.status_message:
                row["status"], said["status_message"] = span.status, span.status_message
            if span.trace_state:
                said["trace_state"] = span.trace_state
            if span.links:
                row["links"] = span.links
            row |= withheld(said, self._secrets)
            # by itself: a mapping that holds no other is looked through in a fifth of the time
            row["attributes"] = withheld(reading.needed(span, span.attributes), self._secrets)
            if span.events:
                events = [
                    [each.name, each.time_ns, reading.needed(span, each.attributes)] for each in span.events
                ]
                row["events"] = withheld(events, self._secrets)
            row["resource"] = places[id(span.resource)]
            rows.append(row)
        return {"type": "otlp", "spans": rows, "resources": resources}

    def _current(self) -> Journal:
        if not self._files or self._files[-1].size >= SPOOL_BYTES:
            header = {"journal_id": new_journal_id(), "created": round(time.time(), 6)}
            self._files.append(Journal.create(self._folder, header))
        return self._files[-1]

    def take_over(self) -> int:
        """Take in what dead receivers kept; return how many requests that were."""
        taken = 0
        for path in journals_in(self._folder):
            claimed = Journal.claim(path)
            if claimed is None:
                continue
            for line in claimed.lines():
                record = line.record or {}
                if record.get("type") == "otlp":
                    try:
                        spans = _spans_of(record)
                    except (LookupError, TypeError, ValueError):
                        continue
                    self._assembler.add(spans, path, len(line.raw))
                    taken += 1
            with self._lock:
                self._files.insert(0, claimed)
        return taken

    def tidy(self) -> None:
        """Remove the files whose traces are recorded."""
        with self._lock:
            in_use = self._assembler.files_in_use()
            for file in list(self._files):
                if file.path not in in_use and (file is not self._files[-1] or file.size >= SPOOL_BYTES):
                    self._files.remove(file)
                    file.close(remove=True)

    def close(self) -> None:
        """Let go of the files; those whose traces are recorded are removed."""
        with self._lock:
            in_use = self._assembler.files_in_use()
            for file in self._files:
                file.close(remove=file.path not in in_use)
            self._files.clear()


def _spans_of(record: dict[str, Any]) -> list[Span]:
    """Return the spans of a line.

    Raises:
        LookupError, TypeError, ValueError: it holds something else.
    """
    made = []
    for row in record["spans"]:
        row |= {
            "resource": record["resources"][row["resource"]],
            "events": tuple(Event(*each) for each in row.get("events", ())),
            "links": tuple((trace_id, span_id) for trace_id, span_id in row.get("links", ())),
        }
        made.append(Span(**row))
    return made


def _finite(value: Any) -> Any:
    """Return a value as strict JSON can say it: what is no number is its name."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
