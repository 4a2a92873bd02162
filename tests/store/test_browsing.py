"""How many sessions there are: exactly where that is cheap, and in words where it is not."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from perfdb.store import browsing
from perfdb.store.dialects import is_shared
from perfdb.store.ingest import insert_sessions
from perfdb.testing import make_session


def test_a_server_counts_so_many_of_all_sessions_and_a_file_all(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_sessions(connection, [make_session(n, {"load": 1.0}) for n in range(7)])
    monkeypatch.setattr(browsing, "_MOST_OF_ALL", 5)
    assert browsing.count_all(connection) == 7
    of_all = browsing.count_sessions(connection, most=3)
    assert of_all == ((5, False) if is_shared(connection) else (7, True))
    assert browsing.count_sessions(connection, most=9) == (7, True)
    assert browsing.count_sessions(connection, most=3, status="completed") == (3, False)
    assert browsing.count_sessions(connection, most=9, status="completed") == (7, True)
