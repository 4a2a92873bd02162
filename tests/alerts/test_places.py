"""One move has one place and one figure, in whichever window it is seen.

Of: alerts/places.py.
"""

from __future__ import annotations

import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import perfdb
from perfdb.alerts.causes import facts_beside
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import after_session
from perfdb.alerts.late import evaluate_historic
from perfdb.alerts.places import rank
from perfdb.history.charts import drawing
from perfdb.records import Alert, Session
from perfdb.settings import load
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.testing import make_session
from perfdb.web.answers.trends import trend
from perfdb.web.queries import TrendQuery
from perfdb.web.served import ServedHistory

MOVED_AT = 200


def with_a_vague_move(level: float) -> list[Session]:
    """300 sessions whose total tells only about where the step took another time."""
    noise = random.Random(1)
    made = []
    for number in range(300):
        took = (level if number >= MOVED_AT else 2.0) * noise.lognormvariate(0, 0.03)
        session = make_session(number, {"load": 1.0, "work": took}, fast_mode=False)
        total = took + 3.0 * noise.lognormvariate(0, 0.2)
        made.append(replace(session, total_duration=total))
    return made


@pytest.fixture(params=["with alerts", "without"])
def history(request: Any, migrated_file: Path, tmp_path: Path) -> perfdb.History:
    file = Path(shutil.copy(migrated_file, tmp_path / "history.sqlite3"))
    made = with_a_vague_move(2.8)
    engine = open_engine(f"sqlite:///{file}", role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, made)
    engine.dispose()
    if request.param == "with alerts":
        with Database(f"sqlite:///{file}", 5.0) as database:
            evaluate_historic(database, [each.session_id for each in made], load().alerts)
    return perfdb.History(file)


Figures = tuple[str, float, float, int]  # since when, before and after, of how many runs


def of_page(history: perfdb.History, step: str | None, **window: Any) -> set[Figures]:
    query = TrendQuery.model_validate({"step": step, **window})
    found = trend(ServedHistory(history, limit_s=60.0), query).changes
    return {(each.session_id, each.before_median, each.after_median, each.before_n) for each in found}


@pytest.mark.parametrize("step", [None, "work"])
def test_a_window_only_chooses_among_the_moves(history: perfdb.History, step: str | None) -> None:
    whole = history.regressions()
    (told,) = whole[whole["step_name"].isna() if step is None else whole["step_name"] == step].to_dict(
        "records"
    )
    figures = (told["since_session_id"], told["before_median"], told["after_median"], told["before_n"])
    for last in range(110, 301, 10):
        found = history.trends(last=last)
        (row,) = found[found["step_name"].isna() if step is None else found["step_name"] == step].to_dict(
            "records"
        )
        assert of_page(history, step, last=last) in (set(), {figures}), last
        if row["since_time"] == row["since_time"]:  # some windows hardly show it
            assert (row["since_time"], row["effect"]) == (told["since_time"], told["effect"]), last
    assert of_page(history, step, last=300) == {figures}
    recent = history.regressions(last=110)
    assert told["since_session_id"] in set(recent["since_session_id"])
    assert recent["before_n"].tolist() == whole["before_n"].tolist()
    assert history.regressions(last=90).empty


@pytest.mark.parametrize("by", ["day", "week"])
def test_days_and_weeks_tell_the_move_of_the_runs(history: perfdb.History, by: Any) -> None:
    told = history.regressions(step="work").iloc[0]
    of_periods = history.trends(by=by, step="work").iloc[-1]
    if of_periods["since_time"] == of_periods["since_time"]:
        assert (of_periods["since_time"], of_periods["effect"]) == (told["since_time"], told["effect"])


def test_a_picture_of_a_window_tells_it_with_its_own_figures(history: perfdb.History) -> None:
    told = history.regressions(step="work").iloc[0]
    texts = [
        text.get_text() for text in drawing(history, "trend", step="work", last=150).figure().axes[0].texts
    ]
    assert any(f"n = {told['before_n']:,}" in text for text in texts), texts
    assert any(f"+{told['effect']:.0f} %" in text for text in texts), texts


def test_the_sessions_beside_a_move_are_read_once_for_all_series(history: perfdb.History) -> None:
    file = str(history.url).removeprefix("sqlite:///")
    with Database(f"sqlite:///{file}", 5.0) as database, database.reading() as connection:
        beside = facts_beside(connection, {})
        statements: list[str] = []
        event.listen(connection, "before_cursor_execute", lambda *given: statements.append(given[2]))
        (pipeline, mode), moment = ("design", '{"fast_mode":false}'), make_session(MOVED_AT, {}).start_time
        found, at = beside(pipeline, mode, moment, None, None)
        assert (len(found), at) == (300, MOVED_AT)
        assert statements
        statements.clear()
        assert beside(pipeline, mode, moment, None, None) == (found, at)
        assert not statements


def judged_live(file: Path, made: list[Session], first: int) -> perfdb.History:
    """A history whose sessions from ``first`` on were judged one after the other, as they ended."""
    engine = open_engine(f"sqlite:///{file}", role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, made[:first])
        for each in made[first:]:
            insert_sessions(connection, [each])
            after_session(connection, each.session_id, AlertSettings(), each.start_time)
    engine.dispose()
    return perfdb.History(file)


def moved(count: int, of: int, *, wave: float = 0.0) -> list[Session]:
    """So many sessions, one an hour, of which the last take 1.4 times as long; with a wave of the day."""
    noise = random.Random(4)
    made = []
    for number in range(count):
        level = 2.8 if number >= count - of else 2.0
        took = level * math.exp(wave * math.sin(number * math.tau / 24)) * noise.lognormvariate(0, 0.04)
        made.append(make_session(number, {"work": took}, fast_mode=False, every_s=3_600.0))
    return made


@pytest.mark.parametrize(("before", "wave"), [(36, 0.0), (400, 0.0), (400, 0.3)])
@pytest.mark.parametrize("since", [8, 15, 30])
def test_an_alert_and_the_history_tell_one_move_with_the_same_levels(
    migrated_file: Path, tmp_path: Path, before: int, wave: float, since: int
) -> None:
    file = Path(shutil.copy(migrated_file, tmp_path / "live.sqlite3"))
    history = judged_live(file, moved(before + since, since, wave=wave), before - 5)
    told = history.regressions(step="work")
    if told.empty:  # two days of a new level may still be a part of the wave
        assert wave
        return
    (row,) = told.to_dict("records")
    assert row["effect"] == pytest.approx(40, abs=8 if since > 8 else 12)
    assert row["without_wave"] == bool(wave)
    alerts = history.alerts()
    alerts = alerts[(alerts["step_name"] == "work") & alerts["kind"].isin(["fast_shift", "change_point"])]
    assert len(alerts) > 0
    figures = (row["before_median"], row["after_median"], row["effect"])
    for alert in alerts.to_dict("records"):
        found = history.explain_alert(alert["id"])
        of_alert = (alert["baseline"], alert["value"], alert["effect"])
        assert of_alert == pytest.approx(figures), alert["kind"]
        assert (found.before_median, found.after_median, found.effect) == pytest.approx(figures)
        assert (found.before_n, found.after_n) == (row["before_n"], row["after_n"])
        assert (" without the wave of the day" in alert["message"]) == bool(wave)
    pages = of_page(history, "work", last=before + since)
    assert pages == {(row["since_session_id"], *figures[:2], row["before_n"])}


def test_of_alerts_about_a_move_one_is_told_everywhere() -> None:
    made = Alert(
        rule="r", kind="change_point", severity="warning", state="firing", pipeline="p", step_name=None,
        metric="duration", mode="{}", direction="up", value=2.0, since_session_id="s", since_time=100.0,
        last_session_id="s", last_time=100.0, opened_at=100.0, updated_at=100.0, id=1,
    )  # fmt: skip
    in_order = [
        made,
        replace(made, id=5, since_time=90.0, severity="critical"),  # further away
        replace(made, id=4, since_time=90.0),
        replace(made, id=3, since_time=90.0),
        replace(made, id=9, inhibited_by=1),
        replace(made, id=8, state="resolved"),
    ]
    by_id = sorted(in_order, key=lambda alert: -alert.id)
    assert sorted(by_id, key=lambda alert: rank(alert, 100.0)) == in_order
