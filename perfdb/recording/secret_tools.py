"""Find credentials in commands and statements of tools that each take one in a way of their own.

``snmpwalk -A X``, ``vault operator unseal X``, ``exp system/X``, ``PRAGMA rekey='X'``: a text is searched for
the words of the tools first, as few texts hold one; what follows such a word on its line is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from perfdb.recording.secret_names import looks_like_key, looks_made
from perfdb.recording.secret_spans import REDACTED, compiled, end_of, in_order, without_both
from perfdb.recording.secret_words import LONG, Words

_GAP = r"[\s\"',=]{1,5}"  # between an option and its value, in a command or a list of its parts
_MAY = r"[\s\"',=]{0,5}"  # or none at all
_VALUE = r"(?![$<{\[%/(*\-])([^\s\"'|<>;]{3,300}+)"
_TEXT = r"[nx]?[\"']([^\"'\n]{3,300})[\"']"
_REST = r"[^\s\"'|<>;]*+"
_A = r"[^\s\"']{1,100}+ "  # an argument that is none
_SKIPPED = r"(?:--?[\w\-]{1,40}+(?:=[^\s]{0,80}+)? ){0,5}+"


def _option(names: str, gap: str = _GAP) -> str:
    return rf"-(?<![\w\-]-)(?:{names}){gap}{_VALUE}"  # a search passes quickly to each dash


# Words of tools, a word that must stand behind on the line, and where credentials stand.
_TOOLS: tuple[tuple[str, str, str], ...] = (
    # keepers of secrets
    ("vault bao", "", rf"(?:unseal|rekey|generate-root) {_SKIPPED}(?=[^\s\d]*\d){_VALUE}"),
    ("gh glab", "secret set", _option("b|-body|v|-value")),
    ("glab", "variable", _option("v|-value")),
    ("bw", "--session", _option("-session")),
    ("bw", "login", rf"login {_SKIPPED}[\w.+\-]{{1,60}}+@[\w.\-]{{1,60}}+ {_VALUE}"),
    ("vault bao", "kv p", rf"(?<= )[\w.\-]{{1,60}}+={_VALUE}"),
    ("nomad consul serf", "keyring", rf"(?:install|use|remove)[ =]{_VALUE}"),
    ("op", "signin", rf"signin {_A}[\w.+\-]{{1,60}}+@{_A}{_A}{_VALUE}"),
    ("doppler", "secrets set", rf"secrets set {_SKIPPED}[a-z]\w{{0,60}}+ {_VALUE}"),
    ("keyring-cli keyring", "set ", rf"\bset {_A}{_A}{_VALUE}"),
    ("llm", "keys set", _option("-value")),
    ("wandb", "login", _option("-key")),
    ("kaggle", "config", rf"-n key -v {_VALUE}"),
    ("snyk", "config", rf"\bapi={_VALUE}"),
    ("drush", "password", rf"user:password {_A}{_VALUE}"),
    ("cf", "auth", rf"\bauth {_A}{_VALUE}"),
    ("eyaml", "encrypt", _option("s")),
    ("ansible-vault", "encrypt_string", rf"_string {_SKIPPED}[\"']?{_VALUE}"),
    ("sops", "set", rf"\] {_TEXT}|\]' '?{_TEXT}"),
    ("kubeseal", "", rf"--from-literal{_GAP}{_VALUE}"),
    ("az", "secret true", _option("-value")),
    ("hadoop", "credential", _option("value")),
    ("berglas civo", "", rf"(?:create|update|save) {_A}{_VALUE}"),
    ("kubectl oc", "create secret", rf"--from-literal{_GAP}[\w.\-]{{1,100}}+={_VALUE}"),
    ("aws", "securestring", _option("-value")),
    ("az", "secret set", _option("-value")),
    ("pulumi", "--secret", rf"config set {_SKIPPED}{_A}{_VALUE}"),
    ("dotnet", "user-secrets", rf"secrets set [\"']?[^\s\"']{{1,100}}+[\"']?{_GAP}{_VALUE}"),
    ("security", "keychain", _option("w|k|p")),
    ("security", "-password", _option("w")),
    ("security", "import", _option("(?-i:P)")),
    ("secret", "key_id", rf"\bsecret {_TEXT}"),
    # packages
    ("poetry", "config", rf"http-basic\.{_A}{_A}{_VALUE}|pypi-token\.{_A}{_VALUE}"),
    ("cargo", "login", rf"login {_SKIPPED}{_VALUE}"),
    ("nuget", "", rf"setapikey {_VALUE}|{_option('k')}|push [\w.\-]{{1,80}}?\.nupkg {_VALUE}"),
    ("bundle", "config", rf"config (?:set )?{_SKIPPED}{_A}[\w.\-]{{1,60}}+:{_VALUE}"),
    ("composer", "config",
     rf"http-basic\.{_A}{_A}{_VALUE}|(?:github-oauth|gitlab-token|gitlab-oauth|bearer)\.{_A}{_VALUE}"),
    ("conda mamba micromamba anaconda", "/t/", r"/t/([\w\-]{16,300}+)(?=[/\s]|\Z)"),
    ("sonar-scanner mvn mvnw gradle gradlew", "sonar", rf"sonar\.login={_VALUE}"),
    # networks, mail and remote machines
    ("snmpwalk snmpget snmpset snmpgetnext snmpbulkwalk snmpbulkget snmptrap snmptable snmpinform",
     "", rf"{_option('(?-i:[AX])', _MAY)}|{_option('c(?! ?(?:public|private))')}"),
    ("lftp", "", rf"-u ?[\"']?[\w.@\-]{{1,80}}+,{_VALUE}|\buser [\w.@\-]{{1,80}}+ {_VALUE}"),
    ("xfreerdp xfreerdp3 wfreerdp sdl-freerdp freerdp mstsc", "", rf"/(?:p|gp|pth|password):[\"']?{_VALUE}"),
    ("signtool", "sign", rf"/p{_GAP}{_VALUE}"),
    ("schtasks", "", rf"/r?p{_GAP}{_VALUE}"),
    ("ipmitool", "set password", rf"set password \d{{1,3}} {_VALUE}"),
    ("ipmitool", "", _option("(?-i:P)", _MAY)),
    ("vmrun", "", _option("gp|vp")),
    ("slappasswd stomp", "", _option("s|w")),
    ("ktutil kadmin ipa-client-install ldapcompare", "", _option("w", _MAY)),
    ("ccrypt ccencrypt ccdecrypt mcrypt", "", _option("k|-key")),
    ("elasticsearch-reset-password", "", _option("i")),
    ("ldappasswd", "", _option("[sa]", _MAY)),
    ("smbclient", "//", rf"//[^\s\"']{{1,100}}+ {_VALUE}(?= -|\Z)"),
    ("smbclient rpcclient net smbmap smbget", "%", rf"-(?:u|-user) ?=?[\"']?[^\s%\"']{{1,60}}+%{_VALUE}"),
    ("secretsdump psexec wmiexec smbexec impacket-psexec impacket-wmiexec impacket-secretsdump", "@",
     r"(?<![\w.\-])[\w.\-]{1,60}+:[\"']?([^\s\"'@]{3,100})[\"']?@"),
    ("steamcmd", "login", rf"login {_A}{_VALUE}"),
    ("reg", "password", rf"password\w{{0,20}} (?:/t {_A})?/d {_VALUE}"),
    ("salt salt-call", "set_password", rf"set_password {_A}[\"']?{_VALUE}"),
    ("doveadm", "auth", rf"auth (?:test|login) {_A}{_VALUE}"),
    ("postfix-cli saslpasswd2", "add", rf"add {_A}{_VALUE}"),
    ("ab hey", ":", rf"-a [^\s:\"']{{1,60}}+:{_VALUE}"),
    ("goauth", "basic", rf"basic [^\s:]{{1,60}}+:{_VALUE}"),
    ("pt-online-schema-change pt-table-checksum pt-table-sync pt-archiver", "p=", r",p=([^,\s]{3,200}+)"),
    ("samba-tool", "user", rf"user (?:create|add) {_A}{_VALUE}"),
    ("net", "user ", rf"user {_A}[\"']?(?![*/]){_VALUE}[\"']?(?= /[a-z]|\Z)"),
    ("net", "/user:", rf"use (?:[a-z]: )?\\\\{_A}/user:{_A}{_VALUE}"),
    ("curl", ":",
     rf"(?<![\w\-])-(?:(?-i:U)|[a-z]{{1,5}}u|-cert|-proxy-user) ?[\"']?[^\s:\"']{{1,60}}+:{_VALUE}"),
    ("mysqlsh", "@", r"(?<![\w.\-/])[\w.\-]{1,60}+:[\"']?([^\s\"'@/]{3,100})[\"']?@"),
    ("nikto sqlmap", ":", rf"-(?:id|-auth-cred)[ =][\"']?[^\s:\"']{{1,60}}+:{_VALUE}"),
    ("transmission-remote", ":", rf"-n ?[\w.\-]{{1,60}}+:{_VALUE}"),
    ("swaks sendemail", "", _option("ap|xp")),
    ("msmtp mbsync offlineimap", "eval", rf"echo {_VALUE}"),
    ("networksetup", "", rf"-setairportnetwork {_A}{_A}{_VALUE}"),
    ("netsh", "wlan", rf"\bkey(?:material)?=(?!clear\b){_VALUE}"),
    ("iwconfig", "", rf"key s:{_VALUE}"),
    ("wg", "private-key", rf"echo {_VALUE}"),
    ("snmp-server", "community", rf"community (?!public|private){_VALUE}"),
    ("rocommunity rocommunity6 rwcommunity rwcommunity6", "", rf"community6? (?!public|private){_VALUE}"),
    ("tacacs-server radius-server", "key", rf"\bkey (?:[067] )?{_VALUE}"),
    ("credentials creds", "(", rf"\([\"'][^\"'\n]{{0,100}}+[\"'], ?{_TEXT}"),
    ("psk eap xauth", "\"", r"(?<=: )(?:psk|eap|xauth) [\"']([^\"'\n]{3,300})[\"']"),
    # databases
    ("sqlplus sqlldr sqlcl expdp impdp", "/",
     r"[\s\"'=][a-z][\w$#]{0,30}+/((?![^\s@]{1,60}\.\w{2,3}[\s\"'])[^\s\"'/@]{2,60}+)(?=[\s\"'@]|\Z)"),
    ("exp imp rman connect conn", "/",
     (r"(?:exp|imp|rman|conn|connect|userid=) ?[\"']?[a-z][\w$#]{0,30}+/([^\s\"'/@;]{2,60}+)"
     r"(?=@\w| as sys|;| (?:file|full|owner|tables|log|directory|dumpfile|schemas|fromuser|buffer|rows)=)")),
    ("rman", "/", r"(?:target|catalog|auxiliary) [\"']?[a-z][\w$#]{0,30}+/([^\s\"'/@]{2,60}+)"),
    ("exp imp rman connect conn", "/", r"[\s\"'=]sys(?:tem)?/([^\s\"'/@]{2,60}+)"),
    ("pragma", "key", rf"\b(?:hex|text|cipher_)?(?:re)?key\s?[=(]\s?{_TEXT}"),
    ("attach", "key", rf"\bas \w{{1,60}}+ key {_TEXT}"),
    ("sqlite3_key sqlite3_rekey sqlite3_key_v2 sqlite3_rekey_v2", "",
     rf"key(?:_v2)?\([^\"'\n]{{0,60}}{_TEXT}"),
    ("encryptbypassphrase decryptbypassphrase", "", rf"passphrase\(\s?{_TEXT}"),
    ("redis-cli valkey-cli keydb-cli redis-benchmark memtier_benchmark", "",
     rf"\bauth (?:[\w\-]{{1,40}}+ (?=\S)|(?![\w\-]{{1,40}}+ \S)){_VALUE}|{_option('a')}"),
    ("redis-cli valkey-cli keydb-cli", "setuser", r"[\s\"']>([^\s\"'>]{3,200}+)"),
    ("rabbitmqctl", "", rf"(?:add_user|change_password|authenticate_user) {_A}{_VALUE}"),
    ("etcdctl", "user add", rf"user add [\w\-]{{1,60}}+:{_VALUE}"),
    ("isql iusql", "", rf"i(?:u)?sql (?![\-]){_A}{_A}{_VALUE}"),
    ("isql-fb gbak gfix gsec nbackup", "", _option("pa(?:s{1,2}(?:w(?:o(?:rd?)?)?)?)?")),
    ("db2", "using", rf"\buser {_A}using {_VALUE}"),
    ("logon bteq", ",", rf"logon [\w./\-]{{1,80}}+,{_VALUE}"),
    ("vsql nzsql", "", _option("w|pw", _MAY)),
    ("mosquitto_passwd", "-b", rf"-b {_A}{_A}{_VALUE}"),
    ("mc mcli", "add", rf"config host add {_A}{_A}{_A}{_VALUE}|admin user add {_A}{_A}{_VALUE}"),
    ("rclone", "obscure", rf"obscure {_VALUE}"),
    # files, keys, accounts
    ("zip unzip zipcloak", "", _option(r"\w{0,4}(?-i:P)", _MAY)),
    ("rar unrar", "", rf"(?<![\w\-])-h?p{_VALUE}"),
    ("ssh-keygen", "", _option("(?-i:[NP])")),
    ("qpdf", "--encrypt", rf"--encrypt {_A}{_VALUE}"),
    ("qpdf", "--encrypt", rf"--encrypt {_VALUE}"),
    ("htpasswd", "", rf"-\w{{0,6}}(?:n\w{{0,6}}b|b\w{{0,6}}n)\w{{0,6}} {_A}{_VALUE}"),
    ("openssl", "passwd", rf"passwd (?:-(?:\d|apr1|crypt|aixmd5|table) |-salt {_A}){{0,4}}+{_VALUE}"),
    ("openssl", "", _option("(?-i:K)|hmac")),
    ("ffmpeg", "cryption_key", _option("encryption_key|decryption_key")),
    ("pkcs11-tool pkcs15-tool softhsm2-util ykman yubico-piv-tool p11tool", "",
     rf"--?(?:so-|new-|old-|user-)?(?:pin|puk){_GAP}{_VALUE}|{_option('k|management-key')}"),
    ("dscl", "passwd", rf"-passwd {_A}{_VALUE}"),
    ("convertto-securestring", "-asplain", rf"securestring (?:-string )?[\"']?{_VALUE}"),
    ("send", "\\", r"send(?: --)? [\"'](?=[^\s\d]*\d)([^\s\"'\\]{3,300}+)\\[rn]"),
)  # fmt: skip
# Where a value may be harmless as well, it has to look like a credential.
_WEAK: tuple[tuple[str, str, str], ...] = (
    ("new your my our", " key is ", rf"(?:new|your|my|our) key is {_VALUE}"),
    (
        "use using used try switch with",
        " key ",
        rf"(?:us(?:e|ed|ing)|try|with|switch to) (?:\w{{1,6}} )?key {_VALUE}",
    ),
    ("auth", "auth default ", rf"(?-i:AUTH) default {_VALUE}"),  # of Redis
    ("hmac", " key ", rf"\bkey [\"']?{_VALUE}"),
    ("fly flyctl vercel netlify railway", "", _option("t|-auth")),
)
_OF_TOOLS: dict[bytes, list[tuple[str, str, bool]]] = {}
for _rows, _is_weak in ((_TOOLS, False), (_WEAK, True)):
    for _words, _needed, _pattern in _rows:
        for _word in _words.split():
            _OF_TOOLS.setdefault(_word.encode(), []).append((_needed, f"(?i:{_pattern})", _is_weak))
TOOLS = frozenset(word.decode() for word in _OF_TOOLS)

OTHERS = (  # values of options that are none: ports, paths, sizes, interpreters, files
    r"\$[A-Za-z_{(].*|\d{1,5}(?:[-:,]\d{1,5}){0,9}|no:\w+|[/~.].*|\w*python\S*|pypy\S*|\d+[kKmMgG]"
    r"|[\w.\-]{1,60}:\d{2,5}|[\w\-/.]{1,80}(?:/|\.(?:json|toml|ya?ml|csproj|xml|ini|cfg|txt|csv|py|js|ts))"
    r"|[a-z]{2,9}://[^\s@]*|:?[A-Z]\w{1,30}=v?\d[\d.]*"
)
# Commands that read a password from what is given to them by <<< or by a pipe.
TAKES = (
    r"-stdin|-fd[ =]0|--with-token|sudo -S|pass(?:w|phrase)|cryptsetup|luks|kinit|secrets?\b|\blogin\b"
    r"|keystore|keepass|askpass|openconnect|\bsu\b|\brealm\b|\badcli\b|unlock|\bunseal|data-file=-"
    r"|\b(?:go|l)?pass (?:insert|add)"
)
_READERS = r"\s*(?:[ef]?grep|rg|mail|cut|awk|sed|wc|sort|jq|cat|head|tail)\b"  # that take no password
HANDS = ("echo ", "printf ", "yes ", "SecureString")
_PIPED = r" [\"']?([^\s\"'<>|-][^\s\"'<>|]{3,300}+)(?=(?:;? ?echo [^|\s)]{1,60})?[\"')]{0,2} ?\|)"
_HANDED = (  # what each begins with
    ("<(", r"<\((?:echo|printf %s) [\"']?([^\s\"'()$]{4,300}+)"),
    ("<<<", rf"<<< ?[\"']?(?:[a-z_][\w\-]{{0,30}}:)?{_VALUE}"),
    ("echo ", rf"echo(?<!\wecho)(?: -\w{{1,3}}){{0,2}}{_PIPED}"),
    ("printf ", rf"printf(?<!\wprintf)(?: [\"']?%s(?:\\n)?[\"']?(?= [^|]))?{_PIPED}"),
    ("yes ", rf"yes(?<!\wyes){_PIPED}"),
    ("SecureString", r"[\"']([^\"'\n]{3,100}+)[\"']\s?\|(?=\s?ConvertTo-SecureString)"),
)
_LONGEST_COMMAND, _LONG, _LEAST, _NEAR = 400, 20_000, 120, 120
_TO_WORDS = bytes(
    ord(chr(code).lower()) if code < 128 and (chr(code).isalnum() or chr(code) in "-_") else 32
    for code in range(256)
)
_TOO_LONG = 60  # characters of a word
_OF_WORDS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def _words_of(text: str) -> list[bytes]:
    return text.encode("ascii", "replace").translate(_TO_WORDS).split()


def _may_be_words(text: str) -> list[bytes]:
    """Return those words of a long text that may be tools."""
    words = b" %b " % text.encode("ascii", "replace").translate(_TO_WORDS)
    if (places := _tool_words().places(words)) is None:
        return words.split()
    return b" ".join([words[at : words.find(b" ", at + 1, at + _TOO_LONG) + 1] for at in places]).split()


@cache
def _tool_words() -> Words:
    return Words((b" %b " % word for word in _OF_TOOLS), 4)


def without_tools(text: str, small: str) -> tuple[str, str]:
    """Return the text without the credentials that its tools take, and the same in small letters.

    Of a long text that is little else than words of many tools, the rest is withheld.
    """
    if not (words := _OF_TOOLS.keys() & (_words_of(text) if len(text) <= LONG else _may_be_words(text))):
        return text, small  # as most are
    spare = len(text) * 2 if len(text) > _LONG else len(text) * len(_OF_TOOLS)
    for word in sorted(words):
        for needed, pattern, is_weak in _OF_TOOLS[word]:
            if needed not in small:
                continue
            commands = list(_commands(text, small, word.decode(), needed, spare))
            spare -= sum(end - begin for begin, end in commands)
            if spare < 0:
                text, small = without_tools(text[:_LONG], small[:_LONG])
                return text + REDACTED, small + REDACTED
            text, small = without_both(text, small, _taken(text, commands, pattern, is_weak))
    return text, small


def _commands(text: str, small: str, word: str, needed: str, most: int) -> Iterator[tuple[int, int]]:
    """Yield where commands begin and end that a word begins, until they hold so many characters."""
    least = _LEAST if len(text) > _LONG else 0  # a command on each of many short lines would take long
    at = small.find(word)
    while at >= 0 and most >= 0:
        behind = end = at + len(word)
        if small[behind : behind + 1] not in _OF_WORDS and small[at - 1 : at] not in _OF_WORDS:
            end = min(at + _LONGEST_COMMAND, len(text))
            line = text.find("\n", min(behind + least, end), end)
            end = line if line >= 0 else end
            if not needed or small.find(needed, at, end) >= 0:
                yield max(at - 1, 0), end
                most -= end - at
        at = small.find(word, end)


def _taken(
    text: str, commands: list[tuple[int, int]], pattern: str, is_weak: bool
) -> Iterator[tuple[int, int]]:
    """Yield where credentials stand in commands."""
    search = compiled(pattern).finditer
    for at, end in commands:
        for found in search(text, at, end):
            begin, stop = found.span(found.lastindex or 0)
            if not _is_credential(text[begin:stop], is_weak):
                stop = begin
            if begin < stop or is_weak:
                yield begin, end_of(_REST, text, stop) if stop == end else stop


def _is_credential(value: str, is_weak: bool) -> bool:
    if value.startswith(REDACTED) or compiled(OTHERS).fullmatch(value) is not None:
        return False
    return not is_weak or looks_made(value) or looks_like_key(value)


def handed(text: str) -> Iterator[tuple[int, int]]:
    """Yield where passwords stand that are given to commands by ``<<<`` or a pipe."""
    patterns = [compiled(pattern) for sign, pattern in _HANDED if sign in text]
    for found in in_order(patterns, text):
        at = found.start()
        begin, end = found.span(found.lastindex or 0)
        if text[at] == "<":
            command = text[max(0, at - _NEAR) : at].rpartition("\n")[2]
        else:
            command = text[end : end + _NEAR].partition("|")[2].partition("|")[0].partition("\n")[0]
        value = text[begin:end]
        takes = "(" not in value and looks_made(value)
        if not takes and compiled(_READERS).match(command) is None:
            takes = compiled(TAKES).search(command) is not None
        yield begin, end if takes and not value.startswith(REDACTED) else begin
