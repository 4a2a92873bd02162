"""A filter holds for every part of an answer: it is the answer of a history that has nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from perfdb.records import Session
from tests.answers.histories import HISTORIES, HOUR, newest_start
from tests.answers.known import cases
from tests.answers.surfaces import Asked

pytestmark = pytest.mark.long  # hundreds of cases

END = newest_start(1_790_000_000.0)
MIDDLE = END - 100 * HOUR
Fits = Callable[[Session], bool]
FILTERS: dict[str, tuple[tuple[str, ...], Mapping[str, Any], Fits]] = {
    "pipeline": (("--pipeline", "nightly"), {"pipeline": "nightly"}, lambda each: each.pipeline == "nightly"),
    "mode": (("--fast-mode",), {"fast_mode": True}, lambda each: each.fast_mode is True),
    "mode as JSON": (
        ("--mode", '{ "fast_mode": true }'), {"mode": '{"fast_mode":true}'},
        lambda each: each.mode == '{"fast_mode":true}',
    ),
    "since": (("--since", str(MIDDLE)), {"since": MIDDLE}, lambda each: each.start_time >= MIDDLE),
    "until": (("--until", str(MIDDLE)), {"until": MIDDLE}, lambda each: each.start_time < MIDDLE),
    "status": (("--status", "completed"), {"status": "completed"}, lambda each: each.status == "completed"),
    "tag": (("--tag", "release"), {"tag": "release"}, lambda each: "release" in each.tags),
    "branch": (("--branch", "main"), {"branch": "main"}, lambda each: each.git_branch == "main"),
    "attribute": (
        ("--attribute", "customer=acme"), {"attribute": {"customer": "acme"}},
        lambda each: each.attributes["customer"] == "acme",
    ),
    "text like a number": (
        ("--attribute", "version=2.4"), {"attribute": {"version": "2.4"}},
        lambda each: each.attributes["version"] == "2.4",
    ),
}  # fmt: skip
COMMANDS = {
    "sessions": ("sessions", "--last", "300"),
    "steps": ("steps", "--last", "300"),
    "trends": ("trends", "--last", "300"),
    "days": ("trends", "--by", "day"),
    "weeks of all": ("trends", "--by", "week"),
    "bottlenecks": ("bottlenecks", "--last", "300"),
    "regressions": ("regressions",),
    "groups": ("compare", "--by", "git_commit", "--last", "300"),
    "thresholds": ("thresholds", "suggest"),
    "violations": ("violations",),
    "failures": ("failures",),
}
OWN_MEANING = {("since", "regressions")}  # it chooses what moved since then; what was before is looked at too


@pytest.fixture(scope="module")
def sessions() -> list[Session]:
    return list(HISTORIES["mixed"](END))


@pytest.fixture
def whole(answers_once: Callable[..., Asked], sessions: list[Session]) -> Asked:
    return answers_once("whole", sessions)


@pytest.mark.parametrize("name", cases("filters", [(name,) for name in FILTERS]))
def test_a_filtered_answer_is_that_of_a_history_without_the_others(
    answers_of: Callable[..., Asked], whole: Asked, sessions: list[Session], name: str
) -> None:
    options, _, fits = FILTERS[name]
    part = answers_of("part", list(filter(fits, sessions)))
    different = [
        question
        for question, words in COMMANDS.items()
        if (name, question) not in OWN_MEANING
        and whole.command(*words, *options).out != part.command(*words).out
    ]
    assert different == []


@pytest.mark.parametrize(
    "name", cases("filters of pages", [(name,) for name in ("mode", "status", "attribute")])
)
def test_a_filtered_page_picture_and_report_too(
    answers_of: Callable[..., Asked], whole: Asked, sessions: list[Session], name: str
) -> None:
    _, filters, fits = FILTERS[name]
    part = answers_of("part", list(filter(fits, sessions)))
    query = dict(filters)
    if "attribute" in filters:
        query["attribute"] = "=".join(*filters["attribute"].items())
    different = [
        f"the page {path}"
        for path in ("bottlenecks", "sessions")
        if _rows(whole.page(f"/{path}", **query)) != _rows(part.page(f"/{path}"))
    ]
    for kind in ("trend", "bottlenecks", "steps"):
        if _texts(whole.chart(kind, last=300, **filters)) != _texts(part.chart(kind, last=300)):
            different.append(f"the picture of {kind}")
    if whole.report(last=300, **filters).visible != part.report(last=300).visible:
        different.append("the report")
    assert different == []


def _rows(page: Any) -> list[list[str]]:
    return [row for table in page.tables for row in table.rows]


def _texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("pipeline", ["nightly", "hourly"])
def test_of_one_pipeline_rules_say_what_they_say_of_it(
    histories: Callable[[str], Asked], pipeline: str
) -> None:
    asked = histories("mixed")
    rows = {row["rule"]: row for row in asked.json("rules", "--pipeline", pipeline)}
    of_it = [row for row in asked.json("alerts", "list", "--state", "all") if row["pipeline"] == pipeline]
    newest = max(each.start_time for each in asked.sessions if each.pipeline == pipeline)
    for name, row in rows.items():
        own = [each for each in of_it if each["rule"] == name and each["state"] != "pending"]
        assert row["alerts"] + row["historic"] == len(own)
        assert (row["state"] == "firing") == any(each["state"] == "firing" for each in own)
        assert row["last_evaluated_run_at"] is None or row["last_evaluated_run_at"] <= newest
    assert {row["rule"]: row for row in asked.json("rules")} != rows
    api = {row["rule"]: row for row in asked.api("rules", pipeline=pipeline)["rows"]}
    for name in ("state", "series", "alerts", "historic"):
        assert {rule: row[name] for rule, row in api.items()} == {
            rule: row[name] for rule, row in rows.items()
        }
    count = sum(each["state"] == "historic" for each in of_it)
    assert f"{count} historic" in asked.command("check", "--pipeline", pipeline).err or not count


@pytest.mark.parametrize("question", ["trends", "days", "regressions", "thresholds", "failures"])
def test_of_one_step_the_answer_is_what_it_was_among_all(whole: Asked, question: str) -> None:
    everything = whole.json(*COMMANDS[question])
    of_step = whole.json(*COMMANDS[question], "--step", "work")
    assert of_step == [row for row in everything if row["step_name"] == "work"]


@pytest.mark.parametrize("question", [name for name in COMMANDS if name not in ("days", "weeks of all")])
def test_the_last_so_many_are_the_answer_of_a_history_of_so_many(
    answers_of: Callable[..., Asked], whole: Asked, sessions: list[Session], question: str
) -> None:
    words = [word for word in COMMANDS[question] if word not in ("--last", "300")]
    said = whole.command(*words, "--last", "60")
    newest = sessions[-60:]
    if question == "bottlenecks":  # so many of each pipeline
        names = {each.pipeline for each in sessions}
        newest = [each for name in names for each in [one for one in sessions if one.pipeline == name][-60:]]
    assert said.out == answers_of("part", newest).command(*words, "--last", "60").out
