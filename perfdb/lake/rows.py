"""The rows of a lake: one per step, and one without a step name per session, as Arrow knows them.

Columns are named as in the database; those of sessions and steps that mean the same share one. Instants and
durations are whole microseconds. A later perfdb only adds columns, each with nothing in older rows.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from perfdb.measures import MEASURES
from perfdb.records import ENVIRONMENT
from perfdb.vocabulary import COMPLETED, FAILED, STATUSES

if TYPE_CHECKING:
    import pyarrow as pa

DAY_US = 86_400_000_000
COMPLETED_CODE, FAILED_CODE = STATUSES.index(COMPLETED), STATUSES.index(FAILED)

DELTA = ("start_us", "duration_us", "began_us", "seq")
# What questions name is in every file; other columns are where something has them.
_ASKED = (
    *("day", "pipeline", "mode", "series", "session_id", "began_us", "step_name", "seq", "start_us"),
    *("duration_us", "status", "counted", "excluded", "data", "fast_mode", "tags", "git_branch"),
)
NAMES = ("pipeline", "mode", "step_name")  # few, in many rows
# By these files and rows are left out; for others statistics would cost more than they save.
SOUGHT = ("day", "pipeline", "session_id", "began_us", "start_us")


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


def few() -> pa.DataType:
    """Return the type of the names, which are few in many rows."""
    import pyarrow as pa

    return pa.dictionary(pa.int32(), pa.string())


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

    Most columns hold nothing in most pieces, and would cost more than all others. Names are in dictionaries.
    """
    import pyarrow as pa

    wanted = {field.name: field.type for field in schema()}
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in _ASKED or column.null_count < len(table):
            if name in wanted and (name not in NAMES or column.type != few()):
                column = column.cast(wanted[name])
            columns[name] = column.dictionary_encode() if name in NAMES else column
    for name in _ASKED:
        if name not in columns:
            columns[name] = pa.nulls(len(table), few() if name in NAMES else wanted[name])
    return pa.table({name: columns[name] for name in [*wanted, *columns] if name in columns})


def in_order(table: pa.Table) -> pa.Table:
    """Return the rows sorted by day, pipeline and start of their session, each session's in its own order.

    Numbers are sorted, and texts only where there are few: that takes a third of the time.
    """
    import numpy as np
    import pyarrow as pa

    table = lean(table).unify_dictionaries().combine_chunks()
    if len(table) == 0:
        return table
    pipelines = table.column("pipeline").chunk(0)
    rank = np.argsort(np.argsort(np.array([*pipelines.dictionary.to_pylist(), ""], dtype=object)))
    keys = (
        table.column("seq").fill_null(-(1 << 62)).to_numpy(),
        table.column("began_us").to_numpy(),
        rank[pipelines.indices.fill_null(len(rank) - 1).to_numpy()],
        table.column("day").cast(pa.int32()).to_numpy(),
    )
    return table.take(pa.array(np.lexsort(keys)))
