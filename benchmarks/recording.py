"""What recording costs the host, beside bare ``sqlite3`` measured in the same minute.

    python benchmarks/recording.py [--quick]

The floor is ``sqlite3`` with WAL and ``synchronous=NORMAL`` doing the least that would answer the same
questions: one row per session, one per step. perfdb runs with its default settings, monitor on, console off.
Rounds of both alternate; a ratio is taken per round, and its median and range over the rounds are printed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import perfdb
from perfdb import recorder
from perfdb.records import Session, Step
from perfdb.vocabulary import DESIGN_STEPS

Line = tuple[str, str, str]  # what was measured, the figures, what is to be reached

# what the seed records for each of its four steps
DATA: dict[str, dict[str, Any]] = {
    "Vision Analysis": {"design_style": "modern", "design_type": "interior redesign"},
    "Product Search": {"products_found": 6, "parallel_workers": 8},
    "Composite Creation": {"product_count": 6, "image_processing_time": 1.273},
    "Image Generation": {"image_generation_time": 6.84, "quality": "high"},
}


# -- the floor -------------------------------------------------------------------


class Bare:
    """The least that hand-written code would do."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA synchronous=NORMAL")
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY, session_id TEXT UNIQUE, "
            "start REAL, duration REAL, fast_mode INTEGER, success INTEGER, product_count INTEGER)"
        )
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS steps (id INTEGER PRIMARY KEY, session INTEGER, name TEXT, "
            "start REAL, duration REAL, success INTEGER, error TEXT, data TEXT)"
        )
        self.connection.execute("CREATE INDEX IF NOT EXISTS by_name ON steps (name, duration)")

    def step(self, name: str) -> tuple[Any, ...]:
        start, begun = time.time(), time.perf_counter()
        return (1, name, start, time.perf_counter() - begun, 1, None, json.dumps(DATA[name]))

    def insert(self, row: tuple[Any, ...]) -> None:
        self.connection.execute(
            "INSERT INTO steps (session, name, start, duration, success, error, data) VALUES (?,?,?,?,?,?,?)",
            row,
        )

    def step_in_a_transaction(self, name: str) -> None:
        row = self.step(name)
        self.connection.execute("BEGIN IMMEDIATE")
        self.insert(row)
        self.connection.execute("COMMIT")

    def run(self) -> None:
        rows = [self.step(name) for name in DESIGN_STEPS]
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute(
            "INSERT INTO sessions (session_id, start, duration, fast_mode, success, product_count) "
            "VALUES (?,?,?,?,?,?)",
            (f"20260101_000000_{os.urandom(5).hex()}", time.time(), 45.23, 0, 1, 6),
        )
        for row in rows:
            self.insert(row)
        self.connection.execute("COMMIT")


def recorded_run(tracker: Any) -> None:
    tracker.start_pipeline(fast_mode=False)
    for name in DESIGN_STEPS:
        with tracker.step(name, **DATA[name]):
            pass
    tracker.end_pipeline(success=True, product_count=6)


# -- measuring -------------------------------------------------------------------


def timed(call: Callable[..., object], *arguments: object) -> float:
    begun = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begun


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def ratios(pairs: list[tuple[float, float]]) -> str:
    found = [ours / floor for ours, floor in pairs]
    return f"{median(found):.2f} x ({min(found):.2f} to {max(found):.2f}, {len(found)} rounds)"


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        try:
            yield Path(name)
        finally:
            recorder.close()


def cost_per_step(rounds: int, runs: int) -> Iterator[Line]:
    with folder() as home:
        bare, tracker = Bare(home / "bare.sqlite3"), recorder.create_tracker(home=home, console=False)
        recorded_run(tracker)
        pairs, ours_all, floor_all = [], [], []
        for _ in range(rounds):
            ours: list[float] = []
            floor: list[float] = []
            for _ in range(runs):  # by turns, so that both find the processor's caches as a run leaves them
                floor += [timed(bare.step_in_a_transaction, name) for name in DESIGN_STEPS]
                tracker.start_pipeline(fast_mode=False)
                for name in DESIGN_STEPS:
                    begun = time.perf_counter()
                    with tracker.step(name, **DATA[name]):
                        pass
                    ours.append(time.perf_counter() - begun)
                tracker.end_pipeline(success=True, product_count=6)
            pairs.append((median(ours), median(floor)))
            ours_all += ours
            floor_all += floor
        yield (
            "caller's cost per step that survives SIGKILL",
            f"{micro(median(ours_all))}, p99 {micro(quantile(ours_all, 0.99))}, n={len(ours_all)}; "
            f"floor {micro(median(floor_all))}, p99 {micro(quantile(floor_all, 0.99))}",
            f"{ratios(pairs)}; to reach 0.5 x, p99 100 µs",
        )


def run_until_readable(rounds: int, runs: int) -> Iterator[Line]:
    with folder() as home:
        bare, tracker = Bare(home / "bare.sqlite3"), recorder.create_tracker(home=home, console=False)
        recorded_run(tracker)
        reader = sqlite3.connect(home / "perfdb.sqlite3", isolation_level=None)
        ours_all, floor_all, pairs, missing = [], [], [], 0
        for _ in range(rounds):
            floor = [timed(bare.run) for _ in range(runs)]
            ours = []
            for _ in range(runs):
                ours.append(timed(recorded_run, tracker))
                found = reader.execute(
                    "SELECT count(*) FROM v_steps WHERE session_id = ?", (tracker.session_id,)
                ).fetchone()[0]
                missing += found != 4
            pairs.append((median(ours), median(floor)))
            ours_all += ours
            floor_all += floor
        reader.close()
        yield (
            "4-step run until another connection reads it",
            f"{milli(median(ours_all))}, p99 {milli(quantile(ours_all, 0.99))}, n={len(ours_all)}, "
            f"{missing} missing; floor {milli(median(floor_all))}",
            f"{ratios(pairs)}; to reach 2 ms median",
        )


def _write_ours(home: str, barrier: Any, runs: int) -> None:
    perfdb.prepare(home=home)  # as a server does: eight first starts would import the rules meanwhile
    tracker = recorder.create_tracker(home=home, console=False)
    recorded_run(tracker)
    while tracker.health()["backlog_bytes"]:
        time.sleep(0.01)
    barrier.wait()
    for _ in range(runs):
        recorded_run(tracker)
    recorder.close(30.0)
    barrier.wait()


def _write_bare(home: str, barrier: Any, runs: int) -> None:
    bare = Bare(Path(home) / "bare.sqlite3")
    bare.run()
    barrier.wait()
    for _ in range(runs):
        bare.run()
    bare.connection.close()  # as ours is: the last one moves the log into the file
    barrier.wait()


def many_processes(rounds: int, runs: int) -> Iterator[Line]:
    context = multiprocessing.get_context("spawn")
    pairs, lost = [], 0
    for _ in range(rounds):
        with folder() as home:
            seconds = []
            Bare(home / "bare.sqlite3").connection.close()  # or eight switch to WAL at once
            for target in (_write_ours, _write_bare):
                barrier = context.Barrier(9)
                writers = [context.Process(target=target, args=(str(home), barrier, runs)) for _ in range(8)]
                for writer in writers:
                    writer.start()
                barrier.wait()
                begun = time.perf_counter()
                barrier.wait()
                seconds.append(time.perf_counter() - begun)
                for writer in writers:
                    writer.join()
            pairs.append((seconds[0], seconds[1]))
            lost += 8 * (runs + 1) * 4 - len(perfdb.History(home=home).steps())
    yield (
        f"8 processes x {runs} runs, from a barrier",
        f"{median(p[0] for p in pairs):.2f} s, {lost} lost; floor {median(p[1] for p in pairs):.2f} s",
        f"{ratios(pairs)}; to reach 4 x, 0 lost",
    )


IMPORT = """
import perfdb
tracker = perfdb.create_tracker(console=False)
tracker.start_pipeline()
step = tracker.step("first").start()
import os; os._exit(0)
"""


def import_and_first_step(rounds: int) -> Iterator[Line]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with folder() as home:

        def run(code: str) -> float:
            return timed(
                lambda: subprocess.run([sys.executable, "-c", code], cwd=home, env=environment, check=True)
            )

        run(IMPORT)  # compiles
        pairs = [(run(IMPORT), run("import os; os._exit(0)")) for _ in range(rounds)]
        above = [ours - floor for ours, floor in pairs]
        yield (
            "import perfdb and first step begun",
            f"{milli(median(above))} above bare Python ({milli(min(above))} to {milli(max(above))}, "
            f"{rounds} rounds); bare Python {milli(median(floor for _, floor in pairs))}",
            "to reach 50 ms above",
        )


LONG = """
import resource, sys, time
import perfdb
from perfdb import recorder

def steps(number):
    for i in range(number):
        with tracker.step("work", rows=i):
            pass

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

tracker = perfdb.create_tracker(console=False)
tracker.start_pipeline()
tracker.end_pipeline()  # the worker has loaded what it needs
tracker.start_pipeline()
steps(20_000)  # more than a report keeps
before, begun = peak_mb(), time.perf_counter()
steps(int(sys.argv[1]) - 20_000)
ended = time.perf_counter()
tracker.end_pipeline()
recorder.close(600.0)
print(ended - begun, time.perf_counter() - ended, before, peak_mb())
"""


def one_long_session(steps: int) -> Iterator[Line]:
    with folder() as home:
        environment = os.environ | {"PERFDB_HOME": str(home)}
        program = [sys.executable, "-c", LONG, str(steps)]
        printed = subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout
        took, later, before, peak = map(float, printed.split())
        with sqlite3.connect(home / "perfdb.sqlite3") as connection:
            lost = steps - connection.execute("SELECT count(*) FROM steps").fetchone()[0]
        connection.close()
        yield (
            f"{steps:,} steps in one session",
            f"{micro(took / (steps - 20_000))} a step, worker included; all in the database {later:.1f} s "
            f"after the last; {peak:.0f} MB at most, {before:.0f} MB after 20,000 steps",
            f"{lost} lost; to reach 0, bounded memory",
        )


def bytes_per_run(runs: int) -> Iterator[Line]:
    with folder() as home:
        tracker, bare = recorder.create_tracker(home=home, console=False), Bare(home / "bare.sqlite3")
        recorded_run(tracker)
        while tracker.health()["backlog_bytes"]:  # or the tables themselves count as runs
            time.sleep(0.01)

        def size(name: str) -> int:
            connection = sqlite3.connect(home / name)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
            return (home / name).stat().st_size

        before, bare_before = size("perfdb.sqlite3"), size("bare.sqlite3")
        for _ in range(runs):
            recorded_run(tracker)
            bare.run()
        recorder.close(30.0)
        bare.connection.close()
        ours, floor = (size("perfdb.sqlite3") - before) / runs, (size("bare.sqlite3") - bare_before) / runs
        yield (
            f"bytes per 4-step run, over {runs:,} runs",
            f"{ours:,.0f} bytes; floor {floor:,.0f} bytes",
            f"{ours / floor:.2f} x; to reach 984 bytes, aim 500",
        )


def long_history(rounds: int, runs: int, history: int) -> Iterator[Line]:
    with folder() as home, folder() as empty_home:
        short = recorder.create_tracker(home=empty_home, console=False)
        long = recorder.create_tracker(home=home, console=False)
        recorded_run(short)
        recorded_run(long)
        fill(home, history)
        recorded_run(long)
        pairs = []
        for _ in range(rounds):
            pairs.append(
                (
                    median(timed(recorded_run, long) for _ in range(runs)),
                    median(timed(recorded_run, short) for _ in range(runs)),
                )
            )
        yield (
            f"a run at {history:,} runs of history",
            f"{milli(median(p[0] for p in pairs))}; with an empty one {milli(median(p[1] for p in pairs))}",
            f"{ratios(pairs)}; to reach 1.1 x",
        )


def fill(home: Path, sessions: int) -> None:
    """Put so many sessions of four steps into the database of a home, an hour apart."""
    from perfdb.store.engine import open_engine
    from perfdb.store.ingest import insert_sessions

    url = perfdb.History(home=home).url
    engine = open_engine(url, role="writer")
    newest = time.time() - 60

    def made() -> Iterator[Session]:
        for number in range(sessions):
            start = round(newest - (sessions - number) * 60.0, 6)
            yield Session(
                session_id=f"filled_{number:07d}",
                pipeline="design",
                start_time=start,
                total_duration=45.23,
                status="completed",
                success=True,
                fast_mode=False,
                mode='{"fast_mode":false}',
                product_count=6,
                steps=tuple(
                    Step(
                        step_name=name,
                        start_time=start + seq * 11.0,
                        duration=10.0 + (number * 7919 + seq) % 1000 / 250,
                        success=True,
                        seq=seq,
                        additional_data=DATA[name],
                    )
                    for seq, name in enumerate(DESIGN_STEPS)
                ),
            )

    with engine.begin() as connection:
        insert_sessions(connection, made())
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a first look")
    parser.add_argument("--only", help="measure only lines whose name contains this")
    arguments = parser.parse_args()
    part = 10 if arguments.quick else 1
    measures: dict[str, Callable[[], Iterator[Line]]] = {
        "step": lambda: cost_per_step(15, 400 // part),
        "run": lambda: run_until_readable(15, 200 // part),
        "processes": lambda: many_processes(3 if arguments.quick else 7, 50),
        "import": lambda: import_and_first_step(5 if arguments.quick else 21),
        "long": lambda: one_long_session(1_000_000 // part),
        "bytes": lambda: bytes_per_run(10_000 // part),
        "history": lambda: long_history(9, 200 // part, 100_000 // part),
    }
    for name, measure in measures.items():
        if arguments.only is None or arguments.only in name:
            for what, measured, against in measure():
                print(f"{what}\n    {measured}\n    {against}", flush=True)


if __name__ == "__main__":
    main()
