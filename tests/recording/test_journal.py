from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfdb.recording import journal as journal_module
from perfdb.recording.journal import (
    Journal,
    encode,
    frame,
    has_living_writer,
    journals_in,
    new_journal_id,
)


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    made = Journal.create(tmp_path / "journal", {"journal_id": new_journal_id()})
    yield made
    made.close()


def records(journal: Journal) -> list[Any]:
    return [line.record for line in journal.lines()][1:]


def test_what_is_written_is_read_back_in_order(journal: Journal) -> None:
    for number in range(3):
        assert journal.write(encode({"type": "step", "n": number, "name": "größe 🚀"}))
    assert records(journal) == [{"type": "step", "n": n, "name": "größe 🚀"} for n in range(3)]
    *_, last = journal.lines()
    assert last.end == journal.size == journal.path.stat().st_size


def test_folder_and_file_are_private(journal: Journal) -> None:
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_a_torn_last_line_waits_for_its_rest(journal: Journal) -> None:
    line = frame(encode({"type": "step"}))
    with journal.path.open("ab") as file:
        file.write(line[:-5])
        file.flush()
        assert records(journal) == []
        file.write(line[-5:])
    # closing another descriptor of one's own journal gives up its lock: only this test may do so
    assert records(journal) == [{"type": "step"}]


def test_the_journal_of_a_living_process_cannot_be_claimed(journal: Journal) -> None:
    assert Journal.claim(journal.path) is None
    code = (
        "from perfdb.recording.journal import Journal; from pathlib import Path;"
        f"print(Journal.claim(Path({str(journal.path)!r})))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == "None"


INTERRUPTED = """
import os, sys
from pathlib import Path
from perfdb.recording.journal import Journal
def interrupt(event, arguments):
    if event == "fcntl.lockf" and interrupts:
        interrupts.pop()
        raise KeyboardInterrupt
interrupts = []
sys.addaudithook(interrupt)
journal = Journal.create(Path(sys.argv[1]), {"journal_id": "j", "created": 0.0})
os.closerange(3, 1024)
interrupts.append(1)
try:
    journal.is_whole()
except KeyboardInterrupt:
    print(journal.is_closed, Journal.claim(journal.path) is not None)
"""


def test_a_journal_that_is_not_opened_again_for_an_interrupt_can_be_claimed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "journal")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True True\n"


def test_the_journal_of_a_dead_process_can_be_claimed_once(tmp_path: Path) -> None:
    code = (
        "import os; from pathlib import Path; from perfdb.recording.journal import *;"
        f"j = Journal.create(Path({str(tmp_path)!r}), {{'journal_id': 'dead'}});"
        "j.write(encode({'type': 'step'})); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    claimed = Journal.claim(tmp_path / "dead.journal")
    assert claimed is not None
    assert records(claimed) == [{"type": "step"}]
    assert Journal.claim(tmp_path / "dead.journal") is None
    claimed.close(remove=True)
    assert journals_in(tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"type":"journal"}\n'])
def test_a_foreign_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.journal"
    path.write_bytes(content)
    assert Journal.claim(path) is None
    assert path.read_bytes() == content


def test_a_link_in_place_of_a_journal_is_not_followed(tmp_path: Path, journal: Journal) -> None:
    link = tmp_path / "link.journal"
    link.symlink_to(journal.path)
    assert Journal.claim(link) is None


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(NotADirectoryError, match="taken is a file"):
        Journal.create(tmp_path / "taken", {"journal_id": "x"})


def test_a_long_journal_is_read_across_chunks(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_CHUNK", 64)
    for number in range(50):
        journal.write(encode({"type": "step", "n": number, "pad": "x" * number}))
    assert [record["n"] for record in records(journal)] == list(range(50))


def test_a_look_whether_the_writer_lives_costs_it_nothing(journal: Journal) -> None:
    look = (
        "import sys; from pathlib import Path; from perfdb.recording.journal import has_living_writer; "
        "print(has_living_writer(Path(sys.argv[1])))"
    )

    def seen_from_outside() -> str:
        done = subprocess.run(
            [sys.executable, "-c", look, str(journal.path)], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert has_living_writer(journal.path)
    assert seen_from_outside() == "True"  # our own look did not drop the lock
    journal.close()
    assert seen_from_outside() == "False"
    assert not has_living_writer(journal.path)
