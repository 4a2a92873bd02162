"""Many homes in one process, one after the other: all are recorded, and what is idle holds nothing open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess

from perfdb.store.schema import ensure_schema
from perfdb.worker.recovery import recover

FEW_DESCRIPTORS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
def held():
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
def wait_until_idle(descriptors, threads):
    until = time.monotonic() + 60
    while held()[0] > descriptors or held()[1] > threads:
        assert time.monotonic() < until, held()
        time.sleep(0.05)
before = held()
"""


def steps_of(database: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(
            "SELECT s.status, t.step_name FROM v_sessions s JOIN v_steps t USING (session_id)"
        ).fetchall()


def test_row_41_two_hundred_homes(tmp_path: Path, run: Callable[..., CompletedProcess[str]]) -> None:
    made = tmp_path / "made.sqlite3"
    ensure_schema(f"sqlite:///{made}")
    homes = [tmp_path / f"home{number}" for number in range(200)]
    for home in homes:
        home.mkdir()
        (home / "perfdb.sqlite3").write_bytes(made.read_bytes())
    done = run(
        FEW_DESCRIPTORS
        + """
for number in range(200):
    with perfdb.track("p", home=f"home{number}") as customer, customer.step("work"):
        pass
    assert customer.health()["ok"], customer.health()
wait_until_idle(before[0] + 6, before[1] + 1)
open("/dev/null").close()
wait_until_idle(before[0], before[1])
print(len([each for each in perfdb.recorder._workers.values() if each is not tracker._writer]), "in use")
"""
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "0 in use\n")
    for home in homes:
        assert steps_of(home / "perfdb.sqlite3") == [("completed", "work")], home
        assert list((home / "journal").iterdir()) == []


def test_row_41_a_tracker_that_was_idle_goes_on(
    home: Path, run: Callable[..., CompletedProcess[str]]
) -> None:
    done = run(
        FEW_DESCRIPTORS
        + """
for name in ("first", "second", "third"):
    tracker.start_pipeline()
    steps(1, name)
    tracker.end_pipeline()
    wait_until_idle(*before)
    assert not list((__import__("pathlib").Path(os.environ["PERFDB_HOME"]) / "journal").iterdir())
    again = perfdb.create_tracker(console=False)
    assert again._writer is tracker._writer
print(tracker.health()["ok"])
"""
    )
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "True")
    assert steps_of(home / "perfdb.sqlite3") == [("completed", name) for name in ("first", "second", "third")]


def test_row_41_a_fork_in_which_the_parents_session_goes_on_outlives_its_idle_journal(
    home: Path, run: Callable[..., CompletedProcess[str]]
) -> None:
    done = run(
        FEW_DESCRIPTORS
        + """
tracker.start_pipeline()
child = os.fork()
if child == 0:
    for name in ("one", "two"):
        steps(1, name)
        wait_until_idle(before[0], 1)
    os._exit(0)
os.waitpid(child, 0)
tracker.end_pipeline()
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    recover(home, f"sqlite:///{home}/perfdb.sqlite3")
    assert sorted(steps_of(home / "perfdb.sqlite3")) == [("completed", "one"), ("completed", "two")]
