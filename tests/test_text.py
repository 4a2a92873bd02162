"""Values as a person says them, and recorded texts made inert."""

from __future__ import annotations

import time

import pytest

from perfdb.text import (
    as_it_ran,
    counted,
    cut_to,
    duration_text,
    inert,
    mode_text,
    p_text,
    shortened,
    size_text,
    utc_time,
    zoned_time,
)
from perfdb.vocabulary import NOT_RUN


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0 s"),
        (5e-7, "0.5 µs"),
        (0.00085, "850 µs"),
        (0.0123, "12.3 ms"),
        (23.333, "23.33 s"),
        (125.0, "2 min 05 s"),
        (7260.0, "2 h 01 min"),
        (14_195.6, "3 h 57 min"),
        (14_370.0, "4 h 00 min"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_durations_have_the_unit_that_suits_them(seconds: float | None, said: str) -> None:
    assert duration_text(seconds) == said


@pytest.mark.parametrize(
    ("zone", "said"),
    [("UTC", "2026-01-01 12:00:00 UTC"), ("Asia/Kathmandu", "2026-01-01 17:45:00 UTC+05:45")],
)
def test_what_is_read_elsewhere_names_its_zone(zone: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert zoned_time(1_767_268_800.0) == said
        assert utc_time(1_767_268_800.0) == "2026-01-01 12:00:00 UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_no_chance_is_0() -> None:
    assert [p_text(0.0), p_text(0.0304, 1, ""), p_text(3.1e-231)] == ["< 1e-300", "0.03", "= 3.1e-231"]


def test_what_did_not_run_took_no_0_seconds() -> None:
    assert as_it_ran("", 20, 0.0, 1.0) == (0.0, 1.0), "it ran, and held nothing up"
    assert as_it_ran(NOT_RUN, 20, 0.0, 1.0) == (None, 1.0)
    assert as_it_ran("never ran before", 0, 2.0, 0.0) == (2.0, None)


def test_sizes_and_counts() -> None:
    assert [size_text(size) for size in (999, 310e6, 2.5e13, None)] == ["999 B", "310 MB", "25 TB", "-"]
    assert [counted(number, "run") for number in (0, 1, 100_000)] == ["0 runs", "1 run", "100,000 runs"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ('{"fast_mode":false}', "normal mode"),
        ('{"fast_mode":true,"model":"gpt-4o"}', "fast mode, model=gpt-4o"),
        ('{"fast_mode":null}', ""),
        ("{}", ""),
        ("no json\x1b", "no json\\x1b"),
        ("[1]", "[1]"),
    ],
)
def test_a_mode_is_said_in_words(mode: str, said: str) -> None:
    assert mode_text(mode) == said


def test_nothing_that_is_obeyed_stays_in_a_text() -> None:
    assert inert("a\x1b[31m\u202eb\r\n\u2028") == "a\\x1b[31m\\u202eb\\r\\n\\u2028"
    assert inert("Émile 日本 🚀") == "Émile 日本 🚀"


def test_what_nobody_sees_is_shown_as_an_escape() -> None:
    hidden = (
        "\u034f\u115f\u1160\u17b4\u180b\u180e\u200b\u2060\u2800\u3164\ufe00\ufeff\uffa0\U000e0041\U000e0101"
    )
    assert inert(f"a{hidden}b").isascii()
    seen = "葛\U000e0100 ❤\ufe0f 👩\u200d💻 한글"
    assert inert(seen) == seen


def test_a_long_name_keeps_both_its_ends() -> None:
    assert shortened("short", 10) == "short"
    cut = shortened("a step of a very long name, number 17", 20)
    assert len(cut) <= 20
    assert cut.startswith("a step")
    assert cut.endswith("17")


def test_a_cut_text_says_how_many_characters_are_missing() -> None:
    assert cut_to("x" * 10, 10) == "x" * 10
    assert cut_to("x" * 12, 10) == f"{'x' * 10}… [2 characters cut]"
    assert cut_to("[redacted]", 20, of=50) == "[redacted]… [30 characters cut]"
