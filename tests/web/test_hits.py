"""Whom a move hits, on its page, by the API and as CSV: the same figures.

Of: web/answers/common.py, web/views/common.py.
"""

from __future__ import annotations

import csv
import io
import random
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from perfdb.testing import NOON, make_history, make_session
from perfdb.web.app import create_app
from tests.answers.pages import Page

MOVED = NOON + 60 * 100


@pytest.fixture
def client(tmp_path: Path) -> Any:
    chance = random.Random(3)
    runs = [
        make_session(
            number,
            {"load": chance.uniform(0.9, 1.1) * (1.6 if number >= 100 and customer == "acme" else 1.0)},
            pipeline="design",
            attributes={"customer": customer},
            git_commit="bbb" if number >= 100 else "aaa",
        )
        for number in range(200)
        for customer in [chance.choice(("acme", "globex"))]
    ]
    return TestClient(create_app(make_history(tmp_path, runs)), base_url="http://127.0.0.1")


def test_page_api_and_file_say_the_same(client: Any) -> None:
    asked = f"at={MOVED:.0f}&pipeline=design"
    answer = client.get(f"/api/v1/hits?{asked}").json()
    page = Page(client.get(f"/hits?{asked}").text)
    assert page.heading == answer["sentence"]
    assert answer["sentence"].startswith("Since then customer=acme +")
    table = page.table("How much each moved")
    assert [(row[0], row[1]) for row in table.rows] == [(r["attribute"], r["value"]) for r in answer["rows"]]
    cells = dict(zip(table.titles, table.rows[0], strict=True))
    first = answer["rows"][0]
    assert cells["Moved"] == f"{first['effect']:+.0f} %"
    assert (cells["Runs before"], cells["Since"]) == (str(first["before_n"]), str(first["after_n"]))
    found = list(csv.DictReader(io.StringIO(client.get(f"/csv/hits?{asked}").text)))
    assert [row["value"] for row in found] == [row["value"] for row in answer["rows"]]
    assert "bbb" not in page.text  # the commit came with the move


def test_failures_are_in_points(client: Any) -> None:
    page = client.get(f"/hits?at={MOVED:.0f}&failures=true").text
    assert "+0 points" in page
    assert 'value="true" selected' in page


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ("", 200, "Name the moment of a move"),
        ("at=2020-01-01", 400, "0 of the runs that count began before then and 200 since"),
        (f"at={MOVED:.0f}&step=nosuch", 404, "nosuch"),
        (f"at={MOVED:.0f}&failures=true&measure=cpu_s", 400, "failures are counted, not measured"),
    ],
)
def test_what_cannot_be_answered_keeps_the_form(client: Any, asked: str, status: int, said: str) -> None:
    answer = client.get(f"/hits?{asked}")
    assert answer.status_code == status
    assert said in answer.text
    assert 'name="at"' in answer.text


def test_a_link_to_a_move_splits_at_its_run(dashboard: Any) -> None:
    """Several runs may begin within a second."""
    alert = next(each for each in dashboard.get("alerts", state="all")["rows"] if each["kind"] != "anomaly")
    page = dashboard.client.get(f"/alerts/{alert['id']}").text
    moments = [float(found) for found in re.findall(r"(?:split|at)=([0-9.]+)", page)]
    assert len(moments) >= 2
    assert moments == [pytest.approx(alert["since_time"], abs=1e-6)] * len(moments)


def test_a_move_that_is_known_is_offered_before_any_is_named(shared_dashboard: Any) -> None:
    page = Page(shared_dashboard.client.get("/hits").text)
    offered = [link for link in page.links if link.startswith("/hits?at=")]
    assert "Choose a move" in page.text
    assert offered
    assert shared_dashboard.client.get(offered[0]).status_code == 200


def test_the_moment_of_a_link_is_read_in_the_form_as_people_write_it(client: Any) -> None:
    for path, name in (("/compare?split", "split"), ("/hits?at", "at")):
        page = client.get(f"{path}={MOVED + 0.25:.6f}").text
        assert re.search(rf'name="{name}" value="2026-01-01T13:40:00.2500*Z"', page), path
