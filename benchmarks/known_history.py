"""Whether a history with known truth is read rightly: python benchmarks/known_history.py --seeds 6

Makes histories of 80 days of three pipelines with a daily wave, gaps, random attributes and commits that
change now and then, stores them as an import does, and compares what `regressions`, improvements and alerts
say with what was put in: every move once, at its day give or take 2, with its attribute where it has one, and
nothing else above information. Exit status 1 when something is missing or false.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import perfdb
from perfdb.alerts.late import evaluate_historic
from perfdb.records import Session, Step
from perfdb.settings import sqlite_url
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions

DAY = 86_400.0
DAYS = 80
GAP = range(25, 28)  # nothing runs
COMMIT_DAYS = 7


@dataclass(frozen=True)
class Move:
    """What is put in: a step takes so many times as long from a day on; ``switch``: what explains it."""

    pipeline: str
    step: str
    day: int
    factor: float
    switch: tuple[str, str] | None = None


STEPS = {  # seconds, sigma of the logarithm
    "billing-close": {"collect": (20.0, 0.15), "reconcile": (9.0, 0.2), "post": (5.0, 0.15)},
    "image-index": {"decode": (0.08, 0.25), "embed": (0.2, 0.2), "insert": (0.03, 0.3)},
    "support-answers": {"retrieve": (0.7, 0.3), "generate": (6.0, 0.35), "check": (1.1, 0.3)},
}
A_DAY = {"billing-close": 24, "image-index": 40, "support-answers": 16}
MOVES = (
    Move("billing-close", "reconcile", 52, 1.5, ("git_commit", "f00dfeed00")),
    Move("image-index", "embed", 66, 1.4),
    Move("support-answers", "generate", 41, 0.7, ("model", "small-2")),
)
FAILS_FROM = 77  # days: a third of the sessions of image-index fail in insert


def history(seed: int, now: float, wave: float) -> list[Session]:
    """Return the sessions, oldest first."""
    rng = random.Random(seed)
    made = []
    for day in range(DAYS):
        if day in GAP:
            continue
        for pipeline, count in A_DAY.items():
            for _ in range(count):
                start = now - (DAYS - day - rng.random()) * DAY
                made.append(_session(rng, pipeline, day, start, wave))
    return sorted(made, key=lambda each: each.start_time)


def _session(rng: random.Random, pipeline: str, day: int, start: float, wave: float) -> Session:
    fast = rng.random() < 0.3
    level = (0.5 if fast else 1.0) * (1 + wave * math.sin(2 * math.pi * start / DAY))
    facts: dict[str, Any] = {
        "git_commit": f"{day // COMMIT_DAYS:010x}",
        "model": "large-1",
        "region": rng.choice(("north", "south")),
        "tenant": rng.choice(("a", "b", "c", "d")),
    }
    moved = [move for move in MOVES if move.pipeline == pipeline and day >= move.day]
    facts |= dict(move.switch for move in moved if move.switch is not None)
    fails = pipeline == "image-index" and rng.random() < (0.33 if day >= FAILS_FROM else 0.01)
    at, steps = start, []
    for seq, (name, (seconds, sigma)) in enumerate(STEPS[pipeline].items()):
        duration = seconds * level * rng.lognormvariate(0.0, sigma)
        duration *= math.prod(move.factor for move in moved if move.step == name)
        failed = fails and name == "insert"
        made = {"success": not failed, "error_message": "ConnectionError: refused" if failed else None}
        steps.append(Step(step_name=name, start_time=at, duration=duration, seq=seq, **made))
        at += duration
    return Session(
        session_id=f"s{int(start * 1e3)}-{rng.getrandbits(32):08x}",
        pipeline=pipeline,
        start_time=start,
        total_duration=at - start,
        status="failed" if fails else "completed",
        success=not fails,
        fast_mode=fast,
        mode='{"fast_mode":true}' if fast else '{"fast_mode":false}',
        git_commit=facts.pop("git_commit"),
        host=rng.choice(("worker-1", "worker-2")),
        attributes=facts,
        steps=tuple(steps),
    )


def judge(history: perfdb.History, now: float) -> list[str]:
    """Return what is missing or false."""
    wrong = []
    for better in (False, True):
        frame = history.regressions(better=better)
        rows = [row for row in frame.to_dict("records") if row["step_name"] is not None]
        for move in MOVES:
            if (move.factor < 1) is not better:
                continue
            for mode in ('{"fast_mode":false}', '{"fast_mode":true}'):
                name = move.pipeline, move.step, mode
                own = [row for row in rows if (row["pipeline"], row["step_name"], row["mode"]) == name]
                rows = [row for row in rows if row not in own]
                what = f"{move.pipeline}, {move.step}, {mode}"
                if len(own) != 1:
                    wrong.append(f"{what}: found {len(own)} times")
                    continue
                days = (own[0]["since_time"] - (now - (DAYS - move.day) * DAY)) / DAY
                if not -2 <= days <= 2:
                    wrong.append(f"{what}: {days:+.1f} days off")
                named = [each["name"] for each in own[0]["suspects"]]
                if move.switch is not None and move.switch[0] not in named:
                    wrong.append(f"{what}: {move.switch[0]} is not named")
        wrong += [
            f"false: {r['pipeline']}, {r['step_name']}, {r['mode']}, {r['effect']:+.0f} %" for r in rows
        ]
    alerts = history.alerts("all")
    failing = alerts[(alerts["kind"] == "error_rate") & alerts["inhibited_by"].isna()]
    if set(failing["pipeline"]) != {"image-index"} or len(failing) != failing["mode"].nunique():
        wrong.append(f"failures: {failing[['pipeline', 'step_name', 'mode']].values.tolist()}")
    loud = alerts[(alerts["severity"] != "info") & (alerts["kind"] != "error_rate")]
    for row in loud.to_dict("records"):
        moved = {(move.pipeline, step) for move in MOVES for step in (move.step, None)}
        if (row["pipeline"], row["step_name"]) not in moved:
            wrong.append(f"false alert: {row['headline']}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--wave", type=float, default=0.35, help="of the day, up and down")
    options = parser.parse_args()
    bad = 0
    for seed in range(1, options.seeds + 1):
        now = time.time() // DAY * DAY  # midnight: the same every day
        sessions = history(seed, now, options.wave)
        with tempfile.TemporaryDirectory() as folder:
            url = sqlite_url(Path(folder) / "perfdb.sqlite3")
            with Database(url) as database:
                with database.writing() as connection:
                    insert_sessions(connection, sessions)
                evaluate_historic(database, [each.session_id for each in sessions], None)
            wrong = judge(perfdb.History(url), now)
        print(f"seed {seed}: {len(sessions):,} sessions, " + ("; ".join(wrong) or "all found, nothing false"))
        bad += bool(wrong)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
