"""What became of a test, by the reports of its phases; loaded for the first one that did not pass at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

PHASES = ("setup", "call", "teardown")
_SUCCESSES = ("passed", "xfailed", "xpassed")


class Test:
    """One test, from its set-up to its tear-down."""

    __slots__ = ("_runs_again", "attempts", "message", "outcome", "seconds", "since", "start")

    def __init__(self, reports: Iterable[pytest.TestReport]) -> None:
        self.start = self.since = 0.0  # of its first try, and of the last one
        self.outcome = "passed"
        self.message = ""
        self.seconds: dict[str, float] = {}
        self.attempts: list[dict[str, Any]] = []
        self._runs_again = False
        for report in reports:
            self._add(report)

    def _add(self, report: pytest.TestReport) -> None:
        """Take in a phase; a plugin that runs failed tests again says ``rerun``."""
        when = report.when
        is_part = getattr(report, "context", None) is not None  # a subtest, told before the set-up by some
        if self._runs_again and (when == "setup" or is_part):
            self.attempts.append(self.as_attempt(success=False))
            self.outcome, self.message, self.seconds, self._runs_again = "passed", "", {}, False
        self.start = self.start or report.start or time.time()  # a crashed worker's has none
        self.since = self.since if self.seconds else report.start or self.start
        if not is_part:  # the test's own times hold those of its parts
            self.seconds[when if when in PHASES else "call"] = report.duration  # a crashed worker's is "???"
        if report.outcome in ("passed", "skipped"):
            if self.outcome != "failed" and not is_part:  # a part that is skipped says nothing of the whole
                self._add_no_failure(report)
            return
        if self.outcome != "failed" and not self._runs_again:
            self.message = _reason_of(report)
        if report.outcome == "failed":
            self.outcome = "failed"
        else:
            self._runs_again = True

    def _add_no_failure(self, report: pytest.TestReport) -> None:
        if report.outcome == "skipped":
            self.outcome = "xfailed" if hasattr(report, "wasxfail") else "skipped"
            self.message = getattr(report, "wasxfail", "") or _reason_of(report)
        elif hasattr(report, "wasxfail") and report.when == "call":
            self.outcome = "xpassed"

    @property
    def duration(self) -> float:
        """Seconds of all its tries."""
        before: float = sum(each["duration"] for each in self.attempts)
        return before + sum(self.seconds.values())

    @property
    def success(self) -> bool:
        """Whether it ended as was expected."""
        return self.outcome in _SUCCESSES

    def reasons(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return what else there is to say of a test that did not pass at once, beside its data."""
        from perfdb.recording.values import clean_error

        if self.outcome != "passed" or self.attempts:
            data["outcome"] = self.outcome
        said: dict[str, Any] = {"additional_data": data}
        said["error_message"] = clean_error(self.message) if self.message else None
        if self.outcome in ("skipped", "interrupted"):
            said["status"] = "interrupted"
        if self.attempts:
            tries = [*self.attempts, self.as_attempt(success=self.success)]
            for each in tries:
                each["error_message"] = each["error_message"] and clean_error(each["error_message"])
            said["attempts"] = tries
        return said

    def as_attempt(self, *, success: bool) -> dict[str, Any]:
        """Return the last try."""
        return {
            "start_time": round(self.since, 6),
            "duration": round(sum(self.seconds.values()), 6),
            "success": success,
            "error_message": self.message or None,
        }


def _reason_of(report: pytest.TestReport) -> str:
    """Return why a test was skipped or failed, in one line."""
    found = report.longrepr
    if isinstance(found, tuple):
        return str(found[2]).removeprefix("Skipped: ")
    for _, lines in getattr(found, "reprlocation_lines", ()):  # of a doctest, which begins with its source
        words = [line.strip() for line in lines if line.strip()]
        for at, word in enumerate(words):
            if word.startswith(("Expected", "UNEXPECTED EXCEPTION", "Differences")):
                return " ".join(words[at:] if word.endswith(":") or word == "Expected nothing" else [word])
    crash = getattr(found, "reprcrash", None)
    return str(crash.message if crash is not None else found or "").strip().split("\n", 1)[0]
