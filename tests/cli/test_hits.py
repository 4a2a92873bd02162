"""`perfdb hits`: whom a move hits, in words and in numbers."""

from __future__ import annotations

import random
from pathlib import Path

from perfdb.testing import NOON, make_history, make_session
from tests.commands import Perfdb

MOVED = f"{NOON + 60 * 100:.0f}"


def recorded(folder: Path) -> str:
    chance = random.Random(3)
    runs = [
        make_session(
            number,
            {"load": chance.uniform(0.9, 1.1) * (1.6 if number >= 100 and customer == "acme" else 1.0)},
            attributes={"customer": customer},
            git_commit="bbb" if number >= 100 else "aaa",
        )
        for number in range(200)
        for customer in [chance.choice(("acme", "globex"))]
    ]
    return make_history(folder, runs).url


def test_the_values_that_moved_more_are_marked(perfdb: Perfdb, folder: Path) -> None:
    url = recorded(folder)
    said = perfdb("hits", MOVED, "--step", "load", "-d", url)
    assert said.code == 0
    assert said.out.startswith("Since then customer=acme +")
    line = next(line for line in said.out.splitlines() if line.split()[:2] == ["customer", "acme"])
    assert "%*" in line
    assert "bbb" not in said.out  # the commit came with the move


def test_of_failures_the_figures_are_points(perfdb: Perfdb, folder: Path) -> None:
    said = perfdb("hits", MOVED, "--failures", "-d", recorded(folder))
    assert said.out.startswith("No value that is recorded moved more than the others then.")
    assert "%" not in said.out.replace("95 %", "")


def test_a_moment_without_runs_on_a_side_is_said(perfdb: Perfdb, folder: Path) -> None:
    said = perfdb("hits", "2020-01-01", "-d", recorded(folder))
    assert (said.code, said.out) == (2, "")
    assert "0 of the runs that count began before then and 200 since" in said.err
