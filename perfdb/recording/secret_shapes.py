"""The shapes of the providers' credentials: how each begins, and what must follow.

A text is searched once for all beginnings; only where one stands is what follows looked at, a bounded way.
So the time is linear in the length of the text, whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from perfdb.recording.secret_spans import (
    MANY,
    compiled,
    end_of,
    in_order,
    is_dense,
    runs_as,
    shape_of,
    sound,
    without,
)
from perfdb.recording.secret_words import LONG, Words, search_of

# How each begins, and a pattern of what follows; as published by the providers.
_WORD = r"[A-Za-z0-9]"
_DASHED = r"[\w\-]"
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("sk- pk- rk-", r"(?![spr]k-)"),  # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse: see _key
    ("sess-", _WORD + "{32,}"),
    (
        "sk_live_ sk_test_ sk_prod_ pk_live_ pk_test_ rk_live_ rk_test_ rk_prod_ rzp_live_ rzp_test_",
        r"\w{8,}",
    ),
    ("sk_ ak_", r"(?=[A-Za-z]{0,40}+\d)[A-Za-z0-9]{24,}"),
    ("whsec_", r"[\w+/\-]{16,}=*"),
    ("ghp_ gho_ ghu_ ghs_ ghr_", _WORD + r"{16,}[\w.\-]*"),
    ("github_pat_", r"\w{16,}"),
    (
        "glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct- glwt-",
        r"[\w\-]{16,}(?:\.[\w\-]+)*",
    ),
    ("GR1348941", _DASHED + "{16,}"),
    ("AKIA ASIA ABIA ACCA", r"[0-9A-Z]{16}(?![0-9A-Z])(?:[:,/| '\"]{1,4}[A-Za-z0-9/+]{40})?"),
    ("ABSK", r"[A-Za-z0-9+/]{60,}=*"),
    ("bedrock-api-key-", _DASHED + "{20,}=*"),
    ("LTAI AKID", _WORD + "{16,}"),
    ("AIza", _DASHED + "{30,}"),
    ("AQ.", r"(?=[A-Za-z_\-]{0,60}+\d)[\w\-]{40,}"),  # Google's of 2025
    ("ya29.", r"[\w\-.]{16,}"),
    ("1//0", _DASHED + "{20,}"),
    ("4/0A", _DASHED + "{24,}"),
    ("GOCSPX-", _DASHED + "{16,}"),
    ("hf_ api_org_", _WORD + "{20,}"),
    ("hf_oauth_", r"(?=[a-z_\-]{0,60}+[A-Z0-9])[\w.\-]{20,}"),
    (
        "gsk_ fw_ jina_ esecret_ pcsk_ e2b_ bb_live_ tgp_v1_ wandb_v1_ rnd_ nfp_ napi_ pylf_v1_ pylf_v2_",
        r"(?=[a-z_\-]{0,60}+[A-Z0-9])[\w\-]{20,}",  # rnd_uniform_distribution_size is none
    ),
    ("vercel_blob_rw_ snyk_uat. snyk_sat.", r"[\w.\-]{20,}"),
    ("pa-", r"(?=[A-Za-z_\-]{0,42}+\d)[\w\-]{43}(?![\w\-])"),  # Voyage
    ("APP_USR-", r"\d{10,}-[\w\-]{20,}"),
    ("FLWSECK- FLWSECK_TEST-", r"[a-f0-9]{24,}(?:-\w+)*"),
    ("v1.0-", r"[a-f0-9]{24}-[a-f0-9]{100,}"),  # Cloudflare's origin
    ("st.", r"[a-f0-9]{20,}\.[a-f0-9]{32}\.[a-f0-9]{32}"),  # Infisical
    ("ver:1-hint:", r"\d+-[\w+/=\-]{20,}"),  # Snowflake
    ("1/ 2/", r"\d{10,20}(?:/\d{10,20})?:[a-f0-9]{32}"),  # Asana
    ("vcp_ vci_ vca_ vcr_ vck_", r"[\w\-]{20,}"),
    ("r8_", _WORD + "{20,}"),
    ("xai-", r"(?=[a-z_\-]{0,60}+[A-Z0-9])[\w\-]{20,}"),
    ("pplx- tvly- csk- nvapi-", r"[\w\-]{20,}"),
    ("fc-", "[a-f0-9]{28,}"),
    ("rpa_", r"(?=[A-Z0-9]{20})\w{30,}"),
    (
        "mdb_sa_sk_ ory_at_ ory_pat_ ory_rt_ polar_oat_ polar_pat_ xnd_production_ xnd_development_",
        r"[\w\-]{20,}",
    ),
    (
        "dbtc_ dbtu_ fio-u- tr_prod_ tr_dev_ zpka_ kpat_ spat_ CCDB1_ tsec_ ddp_ ddo_",
        r"(?=[a-z_\-]{0,60}+[A-Z0-9])[\w\-]{20,}",
    ),
    (
        "signkey-prod- signkey-test- secret-live- secret-test- pdl_live_apikey_ pdl_sdbx_apikey_",
        r"[\w\-=]{20,}",
    ),
    ("access_token$production$ access_token$sandbox$", r"\w{10,}\$[a-f0-9]{20,}"),
    ("hcaik_ hcbik_ hcxik_ hcamk_ hcalk_ hcxlk_", r"[a-z0-9]{20,}"),
    ("sdk- mob- api- xaat- xapt-", r"[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}"),  # LaunchDarkly, Axiom
    ("v1. v2. v3. v4.", r"(?:local|public)\.[\w\-]{32,}(?:\.[\w\-]+)?"),  # PASETO
    ("AQVN", r"(?=[A-Za-z]{0,40}+[\d_\-])[\w\-]{30,}"),
    ("y0_ y1_", r"(?=[a-z_\-]{0,60}+[A-Z0-9])[\w\-]{36,}"),
    ("t1.", r"[\w\-]{20,}={0,2}\.[\w\-]{60,}={0,2}"),  # Yandex
    (
        "as- ak-",
        r"(?=[A-Za-z]{0,21}+\d)(?=[a-z0-9]{0,21}+[A-Z])(?=[A-Z0-9]{0,21}+[a-z])[A-Za-z0-9]{22}(?![\w\-])",
    ),  # Modal
    ("SCW DO00", r"[A-Z0-9]{16,17}(?!\w)"),
    ("GOOG1E", r"[A-Z0-9]{50,}"),
    ("live_", r"\d{6,12}_[A-Za-z0-9]{24,}|(?=[A-Za-z]{0,40}+\d)(?=[a-z0-9]{0,40}+[A-Z])[A-Za-z0-9]{20,}"),
    ("expo_ testsk_ unkey_", r"(?=[A-Za-z]{0,40}+\d)(?=[a-z0-9]{0,40}+[A-Z])[A-Za-z0-9]{20,}"),
    ("dG9rOg cmVmdGtu", r"[A-Za-z0-9+/]{40,}=*"),  # Intercom, Artifactory
    ("pk_", r"\d{6,}_[A-Z0-9]{32}|prod_[A-Z0-9]{28}|[a-f0-9]{34}(?!\w)"),
    ("os_v2_app_ os_v2_org_", r"[a-z0-9]{40,}"),
    ("gitea_ key_", r"[a-f0-9]{40,}"),
    ("gto_", r"[a-z0-9]{40,}"),
    ("KGAT_", r"[a-f0-9]{32}"),
    ("nk-", r"(?=[A-Za-z_\-]{0,42}+\d)[\w\-]{43}(?![\w\-])"),
    ("luma-", r"[a-f0-9]{8}-[\w\-]{30,}"),
    ("nsec1", r"[a-z0-9]{58}(?!\w)"),
    ("xprv yprv zprv", _WORD + "{100,}"),
    ("prod: dev: preview:", r"[a-z]+-[a-z]+-\d+\|[\w+/=\-]{30,}"),  # Convex
    ("p8e-", r"[a-z0-9]{32}(?![a-z0-9])"),
    ("npg_", r"(?=[A-Za-z]{0,12}+\d)[A-Za-z0-9]{12}(?!\w)"),  # a password of Neon
    ("A21AA", _DASHED + "{60,}"),  # PayPal
    ("0x4AAAAAAA", _DASHED + "{20,}"),  # Turnstile
    ("SSWS ", r"[\w\-]{36,}"),
    ("cflt", r"(?=[A-Za-z+/]{0,60}+\d)[A-Za-z0-9+/]{58,}"),
    ("lsv2_pt_ lsv2_sk_", r"\w{20,}"),
    ("apify_api_", _WORD + "{20,}"),
    ("xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xoxe.", r"[\w\-.%+/=]{8,}"),  # Slack
    ("xapp- xwfp-", r"[\w\-]{12,}"),
    ("npm_", _WORD + "{20,}"),
    ("pypi-AgE", _DASHED + "{16,}"),
    ("rubygems_", "[a-f0-9]{32,}"),
    ("oy2", "[a-z0-9]{43}"),
    ("cio", _WORD + "{32}"),
    ("CLOJARS_", _WORD + "{40,}"),
    ("dckr_pat_ dckr_oat_", _DASHED + "{16,}"),
    ("SG.", r"[\w\-]{16,32}\.[\w\-]{16,}"),
    ("xkeysib- xsmtpsib-", r"[a-f0-9]{32,}(?:-\w+)?"),
    ("key-", "[a-f0-9]{32}(?![a-f0-9])"),
    ("SK", "[a-f0-9]{32}(?![a-f0-9])"),
    ("re_", r"[A-Za-z0-9]{6,10}_[A-Za-z0-9]{16,}"),
    ("mfa.", _DASHED + "{60,}"),
    ("ATATT3 ATCTT3 ATSTT3 ATBB ATOA", r"[\w\-=]{16,}"),
    ("shpat_ shpca_ shppa_ shpss_ shptka_ shpua_", _WORD + "{20,}"),
    ("sq0atp- sq0csp- sq0idp-", _DASHED + "{16,}"),
    ("EAAA", r"(?!A)[\w\-]{40,}"),
    ("EAACEdEose0cBA", _WORD + "{8,}"),
    ("EAA", r"(?!A)(?=[A-Za-z]{0,60}+\d)(?=[a-z0-9]{0,60}+[A-Z])(?=[A-Z0-9]{0,60}+[a-z])[A-Za-z0-9]{32,}"),
    ("dop_v1_ doo_v1_ dor_v1_", "[a-f0-9]{32,}"),
    ("dapi dkea", r"[a-f0-9]{32}(?:-\d)?"),
    ("hvs. hvb. hvr.", _DASHED + "{20,}"),
    ("s. b. r.", r"(?=[A-Za-z]{0,23}+\d)(?=[a-z0-9]{0,23}+[A-Z])[A-Za-z0-9]{24}(?![A-Za-z0-9])"),
    ("NRAK- NRJS- NRII- NRIQ- NRRA- NRSP-", r"[\w\-]{16,}"),
    ("lin_api_ lin_oauth_ lin_wh_", _WORD + "{20,}"),
    ("ntn_", _WORD + "{20,}"),
    ("secret_", r"(?=[A-Za-z]{0,40}+\d)[A-Za-z0-9]{30,}|[\w\-]{1,40}_[a-f0-9]{32}\.[A-Za-z0-9]{32}"),
    ("figd_ figu_ figo_ figt_", _DASHED + "{20,}"),
    ("sntrys_ sntryu_ sntrya_ sntryi_", r"[\w+/\-]{20,}=*[\w+/]*"),
    ("glsa_", r"\w{20,}"),
    ("glc_", r"[A-Za-z0-9+/]{20,}=*"),
    ("sbp_", _WORD + "{20,}"),
    ("sb_secret_", _DASHED + "{16,}"),
    ("AGE-SECRET-KEY-", "[0-9A-Z-]{40,}"),
    ("pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w=.\-]{20,}"),
    ("fo1_ fm1a_ fm1r_ fm2_", r"[\w+/\-]{32,}=*"),
    ("HRKU- CCIPAT_ CCIPRJ_ CFPAT- tfp_ bkua_ phx_ phs_", r"[\w\-]{20,}"),
    ("pul-", "[a-f0-9]{40}"),
    ("pat", r"[A-Za-z0-9]{14}\.[a-f0-9]{64}"),
    ("pat-na pat-eu", r"\d-[a-f0-9\-]{32,}"),
    ("squ_ sqp_ sqa_", "[a-f0-9]{40}"),
    ("tskey-", r"[\w\-]{12,}"),
    ("ops_eyJ", r"[\w+/\-]{40,}=*"),
    ("A3-", "[A-Z0-9]{6}-[A-Z0-9-]{20,40}"),
    ("aio_", _WORD + "{24,}"),
    ("pnu_ pnb_", _WORD + "{32,}"),
    ("dt0c01. dt0s01. dt0s16.", r"[A-Z0-9]{8,24}\.[A-Za-z0-9]{32,}"),
    ("PMAK-", r"[a-f0-9]{16,}-[a-f0-9]{16,}"),
    ("EZAK EZTK", _WORD + "{54}"),
    (
        "shippo_live_ shippo_test_ duffel_live_ duffel_test_ rdme_ sgp_ sm_aat_ sm_pat_ sm_sat_",
        r"[\w\-]{16,}",
    ),
    ("dp.pt. dp.st. dp.ct. dp.sa. dp.scim.", r"[\w.\-]{20,}"),
    ("sha256~", _DASHED + "{40,}"),
    ("access-sandbox- access-production- access-development-", r"[a-f0-9\-]{32,}"),
    ("AKCp", _WORD + "{40,}"),
    ("cfut_ cfat_ cfk_", r"[\w\-]{30,}"),
    ("eyJrIjoi", r"[\w+/\-]{20,}=*"),  # Grafana
    ("mlsn.", "[a-f0-9]{32,}"),
    ("AAAAAAAAAAAAAAAAAAAAA", r"(?=[A-Za-z%]{0,60}+\d)[\w%]{60,}"),  # X
    ("AQE", r"(?=[A-Za-z+/]{0,60}+\d)[A-Za-z0-9+/]{60,}[\w+/=\-]*"),  # Adyen
    ("SWMTKN-1-", r"[a-z0-9\-]{30,}"),
    ("API-", "[A-Z0-9]{26}(?![A-Z0-9])"),
    ("sk.eyJ pk.eyJ p.eyJ", r"[\w\-]{20,}\.[\w\-]{16,}"),  # Mapbox, Tinybird
    ("crsr_ dtn_ hxtw_ opk_ n8n_api_ cal_live_ ls__ pl_ inference-", "[a-f0-9]{32,}"),
    ("ctx7sk- waka_ persona_production_ persona_sandbox_", r"[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}"),
    ("cpk_", r"[a-f0-9]{32}\.[a-f0-9]{32}\.\w{32}"),  # Chutes
    ("ydc-sk-", r"[a-f0-9]{16}-\w{32}"),
    ("configcat-sdk-1/", r"[\w\-]{22}/[\w\-]{22}"),
    ("retool_01", "[a-z0-9]{24,}"),
    ("VENICE-ADMIN-KEY- VENICE-INFERENCE-KEY- CW-SECRET- AKLT", _DASHED + "{30,}"),
    (
        "llx- m0- bu_ ck- psk- essu_ tmprl_ dub_ airb_ flp_ polar_oat_ polar_pat_ sk_car_ secret- BSA",
        r"(?=[A-Za-z]{0,60}+\d)(?=[a-z0-9]{0,60}+[A-Z])(?=[A-Z0-9]{0,60}+[a-z])[A-Za-z0-9]{22,}",
    ),
    ("sl.", r"[\w\-.]{60,}"),  # Dropbox
    ("FlyV1 ", r"[\w+/\-,=]{20,}"),
    ("M N O", r"[A-Za-z0-9]{23,28}\.[\w\-]{6}\.[\w\-]{27,40}"),  # Discord
)
# What stands in the middle or at the end, what must stand before it, and behind: bots of Telegram, Terraform,
# New Relic, Mailchimp, Azure.
_WITHIN = (
    (":AA", r"0-9", 6, _DASHED + "{24,}"),
    (".atlasv1.", r"A-Za-z0-9", 10, r"[\w\-=]{40,}"),
    ("NRAL", r"a-z0-9", 16, r"\b"),
    ("-us", r"a-f0-9", 32, r"\d{1,2}\b"),
    ("Q~", r"\w~.\-", 4, r"[\w~.\-]{30,}"),
    ("AZDO", r"A-Za-z0-9", 36, r"[A-Za-z0-9]{4}\b"),
    ("JQQJ99", r"A-Za-z0-9", 36, r"\w*"),
    (":APA91b", r"\w\-", 6, r"[\w\-]{60,}"),
    ("_mmk", r"\w", 30, r"\b"),
)
_SALTED = r"\$[^\s$]{1,64}\$[\w+/=]{20,200}"
_CRYPTED = (
    r"2[abxy]?\$\d\d\$[./\w]{53}|argon2(?:id|i|d)\$[\w=,$+/.\-]{30,200}"
    r"|(?:apr1|1)\$[^\s$:]{1,16}\$[./\w]{22}|[56]\$(?:rounds=\d{1,9}\$)?[^\s$:]{1,16}\$[./\w]{43,86}"
    r"|y\$[./\w]{1,8}\$[./\w]{1,86}\$[./\w]{43}"
)
# Hashes of passwords: crypt, Apache, Argon2, Django, Werkzeug.
_HASHES = (  # what each has, and the pattern
    ("$", rf"\$(?<!\w\$)(?:{_CRYPTED})"),
    ("pbkdf2", rf"pbkdf2(?<!\wpbkdf2)(?:_sha\d{{1,3}}\$\d{{1,9}}|:sha\d{{1,3}}:\d{{1,9}}){_SALTED}"),
    ("scrypt:", rf"scrypt(?<!\wscrypt):\d{{1,9}}:\d{{1,3}}:\d{{1,3}}{_SALTED}"),
    ("{", r"\{(?:S?SHA\d{0,3}|S?MD5|PBKDF2\S{0,20}|CRYPT)\}[\w+/=$.]{16,200}"),
)
_FURTHEST_BACK = 90
_LEAST_WITHIN = 20  # the shortest of those, and no more
# Shorter beginnings stand in many texts that hold nothing: what follows them is looked at in the same search.
_SHORT = 3
# A search passes quickly to a character that is neither letter nor digit; what follows it is looked at next.
_IN_KEY = r"[^\x00-\x1f!\"#%&'()*,;<>?@\[\\\]^`{|}\x7f]"
_LEAST_BEHIND = r"(?=[\w\-+/=.$]{8})"
_ESCAPED = r"%[0-9A-Fa-f]{2}"
_MANY_KEYS, _ROOM_OF_KEY = 5 * MANY, 60  # of what begins as many words do, sk-learn-pipeline for one
_RUN = r"[\w\-]*+"
_KEY = r"[\w\-.]*+"

_BRIEF = 50_000  # characters of a text that is looked through by its words until the search is compiled
_WORD_OF_START = r"[A-Za-z0-9]+"
_TO_WORDS = bytes(code if chr(code).isalnum() and code < 128 else 32 for code in range(256))
_is_prepared = False

_LONG = 2_000  # characters of a text for which its shape is quicker
_OF_RUNS, _LEAST_RUN = runs_as("_-"), b"a" * 11
_short_runs = re.compile(sound(r"(?:[\w\-]{0,10}+[^\w\-]++)*+")).match


def may_hold(text: str) -> bool:
    """Tell whether a text has a run of eleven characters, as each credential has."""
    if len(text) > _LONG and text.isascii():
        return _LEAST_RUN in shape_of(text, _OF_RUNS)
    return len(text) - _short_runs(text).end() > 10  # type: ignore[union-attr]


def without_shapes(text: str) -> str:
    """Return the text without credentials that are known by their form."""
    if "\\" in text or "%" in text or _has_beginning(text):
        text = without(text, found(text))
    if len(text) > _LEAST_WITHIN and (
        "$" in text or ":A" in text or "-us" in text or "Q~" in text or "NRAL" in text or ".atlasv1." in text
        or "AZDO" in text or "SHA}" in text or "MD5}" in text or "JQQJ99" in text or "_mmk" in text
    ):  # of _WITHIN and _HASHES  # fmt: skip
        text = without(text, found_within(text))
    return text


def prepare() -> None:
    """Compile the search for all beginnings, in a thread that nobody waits for."""
    global _is_prepared
    _beginnings()
    _is_prepared = True


def _has_beginning(text: str) -> bool:
    if not _is_prepared and len(text) <= _BRIEF and not _may_begin(text):
        return False
    if len(text) > LONG:
        return search_of(_beginnings()[0], f" {text}", _words)(0) is not None
    return _beginnings()[0].search(f" {text}") is not None


def _may_begin(text: str) -> bool:
    """Tell whether a credential may begin in a text, without what takes 10 ms to compile."""
    follows, (whole, parts) = _follows(), _first_words()
    # a search for words takes twice as long
    words = set(text.encode("ascii", "replace").translate(_TO_WORDS).decode("ascii").split())
    starts = {start for word in words & whole.keys() for start in whole[word]}
    for word in words:
        if word[0] in parts:
            starts.update([part for part in parts[word[0]] if word.startswith(part)])
    looked = 0
    for start in starts:
        if start == "eyJ":
            return True
        at = text.find(start)
        while at >= 0:
            if not (at and text[at - 1].isascii() and text[at - 1].isalnum()):
                looked += 1
                if is_dense(looked, at, _MANY_KEYS, _ROOM_OF_KEY):
                    return True
                if compiled(follows[start]).match(text, at + len(start)):
                    return True
            at = text.find(start, at + 1)
    return False


def found(text: str) -> Iterator[tuple[int, int]]:
    """Yield where credentials begin and end, in their order."""
    beginnings, follows = _beginnings()
    searched = text
    if "\\" in text:  # what follows an escaped line break begins a word
        searched = text.replace("\\n", "\\.").replace("\\r", "\\.").replace("\\t", "\\.")
    if "%" in text:
        searched = compiled(_ESCAPED).sub("%..", searched)
    searched = f" {searched}"
    search = search_of(beginnings, searched, _words)
    at, no_jwt_before, no_key_before, looked = 0, 0, 0, 0
    while (hit := search(at)) is not None:
        begin, at = hit.start(), hit.end() - 1  # in the text
        end, start = 0, hit[0][1:]
        if start == "eyJ" or start[1:] == "k-":
            looked += 1
            if is_dense(looked, begin, _MANY_KEYS, _ROOM_OF_KEY):
                yield begin, len(text)
                return
            if start == "eyJ":
                if begin >= no_jwt_before:
                    end, no_jwt_before = _jwt(text, begin)
            elif begin >= no_key_before:
                end, no_key_before = _key(text, at)
        elif (rest := compiled(follows[start]).match(text, at)) is not None:
            end = rest.end()
        if end:
            yield begin, (at := end)


def found_within(text: str) -> Iterator[tuple[int, int]]:
    """Yield where credentials begin and end that are known by what stands in their middle."""
    for part, before, least, behind in _WITHIN:
        if part in text:
            pattern = rf"{re.escape(part)}(?<=[{before}]{{{least}}}{re.escape(part)}){behind}"
            for hit in compiled(pattern).finditer(text):
                back = compiled(rf"[{before}]*\Z").search(
                    text, max(0, hit.start() - _FURTHEST_BACK), hit.start()
                )
                yield back.start() if back else hit.start(), hit.end()
    if text.count("$") > 1 or "}" in text:
        patterns = [compiled(pattern) for sign, pattern in _HASHES if sign in text]
        for hit in in_order(patterns, text):
            yield hit.span()


def _key(text: str, begin: int) -> tuple[int, int]:
    """Return the end of a key that begins so, 0 if it is none, and where the next may begin.

    One of its parts has eight characters with a digit among them, or twenty, or two have seven:
    sk-learn-pipeline is no key.
    """
    end = end_of(_KEY, text, begin)
    parts = text[begin:end].replace(".", "-").split("-") if end - begin >= 8 else ()
    mixed = [len(part) for part in parts if len(part) >= 7 and any(map(str.isdigit, part))]
    if (mixed and (len(mixed) > 1 or mixed[0] > 7)) or any([len(part) >= 20 for part in parts]):
        return end, end
    return 0, end


def _jwt(text: str, begin: int) -> tuple[int, int]:
    """Return the end of a JSON web token, 0 if it is none, and where the next may begin."""
    first = end_of(_RUN, text, begin)
    if not text.startswith(".", first) or first - begin < 9:
        return 0, first
    end = second = end_of(_RUN, text, first + 1)
    if second - first < 5 or not (text.startswith(".", second) or text.startswith("eyJ", first + 1)):
        return 0, first
    for _ in range(3):  # an encrypted one has five parts
        if text.startswith(".", end):
            end = end_of(_RUN, text, end + 1)
    return end, end


@cache
def _beginnings() -> tuple[re.Pattern[str], dict[str, str]]:
    """Return what finds a beginning and the character before it, and what must follow each."""
    follows = _follows()
    by_letter: dict[str, list[str]] = {}
    for start in [*sorted(follows, key=len, reverse=True), "eyJ"]:
        ahead = f"(?={follows[start]})" if start in follows else ""
        by_letter.setdefault(start[0], []).append(re.escape(start[1:]) + ahead)
    parts = (f"{letter}(?:{'|'.join(rests)})" for letter, rests in by_letter.items())
    return compiled(
        rf"[^A-Za-z0-9](?=[{''.join(by_letter)}]{_IN_KEY}{{8}})(?:{'|'.join(parts)}){_LEAST_BEHIND}"
    ), follows


@cache
def _words() -> Words:
    signs = bytes(range(128))
    before = bytes(code for code in signs if not chr(code).isalnum())
    behind = bytes(code for code in signs if code == ord("?") or re.match(_IN_KEY, chr(code)))
    return Words((start.encode() for start in [*_follows(), "eyJ"]), 5, before=before, behind=behind)


@cache
def _follows() -> dict[str, str]:
    return {start: rest for starts, rest in _FAMILIES for start in _split(starts)}


@cache
def _first_words() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the beginnings by their first word, and those that are a part of one by their first letter."""
    whole: dict[str, list[str]] = {}
    parts = {"e": ["eyJ"]}
    for start in _follows():
        word = compiled(_WORD_OF_START).match(start)[0]  # type: ignore[index]
        by, key = (parts, start[0]) if word == start else (whole, word)
        by.setdefault(key, []).append(start)
    return whole, parts


def _split(starts: str) -> list[str]:
    return [starts] if starts.endswith(" ") else starts.split()
