"""Exact percentiles of the runs in some files, in numpy: half of what a database's quantiles cost.

Rows are read some at a time, put together by series and period, and only then sorted. A process holds 4 bytes
of each run that counts, or 8 of what lasts longer than an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.rows import DAY_US, FAILED_CODE, schema, us_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from perfdb.lake.engine import File


_ROWS = 1 << 18  # read at once: what is sorted by series then fits into a processor's cache
_MOST = 1 << 28  # rows of a task: a gibibyte
_AHEAD, _AHEAD_ROWS = 3, 1 << 20  # files that are read meanwhile, if they are not larger

Name = tuple[int, int | None]  # series and first day of the period


@dataclass(frozen=True, slots=True)
class Runs:
    """Which runs a task is about; called, it does the task.

    Args:
        shares: the percentiles.
        by: ``all``, ``day`` or ``week``.
        own_days: no run began on another day than its session.
        within: the first µs and that after the last; None: all.
        pipeline: only this one.
        step: only this one.
        fails: count the failures, too.
    """

    shares: tuple[float, ...]
    by: str
    own_days: bool
    within: tuple[int, int] | None
    pipeline: str | None
    step: str | None
    fails: bool

    def __call__(self, opened: Callable[[File], Any], files: Sequence[File]) -> list[tuple[Any, ...]]:
        """Return series, first day, n, failures, mean and percentiles (s) of each that has runs or failures.

        Args:
            opened: gives a file to read from.
            files: whose runs these are.

        Raises:
            StoreError: there are more rows than the log says.
        """
        found: dict[Name, list[np.ndarray]] = {}
        failures: dict[Name, int] = {}
        if sum(file.rows for file in files) > _MOST:
            raise StoreError(f"the lake cannot be read: more than {_MOST:,} rows of one period are asked for")

        def read(file: File) -> Iterable[pa.RecordBatch]:
            batches = self._read(opened, file)
            return list(batches) if file.rows <= _AHEAD_ROWS else batches

        for file, batches in _ahead(read, files):
            for batch in batches:
                for period, rows in self._periods(file, batch):
                    _add(found, period, rows, _counted(rows))
                    if self.fails:
                        failed: dict[Name, list[np.ndarray]] = {}
                        _add(failed, period, rows, _failed(rows))
                        for name, parts in failed.items():
                            failures[name] = failures.get(name, 0) + sum(map(len, parts))
        return self._summed(found, failures)

    def _read(self, opened: Callable[[File], Any], file: File) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file that are asked for."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        types = {field.name: field.type for field in schema()}
        needed = ["series", "duration_us", "counted"]
        needed += [] if self.own_days and self.within is None else ["start_us"]
        needed += ["status", "excluded", "seq"] if self.fails else []
        sought = {"pipeline": self.pipeline, "step_name": self.step}
        sought = {name: value for name, value in sought.items() if value is not None}
        with opened(file) as source:
            stored = pq.ParquetFile(source, pre_buffer=True)
            if stored.metadata.num_rows > file.rows:
                raise StoreError("the lake cannot be read: its files hold more rows than its log says")
            groups = [
                number
                for number in range(stored.metadata.num_row_groups)
                if self.pipeline is None or _may_have(stored.metadata.row_group(number), self.pipeline)
            ]
            for batch in stored.iter_batches(
                _ROWS, row_groups=groups, columns=[*needed, *sought], use_threads=False
            ):
                rows = pa.record_batch(
                    {name: batch.column(name).cast(types[name]) for name in batch.schema.names}
                )
                chosen = [pc.equal(rows.column(name), value) for name, value in sought.items()]
                if self.within is not None:
                    start = rows.column("start_us")
                    chosen += [pc.greater_equal(start, self.within[0]), pc.less(start, self.within[1])]
                yield rows.filter(reduce(pc.and_, chosen)) if chosen else rows

    def _periods(self, file: File, batch: pa.RecordBatch) -> list[tuple[int | None, pa.RecordBatch]]:
        """Return the rows of each period, by its first day; nearly always of one."""
        import numpy as np
        import pyarrow as pa

        if len(batch) == 0:
            return []
        if self.by == "all":
            return [(None, batch)]
        if self.own_days:
            days = np.array([us_of(file.day) // DAY_US])
        else:
            days = batch.column("start_us").to_numpy() // DAY_US
        if self.by == "week":
            days = days - (days + 3) % 7
        if days.min() == days.max():
            return [(int(days[0]), batch)]
        return [(int(day), batch.filter(pa.array(days == day))) for day in np.unique(days)]

    def _summed(
        self, found: dict[Name, list[np.ndarray]], failures: dict[Name, int]
    ) -> list[tuple[Any, ...]]:
        import numpy as np

        none = [None] * len(self.shares)
        rows: list[tuple[Any, ...]] = [
            (*name, 0, number, None, none) for name, number in failures.items() if name not in found
        ]
        if not found:
            return rows
        n = np.array([sum(map(len, parts)) for parts in found.values()])
        ends = np.cumsum(n)
        begins = ends - n
        values = np.concatenate([part for parts in found.values() for part in parts])
        names = list(found)
        found.clear()  # which is as large
        low, high = int(values.min()), int(values.max())
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            values[begin:end].sort()
        is_whole = max(-low, high) * len(values) < 1 << 62
        means = np.add.reduceat(values, begins, dtype="int64" if is_whole else "float64") / n / 1e6
        columns = []
        for share in self.shares:
            rank = (n - 1) * share
            below = rank.astype("int64")
            first = values[begins + below].astype("float64")
            after = values[begins + np.minimum(below + 1, n - 1)].astype("float64")
            columns.append(((first + (after - first) * (rank - below)) / 1e6).tolist())
        each = zip(names, n.tolist(), means.tolist(), zip(*columns, strict=True), strict=True)
        return rows + [
            (*name, number, failures.get(name, 0), mean, list(parts)) for name, number, mean, parts in each
        ]


def _ahead(
    read: Callable[[File], Iterable[pa.RecordBatch]], files: Sequence[File]
) -> Iterator[tuple[File, Iterable[pa.RecordBatch]]]:
    """Yield what is read of each file, while the next ones are read."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[tuple[File, Future[Iterable[pa.RecordBatch]]]] = deque()
        for file in files:
            waiting.append((file, pool.submit(read, file)))
            if len(waiting) >= _AHEAD:
                first, done = waiting.popleft()
                yield first, done.result()
        for last, done in waiting:
            yield last, done.result()


def _may_have(group: Any, pipeline: str) -> bool:
    """Tell whether rows of a pipeline may be in a row group, by what it says of itself."""
    for column in map(group.column, range(group.num_columns)):
        if column.path_in_schema == "pipeline" and (known := column.statistics) and known.has_min_max:
            return bool(str(known.min) <= pipeline <= str(known.max))
    return True


def _add(
    found: dict[Name, list[np.ndarray]], period: int | None, rows: pa.RecordBatch, chosen: np.ndarray
) -> None:
    """Put the durations of the chosen rows to those of their series."""
    import numpy as np

    known = rows.column("series").dictionary_encode()
    names = known.dictionary.to_pylist()
    codes = known.indices.to_numpy()
    if len(names) < (1 << 16) - 1:  # sorted without comparing
        codes = codes.astype("uint16")
    else:
        codes = codes.copy()
    codes[~chosen] = len(names)  # which comes last
    durations = rows.column("duration_us").fill_null(0).to_numpy()
    if durations.min() >= 0 and durations.max() < 1 << 32:  # up to 71 minutes: sorted in half of the time
        durations = durations.astype("uint32")
    ordered = durations[np.argsort(codes, kind="stable")]
    begin = 0
    for series, count in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=False):
        if count:
            found.setdefault((series, period), []).append(ordered[begin : begin + count])
            begin += count


def _counted(rows: pa.RecordBatch) -> np.ndarray:
    """Tell which rows count in their series: ``rollups.COUNTS``."""
    import pyarrow.compute as pc

    found = pc.and_(rows.column("counted"), rows.column("duration_us").is_valid())
    chosen: np.ndarray = found.fill_null(False).to_numpy(zero_copy_only=False)
    return chosen


def _failed(rows: pa.RecordBatch) -> np.ndarray:
    """Tell which rows failed: ``rollups.FAILED``."""
    import pyarrow.compute as pc

    has_run = pc.or_(rows.column("seq").is_valid(), rows.column("duration_us").is_valid())
    is_failure = pc.and_(pc.equal(rows.column("status"), FAILED_CODE), pc.invert(rows.column("excluded")))
    chosen: np.ndarray = pc.and_(has_run, is_failure).fill_null(False).to_numpy(zero_copy_only=False)
    return chosen
