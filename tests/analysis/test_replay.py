"""The replay beside a naive one that asks every sibling for every other, and answers to large sessions."""

from __future__ import annotations

import sys
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from perfdb.analysis.bottlenecks import most_at_once
from perfdb.analysis.replay import Schedule, Scheduled
from perfdb.critical_path import ROUNDED_S, resolved_parents


def naive_wall(
    steps: list[Scheduled], start: float, end: float, faster: set[int], factor: float, scale: float = 1.0,
    parent: int | None = None, lane: int | None = None,
) -> float:  # fmt: skip
    """Return the replayed seconds of one step, as the words at the top of ``replay`` say it."""
    lane = min((step.lane for step in steps), default=0) if lane is None else lane
    scale = factor if parent in faster else scale
    parents = resolved_parents((step.seq, step.parent_seq, step.start, step.end) for step in steps)
    siblings = sorted(
        (
            step._replace(start=max(step.start, start), end=min(step.end, end))
            for step in steps
            if parents[step.seq] == parent and step.start < end and step.end > start
        ),
        key=lambda step: (step.start, step.end, step.seq),
    )
    ends: list[float] = []
    over = [step.end - min(ROUNDED_S, (step.end - step.start) / 2) for step in siblings]
    for place, step in enumerate(siblings):
        ended = [other for other in range(place) if over[other] <= step.start]
        released_by = max(
            ended, key=lambda other: (over[other], siblings[other].lane == step.lane, other), default=None
        )
        began = max([step.start, *(min(siblings[other].end, step.end) for other in ended)])
        step = siblings[place] = step._replace(start=began)
        began = (step.start - start) * scale
        if released_by is not None:
            began = ends[released_by] + (step.start - siblings[released_by].end) * scale
            if step.lane != lane and siblings[released_by].lane == step.lane:
                ended = [other for other in ended if siblings[other].lane in (step.lane, lane)]
        began = max([began, *(ends[other] for other in ended)])
        inside = naive_wall(steps, step.start, step.end, faster, factor, scale, step.seq, step.lane)
        ends.append(began + inside)
    if not siblings:
        return (end - start) * scale
    return max(ends) + (end - max(step.end for step in siblings)) * scale


@st.composite
def schedules(draw: st.DrawFn) -> tuple[list[Scheduled], float]:
    """Draw steps that nest and run in parallel, of instants that often coincide, and a session's end."""
    instants = draw(st.sampled_from([st.integers(-1, 12).map(float), st.floats(-1, 12)]))
    steps = []
    for seq in range(draw(st.integers(0, 14))):
        parent = draw(st.one_of(st.none(), st.integers(0, 14)))
        start, end = sorted((draw(instants), draw(instants)))
        steps.append(Scheduled(seq, parent, start, end, draw(st.integers(0, 3))))
    return steps, draw(st.floats(0.1, 12))


@given(schedules(), st.floats(0, 3), st.data())
def test_it_gives_exactly_what_the_naive_one_gives(
    case: tuple[list[Scheduled], float], factor: float, data: st.DataObject
) -> None:
    steps, wall = case
    faster = data.draw(st.sets(st.integers(0, 14)))
    assert Schedule(steps, 0.0, wall).wall(faster, factor) == naive_wall(steps, 0.0, wall, faster, factor)


@given(schedules(), st.lists(st.tuples(st.sets(st.integers(0, 14)), st.floats(0, 3)), max_size=5))
def test_many_changes_at_a_time_are_each_what_they_are_alone(
    case: tuple[list[Scheduled], float], changes: list[tuple[set[int], float]]
) -> None:
    steps, wall = case
    schedule = Schedule(steps, 0.0, wall)
    assert schedule.walls(changes) == [schedule.wall(faster, factor) for faster, factor in changes]


def test_lanes_that_end_a_step_at_the_same_moment_do_not_wait_for_each_other() -> None:
    """As with pieces of equal length, or a clock that is coarser than they are."""
    steps = [Scheduled(0, None, 0.0, 6.0, 0)]
    for lane in (1, 2):
        steps += [Scheduled(3 * lane + i, 0, 2.0 * i, 2.0 * i + 2.0, lane) for i in range(3)]
    schedule = Schedule(steps, 0.0, 6.0)
    assert schedule.wall() == 6.0
    assert schedule.wall([3, 4, 5], 0.5) == schedule.wall([6, 7, 8], 0.5) == 6.0
    assert schedule.wall([3, 7], 0.5) == schedule.wall([4, 8], 0.0) + 1.0 == 5.0
    assert schedule.wall(range(1, 9), 0.5) == 3.0


def test_steps_in_a_row_whose_times_are_rounded_wait_for_each_other() -> None:
    """A start and a duration, each rounded to the microsecond, make an end just after the next start."""
    steps, at = [], 1_795_125_553.0
    for seq in range(200):
        duration = 0.1 + seq / 7_000
        steps.append(Scheduled(seq, None, round(at, 6), round(at, 6) + round(duration, 6), 0))
        at += duration
    assert any(b.start < a.end for a, b in pairwise(steps))
    schedule = Schedule(steps, steps[0].start, at)
    assert abs(schedule.wall() - (at - steps[0].start)) < 1e-6
    for each in steps[::20]:
        gained = schedule.wall() - schedule.wall([each.seq], 0.0)
        assert abs(gained - (each.end - each.start)) < 5e-6
    assert most_at_once([each.start for each in steps], [each.end for each in steps]) == 1


def test_steps_may_nest_deeper_than_the_interpreter_calls() -> None:
    deep = 5 * sys.getrecursionlimit()
    steps = [Scheduled(seq, seq - 1 if seq else None, 0.0, 10.0, 0) for seq in range(deep)]
    schedule = Schedule(steps, 0.0, 10.0)
    assert schedule.wall() == 10.0
    assert schedule.wall({deep - 1}, 0.0) == 0.0


def test_tens_of_thousands_of_steps_beside_each_other_are_replayed() -> None:
    count = 30_000
    one_after_the_other = [Scheduled(seq, None, float(seq), seq + 1.0, 0) for seq in range(count)]
    schedule = Schedule(one_after_the_other, 0.0, float(count))
    assert schedule.wall(set(range(0, count, 2)), 0.0) == count / 2
    at_once = [Scheduled(seq, None, 0.0, 1.0 + seq, 1 + seq) for seq in range(count)]
    assert Schedule(at_once, 0.0, float(count)).wall({count - 1}, 0.0) == count - 1
