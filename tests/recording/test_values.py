from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import math
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from perfdb.recording.redaction import REDACTED, is_secret_key
from perfdb.recording.values import MAX_TEXT, clean, clean_error, clean_json, clean_text


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "cleaned"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (2**70, float(2**70)),
        (10**400, "Infinity"),
        (b"secret bytes", "<12 bytes>"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (decimal.Decimal("1.5"), 1.5),
        (decimal.Decimal(1), 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (np.zeros((30, 30)), "<ndarray of shape (30, 30)>"),
        (np.float64("nan"), "NaN"),
        (range(3), [0, 1, 2]),
        (collections.deque([1]), [1]),
        (pd.DataFrame({"a": [1]}), "<DataFrame of shape (1, 1)>"),
        (1e300, 1e300),
        (2.0**60, 2**60),
        ({1}, [1]),
        ((1, None, True), [1, None, True]),
        (Colour.RED, "red"),
        (Number.ONE, 1),
        (pathlib.Path("a/b"), "a/b"),
        ("a\x00b", "a␀b"),
        ("\ud800", "?"),
        (Hostile(), "<unreadable Hostile>"),
        ({"a": {2: [3]}}, {"a": {"2": [3]}}),
    ],
)
def test_any_value_becomes_strict_json(value: Any, cleaned: Any) -> None:
    result = clean({"value": value})
    assert result == {"value": cleaned}
    assert type(result["value"]) is type(cleaned)
    json.dumps(result, allow_nan=False).encode("ascii")


def test_huge_attributes_are_bounded_and_marked() -> None:
    many = clean({f"key {i}": "y" * 1_000 for i in range(100_000)})
    assert "more entries cut" in many["…"]
    assert len(json.dumps(many)) < 250_000
    assert "more items cut" in clean({"list": list(range(10_000))})["list"][-1]


@pytest.mark.parametrize(
    "key",
    "Authorization api_key apiKey X-API-Key apikey openai_api_key authToken session_token DB_PASSWORD "
    "client_secret dsn Cookie private_key credentials accesstoken dbpassword apiKeys Account-Key jwt".split(),
)
def test_keys_that_name_a_credential_lose_their_value(key: str) -> None:
    assert is_secret_key(key)
    assert clean({key: "value"}) == {key: REDACTED}


@pytest.mark.parametrize(
    "key", "max_tokens input_tokens monkey tokenizer key secretary design_style author".split()
)
def test_keys_are_judged_by_whole_words(key: str) -> None:
    assert not is_secret_key(key)
    assert clean({key: "value"}) == {key: "value"}


def test_extra_secret_words_come_from_the_settings() -> None:
    for _ in range(2):  # the second time from memory
        assert clean({"licence": "abc", "n": 1}, ["licence"]) == {"licence": REDACTED, "n": 1}
        assert clean_json({"licence": "abc"}, ["licence"])[0] == {"licence": REDACTED}
        assert clean_json({"licence": "abc"})[0] == {"licence": "abc"}


def test_what_cannot_be_a_credential_stays() -> None:
    assert clean({"has_password": True, "token": None, "token_count": 5}) == {
        "has_password": True,
        "token": None,
        "token_count": 5,
    }


@pytest.mark.parametrize(
    "canary",
    [
        "sk-proj-abcdefgh12345678", "ghp_abcdefghijklmnopqrst", "AKIAABCDEFGHIJKLMNOP", "xoxb-1234567890-abc",
        "eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM", "hunter2hunter2", "sk_live_abcdefgh1234",
        "ASIAABCDEFGHIJKLMNOP", "AIzaSyA1234567890abcdefghijklmnopqrstuv", "hf_abcdefghijklmnopqrstuv",
    ],
)  # fmt: skip
def test_credentials_inside_of_texts_are_replaced(canary: str) -> None:
    around = {
        "hunter2hunter2": [
            "postgresql://me:{}@host/db",
            "postgresql://me:p@{}@host/db",
            "https://{}12@sentry.example.org/1",
            "GET /search?q=sofa&api_key={}&x=1",
            "Bearer {}",
            "Client(api_key='{} x')",
            '"apiKey": "{}"',
            "{{'db_password': 'a\\'{}'}}",
            "Cookie: a=b; c={}",
            "Authorization: Custom {}",
            "wrong password: {}",
            "https://hooks.slack.com/services/T0/B0/{}",
        ],
    }.get(canary, ["{}", "the key '{}' is wrong", "x={}"])
    for text in around:
        for _ in range(2):
            assert canary not in clean_text(text.format(canary))
            assert canary not in clean_error(ValueError(text.format(canary)))
            assert canary not in json.dumps(clean({"list": [{"deep": text.format(canary)}]}))
        assert canary not in clean_text("z" * (MAX_TEXT - 10) + " " + text.format(canary))


def test_a_private_key_is_replaced_whole() -> None:
    pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\nxyz\n-----END RSA PRIVATE KEY-----"
    assert clean_text(f"before {pem} after") == f"before {REDACTED} after"


def test_a_header_kept_as_a_pair_loses_its_value() -> None:
    headers = [("Accept", "json"), ("X-Api-Key", "hunter2"), ("max_tokens", 5), ("has_token", None)]
    assert clean({"headers": headers})["headers"] == [
        ["Accept", "json"], ["X-Api-Key", REDACTED], ["max_tokens", 5], ["has_token", None],
    ]  # fmt: skip


def test_ordinary_texts_stay_as_they_are() -> None:
    for text in (
        "Vision Analysis",
        "https://example.org/a?b=c#d",
        "12:30:45",
        "a-b_c",
        "größe 🚀",
        "user@example.org",
        "Basic authentication failed",
        "http://host:8080/mail?to=user@example.org",
        "max_tokens=5",
        "Invalid token: unexpected end",
    ):
        assert clean_text(text) == text


@pytest.mark.parametrize(
    "data", [{"a": 1, "b": "x", "c": None, "d": True, "e": 1.5}, {"n": math.nan}, {"k": Hostile()}]
)
def test_the_quick_way_says_the_same_as_the_thorough_one(data: dict[str, Any]) -> None:
    for _ in range(3):
        cleaned, text = clean_json(data)
        assert cleaned == clean(data)
        assert json.loads(text) == cleaned


def test_an_exception_without_words_is_named() -> None:
    assert clean_error(TimeoutError()) == "TimeoutError"
    assert clean_error(ValueError("bad")) == "bad"
