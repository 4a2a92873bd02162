"""Sessions take the modes that the settings name now, with their steps, alerts and baselines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.records import Session, Step
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.upkeep.reindexing import reindex, stale_kinds

NOON = 1_767_268_800.0
Opened = Callable[..., perfdb.History]  # of the history, with mode_attributes


def made(number: int, *, steps: int = 2, **attributes: Any) -> Session:
    start = NOON + 3600.0 * number
    return Session(
        session_id=f"run-{number:03}", pipeline="etl", start_time=start, total_duration=float(steps),
        status="completed", success=True, fast_mode=False, mode='{"fast_mode":false}', attributes=attributes,
        steps=tuple(
            Step(step_name=f"step {seq % 3}", start_time=start + seq, duration=1.0, success=True, seq=seq)
            for seq in range(steps)
        ),
    )  # fmt: skip


@pytest.fixture
def history(migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Give a function that opens the history of 24 sessions of two regions, one of them with many steps."""
    monkeypatch.chdir(tmp_path)
    regions = ("us", "eu")
    sessions = [
        made(each, steps=350 if each == 7 else 2, region=regions[each % 2], cached=each == 5)
        for each in range(24)
    ]
    engine = open_engine(migrated_url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, sessions)
    engine.dispose()

    def opened(*names: str) -> perfdb.History:
        Path("perfdb.toml").write_text(f"mode_attributes = {json.dumps(names)}", encoding="utf-8")
        return perfdb.History(migrated_url)

    return opened


def of_steps(history: perfdb.History) -> bool:
    modes = dict(zip(*(history.sessions()[name] for name in ("session_id", "mode")), strict=True))
    steps = history.steps()
    return all(modes[each] == mode for each, mode in zip(steps["session_id"], steps["mode"], strict=True))


def test_sessions_and_their_steps_get_the_modes_of_the_settings(
    history: Opened,
) -> None:
    before = history("fast_mode")
    tests = replace(made(30), pipeline="tests", mode='{"selection":"all","workers":4}')
    engine = open_engine(before.url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [tests])  # a plugin's mode is its own
    engine.dispose()
    assert before.stale_modes() is None
    steps = before.steps().drop(columns=["mode"])
    asked = history("fast_mode", "region")
    assert "fast_mode, region; sessions of 1 mode (fast_mode)" in str(asked.stale_modes())
    assert asked.reindex() == 24
    assert asked.sessions(pipeline="etl")["mode"].value_counts().to_dict() == {
        '{"fast_mode":false,"region":"eu"}': 12, '{"fast_mode":false,"region":"us"}': 12,
    }  # fmt: skip
    assert of_steps(asked)
    assert asked.steps().drop(columns=["mode"]).equals(steps)
    assert (asked.stale_modes(), asked.reindex()) == (None, 0)
    assert history("fast_mode").reindex() == 24  # and back
    assert set(asked.sessions()["mode"]) == {'{"fast_mode":false}', tests.mode}


def test_how_much_is_stale_is_asked_at_once_however_many_modes_there_are(history: Opened) -> None:
    """Each page of the dashboard's start says it."""
    asked = history("region")
    engine = open_engine(asked.url, role="writer")
    kinds = [replace(made(100 + each), pipeline=f"etl {each}", steps=()) for each in range(30)]
    with engine.begin() as connection:
        insert_sessions(connection, [*kinds, replace(kinds[0], session_id="runs", status="running")])
        statements: list[str] = []
        event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2]))
        assert len(stale_kinds(connection, ("region",))) == 31
    engine.dispose()
    assert len(statements) == 1


def test_whoever_interrupts_it_finds_what_is_left(history: Opened) -> None:
    asked = history("region")
    for stopped_after in itertools.count(1):
        with Database(asked.url) as database:
            steps = list(itertools.islice(reindex(database, ("region",)), stopped_after))
        if len(steps) < stopped_after:
            break
    assert stopped_after > 5
    assert asked.stale_modes() is None
    assert of_steps(asked)


def test_what_a_cache_answered_counts_where_that_makes_a_mode(history: Opened) -> None:
    assert history("fast_mode").sessions()["counted"].sum() == 23
    assert history("cached").reindex() == 24
    found = history("cached")
    assert (found.sessions()["counted"].sum(), found.steps()["counted"].all()) == (24, True)
    history("fast_mode").reindex()
    assert history("fast_mode").steps().query("session_id == 'run-005'")["counted"].any() == False  # noqa: E712


def test_baselines_go_along_where_a_mode_has_one_successor(history: Opened) -> None:
    Triage(history("fast_mode")).pin_baseline(pipeline="etl")
    asked = history()
    asked.reindex()
    assert set(asked.baselines()["mode"]) == {"{}"}
    history("region").reindex()
    assert set(asked.baselines()["mode"]) == {"{}"}  # nobody can say which of the two
