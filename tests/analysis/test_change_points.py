"""Where levels moved: found in runs and in long histories, with its bounds, and nowhere else.

Of: analysis/levels.py, analysis/partition.py, analysis/trend_lines.py, analysis/watcher.py.
"""

import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from perfdb.analysis import ChangePoint, find_change_points, find_past_changes
from perfdb.analysis.change_points import describe_changes, find_moved_periods
from perfdb.analysis.levels import Series, mann_whitney
from perfdb.analysis.partition import _best_partition
from perfdb.analysis.trend_lines import _Fits
from perfdb.analysis.watcher import _replay

Floats = npt.NDArray[np.float64]


def noise(n: int, seed: int = 0, sd: float = 0.15) -> Floats:
    """Lognormal durations around 10 s."""
    return 10 * np.random.default_rng(seed).lognormal(0, sd, n)


def stepped(*levels: tuple[int, float], seed: int = 0) -> Floats:
    """Noise with (points, factor) one after the other."""
    return noise(sum(n for n, _ in levels), seed) * np.repeat([f for _, f in levels], [n for n, _ in levels])


def indexes(values: object, profile: str = "quiet") -> list[int]:
    return [change.index for change in find_change_points(values, profile=profile)]  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", ["quiet", "sensitive"])
def test_a_step_is_found_where_it_is_and_described(profile: str) -> None:
    values = stepped((100, 1), (60, 1.5))
    (change,) = find_change_points(values, profile=profile)  # type: ignore[arg-type]
    assert abs(change.index - 100) <= 2
    assert (change.before_n, change.after_n) == (change.index, 160 - change.index)
    assert change.before_median == np.median(values[: change.index])
    assert change.after_median == np.median(values[change.index :])
    assert 40 < change.effect_percent < 60
    assert 2 < change.effect_sd < 4
    assert change.p_value < 1e-9
    assert change.interval[0] <= 100 <= change.interval[1]


def test_a_fall_has_negative_effects() -> None:
    (change,) = find_change_points(stepped((80, 1), (40, 0.5)))
    assert -60 < change.effect_percent < -40
    assert change.effect_sd < 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("wild", [0, -1])
def test_a_wild_run_at_an_end_makes_no_trend_of_a_step(wild: int, seed: int) -> None:
    values = stepped((155, 1), (144, 0.8), seed=seed)
    values[wild] *= 13
    (change,) = find_past_changes(values)
    assert abs(change.index - 155) <= 10
    assert change.effect_percent < -15


def test_doubling_is_found_within_three_points() -> None:
    found = [any(abs(i - 100) <= 5 for i in indexes(stepped((100, 1), (3, 2), seed=s))) for s in range(20)]
    assert sum(found) >= 14


def test_twenty_percent_is_found_within_forty_points() -> None:
    found = [bool(indexes(stepped((100, 1), (40, 1.2), seed=s))) for s in range(20)]
    assert sum(found) >= 19


@pytest.mark.parametrize("profile", ["quiet", "sensitive"])
def test_healthy_series_are_silent(profile: str) -> None:
    assert sum(len(indexes(noise(300, seed), profile)) for seed in range(10)) == 0


def test_a_watcher_who_looks_after_every_session_is_left_in_peace() -> None:
    assert not any(indexes(noise(300, seed)[:n]) for seed in (1, 2) for n in range(20, 301))


@pytest.mark.parametrize(("seed", "rings"), [(631, 257), (711, 126)])
def test_ranks_that_ring_by_chance_are_not_reported_unless_the_level_moved_as_clearly(
    seed: int, rings: int
) -> None:
    values = noise(300, seed)
    assert _replay(Series.of(values[:rings])) != []
    assert not any(indexes(values[:n]) for n in range(rings, 301))


def test_a_level_outside_of_all_before_is_found_though_neighbours_resemble_each_other() -> None:
    wave = np.exp(0.1 * np.sin(np.arange(46) / 2) + np.random.default_rng(3).normal(0, 0.02, 46))
    values = wave * np.repeat([1, 2.5], [36, 10])
    assert indexes(values) == [36]


def test_two_changes_are_two() -> None:
    first, second = indexes(stepped((70, 1), (60, 1.6), (70, 0.7)))
    assert abs(first - 70) <= 3
    assert abs(second - 130) <= 3


def test_a_change_once_found_stays_and_hardly_moves() -> None:
    values = stepped((100, 1), (80, 1.35), (60, 2.5), seed=3)
    seen = [indexes(values[:n]) for n in range(101, 241)]
    for earlier, later in itertools.pairwise(seen):
        assert all(any(abs(i - j) <= 5 for j in later) for i in earlier)
    assert len(seen[-1]) == 2


def test_an_excursion_that_was_only_noise_is_forgiven_in_hindsight() -> None:
    values = noise(300, 5)
    values[100:104] *= 2
    assert indexes(values[:104]) == [100]
    assert indexes(values) == []


def test_a_false_alarm_is_forgiven_as_soon_as_its_level_does_not_last() -> None:
    values = noise(300, 5)
    values[100:104] *= 1.7
    seen = [bool(indexes(values[:n])) for n in range(104, 130)]
    assert seen[0]
    assert not any(seen[12:])


@pytest.mark.parametrize("seed", range(10))
def test_sixty_percent_after_few_noisy_runs_is_found_within_twenty(seed: int) -> None:
    values = np.random.default_rng(seed).lognormal(0, 0.25, 56) * np.repeat([1, 1.6], [36, 20])
    changes = find_change_points(values)
    assert changes
    assert abs(changes[-1].index - 36) <= 4


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_spikes_are_no_change(count: int) -> None:
    values = noise(200, 7)
    values[120 : 120 + count] *= 50
    assert all(indexes(values[:n]) == [] for n in range(110, 201))


def test_a_move_of_less_than_five_percent_is_nobodys_business() -> None:
    assert indexes(noise(200, sd=0.005) * np.repeat([1, 1.03], 100)) == []
    assert len(indexes(noise(200, sd=0.005) * np.repeat([1, 1.07], 100))) == 1


@pytest.mark.parametrize("profile", ["quiet", "sensitive"])
@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, 2.0], [3.0] * 500, [0] * 50, [-2.5] * 50, list(range(1, 8))]
)
def test_short_and_constant_series_have_no_change(values: list[float], profile: str) -> None:
    assert indexes(values, profile) == []


def test_a_step_without_noise_has_an_exact_index_and_an_infinite_effect() -> None:
    (change,) = find_change_points([5] * 40 + [6] * 20)
    assert (change.index, change.interval) == (40, (40, 40))
    assert change.effect_percent == pytest.approx(20)
    assert change.effect_sd == math.inf


def test_heavy_ties_are_not_a_change() -> None:
    rng = np.random.default_rng(1)
    assert all(indexes(rng.choice([5, 6], 300, p=[0.9, 0.1])) == [] for _ in range(10))


def test_coarse_values_are_not_a_change_after_any_session() -> None:
    rng = np.random.default_rng(11)
    for values in (np.round(0.3 * rng.lognormal(0, 0.25, 120), 1), rng.poisson(3, 120)):
        assert not any(indexes(values[:n]) for n in range(20, 121))


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 60.0, 1e12])
def test_the_unit_does_not_matter(unit: float) -> None:
    values = stepped((100, 1), (50, 1.4))
    expected, found = find_change_points(values), find_change_points(values * unit)
    assert [c.index for c in found] == [c.index for c in expected]
    assert [c.effect_sd for c in found] == pytest.approx([c.effect_sd for c in expected])


def test_values_below_zero_are_compared_as_they_are() -> None:
    values = np.random.default_rng(2).normal(0, 1, 200) + np.repeat([0, 3], 100)
    (change,) = find_change_points(values)
    assert abs(change.index - 100) <= 3
    assert change.effect_sd == pytest.approx(3, abs=0.8)


def test_from_zero_the_effect_in_percent_is_infinite() -> None:
    (change,) = find_change_points([0] * 50 + [4] * 30)
    assert change.effect_percent == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_named(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"value {bad} at index 2"):
        find_change_points([1.0, 2.0, bad, 4.0])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="'loud'"):
        find_change_points([1.0], profile="loud")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 dimensions"):
        find_change_points(np.ones((2, 2)))


def test_the_same_values_give_the_same_answer_and_stay_untouched() -> None:
    values = stepped((60, 1), (60, 2))
    before = values.copy()
    assert find_change_points(values) == find_change_points(values.tolist())
    assert np.array_equal(values, before)


def test_shuffling_takes_the_change_away() -> None:
    values = np.random.default_rng(4).permutation(stepped((100, 1), (100, 2)))
    assert indexes(values) == []


def test_autocorrelated_load_is_mostly_silent() -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for _ in range(10):
        load = rng.normal(0, 1, 300)
        for i in range(1, 300):
            load[i] += 0.4 * load[i - 1]
        alarms += len(indexes(np.exp(0.3 * load)))
    assert alarms <= 1


def test_a_drift_is_reported_in_few_steps_that_all_go_up() -> None:
    changes = find_change_points(noise(400, sd=0.1) * np.linspace(1, 3, 400))
    assert 1 <= len(changes) <= 12
    assert all(change.effect_percent > 0 for change in changes)


def test_a_change_point_cannot_be_altered() -> None:
    (change,) = find_change_points(stepped((60, 1), (30, 2)))
    assert isinstance(change, ChangePoint)
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.index = 3  # type: ignore[misc]


def test_mann_whitney_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(8)
    before, after = rng.integers(0, 9, 40).astype(float), rng.integers(1, 11, 25).astype(float)
    p = stats.mannwhitneyu(before, after, method="asymptotic", use_continuity=False).pvalue
    assert math.erfc(abs(mann_whitney(before, after)) / math.sqrt(2)) == pytest.approx(p)


def test_looking_back_agrees_with_ruptures_on_clear_steps() -> None:
    ruptures = pytest.importorskip("ruptures")
    values = stepped((80, 1), (70, 1.8), (90, 0.8), seed=9)
    expected = ruptures.Dynp(model="l2", min_size=5, jump=1).fit(np.log(values)).predict(n_bkps=2)[:-1]
    assert indexes(values, "sensitive") == pytest.approx(expected, abs=2)


def rising(*slopes: tuple[int, float], seed: int = 0, sd: float = 0.3) -> Floats:
    """A line with (points, slope) one after the other, from 20 on, and noise."""
    steps = np.repeat([slope for _, slope in slopes], [n for n, _ in slopes])
    return 20 + np.cumsum(steps) + np.random.default_rng(seed).normal(0, sd, steps.size)


@pytest.mark.parametrize("seed", range(5))
def test_looking_back_at_a_trend_tells_where_it_breaks(seed: int) -> None:
    (change,) = find_change_points(rising((90, 0.1), (60, -0.12), seed=seed), profile="sensitive")
    assert abs(change.index - 90) <= 5


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_trend_is_not_cut_into_stairs_by_looking_back(seed: int) -> None:
    assert indexes(rising((200, 0.1), seed=seed), "sensitive") == []


def test_a_jump_within_a_trend_is_found_by_looking_back() -> None:
    values = rising((160, 0.05))
    values[100:] += 4
    (change,) = find_change_points(values, profile="sensitive")
    assert abs(change.index - 100) <= 1


def test_an_outlier_is_no_turn_of_a_trend() -> None:
    values = rising((200, 0.1))
    values[[60, 61, 140]] *= 3
    assert indexes(values, "sensitive") == []


@pytest.mark.parametrize("where", [610, 1803, 3401])
def test_the_break_of_a_long_trend_is_placed_well(where: int) -> None:
    values = rising((where, 0.01), (4000 - where, -0.03), seed=where)
    (change,) = find_change_points(values, profile="sensitive")
    assert abs(change.index - where) <= 25


def test_in_a_long_series_a_break_is_at_the_very_best_place() -> None:
    values = rising((1777, 0.01), (2223, -0.03))
    fits, places = _Fits(values), np.arange(8, 3993)
    first, last = np.zeros_like(places), np.full_like(places, 4000)
    both = fits.costs(first, places, lines=True) + fits.costs(places, last, lines=True)
    assert list(fits.partitions(8, lines=True))[1] == [places[both.argmin()]]


def test_stairs_are_levels_and_no_trend() -> None:
    values = stepped((60, 1), (60, 1.3), (60, 1.7), (60, 2.2), seed=2)
    assert indexes(values, "sensitive") == pytest.approx([60, 120, 180], abs=3)


def test_lines_cost_what_ruptures_says() -> None:
    ruptures = pytest.importorskip("ruptures")
    values = rising((50, 0.1), (40, -0.1), (50, 0.2), seed=4)
    oracle = ruptures.costs.CostLinear().fit(
        np.column_stack([values, np.ones(values.size), np.arange(values.size)])
    )
    starts, ends = np.array([0, 20, 60]), np.array([50, 90, 140])
    expected = [oracle.error(start, end) for start, end in zip(starts, ends, strict=True)]
    assert _Fits(values).costs(starts, ends, lines=True) == pytest.approx(expected)


def test_looking_back_tells_what_the_watcher_could_not() -> None:
    values = noise(900, 3) * (1 + 0.35 * np.sin(np.arange(900) * 2 * np.pi / 11))  # of the hours of a day
    values[800:] *= 1.35
    assert indexes(values) == []
    assert [change.index for change in find_past_changes(values)] == pytest.approx([800], abs=10)


def test_of_today_nothing_is_reported_that_an_alert_would_not_report() -> None:
    values = stepped((100, 1), (4, 3.0))  # four runs are too few to look back at, and enough for the watcher
    (today,) = find_past_changes(values)
    assert today.index == indexes(values)[0] == pytest.approx(100, abs=5)
    for seed in range(40):
        values = noise(300, seed)
        values[-8:] *= 1.05
        young = [change.index for change in find_past_changes(values) if change.index > 280]
        assert young == [index for index in indexes(values) if index > 280]


@pytest.mark.parametrize(("before", "after"), [(10, 10), (12, 12), (12, 18), (14, 16)])
def test_a_clear_step_among_the_first_runs_is_told_though_the_watcher_learns_from_them(
    before: int, after: int
) -> None:
    values = noise(before + after, seed=3, sd=0.05) * np.repeat([1, 1.5], [before, after])
    assert [change.index for change in find_past_changes(values)] == [before]


@pytest.mark.parametrize("lasted", [8, 12, 20])
def test_a_level_that_is_over_is_told_as_over_though_the_watcher_still_learns_from_it(lasted: int) -> None:
    """A regression that was mended some runs ago is no regression that stands."""
    values = noise(60 + lasted + 8, seed=3, sd=0.05) * np.repeat([1, 1.5, 1], [60, lasted, 8])
    assert values.size - 8 not in indexes(values)
    there, back = find_past_changes(values)
    assert (there.index, there.after_n) == (60, lasted)
    assert there.effect_percent == pytest.approx(50, abs=8)
    assert back.index == values.size - 8
    stays, *more = find_past_changes(values[:-8])
    assert (stays.index, more) == (60, [])


def test_the_young_moves_of_short_healthy_series_are_those_that_the_watcher_reports() -> None:
    more = 0
    for seed in range(20):
        values = noise(34, seed)
        more += any(
            {change.index for change in find_past_changes(values[:n]) if change.index > n - 20}
            - set(indexes(values[:n]))
            for n in range(15, 35)
        )
    assert more <= 1, "of 400 looks at 20 series"


def test_a_turn_between_levels_that_hardly_differ_is_no_move() -> None:
    values = rising((60, 0.1), (60, -0.1), seed=1)
    assert indexes(values, "sensitive")
    assert all(abs(change.effect_percent) >= 5 for change in find_past_changes(values))


def test_a_long_past_is_looked_at_by_its_periods() -> None:
    waves = 5 * np.exp(0.1 * np.random.default_rng(2).normal(size=40 * 250))
    waves *= 1 + 0.35 * np.sin(np.arange(waves.size) * 2 * np.pi / 250)  # 250 runs a day
    firsts = range(0, waves.size, 250)
    assert [each for each in find_past_changes(waves, firsts) if each.index < waves.size - 250] == []
    waves[30 * 250 :] *= 1.4
    changes = [each for each in find_past_changes(waves, firsts) if each.index < waves.size - 250]
    assert [change.index for change in changes] == [30 * 250]
    assert changes[0].effect_percent == pytest.approx(40, abs=4)
    assert (changes[0].before_n, changes[0].after_n) == (30 * 250, 10 * 250)


@pytest.mark.parametrize("hour", [1, 100, 249])
def test_within_its_period_a_move_of_a_long_past_is_at_its_run(hour: int) -> None:
    """Not at the first run of the day, hundreds of runs before: what switched with it would go unnamed."""
    runs = 5 * np.exp(0.1 * np.random.default_rng(2).normal(size=40 * 250))
    runs[30 * 250 + hour :] *= 1.4
    (change,) = find_past_changes(runs, range(0, runs.size, 250))
    assert abs(change.index - (30 * 250 + hour)) <= 2


@pytest.mark.parametrize("period", [60, 110, 200])
def test_what_goes_up_and_down_with_the_hours_is_no_move(period: int) -> None:
    values = noise(1_000, 5) * (1 + 0.35 * np.sin(np.arange(1_000) * 2 * np.pi / period))
    assert [each for each in find_past_changes(values) if each.index < 980] == []


def test_a_dozen_runs_far_away_are_sure_though_the_noise_persists() -> None:
    rng = np.random.default_rng(3)
    drifting = np.zeros(42)
    for place in range(1, 42):
        drifting[place] = 0.95 * drifting[place - 1] + rng.normal(0, 0.02)
    values = np.exp(drifting) * np.repeat([1.0, 3.0], [30, 12])
    (change,) = describe_changes(values, [30])
    assert change.rank_p_value > 0.001, "no rank test can be surer of so few"
    assert change.p_value < 1e-6


@pytest.mark.parametrize("mended", [20, 30])
@pytest.mark.parametrize("seed", range(3))
def test_a_regression_after_a_mended_one_is_seen(mended: int, seed: int) -> None:
    levels = [(30, 1.0), (12, 2.5), (mended, 1.0), (12, 1.8)]
    values = np.concatenate(
        [factor * noise(n, 10 * seed + at, 0.05) for at, (n, factor) in enumerate(levels)]
    )
    begin = 42 + mended
    newest = find_change_points(values)[-1]
    assert abs(newest.index - begin) <= 3
    assert newest.effect_percent == pytest.approx(80, rel=0.15)
    assert abs(find_past_changes(values)[-1].index - begin) <= 3


def test_a_healthy_series_that_was_mended_stays_quiet() -> None:
    levels = [(30, 1.0), (12, 2.5), (150, 1.0)]
    for seed in range(20):
        values = np.concatenate([factor * noise(n, 9 * seed + at) for at, (n, factor) in enumerate(levels)])
        assert all(each.index < 50 for each in find_change_points(values))


@pytest.mark.parametrize("days_since", [6, 10, 40])
def test_a_move_of_a_year_of_days_begins_with_its_day(days_since: int) -> None:
    """Beside a year of days those of last week are as rare by rank as the new level is: not by seconds."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        medians = 11.6 * np.exp(rng.normal(0, 0.02, 366))
        medians[-days_since:] *= 1.25
        medians[-1] *= 1.15  # today is not over: its hours are those of the night
        found.append([index - (366 - days_since) for index in find_moved_periods(medians)])
    assert found == [[0]] * 12


@pytest.mark.parametrize("seed", range(20))
def test_the_partition_is_the_best_one_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size, penalty = int(rng.integers(12, 90)), 6.0
    scores = rng.normal(0, 1, size) + np.repeat(rng.normal(0, 2, size // 6 + 1), 6)[:size]

    def cost(places: list[int]) -> float:
        parts = np.split(scores, places)
        return sum(float(((part - part.mean()) ** 2).sum()) + penalty for part in parts)

    best: list[list[int]] = [[] for _ in range(size + 1)]  # of the scores up to there, by trying all
    least = [-penalty, *[math.inf] * size]
    for end in range(5, size + 1):
        for start in [0, *range(5, end - 4)]:
            part = scores[start:end]
            of_both = least[start] + float(((part - part.mean()) ** 2).sum()) + penalty
            if of_both < least[end]:
                least[end], best[end] = of_both, [*best[start], start] if start else []
    assert cost(_best_partition(scores, penalty)) == pytest.approx(cost(best[size]))
