"""`perfdb alerts explain ID` for every kind of rule, as typed.

Of: alerts/explain.py, cli/plot.py.
"""

from __future__ import annotations

import io
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfdb.alerts.late import evaluate_historic
from perfdb.alerts.messages import sum_text
from perfdb.alerts.triage import Triage
from perfdb.analysis.rules import KINDS, Rule, evaluate
from perfdb.analysis.trend_view import shown_bounds
from perfdb.cli.plot import plot
from perfdb.history.access import writing
from perfdb.history.history import History
from perfdb.records import Session, Step
from perfdb.settings import load
from perfdb.store.alerts import read_alert, save_alert
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions

NOON = 1_767_268_800.0
RULES = """
[[alerts.rules]]
name = "too-slow"
kind = "max"
step = "work"
limit = 3.0

[[alerts.rules]]
name = "budget"
kind = "budget"
step = "work"
limit = 3.5

[[alerts.rules]]
name = "relative"
kind = "relative"
percent = 20
step = "work"
"""


def run_of(number: int, work: float, failed: bool = False) -> Session:
    start = NOON + 60 * number
    steps = (
        Step(step_name="load", start_time=start, duration=1.0, success=True),
        Step(step_name="work", start_time=start + 1, duration=work, success=not failed, seq=1),
    )
    return Session(
        session_id=f"run-{number:04d}",
        pipeline="etl",
        start_time=start,
        total_duration=1.0 + work,
        status="failed" if failed else "completed",
        success=not failed,
        error_message="no answer" if failed else None,
        fast_mode=False,
        mode='{"fast_mode":false}',
        attributes={"model": "b" if number >= 60 else "a"},
        steps=steps,
        perfdb_version="0.1.0",
    )


@pytest.fixture(scope="module")
def history(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of 100 old runs of which the last 40 are slower and four failed, judged by RULES."""
    folder = tmp_path_factory.mktemp("moved")
    (folder / "perfdb.toml").write_text(RULES)
    file = Path(shutil.copy(migrated_file, folder / "perfdb.sqlite3"))
    noise = random.Random(1)
    sessions = [
        run_of(
            number,
            (4.0 if number >= 60 else 2.0) * noise.lognormvariate(0, 0.04),
            failed=number % 10 == 5 and number > 60,
        )
        for number in range(100)
    ]
    database = Database(f"sqlite:///{file}", 5.0)
    with database.writing() as connection:
        insert_sessions(connection, sessions)
    settings = load(environ={}, cwd=folder)
    evaluate_historic(database, [each.session_id for each in sessions], settings.alerts)
    database.forget()
    return file


@pytest.fixture
def moved(history: Path, folder: Path) -> Path:
    """That history in the default home of the working directory."""
    (folder / "perfdb.toml").write_text(RULES)
    (folder / "performance_tracking").mkdir()
    shutil.copy(history, folder / "performance_tracking" / "perfdb.sqlite3")
    return folder


def alert_of(kind: str) -> int:
    found = [
        each for each in Triage(History()).alerts("all") if each.kind == kind and each.step_name != "load"
    ]
    return max(found, key=lambda each: each.step_name == "work").id


def test_a_move_is_explained_with_picture_test_cause_and_next(perfdb: Any, moved: Path) -> None:
    said = perfdb("alerts", "explain", str(alert_of("change_point")))
    assert said.code == 0
    assert "▲" in said.out
    lines = {line.split("  ")[0]: line for line in said.out.splitlines()}
    assert "median of 60 runs" in lines["before"]
    assert "(+9" in lines["since"] or "(+10" in lines["since"]
    assert "Mann-Whitney" in lines["chance"]
    assert "work +" in lines["total"]
    assert "model switched from a to b at the same session." in lines["suspect"]
    assert "Resolved by 3 runs at or under" in lines["ends"]
    assert lines["next"].split()[1:4] == ["perfdb", "explain", "run-0099"]
    assert max(map(len, said.out.splitlines())) <= 100


@pytest.mark.parametrize(("state", "said"), [("firing", "newest run"), ("resolved", "last so")])
def test_what_was_so_when_an_alert_was_closed_is_not_of_the_newest_run(
    perfdb: Any, moved: Path, state: str, said: str
) -> None:
    number = alert_of("change_point")
    with writing(History()) as connection:
        alert = read_alert(connection, number)
        details = {**alert.details, "arithmetic": "3.1 > 2.3: yes"}
        save_alert(connection, replace(alert, state=state, active=state == "firing", details=details))
    lines = perfdb("alerts", "explain", str(number)).out.splitlines()
    assert [line.split("  ")[0] for line in lines if "3.1 > 2.3: yes" in line] == [said]


def test_a_move_has_the_parts_that_regressions_tells(perfdb: Any, moved: Path) -> None:
    """Also where the alert's own baseline is of fewer runs than the level before."""
    history = History()
    known = Triage(history).alerts("all")
    with writing(history) as connection:
        for alert in known:
            save_alert(
                connection, replace(alert, state="firing", active=True, baseline_n=min(alert.baseline_n, 30))
            )
    told = {row["step_name"] or "": row for row in history.regressions().to_dict("records")}
    assert told
    for alert in Triage(history).alerts("all"):
        if alert.kind == "change_point" and (row := told.get(alert.step_name or "")) is not None:
            cause = history.explain_alert(alert.id).cause
            assert cause is not None
            assert ([part.as_dict() for part in cause.parts], cause.total_s) == (row["parts"], row["total_s"])


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_it_fits_the_screen(perfdb: Any, moved: Path, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = perfdb("alerts", "explain", str(alert_of("change_point")))
    assert max(map(len, said.out.splitlines())) <= int(columns)


def test_the_same_for_programs(perfdb: Any, moved: Path) -> None:
    (row,) = perfdb("alerts", "explain", str(alert_of("change_point")), "--json").rows
    assert row["at"] == 60
    assert len(row["values"]) == len(row["session_ids"]) == len(row["start_times"])
    assert row["suspects"][0]["name"] == "model"
    assert sum(part["percent"] for part in row["parts"]) == pytest.approx(100)
    assert row["p_value"] < 1e-6
    assert row["next"][0] == "perfdb explain run-0099"
    (mode,) = {each.mode for each in Triage(History()).alerts("all") if each.id == row["id"]}
    of_series = [each for each in row["next"] if "--pipeline" in each]
    assert of_series
    assert all(f"--mode '{mode}'" in each for each in of_series), "another mode's picture is not the alert's"
    assert perfdb("alerts", "explain", "change_point", "--json").rows[0]["rule"] == "change_point"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_rule_has_something_to_say(perfdb: Any, moved: Path, kind: str) -> None:
    desk = Triage(History())
    known = {each.kind: each for each in desk.alerts("all") if each.step_name == "work"}
    if kind not in known:  # as if its rule had found the same
        with writing(History()) as connection:
            like = replace(known["change_point"], id=0, kind=kind, rule=f"my {kind}", limit=3.0, active=False)
            save_alert(connection, replace(like, value=0.2) if kind == "error_rate" else like)
    said = perfdb("alerts", "explain", str(alert_of(kind)))
    assert said.code == 0
    words = {line.split("  ")[0] for line in said.out.splitlines()}
    assert {"rule", "ends", "next", "since"} <= words
    if kind in ("max", "min", "budget"):
        assert "limit" in words
    if kind == "sum":
        assert "3.00 s a day; this one came to" in said.out
        assert "runs whose day has come to at most" in said.out
        assert "before" not in words, "what a day came to only grows: it has no level"
    if kind == "error_rate":
        assert "✗ failed" in said.out


def test_the_figures_of_a_sum_have_the_unit_that_they_are_in() -> None:
    values = [80.0, 81.0, 82.0] * 10 + [60.0] * 8
    of_inverses = evaluate(Rule(name="r", kind="change_point", direction="down"), values).arithmetic
    assert "0.0123" in of_inverses
    assert sum_text(of_inverses, "change_point", "points").endswith("(figures in 1/points)")
    of_values = evaluate(Rule(name="r", kind="min", limit=70.0, direction="down"), values).arithmetic
    assert sum_text(of_values, "min", "points") == f"{of_values} (figures in points)"


def test_an_alert_whose_sessions_are_gone_is_still_explained(perfdb: Any, moved: Path) -> None:
    number = alert_of("change_point")
    perfdb("delete", *[f"run-{each:04d}" for each in range(100)], "--yes")
    said = perfdb("alerts", "explain", str(number))
    assert said.code == 0
    assert "work became slower" in said.out
    assert perfdb("alerts", "explain", "999").code == 2


def test_a_plot_marks_the_run_and_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [1.0] * 30 + [2.0] * 30
    lines = plot(
        values, at=30, levels=[(0, 30), (30, 60)], labels=("2 s", "1 s"), width=40, bounds=(1.0, 2.0)
    )
    assert lines[0].startswith("2 s ┤")
    assert lines[-1].index("▲") == pytest.approx(5 + 35 / 2, abs=1)
    assert len(lines) == 9
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    plain = plot(values, at=30, labels=("2 s", "1 s"), width=40, bounds=(1.0, 2.0), limit=1.5)
    assert all(line.isascii() for line in plain)
    assert any(set(line[6:].strip()) == {"."} for line in plain)


@pytest.mark.parametrize("values", [[1.0], [1.0, 1.0], [0.0, -1.0, 5.0]])
def test_a_plot_of_little(values: list[float]) -> None:
    assert plot(values, at=None, labels=("a", "b"), width=60, bounds=shown_bounds(values))


def test_wild_runs_do_not_flatten_a_plot() -> None:
    low, high = shown_bounds([1.0] * 99 + [1000.0])
    assert low == 1.0
    assert high < 3.0


def test_a_run_beyond_the_scale_is_an_arrow_and_its_value_is_said(perfdb: Any, moved: Path) -> None:
    lines = plot([1.0] * 59 + [9.0], at=None, labels=("2 s", "1 s"), width=70, bounds=(1.0, 2.0))
    assert lines[0].rstrip().endswith("↑")
    (alert,) = [each for each in Triage(History()).alerts("all") if each.id == alert_of("change_point")]
    with writing(History()) as connection:
        insert_sessions(connection, [run_of(100, 60.0)])
        save_alert(connection, replace(alert, last_session_id="run-0100"))
    assert "1 run beyond the scale, up to 60.00 s" in perfdb("alerts", "explain", str(alert.id)).out


def test_the_picture_of_an_old_alert_contains_the_move(perfdb: Any, moved: Path) -> None:
    noise = random.Random(2)
    later = [run_of(number, 4.0 * noise.lognormvariate(0, 0.04)) for number in range(100, 500)]
    with writing(History()) as connection:
        insert_sessions(connection, later)
        (alert,) = [each for each in Triage(History()).alerts("all") if each.id == alert_of("change_point")]
        save_alert(connection, replace(alert, last_session_id="run-0499"))
    (row,) = perfdb("alerts", "explain", str(alert.id), "--json").rows
    assert row["session_ids"][row["at"]] == "run-0060"
    assert (row["before_n"], row["session_ids"][-1]) == (60, "run-0499")
    out = perfdb("alerts", "explain", str(alert.id)).out
    assert "▲" in out
    assert "too few" not in out
