"""Row 36: emoji on a poor console, a reader that goes away, the C locale: a quiet end, escapes for errors."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import perfdb

EMOJI = "gr\u00f6\u00dfe \U0001f680 \u5bb6 \ud800"
MAIN = "from perfdb.cli import main; main()"
COMMANDS = """
from perfdb.cli import main
for command in ("show --data", "export --format csv"):
    print(f"\\n{command.split()[0]}", flush=True)
    try:
        main(command.split())
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
"""
RECORDING = """
import perfdb
tracker = perfdb.create_tracker(console=True, monitor=False)
tracker.start_pipeline(fast_mode=False)
try:
    with tracker.step("gr\\u00f6\\u00dfe \\U0001f680 \\u5bb6 \\ud800"):
        raise ValueError("\\U0001f4a5 \\ud800")
except ValueError:
    pass
tracker.end_pipeline(success=False)
tracker.save_performance_report()
tracker.print_summary()
"""
POOR = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "cp1252"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


def launch(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, timeout=120)


@pytest.fixture
def recorded() -> None:
    with perfdb.track("etl", note=EMOJI) as run, run.step(EMOJI):
        pass


@pytest.mark.parametrize("environment", POOR, ids=lambda each: "+".join(each))
def test_a_poor_console_gets_escapes_from_the_recording(environment: dict[str, str]) -> None:
    done = launch(RECORDING, **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"[start] Performance tracking started" in done.stdout
    assert b"[failed] Failed step: gr" in done.stdout
    assert b"\\u5bb6" in done.stdout
    assert perfdb.History().session().steps[0].error_message == "ValueError: \U0001f4a5 ?"


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("environment", POOR, ids=lambda each: "+".join(each))
def test_a_poor_console_gets_escapes_from_every_command(environment: dict[str, str]) -> None:
    done = launch(COMMANDS, **environment)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    shown, exported = done.stdout.split(b"\nexport\n")
    assert b"etl" in shown
    assert b"etl" in exported


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("command", ["show", "export --format json", "--help"])
def test_a_reader_that_goes_away_is_no_error(command: str) -> None:
    """The reading end of stdout is closed before perfdb writes to it."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *command.split()], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    os.close(reading)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0
    assert all(line.startswith(b"Read ") for line in said.splitlines())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "command", ["steps --csv", "steps --json", "export --format csv -o -", "report -o -"]
)
def test_an_output_of_which_the_disk_takes_a_part_is_an_error(
    command: str, unbuffered: str, tmp_path: Path
) -> None:
    with perfdb.track("etl") as run:
        for _ in range(100):
            with run.step("load" * 200):
                pass

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    with open(tmp_path / "out", "wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *command.split()],
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            preexec_fn=limited,  # as a disk with so much left
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=120,
        )
    assert done.returncode == 2, done.stderr
    assert b"File too large" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_command_answers_without_a_stream(recorded: None, closed: str) -> None:
    for command, code in (("show", 0), ("sessions --csv", 0), ("show nosuch", 2), ("steps --step nosuch", 2)):
        program = f"{sys.executable} -c '{MAIN}' {command} {closed}"
        done = subprocess.run(["sh", "-c", program], capture_output=True, timeout=120)
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False), (command, done.stderr)


@pytest.mark.parametrize("stream", ["closed", "broken pipe", "full"])
def test_a_recording_goes_on_when_its_output_cannot_be_written(stream: str, home: Path) -> None:
    how = {"closed": ">&-", "broken pipe": "| true", "full": "> /dev/full"}[stream]
    command = f'set -o pipefail; sleep 0.1; "{sys.executable}" -c "$0" {how}'
    buffered = os.environ | {"PYTHONUNBUFFERED": ""}
    done = subprocess.run(["bash", "-c", command, RECORDING], capture_output=True, timeout=120, env=buffered)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list(home.glob("*.json"))) == 1
    assert perfdb.History().session().steps[0].success is False
