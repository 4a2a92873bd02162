"""Whether healthy sessions stay quiet: python benchmarks/quiet.py

Runs the four-step pipeline with real sleeps through the real recorder, its steps shaken by a lognormal 10 to
15 %, and lists what fired. The target: nothing above information. Exit status 1 when something did.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter

import perfdb
from perfdb import recorder
from perfdb.vocabulary import DESIGN_STEPS

SECONDS = (0.052, 0.028, 0.005, 0.016)  # the shares of the design pipeline, in a tenth of a second
JITTER = (0.10, 0.15, 0.12, 0.15)


def run(count: int, home: str, seed: int) -> None:
    """Record so many sessions."""
    rng = random.Random(seed)
    tracker = perfdb.create_tracker(home=home, console=False)
    for _ in range(count):
        tracker.start_pipeline(fast_mode=False)
        for name, seconds, jitter in zip(DESIGN_STEPS, SECONDS, JITTER, strict=True):
            with tracker.step(name):
                time.sleep(seconds * rng.lognormvariate(0.0, jitter))
        tracker.end_pipeline(success=True)
    recorder.close(30.0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        began = time.perf_counter()
        run(options.sessions, home, options.seed)
        history = perfdb.History(home=home)
        found = history.alerts("all").to_dict("records")
        took = time.perf_counter() - began
        medians = history.steps().groupby("step_name")["duration"].median()
    loud = [alert for alert in found if alert["severity"] != "info"]
    counts = Counter(f"{alert['rule']} ({alert['severity']}, {alert['state']})" for alert in found)
    print(f"{options.sessions} healthy sessions in {took:.0f} s, seed {options.seed}")
    print("medians: " + ", ".join(f"{name} {1e3 * medians[name]:.1f} ms" for name in DESIGN_STEPS))
    print("alerts: " + (", ".join(f"{n} {what}" for what, n in counts.items()) or "none"))
    for alert in loud:
        print(f"  {alert['state']}: {alert['message']}")
    print(f"above information: {len(loud)}  (target 0)")
    return 1 if loud else 0


if __name__ == "__main__":
    sys.exit(main())
