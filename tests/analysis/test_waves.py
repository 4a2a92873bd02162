"""The wave of the day: what swings with it is no move, and what it hides is one."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from perfdb.alerts.verdicts import judged
from perfdb.analysis.course import changes_in, changes_of, course
from perfdb.analysis.rules.change import CHANGE_POINT
from perfdb.analysis.series import Series
from perfdb.analysis.trend_words import rhythm
from perfdb.analysis.waves import _level_around, find_wave, without_wave
from perfdb.text import amount_text

DAY = 86_400.0


def series(wave: float, step: float, runs: int = 900, days: int = 45) -> tuple[list[float], list[float]]:
    noise = random.Random(4)
    starts = sorted(noise.random() * days * DAY for _ in range(runs))
    values = [
        2 * (1 + wave * math.sin(2 * math.pi * start / DAY)) * noise.lognormvariate(0, 0.15)
        for start in starts
    ]
    return starts, [value * (step if place >= 700 else 1.0) for place, value in enumerate(values)]


@pytest.mark.parametrize("wave", [0.1, 0.35, 0.5])
def test_a_swing_of_every_day_is_no_move_and_a_step_inside_is(wave: float) -> None:
    assert changes_in(*series(wave, 1.0)) == []
    starts, values = series(wave, 1.4)
    (change,) = changes_in(starts, values)
    assert abs(change.index - 700) <= 5
    assert change.effect_percent == pytest.approx(40, abs=4), "whatever the hours of the runs since"
    assert change.without_wave


def test_what_never_differs_has_no_wave() -> None:
    starts, values = series(0.0, 1.0)
    assert find_wave(starts, [8e8] * len(values)) is None
    assert find_wave(starts, [8e8 + value for value in values]) is None


@pytest.mark.parametrize("runs", [5, 6, 12])
def test_a_few_runs_far_away_are_a_move_in_a_wave_too(runs: int) -> None:
    starts, values = series(0.35, 1.0)
    (change,) = changes_in(starts, [*values[:-runs], *(2 * value for value in values[-runs:])])
    assert abs(change.index - (900 - runs)) <= 1


@pytest.mark.parametrize("step", [1.0, 1.4])
@pytest.mark.parametrize("window", [60, 150, 300])
def test_of_a_few_hours_nothing_is_said_that_the_days_before_explain(window: int, step: float) -> None:
    noise = random.Random(6)
    starts = sorted(noise.random() * 20 * DAY for _ in range(8_000))
    values = [
        2 * (1 + 0.35 * math.sin(2 * math.pi * start / DAY)) * noise.lognormvariate(0, 0.08)
        for start in starts
    ]
    values = [*values[: -window // 2], *(value * step for value in values[-window // 2 :])]
    everything = [True] * 8_000, [False] * 8_000
    total = Series("p", None, "{}", "duration", [str(start) for start in starts], starts, values, *everything)
    said = []
    for end in range(7_000, 8_001, 250):  # at all hours
        newest, before = total.between(end - window, end), total.between(end - 4_000, end)
        found = course(newest, lambda _, __, before=before: before)
        assert found.changes == changes_of(newest, lambda _, __, before=before: before)[0]
        said += found.changes
    assert bool(said) is (step > 1)
    assert any(course(total.between(end - window, end)).changes for end in range(7_000, 8_001, 250))


def test_the_level_around_is_the_median_of_the_neighbours() -> None:
    values = np.round(np.random.default_rng(3).normal(size=200), 1)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(values, 31), axis=1)
    assert _level_around(values, 31).tolist() == np.pad(medians, 15, mode="edge").tolist()


def test_a_series_without_a_wave_is_as_it_was() -> None:
    assert without_wave(*series(0.0, 1.4)) is None
    assert without_wave(*series(0.5, 1.0, runs=60)) is None
    assert without_wave([float(n) for n in range(300)], [1.0 + n % 2 for n in range(300)]) is None


def test_weekends_are_compared_with_weekends_and_the_page_says_what_is_usual() -> None:
    noise = random.Random(6)
    monday = 4 * DAY  # 1970 began on a Thursday
    starts = sorted(monday + noise.random() * 35 * DAY for _ in range(900))

    def taken(step: float) -> list[float]:
        draw = random.Random(7)
        return [
            2
            * (0.6 if (start // DAY + 3) % 7 >= 5 else 1.0)
            * (1 + 0.2 * math.sin(2 * math.pi * start / DAY))
            * draw.lognormvariate(0, 0.12)
            * (step if place >= 700 else 1.0)
            for place, start in enumerate(starts)
        ]

    wave = find_wave(starts, taken(1.0))
    assert wave is not None
    assert wave.of_day
    assert max(wave.of_week[5:]) < min(wave.of_week[:5]) - 0.4
    assert changes_in(starts, taken(1.0)) == []
    (change,) = changes_in(starts, taken(1.4))
    assert abs(change.index - 700) <= 5
    peak = monday + 40 * DAY + 6 * 3_600  # a Saturday
    assert wave.usual_at(peak) == pytest.approx(2 * 0.6 * 1.2, rel=0.1)
    ids = [str(start) for start in starts]
    total = Series("p", None, "{}", "duration", ids, starts, taken(1.0))
    began = datetime.fromtimestamp(starts[-1], UTC)
    said = amount_text(wave.usual_at(starts[-1]), "s")
    assert rhythm(total, zone=UTC)[1] == f"usual on {began:%A} at {began:%H:%M} UTC: {said}"
    window = total.between(200)
    of_window = rhythm(
        window, past=lambda name, newest: total, before=lambda name, newest: total.between(600)
    )
    of_all = rhythm(total, past=lambda name, newest: total, before=lambda name, newest: total.between(600))
    assert of_window[1] == of_all[1], "what is usual is no question of the window"
    local = began.astimezone()
    assert rhythm(total)[1] == f"usual on {local:%A} at {local:%H:%M}: {said}", "as the terminal says it"


def test_two_runs_of_a_weekday_on_which_hardly_anything_runs_make_no_wave_of_the_week() -> None:
    noise = random.Random(3)
    starts = [4 * DAY + DAY * day + 3_600 * hour for day in range(50) if day % 7 for hour in range(0, 24, 4)]
    starts = sorted([*starts, 4 * DAY + 42 * DAY, 4 * DAY + 49 * DAY])  # two Mondays
    values = [2 * noise.lognormvariate(0, 0.2) for _ in starts]
    values[-1] *= 12
    wave = find_wave(starts, values)
    assert wave is None or not wave.of_week
    assert without_wave(starts, values) is None


@pytest.mark.parametrize(("step", "hits"), [(1.0, False), (1.4, True)])
def test_a_rule_compares_runs_of_the_evening_with_those_of_other_evenings(step: float, hits: bool) -> None:
    noise = random.Random(5)
    starts = sorted(noise.random() * 20 * DAY for _ in range(1_000))
    values = [
        2 * (1 + 0.33 * math.sin(2 * math.pi * start / DAY)) * noise.lognormvariate(0, 0.1)
        for start in starts
    ]
    values[960:] = [value * step for value in values[960:]]
    total = Series("p", None, "{}", "duration", [str(start) for start in starts], starts, values)
    total = replace(total, counted=[True] * 1_000, failed=[False] * 1_000)
    told = []
    for end in range(960, 1_001, 4):
        known, past = total.between(end - 200, end), lambda end=end: total.between(0, end)
        told.append(judged(CHANGE_POINT.default, known.values, None, known, past).hit)
    assert any(told) is hits


@pytest.mark.parametrize(("begins", "monday", "hits"), [(5, 1.0, False), (5, 1.6, True), (8, 1.0, True)])
def test_the_end_of_the_first_weekend_is_no_move_and_a_step_on_that_monday_is(
    begins: int, monday: float, hits: bool
) -> None:
    noise = random.Random(3)  # from a Monday on; two low days begin with a Saturday, or with a Tuesday
    starts = [4 * DAY + DAY * number / 60 for number in range(60 * (begins + 3))]
    level = [1.0] * begins + [0.6] * 2 + [monday]
    values = [level[number // 60] * noise.lognormvariate(0, 0.1) for number in range(len(starts))]
    known = Series("p", None, "{}", "duration", [str(start) for start in starts], starts, values)
    known = replace(known, counted=[True] * len(starts), failed=[False] * len(starts))
    assert judged(CHANGE_POINT.default, values[-200:], None, known, lambda: known).hit is hits


def test_the_wave_of_the_same_runs_is_found_once_and_that_of_others_anew() -> None:
    noise = random.Random(11)
    starts = [1_200.0 * number for number in range(720)]
    values = [
        2 * (1 + 0.3 * math.sin(2 * math.pi * at / DAY)) * noise.lognormvariate(0, 0.05) for at in starts
    ]
    first = find_wave(starts, values)
    assert first is not None
    assert find_wave(list(starts), list(values)) is first
    louder = find_wave(starts, [*values[:-1], values[-1] * 2])
    later = find_wave([at + 6 * 3_600 for at in starts], values)
    assert first != louder
    assert later is not None
    assert later.of_day != first.of_day
    assert find_wave(starts, [1.0] * len(starts)) is find_wave(starts, [1.0] * len(starts)) is None
