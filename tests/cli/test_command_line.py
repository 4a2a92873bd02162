"""The command line as a whole: help, exit codes, streams that end early or speak ASCII.

Of: __main__.py, cli/group.py, recorder.py, cli/paging.py.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import perfdb as package
from perfdb import __version__, recorder
from perfdb.cli import SECTIONS, cli, main
from perfdb.cli.paging import paged
from perfdb.cli.render import colour
from perfdb.recording.journal import encode, frame
from perfdb.recording.quarantine import put_aside
from perfdb.records import Session
from perfdb.store.schema import HEAD
from tests.alerts.conftest import Receiver
from tests.alerts.conftest import receiver as receiver

COMMANDS = [(name, *entry) for commands in SECTIONS.values() for name, entry in commands.items()]


def launch(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run perfdb in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "perfdb", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    "verb",
    [
        "sessions", "steps", "show last", "rules", "trends --by day", "trends --by week --json",
        "trends --by all --csv", "alerts list --state all", "alerts list --state all --json",
    ],
)  # fmt: skip
def test_what_needs_no_frame_does_not_wait_for_pandas(recorded: list[Session], verb: str) -> None:
    code = "import sys; sys.modules['pandas'] = None; from perfdb.cli import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *verb.split()], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux lists them")
@pytest.mark.parametrize(("given", "then"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_a_command_has_numpy_compute_in_one_thread_unless_told_otherwise(
    tmp_path: Path, given: dict[str, str], then: str
) -> None:
    code = """if True:
        import os, sys
        from perfdb.cli import main
        try:
            main(["sessions"])
        except SystemExit:
            import numpy
        numpy.ones(100_000) @ numpy.ones(100_000)
        print(os.environ["OPENBLAS_NUM_THREADS"], len(os.listdir("/proc/self/task")))"""
    # A cluster of another test sets OMP_NUM_THREADS in this process.
    outside = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={**outside, **given}
    )
    assert done.returncode == 0, done.stderr
    limit, threads = done.stdout.split()[-2:]
    assert limit == then
    assert int(threads) <= int(then)


@pytest.mark.parametrize(("name", "module", "text"), COMMANDS)
def test_the_help_says_what_the_command_says(name: str, module: str, text: str) -> None:
    command = importlib.import_module(module).command
    assert isinstance(command, click.Command)
    assert command.get_short_help_str(limit=200) == text
    assert cli.get_command(click.Context(cli), name) is command


def test_every_file_of_commands_is_offered() -> None:
    helpers = {
        "__init__", "alert_story", "check_formats", "completing", "files", "group", "options", "paging",
        "plot", "render", "sorting", "text", "waterfall",
    }  # fmt: skip
    rooms = (
        Path(importlib.import_module(name).__file__).parent for name in ("perfdb.cli", "perfdb.starting")
    )
    files = {path.stem for room in rooms for path in room.glob("*.py")}
    assert files - helpers == {module.rpartition(".")[2] for _, module, _ in COMMANDS}


@pytest.mark.parametrize("name", [name for name, *_ in COMMANDS])
def test_every_command_has_help(perfdb: Callable[..., Any], name: str) -> None:
    answer = perfdb(name, "--help")
    assert answer.code == 0
    assert answer.out.startswith(f"Usage: perfdb {name}")
    assert max(map(len, answer.out.splitlines())) <= 100


def test_version(perfdb: Callable[..., Any]) -> None:
    assert perfdb("--version").out == f"perfdb {__version__} (schema {HEAD})\n"


def test_a_misspelt_command_is_answered_with_the_right_one(perfdb: Callable[..., Any]) -> None:
    answer = perfdb("sesions")
    assert answer.code == 2
    assert "Did you mean 'sessions'?" in answer.err


def test_a_misspelt_setting_is_one_line(perfdb: Callable[..., Any], folder: Path) -> None:
    (folder / "perfdb.toml").write_text("moniter = true\n")
    answer = perfdb("sessions")
    assert answer.code == 2
    assert answer.err == "perfdb: perfdb.toml, line 1: unknown setting 'moniter'; did you mean 'monitor'?\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_poor_encoding_gets_plain_signs(recorded: list[Session], encoding: str) -> None:
    for command in (["sessions"], ["show"], ["steps"]):
        done = launch(*command, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
        assert done.returncode == 0, done.stderr
        assert "\nx " in done.stdout or "#" in done.stdout or "\n+ " in done.stdout
        assert "\\u" not in done.stdout


def test_interrupted_is_130(folder: Path) -> None:
    waiting = (
        "import os, signal, click\n"
        "from perfdb.cli import cli, main\n"
        "cli.get_command = lambda ctx, name: click.Command('show', callback=lambda: "
        "os.kill(os.getpid(), signal.SIGINT))\n"
        "main(['show'])"
    )
    done = subprocess.run([sys.executable, "-c", waiting], capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.strip() == "perfdb: interrupted"


def test_db_upgrade_creates_and_check_approves(perfdb: Callable[..., Any]) -> None:
    missing = perfdb("db", "current")
    assert missing.code == 2
    assert "perfdb db upgrade" in missing.err
    assert "(current)" in perfdb("db", "upgrade").out
    assert "(current)" in perfdb("db", "current").out
    assert perfdb("db", "check").code == 0
    assert perfdb("sessions", "--json").rows == []


def test_db_check_finds_a_table_that_was_changed(perfdb: Callable[..., Any], folder: Path) -> None:
    perfdb("db", "upgrade")
    with sqlite3.connect(folder / "performance_tracking" / "perfdb.sqlite3") as connection:
        connection.execute("ALTER TABLE sessions ADD COLUMN extra TEXT")
    connection.close()
    answer = perfdb("db", "check")
    assert answer.code == 1
    assert "extra" in answer.out


def test_recover_takes_in_what_died(perfdb: Callable[..., Any], folder: Path) -> None:
    assert perfdb("recover").out == "Nothing to recover.\n"
    dying = (
        "import os, perfdb\n"
        "t = perfdb.create_tracker(console=False)\n"
        "t.start_pipeline()\n"
        "with t.step('done'): pass\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", dying])
    answer = perfdb("recover")
    assert answer.code == 0
    assert "1 session ended as interrupted" in answer.out
    (row,) = perfdb("steps", "--json").rows
    assert (row["step_name"], row["status"]) == ("done", "completed")


def test_recover_sends_the_alerts_that_no_program_could(
    perfdb: Callable[..., Any], folder: Path, receiver: Receiver
) -> None:
    perfdb("db", "upgrade")
    (folder / "perfdb.toml").write_text(
        f'wait_s = 0\n[[alerts.rules]]\nname = "slow"\nkind = "max"\nlimit = 0.001\n'
        f'[[alerts.channels]]\nname = "team"\nkind = "webhook"\nurl = "{receiver.url}"\n'
    )
    dying = (
        "import os, time, perfdb\n"
        "t = perfdb.create_tracker(console=False)\n"
        "t.start_pipeline()\n"
        "with t.step('slow one'): time.sleep(0.01)\n"
        "t.end_pipeline()\n"
        "os.kill(os.getpid(), 9)"
    )
    with contextlib.closing(sqlite3.connect(folder / "performance_tracking" / "perfdb.sqlite3")) as lock:
        lock.execute("BEGIN IMMEDIATE")
        subprocess.run([sys.executable, "-c", dying])
    assert "Sent 1 message of alerts." in perfdb("recover").out
    (message,) = receiver.messages
    assert (message["title"], len(message["alerts"])) == ("perfdb: 1 alert in design", 1)
    assert perfdb("recover").out == "Nothing to recover.\n"


def test_recover_tries_what_was_put_aside_once_more(perfdb: Callable[..., Any], folder: Path) -> None:
    tracker = package.create_tracker(console=False, monitor=False)
    session_id = tracker.start_pipeline()
    tracker.end_pipeline()
    recorder.close(60.0)
    step = {"type": "step", "session_id": session_id, "seq": 7, "step_name": "late", "duration": 1.0}
    lines = [frame(encode(step)), b"deadbeef {damaged}\n"]
    put_aside(folder / "performance_tracking" / "journal" / "j.journal", {"journal_id": "j"}, lines)
    assert perfdb("recover").out == (
        "Recovered 1 record from quarantine.\n"
        "Left 1 line in quarantine, damaged or refused again; perfdb doctor shows where.\n"
    )
    assert [row["step_name"] for row in perfdb("steps", "--json").rows] == ["late"]
    assert "1 record" not in perfdb("recover").out


def test_an_error_is_one_line_whatever_the_driver_says(perfdb: Callable[..., Any]) -> None:
    answer = perfdb("sessions", "--database", "postgresql://me:s3cret@127.0.0.1:1/db")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 2, "which database, and why not"
    assert "s3cret" not in answer.err


@pytest.mark.parametrize("database", [None, b"no database"], ids=["none", "damaged"])
def test_an_error_about_another_file_does_not_blame_the_database(
    perfdb: Callable[..., Any], database: bytes | None
) -> None:
    if database is not None:
        Path("performance_tracking").mkdir()
        Path("performance_tracking/perfdb.sqlite3").write_bytes(database)
    Path("perfdb-demo").write_text("notes")
    answer = perfdb("demo")
    assert answer.code == 2
    assert answer.err.splitlines() == [f"perfdb: {Path.cwd() / 'perfdb-demo'}: File exists"]


@pytest.mark.parametrize(
    ("term", "codes"),
    [
        ("xterm", {"red": "31", "yellow": "35", "green": "", "blue": "", "cyan": ""}),
        ("xterm-256color", {"red": "38;5;196", "yellow": "38;5;166", "blue": "38;5;33"}),
    ],
)
def test_colours_can_be_read_on_black_and_on_white(
    monkeypatch: pytest.MonkeyPatch, term: str, codes: dict[str, str]
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for name, code in codes.items():
        assert colour("said", name).removesuffix("\x1b[0m") == (f"\x1b[{code}m" if code else "") + "said"


@pytest.mark.process
def test_an_answer_longer_than_the_screen_is_shown_page_by_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path / 'shown'}\n")
    pager.chmod(0o700)
    for name, value in {"LINES": "5", "COLUMNS": "80", "PAGER": str(pager)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(), encoding="utf-8"))
    for command, lines, is_paged in (("sessions", 9, True), ("sessions", 3, False), ("check", 9, False)):
        screen = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", Terminal(screen, encoding="utf-8"))
        with contextlib.suppress(RuntimeError), paged(["--verbose", command]):
            click.echo(click.style("é\n" * lines, fg="red"), nl=False)
            raise RuntimeError  # what was printed before a failure is shown, too
        sys.stdout.flush()
        there = (tmp_path / "shown").read_text() if is_paged else screen.getvalue().decode()
        assert there.count("é\n") == lines
        assert "\x1b[31m" in there


def fill_the_memory() -> None:
    bytearray(1 << 60)


def load_what_does_not_fit() -> None:
    raise ImportError("conversion.so: failed to map segment from shared object")  # as the loader says it


@pytest.mark.parametrize("call", [fill_the_memory, load_what_does_not_fit])
def test_too_little_memory_is_said_in_a_line(
    call: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "get_command", lambda ctx, name: click.Command(name, callback=call))
    with pytest.raises(SystemExit) as ended:
        main(["sessions"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "perfdb: out of memory: ask for less (--last), or give this process more"
    ]
