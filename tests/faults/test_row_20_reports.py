"""Row 20: a report is the old one or the new one, never half of one, and leaves no litter."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.recording.report import read_report, write_report

KILLS = 20
REPORT: dict[str, Any] = {
    "session_id": "x", "total_duration": 1.0, "steps": [], "timestamp": "2026-01-01T00:00:00",
}  # fmt: skip
WRITER = """
import sys
from perfdb.recording.report import write_report
report = {"session_id": "x", "total_duration": 1.0, "steps": [], "timestamp": "2026-01-01T00:00:00"}
fill = "y" * 2_000_000
number = 0
while True:
    number += 1
    write_report(report | {"product_count": number, "fill": fill}, sys.argv[1])  # the same, replaced
    write_report(report | {"session_id": f"x{number % 50}", "fill": fill}, sys.argv[1])
    if number == 2:
        print("ready", flush=True)
"""


def test_a_kill_leaves_the_old_report_or_the_new_one(home: Path) -> None:
    for _ in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(home)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    names = {path.name for path in home.iterdir()}
    for path in home.iterdir():
        if path.name.startswith("performance_report_"):
            assert f"_{read_report(path).session_id}.json" in path.name
    # where a file exists already, the new one has a hidden name of its own for a moment
    assert len([name for name in names if name.startswith(".")]) <= KILLS
    assert all(name.startswith(("performance_report_x", ".performance_report_x")) for name in names)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no room for more than ten bytes of a report."""
    monkeypatch.setattr(
        "perfdb.recording.report.open", lambda *given: _Full(os.fdopen(*given)), raising=False
    )


@pytest.mark.parametrize("nameless", [True, False], ids=["nameless", "named"])
@pytest.mark.parametrize("exists", [True, False], ids=["replaced", "new"])
def test_a_full_disk_leaves_the_old_report(
    nameless: bool, exists: bool, home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    home.mkdir()
    if exists:
        write_report(REPORT | {"product_count": 1}, home)
    before = list(home.iterdir())
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="No space left"):
        write_report(REPORT | {"product_count": 2}, home)
    assert list(home.iterdir()) == before
    assert [read_report(path).product_count for path in before] == [1] * exists


class _Full:
    """A file on a full disk."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> int:
        self._file.write(content[:10])
        self._file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_and_reaches_no_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "perfdb.recording.report.open", lambda *a, **k: _Full(os.fdopen(*a, **k)), raising=False
    )
    with perfdb.track("etl") as run, run.step("load"):
        pass
    assert run.save_performance_report() is None
    assert "No space left" in run.health()["last_error"]
    assert not list(home.glob("*.json"))


def test_an_existing_report_is_replaced_and_nothing_else_stays(home: Path) -> None:
    write_report(REPORT | {"product_count": 1}, home)
    path = write_report(REPORT | {"product_count": 2}, home)
    assert read_report(path).product_count == 2
    assert list(home.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_bytes())["session_id"] == "x"


@pytest.mark.parametrize("dangling", [True, False])
def test_a_symbolic_link_is_replaced_and_not_followed(dangling: bool, home: Path) -> None:
    victim = home.parent / "victim"
    if not dangling:
        victim.write_text("precious")
    home.mkdir()
    path = home / "performance_report_x.json"
    path.symlink_to(victim)
    write_report(REPORT, home)
    assert not path.is_symlink()
    assert dangling is not victim.exists()
    assert dangling or victim.read_text() == "precious"


def test_a_folder_in_its_place_leaves_no_litter(home: Path) -> None:
    (home / "performance_report_x.json").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_report(REPORT, home)
    assert [path.name for path in home.iterdir()] == ["performance_report_x.json"]
