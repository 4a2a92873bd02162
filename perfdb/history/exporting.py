"""The history in a form for others: whole reports as JSON, or steps or sessions as CSV or Parquet."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfdb.errors import MissingExtraError, StoreError
from perfdb.history.forms import csv_pieces, json_pieces
from perfdb.outputs import spare_databases, write_output
from perfdb.recording.report import to_report
from perfdb.records import Session
from perfdb.settings import shown_path

if TYPE_CHECKING:
    import pandas as pd

    from perfdb.history.rows import Rows

TRACES = ("otlp", "chrome", "speedscope")
FORMATS = ("json", "csv", "parquet", *TRACES)
ROWS = ("steps", "sessions")


class Export:
    """The pieces of one export, and how many rows they had once they are written.

    Args:
        history: what is exported.
        form: of ``FORMATS``.
        rows: of CSV and Parquet: ``steps`` or ``sessions``.
        bom: start with a byte order mark.
        expand_attributes: of CSV and Parquet, as in ``History.sessions``.
        filters: ``last`` and those of ``History.sessions``.
    """

    def __init__(
        self,
        history: Rows,
        form: str,
        *,
        rows: str = "steps",
        bom: bool = False,
        expand_attributes: bool = False,
        filters: Mapping[str, Any],
    ) -> None:
        self.written = 0
        self._history = history
        self._form = form
        self._rows = rows
        self._bom = bom
        self._expand = expand_attributes
        self._filters = filters

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces.

        Raises:
            MissingExtraError: Parquet needs a library that is not there.
        """
        if self._bom:
            yield codecs.BOM_UTF8
        if self._form == "json":
            yield from (piece.encode() for piece in json_pieces(map(to_report, self._sessions())))
        elif self._form in TRACES:
            from perfdb.history.tracing import PIECES

            yield from PIECES[self._form](self._sessions())
        else:
            yield from csv_pieces(self._frame()) if self._form == "csv" else self._parquet()

    def _sessions(self) -> Iterator[Session]:
        for session in self._history.each_session(**self._filters):
            self.written += 1
            yield session

    def _frame(self) -> pd.DataFrame:
        read = self._history.steps if self._rows == "steps" else self._history.sessions
        frame: pd.DataFrame = read(expand_attributes=self._expand, **self._filters)
        self.written = len(frame)
        return frame

    def _parquet(self) -> Iterator[bytes]:
        try:
            import pyarrow  # noqa: F401  # pandas would name neither the extra nor the command
        except ImportError:
            raise MissingExtraError("Parquet needs pyarrow: pip install 'perfdb[parquet]'") from None
        frame = self._frame()
        for name in frame.columns:
            if frame[name].dtype == object:
                frame[name] = [
                    value if value is None or isinstance(value, str) else json.dumps(value, default=str)
                    for value in frame[name]
                ]
        buffer = io.BytesIO()
        frame.to_parquet(buffer, engine="pyarrow", index=False)
        yield buffer.getvalue()


def export(
    history: Rows,
    path: Path,
    form: str | None,
    *,
    rows: str,
    expand_attributes: bool,
    filters: Mapping[str, Any],
) -> int:
    """Write an export to a file and return how many rows it has; see ``History.export``."""
    form = path.suffix.removeprefix(".").lower() if form is None else form
    if form not in FORMATS:
        raise ValueError(f"format={form!r} must be one of {', '.join(FORMATS)}")
    if rows not in ROWS:
        raise ValueError(f"rows={rows!r} must be one of {', '.join(ROWS)}")
    written = Export(history, form, rows=rows, expand_attributes=expand_attributes, filters=filters)
    try:
        spare_databases(path)
        write_output(path, written)
    except OSError as error:
        raise StoreError(f"{shown_path(path)} cannot be written: {error.strerror or error}") from error
    return written.written
