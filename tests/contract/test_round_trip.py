"""Whatever a host gives as attributes comes out of the report, either database and an export the same."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import perfdb
from perfdb import recorder
from perfdb.maintenance.importer import import_reports
from perfdb.recording.report import read_report, to_report, write_report
from perfdb.recording.values import clean
from perfdb.settings import load

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each, max_size=3)
)
DATA = st.dictionaries(st.text(max_size=12), VALUES, max_size=4)
# What JSONB keeps in its own way: numbers as decimals, keys by their length, no NUL.
JSONB: list[dict[str, Any]] = [
    {"integers": [2**63, -(2**63) - 1, 2**70, 10**40, True, 1, 0, -0]},
    {"floats": [1.0, 100.0, 1e16, 1e22, 1e300, 1.5e-300, 5e-324, -0.0, 0.1 + 0.2, 1 / 3, 2.0**70]},
    {"long": 1, "b": 2, "a": 3, "": 4, "B": 5, "é": 6, "longer": {"z": 1, "y": [{}, []]}},
    {"NUL \0 in a key": "and \0 in a value", "lone": "\ud800", "quoted": '\\u0000 "\\'},
]


@pytest.fixture(params=["sqlite", "postgresql"])
def two_urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Give two databases of one kind with all tables."""
    if request.param == "sqlite":
        file = request.getfixturevalue("migrated_file")
        first, second = (shutil.copy(file, tmp_path / f"{name}.sqlite3") for name in ("first", "second"))
        yield f"sqlite:///{first}", f"sqlite:///{second}"
    else:
        create: Callable[[str], str] = request.getfixturevalue("create_database")
        template = request.getfixturevalue("migrated_database")
        yield create(template), create(template)
    recorder.close()


@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
@given(examples=st.lists(DATA, min_size=1, max_size=6))
@example(examples=JSONB)
def test_attributes_come_out_as_they_went_in(
    two_urls: tuple[str, str], tmp_path: Path, examples: list[dict[str, Any]]
) -> None:
    recorded, imported = two_urls
    tracker = perfdb.create_tracker(home=tmp_path, database_url=recorded, console=False, monitor=False)
    session_id = tracker.start_pipeline(given=examples[0])
    for data in examples:
        step = tracker.step("work")
        step.set(given=data)
        with step:
            pass
    tracker.end_pipeline()
    report = tracker.save_performance_report()
    assert report is not None
    deadline = time.monotonic() + 60
    while tracker.health()["backlog_bytes"] and time.monotonic() < deadline:
        time.sleep(0.01)
    kept = perfdb.History(recorded).session(session_id)
    exported = write_report(to_report(kept), tmp_path / "exported.json")
    (taken,) = import_reports([exported], load(home=tmp_path, database_url=imported))
    assert (taken.error, taken.added) == (None, 1)
    expected = [clean({"given": data}) for data in examples]
    for session in (read_report(report), kept, perfdb.History(imported).session(session_id)):
        assert exactly([step.additional_data for step in session.steps]) == exactly(expected)
        assert exactly(session.attributes["given"]) == exactly(expected[0]["given"])


def exactly(values: Any) -> str:
    """Return values as text that tells 1 from 1.0 and True; not 0.0 from -0.0, nor one order of keys.

    JSONB has no signed zero, and an order of keys of its own.
    """
    return re.sub(r"-0\.0(?=[,\]}])", "0.0", json.dumps(values, sort_keys=True))
