"""From a recorded session to an alert and to whoever is notified, through the real tracker and database.

Of: alerts/callbacks.py, alerts/digests.py, recording/judged.py.
"""

from __future__ import annotations

import json
import os
import queue
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts import callbacks, evaluation, transactions
from perfdb.alerts.triage import Triage
from perfdb.recording.report import to_report, write_report
from perfdb.records import Session, Step
from perfdb.settings import load
from perfdb.testing import ManualClock
from perfdb.worker import alerting
from perfdb.worker import thread as worker_module

NOON = 1_767_268_800.0


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(alerting, "LOOP_TIME_SHARE", 1.0)  # the sessions here take no time at all
    yield
    recorder.close()


Run = Callable[..., Any]


@pytest.fixture
def run() -> Run:
    """Give a function that records a session whose steps take what is asked, in no time."""
    trackers: dict[str, Any] = {}

    def record(failed: bool = False, fast_mode: bool = False, **steps: float) -> Any:
        tracker = trackers.get("t")
        if tracker is None:
            tracker = trackers["t"] = perfdb.create_tracker(console=False, monitor=False)
            ManualClock(time.time()).drive(tracker)
        tracker.start_pipeline(fast_mode=fast_mode)
        for name, seconds in steps.items():
            with tracker.step(name):
                tracker._clock.passed += seconds
        tracker.end_pipeline(success=not failed, error="boom" if failed else None)
        return tracker

    return record


def configure(text: str) -> None:
    Path("perfdb.toml").write_text(text, encoding="utf-8")


def alerts(state: str = "open") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = perfdb.History().alerts(state).to_dict("records")
    return rows


MAX_RULE = '[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "work"\nlimit = 2.0\n'


def test_a_slow_step_fires_and_the_tracker_says_so(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    configure(MAX_RULE)
    assert run(work=1.0).alerts == []
    tracker = run(work=3.0)
    (alert,) = tracker.alerts
    assert (alert.rule, alert.step_name, alert.state, alert.value) == ("slow", "work", "firing", 3.0)
    tracker.print_summary()
    assert "⚠️ warning: work is at 3.00 s, over the limit of 2.00 s (+50 %)" in capsys.readouterr().out
    assert run(work=1.0).alerts == []


def test_each_mode_is_judged_by_itself(run: Run) -> None:
    configure(MAX_RULE + "mode = { fast_mode = true }\n")
    assert run(work=3.0).alerts == []
    assert run(work=3.0, fast_mode=True).alerts != []


def test_a_step_that_became_slower_is_one_alert_that_names_it(run: Run) -> None:
    for number in range(20):
        run(load=1.0 + number % 3 / 100, work=2.0 + number % 3 / 50)
    first = None
    for _ in range(8):
        tracker = run(load=1.0, work=4.0)
        first = first or tracker.session_id
    (alert,) = tracker.alerts
    assert (alert.step_name, alert.since_session_id, alert.n) == ("work", first, 8)
    assert alert.effect == pytest.approx(98, abs=2)
    assert "work became slower: from 2.02 s (median of" in alert.message
    assert "It explains the total's" in alert.message
    assert f"perfdb alerts expected {alert.id}" in alert.message
    assert [row["step_name"] for row in alerts()] == ["work"]
    assert {row["inhibited_by"] for row in alerts("firing") if row["id"] != alert.id} == {alert.id}


def test_expected_makes_the_new_level_normal_for_the_whole_group(run: Run) -> None:
    for number in range(20):
        run(work=2.0 + number % 3 / 50)
    for _ in range(8):
        run(work=4.0)
    desk = Triage(perfdb.History())
    (alert,) = desk.check().failing
    desk.decide(alert.id, "expected", "new model")
    assert desk.check().failing == ()
    for _ in range(20):
        assert run(work=4.0).alerts == []
    assert [event.event for event in desk.story(alert.id).events][-1] == "expected"


def test_an_accepted_level_lifts_a_limit(run: Run) -> None:
    configure(MAX_RULE)
    (alert,) = run(work=3.0).alerts
    Triage(perfdb.History()).decide(alert.id, "expected")
    assert run(work=3.1).alerts == []
    assert run(work=3.2).alerts != []


def test_failures_are_counted_and_the_last_error_is_named(run: Run) -> None:
    for number in range(12):
        tracker = run(failed=number >= 9, work=1.0)
    (alert,) = tracker.alerts
    assert (alert.rule, alert.step_name) == ("error_rate", None)
    assert "failed in 3 of the last 12 runs" in alert.message
    assert "Last error: boom." in alert.message


def test_a_numeric_attribute_can_be_watched() -> None:
    configure(
        '[[alerts.rules]]\nname = "few"\nkind = "min"\nlimit = 3\n'
        'step = "search"\nmetric = "products_found"\n'
    )
    tracker = perfdb.create_tracker(console=False)
    for found in (5, 2):
        tracker.start_pipeline()
        with tracker.step("search", products_found=found):
            pass
        tracker.end_pipeline()
    (alert,) = tracker.alerts
    assert (alert.value, alert.limit) == (2.0, 3.0)
    assert "products_found of search is at 2, under the limit of 3" in alert.message


def test_a_max_rule_fires_while_the_step_still_runs() -> None:
    configure('[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "endless"\nlimit = 0.1\n')
    fired = threading.Event()

    @perfdb.on_alert
    def note(alert: perfdb.Alert) -> None:
        fired.set()

    tracker = perfdb.create_tracker(console=False, monitor=False)
    try:
        tracker.start_pipeline()
        with tracker.step("endless"):
            assert fired.wait(20)
            assert alerts()[0]["state"] == "firing"
        tracker.end_pipeline()
        (alert,) = tracker.alerts
        assert alert.hits == 1
    finally:
        callbacks.forget(note)


def test_a_callback_that_raises_is_counted(run: Run) -> None:
    configure(MAX_RULE)
    called = threading.Event()

    @perfdb.on_alert
    def broken(alert: perfdb.Alert) -> None:
        called.set()
        raise RuntimeError("no")

    try:
        tracker = run(work=3.0)
        assert called.wait(20)
        recorder.close()
        assert tracker.health()["callback_errors"] == 1
        assert perfdb.History().session().status == "completed"
    finally:
        callbacks.forget(broken)


def test_rules_that_break_leave_the_recording_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(evaluation, "windows_of", broken)
    tracker = run(work=1.0)
    recorder.close(30.0)
    assert tracker.health()["rule_errors"] == 1
    assert perfdb.History().session().status == "completed"


def test_a_mistake_in_a_rule_is_said_at_the_start() -> None:
    configure('[[alerts.rules]]\nname = "slow"\nkind = "maxi"\nlimit = 2\n')
    with pytest.raises(perfdb.SettingsError, match=r"perfdb.toml, line 3: .*'max'"):
        perfdb.create_tracker()


def test_five_sessions_that_confirm_are_one_digest(run: Run) -> None:
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    configure(
        f'{MAX_RULE}[[alerts.channels]]\nname = "team"\nkind = "webhook"\n'
        f'url = "http://127.0.0.1:{server.server_port}/"\n'
    )
    for _ in range(5):
        run(work=3.0, other=1.0)
    recorder.close(10.0)
    (digest,) = received
    assert [alert["step_name"] for alert in digest["alerts"]] == ["work"]
    for _ in range(3):
        run(work=1.0, other=1.0)
    recorder.close(10.0)
    server.shutdown()
    server.server_close()
    assert len(received) == 2
    assert [alert["state"] for alert in received[1]["resolved"]] == ["resolved"]


def reported(number: int, work: float) -> Session:
    start = NOON + 60 * number
    return Session(
        session_id=f"old-{number:03d}",
        pipeline="design",
        start_time=start,
        total_duration=work,
        status="completed",
        success=True,
        fast_mode=False,
        mode='{"fast_mode":false}',
        perfdb_version="0.1.0",
        steps=(Step(step_name="work", start_time=start, duration=work, success=True),),
    )


def test_imported_history_opens_historic_alerts_and_tells_nobody() -> None:
    from perfdb.maintenance.importer import find_reports, import_reports

    for number in range(30):
        write_report(to_report(reported(number, 2.0 if number < 20 else 4.0)), Path("old"))
    assert all(each.error is None for each in import_reports(find_reports(["old"]), load()))
    assert alerts() == []
    assert {row["state"] for row in alerts("all")} == {"historic"}
    assert Triage(perfdb.History()).check().failing == ()


def test_what_a_dead_process_left_is_judged_as_it_would_have_done() -> None:
    configure(MAX_RULE)
    program = """
import os, perfdb
from perfdb.worker import thread as worker
worker.Worker._ensure_thread = lambda self: None  # it dies before anything reached the database
tracker = perfdb.create_tracker(console=False, monitor=False)
tracker.start_pipeline()
with tracker.step("work"):
    pass
tracker.end_pipeline()
os._exit(0)
"""
    environment = {**os.environ, "PERFDB_WAIT_S": "0"}
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env=environment)
    configure(MAX_RULE.replace("2.0", "0.0"))
    assert len(perfdb.History().sessions()) == 1
    assert [row["state"] for row in alerts("all")] == ["firing"]


@pytest.mark.parametrize("breaks", [False, True])
def test_rows_do_not_wait_for_the_judging_of_those_before_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    judged: list[str] = []

    def slowly(_: object, session_id: str, __: object) -> evaluation.Outcome:
        judged.append(session_id)
        if breaks:
            raise ZeroDivisionError
        time.sleep(worker_module.EVALUATE_S)
        return evaluation.Outcome()

    monkeypatch.setattr(transactions, "evaluate_session", slowly)
    monkeypatch.setattr(worker_module.Worker, "_ensure_thread", lambda _: None)
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    backlog = [run(work=1.0).session_id for _ in range(5)]
    worker = recorder._workers[load().home, load().database_url]
    worker.turn()
    assert judged == (backlog if breaks else backlog[:1])
    later = run(work=1.0).session_id
    worker.turn()
    assert perfdb.History().session(later).status == "completed"
    while worker.alerting.waits:
        worker.turn()
    assert judged == [*backlog, later]
    assert worker.health.as_dict().get("rule_errors", 0) == (6 if breaks else 0)


def test_a_turn_that_finds_nothing_amid_a_loop_is_no_pause_of_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[str] = []

    def noted(_: object, session_id: str, __: object) -> evaluation.Outcome:
        judged.append(session_id)
        return evaluation.Outcome()

    monkeypatch.setattr(transactions, "evaluate_session", noted)
    monkeypatch.setattr(alerting, "LOOP_TIME_SHARE", 1e-9)  # as if each evaluation took an age
    monkeypatch.setattr(worker_module, "QUIET_S", 60.0)
    monkeypatch.setattr(worker_module.Worker, "_ensure_thread", lambda _: None)
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    first = run().session_id
    worker = recorder._workers[load().home, load().database_url]
    worker.turn()
    last = [run().session_id for _ in range(3)][-1]
    for _ in range(3):
        worker.turn()
    assert judged == [first]
    monkeypatch.setattr(worker_module, "QUIET_S", 0.0)
    worker.turn()
    assert judged == [first, last]


def test_what_a_locked_database_keeps_from_being_judged_is_judged_later(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(MAX_RULE)
    monkeypatch.setattr(worker_module.Worker, "_ensure_thread", lambda _: None)
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    first, second = run(work=3.0).session_id, run(work=4.0).session_id
    worker = recorder._workers[load().home, load().database_url]
    worker._move()
    connection = sqlite3.connect("performance_tracking/perfdb.sqlite3", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    worker.turn()
    assert worker.alerting.waits
    connection.close()
    deadline = time.monotonic() + 60
    while worker.alerting.waits and time.monotonic() < deadline:  # a turn judges for a moment only
        worker.turn()
    assert not worker.alerting.waits
    (alert,) = alerts()
    assert (alert["since_session_id"], alert["last_session_id"], alert["hits"]) == (first, second, 2)


def test_rules_that_are_removed_close_their_alerts(run: Run) -> None:
    configure(MAX_RULE)
    run(work=3.0)
    Path("perfdb.toml").unlink()
    recorder.close()
    tracker = perfdb.create_tracker(console=False)
    tracker.start_pipeline(fast_mode=False)
    tracker.end_pipeline()
    assert alerts() == []
    assert [row["state"] for row in alerts("all")] == ["resolved"]


def test_silenced_and_acknowledged_alerts_pass_the_check(run: Run) -> None:
    configure(MAX_RULE)
    (alert,) = run(work=3.0).alerts
    desk = Triage(perfdb.History())
    number = desk.silence(3600.0, step="work")
    assert desk.check().passed[0][1] == "silenced"
    desk.unsilence(silence_id=number)
    assert len(desk.check().failing) == 1
    assert desk.check(confirm=2).passed[0][1] == "seen by 1 of 2 sessions"
    assert desk.check(fail_on="critical").failing == ()
    desk.decide(alert.id, "acknowledged")
    assert desk.check().passed[0][1] == "acknowledged"


def test_what_fired_in_a_silence_is_notified_once_it_has_expired(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerting, "LISTEN_S", 0.0)
    configure(MAX_RULE)
    notified: queue.Queue[perfdb.Alert] = queue.Queue()
    perfdb.on_alert(notified.put)
    try:
        run(work=1.0)
        desk = Triage(perfdb.History())
        desk.silence(3600.0, rule="slow")
        assert run(work=3.0).alerts == []
        assert [alert.silenced for alert in desk.alerts()] == [True]
        with sqlite3.connect("performance_tracking/perfdb.sqlite3") as connection:
            connection.execute("UPDATE silences SET expires_at = created_at")
        connection.close()
        assert [alert.silenced for alert in desk.alerts()] == [False]
        assert len(desk.check().failing) == 1
        assert notified.get(timeout=20).rule == "slow"
        run(work=3.0)
        recorder.close()
        assert notified.empty()
    finally:
        callbacks.forget(notified.put)


def test_a_false_alarm_counts_against_its_rule(run: Run) -> None:
    configure(MAX_RULE)
    (alert,) = run(work=3.0).alerts
    desk = Triage(perfdb.History())
    desk.decide(alert.id, "false alarm")
    assert run(work=3.0).alerts == []  # the same thing still goes on
    state = next(each for each in desk.rules() if each.rule.name == "slow")
    assert (state.alerts, state.false_alarms, state.precision) == (1, 1, 0.0)
    run(work=1.0)
    assert run(work=3.0).alerts != []


def test_every_rule_explains_its_sum(run: Run) -> None:
    configure(MAX_RULE)
    for _ in range(16):
        run(work=1.0)
    verdicts = Triage(perfdb.History()).verdicts()
    said = {(each.rule.name, each.step_name): each.verdict.arithmetic for each in verdicts}
    assert "1 > limit 2: no" in said["slow", "work"]
    assert "T = (median of last 5" in said["fast_shift", "work"]
    assert "0 of 16 failed" in said["error_rate", None]
    assert replace(verdicts[0]) == verdicts[0]
