"""An interrupt inside a step is a failure, a cancellation is none: it has an end, a duration and a reason.

The same exception object passes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

import perfdb
from perfdb import recorder


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
    assert message.partition(":")[0] == type(error).__name__
    assert tracker.session is not None
    assert tracker.session.steps[0].interrupted is isinstance(error, asyncio.CancelledError)


def test_row_06_a_task_is_cancelled(recorded_url: str, history: Callable[[str], perfdb.History]) -> None:
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
        task.cancel("the client went away")
        try:
            await task
        except asyncio.CancelledError as error:
            seen.append(error)
            tracker.end_pipeline(success=False, error=error)

    asyncio.run(cancelled())
    assert len(seen) == 2
    assert seen[0] is seen[1]
    assert only_step(tracker)[0] is False
    recorder.close()
    was_interrupted(history(recorded_url), "CancelledError: the client went away")


def was_interrupted(history: perfdb.History, *reasons: str) -> None:
    """Check that session and steps are interrupted, with an end, a duration and a reason."""
    (session,) = history.session_rows()
    rows = [session, *history.step_rows()]
    assert {(row["status"], row["success"]) for row in rows} == {("interrupted", False)}
    assert all(row["end_time"] is not None for row in rows)
    assert session["total_duration"] is not None
    assert all(row["duration"] is not None for row in history.step_rows())
    assert [row["error_message"] for row in history.step_rows()] == list(reasons)
    assert session["error_message"] is not None


@pytest.mark.parametrize("library", ["asyncio", "trio"])
def test_row_06_a_scope_of_anyio_is_cancelled(
    library: str, recorded_url: str, history: Callable[[str], perfdb.History]
) -> None:
    anyio = pytest.importorskip("anyio")
    pytest.importorskip(library)

    async def call() -> None:
        async with perfdb.track("served") as run, run.step("call"):
            await anyio.sleep(60)

    async def served() -> None:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(call)
                await anyio.sleep(0.01)
                scope.cancel()

    anyio.run(served, backend=library)
    recorder.close()
    found = history(recorded_url)
    (step,) = found.step_rows()
    was_interrupted(found, step["error_message"])
    assert step["error_message"].startswith("Cancel")


def test_row_06_a_scope_of_trio_is_cancelled(history: Callable[[], perfdb.History]) -> None:
    trio = pytest.importorskip("trio")

    async def served() -> None:
        with trio.move_on_after(0.01), perfdb.track("served") as run, run.step("call"):
            await trio.sleep(60)

    trio.run(served)
    recorder.close()
    was_interrupted(history(), perfdb.History().step_rows()[0]["error_message"])


def test_row_06_a_generator_is_closed(history: Callable[[], perfdb.History]) -> None:
    def rows() -> Iterator[int]:
        with perfdb.track("served") as run, run.step("rows"):
            yield 1

    found = rows()
    next(found)
    found.close()  # type: ignore[attr-defined]
    recorder.close()
    was_interrupted(history(), "GeneratorExit")


def test_row_06_a_greenlet_is_killed(history: Callable[[], perfdb.History]) -> None:
    gevent = pytest.importorskip("gevent")

    def served() -> None:
        with perfdb.track("served") as run, run.step("call"):
            gevent.sleep(60)

    killed = gevent.spawn(served)
    gevent.sleep(0)
    killed.kill()
    recorder.close()
    was_interrupted(history(), "GreenletExit")


@pytest.mark.parametrize("name", ["Retry", "Ignore", "Reject"])
def test_row_06_a_task_of_celery_is_put_off(name: str, history: Callable[[], perfdb.History]) -> None:
    exceptions = pytest.importorskip("celery.exceptions")
    error = getattr(exceptions, name)("later")
    with pytest.raises(type(error)) as caught, perfdb.track("task") as run, run.step("call"):
        raise error
    assert caught.value is error
    recorder.close()
    was_interrupted(history(), f"{name}: {error}")


def test_row_06_a_test_is_skipped(history: Callable[[], perfdb.History]) -> None:
    with pytest.raises(pytest.skip.Exception), perfdb.track("suite") as run, run.step("case"):
        pytest.skip("no database here")
    recorder.close()
    was_interrupted(history(), "Skipped: no database here")


def test_row_06_a_task_group_that_was_cancelled_and_one_that_failed(
    history: Callable[[], perfdb.History],
) -> None:
    for leaf in (GeneratorExit(), ValueError("no")):
        group = BaseExceptionGroup("tasks", [asyncio.CancelledError(), leaf])
        with pytest.raises(BaseExceptionGroup), perfdb.track("served") as run, run.step("tasks"):
            raise group
    recorder.close()
    assert [row["status"] for row in history().step_rows()] == ["interrupted", "failed"]
    assert [row["status"] for row in history().session_rows()] == ["interrupted", "failed"]


def test_row_06_a_program_exits_well(
    run: Callable[..., subprocess.CompletedProcess[str]], history: Callable[[], perfdb.History]
) -> None:
    for number, code in enumerate(("", "0", "None", "False", "3", "'no such file'")):
        done = run(f"with perfdb.track('tool') as run, run.step('work'):\n    sys.exit({code})")
        assert done.returncode == {4: 3, 5: 1}.get(number, 0)
    rows = [(row["status"], row["error_message"]) for row in history().session_rows()]
    assert rows == [("completed", None)] * 4 + [
        ("failed", "SystemExit: 3"),
        ("failed", "SystemExit: no such file"),
    ]


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
    assert only_step(tracker)[1] == "KeyboardInterrupt"
    assert tracker.session is not None
    assert not tracker.session.steps[0].interrupted
