"""Replace credentials, recognised by the name of a value or by the form of a text.

They are replaced before the first byte reaches the disk. When in doubt, the text is withheld: a text that is
lost costs less than a key that leaks. The time is linear in the length of a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from perfdb.recording import secret_shapes
from perfdb.recording.ordinary import is_plain
from perfdb.recording.secret_addresses import without_capabilities, without_hooks, without_users
from perfdb.recording.secret_codes import without_encoded
from perfdb.recording.secret_commands import has_options, without_arguments, without_options, without_places
from perfdb.recording.secret_names import (
    is_harmless,
    is_secret_key,
    is_secret_pair,
    may_withhold,
    secret_keys_in,
    withholds,
)
from perfdb.recording.secret_spans import REDACTED, small_of
from perfdb.recording.secret_texts import without_private_keys, without_said
from perfdb.recording.secret_tools import without_tools
from perfdb.recording.secret_words import LONG, said_in
from perfdb.vocabulary import MAX_NAME, remembered

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "REDACTED", "has_options", "is_harmless", "is_secret_key", "is_secret_pair",
    "may_withhold", "redact", "redact_arguments", "redact_name", "secret_keys_in", "withheld", "withholds",
]  # fmt: skip

_SHORTEST = 5  # of a text that holds a credential and its name
# Without one of the former, prose holds a credential only beside one of the latter, or behind its scheme.
_separates = re.compile(r"[=:;'\"`>%&\\|]").search
_SHORTEST_ENCODED = 20
_encodes = re.compile(r"[A-Za-z0-9+/]{21}").search
_hints = re.compile(r"[\d\-!@#$*+~]").search


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced, in base64 too."""
    if " -" in text and is_plain(text):
        return text
    shown = _redact(text)
    if len(shown) > _SHORTEST_ENCODED and _encodes(shown) is not None:
        shown = without_encoded(shown, _redact)
    return shown


def _redact(text: str) -> str:
    if len(text) < _SHORTEST:
        return text
    if "\0" in text:  # between the arguments of a command
        shown = _redact(text.replace("\0", " "))
        return shown if REDACTED in shown else text
    if (
        _separates(text) is not None
        or (len(text) > 7 and (" " in text or "\t" in text) and _hints(text) is not None)
        or ("earer " in text or "asic " in text)
        or not text.isascii()
    ):
        # looked here, not there, for what most texts have not: a call takes as long as three looks
        if "PRIVATE KEY" in text or "PuTTY-User" in text:
            text = without_private_keys(text)
        if "@" in text:
            text = without_users(text)
        small = text.lower() if text.isascii() else small_of(text)
        if " " in text:
            text, small = without_tools(text, small)
        said = small if len(small) <= LONG else said_in(small)
        text = without_said(text, small, said)
        if "/" in text and (
            "hook" in said
            or "/with/key/" in said
            or "telegram.org" in said
            or "rtmp" in said
            or "hc-ping" in said
            or "pagerduty" in said
        ):
            text = without_hooks(text)
        if "/" in text and len(text) > 28:
            text = without_capabilities(text)
        if " -" in text or "'-" in text or '"-' in text or text[0] == "-":
            text = without_options(text, said)
            text = without_places(text, said)
        elif " " in text and (
            "pass" in said
            or "login " in said
            or "auth " in said
            or "activate " in said
            or " use" in said
            or "unlock" in said
            or "alias" in said
            or "_user " in said
            or "echo " in said
            or "printf " in said
            or "securestring" in said
            or "<(" in text
            or "config " in said
            or " on >" in said
            or "<<<" in text
        ):
            text = without_places(text, said)
    if len(text) > 10 and secret_shapes.may_hold(text):
        text = secret_shapes.without_shapes(text)
    return text


def redact_arguments(arguments: Sequence[Any], extra: Iterable[str] = ()) -> list[Any]:
    """Return the arguments of a command without credentials; what is no text stays as it is."""
    return without_arguments(arguments, extra, redact)


redact_name = remembered(2_000)(redact)  # of a key or a step: the same few come again and again


_CACHE_SIZE, _LONGEST_KEPT = 4_096, 64
_harmless: set[str] = set()  # short texts that need no change: most values come again and again
_open_keys: set[str] = set()  # keys that withhold no value
_PLAIN = frozenset((int, float, bool, type(None)))
_is_id = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?").fullmatch  # of a span, a trace: each is another one
_IDS = frozenset(("span_id", "trace_id", "parent_span_id"))


def _shown(text: str) -> str:
    if text in _harmless:
        return text
    found = redact(text)
    if found == text and len(text) <= _LONGEST_KEPT:
        if len(_harmless) >= _CACHE_SIZE:
            _harmless.clear()
        _harmless.add(text)
    return found


def _is_open(values: Mapping[str, Any]) -> bool:
    """Say at once of most mappings that nothing in them is withheld: all was seen before."""
    for key, value in values.items():
        if key not in _open_keys:
            if type(key) is not str or len(key) > MAX_NAME or may_withhold(key) or redact_name(key) != key:
                return False
            if len(_open_keys) >= _CACHE_SIZE:
                _open_keys.clear()
            _open_keys.add(key)
        kind = type(value)
        if kind is str:
            if value not in _harmless and not (key in _IDS and _is_id(value)) and _shown(value) != value:
                return False
        elif kind not in _PLAIN:
            return False
    return True


def withheld(value: Any, extra: Iterable[str] = ()) -> Any:
    """Return a JSON value without what looks like a credential; twice is the same as once."""
    if type(value) is dict and not extra and _is_open(value):  # as most are
        return value
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, (list, tuple)):
        if is_secret_pair(value, extra):
            return [redact(value[0]), REDACTED]
        shown = redact_arguments(value, extra) if has_options(value) else value
        return [withheld(item, extra) for item in shown]
    if isinstance(value, Mapping):
        secret = secret_keys_in(value, extra)
        return {
            redact_name(key): REDACTED
            if withholds(key, item, extra) or (secret and key.lower() in secret)
            else withheld(item, extra)
            for key, item in value.items()
        }
    return value
