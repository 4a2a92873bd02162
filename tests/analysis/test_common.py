"""What slow runs have in common: values of attributes, with the share among them and among the rest."""

from __future__ import annotations

import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

import perfdb
from perfdb.analysis.series import DAY_S
from perfdb.errors import UsageError
from perfdb.testing import NOON, make_history, make_session

RUNS = 600


def recorded(place: Any, *, slow_customer: str = "acme") -> perfdb.History:
    """A tenth of the runs is of each of ten customers; one of them takes three times as long, mostly."""
    chance = random.Random(4)

    def seconds(customer: str) -> float:
        slow = customer == slow_customer and chance.random() < 0.6
        return chance.uniform(0.9, 1.1) * (3.0 if slow else 1.0)

    names = ["acme", *(f"other-{number}" for number in range(9))]
    return make_history(
        place,
        [
            make_session(
                number,
                {"load": seconds(name), "store": chance.uniform(1, 1.2)},
                attributes={"customer": name, "rows": chance.randrange(10_000), "big": number % 2 == 0},
                host=f"host-{number % 3}",
            )
            for number in range(RUNS)
            for name in [chance.choice(names)]
        ],
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> perfdb.History:
    return recorded(tmp_path_factory.mktemp("common"))


def test_what_makes_runs_slow_comes_first_with_its_counts(history: perfdb.History) -> None:
    found = history.common()
    first = found.frame.iloc[0]
    assert (first["attribute"], first["value"], first["slow_of"]) == ("customer", "acme", RUNS // 20)
    assert first["slow_percent"] == 100
    assert first["low_percent"] < 100 <= first["high_percent"]
    sessions = history.sessions()
    acme = sum(each["customer"] == "acme" for each in sessions["attributes"])
    assert first["slow_n"] + first["rest_n"] == acme
    assert found.sentence.startswith("100 % of 30 slow runs have customer=acme, ")
    assert list(found.frame.loc[found.frame["sure"], "attribute"]) == ["customer"]


def test_slow_runs_are_the_slowest_those_over_a_limit_or_a_given_set(history: perfdb.History) -> None:
    over = history.common(over=3.0)
    assert over.slow == list(history.sessions().query("total_duration > 3")["session_id"])
    given = history.common([f"run-{number:04}" for number in range(0, RUNS, 2)])
    assert list(given.frame.loc[given.frame["sure"], "attribute"]) == ["big"]
    of_step = history.common(step="store")
    assert not of_step.frame["sure"].any()
    assert "than chance explains" in of_step.sentence
    assert {"load", "store"} & set(of_step.frame["attribute"]) == set()


def test_of_one_stretch_of_time_its_own_hours_are_no_answer(history: perfdb.History) -> None:
    ids = [f"run-{number:04}" for number in range(RUNS - 40, RUNS)]
    kinds = {"hour (UTC)", "weekday (UTC)"}
    assert not kinds & set(history.common(ids).frame["attribute"])
    sessions = history.sessions()
    scattered = sessions.loc[sessions["start_time"] // 3_600 % 2 == 0, "session_id"]
    assert "hour (UTC)" in set(history.common(list(scattered)).frame["attribute"])


def test_one_date_is_no_weekday(tmp_path: Path) -> None:
    """Noon of the only Monday in a window says something of noon, and nothing of Mondays."""
    midnight = NOON - NOON % DAY_S
    runs = [
        make_session(number, {"work": 1.0 + (number // 12 % 24 == 12)}, every_s=300, start=midnight)
        for number in range(450)  # a day and a half
    ]
    found = make_history(tmp_path, runs).common()
    assert "weekday (UTC)" not in set(found.frame["attribute"])
    assert "began between 12:00 and 12:59 UTC" in found.sentence


def test_hours_come_below_what_they_may_not_hide(tmp_path: Path) -> None:
    """A wave of the day says when runs are slow; of which customer is what somebody can change."""
    chance = random.Random(5)

    def made(place: Path, slower: float) -> perfdb.History:
        runs = [
            make_session(
                number,
                {"load": chance.uniform(0.95, 1.05) * own * (1 + 0.4 * math.cos(math.tau * number / 24))},
                attributes={"customer": name},
                every_s=3_600,
            )
            for number in range(RUNS)
            for name in [chance.choice(["acme", "bolt", "cube", "dust"])]
            for own in [slower if name == "acme" else 1.0]
        ]
        return make_history(place, runs)

    found = made(tmp_path / "customer", 1.25).common()
    assert list(found.frame["attribute"][:2]) == ["customer", "hour (UTC)"]
    assert re.match(r"\d+ % of 30 slow runs have customer=acme", found.sentence)
    alone = made(tmp_path / "alone", 1.0).common().sentence
    assert re.match(
        r"\d+ % of 30 slow runs began between (\d\d):00 and \1:59 UTC, \d+ % of the other 570: "
        "it is their usual rhythm, and nothing else stands out$",
        alone,
    )


def test_numbers_of_many_values_are_told_by_quarters(tmp_path: Path) -> None:
    runs = [
        make_session(number, {"load": 1.0 + number / 1000}, attributes={"rows": number}, every_s=1)
        for number in range(200)
    ]
    first = make_history(tmp_path, runs).common(slowest=10).frame.iloc[0]
    assert (first["attribute"], first["value"], first["slow_percent"]) == ("rows", "over 149.25", 100)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"over": 100.0}, "0 of 600 runs are slow"),
        ({"over": 0.0}, "600 of 600"),
        ({"last": 10}, "too few runs"),
    ],
)
def test_where_nothing_can_be_compared_that_is_said(
    history: perfdb.History, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        history.common(**asked)


def test_of_a_measure_the_worst_runs_are_held_against_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "perfdb.toml").write_text('[measures.precision]\nbetter = "higher"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    made = [
        make_session(
            number,
            {"load": 1.0},
            attributes={
                "customer": "acme" if number % 5 == 0 else "bolt",
                "cost_usd": 2.0 if number % 5 == 0 else 1.0,
                "precision": 0.5 if number % 5 == 1 else 0.9,
                "shard": str(number % 5),
            },
        )
        for number in range(100)
    ]
    history = make_history(tmp_path / "home", made)
    dear = history.common(slowest=20, measure="cost_usd")
    assert dear.sentence == "100 % of 20 runs of the highest cost have cost_usd=2, 0 % of the other 80"
    over = history.common(over=1.5, measure="cost_usd")
    assert over.slow == dear.slow
    worst = history.common(slowest=20, measure="precision")
    assert (
        worst.sentence == "100 % of 20 runs of the lowest precision have precision=0.5, 0 % of the other 80"
    )
