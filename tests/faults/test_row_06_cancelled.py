"""A cancelled task, an interrupt inside a step: it is closed as failed, the same exception object passes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

import pytest

import perfdb


def only_step(tracker: perfdb.Tracker) -> tuple[bool | None, str | None]:
    assert tracker.session is not None
    (step,) = tracker.session.steps
    return step.success, step.error_message


@pytest.mark.parametrize("error", [KeyboardInterrupt(), asyncio.CancelledError("stop"), SystemExit(3)])
def test_row_06_what_is_no_error_but_ends_a_step(error: BaseException) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with pytest.raises(type(error)) as caught, tracker.step("call"):
        raise error
    assert caught.value is error
    success, message = only_step(tracker)
    assert success is False
    assert message is not None


def test_row_06_a_task_is_cancelled(history: Callable[[], perfdb.History]) -> None:
    seen: list[BaseException] = []
    tracker = perfdb.create_tracker(console=False, monitor=False)

    async def cancelled() -> None:
        tracker.start_pipeline()

        async def call() -> None:
            async with tracker.step("call"):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError as error:
                    seen.append(error)
                    raise

        task = asyncio.ensure_future(call())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError as error:
            seen.append(error)
        tracker.end_pipeline(success=False)

    asyncio.run(cancelled())
    assert len(seen) == 2
    assert seen[0] is seen[1]
    assert only_step(tracker)[0] is False


def test_row_06_control_c_in_the_middle_of_a_step() -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()

    def interrupted() -> None:
        with tracker.step("call"):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert only_step(tracker)[0] is False
