"""What comes out: frames, filters, sessions and statistics, alike from both databases.

Of: store/reading.py, store/sessions.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import Connection, Engine, event, text

from perfdb.errors import NotFoundError
from perfdb.history.values import rows_of
from perfdb.store import frames, ingest, reading
from perfdb.store import sessions as stored
from perfdb.store.engine import open_engine
from perfdb.store.models import sessions
from perfdb.store.schema import ensure_schema

Records = Callable[..., list[dict[str, Any]]]
NORMAL, FAST = '{"fast_mode":false}', '{"fast_mode":true}'


@pytest.fixture
def history(connection: Connection, run_records: Records) -> Connection:
    """Give ten runs, one a minute; the last is fast, the ninth failed."""
    records: list[dict[str, Any]] = []
    for number in range(10):
        changes: dict[str, Any] = {"steps": {"load": 1.0 + number, "work": 10.0}}
        if number == 9:
            changes.update(fast_mode=True, mode=FAST)
        if number == 8:
            changes.update(status="failed", success=False)
        attributes = {"n": number, 'quo"te': str(number), "even": number % 2 == 0, "none": None}
        records += run_records(f"run-{number}", start=1000.0 + 60 * number, attributes=attributes, **changes)
    ingest.apply_records(connection, {"journal_id": "j", "host": "box", "pid": 1}, records, offset=1)
    stored.tag_session(connection, "run-3", "release")
    return connection


@pytest.mark.parametrize("frame", ["sessions", "steps"])
def test_frames_have_the_columns_of_the_views(history: Connection, frame: str) -> None:
    found = getattr(frames, f"{frame}_frame")(history)
    view = history.execute(text(f"SELECT * FROM v_{frame} ORDER BY start_time")).mappings().all()
    assert list(found.columns) == [*view[0].keys(), "counted"]
    assert len(found) == len(view)
    rows = rows_of(found)
    for column in ("started_at", "ended_at", "status", "mode", "cpu_percent", "end_time"):
        assert [row[column] for row in rows] == [row[column] for row in view]
    for made in (found, getattr(frames, f"empty_{frame}_frame")()):
        assert [str(made[name].dtype) for name in ("started_at", "ended_at")] == ["datetime64[us, UTC]"] * 2


@pytest.mark.parametrize("read", [frames.sessions_frame, frames.steps_frame])
def test_chosen_columns_are_those_of_the_whole_frame(history: Connection, read: Any) -> None:
    whole = read(history)
    pairs = itertools.combinations(whole.columns, 2)
    for columns in (*[(name,) for name in whole.columns], *pairs, whole.columns[::-1]):
        found = read(history, columns=columns)
        assert_frame_equal(found, whole[[name for name in whole.columns if name in columns]])
    assert read(history, columns=["start_time"], step="none").empty


@pytest.mark.parametrize("of", ["session", "step"])
def test_plain_rows_say_what_frames_do(history: Connection, of: str) -> None:
    for filters in ({}, {"step": "load", "last": 2}, {"tag": "release"}, {"pipeline": "none"}):
        rows = getattr(frames, f"{of}_rows")(history, **filters)
        assert rows == rows_of(getattr(frames, f"{of}s_frame")(history, **filters))


def test_a_reader_sees_one_moment_while_others_write(
    engine: Engine, migrated_url: str, run_records: Records
) -> None:
    numbers = itertools.count()

    def replace_one(*_: object) -> None:
        number = next(numbers)
        records = run_records(f"run-{number}", start=1000.0 + number)
        with engine.begin() as writing:
            ingest.apply_records(writing, {"journal_id": "j"}, records, offset=number)
            stored.delete_sessions(writing, [f"run-{number - 3}"])

    for _ in range(3):
        replace_one()
    reader = open_engine(migrated_url, role="reader")
    with reader.connect() as connection:
        before = frames.sessions_frame(connection), frames.steps_frame(connection)
        event.listen(connection, "after_cursor_execute", replace_one)  # in the middle of each answer
        assert_frame_equal(frames.sessions_frame(connection), before[0])
        assert_frame_equal(frames.steps_frame(connection), before[1])
    with reader.connect() as connection:
        assert set(frames.steps_frame(connection)["session_id"]).isdisjoint(before[1]["session_id"])
    reader.dispose()


def test_empty_frames_have_the_same_columns_and_types(history: Connection) -> None:
    nothing = frames.sessions_frame(history, pipeline="none")
    assert nothing.empty
    assert (nothing.dtypes == frames.empty_sessions_frame().dtypes).all()
    assert (nothing.dtypes == frames.sessions_frame(history).dtypes).all()
    nothing = frames.steps_frame(history, pipeline="none")
    assert nothing.empty
    assert (nothing.dtypes == frames.empty_steps_frame().dtypes).all()
    assert (nothing.dtypes == frames.steps_frame(history).dtypes).all()


def test_types_are_the_same_for_both_databases(history: Connection) -> None:
    sessions, steps = frames.sessions_frame(history), frames.steps_frame(history)
    assert sessions.dtypes.astype("str")[["total_duration", "product_count", "success"]].tolist() == [
        "float64",
        "Int64",
        "boolean",
    ]
    assert steps.dtypes.astype("str")[["duration", "parent_seq", "seq", "success"]].tolist() == [
        "float64",
        "Int64",
        "int64",
        "boolean",
    ]
    assert sessions["attributes"][3]["n"] == 3
    assert sessions["tags"].tolist()[2:4] == [[], ["release"]]
    assert steps["additional_data"][1] == {"rows": 1}
    assert steps["attempts"][0] == []


@pytest.mark.parametrize("data", [{"rows": 1, "é": None}, {"nested": {"rows": [1, 2.5]}}, {}], ids=str)
def test_equal_documents_are_objects_of_their_own(
    connection: Connection, run_records: Records, data: dict[str, Any]
) -> None:
    records = run_records(steps=dict.fromkeys("abcdef", 1.0))
    for record in records[1:-1]:
        record["additional_data"] = data
    ingest.apply_records(connection, {"journal_id": "j"}, records, offset=1)
    found = frames.steps_frame(connection)["additional_data"].tolist()
    assert found == [data] * 6
    for each in found:
        for inner in (each, each.get("nested", {})):
            inner["changed"] = len(inner)
    assert len({id(each) for each in found}) == len({id(each.get("nested", each)) for each in found}) == 6
    again = frames.steps_frame(connection)
    assert again["additional_data"].tolist() == [data] * 6
    assert len({id(each) for name in ("attempts", "events") for each in again[name]}) == 12


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "0123456789"),
        ({"last": 3}, "789"),
        ({"last": 3, "fast_mode": False}, "678"),
        ({"fast_mode": True}, "9"),
        ({"status": "failed"}, "8"),
        ({"since": 1060.0, "until": 1180.0}, "12"),
        ({"pipeline": "design", "last": 1}, "9"),
        ({"pipeline": "other"}, ""),
        ({"mode": FAST}, "9"),
        ({"tag": "release"}, "3"),
        ({"counted": True, "last": 2}, "79"),
        ({"step": "load", "last": 2}, "89"),
        ({"step": "x' OR 1=1 --"}, ""),
        ({"attribute": {"n": 4}}, ""),
    ],
    ids=str,
)
def test_filters(history: Connection, filters: dict[str, Any], expected: str) -> None:
    if "attribute" not in filters:
        found = frames.sessions_frame(history, **filters)
        assert "".join(each[-1] for each in found["session_id"]) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("n", 4, "4"),
        ("n", 4.0, "4"),
        ("n", "4", ""),
        ("n", True, ""),
        ('quo"te', "5", "5"),
        ("none", None, "0123456789"),
        ("even", True, "02468"),
        ("even", 1, ""),
        ("absent", None, ""),
        ("quo\"te' OR 1=1", "5", ""),
        ("n", 2**80, ""),
    ],
)
def test_attributes_are_compared_with_their_type(
    connection: Connection, run_records: Records, key: str, value: Any, expected: str
) -> None:
    for number in range(10):
        attributes = {"n": number, 'quo"te': str(number), "even": number % 2 == 0, "none": None}
        records = run_records(f"run-{number}", start=1000.0 + number)
        records[-1]["attributes"] = attributes
        ingest.apply_records(connection, {"journal_id": "j"}, records, offset=number)
    found = frames.sessions_frame(connection, attribute={key: value})
    assert "".join(each[-1] for each in found["session_id"]) == expected


@pytest.mark.parametrize("filters", [{"status": "done"}, {"last": 0}, {"attribute": {"a": [1]}}], ids=str)
def test_a_filter_that_cannot_be_meant_is_refused(history: Connection, filters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(filters))):
        frames.sessions_frame(history, **filters)


def test_last_counts_sessions_not_steps(history: Connection) -> None:
    found = frames.steps_frame(history, last=2)
    assert found["session_id"].tolist() == ["run-8", "run-8", "run-9", "run-9"]
    assert frames.steps_frame(history, last=2, step="work")["seq"].tolist() == [1, 1]


def test_usual_durations_are_medians_of_the_same_mode(history: Connection) -> None:
    assert reading.usual_durations(history, "design", NORMAL, last=3) == {"load": 7.0, "work": 10.0}
    assert reading.usual_durations(history, "design", FAST) == {"load": 10.0, "work": 10.0}
    assert reading.usual_durations(history, "none", FAST) == {}


@pytest.mark.parametrize(
    ("wanted", "expected"), [("last", "run-9"), ("last~1", "run-8"), ("last~9", "run-0"), ("run-4", "run-4")]
)
def test_a_session_is_found_as_a_person_names_it(history: Connection, wanted: str, expected: str) -> None:
    assert reading.find_session_id(history, wanted) == expected


def test_keys_come_in_turn_while_others_are_read(history: Connection) -> None:
    found = []
    for part in reading.keys_in_turn(history, sessions.c.session_id, 3, last=8):
        found.append(part)
        assert len(frames.steps_frame(history)) == 20
    assert found == [
        ["run-2", "run-3", "run-4"],
        ["run-5", "run-6", "run-7"],
        ["run-8", "run-9"],
    ]


@pytest.mark.parametrize("filters", [{}, {"since": 1060.0, "until": 2000.0}, {"fast_mode": False}])
def test_sqlite_keeps_no_keys_for_their_order(sqlite_url: str, filters: dict[str, Any]) -> None:
    """It would keep those of millions of sessions in memory before the first is given."""
    ensure_schema(sqlite_url)
    engine = open_engine(sqlite_url, role="reader")
    asked: list[tuple[str, Any]] = []
    with engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        assert list(reading.keys_in_turn(connection, sessions.c.session_id, 3, **filters)) == []
        query, parameters = asked[-1]
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters)]
    engine.dispose()
    assert "ix_sessions_start_time" in plan[0]
    assert not any("TEMP B-TREE" in row or "LIST" in row or "MATERIALIZE" in row for row in plan), plan


def test_a_prefix_must_fit_one(history: Connection, run_records: Records) -> None:
    ingest.apply_records(history, {"journal_id": "k"}, run_records("Run_42"), offset=1)
    assert reading.find_session_id(history, "Run_4") == "Run_42"
    for wanted, message in (
        ("run", "10 session ids begin with 'run'"),
        ("zzz", "perfdb sessions"),
        ("last~99", "has 11 so far"),
        ("Run%", "begins with"),
        ("", "perfdb sessions"),
        ("x" * 100_000, f"no session is called '{128 * 'x'}'"),
        ("ü\0", "perfdb sessions"),
        ("last~x", "begins with"),
    ):
        with pytest.raises(NotFoundError, match=message):
            reading.find_session_id(history, wanted)


def test_an_empty_history_says_what_to_do(connection: Connection) -> None:
    with pytest.raises(NotFoundError, match="perfdb demo"):
        reading.find_session_id(connection, "last")


def test_the_iso_time_has_microseconds_and_carries(connection: Connection, run_records: Records) -> None:
    ingest.apply_records(connection, {"journal_id": "j"}, run_records(start=1767323045.123456), offset=1)
    expected = "2026-01-02T03:04:05.123456Z"
    assert rows_of(frames.sessions_frame(connection))[0]["started_at"] == expected
    assert connection.execute(text("SELECT started_at FROM v_sessions")).scalar_one() == expected
