"""`perfdb doctor`: it finds what is wrong, says what to do, and changes nothing.

Of: cli/doctor.py, store/upkeep/inspection.py.
"""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

import perfdb as package
from perfdb.maintenance import doctor
from perfdb.records import Session
from perfdb.store import models
from perfdb.store.database import Database
from perfdb.store.schema import ensure_schema

HOME = Path("performance_tracking")
DATABASE = HOME / "perfdb.sqlite3"


def needy(answer: Any) -> dict[str, dict[str, Any]]:
    """Return the findings that need a hand, by check; the exit code agrees."""
    found = {row["check"]: row for row in answer.rows if row["state"] in ("warning", "error")}
    assert answer.code == (1 if found else 0)
    assert all(row["advice"] for row in found.values())
    return found


def ask(perfdb: Callable[..., Any], *options: str) -> dict[str, dict[str, Any]]:
    return needy(perfdb("doctor", "--json", *options))


def write(statement: str, **values: Any) -> None:
    database = Database(f"sqlite:///{DATABASE.absolute()}", 5.0)
    with database.writing() as connection:
        connection.execute(text(statement), values)
    database.forget()


def test_a_new_folder_is_well(perfdb: Callable[..., Any], folder: Path) -> None:
    assert ask(perfdb) == {}
    assert list(folder.iterdir()) == []


def test_a_recorded_history_is_well_and_left_as_it_is(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    before = {path: path.read_bytes() for path in HOME.rglob("*") if path.is_file()}
    assert ask(perfdb) == {}
    assert {path: path.read_bytes() for path in before} == before
    answer = perfdb("doctor")
    assert "3 sessions, the newest of 2026-01-01" in answer.out
    assert "All is well" in answer.err
    assert max(map(len, answer.out.splitlines())) <= 100


def test_settings_that_cannot_be_read_are_no_answer(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "perfdb.toml").write_text("fsnyc = true\n")
    answer = perfdb("doctor")
    assert (answer.code, "did you mean 'fsync'" in answer.err) == (2, True)


def test_settings_that_programs_refuse_are_named(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "x"\nkind = "most"\n[retention]\nkeep = 3\n'
        '[prices.m]\ninput = -1\n[archive]\nlake = "x"\n'
    )
    assert set(ask(perfdb)) == {"rules", "retention", "prices", "archive"}


def test_recording_that_is_off_is_said(
    perfdb: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("PERFDB_DISABLED", "1")
    assert set(ask(perfdb)) == {"recording"}
    assert "overridden by environment variables: PERFDB_DISABLED" in perfdb("doctor").out


def test_what_others_may_read_is_named(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    HOME.chmod(0o755)
    DATABASE.chmod(0o644)
    found = ask(perfdb)
    assert set(found) == {"home", "permissions"}
    assert "perfdb.sqlite3" in found["permissions"]["found"]
    for row in found.values():
        subprocess.run(row["advice"], shell=True, check=True)
    assert ask(perfdb) == {}


def test_a_file_in_the_place_of_the_home(perfdb: Callable[..., Any], folder: Path) -> None:
    HOME.write_text("a file")
    assert ask(perfdb)["home"]["state"] == "error"


def test_a_folder_that_cannot_be_written(
    perfdb: Callable[..., Any], recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)  # root may write everywhere
    assert "runs are not recorded" in ask(perfdb)["home"]["found"]


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("nfs4", "warning"),
        ("CIFS", "warning"),
        ("fuse.sshfs", "warning"),
        ("9p", "warning"),
        ("ext4", "fine"),
    ],
)
def test_network_file_systems_are_warned_of(kind: str, state: str, folder: Path) -> None:
    finding, _ = doctor.look_at_disk(folder, kind)
    assert (finding.check, finding.state) == ("file system", state)
    if state == "warning":
        assert "PERFDB_HOME" in (finding.advice or "")


def test_the_kind_of_a_file_system_is_found_for_a_folder_that_is_not_there_yet(folder: Path) -> None:
    assert doctor.file_system(folder / "no" / "such") == doctor.file_system(folder)
    assert doctor.file_system(Path("/proc/self")) == "proc"


def test_a_disk_that_is_nearly_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for left, state in ((5 << 20, "error"), (500 << 20, "warning"), (50 << 30, "fine")):
        monkeypatch.setattr(doctor, "_room", lambda _, left=left: (left, 1_000_000))
        _, finding = doctor.look_at_disk(folder, "ext4")
        assert (finding.check, finding.state) == ("space", state)
    monkeypatch.setattr(doctor, "_room", lambda _: (50 << 30, 0))
    assert [finding.state for finding in doctor.look_at_disk(folder, "ext4")] == ["fine", "error"]


def test_a_missing_database_is_wrong_only_when_it_was_named(perfdb: Callable[..., Any], folder: Path) -> None:
    assert set(ask(perfdb, "-d", "none.sqlite3")) == {"database"}
    assert list(folder.iterdir()) == []


def test_a_damaged_database(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    with DATABASE.open("r+b") as file:
        file.seek(4096 * (DATABASE.stat().st_size // 8192))
        file.write(b"\xff" * 4096 * 4)
    damaged = DATABASE.read_bytes()
    found = ask(perfdb)
    assert found.keys() & {"integrity", "database"}
    assert DATABASE.read_bytes() == damaged


def test_a_file_that_is_no_database(perfdb: Callable[..., Any], folder: Path) -> None:
    HOME.mkdir(mode=0o700)
    DATABASE.write_text("notes " * 1000)
    DATABASE.chmod(0o600)
    assert "not a SQLite database" in ask(perfdb)["database"]["found"]


def test_a_database_that_somebody_locks_for_good(
    perfdb: Callable[..., Any], recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    from perfdb.store import engine

    monkeypatch.setattr(engine, "_READER_BUSY_TIMEOUT_S", 0.1)
    assert perfdb("backup", "copy.sqlite3").code == 0  # nobody has it open, and it is not in WAL mode
    lock = sqlite3.connect("copy.sqlite3", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        found = ask(perfdb, "-d", "copy.sqlite3")["database"]
    finally:
        lock.close()
    assert "locked" in found["found"]
    assert "fuser" in found["advice"]


def test_other_schemas(perfdb: Callable[..., Any], folder: Path) -> None:
    HOME.mkdir(mode=0o700)
    shutil.copy(Path(__file__).parents[1] / "databases" / "0001.sqlite3", DATABASE)
    DATABASE.chmod(0o600)
    old = DATABASE.read_bytes()
    found = ask(perfdb)
    assert (set(found), "perfdb db upgrade" in found["schema"]["advice"]) == ({"schema"}, True)
    assert DATABASE.read_bytes() == old
    ensure_schema(f"sqlite:///{DATABASE.absolute()}")
    write("UPDATE alembic_version SET version_num = '9999'")
    assert "pip install -U perfdb" in ask(perfdb)["schema"]["advice"]


def test_a_log_that_a_reader_lets_grow(
    perfdb: Callable[..., Any], recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "LONG_LOG_BYTES", 4_000)
    reader = sqlite3.connect(DATABASE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sessions").fetchone()
    write("UPDATE sessions SET product_count = 7")
    try:
        assert set(ask(perfdb)) == {"log"}
    finally:
        reader.close()


def test_a_clock_that_was_set_back(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    write("UPDATE sessions SET start_time = :later", later=time.time() + 7200)
    assert "after now" in ask(perfdb)["clock"]["found"]


def test_what_was_lost_is_said_and_needs_nobody(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    write("UPDATE sessions SET source = 2 WHERE id = 1")
    write("INSERT INTO journals (journal_id, byte_offset, quarantined, updated_at) VALUES ('j', 1, 3, 0)")
    assert ask(perfdb) == {}
    assert "3 lines of journals could not be read, 1 session without a beginning" in perfdb("doctor").out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'step = "Vison Analysis"',
            "no step in the database is called 'Vison Analysis'; did you mean 'Vision Analysis'?",
        ),
        ('pipeline = "desing"', "no pipeline in the database is called 'desing'; did you mean 'design'?"),
        ("mode = { fast_mode = 3 }", "no mode in the database is called"),
        ('metric = "cost_used"', "the measure 'cost_used' was never recorded"),
    ],
)
def test_a_rule_about_what_nothing_is_called(
    perfdb: Callable[..., Any], recorded: list[Session], folder: Path, line: str, said: str
) -> None:
    rule = '[[alerts.rules]]\nname = "typo"\nkind = "max"\nlimit = 1.0\n'
    (folder / "perfdb.toml").write_text(rule, encoding="utf-8")
    assert "rules" not in ask(perfdb)
    (folder / "perfdb.toml").write_text(rule + line, encoding="utf-8")
    found = ask(perfdb)["rules"]
    assert found["state"] == "warning"
    assert found["found"].startswith(f"rule typo: {said}")


def test_messages_that_do_not_arrive(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    database = Database(f"sqlite:///{DATABASE.absolute()}", 5.0)
    now = time.time()
    with database.writing() as connection:
        for channel, state, attempts, next_at in (
            ("dead", "failed", 8, now),
            ("pager", "waiting", 5, now + 600),
            ("quiet", "waiting", 0, now - 600),
            ("fine", "sent", 1, now),
        ):
            connection.execute(
                insert(models.outbox).values(
                    channel=channel,
                    kind="digest",
                    payload={},
                    created_at=now - 700,
                    next_at=next_at,
                    attempts=attempts,
                    state=state,
                    last_error="HTTP 500" if attempts > 1 else None,
                )
            )
    database.forget()
    found = [row for row in perfdb("doctor", "--json").rows if row["check"] == "delivery"]
    assert [(row["found"].split(":")[0], row["state"]) for row in found] == [
        ("dead", "warning"), ("pager", "warning"), ("quiet", "warning"),
    ]  # fmt: skip
    assert "HTTP 500" in found[0]["found"]
    assert "overdue" in found[2]["found"]


RECORDS = """
import os, sys, time, perfdb
tracker = perfdb.create_tracker(console=False)
tracker.start_pipeline(session_id="other")
with tracker.step("work"): pass
print("recorded", flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def test_journals_of_the_dead_and_of_the_living(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", RECORDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "recorded\n"
    assert ask(perfdb) == {}
    assert "1 program recording now" in perfdb("doctor").out
    program.communicate()
    assert program.returncode == -signal.SIGKILL
    found = ask(perfdb)
    assert (set(found), found["journals"]["advice"]) == ({"journals"}, "perfdb recover")
    assert perfdb("recover").code == 0
    assert ask(perfdb) == {}


def test_a_living_program_that_cannot_reach_the_database(
    perfdb: Callable[..., Any], recorded: list[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "STUCK_S", -1e9)  # whatever waits has waited for too long
    lock = sqlite3.connect(DATABASE, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    program = subprocess.Popen(
        [sys.executable, "-c", RECORDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    program.stdout.readline()
    try:
        answer = perfdb("doctor", "--json")
    finally:
        lock.close()
        program.communicate()
    (found,) = [row for row in answer.rows if row["check"] == "journals"]
    assert found["found"].startswith("1 program cannot bring")


def test_damaged_lines_that_were_put_aside(perfdb: Callable[..., Any], recorded: list[Session]) -> None:
    (HOME / "journal").mkdir(mode=0o700, exist_ok=True)
    (HOME / "journal" / "j.bad").touch(mode=0o600)
    assert set(ask(perfdb)) == {"quarantine"}


def test_sessions_of_a_backup_that_ran_when_it_was_made(
    perfdb: Callable[..., Any], recorded: list[Session]
) -> None:
    tracker = package.create_tracker(console=False)
    tracker.start_pipeline(session_id="ran")
    give_up = time.monotonic() + 30
    while '"ran"' not in perfdb("sessions", "--json").out and time.monotonic() < give_up:
        time.sleep(0.05)
    assert perfdb("backup", "copy.sqlite3").code == 0
    tracker.end_pipeline()
    package.recorder.close(60)
    shutil.copy("copy.sqlite3", DATABASE)
    found = ask(perfdb)
    assert set(found) == {"sessions"}
    answer = perfdb("recover", "--left")
    assert "1 session without a journal ended as interrupted" in answer.out
    assert ask(perfdb) == {}
    assert perfdb("sessions", "--json", "--status", "interrupted").rows[0]["session_id"] == "ran"


def test_a_server(perfdb: Callable[..., Any], create_database: Callable[..., str]) -> None:
    url = create_database()
    assert "schema" in ask(perfdb, "-d", url)
    ensure_schema(url)
    answer = perfdb("doctor", "--json", "-d", url)
    assert needy(answer) == {}
    assert {"schema", "clock", "history", "delivery"} <= {row["check"] for row in answer.rows}


def test_a_server_that_is_away_and_a_password_that_stays_hidden(
    perfdb: Callable[..., Any], folder: Path
) -> None:
    answer = perfdb("doctor", "--json", "-d", "postgresql://me:hunter2@127.0.0.1:1/none")
    assert needy(answer).keys() == {"database"}
    assert "hunter2" not in answer.out + answer.err


def test_a_check_that_breaks_off_does_not_end_the_others(
    perfdb: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(doctor, "look_at_disk", broken)
    answer = perfdb("doctor", "--json")
    assert answer.code == 1
    assert {"doctor", "versions"} <= {row["check"] for row in answer.rows}
