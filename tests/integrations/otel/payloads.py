"""Requests of OTLP to try things with, in both encodings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

START_NS = 1_767_261_600_123_456_789
TRACE = "0af7651916cd43dd8448eb211c80319c"
RESOURCE = {
    "service.name": "shop",
    "host.name": "build-3",
    "process.pid": 42,
    "telemetry.sdk.language": "python",
}


def span(
    number: int,
    parent: int | None = None,
    *,
    name: str = "",
    begin_ms: float = 0.0,
    ms: float = 10.0,
    trace: str = TRACE,
    **fields: Any,
) -> dict[str, Any]:
    """Return a span in OTLP's JSON: ``number`` and ``parent`` become its ids."""
    start = START_NS + round(begin_ms * 1e6)
    made = {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "flags": 256,
        "name": name or f"step {number}",
        "kind": 1,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + round(ms * 1e6)),
        "status": {},
    }
    if parent is not None:
        made["parentSpanId"] = f"{parent:016x}"
    attributes = fields.pop("attributes", {})
    return made | {"attributes": pairs(attributes)} | fields


def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": value}


def request(spans: Iterable[dict[str, Any]], resource: dict[str, Any] = RESOURCE) -> bytes:
    """Return a request in JSON."""
    of_scope = {"scope": {"name": "made"}, "spans": list(spans)}
    of_resource = {"resource": {"attributes": pairs(resource)}, "scopeSpans": [of_scope]}
    return json.dumps({"resourceSpans": [of_resource]}).encode()


def as_protobuf(body: bytes) -> bytes:
    """Return the same request in protobuf."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    document = json.loads(body, object_hook=_with_bytes)
    made: bytes = ParseDict(document, ExportTraceServiceRequest()).SerializeToString()
    return made


def _with_bytes(values: dict[str, Any]) -> dict[str, Any]:
    """Return them as protobuf's own JSON wants them, which is not OTLP's: ids are base64 there."""
    import base64

    for key in ("traceId", "spanId", "parentSpanId"):
        if key in values:
            values[key] = base64.b64encode(bytes.fromhex(values[key])).decode()
    return values
