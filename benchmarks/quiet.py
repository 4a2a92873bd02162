"""Whether healthy sessions stay quiet and a doubled step is named: python benchmarks/quiet.py --busy 3

Runs the four-step pipeline with real sleeps through the real recorder, its steps shaken by a lognormal 12 %,
on a machine that other processes keep busy in bursts. Targets, each time: nothing above information in the
healthy sessions; the second step, doubled, is named within 10 sessions. Exit status 1 when one was missed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time

import perfdb
from perfdb import recorder
from perfdb.vocabulary import DESIGN_STEPS

SHARES = (4.0, 3.0, 1.0, 2.0)  # of the steps, in the unit of --ms
SIGMA = 0.12
SLOWED = DESIGN_STEPS[1]


def keep_busy(seed: int) -> None:
    """Compute in bursts of milliseconds to seconds, for ever."""
    rng = random.Random(seed)
    while True:
        until = time.perf_counter() + rng.random() * rng.choice((0.05, 0.5, 3.0))
        while time.perf_counter() < until:
            sum(range(500))
        time.sleep(rng.random() * rng.choice((0.02, 0.3, 2.0)))


def run(tracker: recorder.Tracker, unit_s: float, rng: random.Random, slower: float = 1.0) -> None:
    """Record one session."""
    tracker.start_pipeline(fast_mode=False)
    for name, share in zip(DESIGN_STEPS, SHARES, strict=True):
        times = slower if name == SLOWED else 1.0
        with tracker.step(name):
            time.sleep(unit_s * share * times * rng.lognormvariate(0.0, SIGMA))
    tracker.end_pipeline(success=True)


def one_round(seed: int, sessions: int, unit_s: float) -> bool:
    """Return whether both targets were met."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        tracker = perfdb.create_tracker(home=home, console=False)
        for _ in range(sessions):
            run(tracker, unit_s, rng)
        recorder.close(30.0)
        history = perfdb.History(home=home)
        found = history.alerts("all")
        loud = found[found["severity"] != "info"]
        frame = history.sessions()
        waited = (1e3 * frame["cpu_wait_s"].quantile([0.1, 0.5, 0.9])).round(1).tolist()
        print(f"seed {seed}: {len(loud)} above information in {sessions} healthy sessions (target 0);")
        print(f"  they waited {waited} ms for a CPU (10, 50, 90 %)")
        for each in loud["message"]:
            print(f"  {each}")
        tracker = perfdb.create_tracker(home=home, console=False)
        named = 0
        for number in range(1, 31):
            run(tracker, unit_s, rng, 2.0)
            if any(alert.step_name == SLOWED for alert in tracker.alerts):
                named = number
                break
        recorder.close(30.0)
    print(f"  the doubled step is named after {named or 'more than 30'} sessions (target 10)")
    return not len(loud) and 0 < named <= 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ms", type=float, default=1.0, help="the shortest step")
    parser.add_argument("--busy", type=int, default=0, help="processes that keep the machine busy")
    options = parser.parse_args()
    busy = [
        multiprocessing.Process(target=keep_busy, args=(seed,), daemon=True) for seed in range(options.busy)
    ]
    for each in busy:
        each.start()
    seeds = range(options.seed, options.seed + options.rounds)
    good = [one_round(seed, options.sessions, options.ms / 1e3) for seed in seeds]
    for each in busy:
        each.terminate()
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
