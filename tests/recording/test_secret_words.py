"""Words that are looked for in long texts, all of them at once."""

from __future__ import annotations

import ast
import random
import re
from pathlib import Path

import pytest

from benchmarks.secret_corpus import HARMLESS_TEXTS, texts
from perfdb.recording import (
    redaction,
    secret_codes,
    secret_commands,
    secret_named,
    secret_shapes,
    secret_texts,
    secret_tools,
    secret_words,
)
from perfdb.recording.redaction import redact
from perfdb.recording.secret_spans import REDACTED
from perfdb.recording.secret_words import ASKED, Words, all_of, said_in, search_of

RECORDING = Path(secret_words.__file__).parent
WORDS = ["key", "keys", "pw", "ab=", "xé", "a"]


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each text is a long one, and its words stand at the ends of blocks, too."""
    monkeypatch.setattr(secret_words, "LONG", 0)
    for module in (redaction, secret_named, secret_shapes, secret_texts, secret_tools):
        monkeypatch.setattr(module, "LONG", 0)
    monkeypatch.setattr(secret_words, "_BLOCK", 7)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_search_for_words_finds_what_a_pattern_finds(width: int) -> None:
    rng = random.Random(3)
    pattern = re.compile(r"(?:keys?|pw|ab=|xé|a)\w?(?!b)|ключ\w")
    words = Words([word.encode("ascii", "replace") for word in WORDS], width)
    for _ in range(2_000):
        text = "".join(rng.choices("keyspwab=xé ?к", k=rng.randint(0, 40))) + rng.choice(["", "ключи", "key"])
        found = [each.span() for each in pattern.finditer(text)]
        assert [each.span() for each in all_of(pattern, text, lambda: words, "ключ")] == found, text
        text = text.replace("ключ", "")
        search, end = search_of(pattern, text, lambda: words), rng.randint(0, len(text))
        while (expected := pattern.search(text, end)) is not None:
            hit = search(end)
            assert hit is not None, text
            assert hit.span() == expected.span(), text
            end = hit.end() + rng.randint(0, 3)
        assert search(end) is None, text


def test_what_stands_before_and_behind_a_word_is_looked_at() -> None:
    words = Words([b"sk-", b"a"], 4, before=b" \n", behind=b"x1")
    assert words.places(b" sk-x sk-. xsk-x\nsk-1 axxx a-x") == [0, 16, 21]
    assert Words([b"end"], 4).places(b"the end") == [4]
    assert words.places(b"") == []


def test_a_text_that_is_little_else_than_words_is_left_to_a_pattern() -> None:
    words = Words([b"key"], 3)
    assert words.places(b"key " * 10_000) is None
    assert words.places(b"key " * 10_000, most=20_000) == list(range(0, 40_000, 4))


def test_a_long_text_says_which_words_it_has() -> None:
    rng = random.Random(4)
    for length in (20_000, 100_000):
        asked = rng.sample(ASKED, 40)
        signs = "".join(rng.choices("abcdeklmnoprstuvwxyz =:-/é\n", k=length))
        parts = [signs[at : at + 400] for at in range(0, length, 400)]
        text = "".join(f"{word}{part}" for word, part in zip(asked * 9, parts, strict=False))
        said = said_in(text)
        assert not isinstance(said, str)
        assert [word for word in ASKED if word in said] == [word for word in ASKED if word in text]
        assert ("pw" in said, "qqq" in said) == ("pw" in text, "qqq" in text)


def test_each_word_that_is_asked_for_is_looked_for() -> None:
    """One that is not would be absent from each long text."""
    asked = set()
    for module in RECORDING.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant):
                holder = ast.unparse(node.comparators[0])
                if holder == "said" or (holder == "s" and module.name == "secret_texts.py"):
                    asked.add(node.left.value)

    asked.update(secret_commands._PROGRAMS, secret_codes._NAMES_OF_CODES, secret_texts._WORDS_NEAR)
    asked.update(sign for sign, _ in (*secret_commands._PLACES, *secret_commands._OF_SIGNS))
    asked.update(secret_named.LATIN_SIGNS)
    assert len(asked) > 100
    assert {word for word in asked if len(word) >= 4} - set(ASKED) == set()
    assert {word for word in asked if word != word.lower() or REDACTED in word} == set()


@pytest.mark.usefixtures("short_blocks")
def test_a_long_text_is_without_what_a_short_one_is_without(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [*(text for _, _, text in texts(seed=11)), *HARMLESS_TEXTS]
    shown = list(map(redact, tried))
    monkeypatch.undo()
    assert list(map(redact, tried)) == shown


def test_texts_joined_to_a_long_one_are_without_what_a_search_for_each_word_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(7)
    tried = [text for _, _, text in texts(seed=12)] + HARMLESS_TEXTS
    joined = [sep.join(rng.choices(tried, k=300)) for sep in ("\n", " ", ", ", " é ", "\\n") * 8]
    assert min(map(len, joined)) > secret_words.LONG
    shown = list(map(redact, joined))
    monkeypatch.setattr(secret_words, "LONG", 10**9)
    for module in (redaction, secret_named, secret_shapes, secret_texts, secret_tools):
        monkeypatch.setattr(module, "LONG", 10**9)
    assert list(map(redact, joined)) == shown
