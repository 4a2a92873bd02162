"""Where the levels of a whole history moved, and why.

Of: alerts/backfill.py, alerts/events.py, alerts/moves.py, alerts/places.py.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.alerts.backfill import open_historic
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.events import with_causes
from perfdb.alerts.late import evaluate_historic
from perfdb.alerts.moves import moves_of
from perfdb.alerts.places import alert_of, placed
from perfdb.analysis.change_points import find_change_points
from perfdb.analysis.course import changes_of
from perfdb.analysis.regressions import Move
from perfdb.analysis.series import Series
from perfdb.cli import main
from perfdb.maintenance.importer import find_reports, import_reports
from perfdb.recording.report import to_report, write_report
from perfdb.records import Alert, Session
from perfdb.settings import load
from perfdb.store.alerts import read_alerts, save_alert
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.series import runs_of_series
from perfdb.store.sessions import tag_session
from perfdb.testing import make_session
from tests.given import Given

NOON = 1_767_268_800.0
NORMAL = '{"fast_mode":false}'
Level = Callable[[int], float]


def session_of(number: int, work: float, **changes: Any) -> Session:
    return make_session(number, {"load": 1.0, "work": work}, **({"fast_mode": False} | changes))


@pytest.fixture
def file(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return Path(shutil.copy(migrated_file, tmp_path / "history.sqlite3"))


def fill(file: Path, sessions: list[Session]) -> None:
    engine = open_engine(f"sqlite:///{file}", role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, sessions)
    engine.dispose()


def noisy(n: int, level: Level, **words: Callable[[int], Any]) -> list[Session]:
    noise = random.Random(5)
    return [
        session_of(
            number,
            level(number) * noise.lognormvariate(0, 0.05),
            attributes={name: value(number) for name, value in words.items()},
        )
        for number in range(n)
    ]


def later(session: Session, seconds: float) -> Session:
    steps = tuple(replace(each, start_time=each.start_time + seconds) for each in session.steps)
    return replace(session, start_time=session.start_time + seconds, steps=steps)


def up_and_down(number: int) -> float:
    return 3.0 if 60 <= number < 120 else 4.0 if number >= 180 else 2.0


def test_what_runs_of_another_mode_clear_is_no_suspect(file: Path) -> None:
    words = {"model": lambda n: "b" if n >= 300 else "a", "release": lambda n: "2" if n >= 290 else "1"}
    sessions = noisy(480, lambda number: 4.0 if number >= 300 else 2.0, **words)
    fast = NORMAL.replace("false", "true")
    sessions[::12] = [replace(each, fast_mode=True, mode=fast) for each in sessions[::12]]  # 288 and 300
    fill(file, sessions)
    found = perfdb.History(file).regressions()
    assert found["mode"].nunique() == 2
    assert set(found["cause"]) == {"model switched from a to b at the same session"}


@pytest.mark.parametrize("switched", [False, True])
def test_a_move_is_at_one_session_for_regressions_alerts_and_its_trend(file: Path, switched: bool) -> None:
    noise = random.Random(0)
    made = []
    for number in range(300):  # the step tells exactly where it was, the total only about where
        moved = number >= 200
        attributes = {"model": "b" if moved and switched else "a"}
        session = session_of(number, (2.8 if moved else 2.0) * noise.lognormvariate(0, 0.03))
        total = session.steps[1].duration + 3.0 * noise.lognormvariate(0, 0.2)
        made.append(replace(session, total_duration=total, attributes=session.attributes | attributes))
    fill(file, made)
    with Database(f"sqlite:///{file}", 5.0) as database:
        evaluate_historic(database, [each.session_id for each in made], load().alerts)
        with database.reading() as connection:
            told = read_alerts(connection, "all")
            runs = runs_of_series(connection, made[0].pipeline, None, NORMAL, last=1_000)
    (raw,), _ = changes_of(runs)
    change = placed(Move(runs, raw, lasts=True), told).change
    found = perfdb.History(file).regressions()
    by_step = dict(zip(found["step_name"].fillna(""), found["since_session_id"], strict=True))
    assert by_step["work"] == "run-0200" != runs.session_ids[raw.index]
    assert by_step[""] == runs.session_ids[change.index]
    assert (by_step[""] == "run-0200") is switched
    assert {each.step_name or "": each.since_session_id for each in told} == by_step


def test_every_regression_of_the_history_is_found_and_explained(file: Path) -> None:
    fill(file, noisy(240, up_and_down, model=lambda number: "b" if number >= 180 else "a"))
    found = perfdb.History(file).regressions()
    assert found["step_name"].tolist() == [None, "work", None, "work"]
    assert [int(each[-4:]) for each in found["since_session_id"]] == pytest.approx([60, 60, 180, 180], abs=1)
    assert found["lasts"].tolist() == [False, False, True, True]
    work = found[found["step_name"] == "work"]
    assert work["effect"].tolist() == pytest.approx([50, 100], abs=6)
    assert work["contributes_percent"].tolist() == pytest.approx([100, 100], abs=3)
    assert work["cause"].tolist() == ["", "model switched from a to b at the same session"]
    for parts in found["parts"]:
        assert sum(part["percent"] for part in parts) == pytest.approx(100)
    assert set(found["alert_id"].isna()) == {True}


def test_improvements_are_found_when_asked_for(file: Path) -> None:
    fill(file, noisy(240, up_and_down))
    found = perfdb.History(file).regressions(better=True, step="work")
    assert [int(each[-4:]) for each in found["since_session_id"]] == pytest.approx([120], abs=1)
    assert found["effect"].iloc[0] < 0


def test_since_chooses_what_moved_but_not_what_it_is_judged_by(file: Path) -> None:
    fill(file, noisy(240, up_and_down))
    history = perfdb.History(file)
    recent = history.regressions(since=NOON + 60 * 150, step="work")
    assert [int(each[-4:]) for each in recent["since_session_id"]] == pytest.approx([180], abs=1)
    assert recent["before_n"].iloc[0] == pytest.approx(60, abs=2)
    assert history.regressions(since=NOON + 60 * 200).empty
    assert history.regressions(pipeline="other").empty
    assert history.regressions(until=NOON + 60 * 100)["lasts"].tolist() == [True, True]


def test_failed_and_warm_up_sessions_do_not_count(file: Path) -> None:
    sessions = noisy(120, lambda number: 2.0)
    sessions[60:] = [
        replace(each, status="failed", success=False, total_duration=9.0) for each in sessions[60:90]
    ] + sessions[90:]
    sessions[90:] = [
        replace(each, total_duration=9.0, steps=(replace(each.steps[1], duration=9.0),))
        for each in sessions[90:]
    ]
    fill(file, sessions)
    assert not perfdb.History(file).regressions().empty
    engine = open_engine(f"sqlite:///{file}", role="writer")
    with engine.begin() as connection:
        for each in sessions[90:]:
            tag_session(connection, each.session_id, "warmup")
    engine.dispose()
    assert perfdb.History(file).regressions().empty


def test_the_command_prints_a_table_and_reasons(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(file, noisy(240, up_and_down, model=lambda number: "b" if number >= 180 else "a"))
    assert run("regressions", "-d", str(file)) == 0
    out = capsys.readouterr().out
    assert "Suspect: model switched from a to b at the same session." in " ".join(out.split())
    assert "No attribute switched with it more than by chance." in " ".join(out.split())
    assert "of which work +1.99 s (100 %)" in out
    assert max(map(len, out.splitlines())) <= 100
    assert run("regressions", "-d", str(file), "--json", "--step", "work") == 0
    assert '"effect":' in capsys.readouterr().out
    assert run("regressions", "-d", str(file), "--csv") == 0
    assert capsys.readouterr().out.startswith("pipeline,step_name,mode,against,since_session_id")
    assert run("regressions", "-d", str(file), "--last", "50") == 0
    assert "Nothing became slower permanently" in capsys.readouterr().err


def test_an_open_alert_without_a_regression_is_named_beside_the_answer(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the newest 50 runs nothing moved, and yet `perfdb alerts` lists a move: both are true."""
    sessions = noisy(240, up_and_down)
    fill(file, sessions)
    with Database(f"sqlite:///{file}", 5.0) as database:
        evaluate_historic(database, [each.session_id for each in sessions], load().alerts)
        with database.writing() as connection:
            alert = next(each for each in read_alerts(connection, "all") if each.active and each.step_name)
            save_alert(connection, replace(alert, state="firing"))
    assert run("regressions", "-d", str(file), "--last", "50") == 0
    said = capsys.readouterr().err
    assert f"work: alert {alert.id} of change_point says +" in said
    assert f"See: perfdb alerts explain {alert.id}" in said
    assert run("regressions", "-d", str(file)) == 0
    assert "no lasting move" not in capsys.readouterr().err  # the table names the alert


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_an_imported_history_opens_one_historic_finding_per_event(file: Path, tmp_path: Path) -> None:
    for session in noisy(240, up_and_down, model=lambda number: "b" if number >= 180 else "a"):
        write_report(to_report(session), tmp_path / "old")
    settings = load(database_url=f"sqlite:///{file}")
    assert all(each.error is None for each in import_reports(find_reports([tmp_path / "old"]), settings))
    history = perfdb.History(file)
    assert history.alerts("open").empty
    found = history.alerts("all")
    found = found[found["kind"].isin(["fast_shift", "change_point"])]
    assert set(found["state"]) == {"historic"}
    assert set(found["notified_at"].isna()) == {True}
    heads = found[found["inhibited_by"].isna()].sort_values("since_time")
    assert heads["step_name"].tolist() == ["work", "work"]
    assert [int(each[-4:]) for each in heads["since_session_id"]] == pytest.approx([60, 180], abs=2)
    assert "It ended with session run-01" in heads["message"].iloc[0]
    assert "Suspect: model switched from a to b" in heads["message"].iloc[1]
    found = history.regressions()
    assert set(found["alert_state"]) == {"historic"}
    again = import_reports(find_reports([tmp_path / "old"]), settings)
    assert sum(each.added for each in again) == 0
    assert len(history.alerts("all")) == len(perfdb.History(file).alerts("all"))


def test_figures_of_fewer_runs_say_so_and_a_move_in_a_wave_has_its_chance(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = noisy(640, lambda number: (3.0 if number < 400 else 3.9) + math.sin(2 * math.pi * number / 24))
    made = [later(each, 3_540 * number) for number, each in enumerate(made)]
    fill(file, made)
    with Database(f"sqlite:///{file}", 5.0) as database:
        ids = [each.session_id for each in made]
        evaluate_historic(database, ids, load(database_url=f"sqlite:///{file}").alerts)
    found = perfdb.History(file).regressions()
    assert found[["total_before_n", "total_after_n"]].to_numpy().tolist() == [[300, 240]] * len(found)
    assert run("regressions", "-d", str(file)) == 0
    told = " ".join(capsys.readouterr().out.split())
    wave = " without the wave of the day or week"
    assert f"{wave} between 300 runs before and 240 since, of which work " in told
    assert set(found["total_without_wave"]) == {True}
    for parts in found["parts"]:
        assert parts[0]["seconds"] == pytest.approx(0.9, abs=0.1), "what moved, whatever the hours were"
    for alert in found["alert_id"]:
        assert run("alerts", "explain", str(alert), "-d", str(file)) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert "chance p = " in told
        assert f"{wave} between 300 runs before and 240 since: work " in told


def test_an_event_is_told_at_a_move_of_the_table_and_of_as_many_runs(file: Path) -> None:
    """Total and step are found a run or more apart, and the modes as well: the sentence takes the total's."""
    apart = 0
    for seed in range(3):
        noise = random.Random(seed)

        def made(number: int, noise: random.Random = noise) -> Session:
            factor = 0.5 if number % 4 == 0 else 1.0
            steps = {"load": 3.0 * factor, "work": (2.0 if number < 240 else 2.7) * factor}
            steps = {name: seconds * noise.lognormvariate(0, 0.12) for name, seconds in steps.items()}
            return make_session(number, steps, fast_mode=number % 4 == 0)

        database = file.with_name(f"{seed}.sqlite3")
        shutil.copy(file, database)
        fill(database, [made(number) for number in range(400)])
        found = perfdb.History(database).regressions()
        for event, rows in found.groupby("event_session_id"):
            apart += rows["since_session_id"].nunique() > 1
            totals = rows[rows["step_name"].isna()]
            told = rows[rows["since_session_id"] == event]
            assert len(told)
            assert totals.empty or set(totals["since_session_id"]) == {event}
            sides = told[["before_n", "after_n"]].clip(upper=300).drop_duplicates().to_numpy().tolist()
            assert rows[["total_before_n", "total_after_n"]].drop_duplicates().to_numpy().tolist() == sides
    assert apart


def test_a_move_is_the_alert_that_lies_where_it_may_have_been() -> None:
    """An import looks at the runs as they were, `perfdb regressions` without their wave: places differ."""
    runs = Series("nightly", "work", "{}", "duration", [f"run-{n}" for n in range(60)],
                  [float(n) for n in range(60)], [1.0] * 40 + [1.5] * 20)  # fmt: skip
    (change,) = find_change_points(runs.values)
    move = Move(runs, replace(change, interval=(34, 52), p_value=1e-9), lasts=True)

    def alert(at: int) -> Alert:
        return Alert(
            id=at, rule="change_point", kind="change_point", severity="warning", state="historic",
            direction="up", pipeline="nightly", step_name="work", mode="{}", metric="duration", value=1.5,
            since_session_id=f"run-{at}", since_time=float(at), last_session_id="run-59", last_time=59.0,
            opened_at=0.0, updated_at=0.0,
        )  # fmt: skip

    found = [alert_of(move, [alert(at) for at in places]) for places in ([50], [50, 41], [20], [])]
    assert [each and each.id for each in found] == [50, 41, None, None]
    told = alert_of(move, [replace(alert(41), id=8, inhibited_by=7), replace(alert(41), id=7)])
    assert told is not None
    assert told.id == 7, "the one that `perfdb alerts` lists, which speaks for the other"
    assert move.moved_to(50.0).change.p_value == 1e-9, "as it was found, not of the runs as they were there"


def test_the_hours_of_a_broken_day_are_no_part_of_a_move(file: Path) -> None:
    noise = random.Random(5)

    def made(number: int) -> Session:  # 240 a day: 300 runs on either side are a day and a quarter
        wave = 1 + 0.3 * math.sin(2 * math.pi * number / 240)
        steps = {"load": 10.0, "work": 4.0 if number >= 960 else 2.5}
        steps = {name: seconds * wave * noise.lognormvariate(0, 0.03) for name, seconds in steps.items()}
        return make_session(number, steps, fast_mode=False, every_s=360)

    fill(file, [made(number) for number in range(1_600)])
    moved = perfdb.History(file).regressions()
    (work,) = moved.to_dict("records")[-1:]
    by_step = {part["step_name"]: part["seconds"] for part in work["parts"]}
    assert work["step_name"] == "work"
    assert (work["total_before_n"], work["total_after_n"]) == (240, 240)
    assert by_step["work"] == pytest.approx(1.5, abs=0.3)
    assert abs(by_step.get("load", 0.0)) < 0.3


@pytest.mark.parametrize("seed", [0, 2, 3, 6])  # one in eighteen draws lies farther off
def test_looking_again_moves_a_boundary_and_never_opens_a_second(file: Path, seed: int) -> None:
    noise = random.Random(seed)
    sessions = [
        session_of(number, (2.0 if number < 60 else 2.8) * noise.lognormvariate(0, 0.2))
        for number in range(300)
    ]
    engine = open_engine(f"sqlite:///{file}", role="writer")
    boundaries = set()
    with engine.begin() as connection:
        for first, end in ((0, 75), (75, 90), (90, 120), (120, 200), (200, 300)):
            insert_sessions(connection, sessions[first:end])
            moves = with_causes(connection, moves_of(connection))
            open_historic(Given(connection), moves, AlertSettings(), NOON)
            boundaries |= {each.since_session_id for each in read_alerts(connection, "all")}
        found = read_alerts(connection, "all")
    engine.dispose()
    assert sorted((each.step_name or "", each.active) for each in found) == [("", True), ("work", True)]
    assert all(abs(int(each[-4:]) - 60) <= 5 for each in boundaries)


def test_an_alert_of_old_data_and_its_regression_have_one_set_of_figures(file: Path) -> None:
    """Of few noisy runs the rules see the move later than who looks back; a second import adds runs to it."""
    noise = random.Random(7)
    made = []
    for number in range(400):
        wild = 6.0 if noise.random() < 0.02 else 1.0
        seconds = (2.8 if number >= 350 else 2.0) * noise.lognormvariate(0, 0.25) * wild
        made.append(session_of(number, seconds))
    for part in (made[:379], made[379:]):
        with Database(f"sqlite:///{file}", 30.0) as database:
            with database.writing() as connection:
                insert_sessions(connection, part)
            evaluate_historic(database, [each.session_id for each in part], {})
    figures = {"value": "after_median", "baseline": "before_median", "n": "after_n", "baseline_n": "before_n",
               "effect": "effect", "since_session_id": "since_session_id"}  # fmt: skip
    history = perfdb.History(file)
    told = {row["alert_id"]: row for row in history.regressions().to_dict("records")}
    alerts = [row for row in history.alerts("all").to_dict("records") if row["kind"] == "change_point"]
    assert {row["id"] for row in alerts} == set(told)
    assert alerts
    for row in alerts:
        assert {name: row[name] for name in figures} == {
            name: told[row["id"]][of] for name, of in figures.items()
        }
