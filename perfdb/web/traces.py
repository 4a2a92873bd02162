"""``POST /v1/traces``: requests of OTLP from other programs, acknowledged when they are on disk.

A request is kept in the home until its traces are sessions that a journal has. Exporters send a request again
after 503, and give up after 400, 413 and 415. A span that cannot be stops no other, and the answer names it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from perfdb import encoding
from perfdb.errors import MissingExtraError, ReportError
from perfdb.guard import raise_foreign
from perfdb.integrations.otel.assembly import JSON, PROTOBUF, Assembler, Spool
from perfdb.maintenance.formats.spans import Refused
from perfdb.maintenance.formats.traces import read_otlp_settings
from perfdb.recorder import Intake
from perfdb.settings import Settings

logger = logging.getLogger("perfdb")

PATH = "/v1/traces"
NOT_TAKEN = {"/v1/metrics": "METRICS", "/v1/logs": "LOGS"}
PATHS = frozenset((PATH, *NOT_TAKEN))
PLACE = (
    "traces are taken at /v1/traces, by HTTP, while `perfdb serve --otlp` runs: "
    "OTEL_EXPORTER_OTLP_ENDPOINT=http://HOST:PORT OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
)
FOLDER = "otlp"  # in the home
MOST_BYTES = 16 << 20  # of a request, packed or not
MOST_HELD_BYTES = 64 << 20  # of all requests that are being received
RETRY_AFTER_S = 2
LOOK_EVERY_S = 1.0
_KINDS = {"application/x-protobuf": PROTOBUF, "application/json": JSON}
_TYPES = {kind: content_type for content_type, kind in _KINDS.items()}
_TOO_LONG = f"a request is at most {MOST_BYTES} bytes long, unpacked"
_INVALID_ARGUMENT, _OUT_OF_ROOM, _UNIMPLEMENTED, _UNAVAILABLE = 3, 8, 12, 14  # google.rpc.Code


def is_misplaced(path: str, headers: Headers) -> bool:
    """Tell whether a request is an exporter's that has another address, or speaks gRPC."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    of_programs = kind == "application/x-protobuf" or kind.startswith("application/grpc")
    return of_programs or PATH in path or "opentelemetry.proto." in path


class RefusedError(Exception):
    """Why a request is not taken, with its HTTP status and gRPC's code."""

    def __init__(self, status: int, code: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.code = status, code


class TraceReceiver:
    """Takes traces in; an ASGI app for one path, and the thread that records what is whole.

    Args:
        settings: home, database, and how spans become sessions.

    Raises:
        MissingExtraError: opentelemetry-proto is not installed.
        SettingsError: ``[otlp]`` holds a mistake.
    """

    def __init__(self, settings: Settings) -> None:
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
            raise MissingExtraError("OTLP needs opentelemetry-proto: pip install 'perfdb[otel]'")
        found = read_otlp_settings(settings.otlp)
        self._intake = Intake(settings=settings)
        self._assembler = Assembler(
            self._intake, found.reading(), quiet_s=found.quiet_s, rootless_quiet_s=found.rootless_quiet_s
        )
        self._spool = Spool(settings.home / FOLDER, self._assembler, settings.redact)
        self._parser = ThreadPoolExecutor(1, "perfdb-otlp")
        self._held = 0
        self._ends = threading.Event()
        self._closer = threading.Thread(target=self._close_traces, name="perfdb-traces", daemon=True)

    def start(self) -> None:
        """Take over what a dead receiver left, and record traces as they become whole."""
        self._closer.start()

    def close(self) -> None:
        """Record every trace as it is, and wait until the database has them."""
        self._ends.set()
        self._closer.join()
        self._parser.shutdown()
        self._guarded(self._assembler.close_all)
        self._guarded(self._spool.close)
        self._intake.flush()

    def _close_traces(self) -> None:
        self._guarded(self._spool.take_over)
        while not self._ends.wait(LOOK_EVERY_S):
            self._guarded(self._assembler.close_due)
            self._guarded(self._spool.tidy)

    def _guarded(self, do: Callable[[], object]) -> None:
        try:
            do()
        except Exception as error:
            raise_foreign(error)
            self._intake.failed("recording traces", error)
            logger.exception("perfdb could not record traces; they are kept in the home")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = Headers(scope=scope)
        kind = _KINDS.get(headers.get("content-type", "").partition(";")[0].strip().lower())
        held = 0
        try:
            if (what := NOT_TAKEN.get(scope["path"])) is not None:
                raise RefusedError(
                    404, _UNIMPLEMENTED, f"perfdb takes traces only: set OTEL_{what}_EXPORTER=none"
                )
            if scope["method"] != "POST":
                raise RefusedError(405, _INVALID_ARGUMENT, "traces are sent with POST")
            if kind is None or len(headers.getlist("content-type")) != 1:
                raise RefusedError(
                    415, _INVALID_ARGUMENT, f"the content type must be one of {', '.join(sorted(_KINDS))}"
                )
            unpack = _unpacker(headers)
            body = bytearray()
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body += message.get("body", b"")
                held, before = len(body), held
                self._held += held - before
                if held > MOST_BYTES:
                    raise RefusedError(413, _INVALID_ARGUMENT, _TOO_LONG)
                if self._held > MOST_HELD_BYTES:
                    raise RefusedError(503, _UNAVAILABLE, "too many requests at once: send it again later")
                if not message.get("more_body", False):
                    break
            loop = asyncio.get_running_loop()
            refused_spans = await loop.run_in_executor(
                self._parser, lambda: self._keep(unpack(bytes(body)), kind)
            )
            answer = Response(_accepted(refused_spans, kind), 200, media_type=_TYPES[kind])
        except RefusedError as refused:
            answer = _status(refused, kind or JSON)
        finally:
            self._held -= held
        await answer(scope, receive, send)

    def _keep(self, body: bytes, kind: str) -> Refused:
        try:
            refused = self._spool.accept(body, kind)
        except ReportError as error:
            raise RefusedError(400, _INVALID_ARGUMENT, str(error)) from None
        if refused is None:
            raise RefusedError(503, _OUT_OF_ROOM, "perfdb cannot keep more spans now: send them again later")
        return refused


def _unpacker(headers: Headers) -> Callable[[bytes], bytes]:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 20 or int(length) > MOST_BYTES:
        raise RefusedError(413, _INVALID_ARGUMENT, _TOO_LONG)
    told = ",".join(headers.getlist("content-encoding")).strip().lower()
    if told in ("", "identity"):
        return bytes
    if told in ("gzip", "x-gzip"):  # one is the other's former name
        return unpacked
    raise RefusedError(415, _INVALID_ARGUMENT, "the content encoding must be gzip, or none")


def unpacked(body: bytes) -> bytes:
    """Return what gzip packed.

    Raises:
        RefusedError: it is no gzip, is cut off, or too large.
    """
    try:
        found = encoding.unpacked(body, MOST_BYTES)
    except ValueError as error:
        raise RefusedError(400, _INVALID_ARGUMENT, f"the body {error}") from None
    if len(found) > MOST_BYTES:
        raise RefusedError(413, _INVALID_ARGUMENT, _TOO_LONG)
    return found


def _accepted(refused: Refused, kind: str) -> bytes:
    """Return an ``ExportTraceServiceResponse``, which names the spans that are lost, if there are any."""
    reason = refused.reason[:1_000]
    if kind == JSON:
        partly = {"partialSuccess": {"rejectedSpans": str(refused.count), "errorMessage": reason}}
        return json.dumps(partly if refused.count else {}).encode()
    if not refused.count:
        return b""
    text = reason.encode("utf-8", "replace")
    partial = b"\x08" + _varint(refused.count) + b"\x12" + _varint(len(text)) + text
    return b"\x0a" + _varint(len(partial)) + partial


def _status(refused: RefusedError, kind: str) -> Response:
    """Return a ``google.rpc.Status`` in the encoding of the request."""
    reason = str(refused)[:1_000]
    if kind == JSON:
        body = json.dumps({"code": refused.code, "message": reason}).encode()
    else:
        text = reason.encode("utf-8", "replace")
        body = b"\x08" + bytes([refused.code]) + b"\x12" + _varint(len(text)) + text
    answer = Response(body, refused.status, media_type=_TYPES[kind])
    if refused.status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    if refused.status == 405:
        answer.headers["Allow"] = "POST"
    return answer


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(found) + bytes([number])
