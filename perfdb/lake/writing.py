"""Write rows to the history: a Parquet file of each day, and one commit that names them.

pyarrow writes in two thirds of the time that the Delta library takes; this commits. What a file holds and
where its values lie is taken from what was written.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from perfdb.lake.place import HISTORY, Place
from perfdb.lake.rows import DELTA, NAMES, SOUGHT, lean, schema

if TYPE_CHECKING:
    import pyarrow as pa

_GROUP_ROWS = 1 << 19
_LONGEST = 100  # characters of a text among the statistics


def commit(
    place: Place,
    table: Any,
    rows: pa.Table,
    *,
    reached: Mapping[str, int] | None = None,
    instead_of: date | None = None,
) -> bool:
    """Write the rows and commit them to the history, unless somebody else has committed meanwhile.

    Args:
        place: of the lake.
        table: the history as it was looked at; None: there is none yet.
        rows: of any days, those of each in order.
        reached: how far each source goes with them.
        instead_of: the day whose rows they replace.

    Returns:
        Whether it is done; False when another was faster.
    """
    import pyarrow as pa
    from deltalake import CommitProperties, Schema, Transaction
    from deltalake.exceptions import CommitFailedError, DeltaError
    from deltalake.transaction import create_table_with_add_actions

    rows = lean(rows)
    transactions = [Transaction(source, last) for source, last in (reached or {}).items()]
    properties = CommitProperties(app_transactions=transactions, max_commit_retries=0)
    if table is None:
        own = Schema.from_arrow(pa.unify_schemas([schema(), _plain(rows.schema)]))
        files = _write(place, own, rows)
        try:
            create_table_with_add_actions(
                place.table_url(HISTORY),
                own,
                files,
                partition_by=["day"],
                storage_options=place.storage_options,
                commit_properties=properties,
            )
        except (DeltaError, FileExistsError):
            if place.open(HISTORY) is None:
                raise
            return False
        return True
    try:
        _add_columns(table, rows)
        replaced = None if instead_of is None else [("day", "=", str(instead_of))]
        table.create_write_transaction(
            _write(place, table.schema(), rows),
            mode="append" if replaced is None else "overwrite",
            schema=table.schema(),
            partition_by=["day"],
            partition_filters=replaced,
            commit_properties=properties,
        )
    except CommitFailedError:
        return False
    return True


def _plain(found: pa.Schema) -> pa.Schema:
    """Return columns without dictionaries, which are of no concern to a table."""
    import pyarrow as pa

    types = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in found]
    return pa.schema(list(zip(found.names, types, strict=True)))


def _add_columns(table: Any, rows: pa.Table) -> None:
    """Add the columns that only the rows have to the table."""
    from deltalake import CommitProperties, Schema

    known = {field.name for field in table.schema().fields}
    missing = [field for field in Schema.from_arrow(_plain(rows.schema)).fields if field.name not in known]
    if missing:
        table.alter.add_columns(missing, commit_properties=CommitProperties(max_commit_retries=0))


def _write(place: Place, own: Any, rows: pa.Table) -> list[Any]:
    """Write a file of each day, and return what a commit says of them."""
    import pyarrow as pa

    types = {field.name: field.type for field in pa.schema(own.to_arrow())}
    types |= {field.name: field.type for field in rows.schema if field.name in NAMES}
    rows = rows.cast(pa.schema([(name, types[name]) for name in rows.column_names]))
    return [_write_day(place, day, some) for day, some in _by_day(rows)]


def _by_day(rows: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    import numpy as np
    import pyarrow as pa

    if len(rows) == 0:
        return
    days = rows.column("day").cast(pa.int32()).to_numpy()
    if (days[1:] < days[:-1]).any():
        order = np.argsort(days, kind="stable")
        rows, days = rows.take(pa.array(order)), days[order]
    bounds = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(rows)]
    for begin, end in pairwise(bounds):
        some = rows.slice(begin, end - begin)
        yield some.column("day")[0].as_py(), some.drop_columns(["day"])


def _write_day(place: Place, day: date, rows: pa.Table) -> Any:
    """Write a file of a day, and return what a commit says of it.

    Numbers are differences, ids share their beginnings, names are in dictionaries.
    """
    import pyarrow.parquet as pq
    from deltalake.transaction import AddAction

    names = rows.column_names
    encodings = {name: "DELTA_BINARY_PACKED" for name in names if name in DELTA}
    encodings["session_id"] = "DELTA_BYTE_ARRAY"
    file_name = f"day={day}/part-00000-{uuid.uuid4()}-c000.zstd.parquet"
    path = place.path(HISTORY, file_name)
    if place.local is not None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    found: list[Any] = []
    with place.files.open_output_stream(path) as file:
        pq.write_table(
            rows,
            file,
            row_group_size=_GROUP_ROWS,
            use_dictionary=[name for name in names if name not in encodings],
            column_encoding=encodings,
            write_statistics=[name for name in names if name in SOUGHT],
            compression="zstd",
            compression_level=1,
            store_schema=False,  # which would have other readers make dictionaries, too
            metadata_collector=found,
        )
        size = file.tell()
    return AddAction(
        path=file_name,
        size=size,
        partition_values={"day": str(day)},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps(statistics_of(found[0])),
    )


def statistics_of(metadata: Any) -> dict[str, Any]:
    """Return what Delta wants to know of a file: rows, and of columns least, most, and how many are null.

    A column of which the file does not say it is left out: nobody may leave the file out because of it.
    """
    least: dict[str, Any] = {}
    most: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    unknown: set[str] = set()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(metadata.num_columns)):
            name, known = column.path_in_schema, column.statistics
            if known is None or not known.has_null_count:
                continue
            nulls[name] = nulls.get(name, 0) + known.null_count
            if known.null_count == group.num_rows:
                continue
            if not known.has_min_max or max(len(str(known.min)), len(str(known.max))) > _LONGEST:
                unknown.add(name)
                continue
            least[name] = min(least.get(name, known.min), known.min)
            most[name] = max(most.get(name, known.max), known.max)
    for name in unknown:
        least.pop(name, None)
        most.pop(name, None)
    return {"numRecords": metadata.num_rows, "minValues": least, "maxValues": most, "nullCount": nulls}
