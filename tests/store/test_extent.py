"""Sessions are weighed before they are read: their steps, and what these carry."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.event import listen

import perfdb
from perfdb.store.engine import open_engine
from perfdb.store.extent import BYTES_OF_A_STEP, extent_of, weights, within
from perfdb.store.schema import ensure_schema


@pytest.fixture
def url(database_url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Record three sessions, of 1, 2 and 3 steps, into a database of either kind."""
    monkeypatch.chdir(tmp_path)
    for count in (1, 2, 3):
        tracker = perfdb.create_tracker(console=False, monitor=False, database_url=database_url)
        tracker.start_pipeline()
        for number in range(count):
            with tracker.step("work", text="x" * (20 * BYTES_OF_A_STEP if count == 2 and number else 1)):
                pass
        tracker.end_pipeline()
    perfdb.recorder.close(60)
    return database_url


def test_the_newest_sessions_are_kept_as_long_as_they_fit(url: str) -> None:
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        assert within(weights(connection), 2) == (0, 3)
        assert within(weights(connection), 3) == (1, 3)
        assert within(weights(connection), 10_000) == (3, 3)
        assert within(weights(connection, last=1), 3) == (1, 1)
        assert within(weights(connection, pipeline="none"), 3) == (0, 0)
    engine.dispose()


def test_data_weighs_too(url: str) -> None:
    engine = open_engine(url, role="reader")
    history = perfdb.History(url)
    with engine.connect() as connection:
        weights = [extent_of(connection, session_id) for session_id in history.sessions()["session_id"]]
        assert extent_of(connection, "nothing") == (0, 0)
    engine.dispose()
    assert [steps for steps, _ in weights] == [1, 2, 3]
    assert [weight for _, weight in weights][::2] == [1, 3]
    assert weights[1][1] > 2


def test_sqlite_looks_through_the_sessions_once(sqlite_url: str) -> None:
    ensure_schema(sqlite_url)
    engine = open_engine(sqlite_url, role="reader")
    asked: list[tuple[str, Any]] = []
    with engine.connect() as connection:
        listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
        weights(connection, last=5)
        query, parameters = asked[-1]
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", parameters).all()
    engine.dispose()
    assert sum("SCAN sessions" in row[3] for row in plan) == 1, plan
