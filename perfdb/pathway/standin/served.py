"""What the stand-in logs of each request."""

from __future__ import annotations

from dataclasses import dataclass


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
