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
