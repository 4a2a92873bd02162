"""Sessions sent to a collector of OpenTelemetry: OTLP in protobuf, by HTTP."""

from __future__ import annotations

import base64
import gzip
import os
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from perfdb.errors import MissingExtraError, StoreError, UsageError
from perfdb.history.tracing import resource_spans
from perfdb.records import Session
from perfdb.text import inert
from perfdb.version import __version__

AT_ONCE = 100  # sessions of a request
TRIES = 5
WAIT_S = 30.0  # at most, between two of them
TIMEOUT_S = 60.0
_AGAIN = (429, 502, 503, 504)
_IDS = ("traceId", "spanId", "parentSpanId")


def send_traces(sessions: Iterable[Session], url: str) -> int:
    """Send sessions to a collector and return how many; ``/v1/traces`` is added where the URL has no path.

    The headers are those of ``OTEL_EXPORTER_OTLP_HEADERS``. What is refused for now is sent again.

    Raises:
        UsageError: the URL is none of HTTP.
        MissingExtraError: opentelemetry-proto is not installed.
        StoreError: the collector did not take them.
    """
    try:
        from google.protobuf.json_format import ParseDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError:
        raise MissingExtraError("--to needs opentelemetry-proto: pip install 'perfdb[otel]'") from None
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
        )
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            "--to: give a URL such as http://localhost:4318, without a password: that belongs into "
            "OTEL_EXPORTER_OTLP_HEADERS"
        )
    if parts.path in ("", "/"):
        url = parts._replace(path="/v1/traces").geturl()
    sent = 0
    left = iter(sessions)
    while batch := list(islice(left, AT_ONCE)):
        document = {"resourceSpans": [_with_base64(resource_spans(session)) for session in batch]}
        _post(url, ParseDict(document, ExportTraceServiceRequest()).SerializeToString())
        sent += len(batch)
    return sent


def _with_base64(value: Any) -> Any:
    """Return it as protobuf's own JSON has it: ids are hex in OTLP's."""
    if isinstance(value, dict):
        return {
            key: base64.b64encode(bytes.fromhex(item)).decode() if key in _IDS else _with_base64(item)
            for key, item in value.items()
        }
    return [_with_base64(each) for each in value] if isinstance(value, list) else value


class _NoRedirects(HTTPRedirectHandler):
    """A redirected POST would become a GET, which sends nothing, and carry the headers elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, body: bytes) -> None:
    headers = {
        **_headers(),
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "gzip",
        "User-Agent": f"perfdb/{__version__}",
    }
    request = Request(url, gzip.compress(body, 6), headers, method="POST")  # noqa: S310  (checked above)
    opener = build_opener(_NoRedirects)
    for remaining in range(TRIES - 1, -1, -1):
        try:
            with opener.open(request, timeout=TIMEOUT_S):
                return
        except HTTPError as error:
            with error:
                said = f"HTTP {error.code} {inert(error.read(200).decode('utf-8', 'replace'))}".strip()
                wait = _wait(error.headers.get("Retry-After"))
            if error.code not in _AGAIN or not remaining:
                raise StoreError(f"{inert(url.partition('?')[0])} did not take the traces: {said}") from None
            time.sleep(wait)
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise StoreError(f"{inert(url.partition('?')[0])} cannot be reached: {reason}") from None


def _headers() -> dict[str, str]:
    pairs = (each.partition("=") for each in os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(","))
    return {name.strip(): unquote(value.strip()) for name, equals, value in pairs if equals and name.strip()}


def _wait(said: str | None) -> float:
    """Return the seconds that ``Retry-After`` names, or 1."""
    try:
        if said is None or said.strip().isdecimal():
            return min(WAIT_S, float(said or 1))
        return min(WAIT_S, max(0.0, parsedate_to_datetime(said).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 1.0
