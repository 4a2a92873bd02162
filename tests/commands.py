"""A folder to run commands in, sessions to run them on, and `perfdb` itself, in this process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perfdb.cli import main
from perfdb.recording.report import to_report, write_report
from perfdb.records import Attempt, Session, Step
from tests.once import Run

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        answer = json.loads(self.out)
        assert answer["schema_version"] == 1
        rows: list[dict[str, Any]] = answer["rows"]
        return rows


Perfdb = Callable[..., Answer]


def copied_once(run: Run, folder: Path, name: str, record: Callable[[], None]) -> None:
    """Copy into a folder what ``record`` left in its working folder, which it does once for all workers."""

    def make() -> str:
        made = run.folder / name
        made.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(made)
            record()
        return str(made)

    shutil.copytree(run.once(name, make), folder, dirs_exist_ok=True)


def make_session(number: int, **changes: Any) -> Session:
    """Return the number-th of a row of design sessions, one a minute; step durations grow with the number."""
    start = NOON + 60 * number
    steps = (
        Step(step_name="Vision Analysis", start_time=start, duration=2.0 + number, success=True, seq=0),
        Step(
            step_name="Product Search",
            start_time=start + 2 + number,
            duration=1.0,
            success=True,
            seq=1,
            additional_data={"products_found": 6, "parallel_workers": 8},
            attempts=(
                Attempt(start_time=start + 2 + number, duration=0.25, success=False, error_message="429"),
                Attempt(start_time=start + 2.75 + number, duration=0.25, wait=0.5),
            ),
        ),
    )
    values: dict[str, Any] = {
        "session_id": f"2026010{number}_120000_0000000{number}",
        "pipeline": "design",
        "start_time": start,
        "total_duration": 4.0 + number,
        "status": "completed",
        "fast_mode": number % 2 == 1,
        "success": True,
        "product_count": 6,
        "mode": json.dumps({"fast_mode": number % 2 == 1}, separators=(",", ":")),
        "attributes": {"model": "gpt-4o", "number": number},
        "steps": steps,
        "perfdb_version": "0.1.0",
    }
    return Session(**(values | changes))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of every test here: empty, and without settings from outside."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def perfdb(capsys: pytest.CaptureFixture[str]) -> Perfdb:
    """Run a command: perfdb("show", "last")."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, said.out, said.err)

    return run


@pytest.fixture
def recorded(perfdb: Perfdb, folder: Path, run_of_tests: Run) -> list[Session]:
    """Three sessions in the default home: 0 normal, 1 fast, 2 normal and failed."""
    sessions = [
        make_session(0),
        make_session(1),
        make_session(2, status="failed", success=False, error_message="SerpAPI said no"),
    ]

    def record() -> None:
        for session in sessions:
            write_report(to_report(session), Path("reports"))
        assert perfdb("import", "reports").code == 0

    copied_once(run_of_tests, folder, "three sessions", record)
    return sessions
