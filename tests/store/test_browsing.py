"""How many sessions there are, exactly where that is cheap, and how few are found among many."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from perfdb.records import Step
from perfdb.store import browsing
from perfdb.store.database import Database
from perfdb.store.dialects import is_shared
from perfdb.store.ingest import insert_sessions
from perfdb.store.rollups import roll_up
from perfdb.testing import NOON, make_session


def test_a_server_counts_so_many_of_all_sessions_and_a_file_all(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_sessions(connection, [make_session(n, {"load": 1.0}) for n in range(7)])
    monkeypatch.setattr(browsing, "_MOST_OF_ALL", 5)
    assert browsing.count_all(connection) == 7
    of_all = browsing.count_sessions(connection, most=3)
    assert of_all == ((5, False) if is_shared(connection) else (7, True))
    assert browsing.count_sessions(connection, most=9) == (7, True)
    assert browsing.count_sessions(connection, most=3, status="completed") == (3, False)
    assert browsing.count_sessions(connection, most=9, status="completed") == (7, True)


DAYS = 40


@pytest.fixture(scope="module")
def long_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Give a file of 100 sessions a day, of which one fails; only the newest day is stale."""
    path = shutil.copy(migrated_file, tmp_path_factory.mktemp("long") / "perfdb.sqlite3")
    begin = NOON - NOON % 86_400.0
    runs = [
        make_session(n, {"load": 1.0}, every_s=864.0, start=begin, attributes={"model": "a"})
        for n in range(100 * DAYS)
    ]
    with Database(f"sqlite:///{path}") as database:
        with database.writing() as connection:
            insert_sessions(
                connection,
                [replace(run, status="failed") if n % 100 == 7 else run for n, run in enumerate(runs)],
            )
        assert len(list(roll_up(database, until=begin + (DAYS - 1) * 86_400.0))) == DAYS - 1
        yield database


@pytest.mark.parametrize(
    ("asked", "n"),
    [
        pytest.param(lambda of: browsing.search_text(of, "zebra", most=50).ids, 0, id="a text"),
        pytest.param(
            lambda of: browsing.search_text(of, "zebra", most=50, pipeline="design").ids, 0, id="a text there"
        ),
        pytest.param(lambda of: browsing.session_page(of, status="running").sessions, 0, id="running"),
        pytest.param(
            lambda of: browsing.session_page(of, sort="slowest", pipeline="design", limit=9).sessions,
            9,
            id="slowest there",
        ),
        pytest.param(
            lambda of: browsing.session_page(of, status="failed", pipeline="design", limit=9).sessions,
            9,
            id="failed there",
        ),
        pytest.param(
            lambda of: range(browsing.count_sessions(of, most=99, status="failed", pipeline="design")[0]),
            DAYS,
            id="count of failed there",
        ),
    ],
)
def test_a_file_finds_few_without_going_through_all(
    long_file: Database,
    monkeypatch: pytest.MonkeyPatch,
    asked: Callable[[Connection], Sequence[object]],
    n: int,
) -> None:
    monkeypatch.setattr(browsing, "_MOST_SORTED", DAYS)
    looks: list[int] = []
    with long_file.reading() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: looks.append(1), 100)
        try:
            assert len(asked(connection)) == n
        finally:
            driver.set_progress_handler(None, 0)
    assert 100 * len(looks) < 3 * 100 * DAYS, "three of SQLite's instructions for each session"


@pytest.mark.parametrize("sort", ["slowest", "fastest"])
@pytest.mark.parametrize("most", [1, 9, 5_000])
def test_pages_by_duration_are_the_same_however_many_are_looked_at_first(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, sort: browsing.Sort, most: int
) -> None:
    monkeypatch.setattr(browsing, "_MOST_SORTED", most)
    runs = [make_session(n, {"load": float(7 * n % 5)}, pipeline="abc"[n % 3]) for n in range(40)]
    insert_sessions(connection, runs)
    read = partial(browsing.session_page, connection, sort=sort, limit=4, pipeline="b")
    pages = [read()]
    while pages[-1].after is not None:
        pages.append(read(after=pages[-1].after))
    found = [each for page in pages for each in page.sessions]
    ordered = sorted(runs[1::3], key=lambda run: (run.total_duration, run.start_time))
    assert [each.session_id for each in found] == [
        run.session_id for run in (ordered if sort == "fastest" else ordered[::-1])
    ]
    for page, later in pairwise(pages):
        assert read(before=later.before).sessions == page.sessions


def test_an_attribute_is_known_by_its_name_whatever_its_value(connection: Connection) -> None:
    step = Step(
        step_name="load", start_time=0.0, duration=1.0, success=True, seq=0, additional_data={"rows": [1]}
    )
    names = ["customer", 'a "b" $.c', "none"]
    attributes = {names[0]: {"deep": 1}, names[1]: "x", names[2]: None}
    insert_sessions(connection, [replace(make_session(0, [step]), attributes=attributes)])
    assert all(browsing.has_attribute_called(connection, name) for name in names)
    assert not any(browsing.has_attribute_called(connection, name) for name in ("deep", "rows", "custom"))
    assert browsing.has_attribute_called(connection, "rows", of_steps=True)
    assert not browsing.has_attribute_called(connection, "custom", of_steps=True, most=1)
    assert browsing.has_attribute_called(connection, "custom", most=0)  # those not looked at may have it
    assert browsing.attributes_called(connection) == sorted(names)
    assert browsing.attributes_called(connection, of_steps=True) == sorted([*names, "rows"])
