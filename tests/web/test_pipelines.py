"""One row for each pipeline, worst first, in agreement with the sentence above; and the page of each.

Of: web/answers/overview.py, web/views/overview.py.
"""

from __future__ import annotations

import random
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest

import perfdb
from perfdb.alerts.late import evaluate_historic
from perfdb.store.database import Database
from perfdb.testing import NOON, make_history, make_session
from tests.answers.pages import Page


def runs(pipeline: str, of: list[float], *, failed: int = 0) -> list[Any]:
    """Return a run an hour, the newest ones failed."""
    return [
        make_session(
            number,
            {"work": seconds},
            every_s=3_600,
            session_id=f"{pipeline[0]}-{number}",
            pipeline=pipeline,
            attributes={"cost_usd": 0.5},
            **({"status": "failed", "success": False} if number >= len(of) - failed else {}),
        )
        for number, seconds in enumerate(of)
    ]


@pytest.fixture
def served(web_folder: Any, serve: Any) -> Any:
    usual = [1.0 + number % 3 / 100 for number in range(60)]
    made = [
        *runs("a well", usual),
        *runs("b few", usual[:5]),
        *runs("c/slower?", [*usual[:40], *(2.0 + value for value in usual[:20])]),
        *runs("d fails", usual, failed=8),
    ]
    return serve(make_history(web_folder / "home", made))


def test_of_a_window_the_notes_and_rates_are_of_its_runs(served: Any) -> None:
    pages = [Page(served.client.get(path).text) for path in ("/", "/?since=2025-12-01")]
    newest, whole = (" ".join(page.visible.split()) for page in pages)
    assert "Median and p95 of the newest runs that count, since its move" in newest
    assert "Median and p95 of the runs of the window that count; usual is the median of those before" in whole
    table = pages[1].table("Pipelines")
    rates = [table.column(row, "Runs a day") for row in table.rows]
    assert all(float(rate) > 0 for rate in rates), rates


def test_the_picture_of_an_alert_of_many_runs_is_called_what_it_is(web_folder: Any, serve: Any) -> None:
    chance = random.Random(3)
    made = [
        make_session(number, {"work": chance.uniform(0.9, 1.1) * (1 + (number >= 400))}, every_s=600)
        for number in range(2_600)
    ]
    history = make_history(web_folder / "home", made)
    with Database(history.url, 30.0) as database:
        evaluate_historic(database, [each.session_id for each in made], history.settings.alerts)
    page = Page(serve(history).client.get(f"/alerts/{history.alerts('historic')['id'].iloc[0]}").text)
    assert "from there to its p95" in page.visible
    assert "8 of 10 runs" not in page.visible


def test_a_move_of_a_measure_is_told_in_the_time_of_the_page(web_folder: Any, serve: Any) -> None:
    made = [
        make_session(number, {"work": 1.0}, attributes={"cost_usd": 0.5 + (number >= 30) + number % 3 / 100})
        for number in range(60)
    ]
    served = serve(make_history(web_folder / "home", made))
    sentence = served.get("trends", pipeline="design", measure="cost_usd")["sentence"]
    assert "higher since 2026-01-01 12:30:00 UTC (" in sentence
    heading = Page(served.client.get("/trends?pipeline=design&measure=cost_usd").text).heading
    assert " higher since 01 Jan 12:30 UTC: $0.51 before, $1.51 after" in heading


def test_the_worst_pipeline_is_first_and_the_sentence_is_its(served: Any) -> None:
    rows = served.get("overview")["pipelines"]
    assert [(row["pipeline"], row["state"]) for row in rows] == [
        ("d fails", "failing"), ("c/slower?", "slower"), ("b few", "new"), ("a well", "good")
    ]  # fmt: skip
    assert rows[0]["failed_percent"] == pytest.approx(40)
    assert rows[3]["runs_per_day"] == pytest.approx(24)
    assert rows[2]["runs_per_day"] is None, "four hours do not say what a day will hold"
    assert rows[3]["cost_usd"] == pytest.approx(0.5)
    page = Page(served.client.get("/").text)
    table = page.table("Pipelines")
    assert [row[0] for row in table.rows] == [row["pipeline"] for row in rows]
    assert "8 of the newest 20 runs of d fails failed" in page.heading
    assert table.column(table.rows[0], "How it is") == "8 of 20 runs failed"
    assert table.column(table.rows[1], "How it is") == "it takes 3.0 × as long"
    assert table.column(table.rows[0], "Failed") == "40 %"


def test_what_runs_often_has_its_runs_of_a_day(web_folder: Any, serve: Any) -> None:
    """The runs behind its figures take less than a day."""
    made = [make_session(number, {"work": 1.0}, every_s=300) for number in range(600)]
    (row,) = serve(make_history(web_folder / "home", made)).get("overview")["pipelines"]
    assert row["runs_per_day"] == 288


def test_a_window_that_holds_everything_has_nothing_to_be_held_against(served: Any) -> None:
    """And yet what moved is said."""
    rows = served.get("overview", since="2000-01-01")["pipelines"]
    why = {row["pipeline"]: row["why"] for row in rows}
    assert why["a well"] == "too few runs before this window to say more"
    assert why["b few"] == "too few runs to say more"
    page = Page(served.client.get("/", params={"since": "all", "pipeline": "a well"}).text)
    assert page.heading == "No alert fires; there are too few runs before this window to say more"


def test_each_row_leads_to_a_page_whose_figures_are_the_same(served: Any) -> None:
    overview = Page(served.client.get("/").text)
    for row in overview.table("Pipelines").rows:
        name = row[0]
        answer = served.client.get(next(link for link in overview.links if link == _address(name)))
        assert answer.status_code == 200, name
        page = Page(answer.text)
        assert page.table("How it is").rows == [row]
        assert page.heading.startswith(name)
        assert page.has("Each step now")
    assert served.client.get("/pipelines/nosuch").status_code == 404


def test_the_bar_goes_to_the_page_of_another_pipeline(served: Any) -> None:
    answer = served.client.get("/pipelines", params={"pipeline": "c/slower?", "since": "7d"})
    assert answer.headers["location"] == "/pipelines/c/slower%3F?since=7d"


def test_a_window_holds_its_runs_against_those_before(served: Any) -> None:
    since = NOON + 40 * 3_600 - 1
    (row,) = served.get("overview", since=f"{since:.0f}", pipeline="c/slower?")["pipelines"]
    assert (row["n"], row["state"]) == (20, "slower")
    assert row["change_percent"] == pytest.approx(198, abs=3)


def _address(name: str) -> str:
    from perfdb.web.words import link

    return link(f"/pipelines/{name}", mode="{}")


def test_perfdb_has_no_pipeline_yet(web_folder: Any, serve: Any) -> None:
    served = serve(perfdb.History())
    assert "Nothing is recorded yet" in served.client.get("/").text
    assert "Nothing is recorded yet" in served.client.get("/common").text
    compare = served.client.get("/compare").text
    assert "Nothing is recorded yet" in compare
    assert 'value="None"' not in compare


def test_few_runs_are_too_few_to_tell_of_a_move_on_every_page(web_folder: Any, serve: Any) -> None:
    served = serve(make_history(web_folder / "home", runs("tiny", [1.0, 1.0])))
    for path in ("/pipelines/tiny", "/trends?pipeline=tiny"):
        assert "Too few runs to tell whether the level moved: 2 of 15." in served.client.get(path).text


def test_each_pipeline_compared_has_a_scale_of_its_own(web_folder: Any, serve: Any) -> None:
    made = [*runs("a slow", [100.0] * 20 + [130.0] * 20), *runs("b fast", [0.1] * 20 + [0.13] * 20)]
    dashboard = serve(make_history(web_folder / "home", made))
    moment = datetime.fromtimestamp(made[20].start_time, UTC).isoformat()
    page = dashboard.client.get("/compare", params={"split": moment}).text
    longest = [
        max(float(width) for width in re.findall(r'class="(?:more|chance)-of"[^>]* width="([\d.]+)"', part))
        for part in page.split('<section class="panel">')[1:]
    ]
    assert len(longest) == 2
    assert longest[0] == pytest.approx(longest[1])


def test_runs_that_all_failed_are_recorded_all_the_same(web_folder: Any, serve: Any) -> None:
    """No page says that nothing is recorded, which it would load itself again for, for ever."""
    failed = runs("all fail", [1.0] * 5, failed=5)
    served = serve(make_history(web_folder / "home", failed))
    for path in (
        "/",
        "/sessions",
        "/trends",
        "/bottlenecks",
        "/compare",
        "/common",
        "/alerts",
        "/rules",
        "/pareto",
    ):
        text = served.client.get(path).text
        assert "Nothing is recorded" not in text, path
        assert "data-empty" not in text, path
    assert "No run that counts has steps here" in served.client.get("/bottlenecks").text


def test_a_move_names_the_steps_within_it_that_moved_most(web_folder: Any, serve: Any) -> None:
    noise = random.Random(4)

    def steps(number: int) -> dict[str, float]:
        match = (1.0 if number < 80 else 2.0) * noise.lognormvariate(0, 0.03)
        return {"transform": 3.0 * noise.lognormvariate(0, 0.01) + match, "match": match}

    made = []
    for number in range(180):
        session = make_session(number, steps(number), every_s=3_600)
        outer, inner = session.steps
        inner = replace(inner, parent_seq=outer.seq, start_time=outer.start_time)
        made.append(replace(session, steps=(outer, inner), total_duration=outer.duration))
    history = make_history(web_folder / "home", made)
    with Database(history.url, 30.0) as database:
        evaluate_historic(database, [each.session_id for each in made], history.settings.alerts)
    spoken_for = history.alerts("historic").dropna(subset="inhibited_by")
    assert {"match", "transform"} & set(spoken_for["step_name"])
    (row,) = Page(serve(history).client.get("/").text).table("What moved before").rows
    for name, effect in zip(spoken_for["step_name"], spoken_for["effect"], strict=True):
        assert name is None or f"{name} +{effect:.0f} %" in row[0]


def test_a_move_of_the_past_is_on_the_first_page_with_its_cause(web_folder: Any, serve: Any) -> None:
    noise = random.Random(4)
    made = [
        make_session(
            number,
            {"load": (2.0 if number < 80 else 3.2) * noise.lognormvariate(0, 0.03)},
            every_s=3_600,
            start=NOON + 0.75,  # nothing is rounded to a second after the first of them
            git_commit="aaaa111122" if number < 80 else "bbbb333344",
        )
        for number in range(180)  # too long ago for the newest runs to lie above those before them
    ]
    history = make_history(web_folder / "home", made)
    with Database(history.url, 30.0) as database:
        evaluate_historic(database, [each.session_id for each in made], history.settings.alerts)
    served = serve(history)
    page = Page(served.client.get("/").text)
    assert re.match(r"No alert fires; load takes \d\d % longer since", page.heading)
    moves = page.table("What moved before")
    (row,) = moves.rows
    assert row[0].startswith("load takes")
    assert moves.column(row, "What changed then") == "git_commit bbbb333344"
    for path, heading in (
        ("/pipelines/design", "design: No alert fires; load takes"),
        ("/alerts", "No alert fires; load"),
    ):
        other = Page(served.client.get(path).text)
        assert other.heading.startswith(heading), path
        assert other.table("What moved before").rows[0][1:] == row[1:], path
    story = served.client.get(f"/alerts/{history.alerts('historic')['id'].iloc[0]}").text
    for words in ("Before and after", "Whom it hits"):
        address = re.search(rf'href="([^"]+)">{words}<', story)
        assert address is not None
        answer = served.client.get(unescape(address[1]))
        assert answer.status_code == 200
        assert words != "Before and after" or ">100 and 80<" in answer.text
    found = history.alerts("historic")
    for alert in found.loc[found["inhibited_by"].isna(), "id"]:
        history.expected(int(alert))
    assert Page(served.client.get("/").text).heading.startswith("No alert fires, but nothing has run for")


@pytest.mark.parametrize(
    ("days", "heading"),
    [(6, "All is well: no alert fires"), (9, "No alert fires, but nothing has run for 9 days")],
)
def test_of_a_history_that_ended_long_ago_nobody_says_that_all_is_well(
    web_folder: Any, serve: Any, days: int, heading: str
) -> None:
    """A program that stopped, or records no more, is no good news; in a window of the past nobody asks."""
    began = time.time() - days * 86_400 - 60 * 600.0
    served = serve(
        make_history(
            web_folder / "home",
            [make_session(number, {"load": 2.0}, every_s=600, start=began) for number in range(60)],
        )
    )
    for path in ("/", "/alerts"):
        assert Page(served.client.get(path).text).heading == heading, path
    window = f"/?since={began + 12_000:.0f}&until={began + 36_000:.0f}"
    assert "nothing has run" not in served.client.get(window).text


def test_an_alert_of_failures_leads_to_the_runs_that_failed(web_folder: Any, serve: Any) -> None:
    """How long the others took, and what slow ones have in common, says nothing of them."""
    failed = {10, 52, 54, 57, 58, 59}
    statuses = ["failed" if number in failed else "completed" for number in range(60)]
    began = NOON + 0.75
    made = [
        make_session(number, {"load": 2.0}, every_s=3_600, start=began, status=status)
        for number, status in enumerate(statuses)
    ]
    history = make_history(web_folder / "home", made)
    with Database(history.url, 30.0) as database:
        evaluate_historic(database, [each.session_id for each in made], history.settings.alerts)
    served = serve(history)
    (row,) = Page(served.client.get("/").text).table("What moved before").rows
    assert row[0].startswith("design fails in 25 % of its last 20 runs")
    for path in ("/", f"/alerts/{history.alerts('historic')['id'].iloc[0]}"):
        text = served.client.get(path).text
        assert not re.search("[Bb]efore and after", text), path
        assert all("failures=true" in href for href in re.findall(r'href="(/hits[^"]*)"', text)), path
        address = re.search(
            r'href="(/sessions\?[^"]*status=failed[^"]*)">(<span[^>]*>)?[Tt]he runs that f', text
        )
        assert address is not None, path
        listed = Page(served.client.get(unescape(address[1])).text)
        assert listed.heading.startswith("5 sessions"), path


def test_a_move_that_lasts_is_told_beside_failures(web_folder: Any, serve: Any) -> None:
    noise = random.Random(4)
    made = [
        make_session(
            number,
            {"load": (2.0 if number < 80 else 3.2) * noise.lognormvariate(0, 0.03)},
            every_s=3_600,
            start=NOON + 0.75,
            status="failed" if number in (160, 165, 170, 175) else "completed",
        )
        for number in range(180)
    ]
    history = make_history(web_folder / "home", made)
    with Database(history.url, 30.0) as database:
        evaluate_historic(database, [each.session_id for each in made], history.settings.alerts)
    served = serve(history)
    heading = Page(served.client.get("/").text).heading
    assert re.search(r"4 of the newest 20 runs of \w+ failed; and load takes \d+ % longer since", heading)
    rules = Page(served.client.get("/rules").text)
    row = next(row for row in rules.tables[0].rows if row[0].startswith("change_point"))
    found = history.alerts("historic").query("rule == 'change_point'")
    assert rules.tables[0].column(row, "Historic") == str(len(found)), "a number has a head"
    assert f"{len(found)} alert" in rules.html, "the week in which they began is drawn"


def test_tokens_without_a_price_leave_no_empty_columns_of_money(web_folder: Any, serve: Any) -> None:
    now = time.time()
    made = [
        make_session(number, {"write": 1.0}, every_s=60, start=now - 600, attributes={"input_tokens": 1_200})
        for number in range(5)
    ]
    served = serve(make_history(web_folder / "home", made))
    page = Page(served.client.get("/").text)
    assert page.table("What it used").titles == ["Pipeline", "Runs", "Tokens"]
