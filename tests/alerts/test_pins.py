"""Pinned baselines: small losses add up against them, and they hold when their sessions are gone.

Of: alerts/losses.py, alerts/pins.py, store/baselines.py, analysis/baselines.py.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

import perfdb
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import after_session
from perfdb.alerts.pins import pin, pins_of_past
from perfdb.alerts.triage import Triage
from perfdb.analysis.baselines import distance, level_of
from perfdb.analysis.rules import Level, Rule, evaluate
from perfdb.cli import main
from perfdb.records import Session, Step
from perfdb.store.alerts import read_alerts
from perfdb.store.baselines import pinned
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.sessions import delete_sessions

NOON = 1_767_268_800.0
NORMAL, FAST = '{"fast_mode":false}', '{"fast_mode":true}'
RULE = Rule(name="pinned_baseline", kind="pinned", percent=5.0)
Say = Callable[..., tuple[int, str, str]]


def pin_past(connection: Any, now: float, **chosen: Any) -> tuple[list[Any], list[Any]]:
    made, short = pins_of_past(connection, now, **chosen)
    pin(connection, made, now)
    return made, short


def run_of(number: int, work: float, mode: str = NORMAL) -> Session:
    start = NOON + 60 * number
    step = Step(step_name="work", start_time=start, duration=work, success=True)
    return Session(
        session_id=f"run-{number:04d}",
        pipeline="design",
        start_time=start,
        total_duration=work,
        status="completed",
        success=True,
        fast_mode=mode == FAST,
        mode=mode,
        steps=(step,),
    )


def noisy(first: int, level: float, n: int, spread: float = 0.05) -> list[Session]:
    noise = random.Random(first)
    return [run_of(first + each, level * noise.lognormvariate(0, spread)) for each in range(n)]


@pytest.fixture
def file(migrated_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    return Path(shutil.copy(migrated_file, tmp_path / "history.sqlite3"))


@pytest.fixture
def connection(file: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{file}", role="writer")
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def say(file: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Type a command about the database of this test."""

    def typed(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "-d", str(file)])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return typed


def fill(file: Path, sessions: list[Session]) -> None:
    engine = open_engine(f"sqlite:///{file}", role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, sessions)
    engine.dispose()


def test_a_level_is_median_spread_and_count() -> None:
    level = level_of([1.0, 2.0, 3.0, 4.0, 5.0] * 2)
    assert (level.value, level.n) == (3.0, 10)
    assert level.spread == pytest.approx(1.4826 * 0.4055, rel=0.001)  # of the logarithms: ln 3 - ln 2
    with pytest.raises(ValueError, match="10 runs or more, not 9"):
        level_of([1.0] * 9)
    assert list(distance(2.0, [9.0] * 100 + [2.5] * 50)) == [2.5, 50, 25.0]
    assert list(distance(2.0, [])) == [None, 0, None]


def test_the_rule_waits_for_runs_and_for_a_pin() -> None:
    assert not evaluate(RULE, [3.0] * 50).enough
    with_pin = Rule(name="p", kind="pinned", percent=5.0, pinned=Level(2.0, 0.05, 50))
    assert not evaluate(with_pin, [3.0] * 19).enough
    verdict = evaluate(with_pin, [3.0] * 20)
    assert (verdict.hit, verdict.value, verdict.baseline, verdict.baseline_n) == (True, 3.0, 2.0, 50)
    assert not evaluate(with_pin, [2.05] * 50).hit


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_healthy_runs_do_not_ring_against_their_pin(rho: float) -> None:
    rang = 0
    for seed in range(10):
        noise, value, values = random.Random(seed), 0.0, []
        for _ in range(450):
            value = rho * value + noise.gauss(0, 0.15 * (1 - rho**2) ** 0.5)
            values.append(2.0 * 2.718281828**value)
        rule = Rule(name="p", kind="pinned", percent=5.0, pinned=level_of(values[:50]))
        rang += any(evaluate(rule, values[:end]).hit for end in range(70, 450, 5))
    assert rang == 0


def test_less_is_worse_where_the_rule_says_so() -> None:
    rule = Rule(name="p", kind="pinned", percent=5.0, direction="down", pinned=Level(10.0, 0.03, 50))
    verdict = evaluate(rule, [8.0] * 50)
    assert verdict.hit
    assert [verdict.value, verdict.baseline] == pytest.approx([8.0, 10.0])
    assert not evaluate(rule, [12.0] * 50).hit


def test_small_losses_add_up_against_the_pin(connection: Connection) -> None:
    insert_sessions(connection, noisy(0, 2.0, 60, 0.02))
    pins, short = pin_past(connection, NOON, last=50, note="v1")
    assert [pin.step_name for pin in pins] == [None, "work"]
    assert short == []
    number, level = 60, 2.0
    for _ in range(4):
        level *= 1.04  # below the 5 % of every rule
        for session in noisy(number, level, 40, 0.02):
            insert_sessions(connection, [session])
            after_session(connection, session.session_id, AlertSettings(), session.start_time)
        number += 40
    firing = read_alerts(connection, "firing")
    (head,) = [alert for alert in firing if alert.kind == "pinned" and alert.step_name == "work"]
    assert head.baseline == pytest.approx(2.0, rel=0.02)
    assert "work is slower than its pinned baseline: from 2.0" in head.message
    assert head.effect is not None
    assert head.effect > 12


def test_an_alert_about_one_move_says_how_far_it_is_from_the_pin(connection: Connection) -> None:
    insert_sessions(connection, noisy(0, 2.0, 60))
    pin_past(connection, NOON, last=50, note=None)
    insert_sessions(connection, noisy(60, 2.2, 60))
    for session in noisy(120, 3.3, 40):
        insert_sessions(connection, [session])
        after_session(connection, session.session_id, AlertSettings(), session.start_time)
    heads = read_alerts(connection, "open")
    assert {alert.kind for alert in heads if alert.severity != "info"} == {"fast_shift", "change_point"}
    for head in heads:
        if head.severity != "info":
            assert "Against the pinned baseline of 2.0" in head.message
    pins = [alert for alert in read_alerts(connection, "firing") if alert.kind == "pinned"]
    assert len(pins) == 2
    assert None not in {alert.inhibited_by for alert in pins}  # one event, notified once


def test_a_pin_outlives_its_sessions_and_closes_what_it_raised(file: Path, connection: Connection) -> None:
    insert_sessions(connection, noisy(0, 2.0, 60))
    pin_past(connection, NOON, last=50, note=None)
    delete_sessions(connection, [f"run-{number:04d}" for number in range(60)])
    for session in noisy(60, 3.0, 30):
        insert_sessions(connection, [session])
        after_session(connection, session.session_id, AlertSettings(), session.start_time)
    assert [alert.kind for alert in read_alerts(connection, "open")] == ["pinned"]
    assert [pin.value for pin in pinned(connection)] == pytest.approx([2.0, 2.0], rel=0.05)
    pin_past(connection, NOON, last=20, note="as it is now")
    assert read_alerts(connection, "open") == []
    assert [pin.value for pin in pinned(connection)] == pytest.approx([3.0, 3.0], rel=0.05)


def test_each_mode_has_its_own_pin(connection: Connection) -> None:
    insert_sessions(
        connection, [run_of(number, 2.0 - number % 2, (NORMAL, FAST)[number % 2]) for number in range(40)]
    )
    pin_past(connection, NOON, last=50, note=None, step="work")
    assert {(pin.mode, pin.value) for pin in pinned(connection)} == {(NORMAL, 2.0), (FAST, 1.0)}


def test_baselines_are_pinned_listed_and_let_go(file: Path, say: Say) -> None:
    assert say("baseline")[2].endswith("perfdb baseline pin\n")
    fill(file, noisy(0, 2.0, 60) + noisy(60, 3.0, 60))
    code, out, _ = say("baseline", "pin", "--before", "run-0060", "--note", "before the new model")
    assert code == 0
    assert out.splitlines()[1].startswith("Pinned work (design, normal mode) at 2.0")
    assert out.splitlines()[1].endswith("median of 50 runs up to run-0059")
    _, out, _ = say("baseline")
    assert "before the new model" in out
    assert "+5" in out or "+4" in out
    assert say("baseline", "pin", "--last", "60", "--note", "all")[0] == 0
    assert perfdb.History(file).baselines()["now_n"].tolist() == [0, 0]  # no run since
    assert say("baseline", "pin", "--before", "run-0060", "--note", "before the new model")[0] == 0
    frame = perfdb.History(file).baselines()
    assert frame["step_name"].tolist() == [None, "work"]
    assert frame["change_percent"].tolist() == pytest.approx([50, 50], abs=5)
    assert frame["since_session_id"].tolist() == ["run-0010"] * 2
    assert say("baseline", "list", "--csv")[1].startswith("id,pipeline,step_name,mode,metric,value")
    assert say("baseline", "unpin")[0] == 2
    assert say("baseline", "unpin", "99")[0] == 2
    assert say("baseline", "unpin", "--step", "work")[1] == "Unpinned 1 baseline.\n"
    assert say("baseline", "unpin", "--all")[1] == "Unpinned 1 baseline.\n"
    assert perfdb.History(file).baselines().empty


def test_a_range_of_sessions_makes_a_pin(file: Path) -> None:
    fill(file, noisy(0, 2.0, 60))
    desk = Triage(perfdb.History(file))
    made = desk.pin_baseline(first="run-0010", to="run-0029", last=None)
    assert {(pin.since_session_id, pin.until_session_id, pin.n) for pin in made.pins} == {
        ("run-0010", "run-0029", 20)
    }
    with pytest.raises(perfdb.UsageError, match="limited twice"):
        desk.pin_baseline(before="run-0010", to="run-0029")
    with pytest.raises(perfdb.UsageError, match="10 runs that count"):
        desk.pin_baseline(before="run-0005")


def test_what_cannot_be_pinned_is_said(say: Say, file: Path) -> None:
    fill(file, noisy(0, 2.0, 5))
    code, _, err = say("baseline", "pin")
    assert code == 2
    assert "a baseline needs 10 runs that count" in err
    assert say("baseline", "pin", "--before", "nothing")[0] == 2
    assert say("baseline", "pin", "--last", "3")[0] == 2


def test_the_rule_is_configured_as_any_other(file: Path, tmp_path: Path) -> None:
    (tmp_path / "perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "pinned_baseline"\nkind = "pinned"\nstep = "*"\npercent = 20\n'
        'severity = "critical"\n'
    )
    rule: Any = Triage(perfdb.History(file)).settings.rule("pinned_baseline")
    assert (rule.percent, rule.severity, rule.step) == (20, "critical", "*")


def test_regressions_report_the_loss_against_the_pin(file: Path, say: Say) -> None:
    sessions, level = noisy(0, 2.0, 60, 0.03), 2.0
    for number in range(60, 300, 20):
        level *= 1.012  # a drift of which no single step is a regression
        sessions += noisy(number, level, 20, 0.03)
    fill(file, sessions)
    desk = Triage(perfdb.History(file))
    assert "pinned" not in set(perfdb.History(file).regressions()["against"])
    desk.pin_baseline(before="run-0060")
    found = perfdb.History(file).regressions()
    lost = found[found["against"] == "pinned"]
    assert lost["step_name"].tolist() == [None, "work"]
    assert lost["effect"].tolist() == pytest.approx([13, 13], abs=3)
    assert lost["before_n"].tolist() == [50, 50]
    assert "pinned" in say("regressions")[1]
