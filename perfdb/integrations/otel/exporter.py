"""A span exporter for the OpenTelemetry SDK of this process: its traces become sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import export as sdk

from perfdb.guard import raise_foreign
from perfdb.integrations.otel.assembly import Assembler
from perfdb.maintenance.formats.spans import from_sdk
from perfdb.maintenance.formats.traces import Reading
from perfdb.recorder import Intake


class SpanExporter(sdk.SpanExporter):
    """Records traces: ``provider.add_span_processor(BatchSpanProcessor(SpanExporter()))``.

    A trace is recorded when its root has ended; spans that end later are added.

    Args:
        home: folder of database and journals, as for ``perfdb.create_tracker``.
        database_url: another database.
        pipeline: a template of the sessions' pipeline, such as ``{service.name} {name}``; default: the route
            or name of the topmost span.
        attributes: patterns of further attributes that are kept, such as ``app.*``.
    """

    def __init__(
        self,
        *,
        home: str | Path | None = None,
        database_url: str | None = None,
        pipeline: str | None = None,
        attributes: Sequence[str] = (),
    ) -> None:
        self._intake = Intake(home=home, database_url=database_url)
        self._assembler = Assembler(self._intake, Reading(pipeline, attributes), quiet_s=0.0)

    def export(self, spans: Sequence[ReadableSpan]) -> sdk.SpanExportResult:
        """Take spans that have ended."""
        try:
            self._assembler.add([found for each in spans if (found := from_sdk(each)) is not None])
            self._assembler.close_due()
        except Exception as error:
            raise_foreign(error)
            self._intake.failed("taking spans", error)
            return sdk.SpanExportResult.FAILURE
        return sdk.SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Record every trace as it is, and wait until the database has them."""
        self._assembler.close_all()
        return self._intake.flush(timeout_millis / 1000.0)

    def shutdown(self) -> None:
        """Record every trace as it is."""
        self._assembler.close_all()
        self._intake.flush()
