"""More open alerts and silences than anybody looks at: pages are bounded, say so, and count right.

Of: web/answers/alerts.py, web/answers/overview.py, web/health.py, web/metrics.py, store/alerts.py.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import perfdb
from perfdb.store.alerts import Quiet
from perfdb.web.answers.alerts import MOST_SILENCES, alert_page, firing_by_rule
from perfdb.web.answers.overview import live, overview
from perfdb.web.health import MOST_OPEN
from perfdb.web.queries import AlertsQuery
from perfdb.web.served import ServedHistory
from tests.web.conftest import serving

FIRING = MOST_OPEN + 500
SILENCED = 200  # of these, each by a silence of its own


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> perfdb.History:
    monkeypatch.chdir(tmp_path)
    with perfdb.track("design", console=False, monitor=False) as run, run.step("draw"):
        pass
    history = perfdb.History()
    (session_id,) = history.sessions()["session_id"]
    now = time.time()
    path = tmp_path / "performance_tracking" / "perfdb.sqlite3"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO series (pipeline, mode, step_name) VALUES ('design', '{}', ?)",
            [(f"item {number}",) for number in range(FIRING)],
        )
        connection.execute(
            "INSERT INTO alerts (series_id, rule, kind, metric, direction, severity, state, active, value, n,"
            " baseline_n, since_session_id, since_time, last_session_id, last_time, hits, good, reopened,"
            " silenced, opened_at, updated_at, headline, message) SELECT id, 'slower', 'change_point',"
            " 'duration', 'up', 'warning', 'firing', 1, 2.0, 5, 20, :session_id, :now, :session_id, :now, 3,"
            " 0, 0, 0, :now - id, :now, '', '' FROM series WHERE step_name LIKE 'item %'",
            {"session_id": session_id, "now": now},
        )
        connection.executemany(
            "INSERT INTO silences (step_name, created_at, expires_at) VALUES (?, ?, ?)",
            [(f"item {number}", now, now + 3_600) for number in range(SILENCED)],
        )
    return history


def test_answers_have_the_gravest_and_figures_are_of_all(history: perfdb.History) -> None:
    served = ServedHistory(history)
    assert len(overview(served).alerts) == MOST_OPEN
    assert live(served).firing == FIRING
    assert sum(firing_by_rule(served).values()) == FIRING - SILENCED
    page = alert_page(served, AlertsQuery())
    assert (len(page.silences), page.more_silences) == (MOST_SILENCES, SILENCED - MOST_SILENCES)
    served.close()


def test_pages_say_that_there_are_more(history: perfdb.History) -> None:
    with serving(history) as dashboard:
        for path in ("/", "/alerts", "/pipelines/design"):
            text = dashboard.client.get(path).text
            assert f"At least {MOST_OPEN - SILENCED:,} alerts fire" in text, path
            assert f"{MOST_OPEN - SILENCED}+" in text, path
            assert text.count('data-key="alert-') <= 201, path
        assert f'severity="warning"}} {FIRING - SILENCED}' in dashboard.client.get("/metrics").text


@pytest.mark.parametrize("given", list(product((True, False), repeat=4)))
def test_a_silence_fits_what_all_it_names_is(given: tuple[bool, ...]) -> None:
    named = ("slower", "design", "draw", 7)
    alert: Any = SimpleNamespace(rule="slower", pipeline="design", step_name="draw", id=7)
    of: Any = tuple(value if is_given else None for value, is_given in zip(named, given, strict=True))
    assert Quiet(frozenset([of])).holds(alert)
    others: list[Any] = [(*of[:place], "other", *of[place + 1 :]) for place in range(4)]
    assert not Quiet(frozenset(others)).holds(alert)
