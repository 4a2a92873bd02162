"""A journal shorter than what the database has of it, or broken: it is said, and all others are taken in.

Of: cli/recover.py.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import psycopg
import pytest
from click.testing import CliRunner

import perfdb
from benchmarks.cluster import Cluster
from perfdb.cli.recover import command
from perfdb.recording.health import Health
from perfdb.recording.journal import decode, encode, frame
from perfdb.recording.quarantine import Quarantine
from perfdb.store.database import Database
from perfdb.worker.recovery import Moved, recover, recover_dead
from tests.once import Run

# Its rows are in the database, and it dies with its journal.
DIES = """
tracker.start_pipeline(session_id='first'); steps(20)
while tracker.health()["backlog_bytes"]: time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""
DIES_LATER = "tracker.start_pipeline(session_id='{}'); steps(5); os.kill(os.getpid(), signal.SIGKILL)"


Program = Callable[..., CompletedProcess[str]]


def record_three(run: Program, folder: Path) -> None:
    """Leave the journal of a dead program, whose rows are in the database, in a home of its own, and in
    another one beside journals of two more, one of which is older by its name and one newer.
    """
    journals = folder / "home" / "journal"
    assert run(DIES).returncode < 0
    shutil.copytree(folder / "home", folder / "alone")
    shutil.move(journals, folder / "later")
    for name in ("second", "third"):
        run(DIES_LATER.format(name))
    (older,) = [path for path in journals.iterdir() if b'"second"' in path.read_bytes()]
    older.rename(older.with_name("0-" + older.name))
    for path in (folder / "later").iterdir():
        shutil.move(path, journals)


@pytest.fixture
def recorded(
    request: pytest.FixtureRequest, run_of_tests: Run, run: Program, database_url: str
) -> tuple[Path, str]:
    """Give what three programs left: a folder, and the database of either kind in which the rows are."""
    kind = database_url.partition(":")[0]
    folder = run_of_tests.folder / f"short-{kind}"

    def make() -> str:
        folder.mkdir()
        url = f"sqlite:///{folder}/perfdb.sqlite3"
        if kind == "postgresql":
            cluster: Cluster = request.getfixturevalue("cluster")
            url = cluster.create()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PERFDB_HOME", str(folder / "home"))
            patch.setenv("PERFDB_DATABASE_URL", url)
            record_three(run, folder)
        if kind == "postgresql":
            wait_until_unused(url)
        return url

    return folder, run_of_tests.once(folder.name, make)


def wait_until_unused(url: str) -> None:
    """Wait until a server has noticed that those who used the database are dead: then it can be copied."""
    server, _, name = url.rpartition("/")
    deadline = time.monotonic() + 60
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        while connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", [name]).fetchone():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def recorded_url(
    request: pytest.FixtureRequest,
    recorded: tuple[Path, str],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Have this test record to a copy of that database; give its URL."""
    _, made = recorded
    if database_url.startswith("sqlite"):
        for each in Path(made.removeprefix("sqlite:///")).parent.glob("perfdb.sqlite3*"):
            shutil.copy(each, Path(database_url.removeprefix("sqlite:///")).parent)
    else:
        database_url = request.getfixturevalue("create_database")(made.rpartition("/")[2])
    monkeypatch.setenv("PERFDB_DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def first(request: pytest.FixtureRequest, recorded: tuple[Path, str], recorded_url: str, home: Path) -> Path:
    """Give the journal of a dead program, whose rows are in a database of either kind."""
    folder, _ = recorded
    (path,) = (folder / "alone" / "journal").glob("*.journal")
    shutil.copytree(folder / ("home" if "others" in request.fixturenames else "alone"), home)
    return home / "journal" / path.name


@pytest.fixture
def others(first: Path) -> None:
    """Let journals of other dead programs lie beside it, some older and some newer by their names."""


def look(home: Path, url: str) -> tuple[Moved, Health]:
    """Look for dead programs as a worker does."""
    health = Health()
    with Database(url, 5.0, health) as database:
        return recover_dead(home / "journal", database, health, lambda _: (0, [])), health


def all_of_the_others(url: str) -> bool:
    found = perfdb.History(url)
    return [len(found.session(name).steps) for name in ("second", "third")] == [5, 5]


def half(content: bytes) -> bytes:
    return content[: content.rfind(b"\n", 0, len(content) // 2) + 1]


CUTS: dict[str, Callable[[bytes], bytes]] = {
    "half": half,
    "in a line": lambda content: half(content) + b"0123",
    "the header": lambda content: content[: content.index(b"\n") + 1],
    "half of the header": lambda content: content[:20],
    "one byte": lambda content: content[:-1],
    "nothing": lambda content: b"",
}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("cut", CUTS)
def test_row_45_a_short_journal_is_put_aside_and_said(
    home: Path, recorded_url: str, first: Path, cut: str
) -> None:
    whole = first.read_bytes()
    first.write_bytes(CUTS[cut](whole))
    moved, health = look(home, recorded_url)
    assert moved.short == [first]
    assert (moved.journals, moved.left) == (3, {})
    assert health.counts["quarantined"] == moved.quarantined >= 1
    assert not health.as_dict()["ok"]
    assert "shorter" in str(health.last_error)
    assert not first.exists()
    assert all_of_the_others(recorded_url)
    kept = perfdb.History(recorded_url).session("first")
    assert (len(kept.steps), kept.status) == (20, "interrupted")


@pytest.mark.usefixtures("others")
def test_row_45_recover_says_it_and_takes_the_lines_again(home: Path, recorded_url: str, first: Path) -> None:
    first.write_bytes(half(first.read_bytes()))
    done = CliRunner().invoke(command)
    assert done.exit_code == 0
    assert f"Put aside {first.name}" in done.output
    assert all_of_the_others(recorded_url)
    assert len(perfdb.History(recorded_url).session("first").steps) == 20
    assert list((home / "journal").glob("*.journal")) == []


def other_version(path: Path) -> None:
    header, rest = path.read_bytes().split(b"\n", 1)
    changed = {**(decode(header) or {}), "version": 2}
    path.write_bytes(frame(encode(changed)) + rest)


def unreadable_note(path: Path) -> None:
    path.with_suffix(".judged").write_text("-17")


def no_place_for_bad_lines(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"damaged\n")
    path.with_suffix(".bad").mkdir()


def pipe_for_bad_lines(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"damaged\n")
    os.mkfifo(path.with_suffix(".bad"))


def link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def pipe_as_note(path: Path) -> None:
    path.with_suffix(".judged").unlink(missing_ok=True)
    os.mkfifo(path.with_suffix(".judged"))


NO_FILE = "it is no file"
BROKEN: dict[Callable[[Path], None], str | None] = {
    other_version: "version 2",
    no_place_for_bad_lines: "directory",
    pipe_for_bad_lines: "not a regular file",
    unreadable_note: None,
    pipe_as_note: None,
    link: NO_FILE,
    folder: NO_FILE,
    pipe: NO_FILE,
    zeros: None,
}


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("breaks", BROKEN, ids=lambda each: each.__name__)
def test_row_45_no_journal_holds_up_the_others(
    home: Path, recorded_url: str, first: Path, breaks: Callable[[Path], None]
) -> None:
    breaks(first)
    reason = BROKEN[breaks]
    moved, health = look(home, recorded_url)
    assert all_of_the_others(recorded_url)
    if reason is None:
        assert moved.left == {}
    else:
        assert list(moved.left) == [first]
        assert reason in moved.left[first]
        assert health.counts.get("skipped", 0) == (reason != NO_FILE)
        assert os.path.lexists(first)
        assert f"Left {first.name}" in CliRunner().invoke(command).output
    assert len(perfdb.History(recorded_url).session("first").steps) == 20


def test_row_45_one_broken_file_of_bad_lines_holds_up_no_other(
    home: Path, recorded_url: str, first: Path
) -> None:
    (home / "journal" / "0.bad").mkdir()
    line = frame(encode({"type": "step", "session_id": "first", "seq": 77, "step_name": "late"}))
    with Quarantine.hold(first.with_suffix(".bad")) as quarantine:
        quarantine.add({"journal_id": first.stem}, [line])
    done = CliRunner().invoke(command)
    assert done.exit_code == 0, done.output
    assert "Left 0.bad" in done.output
    assert "late" in [step.step_name for step in perfdb.History(recorded_url).session("first").steps]


def test_row_45_an_id_that_no_row_holds_as_it_is_comes_to_an_end(home: Path) -> None:
    (home / "journal").mkdir(parents=True)
    header = {"type": "journal", "version": 1, "journal_id": "x" * 5_000 + "\x00"}
    records = [header, {"type": "start", "session_id": "odd", "pipeline": "p", "start_time": 1.0}]
    content = b"".join(frame(encode(record)) for record in records)
    (home / "journal" / "odd.journal").write_bytes(content)
    url = f"sqlite:///{home}/perfdb.sqlite3"
    assert recover(home, url).records == 2
    file = sqlite3.connect(home / "perfdb.sqlite3")
    assert file.execute("SELECT byte_offset FROM journals").fetchall() == [(len(content),)]
    file.close()
    assert perfdb.History(url).session("odd").status == "interrupted"
