"""Find credentials in commands, given as a text or a list: ``mysql -pX``, ``curl -u me:X``, ``--api-key X``.

``-p`` is a port, a project or a password: the program tells, or the value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence

from perfdb.recording.secret_names import LONGEST_NAME, looks_made, looks_random, may_withhold, withholds
from perfdb.recording.secret_spans import REDACTED, compiled, in_order, without
from perfdb.recording.secret_tools import HANDS, OTHERS, TOOLS, handed

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

# Programs that take a password, by how they begin, and what may follow.
_PROGRAMS = {
    "mysql": r"\w*", "mariadb": r"\w*", "mongo": r"\w*", "mosquitto_": r"\w+", "sshpass": "", "sqlcmd": "",
    "smbclient": "", "snowsql": "", "login": "", "ldap": r"\w+", "ftp": "", "lftp": "", "bcp": "",
    "redis-cli": "", "rabbitmqadmin": "", "zip": "", "unzip": "", "7z": r"\w?", "curl": "", "cqlsh": "",
    "clickhouse-client": "", "wget": "", "http": "s?", "htpasswd": "", "openssl": "", "influx": "",
    "twine": "",
}  # fmt: skip
# Programs that take a password with each short option.
_WITH_PASSWORDS = {
    "p": ("mysql", "mariadb", "sshpass", "mongo", "login", "7z", "influx", "cqlsh", "smbclient", "twine"),
    "pw": ("",),
    "P": ("zip", "unzip", "sqlcmd", "bcp", "mosquitto"),
    "u": ("curl", "wget", "http", "ftp", "lftp", "influx"),
    "a": ("redis-cli", "http"),
    "w": ("ldap",),
    "k": ("openssl",),
    "b": ("curl",),
    "E": ("curl",),
}  # fmt: skip
_RAW_HEADERS = frozenset("authorization proxy-authorization cookie set-cookie x-api-key x-auth-token".split())
_FLAG = r"-(?<![\w\-./]-)(?P<flag>pw|[pPuawbE]|[ktKs](?=[ =:\"'\\])|-p(?:at|in)|-(?:proxy-)?user(?:pwd)?)"
_APART = r"\\*[\"']\s{0,2},\s{0,2}\\*[bu]?[\"']|[=:]|[ ]{1,3}[\"']?|[\"']"
_VALUE = r"(?P<value>[^\s\"',\\-][^\s\"',\\]*)"
_FLAGGED = r"-(?:pw?|[PuawkbEtKs]|-p(?:at|in)|-(?:proxy-)?user(?:pwd)?)[ =:\"'\\]"  # quick to compile
_OPTIONS = rf"{_FLAG}(?P<gap>{_APART}){_VALUE}"
_OPTIONS_OF_PROGRAMS = rf"{_FLAG}(?P<gap>{_APART}|){_VALUE}"
# Programs that take a password without an option, or from a pipe.
_WORD = r"[\"']?([^\s\"'<>|-][^\s\"'<>|]{3,300}+)"
# What each holds, in small letters, and the pattern: most texts hold none of them, and need no pattern.
_PLACES = (
    (
        "abbitmqctl ",
        rf"rabbitmqctl(?<!\wrabbitmqctl) (?:add_user|change_password|authenticate_user) \S+ {_WORD}",
    ),
    ("tpasswd -", rf"htpasswd(?<!\whtpasswd) -\w*b\w* \S+ \S+ {_WORD}"),
    ("ault login ", rf"vault(?<!\wvault) login {_WORD}"),
    ("w unlock ", rf"bw(?<!\wbw) unlock {_WORD}"),
    ("pa_passphrase ", rf"wpa_passphrase(?<!\wwpa_passphrase) \S+ {_WORD}"),
    ("c alias set", rf"mc(?<!\wmc) alias set(?: \S+){{3}} {_WORD}"),
    ("et user ", rf"net(?<!\wnet) user \S+ (?![*/]){_WORD}(?= /[a-z]|\Z)"),
    ("et use ", rf"net(?<!\wnet) use (?:\S+ )?\\\\\S+ (?![*/]){_WORD}"),
    ("sh-keygen ", rf"ssh-keygen(?<!\wssh-keygen) (?:-[a-zA-MO-Z] \S{{1,60}}+ ){{0,4}}+-[NP] {_WORD}"),
    ("udo -s ", rf"sudo(?<!\wsudo) -S [^\n<]{{0,60}}<<< ?{_WORD}"),
    ("hpasswd", rf"chpasswd(?<!\wchpasswd) ?<<< ?{_WORD}"),
    ("ogin ", r"login(?<!\wlogin) (?=\S{0,60}\d)([\w\-]{24,200}+)(?=\s|\Z)"),
    ("uth ", r"auth(?<![\w\-.]auth) (?=\S{0,60}\d)([\w\-]{24,200}+)(?=\s|\Z)"),
    ("ctivate ", r"activate(?<![\w\-.]activate) (?=\S{0,60}\d)([\w\-]{24,200}+)(?=\s|\Z)"),
    ("-u", r"-U(?<![\w\-]-U) ?[^\s%\"']{1,60}+%([^\s\"']{4,300}+)"),
    ("--user", r"--user[= ](?<![\w\-]--user.) ?[^\s%\"']{1,60}+%([^\s\"']{4,300}+)"),
)
# The same, for what has its own sign: a rule of Redis, a configuration with user and password.
_OF_SIGNS = (
    (" on >", r" on >([^\s\"']{4,300}+)"),
    ("config ", r"config \S{1,100}+ [\w.\-]{1,60}+:([^\s:/.]{6,300}+)(?=\s|\Z)"),
)
_TAKING = frozenset(
    "rabbitmqctl htpasswd vault bw wpa_passphrase mc net ssh-keygen smbclient aws npm rclone nmcli "
    "setx login auth".split()
)
# Programs whose -p and -P name a part or a profile: cargo bench -p core_v2.
_OF_PARTS = r"\b(?:cargo|mvnw?|dotnet|tsc|rsync|scp|nx|turbo|pnpm|nox|tox) [^\n;|&]{0,60}\Z"
_BLANK = "\0"  # stands for one inside of an argument: no argument holds it, and no pattern ends at it
_MOST_ARGUMENTS = 100
_LEAST_MADE = 20  # characters of a token behind an option that says nothing


def without_options(text: str, said: Container[str]) -> str:
    """Return the text without the passwords of short options; ``said`` is asked for words of it."""
    return without(text, _options(text, said))


def without_places(text: str, said: Container[str]) -> str:
    """Return the text without the passwords that stand where a program takes them."""
    if patterns := [compiled(pattern) for sign, pattern in _PLACES if sign in said]:
        text = without(text, (each.span(each.lastindex or 0) for each in in_order(patterns, text)))
    if "<<<" in text or "<(" in text or ("|" in text and any([sign in text for sign in HANDS])):
        text = without(text, handed(text))
    for sign, pattern in _OF_SIGNS:
        if sign in said:
            text = without(text, _made(pattern, text))
    return text


def _made(pattern: str, text: str) -> Iterator[tuple[int, int]]:
    for found in compiled(pattern).finditer(text):
        begin, end = found.span(1)
        yield begin, end if looks_made(found[1]) else begin


def _options(text: str, said: Container[str]) -> Iterator[tuple[int, int]]:
    """Yield where the passwords of short options stand: ``-p`` is a port or a project as well."""
    programs = _programs_in(text, said)
    if not programs and compiled(_FLAGGED).search(text) is None:
        return
    pattern = _OPTIONS_OF_PROGRAMS if programs else _OPTIONS
    for found in compiled(pattern).finditer(text):
        begin, end = found.span("value")
        flag, value = found["flag"], found["value"]
        if flag[-1:] in "uraE" and ":" in value:  # -u, --user, -a of http; a certificate and its password
            begin += value.index(":") + 1
            value, flag = text[begin:end], "u"
        elif flag == "b" and "=" in value:  # a cookie, else a file with some
            begin += value.index("=") + 1
            value = text[begin:end]
        elif flag in "bE" or (flag in "ua" and not looks_random(value)):  # who, without a password
            end = begin
        is_password = _is_password(flag, value, bool(found["gap"]), programs)
        if is_password and flag in "pP":
            is_password = compiled(_OF_PARTS).search(text, max(0, begin - 80), begin) is None
        yield begin, end if is_password else begin


def _programs_in(text: str, said: Container[str]) -> list[str]:
    """Return how the programs of a text begin that take a password."""
    return [
        name
        for name in _PROGRAMS
        if name in said and compiled(rf"{name}(?<![\w.]{name}){_PROGRAMS[name]}\b").search(text) is not None
    ]


def _is_password(flag: str, value: str, apart: bool, programs: Collection[str]) -> bool:
    """Tell whether the value of a short option is a password, by itself or by the program."""
    if not value or value == REDACTED or compiled(OTHERS).fullmatch(value):
        return False
    if apart and flag == "p" and any([each.startswith(("mysql", "mariadb")) for each in programs]):
        return looks_random(value, 6)  # it is asked for, and this is the database
    if apart and flag in "tKsk" and len(value) >= _LEAST_MADE and looks_made(value):
        return True  # a token, whatever takes it
    known = any([program.startswith(_WITH_PASSWORDS.get(flag, ())) for program in programs])
    return known if not apart or flag in "awktKs" else known or looks_random(value, 6)


def without_arguments(
    arguments: Sequence[Any], extra: Iterable[str], redact: Callable[[str], str]
) -> list[Any]:
    """Return the arguments of a command without credentials; what is no text stays as it is.

    Args:
        arguments: of a command, or a list that may be one.
        extra: words of names that mean a credential as well.
        redact: what a text is without credentials: the command is looked at as one, too.
    """
    shown: list[Any] = []
    before = ""
    arguments = _as_command(arguments, redact)
    for each in arguments:
        text = type(each) is str
        shown.append(_argument(before, each, extra) if text else each)
        before = each if text else ""
    return shown


def _as_command(arguments: Sequence[Any], redact: Callable[[str], str]) -> Sequence[Any]:
    """Return the arguments without what is found in the same command as a text; each of them stays one."""
    said = [each.replace(" ", _BLANK) if type(each) is str else "?" for each in arguments[:_MOST_ARGUMENTS]]
    shown = redact(" ".join(said)).split(" ")
    if len(shown) != len(said):
        return arguments
    if any([_BLANK in each for each in said]):  # a quoted one is for the program: lftp -e 'open …'
        whole = redact(" ".join(said).replace(_BLANK, " "))
        shown = [_without_words(each, whole) if _BLANK in each else each for each in shown]
    kept = [
        each if new == old else new.replace(_BLANK, " ")
        for each, old, new in zip(arguments, said, shown, strict=False)
    ]
    return [*kept, *arguments[_MOST_ARGUMENTS:]]


def _without_words(argument: str, whole: str) -> str:
    """Return an argument without the words that its command is shown without."""
    return _BLANK.join([each if each in whole else REDACTED for each in argument.split(_BLANK)])


def _argument(before: str, argument: str, extra: Iterable[str]) -> str:
    is_value = before.startswith("-") and "=" not in before and not argument.startswith("-")
    if is_value and withholds(before, argument, extra):
        return REDACTED
    if before.lower() in _RAW_HEADERS and looks_random(argument[:300]):
        return REDACTED
    is_name = before[:1] not in ("", "-") and len(before) <= LONGEST_NAME
    if is_name and withholds(before, argument, extra) and looks_made(argument[:300]):
        return REDACTED  # npm config set //registry/:_authToken X
    name, equals, value = argument.partition("=")
    if equals and len(name) <= LONGEST_NAME and withholds(name, value, extra):
        return f"{name}={REDACTED}"
    return argument


def has_options(values: Collection[Any]) -> bool:
    """Tell whether a sequence may be the arguments of a command, or headers one after the other."""
    return any(
        [
            type(each) is str
            and (each[:1] == "-" or each.lower() in _RAW_HEADERS or each in _TAKING or each in TOOLS)
            for each in values
        ]
    ) or (len(values) > 2 and any([type(each) is str and may_withhold(each) for each in values]))
