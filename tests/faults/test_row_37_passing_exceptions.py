"""Row 37: what a signal handler raises anywhere inside perfdb's frames reaches the host, the same object.

Of: guard.py, recording/frames.py.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import opcode
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePath
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

import perfdb
from perfdb.guard import foreign
from perfdb.integrations.asgi import PerfdbMiddleware as AsgiMiddleware
from perfdb.integrations.wsgi import PerfdbMiddleware as WsgiMiddleware
from perfdb.recording import context, native
from perfdb.recording.tracker import Tracker
from perfdb.store.database import Database
from perfdb.store.schema import ensure_schema

pytestmark = pytest.mark.process

ALARMS = """
    import random, signal
    class TimeLimit({base}): pass
    fired = arrived = 0
    def limit(number, frame):
        global fired, latest
        fired += 1
        latest = TimeLimit(fired)
        raise latest
    signal.signal(signal.SIGALRM, limit)
    random.seed({seed})
    def work():  # a loop in the `try` itself would end it with a jump that CPython 3.13 leaves unprotected
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + random.random() * 0.004)
        before, deadline = fired, time.time() + 5
        while fired == before and time.time() < deadline:
            {work}
    for job in range(100):
        try:
            work()
        except TimeLimit as error:
            arrived += error is latest
        signal.setitimer(signal.ITIMER_REAL, 0)
        if tracker.running:
            tracker.end_pipeline()
    print(fired, arrived, tracker.health()["errors"])
"""
STEPS = "tracker.running or tracker.start_pipeline(rows=[{1, 2}]); tracker.step('s', i=1).start().stop()"
WHOLE = (
    "tracker.start_pipeline(); tracker.step('s', i=1).start().stop(); tracker.end_pipeline(); "
    "tracker.save_performance_report()"
)
MAPS = "tracker.running or tracker.start_pipeline(); tracker.map(int, '123', max_workers=2)"


@pytest.mark.parametrize("work", [STEPS, WHOLE, MAPS], ids=["steps", "whole sessions", "maps"])
@pytest.mark.parametrize("base", ["Exception", "TimeoutError", "ValueError", "KeyError"])
def test_row_37_every_alarm_reaches_the_host(
    run: Callable[..., subprocess.CompletedProcess[str]], work: str, base: str
) -> None:
    ended = run(ALARMS.format(work=work, base=base, seed=len(work + base)))
    assert ended.returncode == 0, ended.stderr
    fired, arrived, errors = map(int, ended.stdout.split())
    assert (fired, arrived, errors) == (100, 100, 0), ended.stderr


def test_row_37_an_alarm_ends_the_wait_for_a_locked_database(
    run: Callable[..., subprocess.CompletedProcess[str]], home: Path
) -> None:
    ended = run("""
        import sqlite3
        class TimeLimit(Exception): pass
        def limit(*_): raise TimeLimit
        tracker.start_pipeline(); tracker.end_pipeline()
        lock = sqlite3.connect(os.environ["PERFDB_HOME"] + "/perfdb.sqlite3", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        signal.signal(signal.SIGALRM, limit)
        tracker.start_pipeline()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            tracker.end_pipeline()
        except TimeLimit:
            print("arrived", tracker.running, tracker.session.status)
        lock.execute("ROLLBACK")
    """)
    assert ended.stdout == "arrived False completed\n", ended.stderr


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
def test_row_37_an_alarm_ends_a_long_query(tmp_path: Path, kind: type[BaseException]) -> None:
    url = f"sqlite:///{tmp_path / 'perfdb.sqlite3'}"
    ensure_schema(url)
    limit, arrived = kind(), []

    def handler(*_: object) -> None:
        raise limit

    usual = signal.signal(signal.SIGALRM, handler)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(i) FROM n"
    try:
        with Database(url, migrates=False) as database, database.reading() as connection:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            connection.exec_driver_sql(numbers)
    except BaseException as error:
        arrived.append(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    assert arrived == [limit]


class Stop(Exception):  # noqa: N818 (no error)
    """Set from outside, as a pool that gives up on a worker does it."""


@pytest.mark.parametrize("kind", [Stop, TimeoutError, ValueError, sqlite3.OperationalError, RuntimeError])
def test_row_37_what_another_thread_sets_reaches_the_host(tmp_path: Path, kind: type[Exception]) -> None:
    arrived: list[int] = []
    ready, ended = threading.Event(), threading.Event()
    tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)

    def work() -> None:
        while not ended.is_set():
            try:
                ready.set()
                while not ended.is_set():
                    with tracker.step("s", n=len(arrived)):
                        pass
            except kind:
                arrived.append(len(arrived))

    tracker.start_pipeline()
    thread = threading.Thread(target=work, daemon=True)
    gc.disable()  # the interpreter ignores what is raised in callbacks of what the test run left behind
    thread.start()
    for n in range(20):
        assert ready.wait(60)
        ready.clear()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(kind))
        deadline = time.monotonic() + 60
        while len(arrived) <= n and time.monotonic() < deadline:
            time.sleep(0.001)
    ended.set()
    thread.join(60)
    gc.enable()
    tracker.end_pipeline()
    assert arrived == list(range(20))
    assert tracker.health()["errors"] == 0


def test_row_37_what_perfdb_raises_without_a_word_is_its_own() -> None:
    def raising() -> None:
        raise TimeoutError

    def nothing_left() -> None:
        next(iter(()))

    for action in (raising, nothing_left):
        names: dict[str, Any] = {"__name__": "perfdb.worker.thread"}
        code = FunctionType(
            action.__code__, names | {"TimeoutError": TimeoutError, "next": next, "iter": iter}
        )
        with pytest.raises((TimeoutError, StopIteration)) as caught:
            code()
        assert foreign(caught.value) is None


def raised_at(
    function: CodeType, kind: type[Exception], action: Callable[[], object]
) -> tuple[object, object]:
    """Call ``action`` with an exception at the first line of a function; return it, and what came out."""
    raised: list[BaseException] = []
    got: BaseException | None = None

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line" and frame.f_code is function and not raised:
            sys.settrace(None)
            raised.append(kind("limit"))
            raise raised[0]
        return trace

    sys.settrace(trace)
    try:
        action()
    except BaseException as error:
        got = error
    finally:
        sys.settrace(None)
    return raised, [got]


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (native.Flag.set, RuntimeError),
        (os.path.isfile, OSError),
        (Path.__str__, ValueError),
        (Path.__fspath__, FileNotFoundError),
        (Path.mkdir, OSError),
        (Path.is_dir, OSError),
        (os.path.exists, TimeoutError),
        (type(os.environ).__getitem__, KeyError),
        (Mapping.get, KeyError),
        (logging.Manager.getLogger, OSError),
        (logging.Logger.isEnabledFor, KeyError),
        (Tracker.end_pipeline, ValueError),
        (Tracker.start_pipeline, ValueError),
    ],
)
def test_row_37_no_handler_of_ours_takes_the_exception_for_its_own(
    tmp_path: Path, function: FunctionType, kind: type[Exception]
) -> None:
    trackers: list[Any] = []

    def whole() -> None:
        run = perfdb.track("p", home=tmp_path, console=False, monitor=False)
        trackers.append(run)
        with run as tracker:
            trackers.append(tracker)

    limit = type("Limit", (kind,), {})
    raised, got = raised_at(function.__code__, limit, whole)
    assert got == raised or (raised == [] and got == [None])  # not called at all
    for tracker in trackers[1:]:
        assert not tracker.running


# -- at each place where the interpreter lets a signal handler run ---------------------------------

# after a call, at a function's first instruction, and where a loop begins anew
_LETS_RUN = {
    opcode.opmap[name]
    for name in ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD")
    if name in opcode.opmap
}
Place = tuple[CodeType, int]
# From CPython 3.13 on, each `Path(text)` takes a TypeError between two of its instructions for its own.
_OF_PATHLIB = PurePath.__init__.__code__ if sys.version_info >= (3, 13) else None


class AnyError(
    FileNotFoundError,
    PermissionError,
    TimeoutError,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    RecursionError,
    ArithmeticError,
    BufferError,
    EOFError,
    MemoryError,
    sqlite3.OperationalError,
):
    """What most handlers of exceptions take for their own."""


class NamelessError(AttributeError):
    """What cannot be one with them."""


def called_places(action: Callable[[], object]) -> list[Place]:
    """Call ``action``; return the places at which a handler could have run, but those of this file."""
    found: dict[Place, None] = {}

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        code, before = frame.f_code, -1
        if code.co_filename == __file__:
            return None
        caller = frame.f_back
        if caller is not None and caller.f_code.co_filename == __file__:
            before = frame.f_lasti  # what begins is the host's call: nothing of ours has begun yet
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def local(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before
            if event == "opcode":
                if before < 0 or code.co_code[before] in _LETS_RUN:  # < 0: the first one is no event
                    found[code, before] = None
                before = frame.f_lasti
            return local

        return local

    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(None)
    return list(found)


def struck_at(place: Place, action: Callable[[], object]) -> tuple[bool, BaseException | None]:
    """Call ``action`` with a signal the first time at a place; return whether it came, and what came out."""
    wanted, at = place
    has_come = False

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code is not wanted or has_come:
            return None
        before = -1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False

        def local(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal before, has_come
            if event == "opcode" and not has_come:
                if before == at:
                    sys.settrace(None)
                    has_come = True
                    signal.raise_signal(signal.SIGALRM)
                before = frame.f_lasti
            return local

        return local

    sys.settrace(trace)
    try:
        action()
    except BaseException as error:
        return has_come, error
    finally:
        sys.settrace(None)
    return has_come, None


def by_hand(coroutine: Coroutine[None, None, None]) -> None:
    """Run what waits for nothing without a loop, whose frames would take an exception for their own."""
    with closing(coroutine):
        for _ in coroutine.__await__():
            raise AssertionError("it waits")


def strike_everywhere(work: str) -> None:
    """End this program with what was lost, having raised in it at each place of some work."""
    tracker = perfdb.create_tracker(monitor=False)

    def within_a_session(action: Callable[[], object]) -> None:
        if not tracker.running:
            tracker.start_pipeline(rows=[{1, 2}], place=Path())
        action()

    def steps() -> None:
        with tracker.step("outer", a=b"x", b={"c": [1, 2.5, Path()]}) as step:
            step.event("e", x=1)
            with step.attempt():
                tracker.step("inner").start().stop()
            perfdb.current().set(y=2)
        perfdb.usage({"model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 2}})
        tracker.event("e", x=1)

    def session() -> None:
        with perfdb.track("p") as run, run.step("s"):
            pass

    def functions() -> None:
        perfdb.carry(tracker.step("f")(int))()
        perfdb.carry_in_pools()()
        str(perfdb.context())

    def joined() -> None:
        with perfdb.track("p") as run, run.step("s"), perfdb.join(perfdb.context()) as further:
            further.step("t").start().stop()

    async def asynchronous() -> None:
        async with perfdb.track("p") as run, run.step("s"):
            pass

    def measured_elsewhere() -> None:
        intake.record(measured)

    def request_wsgi() -> None:
        body = wsgi({"REQUEST_METHOD": "GET", "PATH_INFO": "/x"}, lambda *_: None)
        try:
            b"".join(body)
        finally:
            body.close()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: object) -> None:
        pass

    async def page(scope: object, receive: object, send: Callable[[object], Any]) -> None:
        await send({"type": "http.response.start", "status": 500})
        await send({"type": "http.response.body"})

    def page_of_wsgi(environ: object, start: Callable[..., None]) -> Iterator[bytes]:
        start("200 OK", [])
        yield b"x"

    wsgi: Any = WsgiMiddleware(page_of_wsgi)
    asgi, scope = AsgiMiddleware(page), {"type": "http", "method": "GET", "path": "/x"}
    with perfdb.track("p", monitor=False) as run, run.step("s"):
        pass
    measured, intake = run.session, perfdb.Intake()

    def known() -> None:
        tracker.health(), tracker.session, tracker.step_durations, tracker.total_duration, tracker.alerts

    action: Callable[[], None] = {
        "steps": lambda: within_a_session(steps),
        "one session": session,
        "functions": lambda: within_a_session(functions),
        "what is known": lambda: within_a_session(known),
        "joined": joined,
        "asynchronous": lambda: by_hand(asynchronous()),
        "measured elsewhere": measured_elsewhere,
        "WSGI": request_wsgi,
        "ASGI": lambda: by_hand(asgi(scope, receive, send)),
    }[work]
    limit: Exception = AnyError()

    def handler(number: int, frame: object) -> None:
        raise limit

    usual = signal.signal(signal.SIGALRM, handler)
    lost: list[str] = []
    try:
        for _ in range(2):
            action()
        for place in called_places(action):
            for kind in (AnyError, NamelessError):
                limit = kind("limit")
                has_come, got = struck_at(place, action)
                if has_come and got is not limit and place[0] is not _OF_PATHLIB:
                    lost.append(f"{kind.__name__} in {place[0].co_qualname} at byte {place[1]}: {got!r}")
                if tracker.running:
                    tracker.end_pipeline()
                if context.running:
                    lost.append(f"a session after {kind.__name__} in {place[0].co_qualname}, byte {place[1]}")
                    context.running.clear()
                context.current.set(None)
                del got  # and what its frames hold: nothing of it is freed in the next round
    finally:
        signal.signal(signal.SIGALRM, usual)
    sys.exit("\n".join(lost) or tracker.health()["last_error"])


@pytest.mark.parametrize(
    "work",
    [
        "steps", "one session", "functions", "what is known", "joined", "asynchronous", "measured elsewhere",
        "WSGI", "ASGI",
    ],
)  # fmt: skip
def test_row_37_a_handler_may_raise_anything_at_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """The alarms at random moments above seldom find a place of few instructions: here each has its turn."""
    (tmp_path / "perfdb.toml").write_text("# waits for nothing\nwait_s = 0\n")
    monkeypatch.setenv("PERFDB_CONFIG", str(tmp_path / "perfdb.toml"))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    program = f"from {__name__} import strike_everywhere; strike_everywhere({work!r})"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_row_37_an_exception_in_the_middle_of_a_session_leaves_no_lock_of_the_hosts_loggers(
    tmp_path: Path,
) -> None:
    def whole() -> None:
        with perfdb.track("p", home=tmp_path, console=False, monitor=False) as tracker, tracker.step("s"):
            pass

    whole()
    for function in (logging.Manager.getLogger, logging.Logger.isEnabledFor):
        raised, _ = raised_at(function.__code__, type("Limit", (Exception,), {}), whole)
        assert raised == []  # never entered, so never left with its lock


def test_row_37_nothing_of_ours_runs_in_a_garbage_collection(
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """What a signal handler raises in a callback or finalizer is lost, whatever thread collects."""
    ended = run("""
        import gc
        gc.disable()
        def session():
            with perfdb.track("p") as run, run.step("s"):
                run.usual_durations
            perfdb.recorder.close()
        def ask():
            history = perfdb.History()
            history.sessions(), history.session("last")
        def fork():
            child = os.fork()
            if child == 0:
                session()
                os._exit(0)
            os.waitpid(child, 0)
        for action in (session, session, fork, ask):
            action()
            called = []
            noted = lambda frame, event, _: event == "call" and called.append(frame.f_code.co_name)
            sys.setprofile(noted)
            gc.collect()
            sys.setprofile(None)
            print(action.__name__, called)
    """)
    assert ended.stdout == "session []\nsession []\nfork []\nask []\n", ended.stderr


class HostsError(Exception):
    """A class that perfdb does not know."""


class Broken:
    """A value of the host's that cannot be shown."""

    def __repr__(self) -> str:
        raise HostsError("no text")


def test_row_37_what_a_value_of_the_host_raises_is_a_value_that_cannot_be_read(tmp_path: Path) -> None:
    tracker = perfdb.create_tracker(home=tmp_path, console=False, monitor=False)
    tracker.start_pipeline(value=Broken())
    with tracker.step("s", value=Broken(), rows=3):
        pass
    tracker.end_pipeline()
    assert tracker.session is not None
    assert tracker.session.steps[0].additional_data == {"value": "<unreadable Broken>", "rows": 3}


class HiddenError(Exception):
    """One that tells nobody what it is."""

    def __getattribute__(self, name: str) -> object:
        raise ValueError(name)


def test_row_37_an_exception_that_hides_what_it_is_passes_as_it_came(tmp_path: Path) -> None:
    hidden, arrived = HiddenError(), []
    with perfdb.track("p", home=tmp_path, console=False) as run:
        try:
            with run.step("s"):
                raise hidden
        except BaseException as error:
            arrived.append(error)
    assert arrived == [hidden]
    assert run.session is not None
    assert [step.error_message for step in run.session.steps] == ["HiddenError"]
    assert run.health()["ok"]


def test_row_37_a_failure_that_took_the_place_of_a_foreign_exception_gives_it_back() -> None:
    def limit(number: int, frame: object) -> None:
        raise HostsError(number)

    def converting() -> None:
        try:
            limit(14, sys._getframe())
        except HostsError:
            raise ValueError("cannot be read") from None

    class Exhausted(StopIteration):
        """What a generator makes a RuntimeError of."""

    def ending(number: int, frame: object) -> None:
        raise Exhausted(number)

    def caught(action: Callable[[], object]) -> BaseException | None:
        try:
            action()
        except (ValueError, RuntimeError) as error:
            return foreign(error)
        return None

    assert isinstance(caught(converting), HostsError)
    assert isinstance(caught(lambda: tuple(ending(14, sys._getframe()) for _ in "ab")), Exhausted)
    with suppress(HostsError):
        raise HostsError("the host's own")
    assert caught(lambda: int("x")) is None
    try:
        raise HostsError("handled by the host, which then calls perfdb")
    except HostsError:
        assert caught(lambda: int("x")) is None


async def out_of_time() -> None:
    await asyncio.wait_for(asyncio.sleep(30), 0.01)  # TimeoutError, and its cause a CancelledError


def interrupted_on_the_way() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ValueError("half a page") from error


@pytest.mark.parametrize(
    "work", [lambda: asyncio.run(out_of_time()), interrupted_on_the_way], ids=["timeout", "interrupt"]
)
def test_row_37_what_the_host_says_is_the_cause_does_not_take_the_place_of_its_exception(
    tmp_path: Path, work: Callable[[], None]
) -> None:
    raised: list[BaseException] = []

    def note() -> None:
        try:
            work()
        except Exception as error:
            raised.append(error)
            raise

    def by_hand() -> None:
        try:
            note()
        finally:  # whatever perfdb meets while that exception is on its way is its own
            run.start_pipeline()
            run.end_pipeline(success=False)
            run.save_performance_report()

    errors = (TimeoutError, ValueError)
    with pytest.raises(errors) as in_block, perfdb.track("p", home=tmp_path) as run, run.step("s"):
        note()
    with pytest.raises(errors) as in_calls:
        by_hand()

    assert [in_block.value, in_calls.value] == raised


# -- task queues ---------------------------------------------------------------------------


@contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server (Debian's package redis-server): time limits of task queues not tried")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


JOBS = """
    import time
    import perfdb

    def endless(i):
        with perfdb.track("job", console=False, i=i) as run:
            until = time.time() + 60
            while time.time() < until:
                with run.step("s", i=i):
                    sum(range(50))
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "worker"
    folder.mkdir()
    (folder / "jobs.py").write_text(textwrap.dedent(JOBS))
    return folder


def test_row_37_the_time_limit_of_rq_ends_a_job(jobs: Path, home: Path, tmp_path: Path) -> None:
    rq, redis = pytest.importorskip("rq"), pytest.importorskip("redis")
    with redis_server(tmp_path) as port:
        connection = redis.Redis(port=port)
        queue = rq.Queue(connection=connection)
        made = [queue.enqueue("jobs.endless", i, job_timeout=1) for i in range(4)]
        worker = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", f"redis://127.0.0.1:{port}"]
        subprocess.run(worker, cwd=jobs, timeout=120, check=True, capture_output=True)
        ended = [job.get_status(refresh=True) for job in made]
        connection.close()
    assert [str(getattr(status, "value", status)) for status in ended] == ["failed"] * 4
    perfdb.recorder.close()
    found = [
        (session.status, session.error_message)
        for session in map(perfdb.History().session, perfdb.History().sessions()["session_id"])
    ]
    assert len(found) == 4
    assert {status for status, _ in found} <= {"failed", "interrupted"}


def test_row_37_the_soft_time_limit_of_celery_ends_a_task(jobs: Path, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("celery")
    with redis_server(tmp_path) as port:
        program = f"""
            from celery import Celery
            from celery.exceptions import SoftTimeLimitExceeded
            import jobs
            app = Celery("tasks", broker="redis://127.0.0.1:{port}/0", backend="redis://127.0.0.1:{port}/1")

            @app.task(soft_time_limit=1, time_limit=60)
            def limited(i):
                try:
                    jobs.endless(i)
                except SoftTimeLimitExceeded:
                    return "ended"
                return "swallowed"
        """
        (jobs / "tasks.py").write_text(textwrap.dedent(program))
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", "2", "-l", "error"]
        worker = subprocess.Popen(
            command, cwd=jobs, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            code = """
                from tasks import limited
                print([result.get(timeout=90) for result in [limited.delay(i) for i in range(4)]])
            """
            asked = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code)],
                cwd=jobs,
                capture_output=True,
                text=True,
                timeout=120,
            )
        finally:
            worker.send_signal(signal.SIGTERM)
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
    assert asked.stdout == f"{['ended'] * 4}\n", asked.stderr


def _raises(kind: type[BaseException]) -> Callable[..., str]:
    def answer(*_: object) -> str:
        if kind is SystemExit:
            sys.exit("as a program ends")
        raise kind

    return answer


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
@pytest.mark.parametrize("name", ["__str__", "__repr__", "__bool__", "__iter__", "__len__"])
def test_row_37_what_a_value_raises_when_it_is_asked_never_comes_instead_of_the_hosts_exception(
    tmp_path: Path, name: str, kind: type[BaseException]
) -> None:
    odd = type("Odd", (Exception,), {name: _raises(kind)})
    listed = type("Listed", (list,), {name: _raises(kind)})
    error = odd("the host's")
    tracker = perfdb.create_tracker("p", home=tmp_path, console=False, monitor=False)
    for _ in range(2):
        tracker.start_pipeline(fast_mode=odd(), given=odd(), listed=listed())  # type: ignore[arg-type]
        with pytest.raises(odd) as passed, tracker.step("s", given=odd(), listed=listed()) as step:
            raise step.event("e", given=odd()) or error
        assert passed.value is error
        tracker.end_pipeline(odd(), error=error)  # type: ignore[arg-type]
        assert tracker.session is not None
        assert (tracker.session.status, [each.success for each in tracker.session.steps]) == (
            "failed",
            [False],
        )
    assert tracker.health()["errors"] == 0


def test_row_37_an_interrupt_within_a_value_that_is_asked_reaches_the_host(tmp_path: Path) -> None:
    """Python's own handler of SIGINT has no frame: only the instruction tells who raised it."""

    presses = [signal.SIGINT]

    class Slow:
        def __repr__(self) -> str:
            if presses:
                signal.raise_signal(presses.pop())
            return "slow"

    tracker = perfdb.create_tracker("p", home=tmp_path, console=False, monitor=False)
    tracker.start_pipeline()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            tracker.step("s", given=Slow()).start().stop()
    finally:
        signal.signal(signal.SIGINT, handler)
    tracker.end_pipeline()
    assert tracker.session is not None
    assert [each.step_name for each in tracker.session.steps] == ["s"]
