"""Trends: percentiles that have their runs, and slopes that scipy agrees with.

Of: analysis/runs.py, analysis/series.py, analysis/slopes.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfdb.analysis import slopes as analysis
from perfdb.analysis.runs import runs_of
from perfdb.analysis.series import PERCENTILES, monday
from perfdb.analysis.slopes import mann_kendall, theil_sen
from perfdb.analysis.trends import COLUMNS, trends

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def load(made: tuple[pd.DataFrame, pd.DataFrame], **options: Any) -> pd.DataFrame:
    frame = trends(runs_of(*made), **options)
    return frame[frame["step_name"] == "load"]


def test_each_series_has_its_exact_numbers_and_the_total_comes_first(make: Make) -> None:
    values = np.random.default_rng(3).lognormal(size=150)
    sessions, steps = make([{"load": float(value), "save": 0.001} for value in values])
    frame = trends(runs_of(sessions, steps))
    assert frame["step_name"].fillna("Total").tolist() == ["Total", "load", "save"]
    row = frame.iloc[1]
    assert (row["n"], row["mean"]) == (150, pytest.approx(values.mean()))
    assert row[["p50", "p90", "p95", "p99"]].tolist() == pytest.approx(
        np.percentile(values, (50, 90, 95, 99)).tolist(), rel=1e-9
    )


@pytest.mark.parametrize(
    ("n", "known"), [(9, ["p50"]), (10, ["p50", "p90"]), (20, ["p50", "p90", "p95"]), (100, 4)]
)
def test_a_percentile_needs_its_least_number_of_runs(make: Make, n: int, known: Any) -> None:
    row = load(make([{"load": 1.0 + number / n} for number in range(n)])).iloc[0]
    shown = [name for name in PERCENTILES if not np.isnan(row[name])]
    assert shown == (list(PERCENTILES) if known == 4 else known)


def test_failures_are_counted_and_their_durations_are_not(make: Make) -> None:
    def fail(number: int) -> dict[str, Any]:
        return {"status": "failed", "success": False} if number == 1 else {}

    def fail_step(number: int, name: str) -> dict[str, Any]:
        return {"status": "failed", "success": False} if number == 1 else {}

    made = make([{"load": 1.0}, {"load": 50.0}, {"load": 3.0}], sessions=fail, steps=fail_step)
    frame = trends(runs_of(*made))
    assert frame["n"].tolist() == [2, 2]
    assert frame["failures"].tolist() == [1, 1]
    assert frame["mean"].tolist() == pytest.approx([2.0, 2.0])


def test_running_interrupted_and_warmup_sessions_do_not_exist(make: Make) -> None:
    changes = [{"status": "running"}, {"status": "interrupted"}, {"tags": ["ignore", "x"]}, {}]
    frame = load(make([{"load": 9.0}] * 3 + [{"load": 1.0}], sessions=lambda number: changes[number]))
    assert frame[["n", "failures", "mean"]].to_numpy().tolist() == [[1, 0, 1.0]]


def test_modes_are_never_mixed(make: Make) -> None:
    frame = load(make([{"load": 1.0}, {"load": 9.0}], sessions=lambda number: {"mode": f'{{"m":{number}}}'}))
    assert frame["mean"].tolist() == [1.0, 9.0]


def test_days_and_weeks_each_have_their_row(make: Make) -> None:
    made = make([{"load": 1.0 + number} for number in range(40)], every=6 * 3600.0)
    days = load(made, by="day")
    assert days["period"].tolist()[:2] == [
        pd.Timestamp(day, tz="UTC") for day in ("2026-01-01", "2026-01-02")
    ]
    assert days["n"].tolist() == [4] * 10
    weeks = load(made, by="week")
    assert weeks["period"].tolist() == [pd.Timestamp(day, tz="UTC") for day in ("2025-12-29", "2026-01-05")]
    assert {str(load(made, by=by)["period"].dtype) for by in ("last", "day")} == {"datetime64[us, UTC]"}
    assert load(made)["period"].isna().all()
    assert weeks["n"].tolist() == [16, 24]
    assert days["slope_percent_per_day"].tolist() == pytest.approx([100 * 4 / 20.5] * 10)
    assert weeks["slope_percent_per_day"].isna().all(), "two weeks make no trend"


def test_the_monday_of_a_day() -> None:
    assert [monday(day) for day in (-1, 0, 3, 4, 10, 11)] == [-3, -3, -3, 4, 4, 11]


def test_the_slope_is_given_per_session_and_per_day(make: Make) -> None:
    row = load(make([{"load": 100.0 + number} for number in range(21)], every=6 * 3600.0)).iloc[0]
    assert row["slope_percent_per_session"] == pytest.approx(100 / 110)
    assert row["slope_percent_per_day"] == pytest.approx(400 / 110)
    assert row["p_value"] < 1e-4


def test_a_step_that_runs_often_in_a_session_is_one_point_of_the_trend(make: Make) -> None:
    runs = [[("load", 0.0, 1.0 + number), ("load", 0.0, 1.0)] for number in range(9)]
    assert load(make(runs)).iloc[0]["n"] == 18
    assert np.isnan(load(make(runs)).iloc[0]["p_value"]), "nine sessions are too few"


@pytest.mark.parametrize("seed", range(5))
def test_theil_sen_equals_scipys(seed: int) -> None:
    from scipy import stats

    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.integers(0, 40, 60)).astype(float), rng.lognormal(size=60)
    assert theil_sen(x, y) == pytest.approx(stats.theilslopes(y, x).slope)


def test_mann_kendall_of_independent_values_is_kendalls_tau_test() -> None:
    from scipy import stats

    compared = 0
    for seed in range(60):
        values = np.random.default_rng(seed).normal(size=80).round(1)
        if analysis._inflation(values) == 1.0:
            expected = stats.kendalltau(np.arange(80), values, method="asymptotic").pvalue
            assert mann_kendall(values) == pytest.approx(expected, abs=0.01)  # theirs is without continuity
            compared += 1
    assert compared > 15


def test_autocorrelated_noise_is_no_trend() -> None:
    from scipy import stats

    found = {True: 0, False: 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        values = np.zeros(120)
        for i in range(1, 120):
            values[i] = 0.6 * values[i - 1] + rng.normal()
        found[True] += mann_kendall(values) < 0.05
        found[False] += stats.kendalltau(np.arange(120), values).pvalue < 0.05
    assert found[False] > 40, "uncorrected, a fifth of quiet series would have a trend"
    assert found[True] <= 24


def test_a_constant_series_has_no_trend() -> None:
    assert mann_kendall(np.ones(20)) == 1.0


def test_by_must_be_known(make: Make) -> None:
    with pytest.raises(ValueError, match="'month'"):
        trends(runs_of(*make([])), by="month")  # type: ignore[arg-type]


def test_nothing_recorded_gives_no_rows(make: Make) -> None:
    for by in ("last", "day", "week"):
        frame = trends(runs_of(*make([])), by=by)  # type: ignore[arg-type]
        assert frame.empty
        assert list(frame.columns) == list(COLUMNS)
