"""What is long, what runs and what is not there, at the widths at which pages are read.

Of: web/health.py, web/views/page.py, web/views/problem.py, web/views/sessions.py, pages/svg.py,
pages/style.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import perfdb
from perfdb.pages import svg
from perfdb.records import Step
from perfdb.text import duration_text
from perfdb.web.health import sentences
from perfdb.web.schemas import AlertRow
from tests.answers.pages import Page
from tests.web.test_browser_pages import CUT_OR_BROKEN, PHONE, WIDE, insert, ready

Browse = Callable[..., Any]

WRITTEN = """window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  window.written.push(text);
  return write.call(this, text, ...place);
};"""


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_groups_with_long_names_stay_in_their_columns(
    history: perfdb.History, browse: Browse, viewport: dict[str, int]
) -> None:
    newest = history.session("last")
    for number in range(12):
        name = "image-model-2.5-sunburst" if number % 2 else "image-model-2.6-sunburst"
        made = replace(newest, session_id=f"of-{number}", attributes={"engine": name}, pipeline="engines")
        insert(history, replace(made, start_time=newest.start_time + number))
    page = browse("/compare?by=engine&pipeline=engines", viewport=viewport)
    ready(page)
    assert "2.6-sunburst" in page.locator(".groups thead").first.inner_text()
    assert page.evaluate(CUT_OR_BROKEN) == []
    beyond = page.locator(".wide").evaluate_all(
        "(all) => all.map((each) => each.scrollWidth - each.clientWidth)"
    )
    assert max(beyond) <= 1


def test_a_pipeline_of_a_list_has_its_name_whole_on_a_phone(history: perfdb.History, browse: Browse) -> None:
    insert(
        history, replace(history.session("last"), session_id="one", pipeline="recommendations-of-checkout")
    )
    page = browse("/", viewport=PHONE)
    row = page.locator("#pipelines tr.row", has_text="recommendations-of-checkout").first
    name, why = row.locator("td").nth(0).bounding_box(), row.locator("td.why").bounding_box()
    assert why["y"] >= name["y"] + name["height"]
    assert name["height"] < 30, "one line"
    assert "median" in row.locator("td[data-of]").evaluate(
        "(cell) => getComputedStyle(cell, '::after').content"
    )


@pytest.mark.parametrize("path", ["/compare", "/hits", "/bottlenecks"])
def test_the_word_copy_is_never_broken(browse: Browse, dashboard: Any, path: str) -> None:
    page = browse("/", viewport=PHONE)
    moved = dashboard.get("alerts", state="all")["rows"][0]["since_time"]
    page.goto(f"{dashboard.url}{path}" + (f"?at={moved}&pipeline=design" if path == "/hits" else ""))
    button = page.locator(".snippet [data-copy]")
    assert button.bounding_box()["height"] < 40


@pytest.mark.parametrize(
    ("path", "name", "root"),
    [
        ("/sessions/nosuch", "Sessions", "/sessions"),
        ("/alerts/999999", "Alerts", "/alerts"),
        ("/trends?last=abc", "Trends", "/trends"),
    ],
)
def test_a_page_that_says_what_is_wrong_stays_where_one_was(
    dashboard: Any, path: str, name: str, root: str
) -> None:
    text = dashboard.client.get(path).text
    assert re.search(rf'<a href="{root}[^"]*" aria-current="page">{name}', text)
    assert f'<a class="button" href="{root}">To {name}</a>' in text


def test_a_list_without_any_session_offers_to_leave_each_filter_out(browse: Browse, dashboard: Any) -> None:
    page = browse("/sessions?text=nosuchtext&status=failed&attribute=customer%3Dc1&attribute=customer%3Dc2")
    assert not page.locator("#facets").is_visible()
    offered = page.locator("#rows .empty .button").all_inner_texts()
    filters = ("status failed", "text nosuchtext", "attribute customer=c1", "attribute customer=c2")
    assert sorted(offered) == sorted([*(f"Without {each}" for each in filters), "All sessions"])
    page.get_by_role("link", name="Without attribute customer=c1").click()
    page.wait_for_url(lambda url: "c2" in url and "c1" not in url and "nosuchtext" in url)
    wrong = Page(dashboard.client.get("/sessions?attribute=no-pair").text).visible
    assert "attribute: 'no-pair'" in wrong


def test_the_sentence_of_the_overview_leads_to_what_it_tells_of(browse: Browse, dashboard: Any) -> None:
    page = browse("/")
    page.locator("h1 a").first.click()
    page.wait_for_url(re.compile(r"/alerts/\d+"))


def test_a_newest_run_far_from_the_usual_is_called_so(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    insert(
        history,
        replace(
            newest, session_id="long-one", start_time=newest.start_time + 3_600,
            total_duration=9 * (newest.total_duration or 1.0),
        ),
    )  # fmt: skip
    assert re.search(
        r"after [^.]+, \d+\.\d × as long as usual\.", Page(dashboard.client.get("/").text).visible
    )


def test_values_beyond_the_scale_are_written_where_there_is_room(
    history: perfdb.History, browse: Browse, dashboard: Any
) -> None:
    sessions = history.sessions().query("pipeline == 'design' and not fast_mode").sort_values("start_time")
    like = history.session(str(sessions["session_id"].iloc[20]))
    far = {f"far-{number}": 1_000.0 + 100 * number for number in range(2)}
    for number, (name, seconds) in enumerate(far.items()):
        insert(
            history,
            replace(like, session_id=name, start_time=like.start_time + number, total_duration=seconds),
        )
    page = browse("/")
    page.add_init_script(WRITTEN)
    page.goto(dashboard.url + "/trends")
    ready(page)
    texts = page.evaluate("window.written")
    first, second = (duration_text(seconds) for seconds in far.values())
    assert second in texts
    assert first not in texts, "the next arrow stands there"


def test_the_tree_of_many_steps_has_only_the_rows_in_view(history: perfdb.History, browse: Browse) -> None:
    newest = history.session("last")
    steps = tuple(
        Step(step_name=f"page {seq}", start_time=newest.start_time + seq, duration=1.0, success=True, seq=seq)
        for seq in range(1_500)
    )
    insert(history, replace(newest, session_id="wide", total_duration=1_500.0, steps=steps))
    page = browse("/sessions/wide")
    page.locator("#tree .space .line").first.wait_for()
    assert page.locator("#tree .space .line").count() < 150
    page.locator("#tree .view").evaluate("(view) => view.scrollTo(0, view.scrollHeight)")
    page.locator("#tree .pick", has_text="page 1499").wait_for()
    assert page.locator("#tree .space .line").count() < 150


def test_a_page_draws_the_longest_of_many_bars_and_all_when_asked(
    history: perfdb.History, dashboard: Any
) -> None:
    newest = history.session("last")
    lasted = [1.0 + seq % 7 for seq in range(900)]
    steps = tuple(
        Step(step_name=f"page {seq % 3}", start_time=newest.start_time + 10.0 * seq, duration=took,
             success=True, seq=seq)
        for seq, took in enumerate(lasted)
    )  # fmt: skip
    insert(history, replace(newest, session_id="many", total_duration=9_000.0, steps=steps))
    some, every = (dashboard.client.get(f"/sessions/many{asked}").text for asked in ("", "?all=1"))
    drawn = [int(seq) for seq in re.findall(r'<g data-seq="(\d+)"', some)]
    assert 300 <= len(drawn) <= 400
    assert min(lasted[seq] for seq in drawn) >= 4.0  # of each row the longest third or so
    assert some.count("(the longest)") == 3
    assert "Shorter steps are not drawn" in some
    assert len(re.findall(r'<g data-seq="\d+"', every)) == 900
    assert "the longest" not in every
    assert "not drawn" not in every


def test_the_tree_takes_what_its_page_asked_for_and_names_a_bar_under_the_pointer(
    browse: Browse, dashboard: Any
) -> None:
    page = browse("/")
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(dashboard.url + "/sessions/last")
    bar = page.locator("#tree g[data-seq]").first
    bar.wait_for()
    assert not any("/api/v1/sessions/" in url for url in asked), "its page has every row"
    assert sum(url.endswith("/waterfall.js") for url in asked) == 1
    assert said == []
    assert bar.locator("title").count() == 0
    bar.locator("rect").first.hover(force=True)
    assert re.fullmatch(r".+: [\d.]+ \S+, after .+", bar.locator("title").text_content() or "")
    for name in ("Vision Analysis", "Product Search"):
        page.locator("#tree .pick", has_text=name).click()
        page.locator("#drawer", has=page.get_by_text("began after")).get_by_text(name).wait_for()
    assert [url.endswith("explain=false") for url in asked if "/api/v1/sessions/" in url] == [True]


def test_a_minimap_shows_the_critical_path_to_its_end() -> None:
    path = [(float(second), second + 1.0) for second in range(1_500)]
    drawn = svg.minimap(path, path, 1_500.0)
    last = re.findall(r'class="critical" x="([\d.]+)"[^>]* width="([\d.]+)"', drawn)[-1]
    assert sum(map(float, last)) == pytest.approx(svg.WIDTH, abs=1)


def test_a_question_in_a_message_has_no_full_stop(history: perfdb.History) -> None:
    alert = history.alert(int(history.alerts("all")["id"].iloc[0])).alert
    asked = replace(alert, message="It failed. Last error: is the server on?. Nothing more.")
    assert sentences(AlertRow.from_records(asked)) == [
        "It failed.",
        "Last error: is the server on?",
        "Nothing more.",
    ]
