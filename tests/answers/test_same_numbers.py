"""Whatever is asked, wherever it is asked: the same rows, and in them the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from perfdb.errors import PerfdbError
from tests.answers import about_costs, about_events, about_measures, about_runs, about_time
from tests.answers.histories import HISTORIES, NOTED
from tests.answers.known import cases
from tests.answers.numbers import agree
from tests.answers.questions import REFUSED, Question, Rows
from tests.answers.surfaces import Asked

pytestmark = pytest.mark.long  # hundreds of cases

QUESTIONS: dict[str, Question] = {
    value.name: value
    for module in (about_time, about_costs, about_events, about_runs, about_measures)
    for value in vars(module).values()
    if isinstance(value, Question)
}
DEAR = {  # surfaces that cost much: the histories in which their shapes differ
    "csv": (NOTED, "nested", "failing", "reserved", "three_pipelines"),
    "chart": (NOTED, "many", "nested", "reserved", "two_modes", "cached"),
    "report": ("nested", "cached", "reserved", "three_pipelines"),
    "what-if": ("nested", "parallel"),
}
ABOUT = {  # questions that are about some histories only
    "annotations": (NOTED, "few", "empty"),
    "marks": (NOTED, "nested", "split"),
    "two levels": (NOTED, "nested"),
    "baselines": (NOTED, "few", "empty"),
    "days": ("failing", "gaps", "many", "nested", "overnight", "three_pipelines"),
    "days of cost": ("nested", "overnight"),
    "groups": (*about_costs.BY, "few", "empty"),
    "measures": ("few", "nested", "empty"),
    "spending": ("few", "nested", "empty"),
    "choices": ("nested",),
    "common": ("split", "nested", "empty"),
    "common of cost": ("nested",),
    "hits": ("split", "nested", "empty"),
    "trends of cost": ("nested", "few"),
    "shares of cost": ("nested",),
    "regressions of cost": ("nested",),
    "failures": ("cached", "failing", "failing_newest", "few", "empty"),
    "violations": ("failing", "failing_newest", "many", "split", "empty"),
}
CASES = [
    (name, question.name, surface)
    for name in HISTORIES
    if name != "mixed"  # it is for filters
    for question in QUESTIONS.values()
    if name in ABOUT.get(question.name, HISTORIES)
    for surface in question.surfaces()
    if name in DEAR.get(surface, HISTORIES)
]


@pytest.mark.parametrize(("name", "question", "surface"), cases("same numbers", CASES))
def test_every_surface_says_what_history_says(
    histories: Callable[[str], Asked], name: str, question: str, surface: str
) -> None:
    asked, of = histories(name), QUESTIONS[question]
    true = asked.once(("truth", question), lambda: _truth(of, asked))
    said = of.surfaces()[surface](asked)
    assert contradictions(true, said, may_leave_out=surface in of.part) == []


def _truth(question: Question, asked: Asked) -> Rows:
    try:
        return question.truth(asked)
    except PerfdbError:
        return REFUSED


def contradictions(true: Rows, said: Rows, *, may_leave_out: bool) -> list[str]:
    """Return what of an answer is not what is true, in words."""
    found = [f"{key} is not there" for key in true if key not in said and not may_leave_out]
    for key, row in said.items():
        if key not in true:
            found.append(f"{key} is nowhere else: {row}")
            continue
        found += [
            f"{key}: {name} is {value!r}, not {true[key][name]!r}"
            for name, value in row.items()
            if name in true[key] and not agree(value, true[key][name])
        ]
    return found
