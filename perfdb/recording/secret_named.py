"""Find credentials by the names before them: ``password = 'X'``, ``--api-key X``, ``Cookie: X``.

Apart from what a text says in other ways: this search alone looks at each name of a text, and is bounded by
what that takes.
"""

from __future__ import annotations

import re
from functools import cache, partial

from perfdb.recording.ordinary import STEMS, STEMS_ELSEWHERE
from perfdb.recording.secret_names import DOUBTFUL, HARMLESS, LONGEST_NAME
from perfdb.recording.secret_spans import MANY, REDACTED, any_of, compiled, cut, end_of
from perfdb.recording.secret_values import (
    QUERY,
    QUOTES,
    SECOND_WORDS,
    Place,
    Reached,
    is_withheld,
    sensitivity_in,
    value_of,
)
from perfdb.recording.secret_words import LONG, Words, all_of

_LONGEST_LOOKED_AT = 400  # characters of a value that may be withheld
_REST_OF_CALL = r"[^)\]}\n]*+[)\]}]*+"

# What each thing takes beside the former, in characters that could be read meanwhile: a stem, a name that was
# seen before, another name, its value. A text where they take more than its characters is cut short.
_OF_STEM_ELSEWHERE, _OF_OTHER_LETTERS = 16, 3  # each search takes longer
_OF_STEM, _OF_SEEN, _OF_NAME, _OF_VALUE = 12, 5, 46, 120
# A short text may hold more harmless names, and four times as many values that decide.
_SPARE_OF_NAME, _SPARE_OF_DOUBTFUL = 30, 93

IN_SIGNS = (
    "парол", "секрет", "ключ", "токен", "лозинк", "гасло", "密码", "密碼", "口令", "密钥", "密鑰", "令牌",
    "パスワード", "暗証番号", "비밀번호", "패스워드", "암호", "كلمة", "رمز", "סיסמ", "κωδικ", "συνθηματ",
    "पासवर्ड", "रहस्य", "รหัสผ่าน", "clé", "hasło", "hasła", "jelszó", "lösenord", "slaptaž", "şifre", "khẩu",
    "lykilorð", "fjalëkalim", "鍵", "مفتاح", "κλειδ", "құпия", "нууц",
    "პაროლ", "գաղտնաբառ", "পাসওয়ার্ড", "கடவுச்சொல்", "پاس ورڈ",
    "گذرواژه",
)  # fmt: skip
LATIN_SIGNS = tuple(sign for sign in IN_SIGNS if sign[0].isascii())
OTHER_SIGNS = "|".join(sign for sign in IN_SIGNS if not sign[0].isascii())  # a search passes ASCII quickly
# What people write between a name and its value.
_FILLERS = (
    "is|was|are|be|lautet|ist|est|es|è|é|är|er|jest|este|je|là|adalah|provided|given|used|value|equals|supplied|set|changed|reset|to|by|now|new|your|my|the"
    r"|(?:for|of|to|on) (?:[^\s:=]{1,40} ){1,4}(?:is|was)|for (?:key |user |role )?[^\s:=]{1,60}"
)
_FIRST_WORDS = frozenset(
    "api access secret private encryption signing master license account auth recovery backup seed "
    "verification time one-time two-factor 2fa mfa sms login security activation pass "
    "storage subscription openai anthropic gemini serpapi stripe unseal session deploy root shared client "
    "ssh tls bot webhook service pragma write read ingest".split()
)
_FIRST_WORD = rf"(?<![\w.$\-])(-{{0,2}}(?:{'|'.join(sorted(_FIRST_WORDS))}))\Z"
_ENDS_OF_FIRST = frozenset(word[-3:] for word in _FIRST_WORDS)
_ROOM_OF_FIRST = 20  # that a first word takes, with dashes and what stands before it
_COUNTS = "0123456789_.- "  # at the end of a name that say nothing
_OF_NAMES = frozenset("_.$-")  # and letters and digits
_PATH_OF_NAME = r"[a-z_:.\-]*\Z"  # "Jwt:Key"
_NEAR = 12  # characters before a stem that are looked up
_OPTION = r"-(?<![\w.$\-]-)-?\w"
_NAME_BACKWARDS = rf"[\w.$\-]{{0,{LONGEST_NAME + 1}}}+"
_QUOTE = "[\"'`]"
_ESCAPED_SIGNS = tuple(
    "".join(letter if letter.isascii() else f"\\u{ord(letter):04x}" for letter in each)
    for each in (*IN_SIGNS, "contraseñ", "schlüss")
)
ANY_ESCAPED_SIGN = "|".join(map(re.escape, _ESCAPED_SIGNS))
# clave de acceso, clé secrète, κωδικός πρόσβασης
_TAIL = (
    r"(?:\x20(?:d[eia](?:l|lla)?\x20\w{1,20}|api)|\x20d['’]\w{1,20}"
    r"|\x20[^\W\d_]{2,20}+(?=\s{0,3}(?:=>|[:=：＝→]|(?:es|est|è|é|ist|is)\s)))?+"
)
_OF_ASCII = (*STEMS, *_ESCAPED_SIGNS, *STEMS_ELSEWHERE)


@cache
def _words(elsewhere: bool) -> Words:
    stems = (*_OF_ASCII, *LATIN_SIGNS) if elsewhere else STEMS
    return Words((stem.encode("ascii", "replace") for stem in stems), 3)


@cache
def any_stem(elsewhere: bool) -> str:
    """Return a pattern of the stems of names, with ``elsewhere`` also of those in other languages."""
    return any_of((*_OF_ASCII, *IN_SIGNS) if elsewhere else STEMS)


def without_named(text: str, small: str, elsewhere: bool, others: str = "") -> tuple[str, str]:
    """Return the text without the values of names that mean a credential, and the same in small letters.

    Of a text that is little else than such names, the rest is withheld: it would take long to read.

    Args:
        text: what is looked through.
        small: the same in small letters.
        elsewhere: whether names in other languages may stand in it.
        others: a pattern of such names in other alphabets, if one stands in it.
    """
    cuts: list[tuple[int, int]] = []
    at = taken = 0
    spare = MANY * 60
    of_stem = _OF_STEM_ELSEWHERE if elsewhere else _OF_STEM
    if not small.isascii():
        of_stem += _OF_OTHER_LETTERS
    harmless: set[str] = set()
    reached: Reached | None = None
    has_options = "-" in small and compiled(_OPTION).search(small) is not None
    starts: _Starts | None = None
    no_names: set[str] = set()  # what was looked at, and stands often in some texts
    no_options: set[str] = set()
    named = _named("(?a)" if small.isascii() else "", has_options, elsewhere)
    if len(small) > LONG:
        hits = all_of(named, small, partial(_words, elsewhere), others)
    else:
        hits = named.finditer(small)
    for hit in hits:
        kind = hit.lastgroup
        stem, behind = start, _ = hit.span()
        taken += of_stem
        if taken > spare and taken > behind:
            cuts.append((max(start, at), len(text)))
            break
        if kind is None:
            continue
        if start < at:
            continue
        seen = text[start - _NEAR : behind] if start >= _NEAR else ""
        if kind == "gap" and seen in no_options:
            continue
        taken += _OF_SEEN
        if seen in no_names:
            continue
        before = small[start - 1 : start]
        if before.isalnum() or before in _OF_NAMES:
            starts = starts or _Starts(small)
            start = starts.before(start)
        elif before == ":" and small[behind : behind + 1] in QUOTES:
            start = compiled(_PATH_OF_NAME).search(small, max(at, start - 60), start).start()  # type: ignore[union-attr]
            seen = ""
        elif before == " " and small[start - 4 : start - 1] in _ENDS_OF_FIRST:
            start = _start_of_two(small, start, at)
            seen = ""
        if start < at:
            continue
        if stem - start >= _NEAR or small[start - 1 : start] in QUERY or len(no_names) > MANY:
            seen = ""  # more than this decides
        if kind == "gap" and not (small[start] == "-" and compiled(_OPTION).match(small, start)):
            if seen:
                no_options.add(seen)
            continue
        word = text[start:behind]
        if not elsewhere or "\\" not in word:
            word = word.rstrip(_COUNTS)
        is_known = word in harmless and text[start - 1 : start] not in QUERY
        if not is_known and kind != "op" and _goes_on(small, start, behind):
            continue
        taken += _OF_NAME
        spare += _SPARE_OF_NAME
        place = None
        if not is_known:
            place = Place(text, small, start, word, hit)
            taken += len(word)
            spare += len(word)
        sensitivity = HARMLESS if place is None else sensitivity_in(text, place)
        if place is None or sensitivity == HARMLESS:
            if word.lower() != "identified":  # what follows it decides
                harmless.add(word)
                if seen:
                    no_names.add(seen)
            continue
        reached = reached or Reached()
        value, end, quoted = value_of(text, place, sensitivity, reached)
        if value < 0 or text.startswith((REDACTED, "{" + REDACTED), value):
            continue
        taken += _OF_VALUE
        if sensitivity == DOUBTFUL:
            spare += _SPARE_OF_DOUBTFUL
        if is_withheld(text[value : min(end, value + _LONGEST_LOOKED_AT)], text, place, sensitivity, quoted):
            if not quoted and text.rfind("(", value, end) > text.rfind(")", value, end):
                end = end_of(_REST_OF_CALL, text, end)  # Credentials(user='me', key='X')
            cuts.append((value, at := end))
    return (cut(text, cuts), cut(small, cuts)) if cuts else (text, small)


@cache
def _named(flags: str, has_options: bool, elsewhere: bool) -> re.Pattern[str]:
    """Return what finds a name from its stem on, in small letters, and what separates its value.

    A gap alone separates the value of an option. The beginning of a name is looked for afterwards: that takes
    half the time.
    """
    gap = r"[^\S\n]"
    stem, more, sign = any_stem(False), "", "" if flags else "|[：＝→—–]"
    if elsewhere:
        stem = any_of(_OF_ASCII) if flags else any_stem(True)
        more = rf"(?:\\u(?!00[0-7])[0-9a-f]{{4}}[\w.$\-]*+)*+{_TAIL}"
    return compiled(
        rf"{flags}(?:{stem})[\w.$\-]*+(?:\x20\d\d?(?=[:=]))?+{more}(?=(?:"
        rf"(?:\\*{_QUOTE}|&quot;|&#39;|%2[27])?+[\])]{{0,2}}+{gap}{{0,8}}+"
        rf"(?P<op>(?:=>|:=|={{1,2}}|!=|:(?!//)|%3[ad]|->|[|;>](?=\S)|\((?:\w{{1,20}}=)?(?=[bru]?{_QUOTE})|\\u003[ad]|&#(?:58|61|x3[ad]);{sign}){gap}{{0,8}}+(?:value{gap}(?={_QUOTE}))?+)"
        rf"|(?P<pair>\\*{_QUOTE}\s{{0,4}},\s{{0,4}})(?=[bur]{{0,2}}\\*{_QUOTE})"
        rf"|(?P<gap>{gap}{{1,4}}+(?:(?:[|\-]|<<<){gap}{{1,4}}+)?+(?:(?:{_FILLERS})[:=]?{gap}{{1,4}}+){{0,3}}+"
        rf"(?:[:=]{gap}{{0,4}}+)?+)"
        # in prose, a value has a digit or quotes, or is long
        r"(?P<prose>(?=[^\s\d\"'`]{0,80}+[\d\"'`]|\S{16}|\[redacted))"
        rf"{'?+' if has_options else ''})?+)"
    )


class _Starts:
    """Where the names of a text begin; what stands before many a stem is the same."""

    __slots__ = ("_backwards", "_known", "_small")

    def __init__(self, small: str) -> None:
        self._small = small
        self._backwards = ""
        self._known: dict[str, int] = {}

    def before(self, stem: int) -> int:
        """Return where a name begins that has a stem there, -1 when that is too far away."""
        near = self._small[stem - _NEAR : stem] if stem > _NEAR else ""
        length = self._known.get(near)
        if length is None:
            self._backwards = self._backwards or self._small[::-1]
            at = len(self._small) - stem
            length = compiled(_NAME_BACKWARDS).match(self._backwards, at).end() - at  # type: ignore[union-attr]
            if 0 < length < len(near) and len(self._known) < MANY:
                self._known[near] = length
        return stem - length if length <= LONGEST_NAME else -1


def _start_of_two(small: str, start: int, least: int) -> int:
    """Return where a name of two words begins of which the second is there: ``api key``."""
    if not small.startswith(SECOND_WORDS, start - 1):
        return start
    found = compiled(_FIRST_WORD).search(small, max(least - 1, start - _ROOM_OF_FIRST, 0), start - 1)
    return start if found is None or found.start(1) < least else found.start(1)


def _goes_on(small: str, start: int, end: int) -> bool:
    """Tell whether a word is the first of a name of two words: ``secret key``."""
    return (
        small.startswith(SECOND_WORDS, end)
        and small[start:end].removeprefix("-").removeprefix("-") in _FIRST_WORDS
    )
