"""Programs that are frozen by PyInstaller or packed by zipapp find all they need: rows reach the database.

Of: __pyinstaller/hook-perfdb.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipapp
from pathlib import Path

import pytest

import perfdb
from perfdb.store.schema import HEAD

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys, time
import perfdb

def main():
    with perfdb.track("frozen", monitor=False) as run:
        with run.step("one"):
            pass
    deadline = time.monotonic() + 60
    while run.health()["backlog_bytes"] and time.monotonic() < deadline:
        time.sleep(0.02)
    print(perfdb.__file__, run.health()["database_error"])
    if sys.argv[1:]:
        from perfdb.store.schema import ensure_schema
        ensure_schema(sys.argv[1])

if __name__ == "__main__":
    main()
"""

# What a program that only records does without; the build takes a third of the time without.
NEEDLESS = (
    "IPython PIL _pytest anyio apprise attr attrs cryptography dask deltalake distributed distutils django "
    "duckdb fastapi fsspec genai_prices google h11 httpcore httpcore2 httpx httpx2 hypothesis markdown_it "
    "matplotlib mcp numpy openai opentelemetry pandas pkg_resources playwright pluggy pyarrow pydantic "
    "pygments pytest requests rich ruptures schemathesis scipy setuptools trio urllib3 uvicorn uvloop"
).split()


def run_it(command: list[str], home: Path) -> str:
    done = subprocess.run(command, cwd=home.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("None"), done.stdout
    found = perfdb.History(f"sqlite:///{home}/perfdb.sqlite3").session("last")
    assert [step.step_name for step in found.steps] == ["one"]
    return done.stdout


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    """Give a zip file with perfdb as a wheel holds it; what it needs is installed beside it."""
    app = tmp_path / "app"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "perfdb", app / "perfdb", ignore=leave)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in wheel["force-include"].items():
        shutil.copytree(ROOT / source, app / target, ignore=leave)
    (app / "program.py").write_text(PROGRAM)
    zipapp.create_archive(app, tmp_path / "program.pyz", main="program:main")
    shutil.rmtree(app)
    return tmp_path / "program.pyz"


def test_row_44_a_zipapp(zipped: Path, home: Path) -> None:
    assert "program.pyz/perfdb" in run_it([sys.executable, str(zipped)], home)


def test_row_44_a_zipapp_on_a_server(zipped: Path, home: Path, database_url: str) -> None:
    run_it([sys.executable, str(zipped), database_url], home)
    assert perfdb.History(database_url).sessions().empty


def test_row_44_a_zipapp_prints_what_the_command_line_does(zipped: Path, home: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from perfdb.cli import main; main()"
    for arguments, answer in ((["db", "upgrade"], f"{HEAD} (current)"), (["db", "check"], "as expected")):
        command = [sys.executable, "-c", code, str(zipped), *arguments]
        done = subprocess.run(command, cwd=home.parent, capture_output=True, text=True, timeout=120)
        assert answer in done.stdout, done.stderr


def test_row_44_a_program_frozen_by_pyinstaller(tmp_path: Path, home: Path) -> None:
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed: no program is frozen")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--log-level", "WARN"]
    for name in NEEDLESS:
        command += ["--exclude-module", name]
    environment = {**os.environ, "PYINSTALLER_CONFIG_DIR": str(tmp_path / "config")}
    environment["PYTHONPATH"] = str(ROOT)
    built = subprocess.run(
        [*command, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert built.returncode == 0, built.stderr[-2_000:]
    frozen = tmp_path / "dist" / "program"
    assert list(frozen.rglob("0001_*.py"))
    run_it([str(frozen / "program")], home)
