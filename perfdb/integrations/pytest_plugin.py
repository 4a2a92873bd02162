"""The pytest plugin: each run a session, each test a step; off until ``--perfdb``.

Only the process that talks to the user records: with xdist the controller, where each worker is a lane.
Nothing becomes the current session of a test. The line of a test is in the journal as soon as it has ended,
and who reads the history next brings it in: no run waits for a database. What fails is said in the summary.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import pytest

TYPE_CHECKING = False  # most runs never use it: nothing is imported before it is asked for
if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from perfdb.alerts.checking import Checked
    from perfdb.integrations.pytest_outcomes import Test
    from perfdb.recording.journal import Journal
    from perfdb.settings import Settings

DEFAULT_PIPELINE = "pytest"
_RECORDER = "perfdb-recorder"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--perfdb`` and what goes with it."""
    group = parser.getgroup("perfdb", "the performance history of the tests (perfdb)")
    group.addoption("--perfdb", action="store_true", help="Record the duration of every test.")
    group.addoption(
        "--perfdb-check",
        action="store_true",
        help="Record, and fail the run when a test, or the run, became slower for good.",
    )
    group.addoption(
        "--perfdb-against",
        metavar="BRANCH",
        help="As --perfdb-check, but judge this branch of git by the last runs on BRANCH.",
    )
    group.addoption(
        "--perfdb-durations",
        type=int,
        metavar="N",
        help="Record, and show the N slowest tests beside their usual durations; 0: all.",
    )
    parser.addini("perfdb", "record the duration of every test", type="bool", default=False)
    parser.addini(
        "perfdb_pipeline", "name of the pipeline that runs are recorded as", default=DEFAULT_PIPELINE
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record where it is asked for, and not in a worker of xdist."""
    asked = _is_gate(config) or config.getoption("--perfdb-durations") is not None
    wanted = asked or config.getoption("--perfdb") or config.getini("perfdb")
    runs_nothing = any(config.getoption(name, False) for name in ("collectonly", "setuponly", "setupplan"))
    if wanted and not hasattr(config, "workerinput") and not runs_nothing:
        config.pluginmanager.register(Recorder(config), _RECORDER)


def _is_gate(config: pytest.Config) -> bool:
    return bool(config.getoption("--perfdb-check") or config.getoption("--perfdb-against"))


class Recorder:
    """Hears what became of each test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._problem: str | None = None
        self._settings: Settings | None = None
        self._journal: Journal | None = None
        self._session_id = ""
        self._plain_step = b""  # the line of a test that passed at once, to be filled in
        self._began = round(time.time(), 6)  # as it is recorded
        self._cpu = time.process_time()
        self._pipeline = config.getini("perfdb_pipeline") or DEFAULT_PIPELINE
        self._top: int | None = config.getoption("--perfdb-durations")
        self._mode = ""
        self._attributes: dict[str, Any] = {}
        self._lanes: dict[object, int] = {}
        self._branch: str | None = None
        self._in_turn = True  # with xdist several run at once
        self._told: dict[str, list[Any]] = {}  # the reports that the terminal keeps, by what it calls them
        self._known = 0  # how many of them are taken in
        self._known_of: Counter[str] = Counter()  # the same by what it calls them, but for
        self._plain = 0  # tests that passed at once since: one "passed", two of no name
        self._open: dict[tuple[str, object], list[pytest.TestReport]] = {}
        # Names that can stand as they are, as in JSON's quotes: of tests in turn by location, because an id
        # is made anew each time that it is asked for, of others by id.
        self._names: Mapping[object, bytes | None] = {}
        self._steps = 0
        self._counts: dict[str, int] = {}  # by outcome; the rest passed
        self._deselected = 0
        self._is_broken_off = False
        self._seconds: dict[str, float] = {}
        self._checked: Checked | None = None
        self._checked_not = ""
        self._usual: dict[str, float] = {}
        # pytest looks at each attribute of a plugin for as long as a short test takes, least at an instance's
        self._hooks = [name for name in vars(Recorder) if name.startswith("pytest_")]
        vars(self).update({name: getattr(self, name) for name in self._hooks})

    def __dir__(self) -> list[str]:
        """Return the hooks."""
        return self._hooks

    # -- the run ---------------------------------------------------------------------

    def pytest_sessionstart(self) -> None:
        """Open a journal."""
        self._in_turn = not self._config.pluginmanager.has_plugin("dsession")
        with self._safely("beginning"):
            from perfdb.recording.health import Health
            from perfdb.settings import load
            from perfdb.worker.journals import Journals

            settings = self._settings = load(cwd=self._config.rootpath)
            if settings.disabled:
                return
            health = Health()
            folder = settings.home / "journal"
            self._journal = Journals(folder, health, fsync=settings.fsync).current((), self._doubt)
            self._problem = health.as_dict()["last_error"]
            if self._journal is not None:
                self._branch = self._journal.header.get("git_branch")
                self._listen()
            stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime(self._began))
            self._session_id = f"{stamp}_{os.urandom(5).hex()}"
            self._plain_step = _PLAIN_STEP.replace(b"SESSION", self._session_id.encode("ascii"))

    def _listen(self) -> None:
        terminal: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if self._in_turn and type(terminal).__module__ == "_pytest.terminal":  # another's may keep others
            self._told = terminal.stats
        else:
            self._listen_to_each()

    def _listen_to_each(self) -> None:
        self._told = {}
        self._config.pluginmanager.register(_Each(self._take_in_one), f"{_RECORDER}-each")

    def _doubt(self) -> str | None:
        from perfdb.search import doubt_about_home
        from perfdb.settings import trust_for

        assert self._settings is not None  # noqa: S101
        return doubt_about_home(self._settings.home, trust_for(self._settings))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count what does not run: a part of the tests is no whole run."""
        self._deselected += len(items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Look at all names at once: to look for credentials in each takes as long as a short test."""
        if not self._in_turn or self._journal is None:
            return
        with self._safely("reading the names of the tests"):
            places = [item.location for item in session.items]
            said = self._learn_names([item.nodeid for item in session.items])
            names: dict[object, bytes | None] = dict(zip(places, said, strict=True))
            if len(names) < len(places):
                for place, number in Counter(places).items():
                    if number > 1:  # tests of several names
                        del names[place]
            self._names = names
        with self._safely("beginning"):
            self._begin()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Do that in xdist's controller, which collects nothing itself."""
        if not self._names:
            with self._safely("reading the names of the tests"):
                self._names = dict(zip(ids, self._learn_names(ids), strict=True))

    def _learn_names(self, names: list[str]) -> Sequence[bytes | None]:
        """Return each as it stands in JSON's quotes; None of one that has to be looked at when it ends."""
        if self._journal is None:
            return [None] * len(names)
        from perfdb.recording.ordinary import is_ordinary
        from perfdb.vocabulary import MAX_NAME

        said = "\n".join(names).encode("ascii", "replace")
        lines = said.split(b"\n")
        if len(lines) == len(names) and is_ordinary(said) and max(map(len, names)) <= MAX_NAME:
            return lines  # as most are, and at a tenth of the cost
        known: dict[str, bytes] = {}
        others: list[str] = []
        for name in names:
            if len(name) <= MAX_NAME and name.isascii() and name.isprintable():
                said = name.encode("ascii")
                if is_ordinary(said):
                    known[name] = said
                else:
                    others.append(name)
        for begin in range(0, len(others), _FEW):
            known |= self._learn(others[begin : begin + _FEW])
        return [known.get(name) for name in names]

    def _learn(self, names: list[str]) -> dict[str, bytes]:
        """Return those of the names that are no ordinary words, but have nothing to withhold either."""
        from perfdb.encoding import to_json
        from perfdb.recording.redaction import redact

        text = "\n".join(names)
        if redact(text) != text:
            return {}
        return {name: to_json(name)[1:-1].encode("ascii") for name in names}

    def pytest_runtest_logfinish(self, location: object) -> None:
        """Write the step of a test by what the terminal keeps of it: one call instead of three."""
        told = self._told
        known = sum(map(len, told.values()))
        if known == self._known:
            return
        try:  # no context manager: it is as dear as all the rest
            if known == self._known + 3 and not self._open:
                passed, others = told.get("passed"), told.get("")
                if (
                    passed
                    and others
                    and len(others) > 1
                    and passed[-1].location is location
                    and self._end_plain(others[-2], passed[-1], others[-1])
                ):
                    self._known = known
                    self._plain += 1
                    return
            self._catch_up(location)
        except Exception as error:
            self._failed("recording a test", error)

    def _catch_up(self, location: object = None) -> None:
        """Take in what the terminal was told since, in that order.

        Once a plugin has taken some of it away, that is only what is of the test at this location.
        """
        known, self._plain = self._known_of + Counter({"passed": self._plain, "": 2 * self._plain}), 0
        found = [(name, reports[known[name] :]) for name, reports in self._told.items()]
        new = [each for _, reports in found for each in reports if isinstance(each, pytest.TestReport)]
        if any(len(self._told.get(name, ())) < number for name, number in known.items()):
            told = (each for reports in self._told.values() for each in reports)
            new = [each for each in told if isinstance(each, pytest.TestReport) and each.location is location]
            self._listen_to_each()
        self._known_of = Counter({name: len(reports) for name, reports in self._told.items()})
        self._known = self._known_of.total()
        runs_again = any(report.outcome not in _OUTCOMES for report in new)
        # by the clock, which may be set back, only where a phase comes twice
        new.sort(key=lambda report: (0 if runs_again else _TURN.get(report.when, 1), report.stop))
        self._sort(new)

    def _take_in_one(self, report: pytest.TestReport) -> None:
        try:
            if self._journal is not None:
                self._sort([report])
        except Exception as error:
            self._failed("recording a test", error)

    def _sort(self, reports: list[pytest.TestReport]) -> None:
        if reports:
            self._begin()
        for report in reports:
            key = report.nodeid, _worker_of(report)
            known = self._open.setdefault(key, self._open.pop((report.nodeid, _CRASHED), []))
            known.append(report)
            if report.when not in _PHASES and _is_rerun(report):
                self._open[report.nodeid, _CRASHED] = self._open.pop(key)  # by whichever worker
            elif report.when == "teardown" and not _runs_again(known):
                del self._open[key]
                if len(known) != 3 or not self._end_plain(*known):
                    self._end_test(report, _test_of(known))

    def pytest_keyboard_interrupt(self) -> None:
        """Note that somebody, or ``pytest.exit``, ended the run, whatever its exit code says."""
        self._is_broken_off = True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Write the end, and look back where that is asked for."""
        gate = _is_gate(self._config)
        if self._journal is not None:
            with self._safely("ending"):
                is_whole = not (self._is_broken_off and exitstatus in _WHOLE)
                status = exitstatus if is_whole else pytest.ExitCode.INTERRUPTED
                self._finish(self._journal, int(status), looks_back=gate or self._top is not None)
        if gate and exitstatus == pytest.ExitCode.OK:
            if self._problem:
                session.exitstatus = pytest.ExitCode.INTERNAL_ERROR  # a gate that cannot tell is not open
            elif self._checked is not None and self._checked.failing:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _finish(self, journal: Journal, exitstatus: int, *, looks_back: bool) -> None:
        self._catch_up()
        if not self._steps and not self._open:
            self._journal = None
            journal.close(remove=True)
            return
        for reports in self._open.values():  # its worker crashed, or somebody ended the run
            test = _test_of(reports)
            called_off = exitstatus == pytest.ExitCode.INTERRUPTED and test.outcome != "failed"
            test.outcome = "interrupted" if called_off else "failed"
            test.message = test.message or "the test did not end"
            self._end_test(reports[-1], test)
        if self._top is not None:
            self._look_back()
        self._write(self._end(exitstatus))
        self._journal = None
        journal.close()
        if looks_back:
            self._judge()

    def _write(self, record: dict[str, Any]) -> None:
        from perfdb.recording.journal import encode

        self._write_line(encode(record))

    def _write_line(self, line: bytes) -> None:
        if self._journal is not None and not self._journal.write(line):
            self._problem = f"the disk refuses records ({self._journal.path}): free some space"

    def _begin(self) -> None:
        if not self._mode:
            with _unrewritten():
                self._write(self._start())

    def _start(self) -> dict[str, Any]:
        from perfdb.recording.environment import command_line
        from perfdb.vocabulary import mode_of

        assert self._settings is not None  # noqa: S101
        arguments = command_line(list(map(str, self._config.invocation_params.args)))
        attributes = {"arguments": arguments, "pytest_version": pytest.__version__}
        workers = self._config.getoption("numprocesses", None) or self._config.getoption("tx", None)
        number = workers if isinstance(workers, int) else len(workers or ())
        # a part of the tests, or other numbers of workers, take another time
        mode: dict[str, Any] = {"selection": "part" if self._is_part() else "all"}
        mode |= {"workers": number} if number else {}
        self._attributes = _cleaned(attributes | mode, self._settings.redact)
        self._mode = mode_of(mode, tuple(mode))
        return {
            "type": "start",
            "session_id": self._session_id,
            "pipeline": _clean_name(self._pipeline),
            "start_time": round(self._began, 6),
            "utc_offset": time.localtime(self._began).tm_gmtoff,
            "fast_mode": None,
            "mode": self._mode,
            "attributes": self._attributes,
        }

    def _is_part(self) -> bool:
        option = self._config.getoption
        asked = any(option(name, None) for name in _CHOOSING)
        named = self._config.args_source is pytest.Config.ArgsSource.ARGS
        return bool(asked or named or self._deselected)

    def _end_plain(
        self, setup: pytest.TestReport, call: pytest.TestReport, teardown: pytest.TestReport
    ) -> bool:
        """Write a test that passed at once, as most do; False when it is none."""
        place = call.location
        if (
            not setup.outcome == call.outcome == teardown.outcome == "passed"
            or setup.when != "setup"
            or call.when != "call"
            or hasattr(call, "wasxfail")
            or not 0 < setup.start <= call.start <= teardown.start
        ):
            return False
        if not self._in_turn:
            name = self._names.get(call.nodeid)
        elif setup.location is place is teardown.location:  # no nodeid: it is made each time
            name = self._names.get(place)
        else:  # a plugin brought them from another process
            return False
        if name is None:
            return False
        of_setup, of_call, of_teardown = setup.duration, call.duration, teardown.duration
        seconds = of_setup + of_call + of_teardown
        line = self._plain_step % (
            self._steps,
            name,
            setup.start * 1e6 + 0.5,  # "%d" cuts
            seconds * 1e6 + 0.5,
            of_setup * 1e6 + 0.5,
            of_call * 1e6 + 0.5,
            of_teardown * 1e6 + 0.5,
        )
        if not self._in_turn:
            line = line.replace(b'"lane":0', b'"lane":%d' % self._lane_of(call), 1)
        self._write_line(line)
        self._steps += 1
        if self._top is not None:
            self._seconds[call.nodeid] = self._seconds.get(call.nodeid, 0.0) + seconds
        return True

    def _end_test(self, report: pytest.TestReport, test: Test) -> None:
        name = _clean_name(report.nodeid)
        data = {f"{when}_s": round(seconds, 6) for when, seconds in test.seconds.items()}
        step = {
            "type": "step",
            "session_id": self._session_id,
            "seq": self._steps,
            "step_name": name,
            "lane": self._lane_of(report),
            "start_time": round(test.start, 6),
            "duration": round(test.duration, 6),
            "success": test.success,
        }
        self._write(step | test.reasons(data))
        self._note(name, test.outcome, test.duration)

    def _lane_of(self, report: pytest.TestReport) -> int:
        return 0 if self._in_turn else self._lanes.setdefault(_worker_of(report), len(self._lanes))

    def _note(self, name: str, outcome: str, duration: float) -> None:
        self._steps += 1
        if outcome != "passed":
            self._counts[outcome] = self._counts.get(outcome, 0) + 1
        if self._top is not None:
            self._seconds[name] = self._seconds.get(name, 0.0) + duration

    def _end(self, exitstatus: int) -> dict[str, Any]:
        status = "completed" if exitstatus in _WHOLE else {2: "interrupted"}.get(exitstatus, "failed")
        failed = self._counts.get("failed", 0)
        number = self._steps - sum(self._counts.values())
        passed = {"passed": number} if number else {}
        said = {"failed": f"{failed} of {self._steps} tests failed", "interrupted": "the run was interrupted"}
        return {
            "type": "end",
            "session_id": self._session_id,
            "total_duration": round(max(0.0, time.time() - self._began), 6),
            "status": status,
            "success": status == "completed",
            "product_count": None,
            "error_message": said.get(status)
            if failed or status != "failed"
            else f"pytest ended with {exitstatus}",
            "attributes": {**self._attributes, "tests": self._steps, **passed, **self._counts},
            # with xdist the tests ran in other processes
            "cpu_s": None if self._lanes else round(time.process_time() - self._cpu, 6),
        }

    # -- what the history says ---------------------------------------------------------

    def _take_in(self, settings: Settings) -> None:
        """Bring in what this run and earlier ones left in their journals."""
        from perfdb.settings import trust_for
        from perfdb.worker.recovery import recover

        recover(
            settings.home,
            settings.database_url,
            alerts=settings.alerts,
            prices=settings.prices,
            trust=trust_for(settings),
        )

    def _look_back(self) -> None:
        """Read what is usual, while this run is not part of it."""
        from perfdb.worker.thread import usual_durations

        assert self._settings is not None  # noqa: S101
        self._take_in(self._settings)
        self._usual = usual_durations(self._settings.database_url, self._pipeline, self._mode)

    def _judge(self) -> None:
        from perfdb.errors import NotFoundError
        from perfdb.history.history import History

        assert self._settings is not None  # noqa: S101
        self._take_in(self._settings)
        history = History(self._settings.database_url)
        against, branch = self._config.getoption("--perfdb-against"), self._branch
        if not against or against == branch:
            self._checked = history.check(since=self._began, pipeline=self._pipeline)
            return
        if branch is None:
            self._problem = (
                f"nothing could be compared with {against}: "
                "no branch of git is checked out, and the build names none"
            )
            return
        try:
            self._checked = history.check(pipeline=self._pipeline, against=against, branch=branch)
        except NotFoundError as error:  # the first runs of a project judge nothing
            self._checked_not = str(error)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say what was recorded, what is slow, and what became slower."""
        with self._safely("the summary"):
            lines = list(self._summary())
            if lines:
                terminalreporter.section("perfdb")
                for line in lines:
                    terminalreporter.line(line)
        if self._problem:
            terminalreporter.line(f"perfdb: {self._problem}")

    def _summary(self) -> Iterator[str]:
        if not self._steps:
            return
        yield f"recorded as {self._session_id}: perfdb show {self._session_id}"
        if self._top is None and self._checked is None and not self._checked_not:
            return
        from perfdb.text import duration_text, inert

        if self._top is not None:
            slowest = sorted(self._seconds.items(), key=lambda pair: -pair[1])
            slowest = slowest[: self._top] if self._top > 0 else slowest
            yield f"slowest {len(slowest)} of {len(self._seconds)} tests:"
            for name, seconds in slowest:
                usual = self._usual.get(name)
                beside = f" (usually {duration_text(usual)})" if usual is not None else ""
                yield f"  {duration_text(seconds):>9}  {inert(name)}{beside}"
        if self._checked_not:
            yield f"nothing to judge by: {inert(self._checked_not)}"
        if self._checked is not None and self._checked.against is not None:
            yield inert(self._checked.against.sentence)
        if self._checked is not None:
            for alert in self._checked.failing:
                yield f"became slower: {inert(alert.message)}"
            if self._checked.against is not None:
                return
            if not self._checked.enough:
                yield self._checked.doubt
            elif not self._checked.failing:
                yield "nothing became slower"

    @contextmanager
    def _safely(self, doing: str) -> Iterator[None]:
        """Keep perfdb's own failures out of the run: the summary says the first."""
        try:
            with _unrewritten():
                yield
        except Exception as error:
            self._failed(doing, error)

    def _failed(self, doing: str, error: Exception) -> None:
        from perfdb.guard import raise_foreign

        raise_foreign(error)
        self._problem = self._problem or f"{doing} failed: {type(error).__name__}: {error}"


_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
_CRASHED = object()  # the worker of a test that is to run again elsewhere
_PHASES = ("setup", "call", "teardown")
_TURN = {"setup": 0, "teardown": 2}
_OUTCOMES = ("passed", "failed", "skipped")
_CHOOSING = ("keyword", "markexpr", "lf", "ignore", "ignore_glob", "deselect", "maxfail", "stepwise")
_FEW = 500  # names that are looked at together
_PLAIN_STEP = (  # whole microseconds
    b'{"type":"step","session_id":"SESSION","seq":%d,"lane":0,"step_name":"%b","start_time":%de-6,'
    b'"duration":%de-6,"success":true,'
    b'"additional_data":{"setup_s":%de-6,"call_s":%de-6,"teardown_s":%de-6}}'
)


class _Each:
    """Hears each report, where the terminal keeps none, or those of several tests that run at once."""

    def __init__(self, take_in: Callable[[pytest.TestReport], None]) -> None:
        self._take_in = take_in

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Pass it on."""
        self._take_in(report)


class _Own:
    """Finds perfdb's modules as Python does."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Return where a module of perfdb is, None for all others."""
        return PathFinder.find_spec(name, path, target) if name.startswith("perfdb.") else None


@contextmanager
def _unrewritten() -> Iterator[None]:
    """Import perfdb past pytest, which would look for assertions in each module of an installed plugin.

    There are none, and it takes three times as long as to import the modules.
    """
    sys.meta_path.insert(0, _Own)
    try:
        yield
    finally:
        with suppress(ValueError):  # a test's plugin put another list there
            sys.meta_path.remove(_Own)


def _test_of(reports: list[pytest.TestReport]) -> Test:
    with _unrewritten():
        from perfdb.integrations.pytest_outcomes import Test

    return Test(reports)


def _clean_name(name: str) -> str:
    """Return a name as it is recorded; only what may need a change loads the search for credentials."""
    from perfdb.recording.ordinary import is_plain

    if is_plain(name):
        return name
    from perfdb.recording.values import clean_name

    return clean_name(name)


def _cleaned(attributes: dict[str, Any], secret_words: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of a run as they are recorded, in the same way."""
    from perfdb.recording.ordinary import is_plain

    if not secret_words and all(is_plain(value) for value in attributes.values() if isinstance(value, str)):
        return attributes
    from perfdb.recording.values import clean

    return clean(attributes, secret_words)


def _runs_again(reports: list[pytest.TestReport]) -> bool:
    """Tell whether a plugin says of the last try that another one follows."""
    for report in reversed(reports):
        if _is_rerun(report):
            return True
        if report.when == "setup":
            break
    return False


def _is_rerun(report: pytest.TestReport) -> bool:
    outcome: str = report.outcome
    return outcome == "rerun"


def _worker_of(report: pytest.TestReport) -> object:
    return getattr(report, "node", None)  # xdist's controller says it
