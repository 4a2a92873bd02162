"""The history in a form for others: whole reports as JSON, or steps or sessions as CSV or Parquet."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator, Mapping
from itertools import chain
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
_ROWS_TOGETHER = 20_000  # of Parquet, which is read in such groups; what waits for one takes 1 KB per row


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
            yield from csv_pieces(self._frames()) if self._form == "csv" else self._parquet()

    def _sessions(self) -> Iterator[Session]:
        for session in self._history.each_session(**self._filters):
            self.written += 1
            yield session

    def _frames(self) -> Iterator[pd.DataFrame]:
        """Yield frames of the same columns: one of all rows, if those depend on all attributes."""
        if self._expand:
            read = self._history.steps if self._rows == "steps" else self._history.sessions
            frames = iter([read(expand_attributes=True, **self._filters)])
        else:
            frames = self._history._row_frames(self._rows, **self._filters)
        for frame in frames:
            self.written += len(frame)
            yield frame

    def _parquet(self) -> Iterator[bytes]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingExtraError("Parquet needs pyarrow: pip install 'perfdb[parquet]'") from None
        frames = map(_with_texts, self._frames())
        first = next(frames)
        schema = pa.Schema.from_pandas(first, preserve_index=False)
        for place, name in enumerate(schema.names):  # what is unknown in one piece may be known in the next
            if first[name].dtype == object:
                schema = schema.set(place, schema.field(place).with_type(pa.string()))
        sink = _Sink()
        with pq.ParquetWriter(sink, schema) as writer:
            waiting: list[Any] = []
            for frame in chain([first], frames):
                waiting.append(pa.Table.from_pandas(frame, schema, preserve_index=False))
                if sum(map(len, waiting)) >= _ROWS_TOGETHER:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting.clear()
                    yield sink.taken()
            writer.write_table(pa.concat_tables(waiting) if waiting else schema.empty_table())
        yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that is only written to, from which what was written is taken piece by piece."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._written.append(piece)
        self._at += len(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        found, self._written = b"".join(self._written), []
        return found


def _with_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose lists and dicts are JSON."""
    for name in frame.columns:
        if frame[name].dtype == object:
            frame[name] = [
                value if value is None or isinstance(value, str) else json.dumps(value, default=str)
                for value in frame[name]
            ]
    return frame


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
