"""The pytest plugin, in pytest runs of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perfdb.history.history import History
from perfdb.integrations.pytest_plugin import _Test
from perfdb.records import Session
from perfdb.vocabulary import COMPLETED, FAILED

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.process

OUTCOMES = """
    import pytest

    def test_passes(): pass
    def test_fails(): assert 1 == 2
    @pytest.mark.skip(reason="no network")
    def test_skipped(): pass
    @pytest.mark.xfail(reason="known")
    def test_expected(): assert False
    @pytest.fixture
    def broken(): raise ValueError("boom")
    def test_error(broken): pass
"""


@pytest.fixture
def recorded(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Session]:
    """Return what reads the last session of the folder that pytest ran in."""
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    options = "-p perfdb.integrations.pytest_plugin -p no:cacheprovider"
    monkeypatch.setenv("PYTEST_ADDOPTS", f"{options} -W ignore::pytest.PytestAssertRewriteWarning")
    pytester.makeini("[pytest]\nperfdb_pipeline = suite\n")
    return lambda: History(home=pytester.path / "performance_tracking").session("last")


def test_it_is_off_until_it_is_asked_for(pytester: pytest.Pytester, recorded: Callable[[], Session]) -> None:
    pytester.makepyfile(test_a="def test_one(): pass")
    pytester.runpytest_subprocess()
    assert not (pytester.path / "performance_tracking").exists()


def test_each_test_is_a_step_with_its_outcome(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makepyfile(test_a=OUTCOMES)
    result = pytester.runpytest_subprocess("--perfdb")
    result.assert_outcomes(passed=1, failed=1, skipped=1, xfailed=1, errors=1)
    session = recorded()
    result.stdout.fnmatch_lines([f"recorded as {session.session_id}: perfdb show *"])
    assert (session.pipeline, session.status) == ("suite", FAILED)
    assert session.error_message == "2 of 5 tests failed"
    assert session.attributes["tests"] == 5
    said = {
        step.step_name.partition("::")[2]: (step.success, step.failed, step.error_message)
        for step in session.steps
    }
    assert said == {
        "test_passes": (True, False, None),
        "test_fails": (False, True, "assert 1 == 2"),
        "test_skipped": (False, False, "no network"),
        "test_expected": (True, False, "known"),
        "test_error": (False, True, "ValueError: boom"),
    }
    for step in session.steps:
        phases = [step.additional_data.get(f"{when}_s", 0.0) for when in ("setup", "call", "teardown")]
        assert step.duration == pytest.approx(sum(phases), abs=1e-5)


def test_a_part_of_the_tests_is_never_compared_with_all(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makepyfile(test_a="def test_one(): pass\ndef test_two(): pass")
    modes = []
    for arguments in ([], ["-k", "one"], ["test_a.py::test_two"]):
        pytester.runpytest_subprocess("--perfdb", *arguments)
        modes.append((recorded().status, recorded().mode))
    assert modes == [
        (COMPLETED, '{"selection":"all"}'),
        (COMPLETED, '{"selection":"part"}'),
        (COMPLETED, '{"selection":"part"}'),
    ]


def test_the_run_fails_when_a_rule_fires(pytester: pytest.Pytester, recorded: Callable[[], Session]) -> None:
    pytester.makepyfile(test_a="import time\ndef test_one(): time.sleep(0.02)\ndef test_two(): pass")
    pytester.makefile(
        ".toml",
        perfdb='[[alerts.rules]]\nname = "quick"\nkind = "max"\nlimit = 0.01\nstep = "test_a.py::test_one"\n',
    )
    result = pytester.runpytest_subprocess("--perfdb-check", "--perfdb-durations", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["slowest 1 of 2 tests:", "*ms  test_a.py::test_one", "became slower: *"])
    assert pytester.runpytest_subprocess("--perfdb").ret == pytest.ExitCode.OK
    again = pytester.runpytest_subprocess("--perfdb-durations", "1")
    again.stdout.fnmatch_lines(["*ms  test_a.py::test_one (usually *ms)"])


def test_a_gate_that_cannot_tell_is_closed(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makepyfile(test_a="def test_one(): pass")
    pytester.makefile(".toml", perfdb="home = 3\n")
    result = pytester.runpytest_subprocess("--perfdb-check")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["perfdb: beginning failed: SettingsError: *home*"])
    assert pytester.runpytest_subprocess("--perfdb").ret == pytest.ExitCode.OK


def test_workers_of_xdist_are_lanes_of_one_session(
    pytester: pytest.Pytester, recorded: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")  # found as an installed plugin
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:cacheprovider")
    pytester.makepyfile(
        test_a="import perfdb, pytest\n"
        "@pytest.mark.parametrize('n', range(4))\n"
        "def test_one(n): perfdb.current().set(n=n)"
    )
    pytester.runpytest_subprocess("--perfdb", "-n", "2").assert_outcomes(passed=4)
    session = recorded()
    assert {step.lane for step in session.steps} == {0, 1}
    assert session.attributes["workers"] == 2
    assert len(History(home=pytester.path / "performance_tracking").sessions()) == 1


def test_what_had_ended_survives_a_kill(pytester: pytest.Pytester, recorded: Callable[[], Session]) -> None:
    pytester.makepyfile(
        test_a="import os, signal\ndef test_one(): pass\ndef test_two(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    pytester.runpytest_subprocess("--perfdb")
    session = recorded()
    assert session.status == "interrupted"
    assert [step.step_name for step in session.steps] == ["test_a.py::test_one"]


def test_tries_of_one_test_are_attempts() -> None:
    def report(when: str, outcome: str, start: float) -> pytest.TestReport:
        return pytest.TestReport(
            "a", ("a", 0, "a"), {}, outcome, "E late", when, duration=1.0, start=start, stop=start + 1
        )  # type: ignore[arg-type]

    test = _Test(1.0)
    for each in (
        report("setup", "passed", 1.0),
        report("call", "rerun", 2.0),
        report("setup", "passed", 5.0),
        report("call", "passed", 6.0),
        report("teardown", "passed", 7.0),
    ):
        test.add(each)
    assert test.outcome == "passed"
    assert test.attempts == [
        {"start_time": 1.0, "duration": 2.0, "success": False, "error_message": "E late"}
    ]
    assert test.as_attempt(success=True)["start_time"] == 5.0


def test_the_home_is_the_projects(
    pytester: pytest.Pytester, recorded: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Path(pytester.path / "tests")
    below.mkdir()
    (below / "test_a.py").write_text("def test_one(): pass")
    monkeypatch.chdir(below)
    pytester.runpytest_subprocess("--perfdb")
    assert recorded().steps[0].step_name == "tests/test_a.py::test_one"
