"""The workflows of docs/ci.md: their commands run here as on a runner, first on main, then on a branch.

Of: cli/check.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from perfdb.recording.report import to_report, write_report
from perfdb.records import Session, Step
from tests.commands import NOON

pytestmark = pytest.mark.process
DOCS = Path(__file__).resolve().parents[2] / "docs" / "ci.md"


def commands(title: str) -> list[tuple[str, bool]]:
    """Return the scripts of a workflow, and whether each runs only under a condition."""
    found = re.search(rf"^## {title}\n+```yaml\n(.*?)^```", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found is not None
    scripts = []
    for item in re.findall(r"^ +- (.*(?:\n {8,}.*)*)", found[1], re.MULTILINE):
        if (
            script := re.search(
                r"^(?: *run: (?:\|\n)?|(?=pip|for|if \[))(.*)", item, re.DOTALL | re.MULTILINE
            )
        ) is not None:
            scripts.append((script[1], item.startswith("if:")))
    return scripts


def run(script: str, folder: Path, **build: str) -> subprocess.CompletedProcess[str]:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("PERFDB_", "GITHUB_", "CI"))
    }
    environ |= {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + environ["PATH"],
        "PERFDB_HOME": str(folder / "performance_tracking"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p perfdb.integrations.pytest_plugin -p no:cacheprovider",
    }
    script = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("pip install"))
    return subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env=environ | build, capture_output=True, text=True
    )


def test_the_documented_commands_do_what_is_said(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_one(): pass\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("0" * 40)
    steps = commands("GitHub Actions")
    every = [script for script, has_condition in steps if not has_condition]
    asked = [script for script, has_condition in steps if has_condition]
    gitlab = [script for script, _ in commands("GitLab")]
    assert (len(every), len(asked), len(gitlab)) == (3, 1, 3)
    for number in range(10):  # what main has from before
        step = Step(step_name="test_a.py::test_one", start_time=NOON + number, duration=0.001, success=True)
        before = Session(
            session_id=f"main-{number}", pipeline="pytest", start_time=NOON + number, total_duration=0.1,
            status="completed", success=True, mode='{"selection":"all"}', git_branch="main", steps=(step,),
            perfdb_version="0.1.0", attributes={"selection": "all"},
        )  # fmt: skip
        write_report(to_report(before), tmp_path / "old")
    once = "\n".join(["perfdb import old", *every]).replace("1 2 3", "1").replace("90d", "90y")
    done = run(once, tmp_path, GITHUB_REF_NAME="main", GITHUB_REF_TYPE="branch")
    assert done.returncode == 0, done.stderr
    (tmp_path / "test_a.py").write_text("import time\ndef test_one(): time.sleep(0.6)\n")
    summary = tmp_path / "summary.md"
    done = run("\n".join(gitlab).replace("1 2 3", "1"), tmp_path, CI_COMMIT_REF_NAME="topic")
    assert done.returncode == 1, done.stderr
    assert "topic against main: 1 run here, 11 there" in done.stderr
    report = json.loads((tmp_path / "perfdb.json").read_text())
    assert "test_a.py" in [each["location"]["path"] for each in report]
    done = run("\n".join(asked), tmp_path, GITHUB_HEAD_REF="topic", GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 1
    assert "::warning title=perfdb%3A test_a.py%3A%3Atest_one" in done.stdout
    assert summary.read_text().startswith("### perfdb check")
