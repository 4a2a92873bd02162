"""A team's PostgreSQL as the documentation sets it up, and as people with few rights see it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import perfdb
from perfdb import recorder
from perfdb.errors import StoreError
from perfdb.store.schema import ensure_schema

PAGE = (Path(__file__).parents[2] / "docs" / "postgresql.md").read_text(encoding="utf-8")
URL = "postgresql://perfdb@db.example.org/perfdb"


def as_role(url: str, role: str) -> str:
    return url.replace("//postgres@", f"//{role}@")


@pytest.fixture
def role(postgres: str) -> str:
    """Give a role of the server that may do nothing yet."""
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as server:
        name = f"guest_{os.getpid()}"
        if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
            server.execute(f"CREATE ROLE {name} LOGIN")
    return name


def grant(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as server:
        for statement in statements:
            server.execute(statement.encode())


def test_the_documentation_sets_it_up(create_database: Callable[..., str], tmp_path: Path) -> None:
    script = "".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    assert script.count(URL) == 2
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    run(sys.executable, "-c", "import perfdb\nwith perfdb.track('etl') as run: pass")
    run("perfdb", "recover")  # what a busy machine has not brought to the database in time
    url = create_database()
    said = run("bash", "-e", "-c", script.replace(URL, url))
    assert "(current)" in said
    assert "All rows are there, and equal." in said
    assert list(perfdb.History(url).sessions()["pipeline"]) == ["etl"]


def test_whoever_may_only_select_can_ask(create_database: Callable[..., str], role: str) -> None:
    url = create_database()
    ensure_schema(url)
    with perfdb.track("etl", home="home", database_url=url):
        pass
    recorder.close(60.0)
    grant(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    history = perfdb.History(as_role(url, role))
    assert len(history.sessions()) == 1
    assert history.alerts().empty
    with pytest.raises(StoreError, match="permission denied"):
        history.tag("last", "x")


def test_a_host_records_without_the_right_to_make_tables(
    create_database: Callable[..., str], role: str, tmp_path: Path
) -> None:
    url = create_database()
    ensure_schema(url)
    grant(
        url,
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    with perfdb.track("etl", home=tmp_path, database_url=as_role(url, role)) as run, run.step("load"):
        pass
    recorder.close(60.0)
    assert list(perfdb.History(url).steps()["step_name"]) == ["load"]


def test_no_database_of_its_own_is_a_clear_error(create_database: Callable[..., str], role: str) -> None:
    url = create_database()
    with pytest.raises(StoreError, match=r"permission denied") as caught:
        ensure_schema(as_role(url, role))
    assert caught.value.__cause__ is not None
