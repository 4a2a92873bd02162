"""A PostgreSQL server of one's own: in a temporary folder, on a free port, removed at the end.

The tests take theirs from here as well.
"""

from __future__ import annotations

import glob
import itertools
import os
import queue
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Waits for the end of the process $1, then removes the server in $2 with the command that follows.
_GUARD = """
(
    while kill -0 "$1"; do sleep 1; done
    folder=$2; shift 2
    [ ! -e "$folder/data/postmaster.pid" ] || "$@"
    rm -rf "$folder"
) </dev/null >/dev/null 2>&1 &
"""


class NoServerError(Exception):
    """PostgreSQL cannot be run here; the message says why."""


class Cluster:
    """A server on a free port; made stopped.

    Args:
        durable: what it commits survives the machine too, not only the server's own crash.
        folder: a new one to keep it in (None: a temporary one).
        owner: the process whose end is also the server's, even if that process is killed (None: none is).

    Raises:
        NoServerError: its programs are not installed, or it may not run as this user.
    """

    def __init__(self, *, durable: bool = True, folder: Path | None = None, owner: int | None = None) -> None:
        self._binaries = _binaries()
        self._durable = durable
        if folder is not None:
            folder.mkdir(mode=0o700)
        self.folder = folder or Path(tempfile.mkdtemp(prefix="perfdb-pg-"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        if owner is not None:
            stop = self._command("pg_ctl", "-m", "immediate", "-w", "stop")
            guard = ["sh", "-c", _GUARD, "sh", str(owner), str(self.folder), *stop]
            subprocess.run(guard, check=True, cwd="/", start_new_session=True)
        self._talk_on(_free_port())
        (self.folder / "port").write_text(str(self.port))
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")

    @classmethod
    def running_in(cls, folder: Path) -> Cluster:
        """Return the server that another process started in a folder."""
        found = cls.__new__(cls)
        found._binaries, found._durable, found.folder = _binaries(), False, folder
        found._talk_on(int((folder / "port").read_text()))
        return found

    def _talk_on(self, port: int) -> None:
        self.port = port
        self.url = f"postgresql://postgres@127.0.0.1:{port}"  # of the server, without a database
        self._numbers = itertools.count()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += "" if self._durable else " -c fsync=off -c full_page_writes=off -c max_connections=300"
        self._run("pg_ctl", "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str) -> None:
        """Stop it: ``fast`` ends its connections in order, ``immediate`` is a crash."""
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    def create(self, template: str = "template1") -> str:
        """Make a database and return its URL."""
        import psycopg

        name = f"perfdb_{os.getpid()}_{next(self._numbers)}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            # from 15 on the default writes every page to the log: three times as slow for so small a database
            how = " STRATEGY file_copy" if connection.info.server_version >= 150_000 else ""
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}{how}".encode())
        return f"{self.url}/{name}"

    def drop(self, urls: Iterable[str]) -> None:
        """Remove databases, and end whatever is still connected to them."""
        import psycopg

        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            for url in urls:
                connection.execute(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)".encode())

    def _run(self, program: str, *arguments: str) -> None:
        # What it prints goes to a file: a server that was started inherits a pipe and holds it open.
        with open(self.folder / "output", "ab") as output:
            command = self._command(program, *arguments)
            subprocess.run(command, check=True, stdout=output, stderr=output, cwd=self.folder, timeout=120)

    def _command(self, program: str, *arguments: str) -> list[str]:
        prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        return [*prefix, str(self._binaries / program), "-D", str(self.folder / "data"), *arguments]


def remove_cluster(folder: Path) -> None:
    """Stop the server in a folder, if one runs there, and remove the folder, if there is one."""
    if (folder / "data" / "postmaster.pid").exists():
        Cluster.running_in(folder).stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


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


class Door:
    """A server as seen from far away: exchanges are counted, and each takes a round trip.

    An exchange is what a client asks until it waits for an answer; to connect takes two more.

    Args:
        port: of the server on this host.
        round_trip_s: that the network adds to each exchange.
    """

    def __init__(self, port: int, round_trip_s: float = 0.0) -> None:
        self._server, self._way_s = ("127.0.0.1", port), round_trip_s / 2
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.exchanges = self.connections = 0
        threading.Thread(target=self._take, daemon=True).start()

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def of(self, url: str) -> str:
        """Return the URL through this door."""
        return url.replace(f":{self._server[1]}/", f":{self.port}/")

    def _take(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(self._server)
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pass(client, server, _Messages().count)
            self._pass(server, client, lambda data: 0)

    def _pass(self, one: socket.socket, other: socket.socket, count: Callable[[bytes], int]) -> None:
        """Pass on what comes, half of a round trip later."""
        sent: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def read() -> None:
            data = b"-"
            while data:
                try:
                    data = one.recv(1 << 16)
                except OSError:
                    data = b""
                self.exchanges += count(data)
                sent.put((time.monotonic() + self._way_s, data))

        def write() -> None:
            data = b"-"
            while data:
                due, data = sent.get()
                time.sleep(max(0.0, due - time.monotonic()))
                with suppress(OSError):
                    if data:
                        other.sendall(data)
                    else:
                        other.shutdown(socket.SHUT_WR)
            reading.join()
            one.close()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        threading.Thread(target=write, daemon=True).start()


class _Messages:
    """What a client of PostgreSQL sends: a query or a Sync, after which it waits."""

    def __init__(self) -> None:
        self._rest = b""

    def count(self, data: bytes) -> int:
        """Return how many times the client waits for an answer after this; not for its last ROLLBACK."""
        self._rest += data
        found = 0
        while len(self._rest) >= 5:
            kind = b"" if self._rest[:1] == b"\0" else self._rest[:1]
            length = len(kind) + int.from_bytes(self._rest[len(kind) : len(kind) + 4], "big")
            if len(self._rest) < length:
                return found
            message, self._rest = self._rest[:length], self._rest[length:]
            found += kind in (b"Q", b"S") and message[5:] != b"ROLLBACK\0"
        return found


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
