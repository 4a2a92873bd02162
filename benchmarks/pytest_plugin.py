"""What recording costs a suite of empty tests: python -m benchmarks.pytest_plugin [--tests 2000]

The same suite with and without ``--perfdb``, by turns, in processes of their own; the CPU time of a process,
its beginning and its end included, and the ratio of each pair. With ``--instructions`` valgrind counts those,
which no load changes, with one hash seed and fixed addresses: by themselves these change whole
runs by a third of what recording takes. One or two rounds are enough, of minutes each.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def cpu_of(folder: Path, *options: str) -> float:
    """Return the CPU seconds of one run of the suite."""
    before = os.times()
    run(folder, [], options)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def instructions_of(folder: Path, *options: str) -> float:
    """Return the instructions of one run of the suite."""
    counting = ["setarch", "-R", "valgrind", "--tool=cachegrind", "--cache-sim=no"]  # at the same addresses
    counting.append(f"--cachegrind-out-file={os.devnull}")
    said = run(folder, counting, options)
    found = re.search(r"I +refs: +([0-9,]+)", said)
    assert found is not None, said
    return float(found[1].replace(",", ""))


def run(folder: Path, counting: list[str], options: tuple[str, ...]) -> str:
    """Run the suite; return what was said on stderr."""
    command = [*counting, sys.executable, "-m", "pytest", "-q", *options]
    # as an installed package it has its bytecode
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ |= {"PYTEST_ADDOPTS": "-p no:cacheprovider", "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--instructions", action="store_true", help="counted by valgrind, not the CPU time")
    given = parser.parse_args()
    cost_of = instructions_of if given.instructions else cpu_of
    with tempfile.TemporaryDirectory() as folder:
        suite = "".join(
            f"def test_that_is_empty_{number}():\n    pass\n\n\n" for number in range(given.tests)
        )
        Path(folder, "test_empty.py").write_text(suite)
        pairs = []
        for number in range(given.rounds + 1):
            bare, recorded = cost_of(Path(folder)), cost_of(Path(folder), "--perfdb")
            if number:  # the first writes the bytecode
                pairs.append((bare, recorded))
    ratios = sorted(recorded / bare for bare, recorded in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    more = statistics.median(recorded - bare for bare, recorded in pairs)
    what = "instructions" if given.instructions else "CPU time"
    print(f"{100 * (middle - 1):.2f} % more {what} ({100 * (low - 1):.2f} to {100 * (high - 1):.2f})", end="")
    each = f"{more / 1e6:.1f} million" if given.instructions else f"{more / given.tests * 1e6:.0f} µs a test"
    print(f", {each}, {given.rounds} rounds of {given.tests} tests")


if __name__ == "__main__":
    main()
