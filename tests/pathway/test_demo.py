"""What the rules tell of the slowed step of the demo: times as the stand-in draws them, without waiting."""

from __future__ import annotations

import random

import pytest

from perfdb.alerts.config import DEFAULT_RULES
from perfdb.analysis.rules import Verdict, evaluate
from perfdb.pathway.demo import NORMAL, SLOWER_BY, SLOWER_FROM
from perfdb.pathway.standin.latency import SEARCH, TIME_SCALE, LatencyModel

SEARCHES = 6
(CHANGE_POINT,) = (rule for rule in DEFAULT_RULES if rule.kind == "change_point")


def product_search(seed: int) -> list[float]:
    """Seconds of the step in the normal designs: the slowest of some searches, on a busy machine."""
    model, machine = LatencyModel(seed, TIME_SCALE), random.Random(seed)
    durations = []
    for number in range(NORMAL):
        model.slow_down(SEARCH, SLOWER_BY if number >= SLOWER_FROM else 1.0)
        slowest = max(model.draw("search") for _ in range(SEARCHES))
        durations.append(slowest + 0.01 + machine.expovariate(1 / 0.005))
    return durations


def first_hit(durations: list[float]) -> Verdict | None:
    seen = (evaluate(CHANGE_POINT, durations[:n]) for n in range(20, NORMAL + 1))
    return next((verdict for verdict in seen if verdict.hit), None)


@pytest.mark.parametrize("seed", [*range(12), 39, 79])
def test_change_point_finds_the_slowed_step_of_the_demo_within_12_sessions(seed: int) -> None:
    found = first_hit(product_search(seed))
    assert found is not None
    assert abs(found.since - SLOWER_FROM) <= 2
    assert found.effect == pytest.approx(100 * (SLOWER_BY - 1), abs=60)


def test_change_point_is_silent_before_the_step_becomes_slower() -> None:
    assert not any(first_hit(product_search(seed)[:SLOWER_FROM]) for seed in range(12))
