"""A PostgreSQL server of one's own: in a temporary folder, on a free port, removed at the end.

The tests take theirs from here as well.
"""

from __future__ import annotations

import glob
import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class NoServerError(Exception):
    """PostgreSQL cannot be run here; the message says why."""


class Cluster:
    """A server on a free port; made stopped.

    Args:
        durable: what it commits survives the machine too, not only the server's own crash.

    Raises:
        NoServerError: its programs are not installed, or it may not run as this user.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._binaries = _binaries()
        self._durable = durable
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
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += "" if self._durable else " -c fsync=off"
        self._run("pg_ctl", "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop it: ``fast`` ends its connections in order, ``immediate`` is a crash."""
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    def create(self, template: str = "template1") -> str:
        """Make a database and return its URL."""
        import psycopg

        name = f"perfdb_{next(self._numbers)}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return f"{self.url}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._binaries / program), "-D", str(self.folder / "data"), *arguments]
        # What it prints goes to a file: a server that was started inherits a pipe and holds it open.
        with open(self.folder / "output", "ab") as output:
            subprocess.run(command, check=True, stdout=output, stderr=output, cwd=self.folder, timeout=120)


@contextmanager
def running_cluster(*, durable: bool = True) -> Iterator[Cluster]:
    """Yield a server that runs, and remove it."""
    cluster = Cluster(durable=durable)
    try:
        cluster.start()
        yield cluster
    finally:
        if (cluster.folder / "data" / "postmaster.pid").exists():
            cluster.stop("immediate")
        shutil.rmtree(cluster.folder, ignore_errors=True)


def _binaries() -> Path:
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    initdb = found[-1] if found else shutil.which("initdb")
    if initdb is None:
        raise NoServerError("no PostgreSQL server is installed")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        raise NoServerError("PostgreSQL does not run as root, and there is no runuser")
    return Path(initdb).parent


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
