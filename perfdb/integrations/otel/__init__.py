"""OpenTelemetry: traces in, as sessions. ``SpanExporter`` takes them from this process's own SDK."""

from __future__ import annotations

TYPE_CHECKING = False  # opentelemetry is loaded by those who use it
if TYPE_CHECKING:
    from typing import Any

    from perfdb.integrations.otel.exporter import SpanExporter

__all__ = ["SpanExporter"]


def __getattr__(name: str) -> Any:
    if name != "SpanExporter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from perfdb.integrations.otel.exporter import SpanExporter

    return SpanExporter
