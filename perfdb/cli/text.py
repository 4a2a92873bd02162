"""Small pieces of text for a terminal: durations, times, sizes, marks, safe names.

Whatever was recorded is printed inert: control characters and direction overrides
become visible escapes, so that no step name can move the cursor or forge a line.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from perfdb import text as texts
from perfdb.text import inert, local_time, percent_text, size_text, unbroken
from perfdb.vocabulary import COMPLETED, FAILED, INTERRUPTED, RUNNING

__all__ = [
    "COLOURS",
    "MARKS",
    "WITHIN",
    "amount_text",
    "can_print",
    "cut",
    "difference_text",
    "duration_text",
    "facts_text",
    "fast_text",
    "folded",
    "in_width",
    "inert",
    "local_time",
    "mark",
    "mode_mark",
    "of_kind",
    "pad",
    "percent_text",
    "short_time",
    "size_text",
    "width",
]

WITHIN = " › "
MARKS = {COMPLETED: "✓", FAILED: "✗", INTERRUPTED: "!", RUNNING: "…"}
ASCII_MARKS = {COMPLETED: "+", FAILED: "x", INTERRUPTED: "!", RUNNING: "~"}
_COMMAND = r"(?<=: )perfdb [^;(]*?(?=;|\.(?: |$)| \(|$)"
_LEAST_NAME = 5  # columns of a name before its mode
LONGEST_CONTAINER = 40  # characters of a list or mapping among attributes
COLOURS = {COMPLETED: "green", FAILED: "red", INTERRUPTED: "yellow", RUNNING: "cyan"}


def can_print(characters: str) -> bool:
    """Say whether stdout's encoding holds these characters."""
    try:
        characters.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def mark(status: str) -> str:
    """Return the one-character sign of a status."""
    marks = MARKS if can_print("".join(MARKS.values())) else ASCII_MARKS
    return marks.get(status, "?")


def width(text: str) -> int:
    """Return how many columns the text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int, *, ends: bool = False) -> str:
    """Shorten the text to so many columns; a cut is marked with an ellipsis.

    Of a step within another (``outer › inner``) the outer one is cut first: the text is about the inner. What
    stands in brackets at the end, such as the mode, tells rows apart: it stays where there is room. ``ends``:
    it is cut in its middle.
    """
    if width(text) <= columns:
        return text
    after = text.lstrip(" ")
    room = columns - (len(text) - len(after))
    if after != text and room >= _LEAST_NAME:  # how far in a step is
        return " " * (columns - room) + cut(after, room, ends=ends)
    name, bracket, kind = text.rpartition(" (")
    room = columns - width(bracket + kind)
    if bracket and kind.endswith(")") and room >= _LEAST_NAME:
        return cut(name, room, ends=ends) + bracket + kind
    outer, within, inner = text.rpartition(WITHIN)
    if within:
        room = columns - width(WITHIN) - width(inner)
        return cut(outer, room, ends=ends) + WITHIN + inner if room > 1 else cut(inner, columns, ends=ends)
    dots = "…" if can_print("…") else "."
    tail = "".join(_first(reversed(text), columns // 3))[::-1].lstrip() if ends else ""
    head = "".join(_first(text, columns - 1 - width(tail)))
    return head.rstrip() + dots + tail if columns > 0 else ""


def cut_apart(texts: Sequence[str], columns: int) -> list[str]:
    """Return each text cut to so many columns; of those that would look alike both ends stay."""
    made = [text if text.isascii() and len(text) <= columns else cut(text, columns) for text in texts]
    if made == list(texts):
        return made
    meant: dict[str, set[str]] = {}
    for short, text in zip(made, texts, strict=True):
        meant.setdefault(short, set()).add(text)
    return [
        cut(text, columns, ends=True) if len(meant[short]) > 1 else short
        for short, text in zip(made, texts, strict=True)
    ]


def _first(characters: Iterable[str], columns: int) -> Iterator[str]:
    """Yield characters as long as they fit into so many columns."""
    for character in characters:
        columns -= _columns(character)
        if columns < 0:
            return
        yield character


def folded(
    text: str,
    columns: int,
    *,
    initial_indent: str = "",
    subsequent_indent: str = "",
    break_long_words: bool = True,
    max_lines: int | None = None,
) -> list[str]:
    """Return the text in lines that take so many columns of a terminal; each is inert from its start.

    No line ends within a figure, a name with hyphens, or a command that fits one. What is more than
    ``max_lines`` is cut off the last one.
    """

    def whole(found: re.Match[str]) -> str:
        return found[0].replace(" ", "\u00a0") if len(found[0]) <= columns // 2 else found[0]

    text = re.sub(_COMMAND, whole, unbroken(re.sub(r"[\t\n\v\f\r]", " ", text)))
    lines = [initial_indent]
    room = columns - width(initial_indent)
    most = columns - width(subsequent_indent)
    for gap, word in re.findall("( *)([^ ]+)", text):
        piece, needed = gap + word, width(word)
        if len(gap) + needed > room and (needed <= most or not break_long_words):
            lines.append(subsequent_indent)
            piece, room = word, most
        while width(piece) > room and break_long_words:
            head = "".join(_first(piece, room))
            lines[-1] += head
            lines.append(subsequent_indent)
            piece, room = piece[len(head) :].lstrip(" "), most
        lines[-1] += piece
        room -= width(piece)
    lines = [line.rstrip() for line in lines if line.strip()]
    if max_lines is not None and len(lines) > max_lines:
        rest = " ".join(line.strip() for line in lines[max_lines - 1 :])
        indent = initial_indent if max_lines == 1 else subsequent_indent
        lines[max_lines - 1 :] = [cut(indent + rest, columns)]
    return [inert(line.replace("\u00a0", " ")) for line in lines]


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Fill the text with spaces up to so many columns; ``right`` aligns it to the right."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def in_width(text: str, columns: int, *, right: bool = False) -> str:
    """Cut or fill the text to so many columns."""
    if text.isascii() and len(text) <= columns:  # nearly all cells of a long table
        return text.rjust(columns) if right else text.ljust(columns)
    return pad(cut(text, columns), columns, right=right)


def duration_text(seconds: float | None) -> str:
    """Return ``texts.duration_text`` in characters that stdout can print."""
    text = texts.duration_text(seconds)
    return text if can_print("µ") else text.replace("µ", "u")


def amount_text(value: float | None, unit: str) -> str:
    """Return ``texts.amount_text`` in characters that stdout can print; nothing for what is missing."""
    if value is None:
        return ""
    text = texts.amount_text(value, inert(unit))
    return text.replace("µ", "u") if "µ" in text and not can_print("µ") else text


def short_time(epoch: float) -> str:
    """Return an instant in twelve columns: ``02 Jan 15:04``, or ``02 Jan 2025`` of another year."""
    then = datetime.fromtimestamp(epoch)
    return then.strftime("%d %b %H:%M" if then.year == datetime.now().year else "%d %b %Y")


def fast_text(fast_mode: Any) -> str:
    """Return ``fast``, ``normal``, or nothing for a pipeline that knows no fast mode."""
    if fast_mode is None or fast_mode != fast_mode:
        return ""
    return "fast" if fast_mode else "normal"


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return attributes as ``key=value`` in one line; long lists and mappings by their size."""
    return ", ".join(f"{inert(key)}={_fact(value)}" for key, value in facts.items())


def _fact(value: object) -> str:
    text = inert(value)
    if len(text) <= LONGEST_CONTAINER:
        return text
    if isinstance(value, Mapping):
        return f"{{{texts.counted(len(value), 'key')}}}"
    if isinstance(value, list):
        return f"[{texts.counted(len(value), 'item')}]"
    return text


def difference_text(value: float, unit: str = "s") -> str:
    """Return a difference with its sign: ``+73.4 ms``, ``-$0.02``."""
    text = texts.difference_text(value, inert(unit))
    return text if can_print("µ") else text.replace("µ", "u")


def mode_mark(mode: str) -> str:
    """Return a mode in as few words as a row has room for: ``fast``, nothing for the normal one."""
    words = texts.mode_text(mode).split(", ")
    return ", ".join(word.removesuffix(" mode") for word in words if word != "normal mode")


def of_kind(pipeline: str, mode: str) -> str:
    """Return what a table is about: ``design, fast mode``."""
    return ", ".join(part for part in (inert(pipeline), texts.mode_text(mode)) if part)
