"""The tracker: what a session records from its start to its report.

Of: recording/live.py, recording/snapshot.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.recording.tracker import Tracker, _in_event_loop

Make = Callable[..., Tracker]


def test_the_seeds_snippet_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from perfdb import create_tracker, track_vision_analysis

    tracker = create_tracker()
    tracker.start_pipeline(fast_mode=False)

    with track_vision_analysis(tracker):
        pass

    tracker.end_pipeline(success=True, product_count=5)
    path = tracker.save_performance_report()
    tracker.print_summary()

    assert path == f"performance_tracking/performance_report_{tracker.session_id}.json"
    report = json.loads(Path(path).read_text())
    assert (
        list(report)[:7]
        == "session_id total_duration fast_mode success product_count timestamp steps".split()
    )
    assert list(report["steps"][0])[:7] == (
        "step_name start_time end_time duration success error_message additional_data".split()
    )
    out = capsys.readouterr().out
    assert out.startswith(
        f"🚀 Performance tracking started (Session: {tracker.session_id})\n   ⚡ Fast mode: False\n"
    )
    assert re.search(r"^   ✅ Completed step: Vision Analysis \(\d+\.\d\ds\)$", out, re.MULTILINE)
    assert "Products Found: 5\n" in out
    assert tracker.health()["ok"]


def test_the_database_has_the_session_when_end_pipeline_returns(tracker: Tracker) -> None:
    with tracker.step("load", rows=3):
        pass
    tracker.end_pipeline(product_count=2)
    stored = perfdb.History().session("last")
    assert stored == tracker.session


def test_report_and_database_agree_to_the_microsecond(tracker: Tracker) -> None:
    with tracker.step("a"), tracker.step("b"):
        pass
    tracker.end_pipeline()
    path = tracker.save_performance_report()
    assert path is not None
    from perfdb.recording.report import read_report

    assert read_report(Path(path)) == perfdb.History().session("last")


def test_attributes_of_the_session_come_from_start_and_set(tracker_with: Make) -> None:
    tracker = tracker_with()
    tracker.start_pipeline(model="gpt-4o", git="abc")
    tracker.set(model="gpt-4o-mini", tokens=12)
    tracker.end_pipeline()
    assert perfdb.History().session().attributes == {"model": "gpt-4o-mini", "git": "abc", "tokens": 12}


def test_a_failed_pipeline_says_why(tracker: Tracker) -> None:
    tracker.end_pipeline(success=False, error=ValueError("no products"))
    stored = perfdb.History().session()
    assert (stored.status, stored.success) == ("failed", False)
    assert stored.error_message == "ValueError: no products"


def test_a_given_session_id_is_used(tracker_with: Make) -> None:
    tracker = tracker_with()
    assert tracker.start_pipeline(session_id="nightly.42") == "nightly.42"
    tracker.end_pipeline()
    assert perfdb.History().session("nightly.42").session_id == "nightly.42"


@pytest.mark.parametrize("bad", ["", "../etc", "a/b", "-x", "a" * 129, "a\n", "a b", 7])
def test_a_session_id_that_is_no_file_name_is_refused_at_once(tracker_with: Make, bad: Any) -> None:
    with pytest.raises(perfdb.InvalidSessionIdError):
        tracker_with().start_pipeline(session_id=bad)


def test_ids_of_one_second_differ(tracker_with: Make) -> None:
    tracker = tracker_with(monitor=False, strict=False, home=Path("many"))
    ids = {tracker._new_session_id() for _ in range(4000)}
    assert len(ids) == 4000
    assert all(re.fullmatch(r"\d{8}_\d{6}_[0-9a-f]{8,}", one) for one in ids)


def test_steps_beyond_what_memory_keeps_are_in_the_database_and_the_report_says_so(
    tracker_with: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perfdb.recording import live

    monkeypatch.setattr(live, "MAX_STEPS", 10)
    tracker = tracker_with()
    tracker.start_pipeline()
    for _ in range(25):
        with tracker.step("work"):
            pass
    tracker.end_pipeline()
    stored = perfdb.History().session()
    assert len(stored.steps) == 25
    assert tracker.step_durations == {"work": pytest.approx(stored.step_durations["work"], abs=1e-4)}
    path = tracker.save_performance_report()
    assert path is not None
    report = json.loads(Path(path).read_text())
    assert (len(report["steps"]), report["steps_not_kept"]) == (10, 15)


# -- misuse ----------------------------------------------------------------------


@pytest.fixture
def careless(tracker_with: Make) -> Tracker:
    return tracker_with(strict=False)


def test_a_step_before_start_runs_unrecorded_and_is_said(
    careless: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    ran = []
    with careless.step("early") as step:
        step.set(x=1)
        step.event("y")
        ran.append(True)
    assert ran
    assert "before start_pipeline()" in caplog.text
    assert careless.health()["misuse"] == 1


def test_ending_twice_or_without_start_is_ignored_and_said(
    careless: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    careless.end_pipeline()
    assert "without start_pipeline()" in caplog.text
    careless.start_pipeline()
    careless.end_pipeline(success=True)
    careless.end_pipeline(success=False)
    assert "twice" in caplog.text
    assert perfdb.History().session().status == "completed"


def test_steps_left_open_are_closed_as_failed_and_said(
    careless: Tracker, caplog: pytest.LogCaptureFixture
) -> None:
    careless.start_pipeline()
    step = careless.step("forgotten").start()
    careless.end_pipeline()
    step.stop()
    assert "'forgotten'" in caplog.text
    stored = perfdb.History().session().steps[0]
    assert (stored.success, stored.error_message) == (False, "still open when the pipeline ended")


def test_starting_twice_ends_the_first_as_interrupted(careless: Tracker) -> None:
    first = careless.start_pipeline()
    second = careless.start_pipeline()
    careless.end_pipeline()
    history = perfdb.History()
    assert (history.session(first).status, history.session(second).status) == ("interrupted", "completed")


def test_reports_and_summaries_before_start_are_said(careless: Tracker) -> None:
    assert careless.save_performance_report() is None
    careless.print_summary()
    assert careless.health()["misuse"] == 2
    assert (careless.session_id, careless.total_duration, careless.step_durations) == (None, None, {})


def test_misuse_is_an_error_when_strict(tracker_with: Make) -> None:
    with pytest.raises(perfdb.UsageError):
        tracker_with().end_pipeline()


def test_disabled_records_nothing_and_prints_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_DISABLED", "1")
    tracker = recorder.create_tracker()
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    tracker.print_summary()
    assert tracker.save_performance_report() is None
    assert (list(tmp_path.iterdir()), capsys.readouterr().out) == ([], "")
    assert "work" in tracker.step_durations


def test_an_unknown_argument_is_an_error_at_once() -> None:
    with pytest.raises(TypeError):
        recorder.create_tracker(pipelin="x")  # type: ignore[call-arg]
    with pytest.raises(perfdb.SettingsError):
        recorder.create_tracker(monitor="yes")  # type: ignore[arg-type]


# -- track() -----------------------------------------------------------------------


def test_track_records_any_pipeline_and_saves_its_report(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with perfdb.track("nightly-etl", git_sha="abc", strict=True) as run, run.step("load"):
        pass
    stored = perfdb.History().session()
    assert (stored.pipeline, stored.fast_mode, stored.attributes) == ("nightly-etl", None, {"git_sha": "abc"})
    assert (home / f"performance_report_{run.session_id}.json").exists()
    assert capsys.readouterr().out == ""


def test_an_exception_fails_the_tracked_session_and_passes(home: Path) -> None:
    error = RuntimeError("disk on fire")
    with pytest.raises(RuntimeError) as caught, perfdb.track("etl"):
        raise error
    assert caught.value is error
    assert perfdb.History().session().error_message == "RuntimeError: disk on fire"


def test_track_decorates_functions_and_coroutines(home: Path) -> None:
    @perfdb.track("plain")
    def plain() -> int:
        return 1

    @perfdb.track("slow")
    async def slow() -> int:
        with perfdb.current().step("inside"):
            await asyncio.sleep(0)
        return 2

    assert (plain(), plain(), asyncio.run(slow())) == (1, 1, 2)
    recorder.close(60.0)
    assert sorted(perfdb.History().sessions()["pipeline"]) == ["plain", "plain", "slow"]


def test_the_debug_level_tells_every_step(
    home: Path, tracker_with: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="perfdb")
    tracker = tracker_with()
    tracker.start_pipeline()
    with tracker.step("load", rows=3):
        pass
    tracker.end_pipeline()
    logged = caplog.text
    for words in (
        "starts, mode",
        "step 0 'load' starts",
        "step 0 'load' ends",
        "is completed after",
        "in the database",
    ):
        assert words in logged


def test_debug_logging_is_left_to_the_host(home: Path) -> None:
    assert logging.getLogger("perfdb").handlers == []
    assert logging.getLogger("perfdb").level == logging.NOTSET


def test_a_tracker_tells_what_is_usual(home: Path) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    assert tracker.usual_durations == {}
    for _ in range(3):
        tracker.start_pipeline()
        with tracker.step("load"):
            pass
        tracker.end_pipeline()

    tracker.start_pipeline()

    assert list(tracker.usual_durations) == ["load"]
    assert tracker.usual_durations["load"] >= 0
    tracker.end_pipeline()


def test_a_loop_of_trio_is_known_and_a_thread_beside_it_is_none() -> None:
    trio = pytest.importorskip("trio")

    async def inside() -> tuple[bool, bool]:
        return _in_event_loop(), await trio.to_thread.run_sync(_in_event_loop)

    assert trio.run(inside) == (True, False)
    assert _in_event_loop() is False
