"""Find credentials that texts call so: beside names, in tags, forms and calls, after words that announce one.

Commands, headers, JSON, reprs, connection strings, YAML, query strings. Each place is looked at a bounded
number of times: the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

from perfdb.recording.secret_codes import (
    bound,
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
from perfdb.recording.secret_named import (
    ANY_ESCAPED_SIGN,
    LATIN_SIGNS,
    OTHER_SIGNS,
    any_stem,
    without_named,
)
from perfdb.recording.secret_names import (
    HARMLESS,
    looks_like_key,
    looks_made,
    sensitivity_of,
    withholds,
)
from perfdb.recording.secret_spans import (
    MANY,
    REDACTED,
    compiled,
    end_of,
    first_groups,
    in_order,
    is_dense,
    near,
    windows,
    without,
    without_both,
)
from perfdb.recording.secret_values import means_nothing
from perfdb.recording.secret_words import LONG

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
_NAME_BEGINS = "|".join(
    rf"{word[0]}(?<!\w{word[0]}){word[1:]}"
    for word in (*[f"{each}_?(?:{_NAMES})" for each in _BEFORE_NAMES.split()], *_NAMES.split("|"))
)
_NAME_BEGINS = rf"(?:{_NAME_BEGINS})[\"']?\s{{0,4}}[:=]"
_NAME_AND_VALUE = (
    rf"{_NAME_BEGINS}\s{{0,4}}b?[\"']?([\w.\-]{{2,100}}+)[\"']?"
    r"[\s,;]{1,40}+-?\s{0,4}[\"']?(?:android:|parameter|config|setting|env|option)?_?(?:value|val|content|v)[\"']?\s{0,4}[:=]\s{0,4}b?"
    r"(?:\"((?:[^\"\\]|\\.)*+)|'((?:[^'\\]|\\.)*+)|([^\s,;)}\"']++))"
)
_BEFORE_VALUES = r"v(?:al(?:ue)?)?[\"']?\s{0,4}[:=]", r"content[\"']?\s{0,4}[:=]"
_FURTHEST_NAME = 190  # characters before those
_OPTIONS_OF_BOTH = (
    r"--(?:name|key|secret-id)[ =]([\w.\-/]{2,100}+) --(?:value|string)[ =][\"']?([^\s\"']{4,300}+)"
)
# What a validation has to say of a field; a JSON Web Key that is not public; functions of databases.
_INPUTS = (
    r"(?:^|\n)([\w.\[\]\-]{2,100}+)\n  [^\n]{0,200}?\binput_value="
    r"(?:'([^'\n]{1,300}+)|\"([^\"\n]{1,300}+))"
)
_BEHIND_PARTS, _FURTHEST_PART, _LONGEST_PART = r":\s?[\"'][\w\-]{20}", 8, 2000
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
_LONGEST_USER_AND_KEY = 330
_INPUT = (
    r"<input\s(?=[^<>]{0,300}?type\s?=\s?[\"']?password)[^<>]{0,300}?(?<=\s)value\s?=\s?"
    r"(?:\"([^\"<>]+)|'([^'<>]+)|([^\s\"'<>]+))"
)
_NETRC = r"\blogin\s{1,4}[^\s]{1,100}+\s{1,4}password\s{1,4}(?!\[redacted)([^\s]{1,300}+)"
_CALLED_AUTH = (
    r"Auth\((?:\w{1,20}=)?[bru]?[\"'][^\"'\n]{0,100}+[\"'],\s?(?:\w{1,20}=)?[bru]?[\"']([^\"'\n]{1,300}+)"
)
# A password that was made at random is one when such a word stands before it, whatever is between.
_WORDS_NEAR = {  # by how each begins, and what follows
    "passw": r"\w*", "passcode": "", "passphrase": "", "pass phrase": "", "parol": r"\w*", "kennwort": "",
    "kata sandi": "", "wachtwoord": "", "contrase": r"\w+", "credential": r"\w*", "clave": r"\w*",
    "secret": "", "senha": "", "salasana": r"\w*", "losenord": "", "adgangs": r"\w+",
    "access code": "", "api key": "", "heslo": "", "haslo": "", "http-basic": "", "jelsz": r"\w+",
    "lozinka": "", "login": "", "mot de passe": "", "zugangscode": "", "token": "",
}  # fmt: skip
_ANY_NEAR = "|".join(word + rest for word, rest in _WORDS_NEAR.items())
_MNEMONIC = r"(?:mnemonic|phrase)[^a-z\n]{1,12}(?:is )?((?:[a-z]{3,8}[ ,]{1,2}){11,23}[a-z]{3,8})"
_WORDS_BEHIND = (
    r"(?<![^\s\"'`(\[{,;:=|])([\w+/\-]{20,200}={0,2})[\"'`]?[ ,]{1,2}(?:[a-z]{1,8} ){0,3}"
    r"(?:secret|password|passphrase|(?:api|access|private|signing|secret) key|credential)"
)
_KEYS_BEHIND = "secret", "pass(?:word|phrase)", "credential", r"\x20key"
_LONGEST_BEHIND, _REST_BEHIND = 300, 12
_SIGN = r"[!@#$%^&*+~]"
_LOOKS_NEAR = 80
_RUNS = r"(?<![^\s\"'`(\[{,;:=|])[^\s\"'`<>()\[\]{},;|=]{8,128}"
_TAGS = (
    r"<(?=[\w.\-:]{1,121}+[\s>])(?=[^<]{0,80}?(?:STEM))(?:(?:key|td|th|dt)>([^<>]{1,80}+)</(?:key|td|th|dt)>\s{0,80}+<(?:string|td|dd)"
    r"|(?:\w{1,40}+:)?([\w.\-]{1,80}+)(?:\s[^<>]{0,200}+)?)>(?:<!\[cdata\[)?+([^<]++)"
)


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


def without_said(text: str, small: str, said: Container[str]) -> str:
    """Return the text without what it calls credentials.

    ``small`` is the text in lower case, ``said`` is asked for words of it.
    """
    if (elsewhere := _may_name_elsewhere(said, small)) or _may_name(said):
        others = ""  # a pattern of names in other alphabets
        if elsewhere and not small.isascii() and compiled(OTHER_SIGNS).search(small) is not None:
            others = OTHER_SIGNS
        if "\n" in text:
            text, small = without_both(text, small, next_lines(text))
            if "-" in text:
                text, small = without_both(text, small, next_arguments(text))
        if 'name="' in text:
            text, small = without_both(text, small, parts_of_forms(text))
        if "val" in said and (":" in small or "=" in small):
            text, small = without_both(text, small, _values_of_names(text, small, said))
        if "</" in text:
            text, small = without_both(text, small, _values_of_tags(text, small, elsewhere))
        if "<input" in said:
            found = compiled(_INPUT).finditer(small)
            text, small = without_both(text, small, (each.span(each.lastindex or 0) for each in found))
        if "phrase" in said or "nemonic" in said:
            found = compiled(_MNEMONIC).finditer(small)
            text, small = without_both(text, small, first_groups(found))
        if "auth(" in said:
            found = compiled(_CALLED_AUTH).finditer(text)
            text, small = without_both(text, small, first_groups(found))
        if "user" in said and "key" in said:
            users = compiled("user").finditer(small)
            found = near(_USER_AND_KEY, small, users, 1, _LONGEST_USER_AND_KEY)
            text, small = without_both(text, small, first_groups(found))
        if "login " in said and "password " in said:
            found = compiled(_NETRC).finditer(small)
            text, small = without_both(text, small, first_groups(found))
        if "[parameters: " in said:
            text, small = without_both(text, small, bound(text))
        was = small
        text, small = without_named(text, small, elsewhere, others)
        if text != was or compiled(_SIGN).search(was) is not None:  # none is made of small letters only
            text, small = without_both(text, small, _made_near(text, small, said, others))
            if "secret" in said or "passw" in said or " key" in said or "credential" in said:
                text, small = without_both(text, small, _made_before(text, small))
        if others:
            text, small = without_both(text, small, unspaced(text))
        if "otp" in said or "pin" in said or "cv" in said:
            text, small = without_both(text, small, codes(small, said))
        if "auth plain " in said or "auth login " in said:
            found = compiled(_MAILED).finditer(text)
            text, small = without_both(text, small, first_groups(found))
        if "code" in said:
            text, small = without_both(text, small, said_codes(small))
        if "insert into" in said:
            text, small = without_both(text, small, inserted(text))
        if "input_value=" in said:
            text, small = without_both(text, small, _inputs(text))
        if "--value" in said or "--string" in said:
            found = compiled(_OPTIONS_OF_BOTH).finditer(text)
            text, small = without_both(
                text, small, (each.span(2) for each in found if sensitivity_of(each[1]) != HARMLESS)
            )
    elif "login " in said or "http-basic" in said:
        text, small = without_both(text, small, _made_near(text, small, said))
    elif "pin" in said:
        text, small = without_both(text, small, codes(small, said))
    if "(" in text and ("'" in text or '"' in text):
        text, small = without_both(text, small, called(text, small))
        if "crypt(" in said:
            found = compiled(_CRYPT).finditer(text)
            text, small = without_both(text, small, (each.span(each.lastindex or 0) for each in found))
    if "wifi:" in said:
        text, small = without_both(text, small, wireless(text))
    if len(text) > 27:
        if small.count(":") > 3:
            text, small = without_both(text, small, fields(text))
        if "saml" in said:
            found = compiled(_SAML).finditer(small)
            text, small = without_both(text, small, first_groups(found))
        if "kty" in said:
            parts = compiled(_BEHIND_PARTS).finditer(text)
            found = near(_WEB_KEY, text, parts, _FURTHEST_PART, _LONGEST_PART)
            text, small = without_both(text, small, first_groups(found))
    if "bearer " in said or "basic " in said:
        text = compiled(_SCHEME).sub(rf"\1{REDACTED}", text)
    return text


def _may_name(s: Container[str]) -> bool:
    # one of STEMS; written out, by a letter that not each text has, it takes a third of the time
    return (
        ("k" in s and ("key" in s or "tok" in s or "cook" in s or "psk" in s))
        or ("p" in s and ("pass" in s or "pw" in s or "otp" in s or "phras" in s or "appid" in s))
        or ("c" in s and ("secr" in s or "code" in s or "cred" in s or "hmac" in s))
        or ("d" in s and ("sid" in s or "dsn" in s or "identified" in s))
        or "auth" in s or "sig" in s or "bear" in s or "sas" in s or "salt" in s or "srf" in s or "jwt" in s
        or "essi" in s or "nemon" in s
    )  # fmt: skip


def _may_name_elsewhere(s: Container[str], small: str) -> bool:
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
        or ("\\u" in small and compiled(ANY_ESCAPED_SIGN).search(small) is not None)
        or (not small.isascii() and _has_sign(s, small))
    )  # fmt: skip


def _has_sign(s: Container[str], small: str) -> bool:
    return any([sign in s for sign in LATIN_SIGNS]) or compiled(OTHER_SIGNS).search(small) is not None


def _made_before(text: str, small: str) -> Iterator[tuple[int, int]]:
    """Yield where keys stand that were made at random, before a word that says so: ``X as the secret``."""
    words = in_order(list(map(compiled, _KEYS_BEHIND)), small)
    for found in near(_WORDS_BEHIND, small, words, _LONGEST_BEHIND, _REST_BEHIND):
        begin, end = found.span(1)
        yield begin, end if looks_like_key(text[begin:end]) else begin


def _made_near(text: str, small: str, said: Container[str], others: str = "") -> Iterator[tuple[int, int]]:
    """Yield where passwords stand that were made at random, on the line of a word that announces one."""
    if len(small) > LONG:
        words = [word + rest for word, rest in _WORDS_NEAR.items() if word in said]
    else:
        words = [_ANY_NEAR]
    if not small.isascii():
        words += [*(sign for sign in LATIN_SIGNS if sign in said), *([others] if others else [])]
    reached = 0
    for found in in_order(list(map(compiled, words)), small):
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


def _values_of_names(text: str, small: str, said: Container[str]) -> Iterator[tuple[int, int]]:
    """Yield where the values stand of ``{"name": "DB_PASSWORD", "value": "X"}`` and alike."""
    harmless: set[str] = set()
    for pairs, of_name in (
        (_names_and_values(small, said), 1),
        (compiled(_VALUE_AND_NAME).finditer(small), 3),
    ):
        for looked, found in enumerate(pairs):
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


def _names_and_values(small: str, said: Container[str]) -> Iterator[re.Match[str]]:
    """Yield what is found of _NAME_AND_VALUE: a name begins near a word before its value."""
    if len(small) <= LONG:
        yield from compiled(_NAME_AND_VALUE).finditer(small)
        return
    begins, pair = compiled(_NAME_BEGINS).search, compiled(_NAME_AND_VALUE).match
    at = 0
    patterns = list(map(compiled, _BEFORE_VALUES if "content" in said else _BEFORE_VALUES[:1]))
    for begin, end in windows(in_order(patterns, small), _FURTHEST_NAME, 0):
        at = max(at, begin)
        while (name := begins(small, at, end)) is not None:
            at = name.start() + 1
            if (found := pair(small, name.start())) is not None:
                yield found
                at = found.end()


def _values_of_tags(text: str, small: str, elsewhere: bool) -> Iterator[tuple[int, int]]:
    """Yield where the values stand of ``<password>X</password>``, and of a list of properties."""
    for found in compiled(_TAGS.replace("STEM", any_stem(elsewhere))).finditer(small):
        begin, end = found.span(3)
        name = text[slice(*found.span(2 if found[1] is None else 1))]
        is_none = end - begin < 40 and means_nothing(text[begin:end], name)
        yield begin, end if withholds(name, text[begin:end]) and not is_none else begin
