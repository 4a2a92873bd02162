"""A database that is locked for ever does not hold up the exit of a process, nor lose its steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from subprocess import CompletedProcess

import perfdb
from perfdb.store.schema import ensure_schema

EXIT_S = 2.5


def test_row_05_exit_while_locked(
    recorded_url: str,
    write_lock: Callable[[str], AbstractContextManager[None]],
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    ensure_schema(recorded_url)
    with write_lock(recorded_url):
        done = run(
            """
            tracker.start_pipeline(); steps(100); tracker.end_pipeline()
            print(tracker.health()["backlog_bytes"], time.monotonic(), flush=True)
            """
        )
        ended = time.monotonic()
    backlog, last_line = done.stdout.split()[-2:]
    assert done.returncode == 0
    assert int(backlog) > 0
    assert ended - float(last_line) < EXIT_S + 3  # a process of others may have the processor
    session = history(recorded_url).session("last")
    assert (session.status, len(session.steps)) == ("completed", 100)
