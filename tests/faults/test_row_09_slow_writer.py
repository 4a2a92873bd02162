"""A slow but living writer is never taken for dead; and where one was, its late end is accepted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def test_row_09_a_second_copy_of_perfdb_in_the_process_leaves_the_journal_of_the_first_alone(
    recorded_url: str, home: Path, history: Callable[[str], perfdb.History], run: Callable[..., Any]
) -> None:
    """As a sub-interpreter has one, or a program that purges its modules; what is killed is all there."""
    run(
        """
        tracker.start_pipeline()
        steps(1, "first")
        for name in [name for name in sys.modules if name.partition(".")[0] == "perfdb"]:
            del sys.modules[name]
        import perfdb as again
        from perfdb.recording.journal import Journal, has_living_writer, journals_in
        assert again is not perfdb
        (journal,) = journals_in(tracker._writer.folder)
        assert has_living_writer(journal) and Journal.claim(journal) is None
        with again.track("second") as second, second.step("work"):
            pass
        second._writer.bring_in(30)
        second._writer.look_for_dead()
        second._writer._recover_dead()
        assert not Journal.claim(journal)
        steps(5, "last")
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    sessions = [history(recorded_url).session(name) for name in history(recorded_url).sessions().session_id]
    found = {session.pipeline: [step.step_name for step in session.steps] for session in sessions}
    assert found == {"design": ["first"] + 5 * ["last"], "second": ["work"]}
