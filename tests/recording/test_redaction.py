from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from benchmarks.secret_corpus import HARMLESS_NAMES, HARMLESS_TEXTS, texts, values
from perfdb.recording.redaction import REDACTED, is_secret_key, redact, redact_arguments, withheld
from perfdb.recording.values import clean, clean_error, clean_json

LEAST_RECALL = 0.98


def leaks(value: str, text: str) -> bool:
    """Tell whether six characters in a row of a credential stand in a text."""
    return any(value[at : at + 6] in text for at in range(max(1, len(value) - 5)))


def test_credentials_of_each_shape_in_each_place_are_withheld() -> None:
    tried: dict[str, int] = defaultdict(int)
    leaked: dict[str, list[str]] = defaultdict(list)
    for place, value, text in texts(seed=7):
        tried[place] += 1
        if leaks(value, redact(text)):
            leaked[place].append(text)
    assert sum(map(len, leaked.values())) <= (1 - LEAST_RECALL) * sum(tried.values()), leaked
    assert all(len(found) <= 0.1 * tried[place] for place, found in leaked.items()), leaked


def test_values_of_secret_names_are_withheld_in_each_form_and_entry() -> None:
    for kind, value, attribute in values(seed=8):
        recorded = json.dumps(clean({"x": attribute}), ensure_ascii=False)
        assert not leaks(value, recorded), (kind, attribute)
        imported = json.dumps(withheld(json.loads(json.dumps({"x": attribute}, default=repr, skipkeys=True))))
        if "bytes" not in kind:
            assert not leaks(value, imported), (kind, attribute)


def test_what_is_withheld_stays_so_and_nothing_more() -> None:
    for _, _, text in texts(seed=9):
        assert redact(redact(text)) == redact(text)
    for _, _, attribute in values(seed=9):
        once = clean({"x": attribute})
        assert withheld(once) == once == clean(once)


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_harmless_texts_stay(text: str) -> None:
    assert redact(text) == text
    assert clean({"text": text}) == {"text": text}


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_values_of_harmless_names_stay(name: str) -> None:
    assert not is_secret_key(name)
    for value in (5, 0.5, True, None, "fine", "a value", [1, 2], "2026-01-02"):
        assert clean({name: value}) == {name: value}
        assert withheld({name: value}) == {name: value}
    for text in (f"{name}=5", f"{name}: 12", f"{name}=0.5, x=1", f"{{'{name}': 7}}", f"--{name} 5"):
        assert redact(text) == text


def test_a_name_that_held_nothing_before_is_judged_again() -> None:
    for empty in (None, True, 5):
        for _ in range(2):
            clean_json({"session_token": empty, "auth": "basic"})
        for given in ("wonderland", "a" * 70):
            assert given not in clean_json({"session_token": given, "auth": "basic"})[1]
    for _ in range(2):
        clean_json({"auth": "basic", "value": "plain"})
    assert clean_json({"auth": "Zq7hunter2Xk", "value": "plain"})[0] == {"auth": REDACTED, "value": "plain"}
    assert clean_json({"name": "DB_PASSWORD", "value": "plain"})[0]["value"] == REDACTED


def test_arguments_of_commands() -> None:
    assert redact_arguments(["mysql", "-u", "root", "-phunter2", "-P", "3306"]) == [
        "mysql", "-u", "root", f"-p{REDACTED}", "-P", "3306",
    ]  # fmt: skip
    ports = ["-p", "8080", "-p", "8080:80", "-p", "a/b", "-p", "x"]
    assert redact_arguments(["run", "-p", "Zq7hunter2Xk", *ports]) == ["run", "-p", REDACTED, *ports]
    assert redact_arguments(["curl", "-u", "me:hunter", "--password", "--fast"]) == [
        "curl", "-u", f"me:{REDACTED}", "--password", "--fast",
    ]  # fmt: skip
    assert clean({"argv": ["--api-key", "plain", 5]})["argv"] == ["--api-key", REDACTED, 5]


def test_texts_of_exceptions() -> None:
    for error in (
        ValueError("Authorization", "Zq7hunter2Xk"),
        KeyError("token=Zq7hunter2Xk"),
        RuntimeError({"headers": {"X-Auth-Token": "Zq7hunter2Xk"}}),
        OSError(2, "no such file", "https://me:Zq7hunter2Xk@example.org/a"),
        ValueError([(b"authorization", b"Custom Zq7hunter2Xk")]),
    ):
        assert "hunter2" not in clean_error(error)


def test_a_text_that_is_little_else_than_names_is_cut_short() -> None:
    text = "password=Zq7hunter2Xk " * 5_000
    assert "hunter2" not in redact(text)
    assert len(redact(text)) < len(text) / 10
    plain = "a line with words and a key of 5\n" * 5_000
    assert redact(plain) == plain


@pytest.mark.parametrize("letter", ["İ", "ß", "🚀", "é"])
def test_letters_with_longer_small_forms_move_nothing(letter: str) -> None:
    assert redact(f"{letter}{letter} password=Zq7hunter2Xk {letter}") == (
        f"{letter}{letter} password={REDACTED} {letter}"
    )


@pytest.mark.parametrize(
    "value",
    [{"a": 1}, ["x", {"token_count": 3}], ("password", "username", "email"), {"tokens": ["a", "b"]}, []],
)
def test_values_without_credentials_stay(value: Any) -> None:
    assert clean({"x": value}) == {"x": list(value) if isinstance(value, tuple) else value}
