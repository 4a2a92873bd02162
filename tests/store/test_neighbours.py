"""The sessions around a moment, from both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from perfdb.critical_path import Span
from perfdb.store import ingest
from perfdb.store import sessions as stored
from perfdb.store.neighbours import _seconds_of, read_neighbours

Records = Callable[..., list[dict[str, Any]]]
NORMAL = '{"fast_mode":false}'


@pytest.fixture
def history(connection: Connection, run_records: Records) -> Connection:
    """Give twelve runs, one a minute; 3 failed, 4 was a warm-up, 11 is of another pipeline."""
    records: list[dict[str, Any]] = []
    for number in range(12):
        changes: dict[str, Any] = {"attributes": {"model": "a" if number < 6 else "b"}}
        if number == 3:
            changes.update(status="failed", success=False)
        if number == 11:
            changes.update(pipeline="other")
        records += run_records(f"run-{number}", start=1e9 + 60 * number, **changes)
    ingest.apply_records(connection, {"journal_id": "j", "host": "box", "pid": 1}, records, offset=1)
    stored.tag_session(connection, "run-4", "warmup")
    return connection


def test_the_sessions_that_count_on_both_sides(history: Connection) -> None:
    found, at = read_neighbours(history, "design", NORMAL, 1e9 + 360, before=3, after=4)
    assert [each.session_id for each in found] == [f"run-{number}" for number in (1, 2, 5, 6, 7, 8, 9)]
    assert at == 3
    assert [each.facts["model"] for each in found] == ["a"] * 3 + ["b"] * 4


def test_seconds_add_up_to_the_total(history: Connection) -> None:
    (one,), _ = read_neighbours(history, "design", NORMAL, 1e9, before=0, after=1)
    assert one.seconds == pytest.approx({"load": 1.5, "work": 2.25, None: 0.0}, abs=1e-6)
    assert sum(one.seconds.values()) == pytest.approx(one.total_duration)


def test_facts_are_of_the_session_its_place_and_its_steps(history: Connection) -> None:
    (one,), _ = read_neighbours(history, "design", NORMAL, 1e9, before=0, after=1)
    assert one.facts["host"] == "box"
    assert one.facts["fast_mode"] is False
    assert one.facts["rows of work"] == 1


def test_bounds_are_kept(history: Connection) -> None:
    found, at = read_neighbours(
        history, "design", NORMAL, 1e9 + 360, before=9, after=9, since=1e9 + 300, until=1e9 + 420
    )
    assert ([each.session_id for each in found], at) == (["run-5", "run-6"], 1)


def spans_of(*rows: tuple[int, int | None, float, float]) -> list[Span]:
    return [Span(*row) for row in rows]


def test_a_step_counts_with_all_below_it() -> None:
    spans = spans_of((0, None, 0, 4), (1, 0, 1, 3), (2, None, 4, 9))
    assert _seconds_of(["search", "query", "draw"], spans, 10)[0] == {None: 1, "search": 4, "draw": 5}


def test_within_a_step_that_holds_all_others_those_are_answered() -> None:
    spans = spans_of((0, None, 0, 10), (1, 0, 1, 3), (2, 0, 3, 9))
    assert _seconds_of(["all", "load", "work"], spans, 10)[0] == {None: 0, "all": 2, "load": 2, "work": 6}


def test_a_session_without_steps_is_other() -> None:
    assert _seconds_of([], [], 3.0) == ({None: 3.0}, {})


def test_without_times_what_is_known_is_the_same(connection: Connection, run_records: Records) -> None:
    records = [
        record
        for number in range(4)
        for record in run_records(f"run-{number}", start=1e9 + 60 * number, attributes={"size": number})
    ]
    steps = [record for record in records if "step_name" in record]
    steps[1]["additional_data"], steps[2]["additional_data"] = {"model": "a"}, {}
    ingest.apply_records(connection, {"journal_id": "j", "host": "box", "pid": 1}, records, offset=1)
    asked = {"before": 2, "after": 2}
    timed, _ = read_neighbours(connection, "design", NORMAL, 1e9 + 100, **asked)  # type: ignore[arg-type]
    known, _ = read_neighbours(connection, "design", NORMAL, 1e9 + 100, **asked, timed=False)  # type: ignore[arg-type]
    assert [each.facts for each in known] == [each.facts for each in timed]
    assert any(" of " in name for each in known for name in each.facts)
    assert not any(each.seconds for each in known)
