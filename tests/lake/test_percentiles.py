"""Exact percentiles of a lake's files are those of a plain sort, whatever the rows are."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perfdb.analysis.series import PERCENTILES, SeriesName, Statistics, monday
from perfdb.errors import StoreError
from perfdb.lake import percentiles
from perfdb.lake.engine import File
from perfdb.lake.rows import DAY_US, FAILED_CODE, conformed, day_of

SHARES = list(PERCENTILES.values())


def made(chance: random.Random, longest_us: int) -> list[dict[str, Any]]:
    """Return rows of three days: some fail, do not count, have no duration, or begin after midnight."""
    rows = []
    for number in range(900):
        day = chance.randrange(20_000, 20_003)
        start = day * DAY_US + chance.randrange(2 * DAY_US)
        row = {
            "day": day,
            "series": chance.choice([-5, 7, 1 << 62]),
            "start_us": start,
            "seq": number % 4 or None,
        }
        row["pipeline"], row["step_name"] = "nightly", "load" if row["seq"] else None
        row["duration_us"] = chance.choice([None, 0, *(chance.randrange(longest_us) for _ in range(5))])
        row["status"], row["counted"] = chance.choice([(1, True), (1, True), (1, None), (FAILED_CODE, False)])
        row["excluded"] = chance.random() < 0.1
        rows.append(row)
    failing = {
        "series": 9,
        "counted": False,
        "status": FAILED_CODE,
        "excluded": False,
        "duration_us": 5,
        "seq": 1,
    }
    return [*rows, rows[0] | failing]  # a series that has nothing but a failure


def answered(asked: percentiles.Runs, rows: list[dict[str, Any]], *, said: int | None = None) -> Any:
    """Return what is found in a file of each day; of each the log says how many rows it has."""
    contents, files = {}, []
    for day in sorted({row["day"] for row in rows}):
        table = conformed(pa.Table.from_pylist([row | {"day": None} for row in rows if row["day"] == day]))
        contents[str(day)] = pa.BufferOutputStream()
        pq.write_table(table.drop_columns(["day"]), contents[str(day)], row_group_size=200)
        size = len(table) if said is None else said
        files.append(File(str(day), day_of(day * DAY_US), size, 0, 0, 0))
    return asked(lambda file: pa.BufferReader(contents[file.path].getvalue()), files)


def expected(rows: list[dict[str, Any]], by: str, own_days: bool) -> dict[Any, Any]:
    found: dict[Any, tuple[list[float], list[int]]] = {}
    for row in rows:
        day = row["day"] if own_days else row["start_us"] // DAY_US
        period = {"all": None, "day": day, "week": monday(day)}[by]
        durations, failures = found.setdefault((row["series"], period), ([], []))
        if row["counted"] and row["duration_us"] is not None:
            durations.append(row["duration_us"] / 1e6)
        has_run = row["seq"] is not None or row["duration_us"] is not None
        if row["status"] == FAILED_CODE and not row["excluded"] and has_run:
            failures.append(1)
    name = SeriesName("", None, "")
    return {
        key: Statistics.of(name, None, durations, len(failures), [(share, 1) for share, _ in SHARES])
        for key, (durations, failures) in found.items()
        if durations or failures
    }


@pytest.mark.parametrize("longest_us", [10_000_000, 1 << 53], ids=["short", "long"])
@pytest.mark.parametrize("own_days", [True, False])
@pytest.mark.parametrize("by", ["all", "day", "week"])
def test_percentiles_are_those_of_a_plain_sort(
    by: str, own_days: bool, longest_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(percentiles, "_ROWS", 100)  # several batches
    rows = made(random.Random(f"{by} {own_days}"), longest_us)
    asked = percentiles.Runs(tuple(share for share, _ in SHARES), by, own_days, None, None, None, True)
    found = {(series, period): rest for series, period, *rest in answered(asked, rows)}
    wanted = expected(rows, by, own_days)
    assert found.keys() == wanted.keys()
    for key, (n, failures, mean, values) in found.items():
        assert (n, failures) == (wanted[key].n, wanted[key].failures)
        if n:
            assert mean == pytest.approx(wanted[key].mean, rel=1e-12)
            assert values == pytest.approx(wanted[key].percentiles, rel=1e-12)
        else:
            assert (mean, values) == (None, [None] * len(SHARES))


def test_only_the_rows_that_are_asked_for_are_read_and_no_more_than_there_should_be() -> None:
    row = {"day": 20_000, "pipeline": "nightly", "series": 1, "counted": True}
    rows = [
        row | {"start_us": start, "step_name": step, "duration_us": start * 1_000_000}
        for start, step in ((1, "load"), (2, "load"), (3, "load"), (2, "save"))
    ]
    rows.append(rows[1] | {"pipeline": "weekly"})
    asked = percentiles.Runs((0.5,), "all", False, (2, 4), "nightly", "load", False)
    assert answered(asked, rows) == [(1, None, 2, 0, 2.5, [2.5])]
    with pytest.raises(StoreError, match="more rows than its log says"):
        answered(asked, rows, said=4)


@pytest.mark.parametrize("longest_us", [10_000_000, 1 << 53], ids=["short", "long"])
def test_runs_between_two_bounds_are_found_and_those_below_are_counted(
    longest_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(percentiles, "_ROWS", 100)  # several batches
    chance = random.Random(longest_us)
    rows = made(chance, longest_us)
    most = 1 << 62
    bounds = {
        series: [
            (-most, 0),
            (most, most),
            *(tuple(sorted(chance.choices(range(longest_us), k=2))) for _ in "abc"),
        ]
        for series in (-5, 7, 9, 11)
    }
    found = answered(percentiles.Between(bounds, None), rows)
    assert found.keys() == {(series, *pair) for series, pairs in bounds.items() for pair in pairs}
    for (series, low, high), (shorter, between) in found.items():
        durations = [row["duration_us"] for row in rows if row["series"] == series and row["counted"]]
        durations = sorted(us for us in durations if us is not None)
        assert between.tolist() == [us for us in durations if low <= us <= high]
        assert shorter == sum(us < low for us in durations)
