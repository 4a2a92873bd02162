"""Whatever perfdb puts on the disk is its owner's alone, and no link leads it elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

import perfdb
from perfdb import recorder
from perfdb.cli import main
from perfdb.errors import StoreError
from perfdb.recording.journal import Journal
from perfdb.recording.quarantine import put_aside
from perfdb.store.engine import open_engine


@pytest.fixture(autouse=True, params=[0, 0o777], ids=["nothing is taken", "all is taken"])
def umask(request: pytest.FixtureRequest) -> object:
    before = os.umask(request.param)
    yield
    os.umask(before)


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0, arguments


def test_folders_are_0700_and_files_0600_whatever_the_umask(home: Path) -> None:
    tracker = perfdb.create_tracker(home=home / "deep" / "er", console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("load"):
        pass
    journal = Journal.create(home / "deep" / "er" / "journal", {"journal_id": "20260101T000000-1-other"})
    put_aside(journal.path, journal.header, [b"what could not be read\n"])
    tracker.end_pipeline()
    tracker.save_performance_report()
    tracker.start_pipeline()  # what runs keeps the database open, however long the rest takes
    url = f"sqlite:///{home}/deep/er/perfdb.sqlite3"
    out = home / "deep"
    run("export", "--database", url, "--format", "csv", "-o", str(out / "all.csv"))
    run("export", "--database", url, "--format", "json", "-o", str(out / "all.json"))
    run("report", "--database", url, "-o", str(out / "all.html"))
    run("backup", "--database", url, str(out / "copy.sqlite3"))
    found = {path: stat.S_IMODE(path.lstat().st_mode) for path in [home, *home.rglob("*")]}
    kinds = {path.suffix for path in found}
    names = {path.name for path in found}
    journal.close()
    recorder.close()
    assert {".journal", ".bad", ".json", ".csv", ".html", ".sqlite3"} <= kinds
    assert {"perfdb.sqlite3-wal", "perfdb.sqlite3-shm"} <= names
    assert {
        path: oct(mode) for path, mode in found.items() if mode != (0o700 if path.is_dir() else 0o600)
    } == {}


def test_a_link_where_the_database_will_be_is_not_followed(home: Path) -> None:
    home.mkdir(mode=0o700)
    victim = home.parent / "victim"
    (home / "perfdb.sqlite3").symlink_to(victim)
    engine = open_engine(f"sqlite:///{home}/perfdb.sqlite3", role="writer")
    with pytest.raises(StoreError, match="cannot create the database"), engine.connect():
        pass
    engine.dispose()
    assert not victim.exists()


def test_a_link_where_damaged_lines_are_kept_is_not_followed(home: Path) -> None:
    journal = Journal.create(home / "journal", {"journal_id": "20260101T000000-1-other"})
    victim = home.parent / "victim"
    journal.path.with_suffix(".bad").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        put_aside(journal.path, journal.header, [b"x\n"])
    journal.close()
    assert not victim.exists()
    (home / "journal" / "evil.journal").symlink_to(home.parent / "elsewhere")
    assert Journal.claim(home / "journal" / "evil.journal") is None
