"""The disk is full for the journal: what it does not take is refused and counted, the rest stays whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import perfdb
from perfdb.recording import journal as journal_module
from perfdb.recording.journal import Journal, encode, new_journal_id


class FullDisk:
    """The module ``os``, as it looks to a journal on a disk that fills up and stays full for a while."""

    def __init__(self) -> None:
        self.full = False
        self.cut_fails = False
        self._room_for_half = True

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.full:
            return os.write(descriptor, data)
        if self._room_for_half:
            self._room_for_half = False
            return os.write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def ftruncate(self, descriptor: int, length: int) -> None:
        if self.full and self.cut_fails:
            raise OSError(errno.EIO, "Input/output error")
        os.ftruncate(descriptor, length)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    disk = FullDisk()
    monkeypatch.setattr(journal_module, "os", disk)
    return disk


@pytest.fixture
def journal(tmp_path: Path, disk: FullDisk) -> Iterator[Journal]:
    made = Journal.create(tmp_path / "journal", {"journal_id": new_journal_id()})
    yield made
    made.close()


def numbers(journal: Journal) -> list[int]:
    records = [line.record for line in journal.lines()]
    assert None not in records
    return [record["n"] for record in records[1:] if record is not None]


@pytest.mark.parametrize("cut_fails", [False, True])
def test_row_14_a_short_write_is_cut_back_and_counted(
    journal: Journal, disk: FullDisk, cut_fails: bool
) -> None:
    """Where even the cutting fails for a while, nothing is written behind the half line until it succeeds."""
    disk.cut_fails = cut_fails
    assert journal.write(encode({"type": "step", "n": 1}))
    disk.full = True
    assert not journal.write(encode({"type": "step", "n": 2}))
    assert not journal.write(encode({"type": "step", "n": 3}))
    disk.full = False
    assert journal.write(encode({"type": "step", "n": 4}))
    assert numbers(journal) == [1, 4]
    assert journal.refused == 2
    assert journal.size == journal.path.stat().st_size


def test_row_14_a_real_limit(
    run: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    history: Callable[[], perfdb.History],
) -> None:
    """The kernel writes half a line, refuses the next, and takes lines again when the limit is lifted."""
    monkeypatch.setenv("PERFDB_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/away")
    done = run(
        """
        import resource
        _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
        tracker.start_pipeline()
        steps(3)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, most))
        for i in range(40):
            with tracker.step("large", i=i, text="x" * 3_000): pass
        refused = tracker.health()["refused"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        steps(3)
        print(refused, tracker.health()["refused"], tracker.health()["last_error"], flush=True)
        os._exit(0)
        """
    )
    refused, at_the_end, *said = done.stdout.splitlines()[-1].split()
    assert refused == at_the_end
    assert 20 < int(refused) < 40
    assert "free some space" in " ".join(said)
    assert done.stderr.count("free some space") == 1
    names = list(history().steps()["step_name"])
    assert names == ["work"] * 3 + ["large"] * (40 - int(refused)) + ["work"] * 3
