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
from perfdb.lake.engine import TIMES, quoted, text
from perfdb.lake.fitness import CHECKS, conditions, texts, together
from perfdb.lake.place import INBOX, Place
from perfdb.lake.rows import NAMES, few, lean, schema

if TYPE_CHECKING:
    import pyarrow as pa

ROOM = 128 << 20  # bytes that a piece may take in memory, however small its file is
_FOOTER_BYTES, _COLUMNS = 4 << 20, 1_000  # of a piece: parsed, they take a hundred times the room
_MEMORY = "192MB"  # of the look
_NO_COLUMNS = "its columns are not those of perfdb"
_BATCH = 2_048  # rows, as many as DuckDB has in its hands
_NEEDED = {
    *("session_id", "pipeline", "mode", "series", "began_us", "start_us", "day", "step_name", "seq", "status")
}


class UnfitError(StoreError):
    """A piece is not as perfdb writes one; says why."""


def room_of(place: Place, piece: str) -> int | None:
    """Return how many bytes a piece takes in memory, 0 when it is gone; None of one that is unfit."""
    try:
        return _room(place, piece)
    except UnfitError:
        return None


def why_unfit(place: Place, piece: str) -> str | None:
    """Return why a piece is left in the inbox; None of one that is fit."""
    try:
        _room(place, piece)
    except UnfitError as error:
        return str(error)
    return None


def _room(place: Place, piece: str) -> int:
    try:
        with _unfit_if_unreadable():
            size, found = _footer(place, piece)
            columns = found.schema.to_arrow_schema()
            if found.num_columns > _COLUMNS or not _is_ours(columns):
                raise UnfitError(_NO_COLUMNS)
            filled = _filled(found)
            connection = place.once("pieces", os.getpid(), _connected)  # which takes longer than most looks
            with _local(place, piece) as path:
                return _look(connection, path, filled, allowed_room(size))
    except FileNotFoundError:
        return 0


def said_of(place: Place, piece: str) -> dict[bytes, bytes]:
    """Return what a piece says of itself beside its rows.

    Raises:
        FileNotFoundError: it is gone.
        UnfitError: it is no piece.
    """
    with _unfit_if_unreadable():
        return _footer(place, piece)[1].metadata or {}


def _footer(place: Place, piece: str) -> tuple[int, Any]:
    """Return the bytes of a piece, and what its end says of its columns."""
    import pyarrow.parquet as pq

    with place.files.open_input_file(place.own(INBOX, piece)) as file:
        size: int = file.size()
        file.seek(max(0, size - 8))
        if int.from_bytes(file.read(4), "little") > _FOOTER_BYTES:
            raise UnfitError(_NO_COLUMNS)
        file.seek(0)
        return size, pq.read_metadata(file)


@contextmanager
def _unfit_if_unreadable() -> Iterator[None]:
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (FileNotFoundError, UnfitError):
        raise
    except (OSError, StoreError, duckdb.Error, pa.ArrowException, LookupError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnfitError("it cannot be read") from None


def state_of(place: Place, piece: str) -> tuple[int, ...] | None:
    """Return what tells a piece from every other one that has had its name; None when it is gone."""
    if place.local is None:
        found = place.files.get_file_info(place.path(INBOX, piece))
        return (found.size, found.mtime_ns) if found.is_file else None
    try:
        state = os.lstat(place.path(INBOX, piece))
    except FileNotFoundError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def read_piece(place: Place, piece: str, seen: tuple[int, ...] | None) -> pa.Table | None:
    """Return the rows of a piece that is fit, without the columns that hold nothing.

    Args:
        place: of the lake.
        piece: its name.
        seen: its state before it was looked at.

    Returns:
        None when it is gone, or another one has its name by now.
    """
    if seen is None or state_of(place, piece) != seen:
        return None
    rows = _read(place, piece)
    return rows if state_of(place, piece) == seen else None


def _read(place: Place, piece: str) -> pa.Table | None:
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


def _look(connection: Any, path: Path, names: list[str], most: int) -> int:
    """Return the bytes that the columns of a file take that hold something.

    Raises:
        UnfitError: they take more, or its rows are not as ours.
    """
    import pyarrow.compute as pc

    source = f"read_parquet({text(str(path))}, hive_partitioning = false)"
    sizes = []
    for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall():
        if name in names:
            length = {"VARCHAR": "strlen", "BLOB": "octet_length"}.get(kind)
            sizes.append(f"coalesce({length}({quoted(name)}), 0) + 4" if length else "8")
    wanted = conditions(names)
    cases = " ".join(
        f"WHEN NOT coalesce({condition}, false) THEN {-1 - n}" for n, condition in enumerate(wanted.values())
    )
    room = 0
    for batch in _batches(
        connection, f"SELECT CASE {cases} ELSE ({' + '.join(sizes)})::BIGINT END FROM {source}"
    ):
        room += pc.sum(batch.column(0)).as_py() or 0
        if (least := pc.min(batch.column(0)).as_py() or 0) < 0:
            raise _wrong([*wanted][-1 - least])
        if room > most:
            raise UnfitError("it would take too much memory")
    for name, query in together(source).items():
        if connection.execute(query).fetchone() is not None:
            raise _wrong(name)
    for name, query in texts(source, names).items():
        for batch in _batches(connection, query):
            if not all(map(CHECKS[name], *batch.to_pydict().values())):
                raise _wrong(name)
    return room


def _wrong(column: str) -> UnfitError:
    return UnfitError(f"its {column} is not as perfdb writes it")


def _batches(connection: Any, query: str) -> Iterator[Any]:
    rows = connection.sql(query)
    reader = rows.to_arrow_reader if hasattr(rows, "to_arrow_reader") else rows.fetch_arrow_reader  # < 1.5
    yield from reader(_BATCH)


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
