"""What users test their pipelines with: time that does not pass, made runs, a history apart."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import perfdb
from perfdb import testing
from perfdb.alerts.config import read_alert_settings


def nightly() -> None:
    with perfdb.track("nightly", customer="acme") as run:
        with run.step("load"):
            pass
        with run.step("transform"):
            pass


def test_what_is_recorded_inside_goes_to_the_folder_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_DATABASE_URL", f"sqlite:///{tmp_path}/real.sqlite3")
    monkeypatch.setenv("PERFDB_DISABLED", "1")
    Path("perfdb.toml").write_text('[[alerts.channels]]\nname = "team"\nkind = "log"\n', encoding="utf-8")
    before = dict(os.environ)
    with testing.recording("apart") as history:
        nightly()
        program = "import perfdb\nwith perfdb.track('child') as run: run.step('x').start().stop()"
        subprocess.run([sys.executable, "-c", program], check=True)
    assert list(history.session("last~1").step_durations) == ["load", "transform"]
    assert sorted(history.sessions()["pipeline"]) == ["child", "nightly"]
    assert read_alert_settings(history.settings.alerts).channels == ()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["apart", "perfdb.toml"]
    assert dict(os.environ) == before


def test_settings_that_are_in_the_folder_already_are_not_followed(tmp_path: Path) -> None:
    stolen = tmp_path / "stolen.sqlite3"
    (tmp_path / "perfdb.toml").write_text(f'database_url = "sqlite:///{stolen}"\n', encoding="utf-8")
    with testing.recording(tmp_path) as history:
        nightly()
    assert not stolen.exists()
    assert len(history.sessions()) == 1


def test_the_variables_come_back_after_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFDB_HOME", "elsewhere")
    with pytest.raises(KeyError), testing.recording(tmp_path / "apart") as history, perfdb.track("breaks"):
        raise KeyError("x")
    assert os.environ["PERFDB_HOME"] == "elsewhere"
    assert history.session("last").error_message == "KeyError: 'x'"


def test_a_clock_that_the_test_moves_makes_durations_exact(tmp_path: Path) -> None:
    clock = testing.ManualClock()
    with testing.recording(tmp_path) as history:
        tracker = clock.drive(perfdb.create_tracker("etl", console=False, monitor=False))
        tracker.start_pipeline()
        with tracker.step("load"):
            clock.advance(90.0)
            clock.set_by(-3600.0)
        tracker.end_pipeline()
    session = history.session("last")
    assert session.start_time == testing.NOON
    assert session.step_durations == {"load": 90.0}
    assert clock.time() == testing.NOON + 90.0 - 3600.0


def test_made_runs_are_a_history_that_answers(tmp_path: Path) -> None:
    sessions = [
        testing.make_session(number, {"load": 1.0, "work": 2.0 if number < 30 else 4.0}, fast_mode=True)
        for number in range(40)
    ]
    history = testing.make_history(tmp_path / "made", sessions)
    assert history.session("last") == sessions[-1]
    assert history.session("last").total_duration == 5.0
    assert set(history.regressions()["since_session_id"]) == {"run-0030"}
    assert len(testing.make_history(tmp_path / "made", sessions).sessions()) == 40


def test_complete_steps_are_taken_as_they_are() -> None:
    step = perfdb.Step(step_name="x", start_time=testing.NOON + 5, duration=None, success=None)
    session = testing.make_session(0, [step], status="running", total_duration=None, success=None)
    assert session.steps == (step,)
    assert session.total_duration is None
