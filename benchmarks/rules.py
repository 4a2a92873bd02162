"""What evaluating all rules after one session costs: python benchmarks/rules.py

Makes a history of four-step sessions through the real schema and ingest, then judges the newest session again
and again, at both sizes. The targets: 10 ms at 1 M steps, and 1.2 times the time at 10,000 steps.
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
from perfdb.records import DESIGN_STEPS, Session, Step
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema

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
        fast = number % 5 == 4
        yield Session(
            session_id=f"s{number:07d}",
            pipeline="design",
            start_time=start,
            total_duration=round(at - start, 6),
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


def measured(url: str, settings: AlertSettings, repeats: int) -> tuple[list[float], float]:
    """Return milliseconds per evaluation, and those of CPU; each is rolled back: all judge the same."""
    engine = open_engine(url, role="writer")
    times, cpu = [], 0.0
    with engine.connect() as connection:
        newest = connection.exec_driver_sql(
            "SELECT session_id FROM sessions WHERE NOT fast_mode ORDER BY start_time DESC LIMIT 1"
        ).scalar_one()
        connection.rollback()
        for number in range(repeats + 5):
            if number == 5:
                cpu = time.process_time()
            with connection.begin() as transaction:
                begun = time.perf_counter()
                after_session(connection, newest, settings, time.time())
                times.append(1e3 * (time.perf_counter() - begun))
                transaction.rollback()
    engine.dispose()
    return times[5:], 1e3 * (time.process_time() - cpu) / repeats


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
        print(f"{'steps':>10} {'rules':<24} {'n':>4} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8} {'CPU ms':>8}")
        for count in sorted({2_500, options.sessions}):
            url = made(folder / f"rules_{count}.sqlite3", count)
            for name, settings in (("without change_point", without), ("all", everything)):
                times, cpu = measured(url, settings, options.repeats)
                times.sort()
                print(
                    f"{4 * count:>10,} {name:<24} {len(times):>4} {statistics.median(times):>8.2f} "
                    f"{times[int(0.95 * len(times))]:>8.2f} {times[-1]:>8.2f} {cpu:>8.2f}"
                )


if __name__ == "__main__":
    main()
