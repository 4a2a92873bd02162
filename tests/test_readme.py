"""The README is run: its Python snippets, then its commands, in one folder, in its own order."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.given import SEED_REPORT

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = str(Path(sys.executable).parent)

# Blocks whose every line runs here. What installs is run by .ci/run, in fresh environments.
INSTALLS = re.compile(r"^pip install .*$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", README, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    environment |= {"PATH": BIN + os.pathsep + environment.get("PATH", ""), "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Python of the README has run once."""
    folder = tmp_path_factory.mktemp("readme")
    done = run([sys.executable, "-c", "\n".join(blocks("python"))], folder)
    assert done.returncode == 0, done.stderr
    (folder / "old_reports").mkdir()
    (folder / "old_reports" / "performance_report_20250730_143022.json").write_text(json.dumps(SEED_REPORT))
    return folder


def test_the_python_snippets_record_what_they_say(folder: Path) -> None:
    rows = json.loads(run(["perfdb", "sessions", "--json"], folder).stdout)["rows"]
    assert [row["pipeline"] for row in rows] == ["nightly-etl", "design"]
    assert rows[0]["attributes"]["customer"] == "acme"
    assert rows[1]["product_count"] == 5


def test_every_command_runs(folder: Path) -> None:
    for block in blocks("sh"):
        for line in block.splitlines():
            command = shlex.split(line, comments=True)
            if not command or INSTALLS.match(line):
                continue
            done = run(command, folder)
            assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_the_commands_that_install_are_run_by_ci() -> None:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    install_lines = [line for line in lines if INSTALLS.match(line)]
    assert len(install_lines) == 2
    script = (ROOT / ".ci" / "run").read_text()
    for line in install_lines:
        extra, then = re.fullmatch(r"pip install -e '\.\[(\w+)\]' && (.+)", line).groups()  # type: ignore[union-attr]
        assert re.search(rf"pip install -q -e ['\"]\S*\[{extra}\]['\"] && {then}$", script, re.MULTILINE), (
            line
        )


def test_the_settings_are_understood(tmp_path: Path) -> None:
    for block in blocks("toml"):
        (tmp_path / "perfdb.toml").write_text(block)
        tomllib.loads(block)
        done = run([sys.executable, "-c", "import perfdb.settings as s; print(s.load().fsync)"], tmp_path)
        assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_its_links_and_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
    for name in ("notebooks/01_history.ipynb", "benchmarks/README.md"):
        assert name in README
        assert (ROOT / name).is_file(), name
