"""Contradictions that are known and not yet mended: each is a strict xfail with its reason.

By test, then by case, whose parts are those of its id. It is meant to become empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

_EXCLUSIVE = "the column Critical of a session's steps leaves out what is inside; waterfall and report do not"
_RESERVED = "a step called Other is taken for the time of no step"
_WHOLE = "compare: what accounts for a difference is more than the difference ('202 ms of it' of 141 ms)"
_STEADY = "'steady' of a series whose level moved by a third or more"
_SLOPE = "a slope that is significant is shown as 0 % per day"
_FEW = "a level that 'did not move' of three runs, and of one"
_MESSAGE = "a message has the sum of its opening beside the value of now: two figures for the same runs"
_SIZES = "a move has one size in its alert, another in the regression that names this alert"
_BARS = "the bars of /compare are busy time; only differences on the critical path add up"
_CUT = "a year is asked for, and the newest so many are answered without a word"

KNOWN: dict[str, dict[tuple[str, ...], str]] = {
    "same numbers": {},
    "claims": {
        ("nested", "causes_name_the_step_that_moved"): "the step that moved is not named, only its parent",
        ("split", "a_split_is_hinted_at"): "one customer's move is not hinted at",
    },
    "filters": {},
    "windows": {
        ("bottlenecks",): _CUT,
        ("thresholds",): _CUT,
        ("picture of steps",): _CUT,
        ("picture of bottlenecks",): _CUT,
    },
    "what-if": {
        ("three_pipelines",): "'the last 50' are of all pipelines in the table, of one in the replay",
    },
    "days": {},
    "instants": {},
}


def cases(test: str, given: Iterable[Sequence[str]]) -> list[Any]:
    """Return the parameters of a test, those that are known to fail marked."""
    found = []
    for case in given:
        reason = KNOWN.get(test, {}).get(tuple(case))
        marks = [] if reason is None else [pytest.mark.xfail(strict=True, reason=reason)]
        found.append(pytest.param(*case, id="-".join(case), marks=marks))
    return found
