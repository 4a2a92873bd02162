from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from click.testing import CliRunner

import perfdb
from perfdb.cli import cli
from perfdb.filters import DAY_S, parse_age, parse_instant
from perfdb.store.upkeep.pruning import age

NOW = datetime(2026, 3, 30, 14, 30).timestamp()  # the day after summer time began in Europe
AGES = {
    "90m": 5400.0, "2h": 7200.0, "1.5d": 1.5 * DAY_S, "12w": 84 * DAY_S, "6mo": 182.625 * DAY_S,
    "1y": 365.25 * DAY_S,
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), AGES.items())
def test_an_age_has_the_same_units_wherever_it_is_asked_for(text: str, seconds: float) -> None:
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


@pytest.mark.parametrize("text", ["", "d", "7", "7x", "sevend", "infd", "nany", "1e30d", "mo", "7 days"])
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
