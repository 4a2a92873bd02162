"""What slow runs have in common, on its page, by the API and on the command line: the same figures.

Of: web/answers/common.py, web/views/common.py.
"""

from __future__ import annotations

from typing import Any

import perfdb
from tests.answers.pages import Page


def test_page_api_and_command_say_the_same(history: perfdb.History, dashboard: Any) -> None:
    answer = dashboard.get("common", slowest=20, pipeline="design")
    page = Page(dashboard.client.get("/common?slowest=20&pipeline=design").text)
    assert page.heading == answer["sentence"]
    table = page.table("More frequent")
    assert [(row[0], row[1]) for row in table.rows] == [(r["attribute"], r["value"]) for r in answer["rows"]]
    first = answer["rows"][0]
    cells = dict(zip(table.titles, table.rows[0], strict=True))
    assert cells["Of the slow"] == f"{first['slow_percent']:.0f} %"
    assert cells["Slow runs"] == f"{first['slow_n']} of {first['slow_of']}"
    frame = history.common(slowest=20, pipeline="design").frame
    assert list(frame["slow_n"]) == [row["slow_n"] for row in answer["rows"]]
    assert answer["slow"] + answer["rest"] == len(history.sessions().query("counted"))


def test_too_few_runs_keep_the_form_and_say_so(dashboard: Any) -> None:
    page = Page(dashboard.client.get("/common?last=5").text)
    assert "too few runs" in page.text
    assert 'name="slowest"' in page.html
    assert dashboard.client.get("/api/v1/common?last=5").status_code == 409
