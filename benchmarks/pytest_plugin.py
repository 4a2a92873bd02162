"""What recording costs a suite of empty tests: python -m benchmarks.pytest_plugin [--tests 2000]

The same suite with and without ``--perfdb``, by turns, in processes of their own; the CPU time of a process,
its beginning and its end included, and the ratio of each pair.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def cpu_of(folder: Path, *options: str) -> float:
    """Return the CPU seconds of one run of the suite."""
    before = os.times()
    command = [sys.executable, "-m", "pytest", "-q", *options]
    # as an installed package it has its bytecode
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTEST_ADDOPTS"] = "-p no:cacheprovider"
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = "".join(
            f"def test_that_is_empty_{number}():\n    pass\n\n\n" for number in range(given.tests)
        )
        Path(folder, "test_empty.py").write_text(suite)
        pairs = []
        for number in range(given.rounds + 1):
            bare, recorded = cpu_of(Path(folder)), cpu_of(Path(folder), "--perfdb")
            if number:  # the first makes the database
                pairs.append((bare, recorded))
    ratios = sorted(recorded / bare for bare, recorded in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    more = statistics.median(recorded - bare for bare, recorded in pairs) / given.tests * 1e6
    print(
        f"{100 * (middle - 1):.1f} % more CPU time ({100 * (low - 1):.1f} to {100 * (high - 1):.1f})", end=""
    )
    print(f", {more:.0f} µs a test, {given.rounds} rounds of {given.tests} tests")


if __name__ == "__main__":
    main()
