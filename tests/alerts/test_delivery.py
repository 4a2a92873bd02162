"""Messages reach their channel once, and nothing that a notifier does reaches the host."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from perfdb.alerts import channels, delivery
from perfdb.alerts.channels import DeliveryError, body, masked, send, signature
from perfdb.alerts.config import Channel
from perfdb.alerts.delivery import Delivery
from perfdb.errors import MissingExtraError
from perfdb.recording.health import Health
from perfdb.store import outbox
from perfdb.store.engine import open_engine
from perfdb.store.schema import ensure_schema
from perfdb.testing import ManualClock
from tests.given import delivery_counts

CHANNELS = Path(__file__).resolve().parents[2] / "docs" / "channels.md"
ALERT = {"severity": "warning", "message": "it is slow\x1b[31m", "headline": "slow"}
PAYLOAD: dict[str, Any] = {"pipeline": "design", "alerts": [ALERT], "resolved": [], "more": 0}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/perfdb.sqlite3"
    ensure_schema(url)
    engine = open_engine(url, role="writer")
    yield engine
    engine.dispose()


class Post:
    """A delivery that is turned by hand, with a clock of its own."""

    def __init__(self, engine: Engine, *used: Channel) -> None:
        self.clock = ManualClock(1_000_000.0)
        self.health = Health()
        self.engine = engine
        self.delivery = Delivery(engine.begin, threading.RLock(), self.health, clock=self.clock.time)
        self.delivery.use(used)

    def put(self, channel: str, payload: dict[str, Any] = PAYLOAD) -> None:
        with self.engine.begin() as connection:
            outbox.put(connection, channel, payload, self.clock.time())

    def turns(self) -> int:
        count = 0
        while self.delivery.turn():
            count += 1
        return count

    def counts(self) -> dict[str, dict[str, int]]:
        with self.engine.begin() as connection:
            return delivery_counts(connection)


def hook(receiver: Any, **changes: Any) -> Channel:
    return Channel(name="team", kind="webhook", url=receiver.url, timeout_s=2.0, **changes)


def test_a_message_that_comes_while_the_thread_ends_is_sent_by_another(engine: Engine, receiver: Any) -> None:
    post = Post(engine, hook(receiver))
    were_at_work = []

    def rests(ends: bool) -> None:
        if ends and not were_at_work:
            were_at_work.append(delivery.is_at_work())
            post.put("team")
            delivery.wake()

    delivery = Delivery(engine.begin, threading.RLock(), post.health, clock=post.clock.time, rests=rests)
    delivery.use([hook(receiver)])
    delivery.wake()
    until = time.monotonic() + 60
    while not delivery.sent and time.monotonic() < until:
        time.sleep(0.01)
    delivery.end_thread()
    assert delivery.wait_for_end(60)
    assert (were_at_work, delivery.sent, len(receiver.received)) == ([False], 1, 1)


def test_a_webhook_gets_one_signed_message(engine: Engine, receiver: Any) -> None:
    post = Post(engine, hook(receiver, secret="shared"))
    post.put("team")
    post.turns()
    ((headers, content),) = receiver.received
    assert (
        headers["X-Perfdb-Signature"]
        == f"sha256={signature('shared', headers['X-Perfdb-Timestamp'], content)}"
    )
    documented: dict[str, Any] = {}
    exec(CHANNELS.read_text().split("```python\n")[1].split("```")[0], documented)
    assert documented["is_from_perfdb"](headers, content, "shared")
    assert not documented["is_from_perfdb"](headers, content, "another")
    assert not documented["is_from_perfdb"](headers, content + b" ", "shared")
    assert receiver.messages[0]["schema_version"] == 1
    assert receiver.messages[0]["alerts"] == [ALERT]
    assert post.counts() == {"team": {"sent": 1}}


def test_what_did_not_arrive_is_tried_again_later_with_the_same_number(engine: Engine, receiver: Any) -> None:
    post = Post(engine, hook(receiver))
    receiver.answer = 503
    post.put("team")
    post.turns()
    assert len(receiver.received) == 1
    assert post.counts() == {"team": {"waiting": 1}}
    receiver.answer = 200
    post.clock.advance(6)
    post.turns()
    assert post.counts() == {"team": {"sent": 1}}
    assert len({headers["X-Perfdb-Delivery"] for headers, _ in receiver.received}) == 1


def test_a_channel_that_keeps_failing_is_left_alone_for_a_while(engine: Engine, receiver: Any) -> None:
    post = Post(engine, hook(receiver))
    receiver.answer = 500
    for _ in range(10):
        post.put("team")
    post.turns()
    assert len(receiver.received) == delivery.BREAK_AFTER
    receiver.answer = 200
    post.clock.advance(delivery.BREAK_S + 1)
    post.turns()
    assert post.counts() == {"team": {"sent": 10}}


def test_a_notifier_that_raises_or_hangs_leaves_the_others_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("https://hooks.example.org/s3cret")

    monkeypatch.setitem(channels._SENDERS, "apprise", broken)
    post = Post(
        engine, Channel(name="bad", kind="apprise", url="x://s3cret"), Channel(name="log", kind="log")
    )
    post.put("bad")
    post.put("log")
    with caplog.at_level(logging.INFO, "perfdb.alerts"):
        post.turns()
    assert post.counts() == {"bad": {"waiting": 1}, "log": {"sent": 1}}
    assert "it is slow [31m" in caplog.text
    assert "s3cret" not in caplog.text + str(post.health.last_error)


def test_a_dead_sender_leaves_its_message_to_the_next(engine: Engine, receiver: Any) -> None:
    post = Post(engine, hook(receiver))
    post.put("team")
    with engine.begin() as connection:
        assert outbox.claim(connection, ["team"], post.clock.time(), delivery.LEASE_S) is not None
    assert post.turns() == 0
    post.clock.advance(delivery.LEASE_S + 1)
    post.turns()
    assert post.counts() == {"team": {"sent": 1}}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own
def test_apprise_delivers_where_it_is_installed(receiver: Any) -> None:
    pytest.importorskip("apprise")
    url = receiver.url.replace("http://", "json://")
    send(Channel(name="any", kind="apprise", url=url), PAYLOAD, delivery_id="1")
    assert "it is slow" in receiver.messages[0]["message"]
    with pytest.raises(DeliveryError, match="does not know") as caught:
        send(Channel(name="any", kind="apprise", url="nonsense://s3cret"), PAYLOAD, delivery_id="1")
    assert "s3cret" not in str(caught.value)


def test_without_apprise_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(MissingExtraError, match=r"perfdb\[notify\]"):
        send(Channel(name="any", kind="apprise", url="slack://x"), PAYLOAD, delivery_id="1")


def test_the_console_is_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    send(Channel(name="me", kind="console"), PAYLOAD, delivery_id="1")
    said = capsys.readouterr()
    assert said.out == ""
    assert "perfdb: 1 alert in design" in said.err
    assert "\x1b" not in said.err


def test_more_than_a_digest_holds_is_counted() -> None:
    assert body({**PAYLOAD, "more": 9980}).endswith("and 9980 more: perfdb alerts")
    assert masked("https://user:pass@hooks.example.org:443/s3cret?token=1") == "https://hooks.example.org/…"
    assert masked("slack://token/s3cret") == "slack://…"


@pytest.mark.parametrize("kind", ["log", "console"])
def test_log_and_console_write_what_the_documentation_shows(
    kind: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    document = CHANNELS.read_text(encoding="utf-8")
    documented = document.partition("```text\n")[2].partition("```")[0].rstrip("\n")
    critical = {
        "severity": "critical",
        "message": "Vision Analysis is at 31.00 s, over the limit of 30.00 s (+3 %)",
        "headline": "",
    }
    over = {"severity": "warning", "headline": "warning: Product Search became slower [fast_shift]"}
    payload = {"pipeline": "design", "alerts": [critical], "resolved": [over], "more": 0}
    caplog.set_level(logging.INFO, "perfdb.alerts")
    send(Channel(name="me", kind=kind), payload, delivery_id="1")
    if kind == "console":
        assert capsys.readouterr().err == f"{documented}\n"
        return
    send(Channel(name="me", kind=kind), {**payload, "alerts": []}, delivery_id="2")
    assert [(each.name, each.levelno) for each in caplog.records] == [
        ("perfdb.alerts", logging.CRITICAL), ("perfdb.alerts", logging.INFO)
    ]  # fmt: skip
    assert caplog.records[0].getMessage() == documented
