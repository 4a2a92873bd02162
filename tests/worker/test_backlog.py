"""When more sessions wait than can be judged, what happened among them is found all the same.

Of: worker/alerting.py.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from perfdb.recording.health import Health
from perfdb.records import Session, Step
from perfdb.store.alerts import read_alerts
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.toml import Table
from perfdb.worker import alerting
from perfdb.worker.alerting import Alerting, Ended

START = 1_785_500_000.0


def session(number: int, work: float, *, success: bool = True) -> Session:
    at = START + 10 * number
    step = Step(step_name="work", start_time=at, duration=work, success=True)
    return Session(
        session_id=f"s{number:05d}", pipeline="etl", start_time=at, total_duration=work,
        status="completed" if success else "failed", success=success, steps=(step,),
    )  # fmt: skip


class Live:
    """What is known of a session that its tracker still has."""

    def __init__(self, found: Session) -> None:
        self.session_id, self.pipeline, self.mode = found.session_id, found.pipeline, found.mode
        self.status, self.total_duration = found.status, found.total_duration
        self.cpu_wait_s = found.cpu_wait_s


def judged(url: str, sessions: list[Session]) -> tuple[list[Any], int]:
    """Have sessions judged that came all at once; return the alerts, and how many were looked at."""
    with Database(url, 5.0) as database:
        with database.writing() as connection:
            insert_sessions(connection, sessions)
        ours = Alerting(Table({}), database, threading.RLock(), Health(), lambda rests: None)
        looked: list[str] = []
        evaluate = ours._evaluate

        def noted(ended: Ended, *how: Any) -> bool:
            looked.append(ended.session_id)
            return evaluate(ended, *how)

        ours._evaluate = noted  # type: ignore[method-assign]
        kept = [Live(each) for each in sessions]
        ours.add(Ended(each) for each in kept)  # type: ignore[arg-type]
        while ours.waits:
            ours.evaluate_waiting(idle=False, seconds=1.0)
            time.sleep(0.005)
        ours.finish(0.0)
        with database.reading() as connection:
            return read_alerts(connection, "all"), len(looked)


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerting, "MANY", 20)


@pytest.mark.parametrize(("slow", "count"), [((40, 100), 200), ((60, 76), 130)])
def test_a_slow_time_that_is_over_by_the_end_of_a_backlog_is_found(
    migrated_url: str, slow: tuple[int, int], count: int
) -> None:
    levels = [
        session(number, (2.0 if slow[0] <= number < slow[1] else 1.0) + 0.02 * math.sin(number))
        for number in range(count)
    ]
    found, looked = judged(migrated_url, levels)
    assert {each.step_name for each in found} >= {"work"}
    assert any(abs(int(each.since_session_id[1:]) - slow[0]) <= 5 for each in found)
    assert looked < 30 + count / 3


def test_a_backlog_of_equal_sessions_costs_a_part_of_judging_each(migrated_url: str) -> None:
    levels = [session(number, 1 + 0.02 * math.sin(number)) for number in range(600)]
    found, looked = judged(migrated_url, levels)
    assert found == []
    assert looked < 100


@pytest.mark.parametrize(("waited", "judgings"), [(None, 10), (0.002, 10), (0.025, 1)])
def test_what_a_session_waited_for_a_cpu_makes_it_no_longer(
    migrated_url: str, waited: float | None, judgings: int
) -> None:
    loop = [replace(session(number, 0.03), cpu_wait_s=waited) for number in range(10)]
    assert judged(migrated_url, loop) == ([], judgings)
