"""Row 30: an alert storm. Ten thousand breaches are few messages, few alerts and a story of few lines."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

import perfdb
from perfdb import recorder
from perfdb.alerts import evaluation, settling
from perfdb.alerts.config import AlertSettings, Channel
from perfdb.alerts.delivery import Delivery
from perfdb.alerts.evaluation import after_session
from perfdb.analysis.rules import Rule
from perfdb.recording.health import Health
from perfdb.records import Session, Step
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions

PIPELINES, SESSIONS, RULES, STEPS = 5, 20, 10, 9  # and the total: 100 breaches in each session


class Counting:
    """A receiver of webhooks on loopback that keeps what each channel sent."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.messages.append((self.path.strip("/"), json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Counting]:
    made = Counting()
    yield made
    made.close()


def slow_session(pipeline: int, number: int) -> Session:
    start = time.time() - 3600.0 + 60.0 * number
    steps = [
        Step(step_name=f"step {seq}", start_time=start + seq, duration=1.0, success=True, seq=seq)
        for seq in range(STEPS)
    ]
    return Session(
        session_id=f"storm-{pipeline}-{number}",
        pipeline=f"pipeline {pipeline}",
        start_time=start,
        total_duration=float(STEPS),
        status="completed",
        success=True,
        fast_mode=False,
        mode='{"fast_mode":false}',
        steps=tuple(steps),
    )


def storm(connection: Connection, settings: AlertSettings) -> int:
    """Record and judge the sessions in turn; return how many breaches that were."""
    breaches = 0
    for number in range(SESSIONS):
        for pipeline in range(PIPELINES):
            session = slow_session(pipeline, number)
            insert_sessions(connection, [session])
            after_session(connection, session.session_id, settings, time.time())
            breaches += len(settings.rules) * (STEPS + 1)
    return breaches


def test_ten_thousand_breaches_are_the_cap_and_one_summary_per_channel(
    home: Path, migrated_file: Path, receiver: Counting
) -> None:
    home.mkdir(mode=0o700)
    database = Database(f"sqlite:///{shutil.copy(migrated_file, home / 'perfdb.sqlite3')}", 5.0)
    rules = tuple(
        Rule(name=f"limit {each}", kind="max", step="*", limit=0.1 + each / 100) for each in range(RULES)
    )
    caps = {"team": 3, "pager": 1}
    channels = tuple(
        Channel(name=name, kind="webhook", url=f"{receiver.url}/{name}", most_per_hour=cap)
        for name, cap in caps.items()
    )
    with database.writing() as connection:
        assert storm(connection, AlertSettings(rules=rules, channels=channels)) == 10_000
        series = connection.exec_driver_sql("SELECT rule, series_id, state, hits FROM alerts").fetchall()
        events = connection.exec_driver_sql("SELECT event, note FROM alert_events").fetchall()
    assert len(series) == len({row[:2] for row in series}) == PIPELINES * RULES * (STEPS + 1)
    assert {row[2:] for row in series} == {("firing", SESSIONS)}, "each counts all of its breaches"
    assert len(events) <= len(series) * (settling.MOST_CONFIRMATIONS + 3), "the story of each stays short"
    assert events[-1] == ("still confirmed", "16 sessions so far")

    health = Health()
    delivery = Delivery(database.writing, threading.Lock(), health)
    delivery.use(channels)
    while delivery.turn():
        pass
    database.forget()
    assert Counter(name for name, _ in receiver.messages) == {name: cap + 1 for name, cap in caps.items()}
    for name, cap in caps.items():
        *digests, summary = [message for channel, message in receiver.messages if channel == name]
        assert all(digest["alerts"] for digest in digests)
        assert f"more than {cap} messages within an hour" in summary["note"]
    assert health.as_dict()["ok"]


def test_a_storm_from_a_host_is_a_digest_that_counts_and_a_summary_at_the_cap(home: Path) -> None:
    Path("perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "slow"\nkind = "max"\nstep = "*"\nlimit = 2.0\n'
        '[[alerts.channels]]\nname = "mine"\nkind = "log"\nmost_per_hour = 3\n'
    )
    for pipeline in range(6):
        with perfdb.track(f"pipeline {pipeline}", console=False, monitor=False) as tracker:
            for number in range(120):
                step = tracker.step(f"step {number}").start()
                step.begun -= 3.0
                step.stop()
    recorder.close(10.0)
    engine = open_engine(perfdb.History().url, role="reader")
    with engine.connect() as connection:
        kinds = [row[0] for row in connection.exec_driver_sql("SELECT kind FROM outbox ORDER BY id")]
        opened = connection.exec_driver_sql("SELECT count(*) FROM alerts").scalar_one()
    engine.dispose()
    assert kinds == ["digest", "digest", "digest", "summary"]
    assert 6 < opened <= 6 * (evaluation.MOST_OPENED + 1)
