"""What an exception makes of a step and of a session, and what is kept of it as its message."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import unittest
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Any

import click
import pytest

import perfdb
from perfdb import recorder
from perfdb.recording.outcomes import message_of, status_of, take_expected
from perfdb.recording.tracker import Tracker
from perfdb.records import Session, Step

Make = Callable[..., Tracker]


class Code(IntEnum):
    FINE = 0
    WRONG = 3


class QuotaError(Exception):
    pass


class StaleError(QuotaError):
    pass


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def like(module: str, name: str, base: type[BaseException] = Exception) -> BaseException:
    """Return an exception of a class that says it is another library's."""
    return type(name, (base,), {"__module__": module})("called off")


def session_of(tracker: Tracker) -> Session:
    assert tracker.session is not None
    return tracker.session


def step_of(tracker: Tracker) -> Step:
    (step,) = session_of(tracker).steps
    return step


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SystemExit(), "completed"),
        (SystemExit(0), "completed"),
        (SystemExit(None), "completed"),
        (SystemExit(False), "completed"),
        (SystemExit(Code.FINE), "completed"),
        (click.exceptions.Exit(0), "completed"),
        (SystemExit(2), "failed"),
        (SystemExit(True), "failed"),
        (SystemExit(Code.WRONG), "failed"),
        (SystemExit(""), "failed"),
        (SystemExit(0.0), "failed"),
        (SystemExit("no such file"), "failed"),
        (click.exceptions.Exit(1), "failed"),
        (click.exceptions.Abort(), "failed"),
        (KeyboardInterrupt(), "failed"),
        (TimeoutError(), "failed"),
        (StopIteration(), "failed"),
        (asyncio.CancelledError(), "interrupted"),
        (concurrent.futures.CancelledError(), "interrupted"),
        (GeneratorExit(), "interrupted"),
        (unittest.SkipTest("no database"), "interrupted"),
        (pytest.skip.Exception("no database"), "interrupted"),
        (like("celery.exceptions", "Retry", type(like("celery.exceptions", "TaskPredicate"))), "interrupted"),
        (like("huey.exceptions", "RetryTask"), "interrupted"),
        (like("airflow.sdk.exceptions", "AirflowSkipException"), "interrupted"),
        (like("airflow.sdk.exceptions", "TaskDeferred", BaseException), "interrupted"),
        (like("airflow.sdk.exceptions", "AirflowFailException"), "failed"),
        (like("dagster._core.definitions.events", "RetryRequested"), "interrupted"),
        (like("greenlet", "GreenletExit", BaseException), "interrupted"),
        (like("somewhere.else", "CancelledError"), "failed"),
        (like("host.tasks", "Stopped", asyncio.CancelledError), "interrupted"),
    ],
    ids=repr,
)
def test_what_an_exception_makes_of_the_work(error: BaseException, status: str) -> None:
    assert status_of(error) == status


@pytest.mark.parametrize(
    ("leaves", "status"),
    [
        ([asyncio.CancelledError(), GeneratorExit()], "interrupted"),
        ([asyncio.CancelledError(), ValueError()], "failed"),
        ([BaseExceptionGroup("inner", [GeneratorExit()])], "interrupted"),
        ([BaseExceptionGroup("inner", [GeneratorExit(), KeyError()]), GeneratorExit()], "failed"),
        ([SystemExit(0)], "completed"),
        ([SystemExit(0), GeneratorExit()], "interrupted"),
        ([StaleError(), GeneratorExit()], "interrupted"),
    ],
    ids=repr,
)
def test_a_group_is_what_the_worst_in_it_is(leaves: list[BaseException], status: str) -> None:
    assert status_of(BaseExceptionGroup("several", leaves), (QuotaError,)) == status


def test_a_group_that_is_nested_deep_is_judged() -> None:
    error: BaseException = asyncio.CancelledError()
    for _ in range(3_000):
        error = BaseExceptionGroup("deeper", [error])
    assert status_of(error) == "interrupted"


def test_exceptions_of_the_libraries_themselves() -> None:
    trio = pytest.importorskip("trio")
    caught: list[BaseException] = []

    async def cancelled() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except BaseException as error:
                caught.append(error)
                raise

    trio.run(cancelled)
    greenlet = pytest.importorskip("greenlet")
    caught.append(greenlet.GreenletExit())
    assert {status_of(error) for error in caught} == {"interrupted"}


def test_no_library_is_imported_to_know_its_exceptions() -> None:
    import subprocess

    code = (
        "import sys\nfrom perfdb.recording import outcomes\noutcomes.status_of(ValueError())\n"
        "print({'asyncio', 'trio', 'celery', 'pytest', 'unittest', 'concurrent.futures'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("no tokens"), "ValueError: no tokens"),
        (ValueError(), "ValueError"),
        (asyncio.CancelledError(), "CancelledError"),
        (SystemExit(2), "SystemExit: 2"),
        (SystemExit("no such file"), "SystemExit: no such file"),
        (SilentError(), "SilentError"),
        (ValueError("password=hunter2"), "ValueError: password=[redacted]"),
        (ValueError("ValueError"), "ValueError"),
        (ValueError("a\nb"), "ValueError: a\nb"),
    ],
    ids=repr,
)
def test_a_message_begins_with_the_type(error: BaseException, message: str) -> None:
    assert message_of(error) == message


class NamelessKind(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__module__", "__qualname__"):
            raise RuntimeError("no name")
        return super().__getattribute__(name)


class NamelessError(Exception, metaclass=NamelessKind):
    pass


class EndlessGroup(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> tuple[Exception, ...]:  # type: ignore[override]
        return (self,)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NamelessError("x"), "<unreadable exception>"),
        (EndlessGroup("x", [ValueError()]), "EndlessGroup: x (1 sub-exception)"),
    ],
    ids=["nameless", "endless"],
)
def test_an_exception_that_answers_for_itself_ends_what_it_ends(
    tracker_with: Make, error: Exception, message: str
) -> None:
    tracker = tracker_with()
    tracker.start_pipeline()
    with pytest.raises(type(error)), tracker.step("s"):
        raise error
    tracker.end_pipeline(error=error)

    assert (step_of(tracker).success, step_of(tracker).error_message) == (False, message)
    assert (session_of(tracker).status, session_of(tracker).error_message) == ("failed", message)


def test_a_long_message_is_bounded() -> None:
    assert len(message_of(ValueError("x" * 100_000))) < 5_000
    assert len(message_of(type("E" * 100_000, (Exception,), {})("x"))) < 5_000


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (QuotaError, (QuotaError,)),
        ((QuotaError,), (QuotaError,)),
        ([QuotaError, KeyError], (QuotaError, KeyError)),
        (BaseException, (BaseException,)),
        (3.5, ()),
        ("QuotaError", ()),
        (None, ()),
        ((), ()),
        (int, ()),
        ((QuotaError, 3), ()),
        (QuotaError("an object"), ()),
    ],
)
def test_expected_counts_when_it_is_exception_classes_else_it_is_an_attribute(
    given: Any, taken: tuple[Any, ...]
) -> None:
    data = {"expected": given, "rows": 3}
    assert take_expected(data) == taken
    assert data == ({"rows": 3} if taken else {"expected": given, "rows": 3})


def test_a_step_that_was_called_off_has_an_end_and_a_reason(tracker: Tracker) -> None:
    with pytest.raises(asyncio.CancelledError), tracker.step("call"):
        raise asyncio.CancelledError("the client went away")
    step = step_of(tracker)
    assert (step.success, step.interrupted, step.failed) == (False, True, False)
    assert step.error_message == "CancelledError: the client went away"
    assert step.duration is not None
    tracker.end_pipeline()
    (row,) = perfdb.History().step_rows()
    assert (row["status"], row["success"], row["error_message"]) == ("interrupted", False, step.error_message)
    assert row["duration"] == step.duration
    assert perfdb.History().session().steps == (step,)
    assert perfdb.History().session().status == "completed"


def test_the_statuses_of_steps_are_those_of_the_exceptions(tracker: Tracker) -> None:
    for name, error in (("exit", SystemExit(0)), ("wrong", SystemExit(2)), ("stop", GeneratorExit())):
        with suppress(BaseException), tracker.step(name):
            raise error
    tracker.step("by hand").start().stop(error=asyncio.CancelledError())
    tracker.step("all is well").start().stop(success=False, error=SystemExit(0))
    tracker.step("in words").start().stop(error="no luck")
    tracker.end_pipeline()
    found = {row["step_name"]: (row["status"], row["error_message"]) for row in perfdb.History().step_rows()}
    assert found == {
        "exit": ("completed", None),
        "wrong": ("failed", "SystemExit: 2"),
        "stop": ("interrupted", "GeneratorExit"),
        "by hand": ("interrupted", "CancelledError"),
        "all is well": ("completed", None),
        "in words": ("failed", "no luck"),
    }


@pytest.mark.parametrize(
    ("error", "recorded"),
    [
        (SystemExit(0), ("completed", True, None)),
        (SystemExit(None), ("completed", True, None)),
        (SystemExit(1), ("failed", False, "SystemExit: 1")),
        (KeyError("x"), ("failed", False, "KeyError: 'x'")),
        (KeyboardInterrupt(), ("failed", False, "KeyboardInterrupt")),
        (asyncio.CancelledError("late"), ("interrupted", False, "CancelledError: late")),
        (pytest.skip.Exception("no database"), ("interrupted", False, "Skipped: no database")),
    ],
    ids=repr,
)
def test_a_tracked_session_ends_as_its_exception_says(
    home: Any, error: BaseException, recorded: tuple[str, bool, str | None]
) -> None:
    with pytest.raises(type(error)) as caught, perfdb.track("etl") as run:
        raise error
    assert caught.value is error
    session = perfdb.History().session()
    assert (session.status, session.success, session.error_message) == recorded
    assert session.total_duration is not None
    assert session_of(run) == session


def test_the_session_of_a_click_program_succeeds(home: Any) -> None:
    @click.command()
    @click.option("--code", type=int)
    def program(code: int) -> None:
        with perfdb.track("tool") as run, run.step("work"):
            click.get_current_context().exit(code)

    for code in (0, 3):
        with pytest.raises(SystemExit):
            program.main(["--code", str(code)])

    def outside() -> None:
        with perfdb.track("tool"):
            program.main(["--code", "0"])

    with pytest.raises(SystemExit):
        outside()
    rows = perfdb.History().session_rows()
    assert [row["status"] for row in rows if row["error_message"] is None] == ["completed"] * 3
    assert [row["error_message"] for row in rows if row["status"] == "failed"] == ["Exit: 3"]


@pytest.mark.parametrize("success", [True, False])
def test_an_exception_says_itself_how_a_session_ended(tracker_with: Make, success: bool) -> None:
    tracker = tracker_with()
    for error in (SystemExit(0), ValueError("no"), GeneratorExit()):
        tracker.start_pipeline()
        tracker.end_pipeline(success=success, error=error)
    statuses = [row["status"] for row in perfdb.History().session_rows()]
    assert statuses == ["completed", "failed", "interrupted"]


def test_expected_exceptions_of_a_step(tracker: Tracker) -> None:
    for name, expected, error in (
        ("itself", QuotaError, QuotaError("full")),
        ("derived", (QuotaError,), StaleError("old")),
        ("another", [QuotaError], ValueError("no")),
        ("all is well", (SystemExit,), SystemExit(0)),
    ):
        with suppress(BaseException), tracker.step(name, expected=expected, rows=3):
            raise error
    found = {step.step_name: step for step in session_of(tracker).steps}
    assert {name: step.interrupted for name, step in found.items()} == {
        "itself": True, "derived": True, "another": False, "all is well": False,
    }  # fmt: skip
    assert found["itself"].error_message == "QuotaError: full"
    assert found["all is well"].success is True
    assert all(step.additional_data == {"rows": 3} for step in found.values())


def test_expected_that_names_no_exceptions_is_an_attribute(tracker_with: Make) -> None:
    tracker = tracker_with()
    tracker.start_pipeline(expected=12.5)
    with tracker.step("load", expected="3 rows"):
        pass
    tracker.end_pipeline()
    session = perfdb.History().session()
    assert session.attributes == {"expected": 12.5}
    assert session.steps[0].additional_data == {"expected": "3 rows"}


def test_a_decorator_keeps_what_it_expects(tracker: Tracker) -> None:
    @tracker.step("call", expected=QuotaError)
    def call() -> None:
        raise QuotaError("full")

    for _ in range(2):
        with suppress(QuotaError):
            call()
    handle = tracker.step("handle", expected=QuotaError)
    for _ in range(2):
        with suppress(QuotaError), handle:
            raise QuotaError("full")
    assert [step.interrupted for step in session_of(tracker).steps] == [True] * 4


def test_what_a_session_expects_its_steps_expect(home: Any, tracker_with: Make) -> None:
    @perfdb.track("etl", expected=(QuotaError,), host="a")
    def nightly() -> None:
        with perfdb.current().step("load"):
            raise QuotaError("full")

    with suppress(QuotaError):
        nightly()
    tracker = tracker_with()
    tracker.start_pipeline(expected=QuotaError, host="a")
    with suppress(QuotaError), tracker.step("load"):
        raise QuotaError("full")
    tracker.end_pipeline(success=False, error=QuotaError("full"))
    tracker.start_pipeline()  # the next one expects nothing
    tracker.end_pipeline(error=QuotaError("full"))
    recorder.close(60.0)
    history = perfdb.History()
    assert [row["status"] for row in history.session_rows()] == ["interrupted", "interrupted", "failed"]
    assert [row["status"] for row in history.step_rows()] == ["interrupted", "interrupted"]
    assert [row["attributes"] for row in history.session_rows()] == [{"host": "a"}, {"host": "a"}, {}]


def test_steps_left_open_are_called_off_with_their_session(tracker: Tracker) -> None:
    tracker.step("open").start()
    tracker.end_pipeline(error=asyncio.CancelledError())
    step = step_of(tracker)
    assert (step.interrupted, step.error_message) == (True, "still open when the pipeline ended")


def test_an_attempt_that_ends_the_program_well_is_no_failed_one(tracker: Tracker) -> None:
    with tracker.step("call") as step:
        for error in (SystemExit(0), TimeoutError("slow"), asyncio.CancelledError()):
            with suppress(BaseException), step.attempt():
                raise error
    assert [(each.success, each.error_message) for each in step_of(tracker).attempts] == [
        (True, None),
        (False, "TimeoutError: slow"),
        (False, "CancelledError"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_console_says_that_a_step_was_called_off(
    tracker_with: Make, capsysbinary: pytest.CaptureFixture[bytes], encoding: str
) -> None:
    sys.stdout.reconfigure(encoding=encoding)  # type: ignore[union-attr]
    tracker = tracker_with(console=True)
    tracker.start_pipeline()
    with suppress(GeneratorExit), tracker.step("stream"):
        raise GeneratorExit("enough")
    tracker.end_pipeline(error=GeneratorExit("enough"))
    tracker.print_summary()
    printed = capsysbinary.readouterr().out.decode(encoding)
    mark = "⏹️" if encoding == "utf-8" else "[interrupted]"
    assert f"   {mark} Interrupted step: stream (0.00s): GeneratorExit: enough\n" in printed
    assert "Status: interrupted\nReason: GeneratorExit: enough\n" in printed
    assert f"   {mark} stream: 0.00s (interrupted)\n" in printed


def test_an_expected_class_that_cannot_be_asked_leaves_no_session_running(tracker_with: Make) -> None:
    class Asked(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise RuntimeError("not now")

    class Strange(Exception, metaclass=Asked):  # noqa: N818
        pass

    tracker = tracker_with()
    tracker.start_pipeline(expected=(Strange,))
    with suppress(ValueError), tracker.step("s"):
        raise ValueError("bad")
    tracker.end_pipeline(error=ValueError("bad"))
    assert (session_of(tracker).status, step_of(tracker).error_message) == ("failed", "ValueError: bad")
