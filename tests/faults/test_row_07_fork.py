"""Forks during a session, in a threaded parent, in a step: nothing is lost or doubled, and nobody hangs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import CompletedProcess

import perfdb

EACH_FIFTY = {"parent": 50, "child 0": 50, "child 1": 50, "child 2": 50, "child 3": 50}


def names(session: perfdb.Session) -> Counter[str]:
    assert len({step.seq for step in session.steps}) == len(session.steps)
    return Counter(step.step_name for step in session.steps)


def test_row_07_children_record_further_steps_of_the_session(
    recorded_url: str,
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
    journals: Callable[[], list[Path]],
) -> None:
    done = run(
        """
        tracker.start_pipeline()
        steps(1, "before")
        children = []
        for c in range(4):
            pid = os.fork()
            if pid == 0:
                steps(50, f"child {c}")
                tracker.end_pipeline()
                os._exit(0)
            children.append(pid)
        steps(50, "parent")
        print([os.waitpid(pid, 0)[1] for pid in children])
        tracker.end_pipeline()
        """
    )
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "[0, 0, 0, 0]")
    session = history(recorded_url).session("last")
    assert session.status == "completed"
    assert names(session) == {"before": 1, **EACH_FIFTY}
    assert journals() == []


def test_row_07_a_threaded_parent(
    recorded_url: str, run: Callable[..., CompletedProcess[str]], history: Callable[[str], perfdb.History]
) -> None:
    """It forks while its threads record, its worker imports and writes, and its monitor reads."""
    done = run(
        """
        import warnings; warnings.simplefilter("ignore", DeprecationWarning)
        tracker = perfdb.create_tracker(console=False)
        tracker.start_pipeline()
        threads = [threading.Thread(target=steps, args=(50, f"thread {t}")) for t in range(4)]
        for thread in threads: thread.start()
        children = []
        for c in range(4):
            pid = os.fork()
            if pid == 0:
                tracker = perfdb.create_tracker(console=False)
                tracker.start_pipeline()
                steps(50, f"child {c}")
                tracker.end_pipeline()
                perfdb.recorder.close()
                os._exit(7)
            children.append(pid)
            steps(10, "parent")
        for thread in threads: thread.join()
        print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
        tracker.end_pipeline()
        """
    )
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "[7, 7, 7, 7]")
    found = history(recorded_url)
    sessions = [found.session(session_id) for session_id in found.sessions()["session_id"]]
    assert Counter(session.status for session in sessions) == {"completed": 5}
    assert sum((names(session) for session in sessions), Counter()) == {
        "parent": 40,
        **{f"thread {t}": 50 for t in range(4)},
        **{f"child {c}": 50 for c in range(4)},
    }


def test_row_07_a_fork_inside_a_step_leaves_its_end_to_the_parent(
    run: Callable[..., CompletedProcess[str]], history: Callable[[], perfdb.History]
) -> None:
    run(
        """
        tracker.start_pipeline()
        with tracker.step("shared"):
            pid = os.fork()
            if pid: os.waitpid(pid, 0)
        if pid == 0: os._exit(0)
        tracker.end_pipeline()
        """
    )
    assert [step.step_name for step in history().session("last").steps] == ["shared"]


def test_row_07_a_child_runs_sessions_of_its_own(
    run: Callable[..., CompletedProcess[str]], history: Callable[[], perfdb.History]
) -> None:
    done = run(
        """
        tracker.start_pipeline(); tracker.end_pipeline()
        while tracker.health()["backlog_bytes"]: time.sleep(0.02)  # the tables are made before there are two
        pid = os.fork()
        tracker.start_pipeline(); steps(3); tracker.end_pipeline()
        if pid: os.waitpid(pid, 0)
        sys.exit(0)
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(history().sessions()["status"]) == ["completed"] * 3


def test_row_07_a_fork_while_the_database_is_locked(
    home: Path,
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[], perfdb.History],
    write_lock: Callable[[str], AbstractContextManager[None]],
) -> None:
    run("tracker.start_pipeline(); tracker.end_pipeline(); perfdb.recorder.close(60)")
    with write_lock(f"sqlite:///{home}/perfdb.sqlite3"):
        done = run(
            """
            tracker.start_pipeline(); steps(50, "parent")
            while not tracker.health()["database_error"]: time.sleep(0.02)  # it has imported what it needs
            begun = time.monotonic()
            for c in range(4):
                if os.fork() == 0:
                    steps(50, f"child {c}")
                    os._exit(0)
            print("forked in", time.monotonic() - begun)
            for _ in range(4): os.wait()
            tracker.end_pipeline()
            """
        )
    assert done.returncode == 0
    seconds = float(done.stdout.split("forked in")[1].split()[0])
    assert seconds < 30, "no fork waits for a thread that waits for the fork"
    assert names(history().session("last")) == EACH_FIFTY


def test_row_07_no_thread_of_ours_runs_at_a_fork_and_those_needed_go_on(
    recorded_url: str, run: Callable[..., CompletedProcess[str]], history: Callable[[str], perfdb.History]
) -> None:
    """CPython 3.12 and later warn a host that forks while more threads than one run."""
    done = run(
        """
        import multiprocessing, subprocess, warnings
        warnings.simplefilter("error")
        tracker = perfdb.create_tracker(console=False, monitor=True)
        tracker.start_pipeline()
        with tracker.step("all"):
            time.sleep(0.3)
            for _ in range(20):
                steps(1)
                pid = os.fork()
                if pid == 0: os._exit(0)
                os.waitpid(pid, 0)
            worker = multiprocessing.get_context("fork").Process(target=steps, args=(1, "in a child"))
            worker.start(); worker.join()
            subprocess.run(["true"], preexec_fn=os.getpid)
            until = time.monotonic() + 60
            while tracker.health()["backlog_bytes"]:  # nobody asks, and the thread goes on
                assert time.monotonic() < until
                time.sleep(0.02)
        tracker.end_pipeline()
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = history(recorded_url).session("last")
    assert names(found) == {"all": 1, "work": 20, "in a child": 1}


def test_row_07_the_threads_have_ended_when_the_process_forks(
    run: Callable[..., CompletedProcess[str]],
) -> None:
    done = run(
        """
        tracker = perfdb.create_tracker(console=False, monitor=True)
        counted = []
        # handlers before a fork run in the reverse order: this one comes after perfdb's
        from perfdb import recorder
        os.register_at_fork(before=lambda: counted.append(len(os.listdir("/proc/self/task"))))
        recorder._joined = False; recorder._join_process()
        tracker.start_pipeline(); steps(3)
        time.sleep(0.2)
        for _ in range(3):
            if os.fork() == 0: os._exit(0)
            os.wait()
        print(counted)
        tracker.end_pipeline()
        """
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[1, 1, 1]"), done.stderr
