"""What an alert knows of its move: its cause, its boundary, and that it is one.

Of: alerts/causes.py, alerts/details.py, alerts/settling.py, alerts/verdicts.py.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Connection

from perfdb.alerts.causes import of_details
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.details import with_details
from perfdb.alerts.evaluation import after_session
from perfdb.alerts.explain import explain_alert
from perfdb.alerts.judging import evaluate_now
from perfdb.alerts.moves import moves_of
from perfdb.records import Alert, Session
from perfdb.store.alerts import events_of, read_alerts
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.windows import find_session_ref
from perfdb.testing import make_session

NOON = 1_767_268_800.0
SEEDS = (13, 16)  # of those that were tried, these have a first slow run that looks like an old one
NORMAL = '{"fast_mode":false}'


@pytest.fixture
def connection(migrated_file: Path, tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'p.sqlite3')}", role="writer")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def session_of(number: int, steps: dict[str, float], **attributes: Any) -> Session:
    return make_session(number, steps, fast_mode=False, attributes=attributes)


def record(connection: Connection, session: Session) -> None:
    insert_sessions(connection, [session])
    after_session(connection, session.session_id, AlertSettings(), session.start_time)


def levels(connection: Connection) -> list[Alert]:
    return [each for each in read_alerts(connection, "all") if each.kind in ("fast_shift", "change_point")]


def test_an_alert_names_the_parts_of_the_move_and_what_switched(connection: Connection) -> None:
    noise = random.Random(1)
    for number in range(40):
        slow = number >= 30
        steps = {"load": noise.gauss(1.0, 0.02), "work": noise.gauss(4.0 if slow else 2.0, 0.03)}
        record(connection, session_of(number, steps, model="b" if slow else "a", host_name="x"))
    (head,) = read_alerts(connection, "open")
    cause = of_details(head.details)
    assert cause is not None
    assert (head.step_name, head.since_session_id) == ("work", "run-0030")
    assert cause.total_s == pytest.approx(2.0, abs=0.1)
    assert sum(part.percent or 0.0 for part in cause.parts) == pytest.approx(100)
    assert "It explains the total's +1.98 s: work +2.01 s (101 %), Other -27.5 ms (-1 %)." in head.message
    assert "Suspect: model switched from a to b at the same session." in head.message


def test_two_switches_at_once_are_said_to_be_confounded(connection: Connection) -> None:
    for number in range(40):
        slow = number >= 30
        words = {"model": "b", "release": "2"} if slow else {"model": "a", "release": "1"}
        record(connection, session_of(number, {"work": (4.0 if slow else 2.0) + number % 3 / 50}, **words))
    (head,) = read_alerts(connection, "open")
    assert "Suspect: model switched from a to b at the same session; release switched" in head.message
    assert "confounded, any of them may be the cause." in head.message


def test_nothing_is_suspected_when_nothing_switched(connection: Connection) -> None:
    for number in range(40):
        slow = number >= 30
        record(
            connection, session_of(number, {"work": (4.0 if slow else 2.0) + number % 3 / 50}, count=number)
        )
    (head,) = read_alerts(connection, "open")
    assert "Suspect" not in head.message


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_one_move_is_one_alert_however_often_it_is_looked_at(
    connection: Connection, seed: int, factor: float
) -> None:
    noise = random.Random(seed)
    for number in range(90):
        level = 2.0 * (factor if number >= 40 else 1.0)
        record(connection, session_of(number, {"work": level * noise.lognormvariate(0, 0.15)}))
    found = levels(connection)
    keys = [(alert.rule, alert.step_name) for alert in found]
    assert found
    assert len(keys) == len(set(keys))
    assert {abs(int(alert.since_session_id[-4:]) - 40) <= 5 for alert in found} == {True}


def test_a_boundary_that_moves_is_the_same_alert(connection: Connection) -> None:
    """The first slow run is followed by one of the old level: later runs show where the move was."""
    moved: list[str] = []
    for seed in SEEDS:
        noise = random.Random(100 + seed)
        for number in range(58):
            level = 2.0 * (1.6 if number >= 30 else 1.0)
            session = session_of(number + 1000 * seed, {"work": level * noise.lognormvariate(0, 0.22)})
            record(connection, _of_pipeline(session, f"p{seed}"))
    for alert in levels(connection):
        events = [each.event for each in events_of(connection, alert.id)]
        if "moved" in events:
            moved.append(alert.pipeline)
            assert abs(int(alert.since_session_id[-4:]) % 1000 - 30) <= 5
            assert alert.since_session_id in alert.message
    assert moved


def _of_pipeline(session: Session, pipeline: str) -> Session:
    return replace(session, pipeline=pipeline)


@pytest.mark.parametrize(("waits", "fires"), [(True, False), (False, True)])
def test_what_the_machine_added_is_no_change_of_the_pipeline(
    connection: Connection, waits: bool, fires: bool
) -> None:
    noise = random.Random(5)
    for number in range(60):
        added = 0.003 if number >= 45 else 0.0
        step = noise.lognormvariate(0.0, 0.1) * 0.003 + added
        session = session_of(number, {"work": step})
        if waits:
            (work,) = session.steps
            session = replace(session, cpu_wait_s=added, steps=(replace(work, cpu_wait_s=added),))
        record(connection, session)
    assert bool(levels(connection)) is fires
    assert bool(moves_of(connection)) is fires


def test_a_machine_that_is_shared_for_good_is_told(connection: Connection) -> None:
    for number in range(60):
        added = 0.6 if number >= 45 else 0.0
        session = session_of(number, {"work": 1.0 + number % 7 / 50 + added})
        (work,) = session.steps
        record(connection, replace(session, cpu_wait_s=added, steps=(replace(work, cpu_wait_s=added),)))
    assert levels(connection)


def test_an_alert_tells_the_medians_of_the_runs_that_it_names(connection: Connection) -> None:
    """Rules compare runs without what they waited for a CPU; what they tell can be found among the rows."""
    noise, recorded = random.Random(5), []
    for number in range(60):
        step = noise.lognormvariate(0.0, 0.1) * (0.1 if number < 45 else 0.2)
        added = noise.uniform(0.005, 0.03)
        recorded.append(step + added)
        session = session_of(number, {"work": step + added})
        (work,) = session.steps
        record(connection, replace(session, cpu_wait_s=added, steps=(replace(work, cpu_wait_s=added),)))
    found = [each for each in levels(connection) if each.step_name == "work"]
    assert found
    for alert in found:
        at = int(alert.since_session_id[-4:])
        before, since = recorded[at - alert.baseline_n : at], recorded[at:]
        assert (alert.baseline, alert.value) == pytest.approx((median(before), median(since)), abs=1e-6)
        assert alert.n == len(since)
        said = explain_alert(connection, alert)
        medians = (said.before_median, said.after_median)
        assert medians == pytest.approx((alert.baseline, alert.value), abs=1e-6)
        assert "waited for a CPU" in alert.details["arithmetic"]


def test_an_alert_whose_runs_were_deleted_meanwhile_keeps_its_own_figures(connection: Connection) -> None:
    for number in range(40):
        record(connection, session_of(number, {"work": 1.0 if number < 30 else 2.0}))
    alert = next(each for each in levels(connection) if each.step_name == "work")
    last = find_session_ref(connection, alert.last_session_id)
    assert last is not None
    changes = [(alert, ["opened"])]
    ((told, _),) = with_details(connection, last, [], changes, AlertSettings(), list)  # no window has it
    assert (told.value, told.baseline, told.n) == (alert.value, alert.baseline, alert.n)


def test_the_wave_of_the_day_is_no_switch_between_two_levels(connection: Connection) -> None:
    noise = random.Random(7)
    sessions = []
    for number in range(900):
        start = NOON + 1_200 * number
        seconds = noise.lognormvariate(0, 0.05) * (1 + 0.35 * math.sin(2 * math.pi * start / 86_400))
        sessions.append(make_session(number, {"work": seconds}, start_time=start))
    insert_sessions(connection, sessions)
    newest = sessions[-1]
    after_session(connection, newest.session_id, AlertSettings(), newest.start_time)
    assert [each for each in read_alerts(connection, "all") if each.kind == "switching"] == []


def test_what_rules_say_now_knows_the_wave_of_the_day_as_alerts_do(connection: Connection) -> None:
    """The newest 200 runs are of a day and a half, in which its wave is no wave yet."""
    noise = random.Random(7)
    sessions = []
    for number in range(1_000):
        start = NOON + 600 * number
        seconds = noise.lognormvariate(0, 0.1) * (1 + 0.35 * math.sin(2 * math.pi * start / 86_400))
        sessions.append(make_session(number, {"work": seconds}, start_time=start))
    insert_sessions(connection, sessions)
    newest = sessions[-1]
    after_session(connection, newest.session_id, AlertSettings(), newest.start_time)
    said = evaluate_now(connection, AlertSettings().rules)
    assert {each.rule.kind for each in said if each.verdict.hit} == set()
    assert read_alerts(connection, "all") == []


def test_what_moves_together_on_one_host_is_one_alert_about_the_host(connection: Connection) -> None:
    noise = random.Random(2)
    for number in range(120):
        slower = 1.3 if number >= 90 else 1.0
        pipeline = ("etl", "report")[number % 2]
        steps = {name: slower * noise.lognormvariate(0, 0.02) for name in ("load", "work", "save")}
        session = replace(session_of(number, steps), pipeline=pipeline, host="build-3")
        record(connection, session)
    (head,) = read_alerts(connection, "open")
    assert head.headline.startswith("warning: everything on build-3 became 3")
    spoken_for = [each for each in read_alerts(connection, "all") if each.state == "firing"]
    assert {each.pipeline for each in spoken_for} == {"etl", "report"}
    assert {each.notified_at for each in spoken_for if each.pipeline != head.pipeline} == {None}


def test_a_step_that_moves_alone_says_nothing_about_its_host(connection: Connection) -> None:
    noise = random.Random(2)
    for number in range(60):
        steps = {name: noise.lognormvariate(0, 0.02) for name in ("load", "work", "save")}
        steps["work"] *= 1.5 if number >= 45 else 1.0
        record(connection, replace(session_of(number, steps), host="build-3"))
    (head,) = read_alerts(connection, "open")
    assert head.headline.startswith("warning: work became slower")
