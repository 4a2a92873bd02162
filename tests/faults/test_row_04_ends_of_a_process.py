"""Every way in which a process ends keeps its steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import perfdb

ENDS = {
    "sys.exit": "sys.exit(0)",
    "exception": "raise RuntimeError('boom')",
    "os._exit": "os._exit(3)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
    "SIGHUP": "os.kill(os.getpid(), signal.SIGHUP); time.sleep(9)",
    "SIGINT": "os.kill(os.getpid(), signal.SIGINT); time.sleep(9)",
}


@pytest.mark.parametrize("end", ENDS)
def test_row_04_ends_of_a_process(
    end: str,
    recorded_url: str,
    run: Callable[..., CompletedProcess[str]],
    journals: Callable[[], list[Path]],
    history: Callable[[str], perfdb.History],
) -> None:
    done = run(f"tracker.start_pipeline(); steps(100); {ENDS[end]}")
    assert "acknowledged 100" in done.stdout
    session = history(recorded_url).session("last")
    assert session.status == "interrupted"
    assert [step.additional_data["i"] for step in session.steps] == list(range(100))
    assert journals() == []


SLOW_IMPORTS = """
import sys, time
def find_spec(name, path=None, target=None):
    if name in ("sqlalchemy", "alembic"):
        time.sleep(3)  # longer than an exit waits for a database
sys.meta_path.insert(0, sys.modules[__name__])
"""

CLOSED_AT_THE_VERY_END = """
import slow_imports
def closed_at_the_very_end(write=os.write, anything=BaseException):
    try:
        yield
    finally:
        try:
            import colorsys
        except anything:  # the interpreter goes down
            pass
        write(1, b"closed")

tracker.start_pipeline(); steps(3)
unfinished = closed_at_the_very_end(); next(unfinished)
"""


def test_row_04_an_import_of_the_worker_does_not_hold_up_what_imports_at_the_very_end(
    home: Path, run: Callable[..., CompletedProcess[str]], history: Callable[..., perfdb.History]
) -> None:
    home.with_name("slow_imports.py").write_text(SLOW_IMPORTS)
    done = run(CLOSED_AT_THE_VERY_END, timeout=60)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["acknowledged", "3", "closed"], "")
    assert len(history().session("last").steps) == 3
