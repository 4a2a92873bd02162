"""`perfdb config`, and what a shell completes.

Of: cli/completing.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import perfdb
from perfdb.records import Session
from tests.commands import Perfdb


def test_every_setting_is_shown_with_its_source(perfdb: Perfdb, monkeypatch: pytest.MonkeyPatch) -> None:
    from perfdb.settings import _CHECKS

    Path("perfdb.toml").write_text('pipeline = "mine"\nwait_s = 1.0\n[retention]\nkeep_last = 5\n')
    monkeypatch.setenv("PERFDB_WAIT_S", "3")
    rows = {row["setting"]: row for row in perfdb("config", "--json").rows}
    assert set(rows) == set(_CHECKS)
    assert (rows["pipeline"]["value"], rows["pipeline"]["source"]) == ("mine", "perfdb.toml")
    assert (rows["wait_s"]["value"], rows["wait_s"]["source"]) == (3.0, "PERFDB_WAIT_S")
    assert (rows["monitor"]["value"], rows["monitor"]["source"]) == (True, "default")
    assert rows["retention"]["source"] == "perfdb.toml"


def test_a_long_value_goes_on_in_the_next_line(perfdb: Perfdb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    url = f"sqlite:////{'a-long-name/' * 12}perfdb.sqlite3"
    lines = perfdb("config", "-d", url).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert url in "".join(line[17:].split("  ")[0].strip() for line in lines)


def test_no_password_is_shown(perfdb: Perfdb, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret"
    for url in (
        f"postgresql://me:{secret}@h/db",
        f"postgresql://me:a@{secret}@h/db",
        f"postgresql://h/db?password={secret}",
        f"postgresql://h/db?sslmode=require&token={secret}",
    ):
        assert secret not in perfdb("config", "-d", url).out
        monkeypatch.setenv("PERFDB_DATABASE_URL", url)
        answer = perfdb("config", "--json")
        assert secret not in answer.out
        assert "PERFDB_DATABASE_URL" in answer.out
        monkeypatch.delenv("PERFDB_DATABASE_URL")


@pytest.mark.parametrize("name", ["nosuch.sqlite3", "postgresql://h:abc/db", "postgresql+asyncpg://h/db"])
def test_settings_are_shown_whatever_the_database_is(perfdb: Perfdb, name: str) -> None:
    answer = perfdb("config", "--json", "-d", name)
    (row,) = (row for row in answer.rows if row["setting"] == "database_url")
    assert row["source"] == "--database"
    assert not Path("nosuch.sqlite3").exists()


def completed(*words: str, shell: str = "zsh") -> str:
    """Return what a shell is told for the last of these words."""
    environ = {
        **os.environ,
        "_PERFDB_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(("perfdb", *words)),
        "COMP_CWORD": str(len(words)),
    }
    program = [sys.executable, "-c", "from perfdb.cli import main; main()"]
    done = subprocess.run(program, env=environ, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def test_a_shell_completes_names_and_ids(recorded: list[Session]) -> None:
    assert "Vision Analysis" in completed("trends", "--step", "vis")
    assert "Vision\\\\\\ Analysis" in completed("trends", "--step", "vis", shell="bash")
    assert "design" in completed("sessions", "--pipeline", "d")
    assert recorded[0].session_id in completed("show", "2026")
    assert "last" in completed("explain", "la")
    assert "fast_shift" in completed("alerts", "silence", "--rule", "fast")
    assert "regressions" in completed("regr")


def test_a_shell_completes_modes_and_attributes_with_their_values(folder: Path) -> None:
    with perfdb.track("etl", console=False, monitor=False, customer="acme & sons", shards=4, fast_mode=True):
        pass
    assert '{"fast_mode":true}' in completed("trends", "--mode", "{")
    assert "customer=acme & sons" in completed("sessions", "--attribute", "cust")
    assert "customer=acme & sons" in completed("steps", "--session-attribute", "customer=a")
    assert "shards=4" in completed("trends", "--attribute", "sh")
    assert r"customer\\\=acme" in completed("sessions", "--attribute", "cust", shell="bash")


NAMES_OF_OTHERS = [
    "zz$(touch hit)",
    "zz`touch hit`",
    "zz; touch hit",
    "zz 'a' \"b\" \\ c, d & e | f > hit",
    "zz # ! {a,b} $HOME ~",
    "~root",
]
NOT_COMPLETED = ["zz\nfile,", "zz\nplain,$(touch hit)", "zz\x1b[200~", "zz\u202e", "zz*", "zz[ab]?"]
_COMPLETION = """
eval "$(_PERFDB_COMPLETE=bash_source perfdb)"
COMP_WORDS=(perfdb trends --step '') COMP_CWORD=3
_perfdb_completion perfdb
for line in "${COMPREPLY[@]}"; do eval "printf '%s\\0' $line"; done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_line_that_bash_completes_runs_nothing_and_means_the_name(folder: Path) -> None:
    """What bash has put in is read as if Enter was pressed: no name of others is a command."""
    Path("zzz$(touch hit)").touch()  # bash expands patterns of files
    with perfdb.track("etl", console=False, monitor=False) as run:
        for name in NAMES_OF_OTHERS + NOT_COMPLETED:
            run.step(name).start().stop()
    Path("bin").mkdir()
    program = Path("bin/perfdb")
    program.write_text(f"#!{sys.executable}\nfrom perfdb.cli import main\nmain()\n")
    program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", _COMPLETION], env=environ, capture_output=True, text=True)
    assert done.stderr == ""
    assert sorted(done.stdout.split("\0")[:-1]) == sorted(NAMES_OF_OTHERS)
    assert not Path("hit").exists()


def test_nothing_is_completed_or_said_or_made_where_there_is_nothing(folder: Path) -> None:
    assert completed("trends", "--step", "x").strip() == ""
    assert completed("show", "-d", "nosuch.sqlite3", "x").strip() == ""
    assert list(folder.iterdir()) == []
