"""What a held lock costs the host.

    python benchmarks/held_lock.py [--rounds N]

Another process holds SQLite's write lock for 3 s; meanwhile steps are recorded, each followed by
2 ms of the host's own work, half computing and half waiting. Beside them the same loop with the lock free,
and a direct INSERT. The kernel counts when it gives a step's processor to somebody else: the second line
leaves such steps out.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_THREAD, getrusage
from statistics import median

import perfdb
from perfdb import recorder

LOCKED_S = 3.0
STEPS = 1_500
WORK_S = 0.002  # of the host, per step

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


def timed_steps(tracker: perfdb.Tracker, number: int) -> list[tuple[float, bool]]:
    """Record steps; return the seconds that each cost, and whether other processes had its processor."""
    costs = []
    for i in range(number):
        pushed_out = getrusage(RUSAGE_THREAD).ru_nivcsw
        begun = time.perf_counter()
        with tracker.step("work", i=i, model="gpt-4o-mini"):
            pass
        cost = time.perf_counter() - begun
        costs.append((cost, getrusage(RUSAGE_THREAD).ru_nivcsw > pushed_out))
        work(WORK_S)
    return costs


def held_lock(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        tracker = perfdb.create_tracker(home=home, console=False)
        tracker.start_pipeline()
        timed_steps(tracker, 50)
        tracker.end_pipeline()
        recorder.close(30)
        free: list[tuple[float, bool]] = []
        held: list[tuple[float, bool]] = []
        direct, step_s = [], 0.0
        for _ in range(rounds):
            tracker.start_pipeline()
            begun = time.monotonic()
            free += timed_steps(tracker, STEPS)
            step_s = (time.monotonic() - begun) / STEPS
            with write_lock(home / "perfdb.sqlite3"):
                held += timed_steps(tracker, round(LOCKED_S / step_s))
                backlog = tracker.health()["backlog_bytes"]
            assert backlog > 0  # the lock was held indeed
            tracker.end_pipeline()
            with write_lock(home / "perfdb.sqlite3"):
                direct.append(direct_insert(home / "perfdb.sqlite3", patience_s=LOCKED_S))
        recorder.close(60)
        kept = len(perfdb.History(home=home).steps())
    expected = 50 + len(free) + len(held)
    print(f"a step's cost, monitor on, console off; {kept} of {expected} steps recorded")
    for what, costs in (("lock free", free), ("lock held", held)):
        print(f"    {what}: {figures([cost for cost, _ in costs])}")
        print(
            f"        on its processor throughout: {figures([cost for cost, pushed in costs if not pushed])}"
        )
    print(f"    direct INSERT, gave up after: {median(direct) * 1e3:,.0f} ms (n = {len(direct)})")
    print("    to reach: p99 0.1 ms, max 5 ms", flush=True)


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
