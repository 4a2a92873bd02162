"""A limit on what the runs of a day come to together, on both databases: every run was paid for."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from perfdb.alerts.config import AlertSettings, read_alert_settings
from perfdb.alerts.evaluation import after_session
from perfdb.alerts.explain import explain_alert
from perfdb.alerts.hindsight import evaluate_past, replay
from perfdb.errors import SettingsError
from perfdb.history.queries.figures import violations
from perfdb.records import Session, Step
from perfdb.store.alerts import read_alerts
from perfdb.store.ingest import insert_sessions
from perfdb.store.windows import find_session_ref, newest_alike
from perfdb.testing import NOON, make_session
from perfdb.toml import parse

TEXT = """
[[alerts.rules]]
name = "spending"
kind = "sum"
per = "day"
metric = "cost_usd"
limit = 1.0

[[alerts.rules]]
name = "asking"
kind = "sum"
step = "ask"
metric = "cost_usd"
limit = 100.0
"""
HOUR = 3600.0
# hours after noon in UTC, and dollars; there it is 10 hours later, so that a day begins at 2 in the afternoon
RUNS = ((0.0, 0.5), (1.5, 0.4), (2.5, 0.3), (3.0, 0.3), (4.0, 0.3), (5.0, 0.3), (27.0, 0.1))
RUNS += ((28.0, 0.1), (29.0, 0.1))


def settings() -> AlertSettings:
    return read_alert_settings(parse(TEXT, source="perfdb.toml").table("alerts"))


def run(number: int, at: float, dollars: float) -> Session:
    start = NOON + HOUR * at
    failed = number == 2  # and was paid for
    steps = (
        Step(
            step_name="ask", start_time=start, duration=1.0, seq=0, success=not failed,
            additional_data={"cost_usd": dollars},
        ),
    )  # fmt: skip
    return Session(
        session_id=f"run-{number}", pipeline="p", start_time=start, total_duration=1.0, success=not failed,
        status="failed" if failed else "completed", steps=steps, utc_offset=36_000,
        tags=("warmup",) if number == 3 else (),
    )  # fmt: skip


def judge(connection: Connection) -> list[tuple[str, Any]]:
    rules, told = settings(), []
    for number, (at, dollars) in enumerate(RUNS):
        insert_sessions(connection, [run(number, at, dollars)])
        after_session(connection, f"run-{number}", rules, NOON + HOUR * at + 2)
        told += [(f"run-{number}", each) for each in read_alerts(connection, "open")]
    return told


def test_the_runs_of_a_local_day_add_up_until_they_are_over_the_limit(connection: Connection) -> None:
    told = judge(connection)
    seen = dict(told)
    assert next(iter(seen)) == "run-5", "0.3 + 0.3 + 0.3 + 0.3 on the second day, one failed, one a warm-up"
    alert = seen["run-5"]
    assert (alert.rule, alert.step_name, alert.since_session_id) == ("spending", None, "run-5")
    assert alert.value == pytest.approx(1.2)
    assert "cost_usd of p (total) adds up to $1.20 on one day, over the limit of $1.00 a day (+20 %)" in (
        alert.message
    )
    assert not read_alerts(connection, "open"), "three runs of the next day are far below it"
    assert explain_alert(connection, alert).values[-1] == pytest.approx(1.2)


def test_the_past_is_judged_as_the_present(connection: Connection) -> None:
    insert_sessions(connection, [run(number, *each) for number, each in enumerate(RUNS)])
    rules = [each for each in settings().rules if each.kind == "sum"]
    newest = find_session_ref(connection, f"run-{len(RUNS) - 1}")
    assert newest is not None
    replayed = {each.rule.name: each.alerts for each in replay(connection, newest, rules, 100)[0]}
    assert replayed == {"spending": 1, "asking": 0}
    past = [found for found, _ in evaluate_past(connection, newest, rules[0], {}, 9) if found.verdict.hit]
    assert [found.verdict.value for found in past] == [pytest.approx(1.2)]
    broken = violations(connection, rules)
    assert broken[["session_id", "rule", "kind"]].values.tolist() == [["run-5", "spending", "sum"]]
    assert broken["value"].tolist() == pytest.approx([1.2])


def test_a_day_is_the_only_sum() -> None:
    text = TEXT.replace('per = "day"', 'per = "week"')
    with pytest.raises(SettingsError, match=r"'per' in .*must be one of day"):
        read_alert_settings(parse(text, source="perfdb.toml").table("alerts"))


def test_a_newer_run_covers_another_only_where_it_counts_and_ran_the_same_steps(
    connection: Connection,
) -> None:
    ran = [{"a": 0.001}, {"a": 0.001}, {"b": 0.001}, {"b": 0.001}]
    runs = [make_session(number, steps) for number, steps in enumerate(ran)]
    insert_sessions(connection, [*runs, make_session(4, {"b": 0.001}, tags=("ignore",))])
    found = [newest_alike(connection, f"run-{number:04}") for number in range(5)]
    assert [each and (each[0].session_id, each[1] is not None) for each in found] == [
        ("run-0000", False), ("run-0001", False), ("run-0003", True), ("run-0003", True), ("run-0004", False),
    ]  # fmt: skip
    assert newest_alike(connection, "elsewhere") is None


def test_a_run_that_is_ahead_of_the_clock_is_the_newest_of_none_but_itself(connection: Connection) -> None:
    ahead = replace(make_session(2, {"a": 0.001}), start_time=time.time() + 3600)
    insert_sessions(connection, [make_session(0, {"a": 0.001}), make_session(1, {"a": 0.001}), ahead])
    found = [newest_alike(connection, f"run-{number:04}") for number in range(3)]
    assert [each and each[0].session_id for each in found] == ["run-0001", "run-0001", "run-0002"]
