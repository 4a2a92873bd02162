"""gevent and eventlet, patched before or after perfdb was used: no hang, no wrong parent, no lost step."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import perfdb
from perfdb.store.schema import ensure_schema

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
SPAWN = {"gevent": "gevent.spawn(one, number)", "eventlet": "eventlet.spawn(one, number)"}
WAIT = {"gevent": "gevent.joinall(all_of_them)", "eventlet": "[each.wait() for each in all_of_them]"}
PROGRAM = """
import faulthandler; faulthandler.dump_traceback_later(100, exit=True)
{before}
import perfdb
{boot}
{after}
import {library}, time
def one(number):
    with perfdb.track("many", console=False, monitor=True) as run:
        with run.step(f"outer {{number}}"):
            time.sleep(0.01)
            with run.step(f"inner {{number}}"):
                time.sleep(0.01)
for _ in range(3):
    all_of_them = [{spawn} for number in range(8)]
    {wait}
perfdb.recorder.close(60)
print("done")
"""
BOOT = """
with perfdb.track("boot", console=False) as run:
    with run.step("first"): pass
"""


def program(library: str, *, early: bool, used: bool) -> list[str]:
    text = PROGRAM.format(
        before=PATCH[library] if early else "",
        after="" if early else PATCH[library],
        boot=BOOT if used else "",
        library=library,
        spawn=SPAWN[library],
        wait=WAIT[library],
    )
    return [sys.executable, "-W", "ignore", "-c", text]


@pytest.fixture(params=sorted(PATCH))
def library(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def assert_all_is_there(found: perfdb.History) -> None:
    sessions = found.sessions()
    sessions = sessions[sessions["pipeline"] == "many"]
    assert list(sessions["status"]) == ["completed"] * 24
    for session_id in sessions["session_id"]:
        outer, inner = sorted(found.session(session_id).steps, key=lambda step: step.seq)
        assert outer.step_name.removeprefix("outer") == inner.step_name.removeprefix("inner")
        assert (outer.parent_seq, inner.parent_seq) == (None, outer.seq)


@pytest.mark.parametrize("when", ["before", "after the import", "after it was used"])
def test_row_42_greenlets_patched(
    library: str, when: str, home: Path, history: Callable[[], perfdb.History]
) -> None:
    done = subprocess.run(
        program(library, early=when == "before", used=when == "after it was used"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stderr
    assert_all_is_there(history())


def test_row_42_greenlets_go_on_while_the_database_is_locked(
    library: str,
    home: Path,
    write_lock: Callable[[str], AbstractContextManager[None]],
    history: Callable[[], perfdb.History],
) -> None:
    url = f"sqlite:///{home}/perfdb.sqlite3"
    ensure_schema(url)
    text = program(library, early=False, used=False)[-1].replace("close(60)", "close(0.1)")
    with write_lock(url):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", text], capture_output=True, text=True, timeout=120
        )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stderr
    assert_all_is_there(history())


def test_row_42_the_first_hub_is_made_before_a_thread_of_the_machine_imports(home: Path) -> None:
    if importlib.util.find_spec("gevent") is None:
        pytest.skip("gevent is not installed")
    text = """
from gevent import monkey; monkey.patch_all()
import perfdb
from gevent._hub_local import get_hub_if_exists
assert get_hub_if_exists() is None
tracker = perfdb.create_tracker(console=False)
tracker.start_pipeline()
assert get_hub_if_exists() is not None
tracker.end_pipeline()
perfdb.recorder.close(60)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
