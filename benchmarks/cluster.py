"""A PostgreSQL server of a benchmark's own: in a temporary folder, on a free port, removed at the end."""

from __future__ import annotations

import glob
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Cluster:
    def __init__(self) -> None:
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb") or ""]
        if not found[-1]:
            raise SystemExit("no PostgreSQL server is installed")
        self._binaries = Path(found[-1]).parent
        self._prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="perfdb-pg-"))
        if self._prefix:
            shutil.chown(self.folder, "postgres")
        self.port = free_port()
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop it: ``fast`` ends its connections in order, ``immediate`` is a crash."""
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix, str(self._binaries / program), "-D", str(self.folder / "data"), *arguments]
        with open(self.folder / "output", "ab") as output:  # a server would hold a pipe open
            subprocess.run(command, check=True, stdout=output, stderr=output, cwd=self.folder, timeout=120)


def free_port() -> int:
    """Return a port below those that outgoing connections take, so that it is still free after a stop."""
    while True:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        if (cluster.folder / "data" / "postmaster.pid").exists():
            cluster.stop("immediate")
        shutil.rmtree(cluster.folder, ignore_errors=True)
