"""Several new databases are made at once by threads of one process: no crash, all rows, a quiet log."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from perfdb.store.schema import HEAD
from perfdb.worker.recovery import recover

ROUNDS = 3

HOMES = """
import json, logging, os, sys
from concurrent.futures import ThreadPoolExecutor
import perfdb

logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)

def record(name):
    with perfdb.track("p", home=name, console=False, monitor=False) as run:
        with run.step(name):
            pass

def all_at_once(names):
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(record, names))
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Give a function that runs a program to its end and returns what it logged."""

    def program(code: str) -> str:
        command = [sys.executable, "-u", "-X", "faulthandler", "-c", HOMES + textwrap.dedent(code)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2_000:]
        return done.stderr

    return program


def steps_in(home: Path) -> list[str]:
    recover(home, f"sqlite:///{home}/perfdb.sqlite3")
    file = sqlite3.connect(home / "perfdb.sqlite3")
    found = [name for (name,) in file.execute("SELECT step_name FROM v_steps")]
    assert file.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    file.close()
    return found


@pytest.mark.parametrize("number", range(ROUNDS))
def test_row_40_three_threads_and_five_homes(
    program: Callable[[str], str], tmp_path: Path, number: int
) -> None:
    names = [f"home-{number}-{each}" for each in range(5)]
    said = program(f"all_at_once({names})")
    assert "alembic" not in said.lower()
    for name in names:
        assert steps_in(tmp_path / name) == [name]


def test_row_40_the_hosts_own_migrations_go_on_beside_ours(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    """Alembic keeps the connection in globals of the process: ours must not come between."""
    versions = tmp_path / "theirs" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "env.py").write_text(
        "from alembic import context\n"
        "context.configure(connection=context.config.attributes['connection'])\n"
        "with context.begin_transaction():\n    context.run_migrations()\n"
    )
    (versions / "1_one.py").write_text(
        "import sqlalchemy as sa, time\nfrom alembic import op\nrevision = '1'\ndown_revision = None\n"
        "def upgrade():\n    for i in range(40):\n"
        "        op.create_table(f'theirs_{i}', sa.Column('a', sa.Integer)); time.sleep(0.02)\n"
    )
    said = program("""
        import threading
        from alembic import command
        from alembic.config import Config
        from sqlalchemy import create_engine

        thread = threading.Thread(target=all_at_once, args=(["a", "b", "c"],))
        thread.start()
        config = Config()
        config.set_main_option("script_location", "theirs")
        with create_engine("sqlite:///theirs.sqlite3").begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        thread.join()
    """)
    assert "Running upgrade  -> 1" in said  # what Alembic says of the host's own stays
    assert HEAD not in said
    tables = "SELECT count(*) FROM sqlite_master WHERE name LIKE ?"
    for name, theirs in (("theirs.sqlite3", 40), *((f"{each}/perfdb.sqlite3", 0) for each in "abc")):
        file = sqlite3.connect(tmp_path / name)
        assert file.execute(tables, ("theirs_%",)).fetchone() == (theirs,)
        assert file.execute(tables, ("sessions",)).fetchone() == (0 if theirs else 1,)
        file.close()
    for name in "abc":
        assert steps_in(tmp_path / name) == [name]


def test_row_40_a_child_makes_its_own_while_the_parent_makes_others(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    program("""
        import threading, warnings
        record("first")  # a fork in the middle of another thread's import is CPython's own affair
        warnings.simplefilter("ignore")
        thread = threading.Thread(target=all_at_once, args=(["a", "b", "c"],))
        thread.start()
        children = []
        for name in ("d", "e"):
            child = os.fork()
            if not child:
                record(name)
                perfdb.recorder.close()
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        thread.join()
    """)
    for name in "abcde":
        assert steps_in(tmp_path / name) == [name]


def test_row_40_several_databases_of_a_server(
    program: Callable[[str], str], create_database: Callable[[], str]
) -> None:
    urls = [create_database() for _ in range(5)]
    program(f"""
        import threading
        from perfdb.store.schema import ensure_schema, check
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(ensure_schema, {json.dumps(urls)}))
        assert [check(url) for url in {json.dumps(urls)}] == [[]] * 5
    """)
