"""Whom a move hits: each value held against itself before, beside all the others."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import perfdb
from perfdb.analysis.hits import Hits, find_hits
from perfdb.errors import UsageError
from perfdb.testing import NOON, make_history, make_session
from perfdb.vocabulary import COMPLETED, FAILED

RUNS = 600
MOVED = NOON + 60 * RUNS / 2
SINCE = "bbb"


def recorded(
    place: Any,
    *,
    slower: Callable[[str, bool], float] | None = None,
    fails: Callable[[str, bool], float] | None = None,
) -> perfdb.History:
    """A session a minute of one of three customers; a commit comes in the middle, with the move."""
    chance = random.Random(4)

    def session(number: int) -> perfdb.Session:
        customer, after = chance.choice(("acme", "globex", "initech")), number >= RUNS / 2
        factor = slower(customer, after) if slower is not None else 1.0
        failed = fails is not None and chance.random() < fails(customer, after)
        return make_session(
            number,
            {"load": chance.uniform(0.9, 1.1) * factor, "store": chance.uniform(1.0, 1.2)},
            attributes={
                "customer": customer,
                "rows": chance.randrange(10_000),
                "score": chance.choice((0, 1, 2)),
            },
            host=f"host-{number % 3}",
            git_commit=SINCE if after else "aaa",
            status=FAILED if failed else COMPLETED,
            success=not failed,
        )

    return make_history(place, [session(number) for number in range(RUNS)])


@pytest.fixture(scope="module")
def one_customer(tmp_path_factory: pytest.TempPathFactory) -> perfdb.History:
    place = tmp_path_factory.mktemp("one")
    return recorded(place, slower=lambda customer, after: 1.6 if after and customer == "acme" else 1.0)


def test_the_customer_that_became_slower_comes_first_and_not_the_commit(one_customer: perfdb.History) -> None:
    found = one_customer.hits(MOVED, step="load")
    assert found.sentence.startswith("Since then customer=acme +")
    assert list(found.frame.loc[found.frame["sure"], "value"]) == ["acme"]
    assert "git_commit" not in set(found.frame["attribute"])  # it has no runs before
    assert (found.before, found.after) == (RUNS // 2, RUNS // 2)


def test_the_figures_are_those_of_the_rows(one_customer: perfdb.History) -> None:
    first = one_customer.hits(MOVED, step="load").frame.iloc[0]
    steps = one_customer.steps(step="load")
    sessions = one_customer.sessions().set_index("session_id")
    customer = steps["session_id"].map(sessions["attributes"]).map(lambda each: each["customer"])
    own, after = customer == "acme", steps["session_id"].map(sessions["start_time"]) >= MOVED
    medians = {
        (is_own, is_after): steps[(own == is_own) & (after == is_after)]["duration"].median()
        for is_own in (True, False)
        for is_after in (True, False)
    }
    assert first["effect"] == pytest.approx(100 * (medians[True, True] / medians[True, False] - 1), abs=0.01)
    usual = steps[~after].groupby(customer)["duration"].median()
    rest = steps["duration"][~own] / customer[~own].map(usual)
    moved = rest[after[~own]].median() / rest[~after[~own]].median()
    assert first["rest_effect"] == pytest.approx(100 * (moved - 1), abs=0.01)
    assert (first["before_n"], first["after_n"]) == ((own & ~after).sum(), (own & after).sum())
    assert first["low"] < first["effect"] < first["high"]


def test_what_hits_all_is_no_bodys_own(tmp_path: Path) -> None:
    found = recorded(tmp_path, slower=lambda _, after: 1.6 if after else 1.0).hits(MOVED)
    assert not found.frame["sure"].any()
    assert found.sentence == "No value that is recorded moved more than the others then: it hits all alike"
    assert found.effect == pytest.approx(30, abs=5)


def test_where_nothing_moved_nobody_is_hit(tmp_path: Path) -> None:
    found = recorded(tmp_path).hits(MOVED)
    assert not found.frame["sure"].any()
    assert found.sentence == "No value that is recorded moved more than the others then"


def test_the_customer_that_got_faster_is_found_too(tmp_path: Path) -> None:
    history = recorded(
        tmp_path, slower=lambda customer, after: 0.5 if after and customer == "globex" else 1.0
    )
    found = history.hits(MOVED, step="load")
    assert found.sentence.startswith("Since then customer=globex -")


def test_whose_runs_fail_since_then(tmp_path: Path) -> None:
    history = recorded(tmp_path, fails=lambda customer, after: 0.3 if after and customer == "acme" else 0.02)
    found = history.hits(MOVED, failures=True)
    assert found.sentence.startswith("Since then customer=acme +")
    assert "points, all other runs" in found.sentence
    sessions = history.sessions()
    failed = sessions["status"] == FAILED
    own = sessions["attributes"].map(lambda each: each["customer"] == "acme")
    after = sessions["start_time"] >= MOVED
    rates = [100 * failed[own & side].mean() for side in (after, ~after)]
    assert found.frame.iloc[0]["effect"] == pytest.approx(rates[0] - rates[1])


def test_failures_of_independent_runs_are_as_sure_as_their_numbers(tmp_path: Path) -> None:
    """They are rare: what is rare is no outlier, and the runs between resemble each other."""
    history = recorded(tmp_path, fails=lambda _, after: 0.3 if after else 0.02)
    row = history.hits(MOVED, failures=True).frame.set_index("value").loc["acme"]
    sides = [(row["after_n"], 0.3), (row["before_n"], 0.02)]
    error = math.sqrt(sum(share * (1 - share) / n for n, share in sides))
    assert row["high"] - row["low"] == pytest.approx(100 * 2 * 1.96 * error, rel=0.4)


def test_where_runs_are_too_few_it_is_not_said_that_all_are_hit_alike(tmp_path: Path) -> None:
    runs = [
        make_session(
            number,
            {"work": 1.0},
            pipeline="etl" if number % 3 else "report",
            status=FAILED if (failed := number >= 200 and number % 9 == 0) else COMPLETED,
            success=not failed,
        )
        for number in range(248)
    ]
    found = make_history(tmp_path, runs).hits(NOON + 60 * 200, failures=True)
    assert not found.frame["sure"].any()
    assert found.sentence.endswith(": too few runs to tell whom it hits")


def test_without_values_on_both_sides_nothing_is_said_of_them(tmp_path: Path) -> None:
    runs = [make_session(number, {"work": 1.0}, attributes={"file": f"f{number}"}) for number in range(20)]
    found = make_history(tmp_path, runs).hits(NOON + 60 * 10)
    assert found.frame.empty
    assert found.sentence.startswith("No value has 5 runs on both sides")


def test_kinds_of_runs_are_held_against_their_own_past(tmp_path: Path) -> None:
    """That the share of a slow pipeline grows is no move of anybody."""
    chance = random.Random(5)
    runs = [
        make_session(
            number,
            {"work": chance.uniform(0.9, 1.1) * (10.0 if slow else 1.0)},
            pipeline="slow" if slow else "quick",
            attributes={"customer": f"c{number % 2}"},
        )
        for number in range(400)
        for slow in [chance.random() < (0.8 if number >= 200 else 0.2)]
    ]
    found = make_history(tmp_path, runs).hits(NOON + 60 * 200)
    assert not found.frame["sure"].any()
    assert abs(found.effect) < 5


def test_a_measure_that_may_be_zero_moves_in_percent_of_what_is_usual(tmp_path: Path) -> None:
    chance = random.Random(6)
    runs = [
        make_session(
            number,
            {"work": 1.0},
            attributes={
                "kind": kind,
                "errors": chance.choice((0, 1, 2)) + (6 if number >= 200 and kind == "a" else 0),
            },
        )
        for number in range(400)
        for kind in [chance.choice("ab")]
    ]
    found = make_history(tmp_path, runs).hits(NOON + 60 * 200, measure="errors")
    assert found.sentence.startswith("Since then kind=a +")


def of_runs(
    values: list[float],
    attributes: list[dict[str, str]],
    *,
    apart_s: float = 60.0,
    are_failures: bool = False,
) -> Hits:
    """What a move in the middle of such runs hits, one a minute, or as often."""
    ids = [f"s{number}" for number in range(len(values))]
    sessions = pd.DataFrame(
        {
            "session_id": ids,
            "start_time": [NOON + apart_s * number for number in range(len(values))],
            "pipeline": "p",
            "mode": "{}",
            "attributes": attributes,
        }
    )
    at = NOON + apart_s * len(values) / 2
    return find_hits(sessions, pd.Series(values, index=ids), at, are_failures=are_failures)


@pytest.mark.parametrize("bursts", [0, 8])
def test_chance_lets_nobody_fail(bursts: int) -> None:
    """Of a dozen runs of which half fail now and then hardly any did before, and most since."""
    false = 0
    for seed in range(50):
        chance = random.Random(seed)
        attributes = [
            {"customer": chance.choice("cdefg"), "user": str(chance.randrange(20))} for _ in range(600)
        ]
        begun = [chance.randrange(600) for _ in range(bursts)]
        fails = [
            (0.95 if any(first <= number < first + 6 for first in begun) else 0.02) if bursts else 0.5
            for number in range(600)
        ]
        values = [float(chance.random() < rate) for rate in fails]
        found = of_runs(values, attributes, apart_s=864.0, are_failures=True)  # six days
        false += bool(found.frame["sure"].any())
    assert false <= 1


@pytest.mark.parametrize(
    "value",
    [
        lambda chance: chance.choice((0.1, 10.0)) * chance.uniform(0.9, 1.1),  # cached, or not
        lambda chance: float(chance.choice((0, 0, 1, 1, 2))),  # a count
        lambda chance: max(0.0, chance.gauss(0, 1)),
        lambda chance: math.exp(chance.gauss(0, 0.15)),
    ],
    ids=["two levels", "counts", "zeros", "plain"],
)
def test_chance_hits_nobody_whatever_the_distribution(value: Callable[[random.Random], float]) -> None:
    false = 0
    for seed in range(50):
        chance = random.Random(seed)
        attributes = [
            {
                "size": chance.choice("ab"),
                "customer": chance.choice("cdefg"),
                "user": str(chance.randrange(20)),
            }
            for _ in range(400)
        ]
        false += bool(of_runs([value(chance) for _ in attributes], attributes).frame["sure"].any())
    assert false <= 1


def test_customers_of_different_size_are_held_each_against_itself() -> None:
    chance = random.Random(8)
    took = {"small": 1.0, "middle": 5.0, "large": 25.0, "acme": 2.0}
    attributes = [{"customer": chance.choice([*took])} for _ in range(600)]
    values = [
        took[each["customer"]]
        * chance.uniform(0.9, 1.1)
        * (1.3 if number >= 300 and each["customer"] == "acme" else 1)
        for number, each in enumerate(attributes)
    ]
    found = of_runs(values, attributes)
    assert found.sentence.startswith("Since then customer=acme +")
    assert list(found.frame.loc[found.frame["sure"], "value"]) == ["acme"]
    assert found.frame.iloc[0]["rest_effect"] == pytest.approx(0, abs=3)


def test_an_hour_that_was_there_once_is_a_stretch_of_time() -> None:
    found = of_runs([1.0 + 0.001 * (number % 7) for number in range(400)], [{"a": "b"} for _ in range(400)])
    assert "hour (UTC)" not in set(found.frame["attribute"])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"at": NOON - 1}, "0 of the runs that count began before then and 600 since"),
        ({"at": NOON + 60 * RUNS}, "600 of the runs that count began before then and 0 since"),
        ({"at": MOVED, "failures": True, "measure": "cpu_s"}, "leave measure='cpu_s' out"),
    ],
)
def test_what_cannot_be_compared_is_said(
    one_customer: perfdb.History, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        one_customer.hits(**asked)
