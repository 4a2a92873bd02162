"""Find credentials: by the name that a value has, and by the look of a text.

Whatever is found is replaced before the first byte reaches the disk. Wrong in doubt is to withhold too
much: a text that is lost costs less than a key that is found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

REDACTED = "[redacted]"

_WORDS = frozenset(
    "authorization bearer cookie cookies token secret secrets password passwords passwd pwd passphrase "
    "apikey apikeys dsn jwt credential credentials".split()
)
_ENDINGS = ("apikey", "password", "passwd", "secret", "token")  # accesstoken, written as one word
_PAIRS = frozenset(
    (what, key)
    for what in ("api", "access", "account", "auth", "encryption", "private", "signing", "ssh")
    for key in ("key", "keys")
)
_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

_CACHE_SIZE = 4_096
_known_keys: dict[str, bool] = {}  # what was judged before is not judged again

# Each pattern with words of which one stands, in small letters, in every text that it can match: looking for
# a word is a hundred times quicker, and `re` compiles only what is needed. A group is what stays of a match.
_SHAPES = [
    (words.split("|"), pattern)
    for words, pattern in (
        ("sk-|pk-|rk-", r"()\b[spr]k-[A-Za-z0-9_\-]{8,}"),  # OpenAI and alike
        ("k_live_|k_test_", r"()\b[spr]k_(?:live|test)_\w{8,}"),  # Stripe
        ("ghp_|gho_|ghu_|ghs_|ghr_", r"()\bgh[pousr]_[A-Za-z0-9]{16,}"),
        ("github_pat_", r"()\bgithub_pat_\w{16,}"),
        ("glpat-", r"()\bglpat-[\w\-]{16,}"),
        ("akia|asia", r"()\bA(?:KIA|SIA)[0-9A-Z]{16}\b"),  # AWS
        ("aiza", r"()\bAIza[\w\-]{30,}"),  # Google
        ("hf_", r"()\bhf_[A-Za-z0-9]{20,}"),
        ("xox", r"()\bxox[a-z]-[A-Za-z0-9\-]{8,}"),  # Slack
        ("eyj", r"()\beyJ[\w\-]{6,1000}\.[\w\-]{4,4000}\.[\w\-]*"),  # JWT
        (
            "private key-----",
            r"()-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        ),
        # user:password of an address, or a key in its place
        ("://", r"""(://)(?:[^/\s:@]*:[^/\s?#"'<>]+|[^/\s:@]{16,})(?=@)"""),
        ("hooks.slack.com/|/api/webhooks/", r"(\.slack\.com/services/|/api/webhooks/)[\w/\-]+"),
        ("bearer ", r"((?i:bearer) )[A-Za-z0-9._~+/=\-]{8,}"),
        ("basic ", r"((?i:basic) )(?=\S*[\d=+/])[A-Za-z0-9._~+/=\-]{8,}"),
        (
            "authorization|cookie|x-api-key",
            r"""((?i:authorization|cookie|x-api-key) *: *)[^\s"'][^\r\n"']*""",
        ),
    )
]
_NAMES = (
    "(?:api[ _-]?|access[_-]?|account[_-]?|private[_-]?|signing[_-]?)key|token|secret|password|passwd|pwd"
    "|passphrase|authorization|signature|credentials?|dsn|cookie"
)
_NAME_PARTS = (
    "key", "token", "secret", "passw", "pwd", "passphrase", "authoriz", "signature", "credential", "dsn",
    "cookie",
)  # fmt: skip
_QUOTED = r""""(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?"""
_NAMED = (
    rf"""((?i:{_NAMES})=)(?:{_QUOTED}|[^&\s"'<>]+)"""  # of an address, a command, a repr()
    rf"""|((?i:{_NAMES})["']\s*:\s*)(?:{_QUOTED})"""  # of JSON, a dictionary
    r"""|((?i:\b(?:password|passwd|secret|api[ _-]?key)) *: *)[^\s"'<>,;]+"""
)
_MAY_HOLD = re.compile(r"[-_=:./]|(?i:bearer |basic |A[KS]IA|AIza)")


def is_secret_key(key: str, extra: Iterable[str] = ()) -> bool:
    """Tell whether a key names a credential, by its segments: ``apiKey`` does, ``max_tokens`` does not."""
    secret = _known_keys.get(key)
    if secret is None:
        words = [word.lower() for word in _SEGMENT.findall(key)]
        secret = (
            not _WORDS.isdisjoint(words)
            or any(pair in _PAIRS for pair in pairwise(words))
            or any(word.endswith(_ENDINGS) for word in words)
        )
        if len(_known_keys) >= _CACHE_SIZE:
            _known_keys.clear()
        _known_keys[key] = secret
    return secret or any(word in key.lower() for word in extra)


def redact(text: str) -> str:
    """Return the text with everything that looks like a credential replaced."""
    if _MAY_HOLD.search(text) is None:
        return text
    small = text.lower()
    for words, shape in _SHAPES:
        if any(word in small for word in words):
            text = re.sub(shape, rf"\1{REDACTED}", text)
    if any(part in small for part in _NAME_PARTS) and ("=" in small or ":" in small):
        text = re.sub(_NAMED, rf"\1\2\3{REDACTED}", text)
    return text


def is_harmless(key: str, value: object) -> bool:
    """Tell that a value is no credential though its key sounds so: ``has_password=True``."""
    if value is None or isinstance(value, bool):
        return True
    return isinstance(value, (int, float)) and "token" in key.lower()


def withheld(value: Any, extra: Iterable[str] = ()) -> Any:
    """Return a JSON value without what looks like a credential; twice is the same as once."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [withheld(item, extra) for item in value]
    if isinstance(value, Mapping):
        return {
            redact(key): REDACTED
            if is_secret_key(key, extra) and not is_harmless(key, item)
            else withheld(item, extra)
            for key, item in value.items()
        }
    return value
