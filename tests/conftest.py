"""Empty and migrated databases for all tests: SQLite files, and a PostgreSQL cluster of our own.

One cluster serves a whole run of the tests; a test that stops its server starts one for itself.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.cluster import Cluster, NoServerError, running_cluster
from perfdb.recording.context import current, running
from perfdb.store.schema import ensure_schema


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start: what a shell put in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_is_current() -> None:
    """Let no test find the step that another one left open."""
    current.set(None)
    running.clear()


@contextmanager
def _running_cluster() -> Iterator[Cluster]:
    try:
        with running_cluster(durable=False) as cluster:
            yield cluster
    except NoServerError as error:
        pytest.skip(f"{error}: its half of the tests does not run")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give the one running server of this run; it stays up."""
    with _running_cluster() as running:
        yield running


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Give a running server that the test may stop and start."""
    with _running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def postgres(cluster: Cluster) -> str:
    """Give the URL of the server, without a database."""
    return cluster.url


@pytest.fixture(scope="session")
def create_database(cluster: Cluster) -> Callable[..., str]:
    """Give a function that makes a PostgreSQL database (``template``: from another one), and its URL."""
    return cluster.create


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/perfdb.sqlite3"
    url: str = request.getfixturevalue("create_database")()
    return url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a SQLite file with all tables, to copy: a migration takes a quarter of a second."""
    path = tmp_path_factory.mktemp("migrated") / "perfdb.sqlite3"
    ensure_schema(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(create_database: Callable[..., str]) -> str:
    """Give the name of a PostgreSQL database with all tables, to copy."""
    url = create_database()
    ensure_schema(url)
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a database of either kind with all tables."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "perfdb.sqlite3")
        return f"sqlite:///{path}"
    template = request.getfixturevalue("migrated_database")
    url: str = request.getfixturevalue("create_database")(template)
    return url
