"""Shared by all searches for credentials in texts: spans to replace, within a bounded time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from heapq import heapify, heappop, heapreplace

from perfdb.recording.native import apart

REDACTED = "[redacted]"
# Looking at a place takes as long as reading so many characters; a text that holds more places is cut short.
MANY, ROOM = 200, 90
_WITHOUT_GIVING_BACK = re.compile(r"((?<!\\)\)(?:[*+?]|\{\d*,?\d*\}))\+")


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern, compiled when it is first needed: for all of them an import has no time."""
    return apart(lambda: re.compile(sound(pattern)))


def sound(pattern: str, *, version: tuple[int, ...] = sys.version_info[:3]) -> str:
    """Return a pattern as this Python matches it rightly.

    Before 3.11.5 a repeated group that gives nothing back may match what it should not, or nothing (CPython's
    issue 106052; Debian 12 has 3.11.2): there it gives back, which takes longer and finds the same.
    """
    return pattern if version >= (3, 11, 5) else _WITHOUT_GIVING_BACK.sub(r"\1", pattern)


def without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text without the spans; an empty one was looked at in vain."""
    cuts = _cuts(len(text), spans)
    return cut(text, cuts) if cuts else text


def without_both(text: str, small: str, spans: Iterable[tuple[int, int]]) -> tuple[str, str]:
    """Return the text and what it is in small letters without the spans."""
    cuts = _cuts(len(text), spans)
    return (cut(text, cuts), cut(small, cuts)) if cuts else (text, small)


def first_groups(found: Iterable[re.Match[str]]) -> Iterator[tuple[int, int]]:
    """Return where the first group of each match stands."""
    return (each.span(1) for each in found)


def _cuts(length: int, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    cuts = []
    kept = 0
    for looked, (begin, end) in enumerate(spans):
        if is_dense(looked, begin):
            end = length
        if kept <= begin < end:
            cuts.append((begin, kept := end))
        if end == length:
            break
    return cuts


def cut(text: str, cuts: Iterable[tuple[int, int]]) -> str:
    """Return the text without what stands there."""
    parts: list[str] = []
    kept = 0
    for begin, end in cuts:
        parts += (text[kept:begin], REDACTED)
        kept = end
    return "".join(parts) + text[kept:]


def any_of(words: Iterable[str]) -> str:
    """Return a pattern of any of the words; one that begins with another is not looked for.

    Words that begin alike are tried once: a search for many takes a fraction of the time.
    """
    rests: dict[str, list[str]] = {}
    for word in words:
        rests.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(letter) + ("" if "" in rest else any_of(rest)) for letter, rest in rests.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def runs_as(signs: str) -> bytes:
    """Return the table for ``shape_of`` of letters, digits and these signs."""
    return bytes(
        ord("a") if code < 128 and (chr(code).isalnum() or chr(code) in signs) else ord(" ")
        for code in range(256)
    )


def shape_of(text: str, table: bytes) -> bytes:
    """Return an ``a`` for each character of ASCII that the table has, a blank for each other.

    To find many ``a`` in it takes a tenth of the time that a search for a pattern takes.
    """
    return text.encode("ascii", "replace").translate(table)


def in_order(patterns: Sequence[re.Pattern[str]], text: str) -> Iterator[re.Match[str]]:
    """Return what ``finditer`` returns of a pattern that is any of these, each of which begins with a word.

    A search for one word passes quickly to the next place of it.
    """
    if len(patterns) > 1:
        return _in_order(patterns, text)
    return patterns[0].finditer(text) if patterns else iter(())


def _in_order(patterns: Sequence[re.Pattern[str]], text: str) -> Iterator[re.Match[str]]:
    hits = enumerate(pattern.search(text) for pattern in patterns)
    places = [(hit.start(), number, hit) for number, hit in hits if hit is not None]
    heapify(places)
    end = 0
    while places:
        start, number, hit = places[0]
        if start >= end:
            yield hit
            end = hit.end()
        if (following := patterns[number].search(text, end)) is not None:
            heapreplace(places, (following.start(), number, following))
        else:
            heappop(places)


def near(
    pattern: str, text: str, signs: Iterable[re.Match[str]], before: int, behind: int
) -> Iterator[re.Match[str]]:
    """Yield what a pattern finds that begins so many characters before a sign and ends so many behind it.

    A sign is rare and begins with a letter of its own; the pattern could begin anywhere.
    """
    search = compiled(pattern).finditer
    for begin, end in windows(signs, before, behind):
        yield from search(text, begin, end)


def windows(signs: Iterable[re.Match[str]], before: int, behind: int) -> Iterator[tuple[int, int]]:
    """Yield where so many characters before signs begin and so many behind them end, none of them twice."""
    begin = end = 0
    for hit in signs:
        if hit.start() - before > end:
            if end:
                yield begin, end
            begin = hit.start() - before
        end = hit.end() + behind
    if end:
        yield begin, end


def is_dense(looked: int, at: int, many: float = MANY, room: int = ROOM) -> bool:
    """Tell whether so many places of a text were looked at until here that the rest would take too long."""
    return looked > many and looked * room > at


def small_of(text: str) -> str:
    """Return the text in lower case, of the same length."""
    if "\u0130" in text:  # the one letter whose small form is longer
        text = text.replace("\u0130", "i")
    return text.lower()


def end_of(pattern: str, text: str, begin: int) -> int:
    """Return where a pattern ends that matches the empty text too."""
    return compiled(pattern).match(text, begin).end()  # type: ignore[union-attr]
