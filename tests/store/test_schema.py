"""Tables come to be by migration, once, whole, and never over somebody else's.

Of: store/migrating.py, store/models.py.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from perfdb.errors import SchemaError, StoreError
from perfdb.store import frames, reading, schema
from perfdb.store.engine import open_engine

ROOT = Path(__file__).resolve().parents[2]
OLD_DATABASES = sorted((ROOT / "tests" / "databases").glob("*.sqlite3"))


def execute(url: str, *statements: str) -> None:
    engine = open_engine(url, role="migration")
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def revision(url: str) -> str | None:
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        found = schema.revision(connection)
    engine.dispose()
    return found


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    config.set_main_option("path_separator", "os")
    return config


def test_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_current_head() == schema.HEAD


def test_models_and_migrations_are_equal(database_url: str) -> None:
    schema.ensure_schema(database_url)
    assert revision(database_url) == schema.HEAD
    assert schema.check(database_url) == []


def test_a_missing_index_is_noticed(database_url: str) -> None:
    schema.ensure_schema(database_url)
    execute(database_url, "DROP INDEX ix_steps_day")
    assert "ix_steps_day" in "".join(schema.check(database_url))


def test_at_head_nothing_is_locked_or_waited_for(sqlite_url: str) -> None:
    schema.ensure_schema(sqlite_url)
    engine = open_engine(sqlite_url, role="writer")
    with engine.begin():
        schema.ensure_schema(sqlite_url)
    engine.dispose()


def test_tables_of_another_program_are_left_alone(database_url: str) -> None:
    execute(database_url, "CREATE TABLE customers (id INTEGER)")
    with pytest.raises(StoreError, match="customers"):
        schema.ensure_schema(database_url)
    execute(database_url, "DROP TABLE customers")
    schema.ensure_schema(database_url)


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite3").touch()
    schema.ensure_schema(f"sqlite:///{tmp_path}/x.sqlite3")
    assert revision(f"sqlite:///{tmp_path}/x.sqlite3") == schema.HEAD


def test_a_reader_of_an_empty_database_gets_an_error_that_says_so(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "x.sqlite3").close()
    (tmp_path / "x.sqlite3").touch()
    engine = open_engine(f"sqlite:///{tmp_path}/x.sqlite3", role="reader")
    with engine.connect() as connection, pytest.raises(SchemaError, match="no tables"):
        schema.require_schema(connection)
    engine.dispose()


def test_a_server_that_is_not_there_is_a_clear_error() -> None:
    with pytest.raises(StoreError, match=r"me:\*\*\*@127\.0\.0\.1:1/db") as caught:
        schema.ensure_schema("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_downgrade_and_upgrade_again(database_url: str) -> None:
    schema.ensure_schema(database_url)
    with schema.locked_connection(database_url) as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert revision(database_url) is None
    schema.ensure_schema(database_url)


def test_alembic_at_the_top_level_uses_perfdbs_database(database_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PERFDB_HOME": str(tmp_path), "PERFDB_DATABASE_URL": database_url}
    for arguments in (["upgrade", "head"], ["check"], ["current"]):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert schema.HEAD in done.stdout
    assert revision(database_url) == schema.HEAD


def test_documents_are_jsonb_on_postgresql(create_database: Callable[..., str]) -> None:
    url = create_database()
    schema.ensure_schema(url)
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        kinds = connection.execute(
            text("SELECT data_type FROM information_schema.columns WHERE data_type LIKE 'json%'")
        ).scalars()
        assert set(kinds) == {"jsonb"}
    engine.dispose()


def test_there_is_a_database_of_every_released_schema() -> None:
    versions = sorted(each.name[:4] for each in (ROOT / "migrations" / "versions").glob("*.py"))
    assert [each.stem for each in OLD_DATABASES] == versions


@pytest.mark.parametrize("released", OLD_DATABASES, ids=lambda path: path.stem)
def test_a_released_database_is_upgraded_and_read(released: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(released, tmp_path / 'old.sqlite3')}"
    schema.ensure_schema(url)
    assert schema.check(url) == []
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        sessions = frames.sessions_frame(connection).set_index("session_id")
        assert sessions["status"].to_dict() == {
            "20260102_030405_0a1b2c3d": "completed",
            "20260102_040506_1b2c3d4e": "failed",
            "20260102_050607_2c3d4e5f": "interrupted",
            "nightly-1": "completed",
        }
        begun = sessions.loc["20260102_030405_0a1b2c3d", "started_at"]
        assert begun.isoformat() == "2026-01-02T03:04:05.123456+00:00"
        assert sessions.loc["nightly-1", "tags"] == ["warmup"]
        assert len(frames.steps_frame(connection)) == 10
        session = reading.read_session(connection, "20260102_040506_1b2c3d4e")
        assert [(each.wait, each.success) for each in session.steps[1].attempts] == [
            (0.0, False),
            (0.5, True),
        ]
        assert session.steps[2].parent_seq == 1
        assert [each.rss_bytes for each in session.samples] == [100_000_000, 3_000_000_000]
        assert session.error_message == "<script>alert('✗')</script>\n\x1b[31m"
    engine.dispose()
