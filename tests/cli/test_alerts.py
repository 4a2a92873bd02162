"""`perfdb alerts`, `rules`, `check` and `watch`, as typed.

Of: cli/baseline.py, cli/rules.py, cli/watch.py.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfdb as library
from perfdb import recorder
from perfdb.alerts.explain import AlertExplanation
from perfdb.cli.alert_story import print_story
from perfdb.cli.watch import lines
from perfdb.testing import NOON, make_history
from tests.alerts.test_lifecycle import judged_run_by_run

RULES = """
[[alerts.rules]]
name = "slow"
kind = "max"
step = "work"
limit = 0.0

[[alerts.channels]]
name = "me"
kind = "console"

[[alerts.channels]]
name = "nobody"
kind = "webhook"
url = "http://127.0.0.1:9/s3cret"
timeout_s = 1.0
"""


@pytest.fixture
def firing(folder: Path) -> int:
    """An alert that fires; its number."""
    Path("perfdb.toml").write_text(RULES, encoding="utf-8")
    with library.track("etl", monitor=False) as run, run.step("work"):
        pass
    recorder.close(60.0)
    return int(library.History().alerts()["id"].iloc[0])


def test_check_says_what_fires_and_expected_ends_it(perfdb: Any, firing: int) -> None:
    answer = perfdb("check")
    assert answer.code == 1
    assert answer.out.startswith("WARNING  work is at ")
    assert "1 alert fires." in answer.err
    assert perfdb("check", "--json").rows[0]["rule"] == "slow"
    assert perfdb("alerts", "expected", str(firing), "--note", "new model").code == 0
    answer = perfdb("check")
    assert (answer.code, answer.out) == (0, "")


@pytest.mark.parametrize("decision", ["ack", "expected", "false-alarm"])
def test_a_decision_can_be_undone(perfdb: Any, firing: int, decision: str) -> None:
    def told() -> Any:
        return [row | {"updated_at": None} for row in perfdb("alerts", "--json").rows]

    before = told()
    rules = perfdb("rules", "--json").rows
    verdicts = perfdb("alerts", "explain", "slow", "--json").rows
    assert perfdb("alerts", decision, str(firing)).code == 0
    assert perfdb("check").code == 0
    answer = perfdb("alerts", "undo", str(firing), "--note", "a slip of the hand")
    assert answer.code == 0
    assert answer.out.startswith(f"Alert {firing} is firing again: ")
    assert told() == before
    assert perfdb("rules", "--json").rows == rules
    assert perfdb("alerts", "explain", "slow", "--json").rows == verdicts
    assert perfdb("check").code == 1
    assert "a slip of the hand" in perfdb("alerts", "show", str(firing)).out
    again = perfdb("alerts", "undo", str(firing))
    assert again.code == 2
    assert "nobody has decided" in again.err


def test_undoing_the_second_decision_leaves_the_first(perfdb: Any, firing: int) -> None:
    perfdb("alerts", "ack", str(firing))
    perfdb("alerts", "expected", str(firing))
    assert "is acknowledged again" in perfdb("alerts", "undo", str(firing)).out
    assert "is firing again" in perfdb("alerts", "undo", str(firing)).out


def test_check_takes_alerts_in_another_state(perfdb: Any, firing: int) -> None:
    assert (perfdb("check", "--status", "acknowledged").code, perfdb("check", "-n", "1").code) == (0, 1)
    assert perfdb("alerts", "ack", str(firing)).code == 0
    failing = perfdb("check", "--status", "acknowledged", "--json")
    assert failing.code == 1
    assert firing in [row["id"] for row in failing.rows]
    assert "acknowledged." in failing.err


def test_check_speaks_to_github(perfdb: Any, firing: int) -> None:
    line = perfdb("check", "--format", "github").out
    assert line.startswith("::warning title=perfdb%3A work [slow]::work is at ")
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "options", [("--fail-on", "critical"), ("--confirm", "2"), ("--since", "2099-01-01")]
)
def test_what_was_not_asked_for_does_not_fail(perfdb: Any, firing: int, options: tuple[str, ...]) -> None:
    assert perfdb("check", *options).code == 0


def test_check_needs_a_history(perfdb: Any) -> None:
    answer = perfdb("check")
    assert answer.code == 2
    assert "nothing is recorded" in answer.err


def test_too_little_history_is_said_and_passes(perfdb: Any) -> None:
    with library.track("etl", monitor=False):
        pass
    recorder.close(60.0)
    answer = perfdb("check")
    assert answer.code == 0
    assert "too little history to judge: 1 run" in answer.err


def test_alerts_of_several_pipelines_name_theirs(perfdb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    Path("perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "work"\nlimit = 0.0\n'
    )
    for pipeline in ("import", "export"):
        with library.track(pipeline, monitor=False) as run, run.step("work"):
            pass
    out = perfdb("alerts").out
    assert {tuple(line.split()[3:5]) for line in out.splitlines()[1:]} == {
        ("work", "import"),
        ("work", "export"),
    }
    assert "pipeline" not in perfdb("alerts", "--pipeline", "import").out


def test_the_open_alerts_are_listed_and_shown(perfdb: Any, firing: int) -> None:
    listed = perfdb("alerts")
    assert "work" in listed.out
    assert f"perfdb alerts explain {firing}" in listed.err
    row = perfdb("alerts", "--json").rows[0]
    assert list(row)[:13] == [
        "id", "rule", "severity", "state", "pipeline", "step_name", "metric", "mode", "value", "baseline",
        "effect", "since_session_id", "message",
    ]  # fmt: skip
    shown = perfdb("alerts", "show", str(firing)).out
    assert "Rule slow (max, limit" in shown
    assert "fired" in shown
    assert perfdb("alerts", "list", "--state", "all", "--csv").out.startswith("id,rule,severity,state")


def test_decisions_and_silences(perfdb: Any, firing: int) -> None:
    assert perfdb("alerts", "silence", str(firing), "--for", "2h").code == 0
    assert perfdb("check").code == 0
    assert "alert " in perfdb("alerts", "unsilence").out
    assert "Ended 1 silence." in perfdb("alerts", "unsilence", str(firing)).out
    assert perfdb("check").code == 1
    assert perfdb("alerts", "ack", str(firing)).code == 0
    assert perfdb("check").code == 0
    assert "acknowledged" in perfdb("alerts").out
    assert perfdb("alerts", "false-alarm", str(firing)).code == 0
    assert "No open alert" in perfdb("alerts").err
    again = perfdb("alerts", "false-alarm", str(firing))
    assert (again.code, "already" in again.err) == (2, True)
    assert perfdb("alerts", "silence").code == 2
    assert perfdb("alerts", "ack", "999").code == 2


def test_rules_say_how_well_they_did(perfdb: Any, firing: int) -> None:
    rows = {row["rule"]: row for row in perfdb("rules", "--json").rows}
    assert (rows["slow"]["state"], rows["slow"]["precision"], rows["slow"]["alerts"]) == ("firing", 1.0, 1)
    assert rows["fast_shift"]["state"] == "too little history"
    assert "max" in perfdb("rules").out
    again = {row["rule"]: row for row in perfdb("rules", "--replay", "--json").rows}
    assert (again["slow"]["alerts"], again["slow"]["unknown"], again["slow"]["precision"]) == (1, 1, None)
    assert "Looked at the last" in perfdb("rules", "--replay").err


def test_the_story_of_one_wild_run_tells_it_apart_from_those_after_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    values = [1 + 0.01 * (number % 7) for number in range(30)] + [2.0, 1.0, 1.0, 1.0]
    alert = judged_run_by_run("anomaly", values, least=31)
    found = AlertExplanation(
        alert=alert, values=tuple(values), session_ids=tuple(f"run-{n}" for n in range(len(values))),
        start_times=tuple(NOON + 60.0 * n for n in range(len(values))), at=30,
        before_median=1.03, before_n=30, after_median=1.0,
        after_n=4, effect=-3.0,
    )  # fmt: skip
    print_story(found)
    said = " ".join(capsys.readouterr().out.split())
    assert "that run 2.00 s (+94 %), session" in said
    assert "since 1.00 s (-3 %), median of 4 runs" in said


def test_explain_prints_the_sum(perfdb: Any, firing: int) -> None:
    assert "> limit 0: yes" in perfdb("alerts", "explain", str(firing)).out
    assert "slow, work: " in perfdb("alerts", "explain", "slow").out
    assert "there is no rule 'x'" in perfdb("alerts", "explain", "x").err


def test_a_channel_can_be_tried(perfdb: Any, firing: int) -> None:
    assert "A test of channel me" in perfdb("alerts", "test", "me").err
    refused = perfdb("alerts", "test", "nobody")
    assert refused.code == 2
    assert "s3cret" not in refused.err + refused.out
    assert "configured: me, nobody" in perfdb("alerts", "test", "other").err


def test_a_mistake_in_a_rule_is_named_by_every_command(perfdb: Any, firing: int) -> None:
    Path("perfdb.toml").write_text(RULES.replace("limit", "limt"), encoding="utf-8")
    for command in ("check", "rules"):
        answer = perfdb(command)
        assert (answer.code, "line 6: unknown setting 'limt'" in answer.err) == (2, True)


def test_watch_prints_once_without_a_terminal(perfdb: Any, firing: int) -> None:
    said = perfdb("watch").out
    assert "Alerts (1)" in said
    assert "etl" in said


def test_watch_says_how_long_a_run_of_a_long_name_took(
    perfdb: Any, firing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    history = library.History()
    long = replace(
        history.session("last"), session_id="long", pipeline="nightly-etl-" * 7, total_duration=61.0
    )
    make_history(history.url, [replace(long, mode='{"fast_mode":true}')])
    (line,) = [each for each in perfdb("watch").out.splitlines() if " long " in each]
    assert "… (fast)  61.00 s" in line


def test_watch_says_why_a_run_failed_and_that_one_died(perfdb: Any, firing: int) -> None:
    history = library.History()
    last = history.session("last")
    failed = replace(last, session_id="bad", status="failed", success=False, error_message="Boom: no more")
    died = replace(last, session_id="dead", status="interrupted", success=None, total_duration=None)
    make_history(history.url, [failed, died])
    said = perfdb("watch").out.splitlines()
    assert [line for line in said if " bad  etl" in line and line.endswith("  Boom: no more")]
    assert [line for line in said if " dead  etl  interrupted  " in line]


def test_watch_fits_the_rows_of_the_screen(perfdb: Any, firing: int) -> None:
    history = library.History()
    with library.track("first", monitor=False) as first, library.track("second", monitor=False) as second:
        for run in (first, second):
            with run.step("load"):
                pass
        deadline = time.monotonic() + 60
        while len(history.steps(status="completed", step="load")) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        whole = lines(history)
        assert sum(" load " in line for line in whole) == 2, "both are drawn"
        for rows in range(4, len(whole) + 3):
            said = lines(history, rows=rows)
            assert len(said) <= rows
            assert said[0].startswith("perfdb")
            assert len(said) == len(whole) or len(whole) > rows
        assert "Alerts (1)" in lines(history, rows=len(whole) - 2), "a waterfall gave way"


def test_watch_works_without_a_history(perfdb: Any) -> None:
    assert "nothing recorded yet" in perfdb("watch").out


def test_watch_ends_at_q_and_leaves_the_terminal_as_it_was(firing: int) -> None:
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", "from perfdb.cli import main; main(['watch'])"]
    running = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said, pressed = b"", False
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                said += os.read(ours, 65536)
            except OSError:
                break
        if b"press q to quit" in said and not pressed:
            os.write(ours, b"q")
            pressed = True
        if running.poll() is not None and b"\x1b[?1049l" in said:
            break
    os.close(ours)
    assert running.wait(10) == 0
    assert b"Alerts (1)" in said
    assert said.rstrip().endswith(b"\x1b[?1049l")


def test_of_a_flood_a_table_has_the_first_and_json_has_all(perfdb: Any, firing: int) -> None:
    with contextlib.closing(sqlite3.connect("performance_tracking/perfdb.sqlite3")) as database:
        names = [name for _, name, *_ in database.execute("PRAGMA table_info(alerts)") if name != "id"]
        changed = {"state": "'resolved'", "active": "0", "opened_at": "opened_at - x / 3"}  # three at a time
        values = ", ".join(changed.get(name, f'"{name}"') for name in names)
        database.execute(
            "WITH RECURSIVE copies(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM copies WHERE x < 5010) "
            f"INSERT INTO alerts ({', '.join(map(repr, names))}) SELECT {values} FROM alerts, copies"
        )
        database.commit()
    answer = perfdb("alerts", "list", "--state", "all")
    assert len(answer.out.splitlines()) == 1 + 1000
    assert "The first 1,000; there are more: --last 5000 or --json" in answer.err
    answer = perfdb("alerts", "list", "--state", "all", "--last", "1500")
    assert (len(answer.out.splitlines()), "there are more" in answer.err) == (1 + 1500, False)
    ids = library.History().alerts("all")["id"].tolist()
    assert len(ids) == 1 + 5010
    assert [row["id"] for row in perfdb("alerts", "list", "--state", "all", "--json").rows] == ids
    answer = perfdb("alerts", "list", "--state", "all", "--sort", "id", "--json")
    assert [row["id"] for row in answer.rows] == sorted(ids)
    some = perfdb("alerts", "list", "--state", "resolved", "--step", "work", "--last", "3", "--json").rows
    assert [row["id"] for row in some] == [each for each in ids if each != firing][:3]
