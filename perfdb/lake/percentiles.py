"""Exact percentiles of the runs in some files, in numpy: half of what a database's quantiles cost.

Rows are read some at a time, put together by series and period, and only then sorted. A process holds 4 bytes
of each run that counts, or 8 of what lasts longer than an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
        for file, batch in _ahead(lambda file: self._read(opened, file), files):
            for period, rows in self._periods(file, batch):
                for series, durations in _by_series(rows, _counted(rows)):
                    found.setdefault((series, period), []).append(durations)
                if self.fails:
                    for series, durations in _by_series(rows, _failed(rows)):
                        failures[series, period] = failures.get((series, period), 0) + len(durations)
        return self._summed(found, failures)

    def _read(self, opened: Callable[[File], Any], file: File) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file that are asked for."""
        import pyarrow.compute as pc

        needed = [] if self.own_days and self.within is None else ["start_us"]
        needed += ["status", "excluded", "seq"] if self.fails else []
        sought = {"pipeline": self.pipeline, "step_name": self.step}
        sought = {name: value for name, value in sought.items() if value is not None}
        for rows in _rows(opened, file, [*needed, *sought], self.pipeline):
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


@dataclass(frozen=True, slots=True)
class Between:
    """The runs of some series that took no less and no longer than some bounds; called, it finds them.

    Args:
        bounds: of each series, pairs of µs.
        pipeline: of all these series.
    """

    bounds: Mapping[int, Sequence[tuple[int, int]]]
    pipeline: str | None

    def __call__(
        self, opened: Callable[[File], Any], files: Sequence[File]
    ) -> dict[tuple[int, int, int], tuple[int, np.ndarray]]:
        """Return of each series and pair how many runs were shorter, and the µs of those between, sorted.

        Args:
            opened: gives a file to read from.
            files: whose runs these are.

        Raises:
            StoreError: there are more rows than the log says.
        """
        import numpy as np

        edges = {
            series: np.array([[low, high + 1] for low, high in pairs]).ravel()
            for series, pairs in self.bounds.items()
        }
        shorter = {(series, *pair): 0 for series, pairs in self.bounds.items() for pair in pairs}
        found: dict[tuple[int, int, int], list[np.ndarray]] = {name: [] for name in shorter}
        for _, rows in _ahead(lambda file: _rows(opened, file, [], self.pipeline), files):
            for series, durations in _by_series(rows, _counted(rows)):
                if series in edges:
                    durations.sort()
                    kind = np.iinfo(durations.dtype)
                    sought = edges[series].clip(kind.min, kind.max).astype(durations.dtype)
                    places = np.searchsorted(durations, sought).tolist()
                    for pair, begin, end in zip(self.bounds[series], places[::2], places[1::2], strict=True):
                        shorter[series, *pair] += begin
                        if begin < end:
                            found[series, *pair].append(durations[begin:end].copy())
        nothing = np.empty(0, "int64")
        return {
            name: (shorter[name], np.sort(np.concatenate(parts)) if parts else nothing)
            for name, parts in found.items()
        }


def _ahead(
    read: Callable[[File], Iterator[pa.RecordBatch]], files: Sequence[File]
) -> Iterator[tuple[File, pa.RecordBatch]]:
    """Yield what is read of each file, while the next ones are read."""

    def begun(file: File) -> Iterable[pa.RecordBatch]:
        return list(read(file)) if file.rows <= _AHEAD_ROWS else read(file)

    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[tuple[File, Future[Iterable[pa.RecordBatch]]]] = deque()
        for file in files:
            waiting.append((file, pool.submit(begun, file)))
            if len(waiting) >= _AHEAD:
                yield from _each(*waiting.popleft())
        while waiting:
            yield from _each(*waiting.popleft())


def _each(file: File, batches: Future[Iterable[pa.RecordBatch]]) -> Iterator[tuple[File, pa.RecordBatch]]:
    for batch in batches.result():
        yield file, batch


def _rows(
    opened: Callable[[File], Any], file: File, further: Sequence[str], pipeline: str | None
) -> Iterator[pa.RecordBatch]:
    """Yield the series and durations of a file, further columns, and which count; others' may be left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {field.name: field.type for field in schema()}
    with opened(file) as source:
        stored = pq.ParquetFile(source, pre_buffer=True)
        if stored.metadata.num_rows > file.rows:
            raise StoreError("the lake cannot be read: its files hold more rows than its log says")
        groups = [
            number
            for number in range(stored.metadata.num_row_groups)
            if pipeline is None or _may_have(stored.metadata.row_group(number), pipeline)
        ]
        columns = ["series", "duration_us", "counted", *further]
        for batch in stored.iter_batches(_ROWS, row_groups=groups, columns=columns, use_threads=False):
            yield pa.record_batch({name: batch.column(name).cast(types[name]) for name in batch.schema.names})


def _may_have(group: Any, pipeline: str) -> bool:
    """Tell whether rows of a pipeline may be in a row group, by what it says of itself."""
    for column in map(group.column, range(group.num_columns)):
        if column.path_in_schema == "pipeline" and (known := column.statistics) and known.has_min_max:
            return bool(str(known.min) <= pipeline <= str(known.max))
    return True


def _by_series(rows: pa.RecordBatch, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each series of the chosen rows, and its durations (µs)."""
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
    if len(durations) and durations.min() >= 0 and durations.max() < (1 << 32) - 1:
        durations = durations.astype("uint32")  # up to 71 minutes: sorted in half of the time
    ordered = durations[np.argsort(codes, kind="stable")]
    begin = 0
    for series, count in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=False):
        if count:
            yield series, ordered[begin : begin + count]
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
