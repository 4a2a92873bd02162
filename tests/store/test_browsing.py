"""How many sessions there are: exactly where that is cheap, and in words where it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from perfdb.records import Step
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


def test_an_attribute_is_known_by_its_name_whatever_its_value(connection: Connection) -> None:
    step = Step(
        step_name="load", start_time=0.0, duration=1.0, success=True, seq=0, additional_data={"rows": [1]}
    )
    names = ["customer", 'a "b" $.c', "none"]
    attributes = {names[0]: {"deep": 1}, names[1]: "x", names[2]: None}
    insert_sessions(connection, [replace(make_session(0, [step]), attributes=attributes)])
    assert all(browsing.has_attribute_called(connection, name) for name in names)
    assert not any(browsing.has_attribute_called(connection, name) for name in ("deep", "rows", "custom"))
    assert browsing.has_attribute_called(connection, "rows", of_steps=True)
    assert not browsing.has_attribute_called(connection, "custom", of_steps=True, most=1)
    assert browsing.has_attribute_called(connection, "custom", most=0)  # those not looked at may have it
    assert browsing.attributes_called(connection) == sorted(names)
    assert browsing.attributes_called(connection, of_steps=True) == sorted([*names, "rows"])
