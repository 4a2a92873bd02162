"""How the stand-in answers one request: as its latency model says, or as badly as its faults say."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from perfdb.pathway.standin import answers, strict
from perfdb.pathway.standin.faults import Fault, model_not_found, rate_limited
from perfdb.pathway.standin.latency import IMAGE, SEARCH, THUMBNAIL, VISION
from perfdb.pathway.standin.served import Served
from perfdb.pathway.standin.state import Server
from perfdb.pathway.standin.streams import chat_events, image_events

WITHDRAWN_MODELS = frozenset({"gpt-image-1", "dall-e-2", "dall-e-3"})
_DRIPS = 2_000  # pieces of a body, one each
_DRIP_S = 0.05


class _Answer(Exception):  # noqa: N818 - not an error: it ends the handling early
    """An answer other than the normal one."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class Handler(BaseHTTPRequestHandler):
    """One connection to the stand-in."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms for an acknowledgement
    wbufsize = -1
    server: Server

    _ROUTES: ClassVar[dict[tuple[str, str], str]] = {
        ("POST", "/v1/chat/completions"): VISION,
        ("POST", "/v1/images/edits"): IMAGE,
        ("GET", "/search"): SEARCH,
        ("GET", "/search.json"): SEARCH,
    }

    def do_GET(self) -> None:
        """Search, or fetch a picture."""
        self._serve()

    def do_POST(self) -> None:
        """Ask a model."""
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
        if kind == IMAGE:
            self._picture = standin.picture_number(self.headers.get("idempotency-key"))
        try:
            accepted = standin.enter()
            fault = standin.faults.take(kind) or Fault()
            if kind == IMAGE and fault.status is None:  # also of one whose answer is lost
                standin.charge(self._picture)
            try:
                if not accepted:
                    raise _Answer(rate_limited())
                standin.pause(fault.delay_s)
                if fault.drop or fault.status is not None:
                    raise _Answer(fault)
                content_type, answer = self._answer(kind, path, body, fault.variant)
                status = 200
                left = self._service_s - (time.perf_counter() - clock)
                # making the answer is part of the service's time, not on top of it
                if isinstance(answer, bytes):
                    standin.pause(left)
                else:
                    self._stream(content_type, list(answer), fault, left)
                    return
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

    def _answer(
        self, kind: str, path: str, body: bytes, variant: str | None
    ) -> tuple[str, bytes | Iterator[bytes]]:
        """Return content type and body of the normal answer, and note how long it shall take."""
        standin = self.server.standin
        if variant == "html":
            return "text/html", b"<html><body>Please try again later.</body></html>"
        if variant == "redirect":
            status = 302 if self.command == "GET" else 307
            raise _Answer(Fault(status=status, headers={"location": self.path}))
        if kind == THUMBNAIL:
            self._service_s = standin.latency.draw("thumbnail")
            name = path.rpartition("/")[2]
            picture = answers.huge_thumbnail() if variant == "huge" else answers.thumbnail(name)
            return ("image/webp" if name.endswith("webp") else "image/jpeg"), picture
        if kind == SEARCH:
            return self._search(variant)
        if kind == VISION:
            return self._vision(body, variant)
        if kind == IMAGE:
            return self._image(body, variant)
        raise _Answer(Fault(status=404, body={"error": f"no such path: {path}"}))

    def _search(self, variant: str | None) -> tuple[str, bytes]:
        standin = self.server.standin
        given = parse_qsl(urlsplit(self.path).query, keep_blank_values=True)
        query = dict(given)
        if not query.get("api_key"):
            raise _Answer(Fault(status=401, body={"error": "Invalid API key."}))
        if standin.strict:
            _refuse(strict.wrong_search(given))
        self._service_s, claimed = standin.search_time(query.get("q", ""))
        return _json(answers.search(query, standin.pictures_url or self.server.url, claimed, variant))

    def _vision(self, body: bytes, variant: str | None) -> tuple[str, bytes | Iterator[bytes]]:
        standin = self.server.standin
        if standin.strict:
            _refuse(strict.wrong_key(self.headers.get("authorization", "")))
        try:
            request = json.loads(body)
        except ValueError:
            request = None
        if standin.strict:
            _refuse(strict.wrong_chat(request, self.headers.get("content-type", "")))
        if not isinstance(request, dict) or not isinstance(request.get("model"), str):
            raise _Answer(strict.invalid("You must provide a model parameter.", "model"))
        thinking = {"model": "o3"} if variant == "refuses-max-tokens" else {}
        _refuse(strict.unknown_to_model(request | thinking))
        self._service_s = standin.latency.draw("vision-mini" if "mini" in request["model"] else "vision")
        answer = answers.vision(request, standin.number(VISION), variant)
        if not request.get("stream"):
            return _json(answer)
        usage = (request.get("stream_options") or {}).get("include_usage") is True
        return "text/event-stream", chat_events(answer, usage)

    def _image(self, body: bytes, variant: str | None) -> tuple[str, bytes | Iterator[bytes]]:
        standin = self.server.standin
        content_type = self.headers.get("content-type", "")
        fields, files = _form(content_type, body)
        if standin.strict:
            _refuse(strict.wrong_key(self.headers.get("authorization", "")))
            _refuse(strict.wrong_edit(fields, files, content_type))
        self._refuse_a_bad_edit(fields, sum(file.name in {"image", "image[]"} for file in files))
        small = fields.get("size") in {"1024x1024", "auto", None}
        self._service_s = standin.latency.draw("image-small" if small else "image")
        answer = answers.image_edit(fields, self._picture, variant)
        if fields.get("stream") != "true":
            return _json(answer)
        return "text/event-stream", image_events(answer, int(fields.get("partial_images") or 0))

    def _refuse_a_bad_edit(self, fields: dict[str, str], images: int) -> None:
        if fields.get("model") in WITHDRAWN_MODELS:
            raise _Answer(model_not_found(fields["model"]))
        size = fields.get("size", "auto")
        if images and fields.get("prompt") and (size == "auto" or re.fullmatch(r"\d{2,4}x\d{2,4}", size)):
            return
        raise _Answer(strict.invalid("Give a prompt, an image and a size such as 1024x1024.", None))

    def _write(self, status: int, content_type: str, body: bytes, fault: Fault, took_s: float) -> None:
        if fault.drip == "endless":
            self._send_head(status, content_type, fault, took_s, None)
            self._send_endless()
            return
        self._send_head(status, content_type, fault, took_s, len(body))
        if fault.truncate:
            self.close_connection = True
            body = body[: len(body) // 2]
        if fault.drip == "body":
            self._drip(body, max(1, len(body) // _DRIPS))
        else:
            self.wfile.write(body)
        self.wfile.flush()

    def _send_head(
        self, status: int, content_type: str, fault: Fault, took_s: float, length: int | None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.send_header("x-request-id", f"req_standin{self.server.standin.number('request'):06d}")
        self.send_header("openai-processing-ms", f"{took_s * 1000:.3f}")
        for name, text in fault.headers.items():
            self.send_header(name, text)
        if fault.drip == "head":
            head: Any = self._headers_buffer
            self._headers_buffer: list[bytes] = []
            self._drip(b"".join(head), 1)
        self.end_headers()

    def _drip(self, data: bytes, size: int) -> None:
        for begin in range(0, len(data), size):
            self.wfile.write(data[begin : begin + size])
            self.wfile.flush()
            self.server.standin.pause(_DRIP_S)

    def _stream(self, content_type: str, events: list[bytes], fault: Fault, seconds: float) -> None:
        """Send events over so many seconds."""
        self._send_head(200, content_type, fault, seconds, None)
        if fault.truncate:
            self.close_connection = True
        for event in events[: len(events) // 2] if fault.truncate else events:
            self.server.standin.pause(max(seconds / len(events), _DRIP_S if fault.drip else 0.0))
            self._send_chunk(event)
        if not fault.truncate:
            self._send_chunk(b"")

    def _send_endless(self) -> None:
        self.close_connection = True
        while not self.server.standin.is_closing:
            self._send_chunk(b" " * 65_536)

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()


def _refuse(fault: Fault | None) -> None:
    if fault is not None:
        raise _Answer(fault)


def _json(answer: dict[str, Any]) -> tuple[str, bytes]:
    return "application/json", json.dumps(answer).encode()


def _encoded_body(fault: Fault) -> tuple[str, bytes]:
    if isinstance(fault.body, bytes):
        return "application/json", fault.body
    if isinstance(fault.body, str) or (fault.body is None and not fault.json):
        return "text/html", (fault.body or "").encode()
    return "application/json", json.dumps(fault.body).encode()


def _form(content_type: str, body: bytes) -> tuple[dict[str, str], list[strict.File]]:
    """Return the text fields of a multipart body, and its files that are not empty."""
    _, _, boundary = content_type.partition("boundary=")
    fields: dict[str, str] = {}
    files: list[strict.File] = []
    if not boundary:
        return fields, files
    for part in body.split(b"--" + boundary.strip('"').encode())[1:-1]:
        head, _, content = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        disposition = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
        name = str(disposition.get_param("name", "", "content-disposition"))
        file_name = disposition.get_filename()
        if file_name is None:
            fields[name] = content.removesuffix(b"\r\n").decode("utf-8", "replace")
        elif content.strip():
            files.append(
                strict.File(name, file_name, disposition.get_content_type(), content.removesuffix(b"\r\n"))
            )
    return fields, files
