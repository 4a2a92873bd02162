"""What of a history goes into a picture: one pipeline, one mode, the runs that count, what is known."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.maintenance.importer import import_reports
from perfdb.recording.report import to_report
from perfdb.records import Session, Step
from perfdb.settings import load

NOON = 1_767_268_800.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own, without settings from outside."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(number: int, seconds: float = 2.0, **changes: Any) -> Session:
    start = NOON + 60 * number
    values: dict[str, Any] = {
        "session_id": f"20260101_{number:06d}_0000000a",
        "pipeline": "design",
        "start_time": start,
        "total_duration": seconds + 1.0,
        "status": "completed",
        "success": True,
        "mode": '{"fast_mode":false}',
        "fast_mode": False,
        "steps": (
            Step(step_name="Vision", start_time=start, duration=1.0, success=True, seq=0),
            Step(step_name="Search", start_time=start + 1, duration=seconds, success=True, seq=1),
        ),
        "perfdb_version": "0.1.0",
    }
    return Session(**(values | changes))


FAST = {"mode": '{"fast_mode":true}', "fast_mode": True}


def recorded(*sessions: Session) -> perfdb.History:
    path = Path("all.json")
    path.write_text(json.dumps({"schema_version": 1, "rows": [to_report(each) for each in sessions]}))
    assert [each.error for each in import_reports([path], load())] == [None]
    return perfdb.History()


def said(figure: Figure) -> str:
    return " ".join(text.get_text().replace("\n", " ") for text in figure.texts)


def test_a_picture_shows_the_mode_of_the_most_sessions_and_says_so() -> None:
    history = recorded(*(run(number, **(FAST if number % 3 == 0 else {})) for number in range(9)))
    assert "design, normal mode, without 3 sessions of other modes or pipelines, 6 runs" in said(
        history.chart("trend")
    )
    assert "design, fast mode, 3 runs" in said(history.chart("trend", fast_mode=True))


def test_a_step_is_drawn_of_the_pipeline_that_has_it() -> None:
    often = [run(number, session_id=f"often_{number}") for number in range(20)]
    steps = (Step(step_name="Rank", start_time=NOON, duration=0.5, success=True, seq=0),)
    others = [run(n, pipeline="other", session_id=f"other_{n}", steps=steps, **FAST) for n in range(20, 26)]
    history = recorded(*often, *others)
    assert "other, fast mode" in said(history.chart("trend", step="Rank"))
    assert history.chart_frame("trend", step="Rank")["value"].tolist() == [0.5] * 6
    assert len(history.chart_frame("trend", step="Search")) == 20


def test_what_switches_is_asked_of_the_sessions_that_the_table_has() -> None:
    """`last` counts all sessions, also those that failed, wherever the answer is a line of a table."""
    made = [run(n, 4.0 if n // 8 % 2 else 2.0 + 0.01 * (n % 3)) for n in range(120)]
    failed = [run(n, status="failed", success=False, error_message="no") for n in range(1_000, 1_030)]
    history = recorded(*made, *failed)
    table = history.trends(last=110)
    total = table[table["step_name"].isna()].iloc[0]
    switching = history.switches(last=110)
    assert total["n"] == 80
    assert set(switching["n"]) == {80}


def test_bottlenecks_are_drawn_of_as_many_sessions_of_one_pipeline_as_the_table_has() -> None:
    often = [run(number, session_id=f"often_{number}") for number in range(40, 120)]
    others = [run(number, pipeline="other", session_id=f"other_{number}") for number in range(120, 170)]
    drawn = recorded(*often, *others).chart("bottlenecks")
    assert "design, normal mode" in said(drawn)
    assert "80 runs" in said(drawn) or "80 sessions" in said(drawn)


def test_the_pinned_baseline_of_the_series_is_drawn() -> None:
    history = recorded(*(run(number) for number in range(12)))
    Triage(history).pin_baseline(step="Search")

    def words(step: str | None) -> str:
        return " ".join(text.get_text() for text in history.chart("trend", step=step).axes[0].texts)

    assert "pinned baseline 2.00 s (median, n = 12)" in words("Search")
    assert "pinned" not in words("Vision")
    assert "pinned" not in words(None)


def test_what_does_not_count_is_not_drawn_and_failures_are_marked() -> None:
    history = recorded(
        run(0),
        run(1, tags=("warmup",)),
        run(2, status="failed", success=False, error_message="no"),
        run(3, tags=("ignore",), status="failed", success=False),
        run(4),
    )
    drawn = history.chart("trend")
    assert "2 runs" in said(drawn)
    assert "failed (1)" in [line.get_label() for line in drawn.axes[0].lines]


def test_a_step_is_marked_where_it_failed_itself() -> None:
    def failing(number: int, at: int) -> Session:
        made = run(number, status="failed", success=False, error_message="no")
        steps = [replace(each, success=place != at) for place, each in enumerate(made.steps)]
        return replace(made, steps=tuple(steps))

    first, second = (step.step_name for step in run(0).steps[:2])
    history = recorded(*(run(number) for number in range(4)), failing(4, 0), failing(5, 1), failing(6, 1))
    for step, failures in ((first, 1), (second, 2), (None, 3)):
        labels = [line.get_label() for line in history.chart("trend", step=step).axes[0].lines]
        assert f"failed ({failures})" in labels
        assert history.chart_frame("trend", step=step)["failed"].sum() == failures


def test_two_groups_are_drawn_of_the_kind_that_the_sentence_is_about() -> None:
    steady = [run(n, 2.0 + n % 5 / 10, attributes={"model": "ab"[n % 2]}) for n in range(40)]
    moved = [
        run(n, 2.0 + n % 2 + n % 5 / 10, pipeline="other", attributes={"model": "ab"[n % 2]})
        for n in range(100, 120)
    ]
    history = recorded(*steady, *moved)
    assert "a session of other" in history.compare(by="model").sentence
    assert set(history.chart_frame("compare", by="model")["pipeline"]) == {"other"}


def test_a_trend_of_a_step_finds_where_it_became_slower() -> None:
    history = recorded(
        *(run(n, 2.0 + 0.01 * (n * 7 % 5)) if n < 30 else run(n, 4.0 + 0.01 * (n * 7 % 5)) for n in range(45))
    )
    drawn = history.chart("trend", step="Search")
    assert drawn.texts[0].get_text().startswith("Search is 99 % slower since ")


def test_the_limits_of_the_settings_are_drawn_where_they_apply(folder: Path) -> None:
    rule = '[[alerts.rules]]\nname = "{}"\nkind = "max"\nstep = "{}"\nlimit = 1.5\n'
    (folder / "perfdb.toml").write_text(
        rule.format("slow", "Search") + "mode = { fast_mode = false }\n"
        + rule.format("fast", "Search") + "mode = { fast_mode = true }\n"
        + rule.format("other", "Vision")
    )  # fmt: skip
    history = recorded(run(0), run(1, 1.0), run(2))
    drawn = history.chart("trend", step="Search")
    labels = [text.get_text() for text in drawn.axes[0].texts]
    assert labels == ["limit 1.50 s (slow), 2 over"]
    assert drawn.texts[0].get_text() == "Search: 2 of 3 runs over the limit of 1.50 s"


@pytest.mark.parametrize(("step", "flags"), [(None, 1), ("Search", 0)])
def test_an_open_alert_is_drawn_on_its_own_series(step: str | None, flags: int) -> None:
    class WithAlert(perfdb.History):
        def alerts(self, state: str = "open") -> pd.DataFrame:
            row = {
                "pipeline": "design",
                "mode": '{"fast_mode":false}',
                "metric": "duration",
                "step_name": None,
            }
            known = {
                "state": "firing",
                "since_session_id": "20260101_000002_0000000a",
                "severity": "critical",
                "rule": "total-slow",
            }
            return pd.DataFrame([row | known])

    recorded(*(run(number) for number in range(4)))
    texts = [text.get_text() for text in WithAlert().chart("trend", step=step).axes[0].texts]
    assert texts.count("alert\ncritical: total-slow") == flags


def test_a_step_that_nobody_recorded_is_a_sentence() -> None:
    assert "No successful run matches" in said(recorded(run(0)).chart("trend", step="Lunch"))


def test_the_charts_of_one_session_take_an_id() -> None:
    history = recorded(run(0), run(1, 5.0))
    assert "Search held this run up for 5.00 s" in said(history.chart("waterfall"))
    assert "Search held this run up for 2.00 s" in said(history.chart("waterfall", "last~1"))


def test_the_charts_of_sessions_take_filters() -> None:
    history = recorded(run(0, 3.0, pipeline="other"), run(1, 4.0, pipeline="other"), run(2, 5.0), run(3, 6.0))
    assert "Search held this run up for 4.00 s" in said(history.chart("waterfall", pipeline="other"))
    drawn = history.chart_frame("compare", pipeline="other")
    assert drawn.loc[drawn["step_name"] == "Search", ["a", "b"]].iloc[0].tolist() == [3.0, 4.0]
    with pytest.raises(perfdb.NotFoundError):
        history.chart("waterfall", pipeline="other", status="failed")
    with pytest.raises(perfdb.UsageError):
        history.chart("waterfall", "last", pipeline="other")


def test_two_sessions_and_two_groups_are_compared() -> None:
    history = recorded(
        *(run(number, 2.0 + number % 2, **(FAST if number < 6 else {})) for number in range(12))
    )
    assert "longer" in said(history.chart("compare")) or "more than" in said(history.chart("compare"))
    groups = history.chart("compare", by="fast_mode")
    assert [text.get_text() for text in groups.axes[0].get_legend().get_texts()] == [
        "A: fast_mode = true",
        "B: fast_mode = false",
    ]


def test_thousands_of_sessions_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfdb.history.charts.MOST_IN_DETAIL", 4)
    history = recorded(*(run(number) for number in range(12)))
    assert "evenly chosen of 12 sessions, 4 sessions" in said(history.chart("steps"))


def test_a_filter_that_nothing_fits_is_a_sentence() -> None:
    assert "No finished session matches" in said(recorded(run(0)).chart("steps", pipeline="etl"))


def test_two_groups_are_drawn_of_as_many_sessions_as_they_are_compared_of() -> None:
    models = ["a"] * 50 + ["b"] * 210
    history = recorded(*(run(n, attributes={"model": model}) for n, model in enumerate(models)))
    drawn = history.chart_frame("compare", by="model")
    compared = history.compare(by="model").frame
    assert drawn[["a_n", "b_n"]].to_numpy().tolist() == compared[["a_n", "b_n"]].to_numpy().tolist()
    assert drawn["a_n"].iloc[0] == 50


@pytest.mark.parametrize("kind", ["steps", "bottlenecks"])
def test_of_failed_sessions_alone_it_is_not_said_that_none_has_finished(kind: str) -> None:
    history = recorded(run(0, status="failed", success=False))
    assert "No session that counts matches" in said(history.chart(kind))


@pytest.mark.parametrize("call", [("pie",), ("trend", "last"), ("compare", "last")])
def test_what_cannot_be_asked_is_said(call: tuple[str, ...]) -> None:
    with pytest.raises(perfdb.UsageError):
        recorded(run(0), run(1)).chart(*call)
