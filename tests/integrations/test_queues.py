"""Tasks of Celery, RQ and Huey as sessions, with real workers and a real Redis.

Of: integrations/celery.py, integrations/huey.py, integrations/rq.py.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

import perfdb
from perfdb.records import Session
from tests.faults.test_row_37_passing_exceptions import redis_server

pytestmark = pytest.mark.process


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Session]]:
    """Return what reads all sessions, oldest first; the home is that of all programs of this test."""
    monkeypatch.setenv("PERFDB_HOME", str(tmp_path / "home"))

    def read() -> list[Session]:
        assert perfdb.Intake().flush(60)
        history = perfdb.History()
        found = [history.session(each) for each in history.sessions()["session_id"]]
        return sorted(found, key=lambda session: session.start_time)

    return read


TASKS = """
    import os, sys, time
    import perfdb
    from celery import Celery
    from celery.exceptions import SoftTimeLimitExceeded
    from perfdb.integrations.celery import record_tasks

    app = Celery("tasks", broker="redis://127.0.0.1:PORT/0", backend="redis://127.0.0.1:PORT/1")
    record_tasks()

    @app.task(name="add")
    def add(x):
        with perfdb.current().step("sum"):
            return x + 1

    @app.task(name="flaky", bind=True, max_retries=2)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0, exc=KeyError("away"))
        return "done"

    @app.task(name="broken")
    def broken():
        raise KeyError("rows")

    @app.task(name="limited", soft_time_limit=1, time_limit=60)
    def limited():
        until = time.time() + 60
        while time.time() < until:
            with perfdb.current().step("s"):
                sum(range(50))

    @app.task(name="overdue", time_limit=1)
    def overdue():
        with perfdb.current().step("before"):
            pass
        time.sleep(60)

    @app.task(name="killed")
    def killed():
        with open(f"acknowledged.{os.getpid()}", "a") as file:
            for n in range(10_000):
                with perfdb.current().step("s", n=n):
                    pass
                file.write(f"{n}\\n")
                file.flush()
                time.sleep(0.001)
"""


def test_celery_tasks_their_retries_and_killed_workers(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    pytest.importorskip("celery")
    with redis_server(tmp_path) as port:
        (tmp_path / "tasks.py").write_text(textwrap.dedent(TASKS).replace("PORT", str(port)))
        options = "-A tasks worker -c 5 -l error --prefetch-multiplier 1".split()
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", *options], cwd=tmp_path, start_new_session=True
        )
        ask = """
            import perfdb, tasks
            with perfdb.track("asks", console=False) as run, run.step("send"):
                made = tasks.add.delay(1)
            others = tasks.flaky, tasks.broken, tasks.limited, tasks.overdue
            made = [made, *(each.delay() for each in others)]
            for each in made:
                each.get(timeout=90, propagate=False)
            print([each.state for each in made])
            for _ in range(5):
                tasks.killed.delay()
        """
        try:
            asked = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(ask)],
                cwd=tmp_path, capture_output=True, text=True, timeout=120,
            )  # fmt: skip
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and len(busy := list(tmp_path.glob("acknowledged.*"))) < 5:
                time.sleep(0.05)
            children = [int(each.suffix[1:]) for each in busy]
            worker.send_signal(signal.SIGSTOP)  # it forks no others
            for pid in children:
                os.kill(pid, signal.SIGKILL)
        finally:
            for process in [*psutil.Process(worker.pid).children(recursive=True), worker]:
                process.kill()
            worker.wait(30)
    assert asked.stdout == "['SUCCESS', 'SUCCESS', 'FAILURE', 'FAILURE', 'FAILURE']\n", asked.stderr
    sessions = recorded()
    by_name: dict[str, list[Session]] = {}
    for session in sessions:
        by_name.setdefault(session.pipeline, []).append(session)
    (add,), flaky = by_name["add"], by_name["flaky"]
    assert (add.status, [step.step_name for step in add.steps]) == ("completed", ["sum"])
    assert 0 <= add.attributes["queue_s"] < 60
    assert add.attributes["traceparent"].startswith("00-")
    assert [each.status for each in flaky] == ["interrupted", "interrupted", "completed"]
    assert [each.attributes["retries"] for each in flaky] == [0, 1, 2]
    assert len({each.attributes["root_id"] for each in flaky}) == 1
    assert [each.error_message for each in by_name["broken"]] == ["KeyError: 'rows'"]
    (limited,) = by_name["limited"]
    assert (limited.status, limited.error_message) == (
        "failed",
        "SoftTimeLimitExceeded: SoftTimeLimitExceeded()",
    )
    (overdue,) = by_name["overdue"]
    assert (overdue.status, overdue.error_message) == (
        "failed",
        "the worker ended the task: its hard time limit, or a revocation",
    )
    assert [step.step_name for step in overdue.steps] == ["before"]
    assert len(by_name["killed"]) == len(children) == 5
    for session in by_name["killed"]:
        assert (session.status, session.total_duration) == ("interrupted", None)
        found = {step.additional_data.get("n") for step in session.steps}
        said = (tmp_path / f"acknowledged.{session.pid}").read_text().split()
        assert found >= {int(n) for n in said}


EAGER = """
    import sys
    from celery import Celery
    from perfdb.integrations.celery import record_tasks

    app = Celery("tasks", broker="memory://")
    app.conf.task_always_eager = True
    record_tasks()

    def leaves():
        sys.exit(0)

    def fails():
        raise KeyError("rows")

    def is_interrupted():
        raise KeyboardInterrupt

    for each in (leaves, fails, is_interrupted):
        try:
            app.task(each, name=each.__name__).delay()
        except BaseException as error:
            print(type(error).__name__)
"""


def test_an_exception_that_celery_lets_pass_says_what_became_of_the_task(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    pytest.importorskip("celery")
    program = [sys.executable, "-c", textwrap.dedent(EAGER)]
    ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["SystemExit", "KeyboardInterrupt"], ran.stderr
    assert [(each.pipeline, each.status, each.error_message) for each in recorded()] == [
        ("leaves", "completed", None),
        ("fails", "failed", "KeyError: 'rows'"),
        ("is_interrupted", "failed", "KeyboardInterrupt"),
    ]


def test_rq_jobs_and_their_retries(tmp_path: Path, recorded: Callable[[], list[Session]]) -> None:
    rq, redis = pytest.importorskip("rq"), pytest.importorskip("redis")
    jobs = """
        import time
        import perfdb
        def add(x):
            with perfdb.current().step("sum"):
                return x + 1
        def broken():
            raise KeyError("rows")
        def endless():
            while True:
                with perfdb.current().step("s"):
                    sum(range(50))
    """
    (tmp_path / "jobs.py").write_text(textwrap.dedent(jobs))
    with redis_server(tmp_path) as port:
        connection = redis.Redis(port=port)
        queue = rq.Queue(connection=connection)
        queue.enqueue("jobs.add", 1)
        queue.enqueue("jobs.broken", retry=rq.Retry(max=1))
        queue.enqueue("jobs.endless", job_timeout=1)
        options = f"worker --burst --url redis://127.0.0.1:{port}".split()
        subprocess.run(
            [sys.executable, "-m", "rq.cli", *options, "--worker-class", "perfdb.integrations.rq.Worker"],
            cwd=tmp_path, timeout=120, check=True, capture_output=True,
        )  # fmt: skip
        connection.close()
    sessions = sorted(recorded(), key=lambda session: (session.pipeline, session.start_time))
    assert [(each.pipeline, each.status, each.attributes["retries"]) for each in sessions] == [
        ("jobs.add", "completed", 0),
        ("jobs.broken", "failed", 0),
        ("jobs.broken", "failed", 1),
        ("jobs.endless", "failed", 0),
    ]
    assert [step.step_name for step in sessions[0].steps] == ["sum"]
    assert sessions[1].attributes["root_id"] == sessions[2].attributes["root_id"]
    assert sessions[3].error_message.startswith("JobTimeoutException: ")
    assert all(0 <= each.attributes["queue_s"] < 120 for each in sessions)


def test_the_wait_for_the_database_is_not_part_of_a_job_of_rq(
    tmp_path: Path, recorded: Callable[[], list[Session]]
) -> None:
    rq, redis = pytest.importorskip("rq"), pytest.importorskip("redis")
    (tmp_path / "jobs.py").write_text("def quick(): return 1")
    perfdb.prepare()
    with redis_server(tmp_path) as port, closing(redis.Redis(port=port)) as connection:
        queue = rq.Queue(connection=connection)
        jobs = [queue.enqueue("jobs.quick", job_timeout=1) for _ in range(5)]
        options = f"worker --burst --url redis://127.0.0.1:{port}".split()
        with closing(sqlite3.connect(tmp_path / "home/perfdb.sqlite3", isolation_level=None)) as lock:
            lock.execute("BEGIN IMMEDIATE")
            subprocess.run(
                [sys.executable, "-m", "rq.cli", *options, "--worker-class", "perfdb.integrations.rq.Worker"],
                cwd=tmp_path, timeout=120, check=True, capture_output=True,
            )  # fmt: skip
        finished = [job for job in jobs if job.get_status(refresh=True).value == "finished"]
    assert finished  # on a busy machine some may really take a second
    assert [each.pipeline for each in recorded()] == ["jobs.quick"] * 5


def test_huey_in_its_consumer(tmp_path: Path, recorded: Callable[[], list[Session]]) -> None:
    pytest.importorskip("huey")
    program = """
        import os, signal, time
        import perfdb
        from huey import SqliteHuey
        from perfdb.integrations.huey import record_tasks

        huey = SqliteHuey("tasks", filename="queue.db")
        record_tasks(huey)

        @huey.task()
        def add(x):
            with perfdb.current().step("sum"):
                return x + 1

        @huey.task()
        def killed():
            with perfdb.current().step("before"):
                pass
            open("acknowledged", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    (tmp_path / "tasks.py").write_text(textwrap.dedent(program))
    send = "import tasks; gone = tasks.add(5); gone.revoke(); tasks.add(1); tasks.killed()"
    subprocess.run([sys.executable, "-c", send], cwd=tmp_path, check=True, timeout=60)
    options = "-m huey.bin.huey_consumer tasks.huey -k process -w 1 -q --no-periodic".split()
    consumer = subprocess.Popen([sys.executable, *options], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline and not (tmp_path / "acknowledged").exists():
            time.sleep(0.05)
    finally:
        for process in [*psutil.Process(consumer.pid).children(recursive=True), consumer]:
            process.kill()
        consumer.wait(30)
    assert (tmp_path / "acknowledged").exists()
    add, killed = sorted(recorded(), key=lambda session: session.pipeline)
    assert (add.status, killed.status) == ("completed", "interrupted")
    assert [step.step_name for step in (*add.steps, *killed.steps)] == ["sum", "before"]
    assert all(0 <= each.attributes["queue_s"] < 120 for each in (add, killed))
    with closing(sqlite3.connect(tmp_path / "queue.db")) as queue, queue:
        assert queue.execute("select count(*) from kv where key like 'perfdb%'").fetchone() == (0,)
    queue.close()


def test_huey_tasks_and_their_retries(tmp_path: Path, recorded: Callable[[], list[Session]]) -> None:
    huey = pytest.importorskip("huey")
    from huey.exceptions import CancelExecution, RetryTask

    from perfdb.integrations.huey import record_tasks

    instance = huey.MemoryHuey("tests", immediate=True)
    record_tasks(instance)
    tries: list[int] = []

    @instance.task()
    def add(x: int) -> int:
        with perfdb.current().step("sum"):
            return x + 1

    @instance.task(retries=1)
    def flaky() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("away")
        return "done"

    @instance.task()
    def again() -> None:
        tries.append(2)
        if tries.count(2) == 1:
            raise RetryTask

    @instance.task()
    def cancelled() -> None:
        raise CancelExecution(retry=False)

    @instance.task()
    def outer() -> None:
        add(2)

    for each in (add, flaky, again, cancelled, outer):
        each(1) if each is add else each()
    sessions: Any = sorted(recorded(), key=lambda session: (session.pipeline, session.start_time))
    said = [(each.pipeline, each.status, each.error_message, each.attributes["retries"]) for each in sessions]
    assert said == [
        ("add", "completed", None, 0),
        ("add", "completed", None, 0),
        ("again", "interrupted", "RetryTask: None", 0),
        ("again", "completed", None, 0),
        ("cancelled", "interrupted", "CalledOffError: the task was canceled", 0),
        ("flaky", "failed", "KeyError: 'away'", 0),
        ("flaky", "completed", None, 1),
        ("outer", "completed", None, 0),
    ]
    assert [step.step_name for step in sessions[0].steps] == ["sum"]
