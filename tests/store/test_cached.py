"""Answers from a cache never enter durations: a step's, a session's; in both databases and in frames.

Of: store/ingest.py, store/frames.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from perfdb.analysis.runs import counted_sessions, runs_of
from perfdb.analysis.trends import trends
from perfdb.records import Session, Step
from perfdb.store import ingest
from perfdb.store import sessions as stored
from perfdb.store.frames import session_rows, sessions_frame, step_rows, steps_frame
from perfdb.store.reading import read_session
from perfdb.store.series import read_past
from perfdb.store.statistics import of_totals

Records = Callable[..., list[dict[str, Any]]]
HEADER = {"journal_id": "j", "host": "box", "pid": 1}


def past_of(connection: Connection) -> dict[str | None, list[float]]:
    return {past.step_name: list(past.values) for past in read_past(connection)}


def run_of(name: str, *, cached_step: bool = False, mode: str = "{}", **attributes: Any) -> Session:
    data = {"cached": True} if cached_step else {}
    step = Step(step_name="search", start_time=1e9, duration=2.0, success=True, additional_data=data)
    return Session(
        session_id=name,
        pipeline="design",
        start_time=1e9,
        total_duration=3.0,
        status="completed",
        success=True,
        mode=mode,
        attributes=attributes,
        steps=(step,),
    )


@pytest.mark.parametrize("open_first", [False, True])
def test_a_cached_step_is_no_run_of_its_step(
    connection: Connection, run_records: Records, open_first: bool
) -> None:
    records = run_records()
    records[1]["additional_data"] = {"cached": True}
    parts = [records[:2], records[2:]] if open_first else [records]
    for offset, part in enumerate(parts, start=1):
        ingest.apply_records(connection, HEADER, part, offset=offset)
    assert past_of(connection) == {None: [3.75], "work": [2.25]}
    stored.tag_session(connection, "s1", "warmup")
    stored.untag_session(connection, "s1", "warmup")
    assert past_of(connection) == {None: [3.75], "work": [2.25]}


def test_a_cached_session_counts_nowhere_and_has_not_failed(connection: Connection) -> None:
    ingest.insert_sessions(
        connection, [run_of("fresh"), run_of("hit", cached=True), run_of("said", cached="no")]
    )
    assert past_of(connection) == {None: [3.0, 3.0], "search": [2.0, 2.0]}
    sessions, steps = sessions_frame(connection), steps_frame(connection)
    assert set(counted_sessions(sessions)["session_id"]) == {"fresh", "said"}
    for runs in runs_of(sessions, steps):
        assert set(runs.session_ids) == {"fresh", "said"}
        assert not any(runs.failed)


def test_a_session_tagged_cached_counts_nowhere(connection: Connection) -> None:
    ingest.insert_sessions(connection, [run_of("fresh"), run_of("hit")])
    stored.tag_session(connection, "hit", "cached")
    assert past_of(connection) == {None: [3.0], "search": [2.0]}


def test_where_cached_is_a_mode_it_counts_in_that_mode(connection: Connection) -> None:
    ingest.insert_sessions(connection, [run_of("hit", mode='{"cached":true}', cached=True)])
    assert past_of(connection) == {None: [3.0], "search": [2.0]}
    assert len(counted_sessions(sessions_frame(connection))) == 1


def test_frames_leave_a_cached_step_out_too(connection: Connection) -> None:
    ingest.insert_sessions(connection, [run_of("a", cached_step=True), run_of("b")])
    total, search = runs_of(sessions_frame(connection), steps_frame(connection))
    assert (search.step_name, search.session_ids) == ("search", ["b"])
    assert (total.step_name, len(total)) == (None, 2)


def test_frames_rows_and_records_agree_on_what_counts(connection: Connection) -> None:
    ingest.insert_sessions(
        connection,
        [
            run_of("fresh"),
            run_of("hit", cached=True),
            run_of("mode", mode='{"cached":true}', cached=True),
            run_of("step", cached_step=True),
            run_of("warm"),
        ],
    )
    ingest.tag_session(connection, "warm", "warmup")
    sessions, steps = sessions_frame(connection), steps_frame(connection)
    counted = dict(zip(sessions["session_id"], sessions["counted"].tolist(), strict=True))
    assert counted == {"fresh": True, "hit": False, "mode": True, "step": True, "warm": False}
    of_steps = dict(zip(steps["session_id"], steps["counted"].tolist(), strict=True))
    assert of_steps == counted | {"step": False}
    assert {row["session_id"]: row["counted"] for row in session_rows(connection)} == counted
    assert {row["session_id"]: row["counted"] for row in step_rows(connection)} == of_steps
    assert {name: read_session(connection, name).counted for name in counted} == counted


def test_what_comes_from_a_cache_is_no_failure_however_trends_are_asked(connection: Connection) -> None:
    ingest.insert_sessions(connection, [run_of("fresh"), run_of("hit", cached=True)])
    (total,) = of_totals(connection, [(0.5, 1)], by="all")
    assert total[2:4] == (1, 0)
    runs = runs_of(sessions_frame(connection), steps_frame(connection))
    assert trends(runs, by="all")["failures"].tolist() == [0, 0]
