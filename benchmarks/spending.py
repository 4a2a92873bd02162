"""What tokens and money cost to keep and to ask: python -m benchmarks.spending [--database postgresql]

Makes two histories of four-step sessions through the real schema and ingest, the second ten times as long;
two steps of each session call a model. Asks both by turns what a run costs, and judges the newest session,
with and without a limit on the day's spending. Then what ``perfdb.usage()`` adds to a step, and what a
price costs the worker.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import perfdb
from benchmarks.rules import SECONDS, design_session
from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import after_session
from perfdb.analysis.rules import Rule
from perfdb.analysis.series import SeriesName
from perfdb.measures import named
from perfdb.recording.health import Health
from perfdb.records import Session, Step
from perfdb.settings import load
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.store.upkeep.space import measure_tables
from perfdb.store.windows import find_session_ref, read_windows
from perfdb.toml import parse
from perfdb.vocabulary import DESIGN_STEPS
from perfdb.worker.pricing import Pricing

A_DAY = 100  # sessions
COST = named("cost_usd")
LIMIT = Rule(name="daily-spending", kind="sum", per="day", metric="cost_usd", limit=1e9)
PRICES = '["gpt-4o"]\ninput = 2.5\ncached = 1.25\noutput = 10\n'
ANSWER = {
    "model": "gpt-4o-2024-08-06",
    "usage": {
        "prompt_tokens": 1_000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 200},
    },
}


def sessions(count: int, seed: int = 1) -> Iterator[Session]:
    """Yield sessions up to now; the second half of them with a dearer model."""
    rng = random.Random(seed)
    first = time.time() - 86_400 / A_DAY * count
    for number in range(count):
        start = at = first + 86_400 / A_DAY * number
        dear = number >= count // 2
        steps = []
        for seq, (name, seconds) in enumerate(zip(DESIGN_STEPS, SECONDS, strict=True)):
            duration = round(seconds * rng.lognormvariate(0, 0.15), 6)
            said: dict[str, object] = {}
            if seq in (0, 3):
                tokens = rng.randrange(500, 1_500)
                said = {
                    "model": "painter-2" if dear else "painter-1",
                    "input_tokens": tokens,
                    "output_tokens": tokens // 10,
                    "cost_usd": round(tokens * (4e-6 if dear else 3e-6), 9),
                }
            steps.append(
                Step(
                    step_name=name,
                    start_time=at,
                    duration=duration,
                    success=True,
                    seq=seq,
                    additional_data=said,
                )
            )
            at += duration
        yield design_session(number, start, at, steps)


def made(url: str, count: int) -> str:
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    with engine.begin() as connection:
        insert_sessions(connection, sessions(count))
    with engine.begin() as connection:
        measure_tables(connection)  # as an import does, and the worker
    engine.dispose()
    return url


def questions(url: str) -> dict[str, Callable[[], object]]:
    history = perfdb.History(url)
    connection = open_engine(url, role="writer").connect()
    newest = connection.exec_driver_sql("SELECT max(session_id) FROM sessions").scalar_one()
    connection.rollback()
    usual = AlertSettings()
    limited = AlertSettings(rules=(*usual.rules, LIMIT))

    def judged(settings: AlertSettings) -> None:
        with connection.begin() as transaction:
            after_session(connection, newest, settings, time.time())
            transaction.rollback()

    def read() -> None:
        with connection.begin():
            session = find_session_ref(connection, newest)
            assert session is not None
            only = SeriesName(session.pipeline, DESIGN_STEPS[0], session.mode)
            windows = read_windows(connection, session, 500, attributes={"*": [COST]}, only=only)
            assert max(len(window.values) for window in windows if window.metric == COST.name) >= 490

    return {
        "a series of 500 runs of cost_usd, read": read,
        "today's spending, a run and the usual": history.spending,
        "trends(cost_usd), of all runs together, the last 500": lambda: history.trends(
            measure="cost_usd", last=500
        ),
        "bottlenecks(cost_usd), the last 100": lambda: history.bottlenecks(measure="cost_usd", last=100),
        "regressions(cost_usd), the last 500": lambda: history.regressions(measure="cost_usd", last=500),
        "pareto(model), the last 1,000": lambda: history.pareto(last=1_000),
        "rules after a session, without a limit": lambda: judged(usual),
        "rules after a session, with a limit per day": lambda: judged(limited),
    }


def by_turns(works: list[Callable[[], object]], rounds: int) -> list[tuple[list[float], list[float]]]:
    """Return the milliseconds of each, wall and CPU; what else the machine does meets all alike."""
    found: list[tuple[list[float], list[float]]] = [([], []) for _ in works]
    for number in range(rounds + 2):
        for work, (wall, cpu) in zip(works, found, strict=True):
            busy, began = time.process_time(), time.perf_counter()
            work()
            if number > 1:  # the first turns compile statements and warm caches
                wall.append(1e3 * (time.perf_counter() - began))
                cpu.append(1e3 * (time.process_time() - busy))
    return found


def recording(folder: str, rounds: int) -> None:
    """Print what a call of ``usage`` adds to a step, and a price to the worker's work."""
    pricing = Pricing(parse(PRICES, source="prices.toml"), Health())
    used = {"model": "gpt-4o-2024-08-06", "input_tokens": 1_000, "output_tokens": 100, "cached_tokens": 200}
    settings = load(home=Path(folder), environ={}).replaced(wait_s=60.0)
    with perfdb.track("bench", settings=settings) as run:

        def plain() -> None:
            for _ in range(1_000):
                with run.step("call"):
                    pass

        def with_usage() -> None:
            for _ in range(1_000):
                with run.step("call"):
                    perfdb.usage(ANSWER)

        def priced() -> None:
            for _ in range(1_000):
                pricing({"type": "step", "start_time": 1_768_000_000.0, "additional_data": dict(used)})

        (_, bare), (_, full), (_, worker) = by_turns([plain, with_usage, priced], rounds)
    more = statistics.median(full) - statistics.median(bare)
    print(f"usage() and its attributes: {more:.1f} µs of CPU a step")
    print(f"a price, in the worker: {statistics.median(worker):.1f} µs of CPU a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=25_000, help="of the longer history")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        counts = (options.sessions // 10, options.sessions)
        if options.database == "postgresql":
            from benchmarks.cluster import running_cluster

            cluster = stack.enter_context(running_cluster())
            urls = [made(cluster.create(), count) for count in counts]
        else:
            urls = [made(f"sqlite:///{folder}/{count}.sqlite3", count) for count in counts]
        asked = [questions(url) for url in urls]
        print(f"{'wall p50 (CPU), ms':<56} " + " ".join(f"{4 * count:>10,} steps" for count in counts))
        for name in asked[0]:
            figures = by_turns([each[name] for each in asked], options.rounds)
            middles = [
                f"{statistics.median(wall):.1f} ({statistics.median(cpu):.1f})" for wall, cpu in figures
            ]
            print(f"{name:<56} " + " ".join(f"{middle:>16}" for middle in middles), flush=True)
        recording(folder, options.rounds)


if __name__ == "__main__":
    main()
