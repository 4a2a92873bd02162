"""A connection that is kept: it stops what takes too long, and is of use again afterwards.

Of: web/drawing.py, web/views/problem.py.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from perfdb.errors import StoreError, TimeLimitError
from perfdb.history.history import History
from perfdb.records import Session, Step
from perfdb.settings import sqlite_url
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.testing import make_history, make_session
from perfdb.web import drawing
from perfdb.web.answers.trends import rate_around
from perfdb.web.app import create_app
from perfdb.web.schemas import AlertRow
from perfdb.web.served import ServedHistory


@pytest.fixture
def migrated_copy(migrated_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(migrated_file, tmp_path / "perfdb.sqlite3"))


ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(60)",
}


def asked(reader: ServedHistory, query: str) -> Any:
    with reader.reading() as connection:
        assert connection is not None
        return connection.execute(text(query)).scalar()


def asked_driver(reader: ServedHistory, query: str) -> Any:
    with reader.reading() as connection:
        assert connection is not None
        driver: Any = connection.connection.driver_connection
        return driver.execute(query).fetchall()


def test_a_question_without_end_is_stopped_and_the_next_is_answered(migrated_url: str) -> None:
    reader = ServedHistory(History(migrated_url), limit_s=0.2)
    for _ in range(2):
        with pytest.raises(TimeLimitError, match=r"longer than 0\.2 s"):
            asked(reader, ENDLESS[migrated_url.partition(":")[0]])
        assert asked(reader, "SELECT count(*) FROM sessions") == 0
    reader.close()


def test_it_cannot_write(migrated_url: str) -> None:
    reader = ServedHistory(History(migrated_url), limit_s=5)
    with pytest.raises(StoreError, match=r"read-?only"):
        asked(reader, "DELETE FROM sessions")
    reader.close()


def test_a_file_that_is_no_history_yet_is_distinguished_from_another_programs(tmp_path: Path) -> None:
    path = tmp_path / "perfdb.sqlite3"
    reader = ServedHistory(History(sqlite_url(path)), limit_s=5)
    with reader.reading() as connection:
        assert connection is None
    engine = open_engine(sqlite_url(path), role="writer")
    with engine.begin() as writing:
        writing.execute(text("CREATE TABLE cakes (name TEXT)"))
    engine.dispose()
    with pytest.raises(StoreError, match="another program"), reader.reading():
        pass
    reader.close()


def test_rows_without_end_are_stopped_too(migrated_copy: Path) -> None:
    reader = ServedHistory(History(sqlite_url(migrated_copy)), limit_s=0.2)
    with pytest.raises(TimeLimitError):
        asked_driver(reader, ENDLESS["sqlite"].replace("count(*)", "i"))
    reader.close()


def test_after_a_file_was_written_over_in_place_nothing_of_the_old_one_is_remembered(
    migrated_copy: Path,
) -> None:
    reader = ServedHistory(History(sqlite_url(migrated_copy)), limit_s=5)
    assert asked(reader, "SELECT count(*) FROM sessions") == 0
    other = migrated_copy.with_name("other.sqlite3")
    other.write_bytes(migrated_copy.read_bytes())
    engine = open_engine(sqlite_url(other), role="writer")
    with engine.begin() as writing:
        writing.execute(text("CREATE TABLE cakes (name TEXT)"))
    engine.dispose()
    migrated_copy.write_bytes(b"\x07" * migrated_copy.stat().st_size)
    with pytest.raises(StoreError, match="cannot be read"):
        asked(reader, "SELECT count(*) FROM alerts")
    migrated_copy.write_bytes(other.read_bytes())
    assert asked(reader, "SELECT count(*) FROM cakes") == 0
    reader.close()


@pytest.mark.parametrize("older", [0, 100])
@pytest.mark.parametrize("step_name", [None, "work"])
def test_the_picture_of_a_failure_rate_has_the_share_of_the_last_20_at_each_run(
    migrated_copy: Path, step_name: str | None, older: int
) -> None:
    begun, url = 1_767_268_800.0, sqlite_url(migrated_copy)
    failed = [number % 9 == 0 for number in range(older)]
    failed += [number >= 45 and number % 2 == 0 for number in range(70)]
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(
            connection,
            [
                Session(
                    session_id=f"s{at:03}", pipeline="p", start_time=begun + at, total_duration=1.0,
                    status="failed" if bad else "completed", success=not bad,
                    steps=(Step(step_name="work", start_time=begun + at, duration=0.5, success=not bad),),
                )
                for at, bad in enumerate(failed)
            ],
        )  # fmt: skip
    engine.dispose()
    history = ServedHistory(History(url))
    since = begun + older + 46
    alert = cast(AlertRow, SimpleNamespace(pipeline="p", step_name=step_name, mode="{}", since_time=since))
    found = rate_around(history, alert)
    history.close()
    assert found is not None
    assert found.start_times[0] < since < found.start_times[-1]
    places = [round(start - begun) for start in found.start_times]
    assert found.failed == [failed[place] for place in places]
    windows = [failed[max(0, place - 19) : place + 1] for place in places]
    assert found.shares == [pytest.approx(sum(each) / len(each)) for each in windows]
    assert min(map(len, windows)) == (20 if older else 10), "all of 20, but where the history begins"
    shape = drawing.rate(found, 0.05, since)
    heights = [float(each) for each in re.findall(r'class="dot[^"]*" d="M[\d.]+ ([\d.]+)h0"', shape)]
    assert len(heights) == len(found.shares)
    assert min(heights) > 0.0, "no dot is at the upper edge"
    assert (shape.count('class="mark"'), shape.count('class="limit"')) == (1, 1)
    assert shape.count("dot failed") == sum(found.failed)


@pytest.fixture
def left_open(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return what counts the connections that nobody has closed: those that are only forgotten, too."""
    opened: list[sqlite3.Connection] = []
    closed: list[sqlite3.Connection] = []

    class Counted(sqlite3.Connection):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            opened.append(self)

        def close(self) -> None:
            closed.append(self)
            super().close()

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *arguments, **named: connect(*arguments, factory=Counted, **named)
    )
    return lambda: len({id(each) for each in opened} - {id(each) for each in closed})


@pytest.mark.parametrize("let_go", ["rest", "forget"])
def test_a_connection_that_was_in_use_when_all_were_let_go_of_is_closed(
    migrated_copy: Path, left_open: Callable[[], int], let_go: str
) -> None:
    with Database(sqlite_url(migrated_copy), migrates=False) as database:
        with database.reading(), database.reading():
            getattr(database, let_go)()
        database.rest()
        assert left_open() == 0


def test_an_answer_that_goes_on_after_the_end_opens_nothing(
    migrated_copy: Path, left_open: Callable[[], int]
) -> None:
    served = ServedHistory(History(str(migrated_copy)))
    with served.reading():
        served.close()
    with pytest.raises(StoreError), served.reading():
        pass
    assert left_open() == 0


@pytest.mark.parametrize("path", ["/sessions/nope", "/nowhere", "/trends?last=x", "/sessions?since=x"])
def test_no_page_of_an_error_is_read_by_the_thread_that_serves_all(tmp_path: Path, path: str) -> None:
    """It would hold up everybody else's answer for as long as the database takes."""
    app = create_app(make_history(tmp_path, [make_session(0, {"load": 1.0})]))
    served, serving = app.state.history, []
    read = served.reading

    def reading(*given: Any, **more: Any) -> Any:
        serving.append(asyncio._get_running_loop() is not None)
        return read(*given, **more)

    served.reading = reading
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get(path).status_code in (400, 404, 422)
    assert set(serving) == {False}
