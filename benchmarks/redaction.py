"""How many credentials are withheld, what else is, and how long it takes, per short attribute and per MB.

The corpus is that of the tests: generated credentials of each shape, in each place where programs put them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict

from benchmarks.secret_corpus import HARMLESS_NAMES, HARMLESS_TEXTS, texts
from benchmarks.secret_corpus import values as values_of
from perfdb.recording import secret_shapes, values
from perfdb.recording.redaction import redact

SHORT = [
    "completed", "sofa 3", "gpt-4o-mini", "Vision Analysis", "user_42", "2026-01-02T03:04:05",
    "7b1c8d4e-6a0f-4c8e-9d3b-2f1a0c9e8d7b", "/data/in/part-0001.parquet", "https://example.org/a?b=c#d",
    "batch 17 of 40: 1,203 rows", "load_data step=3", "GET /search?q=sofa&page=2", "token_type=bearer",
]  # fmt: skip
NASTY = {
    "JWT-like": "eyJhbGciOi", "JWT-like, with dots": "eyJabcdefgh.abcd", "JWT-like, with dashes": "-eyJ",
    "letters": "a", "letters and dots": "a.", "=": "=", ":": ":", "quotes": "\"'", "brackets": "[{(",
    "://": "://", "://a:b@": "://a:b@", "sk-": "sk-", "hf_": "hf_", "AKIA.": "AKIA.",
    "password=": "password=",
    'password="': 'password="', "token: ": "token: ", "key=": "key=", "Cookie: ": "Cookie: ", "-p a": "-p a ",
    "Bearer": "Bearer ", "backslashes": "\\", "percent": "%3D", "<key>": "<key>a", "blanks": " ",
    "BEGIN": "-----BEGIN PRIVATE KEY-----", "prose": "The quick brown fox, ",
    "rows of JSON": '{"id": 12, "tokens": 5}, ', "open brackets": "cookie=(", "ends or not": "password=a>",
    "ghp_": "ghp_", "key-": "key-", "pairs": '("key","v"),', "name=key": "name=key value=",
    "value=a": "value=a name=key ", "key key key": "key key key= ", "--api-key": "--api-key -",
    "YAML block": "key: >\n  a\n", "rows of names": '{"tokens": 5, "name": "x", "value": "y"}, ',
    "JSON in JSON": json.dumps({"j": json.dumps({"j": json.dumps({"token": "a", "key": "v"})})}),
    "signs that separate": "key=:=:", "lines of one word": "pass\n", "options": "--a-key b ",
    "codes": "code: 12\n", "entities": "key&quot;: ", "passwords in prose": "password is the new ",
    "doubtful names": "token auth=-", "names in entities": "essi&quot;auth=",
    "base64": "Y29sb3VyPWdyZWVuaXNoIQ== ",
    "-pa": "-pa", "tags not closed": "<input sig</%3D", "programs": ">sk-otpmysql ",
}  # fmt: skip
MORE_PIECES = [
    "token", "--", "secret", "_", "-", "<", ">", "%3D", "&quot;", "Bearer ", "name", "value", ",", "{", "}",
    "1", "xxxxxxx", "auth", "sig", "sid", "code", "Cookie", "\\n", "\r\n", "é", "İ", "ß",
]  # fmt: skip
DENSE = 20  # texts of few pieces at random


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="corpora to try")
    parser.add_argument("--rounds", type=int, default=30, help="of each short text")
    chosen = parser.parse_args()
    recall(chosen.seeds)
    short(chosen.rounds)
    long()


def leaks(value: str, text: str) -> bool:
    return any(value[at : at + 6] in text for at in range(max(1, len(value) - 5)))


def recall(seeds: int) -> None:
    tried: dict[str, int] = defaultdict(int)
    leaked: dict[str, int] = defaultdict(int)
    for seed in range(100, 100 + seeds):
        for place, value, text in texts(seed):
            tried[place] += 1
            leaked[place] += leaks(value, redact(text))
        for kind, value, attribute in values_of(seed):
            place = f"attribute, {kind}"
            tried[place] += 1
            leaked[place] += leaks(value, json.dumps(values.clean({"x": attribute}), ensure_ascii=False))
    for group in ("shape", "named", "place", "line", "attribute"):
        places = [place for place in tried if place.startswith(group)]
        total, lost = sum(tried[place] for place in places), sum(leaked[place] for place in places)
        worst = min(places, key=lambda place: 1 - leaked[place] / tried[place])
        print(
            f"recall, {group:9} {1 - lost / total:.4f} of {total:6,} in {len(places)} places; "
            f"least {1 - leaked[worst] / tried[worst]:.3f} ({worst})"
        )
    changed = [text for text in HARMLESS_TEXTS if redact(text) != text]
    renamed = {
        name
        for name in HARMLESS_NAMES
        for value in (5, 0.5, "fine", "a value")
        if values.clean({name: value}) != {name: value}
    }
    print(f"false positives: {len(changed)} of {len(HARMLESS_TEXTS)} texts")
    print(f"false positives: {len(renamed)} of {len(HARMLESS_NAMES)} names")


def short(rounds: int) -> None:
    """Time texts that were not seen before: what was is remembered."""
    secret_shapes.prepare()  # as the worker does
    least: dict[str, float] = {}
    for _ in range(rounds):
        for text in SHORT:
            began = time.perf_counter()
            for _ in range(1_000):
                redact(text)
            taken = (time.perf_counter() - began) * 1e3
            least[text] = min(taken, least.get(text, taken))
    for text, taken in least.items():
        print(f"{taken:6.2f} µs  {text}")
    print(f"{sum(least.values()) / len(least):6.2f} µs  mean of {len(least)}")


def long() -> None:
    rng = random.Random(1)
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/"
    pieces = ["key", "password", "a", "sk-", "eyJ", "://", "-p", *"=\"': .@\\&[\n"]
    inputs = {name: piece * (1_000_000 // len(piece)) for name, piece in NASTY.items()}
    inputs["counted names"] = "\n".join(f"VAR_KEY_{i}=value{i}" for i in range(60_000))[:1_000_000]
    inputs["base64"] = "".join(rng.choices(alphabet, k=1_000_000))
    inputs["runs of base64"] = " ".join("".join(rng.choices(alphabet, k=40)) for _ in range(25_000))[
        :1_000_000
    ]
    inputs["printable, at random"] = "".join(rng.choices([chr(code) for code in range(32, 127)], k=1_000_000))
    inputs["letters, at random"] = "".join(rng.choices(f"{alphabet[:26]} \n", k=1_000_000))
    inputs["signs, at random"] = "".join(rng.choices("\"'=:;,.-_/\\@#$%&()[]{}<>|` \nakps", k=1_000_000))
    inputs["of other alphabets, at random"] = "".join(
        rng.choices([chr(code) for code in range(32, 0x500)], k=1_000_000)
    )
    inputs["all of it, at random"] = "".join(rng.choices(pieces, k=400_000))[:1_000_000]
    for seed in range(DENSE):
        chosen = rng.sample([*pieces, *MORE_PIECES], k=rng.randint(2, 6))
        inputs[f"dense, {seed}: {' '.join(map(repr, chosen))}"] = "".join(rng.choices(chosen, k=1_000_000))[
            :1_000_000
        ]
    for name, text in inputs.items():
        began = time.process_time()
        redact(text)
        print(f"{time.process_time() - began:6.3f} s per MB  {name}")


if __name__ == "__main__":
    main()
