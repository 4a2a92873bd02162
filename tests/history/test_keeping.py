"""A History does what the command line does: it imports, prunes, exports and suggests limits.

Of: history/exporting.py, history/forms.py, history/pruning.py.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import perfdb as package
from perfdb.history.values import rows_of
from perfdb.testing import make_history, make_session

Perfdb = Callable[..., Any]


def record(number: int, **attributes: object) -> None:
    for _ in range(number):
        with package.track("etl", **attributes) as run, run.step("load"):
            pass


def test_an_export_comes_back_by_an_import(perfdb: Perfdb, tmp_path: Path) -> None:
    record(3, customer="acme")
    history = package.History()
    file = tmp_path / "history.json"
    assert history.export(file, attribute={"customer": "acme"}) == 3
    assert json.loads(file.read_text())["rows"]
    assert perfdb("export", "--format", "json").out == file.read_text()
    other = package.History(home=tmp_path / "other")
    told: list[Any] = []
    (became,) = other.import_reports(file, each=told.append)
    assert (became.added, became.known, became.error, told) == (3, 0, None, [became])
    assert list(other.sessions()["session_id"]) == list(history.sessions()["session_id"])
    again, missing = other.import_reports([str(file), tmp_path / "nowhere.json"])
    assert (again.added, again.known) == (0, 3)
    assert missing.error is not None


@pytest.mark.parametrize("rows", ["steps", "sessions"])
def test_csv_and_parquet_are_those_of_the_command_line(perfdb: Perfdb, tmp_path: Path, rows: Any) -> None:
    record(2, customer="acme")
    history = package.History()
    assert history.export(tmp_path / "out.csv", rows=rows, expand_attributes=True) == 2
    said = perfdb("export", "--format", "csv", "--rows", rows, "--expand")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert file.read() == said.out
    with (tmp_path / "out.csv").open(newline="") as file:
        assert {row["customer"] for row in csv.DictReader(file)} == {"acme"}
    assert history.export(tmp_path / "whatever", "parquet", rows=rows, last=1) == 1


@pytest.mark.parametrize("rows", ["steps", "sessions"])
@pytest.mark.parametrize("last", [None, 3, 0])
def test_an_export_in_pieces_is_that_of_the_frame(
    migrated_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Any, last: int | None
) -> None:
    """A column that is empty in the first piece has the type that it needs in the last."""
    made = [make_session(number, {"load": 1.0, "work": 2.0}) for number in range(7)]
    failed = replace(made[5].steps[0], error_message="no", additional_data={"rows": [1, None]}, success=False)
    made[5] = replace(made[5], error_message="no", attributes={"customer": "acme"}, steps=(failed,))
    history = make_history(migrated_url, made)
    monkeypatch.setattr("perfdb.store.frames._PIECE", 2)
    monkeypatch.setattr("perfdb.history.exporting._ROWS_TOGETHER", 3)
    filters: dict[str, Any] = {"pipeline": "nobody"} if last == 0 else {} if last is None else {"last": last}
    expected = getattr(history, rows)(**filters)
    assert history.export(tmp_path / "out.parquet", rows=rows, **filters) == len(expected)
    found = pd.read_parquet(tmp_path / "out.parquet")
    objects = [name for name, kind in expected.dtypes.items() if pd.api.types.is_object_dtype(kind)]
    for name in objects:
        expected[name] = [
            each if each is None or isinstance(each, str) else json.dumps(each) for each in expected[name]
        ]
    pd.testing.assert_frame_equal(found, expected)
    assert history.export(tmp_path / "out.csv", rows=rows, **filters) == len(expected)
    with (tmp_path / "out.csv").open(newline="") as file:
        assert [row["session_id"] for row in csv.DictReader(file)] == expected["session_id"].tolist()


def test_an_export_that_cannot_be_is_refused(tmp_path: Path) -> None:
    record(1)
    history = package.History()
    with pytest.raises(ValueError, match="format='xls' must be one of json, csv, parquet"):
        history.export(tmp_path / "out.xls")
    with pytest.raises(ValueError, match="rows='runs'"):
        history.export(tmp_path / "out.csv", rows="runs")  # type: ignore[arg-type]
    with pytest.raises(package.StoreError, match="is a database"):
        history.export("performance_tracking/perfdb.sqlite3", "csv")
    with pytest.raises(package.StoreError, match="cannot be written"):
        history.export(tmp_path / "no folder" / "out.csv")


def test_the_limits_are_those_of_the_command_line(perfdb: Perfdb) -> None:
    record(21)
    history = package.History()
    rows = rows_of(history.thresholds())
    assert {row["step_name"] for row in rows} == {None, "load"}
    assert perfdb("thresholds", "suggest", "--json").rows == rows
    assert perfdb("thresholds", "suggest", "--step", "load", "--json").rows == rows_of(
        history.thresholds(step="load")
    )


def test_a_prune_is_that_of_the_command_line(perfdb: Perfdb) -> None:
    record(5)
    history = package.History()
    (planned,) = history.prune(keep_last=2, dry_run=True)
    assert (planned["pruned"], len(history.sessions())) == (3, 5)
    assert perfdb("prune", "--keep-last", "2", "--dry-run", "--json").rows == [planned]
    kept = history.sessions()["session_id"].tolist()[-2:]
    assert history.prune(older_than="1h", dry_run=True) == []
    assert history.prune(keep_last=2, pipeline="etl") == [planned]
    assert history.sessions()["session_id"].tolist() == kept


def test_a_prune_that_says_nothing_of_what_goes_is_refused(tmp_path: Path) -> None:
    record(1)
    history = package.History()
    with pytest.raises(package.UsageError, match="choose what to delete"):
        history.prune()
    for wrong in ({"older_than": "soon"}, {"older_than": timedelta(minutes=1)}, {"keep_last": 0}):
        with pytest.raises(ValueError, match=r"older_than=|last="):
            history.prune(**wrong)  # type: ignore[arg-type]
    with pytest.raises(package.StoreError, match="nothing to prune"):
        package.History(tmp_path / "none.sqlite3").prune(older_than=timedelta(days=90))
    assert len(history.sessions()) == 1
