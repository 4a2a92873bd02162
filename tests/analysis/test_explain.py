"""Explain: bars that add up exactly, and the reason in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfdb.analysis.explain import Explanation, percentile_of
from perfdb.analysis.explain import explain as explain_records
from perfdb.analysis.waves import Wave, find_wave
from perfdb.records import Attempt, Session, Step
from perfdb.text import duration_text

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
LATER = 1_767_225_600.0 + 1e6


def session(durations: Mapping[str, float], **changes: Any) -> Session:
    at, steps = LATER, []
    for seq, (name, duration) in enumerate(durations.items()):
        steps.append(
            Step(
                step_name=name,
                start_time=at,
                duration=duration,
                success=True,
                seq=seq,
                **changes.get(name, {}),
            )
        )
        at += duration
    return Session(
        session_id="this",
        pipeline="etl",
        mode='{"fast_mode":false}',
        start_time=LATER,
        total_duration=at - LATER,
        status="completed",
        steps=tuple(steps),
    )


def explain(
    this: Session, sessions: pd.DataFrame, steps: pd.DataFrame, wave: Wave | None = None
) -> Explanation:
    """Explain by the records that the made frames stand for."""
    past = []
    for row in sessions.astype(object).to_dict("records"):
        own = steps[steps["session_id"] == row["session_id"]].astype(object)
        fields = {name: value for name, value in row.items() if name in SESSION_FIELDS and not missing(value)}
        past.append(
            Session(
                **fields | {"tags": tuple(row["tags"]), "steps": tuple(map(step_of, own.to_dict("records")))}
            )
        )
    return explain_records(this, past, wave=wave)


SESSION_FIELDS = ("session_id", "pipeline", "mode", "start_time", "total_duration", "status", "success")
STEP_FIELDS = (
    "step_name",
    "seq",
    "parent_seq",
    "lane",
    "start_time",
    "duration",
    "success",
    "cpu_s",
    "rss_peak_bytes",
)


def missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value


def step_of(row: Mapping[Any, Any]) -> Step:
    fields = {name: row[name] for name in STEP_FIELDS if not missing(row[name])}
    return Step(**fields, attempts=tuple(Attempt(**each) for each in row["attempts"]))


def row_of(found: Any, name: str) -> dict[str, Any]:
    (row,) = found.frame[found.frame["step_name"] == name].to_dict("records")
    return row


def test_the_sentence_names_the_step_that_made_it_slow(make: Make) -> None:
    past = make([{"load": 1.0 + number / 100, "parse": 2.0} for number in range(20)])
    found = explain(session({"load": 3.0, "parse": 2.0}), *past)
    assert found.sentence == (
        "Session this took 5.00 s, 1.91 s longer than usual (the median of 20 earlier sessions of etl "
        "(normal mode) is 3.09 s): load accounts for all of it."
    )
    assert (found.percentile, found.n) == (100.0, 20)
    load = row_of(found, "load")
    assert (load["usual_s"], load["percentile"], load["n"]) == (pytest.approx(1.095), 100.0, 20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.lists(st.floats(0.001, 100), min_size=3, max_size=3), min_size=6, max_size=12))
def test_the_bars_add_up_to_the_difference(make: Make, runs: list[list[float]]) -> None:
    past = make([dict(zip("abc", run, strict=True)) for run in runs[1:]])
    found = explain(session(dict(zip("abd", runs[0], strict=True))), *past)
    assert found.usual_s is not None
    assert found.excess_s == found.wall_s - found.usual_s
    assert found.frame["excess_s"].sum() == pytest.approx(found.excess_s, abs=1e-9 * found.wall_s)
    assert found.frame["seconds"].sum() == pytest.approx(found.wall_s, rel=1e-12)
    assert found.frame["step_name"].tolist()[-1] == "Other"


@pytest.mark.parametrize("left", [0.5, 3.0])
def test_no_part_is_blamed_for_what_medians_leave_over(make: Make, left: float) -> None:
    def seconds(number: int) -> dict[str, float]:
        return {"load": 9.0 if number % 3 == 0 else 1.0, "parse": 9.0 if number % 3 == 1 else 1.0}

    past = make(
        [seconds(number) for number in range(12)],
        sessions=lambda number: {"total_duration": left + sum(seconds(number).values())},
    )
    found = explain(session({"load": 1.0, "parse": 1.0}), *past)
    other, medians = row_of(found, "Other"), row_of(found, "Medians of parts")
    assert other["usual_s"] == pytest.approx(left)
    assert other["excess_s"] == pytest.approx(other["seconds"] - left)
    assert medians["excess_s"] == pytest.approx(-8.0)
    assert found.frame["excess_s"].sum() == pytest.approx(found.excess_s)
    assert "Medians" not in found.sentence


def test_what_is_usual_is_that_of_the_hour_where_there_is_a_wave(make: Make) -> None:
    def level(start: float) -> float:
        return 1 + 0.5 * math.sin(2 * math.pi * start / 86_400)

    starts = [
        LATER - 900.0 * (20 - number) for number in range(20)
    ]  # in which it rises or falls all the time
    past = make(
        [{"load": level(start), "parse": 2 * level(start)} for start in starts],
        sessions=lambda number: {
            "start_time": starts[number],
            "total_duration": 3 * level(starts[number]),
        },
        steps=lambda number, name: {
            "start_time": starts[number] + (level(starts[number]) if name == "parse" else 0)
        },
    )
    days = [LATER - 1_800.0 * number for number in range(500, 0, -1)]
    wave = find_wave(days, [3 * level(start) for start in days])
    this = session({"load": 2 * level(LATER), "parse": 2 * level(LATER)})
    found = explain(this, *past, wave)
    assert found.usual_s == pytest.approx(3 * level(LATER), rel=0.05)
    assert f"is {duration_text(found.usual_s)} at its hour): load accounts for" in found.sentence
    assert row_of(found, "load")["usual_s"] == pytest.approx(level(LATER), rel=0.05)
    assert found.frame["excess_s"].sum() == pytest.approx(found.excess_s)
    assert abs(explain(this, *past).usual_s / found.usual_s - 1) > 0.1, "of the hours before"


def test_a_step_without_the_wave_of_the_run_is_as_usual_at_every_hour(make: Make) -> None:
    def load(start: float) -> float:
        return 2 + math.sin(2 * math.pi * start / 86_400)

    starts = [LATER - 900.0 * (40 - number) for number in range(40)]
    past = make(
        [{"load": load(start), "close": 1.0} for start in starts],
        sessions=lambda number: {
            "start_time": starts[number],
            "total_duration": load(starts[number]) + 1.5,
        },
        steps=lambda number, name: {
            "start_time": starts[number] + (load(starts[number]) if name == "close" else 0)
        },
    )
    days = [LATER - 1_800.0 * number for number in range(500, 0, -1)]
    wave = find_wave(days, [load(start) + 1.5 for start in days])
    this = replace(session({"load": load(LATER), "close": 1.0}), total_duration=load(LATER) + 1.5)
    found = explain(this, *past, wave)
    for row in (row_of(found, "close"), found.frame.iloc[-1]):
        assert row["excess_s"] == pytest.approx(0.0, abs=1e-6)
    assert found.frame["excess_s"].sum() == pytest.approx(found.excess_s)


def test_a_step_that_never_ran_has_no_place_among_its_past(make: Make) -> None:
    found = explain(session({"load": 1.0, "new": 1.0}), *make([{"load": 1.0}] * 6))
    assert np.isnan(row_of(found, "new")["percentile"])
    assert row_of(found, "new")["n"] == 0


@pytest.mark.parametrize(("n", "said"), [(0, "is no earlier session "), (1, "is 1 earlier session ")])
def test_few_sessions_are_counted_in_words_that_fit(make: Make, n: int, said: str) -> None:
    assert f"There {said}" in explain(session({"load": 2.0}), *make([{"load": 1.0}] * n)).sentence


def test_only_earlier_sessions_of_its_kind_that_count_say_what_is_usual(make: Make) -> None:
    changes: list[dict[str, Any]] = [{}] * 5 + [
        {"mode": '{"fast_mode":true}'},
        {"pipeline": "other"},
        {"status": "failed"},
        {"tags": ["warmup"]},
        {"start_time": LATER + 1},
        {"session_id": "this"},
    ]
    past = make([{"load": 1.0}] * 5 + [{"load": 50.0}] * 6, sessions=lambda number: changes[number])
    found = explain(session({"load": 1.0}), *past)
    assert (found.n, found.usual_s) == (5, pytest.approx(1.0))
    assert "which is as usual" in found.sentence


def test_too_little_history_is_said(make: Make) -> None:
    found = explain(session({"load": 2.0}), *make([{"load": 1.0}] * 4))
    assert found.usual_s is None
    assert (
        "There are 4 earlier sessions of etl (normal mode) to compare it with; 5 are needed" in found.sentence
    )
    assert row_of(found, "load")["seconds"] == 2.0
    assert np.isnan(row_of(found, "load")["excess_s"])


def causes(make: Make, this: Mapping[str, Any], usual: Mapping[str, Any] = {}) -> str:
    """Return the cause of a load that took 5 s instead of 1 s."""
    past = make([{"load": 1.0}] * 10, steps=lambda number, name: usual)
    return str(row_of(explain(session({"load": 5.0}, load=this), *past), "load")["cause"])


def test_retries_and_their_back_off_are_a_cause(make: Make) -> None:
    attempts = (
        Attempt(start_time=LATER, duration=1.5, success=False),
        Attempt(start_time=LATER + 3.5, duration=1.5, wait=2.0),
    )
    usual = {"attempts": [{"start_time": 0, "duration": 1.0, "wait": 0.0, "success": True}]}
    assert causes(make, {"attempts": attempts}, usual) == (
        "2 attempts (usually 1), 1.50 s in failed ones, 2.00 s of back-off"
    )


def test_computing_and_waiting_are_distinguished_by_cpu_seconds(make: Make) -> None:
    usual = {"cpu_s": 0.9}
    assert causes(make, {"cpu_s": 4.5}, usual) == "more computing: 4.50 s CPU instead of 900 ms"
    assert causes(make, {"cpu_s": 1.0}, usual) == "waiting, not computing (CPU 1.00 s, usually 900 ms)"


@pytest.mark.parametrize(
    ("took", "cpu", "cause"),
    [
        (2.2, 1.2, "more computing: 1.20 s CPU instead of 500 ms"),
        (2.2, 0.6, "waiting, not computing (CPU 600 ms, usually 500 ms)"),
        (
            1.0,
            0.5,
            "no longer than usual by itself (1.00 s, usually 1.00 s): usually others hold",
        ),
    ],
)
def test_what_a_step_computed_is_held_against_what_it_took_longer_itself(
    make: Make, took: float, cpu: float, cause: str
) -> None:
    """Usually the other one beside it ends later, so that it holds nothing up."""
    run = [("all", 0.0, 2.0), ("one", 0.0, 1.0), ("other", 0.0, 2.0)]
    sessions, steps = make(
        [run] * 6, steps=lambda n, name: {"parent_seq": None if name == "all" else 0, "cpu_s": 0.5}
    )
    at = {"start_time": LATER, "success": True}
    parts = (
        Step(step_name="all", duration=took, **at),
        Step(step_name="one", duration=took, seq=1, parent_seq=0, cpu_s=cpu, **at),
        Step(step_name="other", duration=took - 0.5, seq=2, parent_seq=0, **at),
    )
    this = replace(session({}), total_duration=took, steps=parts)
    assert row_of(explain(this, sessions, steps), "one")["cause"].startswith(cause)


def test_the_cpu_seconds_of_steps_that_run_at_once_are_not_added_up(make: Make) -> None:
    """Each has those of the whole process while it ran."""
    run = [("load", 0.0, 1.0)] * 4
    sessions, steps = make([run] * 6, steps=lambda number, name: {"cpu_s": 0.9})
    parts = [
        Step(step_name="load", start_time=LATER, duration=5.0, success=True, seq=seq, lane=seq, cpu_s=4.5)
        for seq in range(4)
    ]
    this = replace(session({}), total_duration=5.0, steps=tuple(parts))
    assert "CPU" not in str(row_of(explain(this, sessions, steps), "load")["cause"])


def test_pressure_on_memory_is_added(make: Make) -> None:
    usual = {"cpu_s": 0.9, "rss_peak_bytes": 200_000_000}
    found = causes(make, {"cpu_s": 1.0, "rss_peak_bytes": 2_000_000_000}, usual)
    assert found.endswith("; memory 2 GB instead of 200 MB")


def test_queueing_for_workers_is_a_cause(make: Make) -> None:
    run = [("all", 0.0, 2.0), *[("part", 0.0, 2.0)] * 4]
    sessions, steps = make([run] * 6, steps=lambda n, name: {"parent_seq": 0 if name == "part" else None})
    starts = [0.0, 0.0, 2.0, 2.0]
    parts = [
        Step(
            step_name="part",
            start_time=LATER + at,
            duration=2.0,
            success=True,
            seq=seq,
            parent_seq=0,
            lane=seq,
        )
        for seq, at in enumerate(starts, start=1)
    ]
    outer = Step(step_name="all", start_time=LATER, duration=4.0, success=True)
    this = Session(
        session_id="this",
        pipeline="etl",
        mode='{"fast_mode":false}',
        start_time=LATER,
        total_duration=4.0,
        status="completed",
        steps=(outer, *parts),
    )
    assert (
        row_of(explain(this, sessions, steps), "part")["cause"] == "2.00 s until the last piece got a worker"
    )


def test_new_and_missing_steps_are_named(make: Make) -> None:
    found = explain(session({"new": 5.0}), *make([{"old": 1.0}] * 6))
    assert row_of(found, "new")["cause"] == "never ran before"
    assert row_of(found, "old")["cause"] == "did not run this time"
    assert row_of(found, "new")["n"] == 0


def test_names_cannot_forge_the_sentence(make: Make) -> None:
    past = make([{"load\x1b[2J": 1.0}] * 6)
    assert "\x1b" not in explain(session({"load\x1b[2J": 3.0}), *past).sentence


def test_a_session_without_an_end_cannot_be_explained(make: Make) -> None:
    running = Session(session_id="r", pipeline="etl", start_time=0.0, total_duration=None, status="running")
    with pytest.raises(ValueError, match="is running"):
        explain(running, *make([]))


def test_equals_count_half_in_a_percentile() -> None:
    assert percentile_of(2.0, [1.0, 2.0, 3.0, 4.0]) == 37.5
