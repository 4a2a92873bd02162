"""`perfdb restore`.

Of: store/upkeep/restoring.py.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.records import Session

DATABASE = Path("performance_tracking/perfdb.sqlite3")


def ids(perfdb: Callable[..., Any], *options: str) -> list[str]:
    return [row["session_id"] for row in perfdb("sessions", "--json", *options).rows]


def test_the_history_is_again_as_it_was_and_what_was_there_is_kept(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    everything = ids(perfdb)
    assert perfdb("backup", "copy.sqlite3").code == 0
    perfdb("delete", "--yes", "last", "last~1")
    answer = perfdb("restore", "--yes", "copy.sqlite3")
    assert (answer.code, "Restored 3 sessions, 6 steps." in answer.out) == (0, True)
    assert ids(perfdb) == everything
    (before,) = DATABASE.parent.glob("*before-restore*")
    assert ids(perfdb, "-d", str(before)) == everything[2:]


def test_several_in_one_second_each_keep_what_was_there(
    perfdb: Callable[..., Any], recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda *_: "20260102-030405")
    Path("copies").mkdir()
    for number in range(1, 4):
        assert perfdb("backup", "copies").code == 0
        assert perfdb("restore", "--yes", str(sorted(Path("copies").iterdir())[0])).code == 0
        assert (
            len(list(DATABASE.parent.glob("*before-restore*")))
            == number
            == len(list(Path("copies").iterdir()))
        )


def test_a_reader_that_is_open_sees_the_one_or_the_other(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    perfdb("backup", "copy.sqlite3")
    perfdb("delete", "--yes", "last")
    reader = sqlite3.connect(DATABASE, isolation_level=None)
    reader.execute("BEGIN")
    count = "SELECT count(*) FROM sessions"
    assert reader.execute(count).fetchone() == (2,)
    assert perfdb("restore", "--yes", "copy.sqlite3").code == 0
    assert reader.execute(count).fetchone() == (2,)
    reader.execute("COMMIT")
    assert reader.execute(count).fetchone() == (3,)
    reader.close()


def test_a_killed_programs_log_does_not_spoil_it(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    perfdb("backup", "copy.sqlite3")
    code = (
        f"import sqlite3, os; c = sqlite3.connect({str(DATABASE)!r}); "
        "c.execute('UPDATE sessions SET product_count = 99'); c.commit(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert perfdb("restore", "--yes", "copy.sqlite3").code == 0
    assert [row["product_count"] for row in perfdb("sessions", "--json").rows] == [6, 6, 6]


def test_a_damaged_or_missing_database_is_replaced(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    everything = ids(perfdb)
    perfdb("backup", "copy.sqlite3")
    DATABASE.write_text("precious notes " * 1000)
    assert perfdb("restore", "--yes", "copy.sqlite3").code == 0
    assert ids(perfdb) == everything
    assert Path(f"{DATABASE}.damaged").read_text().startswith("precious notes")
    shutil.rmtree(DATABASE.parent)
    assert perfdb("restore", "--yes", "copy.sqlite3").code == 0
    assert ids(perfdb) == everything


def test_what_cannot_be_looked_at_is_not_said_to_be_missing(perfdb: Any, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")  # as a closed folder, which does not stop root
    for command in (("restore",), ("design",)):
        answer = perfdb(*command, str(tmp_path / "a"))
        assert answer.code == 2
        assert "cannot be read: Too many levels" in answer.err


def test_the_database_of_another_program_is_left_alone(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    perfdb("backup", "copy.sqlite3")
    with sqlite3.connect("other.sqlite3") as connection:
        connection.execute("CREATE TABLE songs (name)")
    connection.close()
    before = Path("other.sqlite3").read_bytes()
    answer = perfdb("restore", "--yes", "copy.sqlite3", "-d", "other.sqlite3")
    assert (answer.code, "another program" in answer.err) == (2, True)
    assert Path("other.sqlite3").read_bytes() == before


def test_what_is_no_backup_changes_nothing(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    everything = ids(perfdb)
    Path("notes.txt").write_text("notes " * 1000)
    with sqlite3.connect("other.sqlite3") as connection:
        connection.execute("CREATE TABLE songs (name)")
    connection.close()
    for name in ("notes.txt", "other.sqlite3", "none.sqlite3", str(DATABASE)):
        assert perfdb("restore", name).code == 2
    assert ids(perfdb) == everything


def test_it_does_not_pull_the_database_from_under_a_program(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    perfdb("backup", "copy.sqlite3")
    code = "import sys, perfdb; perfdb.create_tracker().start_pipeline(); print(flush=True); sys.stdin.read()"
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    program.stdout.readline()
    answer = perfdb("restore", "--yes", "copy.sqlite3")
    program.communicate()
    assert (answer.code, "1 program recording" in answer.err) == (2, True)
    assert perfdb("restore", "--yes", "copy.sqlite3").code == 0


def test_a_server_is_not_restored_from_a_file(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    perfdb("backup", "copy.sqlite3")
    answer = perfdb("restore", "--yes", "copy.sqlite3", "-d", "postgresql://me:hunter2@127.0.0.1:1/none")
    assert (answer.code, "perfdb db copy copy.sqlite3" in answer.err) == (2, True)
    assert "hunter2" not in answer.err


@pytest.mark.parametrize(
    "command", [("import", "nosuch"), ("import", "nosuch", "notes.txt"), ("archive", "lake")], ids=" ".join
)
def test_what_has_nothing_to_take_makes_nothing(
    perfdb: Callable[..., Any], folder: Path, command: tuple[str, ...]
) -> None:
    notes = Path("notes.txt")
    notes.write_text("no report")
    assert perfdb(*command).code == 2
    assert list(folder.iterdir()) == [folder / notes]
