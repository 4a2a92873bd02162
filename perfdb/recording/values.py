"""Make any value of the host fit for the disk: strict JSON, bounded, without credentials.

Nothing here raises, whatever it is given. What is cut is marked as cut, what is
withheld is marked as redacted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence, Set, ValuesView
from itertools import islice

from perfdb.encoding import to_json
from perfdb.guard import raise_foreign
from perfdb.recording.redaction import (
    REDACTED,
    has_options,
    is_secret_pair,
    may_withhold,
    redact,
    redact_arguments,
    secret_keys_in,
    withholds,
)
from perfdb.text import cut_to
from perfdb.vocabulary import MAX_NAME as MAX_NAME
from perfdb.vocabulary import bounded, recorded_name

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

MAX_TEXT = 4_096  # characters of one string
MAX_ITEMS = 200  # entries of one container
MAX_DEPTH = 8
MAX_TOTAL = 65_536  # characters of one set of attributes, roughly
MAX_KNOWN = 64  # characters of a text that is remembered as harmless
MAX_EXACT = 2.0**53  # from here on a float is kept as a whole number: PostgreSQL writes it with other digits
MAX_WHOLE = 1 << 53  # the same for whole numbers: to compare one with a float takes longer

# What was found harmless is not looked at again; all are emptied when they grow large.
_CACHE_SIZE = 4_096
_safe_texts: dict[str, str] = {}  # short texts that need no change, with their JSON
_safe_keys: dict[str, str] = {}  # keys that are no credential, as the JSON of a member begins: comma to colon
_CONSTANTS = {None: "null", True: "true", False: "false"}


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """Return a redacted string of at most about ``limit`` characters that both databases can store."""
    if len(text) <= MAX_KNOWN and text in _safe_texts:  # the hash of a long text takes time
        return text
    given = text
    if len(text) <= limit:
        text = redact(text)
    else:
        # redacted before the cut, so that half a credential cannot survive at the seam
        text = cut_to(redact(text[: limit + MAX_TEXT]), limit, of=len(text))
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # lone surrogates
    text = text.replace("\x00", "\u2400")
    if text == given and len(text) <= MAX_KNOWN:
        if len(_safe_texts) >= _CACHE_SIZE:
            _safe_texts.clear()
        _safe_texts[text] = to_json(text)
    return text


def clean_error(error: object, limit: int = MAX_TEXT) -> str:
    """Return what an exception says of itself, or its type when it says nothing."""
    try:
        text = str(error)
    except BaseException as problem:
        raise_foreign(problem)
        text = ""
    return clean_text(text or type(error).__name__, limit)


def clean_name(name: object) -> str:
    """Return the text of a key, or of the name of a step or event, whatever it is; see ``recorded_name``."""
    try:
        text = bounded(str.__str__(name) if isinstance(name, str) else str(name))
        return recorded_name(clean_text(text, len(text)))
    except BaseException as error:
        raise_foreign(error)
        return f"<unreadable {type(name).__name__}>"


def is_true(value: object) -> bool:
    """Return the truth of a value; one that has none, such as an array, is false."""
    try:
        return bool(value)
    except BaseException as error:
        raise_foreign(error)
        return False


def clean(data: Mapping[str, Any], extra_secret_words: Iterable[str] = ()) -> dict[str, Any]:
    """Return attributes as strict JSON values, redacted by key and by value, bounded in size."""
    return Cleaner(extra_secret_words).clean(data)


def clean_json(data: dict[str, Any], extra_secret_words: Iterable[str] = ()) -> tuple[dict[str, Any], bytes]:
    """Return ``clean(data)`` and its JSON; what needs no change is returned itself, not copied.

    This runs on the host's time, once per step: keys and short texts that were found
    harmless before are put together from their known JSON.
    """
    members = ""
    try:
        for key, value in data.items():
            kind = type(value)
            if kind is str:
                if len(value) > MAX_KNOWN:
                    break
                members += _safe_keys[key] + _safe_texts[value]
            elif kind is int:
                if not -MAX_WHOLE < value < MAX_WHOLE:
                    break
                members += f"{_safe_keys[key]}{value}"
            elif kind is float:
                if not -MAX_EXACT < value < MAX_EXACT:  # NaN is not between either
                    break
                members += f"{_safe_keys[key]}{value!r}"
            elif value is None or kind is bool:
                members += _safe_keys[key] + _CONSTANTS[value]
            else:
                break
        else:
            if not extra_secret_words:
                return data, f"{{{members[1:]}}}".encode("ascii")
    except (KeyError, TypeError) as error:
        raise_foreign(error)
    cleaned = clean(data, extra_secret_words)
    return cleaned, to_json(cleaned).encode("ascii")


class Cleaner:
    """Cleans sets of attributes within one bound; ``room`` is what is left of it."""

    def __init__(self, extra_secret_words: Iterable[str] = ()) -> None:
        self.extra = tuple(extra_secret_words)
        self.room = MAX_TOTAL

    def clean(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return one set of attributes as strict JSON values; what does not fit any more is cut."""
        try:
            return self.mapping(data, 0)
        except BaseException as error:  # a mapping that lies about itself
            raise_foreign(error)
            return {"unreadable": type(error).__name__}

    def mapping(self, data: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        """Return the mapping with text keys; what does not fit is counted under ``…``."""
        cleaned: dict[str, Any] = {}
        secret = secret_keys_in(data, self.extra)
        # taken in one go: another thread may change it meanwhile
        for count, (key, value) in enumerate(list(islice(data.items(), MAX_ITEMS + 1))):
            if count == MAX_ITEMS or self.room <= 0:
                cleaned["…"] = f"{len(data) - count} more entries cut"
                break
            name = clean_name(key)
            self.room -= len(name) + 4
            if withholds(name, value, self.extra) or (secret and name.lower() in secret):
                cleaned[name] = REDACTED
            else:
                cleaned[name] = self.value(value, depth + 1)
                if name in _safe_texts and depth == 0 and not may_withhold(name):
                    if len(_safe_keys) >= _CACHE_SIZE:
                        _safe_keys.clear()
                    _safe_keys[name] = f",{_safe_texts[name]}:"
        return cleaned

    def value(self, value: Any, depth: int) -> Any:
        """Return any value as something that JSON can say."""
        kind = type(value)
        if kind is str:
            text = clean_text(value, min(MAX_TEXT, max(self.room, 0)))
            self.room -= len(text)
            return text
        if value is None or kind is bool:
            return value
        self.room -= 8
        if kind is int:
            return value if -(1 << 63) <= value < 1 << 63 else self._number(value)
        if kind is float:
            return self._number(value)
        try:
            return self._other(value, depth)
        except BaseException as error:
            raise_foreign(error)
            return f"<unreadable {kind.__name__}>"

    def _other(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.value(str.__str__(value), depth)
        if isinstance(value, (bool, int, float)):  # subclasses, IntEnum among them
            return self.value(int(value) if isinstance(value, int) else float(value), depth)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"<{len(value)} bytes>"
        if depth >= MAX_DEPTH:
            return "<nested too deeply>"
        if isinstance(value, Mapping):
            return self.mapping(value, depth)
        if isinstance(value, (Sequence, Set, ValuesView)):
            return self._sequence(value, depth)
        if hasattr(value, "shape"):  # numpy, pandas, torch, without importing them
            shape = tuple(value.shape)
            if math.prod(shape) > MAX_ITEMS or not hasattr(value, "tolist"):
                return f"<{type(value).__name__} of shape {shape}>"
            return self.value(value.tolist(), depth)
        if hasattr(value, "isoformat"):
            return self.value(str(value.isoformat()), depth)
        if hasattr(value, "as_tuple") and hasattr(value, "is_finite"):  # Decimal
            return self._number(float(value))
        if hasattr(value, "value") and hasattr(type(value), "__members__"):  # Enum
            return self.value(value.value, depth + 1)
        if hasattr(value, "__fspath__"):
            return self.value(str(value.__fspath__()), depth)
        return self.value(repr(value), depth)

    def _sequence(self, values: Collection[Any], depth: int) -> list[Any]:
        if isinstance(values, (list, tuple)):
            if is_secret_pair(values, self.extra):
                return [self.value(values[0], depth + 1), REDACTED]
            if has_options(values):
                values = redact_arguments(values[:MAX_ITEMS], self.extra) + list(values[MAX_ITEMS:])
        cleaned: list[Any] = []
        for count, value in enumerate(list(islice(values, MAX_ITEMS + 1))):
            if count == MAX_ITEMS or self.room <= 0:
                cleaned.append(f"… {len(values) - count} more items cut")
                break
            cleaned.append(self.value(value, depth + 1))
        return cleaned

    @staticmethod
    def _number(value: float) -> float | str:
        try:
            number = float(value)
        except OverflowError as error:
            raise_foreign(error)
            return "Infinity" if value > 0 else "-Infinity"
        if math.isfinite(number):
            return int(number) if MAX_EXACT <= abs(number) < 2.0**63 else number
        return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"
