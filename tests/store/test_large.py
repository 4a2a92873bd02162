"""Large sessions are tagged, ended and deleted in pieces, and are then as small ones are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, func, select

import perfdb
from perfdb.records import Sample, Session, Step
from perfdb.store import large
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.models import journals, samples, sessions, steps
from perfdb.store.sessions import mark_interrupted

COUNT = 2 * large.PIECE + 300
START = 1.7e9


def session(session_id: str, count: int, *, cached: bool = True) -> Session:
    found = tuple(
        Step(
            step_name=f"s{seq % 7}", start_time=START + seq, duration=0.5, success=seq % 5 != 0, seq=seq,
            additional_data={"cached": True} if cached and seq % 3 == 0 else {},
        )
        for seq in range(count)
    )  # fmt: skip
    taken = tuple(Sample(time=START + at, cpu_percent=1.0, rss_bytes=1) for at in range(count))
    return Session(
        session_id=session_id, pipeline="p", start_time=START, total_duration=9.0, status="completed",
        success=True, steps=found, samples=taken,
    )  # fmt: skip


@pytest.fixture
def history(migrated_url: str) -> perfdb.History:
    with Database(migrated_url, 5.0) as database, database.writing() as connection:
        insert_sessions(connection, [session("large", COUNT), session("small", 30)])
    return perfdb.History(migrated_url)


@pytest.fixture
def changed_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give how many steps each write of a history changed."""
    most: list[int] = []
    writing = Database.writing

    @contextmanager
    def watched(self: Database) -> Iterator[Connection]:
        with writing(self) as connection:
            rows: list[int] = []

            def note(_: object, cursor: object, statement: str, *__: object) -> None:
                if statement.startswith(("UPDATE steps", "DELETE FROM steps")):
                    rows.append(cursor.rowcount)  # type: ignore[attr-defined]

            event.listen(connection, "after_cursor_execute", note)
            yield connection
            most.append(sum(rows))

    monkeypatch.setattr(Database, "writing", watched)
    return most


def counted(history: perfdb.History, session_id: str) -> int:
    query = select(func.count()).select_from(steps).join(sessions, sessions.c.id == steps.c.session_pk)
    with history._reading() as connection:
        assert connection is not None
        query = query.where(sessions.c.session_id == session_id, steps.c.counted)
        return int(connection.execute(query).scalar_one())


def test_a_tag_takes_all_steps_out_and_back(history: perfdb.History, changed_rows: list[int]) -> None:
    before = counted(history, "large")
    assert large.PIECE < before < COUNT
    history.tag("large", "warmup")
    assert (counted(history, "large"), counted(history, "small") > 0) == (0, True)
    history.untag("large", "warmup")
    assert counted(history, "large") == before
    assert 0 < max(changed_rows) <= large.PIECE


def test_tagging_again_goes_on_where_it_was_cut_off(
    history: perfdb.History, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(large, "_pieces", lambda found: iter([found[: large.PIECE]]))
        history.tag("large", "warmup")
    assert counted(history, "large") > 0
    history.tag("large", "warmup")
    assert counted(history, "large") == 0


def test_deleting_leaves_nothing(history: perfdb.History, changed_rows: list[int]) -> None:
    assert history.delete("large", "small") == ("large", "small")
    with history._reading() as connection:
        assert connection is not None
        for table in (sessions, steps, samples):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    assert max(changed_rows) <= large.PIECE


def test_a_running_session_is_not_deleted(history: perfdb.History, migrated_url: str) -> None:
    with Database(migrated_url, 5.0) as database, database.writing() as connection:
        connection.execute(sessions.update().where(sessions.c.session_id == "large").values(status=0))
    with pytest.raises(perfdb.PerfdbError, match="still running"):
        history.delete("large", "small")
    assert len(history.sessions()) == 2
    assert counted(history, "small") > 0


@pytest.mark.parametrize("success", [True, False])
def test_a_large_session_ends_as_a_small_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, success: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_WAIT_S", "60")
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    for number in range(COUNT):
        with tracker.step("work", text="a word or two " * 8, number=number):
            pass
    tracker.end_pipeline(success=success)
    history = perfdb.History()
    (found,) = history.sessions()["session_id"]
    assert counted(history, found) == (COUNT if success else 0)
    assert len(history.steps()) == COUNT


def test_a_dead_writers_large_session_is_interrupted_as_a_whole(
    history: perfdb.History, migrated_url: str
) -> None:
    with Database(migrated_url, 5.0) as database:
        with database.writing() as connection:
            pk = connection.execute(
                journals.insert().values(journal_id="j", byte_offset=1, quarantined=0, updated_at=START)
            ).inserted_primary_key[0]
            connection.execute(sessions.update().values(status=0, journal_pk=pk))
            connection.execute(steps.update().where(steps.c.seq % 2 == 0).values(status=0, duration=None))
        large.interrupt_ahead(database, "j")
        assert counted(history, "large") == 0
        with database.writing() as connection:
            assert mark_interrupted(connection, "j") == 2
            still = select(func.count()).select_from(steps).where(steps.c.counted | (steps.c.status == 0))
            assert connection.execute(still).scalar_one() == 0
