"""Violations and proposed thresholds: limits over history.

Of: analysis/thresholds.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfdb.analysis.rules import Rule
from perfdb.analysis.runs import runs_of
from perfdb.analysis.thresholds import robust_limit, rounded_up, rule_name, suggest_thresholds
from perfdb.analysis.violations import COLUMNS, violations

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]


def broken(made: tuple[pd.DataFrame, pd.DataFrame], **rule: Any) -> list[tuple[Any, ...]]:
    found = violations(*made, [Rule(**({"name": "r", "kind": "max"} | rule))])
    return [
        tuple(row) for row in found[["session_id", "step_name", "value", "excess"]].itertuples(index=False)
    ]


def test_only_what_is_beyond_the_limit_breaks_it(make: Make) -> None:
    made = make([{"load": 2.0, "save": 9.0}, {"load": 3.0}, {"load": 4.0}])
    assert broken(made, step="load", limit=3.0) == [("run-0002", "load", 4.0, 1.0)]
    assert broken(made, step="load", kind="min", limit=3.0) == [("run-0000", "load", 2.0, 1.0)]


def test_a_rule_without_a_step_is_about_the_total_and_a_star_about_all(make: Make) -> None:
    made = make([{"load": 2.0, "save": 3.0}])
    total = violations(*made, [Rule(name="r", kind="max", limit=4.0)])
    assert total["step_name"].isna().tolist() == [True]
    assert total["value"].tolist() == [5.0]
    every = violations(*made, [Rule(name="r", kind="max", limit=2.5, step="*")])
    assert every["step_name"].fillna("Total").tolist() == ["Total", "save"], "the worst of a session first"


def test_the_worst_run_of_a_step_speaks_for_the_session(make: Make) -> None:
    made = make([[("load", 0.0, 5.0), ("load", 0.0, 7.0), ("load", 0.0, 6.0)]])
    assert broken(made, step="load", limit=1.0) == [("run-0000", "load", 7.0, 6.0)]
    assert broken(made, step="load", kind="min", limit=8.0) == [("run-0000", "load", 5.0, 3.0)]


def test_failed_and_tagged_sessions_break_no_limit(make: Make) -> None:
    changes: list[dict[str, Any]] = [{"status": "failed"}, {"tags": ["warmup"]}, {"status": "running"}]
    assert broken(make([{"load": 9.0}] * 3, sessions=lambda number: changes[number]), limit=1.0) == []


def test_a_rule_may_be_for_a_mode_or_a_pipeline(make: Make) -> None:
    made = make([{"load": 9.0}] * 2, sessions=lambda number: {"mode": f'{{"m":{number}}}'})
    assert [row[0] for row in broken(made, limit=1.0, mode=(("m", 1),))] == ["run-0001"]
    assert broken(made, limit=1.0, mode=(("other", 1),)) == []
    assert broken(made, limit=1.0, pipeline="other") == []


@pytest.mark.parametrize(("metric", "value"), [("rows", 7.0), ("cpu_s", 3.0)])
def test_limits_of_other_metrics(make: Make, metric: str, value: float) -> None:
    made = make(
        [{"load": 1.0}] * 2,
        steps=lambda number, name: {
            "cpu_s": 3.0 if number else None,
            "additional_data": {"rows": 7 if number else "many"},
        },
    )
    assert broken(made, step="load", metric=metric, limit=2.0) == [("run-0001", "load", value, value - 2.0)]


def test_other_kinds_of_rules_are_passed_over(make: Make) -> None:
    found = violations(*make([{"load": 1.0}]), [Rule(name="b", kind="budget", limit=0.1)])
    assert found.empty
    assert list(found.columns) == list(COLUMNS)


# --- thresholds ---------------------------------------------------------------------------------------


def test_a_wild_run_does_not_raise_the_limit(make: Make) -> None:
    values = np.random.default_rng(8).lognormal(0, 0.1, 60).tolist()
    quiet = suggest_thresholds(runs_of(*make([{"load": value} for value in values])))
    values[30] = 100.0
    wild = suggest_thresholds(runs_of(*make([{"load": value} for value in values])))
    load = wild[wild["step_name"] == "load"].iloc[0]
    assert load["limit"] == pytest.approx(float(quiet["limit"].iloc[1]), rel=0.1)
    assert (load["n"], load["flagged"]) == (60, 1)
    assert 1.25 < load["limit"] < 2


def test_a_steady_step_keeps_room_of_a_quarter() -> None:
    assert robust_limit(np.full(20, 2.0)) == 2.5


def test_a_second_way_to_run_lies_below_the_limit() -> None:
    values = np.concatenate([np.full(80, 1.0), np.full(20, 4.0)])
    assert robust_limit(values) == 4.0


def test_two_levels_far_apart_get_a_limit_near_the_higher_one() -> None:
    values = np.array([0.008, 0.0081, 0.17, 0.171] * 15)
    assert robust_limit(values) == 0.35


def test_where_more_is_better_the_limit_lies_below_the_lowest_run(make: Make) -> None:
    found = suggest_thresholds(
        runs_of(*make([{"load": 80.0 + number % 3} for number in range(30)])), higher_is_better=True
    )
    load = found[found["step_name"] == "load"].iloc[0]
    assert (load["rule_kind"], load["min"], load["max"]) == ("min", 80.0, 82.0)
    assert load["limit"] < 80


def test_few_runs_get_no_limit(make: Make) -> None:
    assert suggest_thresholds(runs_of(*make([{"load": 1.0}] * 19))).empty


@given(st.floats(1e-6, 1e6))
def test_rounding_up_keeps_two_digits_and_never_lowers(value: float) -> None:
    rounded = rounded_up(value)
    assert value * (1 - 1e-8) <= rounded <= value * 1.1 + 1e-12
    assert float(f"{rounded:.2g}") == pytest.approx(rounded, rel=1e-12)


def test_names_of_rules_are_readable() -> None:
    assert rule_name("Vision Analysis", "design", (("fast_mode", False),)) == "vision-analysis-slow"
    assert rule_name(None, "design", (("fast_mode", True),)) == "design-total-fast-mode-slow"
    assert rule_name("a/b", "x", (("model", "gpt-4o"),)) == "a-b-model-gpt-4o-slow"
