"""Contradictions that are known and not yet mended: each is a strict xfail with its reason.

By test, then by case, whose parts are those of its id. It is meant to become empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

KNOWN: dict[str, dict[tuple[str, ...], str]] = {
    "same numbers": {},
    "claims": {},
    "filters": {},
    "windows": {},
    "what-if": {},
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
