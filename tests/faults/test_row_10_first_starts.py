"""Four first starts at once, again and again: all start, and the schema is right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfdb.store.schema import check

ROUNDS = 3

# Each process starts anew in every round as far as the database can see; Python starts once.
STARTER = """
import json, sys
import perfdb.store.engine, perfdb.store.ingest
from perfdb.store.schema import ensure_schema
from alembic import command, context
print("ready", flush=True)
for line in sys.stdin:
    try:
        ensure_schema(line.strip())
        print(json.dumps(None), flush=True)
    except BaseException as error:
        print(json.dumps(f"{type(error).__name__}: {error}"), flush=True)
"""


@pytest.fixture
def starters() -> Iterator[list[subprocess.Popen[str]]]:
    """Give four processes that have not started yet."""
    command = [sys.executable, "-c", STARTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    started = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    yield started
    for each in started:
        each.communicate(timeout=240)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_databases(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Give the URLs of as many databases as there are rounds."""
    if request.param == "sqlite":
        return [f"sqlite:///{tmp_path}/{number}.sqlite3" for number in range(ROUNDS)]
    create: Callable[[], str] = request.getfixturevalue("create_database")
    return [create() for _ in range(ROUNDS)]


def test_row_10_first_starts(starters: list[subprocess.Popen[str]], empty_databases: list[str]) -> None:
    for url in empty_databases:
        for each in starters:
            assert each.stdin is not None
            each.stdin.write(f"{url}\n")
            each.stdin.flush()
        outcomes = [json.loads(each.stdout.readline()) for each in starters if each.stdout is not None]
        assert outcomes == [None] * 4
        assert check(url) == []
