"""Tell which error texts are of one kind: those that differ only in an id.

Pure, and standard library only: the worker asks when an alert opens.
"""

from __future__ import annotations

import re

NO_MESSAGE = "ended with success=False"  # all that is known of a failure without a text
MOST_CHARACTERS = 4_000  # of a text that are looked at

_ID_WORDS = (
    "id|ids|scope|task|job|thread|worker|process|pid|request|req|session|run|trace|span|message|batch|chunk"
    "|item|row|record|order|user|customer|account|transaction|ticket|object|key"
)
# What differs from run to run and says nothing about why: addresses, ids, counters, measured seconds. A
# number that may mean something, such as a status, an exit code or an errno, stays.
_IDS = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # UUID
    r"|\b0x[0-9a-f]+\b"
    r"|\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{4,}\b"  # hexadecimal: digits and letters
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b"
    r"|\b\d+\.\d{3,}\b|\b\d{5,}\b"
    rf"|(?<=#)\d+\b|(?<![a-z])((?:{_ID_WORDS})s?[\s:=#'\"(\[-]{{1,3}})\d+\b",
    re.IGNORECASE,
)


def without_ids(text: str) -> str:
    """Return the text with ``…`` for every id in it: texts of one kind are the same then."""
    return _IDS.sub(lambda found: f"{found[1] or ''}…", text[:MOST_CHARACTERS])
