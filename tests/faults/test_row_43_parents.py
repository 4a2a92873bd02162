"""Row 43: every step finds its parent, wherever it runs, or its loss is counted and said."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import os
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import perfdb
from perfdb import recorder
from perfdb.recording import context
from perfdb.recording.step import Step
from perfdb.recording.tracker import Tracker
from perfdb.settings import load


@pytest.fixture
def tracker(tmp_path: Path) -> Iterator[Tracker]:
    made = perfdb.create_tracker(console=False, monitor=False, strict=True)
    made.start_pipeline()
    yield made
    if made.running:
        made.end_pipeline()


def parents(tracker: Tracker) -> dict[str, str | None]:
    assert tracker.session is not None
    names = {step.seq: step.step_name for step in tracker.session.steps}
    return {
        step.step_name: None if step.parent_seq is None else names[step.parent_seq]
        for step in tracker.session.steps
    }


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


# -- sessions within sessions ----------------------------------------------------------------


def test_row_43_when_an_inner_session_ends_the_outer_one_is_current_again() -> None:
    with perfdb.track("request") as outer, outer.step("whole"):
        with perfdb.track("job") as inner, perfdb.current().step("of the job"):
            assert perfdb.current().name == "of the job"  # type: ignore[union-attr]
        perfdb.current().set(user="u1")
        with perfdb.current().step("after"):
            pass
    assert parents(inner) == {"of the job": None}
    assert parents(outer) == {"whole": None, "after": "whole"}
    assert outer.session is not None
    assert outer.session.steps[0].additional_data == {"user": "u1"}
    assert outer.health()["ok"]


def test_row_43_inside_an_inner_session_that_is_what_is_current() -> None:
    with perfdb.track("request") as outer, outer.step("whole"), perfdb.track("job") as inner:
        assert perfdb.current() is inner
        with outer.step("of the outer one"), inner.step("of the inner one"):
            pass
    assert parents(outer) == {"whole": None, "of the outer one": "whole"}
    assert parents(inner) == {"of the inner one": None}


def test_row_43_sessions_that_end_in_another_thread_are_not_current_any_more() -> None:
    outer = perfdb.create_tracker("outer", console=False, monitor=False)
    outer.start_pipeline()
    inner = perfdb.create_tracker("inner", console=False, monitor=False)
    inner.start_pipeline()
    in_thread(inner.end_pipeline)
    assert perfdb.current() is outer
    outer.end_pipeline()
    assert context.open_from(context.current.get()) is None


def steps_alive() -> int:
    gc.collect()
    return sum(isinstance(each, Step) for each in gc.get_objects())


# -- steps that end elsewhere ----------------------------------------------------------------


def test_row_43_ten_thousand_sessions_whose_steps_end_elsewhere_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    tracker = perfdb.create_tracker(console=False, monitor=False)
    before = steps_alive()
    with ThreadPoolExecutor(1) as elsewhere:
        for _ in range(10_000):
            tracker.start_pipeline()
            step = tracker.step("job").start()
            elsewhere.submit(step.stop).result()
            tracker.end_pipeline()
    assert steps_alive() - before < 100
    found, node = 0, context.current.get()
    while node is not None:
        found, node = found + 1, node.outer
    assert found <= 1


# -- threads, tasks, pools, generators -------------------------------------------------------


def test_row_43_a_step_of_a_step_is_inside_of_it_from_any_thread(tracker: Tracker) -> None:
    def work() -> None:
        with outer.step("inner"), tracker.step("innermost"):
            pass

    with tracker.step("outer") as outer:
        in_thread(work)
    assert parents(tracker) == {"outer": None, "inner": "outer", "innermost": "inner"}


def test_row_43_a_parent_can_be_named(tracker: Tracker) -> None:
    first = tracker.step("first").start()
    second = tracker.step("second", parent="no step, an attribute").start()
    tracker.step("of the first", parent=first).start().stop()
    second.stop()
    first.stop()
    tracker.step("later", parent=first).start().stop()
    assert parents(tracker) == {
        "first": None, "second": "first", "of the first": "first", "later": "first"
    }  # fmt: skip
    assert tracker.session is not None
    assert tracker.session.steps[1].additional_data == {"parent": "no step, an attribute"}


def test_row_43_carry_takes_step_and_session_along_for_every_kind_of_function(
    tracker: Tracker,
) -> None:
    def plain() -> None:
        perfdb.current().step("plain").start().stop()

    async def coroutine() -> None:
        await asyncio.sleep(0)
        async with perfdb.current().step("coroutine"):
            await asyncio.sleep(0)

    def generator() -> Iterator[int]:
        with perfdb.current().step("generator"):
            yield 1
            perfdb.current().step("inside").start().stop()

    async def async_generator() -> AsyncIterator[int]:
        async with perfdb.current().step("async generator"):
            yield 1

    async def all_of(items: AsyncIterator[int]) -> list[int]:
        return [item async for item in items]

    with tracker.step("outer"):
        carried = [perfdb.carry(each) for each in (plain, coroutine, generator, async_generator)]
    calls: list[Callable[[], object]] = [
        carried[0],
        lambda: asyncio.run(carried[1]()),  # type: ignore[arg-type]
        lambda: list(carried[2]()),  # type: ignore[call-overload]
        lambda: asyncio.run(all_of(carried[3]())),  # type: ignore[arg-type]
    ]
    for call in calls:
        in_thread(call)
    # "outer" had ended when they ran: they are the session's own
    assert parents(tracker) == {
        "outer": None, "plain": None, "coroutine": None, "generator": None, "inside": "generator",
        "async generator": None,
    }  # fmt: skip


def test_row_43_whatever_is_called_like_a_function_is_wrapped_as_what_it_is(tracker: Tracker) -> None:
    class Coroutine:
        async def __call__(self) -> str | None:
            await asyncio.sleep(0)
            return perfdb.context()

    class Generator:
        def __call__(self) -> Iterator[str]:
            yield perfdb.context()

    class AsyncGenerator:
        async def __call__(self) -> AsyncIterator[str]:
            yield perfdb.context()

    @types.coroutine
    def awaited_generator() -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return perfdb.context()

    class Methods:
        @tracker.step("s")
        @staticmethod
        def static() -> str:
            return perfdb.context()

        @tracker.step("s")
        @classmethod
        def of_class(cls) -> str:
            assert cls is Methods
            return perfdb.context()

    async def awaited(function: Any) -> str:
        found: str = await tracker.step("s")(function)()
        return found

    async def first_of(function: Any) -> list[str]:
        return [item async for item in tracker.step("s")(function)()]

    tokens = [
        asyncio.run(awaited(Coroutine())),
        asyncio.run(awaited(awaited_generator)),
        *tracker.step("s")(Generator())(),
        *asyncio.run(first_of(AsyncGenerator())),
        Methods.static(),
        Methods().static(),
        Methods.of_class(),  # type: ignore[call-arg]
        Methods().of_class(),
    ]

    assert tokens == [f"{tracker.session_id}:{n}" for n in range(8)]


def test_row_43_what_holds_a_step_can_be_copied_and_says_how_to_send_it_elsewhere(tracker: Tracker) -> None:
    with tracker.step("s") as step:
        held = {"run": tracker, "step": step}
        assert copy.deepcopy(held) == held
        assert copy.copy(step) is step
        for each in (tracker, step, perfdb.carry(len)):
            with pytest.raises(TypeError, match=r"perfdb\.join\(token\)"):
                cloudpickle.dumps(each)
    assert parents(tracker) == {"s": None}


def test_row_43_a_decorated_function_is_a_session_in_the_process_that_it_is_sent_to(tmp_path: Path) -> None:
    settings = load(home=tmp_path / "explicit", pipeline="sent")
    assert copy.deepcopy(settings) == settings
    for options in ({"home": tmp_path / "named"}, {"settings": settings}):
        decorated = perfdb.track("sent", console=False, customer="acme", **options)(  # type: ignore[arg-type]
            lambda n: n + 1
        )
        code = f"import cloudpickle; print(cloudpickle.loads({cloudpickle.dumps(decorated)!r})(1))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("2\n", "")
    for name in ("named", "explicit"):
        found = perfdb.History(home=tmp_path / name).session("last")
        assert (found.pipeline, dict(found.attributes)) == ("sent", {"customer": "acme"})


def test_row_43_map_takes_the_session_along_where_no_step_is_open(tracker: Tracker) -> None:
    def work(n: int) -> None:
        with perfdb.current().step(f"n{n}"):
            pass
        perfdb.current().set(seen=n)

    tracker.map(work, [1, 2, 3])
    tracker.end_pipeline()
    assert set(parents(tracker)) == {"n1", "n2", "n3"}
    assert tracker.session is not None
    assert "seen" in tracker.session.attributes


def test_row_43_pools_that_know_nothing_of_it_keep_the_parent_on_request(tracker: Tracker) -> None:
    def work(name: str) -> str:
        with perfdb.current().step(name):
            return name

    with tracker.step("outer"):
        with perfdb.Executor(2) as pool:
            assert list(pool.map(work, ["e1", "e2"])) == ["e1", "e2"]
        end = perfdb.carry_in_pools()
        try:
            with ThreadPoolExecutor(2) as pool:
                pool.submit(work, "t1").result()
            with ThreadPool(2) as threads:
                threads.map(work, ["p1", "p2"])
                threads.apply(work, ("p3",))
        finally:
            end()
        assert not hasattr(ThreadPoolExecutor.submit, "__wrapped__")
    assert {name for name, parent in parents(tracker).items() if parent == "outer"} == {
        "e1", "e2", "t1", "p1", "p2", "p3"
    }  # fmt: skip


def test_row_43_joblibs_threads_keep_the_parent_on_request(tracker: Tracker) -> None:
    joblib = pytest.importorskip("joblib")

    def work(n: int) -> None:
        with perfdb.current().step(f"n{n}"):
            pass

    end = perfdb.carry_in_pools()
    try:
        with tracker.step("outer"):
            # more than it hands in at once: the pool's own thread hands in the others
            joblib.Parallel(n_jobs=2, prefer="threads")(joblib.delayed(work)(n) for n in range(20))
    finally:
        end()
    assert parents(tracker) == {"outer": None, **{f"n{n}": "outer" for n in range(20)}}


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_row_43_what_is_carried_once_keeps_the_parent_whoever_takes_the_items(
    tracker: Tracker, return_as: str
) -> None:
    joblib = pytest.importorskip("joblib")

    def work(number: int) -> int:
        with perfdb.current().step("inner"):
            return number

    with tracker.step("outer") as outer:
        carried = perfdb.carry(work)
        called = joblib.Parallel(n_jobs=2, prefer="threads", return_as=return_as)(
            joblib.delayed(carried)(number) for number in range(20)
        )
        assert sorted(called) == list(range(20))
    assert [step.parent_seq for step in tracker.session.steps if step.step_name == "inner"] == 20 * [
        outer.seq
    ]


def test_row_43_a_generator_that_is_resumed_in_fresh_contexts_keeps_its_parent(
    tracker: Tracker,
) -> None:
    def stream() -> Iterator[int]:
        with tracker.step("stream"):
            for n in range(3):
                with tracker.step(f"chunk {n}"):
                    pass
                with perfdb.current().step(f"current {n}"):
                    pass
                yield n

    items = stream()
    for n in range(3):
        assert contextvars.copy_context().run(next, items) == n
    in_thread(lambda: list(items))
    expected = {f"{kind} {n}": "stream" for n in range(3) for kind in ("chunk", "current")}
    assert parents(tracker) == {"stream": None, **expected}


def test_row_43_a_tracked_generator_is_a_session_until_it_is_exhausted_or_closed() -> None:
    runs: list[Tracker] = []

    @perfdb.track("generator")
    def produce() -> Iterator[int]:
        runs.append(perfdb.current())  # type: ignore[arg-type]
        for n in range(3):
            with perfdb.current().step("item"):
                yield n

    assert list(produce()) == [0, 1, 2]
    closed = produce()
    next(closed)
    assert not isinstance(perfdb.current(), Tracker)  # its consumer is outside of it
    closed.close()  # type: ignore[attr-defined]
    failing = produce()
    next(failing)
    with pytest.raises(ValueError, match="no"):
        failing.throw(ValueError("no"))  # type: ignore[attr-defined]
    found = [run.session for run in runs]
    assert [len(each.steps) for each in found if each is not None] == [3, 1, 1]
    assert [each.status for each in found if each is not None] == ["completed", "completed", "failed"]


def test_row_43_a_tracked_async_generator_is_a_session_until_it_is_exhausted() -> None:
    runs: list[Tracker] = []

    @perfdb.track("async generator")
    async def produce() -> AsyncIterator[int]:
        runs.append(perfdb.current())  # type: ignore[arg-type]
        for n in range(3):
            async with perfdb.current().step("item"):
                await asyncio.sleep(0)
            yield n

    async def all_items() -> list[int]:
        return [item async for item in produce()]

    assert asyncio.run(all_items()) == [0, 1, 2]
    (run,) = runs
    assert run.session is not None
    assert (run.session.status, len(run.session.steps)) == ("completed", 3)


def test_row_43_what_is_recorded_nowhere_is_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def foreign() -> None:
        for _ in range(3):
            with perfdb.current().step("nowhere"):
                perfdb.current().set(rows=3)

    in_thread(foreign)  # nothing runs: nothing is lost
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    in_thread(foreign)
    tracker.end_pipeline()
    health = tracker.health()
    assert (health["lost"], health["ok"]) == (6, False)
    assert "perfdb.carry" in health["last_error"]
    assert len([record for record in caplog.records if "perfdb.carry" in record.message]) == 1


# -- processes -------------------------------------------------------------------------------


def by_name(history: perfdb.History, session: str) -> dict[str, str | None]:
    steps = history.session(session).steps
    names = {step.seq: step.step_name for step in steps}
    return {step.step_name: None if step.parent_seq is None else names[step.parent_seq] for step in steps}


def test_row_43_what_outlives_its_session_is_counted_there_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with perfdb.track("request") as run, run.step("handle"):
        copied = contextvars.copy_context()  # of a task, or of a streamed answer
    health = run.health()
    assert health["lost"] == 0

    def later() -> None:
        with perfdb.current().step("chunk"):
            pass

    with perfdb.track("another") as other:
        copied.run(later)
        copied.run(later)
    later()  # here the session is over, and nothing is left of it
    assert run.health()["lost"] == 2
    assert other.health()["lost"] == 0
    assert "step 'chunk' of perfdb.current() was called after the end of its session" in caplog.text


@pytest.mark.process
def test_row_43_a_forked_childs_steps_keep_the_step_they_were_forked_in(
    run: Callable[[str], subprocess.CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
    recorded_url: str,
) -> None:
    ended = run("""
        tracker.start_pipeline(session_id="parent")
        with tracker.step("outer"):
            child = os.fork()
            if not child:
                with tracker.step("in the child"):
                    with perfdb.current().step("innermost"):
                        pass
                perfdb.recorder.close(20)
                os._exit(0)
            os.waitpid(child, 0)
            with tracker.step("in the parent"):
                pass
        tracker.end_pipeline()
    """)
    assert ended.returncode == 0, ended.stderr
    assert by_name(history(recorded_url), "parent") == {
        "outer": None, "in the child": "outer", "innermost": "in the child", "in the parent": "outer"
    }  # fmt: skip


JOINING = """
    import perfdb
    with perfdb.join() as run:
        with run.step("in another program"):
            with perfdb.current().step("innermost"):
                pass
"""


@pytest.mark.process
def test_row_43_another_program_joins_with_a_token(
    recorded_url: str, history: Callable[[str], perfdb.History]
) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline(session_id="whole")
    program = [sys.executable, "-c", textwrap.dedent(JOINING)]
    with tracker.step("outer"):
        token = perfdb.context()
        for _ in range(2):
            subprocess.run(program, env={**os.environ, **token.environ}, check=True)
    tracker.end_pipeline()
    assert token == "whole:0"
    steps = history(recorded_url).session("whole").steps
    assert [step.step_name for step in steps].count("in another program") == 2
    assert len({step.seq for step in steps}) == 5
    assert by_name(history(recorded_url), "whole") == {
        "outer": None, "in another program": "outer", "innermost": "in another program"
    }  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_row_43_a_pool_of_processes_joins_in_its_initializer(
    method: str, home: Path, tmp_path: Path, history: Callable[[], perfdb.History]
) -> None:
    program = f"""
        import multiprocessing, perfdb
        from concurrent.futures import ProcessPoolExecutor

        def work(n):
            with perfdb.current().step(f"n{{n}}"):
                return n

        if __name__ == "__main__":
            with perfdb.track("p", console=False) as run, run.step("outer"):
                way = multiprocessing.get_context("{method}")
                with ProcessPoolExecutor(
                    2, mp_context=way, initializer=perfdb.join, initargs=(perfdb.context(),)
                ) as pool:
                    assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True, timeout=120)
    assert by_name(history(), "last") == {"outer": None, **{f"n{n}": "outer" for n in range(4)}}


def test_row_43_a_token_says_what_is_current_and_makes_a_traceparent(tracker: Tracker) -> None:
    alone = perfdb.context()
    with tracker.step("outer"):
        inside = perfdb.context()
    tracker.end_pipeline()
    assert alone == tracker.session_id
    assert inside == f"{tracker.session_id}:0"
    version, trace, span, flags = inside.traceparent.split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
    assert alone.traceparent.split("-")[1] == trace
    assert perfdb.context() == ""
    assert perfdb.context().environ == {}
    with perfdb.join("") as nothing, nothing.step("unrecorded"):
        pass


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "token",
    [
        "../x",
        "a b",
        "ok:-1",
        "ok:x",
        "ok:9007199254740992",
        "ok:",
        "ok:0:" + "g" * 32,
        "x" * 200,
        TRACEPARENT,
    ],
)
def test_row_43_what_is_no_token_is_refused_with_what_to_give(token: str) -> None:
    with pytest.raises(perfdb.UsageError, match=r"perfdb\.context\(\)"):
        perfdb.join(token)


def test_row_43_a_forged_token_writes_nothing_of_other_sessions(
    home: Path, tmp_path: Path, history: Callable[[], perfdb.History]
) -> None:
    """A token of another home, a step that is not there, another trace: only new steps come of it."""
    with perfdb.track("p", console=False, monitor=False) as run, run.step("outer"):
        token = perfdb.context()
    before = history().session(run.session_id)
    others = tmp_path / "others"
    for given, place in (
        (token, others),
        (f"{run.session_id}:9007199254740991", None),
        (f"{run.session_id}:0:{'a' * 32}", None),
    ):
        with perfdb.join(given, home=place) as joined, joined.step("forged"):
            joined.end_pipeline(success=False, error="forged")
    recorder.close()
    after = history().session(run.session_id)
    kept = (
        "pipeline",
        "status",
        "success",
        "error_message",
        "start_time",
        "total_duration",
        "attributes",
        "mode",
    )
    assert [getattr(after, each) for each in kept] == [getattr(before, each) for each in kept]
    assert [step for step in after.steps if step.step_name != "forged"] == list(before.steps)
    assert {path.name for path in others.iterdir()} <= {"journal"} | {
        f"perfdb.sqlite3{end}" for end in ("", "-wal", "-shm")
    }
