"""A disk that is full indeed: whoever writes to it says so in a sentence, and what was there stays.

A small file system in memory is mounted for it, where that is allowed: by root, on Linux.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import perfdb
from perfdb import recorder

PERFDB = [sys.executable, "-c", "import sys, perfdb.cli; perfdb.cli.main(sys.argv[1:])"]
HOST = """
import perfdb
tracker = perfdb.create_tracker(console=False, monitor=False)
tracker.start_pipeline()
for number in range(200):
    with tracker.step("work", text="x" * 200):
        pass
tracker.end_pipeline()
health = tracker.health()
print("went on", health["ok"], health["last_error"])
"""
KILLED = """
import os, perfdb
tracker = perfdb.create_tracker(console=False, monitor=False)
tracker.start_pipeline()
for number in range(600):
    with tracker.step(f"work {number}", text="x" * 500):
        pass
os._exit(9)
"""
OLD = "what was there before"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=30)


def record(sessions: int) -> None:
    for _ in range(sessions):
        tracker = perfdb.create_tracker(console=False, monitor=False)
        tracker.start_pipeline()
        for number in range(300):
            with tracker.step(f"work {number % 7}", text="x" * 200):
                pass
        tracker.end_pipeline()
    recorder.close(60)


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (4_096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return ballast


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*PERFDB, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_row_13_a_full_disk_is_said_and_nothing_is_replaced_by_half(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    record(3)
    monkeypatch.chdir(small)
    record(1)
    files = {name: small / name for name in ("e.json", "e.csv", "r.html", "c.png")}
    for file in files.values():
        file.write_text(OLD)
    assert run(tmp_path, "export", "--format", "json", "-o", "all.json")[0] == 0
    assert run(tmp_path, "backup", "good.sqlite3")[0] == 0
    ballast = fill(small)
    for folder, verb in (
        (tmp_path, f"export --format json -o {files['e.json']}"),
        (tmp_path, f"export --format csv -o {files['e.csv']}"),
        (tmp_path, f"report last -o {files['r.html']}"),
        (tmp_path, f"chart steps -o {files['c.png']}"),
        (tmp_path, f"backup {small}/b.sqlite3"),
        (small, f"restore {tmp_path}/good.sqlite3 --yes"),
        (small, f"import {tmp_path}/all.json"),
        (tmp_path, f"db copy sqlite:///performance_tracking/perfdb.sqlite3 sqlite:///{small}/n.sqlite3"),
    ):
        code, words = run(folder, *verb.split())
        assert code == 2, (verb, words)
        assert "disk" in words or "No space left" in words, (verb, words)
    assert {file.read_text() for file in files.values()} == {OLD}
    assert not (small / "b.sqlite3").exists()
    host = subprocess.run(
        [sys.executable, "-c", HOST], cwd=small, capture_output=True, text=True, timeout=120
    )
    assert host.returncode == 0
    assert "went on False" in host.stdout
    assert "No space left" in host.stdout
    ballast.unlink()
    code, words = run(small, "sessions", "--json")
    assert code == 0
    assert words.count('"session_id"') == 1
    assert run(small, "import", f"{tmp_path}/all.json")[0] == 0
    assert run(small, "sessions", "--json")[1].count('"session_id"') == 4


def test_row_13_what_a_full_disk_keeps_from_being_recovered_is_said_and_waits(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(small)
    record(1)
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=small, timeout=120).returncode == 9
    ballast = fill(small)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 100_000)  # readers can open the database; no row has room
    code, words = run(small, "recover")
    assert code == 2
    assert "accepts no changes now: " in words
    ballast.unlink()
    assert "1 session ended as interrupted" in run(small, "recover")[1]
