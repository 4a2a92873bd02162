"""Several processes that record loops of short sessions: they evaluate one at a time, and only what is new.

Of: alerts/transactions.py, store/windows.py, worker/alerting.py.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

import perfdb
from perfdb import recorder
from perfdb.alerts import transactions
from perfdb.alerts.config import DEFAULT_RULES
from perfdb.recording.health import Health
from perfdb.settings import load
from perfdb.store.database import Database, EndingError
from perfdb.store.engine import sqlite_path
from perfdb.testing import ManualClock
from perfdb.worker.alerting import Alerting, Ended
from perfdb.worker.covering import NOTE, Covering, Turn
from perfdb.worker.recovery import recover
from perfdb.worker.thread import Worker

RULE = (
    f"[alerts]\noff = {[rule.name for rule in DEFAULT_RULES]}\n"
    '[[alerts.rules]]\nname = "many"\nkind = "relative"\nstep = "work"\nmetric = "rows"\npercent = 50\n'
    '[[alerts.channels]]\nname = "log"\nkind = "log"\n'
)
# An evaluation says so, and does then what stands in for HOLDS. A session takes no more than milliseconds.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
import perfdb
from perfdb import recorder
from perfdb.alerts import transactions
from perfdb.testing import ManualClock
from perfdb.worker import covering

covering.PATIENCE_S = float(os.environ["PATIENCE"])
really = transactions.evaluate_session

def evaluated(*given, **options):
    Path(f"evaluated-{os.environ['NAME']}").open("a").write(f"{given[1]}\\n")
    HOLDS
    return really(*given, **options)

transactions.evaluate_session = evaluated
turn = covering.Covering._turn

def noted(*given):
    found = turn(*given)
    if found is None:
        Path(f"waits-{os.environ['NAME']}").touch()
    return found

covering.Covering._turn = noted
clock = ManualClock(time.time() - float(os.environ["AGO"]))

def runs(number, rows):
    tracker = clock.drive(perfdb.create_tracker(console=False, monitor=False))
    for _ in range(number):
        tracker.start_pipeline("loop")
        with tracker.step(os.environ["STEP"], rows=rows):
            clock.advance(0.002)
        tracker.end_pipeline()
        clock.advance(0.01)

runs(int(os.environ["RUNS"]), int(os.environ["ROWS"]))
AFTER
"""
IDLES = """
    def works(worker):
        with worker.turn_lock:
            return worker._waiting or worker.alerting.waits

    while any(map(works, recorder._workers.values())): time.sleep(0.01)
"""
STOPS = "os.kill(os.getpid(), signal.SIGSTOP)"
WAITS = "\n    while not Path('go').exists(): time.sleep(0.01)"


class Program:
    """A program that records short runs; ``evaluated`` says of which sessions."""

    def __init__(
        self, name: str, runs: int = 3, rows: int = 300, *, step: str = "work", holds: str = "pass",
        after: str = "", patience: float = 60.0, ago: float = 0.0,
    ) -> None:  # fmt: skip
        code = PROGRAM.replace("HOLDS", holds).replace("AFTER", textwrap.dedent(after))
        given = {
            "NAME": name, "RUNS": runs, "ROWS": rows, "STEP": step, "PATIENCE": patience, "AGO": ago,
            "PERFDB_WAIT_S": 0,
        }  # fmt: skip
        environment = {**os.environ, **{key: str(value) for key, value in given.items()}}
        self.name = name
        self.process = subprocess.Popen([sys.executable, "-c", code], env=environment)

    def ends(self) -> int:
        return self.process.wait(timeout=120)

    @property
    def evaluated(self) -> list[str]:
        path = Path(f"evaluated-{self.name}")
        return path.read_text(encoding="ascii").split() if path.exists() else []


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PERFDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("perfdb.toml").write_text(RULE, encoding="utf-8")


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def start(*given: object, **options: object) -> Program:
        programs.append(Program(*given, **options))  # type: ignore[arg-type]
        return programs[-1]

    yield start
    for each in programs:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def rows(query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect("performance_tracking/perfdb.sqlite3")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def firing() -> list[tuple[object, ...]]:
    return rows("SELECT rule FROM alerts WHERE rule = 'many' AND state = 'firing'")


def history(program: Callable[..., Program]) -> None:
    """Record a past of 20 runs of 100 rows."""
    assert program("past", 20, 100, ago=3600.0).ends() == 0
    assert firing() == []


def test_of_those_who_wait_one_evaluates_for_all(program: Callable[..., Program]) -> None:
    history(program)
    first = program("first", 1, holds=WAITS, after=WAITS)
    until(lambda: first.evaluated)
    others = [program(f"other{number}", 1, after=IDLES) for number in range(3)]
    until(lambda: all(Path(f"waits-{each.name}").exists() for each in others))
    assert [each.evaluated for each in others] == [[], [], []]
    Path("go").touch()
    assert [each.ends() for each in (first, *others)] == [0, 0, 0, 0]
    (evaluated,) = [session_id for each in others for session_id in each.evaluated]
    assert [(evaluated,)] == rows("SELECT session_id FROM v_sessions ORDER BY start_time DESC LIMIT 1")
    assert firing() == [("many",)]
    assert rows("SELECT count(*) FROM outbox WHERE kind = 'digest'") == [(1,)]
    assert not list(Path("performance_tracking/journal").iterdir())


def test_other_steps_are_evaluated_beside(program: Callable[..., Program]) -> None:
    history(program)
    first = program("first", 1, holds=WAITS, after=WAITS)
    until(lambda: first.evaluated)
    others = [program("work", 1, after=IDLES), program("other", 1, step="other", after=IDLES)]
    until(lambda: all(Path(f"waits-{each.name}").exists() for each in others))
    Path("go").touch()
    assert [each.ends() for each in (first, *others)] == [0, 0, 0]
    assert [len(each.evaluated) for each in others] == [1, 1]


def test_who_is_killed_in_the_midst_leaves_it_to_the_next(program: Callable[..., Program]) -> None:
    history(program)
    killed = program("killed", holds="os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.ends() == -signal.SIGKILL
    assert len(killed.evaluated) == 1
    assert firing() == []
    assert program("next", 0).ends() == 0  # records nothing of its own
    following = program("following")
    assert following.ends() == 0
    assert firing() == [("many",)]
    assert not list(Path("performance_tracking/journal").iterdir())


def test_who_is_killed_while_others_wait_is_followed_by_one_of_them(program: Callable[..., Program]) -> None:
    history(program)
    first = program("first", 1, holds=STOPS)
    until(lambda: first.evaluated)
    other = program("other", after=IDLES)
    until(lambda: Path("waits-other").exists())
    first.process.kill()
    assert other.ends() == 0
    assert firing() == [("many",)]


def test_who_is_stopped_in_the_midst_holds_up_nobody_for_long(program: Callable[..., Program]) -> None:
    history(program)
    first = program("first", 1, holds=STOPS)
    until(lambda: first.evaluated)
    for patience in (0.2, 60.0):  # an exit waits no longer than an exit does
        other = program(f"other{patience}", patience=patience)
        assert other.ends() == 0
        assert other.evaluated
        assert firing() == [("many",)]
    first.process.send_signal(signal.SIGCONT)
    assert first.ends() == 0
    assert rows("SELECT count(*) FROM outbox WHERE kind = 'digest'") == [(1,)]


# Evaluates the next time at its end, for which it has time.
CLOSES = "\n    recorder.close(60.0)"
LOOPS = f"""
    from perfdb.worker import thread
    perfdb.create_tracker(console=False)
    (worker,) = recorder._all_workers()
    thread.QUIET_S, worker.alerting._rest_until = 600.0, float("inf")
    runs(3, 300){CLOSES}
"""
PROMISES = f"""{LOOPS.replace("300", "100").replace(CLOSES, "")}
    while not worker.alerting._covering._promised: time.sleep(0.01)
    Path("promised").touch(){WAITS}{CLOSES}
"""


def test_who_ends_leaves_its_runs_to_one_that_goes_on(program: Callable[..., Program]) -> None:
    history(program)
    goes_on = program("goes_on", 0, after=PROMISES)
    until(Path("promised").exists)
    ending = [program(f"ending{number}", 0, after=LOOPS) for number in range(2)]
    assert [each.ends() for each in ending] == [0, 0]
    newest = rows("SELECT session_id FROM v_sessions ORDER BY start_time DESC LIMIT 1")
    assert [each.evaluated for each in (goes_on, *ending)] == [[], [], []]
    assert firing() == []
    Path("go").touch()
    assert goes_on.ends() == 0
    assert [(each,) for each in goes_on.evaluated] == newest
    assert firing() == [("many",)]
    assert not list(Path("performance_tracking/journal").iterdir())
    assert not Path(f"performance_tracking/perfdb.sqlite3{NOTE}").exists()


def test_who_promised_keeps_to_it_though_a_longer_run_was_evaluated_since(
    program: Callable[..., Program],
) -> None:
    history(program)
    longer = """
    work = clock.advance
    clock.advance = lambda seconds: work(seconds * 1e4)
    runs(1, 100)
    clock.advance = work
    while worker.alerting.unjudged()[1:] or not Path("evaluated-goes_on").exists(): time.sleep(0.01)
    """
    goes_on = program(
        "goes_on", 0, after=PROMISES.replace('    Path("promised")', f'{longer}Path("promised")')
    )
    until(Path("promised").exists)
    assert program("ending", 0, after=LOOPS).ends() == 0
    Path("go").touch()
    assert goes_on.ends() == 0
    assert firing() == [("many",)]


def test_a_program_that_cannot_keep_the_note_evaluates_its_loop(program: Callable[..., Program]) -> None:
    history(program)
    Path(f"performance_tracking/perfdb.sqlite3{NOTE}").mkdir()
    says = f"{PROMISES.replace(WAITS, '')}    assert worker.health.as_dict()['last_error'] is None"
    alone = program("alone", 0, after=says.replace("runs(3, 100)", "runs(3, 300)"))
    assert alone.ends() == 0
    assert alone.evaluated
    assert firing() == [("many",)]


def test_what_is_of_another_kind_is_not_left(program: Callable[..., Program]) -> None:
    history(program)
    program("goes_on", 0, step="other", after=PROMISES)
    until(Path("promised").exists)
    ending = program("ending", 0, after=LOOPS)
    assert ending.ends() == 0
    assert ending.evaluated
    assert firing() == [("many",)]


def test_what_was_left_to_one_that_is_killed_is_evaluated_with_its_own(
    program: Callable[..., Program],
) -> None:
    history(program)
    killed = program("killed", 0, after=PROMISES)
    until(Path("promised").exists)
    assert program("ending", 0, after=LOOPS).ends() == 0
    assert firing() == []
    killed.process.kill()
    killed.process.wait()
    recover(load().home, load().database_url, alerts=load().alerts)
    assert firing() == [("many",)]


def test_what_was_left_to_others_that_are_gone_is_evaluated_by_who_comes(
    program: Callable[..., Program],
) -> None:
    history(program)
    (left,) = rows("SELECT session_id FROM v_sessions LIMIT 1")[0]
    note = Path(f"performance_tracking/perfdb.sqlite3{NOTE}")
    note.write_text(f'{7:20}\n{{"k": [3, 0.0, "{left}"]}}', encoding="ascii")
    comes = program("comes", 1, step="other")
    assert comes.ends() == 0
    assert left in comes.evaluated
    assert not note.exists()


FORKS = """
    while not Path("evaluated-first").exists(): time.sleep(0.01)
    if (child := os.fork()) == 0:
        os.environ["NAME"] = "child"
        runs(3, 300)
        recorder.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    Path("go").touch()
"""


def test_a_child_forked_in_the_midst_evaluates_for_itself(program: Callable[..., Program]) -> None:
    history(program)
    held = "\n    if os.environ['NAME'] == 'first':" + WAITS.replace("\n    ", "\n        ")
    first = program("first", holds=held, after=FORKS, patience=0.2)
    assert first.ends() == 0
    assert Path("evaluated-child").exists()
    assert firing() == [("many",)]
    assert rows("SELECT count(*) FROM v_sessions WHERE status = 'completed'") == [(26,)]


# -- the note ----------------------------------------------------------------------------


@contextmanager
def turn(session_id: str, covering: Covering | None = None) -> Iterator[Turn]:
    with (covering or Covering()).turn(Path("a.sqlite3"), "loop", session_id) as found:
        assert found is not None
        yield found


HOLDER = """
import fcntl, os
note = os.open("a.sqlite3.evaluated", os.O_RDWR | os.O_CREAT)
fcntl.lockf(note, fcntl.LOCK_EX)
for number in range(1, 4):
    os.pwrite(note, b"%20d" % number, 0)
    print(number, flush=True)
    input()
"""


def test_an_exit_does_not_wait_for_the_turn_of_others_beyond_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_away(*_: object) -> None:
        raise EndingError

    monkeypatch.setenv("PERFDB_WAIT_S", "0")
    monkeypatch.setattr(Worker, "_ensure_thread", lambda _: None)
    tracker = perfdb.create_tracker(console=False, monitor=False)
    clock = ManualClock(time.time())
    clock.drive(tracker)
    worker = recorder._workers[load().home, load().database_url]

    def run(seconds: float, *, fast_mode: bool) -> None:
        tracker.start_pipeline(fast_mode=fast_mode)
        with tracker.step("work"):
            clock.advance(seconds)
        tracker.end_pipeline()

    worker.folder.parent.mkdir()
    tried: list[float] = []
    evaluate = worker.alerting.evaluate_waiting

    def tries(*, seconds: float, **how: bool) -> bool:
        tried.append(seconds)
        return evaluate(seconds=seconds, **how)

    note = "performance_tracking/perfdb.sqlite3.evaluated"
    program = [sys.executable, "-c", HOLDER.replace("a.sqlite3.evaluated", note)]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        run(0.001, fast_mode=True)
        worker.turn()
        assert worker.alerting.lets_another
        monkeypatch.setattr(transactions, "evaluate_session", is_away)
        monkeypatch.setattr(worker.alerting, "evaluate_waiting", tries)
        run(1.0, fast_mode=False)
        worker.bring_in(0.1)
        assert len(worker.alerting.unjudged()) == 2
        assert len([seconds for seconds in tried if seconds <= 0]) <= 1
        monkeypatch.undo()
        holder.kill()
    recorder.close()


def test_the_patience_is_for_each_turn_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    covering = Covering()

    def waits() -> bool:
        with covering.turn(Path("a.sqlite3"), "loop", "s1") as found:
            return found is None

    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        for number in range(1, 4):
            assert holder.stdout.readline() == f"{number}\n"
            monkeypatch.setattr("perfdb.worker.covering.monotonic", lambda now=number: now)
            assert waits()
            holder.stdin.write("\n" if number < 3 else "")
            holder.stdin.flush()
        monkeypatch.setattr("perfdb.worker.covering.monotonic", lambda: 4.5)
        assert not waits()
        holder.kill()


def test_an_evaluation_covers_what_was_there_when_it_began() -> None:
    with turn("s1") as first:
        assert not first.covers("k")
        first.note("k")
    with turn("s2") as later:  # it is there since now
        assert not later.covers("k")


def test_what_is_left_to_others_is_not_covered_by_the_evaluation_of_before() -> None:
    Path("a.sqlite3" + NOTE).write_text(f'{7:20}\n{{"k": [7, 0.0, "s1"]}}', encoding="ascii")
    covering = Covering()
    with covering.turn(Path("a.sqlite3"), "loop", "s2") as found:
        assert found is not None
        found._seen = 3
        assert (found.covers("k"), found.left()) == (False, {"k": "s1"})
        found.forget_left("k")
        assert found.left() == {}
        assert found.covers("k")


def test_to_evaluate_what_was_left_covers_none_that_came_since() -> None:
    Path("a.sqlite3" + NOTE).write_text(f'{7:20}\n{{"k": [2, 0.0, "s1"]}}', encoding="ascii")
    with turn("s2") as waits:
        waits.forget_left("k")
    with turn("s3") as later:
        later._seen = 7
        assert not later.covers("k")


def test_what_was_left_to_others_stays_when_who_left_it_ends() -> None:
    note = Path("a.sqlite3" + NOTE)
    covering = Covering()
    for known in ('{"k": [2, 0.0, "s1"]}', '{"k": [2, 0.0, ""]}'):
        note.write_text(f"{7:20}\n{known}", encoding="ascii")
        with turn("s2", covering):
            pass
        covering.leave()
        assert note.exists() == ("s1" in known)


def test_a_promise_is_of_the_kind_that_was_promised_last() -> None:
    asks = (
        "from pathlib import Path; from perfdb.worker.covering import Covering\n"
        "with Covering().turn(Path('a.sqlite3'), 'loop', 's1') as turn:\n"
        "    print([kind for kind in ('k1', 'k2') if turn.leave(kind, 's1')])"
    )
    covering = Covering()
    for kind in ("k1", "k2"):
        with turn("s1", covering):
            covering.promise("loop", kind)
    assert subprocess.check_output([sys.executable, "-c", asks], text=True) == "['k2']\n"
    covering.after_fork_in_child()


def test_one_kind_that_others_evaluate_all_the_time_holds_up_no_other(
    program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    history(program)
    monkeypatch.setattr("perfdb.worker.covering.MOST_REST_S", 1e9)
    settings = load()
    database = Database(settings.database_url)
    alerting = Alerting(settings.alerts, database, nullcontext(), Health(), lambda _: None)
    newest = perfdb.History(settings.database_url).session("last")
    _, kind = transactions.newest_alike(database, newest.session_id, alerting._ready())
    file = sqlite_path(database.url)
    assert file is not None
    with alerting._covering.turn(file, "elsewhere", newest.session_id) as found:
        assert found is not None
        found.note(kind, time.monotonic() + 1e6)
    alerting.add([Ended(newest)])
    assert not alerting.evaluate_waiting(idle=False, seconds=1.0)
    assert alerting.unjudged() == [newest.session_id]
    assert alerting._rest_until == 0.0
    alerting.leave_turns()


@pytest.mark.parametrize("until_s", [1e9, -1.0])
def test_a_rest_of_before_the_machine_started_is_over(until_s: float) -> None:
    with turn("s1") as first:
        first.note("k", time.monotonic() + until_s)
    with turn("s2") as later:
        assert later.rests_until("k") < time.monotonic()


def test_who_takes_the_note_away_ends_no_promise_silently() -> None:
    covering = Covering()
    with covering.turn(Path("a.sqlite3"), "loop", "s1"):
        covering.promise("loop", "k")
    os.unlink("a.sqlite3" + NOTE)
    with covering.turn(Path("a.sqlite3"), "loop", "s1"):
        assert not covering.promises("loop")
    assert not covering.promises("loop")
    assert covering._descriptor < 0


def test_what_is_of_no_kind_covers_nothing() -> None:
    covering = Covering()
    for session_id in ("s1", "s2"):
        with turn(session_id, covering) as found:
            found.note("")
            assert not found.covers("")
    assert "{" not in Path("a.sqlite3.evaluated").read_text(encoding="ascii")


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"x", b"9" * 40),
        *(b"%20d\n" % 7 + each for each in (b"{", b"[1]", b"[" * 16_000, b'{"k": "x"}')),
        b'%20d\n{"\\u00e9": [1, 0.0, "s1"]}' % 7,
    ],
)
def test_a_note_that_is_none_covers_nothing(content: bytes) -> None:
    Path("a.sqlite3.evaluated").write_bytes(content)
    for _ in range(2):
        with turn("s1") as found:
            assert not found.covers("k")
            assert found.left() == {}
            found.note("k")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_without_a_note_each_evaluates_for_itself(make: Callable[[str], None]) -> None:
    make("a.sqlite3" + NOTE)
    covering = Covering()
    with turn("s1", covering) as found:
        found.note("k")
        assert not found.covers("k")
        covering.promise("loop", "k")
    with turn("s1", covering) as found:
        assert covering.promises("loop")
        covering.done("loop")
    assert not covering.promises("loop")
    assert not Path("elsewhere").exists()


def test_the_note_names_some_kinds_only() -> None:
    for number in range(100):
        with turn("s1") as found:
            found.note(f"{number:020}")
    assert Path("a.sqlite3" + NOTE).stat().st_size < 4_000


def test_whoever_ends_last_takes_the_note_away(program: Callable[..., Program]) -> None:
    note = Path(f"performance_tracking/perfdb.sqlite3{NOTE}")
    opens = "\n    tracker = perfdb.create_tracker(console=False)\n    tracker.start_pipeline('open')"
    first = program("first", after=f"{IDLES}{opens}\n    Path('opened').touch(){WAITS}")
    until(Path("opened").exists)
    assert note.exists()
    assert program("second").ends() == 0
    assert note.exists()  # the first may wait for a turn
    Path("go").touch()
    assert first.ends() == 0
    assert not note.exists()
