"""Tell from its name whether a value is a credential: ``apiKey`` is one, ``max_tokens``, ``token_type`` not.

A name's words decide. Some leave it to the value: ``auth`` may be ``basic`` or a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from perfdb.guard import raise_foreign
from perfdb.recording.secret_spans import compiled

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

HARMLESS, DOUBTFUL, SECRET = 0, 1, 2

# What is a credential whatever stands around it, unless it ends in one of _ABOUT.
_NOUNS = frozenset(
    "authorization bearer cookie cookies token secret secrets password passwords passwd pwd pw passphrase "
    "passphrases passcode passcodes apikey apikeys dsn jwt jwts credential credentials creds psk mnemonic "
    "totp passwort kennwort senha contrasena wachtwoord pgpass cvv cvc".split()
    + "contrasenia contrasenya losungswort passe mdp motdepasse lozinka zaporka jelszo salasana losenord "
    "passord adgangskode slaptazodis parool adgangsord lykilord laluan nenosiri pasahitza contrasinal "
    "cyfrinair fjalekalim fjalekalimi".split()
)
# Of a name in one word: accesstoken, PGPASSWORD.
_ENDINGS = (
    "apikey", "apikeys", "password", "passwd", "passphrase", "secret", "token", "accesskey", "secretkey",
    "privatekey", "signingkey", "masterkey", "accountkey", "authkey", "dbpass", "userpass", "smtppass",
    "credentials", "pwd", "storepass", "keypass", "requirepass", "passwort", "kennwort", "wachtwoord",
    "losenord", "pw", "passcode", "cookie",
)  # fmt: skip
_BEGINNINGS = ("secret", "password", "passwd", "token", "apikey", "credential")
_ENDS_OF_VALUES = ("string", "value", "text", "data", "plain")
_ONE_WORD = frozenset("sessionid phpsessid jsessionid csrf xsrf".split())
_KEYS = frozenset(
    "api access account auth encryption private signing ssh secret master subscription decryption "
    "openai anthropic gemini groq mistral cohere serpapi pinecone huggingface sendgrid twilio mailgun "
    "datadog stripe replicate perplexity xai deepseek tavily langsmith newrelic sentry "
    "aes hmac rsa gpg pgp recovery wallet consumer license licence preshared application functions webhook "
    "shared symmetric cipher crypto service fernet vapid openrouter fireworks cerebras nvidia deepgram "
    "activation pragma elevenlabs assemblyai firecrawl postmark mailchimp algolia supabase airtable "
    "rapidapi".split()
)
_MAYBE_KEYS = frozenset(
    "client app session role admin deploy integration server project bot write ingest ingestion routing "
    "function anon google github gitlab aws azure gcp hf dd maps slack storage x partner merchant developer "
    "host".split()
)
_CODES = frozenset(
    "recovery backup verification security time otp mfa fa sms auth login seed activation unlock".split()
)
_PASSES = frozenset(
    "db database user mysql mariadb pg postgres postgresql smtp ftp sftp redis admin root mail email imap "
    "login ssh sudo http proxy mongo mongodb rabbitmq amqp ldap become keystore truststore wifi my app "
    "key store basic".split()
)
# Credentials when their value looks like one, and nothing follows.
_MAYBE = frozenset(
    "auth oauth pass sas sig signature otp hotp pat pin salt pepper seed sid hmac csrf xsrf ticket "
    "nonce verifier assertion".split()
)
# Of keys in capitals: SORT_KEY=2f1a9c
_OF_DATA = frozenset(
    "sort cache primary partition foreign public object hash group row shard routing lookup index unique "
    "idempotency dedup file image dataset record item s bucket join sharding distribution clustering natural "
    "surrogate composite candidate super parent redis memcached kafka message event order customer user "
    "translation i n msgid issue ticket jira sheet doc node".split()
)
_NO_PASSES = frozenset(
    "by com encom sur tres over under first second one two single multi forward backward render low high "
    "band all".split()
)
# In other languages words that mean something else as well, such as a key of a table.
_MAYBE_ELSEWHERE = frozenset(
    "clave parola parole haslo heslo geslo sifre sandi chave cle schluessel schlussel geheim geheimnis "
    "secreto segreto segredo nyckel sleutel chiave klucz klic khau lozinku parolu hasla hesla jeton "
    "anahtar kulcs".split()
)
_ELSEWHERE_WEAK = (
    "ключ", "секрет", "密钥", "密鑰", "令牌", "токен", "رمز", "암호", "暗号", "रहस्य", "гасло", "鍵", "مفتاح",
    "κλειδ", "құпия", "нууц",
)  # fmt: skip
_ELSEWHERE = (
    "парол", "密码", "密碼", "口令", "パスワード", "暗証番号", "비밀번호", "패스워드",
    "كلمة_السر", "كلمة السر", "كلمة المرور", "كلمة_المرور", "סיסמ", "κωδικό", "κωδικο",
    "συνθηματικ", "पासवर्ड", "รหัสผ่าน", "лозинк", "პაროლ", "գաղտնաբառ", "পাসওয়ার্ড", "கடவுச்சொல்", "پاس ورڈ",
    "گذرواژه",
)  # fmt: skip
_SHORT_ELSEWHERE = tuple(_MAYBE_ELSEWHERE)
_ENDS_ELSEWHERE = ("schluessel", "schlussel", "nyckel", "sleutel")  # of compounds
_PLAIN = str.maketrans("łøđıßæœ", "lodisao")  # letters that are no other letter with a sign
_ABOUT_ELSEWHERE = frozenset(
    "longitud laenge lange longueur lunghezza dlugosc tipo typ anzahl primaria".split()
)
_VALUES = frozenset("header string data value raw text b64 base64 json basic".split())  # of auth: auth_header
# A list of tokens is what a model reads, unless one of these stands before.
_TOKEN_KINDS = frozenset(
    "access refresh auth api bearer session secret csrf device push registration fcm oauth personal "
    "service github gitlab slack bot deploy".split()
)
# What is a credential if a word of these stands before it.
_BY_KIND = {
    "key": _KEYS, "keys": _KEYS, "tokens": _TOKEN_KINDS, "pass": _PASSES, "code": _CODES, "codes": _CODES,
    "phrase": frozenset(("seed", "recovery", "pass")),
}  # fmt: skip
_OTHER_TOKENS = frozenset(
    "eos bos pad unk mask sep cls stop special start end first last next page continuation sync resume "
    "cursor fencing cancel cancellation pagination image audio prefix suffix separator prompt completion "
    "input output max min per each new one single total cached reasoning word sub".split()
)
_ASKING = frozenset(
    "has is are can should need needs require requires required num n nb no number count allow enable "
    "disable validate verify check show hide skip rotate use uses using with without missing".split()
)
# What makes of a credential something about it.
_ABOUT = frozenset(
    "count counts counter length len size limit limits limiter usage used use uses type types kind ms s "
    "us ns sec secs second seconds min mins minute minutes hour hours day days time times timestamp "
    "timeout duration latency rate ratio per budget total totals sum mean avg average max median p50 p90 "
    "p95 p99 id ids name names version versions policy policies required enabled disabled present valid "
    "invalid validity validation expired expires expiry expiration ttl age at by url uri endpoint path "
    "paths file files filename dir folder field fields format algorithm alg rotation rotated changed "
    "reset strength attempts attempt retries errors error failures failed failure status state ok exists "
    "missing source provider scope scopes issuer audience index idx position offset hint manager store "
    "service cache hits misses percent pct cost price usd eur bytes kb mb chars bits decode encode "
    "decoding encoding encoded decoded loaded found verified refreshed refresh revoked cached updated "
    "created set reused supported allowed accepted rejected checked check checks bucket buckets embedding "
    "embeddings logprob logprobs classification healing consent domain jar jars samesite mode method host "
    "port env variable var column table class label level score rank order number num calls requests "
    "request queue pool fetch lookup read write sent received seen left remaining consumed generated "
    "prompt throughput speed step steps stage stages phase scanner scanning detector detected detection "
    "management rules rule exchange introspection arn banner scanned width height hasher hashing encoder "
    "decoder generator validator validators handler middleware backend driver parser strategy page form "
    "screen dialog template flow test tests docs link button label placeholder stdin ref refs".split()
)

_SEGMENT = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PATH = r"[/~.]|[A-Za-z]:[\\/]"
_MEASURE = (
    r"[-+]?[\d.,:/]+(?:e[-+]?\d+)?(?:[a-z]{1,3}|%|/s)?|[A-Z]{2,5}/\d[\d.]*"
    r"|v?\d+(?:\.\d+)+\S{0,12}|\d{4}-\d\d-\d\d\S{0,24}"
)
_NOT_MADE = r"[/:\\]|@\w+\.|[^!-~]"
_TURNS = r"[a-z](?=[A-Z])|[A-Za-z](?=\d)|\d(?=[A-Za-z])|[!@#$%^*+?~]"
_OF_A_KEY = r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=\D*\d)[A-Za-z0-9+/_\-]{20,200}={0,2}"
_CHANGES = r"[a-z](?=[^a-z])|[A-Z](?=[^A-Z])|\d(?=\D)"
_SIGNS = r"[!@#$%^*+~](?=.)"
_ALL_KINDS = r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=\D*\d)"
_HEADER_NAME = r"[A-Za-z]{1,20}(?:-[A-Za-z]{1,20}){1,4}|Authorization"
_FILE = r"(?:[/~.]|[A-Za-z]:\\)[\w/.\-\\ ]{1,200}\.\w{1,8}|/run/secrets/\w+"
_KEY_ID = r"(?:0x)?[0-9A-F]{8,40}"
_OPEN_ADDRESS = r"[a-z][a-z0-9+]{1,20}://[^@?;]{0,200}"  # without a user
# shadow_2, orders.created.eu-west-1
_NUMBERED = r"[a-z]{2,20}[_-]\d{1,3}|[a-z]{2,20}+\.(?:[a-z]{2,20}+[-_.]){1,6}\d{1,3}"
_CAMEL = r"[A-Z]?[a-z]++(?:[-_.]?[A-Z]?[a-z]++)*+|[A-Z][A-Z_\-.]*"

LONGEST_NAME = 200
_NO_WORD = "0123456789_-.\"'`]) "  # the words of a name are before these
# What names a value in a mapping, and the value.
_NAME_KEYS = "name Name NAME key Key KEY header Header variable field param k ParameterKey".split()
_NAMES_OF_KEYS = frozenset(_NAME_KEYS)
_KIND_OF_WEB_KEY = "kty"
_PRIVATE_OF_WEB_KEY = frozenset(("d", "p", "q", "dp", "dq", "qi", "k", "oth"))
_NONE: frozenset[str] = frozenset()
_VALUE_KEYS = frozenset(
    "value val v stringvalue parametervalue old new oldvalue newvalue old_value new_value before "
    "after".split()
)
_FLAGS = frozenset("true false yes no on off none null".split())  # --cookies off
_OF_DIGITS = frozenset("otp hotp pin totp cvv cvc".split())
_ANYTHING = "aB3$aB3$"  # a value that any doubtful name withholds
_CACHE_SIZE = 4_096
_known: dict[str, int] = {}  # a name is looked at once


def sensitivity_of(name: str) -> int:
    """Return SECRET, HARMLESS, or DOUBTFUL: its value decides."""
    found = _known.get(name)
    if found is None and "\\" in name and len(name) <= LONGEST_NAME and (read := _unescaped(name)) != name:
        return sensitivity_of(read)
    if found is None and name and name[-1] in _NO_WORD and len(name) <= LONGEST_NAME:  # step_17, step_18
        return sensitivity_of(name.rstrip(_NO_WORD))
    if found is None:
        found = _sensitivity_of_name(name[-LONGEST_NAME:])
        if len(name) <= LONGEST_NAME:
            if len(_known) >= _CACHE_SIZE:
                _known.clear()
            _known[name] = found
    return found


def _sensitivity_of_name(name: str) -> int:
    if name.isascii():
        words = [word.lower() for word in _SEGMENT.findall(name)]
        found = _sensitivity_of_words(words)
        if found == HARMLESS and name.endswith("_KEY") and len(words) == 2 and words[0] not in _OF_DATA:
            return DOUBTFUL  # KAGGLE_KEY
        return found
    small = name.lower()
    words = [word.lower() for word in _SEGMENT.findall(_without_signs(name))]
    if words and _is_about(words[-1]):
        return HARMLESS
    if any([each in small for each in _ELSEWHERE]):
        return SECRET
    if any([each in small for each in _ELSEWHERE_WEAK]):
        return DOUBTFUL
    return _sensitivity_of_words(words)


def _unescaped(name: str) -> str:
    """Return the name without the escapes of bytes that are shown, or of JSON."""
    if "\\x" in name:  # of bytes, as they are shown
        name = compiled(r"\\x([0-9a-f]{2})").sub(lambda found: chr(int(found[1], 16)), name)
        name = text_of(name.encode("latin-1", "replace"))
    if "\\u" in name:  # of JSON
        name = compiled(r"\\u([0-9a-fA-F]{4})").sub(lambda found: chr(int(found[1], 16)), name)
    return name


def text_of(name: bytes) -> str:
    """Return a name that is given in bytes."""
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise_foreign(error)
        return name.decode("latin-1")


def _without_signs(name: str) -> str:
    """Return a name in letters without their signs: contraseña, contrasena."""
    from unicodedata import combining, normalize

    return "".join([each for each in normalize("NFKD", name) if not combining(each)]).translate(_PLAIN)


def _sensitivity_of_words(words: list[str]) -> int:
    if not words:
        return HARMLESS
    for at in reversed(range(len(words))):
        if _is_noun(words, at):
            break
    else:
        return _sensitivity_without_noun(words)
    noun, before, after = words[at], words[at - 1] if at else "", words[at + 1 :]
    if after == ["id"] and noun == "secret":
        return DOUBTFUL  # of Vault a credential, of AWS a name
    if after and _is_about(after[-1]):
        return HARMLESS
    if noun == "token" and before in _OTHER_TOKENS:
        return HARMLESS
    if noun == "token" and after and after[-1] not in _VALUES:
        return DOUBTFUL
    return DOUBTFUL if words[0] in _ASKING and len(words) > 1 else SECRET


def _is_about(word: str) -> bool:
    return word in _ABOUT or word in _ABOUT_ELSEWHERE or (word[-1] == "s" and word[:-1] in _ABOUT)


def _is_noun(words: list[str], at: int) -> bool:
    word, before = words[at], words[at - 1] if at else ""
    if (kinds := _BY_KIND.get(word)) is not None:
        return before in kinds
    return (
        word in _NOUNS
        or word.endswith(_ENDINGS)
        or before + word in _NOUNS  # passWord
        or (word.startswith(_BEGINNINGS) and word.endswith(_ENDS_OF_VALUES))  # secretstring
    )


def _ends_in_pass(word: str) -> bool:
    """Tell it of ``dbpass`` and ``masterauth``, but not of ``bypass``."""
    return len(word) > 4 and (
        word.endswith("auth") or (word.endswith("pass") and word.removesuffix("pass") not in _NO_PASSES)
    )


def _sensitivity_without_noun(words: list[str]) -> int:
    if len(words) > 1 and words[-1] in _VALUES and words[-2] in ("auth", "oauth"):
        return SECRET if words[-1] == "header" else DOUBTFUL
    if words[-1] in _MAYBE or words[-1] in _ONE_WORD or _ends_in_pass(words[-1]):
        return DOUBTFUL
    if not _MAYBE_ELSEWHERE.isdisjoint(words) or any([word.endswith(_ENDS_ELSEWHERE) for word in words]):
        return HARMLESS if _is_about(words[-1]) else DOUBTFUL
    if ("key" in words or "keys" in words) and any(
        [after in ("key", "keys") and before in _MAYBE_KEYS for before, after in pairwise(words)]
    ):
        return HARMLESS if words[-1] in _ABOUT else DOUBTFUL
    if words[-1] == "code" and len(words) > 1 and words[-2] in _OF_DIGITS:
        return DOUBTFUL
    return DOUBTFUL if _is_any_key(words) else HARMLESS


def _is_any_key(words: list[str]) -> bool:
    """Tell whether the last word is a key, and the former say nothing else of it: ``unseal_key``."""
    return words[-1] in ("key", "keys") and (len(words) == 1 or words[-2] not in _OF_DATA)


def is_harmless(name: str, value: object) -> bool:
    """Tell that a value is no credential though its name sounds so: ``has_password=True``, ``tokens=5``."""
    if value is None or isinstance(value, (bool, float)):
        return True
    if isinstance(value, str) and len(value) < 4 and value.isdigit():
        value = int(value)
    if isinstance(value, int):
        if is_code(name, str(value) if -1 < value < 100_000_000 else ""):
            return False
        small = name.lower().rstrip("_0123456789")
        return "token" in small or (small.endswith("s") and not small.endswith("pass"))
    if not isinstance(value, str):
        return False
    small = name[-12:].rstrip("\"'`]").lower()
    if small.endswith(("credentials", "creds")) and compiled(_FILE).fullmatch(value) is not None:
        return True
    if small.endswith(("gpg_key", "pgp_key")) and compiled(_KEY_ID).fullmatch(value) is not None:
        return True
    if name[-3:].lower() == "dsn" and compiled(_OPEN_ADDRESS).fullmatch(value) is not None:
        return True
    if not value or (len(value) < 6 and value.lower() in _FLAGS):
        return True
    if name[-6:].lower() == "header" and compiled(_HEADER_NAME).fullmatch(value) is not None:
        return True
    return name[-3:].lower() == "pwd" and compiled(_PATH).match(value) is not None


def is_code(name: str, value: str) -> bool:
    """Tell whether a value is a PIN or a one-time password, by its digits: no number of a pin on a board."""
    if not (4 <= len(value) <= 8 and value.isascii() and value.isdigit()):
        return False
    words = _SEGMENT.findall(name[-40:])
    of_codes = False
    while words and words[-1].lower() in ("code", "number", "value"):
        of_codes = words.pop().lower() == "code"
    return bool(words) and (
        words[-1].lower() in _OF_DIGITS or (of_codes and words[-1].lower() in _CODES and words[-1] != "time")
    )


def is_of_a_board(value: str) -> bool:
    """Tell whether a value is a pin of a board, such as GPIO17, or a hash that something is pinned to."""
    return compiled(r"[A-Za-z]{1,5}[_-]?\d{1,3}|[a-f0-9]{32,}").fullmatch(value) is not None


def looks_made(text: str) -> bool:
    """Tell whether a text is a password or a key that was made at random: digits, capitals, signs in turns.

    No identifier, version or name of a model is.
    """
    if compiled(_NOT_MADE).search(text) is not None:
        return False
    for part in compiled(r"[-_.]").split(text):
        turns = len(compiled(_TURNS).findall(part)) if 7 < len(part) < 129 else 0
        if turns > 1 and compiled(_SIGNS).search(part) is not None:
            return True
        turns = turns if len(part) < 16 or turns * 5 >= len(part) else 0  # ParserForHTML5Pages2
        if turns > 2 and compiled(_ALL_KINDS).match(part) is not None:
            return True
    return False


def least_of(name: str) -> int:
    """Return the least length of a credential under a doubtful name."""
    small = name.rstrip("\\\"'`]").lower()
    if name.endswith("_KEY") and _sensitivity_of_words(small.split("_")) == HARMLESS:
        return 20
    if small.isascii() and not small.endswith(_SHORT_ELSEWHERE):
        return 5 if small.endswith("pass") else 6 if small.endswith("pin") else 8
    return 6


def looks_secret(name: str, value: str) -> bool:
    """Tell whether a value under a doubtful name is a credential."""
    words = [word.lower() for word in _SEGMENT.findall(name[-LONGEST_NAME:])] if name else []
    if words and words[-1] in _OF_DIGITS and not any(map(str.isdigit, value)):
        return False  # otp: Erlang/OTP
    of_key = words and words[-1] in ("key", "keys") and not name.endswith("_KEY")
    if of_key and (len(words) == 1 or words[-2] not in _MAYBE_KEYS):
        return looks_like_key(value, 4 if len(words) > 1 else 2.5)
    return looks_random(value, least_of(name))


def looks_like_key(text: str, least: float = 4) -> bool:
    """Tell whether a text is long and its small letters, capitals and digits change as often as by chance.

    No identifier, name or path is so; a hash in hexadecimal digits may be of anything. They change once in
    ``least`` characters.
    """
    if compiled(_OF_A_KEY).fullmatch(text) is None:
        return False
    return len(compiled(_CHANGES).findall(text)) * least >= len(text)


def looks_random(text: str, least: int = 8) -> bool:
    """Tell whether a text is likely to be a key or a password, and no word, number, path or address."""
    if (
        len(text) < least
        or compiled(_NUMBERED).fullmatch(text)
        or compiled(_PATH).match(text)
        or "://" in text
        or any(map(str.isspace, text))
    ):
        return False
    if compiled(_MEASURE).fullmatch(text) or compiled(_CAMEL).fullmatch(text):
        return len(text) >= 24 and text.isalnum() and text.islower()
    return any(map(str.isdigit, text)) or not text.replace("-", "").replace("_", "").islower()


def is_secret_key(key: str) -> bool:
    """Tell whether a key names a credential, by its words: ``apiKey`` does, ``max_tokens`` does not."""
    return sensitivity_of(key) == SECRET


def withholds(key: str, value: object, extra: Iterable[str] = ()) -> bool:
    """Tell whether a value is withheld because of its key; some keys leave it to the value."""
    sensitivity = sensitivity_of(key)
    if sensitivity == HARMLESS and not extra:
        return False
    if sensitivity == SECRET or any([word in key.lower() for word in extra]):
        return not is_harmless(key, value)
    if sensitivity == DOUBTFUL:
        if isinstance(value, (list, tuple)):  # auth=("user", "password")
            return len(value) == 2 and key.lower().endswith("auth") and all([type(x) is str for x in value])
        if not isinstance(value, str):
            return type(value) is int and is_code(key, str(value) if -1 < value < 100_000_000 else "")
        if key[-3:].lower() == "pin" and is_of_a_board(value):
            return False
        return looks_secret(key, value[:300]) or is_code(key, value)
    return False


def may_withhold(key: str) -> bool:
    """Tell whether some values of a key are withheld."""
    return sensitivity_of(key) != HARMLESS or key.lower() in _VALUE_KEYS or key == _KIND_OF_WEB_KEY


def is_secret_pair(pair: Sequence[Any], extra: Iterable[str] = ()) -> bool:
    """Tell whether two values are a header with a credential; many libraries keep headers as pairs."""
    if len(pair) != 2:
        return False
    key = text_of(pair[0]) if type(pair[0]) is bytes and len(pair[0]) <= LONGEST_NAME else pair[0]
    return type(key) is str and len(key) <= LONGEST_NAME and withholds(key, pair[1], extra)


def secret_keys_in(values: Mapping[Any, Any], extra: Iterable[str] = ()) -> frozenset[str]:
    """Return the keys, in small letters, that hold what a mapping says of itself to be a credential.

    ``{"name": "DB_PASSWORD", "value": "X"}``, and a private key as JSON has it (RFC 7517).
    """
    if _KIND_OF_WEB_KEY in values:
        return _PRIVATE_OF_WEB_KEY
    if _NAMES_OF_KEYS.isdisjoint(values):
        return _NONE
    for key in _NAME_KEYS:
        name = values.get(key)
        if type(name) is str and len(name) <= LONGEST_NAME and withholds(name, _ANYTHING, extra):
            return _VALUE_KEYS
    kind = values.get("type")  # a token is something else to a parser
    if type(kind) is str and len(kind) <= LONGEST_NAME and "pass" in kind.lower():
        return _VALUE_KEYS if withholds(kind, _ANYTHING, extra) else _NONE
    return _NONE
