"""Spans of OpenTelemetry as one shape, from OTLP in protobuf or JSON and from the SDK of this process."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfdb.errors import MissingExtraError, ReportError
from perfdb.recording.values import clean

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

SERVER, CONSUMER = 2, 5  # kinds
ERROR = 2  # of a status
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
EXPORTED, OF_SESSION, OF_STEP = "perfdb", "perfdb.session", "perfdb.step"  # the scope and names of our own
_LARGE = 1 << 20  # bytes of a request that is looked through before it is parsed
_RESOURCE_SPANS, _SCOPE_SPANS, _SPANS = 0x0A, 0x12, 0x12  # tags in protobuf
_RESOURCE = _SCOPE = 0x0A
_SHORTEST_SPAN, _MOST_SHORT = 28, 10_000  # bytes that two ids take; how many messages may have fewer
_SHORTEST_IN_SPAN = {0x4A: 4, 0x5A: 12, 0x6A: 28}  # attributes, events with their time, links with their ids
_OF_BRACKET = 10  # bytes of JSON for each object or array, at least
MOST_ENTRIES = 1_000  # attributes, events or links of a span that are read
MOST_VALUES = 100_000  # of an array
MOST_EVENTS = 100_000  # of a request
MOST_DEPTH = 20  # of attributes inside of attributes
_DEEPER = "…"  # stands for what is nested deeper
_LARGEST, _LARGEST_ENUM = 1e30, 1 << 31  # numbers; JSON may hold one of 4,300 digits
_LAST_NS = 253_402_300_799_000_000_000  # year 9999

Attributes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a span."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(slots=True)  # not frozen: it takes three times as long to make one, and there are many
class Span:
    """One span; ids are 32 and 16 hex digits, times nanoseconds of the epoch."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status: int = 0
    status_message: str = ""
    attributes: Attributes = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    resource: Attributes = field(default_factory=dict)
    scope: str = ""
    flags: int = 0
    trace_state: str = ""

    @property
    def is_root(self) -> bool:
        """Whether nothing is around it: it has no parent, or is a session that perfdb exported."""
        if self.parent_id is None or self.parent_id == self.span_id:
            return True
        return self.scope == EXPORTED and OF_SESSION in self.attributes

    @property
    def session_id(self) -> str:
        """The session that it belongs to: its trace, or what perfdb exported it of."""
        if self.scope == EXPORTED:
            for name in (OF_SESSION, OF_STEP):
                told = self.attributes.get(name)
                if isinstance(told, dict) and isinstance(found := told.get("session_id"), str):
                    return found
        return self.trace_id

    def is_more_than(self, other: Span) -> bool:
        """Whether it says more than another one with its ids, so that their order does not matter."""
        of_both = [(s.end_ns, s.status, len(s.attributes), len(s.events), s.name) for s in (self, other)]
        return of_both[0] > of_both[1]

    @property
    def has_remote_parent(self) -> bool:
        """Whether its parent is known to be of another process."""
        return (
            self.parent_id is not None and self.flags & _HAS_IS_REMOTE != 0 and self.flags & _IS_REMOTE != 0
        )


@dataclass(slots=True)
class Refused:
    """Counts the spans of a request that are none, where they do not stop the others."""

    count: int = 0
    reason: str = ""  # of the first

    def add(self, error: ReportError) -> None:
        """Count one more."""
        self.count += 1
        self.reason = self.reason or str(error)


def _refuse(error: ReportError, refused: Refused | None) -> None:
    """Count a span that is none; raise the error where one stops all."""
    if refused is None:
        raise error
    refused.add(error)


def _whole_or_refused(spans: Iterator[Span], refused: Refused | None) -> list[Span]:
    """Return the spans; when every one was refused, the request is."""
    found = list(spans)
    if refused is not None and refused.count and not found:
        raise ReportError(refused.reason)
    return found


def _shared(resource: Attributes) -> Attributes:
    """Return a resource cut: it stands once in a request, and then in each session and step of it."""
    return {
        name: value if isinstance(value, int | float) else clean({"": value})[""]
        for name, value in resource.items()
    }


# -- protobuf --------------------------------------------------------------------------


def from_protobuf(body: bytes, refused: Refused | None = None) -> list[Span]:
    """Return the spans of an ``ExportTraceServiceRequest``.

    Args:
        body: the request.
        refused: counts spans with an id or time that cannot be; without it, one is an error.

    Raises:
        ReportError: it is none, or no span of it can be.
        MissingExtraError: opentelemetry-proto is not installed.
    """
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    except ImportError:
        raise MissingExtraError(
            "OTLP in protobuf needs opentelemetry-proto: pip install 'perfdb[otel]'"
        ) from None
    if len(body) > _LARGE:
        _require_whole_spans(body)
    request = ExportTraceServiceRequest()
    try:
        try:
            request.ParseFromString(body)
        except DecodeError:
            if refused is None:
                raise
            request.Clear()
            _read_one_by_one(body, request, refused)
    except (DecodeError, RecursionError, IndexError, KeyError):
        raise ReportError("not an OTLP request in protobuf") from None
    try:
        return _whole_or_refused(_spans_of(request, refused), refused)
    except ReportError as error:
        raise ReportError(f"{error}; perfdb takes traces, no metrics or logs") from None


def _read_one_by_one(body: bytes, request: Any, refused: Refused) -> None:
    """Fill a request with the spans that can be read; a text that is no UTF-8 spoils its own span only.

    Raises:
        DecodeError, IndexError, KeyError: what is around the spans cannot be read, either.
    """
    from google.protobuf.message import DecodeError

    for tag, *resource in _fields(body, 0, len(body)):
        if tag != _RESOURCE_SPANS:
            continue
        of_resource = request.resource_spans.add()
        for tag, *scope in _fields(body, *resource):
            if tag == _RESOURCE:
                of_resource.resource.MergeFromString(body[slice(*scope)])
            if tag != _SCOPE_SPANS:
                continue
            of_scope = of_resource.scope_spans.add()
            for tag, at, end in _fields(body, *scope):
                if tag == _SCOPE:
                    of_scope.scope.MergeFromString(body[at:end])
                elif tag == _SPANS:
                    try:
                        of_scope.spans.add().ParseFromString(body[at:end])
                    except DecodeError:
                        del of_scope.spans[-1]
                        refused.add(ReportError("not OTLP: a span is no protobuf, or a text of it no UTF-8"))


def _require_whole_spans(body: bytes) -> None:
    """Refuse very many messages that are too short: of two bytes each, they take 90 times the room."""
    short = 0
    for is_short in _short_ones(body):
        short += is_short
        if short > _MOST_SHORT:
            raise ReportError(
                f"more than {_MOST_SHORT:,} spans without ids, or resources without spans, "
                "attributes without a value, events without name and time, or links without ids"
            )


def _short_ones(body: bytes) -> Iterator[bool]:
    """Yield whether each resource, scope, span, and what is in a span, is too short."""
    for _, *resource in _messages(body, 0, len(body)):
        yield resource[1] - resource[0] < _SHORTEST_SPAN
        for tag, *scope in _messages(body, *resource):
            if tag != _SCOPE_SPANS:  # the resource itself
                yield from (end - at < _SHORTEST_IN_SPAN[0x4A] for _, at, end in _messages(body, *scope))
                continue
            yield scope[1] - scope[0] < _SHORTEST_SPAN
            for tag, *span in _messages(body, *scope):
                if tag == _SPANS:
                    yield span[1] - span[0] < _SHORTEST_SPAN
                    for tag, at, end in _messages(body, *span):
                        yield end - at < _SHORTEST_IN_SPAN.get(tag, 0)


def _messages(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, beginning and end of the fields from ``at`` to ``end`` that may be messages."""
    try:
        yield from _fields(body, at, end)
    except (IndexError, KeyError):  # the parser says so
        return


def _fields(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Do as ``_messages``, and raise IndexError or KeyError where what is there is no protobuf."""
    while at < end:
        tag, at = _varint(body, at)
        if tag & 7 == 2:
            size, at = _varint(body, at)
            if at + size > end:
                raise IndexError("cut off")
            yield tag, at, at + size
            at += size
        elif tag & 7 == 0:
            _, at = _varint(body, at)
        else:
            at += {1: 8, 5: 4}[tag & 7]


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := body[at]) > 127:
        value |= (byte & 127) << shift
        shift += 7
        at += 1
        if shift > 63:
            raise IndexError("no varint")
    return value | byte << shift, at + 1


def _some(found: Any, most: int = MOST_ENTRIES) -> Any:
    """Return the entries of a list; of a very long one the first, and the last: exceptions are there."""
    return found if len(found) <= most else [*found[: most - most // 10], *found[len(found) - most // 10 :]]


def _spans_of(request: Any, refused: Refused | None) -> Iterator[Span]:
    room = MOST_EVENTS
    for of_resource in request.resource_spans:
        resource = _shared(_values_of(of_resource.resource.attributes))
        for of_scope in of_resource.scope_spans:
            scope = of_scope.scope.name
            for each in of_scope.spans:
                try:
                    parent, status, links = each.parent_span_id, each.status, _some(each.links)
                    events = _some(each.events, min(MOST_ENTRIES, room))
                    room -= len(events)
                    span = Span(
                        _hex(each.trace_id, 16, "traceId"),
                        _hex(each.span_id, 8, "spanId"),
                        _hex(parent, 8, "parentSpanId") if parent.strip(b"\0") else None,
                        each.name,
                        each.kind,
                        _instant(each.start_time_unix_nano, "startTimeUnixNano"),
                        _instant(each.end_time_unix_nano, "endTimeUnixNano"),
                        status.code,
                        status.message,
                        _values_of(each.attributes),
                        tuple([Event(e.name, e.time_unix_nano, _values_of(e.attributes)) for e in events])
                        if events
                        else (),
                        tuple([(link.trace_id.hex(), link.span_id.hex()) for link in links]) if links else (),
                        resource,
                        scope,
                        each.flags,
                        each.trace_state,
                    )
                except ReportError as error:
                    _refuse(error, refused)
                else:
                    yield span


def _hex(found: bytes, size: int, name: str) -> str:
    if len(found) == size and found.strip(b"\0"):
        return found.hex()
    return _id(found.hex(), 2 * size, name)  # which says why not


def _values_of(pairs: Any, depth: int = 0) -> dict[str, Any]:
    return {pair.key: (value := pair.value).string_value or _value_of(value, depth) for pair in _some(pairs)}


def _value_of(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        if depth >= MOST_DEPTH:
            return _DEEPER
        return [_value_of(each, depth + 1) for each in _some(value.array_value.values, MOST_VALUES)]
    if kind == "kvlist_value":
        return _values_of(value.kvlist_value.values, depth + 1) if depth < MOST_DEPTH else _DEEPER
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, kind) if kind else None


# -- JSON ------------------------------------------------------------------------------


def from_json(body: bytes | str, refused: Refused | None = None) -> list[Span]:
    """Return the spans of OTLP in JSON: ids are hex, 64-bit numbers may be texts, unknown fields are ignored.

    Args:
        body: the request.
        refused: counts spans with a field that cannot be; without it, one is an error.

    Raises:
        ReportError: it is none, or no span of it can be; the field is named.
    """
    one, other = ("{", "[") if isinstance(body, str) else (b"{", b"[")
    brackets = body.count(one) + body.count(other)  # type: ignore[arg-type]
    if len(body) > _LARGE and brackets * _OF_BRACKET > len(body):
        raise ReportError("not OTLP: more objects and arrays than there can be spans")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ReportError("not OTLP: not JSON") from None
    if isinstance(document, dict) and "resourceSpans" not in document and document:
        for key, what in (("resourceMetrics", "metrics"), ("resourceLogs", "logs")):
            if key in document:
                raise ReportError(f"not OTLP traces: these are {what}, and perfdb takes none")
        raise ReportError("not OTLP: it has no resourceSpans")
    return _whole_or_refused(_spans_in(_of(document, dict, "the document"), refused), refused)


def _spans_in(document: dict[str, Any], refused: Refused | None) -> Iterator[Span]:
    room = MOST_EVENTS
    for of_resource in _list(document, "resourceSpans"):
        resource = _shared(_pairs(_get(of_resource, "resource", dict, {}).get("attributes"), 0))
        for of_scope in _list(of_resource, "scopeSpans") or _list(of_resource, "instrumentationLibrarySpans"):
            scope = _get(of_scope, "scope", dict, {})
            for each in _list(of_scope, "spans"):
                try:
                    parent = _get(each, "parentSpanId", str, "")
                    status = _get(each, "status", dict, {})
                    events = _some(_list(each, "events"), min(MOST_ENTRIES, room))
                    room -= len(events)
                    span = Span(
                        _id(_get(each, "traceId", str), 32, "traceId"),
                        _id(_get(each, "spanId", str), 16, "spanId"),
                        _id(parent, 16, "parentSpanId") if parent.strip("0") else None,
                        _get(each, "name", str, ""),
                        _enum(each.get("kind", 0), _KINDS),
                        _instant(_whole(each, "startTimeUnixNano"), "startTimeUnixNano"),
                        _instant(_whole(each, "endTimeUnixNano"), "endTimeUnixNano"),
                        _enum(status.get("code", 0), _CODES),
                        _get(status, "message", str, ""),
                        _pairs(each.get("attributes"), 0),
                        tuple(
                            Event(
                                _get(e, "name", str, ""),
                                _whole(e, "timeUnixNano"),
                                _pairs(e.get("attributes"), 0),
                            )
                            for e in events
                        ),
                        tuple(
                            (_get(link, "traceId", str, "").lower(), _get(link, "spanId", str, "").lower())
                            for link in _some(_list(each, "links"))
                        ),
                        resource,
                        _get(scope, "name", str, ""),
                        _whole(each, "flags"),
                        _get(each, "traceState", str, ""),
                    )
                except ReportError as error:
                    _refuse(error, refused)
                else:
                    yield span


_KINDS = {
    f"SPAN_KIND_{name}": i
    for i, name in enumerate("UNSPECIFIED INTERNAL SERVER CLIENT PRODUCER CONSUMER".split())
}
_CODES = {f"STATUS_CODE_{name}": i for i, name in enumerate("UNSET OK ERROR".split())}


def _enum(value: Any, names: Mapping[str, int]) -> int:
    if isinstance(value, str):  # a name, or a number that is quoted as the 64-bit ones are
        return names.get(value, int(value) if value.isdecimal() and len(value) < 10 else 0)
    return int(value) if isinstance(value, int | float) and 0 <= value < _LARGEST_ENUM else 0


def _of(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise ReportError(f"not OTLP: {name} must be {_WORDS[kind]}")
    return value


_WORDS: dict[type, str] = {dict: "an object", list: "an array", str: "a text"}
_REQUIRED: Any = object()


def _get(values: Any, key: str, kind: type, default: Any = _REQUIRED) -> Any:
    found = _of(values, dict, f"what holds {key}").get(key)
    if found is None and default is not _REQUIRED:
        return default
    return _of(found, kind, key)


def _list(values: Any, key: str) -> list[Any]:
    found: list[Any] = _get(values, key, list, [])
    return found


def _whole(values: dict[str, Any], key: str) -> int:
    found = _of(values, dict, f"what holds {key}").get(key)
    if found is None:
        return 0
    try:
        if isinstance(found, str) and len(found) <= 30:
            return int(found) if "e" not in found.lower() else _spelled_out(found)
        if isinstance(found, int | float) and abs(found) < _LARGEST:  # nor NaN
            return int(found)
    except ValueError:
        pass
    raise ReportError(f"not OTLP: {key} must be a whole number")


def _spelled_out(text: str) -> int:
    """Return the whole number that a text with an exponent says, as JavaScript writes large ones."""
    value = float(text)
    if not value.is_integer():  # nor is what is infinite
        raise ValueError(text)
    return int(value)


def _pairs(found: Any, depth: int) -> dict[str, Any]:
    pairs = found or []
    return {
        _get(pair, "key", str): _plain(_get(pair, "value", dict, {}), depth)
        for pair in _some(_of(pairs, list, "attributes"))
    }


def _plain(value: dict[str, Any], depth: int) -> Any:
    for kind, found in value.items():
        if kind == "intValue":
            return _whole(value, kind)
        if kind == "doubleValue":
            return _double(found)
        if kind == "arrayValue":
            if depth >= MOST_DEPTH:
                return _DEEPER
            return [
                _plain(_of(one, dict, "a value"), depth + 1)
                for one in _some(_list(found, "values"), MOST_VALUES)
            ]
        if kind == "kvlistValue":
            if depth >= MOST_DEPTH:
                return _DEEPER
            return _pairs(found.get("values"), depth + 1) if isinstance(found, dict) else {}
        if kind in ("stringValue", "boolValue", "bytesValue"):
            return found
    return None


def _double(found: Any) -> Any:
    """Return a number, which JSON may hold as a text such as NaN."""
    try:
        return float(found)
    except (TypeError, ValueError, OverflowError):
        return None


def _id(found: str, digits: int, name: str) -> str:
    try:
        if len(binascii.unhexlify(found)) * 2 == digits and found.strip("0"):
            return found.lower()
    except (binascii.Error, ValueError):
        pass
    hint = " (base64, as protobuf writes JSON by itself)" if found.endswith("=") else ""
    raise ReportError(
        f"not OTLP: {name} must be {digits} hexadecimal digits and not zero, not {found[:40]!r}{hint}"
    )


def _instant(found: int, name: str) -> int:
    if not 0 <= found <= _LAST_NS:
        raise ReportError(f"not OTLP: {name} must be nanoseconds since 1970, not {str(found)[:40]}")
    return found


# -- the SDK -------------------------------------------------------------------------------


def from_sdk(span: ReadableSpan) -> Span | None:
    """Return a span of this process's own SDK; None of one that has not ended."""
    context, parent = span.get_span_context(), span.parent
    if context is None or span.start_time is None or span.end_time is None:
        return None
    remote = _HAS_IS_REMOTE | (_IS_REMOTE if parent is not None and parent.is_remote else 0)
    return Span(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        f"{parent.span_id:016x}" if parent is not None else None,
        span.name,
        span.kind.value + 1,  # the SDK counts from INTERNAL = 0
        span.start_time,
        span.end_time,
        span.status.status_code.value,
        span.status.description or "",
        dict(span.attributes or {}),
        tuple(Event(each.name, each.timestamp, dict(each.attributes or {})) for each in span.events),
        tuple((f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links),
        dict(span.resource.attributes),
        span.instrumentation_scope.name if span.instrumentation_scope is not None else "",
        int(context.trace_flags) | remote,
        str(context.trace_state.to_header()) if context.trace_state else "",
    )
