"""A history that others may see and not read: one sentence and exit 2 for every verb, a StoreError."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import perfdb
from perfdb.cli import SECTIONS
from perfdb.errors import StoreError
from tests.cli.test_every_command import called, commands

SOMEBODY = 60_001
RECORD = """
import perfdb
for _ in range(3):
    with perfdb.track("etl") as run:
        with run.step("work"):
            pass
"""
VERBS = {
    "sessions": [], "steps": [], "failures": [], "show": [], "chart": ["trend", "-o", "x.png"],
    "report": ["-o", "x.html"], "bottlenecks": [], "measures": [], "trends": [],
    "regressions": [], "explain": [], "compare": [], "violations": [],
    "thresholds": ["suggest"], "baseline": ["list"], "alerts": [], "rules": [], "check": [], "watch": [],
    "mcp": [], "annotate": ["deploy 1.4"], "annotations": [], "common": [], "hits": ["7d"],
    "archive": ["lake"],
    "serve": ["--port", "0"], "tag": ["last", "x"], "untag": ["last", "x"], "delete": ["last", "--yes"],
    "import": ["x.json"], "export": ["--format", "csv"], "prune": ["--older-than", "90d"],
    "backup": ["x.sqlite3"], "restore": ["x.json"], "recover": [], "db": ["check"],
}  # fmt: skip
OTHERS = ("demo", "design", "doctor", "config", "lake")  # make a history of their own, or read none of it

NOT_OF_THE_HOME = {("thresholds",), ("db",), ("db", "copy")}  # groups, and what is told both its databases


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a history; made once."""
    folder = tmp_path_factory.mktemp("recorded")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    subprocess.run([sys.executable, "-c", RECORD], check=True, cwd=folder, env=environ)
    return folder


@pytest.fixture
def project(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give somebody's project: everybody may look at it, and only its owner at the history."""
    folder = shutil.copytree(recorded, tmp_path / "project")
    (folder / "notebooks").mkdir()
    monkeypatch.delenv("PERFDB_HOME")
    monkeypatch.chdir(folder)
    for place in (folder, folder / "notebooks"):
        (place / "x.json").write_text("{}")
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", f"{SOMEBODY}:{SOMEBODY}", folder / "performance_tracking"], check=True)
    else:  # an owner without rights stands for a stranger
        (folder / "performance_tracking").chmod(0)
    return folder


def as_one_without_rights() -> list[str]:
    """Return what a command starts with, so that permissions hold for it though we are root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root, and no setpriv to give its powers up")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--securebits=+noroot,+noroot_locked"]


# All verbs in one program: to start one takes longer than to answer.
ANSWER = """
import contextlib, io, json, sys
from perfdb.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    out, err, code = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as exit:
            code = exit.code
    answers.append([arguments, code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


def answers(*commands: Sequence[str]) -> Iterator[tuple[list[str], int, str, str]]:
    program = [*as_one_without_rights(), sys.executable, "-c", ANSWER, json.dumps(commands)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    yield from json.loads(done.stdout.splitlines()[-1])


def test_row_47_every_verb_is_tried() -> None:
    verbs = {name for commands in SECTIONS.values() for name in commands}
    assert verbs == {*VERBS, *OTHERS}


@pytest.mark.parametrize("place", [".", "notebooks"])
def test_row_47_every_verb_says_so_in_one_sentence(
    project: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / place)
    for arguments, code, out, err in answers(*([verb, *more] for verb, more in VERBS.items())):
        assert (code, out) == (2, ""), (arguments, err)
        (said,) = err.splitlines()
        assert "performance_tracking" in said, arguments
        assert "cannot be read: Permission denied" in said, arguments


@pytest.mark.parametrize("named", [False, True])
def test_row_47_every_command_of_the_tree_says_so_and_exits_with_2(
    project: Path, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named:
        monkeypatch.setenv("PERFDB_HOME", str(project / "performance_tracking"))
    every = [
        ["x.json" if word.startswith("performance_tracking") else word for word in called(path)]
        for path, command in commands()
        if path[0] not in OTHERS and path not in NOT_OF_THE_HOME
    ]
    assert len(every) > len(VERBS)
    for arguments, code, out, err in answers(*every):
        assert (code, out) == (2, ""), (arguments, err)
        assert "Traceback" not in err
        assert len(err.splitlines()) == 1, (arguments, err)


@pytest.mark.parametrize("how", ["PERFDB_HOME", "PERFDB_DATABASE_URL", "-d"])
def test_row_47_however_it_is_named(project: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    home = project / "performance_tracking"
    path = home / "perfdb.sqlite3"
    values = {"PERFDB_HOME": str(home), "PERFDB_DATABASE_URL": f"sqlite:///{path}"}
    if how in values:
        monkeypatch.setenv(how, values[how])
    more = ["-d", str(path)] if how == "-d" else []
    for _, code, _, err in answers(
        ["check", *more], ["sessions", "--json", *more], ["alerts", "list", *more]
    ):
        assert (code, err) == (
            2, "perfdb: performance_tracking/perfdb.sqlite3 cannot be read: Permission denied\n"
        )  # fmt: skip


def test_row_47_the_file_alone_is_closed(project: Path) -> None:
    (project / "performance_tracking").chmod(0o755)
    (project / "performance_tracking" / "perfdb.sqlite3").chmod(0o600 if os.geteuid() == 0 else 0)
    ((_, code, _, err),) = answers(["check"])
    assert (code, len(err.splitlines())) == (2, 1)
    assert "cannot be read: Permission denied" in err


def test_row_47_doctor_finds_it(project: Path) -> None:
    ((_, code, out, _),) = answers(["doctor"])
    assert code == 1
    assert "performance_tracking" in out
    assert "a check failed" not in out


def test_row_47_a_program_gets_a_store_error(project: Path) -> None:
    code = """if True:
    import perfdb, sys
    from perfdb.errors import StoreError
    for open_one in (perfdb.History, lambda: perfdb.History(home="performance_tracking"),
                     lambda: perfdb.History("performance_tracking/perfdb.sqlite3")):
        history = open_one()
        for ask in (history.sessions, history.steps, history.bottlenecks, history.alerts, history.session,
                    history.baselines, history.report, lambda: history.backup("copy.sqlite3")):
            try:
                ask()
            except StoreError as error:
                print(error)
    """
    program = [
        *as_one_without_rights(),
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(program, capture_output=True, text=True, timeout=240)
    assert done.stderr == ""
    assert (
        done.stdout.splitlines()
        == ["performance_tracking/perfdb.sqlite3 cannot be read: Permission denied"] * 24
    )


def test_row_47_a_history_of_ones_own_is_read_beside_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "notebooks")
    subprocess.run([sys.executable, "-c", RECORD], check=True)
    assert len(perfdb.History().sessions()) == 3
    with pytest.raises(StoreError, match="no database"):
        perfdb.History(project / "nowhere.sqlite3").sessions()
