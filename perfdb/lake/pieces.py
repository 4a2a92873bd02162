"""Look at what a host pushed before it is read: what it holds, and how much room that takes; and read it.

A file of some kilobytes may hold one long text a million times. Whatever it says of itself, it is looked at
page by page, and only until it is known to be unfit; sealing reads pieces as a whole. A piece that is unfit
stays where it is, and holds no other source up.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.engine import LONGEST_NAME, TIMES, quoted
from perfdb.lake.place import INBOX, Place
from perfdb.lake.rows import NAMES, few, lean, schema
from perfdb.vocabulary import MAX_SEQ, SESSION_ID, STATUSES

if TYPE_CHECKING:
    import pyarrow as pa

ROOM = 128 << 20  # bytes that a piece may take in memory, however small its file is
_FOOTER_BYTES, _COLUMNS = 4 << 20, 1_000  # of a piece: parsed, they take a hundred times the room
_MEMORY = "192MB"  # of the look
_BATCH = 2_048  # rows, as many as DuckDB has in its hands
_LAST_US = 253_402_300_799_000_000  # of the year 9999
_NEEDED = {
    *("session_id", "pipeline", "mode", "series", "began_us", "start_us", "day", "step_name", "seq", "status")
}
_DOCUMENTS = {"data": "OBJECT", "attempts": "ARRAY", "events": "ARRAY", "tags": "ARRAY", "samples": "ARRAY"}
_ITEMS = {"attempts": "OBJECT", "events": "OBJECT", "tags": "VARCHAR", "samples": "ARRAY"}
_BOUNDS = {"duration_us": (0, _LAST_US), "duration_exact": (0, _LAST_US), "utc_offset": (-86_399, 86_399)}
_IS_NAME = f"regexp_full_match(session_id, '{SESSION_ID}')"
_IS_FIT = (
    # The rows of a session mostly follow each other: each name is looked at once.
    f"CASE WHEN session_id = lag(session_id) OVER () THEN true ELSE {_IS_NAME} END",
    "pipeline IS NOT NULL AND mode IS NOT NULL AND series IS NOT NULL",
    "CASE WHEN step_name IS NULL THEN seq IS NULL ELSE seq BETWEEN 0 AND " + f"{MAX_SEQ} END",
    *(f"{name} BETWEEN 0 AND {_LAST_US}" for name in ("began_us", "start_us")),
    "datediff('day', DATE '1970-01-01', day) = began_us // 86400000000",
    f"status BETWEEN 0 AND {len(STATUSES) - 1}",
)


def room_of(place: Place, piece: str) -> int | None:
    """Return how many bytes a piece takes in memory, 0 when it is gone; None of one that is unfit."""
    import duckdb
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with place.files.open_input_file(place.own(INBOX, piece)) as file:
            size = file.size()
            file.seek(max(0, size - 8))
            if int.from_bytes(file.read(4), "little") > _FOOTER_BYTES:
                return None
            file.seek(0)
            found = pq.read_metadata(file)
            columns = found.schema.to_arrow_schema()
            if found.num_columns > _COLUMNS or not _is_ours(columns):
                return None
            filled = _filled(found)
        connection = place.once("pieces", os.getpid(), _connected)  # which takes longer than most looks
        with _local(place, piece) as path:
            return _look(connection, path, filled, set(columns.names), allowed_room(size))
    except FileNotFoundError:
        return 0
    except (OSError, StoreError, duckdb.Error, pa.ArrowException, LookupError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return None


def read_piece(place: Place, piece: str) -> pa.Table | None:
    """Return the rows of a piece that is fit, without the columns that hold nothing; None when it is gone."""
    import pyarrow.parquet as pq

    try:
        with place.files.open_input_file(place.own(INBOX, piece)) as file:
            found = pq.ParquetFile(file, read_dictionary=list(NAMES))
            return lean(found.read(columns=_filled(found.metadata))).replace_schema_metadata(None)
    except FileNotFoundError:
        return None


def _filled(metadata: Any) -> list[str]:
    """Return the plain columns of a file that hold something, as far as it says so."""
    columns = metadata.schema.to_arrow_schema()
    plain = {field.name for field in columns if field.name in NAMES or _is_plain(field.type)}
    found = set()
    for place in range(metadata.num_columns):
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            known = group.column(place).statistics
            if known is None or not known.has_null_count or known.null_count < group.num_rows:
                found.add(metadata.schema.column(place).path)
    return sorted(found & plain)


def _is_plain(kind: pa.DataType) -> bool:
    """Say whether its values take no more room than they say; a later perfdb adds such columns."""
    import pyarrow as pa

    return not (pa.types.is_nested(kind) or pa.types.is_dictionary(kind))


def _is_ours(columns: pa.Schema) -> bool:
    """Say whether columns of our names have our types, and each name is there once."""
    kinds = {field.name: field.type for field in schema()}
    names = set(columns.names)
    if len(names) < len(columns.names) or not names >= _NEEDED:
        return False
    return all(
        each.type == kinds.get(each.name, each.type) or (each.name in NAMES and each.type == few())
        for each in columns
    )


def allowed_room(size: int) -> int:
    """Return how many bytes a piece may take in memory whose file has that size."""
    return max(ROOM, TIMES * size)


def _look(connection: Any, path: Path, names: list[str], known: set[str], most: int) -> int | None:
    """Return the bytes that some columns of a file take; None of more, or of rows that are not as ours."""
    import pyarrow.compute as pc

    named = str(path).replace("'", "''")
    source = f"read_parquet('{named}', hive_partitioning = false)"
    sizes = []
    for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall():
        if name in names:
            length = {"VARCHAR": "strlen", "BLOB": "octet_length"}.get(kind)
            sizes.append(f"coalesce({length}({quoted(name)}), 0) + 4" if length else "8")
    documents = (
        f"coalesce(json_valid({name}) AND json_type({name}) = '{shape}', {name} IS NULL)"
        for name, shape in _DOCUMENTS.items()
        if name in known
    )
    items = (
        f"coalesce(list_has_all(['{kind}'], json_type({name}, '$[*]')), true)"
        for name, kind in _ITEMS.items()
        if name in known
    )
    bounds = (
        f"coalesce({name} BETWEEN {low} AND {high}, true)"
        for name, (low, high) in _BOUNDS.items()
        if name in known
    )
    lengths = (f"coalesce(strlen({name}), 0) <= {LONGEST_NAME}" for name in NAMES if name in known)
    is_fit = " AND ".join((*_IS_FIT, *documents, *items, *bounds, *lengths))
    sql = f"SELECT CASE WHEN {is_fit} THEN ({' + '.join(sizes)})::BIGINT ELSE -1 END FROM {source}"
    room = 0
    rows = connection.sql(sql)
    reader = rows.to_arrow_reader if hasattr(rows, "to_arrow_reader") else rows.fetch_arrow_reader  # < 1.5
    for batch in reader(_BATCH):
        room += pc.sum(batch.column(0)).as_py() or 0
        if room > most or (pc.min(batch.column(0)).as_py() or 0) < 0:
            return None
    return room


def _connected() -> Any:
    """Return a connection that takes little room, whatever a file says of itself."""
    import duckdb

    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "threads": "1",
        "max_temp_directory_size": "0B",
        "autoinstall_known_extensions": "false",
    }
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")  # it believes what a file says
    return connection


@contextmanager
def _local(place: Place, piece: str) -> Iterator[Path]:
    """Yield the piece as a file, that of a bucket as a copy: DuckDB's own reader of those is a download."""
    if place.local is not None:
        yield Path(place.own(INBOX, piece))
        return
    with tempfile.NamedTemporaryFile(prefix="perfdb-piece-") as copy:
        with place.files.open_input_stream(place.own(INBOX, piece)) as stream:
            shutil.copyfileobj(stream, copy, 1 << 20)
        copy.flush()
        yield Path(copy.name)
