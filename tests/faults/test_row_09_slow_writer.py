"""A slow but living writer is never taken for dead; and where one was, its late end is accepted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import perfdb
from perfdb import recorder
from perfdb.store.engine import open_engine
from perfdb.store.sessions import mark_interrupted
from perfdb.worker.recovery import recover

RECOVER = """
import sys
from pathlib import Path
from perfdb.worker.recovery import recover
recover(Path(sys.argv[1]), sys.argv[2])
"""


def test_row_09_a_living_writer_is_left_alone(
    recorded_url: str, home: Path, history: Callable[[str], perfdb.History]
) -> None:
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    with tracker.step("slow"):
        subprocess.run([sys.executable, "-c", RECOVER, str(home), recorded_url], check=True)
        recover(home, recorded_url)
    tracker.end_pipeline()
    recorder.close(30)
    session = history(recorded_url).session("last")
    assert (session.status, [step.step_name for step in session.steps]) == ("completed", ["slow"])


def test_row_09_a_late_end_is_accepted(
    recorded_url: str,
    home: Path,
    history: Callable[[str], perfdb.History],
    wait_until_well: Callable[[perfdb.Tracker], None],
) -> None:
    """As when another host, or a copy of the folder, did not see that it lives."""
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    step = tracker.step("slow").start()
    wait_until_well(tracker)
    (journal,) = (home / "journal").glob("*.journal")
    engine = open_engine(recorded_url, role="writer")
    with engine.begin() as connection:
        assert mark_interrupted(connection, journal.stem) == 1
    engine.dispose()
    assert list(perfdb.History(recorded_url).sessions()["status"]) == ["interrupted"]
    step.stop()
    tracker.end_pipeline()
    recorder.close(30)
    session = history(recorded_url).session("last")
    assert (session.status, session.success) == ("completed", True)
    assert [(step.step_name, step.success) for step in session.steps] == [("slow", True)]
