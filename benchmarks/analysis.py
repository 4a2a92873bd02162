"""What answers cost with a long history: 250,000 sessions are 1,000,000 steps, made once.

    python benchmarks/analysis.py [--sessions 250000] [--folder FOLDER]

The database has the real schema and is filled in bulk; ``--folder`` keeps it for the next time. Each figure
is the median and the range of several rounds, as wall time and as CPU time of this process: on a
machine that others use too, the second is the steadier one.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import perfdb
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.rollups import roll_up, spoil_all
from perfdb.store.schema import ensure_schema
from perfdb.store.statistics import daily_statistics
from perfdb.vocabulary import DESIGN_STEPS
from perfdb.web.answers.sessions import session_page
from perfdb.web.answers.trends import trend
from perfdb.web.queries import SessionsQuery, TrendQuery
from perfdb.web.served import ServedHistory

FIRST = 1_735_689_600  # 2025-01-01 UTC; sessions are spread over a year
SECONDS = (8.0, 3.0, 2.0, 12.0)
MODES = ('{"fast_mode":false}', '{"fast_mode":true}')
SMALL = 2_500  # sessions: 10,000 steps

SESSION = (
    "INSERT INTO sessions (id, session_id, series_id, start_time, total_duration, status, counted, "
    "fast_mode, success, source, product_count, attributes, cpu_s, rss_peak_bytes, rss_mean_bytes, "
    "utc_offset, pid) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 5, ?, ?, ?, 130000000, 0, 4711)"
)
STEP = (
    "INSERT INTO steps (session_pk, seq, series_id, start_time, day, duration, status, counted, lane, "
    "additional_data, cpu_s, rss_peak_bytes, rss_mean_bytes) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, 130000000)"
)


def make(path: Path, sessions: int) -> None:
    """Fill a new database: four steps a session, with measures; a fifth are fast, one in a hundred failed."""
    ensure_schema(f"sqlite:///{path}")
    rng = np.random.default_rng(1)
    fast = rng.random(sessions) < 0.2
    durations = np.array(SECONDS) * np.where(fast, 0.5, 1.0)[:, None]
    durations = np.round(durations * np.exp(rng.normal(0, 0.2, durations.shape)), 6)
    starts = np.round(FIRST + np.sort(rng.random(sessions)) * 365 * 86_400, 6).tolist()
    failed = (rng.random(sessions) < 0.01).tolist()
    offsets = np.round(np.cumsum(np.c_[np.full(sessions, 0.001), durations + 0.001], axis=1), 6).tolist()
    lasted, is_fast = durations.tolist(), fast.tolist()
    busy = np.round(durations * rng.uniform(0.2, 0.9, durations.shape), 6)
    cpu, cpu_of_all = busy.tolist(), np.round(busy.sum(axis=1), 6).tolist()
    peaks = (130_000_000 * np.exp(rng.normal(0, 0.1, durations.shape))).astype(int)
    rss, rss_of_all = peaks.tolist(), peaks.max(axis=1).tolist()
    tokens = rng.poisson(900, durations.shape).tolist()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    series: dict[tuple[bool, int], Any] = {}
    for mode in (False, True):
        for place, name in enumerate((None, *DESIGN_STEPS), start=-1):
            row = ("design", name, MODES[mode])
            cursor = connection.execute(
                "INSERT INTO series (pipeline, step_name, mode) VALUES (?, ?, ?)", row
            )
            series[mode, place] = cursor.lastrowid

    def session_rows() -> Iterator[tuple[Any, ...]]:
        for number in range(sessions):
            good, facts = not failed[number], f'{{"model":"gpt-4o","customer":"c{number % 50}"}}'
            yield (
                number + 1, f"bench_{number:08d}", series[is_fast[number], -1], starts[number],
                offsets[number][-1], 1 if good else 2, good, is_fast[number], good, facts,
                cpu_of_all[number], rss_of_all[number],
            )  # fmt: skip

    def step_rows() -> Iterator[tuple[Any, ...]]:
        for number in range(sessions):
            good = not failed[number]
            for seq in range(4):
                start = starts[number] + offsets[number][seq]
                status = 1 if good or seq < 3 else 2
                yield (
                    number + 1, seq, series[is_fast[number], seq], start, int(start // 86_400),
                    lasted[number][seq], status, good,
                    f'{{"products_found":6,"cached":false,"output_tokens":{tokens[number][seq]}}}',
                    cpu[number][seq], rss[number][seq],
                )  # fmt: skip

    connection.executemany(SESSION, session_rows())
    connection.executemany(STEP, step_rows())
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with Database(f"sqlite:///{path}") as database:  # as workers do once a day is over
        spoil_all(database)
        for _ in roll_up(database):
            pass


def measured(work: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    """Return the wall and the CPU milliseconds of each round, after one that does not count."""
    work()
    wall, cpu = [], []
    for _ in range(rounds):
        began, busy = time.perf_counter(), time.process_time()
        work()
        wall.append(1e3 * (time.perf_counter() - began))
        cpu.append(1e3 * (time.process_time() - busy))
    return wall, cpu


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):8.1f} ({min(values):.1f} … {max(values):.1f})"


def print_line(what: str, work: Callable[[], object], rounds: int, goal: str) -> float:
    wall, cpu = measured(work, rounds)
    print(f"{what:<58} {shown(wall):>32} {shown(cpu):>32}  n={rounds}  {goal}", flush=True)
    return statistics.median(cpu)


def answers(path: Path, rounds: int) -> None:
    url = f"sqlite:///{path}"
    history = perfdb.History(url)
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        by_day = ((0.5, 1), (0.95, 1))
        print_line("p50, p95 per step and day", lambda: daily_statistics(connection, by_day), rounds, "≤ 400")
    engine.dispose()
    print_line("History.trends(by='all')", lambda: history.trends(by="all"), 3, "≤ 400 of 10 M")
    print_line("History.trends(by='day'), with slopes", lambda: history.trends(by="day"), 3, "≤ 600 of 10 M")
    print_line("History.regressions()", history.regressions, 3, "≤ 500 of 10 M, once it was asked")
    for measure in ("cpu_s", "output_tokens"):
        of = f"measure='{measure}'"
        for by in ("all", "day"):
            asked = partial(history.trends, by=by, measure=measure)
            print_line(f"History.trends(by='{by}', {of})", asked, 3, "")
    print_line("History.regressions(measure='cpu_s')", lambda: history.regressions(measure="cpu_s"), 1, "")
    nobody = {"customer": "nobody"}
    print_line(
        "sessions with an attribute of none", lambda: history.sessions(attribute=nobody), rounds, "≤ 50"
    )
    print_line("History.trends(), last 200 sessions", history.trends, rounds, "")
    print_line("History.bottlenecks(), last 100 sessions", history.bottlenecks, rounds, "")
    print_line("the same, last 1,000", lambda: history.bottlenecks(last=1000), rounds, "≤ 300 of 10 M")
    served = ServedHistory(history, limit_s=120.0)
    year = TrendQuery.model_validate({"step": DESIGN_STEPS[0], "since": f"{FIRST}"})
    print_line("the trend of a step over the year", lambda: trend(served, year), rounds, "≤ 150 of 10 M")
    lists: dict[str, dict[str, str]] = {
        "slowest first": {"sort": "slowest"},
        "that failed": {"status": "failed"},
        "with a text of none": {"text": "zebra"},
        "with a text of many": {"text": '"customer":"c33"'},
    }
    for what, asked in lists.items():
        query = SessionsQuery.model_validate(asked)
        print_line(
            f"page of sessions, {what}", lambda query=query: session_page(served, query), rounds, "≤ 60"
        )
    served.close()
    print_line("History.explain()", history.explain, rounds, "")
    print_line(
        "History.compare(by='fast_mode'), last 1,000", lambda: history.compare(by="fast_mode"), rounds, ""
    )


def last_thousand(large: Path, small: Path, rounds: int) -> None:
    """Compare the newest 1,000 sessions' steps of the long history with those of a short one."""
    what = "steps of the last 1,000 sessions as a frame"
    long = perfdb.History(f"sqlite:///{large}")
    short = perfdb.History(f"sqlite:///{small}")
    slow = print_line(f"{what}, long history", lambda: long.steps(last=1000), rounds, "≤ 25")
    fast = print_line(f"{what}, 10,000 steps", lambda: short.steps(last=1000), rounds, "")
    print(f"{'':<58} ratio {slow / fast:.2f}  ≤ 1.2")


def processes(path: Path, rounds: int) -> None:
    """Time whole processes, interpreter included."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (["--help"], ["sessions", "-d", str(path)], ["bottlenecks", "-d", str(path)]):
            command = [str(Path(sys.executable).with_name("perfdb")), *arguments]

            def run(command: list[str] = command, folder: str = folder) -> None:
                subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

            run()
            wall = []
            for _ in range(rounds):
                began = time.perf_counter()
                run()
                wall.append(1e3 * (time.perf_counter() - began))
            goal = {"--help": "≤ 120", "sessions": "≤ 1000"}.get(arguments[0], "")
            print(
                f"{'perfdb ' + arguments[0]:<58} {shown(wall):>32} {'':>32}  n={rounds}  {goal}", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=250_000, help="sessions of the long history")
    parser.add_argument("--folder", type=Path, help="keep the databases here")
    parser.add_argument("--rounds", type=int, default=9, help="rounds per figure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        paths = {count: folder / f"{count}.sqlite3" for count in (arguments.sessions, SMALL)}
        for count, path in paths.items():
            if not path.exists():
                began = time.perf_counter()
                make(path, count)
                print(f"made {count:,} sessions in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        large = paths[arguments.sessions]
        size = f"{large.stat().st_size / 1e6:.0f} MB"
        print(f"{arguments.sessions * 4:,} steps, {size}, SQLite {sqlite3.sqlite_version}")
        print(f"{'':<58} {'wall ms':>32} {'CPU ms':>32}")
        last_thousand(large, paths[SMALL], arguments.rounds)
        answers(large, arguments.rounds)
        processes(large, arguments.rounds)


if __name__ == "__main__":
    main()
