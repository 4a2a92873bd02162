"""What evaluating all rules after one session costs: python benchmarks/rules.py

Makes a history of four-step sessions through the real schema and ingest, then judges the newest session again
and again, by turns at both sizes. The targets: 10 ms at 1 M steps, and 1.2 times the time at 10,000 steps.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from perfdb.alerts.config import AlertSettings
from perfdb.alerts.evaluation import after_session
from perfdb.analysis.rules import Rule
from perfdb.records import Session, Step
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.vocabulary import DESIGN_STEPS

SECONDS = (23.3, 12.4, 2.3, 7.1)
CONFIGURED = (
    Rule(name="vision-slow", kind="max", step="Vision Analysis", limit=60.0),
    Rule(name="budget", kind="budget", limit=80.0),
    Rule(name="search", kind="relative", step="Product Search"),
)


def sessions(count: int, seed: int = 1) -> Iterator[Session]:
    rng = random.Random(seed)
    for number in range(count):
        start = at = 1_700_000_000.0 + 60 * number
        steps = []
        for seq, (name, seconds) in enumerate(zip(DESIGN_STEPS, SECONDS, strict=True)):
            duration = round(seconds * rng.lognormvariate(0, 0.15), 6)
            steps.append(
                Step(step_name=name, start_time=at, duration=duration, success=True, seq=seq, cpu_s=0.5)
            )
            at += duration
        yield design_session(number, start, at, steps, fast=number % 5 == 4)


def design_session(
    number: int, start: float, end: float, steps: list[Step], *, fast: bool = False
) -> Session:
    return Session(
        session_id=f"s{number:07d}",
        pipeline="design",
        start_time=start,
        total_duration=round(end - start, 6),
        status="completed",
        success=True,
        fast_mode=fast,
        mode=json.dumps({"fast_mode": fast}, separators=(",", ":")),
        steps=tuple(steps),
    )


def made(path: Path, count: int) -> str:
    url = f"sqlite:///{path}"
    if not path.exists():
        ensure_schema(url)
        engine = open_engine(url, role="writer")
        with engine.begin() as connection:
            insert_sessions(connection, sessions(count))
        engine.dispose()
    return url


class Judge:
    """Judges the newest session of one history; each time is rolled back, so that all judge the same."""

    def __init__(self, url: str, settings: AlertSettings) -> None:
        self._connection = open_engine(url, role="writer").connect()
        self._settings = settings
        self._newest = self._connection.exec_driver_sql(
            "SELECT session_id FROM sessions WHERE NOT fast_mode ORDER BY start_time DESC LIMIT 1"
        ).scalar_one()
        self._connection.rollback()
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def turn(self) -> None:
        """Judge once and note the milliseconds."""
        with self._connection.begin() as transaction:
            busy, began = time.process_time(), time.perf_counter()
            after_session(self._connection, self._newest, self._settings, time.time())
            self.wall.append(1e3 * (time.perf_counter() - began))
            self.cpu.append(1e3 * (time.process_time() - busy))
            transaction.rollback()


def alternately(judges: list[Judge], repeats: int) -> None:
    """Give each judge its turns, one after the other: what else the machine does meets all alike."""
    for number in range(repeats + 5):
        for judge in judges:
            judge.turn()
            if number == 4:  # the first turns compile statements and warm caches
                judge.wall.clear()
                judge.cpu.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=250_000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="keep the databases here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        everything = AlertSettings(rules=(*CONFIGURED, *AlertSettings().rules))
        without = replace(
            everything, rules=tuple(rule for rule in everything.rules if rule.kind != "change_point")
        )
        counts = sorted({2_500, options.sessions})
        urls = [made(folder / f"rules_{count}.sqlite3", count) for count in counts]
        print(
            f"{'rules':<24} {'steps':>10} {'n':>4} {'p50 ms':>8} {'p95 ms':>8} {'CPU p50':>8} {'CPU p95':>8}"
        )
        for name, settings in (("without change_point", without), ("all", everything)):
            judges = [Judge(url, settings) for url in urls]
            alternately(judges, options.repeats)
            for count, judge in zip(counts, judges, strict=True):
                figures = [f"{value:>8.2f}" for each in (judge.wall, judge.cpu) for value in middle(each)]
                print(f"{name:<24} {4 * count:>10,} {options.repeats:>4} {' '.join(figures)}")
            ratios = sorted(big / small for small, big in zip(judges[0].cpu, judges[-1].cpu, strict=True))
            print(
                f"{'':<24} ratio {statistics.median(ratios):.2f} (middle half {middle_half(ratios)})  ≤ 1.2"
            )


def middle(values: list[float]) -> tuple[float, float]:
    """Return the median and the 95th percentile."""
    return statistics.median(values), sorted(values)[int(0.95 * len(values))]


def middle_half(ordered: list[float]) -> str:
    """Return the quartiles as text."""
    return f"{ordered[len(ordered) // 4]:.2f} … {ordered[3 * len(ordered) // 4]:.2f}"


if __name__ == "__main__":
    main()
