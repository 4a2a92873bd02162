"""A folder that cannot be written or made: it is said once, nothing is recorded, and the pipeline runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = """
import perfdb
for _ in range(2):
    tracker = perfdb.create_tracker(console=False)
    tracker.start_pipeline()
    with tracker.step("work") as step:
        step.set(done=True)
    tracker.end_pipeline()
    tracker.save_performance_report()
    tracker.print_summary()
health = tracker.health()
print("ran", health["ok"], health["last_error"])
"""


def as_ordinary_user() -> list[str]:
    """Return what a command starts with, so that permissions hold for it though we are root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give its powers up")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--securebits=+noroot,+noroot_locked"]


def run_pipeline(*prefix: str) -> tuple[str, str]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PIPELINE], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_row_16_missing_folders_are_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFDB_HOME", str(home / "some" / "where"))
    said, warned = run_pipeline()
    assert said.splitlines()[-1] == "ran True None"
    assert warned == ""
    assert (home / "some" / "where" / "perfdb.sqlite3").exists()


def test_row_16_a_file_in_its_place(home: Path) -> None:
    home.write_text("precious")
    said, warned = run_pipeline()
    assert said.splitlines()[-1].startswith("ran False")
    assert str(home) in warned
    assert warned.count("making a journal") == 1
    assert "Traceback" not in warned
    assert home.read_text() == "precious"


@pytest.mark.parametrize("there", [True, False], ids=["read-only home", "read-only parent"])
def test_row_16_a_read_only_folder(home: Path, there: bool) -> None:
    prefix = as_ordinary_user()
    folder = home if there else home.parent
    folder.mkdir(exist_ok=True)
    folder.chmod(0o555)
    try:
        said, warned = run_pipeline(*prefix)
    finally:
        folder.chmod(0o755)
    assert said.splitlines()[-1].startswith("ran False")
    assert "Permission denied" in said.splitlines()[-1]
    assert warned.count("making a journal") == 1
    assert "Traceback" not in warned
    assert not home.exists() or list(home.iterdir()) == []


def test_row_16_a_read_only_folder_of_the_database_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is kept, and the rows arrive when somebody opens the folder."""
    prefix = as_ordinary_user()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o555)
    monkeypatch.setenv("PERFDB_DATABASE_URL", f"sqlite:///{elsewhere}/perfdb.sqlite3")
    said, warned = run_pipeline(*prefix)
    assert "cannot create the database" in said.splitlines()[-1]
    assert warned.count("takes no rows now") == 1
    assert len(list((home / "journal").iterdir())) == 1
