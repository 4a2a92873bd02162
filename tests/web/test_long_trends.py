"""Answers about a window that is too long to read its runs say what they would say, on both databases.

Of: web/answers/long_trends.py, web/answers/trends.py, web/answers/overview.py, alerts/long_moves.py,
store/long_series.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy.event import listen

import perfdb
from benchmarks.cluster import Door
from perfdb.analysis.series import SeriesName
from perfdb.records import Step
from perfdb.store.database import Database
from perfdb.store.rollups import roll_up
from perfdb.testing import NOON, make_history, make_session
from perfdb.web.answers import long_trends
from perfdb.web.answers import overview as of_overview
from perfdb.web.answers.trends import trend
from perfdb.web.queries import OverviewQuery, TrendQuery
from perfdb.web.schemas import TrendAnswer
from perfdb.web.served import ServedHistory

DAY = 86_400.0
DAYS, A_DAY = 60, 6


def fill(url: str, begins_after: float = 0.0) -> perfdb.History:
    """Write 60 days of six runs, slower by half since the 30th; one in 50 failed, three days are stale.

    A step begins so many seconds after its session.
    """
    noises = np.random.default_rng(3).lognormal(0, 0.05, DAYS * A_DAY).tolist()
    sessions = []
    for number, noise in enumerate(noises):
        value = (1.0 if number < len(noises) // 2 else 1.5) * noise
        step = Step(step_name="load", start_time=0.0, duration=value, success=True, seq=0)
        status = "failed" if number % 50 == 9 else "completed"
        made = make_session(number, [step], every_s=DAY / A_DAY, status=status)
        steps = (replace(step, start_time=made.start_time + begins_after),)
        sessions.append(replace(made, steps=steps, total_duration=begins_after + value + 1))
    history = make_history(url, sessions)
    with Database(history.url) as database:
        list(roll_up(database, until=NOON + (DAYS - 2) * DAY))
    return history


@pytest.fixture
def served(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedHistory]:
    history = fill(migrated_url)
    monkeypatch.setattr("perfdb.analysis.trend_view.MOST_RUNS", 100)
    with closing(ServedHistory(history)) as served:
        yield served


def both(served: ServedHistory, monkeypatch: pytest.MonkeyPatch, **asked: object) -> tuple[TrendAnswer, ...]:
    query = TrendQuery.model_validate({"pipeline": "design", **asked})
    by_runs = trend(served, query)
    with monkeypatch.context() as patched:
        patched.setattr("perfdb.store.long_series.EXACT_RUNS", -1)
        patched.setattr(long_trends, "MOST_READ", 10)
        by_days = trend(served, query)
    assert "0.5 %" in by_days.cut
    assert by_runs.cut == ""
    return by_days, by_runs


@pytest.mark.parametrize("step", [None, "load"])
@pytest.mark.parametrize("until", [None, NOON + 50 * DAY + 7_000])
def test_days_say_what_the_runs_say(
    served: ServedHistory, monkeypatch: pytest.MonkeyPatch, step: str | None, until: float | None
) -> None:
    """The window begins and may end within a day."""
    asked = {"step": step, "since": f"{NOON + 2 * DAY + 9_000}", "until": until and f"{until}"}
    by_days, by_runs = both(served, monkeypatch, **asked)
    assert (by_days.n, by_days.failures, by_days.points.of) == (
        by_runs.n,
        by_runs.failures,
        by_runs.points.of,
    )
    for name in ("mean", "p50", "p90", "p95", "p99", "longest"):
        assert getattr(by_days, name) == pytest.approx(getattr(by_runs, name), rel=0.005), name
    assert [(each.start_time, each.n, each.failures) for each in by_days.periods] == [
        (each.start_time, each.n, each.failures) for each in by_runs.periods
    ]
    assert [each.p50 for each in by_days.periods] == pytest.approx(
        [each.p50 for each in by_runs.periods], rel=0.005
    )
    (moved,), (same,) = by_days.changes, by_runs.changes
    assert moved.effect_percent == pytest.approx(same.effect_percent, rel=0.05)
    assert same.start_time == NOON + DAYS // 2 * DAY  # at its run, within a day
    assert abs(moved.start_time - same.start_time) <= 2 * DAY  # at the first run of its day, or of one beside
    assert by_days.sentence.partition(" is ")[0] == by_runs.sentence.partition(" is ")[0]
    assert "% slower since" in by_days.sentence
    assert by_days.top == pytest.approx(by_runs.top, rel=0.1)
    runs = dict(zip(by_runs.points.session_id, by_runs.points.duration, strict=True))
    shown = dict(zip(by_days.points.session_id, by_days.points.duration, strict=True))
    assert shown.items() <= runs.items()
    assert by_days.points.start_time == sorted(by_days.points.start_time)
    assert len(shown) > DAYS


@pytest.mark.parametrize("begins_after", [9 * 3_600.0, 23 * 3_600.0])
@pytest.mark.parametrize("since", [NOON + 9_000, NOON + DAY / 2])
@pytest.mark.parametrize("until", [None, NOON + 50 * DAY + 7_000, NOON + 50.5 * DAY])
def test_a_step_is_of_the_day_on_which_it_began_and_in_the_window_of_its_session(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch, begins_after: float, since: float, until: float | None
) -> None:
    """Also where its session began on the day before, or before the window."""
    history = fill(migrated_url, begins_after)
    with closing(ServedHistory(history)) as served:
        asked = {"step": "load", "since": f"{since}", "until": until and f"{until}"}
        answers = both(served, monkeypatch, **asked)
        by_days, by_runs = (
            [(each.start_time, each.n, each.failures) for each in answer.periods] for answer in answers
        )
        assert by_days == by_runs
        within = history.steps(since=since, until=until)
        days = Counter(within[within["counted"]]["start_time"].astype(float) // DAY * DAY)
        assert {day: n for day, n, _ in by_runs} == days
        since_then = {"since": f"{since}", "until": until and f"{until}"}
        query = OverviewQuery.model_validate(since_then)
        monkeypatch.setattr("perfdb.store.long_series.EXACT_RUNS", -1)
        of_runs = of_overview.overview(served, query)
        monkeypatch.setattr(of_overview, "MOST_READ", 10)
        of_days = of_overview.overview(served, query)
        assert [each.n for each in of_days.series] == [each.n for each in of_runs.series]


def test_weeks_are_days_together(served: ServedHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    by_days, by_runs = both(served, monkeypatch, since=f"{NOON}", period="week")
    assert [(each.start_time, each.n) for each in by_days.periods] == [
        (each.start_time, each.n) for each in by_runs.periods
    ]


@pytest.mark.parametrize("until", [None, NOON + 50 * DAY + 7_000])
def test_days_say_what_the_runs_say_of_every_step(
    served: ServedHistory, monkeypatch: pytest.MonkeyPatch, until: float | None
) -> None:
    """The window begins and may end within a day; it is slower than what was before it."""
    query = OverviewQuery.model_validate(
        {"since": f"{NOON + 20 * DAY + 9_000}", "until": until and f"{until}"}
    )
    by_runs = of_overview.overview(served, query)
    with monkeypatch.context() as patched:
        patched.setattr("perfdb.store.long_series.EXACT_RUNS", -1)
        patched.setattr(of_overview, "MOST_READ", 10)
        by_days = of_overview.overview(served, query)
    assert [each.step_name for each in by_runs.series] == [None, "load"]
    for days, runs in zip(by_days.series, by_runs.series, strict=True):
        assert days.sparkline != runs.sparkline
        for name in (
            "step_name",
            "n",
            "runs",
            "failures",
            "baseline",
            "baseline_n",
            "clear",
            "last",
            "last_time",
        ):
            assert getattr(days, name) == getattr(runs, name), name
        assert (days.p50, days.p95) == pytest.approx((runs.p50, runs.p95), rel=0.005)
        assert days.change_percent == pytest.approx(runs.change_percent, abs=0.75)
    (days, runs) = by_days.pipelines[0], by_runs.pipelines[0]
    assert (days.state, days.n, days.runs_per_day) == (runs.state, runs.n, pytest.approx(runs.runs_per_day))
    assert days.state == "slower"


def test_the_overview_of_a_window_whose_runs_were_pruned_tells_its_days(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = fill(migrated_url)
    with Database(history.url) as database:
        list(roll_up(database, until=NOON + DAYS * DAY))
    history.prune(keep_last=100)
    monkeypatch.setattr(of_overview, "MOST_READ", 10)
    query = OverviewQuery.model_validate({"since": f"{NOON}", "until": f"{NOON + 30 * DAY}"})
    with closing(ServedHistory(history)) as served:
        found = of_overview.overview(served, query)
    assert [(each.step_name, each.last) for each in found.series] == [(None, None), ("load", None)]
    assert all(each.n > 20 * A_DAY and each.p50 for each in found.series)


def test_of_a_week_no_day_is_read(migrated_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs are on nine days at most, with the one on which its last step begins."""
    url = fill(migrated_url).url
    monkeypatch.setattr("perfdb.store.long_series.EXACT_RUNS", -1)
    monkeypatch.setattr(long_trends, "MOST_READ", 10)
    name, since, asked = SeriesName("design", "load", "{}"), NOON + 9 * DAY, list[str]()
    with Database(url) as database, database.reading() as connection:
        listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        assert long_trends.long_trend(connection, name, since, since + 7 * DAY, most_alerts=9) is None
        assert asked == []
        found = long_trends.long_trend(connection, name, since, since + 9 * DAY, most_alerts=9)
    assert found is not None
    assert len(found.of.days) == long_trends.LEAST_DAYS


def test_a_server_is_asked_six_times_at_most(
    migrated_database: str, create_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By daily figures too, and where some days are stale and the level moved."""
    url = fill(create_database(migrated_database)).url
    monkeypatch.setattr("perfdb.store.statistics.EXACT_RUNS", -1)
    monkeypatch.setattr("perfdb.store.long_series.EXACT_RUNS", -1)
    monkeypatch.setattr(long_trends, "MOST_READ", 10)
    monkeypatch.setattr(of_overview, "MOST_READ", 10)
    query = TrendQuery.model_validate({"step": "load", "since": f"{NOON + 9_000}", "until": f"{NOON + 5e6}"})
    since = OverviewQuery.model_validate({"since": f"{NOON + 9_000}"})
    with Door(int(url.rpartition(":")[2].partition("/")[0])) as door:
        history = perfdb.History(door.of(url))
        with closing(ServedHistory(history)) as served:
            trend(served, query)  # of a connection the first exchanges find out about the server
            asked = {}
            for name, work in {
                "page": lambda: trend(served, query),
                "day": lambda: history.trends(by="day"),
                "all": lambda: history.trends(by="all"),
                "overview": lambda: of_overview.overview(served, since),
            }.items():
                before = door.exchanges
                work()
                asked[name] = door.exchanges - before
    assert max(asked.values()) <= 6, asked
