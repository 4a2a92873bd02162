"""Two periods are compared as two groups are: by Python, on the command line, by the API and on the page.

Of: history/queries/comparing.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

import perfdb
from perfdb.cli import cli
from perfdb.errors import UsageError
from perfdb.testing import NOON, make_history, make_session
from perfdb.web.app import create_app
from tests.answers.pages import Page

SPLIT = NOON + 30 * 60


@pytest.fixture
def history(tmp_path: Path) -> perfdb.History:
    """An hour with a run each minute, in whose second half everything takes twice as long."""
    return make_history(
        tmp_path,
        [
            make_session(
                number,
                {"load": (1.0 + number % 3 / 100) * (2 if number >= 30 else 1)},
                git_commit=f"c{number // 30}",
            )
            for number in range(60)
        ],
    )


def test_the_runs_before_a_moment_beside_those_since(history: perfdb.History) -> None:
    found = history.compare(split=SPLIT)
    assert found.sentence.startswith(
        "Since then a session of design took 2.02 s in the median, 1.01 s more than "
    )
    assert "before (1.01 s); n = 30 and 30; more than chance explains" in found.sentence
    assert found.confounded == ("git_commit",), "that they ran at other times is what was asked"
    part = history.compare(split=SPLIT, since=SPLIT - 600, until=SPLIT + 300)
    assert part.frame["a_n"].iloc[0] == 10
    assert part.frame["b_n"].iloc[0] == 5


def test_every_surface_has_the_same_figures(history: perfdb.History) -> None:
    truth = [row["difference_s"] for row in history.compare(split=SPLIT).frame.to_dict("records")]
    arguments = ["compare", "--split", str(SPLIT), "--json", "-d", history.url]
    printed = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert [row["difference_s"] for row in json.loads(printed.stdout)["rows"][0]["steps"]] == truth
    client = TestClient(create_app(history), base_url="http://127.0.0.1")
    answer = client.get("/api/v1/compare", params={"split": str(SPLIT)}).json()
    assert [row["difference_s"] for row in answer["rows"]] == truth
    page = client.get("/compare?split=commit:c1").text
    told = Page(page)
    assert told.heading.startswith("A run of design: 2.02 s since 01 Jan 12:30 UTC instead of 1.01 s: 2.0 ×")
    assert told.heading.endswith(", more than chance explains")
    assert "session of design took 2.02 s in the median" in " ".join(told.visible.split())
    assert "Since then" not in told.visible, "the page says when that is"
    assert '<option value="commit:c1">' in page


@pytest.mark.parametrize(
    ("split", "words"), [(NOON - 1, "began before then"), (NOON + 1e6, "began since then")]
)
def test_a_period_without_a_run_is_said(history: perfdb.History, split: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        history.compare(split=split)


def test_periods_go_with_no_groups(history: perfdb.History) -> None:
    with pytest.raises(UsageError, match="neither"):
        history.compare("a", split=SPLIT)  # type: ignore[call-overload]
