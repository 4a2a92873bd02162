"""A worker has what has ended pushed to the lake of [archive]."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import perfdb
from perfdb.errors import SettingsError
from perfdb.lake.place import INBOX, Place
from perfdb.lake.sealing import seal
from perfdb.recording.health import Health
from perfdb.toml import Table
from perfdb.worker.archiving import STAMP, Archiving, read_archive


@pytest.mark.process
def test_a_worker_pushes_what_has_ended(tmp_path: Path) -> None:
    home, lake = tmp_path / "home", tmp_path / "lake"
    for name in ("one", "two"):
        with perfdb.track("etl", home=home, console=False) as run, run.step(name):
            pass
    archiving = Archiving(home, f"sqlite:///{home}/perfdb.sqlite3", str(lake), 3_600.0, health := Health())
    archiving.turn()
    while archiving._process is not None:
        archiving.turn()
        time.sleep(0.05)
    assert health.counts.get("delays", 0) == 0
    assert len(Place(str(lake)).names(INBOX)) == 1
    seal(Place(str(lake)))
    assert perfdb.History(str(lake)).steps()["step_name"].tolist() == ["one", "two"]
    other = Archiving(home, "", str(lake), 3_600.0, Health())
    other.turn()  # somebody did so lately
    assert other._process is None
    assert (home / STAMP).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "table", [{"lake": "here"}, {"lake": 3}, {"lake": "/l", "every": "1s"}, {"lak": "/l"}]
)
def test_settings_that_cannot_be_meant_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        read_archive(Table(table))
    assert read_archive(Table({})) is None
