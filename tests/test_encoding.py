"""An encoder that is put together once says what ``json`` does."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from perfdb.encoding import encoder_of

ENCODERS = [
    json.JSONEncoder(separators=(",", ":"), allow_nan=False),
    json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")),
    json.JSONEncoder(sort_keys=True, default=str),
]


@pytest.mark.parametrize("made", ENCODERS)
def test_it_says_what_json_does(made: json.JSONEncoder) -> None:
    encode = encoder_of(made)
    values: list[Any] = [
        "é\n\0😀\ud800", -1.5e300, 2**70, True, None, {}, [], {"b": [1, (2, 3)], "a": {"": "x"}}, {5: None},
    ]  # fmt: skip
    for value in values:
        assert encode(value) == made.encode(value), value


@pytest.mark.parametrize("made", ENCODERS[:2])
def test_what_json_cannot_say_is_refused_each_time(made: json.JSONEncoder) -> None:
    encode = encoder_of(made)
    held: list[Any] = []
    held.append(held)
    for value, kind in ((object(), TypeError), (math.nan, ValueError), (held, RecursionError)):
        for _ in range(2):
            with pytest.raises(kind):
                encode([value])
    assert encode([held[:0], held[:0]]) == "[[],[]]"  # nothing is remembered of what failed
