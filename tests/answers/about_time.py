"""Trends, days and regressions: how long each series takes, and where its level moved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.answers.numbers import number
from tests.answers.questions import (
    LAST,
    WINDOW,
    Key,
    Question,
    Rows,
    below_kind,
    cell_of,
    frame_rows,
    name_of,
    numbered,
    series_of,
    shown,
    step_key,
)  # fmt: skip
from tests.answers.surfaces import Asked

STATISTICS = {
    "n": "n", "failures": "failed", "mean": "mean", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99",
}  # fmt: skip
SLOPES = dict.fromkeys(("slope_percent_per_session", "slope_percent_per_day", "p_value"), "")
TILES = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}


def trends_of_api(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        answer = asked.api("trends", **series, last=LAST)
        found[numbered(found, name_of(series))] = {name: answer[name] for name in (*STATISTICS, *SLOPES)}
    return found


def trends_of_pages(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        page = asked.page("/trends", **series, last=LAST)
        match = re.search(r"([\d,]+) runs? that count(?:, (\d+) failed)?", page.text)
        assert match is not None, page.text[:300]
        row = {name: shown(page.tiles.get(title, "")) for name, title in TILES.items()}
        found[numbered(found, name_of(series))] = row | {
            "n": number(match[1]), "failures": number(match[2] or "0")
        }  # fmt: skip
    return found


def trends_of_charts(asked: Asked) -> Rows:
    """Read the pictures of the totals: a title says median and p95, or before and after of a move."""
    found: Rows = {}
    for series in series_of(asked):
        if series["step"] is not None or asked.name in ("two_modes", "three_pipelines"):
            continue
        title, subtitle, *_ = [
            text.get_text().replace("\n", " ") for text in asked.chart("trend", last=LAST).texts
        ]
        row: dict[str, Any] = {"n": number(re.search(r"([\d,]+) runs?", subtitle)[1])}  # type: ignore[index]
        for name, words in (("p50", r"half of the runs take up to (.*?),"), ("p95", r"95 % up to (.*)")):
            if match := re.search(words, title):
                row[name] = number(match[1])
        found[name_of(series)] = row
    return found


def trends_of_report(
    asked: Asked, heading: str = "How long each step takes", *, measure: str = "duration"
) -> Rows:
    if not asked.sessions:
        return {}
    table = asked.report(last=LAST, measure=measure).table(heading)
    found: Rows = {}
    kind = ""
    for row in table.rows:  # below a line for each pipeline and mode
        if len(row) == 1:
            kind = row[0]
            continue
        name = cell_of(table, row, "step")
        found[numbered(found, (kind, "Total" if name == "total" else name))] = {
            column: shown(cell_of(table, row, title)) for column, title in STATISTICS.items()
        }
    return found


TRENDS = Question(
    "trends",
    {**STATISTICS, **SLOPES},
    truth=lambda asked: TRENDS.of_rows(frame_rows(asked.history.trends(last=LAST))),
    words=("trends",),
    options=lambda asked: WINDOW,
    key=step_key,
    printed_key=below_kind,
    others={
        "api": trends_of_api,
        "page": trends_of_pages,
        "chart": trends_of_charts,
        "report": trends_of_report,
    },
    part=("chart",),
)


# --- trends by day --------------------------------------------------------------------------------------

NEWEST_DAYS = 14  # that a page shows


def day_key(row: Mapping[str, Any]) -> Key:
    return (*step_key(row), row["period"])


def days_of_api(asked: Asked, **measure: str) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        for each in asked.api("trends", **series, last=LAST, **measure)["periods"]:
            day = datetime.fromtimestamp(each["start_time"], UTC).date().isoformat()
            found[numbered(found, (*name_of(series), day))] = {
                name: each[name] for name in ("n", "failures", "p50", "p95")
            }
    return found


def days_of_pages(asked: Asked, **measure: str) -> Rows:
    found: Rows = {}
    titles = {"n": "Runs", "failures": "Failed", "p50": "Median", "p95": "p95"}
    for series in series_of(asked):
        page = asked.page("/trends", **series, last=LAST, **measure)
        if "No run in this window" in page.text:
            continue
        table = page.table("By day")
        for row in table.rows:
            year = datetime.fromtimestamp(asked.now, UTC).year
            day = datetime.strptime(f"{row[0]} {year}", "%d %b %Y").replace(tzinfo=UTC)
            if day.timestamp() > asked.now:
                day = day.replace(year=year - 1)
            found[numbered(found, (*name_of(series), day.date().isoformat()))] = {
                name: shown(cell_of(table, row, title)) for name, title in titles.items()
            }
    return found


DAYS = Question(
    "days",
    {name: title for name, title in STATISTICS.items() if name != "p99"},
    truth=lambda asked: DAYS.of_rows(frame_rows(asked.history.trends(by="day", last=LAST))),
    words=("trends",),
    options=lambda asked: ("--by", "day", *WINDOW),
    key=day_key,
    printed_key=lambda table, row: (*below_kind(table, row), cell_of(table, row, "day (UTC)")),
    others={"api": days_of_api, "page": days_of_pages},
    part=("page",),
)


# --- regressions ----------------------------------------------------------------------------------------

MOVES = {
    "before_median": "before", "before_n": "n", "after_median": "after", "after_n": "n#1", "effect": "change",
    "since_session_id": "",
}  # fmt: skip
CHANGES = {"before_median": "Before", "after_median": "After", "effect": "Change"}


def moves_of_api(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        for each in asked.api("trends", **series, last=LAST)["changes"]:
            if each["effect_percent"] > 0:
                row = {**each, "effect": each["effect_percent"], "since_session_id": each["session_id"]}
                found[numbered(found, name_of(series))] = {name: row[name] for name in MOVES}
    return found


def moves_of_pages(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        try:
            table = asked.page("/trends", **series, last=LAST).table("What changed")
        except LookupError:
            continue
        for row in reversed(table.rows):
            values = {name: shown(cell_of(table, row, title)) for name, title in CHANGES.items()}
            before, _, after = cell_of(table, row, "Runs before, after").partition(", ")
            if values["effect"].value > 0:
                found[numbered(found, name_of(series))] = values | {
                    "before_n": number(before), "after_n": number(after)
                }  # fmt: skip
    return found


def move_key(row: Mapping[str, Any]) -> Key:
    """Key a move by its series, and by the attribute's value whose runs alone show it."""
    kind, name = step_key(row)
    only = row["attribute"]
    return kind, name if only is None else f"{name}, {only} = {row['attribute_value']}"


REGRESSIONS = Question(
    "regressions",
    MOVES,
    truth=lambda asked: REGRESSIONS.of_rows(frame_rows(asked.history.regressions(last=LAST))),
    words=("regressions",),
    options=lambda asked: WINDOW,
    key=move_key,
    printed_key=below_kind,
    others={"api": lambda asked: REGRESSIONS.of_rows(asked.api("regressions", last=LAST)["rows"])},
)

MOVES_OF_SERIES = Question(  # what shows a series as a whole, without the moves of one value of an attribute
    "moves of series",
    MOVES,
    truth=lambda asked: MOVES_OF_SERIES.of_rows(
        row for row in frame_rows(asked.history.regressions(last=LAST)) if row["attribute"] is None
    ),
    key=step_key,
    others={"API of trends": moves_of_api, "page": moves_of_pages},
)
