"""The rows of a lake: one per step, and one without a step name per session, as Arrow knows them.

Columns are named as in the database; those of sessions and steps that mean the same share one. Instants and
durations are whole microseconds. A later perfdb only adds columns, each with nothing in older rows.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from perfdb.measures import MEASURES
from perfdb.records import ENVIRONMENT
from perfdb.vocabulary import COMPLETED, FAILED, STATUSES

if TYPE_CHECKING:
    import pyarrow as pa

DAY_US = 86_400_000_000
COMPLETED_CODE, FAILED_CODE = STATUSES.index(COMPLETED), STATUSES.index(FAILED)

_DELTA = ("start_us", "duration_us", "began_us", "seq")
# What questions name is in every file; other columns are where something has them.
_ASKED = (
    *("day", "pipeline", "mode", "series", "session_id", "began_us", "step_name", "seq", "start_us"),
    *("duration_us", "status", "counted", "excluded", "data", "fast_mode", "tags", "git_branch"),
)
# By these files and rows are left out; for others statistics would cost more than they save.
_SOUGHT = ("day", "pipeline", "session_id", "began_us", "start_us")


def day_of(us: int) -> date:
    """Return the day, UTC, of an instant."""
    return date(1970, 1, 1) + timedelta(days=us // DAY_US)


def us_of(day: date) -> int:
    """Return the instant at which a day begins."""
    return (day - date(1970, 1, 1)).days * DAY_US


@cache
def schema() -> pa.Schema:
    """Return the columns of the history."""
    import pyarrow as pa

    text, whole = pa.string(), pa.int64()
    columns = {
        "day": pa.date32(),  # of the session, UTC: the partition
        "pipeline": text,
        "mode": text,
        "series": whole,  # pipeline, step name and mode as one number, which is grouped faster
        "session_id": text,
        "began_us": whole,  # of the session
        "step_name": text,  # null: the session itself
        "seq": pa.int64(),
        "start_us": whole,
        "duration_us": whole,
        "start_exact": pa.float64(),  # s, of what is no whole microsecond: foreign clocks
        "duration_exact": pa.float64(),
        "status": pa.int8(),
        "counted": pa.bool_(),
        "excluded": pa.bool_(),  # its session is tagged as not to count
        "parent_seq": whole,
        "lane": pa.int32(),
        "error_message": text,
        "data": text,  # JSON: a session's attributes, a step's additional data
        "attempts": text,
        "events": text,
        **{each.name: pa.float64() if each.unit == "s" else whole for each in MEASURES},
        "fast_mode": pa.bool_(),
        "success": pa.bool_(),
        "source": pa.int8(),
        "product_count": whole,
        "utc_offset": pa.int32(),
        "pid": whole,
        **dict.fromkeys(ENVIRONMENT, text),
        "tags": text,  # JSON, sorted
        "samples": text,  # JSON: time, cpu_percent, rss_bytes
    }
    return pa.schema(list(columns.items()))


@cache
def rollup_schema() -> pa.Schema:
    """Return the columns of the daily roll-ups."""
    import pyarrow as pa

    whole = pa.int64()
    columns = {
        "month": pa.string(),  # of the day: the partition
        "day": pa.date32(),  # the partition of the history that it sums up
        "of_files": pa.string(),  # which files that was: of others it knows nothing
        "pipeline": pa.string(),
        "step_name": pa.string(),
        "mode": pa.string(),
        "series": whole,
        "run_day": pa.int32(),  # the day of the runs: a step may begin after its session's midnight
        "rows": whole,
        "n": whole,  # that count
        "failures": whole,
        "sum_us": pa.float64(),
        "buckets": pa.list_(pa.int32()),  # logarithms of the durations, in steps of 1 %
        "counts": pa.list_(pa.int64()),
    }
    return pa.schema(list(columns.items()))


@lru_cache(maxsize=100_000)
def series_of(pipeline: str, step_name: str | None, mode: str) -> int:
    """Return the number that stands for a series, the same everywhere."""
    named = json.dumps([pipeline, step_name, mode]).encode()
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), signed=True)


def written(rows: pa.Table) -> dict[str, Any]:
    """Return what ``write_deltalake`` is told of rows: columns that hold something, and how they are written.

    Numbers are differences, ids share their beginnings, names are in dictionaries.
    """
    from deltalake import ColumnProperties, WriterProperties

    rows = lean(rows)
    of = {}
    for name in rows.column_names:
        is_number = name in _DELTA
        of[name] = ColumnProperties(
            dictionary_enabled=not is_number,
            statistics_enabled="CHUNK" if name in _SOUGHT else "NONE",
            encoding="DELTA_BINARY_PACKED" if is_number else None,
        )
    of["session_id"] = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BYTE_ARRAY")
    properties = WriterProperties(
        compression="ZSTD", compression_level=1, max_row_group_size=1 << 19, column_properties=of
    )
    return {"data": rows, "writer_properties": properties, "schema_mode": "merge"}


def conformed(table: pa.Table) -> pa.Table:
    """Return a table with every column of ours, in our types, and further ones as they are."""
    import pyarrow as pa

    wanted = schema()
    for field in wanted:
        place = table.schema.get_field_index(field.name)
        if place < 0:
            table = table.append_column(field, pa.nulls(len(table), field.type))
        elif table.schema.field(place).type != field.type:
            table = table.set_column(place, field, table.column(place).cast(field.type))
    further = [name for name in table.column_names if name not in wanted.names]
    return table.select([*wanted.names, *further])


def lean(table: pa.Table) -> pa.Table:
    """Return a table in our types, without the columns that hold nothing, but for those that are asked for.

    Most columns hold nothing in most pieces, and would cost more than all others.
    """
    import pyarrow as pa

    wanted = {field.name: field.type for field in schema()}
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in _ASKED or column.null_count < len(table):
            columns[name] = column.cast(wanted[name]) if name in wanted else column
    for name in _ASKED:
        if name not in columns:
            columns[name] = pa.nulls(len(table), wanted[name])
    return pa.table({name: columns[name] for name in [*wanted, *columns] if name in columns})


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows sorted by pipeline and by start of their session, each session's in its own order.

    Numbers are sorted, and texts only where there are few: that takes a third of the time.
    """
    import numpy as np
    import pyarrow as pa

    pipelines = table.column("pipeline").combine_chunks().dictionary_encode()
    if isinstance(pipelines, pa.ChunkedArray):
        pipelines = pipelines.combine_chunks()
    rank = np.argsort(np.argsort(np.array(pipelines.dictionary.to_pylist(), dtype=object)))
    keys = (
        table.column("seq").fill_null(-(1 << 62)).to_numpy(),
        table.column("began_us").to_numpy(),
        rank[pipelines.indices.to_numpy(zero_copy_only=False)] if len(table) else np.array([], dtype="int64"),
    )
    return lean(table).take(pa.array(np.lexsort(keys)))
