"""How long a writer waits while `perfdb prune` takes 100,000 old sessions out of the database.

With --copy: while `perfdb db copy` brings them in.

    python benchmarks/retention.py [--sessions 100000] [--database sqlite|postgresql] [--copy]

One process writes a session of four steps every few milliseconds, as a worker does; its waits without a
pruning, measured before, are the floor. Another does the same in a database that nobody prunes, at the same
time as the pruning: what it waits is the machine's. The pruning is the command, in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from perfdb.records import Session, Step
from perfdb.settings import sqlite_url
from perfdb.store.database import Database
from perfdb.store.engine import sqlite_path
from perfdb.store.ingest import insert_sessions

STEPS = ("Vision Analysis", "Product Search", "Composite Creation", "Image Generation")
FLOOR_S = 15.0


def made(number: int, start: float) -> Session:
    return Session(
        session_id=f"run_{number:08d}",
        pipeline="design",
        start_time=start,
        total_duration=45.0,
        status="completed",
        success=True,
        mode='{"fast_mode":false}',
        fast_mode=False,
        steps=tuple(
            Step(
                step_name=name,
                start_time=start + seq * 11.0,
                duration=10.0 + (number * 7919 + seq) % 1000 / 250,
                success=True,
                seq=seq,
                additional_data={"rows": number},
            )
            for seq, name in enumerate(STEPS)
        ),
    )


def fill(url: str, sessions: int) -> None:
    database = Database(url, 30.0)
    begin = time.time() - 400 * 86400.0
    for first in range(0, sessions, 5_000):
        with database.writing() as connection:
            insert_sessions(connection, (made(n, begin + 60.0 * n) for n in range(first, first + 5_000)))
    database.forget()


def write(url: str, wire: Connection) -> None:
    """Write until asked to stop; send the waits for the lock and the whole transactions, in seconds."""
    database = Database(url, 30.0)
    waits, wholes = [], []
    number = 10_000_000 + time.time_ns() % 1_000_000_000
    while not wire.poll():
        number += 1
        begun = time.perf_counter()
        with database.writing() as connection:
            waited = time.perf_counter() - begun
            insert_sessions(connection, [made(number, time.time())])
        wholes.append(time.perf_counter() - begun)
        waits.append(waited)
        time.sleep(0.004)
    wire.send((waits, wholes))


@contextmanager
def writing(url: str, found: list[tuple[list[float], list[float]]]) -> Iterator[None]:
    ours, theirs = multiprocessing.Pipe()
    writer = multiprocessing.get_context("spawn").Process(target=write, args=(url, theirs))
    writer.start()
    time.sleep(2.0)  # its imports
    yield
    ours.send("stop")
    found.append(ours.recv())
    writer.join()


def milli(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    p50, p99, p999 = (1e3 * ordered[int(len(ordered) * q)] for q in (0.5, 0.99, 0.999))
    over = sum(each > 0.05 for each in ordered)
    return (
        f"p50 {p50:.2f} ms, p99 {p99:.1f} ms, p99.9 {p999:.1f} ms, max {1e3 * ordered[-1]:.1f} ms, "
        f"{over} above 50 ms, n={len(ordered):,}"
    )


def measure(url: str, elsewhere: str, sessions: int, source: str | None = None) -> None:
    fill(source or url, sessions)
    if source is not None:
        fill(url, 1)
    path = sqlite_path(url)
    before = path.stat().st_size if path else 0
    found: list[tuple[list[float], list[float]]] = []
    with writing(url, found):
        time.sleep(FLOOR_S)
    with writing(elsewhere, found), writing(url, found):
        begun = time.perf_counter()
        command = ["prune", "--older-than", "30d", "--yes", "-d", url]
        if source is not None:
            command = ["db", "copy", source, url]
        main = "from perfdb.cli import main; main()"
        done = subprocess.run([sys.executable, "-c", main, *command], capture_output=True, text=True)
        took = time.perf_counter() - begun
    print(done.stdout.strip().splitlines()[-1] if done.returncode == 0 else done.stderr, f"{took:.1f} s")
    for what, (waits, wholes) in zip(("alone", "meanwhile", "meanwhile elsewhere"), found, strict=True):
        print(f"{what}: wait for the lock {milli(waits)}")
        print(f"{what}: whole transaction {milli(wholes)}")
    if path:
        print(f"the file: {before / 1e6:.1f} MB before, {path.stat().st_size / 1e6:.1f} MB after")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--copy", action="store_true", help="what `perfdb db copy` makes a writer wait for")
    arguments = parser.parse_args()
    if arguments.database == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            url, elsewhere, source = (
                sqlite_url(Path(folder) / f"{name}.sqlite3") for name in ("perfdb", "other", "source")
            )
            measure(url, elsewhere, arguments.sessions, source if arguments.copy else None)
    else:
        from cluster import running_cluster

        with running_cluster() as cluster:
            source = cluster.create() if arguments.copy else None
            measure(cluster.create(), cluster.create(), arguments.sessions, source)


if __name__ == "__main__":
    main()
