"""A lake answers what the database answers that it was archived from.

Of: cli/lake.py, lake/lake.py, lake/rollups.py, lake/statistics.py, lake/windows.py.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import perfdb
from perfdb.cli import main
from perfdb.lake import statistics, windows
from perfdb.lake.archive import push
from perfdb.lake.place import Place
from perfdb.lake.sealing import seal
from perfdb.store.database import Database
from tests.contract.test_both_databases import READS, Pair, answer, plain

OF_ALERTS = {"alert", "alerts", "explain_alert", "check", "replay_rules", "baselines"}  # a lake has none
PICTURES = {"chart", "report"}
WAYS = {  # of asking, and what is asked so: a small lake is one window, a large one has many
    "small": lambda name: name in ("sessions", "steps", "regressions", "chart", "report", "stale_modes"),
    "large": lambda name: name.split()[0] not in OF_ALERTS | PICTURES,
    "two passes": lambda name: name == "trends of all",
}


@pytest.fixture(scope="module")
def archived(filled_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Give the file without what runs and without alerts, and a lake of it."""
    folder = tmp_path_factory.mktemp("archived")
    file, lake = Path(shutil.copy(filled_file, folder / "ended.sqlite3")), folder / "lake"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        for table in ("sessions WHERE status = 0", "alerts", "baselines"):
            connection.execute(f"DELETE FROM {table}")
    with Database(f"sqlite:///{file}", migrates=False) as database:
        push(Place(str(lake)), database, sessions=50)
    seal(Place(str(lake)))
    return file, lake


@pytest.fixture(scope="module")
def pairs(archived: tuple[Path, Path]) -> dict[str, Pair]:
    """Give both for each way of asking: they keep the windows that they have."""
    return {way: (perfdb.History(archived[0]), perfdb.History(str(archived[1]))) for way in WAYS}


@pytest.mark.parametrize(
    ("way", "name"), [(way, name) for way, named in WAYS.items() for name in READS if named(name)]
)
def test_reading_gives_the_same(
    pairs: dict[str, Pair], way: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way != "small":
        monkeypatch.setattr(windows, "SMALL", 0)
        monkeypatch.setattr(statistics, "_AT_ONCE", 100)
    if way == "two passes":
        monkeypatch.setattr(statistics, "_FROM_ROLLUPS", 0)
        exactly = statistics.statistics
        monkeypatch.setattr(statistics, "statistics", lambda *a, **b: exactly(*a, exactly=True, **b))
    database, lake = (plain(answer(lambda h=h: READS[name](h))) for h in pairs[way])
    assert lake == database


def test_a_lake_calls_no_series_steady_by_the_medians_of_its_days(
    archived: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """They hide moves that its runs tell, see `regressions`."""
    said = {}
    for place in archived:
        for by in ("last", "day"):
            with pytest.raises(SystemExit):
                main(["trends", "--by", by, "-d", str(place)])
            said[place, by] = "steady" in capsys.readouterr().out
    file, lake = archived
    assert said == {(file, "last"): True, (file, "day"): True, (lake, "last"): True, (lake, "day"): False}
