"""Designs made from an event loop: the same steps, while the loop goes on."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
from typing import Any

import pytest

import perfdb
from perfdb.pathway.standin import faults
from perfdb.pathway.watching import Watch
from perfdb.vocabulary import DESIGN_STEPS


def test_a_design_is_awaited_and_answers_the_same(pathway: Any, room: bytes) -> None:
    response = asyncio.run(pathway.generate_async(room, design_style="japandi", fast_mode=True))

    assert list(response) == ["success", "data"]
    assert tuple(response["data"]["step_durations"]) == DESIGN_STEPS
    session = perfdb.History().session("last")
    assert session.attributes["design_style"] == "japandi"
    assert session.fast_mode is True


def test_the_loop_goes_on_meanwhile(pathway: Any, room: bytes, standin: Any) -> None:
    standin.faults.next("vision", faults.slow(0.3))

    async def both() -> int:
        turns = 0
        design = asyncio.create_task(pathway.generate_async(room, fast_mode=True))
        while not design.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert design.result()["success"]
        return turns

    assert asyncio.run(both()) > 5


def test_the_loop_does_not_wait_for_threads_that_begin(pathway: Any, room: bytes) -> None:
    async def begun() -> Any:
        # whoever begins a thread of any pool holds this lock meanwhile
        with concurrent.futures.thread._global_shutdown_lock:
            design = asyncio.create_task(pathway.generate_async(room, fast_mode=True))
            for _ in range(20):
                await asyncio.sleep(0.01)
        return await design

    assert asyncio.run(begun())["success"]


def test_several_at_once_are_sessions_of_their_own(make_pathway: Any, room: bytes) -> None:
    async def several() -> list[dict[str, Any]]:
        async with make_pathway(max_designs=2) as pathway:
            return list(
                await asyncio.gather(*(pathway.generate_async(room, fast_mode=True) for _ in range(4)))
            )

    responses = asyncio.run(several())

    assert len({response["data"]["performance_report"] for response in responses}) == 4
    assert list(perfdb.History().sessions()["status"]) == ["completed"] * 4


def test_a_cancelled_task_ends_its_design_before_the_next_paid_step(
    pathway: Any, room: bytes, standin: Any
) -> None:
    standin.faults.next("vision", faults.slow(0.5))
    watch = Watch()

    async def cancelled() -> None:
        task = asyncio.create_task(pathway.generate_async(room, watch=watch))
        while watch.progress().step is None:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    pathway.close()  # waits for what is under way

    assert not standin.requests("search")
    session = perfdb.History().session("last")
    assert session.status == "interrupted"
    assert "its task was cancelled" in str(session.error_message)


def test_one_that_was_called_off_while_it_waited_never_begins(make_pathway: Any, room: bytes) -> None:
    pathway = make_pathway(max_designs=1)

    async def two() -> None:
        first = asyncio.create_task(pathway.generate_async(room, fast_mode=True))
        second = asyncio.create_task(pathway.generate_async(room, fast_mode=True))
        await asyncio.sleep(0)
        second.cancel()
        assert (await first)["success"]
        with pytest.raises(asyncio.CancelledError):
            await second

    asyncio.run(two())

    assert len(perfdb.History().sessions()) == 1


def test_whoever_holds_the_watch_may_call_a_design_off(pathway: Any, room: bytes, standin: Any) -> None:
    watch = Watch()
    watch.cancel("the customer changed his mind")

    response = pathway.generate(room, watch=watch)

    assert response["success"] is False
    assert response["error"]["type"] == "cancelled"
    assert "changed his mind" in response["error"]["message"]
    assert not standin.requests("vision")


@pytest.mark.parametrize("kind", ["searches", "thumbnails"])
def test_a_failure_is_answered_and_not_raised(pathway: Any, room: bytes, standin: Any, kind: str) -> None:
    standin.faults.always("search" if kind == "searches" else "image", faults.unauthorized())

    response = asyncio.run(pathway.generate_async(room, fast_mode=True))

    assert response["success"] is False
