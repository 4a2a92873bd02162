"""Seconds against cost, on its page and by the API: the same figures; what cannot be asked keeps the form.

Of: web/answers/compare.py, web/drawing.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.answers.pages import Page


def test_page_and_api_say_the_same(dashboard: Any) -> None:
    answer = dashboard.get("pareto", by="fast_mode", measure="cpu_s", pipeline="design")
    page = Page(dashboard.client.get("/pareto?by=fast_mode&measure=cpu_s&pipeline=design").text)
    assert page.heading == answer["sentence"]
    table = page.table("design")
    assert [row[0] for row in table.rows] == [str(row["value"]).lower() for row in answer["rows"]]
    assert [row[-1] for row in table.rows] == ["yes" if row["front"] else "" for row in answer["rows"]]
    assert page.html.count('class="choice') == len(answer["rows"]) == 2


@pytest.mark.parametrize(
    ("asked", "status"), [("", 200), ("?by=nosuch&measure=cpu_s", 400), ("?measure=nosuch", 404)]
)
def test_what_cannot_be_answered_keeps_the_form(dashboard: Any, asked: str, status: int) -> None:
    answer = dashboard.client.get("/pareto" + asked)
    assert answer.status_code == status
    assert 'name="by"' in answer.text
