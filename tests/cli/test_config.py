"""`perfdb config`, and what a shell completes.

Of: cli/completing.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    assert "Vision\\ Analysis" in completed("trends", "--step", "vis", shell="bash")
    assert "design" in completed("sessions", "--pipeline", "d")
    assert recorded[0].session_id in completed("show", "2026")
    assert "last" in completed("explain", "la")
    assert "fast_shift" in completed("alerts", "silence", "--rule", "fast")
    assert "regressions" in completed("regr")


def test_nothing_is_completed_or_said_or_made_where_there_is_nothing(folder: Path) -> None:
    assert completed("trends", "--step", "x").strip() == ""
    assert completed("show", "-d", "nosuch.sqlite3", "x").strip() == ""
    assert list(folder.iterdir()) == []
