"""What screens say of all runs at once holds wherever a rule hits.

Of: analysis/screening.py, analysis/watcher.py.
"""

from __future__ import annotations

import math
import random

import pytest

from perfdb.alerts.config import AlertSettings
from perfdb.analysis.rules import TABLE, Rule, evaluate
from perfdb.analysis.screening import may_hit

RUNS = 500
DEFAULTS = [rule for rule in AlertSettings().rules if TABLE[rule.kind].finds != "loss"]


def runs(rule: Rule, seed: int, *, rounded: bool = False) -> list[float]:
    """Make runs whose level moves now and then, up and down, with wild runs and a while of two heaps."""
    rng = random.Random(seed)
    if TABLE[rule.kind].looks_at == "failed":
        return [float(rng.random() < (0.5 if 100 < number < 130 else 0.02)) for number in range(RUNS)]
    level, made, wander = 100.0, [], 0.0
    for number in range(RUNS):
        if number > 250 and rng.random() < 0.02:
            level *= rng.choice((0.8, 1.06, 1.2, 1.5))
        wander = 0.4 * wander + rng.gauss(0, 0.06)
        wild = 5.0 if rng.random() < 0.01 else 1.0
        heap = 1.6 if number > 300 and rng.random() < 0.4 else 1.0
        made.append(level * wild * heap * math.exp(wander))
    return [float(round(value)) for value in made] if rounded else made


def hits(rule: Rule, values: list[float]) -> list[int]:
    window = TABLE[rule.kind].window
    verdicts = [evaluate(rule, values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]
    return [place for place, verdict in enumerate(verdicts) if verdict.hit]


@pytest.mark.parametrize("rule", DEFAULTS, ids=lambda rule: rule.kind)
def test_a_rule_hits_only_where_its_screen_says_that_it_may(rule: Rule) -> None:
    found = 0
    for seed in range(3):
        values = runs(rule, seed, rounded=seed == 1)
        places, may = hits(rule, values), may_hit(rule, values)
        found += len(places)
        assert all(may[place] for place in places), seed
        assert may.mean() < 1, "it leaves out nothing"
    assert found, "nothing was to find"


def test_of_steady_runs_hardly_any_are_left() -> None:
    rng = random.Random(1)
    values = [math.exp(rng.gauss(0, 0.1)) for _ in range(3_000)]
    for rule in DEFAULTS:
        if TABLE[rule.kind].looks_at != "failed":
            assert may_hit(rule, values)[TABLE[rule.kind].window :].mean() < 0.2, rule.kind


@pytest.mark.parametrize("rule", [DEFAULTS[1], Rule(name="own", kind="budget", limit=1.0)])
def test_of_few_runs_and_of_rules_without_a_screen_nothing_is_left_out(rule: Rule) -> None:
    assert may_hit(rule, [1.0] * 12).all()
