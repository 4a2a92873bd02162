"""Databases for the store's tests: SQLite files, and a PostgreSQL cluster of our own."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from perfdb.store.engine import open_engine
from perfdb.store.schema import ensure_schema


def _postgres_binaries() -> Path | None:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    return Path(initdb).parent if initdb else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start a cluster on a free port; give the URL of its server, without a database."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed: its half of the store is not tested")
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if prefix and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    folder = Path(tempfile.mkdtemp(prefix="perfdb-pg-"))
    if prefix:
        shutil.chown(folder, "postgres")

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, capture_output=True, cwd=folder, timeout=60)

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = str(folder / "data"), str(folder / "log")
    run(f"{binaries}/initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(f"{binaries}/pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        run(f"{binaries}/pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder, ignore_errors=True)


_numbers = itertools.count()


def _create(server: str, template: str = "template1") -> str:
    import psycopg

    name = f"perfdb_{next(_numbers)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    return f"{server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/perfdb.sqlite3"
    return _create(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a SQLite file with all tables, to copy: a migration takes a quarter of a second."""
    path = tmp_path_factory.mktemp("migrated") / "perfdb.sqlite3"
    ensure_schema(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres: str) -> str:
    """Give the name of a PostgreSQL database with all tables, to copy."""
    url = _create(postgres)
    ensure_schema(url)
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Give a writer's engine on a database with all tables."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "perfdb.sqlite3")
        url = f"sqlite:///{path}"
    else:
        template = request.getfixturevalue("migrated_database")
        url = _create(request.getfixturevalue("postgres"), template)
    engine = open_engine(url, role="writer")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(postgres: str, migrated_database: str) -> Iterator[Engine]:
    """Give an engine on one PostgreSQL database, for tests that undo what they do."""
    engine = open_engine(_create(postgres, migrated_database), role="writer")
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    """Give a writer's connection inside a transaction, which is undone."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "perfdb.sqlite3")
        engine = open_engine(f"sqlite:///{path}", role="writer")
    else:
        engine = request.getfixturevalue("shared_engine")
    with engine.connect() as connection:
        transaction = connection.begin()
        try:
            yield connection
        finally:
            transaction.rollback()
    if request.param == "sqlite":
        engine.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Give the URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path}/home/perfdb.sqlite3"


@pytest.fixture
def run_records() -> Callable[..., list[dict[str, object]]]:
    """Give a function that makes the records of one run."""

    def make(
        session_id: str = "s1", *, start: float = 1_785_500_000.123456, **changes: object
    ) -> list[dict[str, object]]:
        durations: dict[str, float] = changes.pop("steps", {"load": 1.5, "work": 2.25})  # type: ignore[assignment]
        end = {"status": "completed", "success": True, "product_count": 6, "attributes": {"git": "abc"}}
        end.update({key: changes.pop(key) for key in list(changes) if key in end})
        records: list[dict[str, object]] = [
            {
                "type": "start",
                "session_id": session_id,
                "pipeline": "design",
                "start_time": start,
                "utc_offset": 3600,
                "fast_mode": False,
                "mode": '{"fast_mode":false}',
                "attributes": {},
                **changes,
            }
        ]
        at = start
        for seq, (name, duration) in enumerate(durations.items()):
            records.append(
                {
                    "type": "step",
                    "session_id": session_id,
                    "seq": seq,
                    "parent_seq": None,
                    "step_name": name,
                    "lane": 0,
                    "start_time": round(at, 6),
                    "duration": duration,
                    "success": True,
                    "error_message": None,
                    "additional_data": {"rows": seq},
                    "cpu_s": 0.5,
                    "rss_peak_bytes": 3_000_000_000,
                    "rss_mean_bytes": 2_000,
                }
            )
            at += duration
        records.append(
            {
                "type": "end",
                "session_id": session_id,
                "total_duration": round(at - start, 6),
                "error_message": None,
                "cpu_s": 1.0,
                "rss_peak_bytes": 1,
                "rss_mean_bytes": 1,
                **end,
            }
        )
        return records

    return make
