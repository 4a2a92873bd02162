"""Alerts, silences, baselines and the outbox, the same on both databases.

Of: store/outbox.py.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from perfdb.alerts.config import AlertSettings, Channel
from perfdb.alerts.evaluation import (
    after_session,
    after_silence,
    look_at_session,
    settle_session,
    while_running,
)
from perfdb.alerts.late import evaluate_imported
from perfdb.alerts.transactions import evaluate_session
from perfdb.analysis.rules import Rule
from perfdb.analysis.series import Series
from perfdb.errors import NotFoundError
from perfdb.measures import named
from perfdb.records import Session, Step
from perfdb.store import alerts, outbox
from perfdb.store.ingest import insert_sessions
from perfdb.store.sessions import delete_sessions, tag_session
from perfdb.store.windows import find_session_ref, read_windows
from tests.given import Given, delivery_counts

START = 1_785_500_000.0
MODE = '{"fast_mode":false}'
SETTINGS = AlertSettings(channels=(Channel(name="team", kind="log"),))


def session(number: int, work: float = 2.0, **changes: Any) -> Session:
    at = START + 100 * number
    steps = (
        Step(step_name="load", start_time=at, duration=1.0, success=True, additional_data={"rows": number}),
        Step(step_name="work", start_time=at + 1, duration=work, success=True, seq=1, cpu_s=0.5),
    )
    values: dict[str, Any] = {
        "session_id": f"s{number:03d}", "pipeline": "etl", "start_time": at, "total_duration": 1.0 + work,
        "status": "completed", "success": True, "fast_mode": False, "mode": MODE, "steps": steps, **changes,
    }  # fmt: skip
    return Session(**values)


def record(connection: Connection, *sessions: Session, settings: AlertSettings = SETTINGS) -> None:
    for each in sessions:
        insert_sessions(connection, [each])
        after_session(connection, each.session_id, settings, each.start_time + 50)


def healthy(count: int) -> list[Session]:
    return [session(number, 2.0 + 0.05 * math.sin(number)) for number in range(count)]


def test_a_shift_becomes_one_alert_and_one_message(connection: Connection) -> None:
    record(connection, *healthy(20), *(session(number, 4.0) for number in range(20, 30)))
    (alert,) = alerts.read_alerts(connection)
    assert (alert.step_name, alert.state, alert.since_session_id) == ("work", "firing", "s020")
    assert alert.baseline == pytest.approx(2.0, abs=0.05)
    assert alert.details["usual"][0] < 2.0 < alert.details["usual"][1]
    assert delivery_counts(connection) == {"team": {"waiting": 1}}
    events = [each.event for each in alerts.events_of(connection, alert.id)]
    assert events[:3] == ["opened pending", "fired", "confirmed"]
    assert {each.step_name for each in alerts.spoken_for_by(connection, [alert.id])} <= {None, "work"}
    record(connection, *(session(number, 2.0) for number in range(30, 33)))
    assert alerts.read_alert(connection, alert.id).state == "resolved"
    with pytest.raises(NotFoundError, match="no alert 999"):
        alerts.read_alert(connection, 999)


def test_judging_a_session_again_changes_nothing(connection: Connection) -> None:
    record(connection, *healthy(20), *(session(number, 4.0) for number in range(20, 26)))
    before = alerts.read_alerts(connection, "all")
    assert look_at_session(connection, "s025", SETTINGS, START + 9e5) is None
    after_session(connection, "s025", SETTINGS, START + 9e5)
    assert alerts.read_alerts(connection, "all") == before


def test_frames_have_the_same_columns_and_types(connection: Connection) -> None:
    empty = alerts.alerts_frame(alerts.read_alerts(connection))
    record(connection, *healthy(20), *(session(number, 4.0) for number in range(20, 26)))
    frame = alerts.alerts_frame(alerts.read_alerts(connection))
    assert list(frame.columns) == list(alerts.ALERT_COLUMNS) == list(empty.columns)
    assert (frame.dtypes == empty.dtypes).all()


def test_of_the_open_alerts_the_most_severe_come_first_on_every_page(connection: Connection) -> None:
    for severity in ("warning", "critical", "info"):
        for number in (1, 2):
            rule = Rule(name=f"{severity}-{number}", kind="max", step="work", limit=3.0, severity=severity)
            record(connection, session(10 * number, 4.0), settings=AlertSettings(rules=(rule,)))
            for each in alerts.read_alerts(connection, "all"):
                kept = replace(each, active=False, inhibited_by=None, state="firing")
                alerts.save_alert(connection, kept)
    found = alerts.read_alerts(connection, "open")
    assert [each.severity for each in found] == ["critical"] * 2 + ["warning"] * 2 + ["info"] * 2
    paged, after = [], None
    while page := alerts.read_alerts(connection, "open", after=after, limit=1):
        paged += page
        after = page[-1].opened_at, page[-1].id
    assert paged == found


def test_silences_hold_back_until_they_end(connection: Connection) -> None:
    slow = AlertSettings(
        rules=(Rule(name="slow", kind="max", step="work", limit=3.0),), channels=SETTINGS.channels
    )
    alerts.add_silence(connection, now=START, expires_at=START + 150, step_name="work")
    record(connection, session(0, 4.0), settings=slow)
    assert delivery_counts(connection) == {}
    record(connection, session(1, 4.0), session(2, 4.0), settings=slow)
    assert delivery_counts(connection) == {"team": {"waiting": 1}}


def test_an_accepted_level_is_where_history_begins(connection: Connection) -> None:
    record(connection, *healthy(20), *(session(number, 4.0) for number in range(20, 26)))
    (alert,) = alerts.read_alerts(connection)
    alerts.accept_baseline(connection, alert, START)
    found = alerts.accepted_baselines(connection, "etl", MODE)
    assert found["work", "duration"].since_session_id == "s020"
    assert found["work", "duration"].value == 4.0
    assert found[None, "duration"].value is None
    drift = replace(
        alert, kind="trend", since_session_id="s005", since_time=alert.since_time - 1500, value=2.5
    )
    alerts.accept_baseline(connection, drift, START)  # that spoke of the same move, and is closed with it
    assert alerts.accepted_baselines(connection, "etl", MODE) == found


def numbers_of(series: Series) -> list[tuple[float, float, float]]:
    return list(zip(series.values, series.highest, series.lowest, strict=True))


def test_windows_hold_what_counts_up_to_the_session(connection: Connection) -> None:
    insert_sessions(
        connection, [session(0), session(1, status="failed", success=False), session(2), session(3)]
    )
    tag_session(connection, "s002", "warmup")
    ref = find_session_ref(connection, "s003")
    assert ref is not None
    found = read_windows(
        connection, ref, 10, metrics=("duration", "cpu_s"), attributes={"load": [named("rows")]}
    )
    windows = {(window.step_name, window.metric): window for window in found}
    assert {name for name, _ in windows} == {None, "load", "work"}
    total, load, work = windows[None, "duration"], windows["load", "rows"], windows["work", "cpu_s"]
    assert found[0] is total
    assert total.session_ids == ["s000", "s001", "s003"]
    assert total.failed == [False, True, False]
    assert total.counted == [True, False, True]
    assert numbers_of(total.good) == [(3.0, 3.0, 3.0), (3.0, 3.0, 3.0)]
    assert numbers_of(load)[-1] == (3.0, 3.0, 3.0)
    assert numbers_of(work)[0] == (0.5, 0.5, 0.5)
    earlier = find_session_ref(connection, "s000")
    assert earlier is not None
    assert read_windows(connection, earlier, 10)[0].session_ids == ["s000"]
    assert read_windows(connection, ref, 2)[0].session_ids == ["s001", "s003"]


def test_steps_that_run_several_times_count_with_their_mean_and_worst(connection: Connection) -> None:
    steps = tuple(
        Step(step_name="query", start_time=START + seq, duration=float(seq + 1), success=True, seq=seq)
        for seq in range(3)
    )
    insert_sessions(connection, [session(0, steps=steps)])
    ref = find_session_ref(connection, "s000")
    assert ref is not None
    assert numbers_of(read_windows(connection, ref, 5)[1]) == [(2.0, 3.0, 1.0)]


def test_a_running_session_is_judged_by_max_rules(
    connection: Connection, run_records: Callable[..., list[dict[str, object]]]
) -> None:
    from perfdb.store.ingest import apply_records

    started = run_records("live")[:1]
    apply_records(connection, {"journal_id": "j", "host": "h", "pid": 1}, started, offset=1)
    settings = AlertSettings(rules=(Rule(name="slow", kind="max", step="work", limit=3.0),))
    outcome = while_running(connection, "live", {None: 9.0, "work": 4.0}, settings, START)
    assert [(alert.step_name, alert.value, alert.state) for alert in outcome.fired] == [
        ("work", 4.0, "firing")
    ]
    again = while_running(connection, "live", {"work": 5.0}, settings, START + 1)
    assert again.fired == ()
    assert [alert.hits for alert in alerts.read_alerts(connection)] == [1]


SLOW = replace(SETTINGS, rules=(Rule(name="slow", kind="max", step="work", limit=3.0),))


def test_a_silence_is_over_when_it_expires(connection: Connection) -> None:
    now = time.time()
    alerts.add_silence(connection, now=now - 20, expires_at=now - 10, rule="slow")
    insert_sessions(connection, [session(0, 4.0)])
    assert after_session(connection, "s000", SLOW, now - 15).fired == ()
    assert [alert.silenced for alert in alerts.read_alerts(connection)] == [False]
    assert after_silence(connection, SLOW, now - 12).fired == ()
    (alert,) = after_silence(connection, SLOW, now).fired
    assert after_silence(connection, SLOW, now).fired == ()
    assert [event.event for event in alerts.events_of(connection, alert.id)][-1] == "silence ended"
    assert delivery_counts(connection) == {"team": {"waiting": 1}}


def test_nobody_is_notified_after_a_silence_of_what_has_passed(connection: Connection) -> None:
    now = time.time()
    alerts.add_silence(connection, now=now - 20, expires_at=now - 10, rule="slow")
    insert_sessions(connection, [session(0, 4.0), session(1, 2.0)])
    after_session(connection, "s000", SLOW, now - 15)
    after_session(connection, "s001", SLOW, now - 15)
    assert after_silence(connection, SLOW, now).fired == ()
    insert_sessions(connection, [session(2, 4.0)])
    assert len(after_session(connection, "s002", SLOW, now).fired) == 1


def test_imported_sessions_are_historic(connection: Connection) -> None:
    insert_sessions(connection, [*healthy(20), *(session(number, 4.0) for number in range(20, 30))])
    evaluate_imported(Given(connection), [f"s{number:03d}" for number in range(30)], SETTINGS)
    assert {alert.state for alert in alerts.read_alerts(connection, "all")} == {"historic"}
    assert delivery_counts(connection) == {}


def test_what_a_person_decides_while_a_session_is_looked_at_counts(connection: Connection) -> None:
    record(connection, *healthy(20), *(session(number, 4.0) for number in range(20, 30)))
    insert_sessions(connection, [session(30, 8.0)])
    found = look_at_session(connection, "s030", SETTINGS, START + 1e4)
    assert found is not None
    (alert,) = (each for each in alerts.read_alerts(connection) if each.step_name == "work")
    alerts.save_alert(connection, replace(alert, state="acknowledged"))
    assert settle_session(connection, found, SETTINGS, START + 1e4) is None
    evaluate_session(Given(connection), "s030", SETTINGS)
    assert alerts.read_alert(connection, alert.id).state == "acknowledged"
    assert alerts.read_alert(connection, alert.id).hits > alert.hits


def test_a_session_that_went_while_it_was_looked_at_changes_nothing(connection: Connection) -> None:
    record(connection, *healthy(20), *(session(number, 4.0) for number in range(20, 29)))
    insert_sessions(connection, [session(29, 4.0)])
    found = look_at_session(connection, "s029", SETTINGS, START + 1e4)
    assert found is not None
    delete_sessions(connection, ["s029"])
    before = alerts.read_alerts(connection, "all")
    assert settle_session(connection, found, SETTINGS, START + 1e4) is None
    assert alerts.read_alerts(connection, "all") == before


def test_a_message_is_claimed_by_one_and_comes_back_after_its_lease(connection: Connection) -> None:
    outbox.put(connection, "team", {"alerts": []}, 100.0)
    message = outbox.claim(connection, ["team"], 100.0, 60.0)
    assert message is not None
    assert outbox.claim(connection, ["team"], 101.0, 60.0) is None
    assert outbox.next_due(connection, ["team"]) == 160.0
    again = outbox.claim(connection, ["team"], 161.0, 60.0)
    assert again is not None
    assert (again.id, again.attempts, again.payload) == (message.id, 2, {"alerts": []})
    outbox.mark_sent(connection, message.id, 162.0)
    assert outbox.next_due(connection, ["team"]) is None
    assert outbox.put_in_last_hour(connection, "team", 200.0) == 1


def test_messages_of_a_clock_that_was_a_year_ahead_are_sent_and_take_no_room(connection: Connection) -> None:
    outbox.put(connection, "team", {"alerts": []}, START + 366 * 86_400)
    assert outbox.put_in_last_hour(connection, "team", START) == 0
    message = outbox.claim(connection, ["team"], START, 60.0)
    assert message is not None
    assert message.attempts == 1
    assert outbox.claim(connection, ["team"], START - 366 * 86_400, 60.0) is None, "another sends it"


def test_hostile_names_go_in_and_out(connection: Connection) -> None:
    hostile = "'; DROP TABLE alerts; --\x1b[31m\u202e"
    settings = AlertSettings(rules=(Rule(name="slow", kind="max", step="*", limit=0.5),))
    step = Step(step_name=hostile, start_time=START, duration=2.0, success=True)
    record(connection, session(0, steps=(step,), pipeline="<b>"), settings=settings)
    assert {alert.step_name for alert in alerts.read_alerts(connection, "all")} == {None, hostile}
