"""Row 33: a foreign Host, a POST from elsewhere, a path that climbs: refused, and nothing changed.

Spoken to in raw HTTP, because a client library would tidy the request up.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

import perfdb
from perfdb.alerts.triage import Triage
from perfdb.web.app import create_app

SECRET = "nobody-may-read-this"


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> perfdb.History:
    """Give a home in which one alert fires, with a secret file beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "late"\nkind = "max"\nstep = "work"\nlimit = 1e-9\n'
    )
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    return perfdb.History()


@pytest.fixture
def port(history: perfdb.History) -> Iterator[int]:
    """Give the port of a dashboard over it."""
    config = uvicorn.Config(create_app(history), port=0, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(30)


def say(port: int, *lines: str, body: str = "") -> tuple[int, str]:
    """Send a request as it stands; return the status and all that came back."""
    text = "\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", body])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(text.encode())
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer.decode("utf-8", "replace")


def states(history: perfdb.History) -> list[tuple[int, str, bool]]:
    return [(alert.id, alert.state, alert.silenced) for alert in Triage(history).alerts("all")]


def test_a_request_of_two_lengths_hides_no_other(port: int) -> None:
    """What a proxy takes for the body of one request would be another one here."""
    lines = ("POST /api/v1/alerts/1/acknowledge HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Length: 40")
    hidden = f"GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    text = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", f"0\r\n\r\n{hidden}"])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(text.encode())
        answer = b""
        while part := connection.recv(65_536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_foreign_host_is_refused(port: int) -> None:
    for host in (
        "Host: evil.example",
        f"Host: evil.example:{port}",
        "X-Host: none",
        "Host: 127.0.0.1\r\nHost: b",
    ):
        for path in ("/", "/api/v1/sessions", "/style.css", "/nowhere"):
            status, answer = say(port, f"GET {path} HTTP/1.1", host)
            assert status in (400, 403), (host, path)
            assert "session_id" not in answer


def test_a_post_from_elsewhere_changes_nothing(port: int, history: perfdb.History) -> None:
    before = states(history)
    (alert_id, state, _), *_ = before
    assert state == "firing"
    host = f"Host: 127.0.0.1:{port}"
    for action in ("acknowledge", "expected", "false-alarm", "silence", "unsilence"):
        for others in (
            ["Origin: https://evil.example"],
            ["Origin: null"],
            [f"Origin: http://127.0.0.1:{port + 1}"],
            [f"Origin: http://127.0.0.1:{port}"],  # the right one, without the token
            [],
        ):
            for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
                request = f"POST /api/v1/alerts/{alert_id}/{action} HTTP/1.1"
                status, _ = say(port, request, host, f"Content-Type: {kind}", *others, body="{}")
                assert status == 403
    assert states(history) == before


CLIMBS = (
    "/static/../secret.txt",
    "/static/..%2f..%2f..%2fsecret.txt",
    "/static/%2e%2e/%2e%2e/secret.txt",
    "/static/....//secret.txt",
    "/static/..%5c..%5csecret.txt",
    "/static//etc/passwd",
    "/static/?path=../secret.txt",
    "/?path=../secret.txt",
    "/api/v1/sessions/..%2f..%2fsecret.txt",
    "/sessions/..%2f..%2fsecret.txt",
    "/sessions/../../../../etc/passwd",
    "/../secret.txt",
    "/secret.txt",
)


@pytest.mark.parametrize("path", CLIMBS)
def test_a_path_that_climbs_leads_nowhere(port: int, path: str) -> None:
    status, answer = say(port, f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}")
    assert status in (400, 404)  # also a page that is asked what it does not know
    assert SECRET not in answer
    assert "root:" not in answer
