"""What changes nothing else: other times, durations and names, and a history that comes in two imports."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from perfdb.records import Session
from tests.answers.conftest import fill
from tests.answers.histories import DAY, HISTORIES, newest_start
from tests.answers.known import cases
from tests.answers.surfaces import Asked

pytestmark = pytest.mark.long  # hundreds of cases

END = newest_start(1_790_000_000.0)
FACTOR = 8.0
SHIFT = -35 * DAY  # whole weeks: days and weeks stay the same ones
INSTANTS = re.compile(r"(start|end|since|first|last)_time")
TIMES = re.compile(
    r"(\w*_s|duration|total_duration|mean|p\d\d|min|max|limit|value|\w*_median|seconds|usual|a|b|excess|(total_)?difference)"
)
ROUNDED = ("limit", "flagged", "flagged_percent")  # to two digits, and what follows from it
TEXTS = re.compile(r"started_at|ended_at|period|sentence|cause|message|suspects|from|to")
NAMES = {
    "nightly": "zeitung",
    "load": "laden",
    "work": "werken",
    "Extract": "Extrakt",
    "Transform": "Transit",
}
QUESTIONS = (
    ("sessions", "--last", "300"), ("steps", "--last", "3"), ("trends",), ("trends", "--by", "all"),
    ("bottlenecks",), ("regressions",), ("compare", "last~1", "last"), ("explain",), ("failures",),
    ("thresholds", "suggest"),
)  # fmt: skip
GAINS = ("critical_s", "busy_s", "gain_x2_s", "gain_max_s", "workers")
BASES = ("nested", "failing", "parallel", "gaps")


def shifted(session: Session) -> Session:
    steps = tuple(replace(step, start_time=step.start_time + SHIFT) for step in session.steps)
    return replace(session, start_time=session.start_time + SHIFT, steps=steps)


def scaled(session: Session) -> Session:
    steps = tuple(
        replace(
            step,
            start_time=session.start_time + FACTOR * (step.start_time - session.start_time),
            duration=FACTOR * (step.duration or 0.0),
        )
        for step in session.steps
    )
    return replace(session, total_duration=FACTOR * (session.total_duration or 0.0), steps=steps)


def rounded(session: Session) -> Session:
    """Round all times to the microsecond, as reports do: steps in a row overlap a little."""
    steps = tuple(
        replace(step, start_time=round(step.start_time, 6), duration=round(step.duration or 0.0, 6))
        for step in session.steps
    )
    return replace(session, start_time=round(session.start_time, 6), steps=steps)


def renamed(session: Session) -> Session:
    steps = tuple(
        replace(step, step_name=NAMES.get(step.step_name, step.step_name)) for step in session.steps
    )
    return replace(session, pipeline=NAMES[session.pipeline], steps=steps)


def unshifted(name: str, value: Any) -> Any:
    if isinstance(value, int | float) and INSTANTS.fullmatch(name):
        return value - SHIFT
    return "" if TEXTS.fullmatch(name) and name != "sentence" else value


def unscaled(name: str, value: Any) -> Any:
    if name in ROUNDED:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and TIMES.fullmatch(name):
        return value / FACTOR
    return "" if TEXTS.fullmatch(name) or name in ("start_time", "end_time") else value


def unrenamed(name: str, value: Any) -> Any:
    if isinstance(value, str):
        for given, other in NAMES.items():
            value = re.sub(rf"\b{other}\b", given, value)
    return value


CHANGES: dict[str, tuple[Callable[[Session], Session], Callable[[str, Any], Any]]] = {
    "shifted": (shifted, unshifted),
    "scaled": (scaled, unscaled),
    "renamed": (renamed, unrenamed),
}


def mapped(value: Any, change: Callable[[str, Any], Any], name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: mapped(each, change, key) for key, each in value.items()}
    if isinstance(value, list):
        return [mapped(each, change, name) for each in value]
    return change(name, value)


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Return where two answers differ by more than the last digits of their sums."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [found for key in a for found in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [
            found
            for n, (x, y) in enumerate(zip(a, b, strict=True))
            for found in differences(x, y, f"{where}[{n}]")
        ]
    if isinstance(a, float) and isinstance(b, int | float):
        return [] if math.isclose(a, b, rel_tol=1e-5, abs_tol=2e-6) else [f"{where}: {a} and {b}"]
    return [] if a == b else [f"{where}: {a!r} and {b!r}"]


@pytest.mark.parametrize(
    ("base", "change"), cases("metamorphic", [(base, change) for base in BASES for change in CHANGES])
)
def test_what_is_changed_everywhere_changes_nothing_else(
    answers_of: Callable[..., Asked], answers_once: Callable[..., Asked], base: str, change: str
) -> None:
    apply, undo = CHANGES[change]
    sessions = list(HISTORIES[base](END))
    before, after = answers_once(base, sessions), answers_of("after", [apply(each) for each in sessions])
    found = [
        f"{' '.join(words)} {where}"
        for words in QUESTIONS
        for where in differences(
            mapped(before.json(*words), _same_as(undo)), mapped(after.json(*words), undo)
        )
    ]
    assert found == []


def _same_as(undo: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Return what leaves out of the first answer what ``undo`` leaves out of the second."""
    return lambda name, value: "" if undo(name, value) == "" else value


@pytest.mark.parametrize("base", ["nested", "parallel"])
def test_times_rounded_to_the_microsecond_cost_and_gain_the_same(
    answers_of: Callable[..., Asked], base: str
) -> None:
    sessions = list(HISTORIES[base](END))
    before, after = (
        answers_of(name, made).history.bottlenecks()[["step_name", *GAINS]].to_dict("records")
        for name, made in (("before", sessions), ("after", [rounded(each) for each in sessions]))
    )
    assert after == [pytest.approx(row, abs=1e-5, nan_ok=True) for row in before]


@pytest.mark.parametrize("base", cases("imports", [("nested",), ("failing",), ("split",)]))
def test_two_imports_are_one(answers_of: Callable[..., Asked], base: str, answers_folder: Any) -> None:
    sessions = list(HISTORIES[base](END))
    whole, parts = answers_of("whole", []), answers_of("parts", [])
    fill(whole.url, sessions, answers_folder)
    fill(parts.url, sessions[: len(sessions) // 2], answers_folder)
    fill(parts.url, sessions[len(sessions) // 2 :], answers_folder)
    words = (*QUESTIONS, ("alerts", "list", "--state", "all"), ("rules",), ("check",))
    assert [each for each in words if whole.command(*each).out != parts.command(*each).out] == []
