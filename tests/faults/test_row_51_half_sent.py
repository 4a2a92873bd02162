"""Row 51: half-sent requests on all descriptors of the dashboard: others are served, the log is short."""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

import perfdb
from perfdb.web.connections import SAME_RECORDS, SPARING, PatientServer
from perfdb.web.rendering import static_path

PERFDB = str(Path(sys.executable).with_name("perfdb"))
FEW_DESCRIPTORS = 256
HALVES = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half of the headers": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
    "half of a body": b"POST /api/v1/alerts/1/silence HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{",
    "an answered request and half of another": b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


Served = tuple[int, subprocess.Popen[bytes], Path]


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Serve a history with few descriptors; give port, process and log."""
    home = folder / "performance_tracking"
    with perfdb.track("design", home=home, monitor=False) as run, run.step("work"):
        pass

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, FEW_DESCRIPTORS))

    log = folder / "log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            [PERFDB, "serve", "--port", "0"],
            stderr=file,
            preexec_fn=limit,
            env={**os.environ, "PERFDB_HOME": str(home)},
        )
    try:
        deadline = time.monotonic() + 60
        while "http://" not in log.read_text() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        address = log.read_text().split("http://", 1)[1].split()[0]
        yield int(address.strip("/").rsplit(":", 1)[1]), process, log
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture
def dashboard(served: Served) -> Served:
    """Give the one dashboard of all these tests, which it has to outlive; its log begins anew."""
    os.truncate(served[2], 0)
    return served


def health(port: int) -> float:
    """Ask on a connection of its own; return how many seconds it took."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    return time.monotonic() - begun


def until_answered(ask: Callable[[], float], *, within_s: float) -> None:
    """Ask three times; the quickest counts, because the machine may be busy with others."""
    assert min(ask() for _ in range(3)) < within_s


@pytest.fixture
def flood() -> Iterator[Callable[..., None]]:
    """Give a function that opens connections, sends the same on each, and keeps them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2_048)), hard))
    with ExitStack() as stack:

        def flood(port: int, half: bytes, count: int, address: str = "127.0.0.1") -> None:
            begun = time.monotonic()
            for _ in range(count):
                connection = stack.enter_context(socket.socket())
                connection.settimeout(30)
                connection.bind((address, 0))
                connection.connect(("127.0.0.1", port))
                with suppress(OSError):  # it was ended already, to make room for others
                    connection.sendall(half)
            time.sleep(min(2.0, time.monotonic() - begun))  # what was sent shall have been looked at

        yield flood
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of POSIX")
@pytest.mark.parametrize("half", HALVES)
def test_400_half_sent_requests_keep_nobody_out(
    dashboard: Served, flood: Callable[[int, bytes, int], None], half: str
) -> None:
    port, process, log = dashboard
    health(port)
    flood(port, HALVES[half], 400)
    until_answered(lambda: health(port), within_s=1.0)
    flood(port, HALVES[half], 400)
    until_answered(lambda: health(port), within_s=1.0)
    assert process.poll() is None
    assert log.stat().st_size < 20_000, log.read_text()[:5_000]


@pytest.mark.parametrize("path", ["/api/v1/health", "/api/v1/events"])
def test_damaged_bodies_of_requests_that_are_answered_write_no_log(dashboard: Served, path: str) -> None:
    port, _, log = dashboard
    for method in ["GET", "POST"] * 3:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
            connection.sendall(f"{head}Connection: close\r\n\r\nffffffffffffffffffffffff\r\n".encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(f"{head}\r\n".encode())
            connection.recv(1)  # it is being answered, or has been
            with suppress(OSError):
                connection.sendall(b"no chunk\r\n")
                while connection.recv(65_536):
                    pass
    health(port)
    assert "Traceback" not in log.read_text()


def test_what_the_dashboard_could_not_answer_is_told_a_few_times_a_minute() -> None:
    logger = logging.getLogger("perfdb")
    before = {logging.getLogger(name): list(logging.getLogger(name).filters) for name in SPARING}
    PatientServer(None)
    try:
        record = logger.makeRecord("perfdb", logging.ERROR, "", 0, "no answer", (), None)
        assert sum(bool(logger.filter(record)) for _ in range(1_000)) == SAME_RECORDS
    finally:
        for each, filters in before.items():
            each.filters[:] = filters


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of POSIX")
def test_ctrl_c_ends_it_beside_half_sent_requests(
    tmp_path: Path, flood: Callable[[int, bytes, int], None]
) -> None:
    with serving(tmp_path) as (port, process, _):
        for half in HALVES.values():
            flood(port, half, 30)
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of POSIX")
@pytest.mark.parametrize("path", ["/nothing-here", "/api/v1/health", "/", f"{static_path()}/dashboard.css"])
def test_600_times_50_requests_whose_answers_nobody_reads_keep_nobody_out(
    dashboard: Served, flood: Callable[[int, bytes, int], None], path: str
) -> None:
    port, process, log = dashboard
    health(port)
    flood(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * 50, 600)
    until_answered(lambda: health(port), within_s=1.0)
    assert process.poll() is None
    assert log.stat().st_size < 20_000, log.read_text()[:5_000]


def test_requests_that_are_sent_ahead_are_answered_in_their_order(
    dashboard: Served,
) -> None:
    port, _, _ = dashboard
    paths = [
        b"/api/v1/health",
        b"/nothing-here",
        f"{static_path()}/dashboard.css".encode(),
        b"/nothing-here",
    ] * 3
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for path in paths[:-1]:
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % path)
        connection.sendall(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % paths[-1])
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    codes = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"404" if path == b"/nothing-here" else b"200" for path in paths]


def test_answers_that_are_not_read_end_the_connection(
    dashboard: Served,
) -> None:
    port, _, _ = dashboard
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", port))
        request = f"GET {static_path()}/dashboard.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        connection.sendall(request.encode() * 200)
        deadline = time.monotonic() + 90
        with suppress(ConnectionError):
            while time.monotonic() < deadline:  # it is written to until the other side is gone
                time.sleep(0.5)
                connection.sendall(b"\r\n")
        assert time.monotonic() < deadline


def test_a_request_that_never_ends_is_ended(dashboard: Served) -> None:
    port, _, _ = dashboard
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")
        assert connection.recv(100) == b""


def test_those_who_listen_to_events_leave_room_for_others(
    dashboard: Served, flood: Callable[[int, bytes, int], None]
) -> None:
    port, _, log = dashboard
    flood(port, b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 400)
    until_answered(lambda: health(port), within_s=1.0)
    assert log.stat().st_size < 20_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of POSIX")
def test_pipelines_and_halves_at_once_keep_nobody_out(dashboard: Served, flood: Callable[..., None]) -> None:
    port, process, log = dashboard
    health(port)
    flood(port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50, 600)
    flood(port, HALVES["half of the headers"], 400)
    until_answered(lambda: health(port), within_s=1.0)
    assert process.poll() is None
    assert log.stat().st_size < 20_000, log.read_text()[:5_000]


@pytest.mark.skipif(sys.platform != "linux", reason="another address of loopback")
def test_the_connections_of_one_address_do_not_end_those_of_another(
    tmp_path: Path, flood: Callable[[int, bytes, int, str], None]
) -> None:
    with (
        serving(tmp_path) as (port, _, _),
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        flood(port, HALVES["half of the headers"], 300, "127.0.0.2")
        connection.sendall(b"Connection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
