"""Empty and migrated databases for all tests: SQLite files, and a PostgreSQL cluster of our own.

One cluster serves a whole run of the tests; a test that stops its server starts one for itself.
"""

from __future__ import annotations

import glob
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perfdb.store.schema import ensure_schema


def pytest_configure() -> None:
    """Let Ctrl-C reach the programs that tests start: what a shell put in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Cluster:
    """A PostgreSQL server of our own on a free port; made stopped."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="perfdb-pg-"))
        if self._prefix:
            shutil.chown(self.folder, "postgres")
        self.port = _free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}"  # of the server, without a database
        self._numbers = itertools.count()
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off"
        options += f" -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop it: ``fast`` ends its connections in order, ``immediate`` is a crash."""
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    def create(self, template: str = "template1") -> str:
        """Make a database and return its URL."""
        import psycopg

        name = f"perfdb_{next(self._numbers)}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"{self.url}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), "-D", str(self.folder / "data"), *arguments]
        # What it prints goes to a file: a server that was started inherits a pipe and holds it open.
        with open(self.folder / "output", "ab") as output:
            subprocess.run(
                [*self._prefix, *command],
                check=True,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                timeout=60,
            )


def _free_port() -> int:
    """Return a port below those that outgoing connections take, so that it is still free after a stop."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def _postgres_binaries() -> Path:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    if initdb is None:
        pytest.skip("no PostgreSQL server is installed: its half of the tests does not run")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    return Path(initdb).parent


def _running_cluster() -> Iterator[Cluster]:
    cluster = Cluster(_postgres_binaries())
    try:
        cluster.start()
        yield cluster
    finally:
        if (cluster.folder / "data" / "postmaster.pid").exists():
            cluster.stop("immediate")
        shutil.rmtree(cluster.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Give the one running server of this run; it stays up."""
    yield from _running_cluster()


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """Give a running server that the test may stop and start."""
    yield from _running_cluster()


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
