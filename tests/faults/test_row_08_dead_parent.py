"""A dead parent's session is interrupted at once, though a child that it forked lives on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from subprocess import CompletedProcess

import perfdb


def test_row_08_dead_parent(
    recorded_url: str, run: Callable[..., CompletedProcess[str]], history: Callable[[str], perfdb.History]
) -> None:
    done = run(
        """
        tracker.start_pipeline(); steps(2)
        child = os.fork()
        if child == 0:
            os.close(1); os.close(2)
            time.sleep(60)
            os._exit(0)
        print(child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    child = int(done.stdout.split()[-1])
    try:
        session = history(recorded_url).session("last")
        os.kill(child, 0)  # it lives
    finally:
        os.kill(child, signal.SIGKILL)
    assert (session.status, len(session.steps)) == ("interrupted", 2)
