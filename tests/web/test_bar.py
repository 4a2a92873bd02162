"""The bar of time, pipeline and mode: pages obey it, links keep it, and its form becomes an address."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest

import perfdb
from perfdb.filters import moment_of
from perfdb.testing import make_history, make_session
from perfdb.web.bar import Bar
from tests.answers.pages import Page

NORMAL = '{"fast_mode":false}'
PATHS = ("/", "/sessions", "/trends", "/bottlenecks", "/compare", "/alerts", "/rules", "/rules/fast_shift",
         "/sessions/last", "/alerts/1")  # fmt: skip


def asked(dashboard: Any, path: str, **fields: str) -> Any:
    return dashboard.client.get(path, params=fields)


def page(dashboard: Any, path: str, **fields: str) -> Page:
    answer = asked(dashboard, path, **fields)
    assert answer.status_code == 200, answer.text[-2000:]
    return Page(answer.text)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_has_the_bar_and_its_links_keep_the_window(shared_dashboard: Any, path: str) -> None:
    found = page(shared_dashboard, path, since="7d", pipeline="design", mode=NORMAL)
    assert '<option value="since=7d" selected>' in found.html
    assert re.search(r'<option value="design" selected>', found.html)
    assert "normal mode</option>" in found.html
    others = [link for link in found.links if link.startswith("/") and "#" not in link and "=" in link]
    assert len(others) > 7
    assert [
        link
        for link in others
        if "commit%3A" not in link and parse_qs(urlsplit(link).query).get("since") != ["7d"]
    ] == []


def test_pages_show_the_runs_of_the_window_alone(shared_dashboard: Any) -> None:
    rows = shared_dashboard.get("sessions", limit=200)["rows"]
    since = sorted(row["start_time"] for row in rows)[-20]
    moment = datetime.fromtimestamp(since - 0.01, UTC).isoformat()
    inside = [row for row in rows if row["start_time"] >= since - 0.01]
    slow = [row for row in inside if row["mode"] == NORMAL]
    assert page(shared_dashboard, "/sessions", since=moment).heading == f"{len(inside)} sessions that fit"
    assert page(shared_dashboard, "/sessions", since=moment, mode=NORMAL).heading.startswith(f"{len(slow)} ")
    assert page(shared_dashboard, "/sessions", last="7").heading == "7 sessions that fit"
    counted = f"{len(slow)} runs that count"
    assert counted in page(shared_dashboard, "/trends", since=moment, mode=NORMAL).text
    costs = page(shared_dashboard, "/bottlenecks", since=moment, mode=NORMAL)
    assert f"{len(slow)} sessions; means" in costs.text
    now = shared_dashboard.get("overview", since=moment, mode=NORMAL)["series"]
    assert {row["mode"] for row in now} == {NORMAL}
    assert now[0]["n"] == len(slow)
    assert now[0]["baseline"] is not None, "the runs before the window are its past"
    assert "No alert" in page(shared_dashboard, "/alerts", until="2020-01-01").text
    assert "0 of 0" in page(shared_dashboard, "/rules/anomaly", until="2020-01-01").text


def test_the_overview_of_a_window_lists_its_sessions_and_says_when_there_are_none(
    shared_dashboard: Any,
) -> None:
    rows = shared_dashboard.get("sessions", limit=200)["rows"]
    start = sorted(rows, key=lambda row: row["start_time"])[4]["start_time"]
    until = datetime.fromtimestamp(start, UTC)  # which rounds it to a microsecond
    found = page(shared_dashboard, "/", until=until.isoformat())
    listed = set(re.findall(r"/sessions/([0-9]\w+)", found.html.partition('id="last-sessions"')[2]))
    assert listed
    assert listed <= {row["session_id"] for row in rows if row["start_time"] < until.timestamp()}
    for path in ("/", "/pipelines/design"):
        nothing = page(shared_dashboard, path, until="2020-01-01", mode=NORMAL)
        assert "Nothing ran in this window" in nothing.heading or "fire" in nothing.heading
        assert "No run started in this window." in nothing.text
        assert f"{path}?mode=%7B" in " ".join(nothing.links), "the same without the window"
        assert not nothing.has("Each step now")


def test_a_window_begins_with_a_commit(shared_dashboard: Any) -> None:
    rows = shared_dashboard.get("sessions", limit=200)["rows"]  # those in fast mode ran on it from the first
    first = min(row["start_time"] for row in rows if row["fast_mode"])
    begun = page(shared_dashboard, "/sessions", since="commit:4e5f")
    assert begun.heading == f"{sum(row['start_time'] >= first for row in rows)} sessions that fit"
    assert '<option value="since=commit:4e5f6a7b">' in page(shared_dashboard, "/").html
    assert asked(shared_dashboard, "/", since="commit:nosuch").status_code == 400


def test_a_window_holds_the_run_that_it_begins_with() -> None:
    runs = [1_790_000_000.0 + number * 0.1234567 for number in range(1_000)]  # finer than a microsecond
    assert all(moment_of(Bar({}, since=run).asked["since"]) <= run for run in runs)
    assert all(run - moment_of(Bar({}, since=run).asked["since"]) < 2e-6 for run in runs)
    assert moment_of(Bar({}, since=1_790_000_000.123456).asked["since"]) == 1_790_000_000.123456


def test_the_form_becomes_an_address_in_the_viewers_zone(shared_dashboard: Any) -> None:
    fields = {
        "window": "dates",
        "from": "2026-01-31T08:00",
        "to": "",
        "zone": "Asia/Tokyo",
        "status": "failed",
    }
    answer = shared_dashboard.client.get("/sessions", params=fields, follow_redirects=False)
    assert answer.status_code == 303
    assert parse_qs(urlsplit(answer.headers["location"]).query) == {
        "status": ["failed"], "since": ["2026-01-30T23:00Z"]
    }  # fmt: skip
    again = shared_dashboard.client.get("/", params={"window": "last=50"}, follow_redirects=False)
    assert again.headers["location"] == "/?last=50"
    assert asked(shared_dashboard, "/", window="colour=red").status_code == 400


def test_today_began_at_the_viewers_midnight(shared_dashboard: Any) -> None:
    zone = {"Cookie": "perfdb_zone=Pacific/Kiritimati"}  # 14 hours ahead of UTC
    shown = shared_dashboard.client.get("/sessions?since=today&limit=200", headers=zone).text
    midnight = time.time() - (time.time() + 14 * 3_600) % 86_400
    rows = shared_dashboard.get("sessions", limit=200)["rows"]
    due = {row["session_id"] for row in rows if row["start_time"] >= midnight}
    assert set(re.findall(r'data-key="(\d[\w-]+)"', shown)) == due
    hostile = {"Cookie": "perfdb_zone=../../etc/passwd"}
    assert shared_dashboard.client.get("/sessions?since=today", headers=hostile).status_code == 200


@pytest.mark.parametrize("name", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kolkata"])
def test_the_days_of_a_trend_are_those_of_the_zone_in_which_the_window_is_meant(
    shared_dashboard: Any, name: str
) -> None:
    """No day before the one that was asked for, and each with its own runs."""
    zone = ZoneInfo(name)
    runs = shared_dashboard.get("trends", mode=NORMAL, last=2_000)["points"]
    days = Counter(f"{datetime.fromtimestamp(at, zone):%d %b}" for at in runs["start_time"])
    cookie = {"Cookie": f"perfdb_zone={name}"}
    found = Page(shared_dashboard.client.get(f"/trends?mode={NORMAL}&last=2000", headers=cookie).text)
    table = found.table("By day")
    assert {row[0]: int(row[1]) + int(row[-1]) for row in table.rows} == days
    assert name in found.html.partition("By day</h2>")[2][:60]


@pytest.mark.parametrize("at", [0.0, 253_402_300_799.0])
def test_the_first_and_the_last_day_that_there_is_are_shown_in_each_zone(
    tmp_path: Path, serve: Any, at: float
) -> None:
    """A file from elsewhere may hold any instant."""
    history = make_history(tmp_path, [make_session(number, {"load": 1.0}) for number in range(3)])
    with closing(sqlite3.connect(tmp_path / "perfdb.sqlite3")) as file, file:
        file.execute("UPDATE sessions SET start_time = ?", (at,))
    served = serve(history)
    for name in ("UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"):
        answer = served.client.get("/trends?period=week", headers={"Cookie": f"perfdb_zone={name}"})
        assert Page(answer.text).table("By week").rows[0][1] == "3"


def test_what_a_window_can_begin_with_is_shown_inert(history: perfdb.History, serve: Any) -> None:
    """An annotation is anybody's text: a release's notes, a branch's name."""
    history.annotate("deploy \u202e4.1")
    found = page(serve(history), "/")
    assert "since deploy \\u202e4.1</option>" in found.html
    assert "\u202e" not in found.text


def test_a_choice_that_no_page_wrote_is_said_to_be_none(shared_dashboard: Any) -> None:
    for choice in ("[" * 3_000, "[", "[1]"):
        answer = asked(shared_dashboard, "/trends", series=choice)
        assert answer.status_code == 400
        assert "is no choice of this page" in answer.text


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("sessions?status=bad", "status: say 'running', 'completed', 'failed' or 'interrupted', not 'bad'"),
        ("sessions?order=x", "order: nothing is called so here"),
        ("trends?last=abc", "last: 'abc' is no whole number"),
        ("trends?last=0", "last: say 1 or more, not '0'"),
        ("sessions?limit=9999", "limit: say 200 or less, not '9999'"),
        ("common?slowest=abc", "slowest: 'abc' is no number"),
        ("alerts?state=foo", "state: say 'open', 'all', "),
    ],
)
def test_what_cannot_be_asked_is_refused_in_our_words(
    shared_dashboard: Any, address: str, words: str
) -> None:
    for root in ("/", "/api/v1/"):
        answer = shared_dashboard.client.get(root + address)
        assert answer.status_code in (400, 422)
        assert words in unescape(answer.text)
    page = shared_dashboard.client.get("/alerts/x")
    assert "That cannot be answered" in page.text


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ("last=1", "the last run"),
        ("last=1234", "the last 1,234 runs"),
        (f"last={'9' * 5_000}", f"last {'9' * 5_000}"),  # which is no number that Python reads
        ("since=commit:a", "since commit:a"),
    ],
)
def test_a_window_that_is_no_preset_is_offered_in_words(window: str, words: str) -> None:
    name, _, value = window.partition("=")
    assert (window, words) in Bar({name: value}, since=None if name == "last" else 1.0).windows("any time")
