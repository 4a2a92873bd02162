"""A host may call its steps as perfdb calls the total and the time of no step: they stay what they are.

Of: history/names.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import perfdb
from perfdb.alerts.causes import as_details, of_details
from perfdb.alerts.config import read_alert_settings
from perfdb.alerts.evaluation import after_session
from perfdb.alerts.messages import parts_text
from perfdb.analysis.cause import Cause, Part
from perfdb.cli import cli
from perfdb.records import Session, Step
from perfdb.settings import sqlite_url
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.toml import parse
from perfdb.web.answers import bottlenecks, compare, sessions, trends
from perfdb.web.queries import BottlenecksQuery, CompareQuery, TrendQuery
from perfdb.web.served import ServedHistory

NOON = 1_767_268_800.0
MOVED = 30
RULES = """
[[alerts.rules]]
name = "a step called Total"
kind = "max"
step = "Total"
limit = 1.5

[[alerts.rules]]
name = "a step called Other"
kind = "max"
step = "Other"
limit = 0.1

[[alerts.rules]]
name = "the total"
kind = "max"
limit = 5.0
"""


def made(number: int) -> Session:
    """Return a session of steps called Other and Total, which is 1 s slower from the 30th on, and a pause."""
    other, total = 4.0 + number % 5 / 50, 1.0 + (number >= MOVED) + number % 3 / 60
    start = NOON + 3600 * number
    return Session(
        session_id=f"run-{number:03d}",
        pipeline="etl",
        start_time=start,
        total_duration=other + total + 0.5,
        success=True,
        status="completed",
        mode='{"fast_mode":false}',
        attributes={"model": "a" if number < MOVED else "b"},
        steps=(
            Step(step_name="Other", seq=0, start_time=start, duration=other, success=True),
            Step(step_name="Total", seq=1, start_time=start + other, duration=total, success=True),
        ),
    )


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "perfdb.sqlite"
    url = sqlite_url(path)
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    settings = read_alert_settings(parse(RULES, source="perfdb.toml").table("alerts"))
    with engine.begin() as connection:
        insert_sessions(connection, [made(number) for number in range(60)])
        for number in (39, 59):
            after_session(connection, f"run-{number:03d}", settings, NOON)
    engine.dispose()
    return path


@pytest.fixture
def history(database: Path) -> perfdb.History:
    return perfdb.History(database)


def test_bottlenecks_tell_a_step_called_other_from_no_step(history: perfdb.History) -> None:
    found = history.bottlenecks()
    assert list(zip(found["step_name"], found["kind"], strict=True)) == [
        ("Other", "step"),
        ("Total", "step"),
        ("Other", "other"),
    ]
    assert found["critical_s"].tolist()[2] == pytest.approx(0.5)
    assert found["gain_max_s"].tolist()[0] == pytest.approx(found["critical_s"].tolist()[0])


def test_comparing_has_one_total_and_one_time_of_no_step(history: perfdb.History) -> None:
    frame = history.compare("run-010", "run-050").frame
    assert sorted(zip(frame["kind"], frame["step_name"], strict=True)) == [
        ("other", "Other"),
        ("step", "Other"),
        ("step", "Total"),
        ("total", "Total"),
    ]
    assert frame["kind"].tolist()[0] == "total"
    steps = frame[frame["kind"] != "total"]
    assert steps["critical_difference_s"].sum() == pytest.approx(frame["critical_difference_s"].iloc[0])
    groups = history.compare(by="model").frame
    assert groups["kind"].tolist() == ["total", "step", "step"]
    assert groups["b_median"].iloc[0] == pytest.approx(6.54, abs=0.2)
    assert "took 6.5" in history.compare(by="model").sentence


def test_explaining_names_the_step_and_keeps_the_rest_apart(history: perfdb.History) -> None:
    found = history.explain("run-030", last=20)
    rows = found.frame.set_index(["step_name", "kind"])
    assert rows.loc[("Total", "step"), "excess_s"] == pytest.approx(1.0, abs=0.1)
    assert rows.loc[("Other", "other"), "seconds"] == pytest.approx(0.5)
    assert rows.loc[("Other", "step"), "seconds"] == pytest.approx(4.0)
    assert "Total accounts for" in found.sentence
    assert found.frame["excess_s"].sum() == pytest.approx(found.excess_s)


def test_trends_keep_the_total_and_the_step_called_total_apart(history: perfdb.History) -> None:
    for by in ("last", "all", "week"):
        found = history.trends(by=by)  # type: ignore[arg-type]
        names = [name if isinstance(name, str) else None for name in found["step_name"]]
        assert set(names) == {None, "Other", "Total"}
    step = history.trends(step="Total")
    assert step["p50"].iloc[0] == pytest.approx(1.5, abs=0.6)


def test_regressions_are_of_the_step_and_of_the_total(history: perfdb.History) -> None:
    found = history.regressions()
    moved = {name if isinstance(name, str) else None for name in found["step_name"]}
    assert moved == {None, "Total"}
    (parts,) = found[found["step_name"].isna()]["parts"]
    assert [(part["step_name"], part["kind"]) for part in parts] == [("Total", "step"), ("Other", "other")]
    assert found[found["step_name"] == "Total"]["contributes_percent"].iloc[0] == pytest.approx(100, abs=5)


def test_rules_look_at_what_they_name(history: perfdb.History) -> None:
    alerts = history.alerts("all")
    kept = alerts[alerts["kind"] == "max"]
    assert {
        (row["rule"], row["step_name"] if isinstance(row["step_name"], str) else None)
        for row in kept.to_dict("records")
    } == {
        ("a step called Total", "Total"),
        ("a step called Other", "Other"),
        ("the total", None),
    }
    subjects = dict(zip(kept["rule"], kept["message"], strict=True))
    assert subjects["a step called Total"].startswith("Total is at 2.0")
    assert subjects["the total"].startswith("etl (total) is at 6.6")


def test_a_cause_comes_back_from_where_an_alert_keeps_it() -> None:
    cause = Cause(1.0, (Part("Other", 0.9, 90.0), Part(None, 0.1, 10.0)), ())
    details = json.loads(json.dumps({"cause": as_details(cause)}))
    assert of_details(details) == cause
    assert parts_text(cause.parts) == "Other (step) +900 ms (90 %), Other +100 ms (10 %)"
    for part in details["cause"]["parts"]:  # as it was kept before parts had a kind
        del part["kind"]
    assert of_details(details) == cause


def test_pages_and_the_api_say_of_which_kind_a_row_is(database: Path) -> None:
    history = ServedHistory(perfdb.History(database))
    try:
        ranked = bottlenecks.bottlenecks(history, BottlenecksQuery())
        assert [row.kind for row in ranked.rows] == ["step", "step", "other"]
        pair = compare.compare(history, CompareQuery(a="run-010", b="run-050"))
        assert [row.kind for row in pair.rows].count("total") == 1
        one = sessions.session(history, "run-040")
        assert one.explanation is not None
        assert one.explanation.rows[-1].kind == "other"
        total = trends.trend(history, TrendQuery(pipeline="etl"))
        step = trends.trend(history, TrendQuery(pipeline="etl", step="Total"))
        assert total.series is not None
        assert step.series is not None
        assert (total.series.step_name, step.series.step_name) == (None, "Total")
    finally:
        history.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bottlenecks",), ["Other (step) takes 4.04 s", "Other (step)", "Total (step)", "Other "]),
        (("compare", "run-010", "run-050"), ["Total (step)", "Other (step)"]),
        (("compare", "--by", "model"), ["Total (step)", "Other (step)"]),
        (("explain", "run-030"), ["Total (step)", "Other (step)"]),
        (("trends",), ["Total (step)", "Other (step)"]),
        (("regressions",), ["Total (step)"]),
        (("baseline",), []),
    ],
)
def test_a_terminal_says_which_of_two_is_the_step(
    database: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    said = CliRunner().invoke(cli, [*arguments, "--database", str(database)])
    for word in words:
        assert word in said.output, said.output


def test_the_figures_draw_the_steps_of_these_names(history: perfdb.History) -> None:
    pytest.importorskip("matplotlib")
    labels = {
        kind: {
            text.get_text().splitlines()[0]
            for text in history.chart(kind).axes[0].get_yticklabels()  # type: ignore[arg-type]
            if text.get_text()
        }
        for kind in ("bottlenecks", "compare")
    }
    assert {"Other (step)", "Total (step)"} <= labels["compare"]
    assert len(labels["bottlenecks"]) == 2
    parts = [text.get_text() for text in history.chart("steps").axes[0].get_legend().get_texts()]
    assert sorted(part.split("  ")[0].strip() for part in parts) == ["Other", "Other (step)", "Total (step)"]
