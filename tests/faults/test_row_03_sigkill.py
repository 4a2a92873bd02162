"""SIGKILL at any moment, again and again: what was acknowledged is there, once, in the right state."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from subprocess import CompletedProcess

import perfdb
from perfdb.store.engine import open_engine

ROUNDS = 15

# Processes are forked from one that never recorded, because a start of Python takes longer than a round.
# Each records short sessions without end and says so; the next one finds what the dead one left, and is
# killed over it in its turn.
KILLER = f"""
import random
import perfdb.worker.thread, perfdb.store.ingest, perfdb.store.schema
dice = random.Random(3)

def record(say):
    tracker = perfdb.create_tracker(console=False)
    while True:
        os.write(say, f"started {{tracker.start_pipeline()}}\\n".encode())
        for i in range(30):
            with tracker.step("work", i=i):
                time.sleep(0.0005)
            os.write(say, f"step {{i}}\\n".encode())
        tracker.end_pipeline()
        os.write(say, b"ended\\n")

said = []
for _ in range({ROUNDS}):
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(hear)
        record(say)
    os.close(say)
    with os.fdopen(hear) as lines:
        heard = [lines.readline() for _ in range(dice.randrange(5, 120))]
        time.sleep(dice.uniform(0, 0.004))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said.append(heard + lines.readlines())
print(json.dumps(said))
"""


def test_row_03_sigkill(
    recorded_url: str,
    run: Callable[..., CompletedProcess[str]],
    history: Callable[[str], perfdb.History],
) -> None:
    done = run(KILLER)
    assert (done.returncode, done.stderr) == (0, "")
    found = history(recorded_url)
    status = dict(found.sessions()[["session_id", "status"]].to_numpy().tolist())
    steps = found.steps()
    recorded = Counter(
        zip(steps["session_id"], (data["i"] for data in steps["additional_data"]), strict=True)
    )
    assert max(recorded.values()) == 1
    cut_short = 0
    for heard in json.loads(done.stdout):
        session_id = ""
        for line in heard:
            what, _, value = line.strip().partition(" ")
            if what == "started":
                session_id = value
            elif what == "step":
                assert recorded[session_id, int(value)] == 1
            elif what == "ended":
                assert status[session_id] == "completed"
        if heard[-1] not in ("ended\n", "step 29\n"):
            assert status[session_id] == "interrupted"
            cut_short += 1
    assert cut_short > ROUNDS // 2
    assert steps["duration"].notna().all()
    assert_no_torn_row(recorded_url)


def assert_no_torn_row(url: str) -> None:
    engine = open_engine(url, role="reader")
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalars().all() == ["ok"]
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    engine.dispose()


def test_row_03_a_step_open_for_long_is_known_after_a_kill(
    run: Callable[..., CompletedProcess[str]], history: Callable[[], perfdb.History]
) -> None:
    run(
        """
        tracker.start_pipeline()
        step = tracker.step('endless').start()
        while not step.announced: time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    (row,) = history().steps().to_dict("records")
    assert (row["step_name"], row["status"]) == ("endless", "interrupted")
