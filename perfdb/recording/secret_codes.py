"""Find credentials in texts in further ways: PINs, a value on the line after its name, names without blanks.

A PIN and a one-time password are digits: by themselves they say nothing, by their name and their number of
digits they do. Where a program asks, the answer stands on the next line.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Callable, Container, Iterator

from perfdb.recording.secret_names import (
    HARMLESS,
    is_of_a_board,
    looks_made,
    looks_random,
    sensitivity_of,
    withholds,
)
from perfdb.recording.secret_spans import compiled, first_groups, in_order, near, runs_as, shape_of, without

_NAMES_OF_CODES = {"pin": "", "totp": "", "otp": "", "cvv": "2?", "cvc": "2?"}
_CODE = (
    r"(?:[-_ ]?(?:code|number|value))?[\"'\])]{0,2}"
    r"(?:\s{0,3}(?:=>|[=:]|%3[ad])\s{0,3}|\s(?:is|lautet|est|es)\s|(?P<gap>\s))"
    r"[\"'(]?(?P<code>\d{4,8}(?![\w%]|[.,:/\-]\d)|(?=\D{0,23}\d)(?=\d{0,23}[a-z])[a-z0-9!@#$%^&*+]{6,24}(?![\w.:/\-]))"
)
_SAID = (
    r"(?:verification|security|one[- ]time|2fa|mfa|sms|login|sign-?in|auth\w{0,11}|access|unlock|recovery"
    r"|backup|confirmation|pass)[ _-]?codes?(?:\s{0,3}[=:]\s{0,3}|\s(?:is|was|lautet)?:?\s{0,2})"
    r"[\"'(]?(\d{4,8}(?:(?:, ?| )\d{4,8}){0,20})(?![\w%]|[.,:/\-]\d)"
)
# Calls that take a credential at a place of its own, by the last letters of their names, and by the names.
_CALLS = (
    r"\((?<=gin\(|gon\(|_in\(|ind\(|d_s\(|ate\(|ion\(|ftp\(|tls\(|ial\(|als\(|ect\(|net\("
    r"|otp\(|mac\(|new\(|ode\(|ign\(|ify\(|ypt\(|uth\(|pdo\(|art\(|ing\(|ent\("
    r"|ord\(|swd\(|pwd\(|ase\(|ret\(|ken\(|key\()"
)
_LOGINS = (
    r"(?:log_?in|logon|sign_?in|bind(?:_s)?|authenticat(?:e|ion)|getconnection|\bftps?(?:_tls)?|credentials?"
    r"|auth|\bpdo|smtp\.start)\Z"
)
_OF_KEYS = (
    r"(?:connect(?:ion)?|fernet|[ht]otp|hmac(?:\.new)?|aes\.new|jw[tse]\.(?:en|de)code|sign(?:edstring)?"
    r"|verify|(?:en|de)crypt)\Z"
)
# What sets one credential, and no more: conn.setPassword("X"); not reset_password("bob@example.org").
_SETTERS = (
    r"(?<![a-z_])(?:(?:set|with|use)_?token|(?:(?:set|with|use)_?)?(?:(?:db|user|auth|client)_?)?"
    r"(?:password|passphrase|passwd|pwd|secret|(?:api|access|secret|private)_?key|(?:access|auth|bearer)_?token))\Z"
)
_CLIENTS = r"client\Z"  # a service's: what it takes may be an address, too
_LITERAL = r"([\"'])((?:[^\"'\n\\]|\\.){1,300}+)\1"
_KEY = r"(?=\D{0,300}+\d)[\w+/\-]{20,300}={0,2}"
_LONGEST_CALL = 300
_FIELDS = r":(?:\d{2,5}|\*):(?=[\d.\-]{0,100}+[A-Za-z_*])[\w.*\-]{1,100}+:[\w.*\-]{1,100}+:([^\s:]{4,200}+)"
# As a QR code has it.
_WIRELESS = r"\b(?i:wifi:)(?:[A-Za-z]:(?:[^;\\\n]|\\.){0,64}+;){0,4}?[Pp]:((?:[^;\\\n]|\\.){4,64}+)(?=;)"
_YEARS = ("19", "20")
_NEXT_LINES = r":[ \t]{0,4}\r?\n[ \t]{0,8}([^\s:]{4,200})[ \t]{0,4}(?=[\r\n]|\Z)"
# A part of a form: name="password", an empty line, the value.
_PARTS = (
    r"name=\"([^\"\r\n\\]{1,100}+)\"[^\r\n\\]{0,100}+"
    r"(?:(?:\r?\n){2}|(?:\\r)?\\n(?:\\r)?\\n)([^\r\n\\]{1,300}+)"
)
_LONGEST_LABEL = 80
# An option on a line, and its value alone on the next: a list of YAML, a file of arguments; no help text.
_OPTION_LINES = (
    r"\n[ \t]{0,40}(?:- )?[\"']?--?([\w\-]{2,60})[\"']?\r?\n"
    r"[ \t]{0,40}(?:- )?[\"']?(?!\$\{?\w+\}?[\"']?(?:\s|\Z)|<)"
    r"([^\s\"'\-][^\s\"']{2,300}+)[\"']?[ \t]{0,40}+(?=\r?\n|\Z)"
)
_INSERT = r"(?i:insert into\s[^\s(]{1,80}+)\s{0,3}\(([^()]{1,400})\)\s{0,3}(?i:values)\s{0,3}\("
_ITEM = r"\s{0,3}(?:'([^'\n]{0,300})'|([^,()'\n]{0,300}))(?:,|\))"
_LONGEST_ROW = 2_000
# A statement that failed, in SQLAlchemy's words: names stand before places, values follow in their order.
_STATEMENT, _PARAMETERS, _LONGEST_STATEMENT = "[SQL: ", "[parameters: ", 4_000
_VALUES = (
    r"(?i:insert into)\s[^\s(]{1,80}+\s{0,3}\(([^()]{1,4000})\)\s{0,3}(?i:values)\s{0,3}\(([^()]{1,4000})\)"
)
_PLACE = r"(?:([\w.`\"]{1,100}+)\s?(?:=|<>|!=|(?i:like|in))\s?\(?)?(?:\?|%s|\$\d{1,3})(?!\w)"
_PARAMETER = (
    r"b?'((?:[^'\\\n]|\\.)*+)'|b?\"((?:[^\"\\\n]|\\.)*+)\"|\w[\w.]{0,40}\([^()\n]{0,200}\)|[^\s,()\[\]'\"]+"
)
_BASE64, _OF_BASE64 = r"[A-Za-z0-9+/]{20,}={0,2}", runs_as("+/")
_LEAST_BASE64 = b"a" * 20
_LEAST_TEXT = 12
_TEXT = rf"[\t\n\r -~\x80-\xff]{{{_LEAST_TEXT},}}\Z"
_UNSPACED = (
    r"(?:密码|密碼|口令|密钥|パスワード|暗証番号|비밀번호|암호)"
    r"(?:是|为|為|は|은|는|\s?[:：=＝])\s?([!-~]{4,200})"
)


def codes(small: str, said: Container[str]) -> Iterator[tuple[int, int]]:
    """Yield where PINs and one-time passwords stand; ``small`` is the text in lower case."""
    patterns = [
        compiled(rf"{name}(?<![a-z0-9]{name}){more}{_CODE}")
        for name, more in _NAMES_OF_CODES.items()
        if name in said
    ]
    for found in in_order(patterns, small):
        begin, end = found.span("code")
        code = found["code"]
        if code.isdigit():
            is_none = found["gap"] is not None and end - begin == 4 and code.startswith(_YEARS)
        else:
            is_none = found["gap"] is not None or is_of_a_board(code)
        yield begin, begin if is_none else end


def said_codes(small: str) -> Iterator[tuple[int, int]]:
    """Yield where codes stand that were sent to somebody: ``Your one-time code is 123456``."""
    for found in near(_SAID, small, compiled(r"codes?[\s=:]").finditer(small), _LONGEST_LABEL, _LONGEST_CALL):
        yield found.span(1)


def inserted(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand of columns whose names mean a credential, in an INSERT."""
    for found in compiled(_INSERT).finditer(text):
        secret = [sensitivity_of(name.strip(' `"')) > HARMLESS for name in found[1].split(",")]
        values = compiled(_ITEM).finditer(text, found.end(), min(len(text), found.end() + _LONGEST_ROW))
        for is_secret, item in zip(secret, values, strict=False):
            begin, end = item.span(1)
            yield begin, end if is_secret and end - begin > 3 else begin


def bound(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand that a statement was given whose columns or conditions name credentials."""
    at = 0
    while (begin := text.find(_STATEMENT, at)) >= 0 and (at := text.find(_PARAMETERS, begin)) >= 0:
        names = _names_of_places(text[begin : min(at, begin + _LONGEST_STATEMENT)])
        if max(map(sensitivity_of, names), default=HARMLESS) == HARMLESS:
            continue
        start = at + len(_PARAMETERS)
        line = text[start : start + _LONGEST_ROW].partition("\n")[0]
        for place, item in enumerate(compiled(_PARAMETER).finditer(text, start, start + len(line))):
            begin, end = item.span(item.lastindex or 0)
            name = names[place % len(names)]
            is_one = " ... " in line or withholds(name, text[begin:end])
            yield begin, end if item.lastindex and is_one else begin


def _names_of_places(statement: str) -> list[str]:
    names: list[str] = []
    if (inserted := compiled(_VALUES).search(statement)) is not None:
        columns, values = inserted[1].split(","), inserted[2].split(",")
        names = [name for name, value in zip(columns, values, strict=False) if compiled(_PLACE).search(value)]
    else:
        for place in compiled(_PLACE).finditer(statement):
            names.append(place[1] or (names[-1] if names else ""))  # of a list
    return [name.strip(' `"\n').rpartition(".")[2].strip('`"') for name in names]


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


def next_arguments(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand on the line after an option whose name means a credential."""
    for found in compiled(_OPTION_LINES).finditer(f"\n{text}"):
        begin, end = found.start(2) - 1, found.end(2) - 1
        yield begin, end if withholds(found[1], found[2]) else begin


def parts_of_forms(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values stand of a form that is sent in parts."""
    for found in compiled(_PARTS).finditer(text):
        begin, end = found.span(2)
        yield begin, end if withholds(found[1], found[2]) else begin


def without_encoded(text: str, shown: Callable[[str], str]) -> str:
    """Return the text without base64 in which ``shown`` finds a credential; in that it is not looked again.

    All of it is looked through at once, so that many small pieces take no longer than one.
    """
    found = [(run.span(), said) for run in _in_base64(text) if (said := _decoded(run[0]))]
    whole = "\n".join([said for _, said in found])
    if not found or shown(whole) == whole:
        return text
    if len(found) == 1:
        return without(text, [found[0][0]])
    return without(text, ((begin, end if shown(said) != said else begin) for (begin, end), said in found))


def _in_base64(text: str) -> Iterator[re.Match[str]]:
    """Yield what may be a text in base64: all else fails at its first bytes."""
    shape = shape_of(text, _OF_BASE64)
    at = shape.find(_LEAST_BASE64)
    while at >= 0:
        if a2b_base64(text[at : at + _LEAST_TEXT // 3 * 4]).isascii():
            run = compiled(_BASE64).match(text, at)
            if run is not None:
                yield run
        end = shape.find(b" ", at)
        at = shape.find(_LEAST_BASE64, end) if end >= 0 else -1


def _decoded(run: str) -> str:
    """Return the text that is in base64, empty if it is none."""
    run = run.rstrip("=")
    content = a2b_base64(run[: len(run) - 1] if len(run) % 4 == 1 else run + "=" * (-len(run) % 4))
    content = content.replace(b"\0", b"")  # UTF-16, as PowerShell has it
    return content.decode(errors="replace") if compiled(_TEXT).match(content.decode("latin-1")) else ""


def unspaced(text: str) -> Iterator[tuple[int, int]]:
    """Yield where values stand behind names of languages that put no blanks between words."""
    for found in compiled(_UNSPACED).finditer(text):
        begin, end = found.span(1)
        yield begin, end if looks_random(found[1], 6) else begin


def called(text: str, small: str) -> Iterator[tuple[int, int]]:
    """Yield where credentials stand in calls that take them: ``smtp.login("me", "X")``, ``Fernet("X")``."""
    for found in compiled(_CALLS).finditer(small):
        at = found.end()
        name = text[max(0, at - 30) : at - 1].lower()
        is_login = compiled(_LOGINS).search(name) is not None
        takes_keys = is_login or compiled(_OF_KEYS).search(name) is not None
        sets_one = compiled(_SETTERS).search(name) is not None
        if not (takes_keys or sets_one) and compiled(_CLIENTS).search(name) is None:
            yield at, at
            continue
        end = min(at + _LONGEST_CALL, len(text))
        line = text.find("\n", at, end)
        literals = compiled(_LITERAL).finditer(text, at, end if line < 0 else line)
        for place, literal in enumerate(literals):
            value = literal[2]
            is_key = looks_made(value) or (takes_keys and compiled(_KEY).fullmatch(value) is not None)
            begin, end = literal.span(2)
            takes = (is_login and place) or (sets_one and not place)
            if place == 2 and name.endswith("connect"):  # host, user, X; a keyword has a name before it
                takes = text[at : literal.start()].rstrip().endswith(",")
            yield begin, end if is_key or (takes and looks_random(value, 5)) else begin


def fields(text: str) -> Iterator[tuple[int, int]]:
    """Yield where passwords stand in the lines of PostgreSQL's password file: ``host:5432:db:user:X``."""
    for found in compiled(_FIELDS).finditer(text):
        begin, end = found.span(1)
        yield begin, end if looks_random(found[1], 6) else begin


def wireless(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the passwords of wireless networks stand, as QR codes have them: ``WIFI:S:home;P:X;;``."""
    return first_groups(compiled(_WIRELESS).finditer(text))
