"""What was measured beside the duration: which measures there are, and the questions of one of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.answers.about_time import (
    CHANGES,
    MOVES,
    TILES,
    day_key,
    days_of_api,
    days_of_pages,
    trends_of_report,
)
from tests.answers.numbers import number
from tests.answers.pages import Table
from tests.answers.questions import (
    LAST,
    WINDOW,
    Key,
    Question,
    Rows,
    below_kind,
    cell_of,
    frame_rows,
    kind_of,
    name_of,
    numbered,
    of_page,
    series_of,
    shown,
    step_key,
)
from tests.answers.surfaces import Asked

COST = ("--measure", "cost_usd", *WINDOW)
STATISTICS = {"n": "n", "mean": "mean", "p50": "p50", "p90": "p90", "p95": "p95"}


def measure_key(row: Mapping[str, Any]) -> Key:
    return kind_of(row), row["measure"], row["step_name"] or "Total"


def printed_measure(table: Table, row: list[str]) -> Key:
    return table.title, cell_of(table, row, "measure"), cell_of(table, row, "step")


MEASURES = Question(
    "measures",
    {"n": "n", "low": "lowest", "median": "median", "high": "highest", "last": "last"},
    truth=lambda asked: MEASURES.of_rows(frame_rows(asked.history.measures(last=LAST))),
    words=("measures",),
    options=lambda asked: WINDOW,
    key=measure_key,
    printed_key=printed_measure,
    others={"api": lambda asked: MEASURES.of_rows(asked.api("measures", last=LAST)["rows"])},
    part=("text",),  # steps with less
)


def trends_of_api(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        answer = asked.api("trends", **series, measure="cost_usd", last=LAST)
        if answer["n"]:
            found[numbered(found, name_of(series))] = {name: answer[name] for name in STATISTICS}
    return found


def trends_of_pages(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        page = asked.page("/trends", **series, measure="cost_usd", last=LAST)
        if "No run in this window" in page.text:
            continue
        row = {name: shown(page.tiles.get(title, "")) for name, title in TILES.items() if name in STATISTICS}
        found[numbered(found, name_of(series))] = row
    return found


def trends_of_charts(asked: Asked) -> Rows:
    figure = asked.chart("trend", measure="cost_usd", last=LAST)
    title, subtitle, *_ = [text.get_text().replace("\n", " ").replace("\\$", "$") for text in figure.texts]
    after = re.search(r"→ (.*?)\)", title)
    assert after is not None, title
    count = re.search(r"([\d,]+) runs", subtitle)
    assert count is not None
    return {("nightly", "Total"): {"n": number(count[1])}}


TRENDS = Question(
    "trends of cost",
    STATISTICS,
    truth=lambda asked: TRENDS.of_rows(frame_rows(asked.history.trends(measure="cost_usd", last=LAST))),
    words=("trends",),
    options=lambda asked: COST,
    key=step_key,
    printed_key=below_kind,
    others={
        "api": trends_of_api,
        "page": trends_of_pages,
        "chart": trends_of_charts,
        "report": lambda asked: trends_of_report(asked, "What each step has of cost", measure="cost_usd"),
    },
    part=("chart",),
)


DAYS = Question(
    "days of cost",
    {"n": "n", "failures": "failed", "mean": "mean", "p50": "p50"},
    truth=lambda asked: DAYS.of_rows(
        frame_rows(asked.history.trends(by="day", measure="cost_usd", last=LAST))
    ),
    words=("trends",),
    options=lambda asked: ("--by", "day", *COST),
    key=day_key,
    printed_key=lambda table, row: (*below_kind(table, row), cell_of(table, row, "day (UTC)")),
    others={
        "api": partial(days_of_api, measure="cost_usd"),
        "page": partial(days_of_pages, measure="cost_usd"),
    },
)


def shares_of_page(asked: Asked) -> Rows:
    found: Rows = {}
    titles = {"value": "Per session", "share_percent": "Share"}
    for table in asked.page("/bottlenecks", measure="cost_usd", last=LAST).tables:
        for key, row in of_page(titles, table, (table.title,)).items():
            found[numbered(found, key)] = row
    return found


SHARES = Question(
    "shares of cost",
    {"value": "per session", "share_percent": "share", "n": "n"},
    truth=lambda asked: SHARES.of_rows(frame_rows(asked.history.bottlenecks(measure="cost_usd", last=LAST))),
    words=("bottlenecks",),
    options=lambda asked: COST,
    key=step_key,
    printed_key=below_kind,
    others={
        "api": lambda asked: SHARES.of_rows(asked.api("bottlenecks", measure="cost_usd", last=LAST)["rows"]),
        "page": shares_of_page,
    },
)


def moves_of_pages(asked: Asked) -> Rows:
    found: Rows = {}
    for series in series_of(asked):
        page = asked.page("/trends", **series, measure="cost_usd", last=LAST)
        try:
            table = page.table("What changed")
        except LookupError:
            continue
        for row in reversed(table.rows):
            values = {name: shown(cell_of(table, row, title)) for name, title in CHANGES.items()}
            if values["effect"].value > 0:
                found[numbered(found, name_of(series))] = values
    return found


MOVED = Question(
    "regressions of cost",
    {**MOVES, "difference": ""},
    truth=lambda asked: MOVED.of_rows(frame_rows(asked.history.regressions(measure="cost_usd", last=LAST))),
    words=("regressions",),
    options=lambda asked: COST,
    key=step_key,
    printed_key=below_kind,
    others={
        "api": lambda asked: MOVED.of_rows(asked.api("regressions", measure="cost_usd", last=LAST)["rows"]),
        "page": moves_of_pages,
    },
)


# --- money: what is spent, and what one would choose ----------------------------------------------------


def spent_of_page(asked: Asked) -> Rows:
    titles = {"run_usd": "A run", "usual_usd": "Usual", "change_percent": "Change"}
    page = asked.page("/")
    table = page.table("What it costs") if page.has("What it costs") else None
    return {
        (cell_of(table, row, "Pipeline"),): {
            name: shown(cell_of(table, row, title)) for name, title in titles.items()
        }
        for row in (table.rows if table else ())
    }  # fmt: skip


SPENDING = Question(
    "spending",
    {"run_usd": "", "usual_usd": "", "change_percent": ""},
    truth=lambda asked: SPENDING.of_rows(frame_rows(asked.history.spending())),
    key=lambda row: (kind_of(row),),
    others={
        "api": lambda asked: SPENDING.of_rows(asked.api("overview")["spending"]),
        "page": spent_of_page,
    },
)

BY_COMMIT: dict[str, Any] = {"by": "git_commit", "last": LAST}


def choices_of_chart(asked: Asked) -> Rows:
    found: Rows = {}
    for text in asked.chart("pareto", **BY_COMMIT).axes[0].texts:
        name, said = text.get_text().replace("\\$", "$").split("\n")
        seconds, cost, n = said.split(", ")
        found[(name.removeprefix("git_commit "),)] = {
            "seconds": number(seconds), "cost": number(cost), "n": number(n.removeprefix("n = "))
        }  # fmt: skip
    return found


CHOICES = Question(
    "choices",
    {"n": "", "seconds": "", "cost": "", "front": ""},
    truth=lambda asked: CHOICES.of_rows(frame_rows(asked.history.pareto(**BY_COMMIT))),
    key=lambda row: (row["value"],),
    others={
        "api": lambda asked: CHOICES.of_rows(asked.api("pareto", **BY_COMMIT)["rows"]),
        "chart": choices_of_chart,
    },
)
