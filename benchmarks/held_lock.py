"""What a held lock costs the host.

    python benchmarks/held_lock.py [--rounds N]

Another process holds SQLite's write lock for 3 s; meanwhile steps are recorded: 1,000 in a row, then one
after the other with 2 ms of the host's own work behind each, half computing and half waiting. Beside them
the same with the lock free, a direct INSERT, and by turns with the steps, the least that could do their
work: two readings of the process and one write of so many bytes. The kernel counts when it gives a step's
processor to somebody else: the lines "on its processor" leave such steps out.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from resource import RUSAGE_SELF, RUSAGE_THREAD, getrusage
from statistics import median

import perfdb
from perfdb import recorder

LOCKED_S = 3.0
IN_A_ROW = 1_000
WORK_S = 0.002  # of the host, per step
LINE = b"." * 330 + b"\n"  # as long as that of a step

Cost = tuple[float, bool]  # seconds, and whether other processes had its processor

HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read(1)
connection.execute("ROLLBACK")
"""


@contextmanager
def write_lock(path: Path) -> Iterator[None]:
    """Hold the write lock in another process."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.communicate(b"x")


def work(seconds: float) -> None:
    """Compute for one half of the time, wait for the other, as a pipeline does."""
    until = time.perf_counter() + seconds / 2
    while time.perf_counter() < until:
        pass
    time.sleep(seconds / 2)


class Floor:
    """The least that tells what a step took and survives the death of the process."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def __enter__(self) -> None:
        self.before = getrusage(RUSAGE_SELF)

    def __exit__(self, *error: object) -> None:
        getrusage(RUSAGE_SELF)
        os.write(self.descriptor, LINE)


def timed(
    step: Callable[[int], AbstractContextManager[object]], number: int, work_s: float
) -> Iterator[Cost]:
    """Yield what each of so many steps cost; after each the host works."""
    for i in range(number):
        pushed_out = getrusage(RUSAGE_THREAD).ru_nivcsw
        begun = time.perf_counter()
        with step(i):
            pass
        cost = time.perf_counter() - begun
        yield cost, getrusage(RUSAGE_THREAD).ru_nivcsw > pushed_out
        if work_s:
            work(work_s)


def held_lock(rounds: int) -> None:
    costs: dict[tuple[str, str], list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        database = home / "perfdb.sqlite3"
        tracker = perfdb.create_tracker(home=home, console=False)
        recorded_once(tracker)
        floor = Floor(home / "floor")
        steps: dict[str, Callable[[int], AbstractContextManager[object]]] = {
            "floor": lambda i: floor,
            "perfdb": lambda i: tracker.step("work", i=i, model="gpt-4o-mini"),
        }
        direct = []
        for _ in range(rounds):
            tracker.start_pipeline()
            for lock in ("free", "held"):
                with write_lock(database) if lock == "held" else nullcontext():
                    until = time.monotonic() + LOCKED_S
                    for who, step in steps.items():
                        costs[f"in a row, lock {lock}", who] += timed(step, IN_A_ROW, 0.0)
                    while time.monotonic() < until:
                        for who, step in steps.items():
                            costs[f"2 ms of work after each, lock {lock}", who] += timed(step, 1, WORK_S)
                    backlog = tracker.health()["backlog_bytes"]
            assert backlog > 0  # the lock was held indeed
            tracker.end_pipeline()
            recorder.close(30)
            with write_lock(database):
                direct.append(direct_insert(database, patience_s=LOCKED_S))
        kept = len(perfdb.History(home=home).steps())
    expected = 1 + sum(len(found) for (_, who), found in costs.items() if who == "perfdb")
    print(f"a step's cost, monitor on, console off; {kept} of {expected} steps recorded")
    for (what, who), found in costs.items():
        print(f"    {what}: {who} {figures([cost for cost, _ in found])}")
        print(f"        on its processor: {figures([cost for cost, pushed in found if not pushed])}")
    print(f"    direct INSERT, gave up after: {median(direct) * 1e3:,.0f} ms (n = {len(direct)})")
    print("    to reach, lock held: p99 0.1 ms, max 5 ms", flush=True)


def recorded_once(tracker: perfdb.Tracker) -> None:
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    recorder.close(30)


def direct_insert(path: Path, *, patience_s: float) -> float:
    connection = sqlite3.connect(path, isolation_level=None, timeout=patience_s)
    begun = time.perf_counter()
    try:
        connection.execute("INSERT INTO series (pipeline, mode) VALUES ('direct', '{}')")
    except sqlite3.OperationalError:
        pass
    finally:
        connection.close()
    return time.perf_counter() - begun


def figures(costs: list[float]) -> str:
    ordered = [cost * 1e3 for cost in sorted(costs)]
    p99, p999 = (ordered[int(q * len(ordered))] for q in (0.99, 0.999))
    highest = f"p99 {p99:.3f}, p99.9 {p999:.3f}, max {ordered[-1]:.2f}"
    return f"median {median(ordered):.3f} ms, {highest} (n = {len(ordered)})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    held_lock(parser.parse_args().rounds)


if __name__ == "__main__":
    main()
