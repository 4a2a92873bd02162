"""A server that is far away is asked little: each exchange with it takes a round trip.

Of: store/together.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

import perfdb
from benchmarks.cluster import Door
from perfdb.web.app import create_app
from tests.contract.test_both_databases import READS, answer
from tests.web.test_browser_pages import PAGES

MOST = 6
OF_TWO_QUESTIONS = {"alert", "count", "explain_alert", "spent_by", "usual_seconds", "usual_words"}


@pytest.fixture(scope="module")
def door(filled_database: str) -> Iterator[Door]:
    port = int(filled_database.rpartition(":")[2].partition("/")[0])
    with Door(port) as door:
        yield door


@pytest.mark.parametrize("name", READS)
def test_an_answer_needs_six_exchanges_at_most(door: Door, filled_database: str, name: str) -> None:
    history = perfdb.History(door.of(filled_database))
    exchanges, connections = door.exchanges, door.connections
    answer(lambda: READS[name](history))
    assert door.connections - connections == (2 if name in OF_TWO_QUESTIONS else 1)
    assert door.exchanges - exchanges <= MOST * (door.connections - connections)


def test_the_last_session_is_found_and_read_in_one_exchange(door: Door, filled_database: str) -> None:
    history = perfdb.History(door.of(filled_database))
    for wanted in ("last", "last~1"):
        exchanges = door.exchanges
        assert history.session(wanted).steps
        assert door.exchanges - exchanges == 2  # of which one begins to read


def test_a_page_needs_six_exchanges_at_most(door: Door, filled_database: str) -> None:
    history = perfdb.History(door.of(filled_database))
    newest = history.alerts("all")["id"].iloc[0]
    pages = [path.replace("/alerts/1", f"/alerts/{newest}") for path in PAGES]
    with TestClient(create_app(history, query_limit_s=60.0), base_url="http://127.0.0.1") as client:
        client.get("/health")
        took = {}
        for path in (
            *pages,
            "/rules/fast_shift",
            "/sessions?text=nosuch",
            "/common",
            "/sessions/20260101_120070_00000046",
        ):
            exchanges = door.exchanges
            assert client.get(path).status_code == 200, path
            took[path] = door.exchanges - exchanges
    assert {path: n for path, n in took.items() if n > MOST} == {}
