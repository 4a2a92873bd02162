"""The pytest plugin, in pytest runs of its own.

Of: integrations/pytest_plugin.py, integrations/pytest_outcomes.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb import recorder
from perfdb.history.history import History
from perfdb.integrations import pytest_outcomes
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


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load what reads a history first: pytester unloads what a test loads, and NumPy loads only once."""
    home = tmp_path_factory.mktemp("loaded")
    with perfdb.track("p", home=home):
        pass
    recorder.close(30)
    history = History(home=home)
    history.session("last")
    assert history.sessions()["pipeline"].tolist() == ["p"]


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


ANOTHER_TERMINAL = """
    import pytest
    from _pytest.terminal import TerminalReporter

    class Other(TerminalReporter):
        def pytest_runtest_logreport(self, report): pass

    @pytest.hookimpl(trylast=True)
    def pytest_configure(config):
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(Other(config), "terminalreporter")
"""
CLOCK_SET_BACK = """
    import pytest

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(item, call):
        report = yield
        hours = ("setup", "call", "teardown").index(call.when)
        report.start -= 3600 * hours
        report.stop -= 3600 * hours
        return report
"""

OTHER_LOOP = """
    import pytest

    class Loop:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(self, session):
            for item in session.items:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            return True

    def pytest_collection_finish(session):
        session.config.pluginmanager.register(Loop())
"""
FAILED_TAKEN_AWAY = """
    import pytest

    class Taker:
        @pytest.hookimpl(tryfirst=True)
        def HOOK(self):
            stats = terminal.stats
            stats.setdefault("passed", []).extend(stats.pop("failed", ()))
            stats.pop("skipped", None)

    def pytest_collection_finish(session):
        global terminal
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        session.config.pluginmanager.register(Taker())
"""


@pytest.mark.parametrize(
    "conftest",
    [
        *(ANOTHER_TERMINAL, CLOCK_SET_BACK, OTHER_LOOP),
        FAILED_TAKEN_AWAY.replace("HOOK", "pytest_sessionfinish"),
        FAILED_TAKEN_AWAY.replace("HOOK", "pytest_runtest_logstart"),
    ],
    ids=["terminal", "clock", "loop", "taken at the end", "taken meanwhile"],
)
def test_outcomes_are_the_same_whatever_the_terminal_keeps(
    pytester: pytest.Pytester, recorded: Callable[[], Session], conftest: str
) -> None:
    pytester.makeconftest(conftest)
    pytester.makepyfile(test_a=OUTCOMES)
    pytester.runpytest_subprocess("--perfdb")
    session = recorded()
    assert (session.pipeline, len(session.steps)) == ("suite", 5)
    assert {step.step_name.partition("::")[2]: (step.success, step.failed) for step in session.steps} == {
        "test_passes": (True, False),
        "test_fails": (False, True),
        "test_skipped": (False, False),
        "test_expected": (True, False),
        "test_error": (False, True),
    }


def test_what_comes_after_hides_no_failure(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makepyfile(
        test_a="""
        import pytest

        @pytest.fixture
        def skips():
            yield
            pytest.skip("not here")
        @pytest.fixture
        def known():
            yield
            pytest.xfail("known")
        @pytest.fixture
        def breaks():
            yield
            raise ValueError("boom")
        def test_skips(skips): raise KeyError("first")
        def test_known(known): raise KeyError("first")
        def test_breaks(breaks): pytest.skip("no network")
        """
    )
    pytester.runpytest_subprocess("--perfdb")
    session = recorded()
    assert [(step.failed, step.error_message) for step in session.steps] == [
        (True, "KeyError: 'first'"),
        (True, "KeyError: 'first'"),
        (True, "ValueError: boom"),
    ]
    assert session.error_message == "3 of 3 tests failed"


def test_a_report_beside_the_three_of_a_test_counts(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makepyfile(
        test_a="""
        import unittest

        class TestSeveral(unittest.TestCase):
            def test_parts(self):
                for number in range(2):
                    with self.subTest(number=number):
                        assert number == 0

        def test_passes(): pass
        """
    )
    pytester.runpytest_subprocess("--perfdb")
    first, second = recorded().steps
    if hasattr(pytest, "Subtests"):  # older ones report no part of a test
        assert (first.failed, first.error_message) == (True, "assert 1 == 0")
    assert second.success


def test_its_modules_are_imported_without_a_look_for_assertions(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makeconftest(
        """
        import sys, pytest
        pytest.register_assert_rewrite("perfdb")  # as pytest does with an installed plugin

        def pytest_unconfigure(config):
            import perfdb.history.charts  # by pytest again: the import is nobody's of the plugin
            loaders = {
                name: type(module.__loader__).__name__
                for name, module in list(sys.modules.items())
                if name.startswith("perfdb.")
            }
            hook = type(config.pluginmanager.rewrite_hook).__name__
            print("rewritten:", sorted(name for name in loaders if loaders[name] == hook))
            print("recording:", "perfdb.recording.journal" in loaders)
        """
    )
    pytester.makepyfile(test_a="def test_one(): pass")
    result = pytester.runpytest_subprocess("--perfdb", "-s")
    result.stdout.fnmatch_lines(["rewritten: *'perfdb.history.charts'*", "recording: True"])
    assert "perfdb.recording" not in result.stdout.str().partition("rewritten:")[2].partition("\n")[0]
    assert recorded().attributes["tests"] == 1


def test_a_run_of_ordinary_names_does_without_the_search_for_credentials(
    pytester: pytest.Pytester, recorded: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERFDB_HOST", "builder-7")
    pytester.makeconftest(
        """
        import sys, pathlib

        def pytest_unconfigure(config):
            found = [name for name in sys.modules if "perfdb.recording.secret" in name]
            pathlib.Path("loaded").write_text(" ".join(found))
        """
    )
    program = "import sys, pytest; sys.argv[0] = './pytest'; sys.exit(pytest.main())"
    for name, is_loaded in (("test_one", False), ("test_1a2b3c", True)):
        pytester.makepyfile(test_a=f"def {name}(): pass")
        assert pytester.run(sys.executable, "-c", program, "-q", "--perfdb").ret == 0
        assert bool((pytester.path / "loaded").read_text()) is is_loaded
        assert [step.step_name for step in recorded().steps] == [f"test_a.py::{name}"]


def _report(when: str, outcome: str, start: float, **more: Any) -> pytest.TestReport:
    arguments: Any = ("a", ("a", 0, "a"), {}, outcome, "E late", when, (), 1.0, start, start + 1)
    return pytest.TestReport(*arguments, **more)


def test_tries_of_one_test_are_attempts() -> None:
    reports = (
        _report("setup", "passed", 1.0),
        _report("call", "rerun", 2.0),
        _report("setup", "passed", 5.0),
        _report("call", "passed", 6.0),
        _report("teardown", "passed", 7.0),
    )
    test = pytest_outcomes.Test(reports)
    assert test.outcome == "passed"
    assert test.attempts == [
        {"start_time": 1.0, "duration": 2.0, "success": False, "error_message": "E late"}
    ]
    assert test.as_attempt(success=True)["start_time"] == 5.0


def test_a_try_is_judged_by_its_own_reports() -> None:
    first = (
        _report("call", "failed", 1.5, context="a part"),
        _report("setup", "passed", 1.0),
        _report("call", "rerun", 2.0),
        _report("teardown", "skipped", 3.0),
    )
    second = (
        _report("setup", "passed", 5.0),
        _report("call", "passed", 6.0),
        _report("teardown", "passed", 7.0),
    )
    for part, outcome in (("passed", "passed"), ("failed", "failed")):
        test = pytest_outcomes.Test((*first, _report("call", part, 6.5, context="a part"), *second))
        assert test.outcome == outcome
        assert [(each["start_time"], each["duration"]) for each in test.attempts] == [(1.0, 3.0)]
        assert test.as_attempt(success=True)["start_time"] == 5.0
        assert test.duration == 6.0


AGAIN = """
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):  # as pytest-rerunfailures does it
        for last in (False, True):
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            again = not last and any(report.failed for report in reports)
            for report in reports:
                report.outcome = "rerun" if again and report.failed else report.outcome
                item.ihook.pytest_runtest_logreport(report=report)
            if not again:
                return True
"""
CRASHES = """
    def pytest_handlecrashitem(crashitem, report, sched):
        sched.mark_test_pending(crashitem)
        report.outcome = "rerun"
"""
FLAKY = """
    import os, pytest
    from pathlib import Path

    def tries(name):
        with Path(__file__).with_name(name).open("a") as file:
            file.write("x")
        return Path(__file__).with_name(name).stat().st_size

    @pytest.fixture
    def service():
        assert tries("service") > 1
        yield

    def test_a_call(): assert tries("call") > 1
    def test_its_setup(service): pass
    def test_never(): raise ValueError(tries("never"))
    def test_at_once(): pass
    def test_a_worker(): tries("worker") > 1 or "PYTEST_XDIST_WORKER" not in os.environ or os._exit(1)
"""


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")], ids=["one", "workers"])
def test_a_test_that_is_run_again_is_one_step(
    pytester: pytest.Pytester,
    recorded: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # of the run that this test is part of
    pytester.makeconftest(AGAIN + (CRASHES if options else ""))
    pytester.makepyfile(test_a=FLAKY)
    pytester.runpytest_subprocess("--perfdb", *options)
    session = recorded()
    found = {
        step.step_name.partition("::")[2]: (step.success, [each.success for each in step.attempts])
        for step in session.steps
    }
    assert found == {
        "test_a_call": (True, [False, True]),
        "test_its_setup": (True, [False, True]),
        "test_never": (False, [False, False]),
        "test_at_once": (True, []),
        "test_a_worker": (True, [False, True] if options else []),
    }
    assert session.error_message == "1 of 5 tests failed"
    assert all(each.start_time > 1e9 for step in session.steps for each in step.attempts)


def test_the_home_is_the_projects(
    pytester: pytest.Pytester, recorded: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Path(pytester.path / "tests")
    below.mkdir()
    (below / "test_a.py").write_text("def test_one(): pass")
    monkeypatch.chdir(below)
    pytester.runpytest_subprocess("--perfdb")
    assert recorded().steps[0].step_name == "tests/test_a.py::test_one"


ANY_TEST = """
    import unittest, pytest

    class TestOld(unittest.TestCase):
        def test_parts(self):
            with self.subTest("one"):
                self.skipTest("not this part")
            with self.subTest("two"):
                pass
        def test_good(self): pass

    @pytest.mark.parametrize("n", ["token=canary001secret", "é\\n", "x" * 5000, 'quoted"\\\\', "{}"])
    def test_named(n): pass

    def double(n):
        \'\'\'Doubles.

        >>> double(2)
        4
        \'\'\'
        return 2 * n
"""


def test_whatever_a_test_is_and_is_called(pytester: pytest.Pytester, recorded: Callable[[], Session]) -> None:
    pytester.makepyfile(test_a=ANY_TEST)
    pytester.runpytest_inprocess("--perfdb", "--doctest-modules", "--strict-config", "-p", "no:unraisable")
    session = recorded()
    assert len(session.steps) == 8
    assert not any(step.failed for step in session.steps)
    assert any("test_a.double" in step.step_name for step in session.steps)
    assert any('quoted"' in step.step_name for step in session.steps)
    assert "canary001" not in repr(session)


def test_a_doctest_says_what_it_expected(pytester: pytest.Pytester, recorded: Callable[[], Session]) -> None:
    pytester.makepyfile(
        test_a='def one():\n    """\n    >>> 1\n    2\n    """\n'
        'def two():\n    """\n    >>> int(\'x\')\n    2\n    """\n'
    )
    pytester.runpytest_inprocess("--perfdb", "--doctest-modules")
    said = [step.error_message or "" for step in recorded().steps]
    assert said[0] == "Expected: 2 Got: 1"
    assert said[1].startswith("UNEXPECTED EXCEPTION: ValueError(")


def test_tests_at_one_place_keep_their_names(
    pytester: pytest.Pytester, recorded: Callable[[], Session]
) -> None:
    pytester.makepyfile(test_a="def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass")
    pytester.makeconftest(
        """
        import pytest

        @pytest.hookimpl(wrapper=True)
        def pytest_collection_modifyitems(items):
            yield
            items[0].location = items[1].location
        """
    )
    pytester.runpytest_inprocess("--perfdb")
    names = [step.step_name for step in recorded().steps]
    assert names == [f"test_a.py::test_{each}" for each in ("one", "two", "three")]


@pytest.mark.parametrize(
    ("body", "options", "status", "last"),
    [
        ("raise KeyboardInterrupt", (), "interrupted", "interrupted"),
        ("pytest.exit('enough', returncode=7)", (), FAILED, "failed"),
        ("pytest.exit('enough', returncode=0)", (), "interrupted", "interrupted"),
        ("assert 0", ("-x", "-p", "no:terminal", "--api-key", "canary002"), FAILED, "failed"),
        ("os._exit(3)", ("-n", "1", "--max-worker-restart", "0"), FAILED, "failed"),
    ],
)
def test_however_a_run_ends(
    pytester: pytest.Pytester,
    recorded: Callable[[], Session],
    body: str,
    options: tuple[str, ...],
    status: str,
    last: str,
) -> None:
    pytester.makepyfile(
        test_a=f"import os, pytest\ndef test_one(): pass\ndef test_two(): {body}\ndef test_three(): pass",
        conftest="def pytest_addoption(parser): parser.addoption('--api-key')",
    )
    pytester.runpytest_subprocess("--perfdb", *(("-p", "xdist") if "-n" in options else ()), *options)
    session = recorded()
    assert (session.status, len(session.steps)) == (status, 2)
    step = session.steps[1]
    assert ("interrupted" if step.interrupted else "failed" if step.failed else "") == last
    assert session.start_time <= step.start_time <= session.start_time + 600
    assert set(step.additional_data) <= {"setup_s", "call_s", "teardown_s", "outcome"}
    assert "canary" not in repr(session)


@pytest.mark.parametrize(
    ("options", "disabled", "code"),
    [
        (("--collect-only",), "", 0),
        (("--setup-plan",), "", 0),
        (("-k", "nothing"), "", 5),
        (("--perfdb-check",), "1", 0),
        (("broken.py",), "", 2),
    ],
)
def test_where_nothing_runs_or_is_wanted_nothing_is_recorded(
    pytester: pytest.Pytester,
    recorded: Callable[[], Session],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    disabled: str,
    code: int,
) -> None:
    if disabled:
        monkeypatch.setenv("PERFDB_DISABLED", disabled)
    pytester.makepyfile(test_a="def test_one(): pass", broken="import nothing_like_it")
    assert pytester.runpytest_inprocess("--perfdb", *options).ret == code
    assert not list(pytester.path.glob("performance_tracking/**/*.journal"))


def test_a_branch_is_judged_by_another_one(
    pytester: pytest.Pytester, recorded: Callable[[], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where a folder cannot be written to, the run says so and goes on."""
    pytester.makepyfile(test_a="def test_one(): pass")
    git = pytester.mkdir(".git")
    (git / "HEAD").write_text("ref: refs/heads/topic\n")
    first = pytester.runpytest_inprocess("--perfdb-against", "main")
    assert first.ret == 0
    first.stdout.fnmatch_lines(["nothing to judge by: no branch *"])
    (git / "HEAD").write_text("0" * 40 + "\n")
    nowhere = pytester.runpytest_inprocess("--perfdb-against", "main")
    nowhere.stdout.fnmatch_lines(["perfdb: nothing could be compared with main: no branch of git *"])
    assert nowhere.ret == pytest.ExitCode.INTERNAL_ERROR  # a gate that cannot tell is not open
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert pytester.runpytest_inprocess("--perfdb-against", "main").ret == 0
    (git / "HEAD").write_text("ref: refs/heads/topic\n")
    again = pytester.runpytest_inprocess("--perfdb-against", "main")
    again.stdout.fnmatch_lines(["topic against main: 2 runs here, 1 there, *"])
    assert again.ret == 0
    monkeypatch.setenv("PERFDB_HOME", str(pytester.path / "test_a.py"))
    closed = pytester.runpytest_inprocess("--perfdb")
    assert closed.ret == 0
    closed.stdout.fnmatch_lines(["perfdb: *test_a.py*"])
