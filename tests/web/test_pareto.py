"""Seconds against cost, on its page and by the API: the same figures; what cannot be asked keeps the form.

Of: web/answers/compare.py, web/drawing.py, web/views/compare.py.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from perfdb.measures import FIXED
from tests.answers.pages import Page


def test_page_and_api_say_the_same(dashboard: Any) -> None:
    answer = dashboard.get("pareto", by="fast_mode", measure="cpu_s", pipeline="design")
    page = Page(dashboard.client.get("/pareto?by=fast_mode&measure=cpu_s&pipeline=design").text)
    assert page.heading == answer["sentence"]
    table = page.table("design")
    assert [row[0] for row in table.rows] == [str(row["value"]).lower() for row in answer["rows"]]
    assert [row[-1] for row in table.rows] == ["yes" if row["front"] else "" for row in answer["rows"]]
    assert page.html.count('class="choice') == len(answer["rows"]) == 2


def test_each_choice_has_its_name_beside_it_and_none_lies_on_another(browse: Any) -> None:
    page = browse("/pareto?by=fast_mode&measure=cpu_s")
    plane = page.locator(".plane").first.bounding_box()
    names = page.locator("svg.names").first.locator("text")
    assert sorted(names.all_text_contents()) == ["false", "true"]
    one, other = (names.nth(place).bounding_box() for place in (0, 1))
    assert _apart(one, other, "x", "width") or _apart(one, other, "y", "height")
    assert min(one["x"], other["x"]) >= plane["x"]
    assert max(each["x"] + each["width"] for each in (one, other)) <= plane["x"] + plane["width"]


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_at_any_width_names_and_labels_of_the_scales_are_apart_and_in_sight(browse: Any, width: int) -> None:
    page = browse("/pareto?by=fast_mode&measure=cpu_s")
    page.set_viewport_size({"width": width, "height": 800})
    names = [each for each in page.locator(".planes .names text").all() if each.is_visible()]
    labels = page.locator(".planes .plot text").all()
    assert len(names) == 2
    assert "0" in [label.text_content() for label in labels]
    boxes = [each.bounding_box() for each in [*names, *labels]]
    for place, one in enumerate(boxes):
        assert one["x"] >= 0
        assert one["x"] + one["width"] <= width
        assert all(
            _apart(one, other, "x", "width") or _apart(one, other, "y", "height") for other in boxes[:place]
        )


def test_the_page_says_what_to_choose_and_what_it_takes(dashboard: Any) -> None:
    asked = {"by": "fast_mode", "measure": "cpu_s", "pipeline": "design"}
    answer = dashboard.get("pareto", **asked)
    page = Page(dashboard.client.get("/pareto?by=fast_mode&measure=cpu_s&pipeline=design").text)
    assert "CPU time" in answer["advice"]
    assert answer["advice"] in page.text.replace("\xa0", " ")


def test_money_and_tokens_are_offered_before_what_the_machine_used(dashboard: Any) -> None:
    html = dashboard.client.get("/pareto").text
    offered = re.findall('value="([^"]+)"', html.split('id="measures"')[1].split("</datalist>")[0])
    of_machine = [name in FIXED for name in offered]
    assert len(set(of_machine)) == 2
    assert of_machine == sorted(of_machine)


def _apart(one: Any, other: Any, begin: str, size: str) -> bool:
    return bool(one[begin] + one[size] <= other[begin] or other[begin] + other[size] <= one[begin])


def test_without_a_cost_the_page_offers_what_there_is(dashboard: Any) -> None:
    page = Page(dashboard.client.get("/pareto").text)
    assert "No run has a cost." in page.text
    offered = [link for link in page.links if link.startswith("/pareto?by=model&measure=")]
    assert offered
    assert dashboard.client.get(offered[0]).status_code == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [("", 200), ("?by=nosuch&measure=cpu_s", 400), ("?measure=nosuch", 404), ("?measure=duration", 400)],
)
def test_what_cannot_be_answered_keeps_the_form(dashboard: Any, asked: str, status: int) -> None:
    answer = dashboard.client.get("/pareto" + asked)
    assert answer.status_code == status
    assert 'name="by"' in answer.text


def test_what_there_is_one_of_has_no_picture_and_names_are_as_they_were_recorded(dashboard: Any) -> None:
    both = Page(dashboard.client.get("/pareto?by=fast_mode&measure=cpu_s").text)
    assert {"fast_mode", "CPU time"} <= set(both.table("design").titles)
    one = Page(dashboard.client.get("/pareto?by=fast_mode&measure=cpu_s&fast_mode=true").text)
    assert one.heading.startswith("Only true was used: ")
    assert ", CPU time " in one.heading
    assert one.table("design").rows
    assert 'class="plane"' not in one.html


def test_on_a_phone_a_name_has_the_width_of_the_screen(browse: Any) -> None:
    page = browse("/pareto?by=fast_mode&measure=cpu_s", viewport={"width": 390, "height": 844})
    names = page.locator(".fronts td.step")
    assert names.count()
    widths = names.evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().width)")
    assert min(widths) > 300
