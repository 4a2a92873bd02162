"""The words that everybody shares, and what a session id may be.

Apart from ``records`` because the recording path needs them and must not pay for
dataclasses, which cost as much to import as all the rest of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from perfdb.errors import InvalidSessionIdError

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

VISION_ANALYSIS = "Vision Analysis"
PRODUCT_SEARCH = "Product Search"
COMPOSITE_CREATION = "Composite Creation"
IMAGE_GENERATION = "Image Generation"
DESIGN_STEPS = (VISION_ANALYSIS, PRODUCT_SEARCH, COMPOSITE_CREATION, IMAGE_GENERATION)

BACKENDS = ("sqlite", "postgresql")  # databases: store/engine.py opens one, store/dialects.py has its ways

RUNNING = "running"
COMPLETED = "completed"
FAILED = "failed"
INTERRUPTED = "interrupted"
# Why a session is interrupted whose process ended in order; an exit handler may still end it otherwise.
PROCESS_ENDED = "the process ended before end_pipeline()"
STATUSES = (RUNNING, COMPLETED, FAILED, INTERRUPTED)

INFO = "info"
WARNING = "warning"
CRITICAL = "critical"
SEVERITIES = (INFO, WARNING, CRITICAL)  # rising

PENDING = "pending"  # an alert that was seen, and waits for confirmation
FIRING = "firing"
ACKNOWLEDGED = "acknowledged"  # somebody knows
HISTORIC = "historic"  # found in old data: nobody is notified
RESOLVED = "resolved"
EXPECTED = "expected"  # a person took the new level as the baseline
FALSE_ALARM = "false alarm"
CURRENT_STATES = (PENDING, FIRING, ACKNOWLEDGED)  # what they say holds now
OPEN_STATES = (*CURRENT_STATES, HISTORIC)
ALERT_STATES = (*OPEN_STATES, RESOLVED, EXPECTED, FALSE_ALARM)

WITHOUT_WAVE = " without the wave of the day or week"  # what medians of a move are, where a series has one

WAITING = "waiting"  # a message on its way to a channel; or it FAILED
SENT = "sent"

LONGEST_TAG = 64  # characters
UNCOUNTED_TAGS = ("warmup", "ignore", "cached")  # sessions so tagged leave baselines and trends

MAX_SEQ = (1 << 53) - 1  # of a step: other processes than the first number theirs from random bits

# What a table calls the whole session, and the time in which no step ran. A host may call its steps so:
# what a row is says its `kind` (step, total, other, medians), and inside perfdb both are None.
TOTAL = "Total"
OTHER = "Other"
MEDIANS = "Medians of parts"  # what they leave of the median of the whole
NOT_RUN = "did not run this time"  # the cause of a step that sessions before had

BIGGEST = (1 << 63) - 1  # that a database takes as a whole number; of nothing are there more

MAX_NAME = 200  # characters of the name of a pipeline, a step, a key: it fits into every link and index
_MOST_LOOKED_AT = 8_192  # of one that is longer, half at each end
_DIGITS = 10  # of the hash at the end of a name that was cut

MAX_SESSION_ID = 128  # characters
SESSION_ID = rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_SESSION_ID - 1}}}"
_WITHOUT_SIGNS = dict.fromkeys(map(ord, "_.-"))


def check_session_id(session_id: object) -> str:
    """Return the id when it is safe as part of a file name.

    Raises:
        InvalidSessionIdError: it is not a string of 1 to 128 letters, digits, ``_ . -``
            that starts with a letter or digit.
    """
    # no regular expression: to compile it takes as long as two hundred such looks
    if (
        isinstance(session_id, str)
        and 0 < len(session_id) <= MAX_SESSION_ID
        and session_id.isascii()
        and session_id[0].isalnum()
        and session_id.translate(_WITHOUT_SIGNS).isalnum()
    ):
        return session_id
    raise InvalidSessionIdError(
        f"session id {str(session_id)[:140]!r} is not usable: "
        "give 1 to 128 letters, digits, '_', '.' or '-', starting with a letter or digit"
    )


def remembered(most: int, longest: int = MAX_NAME) -> Callable[[Callable[[str], _T]], Callable[[str], _T]]:
    """Remember what a function says of texts, but of no long ones: sent by anybody, they fill the memory."""

    def decorate(function: Callable[[str], _T]) -> Callable[[str], _T]:
        known = lru_cache(most)(function)
        return lambda text: known(text) if len(text) <= longest else function(text)

    return decorate


def bounded(text: str) -> str:
    """Return the text, or of a very long one its length and both ends, which distinguish it from others."""
    half = _MOST_LOOKED_AT // 2
    if len(text) <= _MOST_LOOKED_AT + 40:
        return text
    return f"{text[:half]}… {len(text)} characters …{text[-half:]}"


def recorded_name(text: str) -> str:
    """Return the one form of a name: composed (NFC), and cut to ``MAX_NAME`` characters.

    A name that is cut ends with a hash of the whole, so that two which differ at their ends stay two. To look
    for a name is to look for this form of it.
    """
    if text.isascii():
        if len(text) <= MAX_NAME:
            return text
    else:
        from unicodedata import normalize

        text = normalize("NFC", text)
    if len(text) <= MAX_NAME:
        return text
    from hashlib import sha256

    digest = sha256(bounded(text).encode("utf-8", "replace")).hexdigest()[:_DIGITS]
    return f"{text[: MAX_NAME - _DIGITS - 1]}…{digest}"


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode
PYTEST_MODE = frozenset({"selection", "workers"})  # what tells test runs apart, whatever the settings name


def mode_of(attributes: Mapping[str, object], mode_attributes: tuple[str, ...]) -> str:
    """Return the mode of a session: its values of ``mode_attributes`` as canonical JSON."""
    values = {name: attributes.get(recorded_name(name)) for name in mode_attributes}
    if not [value for value in values.values() if value is not None]:  # as of most that are many
        return _of_no_values(mode_attributes)
    return _canonical(values)


@lru_cache(50)
def _of_no_values(mode_attributes: tuple[str, ...]) -> str:
    return _canonical(dict.fromkeys(mode_attributes))
