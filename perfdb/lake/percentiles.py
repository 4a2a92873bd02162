"""Exact percentiles of the runs in some files, in numpy: half of what a database's quantiles cost.

Rows are read some at a time, put together by series and period, and only then sorted. A process holds 4 bytes
of each run that counts, or 8 of what lasts longer than an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfdb.errors import StoreError
from perfdb.lake.rows import DAY_US, FAILED_CODE

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


_ROWS = 1 << 18  # read at once: what is sorted by series then fits into a processor's cache
_MOST = 1 << 28  # rows of a task: a gibibyte
_READ_AHEAD = {"batch_readahead": 2, "fragment_readahead": 4}

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
        most: rows that the log says; of more the memory is not filled.
    """

    shares: tuple[float, ...]
    by: str
    own_days: bool
    within: tuple[int, int] | None
    pipeline: str | None
    step: str | None
    fails: bool
    most: int

    def __call__(self, stored: Any, threads: bool) -> list[tuple[Any, ...]]:
        """Return series, first day, n, failures, mean and percentiles (s) of each that has runs or failures.

        Args:
            stored: pyarrow's dataset.
            threads: read with several.

        Raises:
            StoreError: there are more rows.
        """
        found: dict[Name, list[np.ndarray]] = {}
        failures: dict[Name, int] = {}
        needed = ["series", "duration_us", "counted"]
        needed += [] if self.by == "all" else ["day" if self.own_days else "start_us"]
        needed += ["status", "excluded", "seq"] if self.fails else []
        batches = stored.to_batches(
            columns=needed, filter=self._filter(), batch_size=_ROWS, use_threads=threads, **_READ_AHEAD
        )
        rest = min(self.most, _MOST)
        for batch in batches:
            rest -= len(batch)
            if rest < 0:
                raise StoreError(
                    "the lake cannot be read: its files hold more rows than its log says or a process may"
                )
            for period, rows in self._periods(batch):
                _add(found, period, rows, _counted(rows))
                if self.fails:
                    failed: dict[Name, list[np.ndarray]] = {}
                    _add(failed, period, rows, _failed(rows))
                    for name, parts in failed.items():
                        failures[name] = failures.get(name, 0) + sum(map(len, parts))
        return self._summed(found, failures)

    def _filter(self) -> Any:
        import pyarrow.dataset as ds

        chosen = []
        if self.within is not None:
            chosen += [ds.field("start_us") >= self.within[0], ds.field("start_us") < self.within[1]]
        if self.pipeline is not None:
            chosen.append(ds.field("pipeline") == self.pipeline)
        if self.step is not None:
            chosen.append(ds.field("step_name") == self.step)
        found = None
        for each in chosen:
            found = each if found is None else found & each
        return found

    def _periods(self, batch: pa.RecordBatch) -> list[tuple[int | None, pa.RecordBatch]]:
        """Return the rows of each period, by its first day; nearly always of one."""
        import numpy as np
        import pyarrow as pa

        if len(batch) == 0:
            return []
        if self.by == "all":
            return [(None, batch)]
        if self.own_days:
            days = batch.column("day").cast(pa.int32()).to_numpy()
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


def _add(
    found: dict[Name, list[np.ndarray]], period: int | None, rows: pa.RecordBatch, chosen: np.ndarray
) -> None:
    """Put the durations of the chosen rows to those of their series."""
    import numpy as np

    known = rows.column("series").dictionary_encode()
    codes = known.indices.to_numpy()[chosen]
    if len(known.dictionary) < 1 << 16:
        codes = codes.astype("uint16")  # which numpy sorts without comparing
    durations = rows.column("duration_us").fill_null(0).to_numpy()[chosen]
    if len(durations) == 0:
        return
    if durations.min() >= 0 and durations.max() < 1 << 32:  # up to 71 minutes: sorted in half of the time
        durations = durations.astype("uint32")
    ordered = durations[np.argsort(codes, kind="stable")]
    begin = 0
    ends = np.cumsum(np.bincount(codes, minlength=len(known.dictionary))).tolist()
    for series, end in zip(known.dictionary.to_pylist(), ends, strict=True):
        if end > begin:
            found.setdefault((series, period), []).append(ordered[begin:end])
        begin = end


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
