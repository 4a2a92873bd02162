"""Attributes as columns, and as filters of sessions and of steps: alike in Python and on the command line.

Of: history/values.py, store/expanding.py, store/attribute_digests.py.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

import perfdb as package
from perfdb.history.values import rows_of
from perfdb.records import Session, Step
from perfdb.store.engine import open_engine
from perfdb.store.ingest import insert_sessions

NOON = 1_767_268_800.0
Perfdb = Callable[..., Any]
OF_SESSIONS: tuple[dict[str, Any], ...] = (
    {"customer": "acme", "size": 3, "rate": 1, "hot": True, "mixed": 1, "status": "mine", "huge": 1 << 70},
    {"customer": "bolt", "size": 4, "rate": 0.5, "hot": False, "mixed": "one", "mode": "mine", "nested": [1]},
    {"customer": None, "attribute.mode": "taken"},
)
OF_STEPS: tuple[dict[str, Any], ...] = ({"model": "a", "rows": 1}, {"model": "b", "customer": "acme"}, {})


@pytest.fixture
def url(migrated_url: str) -> str:
    """Give three sessions of two steps; the first step of each has data of its own."""
    made = [
        Session(
            session_id=f"run_{number}",
            pipeline="etl",
            start_time=NOON + 60 * number,
            total_duration=3.0,
            status="completed",
            success=True,
            attributes=attributes,
            steps=(
                Step(step_name="load", start_time=NOON + 60 * number, duration=1.0 + number, success=True,
                     seq=0, additional_data=data),
                Step(step_name="write", start_time=NOON + 60 * number + 2, duration=1.0, success=True, seq=1),
            ),
        )
        for number, (attributes, data) in enumerate(zip(OF_SESSIONS, OF_STEPS, strict=True))
    ]  # fmt: skip
    engine = open_engine(migrated_url, role="writer")
    with engine.begin() as connection:
        assert isinstance(connection, Connection)
        insert_sessions(connection, made)
    engine.dispose()
    return migrated_url


@pytest.fixture
def history(url: str) -> package.History:
    return package.History(url)


def test_attributes_are_columns_of_sessions_on_request(history: package.History) -> None:
    plain, found = history.sessions(), history.sessions(expand_attributes=True)
    assert list(found.columns[: len(plain.columns)]) == list(plain.columns)
    assert (found[plain.columns].dtypes == plain.dtypes).all()
    assert found.columns[len(plain.columns) :].tolist() == [
        "attribute.mode", "customer", "hot", "huge", "mixed", "attribute.attribute.mode", "nested", "rate",
        "size", "attribute.status",
    ]  # fmt: skip
    assert found["status"].tolist() == ["completed"] * 3
    assert found["attribute.status"].tolist()[0] == "mine"
    assert found["attribute.attribute.mode"].tolist()[1] == "mine"
    assert found["size"].sum() == 7
    assert [str(found[name].dtype) for name in ("size", "rate", "hot", "mixed", "huge")] == [
        "Int64", "float64", "boolean", "object", "float64",
    ]  # fmt: skip


def test_steps_are_grouped_by_what_their_session_had(history: package.History) -> None:
    steps = history.steps(expand_attributes=True)
    assert steps.groupby("customer")["duration"].sum().to_dict() == {"acme": 2.0, "bolt": 3.0}
    assert "mode" in steps
    assert history.steps(expand_attributes=True, step="load", last=2)["size"].tolist()[0] == 4


def test_plain_rows_have_the_same_columns(history: package.History) -> None:
    for rows, frame in (
        (history.session_rows(expand_attributes=True), history.sessions(expand_attributes=True)),
        (history.step_rows(expand_attributes=True), history.steps(expand_attributes=True)),
    ):
        assert list(rows[0]) == list(frame.columns)
        assert rows == rows_of(frame)


def test_without_attributes_and_without_sessions_nothing_is_added(
    history: package.History, tmp_path: Path
) -> None:
    assert list(history.sessions(last=None, expand_attributes=True, pipeline="other")) == list(
        history.sessions()
    )
    empty = package.History(home=tmp_path / "empty")
    assert list(empty.steps(expand_attributes=True)) == list(empty.steps())
    assert empty.session_rows(expand_attributes=True) == empty.step_rows(expand_attributes=True) == []


@pytest.mark.parametrize("what", ["sessions", "steps"])
def test_the_command_line_expands_too(perfdb: Perfdb, url: str, history: package.History, what: str) -> None:
    expected = getattr(history, f"{what.removesuffix('s')}_rows")(expand_attributes=True)
    by_id = sorted(perfdb(what, "--expand", "--json", "-d", url).rows, key=lambda row: row["start_time"])
    assert by_id == expected
    said = perfdb(what, "--expand", "--csv", "-d", url)
    assert list(csv.DictReader(io.StringIO(said.out)).fieldnames or ()) == list(expected[0])
    assert perfdb(what, "--expand", "-d", url).code == 2


def test_an_export_expands_too(perfdb: Perfdb, url: str, history: package.History, tmp_path: Path) -> None:
    import pandas as pd

    for rows in ("sessions", "steps"):
        columns = list(getattr(history, rows)(expand_attributes=True))
        said = perfdb("export", "--format", "csv", "--rows", rows, "--expand", "-d", url)
        assert next(csv.reader(io.StringIO(said.out))) == columns
        file = tmp_path / f"{rows}.parquet"
        options = ("--rows", rows, "--expand", "-o", str(file), "-d", url)
        assert perfdb("export", "--format", "parquet", *options).code == 0
        found = pd.read_parquet(file)
        assert [found[name].dtype.kind for name in ("started_at", "ended_at")] == ["M", "M"]
        assert list(found) == columns
        assert set(found["mixed"].dropna()) == {"1", "one"}
    assert perfdb("export", "--format", "json", "--expand", "-d", url).code == 2


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"model": "a"}, [("run_0", "load")]),
        ({"customer": "acme"}, [("run_0", "load"), ("run_0", "write"), ("run_1", "load")]),
        ({"customer": "acme", "model": "b"}, [("run_1", "load")]),
        ({"customer": "bolt", "model": "b"}, [("run_1", "load")]),
        ({"rows": 1}, [("run_0", "load")]),
        ({"rows": True}, []),
        ({"model": "c"}, []),
    ],
)
def test_steps_are_found_by_their_own_attributes_and_their_sessions(
    perfdb: Perfdb, url: str, history: package.History, asked: dict[str, Any], found: list[tuple[str, str]]
) -> None:
    rows = history.step_rows(step_attribute=asked)
    assert [(row["session_id"], row["step_name"]) for row in rows] == found
    assert rows_of(history.steps(step_attribute=asked)) == rows
    pairs = [f"--attribute={name}={json.dumps(value)}" for name, value in asked.items()]
    said = perfdb("steps", *pairs, "--json", "-d", url).rows
    assert sorted((row["session_id"], row["step_name"]) for row in said) == found


def test_the_attributes_of_sessions_are_asked_for_alone(
    perfdb: Perfdb, url: str, history: package.History
) -> None:
    of_session = history.step_rows(attribute={"customer": "acme"})
    assert {row["session_id"] for row in of_session} == {"run_0"}
    assert perfdb("steps", "--session-attribute", "customer=acme", "--json", "-d", url).rows == of_session
    both = ("--session-attribute", "customer=bolt", "--attribute", "model=b")
    assert [row["session_id"] for row in perfdb("steps", *both, "--json", "-d", url).rows] == ["run_1"]


def test_the_newest_sessions_are_those_that_have_such_steps(history: package.History) -> None:
    rows = history.step_rows(step_attribute={"model": "a"}, last=1)
    assert [row["session_id"] for row in rows] == ["run_0"]
    expanded = history.steps(step_attribute={"model": "a"}, last=1, expand_attributes=True)
    assert expanded["customer"].tolist() == ["acme"]
    with pytest.raises(ValueError, match="step_attribute='model=a' must be a mapping"):
        history.steps(step_attribute="model=a")  # type: ignore[arg-type]
