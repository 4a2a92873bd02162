"""PostgreSQL is stopped, crashes, starts again, or falls silent: nothing lost or doubled, nobody waits.

Of: store/postgres.py, worker/outage.py.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import perfdb
from perfdb.store.postgres import _CONNECT_TIMEOUT_S
from perfdb.worker.outage import MAX_PAUSE_S

RECONNECTED_S = 5.0
SLACK_S = 2.0  # the processor may be with others
FIRST_ROW = """
    SELECT EXTRACT(epoch FROM min(pg_xact_commit_timestamp(xmin)))::float8
    FROM steps WHERE pg_xact_commit_timestamp(xmin) > pg_postmaster_start_time()
"""


class Host:
    """A pipeline that steps on and on, on a thread of its own."""

    def __init__(self, tracker: perfdb.Tracker) -> None:
        self._tracker = tracker
        self._go_on = True
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0
        self.slowest_s = 0.0

    def _run(self) -> None:
        while self._go_on:
            begun = time.perf_counter()
            with self._tracker.step("work", i=self.acknowledged):
                pass
            self.slowest_s = max(self.slowest_s, time.perf_counter() - begun)
            self.acknowledged += 1
            time.sleep(0.002)

    @contextmanager
    def working(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._go_on = False
            self._thread.join()


@contextmanager
def silence(port: int) -> Iterator[None]:
    """Take connections on a port, and answer nothing."""
    with socket.create_server(("127.0.0.1", port), backlog=50):
        yield


def wait_until(tracker: perfdb.Tracker, *, away: bool) -> None:
    """Wait until the worker has noticed that the database is away, or is back."""
    deadline = time.monotonic() + 60
    while (tracker.health()["database_error"] is not None) is not away:
        assert time.monotonic() < deadline, tracker.health()
        time.sleep(0.02)


def first_row_since_its_start(url: str) -> float:
    """Return when the server committed the first rows since it runs, by the clock of this machine."""
    with psycopg.connect(url) as server:
        at = server.execute(FIRST_ROW).fetchone()
        assert at is not None
        return float(at[0])


def test_row_21_no_wait_is_longer_than_the_reconnection_may_take() -> None:
    assert MAX_PAUSE_S + _CONNECT_TIMEOUT_S < RECONNECTED_S


def test_row_21_postgresql_stops(
    own_cluster: Any,
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[str], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    url = own_cluster.create()
    monkeypatch.setenv("PERFDB_DATABASE_URL", url)
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    tracker.end_pipeline()
    wait_until_well(tracker)
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("ALTER SYSTEM SET track_commit_timestamp = on")  # from its next start on
    tracker.start_pipeline()
    host = Host(tracker)
    with host.working():
        for mode in ("fast", "immediate", "silent"):
            own_cluster.stop("fast" if mode == "silent" else mode)
            if mode == "silent":
                with silence(own_cluster.port):
                    wait_until(tracker, away=True)
                    time.sleep(1.0)
            else:
                wait_until(tracker, away=True)
            own_cluster.start()
            back = time.time()
            wait_until(tracker, away=False)
            assert first_row_since_its_start(url) - back < RECONNECTED_S + SLACK_S
    tracker.end_pipeline()
    wait_until_well(tracker)
    health = tracker.health()
    assert (health["errors"], health["refused"], health["quarantined"]) == (0, 0, 0)
    assert host.slowest_s < 1.0  # alone on the machine: 5 ms
    session = history(url).session("last")
    assert session.status == "completed"
    numbers = Counter(step.additional_data["i"] for step in session.steps)
    assert numbers == Counter(range(host.acknowledged))
