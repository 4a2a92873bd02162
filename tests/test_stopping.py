"""Answers that take too long are stopped where they compute, and only where somebody limits them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import perfdb
from perfdb.analysis.cause import find_suspects
from perfdb.analysis.common import names_of
from perfdb.analysis.hits import find_hits
from perfdb.analysis.measuring import recorded
from perfdb.analysis.replay import Schedule, Scheduled
from perfdb.analysis.timeline import timeline
from perfdb.critical_path import Span, critical_path
from perfdb.errors import TimeLimitError
from perfdb.measures import NAMES
from perfdb.records import Session, Step
from perfdb.stopping import limited, look, looking, most_steps, notes, seconds_left
from perfdb.vocabulary import COMPLETED

STEPS = 2_000
SESSION = Session(
    session_id="s",
    pipeline="p",
    start_time=0.0,
    total_duration=float(STEPS),
    status=COMPLETED,
    success=True,
    steps=tuple(
        Step(step_name="work", start_time=float(seq), duration=1.0, success=True, seq=seq)
        for seq in range(STEPS)
    ),
)
RUNS = pd.DataFrame(
    {
        "session_id": [f"s{at}" for at in range(40)],
        "pipeline": "p", "mode": "{}", "start_time": [float(at) for at in range(40)], "host": "h",
        "git_commit": None, "perfdb_version": "1", "python_version": "3", "product_count": None,
        "total_duration": [1.0 + at % 7 / 100 + (at >= 20) for at in range(40)], "counted": True,
        "attributes": [{"even": at % 2, f"key_{at}": at} for at in range(40)],
        **dict.fromkeys(("cpu_s", "rss_peak_bytes", "rss_mean_bytes", "cpu_wait_s")),
    }
)  # fmt: skip
NO_STEPS = pd.DataFrame(
    columns=["session_id", "pipeline", "mode", "step_name", "start_time", "seq", "duration", "counted",
             "attempts", "additional_data", *NAMES]
)  # fmt: skip
COMPUTING: dict[str, Callable[[], object]] = {
    "the critical path": lambda: critical_path(
        [Span(seq, None, float(seq), seq + 1.0) for seq in range(STEPS)], 0.0, STEPS
    ),
    "a replay": lambda: Schedule(
        [Scheduled(seq, None, float(seq), seq + 1.0, 0) for seq in range(STEPS)], 0.0, STEPS
    ).wall(),
    "a timeline": lambda: timeline(SESSION),
    "what moved with a level": lambda: find_suspects(RUNS["attributes"].tolist(), 20),
    "whom a move hits": lambda: find_hits(RUNS, RUNS.set_index("session_id")["total_duration"], 20.0),
    "what was measured": lambda: recorded(RUNS, NO_STEPS, {}),
    "anything that is looked through": lambda: list(looking(range(10))),
}


@pytest.mark.parametrize("computing", COMPUTING)
def test_what_computes_is_stopped_when_the_time_is_over(computing: str) -> None:
    COMPUTING[computing]()
    with limited(seconds=1e-9), pytest.raises(TimeLimitError, match="choose fewer sessions"):
        COMPUTING[computing]()
    COMPUTING[computing]()


class Counting(dict[str, int]):
    """Attributes that count how often somebody asks for one."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        Counting.asked += 1
        return super().get(key, default)


@pytest.mark.parametrize("of_each", [20, 40])
def test_names_that_hold_a_number_do_not_take_the_square_of_the_runs(of_each: int) -> None:
    runs = [Counting({f"key_{at}_{each}": at for each in range(of_each)}) for at in range(200)]
    Counting.asked = 0
    assert find_suspects(runs, 100) == ()
    assert list(names_of(runs, 3)) == []
    attributes = [*runs[:20], *RUNS["attributes"][20:]]
    found = recorded(RUNS.assign(attributes=attributes), NO_STEPS, {})
    assert found["n"].sum() == 40 + 20 * of_each + 40
    assert Counting.asked <= 200 * of_each


def test_nobody_is_limited_who_did_not_ask() -> None:
    look()
    assert seconds_left() == math.inf
    assert most_steps() is None
    notes().append("lost")
    assert notes() == []


def test_a_limit_is_carried_to_threads_and_holds_for_its_own_answer_only() -> None:
    async def answer(steps: int) -> int | None:
        with limited(seconds=60, steps=steps):
            await asyncio.sleep(0)
            return await asyncio.to_thread(most_steps)

    async def both() -> list[int | None]:
        return list(await asyncio.gather(answer(1), answer(2)))

    assert asyncio.run(both()) == [1, 2]
    assert most_steps() is None


def test_python_readers_have_no_limit(history: perfdb.History) -> None:
    assert history.affordable(100) == 100
    with limited(steps=1), pytest.raises(perfdb.UsageError, match="about 1 steps"):
        history.bottlenecks()


@pytest.fixture
def history(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> perfdb.History:
    """Give a history of one session with three steps."""
    monkeypatch.chdir(tmp_path)
    tracker = perfdb.create_tracker(console=False, monitor=False)
    tracker.start_pipeline()
    for name in "abc":
        with tracker.step(name):
            pass
    tracker.end_pipeline()
    return perfdb.History()
