"""Bottlenecks: seconds that add up, who makes the duration vary, and what a faster step would bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.analysis.bottlenecks import COLUMNS, bottlenecks, most_at_once
from perfdb.analysis.replay import Schedule, Scheduled
from perfdb.store import frames

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def of(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    (row,) = frame[frame["step_name"] == name].to_dict("records")
    return row


def test_the_step_with_most_seconds_on_the_critical_path_comes_first(make: Make) -> None:
    found = bottlenecks(*make([{"load": 1.0, "parse": 3.0}, {"load": 1.0, "parse": 5.0}]))
    assert found["step_name"].tolist() == ["parse", "load", "Other"]
    assert of(found, "parse")["critical_s"] == pytest.approx(4.0)
    assert of(found, "parse")["share_percent"] == pytest.approx(80.0)


def test_time_of_no_step_is_other_and_everything_adds_up(make: Make) -> None:
    rng = np.random.default_rng(1)
    runs = [
        [("load", 0.1, float(a)), ("parse", 0.3 + float(a), float(b)), ("save", 0.2, float(c))]
        for a, b, c in rng.lognormal(size=(40, 3))
    ]
    sessions, steps = make(runs)
    found = bottlenecks(sessions, steps)
    assert found["critical_s"].sum() == pytest.approx(sessions["total_duration"].mean(), rel=1e-12)
    assert found["share_percent"].sum() == pytest.approx(100, rel=1e-12)
    assert found["variance_percent"].sum() == pytest.approx(100, rel=1e-9)
    assert of(found, "Other")["critical_s"] > 0.1


def test_the_share_of_the_variance_is_the_covariance_with_the_wall_time(make: Make) -> None:
    rng = np.random.default_rng(2)
    runs = [{"steady": 10.0, "wild": float(value)} for value in rng.lognormal(size=30)]
    found = bottlenecks(*make(runs))
    assert of(found, "wild")["variance_percent"] == pytest.approx(100)
    assert of(found, "steady")["variance_percent"] == pytest.approx(0, abs=1e-6)
    assert bottlenecks(*make(runs[:9]))["variance_percent"].isna().all(), "too few to tell"


def test_failed_and_warmup_sessions_do_not_count_and_modes_are_not_mixed(make: Make) -> None:
    def change(number: int) -> dict[str, Any]:
        if number == 0:
            return {"tags": ["warmup"]}
        if number == 1:
            return {"status": "failed", "success": False}
        return {"mode": '{"fast_mode":true}'} if number == 2 else {}

    found = bottlenecks(
        *make([{"load": 100.0}, {"load": 100.0}, {"load": 2.0}, {"load": 4.0}], sessions=change)
    )
    assert found["mode"].tolist() == ['{"fast_mode":false}'] * 2 + ['{"fast_mode":true}'] * 2
    assert found[found["step_name"] == "load"]["critical_s"].tolist() == pytest.approx([4.0, 2.0])
    assert found[found["step_name"] == "load"]["n"].tolist() == [1, 1]


def test_parallel_steps_tell_how_well_their_workers_were_used(make: Make) -> None:
    run = [("all", 0.0, 8.0), ("part", 0.0, 2.0), ("part", 0.0, 8.0), ("part", 0.0, 2.0), ("part", 2.0, 4.0)]
    sessions, steps = make([run])
    steps["parent_seq"] = pd.array([None, 0, 0, 0, 0], dtype="Int64")
    steps["lane"] = [0, 1, 2, 3, 1]
    row = of(bottlenecks(sessions, steps), "part")
    assert (row["inside"], row["workers"], row["busy_s"]) == ("all", 3, 16.0)
    assert row["pool_percent"] == pytest.approx(100 * 16 / (3 * 8))
    assert row["straggler_ratio"] == pytest.approx(8 / 3)
    assert row["gain_x2_s"] == pytest.approx(4.0)


def test_nothing_recorded_gives_no_rows() -> None:
    found = bottlenecks(frames.empty_sessions_frame(), frames.empty_steps_frame())
    assert list(found.columns) == list(COLUMNS)
    assert found.empty


def test_intervals_that_touch_do_not_overlap() -> None:
    assert most_at_once([0, 1, 2], [1, 2, 3]) == 1
    assert most_at_once([0, 0, 2], [3, 1, 3]) == 2
    assert most_at_once([], []) == 0


# --- replay -------------------------------------------------------------------------------------------


def test_of_parallel_steps_only_the_slowest_gains() -> None:
    steps = [Scheduled(0, None, 0, 10, 1), Scheduled(1, None, 0, 6, 2), Scheduled(2, None, 10, 12, 0)]
    schedule = Schedule(steps, 0, 13)
    assert schedule.wall() == 13
    assert schedule.wall({0}, 0.0) == 9, "the other one holds the join now"
    assert schedule.wall({1}, 0.0) == 13
    assert schedule.wall({2}, 0.5) == 12


def test_a_worker_takes_its_next_piece_when_it_is_free() -> None:
    steps = [
        Scheduled(0, None, 0, 10, 0),
        Scheduled(1, 0, 0, 4, 1),
        Scheduled(2, 0, 0, 3, 2),
        Scheduled(3, 0, 4, 10, 1),
        Scheduled(4, 0, 3, 5, 2),
    ]
    schedule = Schedule(steps, 0, 10)
    assert schedule.wall({1}, 0.5) == 8, "the piece after it does not wait for the other worker"
    assert schedule.wall({0}, 0.5) == 5, "a step is faster with all that is inside it"


@st.composite
def schedules(draw: st.DrawFn) -> tuple[list[Scheduled], float]:
    wall = draw(st.floats(0.1, 100))
    steps: list[Scheduled] = []
    for seq in range(draw(st.integers(0, 12))):
        parent = draw(st.one_of(st.none(), st.integers(0, seq - 1))) if seq else None
        start, end = sorted((draw(st.floats(-1, 110)), draw(st.floats(-1, 110))))
        steps.append(Scheduled(seq, parent, start, end, draw(st.integers(0, 3))))
    return steps, wall


@given(schedules())
def test_a_replay_at_the_same_speed_gives_the_observed_wall_time(case: tuple[list[Scheduled], float]) -> None:
    steps, wall = case
    schedule = Schedule(steps, 0.0, wall)
    assert schedule.wall() == pytest.approx(wall, rel=1e-9)
    assert schedule.wall({step.seq for step in steps}, 1.0) == pytest.approx(wall, rel=1e-9)


@given(schedules(), st.floats(0, 1))
def test_a_faster_step_never_makes_the_session_longer(
    case: tuple[list[Scheduled], float], factor: float
) -> None:
    steps, wall = case
    faster = {step.seq for step in steps[::2]}
    replayed = Schedule(steps, 0.0, wall).wall(faster, factor)
    assert -1e-9 <= replayed <= wall * (1 + 1e-9)
