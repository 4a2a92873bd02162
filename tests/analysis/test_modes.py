"""Two known levels between which a series comes and goes: told once, and no move."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from perfdb.alerts.verdicts import judged
from perfdb.analysis.course import changes_in
from perfdb.analysis.modes import Explanation, explained_by, find_modes, modes_words
from perfdb.analysis.rules import TABLE, Frozen, Rule, evaluate
from perfdb.analysis.rules.change import CHANGE_POINT
from perfdb.analysis.series import Series
from perfdb.analysis.trend_words import finding, rhythm

STAYS = (40, 12, 25, 8, 33, 14, 20, 30, 9, 27)  # runs at the low level, the high one, the low one …


def switching(*after: tuple[int, float], noise: float = 0.06) -> list[float]:
    """Return runs that switch between 62 and 85 ms, and then so many at other levels."""
    draw = random.Random(3)
    stays = [(stay, (0.062, 0.085)[number % 2]) for number, stay in enumerate(STAYS)]
    return [level * draw.lognormvariate(0, noise) for stay, level in (*stays, *after) for _ in range(stay)]


def moments(values: list[float]) -> list[float]:
    return [1.7e9 + 600.0 * number for number in range(len(values))]


def test_what_comes_and_goes_is_two_levels_and_no_move() -> None:
    values = switching()
    modes = find_modes(values)
    assert modes is not None
    assert modes_words(modes.low, modes.high).startswith("switches between 6")
    assert modes.high == pytest.approx(0.085, rel=0.03)
    assert changes_in(moments(values), values) == []


def test_a_third_level_and_a_known_one_that_stays_are_moves() -> None:
    values = switching((30, 0.13))
    (change,) = changes_in(moments(values), values)
    assert abs(change.index - sum(STAYS)) <= 5
    stayed = switching((30, 0.062), (200, 0.085))
    assert abs(changes_in(moments(stayed), stayed)[-1].index - sum(STAYS) - 30) <= 5


@pytest.mark.parametrize(
    "values",
    [
        [random.Random(n).lognormvariate(0, 0.15) for n in range(300)],
        [random.Random(n).lognormvariate(0, 0.15) * (6 if n % 50 == 7 else 1) for n in range(300)],
        [random.Random(n).lognormvariate(0, 0.1) * (1.4 if n > 150 else 1) for n in range(300)],
        [
            random.Random(n).lognormvariate(0, 0.1) * (1.5 if 80 < n < 160 or n > 240 else 1)
            for n in range(300)
        ],
    ],
    ids=["one level", "wild runs", "a step", "a regression, its mending and the next one"],
)
def test_what_has_one_level_or_was_moved_by_people_has_no_modes(values: list[float]) -> None:
    assert find_modes(values) is None


def test_noise_of_one_level_is_seldom_two() -> None:
    """Medians of a few make stays of any noise: of 60 steps of a page three were said to switch."""
    chance = np.random.default_rng(2)
    heaps = [
        np.exp(chance.normal(0, sd, n)) for n in (30, 36, 45, 60, 90) for sd in (0.1, 0.4) for _ in range(40)
    ]
    assert sum(find_modes(heap) is not None for heap in heaps) <= 8


def test_the_attribute_that_tells_the_level_is_named() -> None:
    values = switching()
    levels = {f"s{number}": value for number, value in enumerate(values)}
    draw = random.Random(2)
    facts = {
        name: {
            "host": "build-2" if (value > 0.0726) is (draw.random() < 0.97) else "build-1",
            "customer": draw.choice("abc"),
        }
        for name, value in levels.items()
    }
    assert explained_by(levels, facts) == Explanation("host", "build-1", "build-2")
    runs = Series("p", None, "{}", "duration", list(levels), moments(values), values)
    switches, _ = rhythm(runs, facts=lambda: facts)
    assert switches.endswith("ms with host (build-1, build-2)")
    assert finding("Render", values, switches=switches).startswith("Render switches between 6")


def test_night_and_day_are_not_two_levels_in_a_window_of_two_days() -> None:
    draw = random.Random(4)
    hours = 20 * 24
    values = [(1.6 if hour % 24 < 12 else 1.0) * draw.lognormvariate(0, 0.05) for hour in range(hours)]
    starts = [1.7e9 + 3_600.0 * hour for hour in range(hours)]
    ids = [str(hour) for hour in range(hours)]
    whole = Series("p", None, "{}", "duration", ids, starts, values, [True] * hours, [False] * hours)
    window = whole.between(hours - 50)
    assert find_modes(window.values) is not None
    assert rhythm(window)[0].startswith("switches between")  # nobody knows more
    assert rhythm(window, past=lambda name, newest: whole)[0] == ""


def test_rules_tell_two_known_levels_once_and_a_new_one_still() -> None:
    values = switching((20, 0.062), (12, 0.085), (30, 0.13))
    whole = Series("p", None, "{}", "duration", [str(n) for n in range(len(values))], moments(values), values)
    whole = replace(whole, counted=[True] * len(values), failed=[False] * len(values))

    def rings(end: int) -> bool:
        known = whole.between(max(0, end - 200), end)
        return judged(CHANGE_POINT.default, known.values, None, known, lambda: whole.between(0, end)).hit

    new = len(values) - 30
    assert not any(rings(end) for end in range(new - 11, new + 1, 2))
    assert any(rings(end) for end in range(new + 6, new + 20, 3))
    told = evaluate(TABLE["switching"].default, values[sum(STAYS) - 200 : sum(STAYS)])
    assert told.hit
    assert (told.baseline, told.value) == pytest.approx((0.062, 0.085), rel=0.1)


def test_an_open_switching_tells_its_levels_while_the_last_stay_hides_that_it_is_one() -> None:
    values = switching((120, 0.085))
    ends = range(len(values) - 60, len(values))
    hidden = [end for end in ends if find_modes(values[end - 200 : end]) is None]
    assert hidden
    frozen = Frozen(baseline=0.062, baseline_n=200, bound=None)
    for end in hidden[::5]:
        told = evaluate(TABLE["switching"].default, values[end - 200 : end], frozen)
        if told.hit:
            assert (told.baseline, told.value) == pytest.approx((0.062, 0.085), rel=0.05)


def test_what_strays_by_chance_among_very_many_runs_makes_no_known_levels_of_a_move() -> None:
    draw = random.Random(3)
    values = [(1.4 if number >= 14_000 else 1.0) * draw.lognormvariate(0, 0.2) for number in range(20_000)]
    for place in (2_000, 5_000, 9_000, 11_000):
        values[place : place + 12] = [1.4] * 12
    assert find_modes(values) is None
    (change,) = changes_in(moments(values), values)
    assert abs(change.index - 14_000) <= 288
    assert change.effect_percent == pytest.approx(40, abs=2)


@pytest.mark.parametrize("runs", [3, 6, 12])
def test_a_level_is_new_although_its_first_runs_were_not_judged(runs: int) -> None:
    rule = Rule(name="r", kind="relative", percent=50)

    def is_told(values: list[float]) -> bool:
        ids, counted = [f"s{number}" for number in range(len(values))], [True] * len(values)
        known = Series("p", None, "{}", "duration", ids, moments(values), values, counted)
        return judged(rule, values[-33:], None, known, lambda: known).hit

    assert is_told([0.1] * 30 + [0.3] * runs)
    assert not is_told([0.1] * 10 + [0.3] * 2 + [0.1] * 20 + [0.3] * runs)
