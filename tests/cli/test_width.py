"""No line is wider than the terminal, however long what was recorded is called, and none is faint.

Of: cli/bottlenecks.py, cli/render.py, cli/steps.py.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions
from perfdb.store.schema import ensure_schema
from perfdb.testing import make_session as sample
from tests.commands import make_session

pytestmark = pytest.mark.process  # a terminal of its own
LONG = "a_long_identifier_" * 8
COMMANDS = (
    ["bottlenecks"],
    ["trends"],
    ["steps", "--last", "3"],
    ["sessions"],
    ["failures"],
    ["regressions"],
    ["compare"],
    ["compare", "--by", "fast_mode"],
    ["measures"],
    ["show", "a" * 90],
    ["trends", "--pipeline", LONG, "--status", "running"],
)


def test_nothing_is_wider_than_the_terminal(tmp_path: Path) -> None:
    home = tmp_path / "performance_tracking"
    home.mkdir()
    url = f"sqlite:///{home / 'perfdb.sqlite3'}"
    ensure_schema(url)
    made = []
    for number in range(6):
        session = make_session(number, session_id=f"{number}{'b' * 60}", pipeline=LONG)
        steps = tuple(replace(step, step_name=f"{step.step_name} of {LONG}") for step in session.steps)
        made.append(replace(session, steps=steps, status="failed" if number == 5 else session.status))
    with open_engine(url, role="writer").begin() as connection:
        insert_sessions(connection, made)
    for words in COMMANDS:
        written = on_a_terminal(words, tmp_path)
        assert "\x1b[2m" not in written, "text of a palette with little contrast would be lost"
        said = without_colours(written)
        widest = max(said.splitlines(), key=len)
        assert len(widest) <= 80, f"perfdb {' '.join(words)}: {widest}"


def test_names_that_differ_at_their_end_are_told_apart(tmp_path: Path) -> None:
    home = tmp_path / "performance_tracking"
    home.mkdir()
    url = f"sqlite:///{home / 'perfdb.sqlite3'}"
    ensure_schema(url)
    steps = {f"{LONG}of the customers": 2.0, f"{LONG}of the orders": 1.0, "load": 0.5}
    with open_engine(url, role="writer").begin() as connection:
        insert_sessions(connection, [sample(number, steps) for number in range(6)])
    for words in ("trends", "bottlenecks", "steps", "show"):
        said = without_colours(on_a_terminal([words], tmp_path))
        assert "customers" in said, said
        assert "orders" in said, said
        assert max(map(len, said.splitlines())) <= 80


def test_what_failed_is_told_once_and_whole(tmp_path: Path) -> None:
    home = tmp_path / "performance_tracking"
    home.mkdir()
    url = f"sqlite:///{home / 'perfdb.sqlite3'}"
    ensure_schema(url)
    why = "OperationalError: could not connect to " + "warehouse.example.com " * 3 + "at port 5432"
    made = sample(1, {"Load": 1.0}, pipeline=LONG[:60], status="failed", error_message=why)
    steps = tuple(replace(step, success=False, error_message=why) for step in made.steps)
    with open_engine(url, role="writer").begin() as connection:
        insert_sessions(connection, [replace(made, steps=steps)])
    said = without_colours(on_a_terminal(["failures"], tmp_path))
    assert f"\r\n{LONG[:60]}\r\n" in f"\r\n{said}"
    assert " ".join(said.split()).count(why) == 1, said
    assert "is not listed again" in said
    assert "Load" in said
    assert "Total" not in said
    listed = without_colours(on_a_terminal(["sessions"], tmp_path))
    assert "    OperationalError: could not connect to warehouse.example.com" in listed


def test_a_step_deep_within_others_keeps_its_name(tmp_path: Path) -> None:
    home = tmp_path / "performance_tracking"
    home.mkdir()
    url = f"sqlite:///{home / 'perfdb.sqlite3'}"
    ensure_schema(url)
    names = [f"Partition optimiser level {level} of the very deep planner tree" for level in range(9)]
    made = sample(1, dict.fromkeys(names, 1.0))
    steps = tuple(replace(step, parent_seq=step.seq - 1 if step.seq else None) for step in made.steps)
    with open_engine(url, role="writer").begin() as connection:
        insert_sessions(connection, [replace(made, steps=steps)])
    said = without_colours(on_a_terminal(["steps"], tmp_path))
    assert made.session_id in said
    for level in range(9):
        assert f"Partition optimiser level {level}" in said, said
    assert max(map(len, said.splitlines())) <= 80


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def on_a_terminal(words: Sequence[str], folder: Path) -> str:
    """Return what a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "perfdb", *words]
    surroundings = {**os.environ, "COLUMNS": "80", "LINES": "500"}
    running = subprocess.Popen(
        program, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=surroundings
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert running.wait(60) in (0, 2)
    return said.decode()
