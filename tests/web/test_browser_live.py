"""What happens elsewhere shows on an open page by itself; what a person decides there is kept.

Of: web/live.py.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions

Browse = Callable[..., Any]

# A pipeline that goes on when somebody writes a line.
HOST = """
import perfdb
with perfdb.track("night-shift") as run:
    with run.step("first"):
        input()
    with run.step("second"):
        input()
"""


NESTED = """
import perfdb
with perfdb.track("night-shift") as run:
    with run.step("outer"), run.step("middle"), run.step("inner"):
        input()
    input()
    with run.step("last"):
        input()
"""


@pytest.fixture
def host(web_folder: Path) -> Iterator[Callable[..., Any]]:
    """Give a function that starts a pipeline in a process of its own; it returns the process."""
    started: list[Any] = []

    def start(code: str = HOST) -> Any:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=web_folder, stdin=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def go_on(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


@contextmanager
def never_loaded_again(page: Any) -> Iterator[None]:
    page.evaluate("window.mark = 'the same page'")
    yield
    assert page.evaluate("window.mark") == "the same page"


def test_a_run_of_another_process_appears_moves_and_ends_on_the_open_page(
    history: perfdb.History, browse: Browse, host: Callable[[], Any]
) -> None:
    page = browse("/")
    page.wait_for_selector(".pulse.on", state="attached")
    assert "Nothing runs now" in page.locator("#running").inner_text()
    with never_loaded_again(page):
        process = host()
        running = page.locator("#running", has_text="night-shift")
        running.wait_for()
        page.locator("#running", has_text="first").wait_for()
        elapsed = running.locator("[data-elapsed]")
        before = elapsed.inner_text()
        page.locator(f"#running [data-elapsed]:not(:text-is('{before}'))").wait_for()
        go_on(process)
        page.locator("#running", has_text="1 step done").wait_for()
        go_on(process)
        page.locator("#running", has_text="Nothing runs now").wait_for()
        newest = page.locator("#last-sessions tbody tr").first
        assert "night-shift" in newest.inner_text()
        assert process.wait(30) == 0
    newest.locator("a").click()
    page.wait_for_url("**/sessions/*")
    page.locator("h1", has_text="held this run up").wait_for()


def test_the_page_of_a_running_session_follows_it(
    history: perfdb.History, browse: Browse, dashboard: Any, host: Callable[[], Any]
) -> None:
    process = host()
    page = browse("/")
    page.locator("#running a", has_text="night-shift").click()
    page.wait_for_url("**/sessions/*")
    with never_loaded_again(page):
        go_on(process)
        page.locator("#waterfall .name", has_text="second").wait_for()
        go_on(process)
        page.locator("#facts", has_text="completed").wait_for()
        line = page.locator("#tree .line", has_text="second")
        line.locator("rect").first.wait_for()
        line.locator(".pick").click()
        page.locator("#drawer dl", has_text="held the run up for").wait_for()
        assert page.locator("#tree .line .note").count() == 0, "no step is open any more"
    assert process.wait(30) == 0


def test_the_waterfall_of_a_running_session_keeps_its_columns_on_a_phone(
    history: perfdb.History, browse: Browse, host: Callable[..., Any]
) -> None:
    process = host(NESTED)
    page = browse("/", viewport={"width": 390, "height": 844})
    page.locator("#running a", has_text="night-shift").click()
    names = page.locator("#waterfall .rows > .name")
    names.nth(2).wait_for()
    assert page.locator("#waterfall .rows > .note").count(), "an open step says for how long"
    places = """(all) => all.map((name) => [
        Math.round(name.getBoundingClientRect().left), name.scrollHeight - name.clientHeight,
        name.getBoundingClientRect().width])"""

    def held() -> None:
        found = names.evaluate_all(places)
        assert len({left for left, _, _ in found}) == 1
        assert max(cut for _, cut, _ in found) <= 0, "the foot of a letter is not cut"
        assert min(width for _, _, width in found) > 100, "a name has its room"

    held()
    go_on(process)
    page.locator("#waterfall .rows > .note").first.wait_for(state="detached")
    go_on(process)
    page.locator("#waterfall .rows > .name.faint", has_text="Other").wait_for()
    held()
    go_on(process)
    assert process.wait(30) == 0


def test_an_update_keeps_the_focus_and_moves_nothing_else(
    history: perfdb.History, browse: Browse, dashboard: Any
) -> None:
    page = browse("/sessions")
    page.wait_for_selector(".pulse.on", state="attached")
    row = page.locator("#rows tbody tr").nth(3)
    session_id = row.get_attribute("data-key")
    row.locator("a").focus()
    newest = history.session("last")
    late = replace(
        newest, session_id="20991231_000000_abcdef", start_time=newest.start_time + 1, pipeline="newcomer"
    )
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, [late])
    engine.dispose()
    page.locator("#rows tr", has_text="newcomer").wait_for()
    assert page.locator("#rows tbody tr").first.get_attribute("data-key") == late.session_id
    focused = "document.activeElement.closest('tr')?.dataset.key"
    assert page.evaluate(focused) == session_id
    assert page.locator("#rows tbody tr").nth(4).get_attribute("data-key") == session_id


def test_names_that_were_recorded_by_somebody_evil_are_only_shown(
    history: perfdb.History, browse: Browse, dashboard: Any
) -> None:
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    newest = history.session("last")
    steps = tuple(replace(step, step_name=evil, additional_data={evil: evil}) for step in newest.steps)
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        for number in range(12):
            insert_sessions(
                connection,
                [
                    replace(
                        newest,
                        session_id=f"evil_{number}",
                        start_time=newest.start_time + 100 + number,
                        pipeline=evil,
                        error_message=evil,
                        status="failed" if number == 11 else "completed",
                        tags=(evil[:60],),
                        attributes={evil: evil, "customer": evil},
                        steps=steps,
                    )
                ],
            )
    engine.dispose()
    page = browse("/")
    for path in (
        "/",
        "/sessions",
        "/sessions/last",
        "/trends",
        "/bottlenecks",
        "/compare",
        "/compare?by=customer",
    ):
        page.goto(dashboard.url + path)
        page.wait_for_selector(".pulse.on", state="attached")
        assert page.title() != "taken", path
        assert page.locator("img").count() == 0, path
        assert "<img src=x" in page.locator("body").inner_text(), path


def test_an_alert_is_acknowledged_silenced_and_closed_from_its_page(
    history: perfdb.History, browse: Browse, dashboard: Any
) -> None:
    desk = Triage(history)
    alert = next(each for each in desk.alerts("firing") if each.inhibited_by is None)
    page = browse("/")
    page.locator(f"#open-alerts a[href='/alerts/{alert.id}']").click()
    page.wait_for_url(f"**/alerts/{alert.id}")
    page.wait_for_selector(".pulse.on", state="attached")
    with never_loaded_again(page):
        page.get_by_label("Note").fill("the new model, known")
        page.get_by_role("button", name="Acknowledge").click()
        page.locator("#decided", has_text="Acknowledged").wait_for()
        page.locator("#head .chip.acknowledged").wait_for()
        assert "the new model, known" in page.locator("#history").inner_text()
        assert page.get_by_role("button", name="Acknowledge").count() == 0

        page.get_by_label("For how long").select_option("for 1 week")
        page.get_by_role("button", name="Silence").click()
        page.locator("#head .chip", has_text="silenced").wait_for()
        (silence,) = desk.silences()
        assert silence.expires_at - silence.created_at == pytest.approx(7 * 86_400)
        page.get_by_role("button", name="End the silence").click()
        page.get_by_role("button", name="Silence", exact=True).wait_for()
        assert desk.silences() == []

        page.get_by_role("button", name="Expected").click()
        page.locator("#head .chip.expected").wait_for()
        assert page.locator("[data-do]").count() == 0
    story = desk.story(alert.id)
    assert story.alert.state == "expected"
    assert [each.event for each in story.events][-4:] == [
        "acknowledged",
        "silenced",
        "unsilenced",
        "expected",
    ]


def test_buttons_stay_where_they_are_and_a_decision_is_undone(
    history: perfdb.History, browse: Browse
) -> None:
    desk = Triage(history)
    alert = next(each for each in desk.alerts("firing") if each.inhibited_by is None)
    page = browse(f"/alerts/{alert.id}")
    page.wait_for_selector(".pulse.on", state="attached")

    def places() -> list[Any]:
        buttons = page.locator("#decide .choices button")
        return [buttons.nth(place).bounding_box() for place in range(4)]

    before = places()
    for name, state in (("Acknowledge", "acknowledged"), ("Expected", "expected"), ("Undo", "acknowledged")):
        page.get_by_role("button", name=name, exact=True).click()
        page.locator(f"#head .chip.{state}").wait_for()
        page.locator("#decide button[data-undo]:not([disabled])").wait_for()
        assert places() == before, name
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_role("button", name="Acknowledge").wait_for()
    assert places() == before
    assert desk.story(alert.id).alert.state == "firing"


def test_a_decision_made_elsewhere_shows_on_the_open_page(history: perfdb.History, browse: Browse) -> None:
    desk = Triage(history)
    alert = next(each for each in desk.alerts("firing") if each.inhibited_by is None)
    page = browse(f"/alerts/{alert.id}")
    page.get_by_role("button", name="False alarm").wait_for()
    page.wait_for_selector(".pulse.on", state="attached")
    with never_loaded_again(page):
        desk.decide(alert.id, "false alarm")
        closed = page.locator("#decide", has_text="It was closed")
        closed.wait_for()
        assert closed.locator("[data-do]").count() == 0


def test_an_empty_history_says_what_to_do_and_fills_itself(
    web_folder: Path, chromium: Any, serve: Callable[..., Any], host: Callable[[], Any]
) -> None:
    served = serve(perfdb.History())
    page = chromium.new_page()
    page.set_default_timeout(20_000)
    for path in ("/", "/sessions", "/trends", "/bottlenecks", "/compare", "/alerts", "/rules"):
        assert page.goto(served.url + path).status == 200, path
    page.goto(served.url)
    assert page.locator("h1").inner_text() == "Nothing is recorded yet"
    assert page.locator("code", has_text="perfdb demo").count() == 1
    process = host()
    page.locator("#running", has_text="night-shift").wait_for()
    go_on(process)
    go_on(process)
    assert process.wait(30) == 0
    page.locator("#last-sessions", has_text="night-shift").wait_for()
    page.close()
