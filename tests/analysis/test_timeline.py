"""A session laid out for a waterfall: exact sums, few rows, and every session has a layout.

Of: analysis/time_spent.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.analysis.time_spent import time_spent
from perfdb.analysis.timeline import guides, headline, in_tree_order, last_instant, status_of, timeline
from perfdb.records import Sample, Session, Step

START = 1_767_268_800.0


def step(seq: int, name: str, start: float, duration: float | None, **changes: Any) -> Step:
    return Step(
        **(
            {
                "seq": seq,
                "step_name": name,
                "start_time": START + start,
                "duration": duration,
                "success": True,
            }
            | changes
        )
    )


def session(*steps: Step, total: float | None = 10.0, **changes: Any) -> Session:
    values: dict[str, Any] = {
        "session_id": "s",
        "pipeline": "etl",
        "start_time": START,
        "total_duration": total,
        "status": "completed",
        "steps": steps,
    }
    return Session(**(values | changes))


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    count = draw(st.integers(0, 12))
    steps = []
    for seq in range(count):
        start = draw(st.floats(0, 9))
        steps.append(
            step(
                seq,
                draw(st.sampled_from("abc")),
                start,
                draw(st.none() | st.floats(0, 10 - start)),
                parent_seq=draw(st.none() | st.integers(0, 12)),
            )
        )
    return session(*steps)


@given(sessions())
def test_the_rows_hold_each_step_once_and_the_top_level_adds_up_to_wall_time(made: Session) -> None:
    laid_out = timeline(made)
    bars = [bar for row in laid_out.rows for bar in row.bars]
    assert sorted(bar.step.seq for bar in bars) == [each.seq for each in made.steps]
    top = sum(row.critical_s for row in laid_out.rows if row.depth == 0)
    assert top + laid_out.other_s == pytest.approx(laid_out.wall_s)
    for row in laid_out.rows:
        assert all(
            before.end <= after.start + 1e-5 for before, after in zip(row.bars, row.bars[1:], strict=False)
        )


def test_parallel_steps_of_one_name_share_the_fewest_rows() -> None:
    requests = [step(1 + n, "get", 0.5 * (n // 4), 0.5, parent_seq=0) for n in range(40)]
    rows = timeline(session(step(0, "search", 0, 5.0), *requests)).rows
    assert [(row.label, row.count, len(row.bars)) for row in rows] == [
        ("search", 1, 1),
        ("get", 40, 10),
        ("", 0, 10),
        ("", 0, 10),
        ("", 0, 10),
    ]
    assert rows[1].busy_s == pytest.approx(20.0)


def test_children_follow_their_parent() -> None:
    rows = timeline(
        session(step(0, "a", 0, 4.0), step(1, "b", 4.0, 6.0), step(2, "in a", 1.0, 2.0, parent_seq=0))
    ).rows
    assert [(row.label, row.depth) for row in rows] == [("a", 0), ("in a", 1), ("b", 0)]


def test_a_very_deep_session_is_laid_out() -> None:
    deep = [step(0, "s", 0, 10.0)] + [step(n, "s", 0, 10.0, parent_seq=n - 1) for n in range(1, 1500)]
    assert timeline(session(*deep)).rows[-1].depth == 1499


def test_what_still_runs_reaches_to_the_last_known_instant() -> None:
    running = session(
        step(0, "a", 0, None, success=None),
        total=None,
        status="running",
        samples=(Sample(time=START + 7.0, cpu_percent=1.0, rss_bytes=1),),
    )
    assert last_instant(running) == START + 7.0
    assert timeline(running).rows[0].bars[0].end == 7.0


def test_the_headline_names_the_longest_on_the_path_or_the_failure() -> None:
    made = session(step(0, "a", 0, 8.0), step(1, "b", 8.0, 2.0))
    assert headline(made, timeline(made)) == "a held this run up for 8.00 s of 10.00 s (80 %)"
    made = session(step(0, "Total", 0, 8.0), step(1, "b", 8.0, 2.0))
    assert headline(made, timeline(made)).startswith("Total (step) held this run up for 8.00 s")
    failed = session(step(0, "a", 0, 8.0), status="failed", error_message="no route")
    assert headline(failed, timeline(failed)) == "Failed after 10.00 s: no route"
    long = replace(failed, error_message="no route. " + 30 * "Is a server on that port? ")
    assert headline(long, timeline(long)) == "Failed after 10.00 s: no route"
    called = session(
        step(0, "a", 0, 2.0, success=False, error_message="disk full"),
        step(1, "b", 2.0, 1.0),
        status="failed",
    )
    assert headline(called, timeline(called)) == "Failed after 10.00 s: a: disk full"
    silent = replace(called, steps=(replace(called.steps[0], error_message=None), called.steps[1]))
    assert headline(silent, timeline(silent)) == "Failed after 10.00 s: a ended with success=False"
    called = replace(called, steps=called.steps[1:])
    assert headline(called, timeline(called)) == "Failed after 10.00 s"


def test_what_follows_the_last_step_of_a_session_that_runs_is_not_time_outside_of_steps() -> None:
    now = START + 3.5
    for steps, expected in (
        ((), 0.0),
        ((step(0, "a", 0.5, 1.5),), 0.5),
        ((step(0, "a", 0.5, 1.5), step(1, "b", 2.0, None, success=None)), 0.5),
    ):
        running = session(*steps, total=None, status="running")
        assert timeline(running, now).other_s == pytest.approx(expected)
        assert timeline(running, now).wall_s == pytest.approx(3.5)
    assert timeline(session(step(0, "a", 0.5, 1.5), total=3.5)).other_s == pytest.approx(2.0)


def test_a_step_that_is_open_says_how_long_so_far_and_how_long_usually() -> None:
    runs = session(step(0, "a", 0, 8.0), step(1, "b", 8.0, None, success=None), total=None, status="running")
    laid_out = timeline(runs, START + 20.0, {"b": 37.0})
    assert [row.so_far for row in laid_out.rows] == ["", "so far 12.00 s, usually 37.00 s"]
    told = "It has run for 20.00 s, now in b (so far 12.00 s, usually 37.00 s)"
    assert headline(runs, laid_out) == told
    died = replace(runs, status="interrupted")
    assert [row.so_far for row in timeline(died, START + 20.0).rows] == ["", ""]


def test_time_spent_adds_up_per_session_and_keeps_their_order() -> None:
    totals = pd.DataFrame(
        {"session_id": ["x", "y"], "start_time": [START, START + 100], "total_duration": [10.0, 4.0]}
    )
    rows = [
        ("x", 0, None, START, 6.0, "a"),
        ("x", 1, 0, START + 1, 2.0, "in a"),
        ("x", 2, None, START + 5, 4.0, "b"),
        ("y", 0, None, START + 100, 3.0, "b"),
        ("z", 0, None, START, 3.0, "other session"),
    ]
    columns = ["session_id", "seq", "parent_seq", "start_time", "duration", "step_name"]
    steps = pd.DataFrame(rows, columns=columns).astype({"parent_seq": "Int64"})
    spent = time_spent(totals, steps.assign(end_time=steps["start_time"] + steps["duration"]))
    assert spent.index.tolist() == ["x", "y"]
    assert spent.columns.tolist() == ["a", "b", None]
    assert spent.sum(axis=1).tolist() == pytest.approx([10.0, 4.0])
    assert spent.loc["y"].tolist() == pytest.approx([0.0, 3.0, 1.0])


def test_of_many_rows_those_are_left_out_that_held_up_least_and_they_are_counted() -> None:
    whole = timeline(session(*(step(n, f"s{n}", n, 0.1 + 0.01 * n) for n in range(30)), total=40.0))
    shown = whole.cut(10, 1_000)
    assert [row.label for row in shown.rows] == [f"s{n}" for n in range(20, 30)]
    assert (shown.hidden_rows, shown.hidden_bars) == (20, 0)
    fewer = whole.cut(100, 5)
    assert sorted(bar.step.seq for bar in fewer.bars()) == [25, 26, 27, 28, 29]
    assert (fewer.hidden_rows, fewer.hidden_bars) == (0, 25)
    assert whole.cut(100, 100) == whole


def test_the_tree_is_in_the_order_of_starts_with_children_below_their_parent() -> None:
    late, early = step(0, "late", 5, 1.0), step(1, "early", 0, 4.0)
    inside = step(2, "inside", 1, 1.0, parent_seq=1)
    assert [(step.step_name, depth) for step, depth in in_tree_order([late, inside, early])] == [
        ("early", 0), ("inside", 1), ("late", 0),
    ]  # fmt: skip


def test_a_step_that_never_ended_was_interrupted_with_its_session() -> None:
    open_step = step(0, "a", 0, None, success=None)
    for status, shown in (("running", "running"), ("interrupted", "interrupted")):
        assert status_of(open_step, session(open_step, status=status, total_duration=None)) == shown
    running = session(open_step, status="running", total_duration=None)
    assert timeline(running, START + 9.0).wall_s == pytest.approx(9.0)
    assert timeline(running).wall_s == 0.0


def test_of_one_step_that_holds_all_others_the_longest_inside_is_told() -> None:
    inside = (step(1, "Parse", 0, 7.0, parent_seq=0), step(2, "Write", 7.0, 2.0, parent_seq=0))
    made = session(step(0, "Ingest", 0, 10.0), *inside)
    assert headline(made, timeline(made)) == "Parse held this run up for 7.00 s of 10.00 s (70 %)"
    made = session(step(0, "Ingest", 0, 2.0))
    assert headline(made, timeline(made)).startswith(
        "Time outside of steps held this run up for 8.00 s of 10"
    )
    made = session(step(0, "Ingest", 0, 10.0), step(1, "Parse", 0, 2.0, parent_seq=0))
    told = "Unrecorded time in Ingest held this run up for 8.00 s of 10.00 s (80 %)"
    assert headline(made, timeline(made)) == told


def test_beside_others_the_step_inside_is_told_that_made_most_of_the_longest() -> None:
    def told(*inside: Step) -> str:
        made = session(step(0, "Search", 0, 6.0), *inside, step(9, "Draw", 6.0, 4.0))
        return headline(made, timeline(made)).partition(" of ")[0]

    query = step(1, "Query", 0, 5.8, parent_seq=0)
    assert told(query) == "Query held this run up for 5.80 s"
    fetch, elsewhere = step(2, "Fetch", 0, 5.6, parent_seq=1), step(3, "Elsewhere", 6.0, 4.0, parent_seq=9)
    assert told(query, fetch, elsewhere) == "Fetch held this run up for 5.60 s"
    halves = (step(1, "Query", 0, 3.0, parent_seq=0), step(2, "Rank", 3.0, 3.0, parent_seq=0))
    assert told(*halves) == told() == "Search held this run up for 6.00 s"
    beside = (step(1, "Query", 0, 5.9, parent_seq=0), step(2, "Query", 0.5, 5.0, parent_seq=0))
    assert told(*beside) == "Query held this run up for 5.90 s"


def test_guides_say_what_belongs_to_what() -> None:
    depths = [0, 1, 2, 2, 1, 0, 1]
    assert guides(depths) == ["", "├ ", "│ ├ ", "│ └ ", "└ ", "", "└ "]
    assert guides([]) == []
    assert guides([2]) == ["  └ "]
