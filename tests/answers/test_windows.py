"""A window that was asked for is answered whole, or what was cut is said; no day is shown before it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from perfdb.records import Session
from perfdb.store.database import Database
from perfdb.store.rollups import roll_up
from perfdb.web.answers.overview import overview
from perfdb.web.served import ServedHistory
from tests.answers.histories import Part, around, session
from tests.answers.known import cases
from tests.answers.surfaces import Asked

YEAR = "365d"
Counted = tuple[int, str]  # runs of the total behind an answer, and all that it says


def _of_command(*words: str) -> Callable[[Asked], Counted]:
    def ask(asked: Asked) -> Counted:
        rows = asked.json(*words, "--since", YEAR)
        said = asked.command(*words, "--since", YEAR)
        total = next(row for row in rows if row.get("step_name") in (None, "Other"))
        return int(total.get("sessions") or total["n"]), said.out + said.err

    return ask


def _trends_page(asked: Asked) -> Counted:
    page = asked.page("/trends", since=YEAR)
    match = re.search(r"([\d,]+) runs that count", page.visible)
    assert match is not None
    return int(match[1].replace(",", "")), page.visible


def _picture(kind: str) -> Callable[[Asked], Counted]:
    def ask(asked: Asked) -> Counted:
        texts = " ".join(text.get_text() for text in asked.chart(kind, since=YEAR).texts)
        match = re.search(r"([\d,]+) (?:runs|sessions)", texts)
        assert match is not None
        return int(match[1].replace(",", "")), texts

    return ask


SURFACES: dict[str, Callable[[Asked], Counted]] = {
    "trends": _of_command("trends"),
    "bottlenecks": _of_command("bottlenecks"),
    "thresholds": _of_command("thresholds", "suggest"),
    "page of trends": _trends_page,
    "picture of trend": _picture("trend"),
    "picture of steps": _picture("steps"),
    "picture of bottlenecks": _picture("bottlenecks"),
}


@pytest.mark.parametrize("surface", cases("windows", [(name,) for name in SURFACES]))
def test_a_year_is_all_its_runs_or_it_is_said_how_many_are_left_out(
    histories: Callable[[str], Asked], surface: str
) -> None:
    asked = histories("many")
    runs, said = SURFACES[surface](asked)
    whole = f"{len(asked.sessions):,}"
    assert runs == len(asked.sessions) or whole in said, f"{runs} of {whole}: {said[:300]}"


@pytest.mark.parametrize("name", cases("what-if", [("two_modes",), ("three_pipelines",), ("failing",)]))
def test_a_faster_step_is_replayed_with_the_sessions_of_its_table(
    histories: Callable[[str], Asked], name: str
) -> None:
    asked = histories(name)
    rows = asked.api("bottlenecks", last=50)["rows"]
    for row in (row for row in rows if row["step_name"] != "Other"):
        asking = {"step": row["step_name"], "pipeline": row["pipeline"], "mode": row["mode"]}
        answer = asked.api("what-if", factor=0.5, last=50, **asking)
        assert answer["sessions"] == row["sessions"]
        of_kind = [
            each for each in rows if (each["pipeline"], each["mode"]) == (row["pipeline"], row["mode"])
        ]
        assert answer["wall_s"] == pytest.approx(sum(each["critical_s"] for each in of_kind))


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[ZoneInfo]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield ZoneInfo("Europe/Berlin")
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("case", cases("days", [("since a day",)]))
def test_since_a_day_no_day_before_it_is_shown(
    histories: Callable[[str], Asked], berlin: ZoneInfo, case: str
) -> None:
    asked = histories("nested")
    day = (
        (datetime.fromtimestamp(asked.sessions[-1].start_time, berlin) - timedelta(days=2)).date().isoformat()
    )
    rows = asked.json("trends", "--by", "day", "--since", day)
    assert min(row["period"] for row in rows) == day


@pytest.mark.parametrize("case", cases("wave", [("a few hours",)]))
def test_of_a_few_hours_nothing_is_said_that_is_the_wave_of_the_day(
    answers_of: Callable[[str, list[Session]], Asked], case: str
) -> None:
    def taking(number: int) -> float:
        return around(2.0, number, "s", 0.05) * (1 + 0.35 * math.sin(2 * math.pi * number / 72))

    sessions = [
        session(number, 1.7e9 + 1_200 * number, [Part("work", taking(number))]) for number in range(720)
    ]
    asked = answers_of("wave", sessions)
    last = 36  # half a day
    moved = asked.history.trends(last=last)
    assert moved[["since_time", "drift_percent"]].isna().all(axis=None)
    alone = answers_of("alone", sessions[-last:]).history.trends()
    assert (alone["since_time"].notna() | alone["drift_percent"].notna()).all()
    assert asked.json("regressions", "--last", str(last)) == []
    for row in asked.json("trends", "--last", str(last)):
        page = asked.api("trends", last=last, step=row["step_name"])
        assert (page["changes"], page["drift_percent"]) == ([], None)
        assert page["p_value"] == row["p_value"]
    now = overview(ServedHistory(asked.history, limit_s=60.0)).series
    assert [each.at_these_hours and abs(each.change_percent or 99.0) < 10 for each in now] == [True, True]
    assert "since" not in asked.chart("trend", last=last).texts[0].get_text()
    began = datetime.fromtimestamp(sessions[-1].start_time)
    shown = re.search(
        rf", usual at {began:%H:%M}: (\d\.\d+) s$", asked.command("show", "last").out, re.MULTILINE
    )
    assert shown is not None
    explained = asked.history.explain("last")
    assert explained.sentence in asked.page(f"/sessions/{explained.session_id}").text
    assert "at its hour" in explained.sentence
    assert explained.usual_s == pytest.approx(float(shown[1]), rel=0.1), "not that of the hours before"
    assert "usual" not in answers_of("few", sessions[-last:]).command("show", "last").out


@pytest.mark.parametrize("case", cases("long", [("a move",)]))
def test_medians_of_the_runs_nearest_to_a_move_say_so(
    answers_of: Callable[[str, list[Session]], Asked], monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("perfdb.store.statistics.EXACT_RUNS", 1_000)
    every, runs, at = 3_600.0, 4_200, 2_500
    began = time.time() - every * runs

    def taking(number: int) -> list[Part]:
        return [Part("work", around(2.0 if number < at else 3.0, number, "work"))]

    sessions = [session(number, began + every * number, taking(number)) for number in range(runs)]
    asked = answers_of("long", sessions)
    with Database(asked.url) as database:
        list(roll_up(database, until=time.time()))
    (row,) = asked.json("regressions", "--step", "work")
    n = row["before_n"], row["after_n"]
    assert n == (pytest.approx(1_000, abs=24),) * 2  # the move is looked for around its day, of 24 runs
    assert row["nearest_only"] is True
    nearest, asking = "nearest to each", {"since": YEAR, "step": "work"}
    assert nearest in asked.command("regressions", "--step", "work").out
    (change,) = asked.api("trends", **asking)["changes"]
    assert (change["before_n"], change["after_n"], change["nearest_only"]) == (*n, True)
    assert nearest in asked.page("/trends", **asking).visible
    texts = [text.get_text() for text in asked.chart("trend", **asking).axes[0].texts]
    assert sum(text.endswith(f"the nearest n = {each:,}") for text in texts for each in set(n)) == 2
    short = answers_of("short", sessions[at - 300 : at + 300])
    assert short.json("regressions", "--step", "work")[0]["nearest_only"] is False
    assert "nearest" not in short.command("regressions", "--step", "work").out
    assert "nearest" not in short.page("/trends", **asking).visible
