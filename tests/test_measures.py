"""A number's unit follows from its name, unless the settings say otherwise; texts carry it."""

from __future__ import annotations

import pytest

from perfdb.errors import SettingsError
from perfdb.measures import configured, named, number
from perfdb.settings import load
from perfdb.text import amount_text, difference_text
from perfdb.toml import parse


@pytest.mark.parametrize(
    ("name", "unit", "words", "total"),
    [
        ("duration", "s", "duration", "sum"),
        ("cpu_s", "s", "CPU time", "sum"),
        ("wait_s", "s", "time between attempts", "sum"),
        ("queue_ms", "ms", "queue", "sum"),
        ("image_bytes", "bytes", "image", "sum"),
        ("peak_heap_bytes", "bytes", "peak heap", "max"),
        ("cost_usd", "usd", "cost", "sum"),
        ("input_tokens", "tokens", "input tokens", "sum"),
        ("cache_percent", "percent", "cache", "max"),
        ("rows", "", "rows", "sum"),
        ("image_generation_time", "s", "image generation time", "sum"),  # of the design pipeline
        ("response_time", "", "response time", "sum"),  # of anybody's own unit
        ("_s", "", "s", "sum"),
    ],
)
def test_a_name_says_its_unit(name: str, unit: str, words: str, total: str) -> None:
    found = named(name)
    assert (found.unit, found.words, found.total, found.better) == (unit, words, total, "lower")


def test_the_settings_describe_a_measure() -> None:
    table = parse('[measures.score]\nbetter = "higher"\nunit = "points"\nlabel = "answer score"', source="x")
    score = named("score", configured(table.table("measures")))
    assert (score.unit, score.words, score.better, score.direction) == (
        "points",
        "answer score",
        "higher",
        "down",
    )
    assert named("other", {}).better == "lower"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('beter = "higher"', "did you mean 'better'"),
        ('better = "more"', "must be one of lower, higher"),
        ('total = "mean"', "must be one of sum, max, last"),
        ("unit = 3", "must be a text of one line"),
    ],
)
def test_a_mistake_names_its_line(tmp_path: object, line: str, said: str) -> None:
    path = f"{tmp_path}/perfdb.toml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"[measures.score]\n{line}\n")
    with pytest.raises(SettingsError, match="line 2") as caught:
        load(environ={"PERFDB_CONFIG": path})
    assert said in str(caught.value)


def test_the_duration_is_what_it_is() -> None:
    table = parse('[measures.duration]\nbetter = "higher"', source="x")
    with pytest.raises(SettingsError, match="only the 'label' is free"):
        configured(table.table("measures"))


def test_what_is_a_number() -> None:
    assert [number(each) for each in (1, 2.5, True, "3", None, float("nan"), 1e301, 10**400)] == [
        1.0, 2.5, None, None, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.084, "usd", "$0.084"),
        (0.0801, "usd", "$0.0801"),
        (0.5, "usd", "$0.50"),
        (1234.5, "usd", "$1,234.50"),
        (0.0000123, "usd", "$0.0000123"),
        (0, "usd", "$0.00"),
        (-0.02, "usd", "-$0.02"),
        (1234, "tokens", "1,234 tokens"),
        (1449.05, "tokens", "1,449 tokens"),
        (12_300_000, "bytes", "12.3 MB"),
        (12.34, "percent", "12.3 %"),
        (1500, "ms", "1.50 s"),
        (0.25, "s", "250 ms"),
        (7, "", "7"),
        (7.123456, "points", "7.123 points"),
        (None, "usd", "-"),
    ],
)
def test_amounts_carry_their_unit(value: float | None, unit: str, text: str) -> None:
    assert amount_text(value, unit) == text


def test_differences_carry_sign_and_unit() -> None:
    assert [difference_text(0.02, "usd"), difference_text(-3, "tokens"), difference_text(0, "usd")] == [
        "+$0.02", "-3 tokens", "$0.00",
    ]  # fmt: skip
    assert difference_text(1e-9) == "0 s"
