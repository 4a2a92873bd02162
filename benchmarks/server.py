"""What answers cost on PostgreSQL beside SQLite with the same sessions, and from a host that is far away.

    python -m benchmarks.server [--sessions 250000] [--folder FOLDER] [--round-trip 0.01] [--rounds 5]
        [--process]

``--folder`` keeps the file, which is made as in ``benchmarks/analysis.py``. CPU is that of this process and
of the server together, by turns with SQLite's; the wall time is through a door that adds the round trip.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import Boolean

import perfdb
from benchmarks.analysis import make
from benchmarks.cluster import Cluster, Door, running_cluster
from perfdb.store.models import metadata
from perfdb.store.schema import ensure_schema
from perfdb.web.app import create_app

QUESTIONS: dict[str, Callable[[perfdb.History], object]] = {
    "trends(by='all')": lambda history: history.trends(by="all"),
    "trends(by='day')": lambda history: history.trends(by="day"),
    "regressions()": lambda history: history.regressions(),
    "session('last')": lambda history: history.session("last"),
    "steps(last=1000)": lambda history: history.steps(last=1000),
    "bottlenecks(last=1000)": lambda history: history.bottlenecks(last=1000),
    "explain()": lambda history: history.explain(),
    "compare(by='fast_mode')": lambda history: history.compare(by="fast_mode"),
    "failures()": lambda history: history.failures(),
    "measures()": lambda history: history.measures(),
    "common()": lambda history: history.common(),
    "sessions, an attribute that none has": lambda history: history.sessions(attribute={"customer": "none"}),
}
PAGES = (
    "/", "/sessions", "/sessions?sort=slowest", "/sessions?status=failed", "/sessions/last", "/trends",
    "/trends?since=2025-01-01", "/bottlenecks", "/compare", "/alerts", "/rules", "/common",
)  # fmt: skip


def copy(path: Path, url: str) -> None:
    """Fill a database with what a file has, faster than ``perfdb db copy``, which minds other writers."""
    ensure_schema(url)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as source, psycopg.connect(url) as target:
        for table in metadata.sorted_tables:
            flags = [isinstance(column.type, Boolean) for column in table.columns]
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            with target.cursor().copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as rows:  # type: ignore[arg-type]
                for row in source.execute(f'SELECT {columns} FROM "{table.name}"'):
                    rows.write_row(
                        [
                            bool(value) if flag and value is not None else value
                            for value, flag in zip(row, flags, strict=True)
                        ]
                    )
    with psycopg.connect(url, autocommit=True) as target:
        target.execute("VACUUM ANALYZE")


def cpu_of(cluster: Cluster) -> float:
    """Return the CPU seconds of a server so far, of those of its processes too that have ended."""
    first = psutil.Process(int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0]))
    found = sum(first.cpu_times()[:4])
    for child in first.children():
        try:
            found += sum(child.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return found


def asked(history: perfdb.History) -> dict[str, Callable[[], object]]:
    """Return everything that is asked of one history."""
    from starlette.testclient import TestClient

    client = TestClient(create_app(history, query_limit_s=120.0), base_url="http://127.0.0.1")
    client.__enter__()

    def page(path: str) -> object:
        answer = client.get(path)
        assert answer.status_code == 200, path
        return answer

    found: dict[str, Callable[[], object]] = {
        name: lambda ask=ask: ask(history) for name, ask in QUESTIONS.items()
    }
    return found | {f"page {path}": lambda path=path: page(path) for path in PAGES}


def measure(path: Path, cluster: Cluster, url: str, round_trip_s: float, rounds: int) -> None:
    def cpu(work: Callable[[], object]) -> float:
        begun, theirs = time.process_time(), cpu_of(cluster)
        for _ in range(5):  # the server's clock ticks a hundred times a second
            work()
        return 1e3 * (time.process_time() - begun + cpu_of(cluster) - theirs) / 5

    with Door(cluster.port, round_trip_s) as door:
        near, far = (asked(perfdb.History(each)) for each in (url, door.of(url)))
        file = asked(perfdb.History(f"sqlite:///{path}"))
        print(f"{'':<42}{'SQLite':>8}{'server':>8}{'ratio':>7}{'exchanges':>11}{'wall, far':>11}")
        for name, work in file.items():
            pairs: list[tuple[float, float]] = []
            walls: list[float] = []
            exchanges = 0
            for each in (work, near[name], far[name]):
                each()
            for _ in range(rounds):
                pairs.append((cpu(work), cpu(near[name])))
                before, begun = door.exchanges, time.perf_counter()
                far[name]()
                walls.append(1e3 * (time.perf_counter() - begun))
                exchanges = door.exchanges - before
            ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(two / one for one, two in pairs)
            costs = f"{ours:8.0f}{theirs:8.0f}{ratio:7.2f}"
            wall = f"{statistics.median(walls):8.0f} ({min(walls):.0f})"
            print(f"{name:<42}{costs}{exchanges:11}{wall}", flush=True)
        measure_process(door, url, rounds)


def measure_process(door: Door, url: str, rounds: int) -> None:
    """Print what a command takes as a whole, with the start of Python and all that it imports."""
    command = [sys.executable, "-m", "perfdb", "trends", "--by", "day", "-d", door.of(url)]
    walls, own = [], []
    for _ in range(rounds + 1):
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        exchanges = door.exchanges
        subprocess.run(command, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        walls.append(time.perf_counter() - begun)
        own.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        exchanges = door.exchanges - exchanges
    walls, own = walls[1:], own[1:]  # the first compiles
    wall, cpu = (f"{statistics.median(each):.2f} s ({min(each):.2f})" for each in (walls, own))
    print(f"perfdb trends --by day: wall {wall}, CPU of the process {cpu}, {exchanges} exchanges")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=250_000)
    parser.add_argument("--folder", type=Path, help="keep the file here")
    parser.add_argument("--round-trip", type=float, default=0.01, help="seconds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--process", action="store_true", help="only what one command takes as a whole")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, running_cluster(durable=False) as cluster:
        path = (arguments.folder or Path(temporary)) / f"{arguments.sessions}.sqlite3"
        if not path.exists():
            make(path, arguments.sessions)
        url = cluster.create()
        copy(path, url)
        with psycopg.connect(url) as connection:
            (size,) = connection.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
        file = path.stat().st_size
        print(f"SQLite {file / 1e6:.0f} MB, server {size / file:.2f} x, load {os.getloadavg()[0]:.0f}")
        print("CPU ms, SQLite's and the server's with this process; wall ms, the median and the least")
        if arguments.process:
            with Door(cluster.port, arguments.round_trip) as door:
                measure_process(door, url, arguments.rounds)
            return
        measure(path, cluster, url, arguments.round_trip, arguments.rounds)


if __name__ == "__main__":
    main()
