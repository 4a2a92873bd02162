"""Kill, lock and stop what can be, for minutes, and compare what was acknowledged with what is recorded.

    python benchmarks/soak.py [--minutes 5] [--database sqlite|postgresql] [--seed 1] [--keep]

Eight processes record sessions and note each step in a ledger of their own after the step returned. They
are killed with SIGKILL at random, and others take their places. Meanwhile one process reads and recovers
the journals of the dead, one asks what a dashboard asks, one holds the database's lock for up to 3 s, and
PostgreSQL is stopped in order or crashed and started again, every 15 s or so. At the end everybody stops in
order, and the ledgers are compared with the database. Exit 1 when they differ.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import perfdb
from perfdb import recorder
from perfdb.errors import PerfdbError
from perfdb.settings import DATABASE_FILE, load, sqlite_url
from perfdb.worker.recovery import recover

WRITERS = 8
DRAIN_S = 90.0
KILL_EVERY_S = 0.65  # on average: a writer lives for 5 s


# -- who takes part, each a process of its own -------------------------------------------------------


def write(home: Path, url: str, chance: random.Random) -> None:
    """Record sessions; a ledger says what perfdb acknowledged: Started, sTep, Will end, Ended."""
    ledger = os.open(
        home.parent / "ledgers" / f"{os.getpid()}-{time.time_ns()}",
        os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL,
    )

    def note(*words: object) -> None:
        os.write(ledger, (" ".join(map(str, words)) + "\n").encode())

    patience = chance.choice((0.0, 2.0))  # who does not wait for the database is killed within sessions
    settings = load(home=home, database_url=url, console=False, pipeline="soak", wait_s=patience)
    tracker = recorder.create_tracker(settings=settings)
    while not (home.parent / "stop").exists():
        status = "failed" if chance.random() < 0.1 else "completed"
        session = tracker.start_pipeline(fast_mode=chance.random() < 0.5, seed=chance.random())
        note("S", session)
        for number in range(chance.randrange(1, 40)):
            nested = tracker.step("outer", n=f"outer {number}") if chance.random() < 0.1 else nullcontext()
            with nested:
                begun = time.perf_counter()
                step = tracker.step(f"step {number % 7}", n=number).start()
                opened = time.perf_counter()
                time.sleep(chance.choice((0.0, 0.0, 0.002, 0.005, 0.02)))
                closing = time.perf_counter()
                step.stop()
                note("T", session, number, round(1e6 * (time.perf_counter() - closing + opened - begun)))
            if not isinstance(nested, nullcontext):
                note("T", session, f"outer_{number}", 0)
        note("W", session, status)
        tracker.end_pipeline(success=status == "completed", product_count=3)
        note("E", session, status)
        if chance.random() < 0.2:
            tracker.save_performance_report()
        time.sleep(chance.random() * 0.05)
    recorder.close(60.0)
    note("X", json.dumps(tracker.health()))


def repeat(home: Path, ask: Callable[[], object], pause_s: float, *, outages: bool) -> None:
    """Ask again and again; print how often it was answered and what went wrong."""
    answers: Counter[str] = Counter()
    while not (home.parent / "stop").exists():
        try:
            ask()
            answers["answered"] += 1
        except Exception as error:
            words = " ".join(str(error).partition("(Background")[0].split())
            said = f"{type(error).__name__}: {words if len(words) < 130 else '… ' + words[-130:]}"
            answers[f"away: {said}" if is_away(error, outages=outages) else said] += 1
        time.sleep(pause_s)
    (home.parent / f"answers-{os.getpid()}").write_text(json.dumps(answers))


def is_away(error: BaseException, *, outages: bool) -> bool:
    """Say whether the database could not answer: it was locked, or a server that was stopped."""
    from perfdb.store.engine import is_busy, is_transient

    return is_busy(error) or (outages and (isinstance(error, PerfdbError) or is_transient(error)))


def rescue(home: Path, url: str, _: random.Random) -> None:
    def ask() -> None:
        recover(home, url)
        perfdb.History(url).sessions(last=20)

    repeat(home, ask, 0.5, outages=url.startswith("postgresql"))


def look(home: Path, url: str, chance: random.Random) -> None:
    history = perfdb.History(url)
    while not (home.parent / "stop").exists() and not any((home.parent / "ledgers").iterdir()):
        time.sleep(0.1)
    time.sleep(3.0)  # the first session is on its way
    questions: list[Callable[[], object]] = [
        lambda: history.sessions(last=50),
        lambda: history.steps(last=20),
        lambda: history.bottlenecks(last=50),
        lambda: history.trends(last=100),
        lambda: history.alerts(),
        lambda: history.session("last"),
    ]
    repeat(home, lambda: chance.choice(questions)(), 0.3, outages=url.startswith("postgresql"))


def hold(home: Path, url: str, chance: random.Random) -> None:
    """Keep the write lock, or a reader's view, for a while, as an impolite program would."""

    def ask() -> None:
        seconds = chance.uniform(0.1, 3.0)
        if url.startswith("sqlite"):
            connection = sqlite3.connect(home / DATABASE_FILE, isolation_level=None, timeout=10)
            begin, table = ("BEGIN IMMEDIATE", "sessions") if chance.random() < 0.6 else ("BEGIN", "steps")
            connection.execute(begin)
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            time.sleep(seconds)
            connection.execute("ROLLBACK")
            connection.close()
        else:
            import psycopg

            with psycopg.connect(url) as server:
                server.execute("LOCK TABLE sessions IN EXCLUSIVE MODE")
                time.sleep(seconds)
                server.rollback()

    repeat(home, ask, 5.0, outages=url.startswith("postgresql"))


ROLES = {"write": write, "rescue": rescue, "look": look, "hold": hold}


def play(role: str, home: Path, url: str, seed: float) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    errors = os.open(home.parent / "stderr", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(errors, sys.stderr.fileno())
    ROLES[role](home, url, random.Random(seed))


# -- the one who kills ------------------------------------------------------------------------------


@dataclass
class Ledger:
    """What the writers noted, by session."""

    steps: dict[str, list[str]] = field(default_factory=dict)
    willing: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    costs: list[int] = field(default_factory=list)  # µs
    unwell: list[str] = field(default_factory=list)


def read_ledgers(folder: Path) -> Ledger:
    ledger = Ledger()
    for path in folder.iterdir():
        for line in path.read_text().splitlines(keepends=True):
            kind, _, rest = line.rstrip("\n").partition(" ")
            session, _, more = rest.partition(" ")
            if not line.endswith("\n"):
                continue  # killed while it wrote: not noted
            if kind == "S":
                ledger.steps[session] = []
            elif kind == "T":
                number, _, cost = more.partition(" ")
                ledger.steps[session].append(number.replace("_", " "))
                ledger.costs += [int(cost)] if not number.startswith("outer") else []
            elif kind == "W":
                ledger.willing[session] = more
            elif kind == "E":
                ledger.ended[session] = more
            elif kind == "X":
                health = json.loads(rest)
                if any(
                    health[each] for each in ("errors", "misuse", "refused", "quarantined", "backlog_bytes")
                ):
                    ledger.unwell.append(rest)
    return ledger


class Soak:
    def __init__(self, folder: Path, url: str, seed: int) -> None:
        self.folder, self.home, self.url = folder, folder / "home", url
        self.chance = random.Random(seed)
        # forked from a process that has imported everything: a writer writes from its first moment
        self.nursery = multiprocessing.get_context("forkserver")
        self.nursery.set_forkserver_preload(["__main__", "perfdb.store.ingest", "perfdb.alerts.evaluation"])
        self.writers: list[BaseProcess] = []
        self.others: dict[str, BaseProcess] = {}
        self.kills = self.stops = self.died = 0
        self.stopped_s = 0.0
        self.answers: dict[str, dict[str, int]] = {}
        self.away: Counter[str] = Counter()

    def begin(self, role: str) -> BaseProcess:
        process = self.nursery.Process(target=play, args=(role, self.home, self.url, self.chance.random()))
        process.start()
        return process

    def run(self, seconds: float, stop_server: Callable[[str], None] | None) -> None:
        from perfdb.store.schema import ensure_schema

        (self.folder / "ledgers").mkdir()
        ensure_schema(self.url)  # a start of many at once is another benchmark's
        until = time.monotonic() + seconds
        self.writers = [self.begin("write") for _ in range(WRITERS)]
        self.others = {role: self.begin(role) for role in ROLES if role != "write"}
        stopping = threading.Thread(target=self._stop_now_and_then, args=(until, stop_server))
        stopping.start()
        while time.monotonic() < until:
            time.sleep(self.chance.expovariate(1 / KILL_EVERY_S))
            number = self.chance.randrange(WRITERS)
            writer = self.writers[number]
            self.died += writer.exitcode is not None  # nobody but us may end it
            self.kills += writer.exitcode is None
            writer.kill()
            writer.join()
            self.writers[number] = self.begin("write")
        stopping.join()
        (self.folder / "stop").touch()
        for process in (*self.writers, *self.others.values()):
            process.join(DRAIN_S)
            self.died += process.exitcode != 0
            process.kill()
        for role, process in self.others.items():
            answers = self.folder / f"answers-{process.pid}"
            self.answers[role] = (
                json.loads(answers.read_text()) if answers.exists() else {"no answer at its end": 1}
            )

    def _stop_now_and_then(self, until: float, stop_server: Callable[[str], None] | None) -> None:
        chance = random.Random(7)
        while stop_server is not None and time.monotonic() < until - 10:
            time.sleep(chance.uniform(8, 14))
            begun = time.monotonic()
            stop_server(("fast", "immediate")[self.stops % 2])
            self.stopped_s += time.monotonic() - begun
            self.stops += 1

    def drain(self) -> None:
        """Take in what the dead left; whoever still waits after this has lost something."""
        until = time.monotonic() + DRAIN_S
        while list((self.home / "journal").glob("*.journal")) and time.monotonic() < until:
            with suppress(Exception):
                recover(self.home, self.url)
            time.sleep(0.2)


def recorded(url: str) -> tuple[dict[str, str], dict[str, Counter[str]]]:
    """Return the status of each session, and how often each of its steps is there."""
    from sqlalchemy import text

    from perfdb.store.engine import open_engine

    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        statuses = dict(map(tuple, connection.execute(text("SELECT session_id, status FROM v_sessions"))))
        steps: dict[str, Counter[str]] = {session: Counter() for session in statuses}
        finished = "SELECT session_id, additional_data FROM v_steps WHERE status = 'completed'"
        for session, data in connection.execute(text(finished)):
            steps[session][str((json.loads(data) if isinstance(data, str) else data)["n"])] += 1
    engine.dispose()
    return statuses, steps


def compare(soak: Soak, ledger: Ledger) -> Iterator[tuple[str, int, bool]]:
    """Yield what was counted, the number, and whether it is as it must be."""
    statuses, steps = recorded(soak.url)
    acknowledged = {session: set(numbers) for session, numbers in ledger.steps.items()}
    missing = sum(len(numbers - set(steps.get(session, ()))) for session, numbers in acknowledged.items())
    double = sum(count - 1 for counts in steps.values() for count in counts.values())
    more = sum(len(set(counts) - acknowledged.get(session, set())) for session, counts in steps.items())
    wrong = [session for session, status in statuses.items() if status not in expected(ledger, session)]
    yield "SIGKILLs", soak.kills, True
    yield "database stopped (in order or crashed by turns)", soak.stops, True
    yield "  seconds without it", round(soak.stopped_s), True
    yield "sessions acknowledged", len(acknowledged), True
    yield "  of them missing", len(set(acknowledged) - set(statuses)), not set(acknowledged) - set(statuses)
    yield "  ended", len(ledger.ended), True
    yield "  interrupted", list(statuses.values()).count("interrupted"), True
    yield "  in a wrong state", len(wrong), not wrong
    yield "steps acknowledged", sum(map(len, acknowledged.values())), True
    yield "  of them missing", missing, not missing
    yield "  recorded twice", double, not double
    # killed between the journal and the ledger: at most the step in hand, and the one around it
    yield "  recorded, not acknowledged", more, more <= 2 * soak.kills
    yield "writers that ended by themselves, or badly", soak.died, not soak.died
    yield "writers that were not well at their end", len(ledger.unwell), not ledger.unwell
    for role, answers in soak.answers.items():
        away = {kind: count for kind, count in answers.items() if kind.startswith("away")}
        errors = {kind: count for kind, count in answers.items() if kind not in away and kind != "answered"}
        yield f"{role}: answered", answers.get("answered", 0), answers.get("answered", 0) > 0
        yield f"{role}: while the database was away or locked", sum(away.values()), True
        yield f"{role}: errors {errors or ''}".rstrip(), sum(errors.values()), not errors
        soak.away.update(away)
    stray = [str(path.relative_to(soak.home)) for path in strays(soak.home)]
    yield f"stray files {stray[:5] if stray else ''}".rstrip(), len(stray), not stray
    wounds = check_integrity(soak)
    yield f"integrity {wounds[:3] if wounds else 'ok'}", len(wounds), not wounds
    noise = (soak.folder / "stderr").read_text().splitlines()
    kinds = Counter(line.partition(":")[2][:100] for line in noise if "perfdb: " in line)
    tracebacks = sum(line.startswith("Traceback") for line in noise)
    yield (
        f"tracebacks on stderr {dict(kinds.most_common(3)) if tracebacks else ''}".rstrip(),
        tracebacks,
        not tracebacks,
    )


def expected(ledger: Ledger, session: str) -> set[str]:
    """Return the states that a session may be in, after all that its writer noted."""
    if session in ledger.ended:
        return {ledger.ended[session]}
    return {"interrupted"} | ({ledger.willing[session]} if session in ledger.willing else set())


def strays(home: Path) -> Iterator[Path]:
    database = {DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm"}
    for path in home.rglob("*"):
        is_report = path.name.startswith("performance_report_") and path.suffix == ".json"
        if path.is_file() and path.name not in database and not is_report:
            yield path
        elif is_report:
            json.loads(path.read_bytes())  # never half


def check_integrity(soak: Soak) -> list[str]:
    if soak.url.startswith("sqlite"):
        with sqlite3.connect(soak.home / DATABASE_FILE) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
            problems += [f"dangling: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        return problems
    import psycopg

    with psycopg.connect(soak.url) as server:
        indexes = "SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid WHERE NOT indisvalid"
        return [f"index {row[0]}" for row in server.execute(indexes)]


@contextmanager
def place(database: str, folder: Path) -> Iterator[tuple[str, Callable[[str], None] | None]]:
    """Yield the URL of an empty database, and what stops it and starts it again."""
    if database == "sqlite":
        yield sqlite_url(folder / "home" / DATABASE_FILE), None
        return
    from cluster import running_cluster

    with running_cluster() as cluster:

        def stop(mode: str) -> None:
            cluster.stop(mode)
            time.sleep(random.uniform(0.2, 3.0))
            cluster.start()

        yield cluster.create(), stop


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="of killing, at most 8")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the folder with all files")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="perfdb-soak-"))
    begun = time.monotonic()
    with place(arguments.database, folder) as (url, stop_server):
        soak = Soak(folder, url, arguments.seed)
        soak.run(60 * min(8.0, arguments.minutes), stop_server)
        soak.drain()
        ledger = read_ledgers(folder / "ledgers")
        lines = list(compare(soak, ledger))
    took = time.monotonic() - begun
    print(f"{arguments.database}, {WRITERS} writers, {took / 60:.1f} min, seed {arguments.seed}")
    for what, number, good in lines:
        print(f"  {what:<60} {number:>9,}{'' if good else '   <- NOT AS IT MUST BE'}")
    costs = sorted(ledger.costs)
    shown = ", ".join(f"p{q:g} {costs[int(len(costs) * q / 100)]:,} µs" for q in (50, 99, 99.9))
    print(
        f"  a step's cost to its writer: {shown}, max {costs[-1]:,} µs ({os.cpu_count()} cores for all this)"
    )
    for said, number in soak.away.most_common(5):
        print(f"  {number:>6,} x {said}")
    clean = all(good for _, _, good in lines)
    print("clean" if clean else "NOT CLEAN")
    if not arguments.keep and clean:
        shutil.rmtree(folder)
    else:
        print(f"files: {folder}")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
