"""Find credentials in texts in further ways: PINs, a value on the line after its name, names without blanks.

A PIN and a one-time password are digits: by themselves they say nothing, by their name and their number of
digits they do. Where a program asks, the answer stands on the next line.
"""

from __future__ import annotations

from collections.abc import Iterator

from perfdb.recording.secret_names import HARMLESS, is_of_a_board, looks_random, sensitivity_of, withholds
from perfdb.recording.secret_spans import compiled

_CODES = (
    r"(?:p(?<![a-z0-9]p)in|t(?<![a-z0-9]t)otp|o(?<![a-z0-9]o)tp|c(?<![a-z0-9]c)v[vc]2?)"
    r"(?:[-_ ]?(?:code|number|value))?[\"'\])]{0,2}"
    r"(?:\s{0,3}(?:=>|[=:]|%3[ad])\s{0,3}|\s(?:is|lautet|est|es)\s|(?P<gap>\s))"
    r"[\"'(]?(?P<code>\d{4,8}(?![\w%]|[.,:/\-]\d)|(?=\D{0,23}\d)(?=\d{0,23}[a-z])[a-z0-9!@#$%^&*+]{6,24}(?![\w.:/\-]))"
)
_SAID = (
    r"(?:verification|security|one[- ]time|2fa|mfa|sms|login|sign-?in|auth\w{0,11}|access|unlock|recovery"
    r"|backup|confirmation|pass)[ _-]?code(?:\s{0,3}[=:]\s{0,3}|\s(?:is|was|lautet)?:?\s{0,2})"
    r"[\"'(]?(\d{4,8})(?![\w%]|[.,:/\-]\d)"
)
_YEARS = ("19", "20")
_NEXT_LINES = r":[ \t]{0,4}\r?\n[ \t]{0,8}([^\s:]{4,200})[ \t]{0,4}(?=[\r\n]|\Z)"
# A part of a form: name="password", an empty line, the value.
_PARTS = (
    r"name=\"([^\"\r\n\\]{1,100}+)\"[^\r\n\\]{0,100}+"
    r"(?:(?:\r?\n){2}|(?:\\r)?\\n(?:\\r)?\\n)([^\r\n\\]{1,300}+)"
)
_LONGEST_LABEL = 80
_INSERT = r"(?i:insert into\s[^\s(]{1,80}+)\s{0,3}\(([^()]{1,400})\)\s{0,3}(?i:values)\s{0,3}\("
_ITEM = r"\s{0,3}(?:'([^'\n]{0,300})'|([^,()'\n]{0,300}))(?:,|\))"
_LONGEST_ROW = 2_000
_UNSPACED = (
    r"(?:密码|密碼|口令|密钥|パスワード|暗証番号|비밀번호|암호)"
    r"(?:是|为|為|は|은|는|\s?[:：=＝])\s?([!-~]{4,200})"
)


def codes(small: str) -> Iterator[tuple[int, int]]:
    """Yield where PINs and one-time passwords stand; ``small`` is the text in lower case."""
    for found in compiled(_CODES).finditer(small):
        begin, end = found.span("code")
        code = found["code"]
        if code.isdigit():
            is_none = found["gap"] is not None and end - begin == 4 and code.startswith(_YEARS)
        else:
            is_none = found["gap"] is not None or is_of_a_board(code)
        yield begin, begin if is_none else end


def said_codes(small: str) -> Iterator[tuple[int, int]]:
    """Yield where codes stand that were sent to somebody: ``Your one-time code is 123456``."""
    for found in compiled(_SAID).finditer(small):
        yield found.span(1)


def inserted(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand of columns whose names mean a credential, in an INSERT."""
    for found in compiled(_INSERT).finditer(text):
        secret = [sensitivity_of(name.strip(' `"')) > HARMLESS for name in found[1].split(",")]
        values = compiled(_ITEM).finditer(text, found.end(), min(len(text), found.end() + _LONGEST_ROW))
        for is_secret, item in zip(secret, values, strict=False):
            begin, end = item.span(1)
            yield begin, end if is_secret and end - begin > 3 else begin


def next_lines(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand on the line after a name and a colon."""
    harmless: set[str] = set()
    for found in compiled(_NEXT_LINES).finditer(text):
        at = found.start()
        label = text[text.rfind("\n", max(0, at - _LONGEST_LABEL), at) + 1 : at][-_LONGEST_LABEL:]
        if label in harmless:
            continue
        if sensitivity_of(label) == HARMLESS:
            if len(harmless) < 1_000:
                harmless.add(label)
        elif looks_random(found[1], 6):
            yield found.span(1)


def parts_of_forms(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values stand of a form that is sent in parts."""
    for found in compiled(_PARTS).finditer(text):
        begin, end = found.span(2)
        yield begin, end if withholds(found[1], found[2]) else begin


def unspaced(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand behind names of languages that put no blanks between words."""
    for found in compiled(_UNSPACED).finditer(text):
        begin, end = found.span(1)
        yield begin, end if looks_random(found[1], 6) else begin
