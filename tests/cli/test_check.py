"""A branch judged by another one, and what a check says to a CI service.

Of: cli/check_formats.py, alerts/against.py, alerts/checking.py, analysis/branches.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from perfdb.analysis.branches import FASTER, SAME, SLOWER, UNKNOWN, judge
from perfdb.cli.check_formats import MOST_SUMMARY, step_summary
from perfdb.recording.report import to_report, write_report
from perfdb.records import Alert, Session, Step
from tests.commands import NOON

HOSTILE = "tests/test_a.py::test|x[<b>%0A`]\x1b[31m\n::error::"


def run(number: int, branch: str | None, seconds: float, *, step: str = HOSTILE) -> Session:
    start, seconds = NOON + 60 * number, seconds * (1 + number % 3 / 100)
    steps = (
        Step(step_name=step, start_time=start, duration=seconds, success=True, seq=0),
        Step(step_name="other", start_time=start + seconds, duration=1.0, success=True, seq=1),
    )
    return Session(
        session_id=f"20260101_{number:06}_{number:08x}",
        pipeline="tests",
        start_time=start,
        total_duration=seconds + 1.0,
        status="completed",
        success=True,
        git_branch=branch,
        steps=steps,
    )


@pytest.fixture
def record(perfdb: Callable[..., Any], folder: Path) -> Callable[[list[Session]], None]:
    def _record(sessions: list[Session]) -> None:
        for each in sessions:
            write_report(to_report(each), folder / "reports")
        assert perfdb("import", "reports").code == 0

    return _record


def test_a_branch_is_judged_by_the_level_of_another(
    perfdb: Callable[..., Any], folder: Path, record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level of main is that which its last runs have; what a branch did before its last runs is past."""
    sessions = [run(number, "main", 1.0) for number in range(20)]
    sessions += [run(20 + number, "main", 2.0) for number in range(20)]
    sessions += [run(40, "slow", 2.0), *(run(41 + number, "slow", 3.0) for number in range(5))]
    sessions += [run(50 + number, "same", 2.0) for number in range(3)]
    sessions += [run(55, "lone", 2.2), run(56, "lone far", 6.0), run(57, None, 9.0)]
    sessions += [run(60 + number, "unsure", 9.0 if number else 2.0) for number in range(3)]
    record(sessions)
    unsure = perfdb("check", "--against", "main", "--branch", "unsure")
    assert unsure.code == 0
    assert "3 series: 3 same. tests (total) takes " in unsure.err
    assert "%, may be chance)." in unsure.err
    said = perfdb("check", "--against", "main", "--branch", "slow")
    assert said.code == 1
    assert "takes 3.03 s on slow, 2.02 s on main (+50 %)" in said.out
    assert "5 runs here, 20 there" in said.out
    assert "slow against main: 5 runs here, 30 there, 3 series: 2 slower, 1 same." in said.err
    rows = perfdb("check", "--against", "main", "--branch", "slow", "--json").rows
    assert [row["step_name"] for row in rows] == [sessions[0].steps[0].step_name, None, "other"]
    assert [row["verdict"] for row in rows] == ["slower", "slower", "same"]
    assert [(row["value"], row["baseline"]) for row in rows] == [(3.03, 2.02), (4.03, 3.02), (1.0, 1.0)]
    assert [(row["severity"], row["n"], row["baseline_n"]) for row in rows][1:] == [
        ("warning", 5, 20), (None, 5, 30)
    ]  # fmt: skip
    assert perfdb("check", "--against", "main", "--branch", "slow", "--fail-on", "critical").code == 0

    quiet = perfdb("check", "--against", "main", "--branch", "same")
    assert quiet.code == 0
    assert [line.split() for line in quiet.out.splitlines()][:3] == [
        ["tests"],
        ["step", "same", "n", "main", "n", "change", "verdict"],
        ["Total", "3.02", "s", "3", "3.02", "s", "20", "+0", "%", "same"],
    ]
    assert "3 runs here, 30 there, 3 series: 3 same." in quiet.err
    assert "tests (total) takes 3.02 s on same, 3.02 s on main (+0 %)." in quiet.err

    lone = perfdb("check", "--against", "main", "--branch", "lone")
    assert lone.code == 0
    assert "1 run here, 30 there, 3 series: none can be judged yet." in lone.err
    assert perfdb("check", "--against", "main", "--branch", "lone far").code == 1

    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/slow\n")
    assert perfdb("check", "--against", "main").code == 1, "the branch of the working folder"
    assert perfdb("check", "--against", "mian").code == 2
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    assert "against" not in perfdb("check", "--against", "main").err
    assert perfdb("check", "--branch", "main").code == 2
    assert [row["git_branch"] for row in perfdb("sessions", "--branch", "same", "--json").rows] == [
        "same"
    ] * 3
    assert "did you mean 'same'" in perfdb("sessions", "--branch", "smae").err
    assert "branch same" in perfdb("show", sessions[46].session_id).out

    summary = folder / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    lines = perfdb("check", "--against", "main", "--branch", "slow", "--format", "github").out.splitlines()
    assert len(lines) == 2, "a name starts no command of its own"
    assert all(line.startswith("::warning title=perfdb%3A ") for line in lines)
    text = summary.read_text()
    assert text.startswith("### perfdb check\n\nslow against main")
    assert len([line for line in text.splitlines() if line.startswith("| warning")]) == 2
    assert not [each for each in ("<b>", "\x1b") if each in text]
    assert "test\\|x" in text

    perfdb("check", "--against", "main", "--branch", "slow", "--format", "github")
    assert summary.read_text() == f"{text}\n\n{text}"
    summary.write_bytes(b"| a |" + b"x" * (MOST_SUMMARY - 100))
    full = perfdb("check", "--against", "main", "--branch", "slow", "--format", "github")
    assert f"the summary was not written: {summary} is full" in full.err
    assert summary.stat().st_size == MOST_SUMMARY - 95

    assert "| same | other | 1\\.00 s | 1\\.00 s | \\+0 % |" in text
    said = perfdb("check", "--against", "main", "--branch", "same", "--format", "github").out
    assert said.startswith("::notice title=perfdb check::same against main: 3 runs here, 30 there")
    assert "3.02 s on main" in said

    report = json.loads(perfdb("check", "--against", "main", "--branch", "slow", "--format", "gitlab").out)
    assert {"description", "check_name", "fingerprint", "severity", "location"} == set(report[0])
    assert [each["location"]["path"] for each in report] == ["tests/test_a.py", "perfdb.toml"]
    assert len({each["fingerprint"] for each in report}) == 2
    assert {each["severity"] for each in report} == {"major"}

    suite = ElementTree.fromstring(
        perfdb("check", "--against", "main", "--branch", "slow", "--format", "junit").out
    )[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "2")
    assert len(suite.findall("testcase/failure")) == 2
    # as the schema of Ant's reports has it
    assert [each.tag for each in suite] == [
        "properties", "testcase", "testcase", "system-out", "system-err",
    ]  # fmt: skip
    assert {"package", "id", "timestamp", "hostname", "time", "errors"} <= set(suite.attrib)
    quiet_xml = perfdb("check", "--against", "main", "--branch", "lone", "--format", "junit").out
    assert len(ElementTree.fromstring(quiet_xml).findall("testsuite/testcase/skipped")) == 1


BASE = [1.0, 1.02, 0.98, 1.01, 0.99] * 6


@pytest.mark.parametrize(
    ("new", "base", "verdict"),
    [
        ([1.5] * 5, BASE, SLOWER),
        ([1.5] * 3, BASE[:5], SLOWER),
        ([0.5] * 3, BASE, FASTER),
        ([1.01] * 5, BASE, SAME),
        ([1.5, 1.0, 1.0], BASE, SAME),
        ([1.5] * 3, [*BASE[:25], 1.6, 1.6, 1.6, 1.6, 1.6], SAME),
        ([0.004] * 5, [0.001] * 30, SLOWER),
        ([0.6] * 3, [0.0003] * 6, SLOWER),
        ([9.0], BASE, SLOWER),
        ([1.1], BASE, UNKNOWN),
        ([9.0], BASE[:9], UNKNOWN),
        ([1.5] * 5, BASE[:4], UNKNOWN),
        ([9.0, 1.0], BASE, UNKNOWN),
        ([], BASE, UNKNOWN),
        ([0.0] * 3, [0.0] * 9, SAME),
    ],
)
def test_few_runs_tell_what_they_can(new: list[float], base: list[float], verdict: str) -> None:
    assert judge(new, base)[0] == verdict


def test_a_summary_of_many_alerts_stays_below_what_github_takes() -> None:
    alert = Alert(
        rule="against", kind="fast_shift", severity="warning", state="firing", pipeline="tests",
        step_name="é" * 300, metric="duration", mode="{}", direction="up", value=1.0, since_session_id="x",
        since_time=0.0, last_session_id="x", last_time=0.0, opened_at=0.0, updated_at=0.0,
    )  # fmt: skip
    text = step_summary([alert] * 5_000, "many", MOST_SUMMARY)
    assert 900_000 < len(text) <= MOST_SUMMARY
    assert text.decode().rstrip().endswith("more are in the log.")
    assert step_summary([alert], "no room", 10) == b""


@pytest.mark.parametrize(
    ("kind", "values", "row"),
    [
        ("max", (2.7, 1.3, 35.0, 2.0), r"2\.70 s | 1\.30 s | 35 % over limit"),
        ("min", (1.0, 1.3, -50.0, 2.0), r"1\.00 s | 1\.30 s | 50 % under limit"),
        ("fast_shift", (2.6, 1.3, 100.0, None), r"2\.60 s | 1\.30 s | \+100 %"),
        ("error_rate", (0.4, 0.05, 35.0, 0.05), r"40 % | 5 % | \+35 points"),
    ],
)
def test_figures_of_a_summary_have_units_and_say_what_they_are_over(
    kind: str, values: tuple[float, float, float, float | None], row: str
) -> None:
    value, baseline, effect, limit = values
    alert = Alert(
        rule="slow", kind=kind, severity="warning", state="firing", pipeline="etl", step_name="work",
        metric="duration", mode="{}", direction="up", value=value, baseline=baseline, effect=effect,
        limit=limit, since_session_id="x", since_time=0.0, last_session_id="x", last_time=0.0, opened_at=0.0,
        updated_at=0.0,
    )  # fmt: skip
    assert f"| work | {row} |" in step_summary([alert], "one", 10_000).decode()
