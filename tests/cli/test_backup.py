"""`perfdb backup`, and a restore by copying the file back.

Of: store/upkeep/backup.py.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perfdb.records import Session
from perfdb.store.database import Database
from perfdb.store.ingest import insert_sessions

DATABASE = Path("performance_tracking/perfdb.sqlite3")


def ids(perfdb: Callable[..., Any], *options: str) -> list[str]:
    return [row["session_id"] for row in perfdb("sessions", "--json", *options).rows]


def test_a_backup_is_a_private_database_of_one_file(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    answer = perfdb("backup", "copy.sqlite3")
    assert (answer.code, answer.out.split(": ")[1][:21]) == (0, "3 sessions, 6 steps, ")
    assert stat.S_IMODE(Path("copy.sqlite3").stat().st_mode) == 0o600
    assert ids(perfdb, "-d", "copy.sqlite3") == ids(perfdb)
    assert [path.name for path in folder.iterdir() if "copy" in path.name] == ["copy.sqlite3"]


def test_in_a_folder_it_is_named_by_the_time(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    (folder / "backups").mkdir()
    (row,) = perfdb("backup", "backups", "--json").rows
    assert (row["sessions"], row["steps"]) == (3, 6)
    assert [Path(row["path"]).name] == [path.name for path in (folder / "backups").iterdir()]


def test_nothing_is_replaced_without_force(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    Path("copy.sqlite3").write_text("precious")
    answer = perfdb("backup", "copy.sqlite3")
    assert (answer.code, Path("copy.sqlite3").read_text()) == (2, "precious")
    assert "--force" in answer.err
    assert perfdb("backup", "copy.sqlite3", "--force").code == 0
    assert len(ids(perfdb, "-d", "copy.sqlite3")) == 3


def test_never_over_the_database_itself(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    os.link(DATABASE, "same.sqlite3")
    for name in (str(DATABASE), "same.sqlite3"):
        answer = perfdb("backup", name, "--force")
        assert answer.code == 2
        assert "the database itself" in answer.err


@pytest.mark.parametrize("content", [b"", b"no database at all " * 500])
def test_what_is_no_database_is_not_backed_up(
    perfdb: Callable[..., Any], folder: Path, content: bytes
) -> None:
    Path("broken.sqlite3").write_bytes(content)
    answer = perfdb("backup", "copy.sqlite3", "-d", "broken.sqlite3")
    assert answer.code == 2
    assert [path.name for path in folder.iterdir()] == ["broken.sqlite3"]


def test_a_missing_database_or_folder_is_said(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    assert "no database" in perfdb("backup", "copy.sqlite3", "-d", "none.sqlite3").err
    answer = perfdb("backup", "no/such/folder/copy.sqlite3")
    assert (answer.code, "cannot be written" in answer.err) == (2, True)


def damage(path: Path) -> None:
    """Overwrite a page in the middle of the file."""
    with path.open("r+b") as file:
        file.seek(4096 * (path.stat().st_size // 8192))
        file.write(b"\xff" * 4096)


def test_a_damaged_database_gives_no_backup(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    with sqlite3.connect(DATABASE) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    damage(DATABASE)
    answer = perfdb("backup", "copy.sqlite3", "-d", str(DATABASE))
    assert answer.code == 2
    assert "damaged" in answer.err
    assert not [path for path in folder.iterdir() if "copy" in path.name]


def test_writers_go_on_and_the_copy_is_of_one_moment(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    stop = threading.Event()
    written = [0]

    def write() -> None:
        database = Database(f"sqlite:///{DATABASE.absolute()}", 10.0)
        while not stop.is_set():
            written[0] += 1
            with database.writing() as connection:
                values = {"session_id": f"w{written[0]}", "status": "completed"}
                insert_sessions(connection, [replaced(recorded[0], **values)])
        database.forget()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            (row,) = perfdb("backup", "copy.sqlite3", "--force", "--json").rows
            with sqlite3.connect("copy.sqlite3") as copy:
                sessions, steps = (
                    copy.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
                    for name in ("sessions", "steps")
                )
            copy.close()
            assert (sessions, steps) == (row["sessions"], row["steps"])
            assert steps == 2 * sessions
    finally:
        stop.set()
        writer.join(60)
    assert written[0] > 0


def replaced(session: Session, **changes: Any) -> Session:
    import dataclasses

    return dataclasses.replace(session, **changes)


DIES = """
import os, perfdb
tracker = perfdb.create_tracker(console=False)
tracker.start_pipeline(session_id="died")
with tracker.step("last words"): pass
os.kill(os.getpid(), 9)
"""


def test_what_a_dead_program_left_in_its_journal_is_in_the_backup(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    subprocess.run([sys.executable, "-c", DIES], check=False)
    assert perfdb("backup", "copy.sqlite3").code == 0
    assert "died" in ids(perfdb, "-d", "copy.sqlite3")


def test_a_program_that_ends_in_order_leaves_one_file(perfdb: Callable[..., Any], folder: Path) -> None:
    code = (
        "import perfdb\nwith perfdb.track('one'): pass\nperfdb.recorder.close(60)"  # however slow it is here
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {path.name for path in DATABASE.parent.iterdir() if path.is_file()} == {
        "perfdb.sqlite3", *(path.name for path in DATABASE.parent.glob("performance_report_*")),
    }  # fmt: skip


def test_copied_back_it_is_the_history_again_and_journals_are_read_anew(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    assert perfdb("backup", "copy.sqlite3").code == 0
    perfdb("delete", "--yes", recorded[0].session_id, recorded[1].session_id)
    after = "import perfdb\nwith perfdb.track('after'): pass\nperfdb.recorder.close(60)"
    subprocess.run([sys.executable, "-c", after], check=True)  # nobody has the file open when it is replaced
    subprocess.run([sys.executable, "-c", DIES], check=False)
    for name in ("-wal", "-shm"):  # of the program that was killed; they belong to the file that is replaced
        Path(f"{DATABASE}{name}").unlink(missing_ok=True)
    shutil.copy("copy.sqlite3", DATABASE)
    # what was recorded since is in the reports, what was under way in the journal
    assert ids(perfdb) == ["died", *(each.session_id for each in reversed(recorded))]
    assert perfdb("db", "check").code == 0


def test_an_older_schema_is_saved_as_it_is(perfdb: Callable[..., Any], folder: Path) -> None:
    old = sorted((Path(__file__).parents[1] / "databases").glob("*.sqlite3"))[0]
    DATABASE.parent.mkdir()
    shutil.copy(old, DATABASE)
    (row,) = perfdb("backup", "copy.sqlite3", "--json").rows
    assert row["schema"] == old.stem
    assert f"{old.stem} (this perfdb uses" in perfdb("db", "current", "-d", "copy.sqlite3").out


def test_a_history_on_a_server_is_backed_up_into_one_file(
    perfdb: Callable[..., Any], recorded: list[Session], create_database: Callable[..., str]
) -> None:
    server = create_database()
    assert perfdb("db", "copy", str(DATABASE), server).code == 0
    (row,) = perfdb("backup", "copy.sqlite3", "-d", server, "--json").rows
    assert (row["sessions"], row["steps"]) == (3, 6)
    assert ids(perfdb, "-d", "copy.sqlite3") == ids(perfdb)


def test_a_file_that_is_mostly_a_hole_is_not_copied(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path
) -> None:
    """A small file from elsewhere could fill the disk."""
    shutil.copy(DATABASE, "odd.sqlite3")
    with open("odd.sqlite3", "r+b") as file:
        file.seek(28)  # how many pages it says that it has
        file.write((1 << 19).to_bytes(4))
        file.truncate(4096 << 19)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, before[1]))
    try:
        answers = [
            perfdb("backup", "copy.sqlite3", "-d", "odd.sqlite3"),
            perfdb("restore", "odd.sqlite3", "--yes"),
        ]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    for answer in answers:
        assert answer.code == 2
        assert "is never used" in answer.err
    assert not list(folder.rglob("*.part"))
    assert len(ids(perfdb)) == 3
