"""Sessions whose process dies after their rows are in the database and before the rules have seen them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.cli import main

RULE = '[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "work"\nlimit = 0.0\n'
CHANNEL = '[[alerts.channels]]\nname = "log"\nkind = "log"\n'

DIES_BEFORE_EVALUATION = """
import os, signal
from perfdb.worker.alerting import Alerting
Alerting.evaluate_waiting = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
"""
RECORDS = """
import time
import perfdb
from perfdb.testing import ManualClock
clock = ManualClock(time.time() - 86_400 * DAYS)
tracker = clock.drive(perfdb.create_tracker(console=False, monitor=False))
tracker.start_pipeline(session_id="ID")
with tracker.step("work"):
    clock.advance(0.1)
tracker.end_pipeline()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    recorder.close()


def record(session_id: str = "s1", *, before: str = "", after: str = "", days: int = 0) -> int:
    program = before + RECORDS.replace("DAYS", str(days)).replace("ID", session_id) + textwrap.dedent(after)
    environment = {**os.environ, "PERFDB_WAIT_S": "20"}
    return subprocess.run([sys.executable, "-c", program], timeout=60, env=environment).returncode


def run(command: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main([command])
    return ended.value.code


def rows(query: str) -> list[tuple[Any, ...]]:
    """Ask the file itself: a History would take the journals in."""
    connection = sqlite3.connect("performance_tracking/perfdb.sqlite3")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def alerts() -> list[tuple[Any, ...]]:
    return rows("SELECT rule, state, since_session_id, hits FROM alerts")


def die_before_evaluation(days: int = 0) -> None:
    Path("perfdb.toml").write_text(RULE + CHANNEL, encoding="utf-8")
    assert record(before=DIES_BEFORE_EVALUATION, days=days) == -9
    assert rows("SELECT session_id, status FROM v_sessions") == [("s1", "completed")]
    assert alerts() == []


def test_recover_judges_it_once(capsys: pytest.CaptureFixture[str]) -> None:
    die_before_evaluation()
    for _ in range(2):
        assert run("recover") == 0
        assert alerts() == [("slow", "firing", "s1", 1)]
        assert rows("SELECT kind, session_id FROM outbox") == [("digest", "s1")]
    assert not list(Path("performance_tracking/journal").iterdir())
    assert "1 alert fires: perfdb alerts" in capsys.readouterr().out


def test_the_next_program_judges_it_once() -> None:
    die_before_evaluation()
    assert record("s2") == 0
    assert alerts() == [("slow", "firing", "s1", 2)]
    assert rows("SELECT kind, session_id, state FROM outbox") == [("digest", "s1", "sent")]


def test_a_check_knows_of_it() -> None:
    die_before_evaluation()
    assert run("check") == 1


def test_what_ended_days_ago_is_historic() -> None:
    die_before_evaluation(days=2)
    assert run("check") == 0
    assert alerts() == [("slow", "historic", "s1", 1)]
    assert rows("SELECT count(*) FROM outbox") == [(0,)]


def test_what_was_judged_is_not_judged_by_later_rules() -> None:
    assert record(after="import os; os._exit(3)") == 3
    Path("perfdb.toml").write_text(RULE, encoding="utf-8")
    assert run("check") == 0
    assert alerts() == []


def test_a_process_that_ends_before_it_could_judge_leaves_it_to_the_next() -> None:
    Path("perfdb.toml").write_text(RULE, encoding="utf-8")
    before = (
        "from perfdb.worker.alerting import Alerting\nAlerting.evaluate_waiting = lambda *_, **__: False\n"
    )
    assert record(before=before) == 0
    assert alerts() == []
    perfdb.History().sessions()
    assert alerts() == [("slow", "firing", "s1", 1)]


def test_of_many_the_newest_are_judged_and_all_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfdb.worker.recovery.MOST_NEWS", 5)
    monkeypatch.setattr("perfdb.worker.recovery.MOST_HELD", 2)
    Path("perfdb.toml").write_text(RULE, encoding="utf-8")
    before = (
        "from perfdb.worker.alerting import Alerting\nAlerting.evaluate_waiting = lambda *_, **__: False\n"
    )
    more = "for i in range(8):\n    with perfdb.track('design', console=False) as run, run.step('work'): pass"
    assert record(before=before, after=more) == 0
    assert alerts() == []
    assert run("recover") == 0
    assert rows("SELECT count(*) FROM v_sessions WHERE status = 'completed'") == [(9,)]
    assert [(state, hits) for _, state, _, hits in alerts() if state == "firing"] == [("firing", 5)]
    assert not list(Path("performance_tracking/journal").iterdir())


def test_rules_that_break_do_not_hold_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    die_before_evaluation()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("perfdb.alerts.verdicts.windows_of", broken)
    assert len(perfdb.History().sessions()) == 1
    assert not list(Path("performance_tracking/journal").iterdir())
