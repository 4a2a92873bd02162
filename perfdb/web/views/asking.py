"""What the address of a page asks, as ``queries`` take it and as a line of Python says it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import Request

from perfdb.errors import NotFoundError, PerfdbError, StoreError
from perfdb.filters import parse_age
from perfdb.measures import DURATION, Measure, configured, named
from perfdb.web.bar import bar_of, moment_in
from perfdb.web.served import ServedHistory

_Answer = TypeVar("_Answer")

MOST_ASKED = 10_000  # sessions of a window, where nobody says how many


def moments(request: Request, *names: str) -> dict[str, str]:
    """Return the fields of a page that are moments, as questions take them."""
    given = ((name, moment_in(request, name)) for name in names)
    return {name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in given if at is not None}


def typed_moment(request: Request, name: str) -> str:
    """Return a moment as it was asked; that of a link, in seconds, as people write it."""
    given = request.query_params.get(name, "")
    return (
        moments(request, name)[name].replace("+00:00", "Z") if re.fullmatch(r"\d+(\.\d*)?", given) else given
    )


def whole_window(request: Request, most: int = MOST_ASKED) -> dict[str, int]:
    """Return how many sessions a question about a window is about, where nobody says it."""
    bar = bar_of(request)
    return {"last": most} if bar.is_timed and "last" not in bar.given else {}


def in_python(method: str, request: Request, **arguments: object) -> str:
    """Return the question of a page as a line of Python; what the bar says is part of it."""
    bar = bar_of(request)
    given = {name: as_said(bar.given.get(name), value) for name, value in bar.asked.items()}
    words = []
    for name, value in (
        {name: each for name, each in given.items() if name not in arguments} | arguments
    ).items():
        if value not in (None, [], {}):
            words.append(f"{name}={int(str(value)) if name == 'last' else repr(value)}")
    return f"perfdb.History().{method}({', '.join(words)})"


def as_said(text: str | None, moment: Any) -> Any:
    """Return a moment as the address has it where Python means the same: the line asks the same tomorrow."""
    if text == "all":
        return 0
    try:
        parse_age(text or "")
    except ValueError:
        return moment
    return text


def tried(ask: Callable[[], _Answer]) -> tuple[_Answer | None, str, int]:
    """Return an answer, or why there is none, so that the form stays to ask again; and the status."""
    try:
        return ask(), "", 200
    except StoreError:
        raise
    except PerfdbError as error:
        return None, str(error), 404 if isinstance(error, NotFoundError) else 400


def measure_of(history: ServedHistory, name: str | None) -> Measure:
    """Return the measure that is asked about; without a name the duration."""
    return named(name or DURATION.name, configured(history.settings.measures))
