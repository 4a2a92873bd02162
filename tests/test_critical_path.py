"""The critical path: who held up the session, and that the segments are a partition."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from perfdb.critical_path import (
    MOST_PARTS,
    Segment,
    Span,
    critical_path,
    critical_seconds,
    parts_of_path,
    resolved_parents,
)

times = st.one_of(
    st.integers(-2, 12).map(float), st.floats(-1e9, 1e9), st.sampled_from([math.nan, math.inf, -math.inf])
)
spans = st.lists(
    st.builds(
        Span,
        seq=st.integers(0, 12),
        parent_seq=st.none() | st.integers(-1, 14),
        start=times,
        end=st.none() | times,
    ),
    max_size=14,
)


@settings(max_examples=300, deadline=None)
@given(spans, st.integers(-1, 10), st.integers(-1, 10) | st.floats(0, 1e6))
def test_segments_partition_the_session_exactly(steps: list[Span], start: float, end: float) -> None:
    path = critical_path(steps, start, end)
    if start >= end:
        assert path == []
        return
    assert (path[0].start, path[-1].end) == (start, end)
    assert all(earlier.end == later.start for earlier, later in pairwise(path))
    assert all(segment.start < segment.end for segment in path)
    lengths = [Fraction(segment.end) - Fraction(segment.start) for segment in path]
    assert sum(lengths) == Fraction(end) - Fraction(start)


@settings(max_examples=100, deadline=None)
@given(spans)
def test_a_segment_lies_within_its_step(steps: list[Span]) -> None:
    first = {}
    for step in steps:
        first.setdefault(step.seq, step)
    for segment in critical_path(steps, 0.0, 10.0):
        if segment.seq is not None:
            step = first[segment.seq]
            assert step.start <= segment.start
            assert step.end is None or segment.end <= step.end


@settings(max_examples=100, deadline=None)
@given(spans)
def test_seconds_add_up_to_wall_time(steps: list[Span]) -> None:
    own = critical_seconds(steps, 0.0, 10.0)
    inclusive = critical_seconds(steps, 0.0, 10.0, inclusive=True)
    top = [seq for seq, parent in resolved_parents(steps).items() if parent is None]
    assert math.isclose(math.fsum(own.values()), 10.0)
    assert math.isclose(math.fsum([inclusive[None], *(inclusive[seq] for seq in top)]), 10.0)


def path(
    *steps: tuple[int, int | None, float, float | None], end: float = 10.0
) -> list[tuple[float, float, int | None]]:
    return [tuple(segment) for segment in critical_path(steps, 0.0, end)]  # type: ignore[misc]


def test_a_session_without_steps_is_other() -> None:
    assert path() == [(0.0, 10.0, None)]


def test_gaps_between_steps_belong_to_no_step() -> None:
    assert path((0, None, 1.0, 4.0), (1, None, 6.0, 10.0)) == [
        (0.0, 1.0, None), (1.0, 4.0, 0), (4.0, 6.0, None), (6.0, 10.0, 1),
    ]  # fmt: skip


def test_gaps_within_a_step_are_its_own_time() -> None:
    assert path((0, None, 0.0, 10.0), (1, 0, 2.0, 5.0)) == [(0.0, 2.0, 0), (2.0, 5.0, 1), (5.0, 10.0, 0)]


def test_of_parallel_steps_the_last_to_finish_holds_up_the_session() -> None:
    assert path((0, None, 0.0, 10.0), (1, None, 0.0, 3.0), (2, None, 0.0, 4.0)) == [(0.0, 10.0, 0)]


def test_a_sibling_that_still_runs_takes_over() -> None:
    assert path((0, None, 0.0, 7.0), (1, None, 5.0, 10.0)) == [(0.0, 5.0, 0), (5.0, 10.0, 1)]


def test_of_several_that_still_run_the_earliest_start_wins() -> None:
    assert path((0, None, 4.0, 10.0), (1, None, 1.0, 10.0), (2, None, 0.0, 1.0)) == [
        (0.0, 1.0, 2), (1.0, 10.0, 1),
    ]  # fmt: skip


def test_waves_of_workers_chain() -> None:
    waves = [(0, None, 0.0, 10.0), (1, 0, 0.0, 4.0), (2, 0, 0.0, 5.0), (3, 0, 4.0, 10.0), (4, 0, 5.0, 9.0)]
    assert path(*waves) == [(0.0, 4.0, 2), (4.0, 10.0, 3)]


def test_a_child_counts_only_within_its_parent() -> None:
    assert path((0, None, 2.0, 4.0), (1, 0, 0.0, 9.0)) == [(0.0, 2.0, None), (2.0, 4.0, 1), (4.0, 10.0, None)]


def test_a_step_without_end_runs_to_the_end() -> None:
    assert path((0, None, 3.0, None)) == [(0.0, 3.0, None), (3.0, 10.0, 0)]


def test_steps_outside_of_the_session_or_without_length_do_not_count() -> None:
    assert path((0, None, -5.0, -1.0), (1, None, 11.0, 12.0), (2, None, 5.0, 5.0)) == [(0.0, 10.0, None)]


def test_unknown_and_cyclic_parents_make_a_step_top_level() -> None:
    steps = [(0, 99, 0.0, 2.0), (1, 2, 2.0, 6.0), (2, 1, 3.0, 5.0), (3, 3, 6.0, 10.0)]
    parents = resolved_parents(steps)
    assert (parents[0], parents[3]) == (None, None)
    assert sorted([parents[1] is None, parents[2] is None]) == [False, True]
    assert math.isclose(sum(critical_seconds(steps, 0.0, 10.0).values()), 10.0)


def test_of_duplicates_the_first_counts() -> None:
    assert path((0, None, 0.0, 2.0), (0, None, 2.0, 10.0)) == [(0.0, 2.0, 0), (2.0, 10.0, None)]


def test_children_count_to_their_top_level_ancestor() -> None:
    steps = [(0, None, 0.0, 8.0), (1, 0, 1.0, 7.0), (2, 1, 2.0, 3.0)]
    assert critical_seconds(steps, 0.0, 10.0) == {0: 2.0, 1: 5.0, 2: 1.0, None: 2.0}
    assert critical_seconds(steps, 0.0, 10.0, inclusive=True) == {0: 8.0, 1: 6.0, 2: 1.0, None: 2.0}


def test_a_chain_of_ten_thousand_nested_steps_needs_no_recursion() -> None:
    n = 10_000
    chain = [(i, i - 1 if i else None, float(i), 3.0 * n - i) for i in range(n)]
    assert len(critical_path(chain, 0.0, 3.0 * n)) == 2 * n - 1
    assert critical_seconds(chain, 0.0, 3.0 * n, inclusive=True)[0] == 3.0 * n


def test_many_parallel_steps() -> None:
    n = 50_000
    crowd = [(i, None, float(i % 977), float(i % 977 + i % 89)) for i in range(n)]
    last = max(end for _, _, _, end in crowd)
    segments = critical_path(crowd, 0.0, 1100.0)
    assert segments[0].start == 0.0
    assert segments[-1] == Segment(last, 1100.0, None)


@settings(max_examples=200, deadline=None)
@given(spans)
def test_a_step_is_on_the_path_while_one_inside_it_is(steps: list[Span]) -> None:
    parents = resolved_parents(steps)
    path = critical_path(steps, 0.0, 10.0)
    expected: dict[int, list[tuple[float, float]]] = {}
    for segment in path:
        seq = segment.seq
        while seq is not None:
            parts = expected.setdefault(seq, [])
            if parts and parts[-1][1] == segment.start:
                parts[-1] = (parts[-1][0], segment.end)
            else:
                parts.append((segment.start, segment.end))
            seq = parents[seq]
    assert parts_of_path(path, parents) == {seq: tuple(parts) for seq, parts in expected.items()}


def test_a_step_with_very_many_parts_on_the_path_keeps_the_widest_gaps() -> None:
    count = 3 * MOST_PARTS
    inner = [Span(seq, 0, seq, seq + (0.5 if seq % 3 else 0.9)) for seq in range(1, count)]
    path = [Segment(each.start, each.end or 0.0, each.seq) for each in inner]
    parts = parts_of_path(path, resolved_parents([Span(0, None, 0.0, count), *inner]))[0]
    assert len(parts) <= MOST_PARTS
    assert (parts[0][0], parts[-1][1]) == (inner[0].start, inner[-1].end)


def test_thousands_of_nested_steps_share_their_parts() -> None:
    deep = 20_000
    parents: dict[int, int | None] = {seq: seq - 1 if seq else None for seq in range(deep)}
    parts = parts_of_path([Segment(0.0, 1.0, deep - 1), Segment(2.0, 3.0, deep - 1)], parents)
    assert parts[0] is parts[deep - 1] == ((0.0, 1.0), (2.0, 3.0))
