"""Small pieces of text for a terminal: durations, times, sizes, marks, safe names.

Whatever was recorded is printed inert: control characters and direction overrides
become visible escapes, so that no step name can move the cursor or forge a line.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any

MARKS = {"completed": "✓", "failed": "✗", "interrupted": "!", "running": "…"}
ASCII_MARKS = {"completed": "+", "failed": "x", "interrupted": "!", "running": "~"}
COLOURS = {"completed": "green", "failed": "red", "interrupted": "yellow", "running": "cyan"}
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


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


def inert(text: object) -> str:
    """Return the text with nothing in it that a terminal would obey."""
    return "".join(_escape(character) if _is_unsafe(character) else character for character in str(text))


def _is_unsafe(character: str) -> bool:
    return not character.isprintable() and unicodedata.category(character) in _UNSAFE


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """Return how many columns the text takes."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """Shorten the text to so many columns; a cut is marked with an ellipsis."""
    if width(text) <= columns:
        return text
    dots = "…" if can_print("…") else "."
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept).rstrip() + dots if columns > 0 else ""


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Fill the text with spaces up to so many columns; ``right`` aligns it to the right."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def duration_text(seconds: float | None) -> str:
    """Return seconds as a person says them: ``850 µs``, ``12.3 ms``, ``23.33 s``, ``2 min 05 s``."""
    if seconds is None or seconds != seconds:
        return "-"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} {'µs' if can_print('µ') else 'us'}"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 119.995:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def local_time(epoch: float) -> str:
    """Return an instant as this machine's clock shows it, to the second."""
    return datetime.fromtimestamp(epoch).strftime("%Y-%m-%d %H:%M:%S")


def short_time(epoch: float) -> str:
    """Return an instant in twelve columns: ``02 Jan 15:04``, or ``02 Jan 2025`` of another year."""
    then = datetime.fromtimestamp(epoch)
    return then.strftime("%d %b %H:%M" if then.year == datetime.now().year else "%d %b %Y")


def size_text(size: float | None) -> str:
    """Return bytes as a person says them: ``310 MB``."""
    if size is None or size != size:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def fast_text(fast_mode: Any) -> str:
    """Return ``fast``, ``normal``, or nothing for a pipeline that knows no fast mode."""
    if fast_mode is None or fast_mode != fast_mode:
        return ""
    return "fast" if fast_mode else "normal"


def facts_text(facts: Mapping[str, Any]) -> str:
    """Return attributes as ``key=value`` in one line."""
    return ", ".join(f"{inert(key)}={inert(value)}" for key, value in facts.items())
