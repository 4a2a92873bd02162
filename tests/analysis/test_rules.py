"""Each kind of rule on values that a person can check by head."""

from __future__ import annotations

import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfdb.analysis.branches import judge
from perfdb.analysis.rules import KINDS, Frozen, Rule, Verdict, evaluate, exceeds
from perfdb.analysis.rules.base import Level
from perfdb.analysis.rules.failures import wilson_lower


def rule(kind: str, **changes: object) -> Rule:
    return Rule(name=kind, kind=kind, **changes)  # type: ignore[arg-type]


def noise(count: int, level: float = 1.0, sigma: float = 0.05, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [level * rng.lognormvariate(0, sigma) for _ in range(count)]


def judged(kind: str, values: list[float], frozen: Frozen | None = None, **changes: object) -> Verdict:
    return evaluate(rule(kind, **changes), values, frozen)


def test_a_value_over_the_limit_hits_and_names_where_the_breach_began() -> None:
    verdict = judged("max", [1.0] * 10 + [3.0, 3.0, 3.0], limit=2.0)
    assert (verdict.hit, verdict.since, verdict.n, verdict.baseline) == (True, 10, 3, 1.0)
    assert verdict.effect == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("value", "hit", "good"), [(2.0, False, False), (1.91, False, False), (1.9, False, True)]
)
def test_a_run_is_good_only_5_percent_inside_the_limit(value: float, hit: bool, good: bool) -> None:
    verdict = judged("max", [value], limit=2.0)
    assert (verdict.hit, verdict.good) == (hit, good)


def test_a_value_under_the_limit_of_min_hits() -> None:
    verdict = judged("min", [6, 6, 2], limit=5, direction="down", metric="products_found")
    assert verdict.hit
    assert verdict.bound == pytest.approx(5.25)
    assert exceeds(2, 5, "min")
    assert not exceeds(2, 5, "max")


def test_relative_needs_the_median_of_three_over_the_baseline_and_a_percentage() -> None:
    assert not judged("relative", [1.0] * 20 + [9.0], percent=25).hit
    assert not judged("relative", [1.0] * 20 + [1.2, 1.2, 1.2], percent=25).hit
    verdict = judged("relative", [1.0] * 20 + [1.3, 9.0, 1.3], percent=25)
    assert (verdict.hit, verdict.value, verdict.baseline, verdict.since) == (True, 1.3, 1.0, 20)


def test_budget_needs_both_windows() -> None:
    late = [1.0] * 47 + [3.0] * 3
    assert judged("budget", late, limit=2.0).hit
    assert not judged("budget", late[::-1], limit=2.0).hit  # long ago
    assert not judged("budget", [1.0] * 48 + [3.0] * 2, limit=2.0).hit
    assert not judged("budget", late[1:], limit=2.0).enough
    down = rule("budget", limit=0.5, direction="down")
    for said in (judged("budget", late, limit=2.0), evaluate(down, [1 / value for value in late])):
        assert re.match(r"\d+ of 50 runs beyond the limit = \d+ % > 5 %", said.arithmetic), (
            "no figure has a unit"
        )


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_agrees_with_scipy(failures: int, n: int) -> None:
    from scipy import stats

    failures = min(failures, n)
    expected = stats.binomtest(failures, n).proportion_ci(stats.norm.cdf(1.96) * 2 - 1, "wilson").low
    assert wilson_lower(failures, n) == pytest.approx(expected, abs=1e-9)


def test_three_of_twenty_failures_are_too_many_and_two_are_not() -> None:
    assert judged("error_rate", [0.0] * 17 + [1.0] * 3).hit
    assert not judged("error_rate", [0.0] * 18 + [1.0] * 2).hit
    assert not judged("error_rate", [1.0] * 9).enough
    for after in (3, 12, 20):  # however many runs later it is looked at first
        found = judged("error_rate", [0.0] * 15 + [0.0, 1.0] * after)
        assert (found.hit, found.since, found.baseline) == (True, 16, 0.0), after


def test_the_t_of_a_shift_is_the_formula() -> None:
    values = [1.0, 1.1] * 15 + [2.0] * 5
    logs = [math.log(value) for value in values]
    middle = (logs[0] + logs[1]) / 2
    sigma = 1.4826 * abs(logs[0] - middle)
    t = (math.log(2) - math.log(1.05)) / (1.2533 * sigma * math.sqrt(1 / 5 + 1 / 30))
    verdict = judged("fast_shift", values)
    assert verdict.hit
    assert f"= {t:.2f} >= 6" in verdict.arithmetic
    assert (verdict.value, verdict.baseline, verdict.since) == (2.0, pytest.approx(1.05), 30)


SUM = re.compile(
    r"T = \((.*?) (logs of )?([\d.]+) - (.*?) (logs of )?([\d.]+)\) / \((.*?)\) = (-?[\d.]+)[ ,]"
)


@pytest.mark.parametrize("zero", [False, True], ids=["times", "with a zero"])
def test_a_sum_that_is_told_comes_out_when_it_is_done_again(zero: bool) -> None:
    before, after = [*noise(29), 0.0 if zero else 1.0], noise(30, 1.4, seed=2)
    pin = Level(1.0, 0.0 if zero else 0.05, 50)
    told = [
        judged("fast_shift", before + after[:5]).arithmetic,
        judged("pinned", before[-1:] + after, pinned=pin).arithmetic,
        judge(after[:3], before)[1],
    ]
    for each in told:
        found = SUM.search(each)
        assert found, each
        level = math.log if found[2] else float
        assert bool(found[2]) == bool(found[5]) == (not zero), each
        error = eval(found[7].replace(" x ", " * ").replace("sqrt", "math.sqrt"))
        t = (level(float(found[3])) - level(float(found[6]))) / error
        assert t == pytest.approx(float(found[8]), rel=0.01), each


def test_a_shift_needs_four_slow_runs_of_five_and_ten_before() -> None:
    assert not judged("fast_shift", [1.0] * 30 + [2.0] * 3 + [1.0, 1.0]).hit
    assert judged("fast_shift", [1.0] * 30 + [2.0] * 4).hit
    assert not judged("fast_shift", [1.0] * 9 + [2.0] * 5).enough
    assert judged("fast_shift", [1.0] * 10 + [2.0] * 5).hit


def test_less_than_5_percent_is_no_shift_however_quiet_the_series() -> None:
    assert not judged("fast_shift", [1.0] * 30 + [1.04] * 5).hit


def test_the_jitter_of_the_machine_is_no_shift() -> None:
    values = [0.004] * 30 + [0.008] * 5
    assert judged("fast_shift", values).hit
    assert not judged("fast_shift", values, jitter=0.001).hit
    assert judged("fast_shift", [100 * value for value in values], jitter=0.001).hit


def test_an_improvement_is_no_alert() -> None:
    for kind in ("fast_shift", "change_point", "relative", "anomaly", "trend"):
        assert not judged(kind, [2.0] * 40 + [1.0] * 15).hit, kind


def test_a_change_point_is_found_where_it_was_made() -> None:
    verdict = judged("change_point", noise(60) + noise(10, level=1.5, seed=2))
    assert verdict.hit
    assert abs(verdict.since - 60) <= 5
    assert verdict.effect == pytest.approx(50, abs=10)


def test_an_open_shift_is_judged_by_its_frozen_baseline() -> None:
    frozen = Frozen(baseline=1.0, baseline_n=30, bound=1.3)
    long_after = noise(60, level=2.0)
    for kind in ("fast_shift", "change_point"):
        assert judged(kind, long_after, frozen).hit, kind
        back = judged(kind, [*long_after, 1.0, 1.0, 1.0], frozen)
        assert (back.hit, back.good) == (False, True), kind


def test_less_is_worse_when_the_rule_says_so() -> None:
    values = [100.0] * 30 + [50.0] * 5
    assert not judged("fast_shift", values, metric="throughput").hit
    verdict = judged("fast_shift", values, metric="throughput", direction="down")
    assert verdict.hit
    assert (verdict.value, verdict.baseline, verdict.effect) == (
        pytest.approx(50),
        pytest.approx(100),
        pytest.approx(-50),
    )


def test_one_wild_run_is_an_anomaly_and_a_slow_drift_a_trend() -> None:
    assert judged("anomaly", [*noise(30), 5.0]).hit
    assert not judged("anomaly", noise(31)).hit
    assert judged("trend", [value * (1 + index / 100) for index, value in enumerate(noise(50))]).hit
    assert not judged("trend", noise(50)).hit


def test_a_drift_counts_the_runs_since_the_session_that_it_names() -> None:
    verdict = judged("trend", [value * (1 + index / 100) for index, value in enumerate(noise(200))])
    assert (verdict.since, verdict.n, verdict.baseline_n) == (150, 50, 16)
    assert verdict.since + verdict.n == 200


def test_the_sum_of_a_change_names_every_number() -> None:
    said = judged("change_point", noise(36) + [2.5 * value for value in noise(12)]).arithmetic
    assert re.fullmatch(
        r"newest change at run 37 of 48: median of 36 runs before [\d.]+, of 12 since [\d.]+; "
        r"\+[\d.]+ % >= \+5 % and 12 >= 5 runs since, chance p = [\de.-]+: yes",
        said,
    ), said


def test_values_that_are_not_all_positive_are_compared_as_they_are() -> None:
    assert judged("fast_shift", [0.0, 1.0] * 15 + [40.0] * 5).hit
    assert not judged("fast_shift", [0.0] * 35).hit


@pytest.mark.parametrize("sigma", [0.001, 0.05, 0.3])
def test_healthy_noise_raises_next_to_nothing(sigma: float) -> None:
    false = 0
    for seed in range(10):
        values = noise(200, sigma=sigma, seed=seed)
        false += sum(judged("fast_shift", values[:n]).hit for n in range(15, 201))
    assert false == 0


@given(
    st.sampled_from(KINDS),
    st.lists(st.floats(-1e9, 1e9) | st.just(0.0), max_size=80),
    st.sampled_from(["up", "down"]),
)
def test_no_values_break_a_rule(kind: str, values: list[float], direction: str) -> None:
    verdict = judged(kind, values, limit=1.0, direction=direction)
    assert not (verdict.hit and not verdict.enough)
    assert verdict.arithmetic
    if verdict.hit:
        assert verdict.value is not None
        assert 0 <= verdict.since < len(values)
