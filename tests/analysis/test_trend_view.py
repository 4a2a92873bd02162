"""What every picture of a series shares: its scale, its lines, its marks and its first sentence.

Of: analysis/course.py, analysis/trend_view.py, analysis/trend_words.py.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perfdb.analysis import trend_view as view
from perfdb.analysis.course import changes_in, course, statistics
from perfdb.analysis.series import Series
from perfdb.analysis.trend_words import alert_words, finding, says_it_moved

DAY = 86_400.0
NOON = 1_767_268_800.0


def series(values: Any, every: float = 3_600.0) -> Series:
    durations = [float(value) for value in values]
    starts = [NOON + every * place for place in range(len(durations))]
    ids = [f"s{place}" for place in range(len(durations))]
    good, failed = [True] * len(durations), [False] * len(durations)
    return Series("p", None, "{}", "duration", ids, starts, durations, good, failed)


def of_sessions(ids: list[str], values: Any) -> Series:
    return replace(series(values, every=60.0), session_ids=ids)


def noise(n: int, seed: int = 0, sd: float = 0.1) -> Any:
    return 10 * np.random.default_rng(seed).lognormal(0, sd, n)


def test_a_value_beyond_the_scale_is_named_with_its_height() -> None:
    values = [1.0] * 99 + [1_000.0]
    top = view.scale_top(values)
    assert top < 3
    assert view.beyond(values, top) == [99]
    assert view.beyond_words(values, top) == "1 run beyond the scale, up to 16 min 40 s"
    assert view.beyond_words(values[:99], top) == ""


def test_a_limit_in_reach_is_within_the_scale_and_one_far_above_does_not_set_it() -> None:
    assert view.scale_top([1.0] * 30, [1.4]) > 1.4
    assert view.scale_top([1.0] * 30, [50.0]) < 1.5


@pytest.mark.parametrize("values", [[], [0.0], [5.0], [0.0] * 40])
def test_any_values_have_a_scale(values: list[float]) -> None:
    assert view.scale_top(values) >= 0
    assert view.beyond(values, view.scale_top(values)) == []


def test_no_line_crosses_a_pause_or_a_change() -> None:
    starts = np.r_[np.arange(100), np.arange(400, 500)] * 3_600.0
    pieces = view.lines(starts, np.r_[np.full(100, 1.0), np.full(50, 2.0), np.full(50, 3.0)], [150])
    assert [(piece.times[0] >= starts[0], set(piece.p50.tolist())) for piece in pieces] == [
        (True, {1.0}),
        (True, {2.0}),
        (True, {3.0}),
    ]
    assert pieces[0].times[-1] == starts[99]
    assert pieces[1].times[0] >= starts[100]
    assert view.medians_at(pieces, [0, 99, 100, 199])[1::2] == [1.0, 3.0]


def test_what_is_usual_rises_and_falls_with_the_wave_of_the_day() -> None:
    chance = random.Random(1)
    starts = [1_800.0 * number for number in range(400)]
    swing = [10 * (1 + 0.5 * math.sin(2 * math.pi * start / 86_400)) for start in starts]
    values = np.array([each * chance.lognormvariate(0, 0.05) for each in swing])
    (line,) = view.lines(starts, values, [])
    assert line.by_hour
    within = (line.low <= values[line.places.astype(int)]) & (values[line.places.astype(int)] <= line.high)
    assert 0.7 < within.mean() < 0.9
    assert (line.high / line.low).max() < 1.3, "and not as wide as the day"
    assert not view.lines(starts, np.array([chance.lognormvariate(0, 0.05) for _ in starts]), [])[0].by_hour


def test_nights_and_weekends_of_a_nightly_job_are_no_pauses() -> None:
    workdays = [DAY * day for day in range(90) if day % 7 not in (5, 6)]
    assert view.pauses(workdays) == []
    out = [start for start in workdays if not 30 * DAY <= start < 62 * DAY]
    assert len(view.pauses(out)) == 1


def test_a_long_past_is_shown_by_its_periods_and_all_of_it_is_looked_at() -> None:
    count = 60_000  # of 100 days
    starts = NOON + np.arange(count) * (100 * DAY / count)
    waves = noise(count) * (1 + 0.3 * np.sin(2 * np.pi * starts / DAY))
    waves[20_000:] *= 1.4
    (change,) = [each for each in changes_in(starts, waves) if each.after_n > 1_000]
    assert change.index == pytest.approx(20_000, abs=700)
    assert change.effect_percent == pytest.approx(40, abs=5)
    assert view.unit_of(starts) == "day"
    pieces = view.lines(starts, waves, [change.index])
    assert sum(piece.p50.size for piece in pieces) == 101
    periods = view.periods(starts, waves, np.ones(count, dtype=bool), "week")
    assert sum(each.n for each in periods) == count
    assert all((each.start_time / DAY + 3) % 7 == 0 for each in periods), "Mondays"


@pytest.mark.parametrize(("unit", "days"), [("hour", 2), ("day", 400), ("week", 3_000)])
def test_the_period_fits_the_length_of_the_past(unit: str, days: int) -> None:
    assert view.unit_of([0.0, days * DAY]) == unit


def test_a_step_that_runs_often_in_a_session_is_one_point_of_the_level() -> None:
    values = np.repeat(noise(60), 4) * np.repeat([1.0, 2.0], [120, 120])
    ids = [f"s{place // 4}" for place in range(240)]
    (change,) = course(of_sessions(ids, values)).changes
    assert change.index == pytest.approx(120, abs=8)
    assert change.index % 4 == 0
    assert change.before_n + change.after_n == 240


def test_a_move_has_the_number_that_rules_and_regressions_have() -> None:
    per_run = np.tile([1.0, 1.0, 4.0], 80) * np.repeat([1.0, 2.0], 120) * np.repeat(noise(80), 3)
    per_run[120::3] += 3.0  # more in the longest runs only: the mean of a session moves, its median less
    ids = [f"s{place // 3}" for place in range(240)]
    (change,) = course(of_sessions(ids, per_run)).changes
    means = per_run.reshape(80, 3).mean(axis=1)
    at = change.index // 3
    before, after = float(np.median(means[:at])), float(np.median(means[at:]))
    assert (change.before_median, change.after_median) == pytest.approx((before, after))
    assert change.effect_percent == pytest.approx(100 * (after / before - 1))


def test_the_drift_is_what_the_slope_amounts_to_or_nothing() -> None:
    """It is of where the runs began: 1 to 1.4 are 40 % more, and back 29 % less."""
    for begin, end, percent in ((1, 1.4, 40), (1.4, 1, -29), (1, 3, 200), (3, 1, -67)):
        drifting = series(noise(200) * np.linspace(begin, end, 200), every=DAY / 4)
        found = statistics(drifting)
        days = (drifting.start_times[-1] - drifting.start_times[0]) / DAY
        slope = found["slope_percent_per_day"] * days / 100
        assert found["drift_percent"] == pytest.approx(100 * np.expm1(slope))
        assert found["drift_percent"] == pytest.approx(percent, rel=0.2)
    assert statistics(series(noise(200)))["drift_percent"] is None


def test_the_first_sentence_says_what_matters_most() -> None:
    values = noise(40)
    change = {"before_median": 1.0, "after_median": 1.56, "effect_percent": 56.0}
    alert = {"id": 7, "rule": "fast-shift", "kind": "fast_shift", "effect": 210.0}
    assert says_it_moved(alert)
    say = alert_words(alert)
    assert finding("A", values, newest=change, since="noon", alerts=[say]) == (
        "A is 56 % slower since noon (1.00 s → 1.56 s)"
    )
    assert finding("A", values, alerts=[say], limits=[1.0], drifted=9.0) == (
        "A: alert 7 of fast-shift says +210 %"
    )
    assert "over the limit" in finding("A", values, limits=[1.0], drifted=9.0)
    assert "9 % longer at the end" in finding("A", values, drifted=9.0)
    assert "half of the runs" in finding("A", values)
    assert finding("A", [], failures=3) == "A failed in 3 runs and succeeded in none"
    assert "did not move" not in finding("A", values)
