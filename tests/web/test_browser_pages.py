"""Every page in a real browser: wide and narrow, light and dark, with and without scripts, by keyboard.

Of: web/rendering.py, pages/style.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.records import Session, Step
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.text import duration_text
from perfdb.web.answers import sessions, trends
from perfdb.web.views import page as page_views
from tests.answers.pages import Page

PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 800}
PAGES = {
    "/": "alert",
    "/sessions": "sessions",
    "/sessions/last": "held this run up",
    "/trends": "design",
    "/trends?step=Vision+Analysis&last=100": "Vision Analysis",
    "/bottlenecks": "holds a run of design",
    "/hits": "Whom does a move hit",
    "/compare": "instead of",
    "/compare?by=model": "gpt-4o",
    "/pareto?by=fast_mode&measure=cpu_s": "fastest",
    "/alerts": "alert",
    "/alerts/1": "since",
    "/rules": "rules",
    "/rules/vision-slow": "vision-slow",
    "/rules/change_point": "change_point",
}
LONG = "OperationalError: could not connect to the server of the warehouse. "
Browse = Callable[..., Any]
# What is chosen in the bar, where its list is too narrow for the words.
CUT_CHOICES = """() => [...document.querySelectorAll("#bar select, .choices select")].filter((each) => {
  const pen = document.createElement("canvas").getContext("2d");
  const style = getComputedStyle(each);
  pen.font = style.font;
  const room = each.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return pen.measureText(each.selectedOptions[0].text).width > room + 1;
}).map((each) => each.selectedOptions[0].text)"""

# Cells wider than their columns, short words and numbers on two lines, and what passes by the screen.
CUT_OR_BROKEN = """() => {
  const found = [];
  for (const cell of document.querySelectorAll("th, td, h2, dd, .button")) {
    if (!cell.offsetParent || cell.closest("details:not([open])")) continue;
    if (cell.scrollWidth > cell.clientWidth + 1 && getComputedStyle(cell).display !== "inline")
      found.push("cut: " + cell.textContent.trim().slice(0, 60));
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    for (let text; (text = texts.nextNode()); ) {
      for (const word of text.data.matchAll(/[\\p{L}\\p{N}.,$%_]{2,14}(?![\\p{L}\\p{N}])/gu)) {
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const boxes = [...range.getClientRects()].filter((box) => box.width);
        const lines = boxes.map((box) => Math.round(box.top));
        const begins = !/[\\p{L}\\p{N}_]/u.test(text.data[word.index - 1] ?? "");
        if (begins && new Set(lines).size > 1) found.push("broken: " + word[0]);
      }
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push("wider than the screen");
  return found;
}"""


def insert(history: perfdb.History, session: Session) -> None:
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [session])
    engine.dispose()


def ready(page: Any) -> None:
    """Wait until the page has what its scripts bring."""
    page.wait_for_selector(".pulse.on", state="attached")
    if page.locator("#chart").count():
        page.wait_for_selector("#chart canvas")


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("light", None), ("dark", None), ("light", PHONE)],
    ids=["light", "dark", "phone"],
)
def test_every_page_says_something_fits_its_screen_and_stands_still(
    browse: Browse, dashboard: Any, scheme: str, viewport: dict[str, int] | None
) -> None:
    page = browse("/", color_scheme=scheme, **({"viewport": viewport} if viewport else {}))
    for path, words in PAGES.items():
        answer = page.goto(dashboard.url + path)
        assert answer.status == 200, path
        ready(page)
        assert words in page.locator("h1").inner_text(), path
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{path} is {width[0]} px wide on {width[1]}"
        assert page.evaluate(CUT_CHOICES) == [], path
        assert page.evaluate("window.jumped") < 0.05, path


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_column_of_a_table_is_off_the_screen(
    browse: Browse, history: perfdb.History, dashboard: Any, viewport: dict[str, int]
) -> None:
    newest = history.session("last")
    failed = replace(newest, session_id="failed", success=False, status="failed", error_message=LONG * 9)
    insert(history, failed)
    page = browse("/", viewport=viewport)
    for path in ("/", "/sessions", "/pipelines/design", "/sessions/last"):
        page.goto(dashboard.url + path)
        ready(page)
        cut = """() => [...document.querySelectorAll(".wide")]
          .filter((each) => each.scrollWidth > each.clientWidth + 1)
          .map((each) => [each.closest("section").id, each.scrollWidth, each.clientWidth])"""
        assert page.evaluate(cut) == [], path


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_cell_is_cut_and_no_word_or_number_is_broken(
    browse: Browse, history: perfdb.History, dashboard: Any, viewport: dict[str, int]
) -> None:
    newest = history.session("last")
    mode = '{"fast_mode": true, "a_mode_of_a_long_name": "' + 60 * "z" + '"}'
    insert(history, replace(newest, session_id="long", pipeline="long" * 20, mode=mode))
    page = browse("/", viewport=viewport)
    moved = history.alerts("all")["since_time"].iloc[0]
    for path in (*PAGES, f"/pipelines/{'long' * 20}", f"/hits?at={moved}&pipeline=design", "/common"):
        page.goto(dashboard.url + path)
        ready(page)
        assert page.evaluate(CUT_OR_BROKEN) == [], path


def test_a_session_of_a_list_is_two_lines_on_a_phone(browse: Browse) -> None:
    page = browse("/sessions", viewport=PHONE)
    ready(page)
    row = page.locator("#rows tr.row").first
    time, pipeline, duration = (row.locator(f"td:nth-child({place})").bounding_box() for place in (1, 2, 4))
    assert time["y"] == pytest.approx(duration["y"], abs=4)
    assert pipeline["y"] >= time["y"] + time["height"]
    assert page.get_by_role("columnheader", name="Duration").count() == 1, "for those who do not see it"


def test_labels_of_what_happened_stand_above_the_runs(
    browse: Browse, dashboard: Any, history: perfdb.History
) -> None:
    starts = sorted(history.sessions()["start_time"])
    for place, words in ((10, "one"), (11, "two"), (12, "three"), (13, "four")):
        history.annotate(words, at=starts[place])
    page = browse("/trends")
    for path, lanes in (("/trends", 3), ("/pipelines/design", 1)):
        page.goto(dashboard.url + path)
        ready(page)
        above = page.evaluate(
            """() => document.querySelector("#chart .u-over").getBoundingClientRect().top
              - document.querySelector("#chart").getBoundingClientRect().top"""
        )
        assert above >= 15 * lanes, path


def test_the_legend_has_no_alert_that_the_picture_has_not(dashboard: Any) -> None:
    begun = dashboard.get("alerts", state="firing")["rows"][0]
    of = {"pipeline": begun["pipeline"], "step": begun["step_name"] or "", "mode": begun["mode"]}
    for window, shown in (("since", True), ("until", False)):
        text = dashboard.client.get("/trends", params={**of, window: begun["since_time"] - 0.01}).text
        assert ("an alert began" in text) is shown


def test_times_near_to_each_other_have_their_seconds(history: perfdb.History, browse: Browse) -> None:
    newest = history.session("last")
    for number in (1, 2):
        insert(
            history, replace(newest, session_id=f"near{number}", start_time=newest.start_time + 5 * number)
        )
    page = browse("/compare?a=near1&b=near2", timezone_id="UTC")
    heads = page.locator("thead th:has(time)").all_inner_texts()
    assert all(re.fullmatch(r"(Before|After)\s\d\d \w{3}( \d{4})? \d\d:\d\d:\d\d", each) for each in heads)
    assert len(set(heads)) == 2


def test_values_of_attributes_are_counted_over_what_is_said(
    dashboard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_WITH_ATTRIBUTES", 10)
    text = Page(dashboard.client.get("/sessions").text).visible
    assert "of the newest 10" in text


def test_a_comparison_begins_with_what_surely_moved(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    for number in range(24):
        begun = newest.start_time + 100 * number
        for name, seconds in (("above", 20.0), ("below", 2.0 if number < 12 else 5.0)):
            made = {"pipeline": name, "start_time": begun, "total_duration": seconds + number % 5 / 10}
            insert(history, replace(newest, session_id=f"{name}{number}", steps=(), **made))
    split = newest.start_time + 1_150
    found = dashboard.client.get("/compare", params={"split": split, "since": newest.start_time - 1}).text
    assert [table.title.split(",")[0].strip() for table in Page(found).tables[:2]] == ["below", "above"]
    assert "interval excludes 0 in below" in Page(found).text
    figures = r"A run of below: 5\.20.s since \d+ \w+ \d\d:\d\d UTC instead of 2\.15.s: 2\.4.×"
    assert re.match(figures, Page(found).heading)
    assert re.search(
        r"Since \d+ \w+ \d\d:\d\d UTC a session of below .*took 5", " ".join(Page(found).visible.split())
    )
    folded = found[found.index('<details class="sub">') :].partition("</details>")[0]
    assert "interval excludes 0 in <bdi>below" in folded, "the sentence first"
    assert found.count('class="reach"') == 2, "a line for the interval of each"


def test_trends_open_on_what_runs_most_often(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    later = newest.start_time + 60
    insert(history, replace(newest, session_id="alone", pipeline="alone", start_time=later))
    assert dashboard.get("trends")["series"]["pipeline"] == newest.pipeline
    of_window = dashboard.get("trends", since=f"{later - 1}")
    assert of_window["series"]["pipeline"] == "alone", "of a window what runs most often in it"


def test_what_is_farthest_from_its_past_is_explained_first(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    later = {"start_time": newest.start_time + 60, "total_duration": (newest.total_duration or 0.0) + 900.0}
    insert(history, replace(newest, session_id="waited", steps=(), **later))
    page = Page(dashboard.client.get("/sessions/waited").text)
    table = page.table("Why it took")
    assert table.rows[0][0] == "Other"
    steps = [row for row in table.rows if row[0] not in ("Other", "Medians of parts")]
    assert steps
    assert {table.column(row, "This run") for row in steps} == {"–"}, "no step ran"
    assert "host" not in page.html.partition('id="facts"')[2].partition("</dl>")[0], "a tile breaks its name"
    assert "host" in page.html.partition("Where and with what it ran")[2]


@pytest.mark.parametrize(
    ("scheme", "viewport"),
    [("light", WIDE), ("dark", WIDE), ("light", PHONE), ("dark", PHONE)],
    ids=["light", "dark", "phone", "dark phone"],
)
def test_axe_finds_nothing_on_any_page(
    chromium: Any,
    shared_dashboard: Any,
    serve: Any,
    recorded_home: Path,
    tmp_path: Path,
    scheme: str,
    viewport: dict[str, int],
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    nothing = tmp_path / "nothing.sqlite3"
    ensure_schema(f"sqlite:///{nothing}")
    report, of_many = tmp_path / "report.html", tmp_path / "many.html"
    history = perfdb.History(recorded_home / "performance_tracking" / "perfdb.sqlite3")
    history.report().save(report)
    history.report(last=80).save(of_many)
    more = (
        "/common",
        "/pipelines/design",
        "/sessions?attribute=no-pair",
        "/sessions/last#step-1",
        "/nowhere",
    )
    addresses = [shared_dashboard.url + path for path in (*PAGES, *more)]
    addresses += [serve(perfdb.History(nothing)).url, report.as_uri(), of_many.as_uri()]
    context = chromium.new_context(viewport=viewport, color_scheme=scheme)
    page = context.new_page()
    found = []
    for address in addresses:
        page.goto(address)
        if not address.startswith("file:"):
            ready(page)
        if "#step" in address:
            page.locator("#drawer h2").wait_for()
        page.eval_on_selector_all(
            "main details", "(folded) => folded.forEach((each) => { each.open = true })"
        )
        for each in Axe().run(page).response["violations"]:
            found += [f"{address}: {each['id']} {node['target']}" for node in each["nodes"]]
    context.close()
    assert found == []


def test_pages_say_the_same_without_scripts(browse: Browse, dashboard: Any) -> None:
    page = browse("/", java_script_enabled=False)
    for path, words in PAGES.items():
        page.goto(dashboard.url + path)
        assert words in page.locator("h1").inner_text(), path
    page.goto(dashboard.url + "/alerts/1")
    assert page.get_by_role("button", name="Acknowledge").count() == 0
    commands = page.locator("#decide code").all_inner_texts()
    assert "perfdb alerts ack 1" in commands
    assert "perfdb alerts silence 1 --for 1d" in commands
    page.goto(dashboard.url + "/trends")
    assert page.locator("#chart svg .dot").count() > 20
    page.get_by_label("Window").select_option("30 days")
    page.get_by_role("button", name="Show").click()
    assert page.url.endswith("?since=30d") or "since=30d" in page.url
    page.goto(dashboard.url + "/bottlenecks")
    page.get_by_role("button", name="Replay").click()
    assert "factor=0.5" in page.url
    assert "would take" in page.locator("[data-sentence]").inner_text()


def test_a_first_load_is_light(browse: Browse) -> None:
    for path in ("/", "/sessions", "/sessions/last", "/trends"):  # the largest ones
        sizes: list[int] = []
        page = browse(path, on_request=lambda request, sizes=sizes: sizes.append(_size(request)))
        ready(page)
        page.wait_for_load_state()
        assert 5_000 < sum(sizes) <= 250_000, path
        page.context.close()


def test_a_second_page_asks_for_no_script_again(browse: Browse, dashboard: Any) -> None:
    page = browse("/trends")
    ready(page)
    page.goto(dashboard.url + "/trends?last=100")
    ready(page)
    scripts = page.evaluate(
        """() => performance.getEntriesByType("resource")
          .filter((entry) => entry.name.endsWith(".js"))
          .map((entry) => [new URL(entry.name).pathname.split("/").pop(), entry.transferSize])"""
    )
    assert {"times.js", "app.js", "live.js", "trend.js", "uPlot.iife.min.js"} <= {name for name, _ in scripts}
    assert [name for name, sent in scripts if sent] == []


def _size(request: Any) -> int:
    sizes = request.sizes()
    return int(sizes["responseBodySize"] + sizes["responseHeadersSize"])


def test_times_are_in_the_viewers_zone_and_utc_on_hover(browse: Browse, dashboard: Any) -> None:
    page = browse("/sessions/last", timezone_id="Asia/Tokyo")
    shown = page.locator("#head time[data-form=full]").first
    start = dashboard.get("sessions/last")["session"]["start_time"]
    local = page.evaluate(
        """(epoch) => {
          const parts = new Intl.DateTimeFormat("sv-SE", {
            timeZone: "Asia/Tokyo", dateStyle: "short", timeStyle: "medium",
          });
          return parts.format(epoch * 1000);
        }""",
        start,
    )
    assert shown.inner_text() == local
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", shown.get_attribute("title"))
    assert shown.get_attribute("title") != f"{local} UTC"


def test_a_file_whose_name_begins_with_a_number_keeps_its_order(browse: Browse) -> None:
    first, last = browse("/").evaluate(
        """() => {
          const text = document.querySelector(".source bdi").firstChild;
          text.data = "2026.sqlite3";
          return [0, text.length - 1].map((place) => {
            const range = document.createRange();
            range.setStart(text, place);
            range.setEnd(text, place + 1);
            return range.getBoundingClientRect().left;
          });
        }"""
    )
    assert first < last


def test_dark_is_dark_and_light_is_light(browse: Browse) -> None:
    def ground(scheme: str) -> int:
        colour = browse("/", color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    assert ground("dark") < 150
    assert ground("light") > 650


# What is written in which colour on what; all of it is text of normal size.
ON_GROUND = ("paper", "ground", "raise", "hover", "accent-soft")
PAIRS = [
    *((ink, on) for ink in ("ink", "muted") for on in (*ON_GROUND, "tile")),
    *(("accent", on) for on in ON_GROUND),
    *((word, on) for word in ("good", "warn", "alarm") for on in ("raise", "ground", "hover")),
    ("good", "good-soft"),
    ("warn", "warn-soft"),
    ("alarm", "alarm-soft"),
    ("ink", "alarm-soft"),
    ("accent", "accent-soft"),
    ("raise", "accent"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_the_contrast_of_wcag_aa(browse: Browse, scheme: str) -> None:
    page = browse("/", color_scheme=scheme)
    names = sorted({name for pair in PAIRS for name in pair})
    colours = page.evaluate(
        """(names) => names.map((name) => {
          const probe = document.createElement("span");
          probe.className = "probe";
          document.body.append(probe);
          probe.style.color = `var(--${name})`;
          return getComputedStyle(probe).color;
        })""",
        names,
    )
    light = {name: _luminance(colour) for name, colour in zip(names, colours, strict=True)}
    weak = {
        pair: round(_contrast(light[pair[0]], light[pair[1]]), 2)
        for pair in PAIRS
        if _contrast(light[pair[0]], light[pair[1]]) < 4.5
    }
    assert weak == {}


def _luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_a_keyboard_alone_reaches_the_content_a_session_and_back(browse: Browse) -> None:
    page = browse("/sessions")
    ready(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "search"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("j")
    page.keyboard.press("j")
    wanted = page.evaluate("document.activeElement.href")
    row = page.locator("tr.row:has(a.over:focus-visible)")
    assert row.evaluate("(element) => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(wanted)
    page.go_back()
    ready(page)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "search"


def test_the_whole_row_opens_its_session(browse: Browse) -> None:
    page = browse("/sessions")
    row = page.locator("#rows tbody tr").nth(2)
    session_id = row.get_attribute("data-key")
    box = row.locator("td").nth(2).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url(f"**/sessions/{session_id}")


def test_a_filter_is_an_address_without_empty_fields(browse: Browse, dashboard: Any) -> None:
    page = browse("/sessions")
    page.get_by_label("Status").select_option("failed")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/sessions?status=failed")
    assert page.locator("h1").inner_text() == "2 sessions that fit"
    assert page.locator("#rows .chip.failed").count() == 2
    again = browse("/sessions?status=failed&sort=slowest")
    assert again.get_by_label("Order").input_value() == "slowest"
    again.goto(f"{dashboard.url}/sessions?attribute=customer%3Dc3&limit=5")
    first = again.locator("#rows tbody tr").first.get_attribute("data-key")
    again.get_by_role("link", name="Next").click()
    again.wait_for_url("**after=**")
    assert "attribute=customer" in again.url
    again.get_by_role("link", name="Previous").click()
    again.wait_for_url("**before=**")
    assert again.locator("#rows tbody tr").first.get_attribute("data-key") == first


def test_a_chart_tells_the_run_under_the_pointer_zooms_and_opens_it(browse: Browse) -> None:
    page = browse("/trends?step=Vision+Analysis")
    over = page.locator("#chart .u-over")
    over.wait_for()
    box = over.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    tip = page.locator("#chart .tip")
    assert re.match(r"\d+\.\d\d s", tip.inner_text())
    page.mouse.move(box["x"] + 3, middle[1])
    first = tip.inner_text()
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + box["width"] / 5, middle[1], steps=5)
    page.mouse.up()
    for step in range(200):  # the page that follows the zoom comes in its time
        page.mouse.move(box["x"] + 3 + step % 2, middle[1])
        if tip.inner_text() != first:
            break
        page.wait_for_timeout(50)
    assert tip.inner_text() != first
    assert "/trends?" in page.url, "the end of a drag is not a click"
    page.mouse.click(*middle)
    page.wait_for_url("**/sessions/*")


def test_of_more_runs_than_dots_a_chart_shows_the_median_to_p95_of_each_day(
    browse: Browse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trends, "MOST_POINTS", 20)
    page = browse("/trends?step=Vision+Analysis")
    over = page.locator("#chart .u-over")
    over.wait_for()
    assert page.get_by_role("heading", name=re.compile("Every (hour|day)")).is_visible()
    keys = page.locator("#chart-words").inner_text()
    assert "to its p95" in keys
    assert "a run" not in keys
    box = over.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert re.search(r"median of \d+ runs of this (hour|day)", page.locator("#chart .tip").inner_text())


def test_a_zoom_is_a_window_in_the_address_that_the_whole_page_follows(browse: Browse) -> None:
    page = browse("/trends?step=Vision+Analysis")
    whole = page.url
    page.locator("#chart .u-over").wait_for()
    count = page.locator("#head .sub").inner_text()
    page.locator("#chart").focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#chart .tip", has_text="usually").wait_for()
    page.keyboard.press("+")
    page.wait_for_url("**since=*until=*")
    page.wait_for_function("(count) => document.querySelector('#head .sub').innerText !== count", arg=count)
    zoomed = page.locator("#head .sub").inner_text()
    page.reload()
    assert page.locator("#head .sub").inner_text() == zoomed
    assert "since=" in page.get_by_role("link", name="Sessions", exact=True).get_attribute("href")
    page.locator("#chart .u-over").wait_for()
    page.locator("#chart").focus()
    page.keyboard.press("0")
    page.wait_for_url(whole)


def test_a_waterfall_folds_finds_zooms_and_tells_of_a_step(browse: Browse) -> None:
    page = browse("/sessions/last#step-2")
    drawer = page.locator("#drawer")
    drawer.get_by_text("of its last").wait_for()
    assert "query" in drawer.inner_text()
    page.keyboard.press("Escape")
    assert not drawer.is_visible()
    rows = page.locator("#tree .pick")
    names = rows.all_inner_texts()
    assert names == ["Vision Analysis", "Product Search", "Search", "Composite Creation", "Image Generation"]
    page.get_by_role("button", name="Fold Product Search").click()
    assert "Search" not in rows.all_inner_texts()
    page.get_by_role("button", name="Unfold Product Search").click()
    page.locator("#tree").get_by_role("button", name="× 8").click()
    assert rows.count() == 5 + 8
    page.keyboard.press("/")
    page.keyboard.type("image")
    page.locator("#found", has_text="1 steps found").wait_for()
    assert rows.all_inner_texts() == ["Image Generation"]
    page.keyboard.press("Escape")
    page.get_by_label("critical path only").check()
    page.get_by_label("critical path only").uncheck()
    box = page.locator("#minimap").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 5)
    page.mouse.up()
    assert page.locator("#tree .scale span").first.inner_text() != "0"
    page.get_by_role("button", name="Whole run").click()
    assert page.locator("#tree .scale span").first.inner_text() == "0"
    rows.first.click()
    page.wait_for_url("**#step-0")
    assert "Vision Analysis" in drawer.inner_text()
    page.keyboard.press("Escape")
    line = page.locator("#tree .line", has_text="Image Generation")
    line.locator("svg").click(position={"x": 1, "y": 12})  # far from its bar
    assert "Image Generation" in drawer.inner_text()


def test_the_time_outside_of_steps_is_drawn_where_it_was(history: perfdb.History, browse: Browse) -> None:
    newest = history.session("last")
    steps = [
        Step(step_name=name, start_time=newest.start_time + at, duration=2.0, success=True, seq=seq)
        for seq, (name, at) in enumerate((("load", 1.0), ("save", 7.0)))
    ]
    insert(history, replace(newest, session_id="gaps", total_duration=10.0, steps=tuple(steps)))
    pieces = """(found) => found.map((each) =>
        ["x", "width"].map((name) => Math.round(each.getAttribute(name))))"""
    expected = [[0, 100], [300, 400], [900, 100]]
    for scripts, row in ((True, "#tree .line"), (False, "#waterfall .rows > svg")):
        page = browse("/sessions/gaps", java_script_enabled=scripts)
        page.locator("#waterfall").get_by_text("Other", exact=True).locator("visible=true").wait_for()
        assert page.locator(f"{row} rect.none").evaluate_all(pieces) == expected
    page = browse("/sessions/gaps")
    page.locator("#find").fill("load")
    page.locator("#found", has_text="1 steps found").wait_for()
    assert page.locator("#tree").get_by_text("Other", exact=True).count() == 0


def test_a_step_is_not_held_against_itself(history: perfdb.History, browse: Browse) -> None:
    newest = history.session("last")
    first = replace(newest.steps[0], step_name="Never before")
    insert(history, replace(newest, session_id="first", start_time=newest.start_time + 60, steps=(first,)))
    page = browse("/sessions/first#step-0")
    page.locator("#drawer", has_text="It ran in no other session.").wait_for()
    page.goto(page.url.replace("first", newest.session_id))
    page.locator("#drawer", has_text="other runs; their median is").wait_for()


def test_a_session_of_many_steps_stays_light(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    begun = newest.start_time + 1_000
    steps = tuple(
        Step(step_name=f"page {seq}", start_time=begun + seq, duration=1.0, success=True, seq=seq)
        for seq in range(1_500)
    )
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        made = replace(newest, session_id="wide", start_time=begun, total_duration=1_500.0, steps=steps)
        insert_sessions(connection, [made])
    engine.dispose()
    page = dashboard.client.get("/sessions/wide").text
    assert len(page.encode()) < 250_000
    assert "1,400 more steps not shown" in page
    assert len(dashboard.get("sessions/wide", explain=False)["timeline"]["rows"]) == 1_500
    assert 'id="step-1499"' in dashboard.client.get("/sessions/wide?all=1").text


def test_a_long_name_deep_in_the_tree_keeps_its_beginning(history: perfdb.History, browse: Browse) -> None:
    newest = history.session("last")
    long = "Write the quarantine table for records that no customer could be found for"
    steps = tuple(
        Step(
            step_name=f"{depth} {long}",
            start_time=newest.start_time + depth,
            duration=20.0 - 2 * depth,
            success=True,
            seq=depth,
            parent_seq=depth - 1 if depth else None,
        )
        for depth in range(8)
    )
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [replace(newest, session_id="deep", steps=steps)])
    engine.dispose()
    page = browse("/sessions/deep")
    page.locator("#tree .pick").first.wait_for()
    widths = page.evaluate(
        """() => [...document.querySelectorAll("#tree .space .name:has(.pick)")].map((name) => [
          name.querySelector(".pick").clientWidth, name.scrollWidth - name.clientWidth])"""
    )
    assert len(widths) == 8, "time outside of steps has no button"
    assert min(shown for shown, _ in widths) > 100, "of each name as much is shown as there is room for"
    assert max(beyond for _, beyond in widths) <= 0


def test_two_sessions_are_chosen_and_compared_and_keys_are_told(browse: Browse) -> None:
    page = browse("/sessions?text=GPT-4O-MINI")
    assert page.locator("h1").inner_text() == "20 sessions that fit"
    boxes = page.locator("#rows input[name=pick]")
    newer, older = (boxes.nth(place).get_attribute("value") for place in (0, 3))
    boxes.nth(0).check()
    boxes.nth(3).check()
    page.get_by_role("button", name="Compare the two chosen").click()
    page.wait_for_url(f"**/compare?a={older}&b={newer}")
    ready(page)
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("bring the page up to date").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    assert page.get_by_role("button", name="Follow").get_attribute("aria-pressed") == "true"
    page.wait_for_selector("#pulse:not(.on)", state="attached")
    page.keyboard.press("p")
    page.wait_for_selector("#pulse.on", state="attached")


def test_a_wrong_filter_keeps_the_form(dashboard: Any) -> None:
    answer = dashboard.client.get("/sessions?attribute=no-pair&text=lamp&tag=nosuch")
    assert answer.status_code == 400
    assert "no-pair" in answer.text.partition("<main")[2].partition("</h1>")[2][:300]
    assert 'name="text" value="lamp"' in answer.text
    assert 'name="attribute" value="no-pair"' in answer.text


def test_a_page_says_its_question_in_python(history: perfdb.History, dashboard: Any) -> None:
    for path in (
        "/",
        "/sessions?last=7",
        "/trends?since=7d",
        "/bottlenecks?pipeline=design",
        "/common",
        "/compare",
        "/compare?by=model",
        "/compare?measure=cpu_s",
        "/alerts",
        "/alerts?last=7&pipeline=design",
        "/alerts/1",
        "/rules?since=7d",
        "/pipelines/design",
    ):
        page = Page(dashboard.client.get(path).text)
        line = next(text for text in page.texts if "In Python:" in text).partition("perfdb.")[2]
        question = "perfdb." + line.removesuffix(" copy")
        assert eval(question, {"perfdb": perfdb}) is not None, question


@pytest.mark.parametrize(
    "query",
    [
        "sort=slowest",
        "sort=oldest&status=completed",
        "search=2&sort=oldest&since=all",
        "fast_mode=true&sort=fastest",
    ],
)
def test_the_line_of_python_lists_what_the_page_of_sessions_lists(dashboard: Any, query: str) -> None:
    def ids(question: str) -> list[str]:
        return list(eval(question, {"perfdb": perfdb})["session_id"])

    text = dashboard.client.get(f"/sessions?{query}").text
    listed = re.findall(r'name="pick" value="([^"]+)"', text)
    assert listed
    assert ids(_python(text))[: len(listed)] == listed
    assert "In Python" not in dashboard.client.get("/sessions?text=design").text, "which it cannot ask"


def test_the_line_of_python_asks_of_the_same_part_of_the_time(
    history: perfdb.History, dashboard: Any
) -> None:
    middle = sorted(history.sessions()["start_time"])[30]
    for query in (f"slow_since={middle}", f"slow_until={middle}&measure=cpu_s"):
        text = dashboard.client.get(f"/common?{query}").text
        assert eval(_python(text), {"perfdb": perfdb}).sentence == Page(text).heading


def test_runs_of_a_time_are_not_called_slow(history: perfdb.History, dashboard: Any) -> None:
    middle = sorted(history.sessions()["start_time"])[30]
    text = Page(dashboard.client.get(f"/common?slow_since={middle}").text).visible
    assert "runs of that time" in text
    assert "slow run" not in text.partition("Slow are")[2]
    assert "slow run" in Page(dashboard.client.get("/common").text).visible.partition("Slow are")[2]


def test_slow_runs_are_listed_with_what_they_took(history: perfdb.History, dashboard: Any) -> None:
    slow = history.common(slowest=10.0).slow
    table = Page(dashboard.client.get("/common?slowest=10").text).table("The slow runs")
    assert len(table.rows) == min(12, len(slow))
    took = history.sessions().set_index("session_id")["total_duration"]
    assert [table.column(row, "Duration") for row in table.rows] == [
        duration_text(took[each]) for each in reversed(slow[-12:])
    ]


def test_scripts_say_seconds_as_python_does(browse: Callable[..., Any]) -> None:
    values = [0.0, 4e-7, 8.5e-4, 0.0123, 0.9994, 23.333, 119.99, 125.0, 7_265.0, 14_195.6, 14_370.0]
    said = browse("/").evaluate(
        """async (values) => {
            const { seconds } = await import(new URL("times.js", document.querySelector("script[src]").src));
            return values.map(seconds);
        }""",
        values,
    )
    assert said == [duration_text(value) for value in values]


def test_steps_that_held_nothing_up_are_named_once(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    idle = replace(newest.steps[0], seq=900, step_name="Idle", parent_seq=None, duration=0.0)
    insert(history, replace(newest, session_id="idle", steps=(idle,), start_time=newest.start_time + 60))
    page = Page(dashboard.client.get("/sessions/idle").text)
    assert "Held nothing up by themselves, now or usually: Idle" in " ".join(page.visible.split())
    assert "Idle" not in [row[0] for row in page.table("Why it took").rows]


def test_rules_say_what_they_fire_at(dashboard: Any) -> None:
    for path in ("/rules", "/rules/fast_shift"):
        words = Page(dashboard.client.get(path).text).visible
        assert "The last 5 runs above those before, by 5 % and by more than chance" in words, path


def test_an_age_stays_an_age_in_python(dashboard: Any) -> None:
    assert "since='7d'" in _python(dashboard.client.get("/trends?since=7d").text)


def _python(text: str) -> str:
    """Return the line of Python that a page has."""
    line = next(each for each in Page(text).texts if "In Python:" in each)
    return "perfdb." + line.partition("perfdb.")[2].removesuffix(" copy")


def test_a_finger_zooms_in_and_out(browse: Browse) -> None:
    page = browse("/trends?step=Vision+Analysis", viewport=PHONE, has_touch=True, is_mobile=True)
    ready(page)
    over = page.locator("#chart .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    y = box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)

    def drawn(begin: float, end: float) -> bytes:
        for kind, part in (("touchStart", begin), ("touchMove", (begin + end) / 2), ("touchMove", end)):
            at = {"x": box["x"] + part * box["width"], "y": y}
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [at]})
        touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        picture: bytes = page.locator("#chart canvas").screenshot()
        return picture

    whole = drawn(0.9, 0.1)
    assert drawn(0.2, 0.6) != whole
    assert drawn(0.9, 0.1) == whole
    assert "/trends" in page.url, "the end of a drag is no tap"


def test_the_slider_replays_and_its_address_says_what_it_shows(browse: Browse, dashboard: Any) -> None:
    page = browse("/bottlenecks")
    ready(page)
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    page.locator("[data-sentence]", has_text="took no time").wait_for()
    assert "factor=0" in page.url
    shown = page.locator("[data-replayed]").inner_text()
    page.reload()
    assert page.locator("[data-replayed]").inner_text() == shown
    assert page.get_by_role("slider").input_value() == "0"


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/sessions?since=yesterday-ish", 400, "yesterday-ish"),
        ("/sessions?colour=red", 400, "colour"),
        ("/sessions/nosuch", 404, "nosuch"),
        ("/alerts/999999", 404, "999999"),
        ("/trends?series=%5B1%5D", 400, "[1]"),
        ("/nowhere", 404, "No page has the address /nowhere."),
    ],
)
def test_what_cannot_be_found_or_understood_is_said_on_a_page(
    dashboard: Any, path: str, status: int, word: str
) -> None:
    answer = dashboard.client.get(path)
    assert answer.status_code == status
    assert word in answer.text
    assert '<a class="button" href="/">To the overview</a>' in answer.text


@pytest.mark.parametrize(
    ("path", "words", "address"),
    [
        ("/trend", "Trends", "/trends"),
        ("/commons", "In common", "/common"),
        ("/pipelines/desing", "design", "/pipelines/design"),
        ("/sessions/{wrong}", "{right}", "/sessions/{right}"),
    ],
)
def test_what_is_called_nearly_like_a_wrong_address_is_offered(
    shared_dashboard: Any, path: str, words: str, address: str
) -> None:
    right = shared_dashboard.get("sessions", limit=1)["rows"][0]["session_id"]
    named = {"right": right, "wrong": f"{right}x"}
    answer = shared_dashboard.client.get(path.format(**named))
    assert answer.status_code == 404
    assert "Did you mean" in Page(answer.text).visible
    link = f'<a href="{address}"><bdi>{words}</bdi></a>'.format(**named)
    assert link in answer.text


def test_a_page_of_an_error_searches_the_sessions_and_tells_what_there_is(shared_dashboard: Any) -> None:
    wrong = shared_dashboard.client.get("/nowhere/gpt-4o-mini").text
    for name, path in page_views.PAGES.items():
        assert f'<dt><a href="{path}">{name}</a></dt>' in wrong
    assert "Did you mean" not in Page(wrong).visible, "nothing is near"
    action, field, value = re.findall(
        r'action="(/[a-z]+)" role="search".*?name="(\w+)" value="([^"]*)"', wrong, re.DOTALL
    )[0]
    found = shared_dashboard.client.get(action, params={field: value}).text
    assert Page(found).heading == "20 sessions that fit"


def test_an_error_of_several_lines_keeps_them_and_its_main_line_is_the_heading(
    history: perfdb.History, browse: Browse
) -> None:
    newest = history.session("last")
    error = 'Traceback (most recent call last):\n  File "x.py", line 3\nValueError: <b>no</b> rows'
    named = "two\nlines \u202egnorw"
    steps = (replace(newest.steps[0], step_name=named, success=False, error_message=error),)
    failed = replace(newest, session_id="lines", status="failed", success=False, error_message=error)
    insert(history, replace(failed, steps=steps))
    page = browse("/sessions/lines#step-0")
    assert page.locator("h1").inner_text().endswith(": ValueError: <b>no</b> rows")
    page.locator("#drawer dt", has_text="error").wait_for()
    for place in ("p.error", "#steps .lines", "#drawer dt:text-is('error') + dd"):
        assert page.locator(place).inner_text() == error, place
    for place in ("#tree .pick", "#drawer h2"):
        assert page.locator(place).inner_text() == r"two\nlines \u202egnorw", place


def test_the_keys_of_a_trend_are_of_what_is_drawn(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    insert(history, replace(newest, session_id="alone", pipeline="alone"))
    of_one, of_many = (
        dashboard.client.get(f"/trends?pipeline={name}").text.partition('id="chart-words"')[2]
        for name in ("alone", "design")
    )
    for key, is_of_one in (("dot-key", True), ("line-key", False), ("ribbon-key", False)):
        assert (key in of_one.partition("</section>")[0]) is is_of_one, key
        assert key in of_many.partition("</section>")[0], key


def test_the_bar_of_a_phone_is_two_lines_and_files_stand_below_the_page(browse: Browse) -> None:
    for path in ("/", "/trends", "/sessions/last", "/compare?by=model"):
        page = browse(path, viewport=PHONE)
        ready(page)
        tops = page.locator("#bar > :visible").evaluate_all(
            "(found) => found.map((each) => Math.round(each.getBoundingClientRect().top / 20))"
        )
        assert len(set(tops)) <= 2, path
        assert page.get_by_role("button", name="Pause").is_visible()
        files = page.locator("main .below a").all_inner_texts()
        assert files == {"/": ["CSV", "a report"], "/sessions/last": []}.get(path, ["CSV"])
        page.context.close()
    page = browse("/")
    assert not page.locator("main .below").is_visible()


def test_a_comparison_of_groups_begins_with_its_figures(dashboard: Any) -> None:
    for asked in ({"by": "fast_mode"}, {"by": "fast_mode", "pipeline": "design"}):
        answer = dashboard.client.get("/compare", params=asked)
        heading = re.search(r"<h1>(.*?)</h1>", answer.text, re.DOTALL)
        assert heading is not None
        words = " ".join(Page(heading[1]).visible.split())
        assert re.search(r"[\d.]+ m?s .*instead of [\d.]+ m?s.*: ([+−]\d+ %|[\d.]+ ×)", words), words
        assert " in the median, " in Page(answer.text).visible


def test_the_first_page_stays_short_whatever_is_recorded(history: perfdb.History, dashboard: Any) -> None:
    newest = history.session("last")
    steps = tuple(
        Step(step_name=f"part {seq:02}", start_time=newest.start_time, duration=1.0, success=True, seq=seq)
        for seq in range(30)
    )
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        for number in range(8):
            late = newest.start_time + 100 + number
            made = replace(newest, session_id=f"wide_{number}", pipeline=f"wide {number}", start_time=late)
            insert_sessions(connection, [replace(made, steps=steps)])
    engine.dispose()
    page = dashboard.client.get("/").text
    shown = [page.count(f"wide {number}") > 0 for number in range(8)]
    assert all(shown), "each pipeline has its total"
    assert page.count('class="spark"') < 60
    assert '20 more steps: see <a href="/bottlenecks?pipeline=wide%207">bottlenecks</a>' in page.replace(
        "+", "%20"
    )


def test_several_attributes_stay_in_the_form(dashboard: Any) -> None:
    page = dashboard.client.get("/sessions?attribute=customer%3Dc3&attribute=model%3Dgpt-4o").text
    assert 'name="attribute" value="customer=c3"' in page
    assert 'name="attribute" value="model=gpt-4o"' in page


def test_the_bar_takes_three_lines_of_a_phone_at_most(browse: Callable[..., Any]) -> None:
    page = browse("/bottlenecks?pipeline=design", viewport=PHONE)
    bar = page.locator("#bar")
    bar.locator("[name=pipeline] :checked").evaluate("(each) => { each.text = 'checkout-recommendations' }")
    line = bar.locator("select").first.bounding_box()["height"]
    assert bar.bounding_box()["height"] < 4 * line


@pytest.mark.parametrize("path", ["/", "/sessions", "/sessions/last", "/bottlenecks", "/compare", "/rules"])
def test_a_page_on_paper_has_its_tables_whole(browse: Callable[..., Any], path: str) -> None:
    """Between its margins A4 is narrower than a tablet: nothing is cut, no name is a pile of letters."""
    page = browse(path, viewport={"width": 688, "height": 900})
    page.emulate_media(media="print")
    cut = page.eval_on_selector_all(
        ".wide", "(found) => found.filter((each) => each.scrollWidth > 1.03 * each.clientWidth).length"
    )
    assert cut == 0
    tall = page.eval_on_selector_all(
        "tr.row td", "(found) => Math.max(0, ...found.map((each) => each.getBoundingClientRect().height))"
    )
    assert tall < 130


NOTEBOOK_STYLE = """
.jp-RenderedHTMLCommon dt{float:left;width:20%}.jp-RenderedHTMLCommon dd{width:80%;float:left}
.jp-RenderedHTMLCommon.jp-OutputArea-output table{table-layout:fixed;margin-left:auto;font-size:9px}
.jp-RenderedHTMLCommon.jp-OutputArea-output :is(td,th,tr){text-align:right;padding:.5em;max-width:3rem}
.jp-RenderedHTMLCommon tbody tr:nth-child(odd){background:#f00}
.jp-RenderedHTMLCommon h1:not(:first-child){font-weight:300;margin-top:3em}
"""


def test_a_report_looks_in_a_notebook_as_it_does_alone(chromium: Any, recorded_home: Path) -> None:
    history = perfdb.History(recorded_home / "performance_tracking" / "perfdb.sqlite3")
    looks = []
    for report in (history.report("last").fragment, history.report(last=9).fragment):
        page = chromium.new_page(viewport=WIDE)
        for style in ("", NOTEBOOK_STYLE):
            page.set_content(
                f'<div class="jp-RenderedHTMLCommon jp-OutputArea-output">{report}</div>'
                f"<style>{style}</style>"
            )
            looks.append(
                page.eval_on_selector_all(
                    ".perfdb :is(h1,dt,dd,th,td,tr,summary,code)",
                    "(found) => found.map((each) => [each.getBoundingClientRect().toJSON(),"
                    " getComputedStyle(each).textAlign, getComputedStyle(each).backgroundColor])",
                )
            )
        page.close()
        assert len(looks[-1]) > 20
        assert looks[-2] == looks[-1]
