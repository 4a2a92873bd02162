"""What is written is committed once, and readers that go by what the commit says of a file miss nothing."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from perfdb.lake import writing
from perfdb.lake.place import HISTORY, Place
from perfdb.lake.rows import DAY_US, conformed, day_of
from perfdb.lake.writing import commit


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a lake that is empty."""
    found = Place(str(tmp_path / "lake"))
    found.create()
    return found


def rows_of(*days: int, further: bool = False, prefix: str = "") -> pa.Table:
    """Return four rows of each day, in no order."""
    rows: list[dict[str, Any]] = [
        {
            "day": day_of(day * DAY_US),
            "pipeline": f"{prefix}{name}",
            "mode": "{}",
            "session_id": f"{prefix}{name}-{day}",
            "step_name": step,
            "seq": None if step is None else 0,
            "start_us": day * DAY_US + 5 + len(name),
            "began_us": day * DAY_US + len(name),
        }
        for name in ("weekly", "daily")
        for step in ("load", None)
        for day in days
    ]
    table = conformed(pa.Table.from_pylist(rows))
    return table.append_column("of_tomorrow", pa.array(range(len(table)))) if further else table


def test_the_delta_library_finds_all_rows_by_what_was_said_of_the_files(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake import QueryBuilder

    monkeypatch.setattr(writing, "_GROUP_ROWS", 3)  # several, from which it is put together
    assert commit(place, None, rows_of(20_001, 20_000), reached={"a": 1})
    for number in range(2, 6):
        added = rows_of(20_000 + number, further=number > 3)
        assert commit(place, place.open(HISTORY), added, reached={"a": number})
    place.open(HISTORY).create_checkpoint()
    assert commit(place, place.open(HISTORY), rows_of(20_003), instead_of=day_of(20_003 * DAY_US))
    table = place.open(HISTORY)
    assert table.transaction_version("a") == 5
    sql = """SELECT count(*) AS n, count(step_name) AS steps, count(of_tomorrow) AS further,
        min(start_us) AS first, max(session_id) AS last, count(DISTINCT day) AS days FROM h"""
    asked = QueryBuilder().register("h", table)

    def answer(where: str) -> dict[str, Any]:
        return dict(pa.table(asked.execute(f"{sql} WHERE {where}").read_all()).to_pylist()[0])

    begin = 20_000 * DAY_US
    whole = {"n": 24, "steps": 12, "further": 8, "first": begin + 10, "last": "weekly-20005", "days": 6}
    assert answer("TRUE") == whole
    of_one = {"n": 2, "steps": 1, "further": 2, "first": begin + 4 * DAY_US + 10, "days": 1}
    assert answer("session_id = 'daily-20004'") == of_one | {"last": "daily-20004"}
    assert answer(f"start_us >= {begin + 5 * DAY_US + 11}")["n"] == 2
    assert answer("pipeline = 'daily' AND day = DATE '2024-10-07'")["n"] == 2
    assert answer("step_name IS NULL")["n"] == 12
    (sorted_day,) = Path(place.path(HISTORY)).glob("day=2024-10-04/*")
    assert pq.read_table(sorted_day, partitioning=None).column("step_name").type == pa.string()


def test_of_two_that_commit_to_the_same_version_one_is_refused(place: Place) -> None:
    assert commit(place, None, rows_of(20_000))
    assert not commit(place, None, rows_of(20_001)), "who makes the table is one, too"
    seen, too = place.open(HISTORY), place.open(HISTORY)
    assert commit(place, place.open(HISTORY), rows_of(20_001))
    assert not commit(place, seen, rows_of(20_002), reached={"a": 1})
    assert not commit(place, seen, rows_of(20_000), instead_of=date(2024, 10, 4))
    assert not commit(place, too, rows_of(20_002, further=True))
    table = place.open(HISTORY)
    assert (table.version(), table.transaction_version("a")) == (1, None)
    assert commit(place, table, rows_of(20_002).slice(0, 0), reached={"a": 7}), "nothing new, but it is noted"
    assert place.open(HISTORY).transaction_version("a") == 7


def test_of_what_a_file_does_not_say_a_commit_says_nothing(place: Place) -> None:
    assert commit(place, None, rows_of(20_000, prefix="long " * 30))
    (log,) = Path(place.path(HISTORY, "_delta_log")).glob("*.json")
    (said,) = (json.loads(line)["add"] for line in log.read_text().splitlines() if '"add"' in line)
    stats = json.loads(said["stats"])
    assert stats["numRecords"] == 4
    assert set(stats["minValues"]) == set(stats["maxValues"]) == {"began_us", "start_us"}
    assert stats["nullCount"]["session_id"] == 0
    assert pc.sum(pa.table(place.open(HISTORY).get_add_actions()).column("num_records")).as_py() == 4
