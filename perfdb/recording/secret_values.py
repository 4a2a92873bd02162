"""Tell where the value of a name ends in a text, and whether it is withheld.

Apart from the search for names: what a value may be is said by quotes, brackets and headings, whichever name
stands before. Each end is looked for a bounded number of times.
"""

from __future__ import annotations

import re

from perfdb.recording.secret_names import (
    DOUBTFUL,
    HARMLESS,
    SECRET,
    is_harmless,
    looks_made,
    looks_random,
    looks_secret,
    sensitivity_of,
)
from perfdb.recording.secret_spans import REDACTED, compiled, end_of

SECOND_WORDS = (" key", " phrase", " code")
QUOTES = frozenset("\"'`")
_QUOTED = {quote: rf"(?:[^{quote}\\]|\\[\s\S]|{quote}{quote}(?=\w))*+" for quote in "\"'`"}
_OPEN = r"[bBuUrRfF]{0,2}(\\*)([\"'`])"
# An unquoted value: what ends one may stand in it, unless another name or an end follows.
_STOP = r"[&\"'`,;)\]}>\\\s<]|\Z|[\w\-.\[\]]{1,40}+[=:]"
_BARE = (
    r"(?:[^\s&\"'`<>,;)\]}\\]|<(?!/)|\\(?![nr](?:[\w\- ]{1,40}[=:]|[\\\"']|\Z))\s?"
    rf"|[&\"'`,)\]}}>](?!{_STOP})|;(?!{_STOP}|[\w\-. ]{{1,40}}+=))*+"
)
_REST_OF_LINE = r"(?:[^\r\n\\]|\\(?![nr]))*+"
_IN_BRACKETS = r"[^)\]}\n]*+"
_CLOSING = r"[)\]}]*+"
_OPENING = frozenset("([{")
_IS_KEY = r"[bur]{0,2}\\*([\"'])[^\"'\\]{1,200}+\\*\1\s{0,4}:"  # what was read is one of a mapping
_TWO_TEXTS = r"[(\[]\s?b?[\"'][^\"'\n]{0,200}[\"'],\s?b?[\"']"  # auth=("user", "password")
_BLOCK = r"[|>][-+\d]{0,2}\n([ \t]+)([^\n]+(?:\n(?:\1[^\n]*|[ \t]*(?=\n)))*+)"  # of YAML, to its last line
_HERE = r"<<[-~]?[\"']?([A-Za-z_]\w{0,40})[\"']?\n([\s\S]*?)(?:\n[ \t]*\1\b|\Z)"  # of a shell, of HCL
_HARMLESS_VALUES = frozenset(
    "true false yes no on off none null nil undefined n/a na empty unset set required missing invalid "
    "incorrect wrong expired unknown optional default ok to for is are or and the a an of with from in on "
    "as at by must not was has cannot can should when if option flag field too but than authentication {} "
    "[] () \"\" '' ... … str int bytes string bool int, str, any optional[str] changed "
    "falsch ungültig fehlt leer abgelaufen erforderlich unbekannt incorrecta incorrecto inválida inválido "
    "requerida requerido requis requise incorrecte invalide manquant expiré errata errato sbagliata "
    "incorreta inválida onjuist verplicht felaktigt saknas forkert feil mangler brak błędne chybné yok "
    "campo champ feld pole veld fält felt obligatorio obligatoire obrigatória obrigatório requerido "
    "неверный неверно неправильный нет 错误 無 なし rejected accepted disabled enabled blocked "
    "allowed denied absent present deleted cleared created refreshed renewed revoked rotated valid verified "
    "loaded found sent received stored hidden masked encrypted hashed ignored skipped pending "
    "active inactive done failed fails success successful complete completed started running stopped passed "
    "updated reused recovered forgotten pass omit include".split()
)
_PLACEHOLDER = (
    r"(?:[Bb]earer |[Bb]asic |[Tt]oken )?"
    r"(?:\*+|x{3,}|\$\{.*|\$[A-Z_]+|\$\d{1,3}(?:::\w+)?|\$\(.*|%[sdr]|%\(\w+\)s|\{\{[\w. ]*\}\}|\{\d?\}"
    r"|\{\w*(?:pass|key|tok|secr|pw|val)\w*\}|<[\w -]+>?|\.{3})"
)
# What code says in the place of a value: where to find it, or of which type it is.
_REFERENCE = (
    r"(?:process\.env|os\.(?:environ|getenv)|(?:self|settings|config|conf|cfg|env|args|opts|secrets|var|local"
    r"|data|module|import\.meta\.env|ctx|context|request|params|props|this)\.[a-zA-Z_]\w*|getenv|getpass)[.\[(]?"
    r"|(?:Optional|Union|Annotated|List|Dict|Literal|Secret|Mapped|Final|list|dict|tuple)\["
    r"|(?:SecretStr|SecretBytes|Field|String|Str|Bytes|Text|Optional|Any|varchar|Column|CharField)\b"
    r"|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\Z|\[?\(?(?:hidden|masked|redacted|removed|filtered|omitted|secret)\)?\]?\Z"
    r"|\[(?:hidden|masked|redacted|removed|filtered|omitted)|(?:REDACTED|HIDDEN|MASKED|FILTERED|REMOVED)\Z"
)
# The same, whatever its names are: a call, a form's field, a schema, a tag of YAML.
_CODE = (
    r"[a-z_]+[a-zA-Z]*(?:(?:\.|::|->)[a-zA-Z_]+){1,6}\("
    r"|\$_[A-Z]+\[|\$[a-z_]+->[a-z_]+|!(?:vault|secret|env|var|ref|sub|reference)\b"
)
_SCHEMA = (
    r"\{\s?(?:\w{1,40}:\s?\d{1,9},\s?){0,3}\\*[\"']?\w{1,40}\\*[\"']?\??\s?:\s?\\*[\"']?"
    r"(?:[Ss]tr(?:ing)?|[Nn]umber|[Bb]ool(?:ean)?|int)\b"
)
_NUMBER = r"-?[\d.,_]+(?:e[-+]?\d+)?%?"
_NAME_LIKE = r"[a-z_]+"
QUERY = frozenset("?&;")
_LINE_STARTS = ("", "\n")
_WITHHELD = (REDACTED, REDACTED[:-1])  # a closing bracket ends an unquoted value
_SCHEMES = frozenset("bearer basic token digest negotiate ssws splunk apikey bot oauth".split())
_HEADERS = frozenset("authorization proxy-authorization cookie set-cookie x-authorization".split())
_OF_QUERIES = {"key": DOUBTFUL, "code": DOUBTFUL, "appid": DOUBTFUL, "sig": SECRET, "auth": DOUBTFUL}
_WEAK = ("token", "jwt", "bearer", "cookie", "cred", "auth", "secrets", "dsn", "sas")


class Place:
    """A name that may mean a credential, and what separates its value from it."""

    __slots__ = ("at", "flag", "kind", "name", "separator", "start", "word")

    def __init__(self, text: str, small: str, start: int, word: str, hit: re.Match[str]) -> None:
        group = hit.lastgroup or "op"
        self.kind = "gap" if group == "prose" else group  # op, pair or gap
        begin, self.at = hit.span(self.kind)  # the value begins here
        self.start = start
        self.word = word
        self.name = text[start:begin]  # with what closes it
        self.separator = small[begin : self.at]


def sensitivity_in(text: str, place: Place) -> int:
    """Return SECRET, HARMLESS, or DOUBTFUL, by the name and by what stands around it."""
    sensitivity = sensitivity_of(place.word)
    if sensitivity == SECRET:
        return sensitivity
    if (
        place.kind == "op"
        and text[place.start - 1 : place.start] in QUERY
        and place.name.lower() in _OF_QUERIES
    ):
        return _OF_QUERIES[place.name.lower()]
    if sensitivity == DOUBTFUL:
        is_pair = place.word.lower().endswith("auth") and compiled(_TWO_TEXTS).match(text, place.at)
        return SECRET if is_pair else sensitivity
    said = (
        place.kind == "gap" and place.word.lower() == "identified" and place.separator.rstrip().endswith("by")
    )
    return SECRET if said else HARMLESS


class Reached:
    """How far a text was looked through for the ends of values, which need not be looked for again."""

    __slots__ = ("bare", "open")

    def __init__(self) -> None:
        self.bare = 0  # an unquoted value ends here, wherever before it begins
        self.open = 0  # a bracket before this is not closed


def value_of(text: str, place: Place, sensitivity: int, reached: Reached) -> tuple[int, int, bool]:
    """Return begin and end of a value (-1: there is none), and whether it is quoted."""
    at = place.at
    opened = compiled(_OPEN).match(text, at)
    if opened is not None:
        begin = opened.end()
        if sensitivity != SECRET or place.kind == "gap":  # may be left: looked at a bounded way
            end = end_of(rf"[^{opened[2]}\n]{{0,400}}", text, begin)
            closed = text.startswith(opened[2], end)
            return begin if closed else -1, end - closed * len(opened[1]), True
        if opened[1]:
            end = text.find(opened[1] + opened[2], begin)
            return begin, end if end >= 0 else len(text), True
        end = end_of(_QUOTED[opened[2]], text, begin)
        return begin, end, True
    if place.kind == "op" and sensitivity == SECRET:
        if text[at : at + 1] in _OPENING and at >= reached.open and not text.startswith(REDACTED, at):
            inside = end_of(_IN_BRACKETS, text, at + 1)
            if (end := end_of(_CLOSING, text, inside)) > inside:
                return at, end, True
            reached.open = inside
        if text.startswith("<<", at) and (here := compiled(_HERE).match(text, at)) is not None:
            return here.start(2), here.end(2), True
        if (block := compiled(_BLOCK).match(text, at)) is not None:
            return block.start(2), block.end(), True
        if _is_header(place.name) and place.separator[0] == ":":
            quote = text[place.start - 1 : place.start]
            rest = rf"(?:[^\r\n\\{quote}]|\\(?![nr{quote}]))*+" if quote in _QUOTED else _REST_OF_LINE
            return at, compiled(rest).match(text, at).end(), False  # type: ignore[union-attr]
    if (
        place.kind == "op"
        and place.separator[0] in ":="
        and text[place.start - 1 : place.start] in _LINE_STARTS
        and place.word.lower().endswith("phrase")
    ):
        return at, end_of(_REST_OF_LINE, text, at), False
    if at >= reached.bare:
        reached.bare = end_of(_BARE, text, at)
    end = reached.bare
    if end < at + 12 and text.startswith(" ", end) and (text[at] == "!" or text[at:end].lower() in _SCHEMES):
        end = end_of(_BARE, text, end + 1)
    return at, end, False


def is_withheld(value: str, text: str, place: Place, sensitivity: int, quoted: bool) -> bool:
    """Tell whether a value is withheld, by its name, by itself and by what stands between them."""
    name, before = place.name, text[max(0, place.start - 2) : place.start]
    if place.separator[:1] == ">" and before[-1:] == "<":
        return False  # a tag, which is read elsewhere
    if before[-1:] == ":" and before[:1].isdigit() and place.separator == ":":
        return False  # arn:aws:secretsmanager:eu-west-1:123456789012:secret:name
    if place.separator == ":" and "." in name and value.rstrip(":").isdigit():
        return False  # src/password_reset.py:120
    if value[:1] == "{" and compiled(_SCHEMA).match(value) is not None:
        return False
    if place.kind == "gap" and value[:1] == "-" and value[1:2].isalpha():
        return False  # -run TestSessionKey -count=1
    if not value or value in _WITHHELD or (len(value) < 40 and means_nothing(value, name)):
        return False
    if sensitivity == DOUBTFUL:
        if place.word.lower() in ("key", "keys") and (place.kind == "gap" or before[-1:] == " "):
            return False  # the cache key is X
        return looks_random(value, 6) if before[-1:] in QUERY else looks_secret(place.word, value)
    flag = name[0] == "-"
    if place.kind == "pair":
        if compiled(_IS_KEY).match(text, place.at) is not None:
            return False  # "token_type": "Bearer", "expires_in": 3600
        return flag or "(" in before or name != name.lower() or not compiled(_NAME_LIKE).fullmatch(value)
    if place.kind == "gap":
        if flag:
            return value[0] != "-" and value.strip("[]<>").lower() not in name.lower()
        least = 8 if quoted and name.isascii() else 6
        return (quoted and _is_password(name)) or looks_random(value, least)
    if not quoted and (
        place.separator[0] in "|;>→—–" or (" " in name and not place.word.endswith(SECOND_WORDS))
    ):
        return looks_random(value, 6)  # a column, or a longer name: Passwort vergessen
    if place.separator[:1] == "(":
        return looks_made(value)  # SecretStr('X'); check_token('name') is called
    if not quoted and not value.isascii() and not any([each.isascii() and each.isalnum() for each in value]):
        return False  # 密码：必填
    if not quoted and place.separator[0] == ":" and (flag or not _is_strong(name)):
        if _is_header(name):
            is_cookie = len(value) < 40 and "cookie" in name.lower()
            return not is_cookie or "=" in value or any(map(looks_random, value.split()))
        return looks_random(value, 6) or _is_alone(text, place, value)
    return True


def _is_header(name: str) -> bool:
    return name.rstrip("\\\"'`").lower() in _HEADERS


def means_nothing(value: str, name: str) -> bool:
    """Tell whether a value is a word, a placeholder or code, and so no credential."""
    small = value.lower().rstrip(".,;:!?)")
    if small in _HARMLESS_VALUES or not small or compiled(_PLACEHOLDER).fullmatch(value) is not None:
        return True
    if compiled(_CODE).match(value) is not None:
        return True
    if compiled(_REFERENCE).match(value) is not None and ("_" not in value or sensitivity_of(value)):
        return True
    name = name.rstrip("\\\"'`])")
    plural = name[-1:] in "sS" and not name.lower().endswith("pass")
    if (plural or "token" in name.lower()) and compiled(_NUMBER).fullmatch(small):
        return True
    return (name[-3:].lower() == "pwd" and value[0] in "/~.") or is_harmless(name, value)


def _is_password(name: str) -> bool:
    small = name.lower()
    return "pass" in small or "pw" in small or small == "identified"


def _is_strong(name: str) -> bool:
    small = name.lower()
    return _is_password(name) or not any([weak in small for weak in _WEAK])


def _is_alone(text: str, place: Place, value: str) -> bool:
    """Tell whether name and value are the whole of a line, as in YAML: prose has more words."""
    begin = text.rfind("\n", max(0, place.start - 80), place.start) + 1 or (0 if place.start < 80 else -1)
    end = place.at + len(value)
    return (
        begin >= 0
        and not text[begin : place.start].strip(" \t-\"'{")
        and (end == len(text) or text[end] in "\r\n")
    )
