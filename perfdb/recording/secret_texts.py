"""Find credentials in texts by the names before them: ``password = 'X'``, ``--api-key X``, ``Cookie: X``.

Commands, headers, JSON, reprs, connection strings, YAML, query strings: a name that means a credential,
something that separates, and a value. Each place is looked at a bounded number of times: the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from perfdb.recording.ordinary import STEMS, STEMS_ELSEWHERE
from perfdb.recording.secret_codes import (
    called,
    codes,
    fields,
    inserted,
    next_arguments,
    next_lines,
    parts_of_forms,
    said_codes,
    unspaced,
    wireless,
)
from perfdb.recording.secret_names import (
    DOUBTFUL,
    HARMLESS,
    LONGEST_NAME,
    SECRET,
    is_harmless,
    looks_like_key,
    looks_made,
    looks_random,
    looks_secret,
    sensitivity_of,
    withholds,
)
from perfdb.recording.secret_spans import (
    MANY,
    REDACTED,
    compiled,
    end_of,
    hits_of,
    is_dense,
    near,
    small_of,
    without,
)

LONGEST_LOOKED_AT = 400  # characters of a value that may be withheld

_LONG = 2_000  # characters of a text in which the stems are looked for one by one

# What each thing takes beside the former, in characters that could be read meanwhile: a stem, a name that was
# seen before, another name, its value. A text where they take more than its characters is cut short.
_OF_STEM_ELSEWHERE, _OF_OTHER_LETTERS = 16, 3  # each search takes longer
_OF_STEM, _OF_SEEN, _OF_NAME, _OF_VALUE = 12, 5, 46, 120
# A short text may hold more harmless names, and four times as many values that decide.
_SPARE_OF_NAME, _SPARE_OF_DOUBTFUL = 30, 93

_IN_SIGNS = (
    "парол", "секрет", "ключ", "токен", "лозинк", "гасло", "密码", "密碼", "口令", "密钥", "密鑰", "令牌",
    "パスワード", "暗証番号", "비밀번호", "패스워드", "암호", "كلمة", "رمز", "סיסמ", "κωδικ", "συνθηματ",
    "पासवर्ड", "रहस्य", "รหัสผ่าน", "clé", "hasło", "hasła", "jelszó", "lösenord", "slaptaž", "şifre", "khẩu",
    "lykilorð", "fjalëkalim", "鍵", "مفتاح", "κλειδ", "құпия", "нууц",
    "პაროლ", "գաղտնաբառ", "পাসওয়ার্ড", "கடவுச்சொல்", "پاس ورڈ",
    "گذرواژه",
)  # fmt: skip
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
_SECOND_WORDS = (" key", " phrase", " code")
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
    r"(?:\*+|x{3,}|\$\{.*|\$[A-Z_]+|\$\(.*|%[sdr]|%\(\w+\)s|\{\{[\w. ]*\}\}|\{\d?\}"
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
_QUERY = frozenset("?&;")
_LINE_STARTS = ("", "\n")
_WITHHELD = (REDACTED, REDACTED[:-1])  # a closing bracket ends an unquoted value
_SCHEMES = frozenset("bearer basic token digest negotiate ssws splunk apikey bot oauth".split())
_HEADERS = frozenset("authorization proxy-authorization cookie set-cookie x-authorization".split())
_OF_QUERIES = {"key": DOUBTFUL, "code": DOUBTFUL, "appid": DOUBTFUL, "sig": SECRET, "auth": DOUBTFUL}
_WEAK = ("token", "jwt", "bearer", "cookie", "cred", "auth", "secrets", "dsn", "sas")

# What a text says in other ways.
_PEM = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----END )[\s\S])*+(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
    r"|PuTTY-User-Key-File-[\s\S]*"
)
_END_OF_PEM = r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_IN_PEM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \t\r\n"
_LEAST_LINE = 32  # characters of a key
_SCHEME = (
    r"([bB](?:(?:earer|EARER) (?!authenti|authoriz)"
    r"|(?:asic|ASIC) (?![A-Z]?[a-z]+\d{0,2}\b)(?=\S{0,40}[\d=+/]|[a-z]+[A-Z])))"
    r"[A-Za-z0-9._~+/=\-]{8,}"
)
_MAILED = r"AUTH (?:PLAIN|LOGIN) ([\w+/]{8,400}=*)"
_NAMES = r"name|key|variable|var|header|field|param|k|type(?=[\"']?\s{0,4}:\s{0,4}[\"']?pass)"
_BEFORE_NAMES = "parameter config setting env option"
# Each begins a word: a search passes quickly to its first letter.
_NAME_AND_VALUE = "|".join(
    rf"{word[0]}(?<!\w{word[0]}){word[1:]}"
    for word in (*[f"{each}_?(?:{_NAMES})" for each in _BEFORE_NAMES.split()], *_NAMES.split("|"))
)
_NAME_AND_VALUE = (
    rf"(?:{_NAME_AND_VALUE})"
    r"[\"']?\s{0,4}[:=]\s{0,4}b?[\"']?([\w.\-]{2,100}+)[\"']?"
    r"[\s,;]{1,40}+-?\s{0,4}[\"']?(?:android:|parameter|config|setting|env|option)?_?(?:value|val|content|v)[\"']?\s{0,4}[:=]\s{0,4}b?"
    r"(?:\"((?:[^\"\\]|\\.)*+)|'((?:[^'\\]|\\.)*+)|([^\s,;)}\"']++))"
)
_OPTIONS_OF_BOTH = (
    r"--(?:name|key|secret-id)[ =]([\w.\-/]{2,100}+) --(?:value|string)[ =][\"']?([^\s\"']{4,300}+)"
)
# What a validation has to say of a field; a JSON Web Key that is not public; functions of databases.
_INPUTS = (
    r"(?:^|\n)([\w.\[\]\-]{2,100}+)\n  [^\n]{0,200}?\binput_value="
    r"(?:'([^'\n]{1,300}+)|\"([^\"\n]{1,300}+))"
)
_WEB_KEY = r"[\"'](?:k|d|p|q|dp|dq|qi)[\"']\s?:\s?[\"']([\w\-]{20,2000}+)[\"']"
_SAML = r"saml(?:response|request|art)[\"']?\s?[=:]\s?[\"']?([\w+/%=\-]{20,20000}+)"
_CRYPT = (
    r"crypt\(\s?'([^'\n]{1,200}+)',\s?gen_salt"
    r"|(?:pgp_sym_|aes_)(?:en|de)crypt\([^()\n]{1,200}?,\s?'([^'\n]{1,200}+)'"
)
_VALUE_AND_NAME = (
    r"v(?<!\wv)(?:al(?:ue)?)?[\"']?\s{0,4}[:=]\s{0,4}b?([\"'])((?:[^\"'\\]|\\.){0,400}+)\1[\s,;]{1,40}+"
    r"[\"']?(?:name|key|variable|var|header|field|param|k)[\"']?\s{0,4}[:=]\s{0,4}b?[\"']([\w.\-]{2,100}+)"
)
_USER_AND_KEY = (
    r"[\"']user_?(?:name)?[\"']\s?:\s?[\"'][^\"'\n]{1,100}+[\"'],"
    r"\s?[\"']key[\"']\s?:\s?[\"'](?=[a-z+/_=\-]{0,200}+\d)([\w+/=\-]{16,200}+)[\"']"
)
_INPUT = (
    r"<input\s(?=[^<>]{0,300}?type\s?=\s?[\"']?password)[^<>]{0,300}?(?<=\s)value\s?=\s?"
    r"(?:\"([^\"<>]+)|'([^'<>]+)|([^\s\"'<>]+))"
)
_NETRC = r"\blogin\s{1,4}[^\s]{1,100}+\s{1,4}password\s{1,4}(?!\[redacted)([^\s]{1,300}+)"
_CALLED_AUTH = (
    r"Auth\((?:\w{1,20}=)?[bru]?[\"'][^\"'\n]{0,100}+[\"'],\s?(?:\w{1,20}=)?[bru]?[\"']([^\"'\n]{1,300}+)"
)
# A password that was made at random is one when such a word stands before it, whatever is between.
_WORDS_NEAR = (
    r"p(?:ass(?:w\w*|code| ?phrase)|arol\w*)|k(?:ennwort|ata sandi)|wachtwoord|c(?:ontrase\w+"
    r"|redential\w*|lave\w*)|s(?:ecret|enha|alasana\w*)|l(?:ö|o)senord|a(?:dgangs\w+|ccess code|pi key)"
    r"|h(?:eslo|asło|aslo|ttp-basic)|jelsz\w+|lozinka|login|mot de passe|zugangscode|token"
)
_MNEMONIC = r"(?:mnemonic|phrase)[^a-z\n]{1,12}(?:is )?((?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})"
_WORDS_BEHIND = (
    r"(?<![^\s\"'`(\[{,;:=|])([\w+/\-]{20,200}={0,2})[\"'`]?[ ,]{1,2}(?:[a-z]{1,8} ){0,3}"
    r"(?:secret|password|passphrase|(?:api|access|private|signing|secret) key|credential)"
)
_KEY_BEHIND, _LONGEST_BEHIND = r"secret|pass(?:word|phrase)|credential|\x20key", 300
_SIGN = r"[!@#$%^&*+~]"
_LOOKS_NEAR = 80
_RUNS = r"(?<![^\s\"'`(\[{,;:=|])[^\s\"'`<>()\[\]{},;|=]{8,128}"
_LETTERS = dict.fromkeys(stem[0] for stem in STEMS)  # tried one by one: fewer are quicker
_ANY_STEM = "|".join(f"{a}(?:{'|'.join(stem[1:] for stem in STEMS if stem[0] == a)})" for a in _LETTERS)
_ESCAPED_SIGNS = tuple(
    "".join(letter if letter.isascii() else f"\\u{ord(letter):04x}" for letter in each)
    for each in (*_IN_SIGNS, "contraseñ", "schlüss")
)
_ANY_ESCAPED_SIGN = "|".join(map(re.escape, _ESCAPED_SIGNS))
_ALL_STEMS = (*STEMS, *_ESCAPED_SIGNS, *STEMS_ELSEWHERE, *_IN_SIGNS)
# clave de acceso, clé secrète, κωδικός πρόσβασης
_TAIL = (
    r"(?:\x20(?:d[eia](?:l|lla)?\x20\w{1,20}|api)|\x20d['’]\w{1,20}"
    r"|\x20[^\W\d_]{2,20}+(?=\s{0,3}(?:=>|[:=：＝→]|(?:es|est|è|é|ist|is)\s)))?+"
)
_ANY_STEM_ELSEWHERE = "|".join((_ANY_STEM, _ANY_ESCAPED_SIGN, *STEMS_ELSEWHERE, *_IN_SIGNS))
_TAGS = (
    rf"<(?=[\w.\-:]{{1,121}}+[\s>])(?=[^<]{{0,80}}?(?:{_ANY_STEM}))(?:(?:key|td|th|dt)>([^<>]{{1,80}}+)</(?:key|td|th|dt)>\s{{0,80}}+<(?:string|td|dd)"
    r"|(?:\w{1,40}+:)?([\w.\-]{1,80}+)(?:\s[^<>]{0,200}+)?)>(?:<!\[cdata\[)?+([^<]++)"
)
_TAGS_ELSEWHERE = _TAGS.replace(_ANY_STEM, _ANY_STEM_ELSEWHERE)


def without_private_keys(text: str) -> str:
    """Return the text without private keys in PEM, also on one line."""
    text = compiled(_PEM).sub(REDACTED, text)
    return without(text, _ends_of_keys(text)) if "-----END" in text else text


def _ends_of_keys(text: str) -> Iterator[tuple[int, int]]:
    """Yield where keys are whose beginning was cut off."""
    end = 0
    for found in compiled(_END_OF_PEM).finditer(text):
        before, end = text[end : found.start()], found.end()
        lines = before[len(before.rstrip(_IN_PEM)) :]
        if max(map(len, lines.replace("\\n", " ").split()), default=0) >= _LEAST_LINE:
            yield found.start() - len(lines), end


def without_said(text: str, small: str) -> str:
    """Return the text without what it calls credentials; ``small`` is the text in lower case."""
    if (elsewhere := _may_name_elsewhere(small)) or _may_name(small):
        if "\n" in text:
            text = without(text, next_lines(text))
            if "-" in text:
                text = without(text, next_arguments(text))
            small = small_of(text)
        if 'name="' in text:
            text = without(text, parts_of_forms(text))
            small = small_of(text)
        if "val" in small and (":" in small or "=" in small):
            text = without(text, _values_of_names(text, small))
            small = small_of(text)
        if "</" in text:
            text = without(text, _values_of_tags(text, small, elsewhere))
            small = small_of(text)
        if "<input" in small:
            found = compiled(_INPUT).finditer(small)
            text = without(text, (each.span(each.lastindex or 0) for each in found))
            small = small_of(text)
        if "phrase" in small or "nemonic" in small:
            text = without(text, (each.span(1) for each in compiled(_MNEMONIC).finditer(small)))
            small = small_of(text)
        if "auth(" in small:
            found = compiled(_CALLED_AUTH).finditer(text)
            text = without(text, (each.span(1) for each in found))
            small = small_of(text)
        if "user" in small and "key" in small:
            text = without(text, (each.span(1) for each in compiled(_USER_AND_KEY).finditer(small)))
            small = small_of(text)
        if "login " in small and "password " in small:
            text = without(text, (each.span(1) for each in compiled(_NETRC).finditer(small)))
            small = small_of(text)
        text = _without_named(text, small, elsewhere)
        if text != small or compiled(_SIGN).search(small) is not None:  # none is made of small letters only
            text = without(text, _made_near(text, small_of(text)))
            if "secret" in small or "passw" in small or " key" in small or "credential" in small:
                text = without(text, _made_before(text, small_of(text)))
        if elsewhere and not small.isascii():
            text = without(text, unspaced(text))
        if "otp" in small or "pin" in small or "cv" in small:
            text = without(text, codes(small_of(text)))
        if "auth plain " in small or "auth login " in small:
            text = without(text, (each.span(1) for each in compiled(_MAILED).finditer(text)))
        if "code" in small:
            text = without(text, said_codes(small_of(text)))
        if "insert into" in small:
            text = without(text, inserted(text))
        if "input_value=" in small:
            text = without(text, _inputs(text))
        if "--value" in small or "--string" in small:
            found = compiled(_OPTIONS_OF_BOTH).finditer(text)
            text = without(text, (each.span(2) for each in found if sensitivity_of(each[1]) != HARMLESS))
    elif "login " in small or "http-basic" in small:
        text = without(text, _made_near(text, small))
    elif "pin" in small:
        text = without(text, codes(small_of(text)))
    if "(" in text and ("'" in text or '"' in text):
        text = without(text, called(text))
        if "crypt(" in small:
            found = compiled(_CRYPT).finditer(text)
            text = without(text, (each.span(each.lastindex or 0) for each in found))
    if "wifi:" in small:
        text = without(text, wireless(text))
    if len(text) > 27:
        if small.count(":") > 3:
            text = without(text, fields(text))
        if "saml" in small:
            text = without(text, (each.span(1) for each in compiled(_SAML).finditer(small_of(text))))
        if "kty" in small:
            text = without(text, (each.span(1) for each in compiled(_WEB_KEY).finditer(text)))
    if "bearer " in small or "basic " in small:
        text = compiled(_SCHEME).sub(rf"\1{REDACTED}", text)
    return text


def _may_name(s: str) -> bool:
    # one of STEMS; written out, by a letter that not each text has, it takes a third of the time
    return (
        ("k" in s and ("key" in s or "tok" in s or "cook" in s or "psk" in s))
        or ("p" in s and ("pass" in s or "pw" in s or "otp" in s or "phras" in s or "appid" in s))
        or ("c" in s and ("secr" in s or "code" in s or "cred" in s or "hmac" in s))
        or ("d" in s and ("sid" in s or "dsn" in s or "identified" in s))
        or "auth" in s or "sig" in s or "bear" in s or "sas" in s or "salt" in s or "srf" in s or "jwt" in s
        or "essi" in s or "nemon" in s
    )  # fmt: skip


def _may_name_elsewhere(s: str) -> bool:
    # parts of STEMS_ELSEWHERE that are as long as it takes to be rare, in the same way
    return (
        ("c" in s and ("contr" in s or "schl" in s or "nonce" in s or "cvv" in s or "cvc" in s or "clave" in s
            or "chave" in s or "chiave" in s or "nyckel" in s or "cyfr" in s))
        or ("p" in s and ("parol" in s or "mdp" in s or "slapt" in s))
        or ("w" in s and ("wort" in s or "woord" in s))
        or ("g" in s and ("gehe" in s or "gangs" in s or "segre" in s or "adgang" in s))
        or ("f" in s and ("sifr" in s or "fjale" in s))
        or ("h" in s and ("senha" in s or "anahtar" in s))
        or ("z" in s and ("zapor" in s or "lozin" in s or "elszo" in s or "klucz" in s or "pasahitz" in s))
        or ("j" in s and "jeton" in s)
        or ("l" in s and ("slo" in s or "salasan" in s or "laluan" in s or "lykilor" in s))
        or ("d" in s and ("sandi" in s or "senord" in s))
        or "nenosiri" in s
        or ("\\u" in s and compiled(_ANY_ESCAPED_SIGN).search(s) is not None)
        or (not s.isascii() and compiled("|".join(_IN_SIGNS)).search(s) is not None)
    )  # fmt: skip


def _made_before(text: str, small: str) -> Iterator[tuple[int, int]]:
    """Yield where keys stand that were made at random, before a word that says so: ``X as the secret``."""
    for found in near(_WORDS_BEHIND, small, compiled(_KEY_BEHIND), _LONGEST_BEHIND, _NEAR):
        begin, end = found.span(1)
        yield begin, end if looks_like_key(text[begin:end]) else begin


def _made_near(text: str, small: str) -> Iterator[tuple[int, int]]:
    """Yield where passwords stand that were made at random, on the line of a word that announces one."""
    words = _WORDS_NEAR if small.isascii() else f"{_WORDS_NEAR}|{'|'.join(_IN_SIGNS)}"
    reached = 0
    for found in compiled(words).finditer(small):
        begin = max(found.end(), reached)
        reached = found.end() + _LOOKS_NEAR
        line = text.find("\n", begin, reached)
        for run in compiled(_RUNS).finditer(text, begin, line if line >= 0 else reached):
            if looks_made(run[0]):
                whole = end_of(r"[^\s\"'`<>,;]*+", text, run.start())
                yield run.start(), whole
                break
        else:
            yield begin, begin


def _inputs(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the values stand that a validation shows, of fields whose names mean a credential."""
    for found in compiled(_INPUTS).finditer(text):
        begin, end = found.span(found.lastindex or 0)
        yield begin, end if withholds(found[1].rpartition(".")[2], found[found.lastindex or 0]) else begin


def _values_of_names(text: str, small: str) -> Iterator[tuple[int, int]]:
    """Yield where the values stand of ``{"name": "DB_PASSWORD", "value": "X"}`` and alike."""
    harmless: set[str] = set()
    for pattern, of_name in ((_NAME_AND_VALUE, 1), (_VALUE_AND_NAME, 3)):
        for looked, found in enumerate(compiled(pattern).finditer(small)):
            if is_dense(looked, found.start(), 5 * MANY, 40):
                yield found.start(), len(text)
                return
            name = text[slice(*found.span(of_name))]
            if name in harmless:
                continue
            begin, end = found.span(2 if of_name == 3 else found.lastindex or 0)
            if withholds(name, text[begin:end]):
                yield begin, end
            elif sensitivity_of(name) == HARMLESS:
                harmless.add(name)
            else:
                yield begin, begin


def _values_of_tags(text: str, small: str, elsewhere: bool) -> Iterator[tuple[int, int]]:
    """Yield where the values stand of ``<password>X</password>``, and of a list of properties."""
    for found in compiled(_TAGS_ELSEWHERE if elsewhere else _TAGS).finditer(small):
        begin, end = found.span(3)
        name = text[slice(*found.span(2 if found[1] is None else 1))]
        is_none = end - begin < 40 and _means_nothing(text[begin:end], name)
        yield begin, end if withholds(name, text[begin:end]) and not is_none else begin


@cache
def _named(flags: str, has_options: bool, elsewhere: bool) -> re.Pattern[str]:
    """Return what finds a name from its stem on, in small letters, and what separates its value.

    A gap alone separates the value of an option. The beginning of a name is looked for afterwards: that takes
    half the time.
    """
    gap = r"[^\S\n]"
    stem, more, sign = _ANY_STEM, "", "" if flags else "|[：＝→—–]"
    if elsewhere:
        stem, more = _ANY_STEM_ELSEWHERE, rf"(?:\\u(?!00[0-7])[0-9a-f]{{4}}[\w.$\-]*+)*+{_TAIL}"
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


class _Place:
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


def _without_named(text: str, small: str, elsewhere: bool) -> str:
    """Return the text without the values of names that mean a credential; ``small`` is it in lower case.

    Of a text that is little else than such names, the rest is withheld: it would take long to read.
    """
    parts: list[str] = []
    kept = at = taken = 0
    spare = MANY * 60
    of_stem = _OF_STEM_ELSEWHERE if elsewhere else _OF_STEM
    if not small.isascii():
        of_stem += _OF_OTHER_LETTERS
    harmless: set[str] = set()
    reached: _Reached | None = None
    has_options = "-" in small and compiled(_OPTION).search(small) is not None
    starts: _Starts | None = None
    no_names: set[str] = set()  # what was looked at, and stands often in some texts
    no_options: set[str] = set()
    named = _named("(?a)" if small.isascii() else "", has_options, elsewhere)
    is_long = len(small) > _LONG
    for hit in (
        hits_of(named, small, _ALL_STEMS if elsewhere else STEMS) if is_long else named.finditer(small)
    ):
        kind = hit.lastgroup
        stem, behind = start, _ = hit.span()
        taken += of_stem
        if taken > spare and taken > behind:
            parts += (text[kept : max(start, kept)], REDACTED)
            kept = len(text)
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
        elif before == ":" and small[behind : behind + 1] in _QUOTED:
            start = compiled(_PATH_OF_NAME).search(small, max(at, start - 60), start).start()  # type: ignore[union-attr]
            seen = ""
        elif before == " " and small[start - 4 : start - 1] in _ENDS_OF_FIRST:
            start = _start_of_two(small, start, at)
            seen = ""
        if start < at:
            continue
        if stem - start >= _NEAR or small[start - 1 : start] in _QUERY or len(no_names) > MANY:
            seen = ""  # more than this decides
        if kind == "gap" and not (small[start] == "-" and compiled(_OPTION).match(small, start)):
            if seen:
                no_options.add(seen)
            continue
        word = text[start:behind]
        if not elsewhere or "\\" not in word:
            word = word.rstrip(_COUNTS)
        is_known = word in harmless and text[start - 1 : start] not in _QUERY
        if not is_known and kind != "op" and _goes_on(small, start, behind):
            continue
        taken += _OF_NAME
        spare += _SPARE_OF_NAME
        place = None
        if not is_known:
            place = _Place(text, small, start, word, hit)
            taken += len(word)
            spare += len(word)
        sensitivity = HARMLESS if place is None else _sensitivity_in(text, place)
        if place is None or sensitivity == HARMLESS:
            if word.lower() != "identified":  # what follows it decides
                harmless.add(word)
                if seen:
                    no_names.add(seen)
            continue
        reached = reached or _Reached()
        value, end, quoted = _value(text, place, sensitivity, reached)
        if value < 0 or text.startswith((REDACTED, "{" + REDACTED), value):
            continue
        taken += _OF_VALUE
        if sensitivity == DOUBTFUL:
            spare += _SPARE_OF_DOUBTFUL
        if _withheld(text[value : min(end, value + LONGEST_LOOKED_AT)], text, place, sensitivity, quoted):
            parts += (text[kept:value], REDACTED)
            kept = at = end
    return "".join(parts) + text[kept:] if parts else text


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
    if not small.startswith(_SECOND_WORDS, start - 1):
        return start
    found = compiled(_FIRST_WORD).search(small, max(least - 1, start - _ROOM_OF_FIRST, 0), start - 1)
    return start if found is None or found.start(1) < least else found.start(1)


def _goes_on(small: str, start: int, end: int) -> bool:
    """Tell whether a word is the first of a name of two words: ``secret key``."""
    return (
        small.startswith(_SECOND_WORDS, end)
        and small[start:end].removeprefix("-").removeprefix("-") in _FIRST_WORDS
    )


def _sensitivity_in(text: str, place: _Place) -> int:
    sensitivity = sensitivity_of(place.word)
    if sensitivity == SECRET:
        return sensitivity
    if (
        place.kind == "op"
        and text[place.start - 1 : place.start] in _QUERY
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


class _Reached:
    """How far a text was looked through for the ends of values, which need not be looked for again."""

    __slots__ = ("bare", "open")

    def __init__(self) -> None:
        self.bare = 0  # an unquoted value ends here, wherever before it begins
        self.open = 0  # a bracket before this is not closed


def _value(text: str, place: _Place, sensitivity: int, reached: _Reached) -> tuple[int, int, bool]:
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


def _withheld(value: str, text: str, place: _Place, sensitivity: int, quoted: bool) -> bool:
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
    if not value or value in _WITHHELD or (len(value) < 40 and _means_nothing(value, name)):
        return False
    if sensitivity == DOUBTFUL:
        if place.word.lower() in ("key", "keys") and (place.kind == "gap" or before[-1:] == " "):
            return False  # the cache key is X
        return looks_random(value, 6) if before[-1:] in _QUERY else looks_secret(place.word, value)
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
        place.separator[0] in "|;>→—–" or (" " in name and not place.word.endswith(_SECOND_WORDS))
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


def _means_nothing(value: str, name: str) -> bool:
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


def _is_alone(text: str, place: _Place, value: str) -> bool:
    """Tell whether name and value are the whole of a line, as in YAML: prose has more words."""
    begin = text.rfind("\n", max(0, place.start - 80), place.start) + 1 or (0 if place.start < 80 else -1)
    end = place.at + len(value)
    return (
        begin >= 0
        and not text[begin : place.start].strip(" \t-\"'{")
        and (end == len(text) or text[end] in "\r\n")
    )
