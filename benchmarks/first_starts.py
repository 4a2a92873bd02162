"""Four programs record into a database that does not exist yet, at the same moment, again and again.

    python benchmarks/first_starts.py [--rounds 50] [--database sqlite|postgresql|both] [--plain]

Each round takes an empty database. The programs have imported everything and leave a barrier together. A
round fails when one of them fails, when a run is missing, or when the tables are not those of this perfdb.
With ``--plain`` each runs Alembic's own ``upgrade``, without perfdb's lock. Exit 1 when a round failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path

import alembic.command
import sqlalchemy
from alembic.config import Config
from cluster import running_cluster

import perfdb
import perfdb.store.ingest  # once for all programs
from perfdb.store import schema
from perfdb.worker.recovery import recover

PROGRAMS = 4
Program = Callable[[str, Path], None]

# Copies of this program, which has imported everything and opened nothing.
processes = multiprocessing.get_context("fork")


def record(url: str, home: Path) -> None:
    schema.ensure_schema(url)
    with perfdb.track("first", home=home, database_url=url, monitor=False) as run, run.step("only"):
        pass


def migrate_plainly(url: str, home: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    config.set_main_option("path_separator", "os")
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def play(program: Program, url: str, home: Path, barrier: object, answer: Connection) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    try:
        program(url, home)
    except BaseException as error:  # whatever it is, it is the answer
        answer.send(f"{type(error).__name__}: {' '.join(str(error).split())}"[:100])
        raise SystemExit(1) from None
    answer.send(None)


def one_round(program: Program, url: str, folder: Path) -> str | None:
    """Start the programs at once; return what went wrong, None when nothing did."""
    barrier = processes.Barrier(PROGRAMS)
    homes = [folder / f"home-{number}" for number in range(PROGRAMS)]
    started = []
    for home in homes:
        ours, theirs = processes.Pipe(duplex=False)
        process = processes.Process(target=play, args=(program, url, home, barrier, theirs))
        process.start()
        theirs.close()
        started.append((process, ours))
    problems = []
    for process, answers in started:
        try:
            problems.append(answers.recv())
        except EOFError:
            problems.append("it died")
        process.join()
    failed = [problem for problem in problems if problem is not None]
    if failed:
        return f"{len(failed)} of {PROGRAMS}: {failed[0]}"
    if differences := schema.check(url):
        return differences[0]
    if program is record:
        for home in homes:  # a program waits two seconds at its end; the rest is in its journal
            recover(home, url)
        runs = len(perfdb.History(url).session_rows())
        if runs != PROGRAMS:
            return f"{runs} runs of {PROGRAMS} are there"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--plain", action="store_true", help="Alembic alone, without perfdb's lock.")
    given = parser.parse_args()
    program = migrate_plainly if given.plain else record
    bad = 0
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="perfdb-first-")))
        kinds: dict[str, Callable[[Path], str]] = {}
        if given.database != "postgresql":
            kinds["SQLite"] = lambda folder: f"sqlite:///{folder}/perfdb.sqlite3"
        if given.database != "sqlite":
            cluster = stack.enter_context(running_cluster())
            kinds["PostgreSQL"] = lambda _: cluster.create()
        for kind, make in kinds.items():
            problems = []
            for number in range(given.rounds):
                folder = top / f"{kind}-{number:03}"
                folder.mkdir()
                problem = one_round(program, make(folder), folder)
                problems += [problem] if problem is not None else []
            print(f"{kind}: {len(problems)} of {given.rounds} rounds failed", flush=True)
            for problem in sorted(set(problems)):
                print(f"  {problems.count(problem)} × {problem}", flush=True)
            bad += len(problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
