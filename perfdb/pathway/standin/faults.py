"""What can go wrong at the outside services, on demand.

A test puts faults in a queue (the next requests of a kind get them, in order),
or lets a share of all requests of a kind fail. Everything else is answered
normally.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way of answering badly.

    ``status`` with ``body`` (JSON, text as HTML, or bytes as JSON) replaces the answer; ``drop`` closes the
    connection without one; ``truncate`` sends its first half; ``delay_s`` (real seconds) comes
    before it; ``drip`` sends the ``head`` or the ``body`` a little at a time, each in time, or a body that
    is ``endless``; ``variant`` asks for a strange but complete answer: ``named`` lists them.
    """

    status: int | None = None
    body: Any = None
    json: bool = False  # also of a body that is None
    drip: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    truncate: bool = False
    variant: str | None = None


DROPPED = Fault(drop=True)
TRUNCATED = Fault(truncate=True)
FENCED_JSON = Fault(variant="fenced")
CUT_JSON = Fault(variant="cut")
REFUSAL = Fault(variant="refusal")
NO_RESULTS = Fault(variant="empty")
HTML_INSTEAD = Fault(variant="html")


def slow(seconds: float) -> Fault:
    """Answer correctly, but after so many real seconds."""
    return Fault(delay_s=seconds)


def openai_error(
    status: int, type_: str, code: str | None, message: str, *, parameter: str | None = None, **headers: str
) -> Fault:
    """Answer with OpenAI's error envelope; header names are given with ``_`` for ``-``."""
    envelope = {"error": {"message": message, "type": type_, "param": parameter, "code": code}}
    return Fault(
        status=status, body=envelope, headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def rate_limited(after_s: float | None = None) -> Fault:
    """Answer 429 of either service; with the time to wait, in seconds, when one is given."""
    headers = (
        {} if after_s is None else {"retry_after_ms": str(round(after_s * 1000)), "retry_after": str(after_s)}
    )
    return openai_error(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests", **headers)


def insufficient_quota() -> Fault:
    """Answer the 429 that no retry can help: the account has no money."""
    return openai_error(
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan.",
    )


def unauthorized(key: str = "") -> Fault:
    """Answer 401 as OpenAI does, which repeats part of the key."""
    return openai_error(
        401, "invalid_request_error", "invalid_api_key", f"Incorrect API key provided: {key or 'sk-***'}."
    )


def model_not_found(model: str) -> Fault:
    """Answer 404 for a model that was withdrawn."""
    return openai_error(
        404,
        "invalid_request_error",
        "model_not_found",
        f"The model `{model}` does not exist or was shut down.",
    )


def moderation_blocked() -> Fault:
    """Answer 400: the request was refused by the safety system."""
    return openai_error(
        400,
        "image_generation_user_error",
        "moderation_blocked",
        "Your request was rejected by the safety system.",
    )


def server_error(status: int = 500) -> Fault:
    """Answer a 5xx as OpenAI does."""
    return openai_error(
        status, "server_error", None, "The server had an error while processing your request."
    )


def serpapi_error(status: int, message: str) -> Fault:
    """Answer as SerpAPI does: ``{"error": text}``."""
    return Fault(status=status, body={"error": message})


class Faults:
    """The faults that wait to happen; safe to be used from many threads."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._queues: dict[str, deque[Fault]] = {}
        self._shares: dict[str, tuple[float, Fault]] = {}
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def next(self, kind: str, *faults: Fault) -> None:
        """Give these faults, in order, to the next requests of a kind."""
        with self._lock:
            self._queues.setdefault(kind, deque()).extend(faults)

    def always(self, kind: str, fault: Fault) -> None:
        """Give this fault to every request of a kind."""
        self.sometimes(kind, 1.0, fault)

    def sometimes(self, kind: str, share: float, fault: Fault) -> None:
        """Give this fault to a seeded share (0 to 1) of the requests of a kind."""
        with self._lock:
            self._shares[kind] = (share, fault)

    def clear(self) -> None:
        """Answer everything normally again."""
        with self._lock:
            self._queues.clear()
            self._shares.clear()

    def take(self, kind: str) -> Fault | None:
        """Return the fault of this request, if it gets one."""
        with self._lock:
            self._asked[kind] += 1
            if queue := self._queues.get(kind):
                return queue.popleft()
            share, fault = self._shares.get(kind, (0.0, None))
            chance = random.Random(f"{self._seed}:{kind}:{self._asked[kind]}")  # noqa: S311 - repeatable, not secret
            return fault if chance.random() < share else None
