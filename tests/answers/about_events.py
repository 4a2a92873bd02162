"""What happened meanwhile, and what comes and goes: annotations, first runs, two levels, pinned baselines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tests.answers.numbers import number
from tests.answers.pages import Table, printed_tables
from tests.answers.questions import (
    LAST,
    Key,
    Question,
    Rows,
    below_kind,
    cell_of,
    frame_rows,
    name_of,
    series_of,
    step_key,
)
from tests.answers.surfaces import Asked

# --- annotations ----------------------------------------------------------------------------------------


def minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %H:%M")


def note_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation with its text as CSV has it, and its instant as tables have it."""
    return {**row, "text": row["text"].removeprefix("'"), "at": minute(row["at"])}


def note_key(row: Mapping[str, Any]) -> Key:
    return (row["text"],)


def notes_of_text(asked: Asked) -> Rows:
    return {
        (cell_of(table, row, "text"),): {
            "at": cell_of(table, row, "at"),
            "id": number(cell_of(table, row, "id")),
            "pipeline": None if (of := cell_of(table, row, "pipeline")) == "all" else of,
        }
        for table in printed_tables(asked.command("annotations").out)
        for row in table.rows
    }


def notes_of_page(asked: Asked) -> Rows:
    """Read what the page of the trend says that somebody said, from the first run on."""
    return {key[1:]: row for key, row in marks_of_page(asked).items() if key[0] == "note"}


ANNOTATIONS = Question(
    "annotations",
    {"at": "at", "pipeline": "pipeline", "id": "id"},
    truth=lambda asked: ANNOTATIONS.of_rows(note_row(asdict(each)) for each in asked.history.annotations()),
    key=note_key,
    others={
        "json": lambda asked: ANNOTATIONS.of_rows(map(note_row, asked.json("annotations"))),
        "csv": lambda asked: ANNOTATIONS.of_rows(
            note_row(
                {**row, "at": float(row["at"]), "id": int(row["id"]), "pipeline": row["pipeline"] or None}
            )
            for row in asked.csv("annotations")
        ),
        "text": notes_of_text,
        "api": lambda asked: ANNOTATIONS.of_rows(map(note_row, asked.api("annotations")["rows"])),
        "page": notes_of_page,
    },
)

# --- first runs with another value ----------------------------------------------------------------------


def marks_of_runs(asked: Asked) -> Rows:
    """Say of the sessions as they were made when a host, commit or version was new, and add what was said."""
    found: Rows = {("note", each.text): {"at": minute(each.at)} for each in asked.history.annotations()}
    for kind, of in (
        ("host", lambda each: each.host),
        ("commit", lambda each: each.git_commit),
        ("version", lambda each: each.attributes.get("version")),
    ):
        known = None
        for each in asked.sessions:
            if (value := of(each)) is not None and value not in (known or ()):
                if known is not None:
                    found[kind, value] = {"at": minute(each.start_time)}
                known = {*(known or ()), value}
    return found


def marks_of_page(asked: Asked) -> Rows:
    found: Rows = {}
    for text in asked.page("/trends", last=LAST).texts:
        match = re.match(
            r"li: (\d\d \w{3} \d\d:\d\d) UTC(?:first run on (\w+) )?(.*?)( since then · before and after)?$",
            text,
        )
        if match:
            found[match[2] or "note", match[3]] = {"at": match[1]}
    return found


MARKS = Question(
    "marks",
    {"at": ""},
    truth=marks_of_runs,
    key=lambda row: (row["kind"], row["text"]),
    others={
        "api": lambda asked: MARKS.of_rows(map(note_row, asked.api("trends", last=LAST)["marks"])),
        "page": marks_of_page,
    },
)

# --- two levels that come and go ------------------------------------------------------------------------

_SWITCHES = re.compile(r"^(.*?) switches between (\S+ \w+) and (\S+ \w+)(?: with (\w+) \((.*), (.*)\))?")


def level_row(match: re.Match[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"low_median": number(match[2]), "high_median": number(match[3])}
    return row | (
        {} if match[4] is None else {"attribute": match[4], "low_value": match[5], "high_value": match[6]}
    )


def levels_of_command(asked: Asked) -> Rows:
    lines = asked.command("regressions", "--last", str(LAST)).err.splitlines()
    return {tuple(match[1].split(", ")): level_row(match) for match in map(_SWITCHES.match, lines) if match}


def levels_of_trends(asked: Asked) -> Rows:
    found: Rows = {}
    for table in printed_tables(asked.command("trends", "--last", str(LAST)).out):
        for row in table.rows:
            if match := re.search(r"switches: (.*), (.*)", cell_of(table, row, "trend")):
                values = {"low_median": number(match[1]), "high_median": number(match[2])}
                found[below_kind(table, row)] = values
    return found


def sentences(asked: Asked) -> Iterator[tuple[Key, str, str, str]]:
    """Yield what the API, the page and the picture say of each series."""
    for series in series_of(asked):
        answered = asked.api("trends", **series, last=LAST)["sentence"]
        page = asked.page("/trends", **series, last=LAST).text.split("\n")
        chart = asked.chart("trend", step=series["step"], last=LAST).texts[0].get_text().replace("\n", " ")
        yield name_of(series), answered, next(filter(_SWITCHES.match, page), ""), chart


def levels_said(asked: Asked, place: int) -> Rows:
    return {
        found[0]: level_row(match) for found in sentences(asked) if (match := _SWITCHES.match(found[place]))
    }


def levels_of_alerts(asked: Asked) -> Rows:
    """Read the alerts that such a series raises: for information, their effect is between the levels."""
    return {
        step_key(row): {"low_median": row["baseline"], "high_median": row["value"], "n": row["n"]}
        for row in frame_rows(asked.history.alerts("all"))
        if row["kind"] == "switching"
    }


SWITCHES = Question(
    "two levels",
    dict.fromkeys(("low_median", "high_median", "n", "attribute", "low_value", "high_value"), ""),
    truth=lambda asked: SWITCHES.of_rows(frame_rows(asked.history.switches(last=LAST))),
    key=step_key,
    others={
        "text": levels_of_command,
        "trends": levels_of_trends,
        "api": lambda asked: levels_said(asked, 1),
        "page": lambda asked: levels_said(asked, 2),
        "chart": lambda asked: levels_said(asked, 3),
        "alerts": levels_of_alerts,
    },
)

# --- pinned baselines -----------------------------------------------------------------------------------


def printed_pin(table: Table, row: list[str]) -> Key:
    return (cell_of(table, row, "id"),)


def pin_of_chart(asked: Asked) -> Rows:
    """Read the level that was pinned for the total in the legend of its picture."""
    ids = {row["step_name"]: str(row["id"]) for row in frame_rows(asked.history.baselines())}
    found: Rows = {}
    for line in asked.chart("trend", last=LAST).axes[0].lines:
        if match := re.search(r"pinned.*?(\d\S* (?:ms|s))", str(line.get_label())):
            found[ids[None],] = {"value": number(match[1])}
    return found


PINS = Question(
    "baselines",
    {"value": "pinned", "n": "n", "now": "now", "now_n": "n#1", "change_percent": "change"},
    truth=lambda asked: PINS.of_rows(frame_rows(asked.history.baselines())),
    words=("baseline",),
    key=lambda row: (str(int(row["id"])),),
    printed_key=printed_pin,
    others={"chart": pin_of_chart},
    part=("chart",),  # of the total alone
)
