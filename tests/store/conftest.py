"""Engines and connections for the store's tests, and the records of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from benchmarks.cluster import Cluster
from perfdb.store.engine import open_engine


@pytest.fixture
def engine(migrated_url: str) -> Iterator[Engine]:
    """Give a writer's engine on a database with all tables."""
    engine = open_engine(migrated_url, role="writer")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def shared_engine(cluster: Cluster, migrated_database: str) -> Iterator[Engine]:
    """Give an engine on one PostgreSQL database, for tests that undo what they do."""
    engine = open_engine(cluster.create(migrated_database), role="writer")
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
