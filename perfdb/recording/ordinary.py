"""Tell by its shape that a text has nothing to withhold.

Most names, paths and commands are so, and a program that meets no others never loads the search for
credentials, which takes longer than all else of its beginning.
"""

from __future__ import annotations

# One stands in each name that may mean a credential.
STEMS = (
    "key", "tok", "secr", "pass", "pw", "auth", "cred", "cook", "dsn", "jwt", "bear", "sig", "sas", "otp",
    "psk", "salt", "sid", "srf", "code", "hmac", "phras", "essi", "identified", "appid",
)  # fmt: skip
# The same in other languages; names are looked for by them only where one stands somewhere in the text.
STEMS_ELSEWHERE = (
    "contras", "clave", "wort", "geheim", "schl", "mdp", "parol", "chave", "chiave", "senha", "woord",
    "senord", "adgang", "salasan", "haslo", "heslo", "geslo", "jelszo", "sifre", "sandi", "zapork", "lozink",
    "segre", "slaptaz", "nonce", "cvv", "cvc", "jeton", "laluan", "nenosiri", "pasahitz", "contrasinal",
    "cyfrinair", "fjalekalim", "lykilor", "klucz", "anahtar", "nyckel",
)  # fmt: skip

# Words of up to 15 letters, with a number of up to 5 digits behind some: what is made at random is other.
_SHAPES = bytearray(b"?" * 256)
_SHAPES[ord("A") : ord("Z") + 1] = _SHAPES[ord("a") : ord("z") + 1] = b"a" * 26
_SHAPES[ord("0") : ord("9") + 1] = b"0" * 10
for _each in b"_./\n":
    _SHAPES[_each] = ord("/")
_EXTRAORDINARY = (b"a" * 16, b"0" * 6, b"0a", b"?")
_BEGINNINGS = (b"npg_", b"rzp_")  # of credentials so short that some look like a word with a number


def is_ordinary(words: bytes) -> bool:
    """Tell by their shape that paths and identifiers, with ``::`` between them, are none made at random."""
    shape = words.replace(b"::", b"/").translate(_SHAPES)
    return not any([each in shape for each in _EXTRAORDINARY] + [each in words for each in _BEGINNINGS])


_LETTERS_OF_FLAGS = frozenset("qvxlnrdfi")  # none of them takes a password anywhere


def is_plain(text: str) -> bool:
    """Tell that ``clean_text`` would change nothing in a name, a path, or a command of a path and flags.

    Most are of that kind. The search would be compiled for a command, which takes longer than all else at the
    start of a program.
    """
    if len(text) > 200 or not text.isascii():
        return False
    if not is_ordinary(text.replace(" ", "/").replace("-", "/").encode("ascii")):
        return False
    small = text.lower()
    if small != text and any(
        ["-" in part and not part.islower() for part in text.replace(" ", "/").split("/")]
    ):
        return False  # many credentials have their parts joined so
    if any([stem in small for stem in (*STEMS, *STEMS_ELSEWHERE, "hook")]):
        return False
    first, *flags = text.split(" ")
    return (not flags or "/" in first or _is_flag(first)) and all(map(_is_flag, flags))


def _is_flag(argument: str) -> bool:
    """Tell whether an argument is an option that cannot be, or hold, a password."""
    if argument[:2] == "--":
        word = argument[2:].replace("-", "")
        return word.isalpha() and word.islower() and "---" not in argument
    return argument[:1] == "-" and len(argument) > 1 and _LETTERS_OF_FLAGS.issuperset(argument[1:])
