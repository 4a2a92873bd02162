"""What a team does in a real browser; one server and one page for all of it, which take long to start.

Of: web/views/alerts.py, web/views/page.py, web/views/sessions.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import perfdb
from perfdb.testing import make_history, make_session
from tests.web.conftest import Dashboard


@pytest.fixture(scope="module")
def tab(chromium: Any, shared_dashboard: Dashboard) -> Iterator[Any]:
    """Give a page of the dashboard; it may neither complain nor ask anybody else."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on(
        "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def go(tab: Any, shared_dashboard: Dashboard) -> Any:
    """Give a function that opens an address and waits for what its scripts bring."""

    def open_page(path: str) -> Any:
        tab.goto(shared_dashboard.url + path)
        tab.wait_for_selector(".pulse.on", state="attached")
        if tab.locator("#chart").count():
            tab.wait_for_selector("#chart canvas")
        return tab

    return open_page


def asked(page: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def drag(page: Any, begin: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the chart; places are parts of its width and height."""
    box = page.locator("#chart .u-over").bounding_box()
    (x0, y0), (x1, y1) = (
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (begin, end)
    )
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2)
    page.mouse.move(x1, y1)
    page.mouse.up()


def test_the_overview_leads_to_a_pipeline_and_to_what_changed(go: Any) -> None:
    page = go("/")
    page.locator("#pipelines a.over").first.click()
    page.wait_for_url("**/pipelines/design**")
    page.get_by_role("link", name="before and after").first.click()
    page.wait_for_url("**/compare?split=*")
    assert "Vision Analysis" in page.locator("main").inner_text()


def test_a_box_around_slow_runs_asks_what_they_have_in_common(go: Any) -> None:
    page = go("/trends?step=Vision+Analysis&mode=%7B%22fast_mode%22%3Afalse%7D&last=500")
    page.get_by_role("button", name="What do these share?").click()
    drag(page, (0.7, 0.02), (0.99, 0.5))
    page.wait_for_url("**/common?**")
    question = asked(page)
    assert (question["step"], question["pipeline"], question["last"]) == ("Vision Analysis", "design", "500")
    assert 10 < float(question["over"]) < 30
    assert question["slow_since"] < question["slow_until"]
    assert "4e5f6a7b" in page.locator("#rows").inner_text()


def test_two_parts_of_a_trend_become_two_periods(go: Any) -> None:
    page = go("/trends?step=Vision+Analysis&mode=%7B%22fast_mode%22%3Afalse%7D")
    page.get_by_role("button", name="Compare A and B").click()
    drag(page, (0.85, 0.5), (0.99, 0.5))
    page.locator("#brush-said", has_text="now choose B").wait_for()
    drag(page, (0.1, 0.5), (0.6, 0.5))
    page.wait_for_url("**/compare?**")
    question = asked(page)
    assert question["since"] < question["split"] < question["resume"] < question["until"]
    row = page.locator("tr", has_text="Vision Analysis").first
    assert row.locator(".worse").count() == 1
    page.go_back()
    page.locator("#chart canvas").wait_for()


@pytest.mark.parametrize("path", ["/compare?by=attempt&a=1&b=2", "/sessions/last", "/bottlenecks"])
def test_steps_that_hardly_matter_are_shown_when_they_are_asked_for(
    chromium: Any, web_folder: Any, serve: Any, path: str
) -> None:
    made = [
        make_session(
            number,
            {"work": 5.0 + number % 7, **{f"part {part}": 0.01 + number % 5 / 1_000 for part in range(8)}},
            attributes={"attempt": 1 + number % 2},
        )
        for number in range(41)
    ]
    page = chromium.new_page()
    page.goto(serve(make_history(web_folder / "home", made)).url + path)
    rest = page.locator("tbody.rest tr")
    assert rest.count() > 2
    assert not rest.first.is_visible()
    page.get_by_label(re.compile("Show . more steps")).check()
    assert rest.first.is_visible()
    page.close()


def test_sessions_are_narrowed_down_by_what_they_differ_in(go: Any) -> None:
    page = go("/sessions")
    page.locator("#facets a", has_text="gpt-4o-mini").click()
    page.locator("h1", has_text="20 sessions that fit").wait_for()
    page.locator(".columns-of summary").click()
    page.get_by_label("customer", exact=True).check()
    page.get_by_role("button", name="Apply").last.click()
    page.wait_for_url("**columns=customer**")
    assert page.locator("#rows th", has_text="customer").count() == 1
    assert asked(page)["attribute"] == "model=gpt-4o-mini"
    page.locator("#over-time a").last.click()
    page.wait_for_url("**since=*until=*")
    page.locator("#facets a[aria-current]").click()
    page.wait_for_url(lambda url: "attribute" not in url)


def test_sessions_are_sorted_by_their_titles(go: Any) -> None:
    page = go("/sessions?status=completed")
    took = "#rows td:nth-child(4)"
    page.click("th >> text=Duration")
    page.wait_for_selector('th[aria-sort="descending"] >> text=Duration')
    assert "status=completed" in page.url
    longest = page.locator(took).first.inner_text()
    page.click("th >> text=Duration")
    page.wait_for_selector('th[aria-sort="ascending"] >> text=Duration')
    assert page.locator(took).first.inner_text() != longest


def test_the_two_that_are_chosen_can_be_compared_wherever_one_is(go: Any) -> None:
    page = go("/sessions")
    page.locator(".choosing input").nth(0).check()
    page.locator(".choosing input").nth(1).check()
    assert page.locator("#pair").bounding_box()["y"] < page.viewport_size["height"]
    page.click("#pair button")
    page.wait_for_url("**/compare?*")


def test_a_view_is_saved_and_forgotten(go: Any) -> None:
    page = go("/sessions?status=failed&sort=slowest")
    page.locator(".views summary").click()
    page.get_by_label("Save this one as").fill("<i>broken</i> ones")
    page.keyboard.press("Enter")
    assert page.url.endswith("status=failed&sort=slowest"), "the bar was not asked"
    page = go("/rules")
    page.locator(".views summary").click()
    page.locator("#views a", has_text="<i>broken</i> ones").click()
    page.wait_for_url("**/sessions?status=failed&sort=slowest")
    page.wait_for_selector(".pulse.on", state="attached")
    page.locator(".views summary").click()
    page.get_by_role("button", name="Forget the view").click()
    assert page.locator("#views a").count() == 0
    elsewhere = ["//evil.example", "/\t/evil.example", "/\n\\evil.example", "javascript:alert(1)"]
    page.evaluate(
        "views => localStorage.setItem('perfdb-views', JSON.stringify(views))",
        [["elsewhere", address] for address in elsewhere],
    )
    page.reload()
    page.wait_for_selector(".pulse.on", state="attached")
    page.locator(".views summary").click()
    assert page.locator("#views a").count() == 0


def test_an_alert_is_acknowledged_in_the_list_and_that_is_undone(go: Any) -> None:
    page = go("/alerts")
    count = page.locator(".alerts button", has_text="Acknowledge").count()
    shown = page.locator("#list li, #list h2")
    places = [each.bounding_box() for each in shown.all()]
    page.locator(".alerts button", has_text="Acknowledge").first.click()
    page.locator("#decided", has_text="Acknowledged").wait_for()
    page.locator(".alerts button", has_text="Undo").wait_for()
    assert [each.bounding_box() for each in shown.all()] == places, "what is pointed at stays"
    page.mouse.move(0, 0)
    page.locator(".cause", has_text="nown").wait_for()
    page.locator(".alerts button", has_text="Undo").click()
    page.locator("#decided", has_text="Taken back").wait_for()
    page.mouse.move(0, 0)
    page.wait_for_function(
        "(count) => document.querySelectorAll('.alerts [data-do=acknowledge]').length === count", arg=count
    )


def test_a_rule_is_tried_with_another_number(go: Any) -> None:
    page = go("/rules/error_rate")
    page.get_by_label("Limit (share)").fill("0.0001")
    page.get_by_role("button", name="Try").click()
    page.wait_for_url("**limit=0.0001")
    assert "limit = 0.0001" in page.locator(".toml").inner_text()
    assert re.match(r"[1-9]\d* of", page.locator("h2:has-text('would have flagged') + .note").inner_text())


def test_what_is_shown_is_saved_as_a_picture_as_rows_and_as_a_report(go: Any) -> None:
    page = go("/trends?step=Vision+Analysis")
    with page.expect_download() as picture:
        page.get_by_role("button", name="PNG").click()
    assert picture.value.suggested_filename == "trends.png"
    assert picture.value.path().read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    assert saved.value.path().read_text().startswith("session_id,start_time,duration,")
    page = go("/sessions?status=failed")
    with page.expect_download() as report:
        page.get_by_role("link", name="Report").click()
    page.goto(report.value.path().rename(report.value.path().with_suffix(".html")).as_uri())
    assert "2 sessions as data" in page.locator("footer").inner_text()


def test_the_bar_is_in_the_address_and_every_page_obeys_it(go: Any) -> None:
    page = go("/sessions")
    every = page.locator("h1").inner_text()
    page.locator("#bar select[name=mode]").select_option('{"fast_mode":false}')
    page.wait_for_url("**mode=**")
    page.locator("#bar select[name=window]").select_option("since=commit:4e5f6a7b")
    page.wait_for_url("**commit**")
    since = asked(page)
    assert page.locator("h1").inner_text() != every
    for name in ("Trends", "Bottlenecks", "Compare", "Alerts", "Rules", "Overview"):
        page.get_by_role("navigation").get_by_role("link", name=name).first.click()
        page.wait_for_function(
            "(name) => document.querySelector('nav [aria-current]').innerText.includes(name)", arg=name
        )
        assert {key: asked(page).get(key) for key in since} == since, name
        assert page.locator("#bar select[name=mode]").input_value() == '{"fast_mode":false}'
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(lambda url: "mode" not in url)


def test_what_is_chosen_before_the_scripts_are_here_counts(tab: Any, shared_dashboard: Dashboard) -> None:
    held: list[Any] = []
    tab.route("**/comforts.js", lambda route: held.append(route))
    tab.goto(shared_dashboard.url + "/sessions")
    tab.locator("#bar select[name=mode]").select_option('{"fast_mode":false}')
    while not held:
        tab.wait_for_timeout(10)
    held[0].continue_()
    tab.unroute("**/comforts.js")
    tab.wait_for_url("**mode=**")


def test_dates_are_picked_in_the_viewers_zone(go: Any) -> None:
    page = go("/sessions")
    page.locator(".dates summary").click()
    page.get_by_label("From", exact=True).fill("2020-01-01T00:00")
    page.get_by_label("To", exact=True).fill("2020-01-02T00:00")
    page.locator(".dates button", has_text="Apply").click()
    page.wait_for_url("**2020-01-01**")
    assert page.get_by_label("From", exact=True).input_value() == "2020-01-01T00:00"
    assert "No" in page.locator("main").inner_text()


def test_a_note_is_marked_on_the_trend_and_leads_to_what_came_since(
    go: Any, shared_dashboard: Dashboard
) -> None:
    history = perfdb.History(shared_dashboard.app.state.history.url)
    history.annotate("deploy 1.4", at=time.time() - 30 * 3_600)
    page = go("/trends?step=Vision+Analysis")
    marks = page.locator("li", has_text="deploy 1.4")
    marks.get_by_role("link", name="since then").click()
    page.wait_for_url("**since=deploy*")
    assert asked(page)["since"] == "deploy:deploy 1.4"
    assert (
        page.locator("#bar select[name=window]").locator("option:checked").inner_text() == "since deploy 1.4"
    )


def test_two_groups_are_compared_with_what_else_differs(go: Any) -> None:
    page = go("/compare?by=fast_mode")
    assert page.locator("tr", has_text="Vision Analysis").first.locator(".better, .worse").count() >= 1
    assert "Between the groups these differ as well" in page.locator("main").inner_text()


def test_a_page_is_copied_as_a_link_printed_and_asked_in_python(go: Any) -> None:
    page = go("/trends?step=Vision+Analysis")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    page.locator("#said", has_text="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    assert "History().trends(" in page.locator(".snippet").inner_text()
    page.emulate_media(media="print")
    assert not page.locator(".top").is_visible()
    assert not page.locator("#bar").is_visible()
    assert page.locator("#chart").is_visible()
    for scheme in ("light", "dark"):  # paper is white
        page.emulate_media(media="print", color_scheme=scheme)
        ink, paper = page.evaluate(
            "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
        )
        assert (ink, paper) == ("rgb(26, 26, 26)", "rgb(255, 255, 255)"), scheme
    page.emulate_media(media="screen", color_scheme="light")


def test_a_wide_screen_is_used(go: Any) -> None:
    page = go("/")
    page.set_viewport_size({"width": 1920, "height": 1080})
    for path in ("/", "/sessions", "/sessions/last", "/trends", "/compare", "/alerts/1", "/rules"):
        go(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1920, path
        left, right = page.evaluate(
            "(all => [Math.min(...all.map(each => each.left)), Math.max(...all.map(each => each.right))])"
            "([...document.querySelectorAll('.panel')].map(each => each.getBoundingClientRect()))"
        )
        assert right - left >= 1600, path
    page.set_viewport_size({"width": 1280, "height": 800})
