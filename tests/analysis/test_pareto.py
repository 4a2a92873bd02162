"""What one would choose between: seconds against money, and who is on the front.

Of: charts/pareto.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from perfdb.analysis.compare import compare_groups
from perfdb.analysis.measuring import measured
from perfdb.analysis.pareto import advice, choices
from perfdb.charts.pareto import pareto
from perfdb.measures import Measure, named

Make = Callable[..., tuple[pd.DataFrame, pd.DataFrame]]
COST = named("cost_usd")
MODELS = {"quick": (1.0, 0.04), "slow and dear": (3.0, 0.05), "cheap": (2.0, 0.01)}


def asked(make: Make, *, in_steps: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Seven sessions with each model, one after the other; it is in the sessions, or in the steps alone."""
    names = [name for name in MODELS for _ in range(7)]
    runs = [{"ask": MODELS[name][0] + number / 100, "save": 0.5} for number, name in enumerate(names)]
    sessions, steps = make(
        runs, sessions=lambda number: {} if in_steps else {"attributes": {"model": names[number]}}
    )
    data = [
        {**({"model": name} if in_steps else {}), "cost_usd": MODELS[name][1] + number / 1e6}
        if step == "ask" else {}
        for number, name in enumerate(names) for step in ("ask", "save")
    ]  # fmt: skip
    return sessions, steps.assign(additional_data=data)


@pytest.mark.parametrize("in_steps", [True, False])
def test_who_is_slower_and_dearer_than_another_is_not_on_the_front(make: Make, in_steps: bool) -> None:
    found = choices(*asked(make, in_steps=in_steps), by="model", measure=COST)
    assert found["value"].tolist() == ["quick", "cheap", "slow and dear"]
    assert found["front"].tolist() == [True, True, False]
    assert found["n"].tolist() == [7, 7, 7]
    assert set(found["step_name"].fillna("Total")) == {"ask" if in_steps else "Total"}
    cheap = found.set_index("value").loc["cheap"]
    assert cheap["seconds"] == pytest.approx(2.17 + (0 if in_steps else 0.5))
    assert cheap["cost_low"] <= cheap["cost"] <= cheap["cost_high"]
    words = " ".join(text.get_text() for text in pareto(found, by="model", measure=COST).texts)
    assert "quick is the fastest model, cheap is the cheapest" in words.replace("\n", " ")


def test_advice_says_what_each_step_along_the_front_buys(make: Make) -> None:
    found = choices(*asked(make, in_steps=True), by="model", measure=COST).to_dict("records")
    assert (
        advice(found, measure=COST)
        == "quick instead of cheap saves 1.14 s a run (53 %) for $0.03 more (299 %)"
    )
    best = [row for row in found if row["value"] != "cheap"]
    said = advice(best, measure=COST)
    assert said == "Choose quick: a run with slow and dear has 2.07 s more (201 %), and $0.01 more (25 %)"
    assert advice(found[:1], measure=COST) == advice([], measure=COST) == ""
    for seconds in (0.0, 5.0):
        assert advice([{**each, "seconds": seconds, "front": True} for each in found], measure=COST) == ""


def test_nothing_is_called_the_fastest_that_chance_may_have_made_so(make: Make) -> None:
    names = [name for name in ("a", "b") for _ in range(7)]
    sessions, steps = make(
        [{"ask": 1.0 + (7 * number % 13) / 13} for number in range(14)],
        sessions=lambda number: {"attributes": {"model": names[number], "cost_usd": 1.0 + number / 100}},
    )
    found = choices(sessions, steps, by="model", measure=COST)
    words = " ".join(text.get_text() for text in pareto(found, by="model", measure=COST).texts)
    assert "a is the cheapest, and no model is faster than chance explains" in words.replace("\n", " ")


def test_where_more_is_better_the_front_is_on_the_other_side(make: Make) -> None:
    score = Measure("cost_usd", "", "score", better="higher")
    found = choices(*asked(make, in_steps=True), by="model", measure=score, step="ask")
    assert dict(zip(found["value"], found["front"], strict=True)) == {
        "quick": True, "cheap": False, "slow and dear": True,
    }  # fmt: skip


def test_what_has_no_such_attribute_is_said(make: Make) -> None:
    with pytest.raises(ValueError, match="neither sessions that count nor their steps"):
        choices(*asked(make, in_steps=True), by="nosuch", measure=COST)
    assert choices(*asked(make, in_steps=True), by="model", measure=named("nosuch_usd")).empty


@pytest.mark.parametrize(("a", "b"), [(None, None), ("quick", "cheap")])
def test_groups_are_told_apart_by_an_attribute_of_a_step(make: Make, a: Any, b: Any) -> None:
    frames = asked(make, in_steps=True)
    found = compare_groups(*measured(*frames, COST), by="model", a=a, b=b, measure=COST)
    assert (found.a, found.b) == (a or "slow and dear", "cheap")
    assert found.sentence.startswith("With model of ask = cheap a session of ")
    total = found.frame.iloc[0]
    assert (total["a_n"], total["b_n"]) == (7, 7)
    assert total["low"] <= total["difference"] <= total["high"] < 0
