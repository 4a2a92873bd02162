"""What a rule would have said of past runs: what it says now of the newest, and nothing is written.

Of: alerts/judging.py, analysis/outcomes.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import perfdb
from perfdb.alerts import judging
from perfdb.alerts.triage import Triage
from perfdb.analysis.outcomes import outcome_of
from perfdb.analysis.rules import Rule
from perfdb.records import Session
from perfdb.settings import sqlite_url
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.store.windows import SessionRef
from perfdb.testing import make_session

NOON = 1_767_268_800.0
RULES = """
[[alerts.rules]]
name = "slow"
kind = "max"
step = "work"
limit = 2.0
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Triage:
    """Forty runs of 1 s, of which every tenth takes 3 s."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "perfdb.toml").write_text(RULES, encoding="utf-8")
    url = sqlite_url(tmp_path / "perfdb.sqlite3")
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [made(number, 3.0 if number % 10 == 9 else 1.0) for number in range(40)])
    engine.dispose()
    return Triage(perfdb.History(url))


def made(number: int, seconds: float) -> Session:
    return make_session(number, {"work": seconds}, pipeline="etl", session_id=f"run_{number:02d}")


def test_a_limit_would_have_flagged_every_run_above_it(desk: Triage) -> None:
    judged, hits = desk.would_have_flagged("slow", last=35)
    assert judged == 35
    assert [hit.session_id for hit in hits] == ["run_39", "run_29", "run_19", "run_09"]
    assert {(hit.step_name, hit.verdict.value) for hit in hits} == {("work", 3.0)}
    assert desk.alerts("all") == []


def test_the_newest_run_is_judged_as_it_is_now(desk: Triage) -> None:
    for rule in desk.settings.rules:
        now = {(each.step_name, each.session_id): each.verdict for each in desk.verdicts(rule.name)}
        judged, hits = desk.would_have_flagged(rule.name, last=1)
        assert judged == sum(verdict.enough for verdict in now.values())
        assert {(hit.step_name, hit.session_id): hit.verdict for hit in hits} == {
            name: verdict for name, verdict in now.items() if verdict.hit
        }


def test_rules_ring_again_over_a_history_and_it_is_said_what_lasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = sqlite_url(tmp_path / "perfdb.sqlite3")
    ensure_schema(url)
    levels = [1.0] * 80 + [1.5] * 6 + [1.0] * 60 + [2.0] * 80  # what comes for six runs is no level
    runs = [made(number, level * (1 + number % 7 / 100)) for number, level in enumerate(levels)]
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, runs)
    engine.dispose()
    history = perfdb.History(url)
    frame = history.replay_rules().set_index("rule")
    shift = frame.loc["fast_shift"]
    assert (shift["alerts"], shift["lasting"], shift["temporary"], shift["false"]) == (2, 1, 0, 1)
    assert shift["precision"] == 0.5
    assert (frame.attrs["sessions"], frame.attrs["of"]) == (len(levels), len(levels))
    assert history.replay_rules(last=50).attrs["sessions"] < len(levels)
    assert history.alerts("all").empty


def test_what_became_of_a_level() -> None:
    noise = [1 + number % 7 / 100 for number in range(200)]
    risen = noise[:100] + [1.2 * value for value in noise[100:]]
    assert outcome_of(risen, 100) == "lasting"
    assert outcome_of(risen[:125], 100) == "lasting"
    assert outcome_of(risen[:110], 100) == "unknown"
    assert outcome_of([*risen[:122], *noise[122:]], 100) == "temporary"
    assert outcome_of([*risen[:104], *noise[104:]], 100) == "false"
    assert outcome_of([0.0] * 100 + [1.0] * 60, 100) == "lasting"


def test_what_is_judged_is_the_newest_of_each_series(desk: Triage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "MOST_JUDGED", 12)
    judged, hits = desk.would_have_flagged("slow", last=35)
    assert (judged, [hit.session_id for hit in hits]) == (12, ["run_39", "run_29"])
    state, verdicts = desk.rule("slow")
    assert state == next(each for each in desk.rules() if each.rule.name == "slow")
    assert verdicts == desk.verdicts("slow")


def test_the_rules_are_those_of_the_pipelines_that_ran_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    known = [("old", 1.0), ("named", 2.0), ("new", 3.0), ("newest", 4.0)]
    places = [
        SessionRef(number, f"run{number}", pipeline, "{}", at, "completed", number)
        for number, (pipeline, at) in enumerate(known)
    ]
    monkeypatch.setattr(judging, "MOST_PLACES", 2)
    rule = Rule(name="slow", kind="max", pipeline="named", limit=1.0)
    assert [each.pipeline for each in judging._most_lately(places, [rule])] == ["named", "new", "newest"]
