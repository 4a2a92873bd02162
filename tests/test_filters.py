"""What people say in a question: moments, attributes, counts and names, as words where it cannot be meant.

Of: store/filters.py.
"""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import perfdb
from perfdb.cli import cli
from perfdb.errors import FilterError, PerfdbError
from perfdb.filters import (
    DAY_S,
    attribute_of,
    checked_filters,
    checked_tag,
    moment_of,
    parse_age,
    parse_instant,
    zone_named,
)
from perfdb.recording.values import clean_name
from perfdb.store.upkeep.pruning import age
from perfdb.vocabulary import MAX_NAME, mode_of, recorded_name

NOW = datetime(2026, 3, 30, 14, 30).timestamp()  # the day after summer time began in Europe
AGES = {
    "90m": 5400.0, "2h": 7200.0, "1.5d": 1.5 * DAY_S, "12w": 84 * DAY_S, "6mo": 182.625 * DAY_S,
    "1y": 365.25 * DAY_S,
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), AGES.items())
def test_an_age_has_the_same_units_wherever_it_is_asked_for(
    text: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # not the history that the tests themselves have
    assert parse_age(text) == parse_age(f" {text} ") == age(text) == pytest.approx(seconds)
    assert parse_instant(text, now=NOW) == pytest.approx(NOW - seconds)
    perfdb.History().sessions(since=text)
    for command in (
        ["sessions", "--since", text],
        ["prune", "--older-than", text],
        ["alerts", "silence", "--for", text],
    ):
        assert "Invalid value" not in CliRunner().invoke(cli, command).output


def test_today_and_yesterday_begin_at_local_midnight() -> None:
    assert datetime.fromtimestamp(parse_instant("today", now=NOW)) == datetime(2026, 3, 30)
    assert datetime.fromtimestamp(parse_instant("Yesterday", now=NOW)) == datetime(2026, 3, 29)


@pytest.mark.parametrize(
    "text", ["", "d", "7", "7x", "sevend", "infd", "nany", "1e30d", "mo", "7 days", "-5d"]
)
def test_what_is_no_age_is_refused_in_the_same_words(text: str) -> None:
    for parse in (parse_age, age):
        with pytest.raises(ValueError, match=r"say 30m, 24h, 7d|such as 90d, 12w or 2y"):
            parse(text)
    with pytest.raises(ValueError, match="is not a moment: say 7d, 24h"):
        parse_instant(text)


MOMENTS = ["2026-01-31T08:00Z", "2026-W05-6", datetime(2026, 1, 31), 1767225600, "1767225600.5"]


@pytest.mark.parametrize("value", MOMENTS)
def test_other_moments_are_what_they_were(value: Any) -> None:
    assert parse_instant(value) > 1.7e9


def test_a_date_is_its_midnight_and_a_timedelta_an_age() -> None:
    assert moment_of(date(2026, 1, 31)) == moment_of("2026-01-31") == datetime(2026, 1, 31).timestamp()
    assert moment_of(timedelta(days=7), now=1e9) == moment_of("7d", now=1e9)
    assert parse_instant(date(2026, 1, 31)) == moment_of(date(2026, 1, 31))
    assert parse_instant(timedelta(days=7), now=1e9) == moment_of("7d", now=1e9)


def test_a_date_is_the_midnight_of_the_zone_that_is_meant() -> None:
    for value in (date(2026, 1, 31), "2026-01-31", datetime(2026, 1, 31)):
        assert moment_of(value, zone=UTC) == datetime(2026, 1, 31, tzinfo=UTC).timestamp()
        assert moment_of(value, zone=zone_named("Asia/Tokyo")) == moment_of("2026-01-30T15:00Z")


@pytest.mark.parametrize(
    "value",
    [
        "9999-12-31", "0001-01-01", "soon", "", "noon", "1e9999", "1e308d", date.max, date.min, datetime.max,
        timedelta.max, float("nan"), float("inf"), 10**400, True, [1], b"7d", object(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["since", "until"])
def test_what_is_no_moment_is_said_in_words(name: str, value: object) -> None:
    with pytest.raises(FilterError, match="moment"):
        checked_filters(None, {name: value})


@pytest.mark.parametrize(
    ("pair", "values"),
    [
        ("k=1", (1, "1")),
        ("k=2.40", (2.4, "2.40")),
        ("k=true", (True, "true")),
        ("k=null", (None, "null")),
        ('k="1"', ("1", '"1"')),
        ("k=a=b", ("a=b",)),
        ("k=", ("",)),
        ("k=[draft] one", ("[draft] one",)),
        ("k=1e999", ("1e999",)),
        ("k=NaN", ("NaN",)),
        (f"k={'9' * 400}", ("9" * 400,)),
    ],
)
def test_a_value_is_what_it_is_as_json_or_the_text(pair: str, values: tuple[object, ...]) -> None:
    assert attribute_of(pair) == ("k", values)


@pytest.mark.parametrize("pair", ["k", "=1", "", "k=[1]", "k={}", 'k={"a":1}', "k=" + "[" * 100_000])
def test_a_pair_that_cannot_be_meant_is_said_in_words(pair: str) -> None:
    with pytest.raises(FilterError) as refused:
        attribute_of(pair)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    "filters",
    [
        {"attribute": "a=b"}, {"attribute": ["a"]}, {"attribute": {"k": [1]}}, {"attribute": {"k": {}}},
        {"attribute": {1: "x"}}, {"attribute": {"k": float("nan")}}, {"attribute": {"k": 10**400}},
        {"pipeline": 7}, {"tag": b"x"}, {"status": "done"}, {"status": ["failed"]}, {"last": 0},
        {"last": True}, {"last": 1.5}, {"last": "7"},
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_meant_is_said_in_words(filters: dict[str, Any]) -> None:
    last = filters.pop("last", None)
    with pytest.raises(FilterError) as refused:
        checked_filters(last, filters)
    assert isinstance(refused.value, PerfdbError)
    assert isinstance(refused.value, ValueError)


def test_names_that_look_alike_are_one() -> None:
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    assert recorded_name(decomposed) == recorded_name(composed) == clean_name(decomposed) == composed
    assert checked_tag(decomposed) == composed
    assert checked_filters(None, {"pipeline": decomposed})["pipeline"] == composed
    assert list(checked_filters(None, {"attribute": {decomposed: 1}})["attribute"]) == [composed]
    assert mode_of({composed: 1}, (decomposed,)) == mode_of({composed: 1}, (decomposed,)).replace("null", "1")


@pytest.mark.parametrize("letter", ["x", "é", "漢", "🦆"])
@pytest.mark.parametrize("length", [MAX_NAME + 1, 5_000, 200_000])
def test_long_names_that_differ_at_their_end_stay_two_within_the_limit(letter: str, length: int) -> None:
    names = [letter * length + end for end in ("a", "b")]
    kept = {recorded_name(name) for name in names}
    assert len(kept) == 2
    assert all(len(name) <= MAX_NAME for name in kept)
    assert {clean_name(name) for name in names} == kept, "what is looked for is what was recorded"
    assert {recorded_name(name) for name in kept} == kept


def test_a_name_within_the_limit_is_kept_as_it_is() -> None:
    assert recorded_name("x" * MAX_NAME) == clean_name("x" * MAX_NAME) == "x" * MAX_NAME


def test_a_short_name_costs_no_further_module() -> None:
    assert recorded_name("Vision Analysis") == "Vision Analysis"
    assert sys.modules["perfdb.vocabulary"].__dict__.get("sha256") is None
