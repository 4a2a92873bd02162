"""Row 29: a notifier that hangs, raises, answers nonsense or leads elsewhere: the host goes on."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts import channels
from perfdb.alerts.config import Channel
from perfdb.store.engine import open_engine

SETTINGS = """
wait_s = 20.0
[[alerts.rules]]
name = "slow"
kind = "max"
limit = 0.0
[[alerts.channels]]
name = "team"
kind = "{kind}"
url = "{url}"
timeout_s = 0.3
"""


class Answering:
    """A receiver that answers every connection with the same bytes, or hangs, or talks without an end."""

    def __init__(self, answer: bytes, *, hang: bool = False, endless: bool = False) -> None:
        self.asked = 0
        self._answer, self._hang, self._endless = answer, hang, endless
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/s3cret-path"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.asked += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65_536)
                connection.sendall(self._answer)
                while self._endless and not self._over.is_set():
                    connection.sendall(b"x" * 1_000)
                    time.sleep(0.01)
                if self._hang:
                    self._over.wait(30)
            except OSError:
                return

    def release(self) -> None:
        """Let go of those who hang."""
        self._over.set()

    def close(self) -> None:
        self.release()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def answering() -> Iterator[Callable[..., Answering]]:
    made: list[Answering] = []

    def make(*arguments: Any, **options: Any) -> Answering:
        made.append(Answering(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def alert(kind: str, url: str) -> dict[str, Any]:
    """Record a session that fires an alert; return the health when the message was tried."""
    Path("perfdb.toml").write_text(SETTINGS.format(kind=kind, url=url))
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("work"):
        time.sleep(0.02)
    tracker.end_pipeline()
    assert [each.rule for each in tracker.alerts] == ["slow"]
    recorder.close(20.0)
    return tracker.health()


def message() -> dict[str, Any]:
    """Return the delivery's row."""
    engine = open_engine(perfdb.History().url, role="reader")
    with engine.connect() as connection:
        row = connection.exec_driver_sql("SELECT state, attempts, last_error FROM outbox").mappings().one()
    engine.dispose()
    return dict(row)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = {
    "hangs": (b"", {"hang": True}, "waiting", "TimeoutError|no end"),
    "hangs in its answer": (
        b"HTTP/1.1 200 OK\r\nContent-Len",
        {"hang": True},
        "waiting",
        "TimeoutError|no end",
    ),
    "answers 500": (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", {}, "waiting", "answered 500"),
    "answers 404": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", {}, "failed", "answered 404"),
    "hangs up": (b"", {}, "waiting", "RemoteDisconnected"),
    "speaks nonsense": (b"\xff\x00 nonsense\r\n\r\n", {}, "waiting", "BadStatusLine|while sending"),
    "headers without end": (
        b"HTTP/1.1 200 OK\r\nX: ",
        {"endless": True},
        "waiting",
        "no end|LineTooLong|sending",
    ),
    "error with an endless answer": (
        b"HTTP/1.1 503 No\r\n\r\n",
        {"endless": True},
        "waiting",
        "answered 503",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_receiver_does_is_on_the_row_and_not_in_the_hosts_way(
    name: str, answering: Callable[..., Answering]
) -> None:
    answer, options, state, error = BAD[name]
    receiver = answering(answer, **options)
    health = alert("webhook", receiver.url)
    row = message()
    assert (row["state"], row["attempts"], receiver.asked) == (state, 1, 1)
    assert re.search(error, row["last_error"])
    assert "s3cret" not in f"{row} {health}"
    assert health["undelivered"] == 1
    assert not health["ok"]


@pytest.mark.parametrize("options", [{"endless": True}, {"hang": True}])
def test_a_good_answer_counts_as_arrived_whatever_follows_it(
    options: dict[str, bool], answering: Callable[..., Answering]
) -> None:
    receiver = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\nx", **options)
    assert alert("webhook", receiver.url)["ok"]
    assert message()["state"] == "sent"


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(code: int, answering: Callable[..., Answering]) -> None:
    elsewhere = answering(OK)
    moved = f"HTTP/1.1 {code} Moved\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
    receiver = answering(moved.encode())
    health = alert("webhook", receiver.url)
    assert (receiver.asked, elsewhere.asked) == (1, 0)
    assert message()["state"] == "failed"
    assert "redirects are not followed" in health["last_error"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise's own
@pytest.mark.parametrize("code", [301, 307])
def test_apprise_follows_no_redirect_either(code: int, answering: Callable[..., Answering]) -> None:
    pytest.importorskip("apprise")
    elsewhere = answering(OK)
    moved = f"HTTP/1.1 {code} Moved\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
    receiver = answering(moved.encode())
    channel = Channel(name="a", kind="apprise", url=f"json://127.0.0.1:{receiver.port}/x", timeout_s=60.0)
    with pytest.raises(channels.DeliveryError, match="could not deliver"):
        channels.send_test(channel)
    assert (receiver.asked, elsewhere.asked) == (1, 0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise's own
def test_what_hangs_in_apprise_hangs_on_no_thread_that_the_exit_waits_for(
    answering: Callable[..., Answering],
) -> None:
    pytest.importorskip("apprise")
    receiver = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", hang=True)
    channel = Channel(name="a", kind="apprise", url=f"json://127.0.0.1:{receiver.port}/x", timeout_s=60.0)
    before = set(threading.enumerate())

    def send() -> None:
        with suppress(channels.DeliveryError):
            channels.send_test(channel)

    sending = threading.Thread(target=send)
    sending.start()
    while sending.is_alive() and not receiver.asked:
        time.sleep(0.01)
    meanwhile = set(threading.enumerate()) - before - {sending}
    receiver.release()
    sending.join()
    assert receiver.asked == 1
    assert [thread.name for thread in meanwhile if "Pool" in thread.name] == []


@pytest.mark.parametrize("kind", ["raises", "exits", "hangs"])
def test_a_notification_library_that_misbehaves_is_left_behind(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = threading.Event()

    def misbehaving(*_: object) -> None:
        if kind == "hangs":
            hanging.wait(30)
        raise SystemExit("s3cret") if kind == "exits" else RuntimeError("https://hooks.example.org/s3cret")

    monkeypatch.setitem(channels._SENDERS, "apprise", misbehaving)
    health = alert("apprise", "json://127.0.0.1/s3cret-path")
    hanging.set()
    assert message()["state"] == "waiting"
    assert health["undelivered"] == 1
    assert "s3cret" not in str(health)
