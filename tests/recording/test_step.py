"""Steps: nested, in threads and tasks, as decorators, and what is recorded of them.

Of: integrations/executors.py, recording/context.py, recording/mapping.py, recording/timed.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import perfdb
from perfdb.recording.tracker import Tracker
from perfdb.records import Step


def recorded(tracker: Tracker) -> dict[str, Step]:
    assert tracker.session is not None
    return {step.step_name: step for step in tracker.session.steps}


def parents(tracker: Tracker) -> dict[str, str | None]:
    steps = recorded(tracker)
    names = {step.seq: step.step_name for step in steps.values()}
    return {name: None if s.parent_seq is None else names[s.parent_seq] for name, s in steps.items()}


def test_a_step_inside_another_has_it_as_parent(tracker: Tracker) -> None:
    with tracker.step("outer"), tracker.step("inner"):
        pass
    with tracker.step("after"):
        pass
    assert parents(tracker) == {"outer": None, "inner": "outer", "after": None}


def test_data_given_and_set_become_additional_data(tracker: Tracker) -> None:
    with tracker.step("load", rows=3, name="x") as step:
        step.set(rows=4, ok=True)
    assert recorded(tracker)["load"].additional_data == {"rows": 4, "name": "x", "ok": True}


def test_the_line_of_a_step_says_null_where_nothing_tells_the_memory(tracker: Tracker) -> None:
    """Whatever its own data are called, and whatever else it has; ``%`` in a text means nothing."""
    live = tracker._live
    assert live is not None
    with tracker.step("100 %d", rss_peak_bytes=0, rss_mean_bytes=0, share="%s") as step:
        step.event("hit", rss_peak_bytes=0)
        with step.attempt():
            pass
        live.last_rss = step.rss_peak = step.rss_count = 0
    assert live.journal is not None
    written = [line.record for line in live.journal.lines()][-1]
    assert written is not None
    assert (written["rss_peak_bytes"], written["rss_mean_bytes"]) == (None, None)
    assert written["step_name"] == "100 %d"
    assert written["additional_data"] == {"rss_peak_bytes": 0, "rss_mean_bytes": 0, "share": "%s"}
    assert written["events"][0]["data"] == {"rss_peak_bytes": 0}
    assert len(written["attempts"]) == 1


def test_an_exception_is_recorded_and_passes_as_the_same_object(tracker: Tracker) -> None:
    error = RuntimeError("no tokens left")
    with pytest.raises(RuntimeError) as caught, tracker.step("call"):
        raise error
    assert caught.value is error
    step = recorded(tracker)["call"]
    assert (step.success, step.error_message) == (False, "RuntimeError: no tokens left")


def test_repeated_names_add_up(tracker: Tracker) -> None:
    for _ in range(3):
        with tracker.step("query"):
            pass
    assert tracker.session is not None
    durations = [step.duration or 0.0 for step in tracker.session.steps]
    assert len(durations) == 3
    assert tracker.step_durations == {"query": pytest.approx(sum(durations))}


def test_manual_start_and_stop(tracker: Tracker) -> None:
    step = tracker.step("manual").start()
    with tracker.step("nested"):
        pass
    step.stop(error="cut off")
    assert parents(tracker) == {"manual": None, "nested": "manual"}
    assert recorded(tracker)["manual"].error_message == "cut off"


def test_manual_steps_may_overlap(tracker: Tracker) -> None:
    first, second = tracker.step("first").start(), tracker.step("second").start()
    first.stop()
    second.stop()
    with tracker.step("third"):
        pass
    assert parents(tracker)["third"] is None


def test_attempts_split_work_from_back_off(tracker: Tracker) -> None:
    with tracker.step("search") as step:
        with suppress(TimeoutError), step.attempt():
            raise TimeoutError("too slow")
        threading.Event().wait(0.02)
        with step.attempt() as second:
            pass
    first, last = recorded(tracker)["search"].attempts
    assert (first.success, first.error_message, first.wait) == (False, "TimeoutError: too slow", 0.0)
    assert last.success
    assert last.wait == pytest.approx(second.wait, abs=1e-6)
    assert last.wait >= 0.02


def test_events_carry_their_time_and_data(tracker: Tracker) -> None:
    with tracker.step("search") as step:
        step.event("cache-hit", key="sofa")
        perfdb.current().event("second")
    first, second = recorded(tracker)["search"].events
    assert (first.name, dict(first.data), second.name) == ("cache-hit", {"key": "sofa"}, "second")
    assert recorded(tracker)["search"].start_time <= first.time <= second.time


def test_decorated_functions_are_steps_of_their_own(tracker: Tracker) -> None:
    @tracker.step("work", kind="plain")
    def work(x: int) -> int:
        return x + 1

    assert [work(1), work(2)] == [2, 3]
    assert work.__name__ == "work"
    assert tracker.session is not None
    assert [(s.step_name, dict(s.additional_data)) for s in tracker.session.steps] == [
        ("work", {"kind": "plain"})
    ] * 2


def test_decorated_coroutines_nest_in_their_own_task(tracker: Tracker) -> None:
    @tracker.step("fetch")
    async def fetch(name: str) -> str:
        async with tracker.step(f"read {name}"):
            await asyncio.sleep(0.001)
        return name

    async def both() -> list[str]:
        with tracker.step("all"):
            return list(await asyncio.gather(fetch("a"), fetch("b")))

    assert asyncio.run(both()) == ["a", "b"]
    assert tracker.session is not None
    names = {step.seq: step.step_name for step in tracker.session.steps}
    found = {
        (s.step_name, names.get(s.parent_seq if s.parent_seq is not None else -1))
        for s in tracker.session.steps
    }
    assert found == {("all", None), ("fetch", "all"), ("read a", "fetch"), ("read b", "fetch")}


def test_a_decorated_generator_is_open_until_it_is_exhausted(tracker: Tracker) -> None:
    @tracker.step("produce")
    def produce() -> Iterator[int]:
        with tracker.step("inside"):
            yield 1
        yield 2

    for _ in produce():
        with tracker.step("consume"):
            pass
    assert parents(tracker) == {"produce": None, "inside": "produce", "consume": None}
    assert recorded(tracker)["produce"].success is True


def test_a_generator_that_its_consumer_leaves_has_not_failed(tracker: Tracker) -> None:
    @tracker.step("produce")
    def produce() -> Iterator[int]:
        yield 1
        yield 2

    generator = produce()
    next(generator)
    generator.close()
    assert recorded(tracker)["produce"].success is True


def test_values_and_exceptions_reach_a_decorated_generator(tracker: Tracker) -> None:
    @tracker.step("echo")
    def echo() -> Iterator[object]:
        got = yield "ready"
        try:
            yield got
        except ValueError as error:
            yield str(error)
        return "end"

    generator = echo()
    assert next(generator) == "ready"
    assert generator.send(5) == 5  # type: ignore[attr-defined]
    assert generator.throw(ValueError("boo")) == "boo"  # type: ignore[attr-defined]
    with pytest.raises(StopIteration) as stop:
        next(generator)
    assert stop.value.value == "end"


def test_a_decorated_async_generator_is_one_step(tracker: Tracker) -> None:
    @tracker.step("stream")
    async def stream() -> AsyncIterator[int]:
        for i in range(3):
            yield i

    async def collect() -> list[int]:
        return [i async for i in stream()]

    assert asyncio.run(collect()) == [0, 1, 2]
    assert recorded(tracker)["stream"].success is True


def test_map_keeps_the_parent_and_the_order(tracker: Tracker) -> None:
    def search(query: str) -> str:
        with tracker.step("query", q=query):
            return query.upper()

    with tracker.step("search"):
        assert tracker.map(search, "abc", max_workers=2) == ["A", "B", "C"]
    assert tracker.session is not None
    parent, *children = tracker.session.steps
    assert [child.parent_seq for child in children] == [parent.seq] * 3
    assert {child.lane for child in children} <= {1, 2}


def test_carry_keeps_the_parent_in_any_pool(tracker: Tracker) -> None:
    def search() -> None:
        with tracker.step("query"):
            pass

    with tracker.step("search"), ThreadPoolExecutor(1) as pool:
        pool.submit(perfdb.carry(search)).result()
        pool.submit(search).result()
    assert tracker.session is not None
    parent, carried, plain = tracker.session.steps
    assert (carried.parent_seq, plain.parent_seq) == (parent.seq, None)


def test_two_trackers_do_not_mix(tracker: Tracker, tracker_with: Callable[..., Tracker]) -> None:
    other = tracker_with(pipeline="other")
    other.start_pipeline()
    with tracker.step("a"), other.step("b"), tracker.step("c"):
        pass
    assert parents(tracker) == {"a": None, "c": "a"}
    assert parents(other) == {"b": None}


def test_threads_share_a_tracker(tracker: Tracker) -> None:
    def work(i: int) -> None:
        for _ in range(50):
            with tracker.step(f"work {i}"):
                pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert tracker.session is not None
    assert len(tracker.session.steps) == 200
    assert len({step.seq for step in tracker.session.steps}) == 200


def test_current_is_the_innermost_step_then_the_tracker_then_nothing(tracker: Tracker) -> None:
    with tracker.step("a"):
        perfdb.current().set(found=1)
    assert recorded(tracker)["a"].additional_data == {"found": 1}
    assert perfdb.current() is tracker
    tracker.end_pipeline()
    nothing = perfdb.current()
    nothing.set(x=1)
    nothing.event("y")
    with nothing.step("z") as step, step.attempt():
        step.set(fine=True)
