"""Large sessions go into the database in pieces: whole in the end, and others get their turns."""

from __future__ import annotations

import codecs
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

import perfdb
from perfdb.cli.export import command as export
from perfdb.maintenance.importer import Imported, import_reports
from perfdb.records import Sample, Session, Step
from perfdb.settings import load_for_reading
from perfdb.store.engine import open_engine
from perfdb.store.pieces import ROWS, Inserting, Piece, pieces_of

STEP = {"step_name": "load", "start_time": 1767225600.0, "duration": 1.0, "success": True}
REPORT: dict[str, Any] = {
    "session_id": "s1",
    "timestamp": "2026-01-01T00:00:00",
    "total_duration": 3.0,
    "steps": [STEP],
}


def large(session_id: str = "large", *, steps: int = 1_050, tags: int = 430, success: bool = True) -> Session:
    return Session(
        session_id=session_id,
        pipeline="p",
        start_time=1_767_225_600.0,
        total_duration=9.0,
        status="completed" if success else "failed",
        success=success,
        steps=tuple(
            Step(seq=seq, step_name=f"step {seq}", start_time=1_767_225_600.0, duration=1.0, success=True)
            for seq in range(steps)
        ),
        samples=tuple(Sample(time=1_767_225_600.0 + n, cpu_percent=1.0, rss_bytes=n) for n in range(300)),
        tags=tuple(f"tag {n}" for n in range(tags)),
    )


@pytest.fixture
def engine(migrated_url: str) -> Iterator[Engine]:
    """Give the write end of a database of either kind."""
    engine = open_engine(migrated_url, role="writer")
    yield engine
    engine.dispose()


def insert(engine: Engine, pieces: list[Piece]) -> Inserting:
    done = Inserting()
    for piece in pieces:
        with engine.begin() as connection:
            done.insert(connection, piece)
    return done


def test_no_piece_is_much_larger_than_the_others() -> None:
    found = [large("a"), *(large(f"b{n}", steps=3, tags=0) for n in range(200)), large("c", steps=5_000)]
    for piece in pieces_of(found):
        parts = ((each.steps, each.tags, each.samples) for each in piece.sessions)
        assert sum(len(rows) for part in parts for rows in part) <= max(ROWS, 303)


@pytest.mark.parametrize("success", [True, False])
def test_a_large_session_is_whole_in_the_end(engine: Engine, migrated_url: str, success: bool) -> None:
    given = large(success=success)
    done = insert(engine, list(pieces_of([given])))
    assert (done.added, done.known) == (1, 0)
    kept = perfdb.History(migrated_url).session("large")
    assert [step.step_name for step in kept.steps] == [step.step_name for step in given.steps]
    assert sorted(kept.tags) == sorted(given.tags)
    assert (len(kept.samples), kept.status) == (300, given.status)
    done = insert(engine, list(pieces_of([given])))
    assert (done.added, done.known) == (0, 1)
    with engine.begin() as connection:
        counted = connection.exec_driver_sql("SELECT count(*) FROM steps WHERE counted").scalar_one()
    assert counted == (1_050 if success else 0)


@pytest.mark.parametrize("after", [1, 2, 5, 8])
def test_an_import_that_was_cut_off_goes_on_the_next_time(
    engine: Engine, migrated_url: str, after: int
) -> None:
    given = large()
    insert(engine, list(pieces_of([given]))[:after])
    done = insert(engine, list(pieces_of([given])))
    assert (done.added, done.known) == (1, 0)
    kept = perfdb.History(migrated_url).session("large")
    assert (len(kept.steps), len(kept.tags), len(kept.samples)) == (1_050, 430, 300)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder that this test works and records in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFDB_HOME", str(tmp_path / "home"))
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def imported(folder: Path) -> list[Imported]:
    return list(import_reports(sorted(folder.iterdir()), load_for_reading()))


def test_another_writer_gets_its_turns_while_a_large_report_comes_in(
    folder: Path, migrated_file: Path
) -> None:
    (folder.parent / "home").mkdir()
    path = folder.parent / "home" / "perfdb.sqlite3"
    path.write_bytes(migrated_file.read_bytes())
    steps = [STEP | {"step_name": f"step {n}", "seq": n} for n in range(5_000)]
    (folder / "large.json").write_text(
        json.dumps(REPORT | {"steps": steps, "tags": [f"t{n}" for n in range(3_000)]})
    )
    states = set()
    ended = threading.Event()

    def write() -> None:
        other = sqlite3.connect(path, isolation_level=None, timeout=0)
        while not ended.is_set():
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                time.sleep(0.0005)
                continue
            states.add(other.execute("SELECT count(*) FROM steps").fetchone()[0])
            other.execute("COMMIT")
        other.close()

    thread = threading.Thread(target=write)
    thread.start()
    (result,) = imported(folder)
    ended.set()
    thread.join()
    assert result.added == 1
    assert len(states) >= 4


@pytest.mark.parametrize("tags", [[""], ["  "], ["t" * 65], ["good", "\t"]])
def test_a_bad_tag_is_refused_with_its_file_only(folder: Path, tags: list[str]) -> None:
    (folder / "a.json").write_text(json.dumps(REPORT | {"session_id": "before"}))
    (folder / "b.json").write_text(json.dumps(REPORT | {"session_id": "bad", "tags": tags}))
    rows = [REPORT | {"session_id": "row"}, REPORT | {"session_id": "row2", "tags": tags}]
    (folder / "c.json").write_text(json.dumps({"schema_version": 1, "rows": rows}))
    (folder / "d.json").write_text(
        json.dumps(REPORT | {"session_id": "behind", "tags": ["t" * 64, "t" * 64]})
    )
    results = imported(folder)
    assert [each.added for each in results] == [1, 0, 0, 1]
    assert all("a tag has 1 to 64" in str(each.error) for each in results[1:3])
    assert sorted(perfdb.History().sessions()["session_id"]) == ["before", "behind"]


@pytest.mark.parametrize(
    "content", [REPORT, {"schema_version": 1, "rows": [REPORT]}], ids=["report", "export"]
)
def test_a_byte_order_mark_is_read_over(folder: Path, content: dict[str, Any]) -> None:
    (folder / "marked.json").write_bytes(codecs.BOM_UTF8 + json.dumps(content).encode())
    assert [each.added for each in imported(folder)] == [1]


def test_csv_for_spreadsheets_begins_with_a_byte_order_mark_when_asked_to(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(REPORT))
    imported(folder)
    plain = CliRunner().invoke(export, ["--format", "csv"]).stdout_bytes
    marked = CliRunner().invoke(export, ["--format", "csv", "--bom"]).stdout_bytes
    assert marked == codecs.BOM_UTF8 + plain
    assert CliRunner().invoke(export, ["--format", "json", "--bom"]).exit_code == 2
