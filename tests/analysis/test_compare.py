"""Compare: two sessions, two groups, and what else could be the reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfdb.analysis.compare import (
    certainty,
    cliffs_delta,
    compare_groups,
    compare_sessions,
    difference_interval,
    key_of,
    keys_of,
    resampled_medians,
)
from perfdb.records import Session, Step

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def session(name: str, durations: Mapping[str, float], gap: float = 0.0) -> Session:
    at, steps = 100.0, []
    for seq, (step_name, duration) in enumerate(durations.items()):
        steps.append(Step(step_name=step_name, start_time=at, duration=duration, success=True, seq=seq))
        at += duration
    return Session(
        session_id=name,
        pipeline="etl",
        start_time=100.0,
        total_duration=at + gap - 100.0,
        status="completed",
        steps=tuple(steps),
    )


def test_the_differences_on_the_critical_path_add_up_to_the_difference() -> None:
    found = compare_sessions(
        session("a", {"load": 1.0, "old": 2.0}, gap=0.5), session("b", {"load": 4.0, "new": 1.0})
    )
    frame = found.frame.set_index("step_name")
    assert frame.index.tolist() == ["Total", "load", "old", "new", "Other"]
    assert frame["critical_difference_s"].tolist() == pytest.approx([1.5, 3.0, -2.0, 1.0, -0.5])
    assert frame.loc["load", "difference_percent"] == 300
    assert np.isnan(frame.loc["new", "difference_s"]), "there is nothing to compare it with"
    assert found.sentence == (  # of 1.50 s, 3.00 s cannot be accounted for
        "b took 5.00 s, 1.50 s more than a (3.50 s); "
        "on the critical path load took 3.00 s more, and others less."
    )


def test_a_running_session_has_nothing_to_compare() -> None:
    running = Session(session_id="r", pipeline="etl", start_time=0.0, total_duration=None, status="running")
    with pytest.raises(ValueError, match="session r is running"):
        compare_sessions(running, session("a", {}))


def groups(make: Make, a: list[float], b: list[float], **more: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Alternate runs of model x and model y."""
    pairs = [value for pair in zip(a, b, strict=True) for value in pair]
    return make(
        [{"load": value} for value in pairs],
        sessions=lambda number: {
            "attributes": {"model": "xy"[number % 2], "number": number}
            | {key: values[number % 2] for key, values in more.items()}
        },
    )


def test_groups_are_compared_by_median_interval_and_effect(make: Make) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(10, 1, 40).tolist(), rng.normal(12, 1, 40).tolist()
    found = compare_groups(*groups(make, a, b), by="model")
    row = found.frame.set_index("step_name").loc["load"]
    assert (found.a, found.b, row["a_n"], row["b_n"]) == ("x", "y", 40, 40)
    assert row["difference_s"] == pytest.approx(np.median(b) - np.median(a))
    assert row["low_s"] < 2 < row["high_s"]
    assert 0.5 < row["effect"] < 1
    assert found.confounded == ()
    assert "more than chance explains" in found.sentence


def test_no_difference_is_said_to_be_chance(make: Make) -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(10, 1, (2, 30)).tolist()
    assert "chance alone could explain it" in compare_groups(*groups(make, *values), by="model").sentence


def test_the_surest_of_many_differences_by_chance_is_not_called_more_than_that(make: Make) -> None:
    """Of eight steps of which none differs one does in every third history, by its own interval of 95 %."""
    called = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        runs = rng.normal(10, 1, (60, 8)).tolist()
        sessions, steps = make(
            [{f"step {place}": value for place, value in enumerate(run)} for run in runs],
            sessions=lambda number: {"attributes": {"customer": "ab"[number % 2]}},
        )
        found = compare_groups(sessions, steps, by="customer")
        called += "more than chance explains" in found.sentence
    assert called <= 4


def test_what_surely_moved_is_named_before_what_chance_explains(make: Make) -> None:
    rng = np.random.default_rng(7)
    noise = rng.normal(10, 1, (2, 40)).tolist()
    sessions, steps = groups(make, *noise)
    more = rng.normal(0.1, 0.001, len(steps))
    odd = steps["session_id"].isin(sessions["session_id"][1::2]).to_numpy()
    further = steps.assign(step_name="store", duration=np.where(odd, 1.2 * more, more), seq=1)
    found = compare_groups(sessions, pd.concat([steps, further], ignore_index=True), by="model")
    assert "the step store of etl (normal mode) took 120 ms in the median, 19.8 ms more" in found.sentence
    assert found.sentence.endswith("more than chance explains.")


def test_a_step_that_surely_moved_is_named_before_a_total_that_chance_explains(make: Make) -> None:
    rng = np.random.default_rng(7)
    frames = []
    for mode, values in (
        ("a", [[10.0, 10.1, 10.2, 10.3, 10.4, 10.5], [9.63, 9.73, 9.83, 9.93, 10.38, 10.03]]),
        ("b", rng.normal(10, 1, (2, 40)).tolist()),
    ):
        sessions, steps = groups(make, *values)
        frames.append((sessions.assign(mode=mode), steps.assign(mode=mode)))
    (few, steps_of_few), (many, steps_of_many) = frames
    for frame in frames[1]:
        frame["session_id"] = "b" + frame["session_id"]
    odd = steps_of_many["session_id"].isin(many["session_id"][1::2]).to_numpy()
    further = steps_of_many.assign(step_name="store", duration=np.where(odd, 0.12, 0.1), seq=1)
    further["duration"] += rng.normal(0, 0.001, len(further))
    steps = pd.concat([steps_of_few, steps_of_many, further], ignore_index=True)
    found = compare_groups(pd.concat([few, many], ignore_index=True), steps, by="model")
    totals = found.frame[found.frame["kind"] == "total"]
    assert certainty(totals["low"].iloc[0], totals["high"].iloc[0]) > 0, "in colour, yet one of two"
    assert "the step store of etl (b) took 120 ms" in found.sentence
    assert found.sentence.endswith("more than chance explains.")


def test_sessions_that_ended_alike_are_not_called_unlike() -> None:
    a, b = (replace(session(name, {"load": 1.0}), status="failed") for name in "ab")
    assert compare_sessions(a, b).sentence.endswith(". Both failed.")
    assert ". Not alike: b failed." in compare_sessions(session("a", {"load": 1.0}), b).sentence


def test_a_number_and_a_text_of_the_same_characters_are_told_apart(make: Make) -> None:
    made = make(
        [{"load": 1.0}] * 12, sessions=lambda number: {"attributes": {"level": 1 if number % 2 else "1"}}
    )
    said = compare_groups(*made, by="level").sentence
    assert "level = 1 " in said
    assert 'with "1"' in said


def test_what_tells_the_groups_apart_as_well_is_named(make: Make) -> None:
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = compare_groups(*groups(make, values, values, region=("eu", "us"), flag=(1, 1)), by="model")
    assert found.confounded == ("region",)
    assert found.sentence.endswith("Beware: the groups differ as well in region.")


def test_groups_one_after_the_other_are_confounded_with_time(make: Make) -> None:
    made = make([{"load": 1.0}] * 12, sessions=lambda number: {"attributes": {"model": "xy"[number // 6]}})
    assert compare_groups(*made, by="model").confounded == ("time",)


def test_of_many_values_the_two_newest_are_compared_and_the_rest_named(make: Make) -> None:
    made = make([{"load": 1.0}] * 8, sessions=lambda number: {"git_commit": f"c{number // 2}"})
    found = compare_groups(*made, by="git_commit")
    assert (found.a, found.b, found.left_out) == ("c2", "c3", ("c0", "c1"))
    assert compare_groups(*made, by="git_commit", a="c0").b == "c3"
    with pytest.raises(ValueError, match='git_commit = "zzz"'):
        compare_groups(*made, by="git_commit", a="zzz")


def test_values_that_nobody_named_are_of_one_pipeline_and_mode(make: Make) -> None:
    """Each pipeline has a newest commit of its own; which pairs meet nowhere, tell nothing."""
    made = make(
        [{"load": 1.0}] * 12,
        sessions=lambda number: {
            "pipeline": ("etl", "serve")[number % 2],
            "git_commit": f"{'es'[number % 2]}{number // 6}",
        },
    )
    for given, groups in (({}, ("s0", "s1")), ({"b": "e1"}, ("e0", "e1")), ({"a": "e0"}, ("e0", "e1"))):
        found = compare_groups(*made, by="git_commit", **given)
        assert (found.a, found.b) == groups
        assert found.frame["difference"].notna().any()
        assert sorted((found.a, found.b, *found.left_out)) == ["e0", "e1", "s0", "s1"]
    found = compare_groups(*made, by="git_commit", a="e1", b="s1")
    assert (found.a, found.b) == ("e1", "s1"), "what was named is compared all the same"


def test_modes_are_compared_each_by_itself(make: Make) -> None:
    made = make(
        [{"load": float(number % 4 + 1)} for number in range(16)],
        sessions=lambda number: {
            "attributes": {"model": "xy"[number % 2]},
            "mode": f'{{"fast_mode":{"true" if number % 4 > 1 else "false"}}}',
            "fast_mode": number % 4 > 1,
        },
    )
    frame = compare_groups(*made, by="model").frame
    assert frame["mode"].nunique() == 2
    assert (frame["a_median"].tolist(), frame["b_median"].tolist()) == ([1, 1, 3, 3], [2, 2, 4, 4])
    by_mode = compare_groups(*made, by="fast_mode").frame
    assert by_mode["mode"].unique().tolist() == ["{}"], "the attribute itself is what is compared"


def test_one_value_is_not_enough(make: Make) -> None:
    made = make([{"load": 1.0}] * 3, sessions=lambda number: {"attributes": {"model": "x"}})
    with pytest.raises(ValueError, match="nothing to compare"):
        compare_groups(*made, by="model")
    with pytest.raises(ValueError, match="no session that counts has the attribute 'region'"):
        compare_groups(*made, by="region")


def test_cliffs_delta_counts_pairs() -> None:
    from scipy import stats

    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 9, 30).astype(float), rng.integers(2, 11, 40).astype(float)
    u = stats.mannwhitneyu(b, a).statistic
    assert cliffs_delta(a, b) == pytest.approx(2 * u / (30 * 40) - 1)
    assert cliffs_delta(np.array([1.0]), np.array([2.0])) == 1.0


@pytest.mark.parametrize("n", [5, 6, 31, 200])
def test_medians_are_resampled_as_if_samples_were_drawn(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    ours = resampled_medians(values, np.random.default_rng(1), 20_000)
    drawn = np.median(np.random.default_rng(2).choice(values, (20_000, n)), axis=1)
    levels = (0.025, 0.25, 0.5, 0.75, 0.975)
    spread = np.subtract(*np.quantile(drawn, (0.975, 0.025)))
    assert np.abs(np.quantile(ours, levels) - np.quantile(drawn, levels)).max() < 0.06 * spread + 1e-9


def test_the_interval_is_deterministic_and_needs_five_runs() -> None:
    a, b = np.arange(1.0, 10.0), np.arange(3.0, 12.0)
    assert difference_interval(a, b) == difference_interval(a, b)
    assert difference_interval(a[:4], b) is None


@pytest.mark.parametrize(
    "value",
    [None, True, False, 1, -(10**20), 1.0, -0.0, 1e300, math.nan, "1", "ä\n", [1, None], {"b": 1, "a": [2]}],
)
def test_values_are_told_apart_as_json_has_them(value: object) -> None:
    assert key_of(value) == json.dumps(value, sort_keys=True, default=str)


@pytest.mark.parametrize(
    "values", [["1", None, "1"], [1, 2, 1], [True, 1, 1.0], [0.0, -0.0], [[1], "1"], [1e16, math.inf]]
)
def test_many_values_are_told_apart_as_each_alone(values: list[object]) -> None:
    assert keys_of(values) == [json.dumps(value, sort_keys=True, default=str) for value in values]
