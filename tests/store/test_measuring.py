"""A measure is worth the same in SQL, in frames and in records, whatever it is called.

Of: analysis/measuring.py, store/series.py.
"""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.event import listen

from perfdb.analysis import measuring as analysis
from perfdb.analysis.bottlenecks import bottlenecks
from perfdb.analysis.runs import runs_of
from perfdb.analysis.series import SeriesName
from perfdb.errors import NotFoundError, UsageError
from perfdb.history.queries.measured import measure_named
from perfdb.measures import FIXED, Measure, named
from perfdb.records import Attempt, Session, Step
from perfdb.store import frames, measuring, reading
from perfdb.store.ingest import insert_sessions
from perfdb.store.models import sessions, storable_name
from perfdb.store.series import (
    days_before,
    days_of_each,
    newest_of_each,
    read_past,
    runs_of_series,
    usual_seconds,
    wave_of,
)
from perfdb.store.windows import find_session_ref, read_windows
from perfdb.testing import make_session

ODD = 'a "quoted"\\ nämé\x01'
NAMES = (*FIXED, "cost_usd", "score", "rows", ODD, "product_count")


def run(number: int) -> Session:
    """Return a session: ``cost_usd`` of steps, one of which failed; some have a ``score`` of their own."""
    start, steps = 1e9 + 60 * number, []
    for seq, name in enumerate(("ask", "look", "ask")):
        data: dict[str, Any] = {"rows": number * 10 + seq, "model": "m", ODD: seq + 0.5, "yes": True}
        if name == "ask":
            data["cost_usd"] = 0.01 * (seq + 1) + 0.001 * number
        if number == 2:
            data = {"rows": "many", "cost_usd": 1e305 if seq else None, ODD: [1]}
        tries = (
            Attempt(start_time=start, duration=0.25, success=False),
            Attempt(start_time=start, duration=0.5, wait=0.125),
        )
        steps.append(
            Step(
                step_name=name, start_time=start + seq, duration=0.5 + seq, success=(number, seq) != (1, 2),
                seq=seq, additional_data=data, attempts=tries if name == "look" else (), cpu_s=0.1 * seq,
                rss_peak_bytes=1000 + seq,
            )
        )  # fmt: skip
    return Session(
        session_id=f"run-{number}", pipeline="p", start_time=start, total_duration=4.0 + number,
        status="completed", success=True, steps=tuple(steps), cpu_s=1.5, rss_peak_bytes=2000,
        product_count=number if number else None,
        attributes={"score": number + 0.25} if number % 2 else {"score": "none"},
    )  # fmt: skip


@pytest.fixture
def history(connection: Connection) -> Connection:
    insert_sessions(connection, [run(number) for number in range(6)])
    return connection


@pytest.mark.parametrize("total", ["sum", "max", "last"])
def test_sql_frames_and_records_agree(history: Connection, total: str) -> None:
    of_sessions, of_steps = frames.sessions_frame(history), frames.steps_frame(history)
    pks = {row.session_id: row.id for row in history.execute(select(sessions.c.id, sessions.c.session_id))}
    for name in NAMES:
        given = named(storable_name(name))
        measure = Measure(given.name, given.unit, given.words, total=total)
        in_sql = measuring.of_sessions(history, measure, select(sessions.c.id))
        in_frames = analysis.session_values(of_sessions, of_steps, measure).tolist()
        for session_id, value in zip(of_sessions["session_id"], in_frames, strict=True):
            told = (
                value,
                in_sql.get(pks[session_id]),
                analysis.of_session(run(int(session_id[4:])), measure),
            )
            known = [each for each in told if each is not None and not math.isnan(each)]
            assert len(known) in (0, 3), (name, session_id, told)
            assert known == pytest.approx(known[:1] * len(known)), (name, session_id)
        totals, within = analysis.measured(of_sessions, of_steps, measure)
        runs = {series.name: series.good.per_session()[0] for series in runs_of(totals, within)}
        for series in read_past(history, measure=measure):
            mine = runs[series.name]
            means = dict(zip(mine.session_ids, mine.values, strict=True))
            assert dict(zip(series.session_ids, series.values, strict=True)) == pytest.approx(means)
            assert series.metric == measure.name


def test_a_session_has_what_its_steps_have_together(history: Connection) -> None:
    cost = named("cost_usd")
    total = runs_of_series(history, "p", None, "{}", last=3, measure=cost)
    assert total.session_ids == ["run-3", "run-4", "run-5"]
    assert total.values == pytest.approx([0.046, 0.048, 0.05])
    asked = runs_of_series(history, "p", "ask", "{}", last=2, measure=cost)
    assert asked.values == pytest.approx([0.014, 0.034, 0.015, 0.035])
    assert len(runs_of_series(history, "p", "look", "{}", last=9, measure=cost)) == 0
    score = runs_of_series(history, "p", None, "{}", last=9, measure=named("score"))
    assert score.values == [1.25, 3.25, 5.25]
    waits = runs_of_series(history, "p", "look", "{}", last=1, measure=named("wait_s"))
    assert waits.values == [0.125]


def test_the_days_of_many_series_are_read_at_once_as_each_by_itself(history: Connection) -> None:
    asked: list[str] = []
    newest = 1e9 + 60 * 4
    names = [SeriesName("p", step_name, "{}") for step_name in (None, "ask", "look", "never")]
    each = {name: days_before(history)(name, newest) for name in names}
    listen(history, "before_cursor_execute", lambda *given: asked.append(given[2]))
    found = days_of_each(history, dict.fromkeys(names, newest))
    assert len(asked) == 3
    assert found == each
    assert found[names[0]].session_ids[-1] == "run-4"
    assert days_of_each(history, {names[1]: 1e9})[names[1]].session_ids == ["run-0", "run-0"]


def test_the_newest_runs_of_many_series_are_read_at_once_as_each_by_itself(history: Connection) -> None:
    names = [SeriesName("p", step_name, "{}") for step_name in (None, "ask", "look", "never")]
    for until in (None, 1e9 + 60 * 4):
        each = {name: runs_of_series(history, *name, last=3, until=until) for name in names}
        assert newest_of_each(history, names, last=3, until=until) == each
    assert len(each[names[1]]) == 6


def test_rules_see_the_same(history: Connection) -> None:
    session = find_session_ref(history, "run-5")
    assert session is not None
    cost = named("cost_usd")
    windows = read_windows(history, session, 6, attributes={None: [cost], "*": [cost]})
    found = {window.step_name: window for window in windows if window.metric == "cost_usd"}
    assert found[None].values[3:] == pytest.approx([0.046, 0.048, 0.05])
    assert found["ask"].values[3:] == pytest.approx([0.023, 0.024, 0.025])
    assert found["ask"].highest[-1] == pytest.approx(0.035)
    assert found["ask"].counted == [True, True, False, True, True, True]
    assert not any(found["look"].counted)


def test_shares_add_up_to_the_sum(history: Connection) -> None:
    ranked = bottlenecks(frames.sessions_frame(history), frames.steps_frame(history), named("rows"))
    assert ranked["share_percent"].sum() == pytest.approx(100)
    assert ranked[ranked["step_name"] == "ask"]["n"].tolist() == [5]
    assert set(ranked["kind"]) == {"step"}


def test_what_a_name_stands_for(history: Connection) -> None:
    assert measure_named(history, ODD, {}, where="here").name == ODD
    with pytest.raises(NotFoundError, match="did you mean 'cost_usd'"):
        measure_named(history, "cost_us", {}, where="here")
    with pytest.raises(UsageError, match="'model' of ask never was a number"):
        measure_named(history, "model", {}, where="here")
    with pytest.raises(UsageError, match="'yes' of ask never was a number"):
        measure_named(history, "yes", {}, where="here")


def test_the_past_of_a_session_has_its_data_when_it_is_asked(history: Connection) -> None:
    newest = reading.read_session(history, "run-5")
    past = reading.past_sessions(history, newest, last=3, with_data=True)
    cost = named("cost_usd")
    assert [analysis.of_session(each, cost) for each in past][1:] == pytest.approx([0.046, 0.048])


@pytest.mark.parametrize(("total", "name"), [("max", "look"), ("last", "ask"), ("sum", None)])
def test_the_step_that_made_a_session_has_its_value(
    history: Connection, total: str, name: str | None
) -> None:
    measure = (
        Measure("work_s", "s", "work", total=total)
        if total == "max"
        else Measure("rows", "", "rows", total=total)
    )
    (parts,) = measuring.values_by_step(history, measure, ["run-5"])
    whole = measuring.of_sessions(
        history, measure, select(sessions.c.id).where(sessions.c.session_id == "run-5")
    )
    assert sum(parts.values()) == pytest.approx(next(iter(whole.values())))
    assert ([each for each in parts if each] == [name]) == (name is not None)


def test_of_a_pipeline_that_runs_often_the_usual_seconds_know_the_weekend(connection: Connection) -> None:
    """Its newest sessions are of a few days; the wave is that of the weeks before, as on the trend's page."""
    draw, monday, a_day = random.Random(8), 4 * 86_400.0, 105
    seconds = [
        (0.5 if (number // a_day) % 7 >= 5 else 1.0) * draw.lognormvariate(0, 0.05)
        for number in range(26 * a_day)  # until a Friday evening
    ]
    insert_sessions(
        connection,
        [
            make_session(number, start=monday, every_s=86_400 / a_day, total_duration=each)
            for number, each in enumerate(seconds)
        ],
    )
    end = monday + 26 * 86_400
    wave = wave_of(connection, "design", "{}", end)
    assert wave is not None
    assert wave.of_week
    friday, saturday = (
        usual_seconds(connection, "design", "{}", at)[None] for at in (end - 3_600, end + 3_600)
    )
    assert friday == pytest.approx(1.0, rel=0.1)
    assert saturday == pytest.approx(0.5, rel=0.1)
