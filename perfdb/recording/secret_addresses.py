"""Find credentials in addresses: user and password, and addresses that let anybody write who knows them."""

from __future__ import annotations

from collections.abc import Iterator

from perfdb.recording.secret_names import looks_like_key, looks_made, looks_random
from perfdb.recording.secret_spans import REDACTED, compiled, end_of, in_order, near, without

_ADDRESS = r"(?:[^\s\"'<>`]|'(?=[^\s,;:)\]}\"']))*+"  # what may follow ://
_AFTER_COLON = r"(?:[^\s\"'<>`/?#]|'(?=[^\s,;:)\]}\"']))*+"
_USER = r"[^\s/:@?#]*+"
_PORT = r"\d{1,5}(?:[/?#,]|\Z)"
_WEB = ("http://", "https://", "ws://", "wss://")
_LONG_USER = 16
_LONGEST_AFTER_COLON = 300
# What stays of an address is the part before.
_HOOKS = (
    r"(?P<kept>hooks?\.slack\.com/(?:services|workflows|triggers)/|/api/(?:v\d+/)?webhooks/|/with/key/|/bot/v2/hook/"
    r"|webhook\.office\.com/|outlook\.office\.com/webhook/|hooks\.zapier\.com/hooks/catch/|hc-ping\.com/"
    r"|hook\.[\w.]{1,20}make\.com/|/hooks/(?=\w{16})|pagerduty\.com/integration/|telegram\.org/(?:file/)?bot\d{3,16}:"
    r"|rtmps?://[^\s/\"']{1,100}/(?:[\w\-]{1,40}/){1,3}(?=[\w\-]{16})(?=[A-Za-z_\-]{0,60}\d))[\w/\-@%.=]+"
)
# Who has such an address may do what it is for: what follows was made at random.
_CAPABILITIES = (
    r"/(?:[a-z]{1,12}-){0,2}(?:reset|magic|invit|verif|confirm|activat|unsubscri|recover|passw|forgot|share)[a-z\-]{0,20}"
    r"(?:/|\?(?:[\w\-]{1,20}=[^\s&]{0,60}&){0,3}[\w\-]{1,20}=)(?P<key>[\w\-]{20,300})"
)
_SCHEME_LESS = (
    r"@(?:(?:tcp|unix)\(|[\w.\-]{1,100}+:\d|//)", r":(?:thin|[pkg]server|ext|extssh|sspi):", "sqlplus ",
)  # fmt: skip
_MAILBOX = (
    r"(?<![\w.+\-/:])[\w.+\-]{1,64}+@(?:[\w\-]{1,63}\.){1,5}[a-z]{2,12}:([^\s\"'/.,:<>]{8,64}+)(?![/.:])"
)
_AT_MAILBOX = r"@[\w.\-]{4,400}+:"
_BEHIND_BARE_USER = r":[^\s@\"'/<>:]{6,100}+@\w"
_BARE_USER = r"(?<![\w./\-:])[\w.\-]{1,64}+:([^\s@\"'/<>:]{6,100}+)(?=@\w)"
_LONGEST_USER = 200  # characters, with the password
_GO_OR_ORACLE = (
    r"(?<![\w./\-])[\w.\-]{1,64}+:([^\s@\"'/<>]{2,100}+)(?=@(?:tcp|unix)\(|@[\w.\-]{1,100}:\d)"
    r"|(?::thin:|sqlplus )[^\s/@]{1,64}+/([^\s@]{1,100}+)(?=@)"
    r"|:(?:[pkg]server|ext|extssh|sspi):[\w.\-]{1,64}+:([^\s@/]{1,100}+)(?=@)"
    r"|(?<![\w./:\-])\w{1,64}+/([^\s@/]{1,100}+)(?=@//)"
)


def without_users(text: str) -> str:
    """Return the text without user and password of its addresses."""
    if "://" in text:
        text = without(text, _users(text))
    signs = in_order([compiled(sign) for sign in _SCHEME_LESS], text)
    found = near(_GO_OR_ORACLE, text, signs, _LONGEST_USER, _LONGEST_USER)
    text = without(text, (each.span(each.lastindex or 0) for each in found))
    if ":" in text:
        text = without(text, _bare_users(text))
        text = without(text, _of_mailboxes(text))
    return text


def _of_mailboxes(text: str) -> Iterator[tuple[int, int]]:
    """Yield where passwords stand behind an address of mail, as in lists of accounts: bob@host.org:X."""
    for found in near(_MAILBOX, text, compiled(_AT_MAILBOX).finditer(text), _LONGEST_USER, _LONGEST_USER):
        begin, end = found.span(1)
        is_password = not found[0].startswith("git@") and looks_random(found[1])
        yield begin, end if is_password else begin


def _bare_users(text: str) -> Iterator[tuple[int, int]]:
    """Yield where passwords stand that were made at random, in addresses without a scheme: bob:X@host."""
    for found in near(_BARE_USER, text, compiled(_BEHIND_BARE_USER).finditer(text), _LONGEST_USER, 0):
        begin, end = found.span(1)
        yield begin, end if looks_made(found[1]) else begin


def without_hooks(text: str) -> str:
    """Return the text without what is secret of the addresses of webhooks."""
    return compiled(_HOOKS).sub(rf"\g<kept>{REDACTED}", text)


def without_capabilities(text: str) -> str:
    """Return the text without what is secret of addresses that reset, invite or confirm."""
    found = compiled(_CAPABILITIES).finditer(text)
    return without(
        text,
        (each.span("key") if looks_like_key(each["key"]) else (each.end(), each.end()) for each in found),
    )


def _users(text: str) -> Iterator[tuple[int, int]]:
    """Yield where user and password stand in the addresses of a text."""
    whole = last = -1
    at = text.find("://")
    while at >= 0:
        begin = at + 3
        if begin > whole:  # an address within an address is not looked for an @ again
            whole = end_of(_ADDRESS, text, begin)
            last = text.rfind("@", begin, whole)
        if last >= begin and not text.endswith("file", max(0, at - 4), at):
            end = max(begin, _end_of_user(text, at, begin, whole))
            yield begin, end
            begin = end
        at = text.find("://", begin)


def _end_of_user(text: str, at: int, begin: int, whole: int) -> int:
    """Return where user and password end, 0 if there is none: ``host:80/to?user@example.org`` has none."""
    user = end_of(_USER, text, begin)
    if text.startswith("@", user):
        return user if user - begin >= _LONG_USER else 0  # a key in the place of a user
    if not text.startswith(":", user):
        return 0
    web = text.endswith(_WEB, max(0, at - 5), at + 3)
    plain = end_of(_AFTER_COLON, text, user + 1)
    end = text.rfind("@", user + 1, plain)
    furthest = min(whole, user + _LONGEST_AFTER_COLON)
    if end >= 0:
        host = text[end + 1 : plain]
        if text.startswith("sha256:", end + 1) or (end == user + 1 and user - begin < _LONG_USER):
            return 0
        if not web and "." not in host and ":" not in host:  # p@ss/word
            query = text.find("?", plain, furthest) if text.startswith("/", plain) else -1
            end = max(end, text.rfind("@", plain, query if query >= 0 else furthest))
        return end
    end = text.rfind("@", user + 1, furthest)
    between = text[user + 1 : end]
    if end < 0 or "://" in between or (compiled(_PORT).match(between) and (web or "?" in between)):
        return 0
    return end
