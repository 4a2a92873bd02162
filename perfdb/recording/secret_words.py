"""Find where any of many words stands in a long text, all of them in one pass.

A pattern of many words is tried at each character that begins one, as every other does; a search for one
word after the other reads the text as often as there are words. Here the words are in eight groups, each with
a bit of its own: one table tells of a character in which groups it is a word's first, the next one in which
it is the second, and so on. Where the tables agree a word may begin; such places are few, and looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from functools import cache
from math import prod

from perfdb.recording.ordinary import STEMS
from perfdb.recording.secret_spans import compiled

LONG = 10_000  # characters of a text from which on this is quicker
_BLOCK = 1 << 15
_MANY = _BLOCK // 16  # places of a block, for as many searches
_GROUPS = 8
_ANY = bytes(range(256))
_is_place = re.compile(rb"[^\0]").finditer

# What a text in small letters is asked for before it is searched for patterns; shorter ones are soon found.
_LEAST = 4
ASKED = (
    *(stem for stem in STEMS if len(stem) >= _LEAST),
    "/with/key/", "telegram.org", "hook", "content", "rtmp", "hc-ping", "pagerduty", "login ", "auth ",
    "activate ", " use", "unlock", "alias", "_user ", "echo ", "printf ", "securestring", "config ", "<input",
    "phrase", "auth(", "nemonic", "user", "password ", "secret", "passw", " key", "credential", "totp",
    "auth plain ", "auth login ", "insert into", "[parameters: ", "input_value=", "--value", "--string",
    "http-basic", "crypt(", "wifi:", "saml", "bearer ", "basic ", "nemon",
    # in other languages
    "contr", "schl", "nonce", "clave", "chave", "chiave", "nyckel", "cyfr", "parol", "slapt", "wort", "woord",
    "gehe", "gangs", "segre", "adgang", "sifr", "fjale", "senha", "anahtar", "zapor", "lozin", "elszo",
    "klucz", "pasahitz", "jeton", "salasan", "laluan", "lykilor", "sandi", "senord", "nenosiri",
    "hasło", "hasła", "jelszó", "lösenord", "slaptaž", "khẩu", "lykilorð", "fjalëkalim",
    # before a password that was made at random
    "passcode", "pass phrase", "passphrase", "kennwort", "kata sandi", "wachtwoord", "contrase", "salasana",
    "losenord", "adgangs", "access code", "api key", "heslo", "haslo", "jelsz", "lozinka", "login", "token",
    "mot de passe", "zugangscode",
    # programs, and what they are told
    "mysql", "mariadb", "mongo", "mosquitto_", "sshpass", "sqlcmd", "smbclient", "snowsql", "ldap", "lftp",
    "redis-cli", "rabbitmqadmin", "unzip", "curl", "cqlsh", "clickhouse-client", "wget", "http", "htpasswd",
    "openssl", "influx", "twine", "abbitmqctl ", "tpasswd -", "ault login ", "w unlock ", "pa_passphrase ",
    "c alias set", "et user ", "et use ", "sh-keygen ", "udo -s ", "hpasswd", "ogin ", "uth ", "ctivate ",
    "--user", " on >",
)  # fmt: skip


class Words:
    """Words to look for, as bytes, of which the first few characters tell where one may begin."""

    __slots__ = ("_end", "_tables")

    def __init__(
        self, words: Iterable[bytes], width: int, *, before: bytes = b"", behind: bytes = _ANY
    ) -> None:
        """Make the tables.

        Args:
            words: of which the first ``width`` characters are looked at.
            width: a longer one looks at fewer places in vain, and takes longer.
            before: what must stand before a word, any if there is none; places begin there.
            behind: what must follow a shorter one.
        """
        groups = [[0] * width for _ in range(_GROUPS)]  # of each, the characters at each place, as bits
        sizes = [0] * _GROUPS
        for word in sorted({word[:width] for word in words}, key=lambda word: (len(word), word)):
            new = [sum(1 << code for code in word[at : at + 1] or behind) for at in range(width)]
            joined = [[old | each for old, each in zip(group, new, strict=True)] for group in groups]
            grown = [prod(each.bit_count() for each in group) for group in joined]
            best = min(range(_GROUPS), key=lambda at: grown[at] - sizes[at])
            groups[best], sizes[best] = joined[best], grown[best]
        tables = [
            [sum((group[at] >> code & 1) << bit for bit, group in enumerate(groups)) for code in range(256)]
            for at in range(width)
        ]
        self._tables = [bytes(255 * (code in before) for code in range(256))] if before else []
        self._tables += map(bytes, tables)
        self._end = behind[:1] * width

    def places(self, text: bytes, most: int = _BLOCK // 32) -> list[int] | None:
        """Return where a word may begin, in order; None for a text in which too many do.

        Where more than one character in thirty begins one, a pattern finds them as quickly.
        """
        found: list[int] = []
        text += self._end
        for begin in range(0, len(text) - len(self._end), _BLOCK):
            groups = -1
            for at, table in enumerate(self._tables, begin):
                groups &= int.from_bytes(text[at : at + _BLOCK].translate(table), "little")
            if groups:
                shown = groups.to_bytes(_BLOCK, "little")
                if _BLOCK - shown.count(0) > most:
                    return None
                found += [begin + each.start() for each in _is_place(shown)]
        return found


def all_of(
    pattern: re.Pattern[str], text: str, words: Callable[[], Words], others: str = ""
) -> Iterator[re.Match[str]]:
    """Return what ``finditer`` returns of a pattern that begins with one of the words.

    The others are a pattern of more words, of other alphabets.
    """
    if (places := _places(text, words)) is None:
        return pattern.finditer(text)
    if others:
        places = sorted({*places, *(other.start() for other in compiled(others).finditer(text))})
    return _matches(pattern, text, places)


def _matches(pattern: re.Pattern[str], text: str, places: list[int]) -> Iterator[re.Match[str]]:
    end = 0
    for place in places:
        if place >= end and (hit := pattern.match(text, place)) is not None:
            yield hit
            end = hit.end()


def search_of(
    pattern: re.Pattern[str], text: str, words: Callable[[], Words]
) -> Callable[[int], re.Match[str] | None]:
    """Return what searches a text from somewhere on for a pattern that begins with one of the words.

    Each time, it is called with a place behind the former and what was found there.
    """
    if (places := _places(text, words)) is None:
        return lambda begin: pattern.search(text, begin)
    rest = iter(places)

    def search(begin: int) -> re.Match[str] | None:
        for place in rest:
            if place >= begin and (hit := pattern.match(text, place)) is not None:
                return hit
        return None

    return search


def _places(text: str, words: Callable[[], Words]) -> list[int] | None:
    return words().places(text.encode("ascii", "replace")) if len(text) > LONG else None


def said_in(small: str) -> Container[str]:
    """Return what tells whether a text in small letters has one of ASKED, or a shorter word."""
    words, by_beginning = _asked()
    if (places := words.places(small.encode("ascii", "replace"), _MANY)) is None:
        return small
    found = set()
    for at in places:
        for word in by_beginning.get(small[at : at + _LEAST], ()):
            if word not in found and small.startswith(word, at):
                found.add(word)
    return _Said(small, found)


class _Said:
    """What a long text has of ASKED; it is looked through for what is shorter."""

    __slots__ = ("_found", "_small")

    def __init__(self, small: str, found: set[str]) -> None:
        self._small = small
        self._found = found

    def __contains__(self, word: object) -> bool:
        return word in self._found if len(str(word)) >= _LEAST else str(word) in self._small


@cache
def _asked() -> tuple[Words, dict[str, list[str]]]:
    by_beginning: dict[str, list[str]] = {}
    for word in set(ASKED):
        by_beginning.setdefault(word[:_LEAST], []).append(word)
    return Words((word.encode("ascii", "replace") for word in by_beginning), _LEAST), by_beginning
