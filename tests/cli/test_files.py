"""`-o` and backups: stdout, devices, FIFOs, links; every verb writes in the same way."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import perfdb

PROGRAM = [sys.executable, "-c", "from perfdb.cli import main; main()"]
VERBS = {
    "export json": (("export", "--format", "json"), b'{"schema_version"'),
    "export csv": (("export", "--format", "csv"), b"session_id,"),
    "export parquet": (("export", "--format", "parquet", "--rows", "sessions"), b"PAR1"),
    "report": (("report",), b"<!doctype html>"),
    "chart": (("chart", "trend"), b"\x89PNG"),
    "chart svg": (("chart", "trend", "--format", "svg"), b"<?xml"),
    "backup": (("backup",), b"SQLite format 3\0"),
}
NAMES = {"report": "x.html", "chart": "x.png", "chart svg": "x.svg"}

pytestmark = pytest.mark.usefixtures("recorded")


def given(verb: str, output: str) -> list[str]:
    """Return the arguments that write to the output."""
    arguments, _ = VERBS[verb]
    return [*arguments, output, "--force"] if verb == "backup" else [*arguments, "-o", output]


def run(verb: str, output: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*PROGRAM, *given(verb, output)], stderr=subprocess.PIPE, **options)


WRITERS = ("export csv", "export parquet", "backup")  # who writes: we ourselves, a library, SQLite


@pytest.mark.parametrize(
    ("verb", "output"),
    [
        *((verb, "-") for verb in VERBS),
        *((verb, f"/dev/{each}") for verb in WRITERS for each in ("stdout", "fd/1")),
    ],
)
def test_stdout_gets_the_answer_and_nothing_else(verb: str, output: str, folder: Path) -> None:
    done = run(verb, output, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout[: len(VERBS[verb][1])].lower()) == (0, VERBS[verb][1].lower())
    if verb == "backup":
        Path("copy.sqlite3").write_bytes(done.stdout)
        with closing(sqlite3.connect("copy.sqlite3")) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copy.execute("SELECT count(*) FROM sessions").fetchone() == (3,)
    assert not Path("-").exists()


@pytest.mark.parametrize("verb", WRITERS)
def test_stdout_that_is_a_file_is_written_where_it_stands(verb: str, folder: Path) -> None:
    Path("log").write_text("old ")
    with Path("log").open("ab") as log:
        assert run(verb, "/dev/stdout", stdout=log).returncode == 0
    assert Path("log").read_bytes()[:8].lower() == (b"old " + VERBS[verb][1])[:8].lower()


@pytest.mark.parametrize("verb", VERBS)
def test_a_device_is_written_to_and_stays(verb: str, perfdb: Callable[..., Any], folder: Path) -> None:
    for name, minor, code in (("null", 3, 0), ("full", 7, 2)):
        try:
            os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            os.close(os.open(name, os.O_WRONLY))
        except PermissionError:
            pytest.skip("devices can be made by root only, and not on every disk")
        before = os.lstat(name)
        answer = perfdb(*given(verb, name))
        assert (answer.code, "Traceback" in answer.err) == (code, False), answer.err
        after = os.lstat(name)
        assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
        os.unlink(name)


@pytest.mark.parametrize(
    "named", [(), ("--database", "performance_tracking/perfdb.sqlite3")], ids=["home", "url"]
)
def test_a_full_disk_behind_stdout_is_not_the_databases_fault(named: tuple[str, ...], folder: Path) -> None:
    try:
        os.mknod("full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        output = os.open("full", os.O_WRONLY)
    except PermissionError:
        pytest.skip("devices can be made by root only, and not on every disk")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*PROGRAM, "steps", *named], stdout=output, stderr=subprocess.PIPE, text=True, env=buffered
    )
    os.close(output)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "perfdb: No space left on device"


@pytest.mark.parametrize("verb", VERBS)
def test_a_fifo_is_written_to_and_stays(verb: str, perfdb: Callable[..., Any], folder: Path) -> None:
    os.mkfifo("fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("fifo").read_bytes()))
    reader.start()
    assert perfdb(*given(verb, "fifo")).code == 0
    reader.join()
    assert read[0][: len(VERBS[verb][1])].lower() == VERBS[verb][1].lower()
    assert Path("fifo").is_fifo()


@pytest.mark.parametrize("verb", VERBS)
def test_a_link_is_followed_and_the_file_behind_it_keeps_its_mode(
    verb: str, perfdb: Callable[..., Any], folder: Path
) -> None:
    (folder / "shared").mkdir()
    target = folder / "shared" / NAMES.get(verb, "file")
    target.write_text("old")
    target.chmod(0o644)
    link = Path(f"link{target.suffix}")
    link.symlink_to(target)
    assert perfdb(*given(verb, str(link))).code == 0
    assert (link.is_symlink(), stat.S_IMODE(target.stat().st_mode)) == (True, 0o644)
    assert target.read_bytes()[: len(VERBS[verb][1])].lower() == VERBS[verb][1].lower()
    assert list((folder / "shared").iterdir()) == [target]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "backup"])
def test_a_database_is_not_written_over(verb: str, perfdb: Callable[..., Any], folder: Path) -> None:
    database = Path("performance_tracking/perfdb.sqlite3")
    link = Path(NAMES.get(verb, "link"))
    link.symlink_to(database)
    before = database.read_bytes()
    answer = perfdb(*given(verb, str(link)))
    assert (answer.code, "is a database" in answer.err) == (2, True)
    assert database.read_bytes() == before


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "backup"])
def test_a_log_beside_a_database_is_not_written_over(
    verb: str, ending: str, perfdb: Callable[..., Any], folder: Path
) -> None:
    log = Path(f"performance_tracking/perfdb.sqlite3{ending}")
    log.unlink(missing_ok=True)
    link = Path(NAMES.get(verb, "link"))
    link.symlink_to(log)
    answer = perfdb(*given(verb, str(link)))
    assert (answer.code, "is a log of a database" in answer.err) == (2, True)
    assert not log.exists() or log.read_bytes()[:1] not in (b"{", b"<", b"s", b"P")


def test_a_backup_to_a_device_needs_no_force(perfdb: Callable[..., Any], folder: Path) -> None:
    os.mkfifo("fifo")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("fifo").read_bytes()))
    reader.start()
    assert perfdb("backup", "fifo").code == 0
    reader.join()
    assert read[0].startswith(b"SQLite")


def test_a_report_is_saved_to_what_is_there(folder: Path) -> None:
    from perfdb.history.history import History

    report = History().report("last")
    Path("kept.html").write_text("old")
    Path("kept.html").chmod(0o644)
    Path("link.html").symlink_to("kept.html")
    assert report.save("link.html") == Path("link.html")
    assert Path("link.html").is_symlink()
    assert stat.S_IMODE(Path("kept.html").stat().st_mode) == 0o644
    assert "<html" in Path("kept.html").read_text()


def test_rules_that_are_written_keep_the_settings_file(perfdb: Callable[..., Any], folder: Path) -> None:
    Path("mine.toml").write_text("wait_s = 1.0\n")
    Path("mine.toml").chmod(0o644)
    Path("perfdb.toml").symlink_to("mine.toml")
    report = next(Path("reports").glob("*.json"))
    for number in range(20):
        Path(f"{number}.json").write_text(report.read_text().replace(report.stem[-8:], f"{number:08}"))
    perfdb("import", *(f"{number}.json" for number in range(20)))
    assert "Wrote" in perfdb("thresholds", "suggest", "--write").err
    assert len(Path("mine.toml").read_text().splitlines()) > 1
    assert Path("perfdb.toml").is_symlink()
    assert stat.S_IMODE(Path("mine.toml").stat().st_mode) == 0o644


ON_TERMINAL = [
    "export --format csv",
    "export --format csv --rows sessions",
    "export --format json",
    "export --format otlp",
    "export --format chrome",
    "report -o -",
    "chart waterfall --format svg -o -",
    *(f"{verb} --csv" for verb in ("sessions", "steps", "trends", "failures")),
]


@pytest.mark.parametrize("command", ON_TERMINAL)
def test_no_answer_for_programs_is_obeyed_by_a_terminal(command: str, folder: Path) -> None:
    """What another program gets is as it was recorded; where stdout is a screen, nothing moves a cursor."""
    evil = "\x1b]52;c;ZXZpbA==\x07 \x9b31m \u202e \u2028 \x7f é"
    tracker = perfdb.create_tracker("etl", console=False, monitor=False)
    tracker.start_pipeline(**{evil: evil})
    tracker.step(evil, given=evil).start().stop(error=ValueError(evil))
    tracker.end_pipeline(success=False, error=evil)
    master, slave = pty.openpty()
    with subprocess.Popen([*PROGRAM, *command.split()], stdout=slave, stderr=subprocess.DEVNULL) as process:
        os.close(slave)
        said = b""
        with contextlib.suppress(OSError):  # EIO: nobody writes any more
            while piece := os.read(master, 1 << 16):
                said += piece
    os.close(master)
    assert process.returncode == 0
    text = re.sub("\x1b\\[[0-9;]*m", "", said.decode())
    assert "é" in text or "\\u00e9" in text
    assert re.findall("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e]", text) == []
