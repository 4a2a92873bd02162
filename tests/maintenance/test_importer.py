"""`perfdb import` and `export`: there and back, twice, and with files that are no reports.

Of: cli/export.py, cli/import_reports.py.
"""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from perfdb.history.history import History
from perfdb.maintenance import formats, importer
from perfdb.maintenance.formats.base import Format
from perfdb.records import Session
from perfdb.settings import load
from tests.given import SEED_REPORT


def test_the_seeds_own_report_goes_in(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "old.json").write_text(json.dumps(SEED_REPORT))
    answer = perfdb("import", "old.json")
    assert (answer.code, answer.out) == (0, "Imported 1 session.\n")
    session = History().session("20250730_143022")
    assert session.total_duration == 45.23
    assert session.mode == '{"fast_mode":false}'
    assert session.steps[0].additional_data["design_style"] == "modern"


def test_the_mode_of_an_old_report_follows_the_settings(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "perfdb.toml").write_text("mode_attributes = []\n")
    (folder / "old.json").write_text(json.dumps(SEED_REPORT))
    perfdb("import", "old.json")
    assert History().session("last").mode == "{}"


def test_twice_is_a_no_op(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    before = perfdb("export", "--format", "json").out
    answer = perfdb("import", "reports")
    assert (answer.code, answer.out) == (0, "Imported 0 sessions, 3 known already.\n")
    assert perfdb("export", "--format", "json").out == before


def test_what_is_imported_is_what_was_reported(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    assert list(History().each_session()) == recorded


def test_bad_files_are_named_and_the_rest_goes_in(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "in" / "deep").mkdir(parents=True)
    (folder / "in" / "deep" / "good.json").write_text(json.dumps(SEED_REPORT))
    (folder / "in" / "half.json").write_text(json.dumps(SEED_REPORT)[:100])
    (folder / "in" / "other.json").write_text('{"name": "left-pad"}')
    (folder / "in" / "made_up.jsonl").symlink_to("/proc/version")  # of no size, and no file to the reader
    answer = perfdb("import", "in", "missing.json")
    assert (answer.code, answer.out) == (0, "Imported 1 session, 4 files not imported.\n")
    assert answer.err.count("What can be imported: perfdb import --help") == 1
    for name in ("half.json", "other.json", "missing.json", "made_up.jsonl"):
        assert sum(name in line for line in answer.err.splitlines()) == 1, name


def test_a_format_of_another_package_that_raises_stops_no_other(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits(file: Path, beginning: bytes) -> bool:
        raise KeyError(file.name)

    other = Format(words="a log", fits=fits, read=lambda file: iter(()), suffixes=(".log",))
    monkeypatch.setattr(formats, "of_others", lambda: (other,))
    (folder / "in").mkdir()
    (folder / "in" / "some.log").touch()
    (folder / "in" / "good.json").write_text(json.dumps(SEED_REPORT))
    assert perfdb("import", "in").out == "Imported 1 session.\n"


def test_nothing_readable_is_exit_2(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "bad.json").write_text("[")
    assert perfdb("import", "bad.json").code == 2
    assert perfdb("import", "missing.json").code == 2
    (folder / "empty").mkdir()
    assert perfdb("import", "empty").code == 2


def test_a_quoted_glob_is_understood(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps(SEED_REPORT))
    (folder / "b.json").write_text(json.dumps(SEED_REPORT | {"session_id": "b"}))
    assert "Imported 2 sessions" in perfdb("import", "*.json").out


def test_a_glob_of_all_folders_follows_no_link(perfdb: Callable[..., Any], folder: Path) -> None:
    below = folder / "logs" / "below"
    below.mkdir(parents=True)
    for name in ("one", "two"):
        (below / name).symlink_to("..")
    for name in ("logs/a.json", "logs/below/b.json", "logs/.hidden.json"):
        (folder / name).write_text(json.dumps(SEED_REPORT | {"session_id": Path(name).stem}))
    assert "Imported 2 sessions" in perfdb("import", "logs/**/*.json").out


def test_folders_may_be_deeper_than_a_program_can_call(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(1_200):
        Path("d").mkdir()
        monkeypatch.chdir("d")
    Path("deep.json").write_text(json.dumps(SEED_REPORT))
    monkeypatch.chdir(folder)
    assert "Imported 1 session." in perfdb("import", "d").out
    answer = perfdb("import", "d/**/*.json")
    assert answer.code == (2 if sys.version_info < (3, 12) else 0)  # whose pathlib calls itself in each
    assert "Traceback" not in answer.err
    (folder / ("d/" * 1_200)).joinpath("deep.json").unlink()
    for depth in range(1_200, 0, -1):  # shutil.rmtree calls itself
        os.rmdir("d/" * depth)


def test_a_folder_that_goes_away_meanwhile_stops_no_other(folder: Path) -> None:
    for name in ("one", "two", "three"):
        (folder / name).mkdir()
        (folder / name / "a.json").write_text("{}")
    (folder / "round.json").symlink_to("round.json")
    found = formats._below(folder)
    seen = {next(found)}
    for name in ("one", "two"):
        shutil.rmtree(folder / name)
    assert seen | set(found) >= {folder / "three" / "a.json", folder / "round.json"}


def test_a_json_answer_has_a_row_per_file(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "good.json").write_text(json.dumps(SEED_REPORT))
    (folder / "bad.json").write_text("{}")
    rows = {row["path"]: row for row in perfdb("import", "--json", "good.json", "bad.json").rows}
    assert rows["good.json"] == {"path": "good.json", "added": 1, "known": 0, "error": None}
    assert "not a performance report" in rows["bad.json"]["error"]


def test_a_file_name_cannot_move_the_cursor(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "\x1b[2Jbad.json").write_text("{}")
    answer = perfdb("import", str(folder))
    assert "\x1b" not in answer.err
    assert "\\x1b[2Jbad.json" in answer.err


def test_an_export_comes_back_equal(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    assert perfdb("export", "--format", "json", "-o", "all.json").code == 0
    answer = perfdb("import", "all.json", "--database", "copy.sqlite3")
    assert "Imported 3 sessions" in answer.out
    assert list(History("copy.sqlite3").each_session()) == recorded


def test_an_export_that_somebody_formatted_comes_back_too(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    pretty = json.dumps(json.loads(perfdb("export", "--format", "json").out), indent=4)
    (folder / "pretty.json").write_text(pretty)
    assert "3 known already" in perfdb("import", "pretty.json").out


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.replace("4.0", '"four"', 1)])
def test_a_damaged_export_is_refused_whole(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path, damage: Callable[[str], str]
) -> None:
    (folder / "bad.json").write_text(damage(perfdb("export", "--format", "json").out))
    answer = perfdb("import", "bad.json", "--database", "copy.sqlite3")
    assert answer.code == 2
    assert not Path("copy.sqlite3").exists()


@pytest.mark.parametrize("text", ['{"resourceSpans": []}', '{"resourceSpans": ['])
def test_files_of_traces_without_a_span_make_no_database(
    perfdb: Callable[..., Any], folder: Path, text: str
) -> None:
    (folder / "traces.json").write_text(text)
    (folder / "other.json").write_text("{")
    answer = perfdb("import", "traces.json", "other.json", "--database", "copy.sqlite3")
    assert "other.json" in answer.err
    assert not Path("copy.sqlite3").exists()


def test_export_of_one_fast_session(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    rows = perfdb("export", "--format", "json", "--fast-mode").rows
    assert [row["session_id"] for row in rows] == [recorded[1].session_id]


def test_csv_has_a_row_per_step_and_exact_numbers(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    rows = list(csv.DictReader(io.StringIO(perfdb("export", "--format", "csv").out)))
    assert len(rows) == 6
    assert [row["step_name"] for row in rows[:2]] == ["Vision Analysis", "Product Search"]
    assert float(rows[1]["start_time"]) == recorded[0].steps[1].start_time
    assert json.loads(rows[1]["additional_data"])["products_found"] == 6


def test_parquet_holds_the_same_rows(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    import pyarrow.parquet

    assert perfdb("export", "--format", "parquet", "--rows", "sessions", "-o", "s.parquet").code == 0
    table = pyarrow.parquet.read_table(folder / "s.parquet").to_pylist()
    assert [row["total_duration"] for row in table] == [4.0, 5.0, 6.0]
    assert json.loads(table[0]["attributes"])["model"] == "gpt-4o"


def test_an_output_that_cannot_be_written_is_said(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    answer = perfdb("export", "--format", "csv", "-o", "no/such/folder/out.csv")
    assert answer.code == 2
    assert "no/such/folder/out.csv" in answer.err


def test_export_of_nothing_is_an_empty_answer(perfdb: Callable[..., Any]) -> None:
    answer = perfdb("export", "--format", "json")
    assert (answer.code, answer.rows) == (0, [])


def test_an_import_leaves_no_connection_behind(perfdb: Callable[..., Any], recorded: Any) -> None:
    collects = gc.isenabled()
    gc.disable()
    try:
        assert perfdb("import", "reports").code == 0
        assert perfdb("delete", "--yes", "last").code == 0
        assert perfdb("import", "reports").code == 0
        assert [
            each.path for each in psutil.Process().open_files() if each.path.startswith(str(Path.cwd()))
        ] == []
    finally:
        if collects:
            gc.enable()


def test_files_are_not_read_further_ahead_than_memory_allows(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "STEPS_AT_A_TIME", 1)
    perfdb("export", "--format", "json", "-o", "a.json")
    shutil.copy("a.json", "b.json")
    results = importer.import_reports([Path("a.json"), Path("b.json")], load(home=folder / "new"))
    assert next(results).added == 3
    Path("b.json").write_text("{}")  # its time has not come
    assert "not a performance report" in str(next(results).error)
