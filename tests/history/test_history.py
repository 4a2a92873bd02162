"""The read door: which database, which moments, and that reading changes nothing.

Of: errors.py, history/access.py, history/jupyter.py, history/rows.py.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts.triage import Triage
from perfdb.filters import parse_instant


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default home of an empty working directory."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "performance_tracking"


def record(pipeline: str = "etl", **attributes: object) -> str:
    """Record a session with a step and a nested one; return its id."""
    with perfdb.track(pipeline, **attributes) as run:
        with run.step("load", rows=3), run.step("parse"):
            pass
        return run.session_id


def test_what_was_recorded_is_read_back() -> None:
    session_id = record(customer="acme")
    history = perfdb.History()
    (row,) = history.sessions().to_dict("records")
    assert row["session_id"] == session_id
    assert row["status"] == "completed"
    assert row["attributes"]["customer"] == "acme"
    assert history.steps()["step_name"].tolist() == ["load", "parse"]
    session = history.session()
    assert session.session_id == session_id
    assert [step.parent_seq for step in session.steps] == [None, 0]
    assert session.steps[0].additional_data == {"rows": 3}


def test_a_home_without_a_database_is_an_empty_history(home: Path) -> None:
    history = perfdb.History()
    assert history.sessions().empty
    assert {"session_id", "total_duration", "attributes"} <= set(history.sessions().columns)
    assert {"step_name", "duration", "additional_data"} <= set(history.steps().columns)
    assert list(history.each_session()) == []
    assert not home.exists()
    with pytest.raises(perfdb.NotFoundError, match="nothing is recorded"):
        history.session("last")


def test_an_empty_history_has_the_columns_of_a_full_one() -> None:
    history = perfdb.History()
    sessions, steps = list(history.sessions().columns), list(history.steps().columns)
    record()
    assert list(history.sessions().columns) == sessions
    assert list(history.steps().columns) == steps


def test_a_database_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(perfdb.StoreError, match=r"no database at .*gone\.sqlite3"):
        perfdb.History(tmp_path / "gone.sqlite3").sessions()
    assert not (tmp_path / "gone.sqlite3").exists()


def test_an_explicit_database_is_neither_migrated_nor_filled(tmp_path: Path) -> None:
    older = tmp_path / "older.sqlite3"
    with sqlite3.connect(older) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('0000')")
    connection.close()
    before = older.read_bytes()
    with pytest.raises(perfdb.SchemaError, match="perfdb db upgrade"):
        perfdb.History(older).sessions()
    assert older.read_bytes() == before


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite3"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    with pytest.raises(perfdb.StoreError, match="another program"):
        perfdb.History(foreign).sessions()


def test_a_copy_in_a_folder_that_cannot_be_written_is_read(home: Path, tmp_path: Path) -> None:
    session_id = record()
    with sqlite3.connect(home / "perfdb.sqlite3") as source:
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    source.close()
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "copy.sqlite3").write_bytes((home / "perfdb.sqlite3").read_bytes())
    folder.chmod(0o500)
    try:
        assert perfdb.History(folder / "copy.sqlite3").session().session_id == session_id
        assert perfdb.History(f"sqlite:///{folder}/copy.sqlite3").session().session_id == session_id
    finally:
        folder.chmod(0o700)


def test_the_default_home_takes_in_what_a_dead_writer_left(home: Path) -> None:
    import subprocess
    import sys

    code = (
        "import os, perfdb\n"
        "t = perfdb.create_tracker('etl', console=False)\n"
        "t.start_pipeline()\n"
        "with t.step('load'): pass\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code])
    session = perfdb.History().session()
    assert session.status == "interrupted"
    assert [step.step_name for step in session.steps] == ["load"]


def test_a_journal_that_cannot_be_taken_in_does_not_stop_the_reader(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.mkdir()
    (home / "perfdb.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(perfdb.StoreError, match="not a SQLite database"):
        perfdb.History().sessions()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_home_as_an_argument_beats_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with perfdb.track("etl", home=tmp_path / "mine"):
        pass
    monkeypatch.setenv("PERFDB_DATABASE_URL", f"sqlite:///{tmp_path}/other.sqlite3")
    assert len(perfdb.History(home=tmp_path / "mine").sessions()) == 1


def test_a_password_is_never_shown() -> None:
    history = perfdb.History("postgresql://me:s3cret@127.0.0.1:1/db")
    assert "s3cret" not in history.database
    assert "s3cret" not in repr(history)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**30])
def test_a_number_beyond_those_of_a_database_means_all_or_none(number: int) -> None:
    record()
    recorder.close(60.0)
    history, desk = perfdb.History(), Triage(perfdb.History())
    assert len(history.sessions(last=number)) == 1
    assert len(history.steps(last=number)) == 2
    assert len(history.explain(last=number).frame)
    for ask in (history.bottlenecks, history.trends, history.failures, history.regressions, history.report):
        ask(last=number)
    assert history.affordable(number) is not None
    for ask_of_alert in (desk.story, desk.explanation, lambda id_: desk.silence(60.0, alert_id=id_)):
        with pytest.raises(perfdb.NotFoundError, match="no alert"):
            ask_of_alert(number)
    assert desk.unsilence(silence_id=number) == desk.unsilence(alert_id=number) == 0


def test_a_filter_out_of_range_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="last=0"):
        perfdb.History().sessions(last=0)
    with pytest.raises(ValueError, match="status='done'"):
        perfdb.History().steps(status="done")


def test_jupyter_shows_the_newest_sessions_inert() -> None:
    record("<script>alert(1)</script>")
    html = perfdb.History()._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


def test_each_session_comes_whole_and_oldest_first() -> None:
    ids = [record(), record()]
    sessions = list(perfdb.History().each_session(pipeline="etl"))
    assert [session.session_id for session in sessions] == ids
    assert all(len(session.steps) == 2 for session in sessions)


@pytest.mark.parametrize(
    ("moment", "epoch"),
    [
        (1767225600, 1767225600.0),
        ("1767225600.5", 1767225600.5),
        (datetime(2026, 1, 1, tzinfo=UTC), 1767225600.0),
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T01:00+01:00", 1767225600.0),
        ("2026-01-01", datetime(2026, 1, 1).timestamp()),
        ("20260101", datetime(2026, 1, 1).timestamp()),
        ("7d", 1767225600.0 - 7 * 86400),
        ("24h", 1767225600.0 - 86400),
        ("1.5h", 1767225600.0 - 5400),
        ("2w", 1767225600.0 - 14 * 86400),
    ],
)
def test_moments(moment: object, epoch: float) -> None:
    assert parse_instant(moment, now=1767225600.0) == epoch  # type: ignore[arg-type]


@pytest.mark.parametrize("moment", ["", "d", "soon", "1767225600000", "nan", "infd", float("nan"), 1e300])
def test_what_is_no_moment(moment: object) -> None:
    with pytest.raises(ValueError, match="is not a moment"):
        parse_instant(moment, now=1767225600.0)  # type: ignore[arg-type]
