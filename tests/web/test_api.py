"""What the JSON API answers, over a real history and real HTTP.

Of: web/answers/alerts.py, web/answers/bottlenecks.py, web/answers/common.py, web/answers/compare.py,
web/answers/recorded.py, web/answers/rules.py, web/answers/sessions.py, store/browsing.py.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.analysis.trend_view import kept_places
from perfdb.history.values import rows_of
from perfdb.records import Session
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.text import duration_text
from perfdb.web.answers.recorded import MOST_OFFERED, offered
from perfdb.web.served import ServedHistory
from perfdb.web.views import rules
from tests.answers.pages import Page
from tests.web.conftest import Dashboard


@pytest.fixture
def dashboard(shared_dashboard: Dashboard) -> Dashboard:
    """Give one dashboard for all that is only asked."""
    return shared_dashboard


def test_the_overview_tells_what_runs_fires_and_moved(dashboard: Any) -> None:
    answer = dashboard.get("overview")
    assert answer["session_count"] == 80
    assert answer["live"]["running"] == []
    assert len(answer["live"]["sessions"]) == 10
    vision = next(
        row
        for row in answer["series"]
        if row["step_name"] == "Vision Analysis" and row["mode_text"] == "normal mode"
    )
    assert vision["change_percent"] == pytest.approx(60, abs=15)
    assert vision["p50"] > vision["baseline"]
    assert vision["alert_id"] in [alert["id"] for alert in answer["alerts"]]
    assert (vision["baseline_of"], vision["n"]) == ("alert", 12)  # of the newest 20, those since its move
    fast = [row for row in answer["series"] if row["mode_text"] == "fast mode"]
    assert {row["baseline_of"] for row in fast} <= {"past", "alert", None}
    assert answer["live"]["firing"] >= 1


def test_of_many_annotations_the_newest_are_given(history: perfdb.History, serve: Any) -> None:
    for at in range(3):
        history.annotate(f"deploy {at}", at=4e9 + at)
    everything = len(history.annotations())
    dashboard = serve(history)
    assert [row["text"] for row in dashboard.get("annotations", last=2)["rows"]] == ["deploy 1", "deploy 2"]
    assert dashboard.get("annotations", last=2)["note"] == "These are the newest 2: there are more."
    assert dashboard.get("annotations", last=everything)["note"] is None
    assert [each.text for each in history.annotations(last=1)] == ["deploy 2"]


def test_a_pinned_baseline_is_what_the_overview_compares_with(history: perfdb.History, serve: Any) -> None:
    Triage(history).pin_baseline(pipeline="design", step="Composite Creation")
    pins = {(pin["mode"], pin["step_name"]): pin for pin in history.baselines().to_dict("records")}
    series = serve(history).get("overview")["series"]
    found = [row for row in series if row["baseline_of"] == "pin"]
    assert {(row["mode"], row["step_name"]) for row in found} == set(pins)
    for row in found:
        assert row["baseline"] == pins[row["mode"], row["step_name"]]["value"]


def test_sessions_are_paged_by_key_in_both_directions(dashboard: Any) -> None:
    for sort in ("newest", "oldest", "slowest", "fastest"):
        pages = []
        query: dict[str, Any] = {"sort": sort, "limit": 30}
        while True:
            page = dashboard.get("sessions", **query)
            pages.append([row["session_id"] for row in page["rows"]])
            assert (page["before"] is None) == (len(pages) == 1)
            if page["after"] is None:
                break
            query["after"] = page["after"]
        seen = [each for ids in pages for each in ids]
        assert len(seen) == len(set(seen)) == (80 if sort in ("newest", "oldest") else 79)  # one has no total
        back = dashboard.get("sessions", sort=sort, limit=30, before=page["before"])
        assert [row["session_id"] for row in back["rows"]] == pages[-2]
        first = dashboard.get("sessions", sort=sort, limit=30, before=back["before"])
        assert [row["session_id"] for row in first["rows"]] == pages[0]
        assert first["before"] is None


def test_equal_keys_are_neither_lost_nor_doubled(history: perfdb.History, serve: Any) -> None:
    start = 1_767_268_800.0
    alike = [
        Session(session_id=f"same_{number}", pipeline="twin", start_time=start, total_duration=2.0,
                status="completed", success=True)
        for number in range(7)
    ]  # fmt: skip
    engine = open_engine(history.url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, alike)
    engine.dispose()
    dashboard = serve(history)
    for sort in ("newest", "oldest", "slowest", "fastest"):
        seen: list[str] = []
        key = None
        while True:
            query = {"after": key} if key else {}
            page = dashboard.get("sessions", pipeline="twin", sort=sort, limit=3, **query)
            seen += [row["session_id"] for row in page["rows"]]
            key = page["after"]
            if key is None:
                break
        assert sorted(seen) == [session.session_id for session in alike]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"status": "failed"}, 2),
        ({"status": "interrupted"}, 1),
        ({"fast_mode": "true"}, 20),
        ({"tag": "warmup"}, 1),
        ({"attribute": "customer=c1", "fast_mode": "false"}, 12),
        ({"attribute": ["customer=c1", "model=gpt-4o-mini"]}, 4),
        ({"since": "12h"}, 13),
        ({"until": "59h"}, 4),
        ({"pipeline": "design", "until": "2001-01-01"}, 0),
        ({"pipeline": "", "since": " ", "tag": "", "status": "", "fast_mode": "", "after": ""}, 80),
    ],
)
def test_filters_are_those_of_the_history(dashboard: Any, query: dict[str, Any], count: int) -> None:
    answer = dashboard.get("sessions", limit=200, **query)
    assert answer["count"] == len(answer["rows"]) == count
    assert answer["count_is_exact"]


def test_a_search_says_how_far_it_looked(dashboard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    every = dashboard.get("sessions", text="gpt-4o-mini", limit=200)
    assert (every["count"], every["count_is_exact"], every["searched_since"]) == (20, True, None)
    monkeypatch.setattr("perfdb.store.attribute_digests._MOST_LOOKED_THROUGH", 30)
    found: list[str] = []
    until: dict[str, float] = {}
    for _ in range(3):
        page = dashboard.get("sessions", text="GPT-4O-mini", limit=200, **until)
        found += [row["session_id"] for row in page["rows"]]
        assert page["count"] == len(page["rows"])
        if page["searched_since"] is None:
            break
        assert not page["count_is_exact"]
        until = {"until": page["searched_since"]}
    assert found == [row["session_id"] for row in every["rows"]]
    shown = dashboard.client.get("/sessions?text=gpt-4o-mini").text
    further = re.search(r'id="searched".*?href="([^"]+)"', shown, re.DOTALL)
    assert further is not None
    assert "until=" in further[1]
    assert 'id="searched"' not in dashboard.client.get("/sessions?status=failed").text


@pytest.mark.parametrize(
    "query",
    [{}, {"last": 7}, {"step": "Search", "pipeline": "design"}, {"fast_mode": "true"}, {"status": "failed"},
     {"attribute": "customer=c1"}, {"tag": "warmup"}, {"since": "12h", "last": 100}],
)  # fmt: skip
def test_steps_are_the_rows_of_the_history(
    dashboard: Any, history: perfdb.History, query: dict[str, Any]
) -> None:
    answer = dashboard.get("steps", **query)
    assert answer["rows"]
    assert answer["note"] is None
    assert answer["rows"] == history.step_rows(**{"last": 5, **_as_python(query)})


@pytest.mark.parametrize("query", [{}, {"last": 7}, {"fast_mode": "false", "attribute": "customer=c1"}])
def test_violations_are_the_rows_of_the_history(
    dashboard: Any, history: perfdb.History, query: dict[str, Any]
) -> None:
    answer = dashboard.get("violations", **query)
    assert answer["rows"]
    assert answer["rows"] == rows_of(history.violations(**_as_python(query)))


def test_rules_are_those_of_a_measure(dashboard: Any) -> None:
    everything = dashboard.get("rules")["rows"]
    for measure in ("duration", "cpu_s"):
        rows = dashboard.get("rules", measure=measure)["rows"]
        assert rows == [row for row in everything if row["metric"] == measure]


@pytest.mark.parametrize("query", [{}, {"step": "Vision Analysis", "since": "40h"}, {"better": "true"}])
def test_regressions_are_the_rows_of_the_history(
    dashboard: Any, history: perfdb.History, query: dict[str, Any]
) -> None:
    answer = dashboard.get("regressions", **query)
    assert answer["rows"]
    assert answer["rows"] == json.loads(json.dumps(rows_of(history.regressions(**_as_python(query)))))


@pytest.mark.parametrize("path", ["steps", "violations", "regressions"])
def test_what_nothing_is_called_is_not_found(dashboard: Any, path: str) -> None:
    answer = dashboard.client.get(f"/api/v1/{path}?pipeline=desing")
    assert answer.status_code == 404
    assert "did you mean 'design'?" in answer.json()["detail"]
    assert dashboard.client.get(f"/api/v1/{path}?last=0").status_code == 422


def test_an_attribute_that_nothing_has_is_not_found_wherever_one_can_be_asked_for(dashboard: Any) -> None:
    """Misspelt, it would be answered with nothing, as if no run were slow."""
    asked = [
        path
        for path, methods in dashboard.get("openapi.json")["paths"].items()
        if "attribute" in [each["name"] for each in methods.get("get", {}).get("parameters", [])]
    ]
    assert len(asked) > 8
    for path in (*asked, "/sessions", "/bottlenecks", "/common", "/hits", "/compare"):
        needed = {"step": "Vision Analysis", "factor": 0.5} if path.endswith("what-if") else {}
        answer = dashboard.client.get(path, params={"attribute": "custmer=c1", **needed})
        assert (answer.status_code, "did you mean" in answer.text) == (404, True), path
        known = dashboard.client.get(path, params={"attribute": "customer=c1", **needed})
        assert "did you mean" not in known.text, path


def _as_python(query: dict[str, Any]) -> dict[str, Any]:
    """Return a question of the API as Python asks it."""
    asked = {name: value == "true" if value in ("true", "false") else value for name, value in query.items()}
    if "attribute" in asked:
        asked["attribute"] = dict([asked["attribute"].split("=")])
    return asked


def test_a_search_takes_the_beginning_of_an_id_to_the_letter(dashboard: Any) -> None:
    (newest,) = dashboard.get("sessions", limit=1)["rows"]
    found = dashboard.get("sessions", search=newest["session_id"][:-1])
    assert newest["session_id"] in [row["session_id"] for row in found["rows"]]
    for hostile in ("%", "_", "' OR 1=1 --", "2026%"):
        assert dashboard.get("sessions", search=hostile)["count"] == 0


@pytest.mark.parametrize(
    ("path", "query", "what"),
    [
        ("sessions", {"since": "the other day"}, "is not a moment"),
        ("sessions", {"after": "nonsense"}, "is not a key"),
        ("sessions", {"status": "done"}, "status"),
        ("sessions", {"stauts": "failed"}, "stauts"),
        ("sessions", {"limit": 0}, "limit"),
        ("sessions", {"attribute": "customer"}, "key=value"),
        ("what-if", {"step": "Search", "factor": -1}, "factor"),
        ("trends", {"period": "month"}, "period"),
        ("alerts", {"state": "open;drop"}, "state"),
    ],
)
def test_a_question_that_cannot_be_meant_is_refused_in_words(
    dashboard: Any, path: str, query: dict[str, Any], what: str
) -> None:
    answer = dashboard.client.get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 422
    assert what in answer.json()["detail"]


def test_a_session_is_answered_in_full(dashboard: Any, history: perfdb.History) -> None:
    answer = dashboard.get("sessions/last")
    session = history.session("last")
    assert answer["session"]["session_id"] == session.session_id
    assert len(answer["steps"]) == len(session.steps)
    assert sum(part["end"] - part["start"] for part in answer["critical_path"]) == pytest.approx(
        session.total_duration
    )
    top = [row["critical_s"] for row in answer["timeline"]["rows"] if row["depth"] == 0]
    assert sum(top) + answer["timeline"]["other_s"] == pytest.approx(session.total_duration)
    rows = answer["timeline"]["rows"]
    searches = [row for row in rows if row["depth"] == 1]
    assert len(searches) == 8  # side by side
    assert searches[0]["label"] == "Search"
    assert searches[0]["count"] == 8
    assert len(answer["samples"]["time"]) == answer["samples"]["of"] == len(session.samples)
    assert [step["attempts"][0]["error_message"] for step in answer["steps"] if step["attempts"]] == [
        "HTTP 429: slow down"
    ]
    explained = answer["explanation"]
    assert sum(row["excess_s"] for row in explained["rows"]) == pytest.approx(explained["excess_s"])
    neighbour = dashboard.get(f"sessions/{answer['previous_session_id']}")
    assert neighbour["next_session_id"] == session.session_id
    assert neighbour["session"]["mode"] == session.mode
    assert answer["usual_session_id"] is not None
    assert answer["next_session_id"] is None


def test_sessions_without_a_total_are_shown_and_not_explained(dashboard: Any) -> None:
    (row,) = dashboard.get("sessions", status="interrupted")["rows"]
    answer = dashboard.get(f"sessions/{row['session_id']}")
    assert answer["explanation"] is None
    assert "interrupted" in answer["not_explained"]
    assert answer["steps"][-1]["status"] == "running"
    assert answer["timeline"]["headline"].startswith("It was cut off in Product Search, ")
    page = Page(dashboard.client.get(f"/sessions/{row['session_id']}").text)
    assert page.heading == answer["timeline"]["headline"]
    assert "at least" in page.tiles
    assert "duration" not in page.tiles
    assert [each for each in page.links if each.startswith("/compare?a=")] == [], "it has no total to compare"


def test_what_is_not_there_is_404_with_the_next_thing_to_do(dashboard: Any) -> None:
    for path in ("sessions/nothing", "alerts/999", "rules/nothing", "what-if?step=Nothing&factor=0.5"):
        answer = dashboard.client.get(f"/api/v1/{path}")
        assert answer.status_code == 404
        assert len(answer.json()["detail"]) > 20


def test_a_number_that_no_alert_can_have_is_refused_by_pages_too(dashboard: Any) -> None:
    for number in (2**63, 10**20, -1):
        for path in (f"alerts/{number}", f"api/v1/alerts/{number}"):
            assert 400 <= dashboard.client.get(f"/{path}").status_code < 500


def test_a_trend_marks_changes_limits_and_alerts(dashboard: Any) -> None:
    answer = dashboard.get("trends", step="Vision Analysis", mode='{"fast_mode":false}')
    (change,) = answer["changes"]
    assert change["effect_percent"] == pytest.approx(60, abs=10)
    assert "slower since" in answer["sentence"]
    assert [(limit["rule"], limit["limit"]) for limit in answer["limits"]] == [("vision-slow", 30.0)]
    assert answer["limits"][0]["over"] == sum(value > 30 for value in answer["points"]["duration"])
    assert {alert["step_name"] for alert in answer["alerts"]} == {"Vision Analysis"}
    assert answer["n"] == len(answer["points"]["duration"]) == 56  # without warm-up, cut off and failed
    assert sum(period["n"] for period in answer["periods"]) == answer["n"]
    assert len(answer["choices"]) == 12


def test_a_trend_without_a_name_is_of_the_total_with_the_most_runs(dashboard: Any) -> None:
    answer = dashboard.get("trends", last=10)
    assert answer["series"]["step_name"] is None
    assert answer["series"]["mode_text"] == "normal mode"
    assert len(answer["points"]["duration"]) == 10
    unknown = dashboard.client.get("/api/v1/trends", params={"pipeline": "no such", "step": "thing"})
    assert unknown.status_code == 404
    assert "no pipeline in" in unknown.json()["detail"]


def test_a_series_without_runs_in_the_window_is_an_answer(dashboard: Any) -> None:
    nothing = dashboard.get("trends", step="Search", pipeline="design", until="2001-01-01")
    assert nothing["series"]["step_name"] == "Search"
    assert nothing["points"]["duration"] == []
    assert nothing["sentence"]


def test_a_window_is_shown_whole_and_one_that_was_cut_says_so(dashboard: Any) -> None:
    name = {"step": "Vision Analysis", "mode": '{"fast_mode":false}'}
    whole = dashboard.get("trends", since="2020-01-01", **name)
    assert (whole["n"], whole["cut"]) == (56, "")
    cut = dashboard.get("trends", since="2020-01-01", last=20, **name)
    assert cut["cut"].startswith("only the newest")
    assert dashboard.get("trends", last=20, **name)["cut"] == "", "so many were asked for"


def test_a_page_and_its_data_agree_on_scale_line_and_marks(dashboard: Any) -> None:
    answer = dashboard.get("trends", step="Vision Analysis", mode='{"fast_mode":false}')
    over = [value for value in answer["points"]["duration"] if value > answer["top"]]
    assert bool(over) == bool(answer["beyond"])
    assert answer["shown_by"] == "run"
    assert len(answer["points"]["median"]) == len(answer["points"]["duration"])
    assert answer["points"]["median"][-1] == pytest.approx(answer["changes"][-1]["after_median"], rel=0.2)
    assert "did not move" not in dashboard.get("trends", step="Vision Analysis", last=10)["sentence"]


def test_many_points_are_thinned_and_keep_their_extremes() -> None:
    values = [float((number * 7919) % 1_000) for number in range(50_000)]
    values[33_333], values[44_444] = 5_000.0, -1.0
    places = kept_places(values, 2_000)
    assert len(places) <= 2_000
    assert places == sorted(set(places))
    assert {33_333, 44_444} <= set(places)
    assert kept_places(values[:2_000], 2_000) == list(range(2_000))


def test_what_if_is_the_replay_of_the_schedule(dashboard: Any) -> None:
    same = dashboard.get("what-if", step="Vision Analysis", factor=1)
    assert same["gain_s"] == pytest.approx(0, abs=1e-6)
    half = dashboard.get("what-if", step="Vision Analysis", factor=0.5)
    none = dashboard.get("what-if", step="Vision Analysis", factor=0)
    rows = dashboard.get("bottlenecks")["rows"]
    row = next(row for row in rows if row["step_name"] == "Vision Analysis" and row["mode"] == half["mode"])
    assert half["gain_s"] == pytest.approx(row["gain_x2_s"])
    assert none["gain_s"] == pytest.approx(row["gain_max_s"])
    assert "instead of" in half["sentence"]
    slower = dashboard.get("what-if", step="Vision Analysis", factor=2, mode='{"fast_mode":true}')
    assert slower["gain_s"] < 0
    assert slower["mode"] == '{"fast_mode":true}'


def test_two_sessions_and_two_groups_are_compared(dashboard: Any) -> None:
    pair = dashboard.get("compare")
    assert pair["kind"] == "sessions"
    total, *steps = pair["rows"]
    assert sum(row["critical_difference_s"] for row in steps) == pytest.approx(total["difference_s"])
    groups = dashboard.get("compare", by="git_commit", fast_mode="false")
    assert (groups["a"], groups["b"]) == ("0a1b2c3d", "4e5f6a7b")
    assert "time" in groups["confounded"]
    told = groups["told_of"]
    assert told in groups["rows"]
    assert told["pipeline"] in groups["sentence"]
    assert duration_text(told["b_median"]) in groups["sentence"]
    drawn = [row for row in dashboard.get("compare", by="git_commit")["rows"] if row["difference_s"]]
    sure = [row for row in drawn if row["low_s"] is not None and (row["low_s"] > 0 or row["high_s"] < 0)]
    page = dashboard.client.get("/compare", params={"by": "git_commit"}).text.partition("</style>")[2]
    colours = [page.count(f'"{name}-of"') for name in ("more", "less", "chance")]
    assert colours == [
        sum(row["difference_s"] > 0 for row in sure),
        sum(row["difference_s"] < 0 for row in sure),
        len(drawn) - len(sure),
    ]
    named = dashboard.get("compare", by="fast_mode", a="false", b="true")
    assert (named["a"], named["b"]) == (False, True)
    oldest = dashboard.get("sessions", sort="oldest", limit=1)["rows"][0]["session_id"]
    assert dashboard.client.get("/api/v1/compare", params={"b": oldest}).status_code == 409
    assert dashboard.get("compare", a=oldest)["b"] == pair["b"]
    assert dashboard.client.get("/api/v1/compare", params={"by": "nothing"}).status_code == 409


def test_an_alert_is_acknowledged_silenced_and_closed(history: perfdb.History, serve: Any) -> None:
    dashboard = serve(history)
    alert = dashboard.get("alerts")["rows"][0]
    path = f"alerts/{alert['id']}"
    known = dashboard.change(f"{path}/acknowledge", {"note": "looking at it"}).json()
    assert known["alert"]["state"] == "acknowledged"
    assert known["events"][-1]["note"] == "looking at it"
    silenced = dashboard.change(f"{path}/silence", {"seconds": 3600, "reason": "until the release"}).json()
    assert silenced["alert"]["silenced"]
    assert silenced["silences"][0]["reason"] == "until the release"
    assert [each["alert_id"] for each in dashboard.get("alerts")["silences"]] == [alert["id"]]
    assert not dashboard.change(f"{path}/unsilence").json()["alert"]["silenced"]
    assert dashboard.change(f"{path}/false-alarm").json()["alert"]["state"] == "false alarm"
    again = dashboard.change(f"{path}/expected")
    assert again.status_code == 409
    assert "false alarm" in again.json()["detail"]
    assert dashboard.get(path)["alert"]["state"] == "false alarm"


def test_alerts_are_paged_and_counted(dashboard: Any) -> None:
    everything = dashboard.get("alerts", state="all", limit=200)
    assert sum(everything["counts"].values()) == len(everything["rows"]) > 2
    seen, query = [], {}
    while True:
        page = dashboard.get("alerts", state="all", limit=2, **query)
        seen += [row["id"] for row in page["rows"]]
        if page["after"] is None:
            break
        query = {"after": page["after"]}
    assert seen == [row["id"] for row in everything["rows"]]


def test_rules_say_how_good_they_are_and_what_they_would_have_flagged(dashboard: Any) -> None:
    rows = {row["rule"]: row for row in dashboard.get("rules")["rows"]}
    assert rows["vision-slow"]["state"] == "firing"
    assert rows["vision-slow"]["step_name"] == "Vision Analysis"
    assert rows["change_point"]["everything"]
    answer = dashboard.get("rules/vision-slow", last=30)
    slow = dashboard.get("trends", step="Vision Analysis", last=30, mode='{"fast_mode":false}')
    assert answer["flagged"] == len(answer["hits"]) == slow["limits"][0]["over"]
    assert answer["judged"] >= answer["flagged"]
    assert answer["hits"][0]["start_time"] > answer["hits"][-1]["start_time"]
    assert all(hit["value"] > 30 for hit in answer["hits"])


def test_a_rule_says_of_each_series_all_that_it_would_have_flagged(dashboard: Any) -> None:
    """Of the runs only the newest are listed; the figures of a series are of all of them."""
    answer = dashboard.get("rules/error_rate", last=80, limit=0.0001)
    assert answer["flagged"] > len(answer["hits"]) == 50
    assert sum(each["flagged"] for each in answer["series"]) == answer["flagged"]
    assert sum(each["judged"] for each in answer["series"]) == answer["judged"]
    for each in answer["series"]:
        flagged = [each["values"][place] for place in each["places"]]
        assert len(flagged) == each["flagged"]
        assert all(value > each["limit"] for value in flagged)
    page = dashboard.client.get("/rules/error_rate?last=80&limit=0.0001").text
    most = answer["series"][0]
    assert f"<b>{most['flagged']}</b> of {most['judged']}" in page


def test_the_page_of_a_rule_counts_the_series_beyond_it_that_it_folds_away(dashboard: Any) -> None:
    path = "rules/vision-slow?last=5&limit=0.0001"
    beyond = len([each for each in dashboard.get(path)["verdicts"] if each["hit"]])
    assert beyond
    with pytest.MonkeyPatch.context() as patch:
        for most in ("MOST_TELLING", "FEW_QUIET"):
            patch.setattr(rules, most, 0)
        page = dashboard.client.get(f"/{path}").text
    assert f"{beyond} beyond, " in page


def test_a_copy_that_cannot_be_written_is_shown_and_not_changed(
    history: perfdb.History, serve: Any, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    copy = Path(shutil.copy("performance_tracking/perfdb.sqlite3", shelf / "copy.sqlite3"))
    copy.chmod(0o400)
    shelf.chmod(0o500)
    dashboard = serve(perfdb.History(copy))
    assert dashboard.get("overview")["session_count"] == 80
    assert dashboard.client.get("/").status_code == 200
    shelf.chmod(0o700)


def test_nothing_recorded_yet_is_an_answer_and_appears_once_it_is(web_folder: Path, serve: Any) -> None:
    dashboard = serve(perfdb.History())
    for path in (
        *("overview", "sessions", "steps", "trends", "bottlenecks", "violations", "regressions"),
        *("alerts", "rules", "live"),
    ):
        dashboard.get(path)
    assert dashboard.client.get("/api/v1/sessions/last").status_code == 404
    with perfdb.track("first") as run, run.step("work"):
        pass
    assert perfdb.Intake().flush(60)
    assert dashboard.get("sessions")["rows"][0]["pipeline"] == "first"


def test_a_database_that_is_damaged_is_named_and_not_fatal(history: perfdb.History, serve: Any) -> None:
    dashboard = serve(history)
    dashboard.get("overview")
    shutil.copy("performance_tracking/perfdb.sqlite3", "good.sqlite3")
    Path("bad.sqlite3").write_bytes(b"nothing that SQLite knows" * 100)
    Path("bad.sqlite3").replace("performance_tracking/perfdb.sqlite3")
    answer = dashboard.client.get("/api/v1/overview")
    assert answer.status_code == 503
    assert "damaged" in answer.json()["detail"]
    assert dashboard.get("health")["status"] == "database unreadable"
    Path("good.sqlite3").replace("performance_tracking/perfdb.sqlite3")
    assert dashboard.get("overview")["session_count"] == 80


def test_the_dashboard_of_a_postgresql_answers_and_changes(
    web_folder: Path,
    serve: Any,
    record_history: Callable[..., None],
    create_database: Callable[..., str],
    migrated_database: str,
) -> None:
    url = create_database(migrated_database)
    record_history(url, 24)
    dashboard = serve(perfdb.History(url))
    assert dashboard.get("overview")["session_count"] == 24
    pages = [dashboard.get("sessions", limit=20)]
    pages.append(dashboard.get("sessions", limit=20, after=pages[0]["after"]))
    assert [len(page["rows"]) for page in pages] == [20, 4]
    (row,) = dashboard.get("sessions", search=pages[0]["rows"][3]["session_id"])["rows"]
    assert dashboard.get(f"sessions/{row['session_id']}")["steps"]
    for path in ("trends", "bottlenecks", "compare?by=fast_mode", "alerts?state=all", "rules", "live"):
        dashboard.get(path)
    assert dashboard.client.get("/").status_code == 200


def test_pages_offer_the_measures_that_were_recorded_of_what_counts(
    history: perfdb.History, web_folder: Path
) -> None:
    served = ServedHistory(history)
    recorded = served.measures(last=MOST_OFFERED)["measure"]
    assert len(offered(served)) > 3
    assert set(offered(served)) == {"duration", *recorded}
    nothing = web_folder / "nothing.sqlite3"
    ensure_schema(f"sqlite:///{nothing}")
    assert offered(ServedHistory(perfdb.History(nothing))) == ["duration"]
