"""Attempts at an outside service, each recorded in its step, with the back-off split from the work.

The SDKs' own retries are off: one call that hides two time-outs would look like
one slow call. What a service asks for (``Retry-After``) wins over our back-off.
"""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import tenacity

from perfdb.pathway import budget
from perfdb.pathway.errors import ServiceError
from perfdb.pathway.settings import PathwaySettings
from perfdb.pathway.watching import current

Result = TypeVar("Result")

_LONGEST_WAIT_S = 7 * 86_400.0  # that a service may ask for: more is no time to wait


class Attempting(Protocol):
    """The part of a step that is needed here."""

    def attempt(self) -> AbstractContextManager[Any]:
        """Return a context manager around one try."""


def call(step: Attempting, settings: PathwaySettings, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns; try again while it raises a transient ServiceError.

    Raises:
        ServiceError: the last one, with the number of attempts when there were several.
        DesignTimeoutError: the design has no time left.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ServiceError) and error.retry_after_s is not None:
            return error.retry_after_s
        backoff = min(settings.max_backoff_s, settings.backoff_s * 2.0 ** (state.attempt_number - 1))
        return backoff * random.uniform(0.75, 1.0)  # noqa: S311 - spreads clients, protects nothing

    def worth_another(error: BaseException) -> bool:
        return (
            isinstance(error, ServiceError)
            and error.transient
            and (error.retry_after_s or 0) <= settings.max_retry_after_s
        )

    def enough(state: tenacity.RetryCallState) -> bool:
        design = budget.current()
        over_before = design is not None and design.left_s <= state.upcoming_sleep
        return over_before or state.attempt_number >= settings.max_attempts

    attempts = 0
    try:
        for again in tenacity.Retrying(
            stop=enough,
            retry=tenacity.retry_if_exception(worth_another),
            wait=wait,
            sleep=current().pause,
            reraise=True,
        ):
            current().check()  # nothing more is paid for a design that nobody wants
            budget.ensure_time()
            with again, step.attempt():
                attempts += 1
                return work()
    except ServiceError as error:
        if attempts == 1:
            raise
        # the same error, so that its class stays; only its words change
        error.args = (f"{error} (after {attempts} attempts)",)
        raise
    raise AssertionError("unreachable: tenacity returns or raises")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a service asks to wait, or None when it does not say."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / per_second
        except ValueError:
            continue
        if 0 <= seconds <= _LONGEST_WAIT_S:  # also refuses NaN
            return seconds
    try:
        seconds = email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds) if seconds <= _LONGEST_WAIT_S else None
