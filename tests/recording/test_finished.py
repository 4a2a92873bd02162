"""Sessions that were measured elsewhere: through the journal, once, without credentials, and judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perfdb import Intake
from perfdb.history.history import History
from perfdb.recording.finished import prepared
from perfdb.recording.journal import journals_in
from perfdb.recording.values import REDACTED
from perfdb.settings import load
from perfdb.testing import make_session
from perfdb.vocabulary import FIRING


@pytest.fixture
def intake(tmp_path: Path) -> Intake:
    (tmp_path / "perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "slow"\nkind = "max"\nlimit = 0.5\n', encoding="utf-8"
    )
    return Intake(settings=load(cwd=tmp_path, environ={}))


def test_a_session_of_another_machine_comes_to_the_database_once(intake: Intake, tmp_path: Path) -> None:
    session = replace(
        make_session(steps={"load": 1.0, "draw": 0.25}), host="build-3", git_commit="ab" * 20, command="make"
    )
    assert intake.record(session)
    assert intake.record(session)
    assert intake.flush(10)
    history = History(tmp_path / "performance_tracking" / "perfdb.sqlite3")
    assert len(history.sessions()) == 1
    found = history.session(session.session_id)
    assert (found.host, found.git_commit, found.command) == ("build-3", "ab" * 20, "make")
    assert found.steps == session.steps
    assert intake.health()["ok"]


def test_its_lines_are_all_in_the_journal_before_the_answer(intake: Intake, tmp_path: Path) -> None:
    session = make_session(steps={"load": 1.0, "draw": 0.25})
    assert intake.record(session)
    written = b"".join(
        path.read_bytes() for path in journals_in(tmp_path / "performance_tracking" / "journal")
    )
    assert written.count(b'"type":"step"') in (len(session.steps), 0)  # 0: brought in and gone already
    intake.flush(10)


def test_rules_judge_it(intake: Intake, tmp_path: Path) -> None:
    assert intake.record(make_session(steps={"load": 1.0, "draw": 0.25}))
    assert intake.flush(10)
    alerts = History(tmp_path / "performance_tracking" / "perfdb.sqlite3").alerts()
    assert set(alerts["rule"]) == {"slow"}
    assert set(alerts["state"]) == {FIRING}


def test_credentials_stay_out(intake: Intake, tmp_path: Path) -> None:
    assert intake.record(
        replace(
            make_session(steps={"load": 1.0, "draw": 0.25}), attributes={"password": "hunter2", "rows": 3}
        )
    )
    assert intake.flush(10)
    attributes = History(tmp_path / "performance_tracking" / "perfdb.sqlite3").session("last").attributes
    assert attributes == {"password": REDACTED, "rows": 3}


def test_a_set_of_attributes_has_no_more_entries_than_a_tracker_records(tmp_path: Path) -> None:
    many = {f"k{number}": number for number in range(200_000)}
    session = make_session(steps={"load": 1.0})
    step = replace(session.steps[0], additional_data=many)
    made = prepared(replace(session, attributes=many, steps=(step,)), load(cwd=tmp_path, environ={}))
    for found in (made.attributes, made.steps[0].additional_data):
        assert list(found)[:3] == ["k0", "k1", "k2"]
        assert found["…"] == f"{len(many) - len(found) + 1} more entries cut"
        assert len(found) < 20_000
    assert prepared(made, load(cwd=tmp_path, environ={})) == made
