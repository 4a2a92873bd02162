"""A server is told how tables have grown, by whoever filled them all at once.

Of: store/upkeep/space.py, worker/rolling.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

import perfdb
from perfdb.maintenance.importer import import_reports
from perfdb.settings import load
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions
from perfdb.store.models import sessions
from perfdb.store.upkeep.copying import copy_history
from perfdb.store.upkeep.space import measure_tables
from perfdb.testing import make_history, make_session

_SAME = ", ".join(each.name for each in sessions.c if each.name not in ("id", "session_id", "start_time"))
_MANY = text(f"""
    INSERT INTO sessions (session_id, start_time, {_SAME})
    SELECT 'many-' || n, start_time - n, {_SAME} FROM sessions, generate_series(1, 20000) n
""")


def filled(url: str) -> str:
    """Fill a database all at once, whose server does not look after it."""
    with Database(url) as database, database.writing() as connection:
        insert_sessions(connection, [make_session(0, {"load": 1.0})])
        connection.execute(text("ALTER TABLE sessions SET (autovacuum_enabled = false)"))
        connection.execute(_MANY)
    return url


def is_measured(url: str) -> bool:
    known = text("SELECT last_analyze FROM pg_stat_user_tables WHERE relname = 'sessions'")
    with Database(url) as database, database.reading() as connection:
        return connection.execute(known).scalar() is not None


def recorded(url: str, folder: Path) -> None:
    settings = load(home=folder, environ={}).replaced(database_url=url, wait_s=60.0)
    with perfdb.track("nightly", settings=settings) as run:
        with run.step("load"):
            pass
        until = time.monotonic() + 60.0
        while not is_measured(url) and time.monotonic() < until:  # by the worker, when it has nothing to do
            time.sleep(0.05)


def imported(url: str, folder: Path) -> None:
    settings = load(home=folder, environ={})
    with perfdb.track("nightly", settings=settings) as run:
        pass
    report = Path(run.save_performance_report())
    (done,) = import_reports([report], settings.replaced(database_url=url))
    assert done.added == 1, done.error


def copied(url: str, folder: Path) -> None:
    source = make_history(f"sqlite:///{folder}/source.sqlite3", [make_session(1, {"load": 1.0})]).url
    copy_history(source, url)


@pytest.mark.parametrize("fill", [recorded, imported, copied])
def test_a_server_knows_its_tables_after(
    fill: Callable[[str, Path], None],
    create_database: Callable[..., str],
    migrated_database: str,
    tmp_path: Path,
) -> None:
    url = filled(create_database(migrated_database))
    assert not is_measured(url)
    fill(url, tmp_path)
    assert is_measured(url)


def test_the_last_runs_of_a_series_are_read_in_order(
    create_database: Callable[..., str], migrated_database: str
) -> None:
    url = filled(create_database(migrated_database))
    last = text("""
        EXPLAIN (ANALYZE) SELECT session_id FROM sessions WHERE series_id = (SELECT min(id) FROM series)
        AND status IN (1, 2) ORDER BY start_time DESC, id DESC LIMIT 500
    """)
    with Database(url) as database:
        with database.writing() as connection:
            assert measure_tables(connection) == ["sessions"]
            plan = "\n".join(connection.execute(last).scalars())
        read = max(float(rows) for rows in re.findall(r"actual time=\S+ rows=([\d.]+)", plan))
        assert read <= 501, plan
        with database.writing() as connection:
            assert measure_tables(connection) == []


def test_a_file_needs_none_of_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/one.sqlite3"
    make_history(url, [make_session(0, {"load": 1.0})])
    with Database(url) as database, database.writing() as connection:
        assert measure_tables(connection) == []
