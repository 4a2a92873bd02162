"""A host that counts in its step names: lists are bounded and say so, and each name has its answer.

Of: web/answers/trends.py, web/views/bottlenecks.py, web/views/trends.py.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import perfdb
from perfdb.stopping import limited
from perfdb.store.extent import MANY_NAMES
from perfdb.web.answers.overview import overview
from perfdb.web.answers.trends import trend
from perfdb.web.queries import TrendQuery
from perfdb.web.served import ServedHistory
from tests.web.conftest import serving

MOST_IN_A_LIST = 2_000


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> perfdb.History:
    """One pipeline has more names than an answer reads steps, another one came after it."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        with perfdb.track("counts", console=False, monitor=False) as run:
            run.step(f"work {number}").start().stop()
    path = tmp_path / "performance_tracking" / "perfdb.sqlite3"
    perfdb.History().sessions()
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO series (pipeline, mode, step_name) SELECT pipeline, mode, ? FROM series LIMIT 1",
            [(f"item {number}",) for number in range(MANY_NAMES)],
        )
    connection.close()
    with perfdb.track("later", console=False, monitor=False) as run, run.step("the last of all names"):
        pass
    return perfdb.History()


def test_the_list_of_series_is_bounded_and_has_every_total(history: perfdb.History) -> None:
    served = ServedHistory(history)
    answer = trend(served, TrendQuery(last=10))
    assert len(answer.choices) == MOST_IN_A_LIST
    assert answer.hidden_choices == MANY_NAMES + 6 - MOST_IN_A_LIST
    assert {each.pipeline for each in answer.choices if each.step_name is None} == {"counts", "later"}
    assert answer.series is not None
    assert answer.series.pipeline == "counts"  # which ran most often
    served.close()


def test_a_name_that_is_in_no_list_has_its_trend(history: perfdb.History) -> None:
    served = ServedHistory(history)
    answer = trend(served, TrendQuery(last=10, step="the last of all names"))
    assert answer.series is not None
    assert answer.series.pipeline == "later"
    assert answer.points.of == 1
    assert answer.series in answer.choices
    served.close()


def test_the_first_page_shows_the_names_that_ran(history: perfdb.History) -> None:
    served = ServedHistory(history)
    assert {each.step_name for each in overview(served).series} == {
        None, "work 0", "work 1", "work 2", "the last of all names",
    }  # fmt: skip
    served.close()


def test_an_answer_reads_fewer_steps_where_each_has_a_name_of_its_own(history: perfdb.History) -> None:
    with limited(steps=10) as said:
        assert set(history.bottlenecks(pipeline="counts").step_name) - {"Other"} == {"work 1", "work 2"}
    assert said == ["Used only the newest 2 of 3 sessions: one answer reads at most about 2 steps."]
    with limited(steps=10) as said:
        assert set(history.bottlenecks(pipeline="later").step_name) - {"Other"} == {"the last of all names"}
    assert said == []


def test_the_page_says_how_many_series_are_not_in_its_list(history: perfdb.History) -> None:
    with serving(history) as dashboard:
        page = dashboard.client.get("/trends").text
    assert f"{MANY_NAMES + 6 - MOST_IN_A_LIST:,} more series are not in this list" in page
