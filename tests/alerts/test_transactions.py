"""Old sessions that came late are looked at without the write lock, and judged in short transactions.

Of: alerts/late.py.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from perfdb.alerts.late import evaluate_historic
from perfdb.records import Alert, Session, Step
from perfdb.store.alerts import read_alerts
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions

NAMES = 12
RUNS = 60


class CutOffError(Exception):
    """As if the process had been killed."""


class Watched(Database):
    """Notes the statements of each write transaction; ``dies_at``: the one that is not begun any more."""

    def __init__(self, url: str, dies_at: int | None = None) -> None:
        super().__init__(url, 5.0)
        self.transactions: list[list[str]] = []
        self._dies_at = dies_at

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        if len(self.transactions) == self._dies_at:
            raise CutOffError
        said: list[str] = []
        self.transactions.append(said)
        with super().writing() as connection:

            def note(_: Any, __: Any, statement: str, *___: Any) -> None:
                said.append(statement)

            event.listen(connection, "before_cursor_execute", note)
            yield connection


def history() -> list[Session]:
    """Return runs whose steps are slower from the middle on, each a bit more than the one before."""
    noise = random.Random(3)
    found = []
    for number in range(RUNS):
        start = time.time() - 1e6 + 1_000 * number
        at, steps = start, []
        for place in range(NAMES):
            level = 1.0 if number < RUNS // 2 else 2.0 + place / 10
            duration = level * noise.lognormvariate(0, 0.04)
            steps.append(
                Step(step_name=f"s{place}", start_time=at, duration=duration, success=True, seq=place)
            )
            at += duration
        found.append(
            Session(
                session_id=f"run-{number:03d}", pipeline="etl", start_time=start, total_duration=at - start,
                status="completed", success=True, steps=tuple(steps),
            )
        )  # fmt: skip
    return found


def filled(url: str) -> list[str]:
    with Database(url, 5.0) as database, database.writing() as connection:
        insert_sessions(connection, history())
    return [f"run-{number:03d}" for number in range(RUNS)]


def alerts_in(url: str) -> set[tuple[object, ...]]:
    def key(alert: Alert) -> tuple[object, ...]:
        return alert.step_name, alert.rule, alert.state, alert.since_session_id, alert.inhibited_by is None

    with Database(url, 5.0) as database, database.reading() as connection:
        return {key(each) for each in read_alerts(connection, "all")}


def test_the_history_is_looked_at_without_the_write_lock(migrated_url: str) -> None:
    with Watched(migrated_url) as database:
        evaluate_historic(database, filled(migrated_url), None)
        assert len(alerts_in(migrated_url)) > NAMES
        for said in database.transactions:
            assert not [statement for statement in said if "FROM steps" in statement]


@pytest.mark.parametrize("dies_at", [0, 1, 2])
def test_whoever_judges_again_goes_on_where_it_was_cut_off(
    migrated_url: str, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfdb.alerts.transactions._HOLD_S", 0.0)  # an alert per transaction
    named = filled(migrated_url)
    with Watched(migrated_url, dies_at) as database, pytest.raises(CutOffError):
        evaluate_historic(database, named, None)
    before = alerts_in(migrated_url)
    with Watched(migrated_url) as database:
        evaluate_historic(database, named, None)
        again = alerts_in(migrated_url)
        assert again != before
        evaluate_historic(database, named, None)
    assert alerts_in(migrated_url) == again
    assert len({each[0] for each in again}) == NAMES + 1
    assert sum(rule == "change_point" and speaks for _, rule, _, _, speaks in again) == 1
