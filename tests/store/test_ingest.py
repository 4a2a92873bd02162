"""What goes in once stays in once: ingest against both databases.

Of: store/ids.py, store/prepared.py, store/rows.py.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, literal, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from perfdb.errors import NotFoundError
from perfdb.recording.values import MAX_TEXT
from perfdb.records import Attempt, Event, Sample, Session, Step
from perfdb.store import frames, ingest, reading, rows
from perfdb.store import sessions as stored
from perfdb.store.engine import is_transient, open_engine
from perfdb.store.prepared import Prepared
from perfdb.store.schema import ensure_schema
from perfdb.text import cut_to

Records = Callable[..., list[dict[str, Any]]]
HEADER = {
    "type": "journal",
    "version": 1,
    "journal_id": "j1",
    "created": 1.7e9,
    "host": "box",
    "pid": 42,
    "python_version": "3.11.7",
    "perfdb_version": "0.1.0",
    "git_commit": "abc",
    "command": "python run.py",
}


def put(connection: Connection, records: list[dict[str, Any]], offset: int = 10) -> ingest.Applied:
    return ingest.apply_records(connection, HEADER, records, offset=offset)


def content(connection: Connection) -> list[Any]:
    tables = ("sessions", "steps", "samples", "series", "environments")
    return [sorted(map(repr, connection.execute(text(f"SELECT * FROM {table}")))) for table in tables]


def counted_steps(connection: Connection) -> int:
    return int(connection.execute(text("SELECT count(*) FROM steps WHERE counted")).scalar_one())


def test_a_run_is_read_back_as_it_was_recorded(connection: Connection, run_records: Records) -> None:
    applied = put(connection, run_records())
    assert (applied.finished, applied.steps, applied.skipped) == (("s1",), 2, 0)
    session = reading.read_session(connection, "s1")
    assert session.start_time == 1_785_500_000.123456
    assert session.step_durations == {"load": 1.5, "work": 2.25}
    assert (session.status, session.success, session.product_count) == ("completed", True, 6)
    assert (session.host, session.pid, session.utc_offset) == ("box", 42, 3600)
    assert session.attributes == {"git": "abc"}
    assert session.steps[1].additional_data == {"rows": 1}
    assert session.steps[0].rss_peak_bytes == 3_000_000_000


def test_a_replay_changes_nothing(connection: Connection, run_records: Records) -> None:
    put(connection, run_records())
    before = content(connection)
    put(connection, run_records())
    assert content(connection) == before


def test_the_order_of_batches_does_not_matter(connection: Connection, run_records: Records) -> None:
    for record in reversed(run_records()):
        put(connection, [record])
    put(connection, run_records("s2"))
    first, second = (reading.read_session(connection, each) for each in ("s1", "s2"))
    assert first.steps == second.steps
    assert (first.pipeline, first.mode, first.status) == (second.pipeline, second.mode, second.status)
    assert first.attributes == second.attributes
    assert counted_steps(connection) == 4


def test_a_step_whose_start_line_was_lost_goes_in(connection: Connection, run_records: Records) -> None:
    put(connection, run_records()[1:])
    session = reading.read_session(connection, "s1")
    assert (session.pipeline, len(session.steps), session.status) == ("unknown", 2, "completed")


def test_an_open_step_is_filled_by_its_end(connection: Connection, run_records: Records) -> None:
    start, step, *_ = run_records()
    opened = {
        key: step[key] for key in ("session_id", "seq", "parent_seq", "step_name", "lane", "start_time")
    }
    put(connection, [start, {"type": "open", **opened}])
    running = reading.read_session(connection, "s1").steps[0]
    assert (running.duration, running.success) == (None, None)
    put(connection, [step])
    assert reading.read_session(connection, "s1").steps[0].duration == 1.5


def test_a_late_end_undoes_interrupted(connection: Connection, run_records: Records) -> None:
    records = run_records()
    put(connection, records[:2])
    assert stored.mark_interrupted(connection, "j1") == 1
    assert reading.read_session(connection, "s1").status == "interrupted"
    assert counted_steps(connection) == 0
    put(connection, records[2:])
    assert reading.read_session(connection, "s1").status == "completed"
    assert counted_steps(connection) == 2


def test_only_the_dead_journals_running_sessions_are_interrupted(
    connection: Connection, run_records: Records
) -> None:
    put(connection, run_records("done"))
    put(connection, run_records("mine")[:1])
    ingest.apply_records(connection, {**HEADER, "journal_id": "j2"}, run_records("other")[:1], offset=1)
    assert stored.mark_interrupted(connection, "j1") == 1
    assert reading.read_session(connection, "other").status == "running"
    assert reading.read_session(connection, "done").status == "completed"


def test_a_step_left_open_at_the_end_is_interrupted(connection: Connection, run_records: Records) -> None:
    start, step, _, end = run_records()
    put(connection, [start, {**step, "type": "open", "success": None, "duration": None}])
    put(connection, [end])
    statuses = connection.execute(text("SELECT status FROM v_steps")).scalars().all()
    assert statuses == ["interrupted"]


def test_the_offset_never_goes_back(connection: Connection, run_records: Records) -> None:
    assert ingest.journal_offset(connection, "j1") == 0
    put(connection, run_records(), offset=500)
    assert put(connection, run_records("s2"), offset=100).offset == 500
    assert ingest.journal_offset(connection, "j1") == 500


@pytest.mark.parametrize(
    ("since", "there"), [(0, 0), (90, 90), (50, 90), (0, 90), (90, 0), (120, 90), (0, 120)]
)
def test_only_a_batch_that_follows_what_is_there_is_taken(
    connection: Connection, run_records: Records, since: int, there: int
) -> None:
    if there:
        put(connection, [], offset=there)
    applied = ingest.apply_records(connection, HEADER, run_records(), offset=120, since=since)
    assert applied.follows == (since == there)
    assert applied.offset == ingest.journal_offset(connection, "j1") == (120 if since == there else there)
    assert (len(frames.sessions_frame(connection)) == len(applied.finished) == 1) == (since == there)


def test_rows_and_offset_are_rolled_back_together(engine: Engine, run_records: Records) -> None:
    with engine.connect() as connection:
        transaction = connection.begin()
        put(connection, run_records())
        transaction.rollback()
        with connection.begin():
            assert ingest.journal_offset(connection, "j1") == 0
            put(connection, run_records("s2"))  # with ids of its own: those of before never were
        with connection.begin():
            put(connection, run_records("s3"))
            assert len(frames.steps_frame(connection)) == 4


def test_ids_made_in_a_savepoint_that_was_undone_are_not_used(engine: Engine, run_records: Records) -> None:
    with engine.connect() as connection:
        with connection.begin():
            savepoint = connection.begin_nested()
            put(connection, run_records())
            savepoint.rollback()
            put(connection, run_records("s2"))
        with connection.begin():
            put(connection, run_records("s3"))
            assert reading.read_session(connection, "s3").pipeline == "design"


def test_a_cache_of_vanished_rows_heals_at_the_second_try(tmp_path: Path, run_records: Records) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite3"
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    with engine.connect() as connection:
        for session_id in ("s1", "s2"):
            with connection.begin():
                put(connection, run_records(session_id))
        with connection.begin():
            for table in ("steps", "sessions", "series"):
                connection.execute(text(f"DELETE FROM {table}"))
        with pytest.raises(IntegrityError) as caught, connection.begin():
            put(connection, run_records("s3"))
        assert is_transient(caught.value)
        with connection.begin():
            put(connection, run_records("s3"))
    engine.dispose()


HOSTILE = [
    float("nan"),
    float("inf"),
    2**70,
    -(2**70),
    10**400,
    "a\0b",
    "\ud800",
    "x" * 100_000,
    {"a": {"b": float("nan")}},
    ["\0"],
    {"\0": "\ud800"},
    "'; DROP TABLE steps; --",
    True,
    b"bytes",
    None,
    -1,
    1e308,
    "<script>",
    "\u202e\x1b[31m",
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:20])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_no_value_in_any_field_spoils_a_batch(
    connection: Connection, run_records: Records, value: object, place: int
) -> None:
    records = run_records("bad")
    keep = ("type", "session_id", "seq")
    records[place] = {key: old if key in keep else value for key, old in records[place].items()}
    records[place]["additional_data" if place == 1 else "attributes"] = {"hostile": value}
    put(connection, [*records, *run_records("good")])
    assert len(reading.read_session(connection, "good").steps) == 2
    assert len(reading.read_session(connection, "bad").steps) == 2
    connection.execute(text("SELECT * FROM v_sessions")).all()
    connection.execute(text("SELECT * FROM v_steps")).all()
    assert len(frames.sessions_frame(connection)) == 2
    assert len(frames.steps_frame(connection)) == 4


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": "step"},
        {"type": "step", "session_id": "../x", "seq": 0},
        {"type": "end", "session_id": 7},
        {"type": "step", "session_id": "s9", "seq": "0"},
        {"type": "step", "session_id": "s9", "seq": 2**60},
        {"type": "new", "session_id": "s9"},
        {"type": "samples", "session_id": "s9", "rows": "no"},
    ],
)
def test_a_record_without_a_usable_key_is_skipped(
    connection: Connection, run_records: Records, record: dict[str, Any]
) -> None:
    assert put(connection, [record, *run_records()]).skipped == 1
    assert len(reading.read_session(connection, "s1").steps) == 2


def test_samples_go_in_once_and_broken_ones_not_at_all(connection: Connection, run_records: Records) -> None:
    rows = [[1.5, 99.5, 1000], [2.5, 98.5, 2000], [float("nan"), 1, 1], "no", [3.5]]
    record = {"type": "samples", "session_id": "s1", "rows": rows}
    put(connection, [*run_records(), record, record])
    put(connection, [record])
    expected = (
        Sample(time=1.5, cpu_percent=99.5, rss_bytes=1000),
        Sample(time=2.5, cpu_percent=98.5, rss_bytes=2000),
    )
    assert reading.read_session(connection, "s1").samples == expected


def a_session(session_id: str = "imported", **changes: Any) -> Session:
    values: dict[str, Any] = {
        "session_id": session_id,
        "pipeline": "design",
        "start_time": 1_785_500_000.5,
        "total_duration": 3.5,
        "status": "failed",
        "fast_mode": True,
        "success": False,
        "product_count": 3,
        "error_message": "broke ✗",
        "mode": '{"fast_mode":true}',
        "attributes": {"model": "x", "nested": {"a": [1, None, 1.5]}},
        "tags": ("nightly", "warmup"),
        "cpu_s": 1.5,
        "rss_peak_bytes": 5,
        "rss_mean_bytes": 4,
        "utc_offset": -3600,
        "host": "box",
        "pid": 7,
        "python_version": "3.12",
        "perfdb_version": "0.1.0",
        "git_commit": None,
        "command": "c",
        "samples": (Sample(time=1_785_500_000.75, cpu_percent=50.0, rss_bytes=77),),
        "steps": (
            Step(
                step_name="outer",
                start_time=1_785_500_000.5,
                duration=3.0,
                success=True,
                seq=0,
                events=(Event(name="hit", time=1_785_500_001.0, data={"key": 1}),),
            ),
            Step(
                step_name="inner",
                start_time=1_785_500_001.5,
                duration=1.0,
                success=False,
                error_message="no",
                seq=1,
                parent_seq=0,
                lane=2,
                additional_data={"k": "v"},
                cpu_s=0.5,
                attempts=(
                    Attempt(start_time=1.0, duration=0.5, success=False, error_message="429"),
                    Attempt(start_time=2.0, duration=0.5, wait=0.25),
                ),
            ),
            Step(step_name="never ended", start_time=1_785_500_002.5, duration=None, success=None, seq=2),
        ),
    }
    return Session(**{**values, **changes})


def test_an_imported_session_comes_back_equal(connection: Connection) -> None:
    assert ingest.insert_sessions(connection, [a_session()]) == (1, 0)
    assert reading.read_session(connection, "imported") == a_session()


def test_importing_twice_is_a_no_op(connection: Connection) -> None:
    ingest.insert_sessions(connection, [a_session("a")])
    before = content(connection)
    assert ingest.insert_sessions(connection, [a_session("a", error_message="else")]) == (0, 1)
    assert content(connection) == before
    assert ingest.insert_sessions(connection, [a_session("b"), a_session("b"), a_session("a")]) == (1, 2)


def test_deleting_a_session_leaves_nothing_of_it(connection: Connection) -> None:
    ingest.insert_sessions(connection, [a_session("a"), a_session("b")])
    assert stored.delete_sessions(connection, ["a", "unknown"]) == 1
    for table, left in (("sessions", 1), ("steps", 3), ("samples", 1), ("session_tags", 2)):
        assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == left


@pytest.mark.parametrize(("name", "counted"), [("warmup", 0), ("ignore", 0), ("release", 2)])
def test_warmup_and_ignore_take_a_session_out_of_what_counts(
    connection: Connection, run_records: Records, name: str, counted: int
) -> None:
    put(connection, run_records())
    stored.tag_session(connection, "s1", name)
    stored.tag_session(connection, "s1", name)
    assert counted_steps(connection) == counted
    assert reading.read_session(connection, "s1").tags == (name,)
    assert stored.untag_session(connection, "s1", name)
    assert not stored.untag_session(connection, "s1", name)
    assert counted_steps(connection) == 2


def test_a_session_tagged_while_it_runs_stays_out(connection: Connection, run_records: Records) -> None:
    records = run_records()
    put(connection, records[:2])
    stored.tag_session(connection, "s1", "warmup")
    put(connection, records[2:])
    assert counted_steps(connection) == 0


def test_the_steps_of_a_failed_session_do_not_count(connection: Connection, run_records: Records) -> None:
    records = run_records(status="failed", success=False)
    put(connection, records[:2])
    assert counted_steps(connection) == 1
    put(connection, records[2:])
    assert counted_steps(connection) == 0


def test_tagging_an_unknown_session_says_so(connection: Connection) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        stored.tag_session(connection, "nowhere", "x")
    with pytest.raises(ValueError, match="64"):
        stored.tag_session(connection, "nowhere", " ")


def test_a_name_too_long_for_an_index_is_cut(connection: Connection, run_records: Records) -> None:
    put(
        connection,
        run_records(pipeline="é" * 5000, mode='{"m":"' + "x" * 5000 + '"}', steps={"日" * 5000: 1.0}),
    )
    session = reading.read_session(connection, "s1")
    for name, letter in ((session.pipeline, "é"), (session.steps[0].step_name, "日")):
        assert re.fullmatch(f"{letter}+…[0-9a-f]{{10}}", name)
        assert len(name) <= 200


def test_locked_full_and_lost_databases_are_worth_another_try(tmp_path: Path, run_records: Records) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite3"
    ensure_schema(url)
    other = sqlite3.connect(tmp_path / "x.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    engine = open_engine(url, role="writer", busy_timeout_s=0.01)
    with engine.connect() as connection, pytest.raises(DBAPIError) as caught:
        connection.begin()
    assert is_transient(caught.value)
    other.execute("ROLLBACK")
    other.close()
    engine.dispose()
    engine = open_engine(url, role="writer")
    with engine.connect() as connection:
        connection.connection.dbapi_connection.execute("PRAGMA max_page_count=1")
        with pytest.raises(DBAPIError) as caught, connection.begin():
            put(connection, run_records(error_message="x" * 1_000_000, attributes={"a": "x" * 1_000_000}))
        assert is_transient(caught.value)
    engine.dispose()
    assert not is_transient(ValueError("x"))
    assert not is_transient(sqlite3.IntegrityError("UNIQUE"))


def test_a_session_that_was_called_off_has_ended(connection: Connection, run_records: Records) -> None:
    called_off = {"status": "interrupted", "success": False}
    *first, end = run_records(**called_off)
    first[2] |= {**called_off, "error_message": "CancelledError"}
    put(connection, [*first, end])
    before = content(connection)
    session = reading.read_session(connection, "s1")
    assert (session.status, session.success, session.total_duration) == ("interrupted", False, 3.75)
    assert [(step.success, step.interrupted) for step in session.steps] == [(True, False), (False, True)]
    assert counted_steps(connection) == 0
    put(connection, [{**end, "status": "completed", "success": True}])
    put(connection, [{**first[2], "success": True, "duration": 9.0}, {**first[2], "type": "open"}])
    assert stored.mark_interrupted(connection, "j1") == 0
    assert content(connection) == before


def test_a_step_that_was_called_off_fills_the_row_that_it_was_announced_with(
    connection: Connection, run_records: Records
) -> None:
    start, step, *_ = run_records()
    put(connection, [start, {**step, "type": "open", "duration": None, "success": None}])
    stored.mark_interrupted(connection, "j1")
    assert reading.read_session(connection, "s1").steps[0].interrupted is False  # its writer died in it
    put(connection, [{**step, "success": False, "status": "interrupted"}])
    (found,) = reading.read_session(connection, "s1").steps
    assert (found.duration, found.success, found.interrupted) == (1.5, False, True)


def test_environments_that_only_look_equal_are_several(connection: Connection, run_records: Records) -> None:
    said: list[Any] = [1, True, 1.0, "1", ["1"], {"a": 1}]  # the first three are one key of a dictionary
    for number, host in enumerate(said):
        header = {**HEADER, "journal_id": f"j{number}", "host": host}
        ingest.apply_records(connection, header, run_records(f"s{number}"), offset=10)
    hosts = [reading.read_session(connection, f"s{number}").host for number in range(len(said))]
    assert hosts == ["1", "True", "1.0", "1", "['1']", "{'a': 1}"]
    assert connection.execute(text("SELECT count(*) FROM environments")).scalar_one() == 5


def test_documents_of_steps_are_text_before_a_lock_is_asked_for() -> None:
    step = {
        "type": "step",
        "session_id": "s1",
        "seq": 0,
        "step_name": "load",
        "start_time": 1.7e9,
        "additional_data": {"rows": 3, "who": "Zoë\0"},
        "attempts": [{"start_time": 1.7e9, "duration": 1.0, "wait": 0.0, "success": True}],
        "events": [],
    }
    row = ingest.gather([step]).batches["s1"].steps[0]
    assert row["additional_data"] == '{"rows":3,"who":"Zoë�"}'
    assert row["attempts"] == '[{"start_time":1700000000.0,"duration":1.0,"wait":0.0,"success":true}]'
    assert row["events"] is None


def test_long_facts_of_an_environment_are_cut_once_and_not_kept() -> None:
    known = rows._environment.cache_info().currsize
    for other in (None, ["a"], 3):
        found = rows.environment_columns({"git_branch": other, "host": "x" * 10_000})
        assert found is not None
        assert found["host"] == cut_to("x" * 10_000, MAX_TEXT)
    assert rows._environment.cache_info().currsize == known


def test_what_a_driver_says_of_a_closed_connection_comes_as_of_any_other(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new.sqlite3", role="migration")
    with engine.connect() as connection:
        one = Prepared(select(literal(1)), connection.dialect)
        assert one.all(connection) == [(1,)]
        driver: Any = connection.connection.dbapi_connection
        driver.close()
        with pytest.raises(DBAPIError):
            one.all(connection)
    engine.dispose()
