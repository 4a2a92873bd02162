"""Row 26: sessions that start in the same second, in several processes, have ids of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

STARTS = """
os.environ["PERFDB_WAIT_S"] = "0"  # the database is no part of this
tracker = perfdb.create_tracker(console=False, monitor=False)
print(*[tracker.start_pipeline() for _ in range(1_000)], flush=True)
os._exit(0)  # what it recorded is not looked at
"""


def test_a_thousand_starts_in_each_of_four_processes_have_ids_of_their_own(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    said = [process.communicate(timeout=60)[0] for process in [start(STARTS) for _ in range(4)]]
    ids = " ".join(said).split()
    assert len(ids) == 4_000
    assert len(set(ids)) == 4_000
