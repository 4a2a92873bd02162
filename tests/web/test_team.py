"""What a team does with the pages: decide on alerts, try a rule's numbers, narrow down, save, share.

Of: web/files.py, web/answers/alerts.py, web/views/alerts.py, web/views/rules.py.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest

import perfdb
from perfdb.errors import SettingsError
from perfdb.records import Alert
from perfdb.web.answers.alerts import after_their_speakers, by_cause
from perfdb.web.app import create_app
from perfdb.web.schemas import AlertRow
from tests.answers.pages import Page

SWITCH = {"cause": {"suspects": [{"name": "git_commit", "before": "a", "after": "badc0ffee"}]}}
ALERT = Alert(
    rule="fast_shift", kind="fast_shift", severity="warning", state="firing", pipeline="etl", step_name=None,
    metric="duration", mode="{}", direction="up", value=2.0, since_session_id="s", since_time=1000.0,
    last_session_id="t", last_time=2000.0, opened_at=1000.0, updated_at=2000.0,
)  # fmt: skip


def rows(address: str, dashboard: Any) -> list[dict[str, str]]:
    answer = dashboard.client.get(address)
    assert answer.status_code == 200, answer.text[-500:]
    assert "attachment" in answer.headers["content-disposition"]
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_what_another_alert_speaks_for_follows_it() -> None:
    rows = [
        AlertRow.from_records(replace(ALERT, id=number, inhibited_by=speaker))
        for number, speaker in ((5, 2), (4, None), (3, 2), (2, None), (1, 99))
    ]
    assert [each.id for each in after_their_speakers(rows)] == [4, 2, 5, 3, 1]


def test_alerts_of_one_switch_or_of_one_moment_stand_together() -> None:
    made = [
        replace(ALERT, id=1, details=SWITCH),
        replace(ALERT, id=2, pipeline="api", since_time=1100.0),
        replace(ALERT, id=3, pipeline="web", since_time=900_000.0, details=SWITCH),
        replace(ALERT, id=4, pipeline="web", since_time=1200.0),
        replace(ALERT, id=5, since_time=500_000.0, details={"cause": {"suspects": "of another kind"}}),
    ]
    groups = by_cause([AlertRow.from_records(each) for each in made])
    assert [(each.suspect, [alert.id for alert in each.alerts]) for each in groups] == [
        ("git_commit=badc0ffee", [1, 3]), ("", [2, 4]), ("", [5])
    ]  # fmt: skip


def test_a_decision_is_taken_in_the_list_and_what_is_known_comes_last(dashboard: Any) -> None:
    page = dashboard.client.get("/alerts").text
    number = re.search(r'data-alert="(\d+)"', page)
    assert number is not None
    assert 'data-do="acknowledge"' in page
    assert dashboard.change(f"alerts/{number[1]}/acknowledge").status_code == 200
    known = dashboard.client.get("/alerts").text.partition('data-key="cause-others"')[2]
    assert f'data-alert="{number[1]}"' in known
    assert "data-undo" in known


def test_an_alert_says_its_sentence_first_and_folds_its_arithmetic(dashboard: Any) -> None:
    page = dashboard.client.get("/alerts/1").text
    assert page.index('id="story"') < page.index('<svg class="plot')
    assert re.search(r"<details><summary>The arithmetic</summary><dl", page)


def test_a_rules_numbers_are_tried_before_they_are_configured(shared_dashboard: Any) -> None:
    ask = shared_dashboard.client.get
    strict = Page(ask("/rules/error_rate?limit=0.0001").text)
    assert "[[alerts.rules]]" in strict.html
    assert "limit = 0.0001" in strict.html
    flagged = [shared_dashboard.get("rules/error_rate", limit=each)["flagged"] for each in (0.9, 0.0001)]
    assert flagged[0] == 0 < flagged[1]
    assert f"{flagged[1]} of " in strict.text
    open_words = re.sub(r"<details.*?</details>", "", strict.html, flags=re.DOTALL)
    assert "Wilson" in strict.html
    assert "Wilson" not in open_words.partition("What it says")[0], "a row for each series, its sums folded"
    for wrong in ("percent=3", "limit=7"):
        assert ask(f"/rules/error_rate?{wrong}").status_code == 400


def test_a_rules_page_lists_its_alerts_and_leads_to_them(shared_dashboard: Any) -> None:
    every = shared_dashboard.get("alerts", state="all", limit=200)["rows"]
    assert {alert["rule"] for alert in every} > {"vision-slow"}
    page = shared_dashboard.client.get("/rules/vision-slow").text.partition('id="raised"')[2]
    listed = re.findall(r'href="/alerts/(\d+)"', page.partition("</section>")[0])
    assert sorted(map(int, listed)) == sorted(each["id"] for each in every if each["rule"] == "vision-slow")


def test_the_list_of_rules_says_of_each_what_its_own_page_says(shared_dashboard: Any) -> None:
    """One verdict makes a rule's state in the list, which does not judge every series for it."""
    for row in shared_dashboard.get("rules")["rows"]:
        assert shared_dashboard.get(f"rules/{row['rule']}")["rule"] == row


def test_a_rule_that_searches_is_not_asked_about_every_past_run_for_its_page(shared_dashboard: Any) -> None:
    found = Page(shared_dashboard.client.get("/rules/change_point").text)
    assert "would have flagged" not in found.text
    assert "perfdb rules --replay" in found.html
    assert found.html.count('class="spark"') > 1, "but shows the runs that it judged"


def test_a_rule_that_searches_shows_the_runs_in_which_it_last_found_something(shared_dashboard: Any) -> None:
    every = shared_dashboard.get("alerts", state="all", limit=200)["rows"]
    for rule in ("change_point", "fast_shift"):
        raised = [each for each in every if each["rule"] == rule]
        drawn = shared_dashboard.client.get(f"/rules/{rule}").text.partition('id="judged"')[2]
        drawn = drawn.partition("</section>")[0]
        assert "a run<" in drawn
        assert "<svg" in drawn
        links = re.findall(r'href="/alerts/(\d+)"', drawn)
        assert len(links) == bool(raised)
        assert set(map(int, links)) <= {each["id"] for each in raised}
        assert ("since then" in drawn) == bool(raised)
    quiet = shared_dashboard.client.get("/rules/fast_shift?pipeline=nosuch")
    assert quiet.status_code == 404
    assert 'id="judged"' not in shared_dashboard.client.get("/rules/error_rate").text


def test_the_list_of_rules_leads_to_the_newest_alert_of_each(shared_dashboard: Any) -> None:
    every = shared_dashboard.get("alerts", state="all", limit=200)["rows"]
    newest: dict[str, tuple[float, int]] = {}
    for each in every:
        newest[each["rule"]] = max(newest.get(each["rule"], (0.0, 0)), (each["opened_at"], each["id"]))
    page = shared_dashboard.client.get("/rules").text.partition('id="rules"')[2].partition("</section>")[0]
    linked = re.findall(r'href="/rules/([\w-]+)"(?:(?!</tr>).)*?href="/alerts/(\d+)"', page, re.DOTALL)
    assert {rule: int(number) for rule, number in linked} == {
        rule: number for rule, (_, number) in newest.items()
    }
    assert (
        "/alerts/"
        not in shared_dashboard.client.get("/rules?until=2020-01-01").text.partition('id="rules"')[2]
    )
    assert "would have flagged" in Page(shared_dashboard.client.get("/rules/anomaly").text).text


def test_the_limit_that_a_rule_has_by_itself_is_shown_and_can_be_changed(shared_dashboard: Any) -> None:
    page = shared_dashboard.client.get("/rules/error_rate").text
    assert "<dt>limit</dt><dd>5 %</dd>" in page
    assert re.search(r'name="limit"[^>]* value="0.05"', page)


def test_facets_count_what_fits_and_lead_to_it(shared_dashboard: Any) -> None:
    page = Page(shared_dashboard.client.get("/sessions?status=completed").text)
    every = shared_dashboard.get("sessions", status="completed", limit=200)["rows"]
    of_model = re.search(
        r'<li><a href="([^"]+)"><span><bdi>gpt-4o-mini</bdi></span><span class="num">(\d+)<', page.html
    )
    assert of_model is not None
    address = of_model[1].replace("&amp;", "&")
    narrowed = Page(shared_dashboard.client.get(address).text)
    assert narrowed.heading == f"{of_model[2]} sessions that fit"
    assert {"attribute=model%3Dgpt-4o-mini", "status=completed"} <= set(address.partition("?")[2].split("&"))
    assert re.search(r'href="/sessions\?status=completed" aria-current="true"', narrowed.html), "and back"
    columns = re.findall(r"UTC: (\d+) sessions?", page.html)
    assert sum(map(int, columns)) == len(every)
    part = re.search(
        r'<a xlink:href="(/sessions\?[^"]*since=[^"]+)" tabindex="-1"><title>[^<]*UTC: (\d+) session',
        page.html,
    )
    assert part is not None
    shown = Page(shared_dashboard.client.get(part[1].replace("&amp;", "&")).text)
    assert shown.heading.startswith(f"{part[2]} session")


def test_columns_are_chosen(shared_dashboard: Any) -> None:
    ask = shared_dashboard.client.get
    table = Page(ask("/sessions?columns=customer&columns=host&columns=cpu_s").text).tables[0]
    assert table.titles[-4:] == ["customer", "host", "cpu_s", "Compare"]
    row = dict(zip(table.titles, table.rows[0], strict=True))
    assert (row["host"], row["cpu_s"], row["customer"][0]) == ("build-1", "3.50 s", "c")
    answer = shared_dashboard.get("sessions", columns=["model", "nothing"], limit=1)["rows"][0]
    assert answer["more"] == {"model": "gpt-4o", "nothing": None}


def test_a_part_of_the_time_is_held_against_all_others(shared_dashboard: Any) -> None:
    starts = sorted(
        row["start_time"]
        for row in shared_dashboard.get("sessions", mode='{"fast_mode":false}', limit=200)["rows"]
    )
    part = {"mode": '{"fast_mode":false}', "slow_since": f"{starts[-10] - 1:.0f}"}
    found = shared_dashboard.get("common", **part)
    assert found["slow"] == 10
    assert found["rows"][0]["value"] == "4e5f6a7b"
    moments = {"since": starts[20], "split": starts[30], "resume": starts[-8]}
    periods = {name: f"{moment - 1:.0f}" for name, moment in moments.items()}
    answer = shared_dashboard.get("compare", mode='{"fast_mode":false}', **periods)
    total = next(row for row in answer["rows"] if row["kind"] == "total")
    assert (total["b_n"], total["a_n"] <= 10) == (8, True)
    page = shared_dashboard.client.get("/compare", params={"mode": '{"fast_mode":false}', **periods}).text
    resume = datetime.fromtimestamp(float(periods["resume"]), UTC).isoformat().replace("+00:00", "Z")
    assert f'name="resume" value="{resume}"' in page


def test_every_page_with_rows_is_csv_too(shared_dashboard: Any) -> None:
    sessions = rows("/csv/sessions?status=failed", shared_dashboard)
    assert [row["status"] for row in sessions] == ["failed"] * 2
    runs = rows("/csv/trends?step=Vision+Analysis&last=7", shared_dashboard)
    trend = shared_dashboard.get("trends", step="Vision Analysis", last=7)["points"]
    assert [float(row["duration"]) for row in runs] == trend["duration"]
    assert {row["step_name"] for row in runs} == {"Vision Analysis"}
    for name in (
        "",
        "/bottlenecks",
        "/compare?by=model",
        "/common?slowest=20",
        "/alerts?state=all",
        "/rules",
    ):
        assert rows(f"/csv{name}", shared_dashboard), name
    assert shared_dashboard.client.get("/csv/nowhere").status_code == 404


def test_the_sessions_of_a_page_are_a_report(shared_dashboard: Any) -> None:
    for asked in ("measure=cpu_s", "measure=cpu_s&step=Total&factor=2"):  # as /bottlenecks is asked
        assert "What each step has of <bdi>CPU time" in shared_dashboard.client.get(f"/report?{asked}").text
    assert shared_dashboard.client.get("/report?measure=nosuch").status_code == 404
    answer = shared_dashboard.client.get("/report?status=failed")
    assert answer.status_code == 200
    assert "This file holds 2 sessions as data" in answer.text
    page = shared_dashboard.client.get("/sessions?status=failed").text
    assert 'href="/report?status=failed" download' in page
    assert 'href="/csv/sessions?status=failed" download' in page


def test_views_of_the_settings_are_on_every_page(
    history: perfdb.History, serve: Any, web_folder: Any
) -> None:
    file = web_folder / "perfdb.toml"
    file.write_text(file.read_text() + '\n[views]\n"Failed <lately>" = "/sessions?status=failed&since=7d"\n')
    page = serve(perfdb.History()).client.get("/rules").text
    assert (
        '<li><a href="/sessions?status=failed&amp;since=7d"><bdi>Failed &lt;lately&gt;</bdi></a></li>' in page
    )
    for wrong in ("https://elsewhere.example", "//elsewhere.example", "/\\\\elsewhere", "sessions"):
        file.write_text(f'[views]\nbad = "{wrong}"\n')
        with pytest.raises(SettingsError, match=r"perfdb\.toml, line 2.*view 'bad'"):
            create_app(perfdb.History())


NAMES_OF_RULES = ("a/b", "/x", "//elsewhere.example/x", "a/", "a?b#c%2F", "</title><script>", "é/ü")


def test_the_page_of_a_rule_is_found_whatever_its_name_is(history: perfdb.History, serve: Any) -> None:
    rules = [f"[[alerts.rules]]\nname = {name!r}\nkind = 'max'\nlimit = 0.5\n" for name in NAMES_OF_RULES]
    Path("perfdb.toml").write_text("".join(rules))
    dashboard = serve(perfdb.History())
    listed = Page(dashboard.client.get("/rules").text).links
    found = {}
    for link in {link for link in listed if link.startswith("/rules/")}:
        page = dashboard.client.get(urljoin(f"{dashboard.url}/rules", link))
        assert page.status_code == 200, link
        found[link] = re.search("<title>Rule (.*?) · ", page.text)
    titles = {unescape(each[1]) for each in found.values() if each is not None}
    assert set(NAMES_OF_RULES) <= titles
    for name in NAMES_OF_RULES:
        answer = dashboard.client.get(f"/api/v1/rules/{quote(name)}")
        assert answer.json()["rule"]["rule"] == name
