"""A damaged journal: good lines go in, bad ones are kept and counted, and what is not ours is left alone.

Of: recording/quarantine.py, worker/quarantined.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner

import perfdb
from perfdb.cli.recover import command as recover_command
from perfdb.recording.journal import Journal, decode, encode, frame
from perfdb.recording.quarantine import Quarantine
from perfdb.store.engine import open_engine
from perfdb.store.schema import ensure_schema
from perfdb.store.upkeep.inspection import read_facts
from perfdb.worker.quarantined import recover_quarantined
from perfdb.worker.recovery import recover
from perfdb.worker.shipping import Batch

REFUSE = {
    "sqlite": "CREATE TRIGGER refuse BEFORE INSERT ON series WHEN NEW.step_name = 'refused' "
    "BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": "ALTER TABLE series ADD CONSTRAINT refuse CHECK (step_name <> 'refused')",
}
MEND = {
    "sqlite": "DROP TRIGGER refuse",
    "postgresql": "ALTER TABLE series DROP CONSTRAINT refuse",
}


@pytest.fixture
def dead_journal(run: Callable[..., CompletedProcess[str]], journals: Callable[[], list[Path]]) -> Path:
    """Give the journal of a dead process: its name, a start, and five steps."""
    run("tracker.start_pipeline(session_id='dead'); steps(5); os._exit(1)")
    (path,) = journals()
    return path


def numbers(found: perfdb.History) -> list[int]:
    return [step.additional_data["i"] for step in found.session("dead").steps]


def put_aside(journal: Path) -> list[bytes]:
    with Quarantine.hold(journal.with_suffix(".bad")) as quarantine:
        return [line.raw for line in quarantine.lines()]


def test_row_19_a_torn_end_is_put_aside(home: Path, dead_journal: Path, tmp_path: Path) -> None:
    torn = dead_journal.read_bytes()[-30:-5]
    with dead_journal.open("ab") as file:
        file.write(torn)
    url = f"sqlite:///{home}/perfdb.sqlite3"
    assert recover(home, url).quarantined == 1
    assert numbers(perfdb.History(url)) == [0, 1, 2, 3, 4]
    assert put_aside(dead_journal) == [torn + b"\n"]


@pytest.mark.parametrize("damaged", range(7))
def test_row_19_a_damaged_line_spoils_itself_only(home: Path, dead_journal: Path, damaged: int) -> None:
    """The first line names the journal, the second starts the session: without them the rest goes in too."""
    lines = dead_journal.read_bytes().splitlines(keepends=True)
    lines[damaged] = lines[damaged].replace(b'"', b"'", 1)
    dead_journal.write_bytes(b"".join(lines))
    url = f"sqlite:///{home}/perfdb.sqlite3"
    moved = recover(home, url)
    assert (moved.journals, moved.quarantined) == (1, 1)
    assert numbers(perfdb.History(url)) == [i for i in range(5) if i != damaged - 2]
    assert put_aside(dead_journal) == [lines[damaged]]
    assert not dead_journal.exists()


def test_row_19_nobody_waits_with_the_write_lock_for_who_looks_through_bad_lines(
    home: Path, dead_journal: Path
) -> None:
    lines = dead_journal.read_bytes().splitlines(keepends=True)
    dead_journal.write_bytes(b"".join(lines[:3]) + b"damaged\n" + b"".join(lines[3:]))
    url = f"sqlite:///{home}/perfdb.sqlite3"
    with Quarantine.hold(dead_journal.with_suffix(".bad")), pytest.raises(BlockingIOError):
        recover(home, url)
    assert recover(home, url).quarantined == 1
    assert numbers(perfdb.History(url)) == [0, 1, 2, 3, 4]
    assert put_aside(dead_journal) == [b"damaged\n"]


def test_row_19_every_flipped_bit_of_a_journal(tmp_path: Path) -> None:
    """None is taken for a record that was not written, and none touches more than its line and the next."""
    records = [{"type": "step", "session_id": "a", "seq": seq} for seq in range(3)]
    content = b"".join(frame(encode(record)) for record in records)
    header = frame(encode({"type": "journal", "journal_id": "small"}))
    path = tmp_path / "small.journal"
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            path.write_bytes(header + damaged)
            journal = Journal.claim(path)
            assert journal is not None
            batch = Batch(journal, len(header), 100)
            rest = journal.torn_end(batch.end)
            journal.close()
            good = [line.record for line in batch.good]
            assert all(record in records for record in good)
            assert len(good) >= 1
            # hex digits of the sum may change case and still be right
            assert batch.bad or rest or good == records


@pytest.mark.parametrize("content", [b"", b"hello\n", b'{"type":"journal"}\n', os.urandom(5_000)])
def test_row_19_what_is_no_journal_is_left_alone(home: Path, dead_journal: Path, content: bytes) -> None:
    foreign = dead_journal.with_name("foreign.journal")
    foreign.write_bytes(content)
    url = f"sqlite:///{home}/perfdb.sqlite3"
    moved = recover(home, url)
    assert (moved.journals, moved.quarantined) == (1, 0)
    assert foreign.read_bytes() == content
    assert numbers(perfdb.History(url)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", [b"", bytes(5_000), b"\r"])
def test_row_19_a_journal_without_a_good_line_is_named(
    home: Path, dead_journal: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut there may be zeros where there was text; the doctor sends people to `recover`."""
    content = dead_journal.read_bytes().replace(b"\n", b"\r\n") if damage == b"\r" else damage
    dead_journal.write_bytes(content)
    folder = dead_journal.with_name("folder.journal")
    folder.mkdir()
    monkeypatch.setenv("PERFDB_HOME", str(home))
    answer = CliRunner().invoke(recover_command)
    assert answer.exit_code == 0, answer.output
    assert f"Left {dead_journal.name} where it is: no line of it can be read" in answer.output
    assert folder.name not in answer.output
    assert dead_journal.read_bytes() == content


@pytest.mark.parametrize(
    "text", [b"", b"x", b"00000000 {}", b"not a journal", b"\xff" * 50, frame(b"[1]")[:-1]]
)
def test_row_19_foreign_lines_are_no_records(text: bytes) -> None:
    assert decode(text) is None


def test_row_19_damage_under_a_living_writer(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    (path,) = (home / "journal").glob("*.journal")
    with tracker.step("good"):
        pass
    live = tracker._live
    assert live is not None
    assert live.journal is not None
    os.write(live.journal._descriptor, b"deadbeef {damaged}\n")
    with tracker.step("good"):
        pass
    tracker.end_pipeline()
    assert tracker.health()["quarantined"] == 1
    assert put_aside(path) == [b"deadbeef {damaged}\n"]
    assert len(perfdb.History().session("last").steps) == 2


def test_row_19_what_was_refused_comes_in_later_and_what_is_damaged_stays(
    home: Path, recorded_url: str, wait_until_well: Callable[[perfdb.Tracker], None]
) -> None:
    """The database refuses a third of what a living writer records, until somebody mends it."""
    ensure_schema(recorded_url)
    engine = open_engine(recorded_url, role="writer")
    tracker = perfdb.create_tracker(console=False, monitor=False)
    with engine.begin() as connection:
        connection.exec_driver_sql(REFUSE[connection.dialect.name])
    session_id = tracker.start_pipeline()
    (path,) = (home / "journal").glob("*.journal")
    for number in range(20):
        with tracker.step("good" if number % 3 else "refused", number=number):
            pass
    live = tracker._live
    assert live is not None
    assert live.journal is not None
    live.journal.size += os.write(live.journal._descriptor, b"deadbeef {damaged}\n")
    tracker.end_pipeline()
    wait_until_well(tracker)
    assert tracker.health()["quarantined"] == 8
    assert len(perfdb.History().session(session_id).steps) == 13
    again = recover_quarantined(home, recorded_url)
    assert (again.records, again.quarantined) == (0, 8)
    with engine.begin() as connection:
        connection.exec_driver_sql(MEND[connection.dialect.name])
    again = recover_quarantined(home, recorded_url)
    assert (again.records, again.quarantined, again.interrupted) == (7, 1, 0)
    assert put_aside(path) == [b"deadbeef {damaged}\n"]
    kept = perfdb.History().session(session_id)
    assert sorted(step.additional_data["number"] for step in kept.steps) == list(range(20))
    again = recover_quarantined(home, recorded_url)
    assert (again.records, again.quarantined) == (0, 1)
    with engine.begin() as connection:
        assert read_facts(connection).quarantined == 1
    engine.dispose()
