"""From the spans of one trace to a session: its topmost span is the session, the others are its steps.

Which attributes are kept is an allow-list: prompts, answers and pictures come as attributes, too. Numbers
and truths stay, except for those of ports and threads; texts stay when their name is listed here or in the
settings, or when it belongs to no convention. What stays is bounded, and can be said in JSON.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from heapq import heappop, heappush
from typing import Any

from perfdb.errors import ReportError
from perfdb.maintenance.formats.spans import (
    CONSUMER,
    ERROR,
    EXPORTED,
    OF_SESSION,
    OF_STEP,
    SERVER,
    Attributes,
    Span,
)
from perfdb.recording.finished import span_number
from perfdb.recording.report_reader import read_report
from perfdb.recording.values import clean, clean_text
from perfdb.records import Event, Session, Step
from perfdb.settings import number, text, texts
from perfdb.tokens import NAMES, OF_NO_COUNT, TABLE, used_by
from perfdb.toml import Table
from perfdb.vocabulary import COMPLETED, FAILED, MAX_NAME, bounded, mode_of

QUIET_S = 2.0  # after the last span of a trace whose root is there
ROOTLESS_QUIET_S = 30.0
LONGEST_TEXT = 1_000  # characters of an attribute; a prompt's, an image's are thousands
MOST_LINKS = 20  # and entries of an attribute
MOST_ATTRIBUTES, MOST_EVENTS = 200, 100  # of a span
MOST_SAME = 200  # calls of a model with the same numbers of tokens that are compared
_KEPT = (
    "http.request.method", "http.method", "http.route", "http.target", "url.path", "url.template",
    "http.response.status_code", "http.status_code", "server.address", "peer.service",
    "db.system*", "db.operation*", "db.namespace", "db.collection.name", "db.query.summary", "rpc.*",
    "messaging.system", "messaging.operation*", "messaging.destination*", "messaging.message.id",
    "celery.*", "graphql.operation.*", "faas.*", "code.function*", "code.namespace", "error.type",
    "exception.*", "gen_ai.operation.name", "gen_ai.tool.name", "gen_ai.agent.name",
    "gen_ai.response.finish_reasons", "openinference.span.kind", "traceloop.span.kind",
    "traceloop.workflow.name", "traceloop.entity.name", "tool.name", "user.id", "session.id", "enduser.id",
)  # fmt: skip
_OF_CONVENTIONS = frozenset(
    (
        "http url net network server client user_agent db rpc messaging gen_ai llm input output "
        "traceloop openinference embedding retrieval reranker document message tool_call tool "
        "metadata tag image audio prompt completion asgi wsgi thread code celery otel telemetry "
        "process peer enduser exception graphql faas aws gcp azure k8s openai anthropic langchain "
        "llamaindex crewai session user "
    ).split()
)
_NO_MEASURES = (
    "net.", "network.", "thread.", "server.port", "client.port", "process.", "http.flavor", "asgi.",
    "llm.token_count.", "llm.usage.", "gen_ai.usage.",
)  # fmt: skip
_ALL, _NONE, _NUMBERS, _TEXTS, _SMALL = "all none numbers texts small".split()  # what is kept of an attribute
_PIECE = re.compile(r"\bcompletion\.chunk\Z")
_NOISE = tuple(f" {protocol} {what}" for protocol in ("http", "websocket") for what in ("send", "receive"))
_FIELD = re.compile(r"\{([^{}]+)\}")
_HOST, _COMMIT = (
    ("host.name", "k8s.pod.name", "container.id"),
    ("vcs.ref.head.revision", "vcs.repository.ref.revision"),
)
_BRANCH, _KIND_OF_REF = "vcs.ref.head.name", "vcs.ref.head.type"
_OF_RESOURCE = ("service.name", "service.namespace", "service.version", "deployment.environment.name",
                "deployment.environment", "telemetry.sdk.language")  # fmt: skip

_COMMAND, _RUNTIME = ("process.command_line", "process.command"), "process.runtime.version"
_OF_PROCESS = ("process.pid", _RUNTIME, *_COMMAND)


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """The ``[otlp]`` of the settings: how spans become sessions, and when a trace is whole."""

    pipeline: str | None = None
    attributes: tuple[str, ...] = ()
    quiet_s: float = QUIET_S
    rootless_quiet_s: float = ROOTLESS_QUIET_S

    def reading(self) -> Reading:
        """Return what makes sessions of spans."""
        return Reading(self.pipeline, self.attributes)


def read_otlp_settings(table: Table) -> OtlpSettings:
    """Return the ``[otlp]`` of the settings.

    Raises:
        SettingsError: a key or value that perfdb does not know.
    """
    checks = {
        "pipeline": _template,
        "attributes": texts,
        "quiet_s": number(0, 3600),
        "rootless_quiet_s": number(0, 86_400),
    }
    return OtlpSettings(**table.read(checks))


def _template(value: object) -> str:
    found = text(value)
    if not _FIELD.search(found) or set(_FIELD.sub("", found)) & set("{}"):
        raise ValueError('must hold attributes in braces, such as "{service.name} {name}"')
    return found


class Reading:
    """How spans become sessions: what the settings say in ``[otlp]``.

    Args:
        pipeline: a template of the session's pipeline, such as ``{service.name} {name}``; None takes the
            route of the topmost span, or its name.
        attributes: patterns of further attributes that are kept, such as ``app.*``.
    """

    def __init__(self, pipeline: str | None = None, attributes: Iterable[str] = ()) -> None:
        self._pipeline = pipeline
        self._kept = (*_KEPT, *attributes)
        self._patterns = tuple(each for each in self._kept if "*" in each or "?" in each)
        self._names = frozenset(self._kept)
        self._fields = frozenset(_FIELD.findall(pipeline or ""))
        self._facts = (*_OF_RESOURCE, *_HOST, *_COMMIT, _BRANCH, _KIND_OF_REF, *_OF_PROCESS, *self._fields)
        self._known: dict[str, str] = {}

    def session_of(self, spans: Iterable[Span]) -> Session | None:
        """Return the session of a trace's spans; None when all of them are noise."""
        noise: dict[str, str | None] = {}
        found: dict[str, Span] = {}
        for span in spans:
            if is_noise(span):
                noise[span.span_id] = span.parent_id
            else:
                found[span.span_id] = span
        if not found:
            return None
        for span in found.values() if noise else ():
            if span.parent_id in noise:  # what was inside of noise is where the noise was
                found[span.span_id] = replace(span, parent_id=_without(noise, span.parent_id))
        top = topmost(found)
        if not all(span.start_ns for span in found.values()):
            _give_times(found, top)
        ordered = sorted(found.values(), key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
        if top is not None and (own := _exported(top, ordered)) is not None:
            return own
        first = top or ordered[0]
        # what has no time, as a program that died leaves it, is as long as what is known
        start_ns = first.start_ns or min((span.start_ns for span in ordered if span.start_ns), default=0)
        end_ns = (0 if top is None else top.end_ns) or max(span.end_ns for span in ordered)
        lanes = _lanes(ordered)
        repeated = _counted_within(ordered, found)
        steps = [
            self._step(span, top, lanes[span.span_id], counts=span.span_id not in repeated)
            for span in ordered
            if span is not top
        ]
        failed = top if top is not None else next((span for span in ordered if span.status == ERROR), None)
        error = reason_of(failed) if failed is not None and failed.status == ERROR else None
        resource = first.resource
        start_time = start_ns / 1e9
        attributes = {name: resource[name] for name in _OF_RESOURCE if resource.get(name)}
        if top is not None:
            attributes |= {**self._data(top, counts=top.span_id not in repeated), "span_id": top.span_id}
            if links := _links(top):
                attributes["links"] = links
            if not top.is_root:
                attributes["parent_span_id"] = top.parent_id
                if (name := top.name or "unnamed") != self._pipeline_of(top, is_top=True):
                    attributes["span_name"] = name
            if top.events:
                attributes["events"] = [
                    {"name": each.name, "time": each.time, **({"data": dict(each.data)} if each.data else {})}
                    for each in self._events(top)
                ]
        return Session(
            session_id=first.trace_id,
            pipeline=self._pipeline_of(first, is_top=top is not None),
            start_time=start_time,
            total_duration=max(0, end_ns - start_ns) / 1e9,
            status=FAILED if error is not None else COMPLETED,
            success=error is None,
            error_message=error,
            mode=mode_of({}, ()),
            attributes=attributes,
            steps=tuple(steps),
            utc_offset=time.localtime(start_time).tm_gmtoff,
            host=_text(resource, _HOST),
            pid=pid if isinstance(pid := resource.get("process.pid"), int) else None,
            python_version=_text(resource, (_RUNTIME,))
            if resource.get("telemetry.sdk.language") == "python"
            else None,
            git_commit=_text(resource, _COMMIT),
            git_branch=_text(resource, (_BRANCH,)) if resource.get(_KIND_OF_REF) != "tag" else None,
            command=_text(resource, _COMMAND),
        )

    def facts_of(self, span: Span) -> dict[str, Any]:
        """Return what a session needs of a span's resource."""
        if span.scope == EXPORTED:
            return dict(span.resource)
        return {name: span.resource[name] for name in self._facts if name in span.resource}

    def needed(self, span: Span, attributes: Attributes) -> dict[str, Any]:
        """Return what a session needs of attributes of a span: prompts, answers and pictures are None."""
        if span.scope == EXPORTED:
            return dict(attributes)
        return {
            name: value if isinstance(value, int | float) or self._is_needed(name, value) else None
            for name, value in attributes.items()
        }

    def _is_needed(self, name: str, value: Any) -> bool:
        if name in NAMES or name in self._fields:
            return True
        which = self._known.get(name) or self._which(name)
        is_short = len(value) <= LONGEST_TEXT if isinstance(value, str) else _is_small(value)
        return which is _ALL or (which in (_TEXTS, _SMALL) and is_short)

    def _pipeline_of(self, span: Span, *, is_top: bool) -> str:
        facts: dict[str, Any] = {**span.resource, **span.attributes, "name": span.name}
        if self._pipeline is not None:
            filled = _FIELD.sub(lambda found: str(facts.get(found[1], "")), self._pipeline)
            return filled.strip() or span.name
        if not is_top:
            return str(span.resource.get("service.name") or span.name)
        method, route = facts.get("http.request.method") or facts.get("http.method"), facts.get("http.route")
        if span.kind == SERVER and method and route:
            return f"{method} {route}"
        return span.name or str(span.resource.get("service.name") or "trace")

    def _step(self, span: Span, top: Span | None, lane: int, *, counts: bool) -> Step:
        of_session = span.is_root or (top is not None and span.parent_id == top.span_id)
        data = {**self._data(span, counts=counts), "span_id": span.span_id}
        if links := _links(span):
            data["links"] = links
        service = span.resource.get("service.name")
        if top is not None and service and service != top.resource.get("service.name"):
            data["service.name"] = service
        return Step(
            step_name=span.name or "unnamed",
            start_time=span.start_ns / 1e9,
            duration=max(0, span.end_ns - span.start_ns) / 1e9,
            success=span.status != ERROR,
            error_message=reason_of(span) if span.status == ERROR else None,
            additional_data=data,
            seq=number_of(span.span_id),
            parent_seq=None if of_session or span.parent_id is None else number_of(span.parent_id),
            lane=lane,
            events=self._events(span),
        )

    def _events(self, span: Span) -> tuple[Event, ...]:
        if not span.events:
            return ()
        found, pieces = [], set()
        for each in span.events:
            if _PIECE.search(
                each.name
            ):  # of a streamed answer there are hundreds: the first says when it began
                if each.name in pieces:
                    continue
                pieces.add(each.name)
            data = self._kept_of(each.attributes)
            found.append(Event(name=bounded(each.name) or "event", time=each.time_ns / 1e9, data=data))
            if len(found) == MOST_EVENTS:
                break
        return tuple(found)

    def _data(self, span: Span, *, counts: bool = True) -> dict[str, Any]:
        data = self._kept_of(span.attributes)
        for name, value in used_by(span.attributes).items():
            if counts or name in OF_NO_COUNT:
                data[name] = _plain(value)
        if (probability := sampled_with(span.trace_state)) is not None:
            data["sampling_probability"] = probability
        return data

    def _kept_of(self, attributes: Attributes) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in attributes.items():
            which = self._known.get(name) or self._which(name)
            if which is _NONE:
                continue
            if isinstance(value, str):
                if len(value) > LONGEST_TEXT:
                    if which is not _ALL:
                        continue
                    value = clean_text(value)
                elif which is _NUMBERS:
                    continue
            elif isinstance(value, int | float):
                if which is _TEXTS:
                    continue
                value = _plain(value)
            elif which is _ALL or (which is not _NUMBERS and _is_small(value)):
                value = _plain(value)
            else:
                continue
            kept[name] = value
            if len(kept) == MOST_ATTRIBUTES:
                kept["…"] = f"at most {MOST_ATTRIBUTES} of {len(attributes)} attributes are kept"
                break
        return kept

    def _which(self, name: str) -> str:
        """Return which values of an attribute are kept."""
        which = self._kinds_kept(name)
        if len(self._known) < 10_000 and len(name) <= MAX_NAME:
            self._known[name] = which
        return which

    def _kinds_kept(self, name: str) -> str:
        if name in NAMES:  # said under our own names
            return _NONE
        if name in self._names or any(fnmatchcase(name, each) for each in self._patterns):
            return _ALL
        of_convention = name.split(".", 1)[0] in _OF_CONVENTIONS
        if name.startswith(_NO_MEASURES):
            return _NONE if of_convention else _TEXTS
        return _NUMBERS if of_convention else _SMALL


def _without(noise: Mapping[str, str | None], parent_id: str | None) -> str | None:
    """Return the next span around that is no noise; None when there is none."""
    seen = set()
    while parent_id is not None and parent_id in noise and parent_id not in seen:
        seen.add(parent_id)
        parent_id = noise[parent_id]
    return None if parent_id in noise else parent_id


def _give_times(spans: dict[str, Span], top: Span | None) -> None:
    """Let what has no beginning begin where it ended, or with the first; it is of no day long ago."""
    first = min((span.start_ns for span in spans.values() if span.start_ns), default=0)
    for span in list(spans.values()):
        if not span.start_ns and span is not top:
            spans[span.span_id] = replace(span, start_ns=span.end_ns or first)


def _exported(top: Span, ordered: Iterable[Span]) -> Session | None:
    """Return the session that `perfdb export` made these spans of; None when they are of somebody else."""
    told = top.attributes.get(OF_SESSION)
    if top.scope != EXPORTED or not isinstance(told, dict):
        return None
    steps = []
    for span in ordered:
        if isinstance(of_step := span.attributes.get(OF_STEP), dict):
            data = {name: value for name, value in span.attributes.items() if name != OF_STEP}
            steps.append({**of_step, "step_name": span.name, "additional_data": data})
    attributes = {name: value for name, value in top.attributes.items() if name != OF_SESSION}
    try:
        return read_report(json.dumps({**told, "attributes": attributes, "steps": steps}).encode())
    except (ReportError, ValueError):
        return None


def _counted_within(ordered: list[Span], spans: Mapping[str, Span]) -> set[str]:
    """Return the spans whose tokens other spans inside of them say again, so that sums hold them once.

    An agent says what its calls used together. Of a call that two libraries report, one span is inside of
    the other, by its parents or, where they know nothing of each other, by its times and numbers.
    """
    used = [
        (span, numbers)
        for span in ordered
        if not NAMES.isdisjoint(span.attributes)
        and any(numbers := tuple(_first(span.attributes, name) for name in ("input_tokens", "output_tokens")))
    ]
    outer: set[str] = set()
    if len(used) < 2:
        return outer
    by_numbers: dict[tuple[Any, ...], list[Span]] = {}
    for span, numbers in used:
        around, seen = spans.get(span.parent_id or ""), set[str]()
        while around is not None and around.span_id not in seen:
            seen.add(around.span_id)
            around = spans.get(around.parent_id or "")
        outer |= seen
        by_numbers.setdefault(numbers, []).append(span)
    for same in by_numbers.values():
        for at, span in enumerate(same[:MOST_SAME]):  # in the order of their starts
            for before in same[:at]:
                if (
                    before.end_ns >= span.end_ns
                    and before.scope != span.scope
                    and before.span_id not in outer
                ):
                    outer.add(before.span_id)
                    break
    return outer


def topmost(spans: Mapping[str, Span]) -> Span | None:
    """Return the span that is the session; None when none can stand for all.

    It is the one without a parent. Where the root is elsewhere, it is the first request or message that
    was served for somebody who is not here.
    """
    roots = [span for span in spans.values() if span.is_root]
    if roots:
        return min(roots, key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    served = [
        span
        for span in spans.values()
        if span.parent_id not in spans and (span.kind in (SERVER, CONSUMER) or span.has_remote_parent)
    ]
    return min(served, key=lambda span: (span.start_ns, -span.end_ns, span.span_id), default=None)


def is_noise(span: Span) -> bool:
    """Say whether a span is one message of a request: ``GET / http send``."""
    return "asgi.event.type" in span.attributes or span.name.endswith(_NOISE)


def number_of(span_id: str) -> int:
    """Return the number of a step: of its span's id, because others may come later, and from elsewhere."""
    return span_number(span_id) or 0


def reason_of(span: Span) -> str:
    """Return why a span failed: its last exception, else what its status says, or the one of the answer."""
    for event in reversed(span.events):
        if event.name == "exception":
            kind, message = event.attributes.get("exception.type"), event.attributes.get("exception.message")
            said = str(message or "")
            return f"{kind}: {said}" if kind and not said.startswith(f"{kind}:") else said or str(kind)
    if span.status_message:
        return span.status_message
    kind, *codes = map(span.attributes.get, ("error.type", "http.response.status_code", "http.status_code"))
    code = next((str(code) for code in codes if code), None)
    if code and (not kind or str(kind) == code):  # HTTP's conventions repeat it there
        return f"HTTP {code}"
    return str(kind or "status ERROR")


def sampled_with(trace_state: str) -> float | None:
    """Return the probability with which a trace was sampled, as its ``tracestate`` says (``ot=th:8``)."""
    found = (
        re.search(r"(?:\A|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?![^;,\s])", trace_state)
        if trace_state
        else None
    )
    return 1.0 - int(found[1].ljust(14, "0"), 16) / 2.0**56 if found else None


def _links(span: Span) -> list[dict[str, str]]:
    return [{"trace_id": trace, "span_id": of} for trace, of in span.links[:MOST_LINKS] if trace]


def _lanes(ordered: list[Span]) -> dict[str, int]:
    """Return a lane for each span: its parent's while nobody else is in it, else the first that is free."""
    lanes: dict[str, int] = {}
    open_in: list[list[Span]] = [[]]  # of each lane, innermost last
    free = [0]  # lanes where nobody may be; a heap, as the next
    ends: list[tuple[int, int]] = []  # and lane, of each span that is in one
    for span in ordered:
        while ends and ends[0][0] <= span.start_ns:
            _, ended = heappop(ends)
            stack = open_in[ended]
            while stack and stack[-1].end_ns <= span.start_ns:
                stack.pop()
            if not stack:
                heappush(free, ended)
        lane = lanes.get(span.parent_id or "", 0)
        if open_in[lane] and open_in[lane][-1].span_id != span.parent_id:
            while free and open_in[free[0]]:
                heappop(free)
            lane = free[0] if free else len(open_in)
            if lane == len(open_in):
                open_in.append([])
        open_in[lane].append(span)
        heappush(ends, (span.end_ns, lane))
        lanes[span.span_id] = lane
    return lanes


def _is_small(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return len(value) <= MOST_LINKS and all(
            isinstance(each, bool | int | float) or (isinstance(each, str) and len(each) <= LONGEST_TEXT)
            for each in value
        )
    return False


def _plain(value: Any) -> Any:
    """Return a value as JSON can say it, bounded: not a number, bytes, and what is nested come as well."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else clean_text(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return clean({"": value})[""]


def _first(values: Attributes, name: str) -> Any:
    return next((values[theirs] for theirs in TABLE[name] if values.get(theirs)), None)


def _text(values: Attributes, names: Iterable[str]) -> str | None:
    return next((str(values[name]) for name in names if values.get(name)), None)
