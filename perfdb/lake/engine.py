"""Ask the files of a lake, mostly in SQL: DuckDB in this process, or the same in the tasks of a Dask cluster.

A question is cut into tasks, each of which reads some files and returns a small table. ``PERFDB_DASK`` names
the scheduler whose workers do them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from perfdb.errors import MissingExtraError, StoreError
from perfdb.lake.place import HISTORY, Place
from perfdb.lake.rows import NAMES, us_of

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY = "1GB"
_ROOM = 512 << 20  # bytes of the texts of an answer, however small the files are
TIMES = 60  # the size of its file that what is read may take: files of perfdb take 10 to 30
LONGEST_NAME = 20_000  # bytes
_CONNECT_S = 10
_LATEST = 1 << 62
_BOUNDS = ("min.start_us", "max.start_us")


class TooLargeError(StoreError):
    """What was asked for would fill the memory."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of the history."""

    path: str  # below the table
    day: date  # of its sessions
    rows: int
    size: int
    first_us: int  # start of its first step or session, and of its last
    last_us: int


Reading = Callable[[Callable[[File], Any], Sequence[File]], Any]  # of what opens files, and files


def files_of(table: Any, *, days: Collection[date] | None = None) -> list[File]:
    """Return the files of a table's version, oldest day first; only those of some days."""
    import pyarrow as pa

    known = pa.table(table.get_add_actions(flatten=True))
    wanted = ("path", "partition.day", "partition.month", "num_records", "size_bytes", *_BOUNDS)
    actions = known.select([name for name in wanted if name in known.column_names]).to_pydict()
    nothing = [None] * len(known)
    bounds = (actions.get(name, nothing) for name in _BOUNDS)
    partitions = actions.get("partition.day") or [
        date.fromisoformat(f"{month}-01") for month in actions.get("partition.month", ())
    ]  # roll-ups have months
    found = []
    for day, path, rows, size, first, last in zip(
        partitions, actions["path"], actions["num_records"], actions["size_bytes"], *bounds, strict=True
    ):
        if days is None or day in days:
            if day is None:
                raise StoreError(f"a file of the lake has no day: {path[:200]!r}")
            low, high = us_of(day) if first is None else first, _LATEST if last is None else last
            found.append(File(path, day, rows or 0, size or 0, low, high))
    return sorted(found, key=lambda file: (file.day, file.path))


def pieces(files: Sequence[File], rows: int) -> Iterator[list[File]]:
    """Yield the files in groups of so many rows."""
    piece: list[File] = []
    for file in files:
        if piece and sum(each.rows for each in piece) + file.rows > rows:
            yield piece
            piece = []
        piece.append(file)
    if piece:
        yield piece


def ask(
    place: Place,
    files: Sequence[File],
    sql: str,
    *,
    table: str = "history",
    whole: bool = False,
    where: str = "TRUE",
    tables: Mapping[str, pa.Table] | None = None,
) -> pa.Table:
    """Return what one query says of the rows ``h`` of some files.

    Args:
        place: of the lake.
        files: not none.
        sql: in DuckDB's words.
        table: whose files they are.
        whole: with all columns, also those that some files lack.
        where: which rows ``h`` has.
        tables: that the query names beside ``h``.

    Raises:
        TooLargeError: whole rows were asked for, and a text in them is repeated beyond all measure.
    """
    return run(_task(place, files, sql, table, whole, where) | {"tables": dict(tables or {})})


def ask_each(place: Place, questions: Sequence[tuple[Sequence[File], str | Reading]]) -> Iterator[Any]:
    """Yield what each of the questions says, by the cluster if there is one: tables of those in SQL."""
    tasks = [_task(place, files, sql, HISTORY, False) for files, sql in questions]
    address = os.environ.get("PERFDB_DASK", "").strip()
    if not address or not tasks:
        yield from map(run, tasks)
        return
    with _cluster(address) as client:
        from distributed import as_completed

        futures = client.map(run, tasks, pure=False)
        for future in as_completed(futures, loop=client.loop):  # type: ignore[no-untyped-call]
            yield future.result()
            future.release()


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError("PERFDB_DASK needs distributed: pip install 'perfdb[fleet]'") from None
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise StoreError(f"the cluster at PERFDB_DASK cannot be reached: {type(error).__name__}") from None
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


def _task(
    place: Place, files: Sequence[File], asked: str | Reading, table: str, whole: bool, where: str = "TRUE"
) -> dict[str, Any]:
    return {
        "place": place,
        "table": table,
        "files": list(files),
        "asked": asked,
        "whole": whole,
        "where": where,
    }


def run(task: dict[str, Any]) -> Any:
    """Do one task, here or in a worker."""
    import duckdb

    place: Place = task["place"]
    if callable(task["asked"]):
        return task["asked"](lambda file: place.files.open_input_file(_path(task, file)), task["files"])
    options: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "autoinstall_known_extensions": "false",
    }
    if _is_worker():
        options["threads"] = "1"
    with duckdb.connect(":memory:", config=options) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
        if place.local is not None:
            paths = [_path(task, file) for file in task["files"]]
            named = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            union = "true" if task["whole"] else "false"
            is_history = task["table"] == "history"  # whose days are in the paths only
            by_path = "true, hive_types = {'day': DATE}" if is_history else "false"
            how = f"hive_partitioning = {by_path}, union_by_name = {union}"
            source = f"read_parquet([{named}], {how})"
        else:
            connection.register("stored", _dataset(place, task))
            source = "stored"
        connection.execute(f"CREATE VIEW h AS SELECT * FROM {source} WHERE {task['where']}")
        for name, known in task.get("tables", {}).items():
            connection.register(name, known)
        if place.local is not None:
            _require_names(connection, task, paths)
        if task["whole"] and place.local is not None:
            _require_room(connection, task, paths, max(_ROOM, TIMES * sum(map(os.path.getsize, paths))))
        found: pa.Table = connection.sql(task["asked"]).to_arrow_table()
        return found


def _require_names(connection: Any, task: dict[str, Any], paths: Sequence[str]) -> None:
    """Refuse a file with a longer name than perfdb makes: some bytes of it may repeat one without an end."""
    place: Place = task["place"]
    looked_at = place.once(f"names of {task['table']}", None, set)  # a file of a table is never written anew
    for path in paths:
        if path in looked_at:
            continue
        lengths = [f"strlen({name})" for name in _texts(connection, path) if name in NAMES]
        query = f"SELECT coalesce(max(greatest(0, {', '.join(lengths)})), 0) FROM {_source(path)}"
        ((longest,),) = connection.execute(query).fetchall()
        if longest > LONGEST_NAME:
            raise TooLargeError(
                f"{place.shown} is not used: it holds a name of more than {LONGEST_NAME:,} bytes, which "
                "perfdb never writes"
            )
        looked_at.add(path)


def _require_room(connection: Any, task: dict[str, Any], paths: Sequence[str], most: int) -> None:
    """Refuse rows whose texts take far more room than their files: a table of Arrow has each of them anew.

    One file is looked at after the other: to put several together by the names of their columns, DuckDB
    writes out each text that a file repeats.
    """
    room = 0
    for path in paths:
        lengths = [f"coalesce(sum(strlen({quoted(name)})), 0)" for name in _texts(connection, path)]
        if lengths:
            query = f"SELECT ({' + '.join(lengths)})::BIGINT FROM {_source(path)} WHERE {task['where']}"
            room += connection.execute(query).fetchall()[0][0]
        if room > most:
            raise TooLargeError(
                f"{task['place'].shown}: the texts of what was asked take {room / 1e6:,.0f} MB of memory, "
                f"where {most / 1e6:,.0f} MB are the most: ask for less of it"
            )


def _source(path: str) -> str:
    return f"read_parquet({text(path)}, hive_partitioning = false)"


def _texts(connection: Any, path: str) -> list[str]:
    """Return the columns of a file that are texts."""
    found = connection.execute(f"DESCRIBE SELECT * FROM {_source(path)}").fetchall()
    return [name for name, kind, *_ in found if kind == "VARCHAR"]


def quoted(name: str) -> str:
    """Return a name of a column as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _path(task: dict[str, Any], file: File) -> str:
    place: Place = task["place"]
    return place.own(task["table"], file.path)


def _dataset(place: Place, task: dict[str, Any]) -> Any:
    """Return the files of an object store as pyarrow reads them: DuckDB's own reader is a download."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    from perfdb.lake import rows

    schema = rows.schema() if task["table"] == "history" else rows.rollup_schema()
    paths = [_path(task, file) for file in task["files"]]
    days = pa.schema([("day", pa.date32())] if task["table"] == "history" else [])
    partitioning = ds.partitioning(days, flavor="hive")
    return ds.dataset(
        paths,
        schema=schema,
        filesystem=place.files,
        format="parquet",
        partitioning=partitioning,
        partition_base_dir=place.path(task["table"]),
    )


def _is_worker() -> bool:
    """Tell whether this process is one of several that share the machine's cores."""
    import sys

    worker = sys.modules.get("distributed.worker")
    return worker is not None and bool(worker.Worker._instances)


def text(value: str) -> str:
    """Return a text as DuckDB reads it."""
    return "'" + value.replace("'", "''") + "'"
