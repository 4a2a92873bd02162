"""SIGKILL in the middle of a migration: nothing is half applied, and the next start does it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import MetaData, insert, select

from perfdb.store.engine import open_engine, sqlite_path
from perfdb.store.schema import check, ensure_schema, revision, upgrade

OLD = Path(__file__).resolve().parents[1] / "databases" / "0001.sqlite3"

# Killed after the statement of the number given, counted over everything that is written.
KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from perfdb.store.schema import ensure_schema

left = int(sys.argv[2])

@event.listens_for(Engine, "after_cursor_execute")
def kill(connection, cursor, statement, *rest):
    global left
    if statement.lstrip().split()[0].upper() in ("CREATE", "ALTER", "INSERT", "UPDATE", "DROP"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

ensure_schema(sys.argv[1])
"""


def killed_while_migrating(url: str, *, after: int) -> bool:
    done = subprocess.run([sys.executable, "-c", KILLED, url, str(after)], timeout=240)
    return done.returncode == -9


def revision_of(url: str) -> str | None:
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        found = revision(connection)
    engine.dispose()
    return found


@pytest.mark.parametrize("after", [1, 2, 20])
def test_row_11_killed_in_the_first_migration(database_url: str, after: int) -> None:
    assert killed_while_migrating(database_url, after=after)
    assert revision_of(database_url) is None
    ensure_schema(database_url)
    assert check(database_url) == []


@pytest.fixture
def old_url(database_url: str, tmp_path: Path) -> str:
    """Give a database of either kind as the first release left it, with sessions."""
    old = shutil.copy(OLD, sqlite_path(database_url) or tmp_path / "old.sqlite3")
    if sqlite_path(database_url):
        return database_url
    upgrade(database_url, "0001")
    file, server = (open_engine(url, role="migration") for url in (f"sqlite:///{old}", database_url))
    kept, made = MetaData(), MetaData()
    kept.reflect(file)
    made.reflect(server)
    with file.connect() as source, server.begin() as target:
        for table in made.sorted_tables:
            found = source.execute(select(kept.tables[table.name])).mappings().all()
            if found and table.name != "alembic_version":
                target.execute(insert(table), [dict(row) for row in found])
    return database_url


@pytest.mark.parametrize("after", [1, 4, 20])
def test_row_11_killed_while_an_old_database_is_upgraded(old_url: str, after: int) -> None:
    before = rows(old_url)
    assert before["sessions"] == 4
    assert killed_while_migrating(old_url, after=after)
    assert revision_of(old_url) == "0001"
    assert rows(old_url) == before
    ensure_schema(old_url)
    assert check(old_url) == []
    assert rows(old_url) == before


def rows(url: str) -> dict[str, int]:
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        found = {
            table: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
            for table in ("sessions", "steps", "samples", "series")
        }
    engine.dispose()
    return found
