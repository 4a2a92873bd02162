"""A real HTTP server on loopback that speaks for OpenAI, SerpAPI and a picture shop.

The official SDKs talk to it unchanged. It waits as its latency model says,
fails as its faults say, and logs every request, so that what perfdb measured
can be compared with what the server did.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.standin import answers
from perfdb.pathway.standin.faults import Fault, Faults, model_not_found, rate_limited
from perfdb.pathway.standin.latency import IMAGE, SEARCH, THUMBNAIL, VISION, LatencyModel

WITHDRAWN_MODELS = frozenset({"gpt-image-1", "dall-e-2", "dall-e-3"})


@dataclass(frozen=True, slots=True)
class Served:
    """One request as the server saw it; instants are epoch seconds."""

    kind: str
    path: str
    attempt: int
    start: float
    end: float
    status: int | None  # None: the connection was dropped
    service_s: float  # what the latency model drew


class StandIn:
    """The outside services of the design pipeline, on 127.0.0.1.

    Use it as a context manager, or call ``close``. ``latency``, ``faults`` and ``log`` may be
    used while it serves.

    Args:
        seed: of latencies, faults and products.
        time_scale: seconds waited per second of the real services; 0 answers at once.
        concurrency_limit: requests beyond so many at once are answered 429; None for no limit.
        port: 0 takes a free one.
    """

    def __init__(
        self, *, seed: int = 0, time_scale: float = 0.0, concurrency_limit: int | None = None, port: int = 0
    ) -> None:
        self.latency = LatencyModel(seed, time_scale)
        self.faults = Faults(seed)
        self.log: list[Served] = []
        self.concurrency_limit = concurrency_limit
        self._in_flight = 0
        self._numbers: Counter[str] = Counter()
        self._searched: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.standin = self
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True, name="stand-in"
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def adapted(self, settings: PathwaySettings) -> PathwaySettings:
        """Return the settings changed to use this server; back-off shrinks with the time scale."""
        shrunk = min(1.0, self.latency.time_scale) or 0.01
        return replace(
            settings,
            openai_base_url=f"{self.url}/v1",
            serpapi_base_url=self.url,
            openai_api_key="sk-stand-in",
            serpapi_api_key="stand-in",
            backoff_s=settings.backoff_s * shrunk,
            max_backoff_s=settings.max_backoff_s * shrunk,
        )

    def settings(self, **changes: Any) -> PathwaySettings:
        """Return default pathway settings that use this server; ``changes`` are any of them."""
        return replace(self.adapted(PathwaySettings()), **changes)

    def requests(self, kind: str) -> list[Served]:
        """Return what was served of one kind, oldest first."""
        return [served for served in list(self.log) if served.kind == kind]

    def close(self) -> None:
        """Stop serving and close every connection."""
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()
        self._thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def enter(self) -> bool:
        """Count a request in; False when it is one too many."""
        with self._lock:
            self._in_flight += 1
            return self.concurrency_limit is None or self._in_flight <= self.concurrency_limit

    def leave(self, served: Served) -> None:
        """Count a request out and log it."""
        with self._lock:
            self._in_flight -= 1
            self.log.append(served)

    def number(self, kind: str) -> int:
        """Return how many requests of a kind came before this one."""
        with self._lock:
            self._numbers[kind] += 1
            return self._numbers[kind] - 1

    def search_time(self, words: str) -> tuple[float, float]:
        """Return the seconds to wait for a search, and those that the answer claims.

        A repeated search comes from the cache: it is quick, and its answer tells the time of the first.
        """
        with self._lock:
            claimed = self._searched.get(words)
        if claimed is not None:
            return self.latency.draw("search-cached"), claimed
        seconds = self.latency.draw("search")
        with self._lock:
            self._searched.setdefault(words, seconds)
        return seconds, seconds


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    standin: StandIn

    def __init__(self, *args: Any) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: a client that goes away is what some tests are about."""

    def close_connections(self) -> None:
        for connection in list(self._connections):
            self.shutdown_request(connection)


class _Answer(Exception):  # noqa: N818 - not an error: it ends the handling early
    """An answer other than the normal one."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms for an acknowledgement
    wbufsize = -1
    server: _Server

    _ROUTES: ClassVar[dict[tuple[str, str], str]] = {
        ("POST", "/v1/chat/completions"): VISION,
        ("POST", "/v1/images/edits"): IMAGE,
        ("GET", "/search"): SEARCH,
        ("GET", "/search.json"): SEARCH,
    }

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Stay silent; ``StandIn.log`` has it all."""

    def _serve(self) -> None:
        start, clock = time.time(), time.perf_counter()
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = urlsplit(self.path).path
        kind = THUMBNAIL if path.startswith("/img/") else self._ROUTES.get((self.command, path), "unknown")
        standin, self._service_s, status = self.server.standin, 0.0, None
        attempt = int(self.headers.get("x-stainless-retry-count") or 0)
        try:
            accepted = standin.enter()
            fault = standin.faults.take(kind) or Fault()
            try:
                if not accepted:
                    raise _Answer(rate_limited())
                time.sleep(fault.delay_s)
                if fault.drop or fault.status is not None:
                    raise _Answer(fault)
                content_type, answer = self._answer(kind, path, body, fault.variant)
                # making the answer is part of the service's time, not on top of it
                time.sleep(max(0.0, self._service_s - (time.perf_counter() - clock)))
                status = 200
            except _Answer as early:
                fault, status = early.fault, early.fault.status
                content_type, answer = _encoded_body(fault)
            if fault.drop:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._write(status or 200, content_type, answer, fault, time.perf_counter() - clock)
        finally:
            served = Served(
                kind, path, attempt, start, start + time.perf_counter() - clock, status, self._service_s
            )
            standin.leave(served)

    def _answer(self, kind: str, path: str, body: bytes, variant: str | None) -> tuple[str, bytes]:
        """Return content type and body of the normal answer, and note how long it shall take."""
        standin = self.server.standin
        if variant == "html":
            return "text/html", b"<html><body>Please try again later.</body></html>"
        if kind == THUMBNAIL:
            self._service_s = standin.latency.draw("thumbnail")
            name = path.rpartition("/")[2]
            picture = answers.huge_thumbnail() if variant == "huge" else answers.thumbnail(name)
            return ("image/webp" if name.endswith("webp") else "image/jpeg"), picture
        if kind == SEARCH:
            query = dict(parse_qsl(urlsplit(self.path).query))
            if not query.get("api_key"):
                raise _Answer(Fault(status=401, body={"error": "Invalid API key."}))
            self._service_s, claimed = standin.search_time(query.get("q", ""))
            return _json(answers.search(query, standin.url, claimed, variant))
        if kind == VISION:
            request = json.loads(body)
            self._service_s = standin.latency.draw("vision-mini" if "mini" in request["model"] else "vision")
            return _json(answers.vision(request, standin.number(VISION), variant))
        if kind == IMAGE:
            fields, images = _form(self.headers.get("content-type", ""), body)
            self._refuse_a_bad_edit(fields, images)
            small = fields.get("size") in {"1024x1024", "auto", None}
            self._service_s = standin.latency.draw("image-small" if small else "image")
            return _json(answers.image_edit(fields, standin.number(IMAGE)))
        raise _Answer(Fault(status=404, body={"error": f"no such path: {path}"}))

    def _refuse_a_bad_edit(self, fields: dict[str, str], images: int) -> None:
        if fields.get("model") in WITHDRAWN_MODELS:
            raise _Answer(model_not_found(fields["model"]))
        size = fields.get("size", "auto")
        if images and fields.get("prompt") and (size == "auto" or re.fullmatch(r"\d{2,4}x\d{2,4}", size)):
            return
        message = "Give a prompt, an image and a size such as 1024x1024."
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_value"}
        raise _Answer(Fault(status=400, body={"error": error}))

    def _write(self, status: int, content_type: str, body: bytes, fault: Fault, took_s: float) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", f"req_standin{self.server.standin.number('request'):06d}")
        self.send_header("openai-processing-ms", f"{took_s * 1000:.3f}")
        for name, text in fault.headers.items():
            self.send_header(name, text)
        if fault.truncate:
            self.close_connection = True
            body = body[: len(body) // 2]
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def _json(answer: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(answer).encode()


def _encoded_body(fault: Fault) -> tuple[str, bytes]:
    if isinstance(fault.body, str) or fault.body is None:
        return "text/html", (fault.body or "").encode()
    return "application/json", json.dumps(dict(fault.body)).encode()


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], int]:
    """Return the text fields of a multipart body and how many ``image`` or ``image[]`` files it has."""
    _, _, boundary = content_type.partition("boundary=")
    fields: dict[str, str] = {}
    images = 0
    for part in body.split(b"--" + boundary.strip('"').encode())[1:-1]:
        head, _, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        disposition = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
        name = str(disposition.get_param("name", "", "content-disposition"))
        if disposition.get_filename() is None:
            fields[name] = content.removesuffix(b"\r\n").decode()
        elif name in {"image", "image[]"} and content.strip():
            images += 1
    return fields, images
