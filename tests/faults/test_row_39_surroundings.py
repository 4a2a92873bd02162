"""What surrounds a program never stops it: variables, files above, channels, a folder that is gone.

So do descriptors that it closes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.worker.recovery import recover

RECORD = """
import json, sys
import perfdb
for _ in range(2):
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("work"):
        pass
    tracker.end_pipeline()
    tracker.save_performance_report()
print(json.dumps(tracker.health()))
"""
CHANNELS = """
[[alerts.rules]]
name = "slow"
kind = "max"
limit = 0.0

[[alerts.channels]]
name = "team"
kind = "webhook"
url_env = "PERFDB_TEAM_WEBHOOK"
secret_env = "PERFDB_TEAM_SECRET"
"""
OF_KUBERNETES = {  # what a Service called perfdb gives to each container
    "PERFDB_PORT": "tcp://10.96.0.1:8787",
    "PERFDB_PORT_8787_TCP": "tcp://10.96.0.1:8787",
    "PERFDB_PORT_8787_TCP_ADDR": "10.96.0.1",
    "PERFDB_PORT_8787_TCP_PORT": "8787",
    "PERFDB_PORT_8787_TCP_PROTO": "tcp",
    "PERFDB_SERVICE_HOST": "10.96.0.1",
    "PERFDB_SERVICE_PORT": "8787",
}


def run(code: str = RECORD, *arguments: str, cwd: str | bytes | Path = ".", **environ: str) -> Any:
    # as a script has it, without the working folder: CPython 3.13.0 imports no socket from one that is gone
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def cli(*arguments: str, cwd: str | bytes | Path = ".", before: str = "", **environ: str) -> Any:
    code = f"{before}\nimport sys; from perfdb.cli import main; main(sys.argv[1:])"
    return run(code, *arguments, cwd=cwd, **environ)


def recorded(home: Path) -> int:
    return len(perfdb.History(home=home).steps())


def test_row_39_variables_of_others_are_one_warning(home: Path) -> None:
    done = run(**OF_KUBERNETES, PERFDB_MONITER="0")
    health = json.loads(done.stdout)
    assert (health["ok"], recorded(home)) == (True, 2)
    (warning,) = health["warnings"]
    assert all(name in warning for name in OF_KUBERNETES)
    assert "PERFDB_MONITER (did you mean 'PERFDB_MONITOR'?)" in warning
    assert done.stderr == f"perfdb: {warning}\n"


def test_row_39_doctor_finds_the_variables_of_others(home: Path) -> None:
    done = cli("doctor", "--json", **OF_KUBERNETES)
    found = [each for each in json.loads(done.stdout)["rows"] if "PERFDB_PORT" in each["found"]]
    assert done.returncode == 1
    assert [each["state"] for each in found if each["state"] != "fine"] == ["warning"]


def test_row_39_a_name_that_no_encoding_takes(home: Path) -> None:
    environ = {os.fsencode(name): os.fsencode(value) for name, value in os.environ.items()}
    environ[b"PERFDB_\xff"] = b"\xff"
    done = subprocess.run(
        [sys.executable, "-c", RECORD], env=environ, capture_output=True, text=True, timeout=240, check=True
    )
    assert recorded(home) == 2
    assert "PERFDB_\\udcff" in done.stderr


def test_row_39_a_wrong_value_of_our_own_is_an_error_at_once(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECORD],
        env=os.environ | {"PERFDB_WAIT_S": "soon"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 1
    assert "PERFDB_WAIT_S must be a number" in done.stderr


@pytest.mark.parametrize("name", ["perfdb.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    "content", [b"\xff\xfeperfdb", b"perfdb = = 1", None], ids=["bytes", "no TOML", "closed"]
)
def test_row_39_a_file_above_that_cannot_be_read(
    home: Path, tmp_path: Path, name: str, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "perfdb.toml" and content == b"perfdb = = 1":
        pytest.skip("a mistake in perfdb's own file is an error")
    path = tmp_path / name
    if content is None:
        path.symlink_to("/proc/self/mem")  # there, and nobody can read it from its start
        if not os.path.isfile(path):
            pytest.skip("no /proc")
    else:
        path.write_bytes(content)
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    done = run()
    health = json.loads(done.stdout)
    assert (health["ok"], recorded(home)) == (True, 2)
    (warning,) = health["warnings"]
    assert str(path) in warning
    assert done.stderr == f"perfdb: {warning}\n"


def test_row_39_a_file_above_without_a_word_of_us_is_passed_by_in_silence(home: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"[project]\nauthors = '\xff'\n")
    (tmp_path / "below").mkdir()
    assert run(cwd=tmp_path / "below").stderr == ""


@pytest.mark.parametrize("content", [b"pipeline = 'x'\nmoniter = 1", b"a = = 1", b"\xff"])
def test_row_39_mistakes_in_our_own_file_stay_errors(home: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "perfdb.toml").write_bytes(content)
    done = subprocess.run([sys.executable, "-c", RECORD], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "SettingsError: perfdb.toml, line " in done.stderr


def test_row_39_a_channel_whose_variables_are_not_set_is_off(home: Path, tmp_path: Path) -> None:
    (tmp_path / "perfdb.toml").write_text(CHANNELS)
    done = run()
    health = json.loads(done.stdout)
    off = "channel 'team' is off: PERFDB_TEAM_WEBHOOK and PERFDB_TEAM_SECRET are not set"
    assert (health["ok"], health["warnings"], recorded(home)) == (True, [off], 2)
    assert done.stderr == f"perfdb: {off}\n"
    assert len(perfdb.History(home=home).alerts()) == 1, "its rules are judged all the same"
    doctor = json.loads(cli("doctor", "--json").stdout)["rows"]
    assert [each["found"] for each in doctor if each["check"] == "channels"] == [off]
    tested = cli("alerts", "test", "team")
    assert (tested.returncode, tested.stdout) == (2, "")
    assert tested.stderr.splitlines()[-1] == f"perfdb: {off}"


def test_row_39_the_documented_example_of_channels_stops_nothing(home: Path, tmp_path: Path) -> None:
    document = Path(__file__).parents[2] / "docs" / "channels.md"
    (tmp_path / "perfdb.toml").write_text(document.read_text().split("```toml\n")[1].split("```")[0])
    health = json.loads(run().stdout)
    assert [each.split(":")[0] for each in health["warnings"]] == [
        "channel 'team' is off", "channel 'slack' is off",
    ]  # fmt: skip
    assert recorded(home) == 2


@pytest.mark.parametrize(
    "around",
    [
        {"PERFDB_WAIT_S": "soon"}, {"PERFDB_CONFIG": "missing.toml"}, {"PERFDB_DATABASE_URL": "mysql://h/x"},
        {"PERFDB_SHARED_GROUP": "no such group"}, OF_KUBERNETES, CHANNELS, "a = = 1", "moniter = 1", b"\xff",
        "[[alerts.rules]]\nname = 3",
    ],
    ids=str,
)  # fmt: skip
def test_row_39_turned_off_means_that_nothing_around_is_a_mistake(
    home: Path, tmp_path: Path, around: dict[str, str] | str | bytes
) -> None:
    if isinstance(around, str):
        around = around.encode()
    if isinstance(around, bytes):
        (tmp_path / "perfdb.toml").write_bytes(around)
    done = run(PERFDB_DISABLED="1", **(around if isinstance(around, dict) else {}))
    assert done.stderr == ""
    assert json.loads(done.stdout)["ok"]
    assert not home.exists()


def test_row_39_turned_off_a_wrong_argument_is_still_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_DISABLED", "1")
    with pytest.raises(perfdb.SettingsError, match="'monitor' must be true or false"):
        perfdb.create_tracker(monitor="yes")  # type: ignore[arg-type]


GONE = "import os, tempfile; d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)\n"


def test_row_39_a_working_folder_that_was_deleted(home: Path) -> None:
    done = run(GONE + RECORD)
    assert (json.loads(done.stdout)["ok"], done.stderr, recorded(home)) == (True, "", 2)
    for verb in (["sessions"], ["show"], ["check"], ["doctor"], ["trends"]):
        answer = cli(*verb, before=GONE)
        assert answer.returncode == 0, answer.stderr


def test_row_39_a_deleted_working_folder_where_the_home_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERFDB_HOME")
    done = run(GONE + RECORD)
    assert not json.loads(done.stdout)["ok"]
    assert done.stderr.count("the working folder is gone") == 1
    answer = cli("check", before=GONE)
    assert (answer.returncode, len(answer.stderr.splitlines())) == (2, 1)
    assert "the working folder is gone" in answer.stderr


INSTEAD_OF_STREAMS = """
import os
import perfdb
with perfdb.track("p", console=False) as run:
    with run.step("before"):
        pass
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in range(3):  # as a daemon opens its log
        if log != stream:
            os.dup2(log, stream)
    with run.step("after"):
        os.write(1, b"said")
"""


def test_row_39_a_program_that_is_started_without_standard_streams(home: Path, tmp_path: Path) -> None:
    command = 'exec "$0" -P -c "$1" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, INSTEAD_OF_STREAMS], cwd=tmp_path, timeout=240
    )
    assert (done.returncode, (tmp_path / "log").read_text(), recorded(home)) == (0, "said", 2)


def test_row_39_a_test_of_the_hosts_that_replaces_clocks_and_calls_of_the_system(home: Path) -> None:
    done = run("""
        import json
        from unittest import mock
        import perfdb
        names = "time", "monotonic", "localtime", "gmtime", "strftime"
        clocks = [mock.patch(f"time.{name}") for name in names]
        for each in clocks:  # already while it is imported
            each.start()
        tracker = perfdb.create_tracker(console=False, monitor=False)
        tracker.start_pipeline()
        with tracker.step("before"):
            pass
        for says in ({}, {"return_value": 3}, {"side_effect": OSError}):
            with mock.patch("os.write", **says), tracker.step("meanwhile"):
                pass
        with tracker.step("after"):
            pass
        tracker.end_pipeline()
        mock.patch.stopall()
        print(json.dumps(tracker.health()))
    """.replace("\n        ", "\n"))  # fmt: skip
    health = json.loads(done.stdout)
    assert (health["errors"], health["refused"]) == (0, 3)
    names = perfdb.History(home=home).steps()["step_name"]
    assert sorted(names) == ["after", "before"]


def test_row_39_signals_that_the_host_waits_for_are_delivered_to_nobody_else(home: Path) -> None:
    done = run("""
        import os, signal, time
        import perfdb
        with perfdb.track("p", console=True) as run, run.step("s"):
            time.sleep(0.5)  # all threads of ours run
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            for _ in range(20):
                os.kill(os.getpid(), signal.SIGUSR1)
                signal.sigwait({signal.SIGUSR1})
    """.replace("\n        ", "\n"))  # fmt: skip
    assert (done.returncode, recorded(home)) == (0, 1)


def test_row_39_a_program_that_a_callback_starts_takes_signals_as_the_host_does(home: Path) -> None:
    home.parent.joinpath("perfdb.toml").write_text(
        '[[alerts.rules]]\nname = "slow"\nkind = "max"\nlimit = 1e-9\n', encoding="utf-8"
    )
    done = run("""
        import signal, subprocess, sys, threading
        import perfdb
        blocked = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        called = threading.Event()
        @perfdb.on_alert
        def starts(alert):
            subprocess.run([sys.executable, "-c", blocked])
            called.set()
        with perfdb.track("p", console=False):
            pass
        called.wait(60)
    """.replace("\n        ", "\n"), cwd=home.parent)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[<Signals.SIGUSR1: 10>]\n")


@pytest.mark.parametrize(
    "argv", ["del sys.argv", "sys.argv = None", "sys.argv = [b'x', 3]", "sys.argv = ['\\udcff']"]
)
def test_row_39_a_command_line_that_is_none(home: Path, argv: str) -> None:
    done = run(f"import sys; {argv}\n{RECORD}")
    assert (json.loads(done.stdout)["ok"], done.stderr, recorded(home)) == (True, "", 2)


def test_row_39_a_working_folder_whose_name_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PERFDB_HOME")
    folder = os.fsencode(tmp_path) + b"/caf\xe9 50%?#"
    os.mkdir(folder)
    done = run(cwd=folder)
    assert (json.loads(done.stdout)["ok"], done.stderr) == (True, "")
    for verb in (["sessions"], ["show"], ["check"], ["doctor"], ["backup", "copy.sqlite3"]):
        answer = cli(*verb, cwd=folder)
        assert answer.returncode == 0, answer.stderr
    elsewhere = cli("sessions", "--json", PERFDB_HOME=os.fsdecode(folder + b"/performance_tracking"))
    assert len(json.loads(elsewhere.stdout)["rows"]) == 2


def test_row_39_a_host_is_known_by_the_name_that_it_is_given(home: Path) -> None:
    named = (
        "import os; first = os.uname(); os.uname = lambda: os.uname_result((first[0], {!r}, *first[2:]))\n"
    )
    for start in ("5f2c7d0a1b3c", "9e8d7c6b5a40"):
        run(named.format(start) + RECORD, PERFDB_HOST="build-7")
    assert set(perfdb.History(home=home).sessions()["host"]) == {"build-7"}


WITHOUT_SQLALCHEMY = """
import sys
sys.modules["sqlalchemy"] = None
"""
RECORDS = """
import perfdb
tracker = perfdb.create_tracker(console=False)
tracker.start_pipeline(session_id="s")
for i in range(3):
    with tracker.step("work", i=i):
        pass
tracker.end_pipeline()
print(tracker.health()["errors"])
"""
_FROM_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="none is isolated before Python 3.12")


def isolated(end: str) -> str:
    name = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    return (
        f"import {name} as interpreters\nmade = interpreters.create()\n"
        f"interpreters.run_string(made, {RECORDS!r})\n{end}"
    )


@pytest.mark.parametrize(
    "program",
    [
        WITHOUT_SQLALCHEMY + RECORDS,
        WITHOUT_SQLALCHEMY + "import perfdb\nperfdb.prepare()\n" + RECORDS,
        pytest.param(isolated("interpreters.destroy(made)"), marks=_FROM_3_12),
        pytest.param(isolated(""), marks=_FROM_3_12),
    ],
    ids=["broken installation", "prepared", "sub-interpreter", "sub-interpreter that is left"],
)
def test_row_39_where_nothing_speaks_to_the_database_the_journal_keeps_the_rows(
    home: Path, program: str
) -> None:
    done = run(program)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
    assert "takes no rows now, the journal keeps them" in done.stderr
    assert "failed" not in done.stderr
    recover(home, f"sqlite:///{home}/perfdb.sqlite3")
    found = perfdb.History(home=home).session("s")
    assert (found.status, len(found.steps)) == ("completed", 3)


REFUSING = """
import logging, sys, perfdb
raised = {kind}
def refuse(*_, **__):
    raise raised("a record that the host's own code does not take")
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
{place}
with perfdb.track("p", console=False) as run:
    with run.step("s", rows=1):
        pass
perfdb.recorder.close(60)
print([(each.pipeline, each.status) for each in perfdb.History().each_session()], run.health()["errors"])
"""


@pytest.mark.parametrize("kind", ["ValueError", "type('Refused', (Exception,), {})", "SystemExit"])
@pytest.mark.parametrize(
    "place",
    [
        "logging.setLogRecordFactory(refuse)",
        "logging.getLogger().handlers[0].addFilter(refuse)",
        "logging.getLogger().handlers[0].emit = refuse",
    ],
)
def test_row_39_code_of_the_hosts_that_takes_no_log_record_costs_no_row(
    tmp_path: Path, place: str, kind: str
) -> None:
    ended = run(REFUSING.format(place=place, kind=kind), PERFDB_HOME=str(tmp_path))
    assert ended.stdout == "[('p', 'completed')] 0\n", ended.stderr


CLOSING = """
import os, resource, sys
from pathlib import Path
from perfdb.recording.journal import Journal, encode
home, limit = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
journal = Journal.create(home / "journal", {"journal_id": "j", "created": 0.0})
os.closerange(3, 256)
own = [open(home / str(n), "w+b") for n in range(8)]
journal.write(encode({"type": "event"}))
print(sum(len(each.read()) for each in own), len(journal.path.read_bytes().splitlines()))
"""


def test_row_39_a_program_that_closes_its_descriptors_gets_no_line_of_the_journal(tmp_path: Path) -> None:
    assert run(CLOSING, str(tmp_path), "1024").stdout == "0 2\n"


DAEMON = """
import os, random, sys, threading, time
from pathlib import Path
import perfdb
home, chance, recorded, ended = Path(sys.argv[1]), random.Random(int(sys.argv[2])), 0, threading.Event()

def record():
    global recorded
    with perfdb.track("p", console=False) as run:
        for _ in range(3):
            with run.step("s"):
                time.sleep(chance.random() * 0.005)
    recorded += 1

def become_a_daemon():
    for turn in range(4):
        time.sleep(chance.random() / 2)
        os.closerange(512, 1024)  # the journal's; what SQLite has open is lower
        for name in [f"{turn}-{number}" for number in range(12)]:
            os.write(os.open(home / name, os.O_RDWR | os.O_CREAT), name.encode() * 5_000)
    ended.set()

record()
thread = threading.Thread(target=become_a_daemon)
thread.start()
while not ended.is_set():
    record()
thread.join()
record()
perfdb.recorder.close(60)
print(recorded, all((home / f"{turn}-{n}").read_bytes() == f"{turn}-{n}".encode() * 5_000
                    for turn in range(4) for n in range(12)))
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_row_39_a_journal_whose_descriptor_the_program_closes_is_opened_again(
    home: Path, tmp_path: Path, seed: int
) -> None:
    ended = run(DAEMON, str(tmp_path), str(seed))
    number, intact = ended.stdout.split()
    assert intact == "True", ended.stderr
    recover(home, f"sqlite:///{home}/perfdb.sqlite3")
    found = [each.status for each in perfdb.History(home=home).each_session()]
    assert found == ["completed"] * int(number), ended.stderr


def test_row_39_a_journal_needs_no_high_number(tmp_path: Path) -> None:
    code = CLOSING.replace("os.closerange", "# os.closerange")
    assert run(code, str(tmp_path), "256").stdout == "0 2\n"
