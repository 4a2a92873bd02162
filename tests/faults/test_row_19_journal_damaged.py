"""A damaged journal: good lines go in, bad ones are kept and counted, and what is not ours is left alone.

Of: recording/quarantine.py, worker/quarantined.py.
"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from click.testing import CliRunner

import perfdb
from perfdb import recorder
from perfdb.cli.recover import command as recover_command
from perfdb.maintenance.doctor import look_at_journals
from perfdb.recording import judged
from perfdb.recording.health import Health
from perfdb.recording.journal import MOST_LINE, Journal, decode, encode, frame, journals_in, read_lines
from perfdb.recording.quarantine import Quarantine
from perfdb.store.database import Database
from perfdb.store.engine import open_engine
from perfdb.store.schema import ensure_schema
from perfdb.store.upkeep.inspection import read_facts
from perfdb.worker.quarantined import recover_quarantined
from perfdb.worker.recovery import recover, recover_dead
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
    monkeypatch.setenv("PERFDB_HOME", str(home))
    answer = CliRunner().invoke(recover_command)
    assert answer.exit_code == 0, answer.output
    assert f"Left {dead_journal.name} where it is: no line of it can be read" in answer.output
    assert dead_journal.read_bytes() == content


def test_row_19_of_a_journal_that_is_mostly_a_hole_the_good_lines_are_taken(
    home: Path, dead_journal: Path
) -> None:
    """A small file from elsewhere may be longer than any disk: to read it through would take hours."""
    lines = dead_journal.read_bytes().splitlines(keepends=True)
    with dead_journal.open("r+b") as file:
        file.truncate(len(b"".join(lines[:4])))
        file.seek(1 << 40)
        file.write(b"\n" + b"".join(lines[4:]))
        file.truncate(1 << 41)
    url = f"sqlite:///{home}/perfdb.sqlite3"
    assert recover(home, url).journals == 1
    assert numbers(perfdb.History(url)) == [0, 1, 2, 3, 4]
    assert not dead_journal.exists()


STRANGERS: dict[str, Callable[[Path, Path], None]] = {
    "folder": lambda path, _: path.mkdir(),
    "pipe": lambda path, _: os.mkfifo(path),
    "link": lambda path, journal: path.symlink_to(journal),
    "link to nothing": lambda path, _: path.symlink_to("nothing"),
}


@pytest.mark.parametrize("kind", STRANGERS)
@pytest.mark.parametrize("name", ["0\n.journal", "zz.journal", "zz.bad"])
def test_row_19_what_is_no_file_is_named_and_no_program(
    home: Path, dead_journal: Path, kind: str, name: str
) -> None:
    stranger = dead_journal.with_name(name)
    STRANGERS[kind](stranger, dead_journal)
    assert stranger not in journals_in(home / "journal")
    answer = CliRunner().invoke(recover_command)
    assert answer.exit_code == 0, answer.output
    shown = name.replace("\n", "\\n")
    assert f"Left {shown} where it is: it is no file" in answer.output
    assert numbers(perfdb.History()) == [0, 1, 2, 3, 4]
    findings = [each.found for each in look_at_journals(home, None)]
    assert any(shown in found for found in findings)
    assert any("nobody records now" in found for found in findings)
    health = Health()
    with Database(f"sqlite:///{home}/perfdb.sqlite3", 5.0, health) as database:
        recover_dead(home / "journal", database, health, lambda _: (0, []))
    assert name.endswith(".bad") or shown in "".join(health.warnings)
    assert health.as_dict()["ok"]
    assert os.path.lexists(stranger)


def test_row_19_every_cut_of_a_journal(home: Path) -> None:
    """All that is whole goes in, whatever the byte at which the file ends, and the rest is said."""
    folder, left, torn, steps = home / "journal", 0, 0, {}
    folder.mkdir(parents=True)
    end = 0
    while True:  # every journal and session has an id of its own, of the same length
        name = f"{end:04}"
        records: list[dict[str, object]] = [
            {"type": "journal", "version": 1, "journal_id": name},
            {"type": "start", "session_id": name, "pipeline": "p", "start_time": 1.0},
            {
                "type": "step",
                "session_id": name,
                "seq": 0,
                "step_name": "é",
                "start_time": 1.0,
                "duration": 0.1,
            },
            {
                "type": "step",
                "session_id": name,
                "seq": 1,
                "step_name": "f",
                "start_time": 2.0,
                "duration": 0.1,
            },
        ]
        whole = b"".join(frame(encode(record)) for record in records)
        if end > len(whole):
            break
        content = whole[:end]
        (folder / f"{name}.journal").write_bytes(content)
        lines = content.count(b"\n")
        left += lines == 0
        torn += lines > 0 and not content.endswith(b"\n")
        steps[name] = max(0, lines - 2)
        end += 1
    url = f"sqlite:///{home}/perfdb.sqlite3"
    moved = recover(home, url)
    assert (len(moved.left), moved.quarantined, moved.journals) == (left, torn, end - left)
    found = perfdb.History(url).steps(last=None).groupby("session_id").size().to_dict()
    assert found == {name: number for name, number in steps.items() if number}
    assert {path.stem for path in folder.glob("*.journal")} == {path.stem for path in moved.left}


def test_row_19_a_copy_of_a_journal_does_not_end_the_sessions_of_who_writes_it(
    home: Path, history: Callable[..., perfdb.History]
) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    session_id = tracker.start_pipeline()
    with tracker.step("first"):
        pass
    (path,) = (home / "journal").glob("*.journal")
    copy = path.with_name("0.journal")
    shutil.copy(path, copy)
    shutil.copy(path, copy.with_suffix(".bad"))
    url = f"sqlite:///{home}/perfdb.sqlite3"
    moved = recover(home, url)
    assert list(moved.left) == [copy]
    assert "whose program lives" in moved.left[copy]
    assert recover_quarantined(home, url).interrupted == 0
    assert history().session(session_id).status == "running"
    tracker.end_pipeline()
    recorder.close()
    assert history().session(session_id).status == "completed"
    assert not copy.exists()


def test_row_19_lines_of_a_newer_perfdb_wait_for_it(home: Path, dead_journal: Path) -> None:
    for suffix in (".journal", ".bad"):
        header, rest = dead_journal.read_bytes().split(b"\n", 1)
        newer = {**(decode(header) or {}), "version": 2, "journal_id": "newer"}
        dead_journal.with_name(f"newer{suffix}").write_bytes(frame(encode(newer)) + rest)
    dead_journal.unlink()
    answer = CliRunner().invoke(recover_command)
    for suffix in (".journal", ".bad"):
        assert f"Left newer{suffix} where it is: its lines are of version 2" in answer.output
        assert dead_journal.with_name(f"newer{suffix}").exists()
    assert perfdb.History().sessions().empty


def test_row_19_notes_that_are_pipes_hold_nobody_up(home: Path, dead_journal: Path) -> None:
    for suffix in (judged.SUFFIX, judged.UNJUDGED, f"{judged.UNJUDGED}.new"):
        os.mkfifo(dead_journal.with_suffix(suffix))
    judged.note_judged(dead_journal, 1)
    assert not judged.note_unjudged(dead_journal, ["dead"])
    recover(home, f"sqlite:///{home}/perfdb.sqlite3")
    assert numbers(perfdb.History()) == [0, 1, 2, 3, 4]


def test_row_19_of_a_foreign_file_of_any_size_a_part_is_held(tmp_path: Path) -> None:
    path = tmp_path / "huge.journal"
    with path.open("wb") as file:
        file.truncate(8 * MOST_LINE)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + frame(encode({"type": "step"})))
    tracemalloc.start()
    with path.open("rb") as file:
        lines = [(line.record, line.end) for line in read_lines(file.fileno())]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines[-1] == ({"type": "step"}, path.stat().st_size)
    assert [record for record, _ in lines[:-1]] == [None] * (len(lines) - 1)
    assert peak < 7 * MOST_LINE


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
