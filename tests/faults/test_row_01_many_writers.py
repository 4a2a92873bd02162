"""8 processes with 4 threads each write at once: every row arrives, nobody meets a lock."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from subprocess import Popen

import perfdb

WRITER = """
health = []
def sessions():
    tracker = perfdb.create_tracker(console=False, monitor=False)
    for _ in range(5):
        tracker.start_pipeline()
        for i in range(8):
            with tracker.step("work", i=i): pass
        tracker.end_pipeline()
    health.append(tracker.health())
threads = [threading.Thread(target=sessions) for _ in range(4)]
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(health))
"""


def test_row_01_many_writers(
    recorded_url: str,
    start: Callable[[str], Popen[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    writers = [start(WRITER) for _ in range(8)]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    outputs = [writer.communicate(timeout=240) for writer in writers]
    assert not any("Traceback" in said for _, said in outputs)
    for health in (each for printed, _ in outputs for each in json.loads(printed)):
        counted = (health["errors"], health["refused"], health["database_error"])
        assert counted == (0, 0, None), health["last_error"]
    assert Counter(history(recorded_url).sessions()["status"]) == {"completed": 160}
    assert len(history(recorded_url).steps()) == 160 * 8
