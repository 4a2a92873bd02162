"""Row 20: a report is the old one or the new one, never half of one, and leaves no litter."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.outputs import HIDDEN
from perfdb.recording.report import read_report, report_name, write_report

KILLS = 20
REPORT: dict[str, Any] = {
    "session_id": "x", "total_duration": 1.0, "steps": [], "timestamp": "2026-01-01T00:00:00",
}  # fmt: skip
PROGRAM = """
import os, random, signal, sys, time
from perfdb.recording.report import write_report
report = {"session_id": "x", "total_duration": 1.0, "steps": [], "timestamp": "2026-01-01T00:00:00"}

def write():
    for number in range(10_000):
        fill = {"product_count": number, "fill": "y" * 2_000_000}
        write_report(report | fill, sys.argv[1])  # the same, replaced
        write_report(report | fill | {"session_id": f"x{number % 50}"}, sys.argv[1])
"""
KILLED = """
chance = random.Random(20)
for _ in range(int(sys.argv[2])):
    child = os.fork() or write()
    time.sleep(chance.uniform(0.002, 0.03))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""
KILLED_BEFORE_THE_END = """
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write()
"""


def test_a_kill_leaves_the_old_report_or_the_new_one(home: Path) -> None:
    home.mkdir()
    subprocess.run([sys.executable, "-c", PROGRAM + KILLED, home, str(KILLS)], check=True)
    assert {path.name for path in home.iterdir() if not path.name.startswith("performance_report_x")} <= {
        HIDDEN
    }
    write_report(REPORT | {"session_id": "next"}, home)
    for path in home.iterdir():
        assert path.name == report_name(read_report(path).session_id)


@pytest.mark.parametrize("session_id", ["x", "another"])
def test_what_a_kill_just_before_the_end_leaves_is_gone_with_the_next_report(
    session_id: str, home: Path
) -> None:
    """Where a report exists already, the new one needs a hidden name for a moment."""
    path = write_report(REPORT | {"product_count": 1}, home)
    done = subprocess.run([sys.executable, "-c", PROGRAM + KILLED_BEFORE_THE_END, home])
    assert done.returncode == -signal.SIGKILL
    assert {each.name for each in home.iterdir()} == {path.name, HIDDEN}
    assert read_report(path).product_count == 1
    other = write_report(REPORT | {"session_id": session_id, "product_count": 2}, home)
    assert read_report(other).product_count == 2
    assert set(home.iterdir()) == {path, other}


def test_writers_of_one_folder_do_not_meet(home: Path) -> None:
    def write(number: int) -> None:
        for count in range(50):
            write_report(
                REPORT | {"session_id": f"x{number % 2}", "product_count": count, "fill": "y" * 9_999}, home
            )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.name: read_report(path).session_id for path in home.iterdir()} == {
        "performance_report_x0.json": "x0",
        "performance_report_x1.json": "x1",
    }


def test_a_writer_that_was_stopped_in_the_middle_holds_up_nobody(home: Path) -> None:
    write_report(REPORT, home)
    folder = os.open(home, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    (home / HIDDEN).write_text("not yet whole")
    path = write_report(REPORT | {"product_count": 2}, home)
    os.close(folder)
    assert read_report(path).product_count == 2
    assert (home / HIDDEN).read_text() == "not yet whole"
    assert set(home.iterdir()) == {path, home / HIDDEN}


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no room for more than ten bytes of a report."""
    monkeypatch.setattr("perfdb.outputs.open", lambda *given: _Full(os.fdopen(*given)), raising=False)


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


def test_a_full_disk_is_reported_and_reaches_no_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfdb.outputs.open", lambda *a, **k: _Full(os.fdopen(*a, **k)), raising=False)
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
