"""What was called off is no failure and has no duration to learn from, in SQLite and in PostgreSQL alike."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.maintenance.importer import import_reports
from perfdb.recording.report import read_report, to_report, write_report
from perfdb.records import Session
from perfdb.settings import load
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.upkeep.copying import copy_history
from perfdb.testing import ManualClock

REASON = "CancelledError: the client went away"


@pytest.fixture
def host(migrated_url: str, tmp_path: Path) -> Iterator[Any]:
    """Give a tracker that records to a database of either kind, on a clock of its own."""
    tracker: Any = perfdb.create_tracker(
        "etl", home=tmp_path / "home", database_url=migrated_url, console=False, monitor=False
    )
    ManualClock(time.time()).drive(tracker)
    yield tracker
    recorder.close(30.0)


def record(host: Any, seconds: float, *, step: BaseException | None = None, of_session: bool = False) -> str:
    """Record a session of one step ``call``, ended by an exception."""
    session_id: str = host.start_pipeline()
    with suppress(BaseException), host.step("call"):
        host._clock.passed += seconds
        if step is not None:
            raise step
    host.end_pipeline(error=step if of_session else None)
    return session_id


def cancelled() -> asyncio.CancelledError:
    return asyncio.CancelledError("the client went away")


def called_off(host: Any) -> perfdb.Session:
    record(host, 3.0, step=cancelled(), of_session=True)
    assert host.session is not None
    found: perfdb.Session = host.session
    return found


def test_every_reader_says_the_same_of_it(host: Any, migrated_url: str) -> None:
    session = called_off(host)
    history = perfdb.History(migrated_url)
    assert history.session() == session
    row, frame = history.session_rows()[0], history.sessions().iloc[0]
    expected = {"status": "interrupted", "success": False, "error_message": REASON, "total_duration": 3.0}
    assert {name: row[name] for name in expected} == expected
    assert {name: frame[name] for name in expected} == expected
    row, frame = history.step_rows()[0], history.steps().iloc[0]
    expected = {"status": "interrupted", "success": False, "error_message": REASON, "duration": 3.0}
    assert {name: row[name] for name in expected} == expected
    assert {name: frame[name] for name in expected} == expected


def test_the_report_says_it_and_comes_back_equal(
    host: Any, migrated_url: str, tmp_path: Path, create_database: Callable[..., str]
) -> None:
    session = called_off(host)
    path = host.save_performance_report()
    report = json.loads(Path(path).read_text())
    assert (report["status"], report["success"], report["error_message"]) == ("interrupted", False, REASON)
    (step,) = report["steps"]
    assert (step["status"], step["success"], step["error_message"]) == ("interrupted", False, REASON)
    assert step["end_time"] == pytest.approx(step["start_time"] + 3.0, abs=1e-6)
    assert read_report(path) == session
    kept = perfdb.History(migrated_url).session()
    exported = write_report(to_report(kept), tmp_path / "exported.json")
    for number, other in enumerate((f"sqlite:///{tmp_path}/other.sqlite3", create_database())):
        (taken,) = import_reports([exported], load(home=tmp_path / str(number), database_url=other))
        assert (taken.error, taken.added) == (None, 1)
        assert perfdb.History(other).session() == kept


def test_it_is_outside_of_percentiles_and_of_failures(host: Any, migrated_url: str) -> None:
    for seconds in (1.0, 2.0, 3.0):
        record(host, seconds)
    record(host, 1.5, step=ValueError("no"))
    for _ in range(4):
        record(host, 900.0, step=cancelled())
        record(host, 900.0, step=cancelled(), of_session=True)
    history = perfdb.History(migrated_url)
    for by in ("last", "all", "day", "week"):
        trends = history.trends(by=by, step="call")
        assert trends[["n", "failures"]].to_numpy().tolist() == [[3, 1]], by
        assert trends["mean"].tolist() == [2.0], by
    assert set(history.sessions(status="interrupted")["total_duration"]) == {900.0}
    totals = history.trends()
    (total,) = totals[totals["step_name"].isna()].to_dict("records")
    assert (total["n"], total["failures"]) == (8, 0)  # the steps of four were called off, they were not


def test_runs_that_are_called_off_are_no_error_rate(host: Any) -> None:
    for _ in range(6):
        record(host, 0.5)
    for _ in range(15):
        record(host, 0.5, step=cancelled(), of_session=True)
        record(host, 0.5, step=cancelled())
    assert host.alerts == []
    for _ in range(9):
        record(host, 0.5, step=ValueError("no"))
    by_rule = {(alert.rule, alert.step_name): alert for alert in host.alerts}
    rate = by_rule["error_rate", "call"]
    assert (rate.n, rate.value) == (15, pytest.approx(9 / 15))  # neither good nor bad runs came in between


def test_an_alert_counts_failures_that_differ_only_in_an_id_as_one_kind(host: Any, migrated_url: str) -> None:
    for _ in range(10):
        record(host, 0.5)
    record(host, 0.5, step=KeyError("another"))
    for number in range(8):
        record(host, 0.5, step=ValueError(f"no such scope {0x7F5E1C2B3A40 + number:x}"))
    (alert,) = (each for each in host.alerts if each.rule == "error_rate")
    assert "Last error: ValueError: no such scope 7f5e1c2b3a4" in alert.message
    counted = re.search(r"(\d+) of the (\d+) failures since then (?:is|are) of this kind\.", alert.message)
    assert counted is not None
    alike, of = map(int, counted.groups())
    assert (alike, of - alike) in {(each, one) for each in range(3, 9) for one in (0, 1)}
    found = perfdb.History(migrated_url).failures()
    assert found[["step_name", "status", "n"]].to_numpy().tolist() == [
        ["call", "failed", 8],
        ["call", "failed", 1],
    ]
    assert found["reason"].tolist() == ["ValueError: no such scope …", "KeyError: 'another'"]


def test_nothing_that_comes_later_changes_it(host: Any, migrated_url: str) -> None:
    session = called_off(host)
    engine = open_engine(migrated_url, role="writer")
    with engine.begin() as connection:
        again = replace(session, status="completed", success=True, error_message=None)
        assert insert_sessions(connection, [again]) == (0, 1)
    engine.dispose()
    assert perfdb.History(migrated_url).session() == session


def test_a_copy_has_it_and_a_cut_off_one_never_takes_its_place(
    host: Any, migrated_url: str, tmp_path: Path, create_database: Callable[..., str]
) -> None:
    session = called_off(host)
    for there in (f"sqlite:///{tmp_path}/there.sqlite3", create_database()):
        assert not any(each.wrong for each in copy_history(migrated_url, there))
        assert perfdb.History(there).session() == session
    cut_off = f"sqlite:///{tmp_path}/cut-off.sqlite3"
    died = replace(session.steps[0], duration=None, success=None, interrupted=False, error_message=None)
    insert(cut_off, replace(session, total_duration=None, success=None, error_message=None, steps=(died,)))
    copy_history(cut_off, migrated_url)
    assert perfdb.History(migrated_url).session() == session
    copy_history(migrated_url, cut_off)  # the end is news there
    assert perfdb.History(cut_off).session() == session


def insert(url: str, session: Session) -> None:
    from perfdb.store.schema import ensure_schema

    ensure_schema(url)
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [session])
    engine.dispose()


def test_screens_and_pages_do_not_call_it_failed(
    host: Any, migrated_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from perfdb.cli import main

    monkeypatch.setenv("COLUMNS", "160")
    session_id = record(host, 3.0, step=cancelled(), of_session=True)
    report = perfdb.History(migrated_url).report(session_id).html.replace("\u00a0", " ")
    assert f"Interrupted after 3.00 s: {REASON}" in report
    shown = re.sub(r"<style>.*?</style>|<script\b.*?</script>", "", report.partition("<body")[2], flags=re.S)
    assert "interrupted" in shown
    assert "failed" not in shown
    assert "✗" not in shown
    for command in (["show", session_id], ["steps"], ["sessions"]):
        with suppress(SystemExit):
            main([*command, "-d", migrated_url])
        said = capsys.readouterr().out
        assert REASON in said, command
        assert "!" in said, command
        assert "✗" not in said, command
