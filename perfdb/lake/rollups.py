"""Daily roll-ups of a lake: counts, sums and logarithmic buckets per series and day.

Those of a day say which files they sum up, and are used as long as these are the day's files; where retention
dropped the files they stay. A percentile of buckets of 1 % is within 0.5 % of the exact one.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from perfdb.analysis.series import SeriesName, neighbours
from perfdb.lake import engine
from perfdb.lake.engine import File
from perfdb.lake.place import HISTORY, ROLLUPS, Place
from perfdb.lake.rows import DAY_US, FAILED_CODE, rollup_schema, us_of

if TYPE_CHECKING:
    import pyarrow as pa

GAMMA = 1.01
WITHIN_PERCENT = 0.5
_ROWS_OF_A_TASK = 8_000_000
_ROWS_AT_ONCE = 15_000  # of the roll-ups themselves

# What counts in a series, and what failed in it: as store/statistics.py has it.
# Only sessions have no seq, and what is counted has completed.
COUNTS = "(counted AND duration_us IS NOT NULL)"
FAILED = f"(status = {FAILED_CODE} AND NOT excluded AND (seq IS NOT NULL OR duration_us IS NOT NULL))"
BUCKET = f"CASE WHEN duration_us < 1 THEN -1 ELSE ceil(ln(duration_us) / {math.log(GAMMA)!r})::INTEGER END"


@lru_cache(maxsize=10_000)
def value_of(bucket: int) -> float:
    """Return the seconds that stand for a bucket."""
    return 0.0 if bucket < 0 else 2 * GAMMA**bucket / (GAMMA + 1) / 1e6


def digest_of(files: Iterable[File]) -> str:
    """Return what stands for the files of a day."""
    return hashlib.sha256("\n".join(sorted(file.path for file in files)).encode()).hexdigest()[:24]


def by_day(files: Iterable[File]) -> dict[date, list[File]]:
    """Return the files of each day."""
    found: dict[date, list[File]] = {}
    for file in files:
        found.setdefault(file.day, []).append(file)
    return found


def keep_to_their_days(files: Iterable[File]) -> bool:
    """Tell whether no run in these files began on another day than its session, after midnight."""
    return all(file.first_us >= (day := us_of(file.day)) and file.last_us < day + DAY_US for file in files)


def run_day_of(files: Iterable[File]) -> str:
    """Return SQL for the day of a run in these files: where it is that of its session, that costs less."""
    own_day = "(day - DATE '1970-01-01')::INTEGER"
    return own_day if keep_to_their_days(files) else f"(start_us // {DAY_US})::INTEGER"


@dataclass(frozen=True, slots=True)
class Summed:
    """The roll-ups that are true: files, and which of their rows."""

    files: tuple[File, ...] = ()
    where: str = "TRUE"

    def ask(self, place: Place, sql: str) -> pa.Table:
        """Return what a query says of them."""
        return engine.ask(place, self.files, sql, table=ROLLUPS, where=self.where)

    def pieces(self) -> Iterator[Summed]:
        """Yield some of them at a time: an answer with their buckets would take much room."""
        for some in engine.pieces(self.files, _ROWS_AT_ONCE):
            yield Summed(tuple(some), self.where)


def current(place: Place, files: Iterable[File]) -> tuple[Summed, set[date], list[File]]:
    """Return the roll-ups that are true, the days that they answer for, and other days' files."""
    table = place.open(ROLLUPS)
    days = by_day(files)
    if table is None:
        return Summed(), set(), [file for of_day in days.values() for file in of_day]
    own = tuple(engine.files_of(table))
    known = place.once("digests", table.version(), lambda: _digests(place, own))
    stale = [day for day, digest in known.items() if day in days and digest_of(days[day]) != digest]
    answered = set(known).difference(stale)
    rest = [file for day, of_day in days.items() if day not in answered for file in of_day]
    where = f"day NOT IN ({', '.join(f'DATE {str(day)!r}' for day in stale)})" if stale else "TRUE"
    return Summed(own, where) if answered else Summed(), answered, rest


def _digests(place: Place, own: Sequence[File]) -> dict[date, str]:
    if not own:
        return {}
    found = engine.ask(place, own, "SELECT DISTINCT day, of_files FROM h", table=ROLLUPS)
    return dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))


def bring_up_to_date(place: Place) -> int:
    """Sum up the days whose files changed; return how many. Another sealer may do the same."""
    import pyarrow as pa
    from deltalake import write_deltalake
    from deltalake.exceptions import CommitFailedError, DeltaError

    history = place.open(HISTORY)
    if history is None:
        return 0
    days = by_day(engine.files_of(history))
    table = place.open(ROLLUPS)
    known = _digests(place, engine.files_of(table)) if table is not None else {}
    stale = [(day, files) for day, files in days.items() if known.get(day) != digest_of(files)]
    if not stale:
        return 0
    made = []
    with place.in_words("summed up"):
        for chunk in _chunks(stale):
            files = [file for _, of_day in chunk for file in of_day]
            for part in engine.ask_each(place, [(files, sums_sql(files))]):
                digests = {day: digest_of(of_day) for day, of_day in chunk}
                column = [digests[day] for day in part.column("day").to_pylist()]
                months = [f"{day:%Y-%m}" for day in part.column("day").to_pylist()]
                part = part.append_column("of_files", pa.array(column, pa.string()))
                made.append(part.append_column("month", pa.array(months, pa.string())))
        rows = pa.concat_tables(made).select(rollup_schema().names).cast(rollup_schema())
        parts = ", ".join(sorted({f"'{day:%Y-%m}'" for day, _ in stale}))
        names = ", ".join(f"'{day}'" for day, _ in stale)
        try:
            if table is None:
                write_deltalake(
                    place.table_url(ROLLUPS),
                    rows,
                    partition_by=["month"],
                    storage_options=place.storage_options,
                )
            else:
                write_deltalake(
                    table, rows, mode="overwrite", predicate=f"month IN ({parts}) AND day IN ({names})"
                )
        except CommitFailedError:
            return 0
        except DeltaError:
            if place.open(ROLLUPS) is None:
                raise
            return 0
    return len(stale)


def _chunks(days: Sequence[tuple[date, list[File]]]) -> Iterable[list[tuple[date, list[File]]]]:
    chunk: list[tuple[date, list[File]]] = []
    rows = 0
    for day, files in days:
        more = sum(file.rows for file in files)
        if chunk and rows + more > _ROWS_OF_A_TASK:
            yield chunk
            chunk, rows = [], 0
        chunk.append((day, files))
        rows += more
    if chunk:
        yield chunk


def sums_sql(files: Sequence[File]) -> str:
    """Return the query for the roll-ups of some days, of which these are the files, without ``of_files``."""
    return f"""
        WITH names AS (SELECT DISTINCT series, pipeline, step_name, mode FROM h),
        b AS (
            SELECT day, series, {run_day_of(files)} AS run_day,
                CASE WHEN {COUNTS} THEN {BUCKET} END AS bucket, count(*) AS rows,
                count(*) FILTER ({FAILED}) AS failures, sum(duration_us) FILTER ({COUNTS}) AS sum_us
            FROM h GROUP BY ALL)
        SELECT day, pipeline, step_name, mode, series, run_day, sum(rows)::BIGINT AS rows,
            coalesce(sum(rows) FILTER (bucket IS NOT NULL), 0)::BIGINT AS n,
            sum(failures)::BIGINT AS failures, coalesce(sum(sum_us), 0)::DOUBLE AS sum_us,
            list(bucket ORDER BY bucket) FILTER (bucket IS NOT NULL) AS buckets,
            list(rows ORDER BY bucket) FILTER (bucket IS NOT NULL) AS counts
        FROM b JOIN names USING (series)
        GROUP BY day, pipeline, step_name, mode, series, run_day ORDER BY day, pipeline, step_name, run_day"""


def where_of(pipeline: str | None, step: str | None) -> str:
    """Return the condition that chooses series."""
    chosen = ["TRUE"]
    if pipeline is not None:
        chosen.append(f"pipeline = {engine.text(pipeline)}")
    if step is not None:
        chosen.append(f"step_name = {engine.text(step)}")
    return " AND ".join(chosen)


def period_of(by: str, day: str) -> str:
    """Return SQL for the first day of the period that a day is in."""
    return {"all": "NULL::INTEGER", "day": day, "week": f"({day} - (({day} + 3) % 7 + 7) % 7)"}[by]


Key = tuple[str, str | None, str, int | None]
Counted = tuple[
    Key, int, int, float, Sequence[int], Sequence[int]
]  # n, failures, µs, buckets and their counts


def read_buckets(
    place: Place, own: Summed, *, by: str, pipeline: str | None, step: str | None
) -> list[Counted]:
    """Return (series and period, n, failures, sum in µs, buckets, their counts) of the roll-ups."""
    if not own.files:
        return []
    sql = f"""
        SELECT pipeline, step_name, mode, {period_of(by, "run_day")} AS period, n, failures, sum_us, buckets,
            counts FROM h WHERE {where_of(pipeline, step)} AND (n > 0 OR failures > 0)"""
    tables = (some.ask(place, sql) for some in own.pieces())
    # a day of runs is rarely in two partitions: nothing has to be taken apart
    return [row for table in tables for row in _listed(table)] if by == "day" else _added(tables)


def _listed(found: pa.Table) -> Iterator[Counted]:
    *columns, buckets, counts = (found.column(name) for name in found.column_names)
    rows = zip(*(column.to_pylist() for column in columns), _lists(buckets), _lists(counts), strict=True)
    for pipeline, step, mode, period, n, failures, total, own, numbers in rows:
        yield (pipeline, step, mode, period), n, failures, total, own, numbers


def _added(tables: Iterable[pa.Table]) -> list[Counted]:
    """Add up the rows of each series and period."""
    import numpy as np

    summed: dict[Key, tuple[int, int, float]] = {}
    by_bucket: dict[Key, np.ndarray] = {}
    for table in tables:
        same: dict[Key, list[Counted]] = {}
        for row in _listed(table):
            same.setdefault(row[0], []).append(row)
        for key, parts in same.items():
            _, n, failures, total, buckets, counts = zip(*parts, strict=True)
            known = summed.get(key, (0, 0, 0.0))
            summed[key] = known[0] + sum(n), known[1] + sum(failures), known[2] + sum(total)
            more = np.bincount(np.concatenate(buckets) + 1, np.concatenate(counts))  # the first is -1
            before = by_bucket.get(key, more[:0])
            longer, shorter = (more, before) if len(more) >= len(before) else (before, more)
            longer[: len(shorter)] += shorter
            by_bucket[key] = longer
    made: list[Any] = []
    for key, found in by_bucket.items():
        places = found.nonzero()[0]
        made.append((key, *summed[key], places - 1, found[places].astype("int64")))
    return made


def _lists(column: pa.ChunkedArray) -> Iterator[Sequence[int]]:
    """Yield the lists of a column as views of one array: as Python's they would take ten times the room."""
    for chunk in column.chunks:
        lengths = chunk.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        values, end = chunk.flatten().to_numpy(), 0
        for length in lengths:
            yield values[end : (end := end + length)]


def quantile_of(buckets: Sequence[int], upto: Sequence[int], n: int, share: float) -> float:
    """Return a percentile in s, within 0.5 %; ``upto``: how many runs are in a bucket and those before it."""
    low, part = neighbours(n, share)
    first = value_of(int(buckets[bisect_right(upto, low)]))
    second = value_of(int(buckets[bisect_right(upto, min(low + 1, n - 1))]))
    return first + (second - first) * part


def names_of(place: Place, own: Summed, rest: Sequence[File]) -> dict[int, SeriesName]:
    """Return the name of each series."""
    found: dict[int, SeriesName] = {}
    sql = "SELECT DISTINCT series, pipeline, step_name, mode FROM h"
    parts = [own.ask(place, sql)] if own.files else []
    parts += [engine.ask(place, rest, sql)] if rest else []
    for part in parts:
        for series, *names in zip(*(part.column(n).to_pylist() for n in range(4)), strict=True):
            found[series] = SeriesName(*names)
    return found


def read_failures(
    place: Place, own: Summed, *, by: str, pipeline: str | None, step: str | None
) -> dict[tuple[int, int | None], int]:
    """Return how many runs of each series and period failed, by the roll-ups."""
    if not own.files:
        return {}
    sql = f"""
        SELECT series, {period_of(by, "run_day")} AS period, sum(failures)::BIGINT AS failures FROM h
        WHERE {where_of(pipeline, step)} GROUP BY ALL HAVING sum(failures) > 0"""
    found = own.ask(place, sql)
    columns = [found.column(n).to_pylist() for n in range(3)]
    return {(series, period): failures for series, period, failures in zip(*columns, strict=True)}
