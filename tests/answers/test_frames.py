"""A column has one type in every frame and in Parquet, and an instant one form in JSON, whoever is asked.

Of: analysis/rows.py, history/values.py, history/exporting.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import perfdb
from tests.answers.histories import NOTED
from tests.answers.questions import frame_rows
from tests.answers.surfaces import Asked

pytestmark = pytest.mark.long

INSTANT = "datetime64[us, UTC]"
TEXTS = ("started_at", "ended_at", "period")  # in JSON; the other instants are epoch seconds
ARGUMENTS: dict[str, dict[str, Any]] = {
    "alerts": {"state": "all"},
    "chart_frame": {"kind": "trend"},
    "trends": {"by": "day"},
    "pareto": {"by": "git_commit"},
}
FRAMES = sorted(
    name
    for name, each in inspect.getmembers(perfdb.History, inspect.isfunction)
    if not name.startswith("_") and inspect.signature(each).return_annotation == "pd.DataFrame"
)


def instants(frame: pd.DataFrame) -> dict[str, str]:
    return {
        str(name): str(kind)
        for name, kind in frame.dtypes.items()
        if str(name).endswith("_at") or name == "period"
    }


@pytest.mark.parametrize("name", FRAMES)
def test_an_instant_of_a_frame_is_one_and_json_has_its_form(
    histories: Callable[[str], Asked], name: str
) -> None:
    for asked in map(histories, (NOTED, "nested", "empty") if name != "pareto" else ("nested",)):
        frame = getattr(asked.history, name)(**ARGUMENTS.get(name, {}))
        assert set(instants(frame).values()) <= {INSTANT}
        for row in frame_rows(frame):
            for column in instants(frame):
                kind: Any = str if column in TEXTS else float
                assert row[column] is None or isinstance(row[column], kind), column


@pytest.mark.parametrize("name", FRAMES)
def test_a_column_has_one_type_also_where_there_is_no_row(
    histories: Callable[[str], Asked], name: str
) -> None:
    if name == "pareto":
        pytest.skip("without what is compared it refuses")
    empty, *full = (
        getattr(histories(each).history, name)(**ARGUMENTS.get(name, {})).dtypes
        for each in ("empty", NOTED, "nested", "failing", "split")
    )
    for types in full:
        assert {column: str(types[column]) for column in empty.index} == dict(empty.astype(str))


def test_there_are_frames_with_instants(histories: Callable[[str], Asked]) -> None:
    asked = histories(NOTED)
    assert instants(asked.history.alerts("all")).keys() == {
        "opened_at", "updated_at", "closed_at", "notified_at"
    }  # fmt: skip
    assert len(asked.history.baselines()) > 0
    opened = asked.history.alerts("all")["opened_at"]
    told = [row["opened_at"] for row in asked.json("alerts", "list", "--state", "all")]
    assert told == pytest.approx([each.timestamp() for each in opened])
    assert told == pytest.approx([row["opened_at"] for row in asked.api("alerts", state="all")["rows"]])


@pytest.mark.parametrize("rows", ["sessions", "steps"])
@pytest.mark.parametrize("expand", [False, True])
def test_parquet_has_the_columns_of_the_frame(
    histories: Callable[[str], Asked], tmp_path: Path, rows: Any, expand: bool
) -> None:
    for name in ("split", "empty"):
        history = histories(name).history
        file = tmp_path / f"{name}.parquet"
        history.export(file, rows=rows, expand_attributes=expand)
        found, frame = pd.read_parquet(file), getattr(history, rows)(expand_attributes=expand)
        assert list(found) == list(frame)
        assert instants(found) == instants(frame) == dict.fromkeys(("started_at", "ended_at"), INSTANT)
        for column, kind in frame.dtypes.items():
            if not pd.api.types.is_object_dtype(kind):
                assert found[column].dtype == kind, column
