"""Statistics of the whole history: exact, the same from both databases, and from indexes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, text

from perfdb.store import ingest, statistics
from perfdb.store import sessions as stored
from perfdb.store.engine import open_engine
from perfdb.store.schema import ensure_schema

Records = Callable[..., list[dict[str, Any]]]
NORMAL, FAST = '{"fast_mode":false}', '{"fast_mode":true}'
P50_P95 = ((0.5, 1), (0.95, 1))
DAY = 86_400

QUERIES = (
    "SELECT day, duration FROM steps WHERE counted AND series_id = 2 ORDER BY day, duration",
    "SELECT duration FROM steps WHERE counted AND series_id = 2 AND day = 4 ORDER BY duration LIMIT 2",
    "SELECT day, count(*), avg(duration) FROM steps WHERE counted AND series_id = 2 GROUP BY day",
    "SELECT duration FROM steps WHERE counted AND series_id = 2 AND day = 4 ORDER BY duration DESC",
)


@pytest.fixture
def history(connection: Connection, run_records: Records) -> Connection:
    """Give twenty runs, four a day from the first Monday of 1970 on; the last is fast, the 18th failed."""
    records: list[dict[str, Any]] = []
    for number in range(20):
        changes: dict[str, Any] = {"steps": {"load": 1.0 + number, "work": 10.0}}
        if number == 19:
            changes.update(fast_mode=True, mode=FAST)
        if number == 17:
            changes.update(status="failed", success=False)
        records += run_records(f"run-{number}", start=4.0 * DAY + number * DAY / 4 + 1, **changes)
    ingest.apply_records(connection, {"journal_id": "j", "host": "box", "pid": 1}, records, offset=1)
    stored.tag_session(connection, "run-0", "warmup")
    return connection


def test_steps_of_failed_and_warmup_sessions_are_left_out(history: Connection) -> None:
    normal, fast = statistics.step_statistics(history, P50_P95, step="load")
    durations = [1.0 + number for number in range(1, 19) if number != 17]
    expected = [np.mean(durations), *np.percentile(durations, (50, 95))]
    assert normal[:4] == (("design", "load", NORMAL), None, 17, 0)
    assert [normal.mean, *normal.percentiles] == pytest.approx(expected, rel=1e-12)
    assert (fast.name.mode, *fast[1:4]) == (FAST, None, 1, 0)


def test_days_are_utc_days_of_the_steps(history: Connection) -> None:
    days = statistics.daily_statistics(history, P50_P95, step="load")
    rows = [row for row in days if row.name.mode == NORMAL]
    assert [row.first_day for row in rows] == [4, 5, 6, 7, 8]
    assert [row.n for row in rows] == [3, 4, 4, 4, 2]
    second = [rows[1].mean, *rows[1].percentiles]
    assert second == pytest.approx([6.5, 6.5, np.percentile([5, 6, 7, 8], 95)], rel=1e-12)


@pytest.mark.parametrize("by", ["all", "day", "week"])
def test_a_server_groups_as_the_index_answers(history: Connection, by: str) -> None:
    """One question instead of thousands; where it is a file, the question for days answers the same."""
    shares = ((0.5, 1), (0.9, 3), (0.99, 100))
    for step in (None, "load"):
        one = statistics.of_steps[by](history, shares, step=step)
        if step is None:
            one += statistics.of_totals(history, shares, by=by)
        other = statistics.by_runs(history, shares, by=by, step=step)
        for row, same in zip(*(sorted(each, key=str) for each in (one, other)), strict=True):
            assert row[:4] == same[:4]
            for value, expected in zip(
                (row.mean, *row.percentiles), (same.mean, *same.percentiles), strict=True
            ):
                assert value == (expected if expected is None else pytest.approx(expected, rel=1e-12))


def test_weeks_begin_on_monday(history: Connection) -> None:
    rows = statistics.step_statistics(history, P50_P95, by="week", step="load")
    durations = [1.0 + number for number in range(1, 19) if number != 17]
    (week,) = [row for row in rows if row.name.mode == NORMAL]
    assert week[1:4] == (4, 17, 0)
    expected = [np.mean(durations), *np.percentile(durations, (50, 95))]
    assert [week.mean, *week.percentiles] == pytest.approx(expected, rel=1e-12)


def test_totals_know_their_failures(history: Connection) -> None:
    rows = statistics.of_totals(history, P50_P95, by="week")
    assert [(*row.name[1:], row.n, row.failures) for row in rows] == [
        (None, NORMAL, 17, 1),
        (None, FAST, 1, 0),
    ]
    days = statistics.of_totals(history, P50_P95, by="day")
    assert [row.n + row.failures for row in days] == [3, 4, 4, 4, 3, 1]
    ever = statistics.of_totals(history, P50_P95, by="all")
    assert [row[1:4] for row in ever] == [(None, 17, 1), (None, 1, 0)]


def test_a_percentile_without_enough_runs_is_none(history: Connection) -> None:
    (_, fast) = statistics.step_statistics(history, ((0.5, 1), (0.9, 10)), step="load")
    assert fast.percentiles == [20.0, None]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_a_percentile_from_the_index_equals_numpys(
    connection: Connection, run_records: Records, count: int
) -> None:
    durations = np.random.default_rng(count).lognormal(size=count).round(6).tolist()
    records = run_records(steps={})
    steps = [{**run_records()[1], "seq": seq, "duration": each} for seq, each in enumerate(durations)]
    ingest.apply_records(connection, {"journal_id": "j"}, [*records, *steps], offset=1)
    shares = (0.0, 0.5, 0.95, 0.99, 1.0)
    (row,) = statistics.step_statistics(connection, [(share, 1) for share in shares])
    assert row.percentiles == pytest.approx(np.quantile(durations, shares).tolist(), rel=1e-12)
    (row,) = statistics.daily_statistics(connection, [(share, 1) for share in shares])
    assert row.percentiles == pytest.approx(np.quantile(durations, shares).tolist(), rel=1e-12)


def test_failed_steps_are_counted_unless_tagged(connection: Connection, run_records: Records) -> None:
    for name in ("one", "two"):
        records = run_records(name, status="failed", success=False)
        records[1].update(success=False, error_message="no")
        ingest.apply_records(connection, {"journal_id": name}, records, offset=1)
    stored.tag_session(connection, "two", "ignore")
    (row,) = statistics.step_statistics(connection, P50_P95, step="load")
    assert row[1:] == (None, 0, 1, None, [None, None])
    (day,) = statistics.daily_statistics(connection, P50_P95, step="load")
    assert day[2:] == (0, 1, None, [None, None])


def test_sqlite_answers_from_the_indexes_alone(sqlite_url: str) -> None:
    ensure_schema(sqlite_url)
    engine = open_engine(sqlite_url, role="reader")
    with engine.connect() as connection:
        for query in QUERIES:
            plan = " ".join(str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
            assert "COVERING INDEX" in plan, query
            assert "TEMP B-TREE" not in plan, query
    engine.dispose()
