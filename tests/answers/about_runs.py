"""Sessions, steps, failures, limits, alerts and rules: what was recorded, and how each of it is judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perfdb.text import step_label
from perfdb.vocabulary import OTHER
from tests.answers.numbers import Number, number
from tests.answers.pages import printed_tables
from tests.answers.questions import (
    LAST,
    REFUSED,
    WINDOW,
    Key,
    Question,
    Rows,
    blank_is_zero,
    cell_of,
    frame_rows,
    label,
    numbered,
    shown,
    step_key,
)  # fmt: skip
from tests.answers.surfaces import Asked, RefusedError

NEWEST = 40  # sessions that are listed

# --- sessions and their steps ---------------------------------------------------------------------------


def session_key(row: Mapping[str, Any]) -> Key:
    return (row["session_id"],)


def sessions_of_page(asked: Asked) -> Rows:
    table = asked.page("/sessions", limit=NEWEST)
    return {
        (key,): {
            "total_duration": shown(cell_of(each, row, "Duration")),
            "status": cell_of(each, row, "Status"),
        }
        for each in table.tables
        for key, row in zip(each.keys, each.rows, strict=True)
        if key
    }


SESSIONS = Question(
    "sessions",
    {"total_duration": "duration", "pipeline": "", "status": ""},
    truth=lambda asked: SESSIONS.of_rows(asked.history.session_rows(last=NEWEST)),
    words=("sessions",),
    options=lambda asked: ("--last", str(NEWEST)),
    key=session_key,
    printed_key=lambda table, row: (cell_of(table, row, "session"),),
    others={
        "frame": lambda asked: SESSIONS.of_rows(frame_rows(asked.history.sessions(last=NEWEST))),
        "made": lambda asked: SESSIONS.of_rows(
            [
                {name: getattr(each, name) for name in ("session_id", *SESSIONS.columns)}
                for each in asked.sessions
            ][-NEWEST:]
        ),
        "api": lambda asked: SESSIONS.of_rows(asked.api("sessions", limit=NEWEST)["rows"]),
        "page": sessions_of_page,
    },
)

STEPS = Question(
    "steps",
    {"duration": "duration"},
    truth=lambda asked: STEPS.of_rows(frame_rows(asked.history.steps(last=5))),
    words=("steps",),
    key=lambda row: (row["session_id"], row["step_name"]),
    printed_key=lambda table, row: (table.title.split()[0], cell_of(table, row, "step")),
    others={"api": lambda asked: STEPS.of_rows(asked.api("steps", last=5)["rows"])},
)


_LINE = re.compile(
    r"^[✓✗!…] (?:[│├└ ] )*(?P<name>.*?)(?: +\d+)? +[█▒·][█▒· ]*? +(?P<took>\S+ (?:µs|ms|s)|\d+ min \d\d s)"
    r"(?: +(?P<share>\S+ %))?(?: +(?P<cost>\$\S+))?$"
)


def shown_by_command(asked: Asked) -> Rows:
    """Read the waterfall of a terminal: a line per step, which ends with its seconds and its share."""
    if asked.command("show").code == 2:
        return REFUSED
    found: Rows = {}
    for line in asked.command("show").out.splitlines():
        if match := _LINE.match(line):
            found[numbered(found, (recorded(match["name"]),))] = {
                "duration": number(match["took"]), "share": number(match["share"] or ""),
                "cost_usd": number(match["cost"] or ""),
            }  # fmt: skip
    return found


def recorded(name: str) -> str:
    """Return the name of a step that is called like one of our rows, without what tells it from them."""
    bare = name.removesuffix(" (step)")
    return bare if step_label(bare) == name else name


def shown_as_json(asked: Asked) -> Rows:
    """Read the report of a session, which rounds to the microsecond."""
    if asked.command("show", "--json").code == 2:
        return REFUSED
    found: Rows = {}
    for step in asked.json("show")[0]["steps"]:
        found[numbered(found, (step["step_name"],))] = {"duration": Number(step["duration"], 5e-7, "s")}
    return found


def shown_in_chart(asked: Asked) -> Rows:
    """Read the picture of a waterfall: beside each step its seconds, and the share of the critical ones."""
    axes = asked.chart("waterfall").axes[0]
    names = [re.sub(r"^(└ )+", "", label.get_text().replace("\n", " ")) for label in axes.get_yticklabels()]
    texts = iter([text.get_text() for text in axes.texts])
    found: Rows = {}
    for name in names:
        if "×" not in name:
            values = {"duration": number(next(texts)), "share": number(next(texts))}
            if name != OTHER:  # the time of no step, which the truth does not list
                found[numbered(found, (recorded(name),))] = values
    return found


def show_truth(asked: Asked) -> Rows:
    """Return the steps of the last session: their seconds, and their share of it with all inside."""
    from perfdb.critical_path import Span, critical_seconds

    session = asked.history.session("last")
    spans = [Span(step.seq, step.parent_seq, step.start_time, step.end_time) for step in session.steps]
    end = session.start_time + (session.total_duration or 0.0)
    within = critical_seconds(spans, session.start_time, end, inclusive=True)
    own = critical_seconds(spans, session.start_time, end)
    found: Rows = {}
    for step in session.steps:
        share = 100 * within[step.seq] / (session.total_duration or 1.0)
        found[numbered(found, (step.step_name,))] = {
            "duration": step.duration, "share": share if within[step.seq] else None,
            "critical_s": within[step.seq], "own_s": own[step.seq],
            "cost_usd": step.additional_data.get("cost_usd"),
        }  # fmt: skip
    return found


def show_of_table(table: Any, titles: tuple[str, str, str]) -> Rows:
    found: Rows = {}
    for row in table.rows:
        name = re.sub(r"^(└ )+| (✗|in lane|lane) .*$", "", cell_of(table, row, titles[0]))
        critical = shown(cell_of(table, row, titles[2]))
        found[numbered(found, (name,))] = {
            "duration": shown(cell_of(table, row, titles[1])),
            "critical_s": 0.0 if critical is None else critical,
        }
    return found


SHOW = Question(
    "show",
    {"duration": "", "share": "", "critical_s": "", "own_s": ""},
    truth=show_truth,
    words=("show",),
    rows="steps",
    key=lambda row: (row["step_name"],),
    others={
        "json": shown_as_json,
        "text": shown_by_command,
        "chart": shown_in_chart,
        "api": lambda asked: SHOW.of_rows(asked.api("sessions/last")["steps"]),
        "page": lambda asked: show_of_table(
            asked.page("/sessions/last").table("Steps"), ("Step", "Duration", "Critical")
        ),
        "report": lambda asked: show_of_table(
            asked.report("last").table("Steps"), ("step", "duration", "critical")
        ),
    },
)

# --- failures, limits -----------------------------------------------------------------------------------


def reason_of(row: Mapping[str, Any]) -> Key:
    return f"{label(row)}, {row['pipeline']}", row["reason"]


FAILURES = Question(
    "failures",
    {"n": "runs"},
    truth=lambda asked: FAILURES.of_rows(frame_rows(asked.history.failures(last=LAST))),
    words=("failures",),
    options=lambda asked: WINDOW,
    key=reason_of,
    printed_key=lambda table, row: (
        f"{cell_of(table, row, 'step')}, {table.title}",
        cell_of(table, row, "reason"),
    ),
    part=("text",),  # what failed with a step inside of it
)


def common_of_page(asked: Asked, **measure: str) -> Rows:
    titles = {"slow_percent": "Of the slow", "rest_percent": "Of the rest", "lift": "Times"}
    page = asked.page("/common", slowest=10, last=LAST, **measure)
    if not page.tables:
        raise RefusedError(page.text[:200])
    return {
        (cell_of(table, row, "Attribute"), cell_of(table, row, "Value")): {
            name: shown(cell_of(table, row, title)) for name, title in titles.items()
        }
        for table in page.tables
        if "Attribute" in table.titles  # the other one lists the slow runs
        for row in table.rows
    }


def about_common(name: str, **measure: str) -> Question:
    """Return what slow runs have in common, or dear ones."""

    def rows(found: Any) -> Rows:
        return question.of_rows(found)

    question = Question(
        name,
        {"slow_percent": "slow", "rest_percent": "rest", "lift": "times"},
        truth=lambda asked: rows(frame_rows(asked.history.common(slowest=10, last=LAST, **measure).frame)),
        words=("common",),
        options=lambda asked: ("--slowest", "10", *WINDOW, *(f"--{key}={measure[key]}" for key in measure)),
        key=lambda row: (row["attribute"], str(row["value"])),
        printed_key=lambda table, row: (cell_of(table, row, "attribute"), cell_of(table, row, "value")),
        others={
            "api": lambda asked: rows(asked.api("common", slowest=10, last=LAST, **measure)["rows"]),
            "page": lambda asked: common_of_page(asked, **measure),
        },
        part=("page",),  # a few of those that may be chance
    )
    return question


def middle_of(asked: Asked) -> float:
    """Return when the later half of the sessions begins."""
    starts = sorted(each.start_time for each in asked.sessions)
    return starts[len(starts) // 2] if starts else asked.now


def hits_of_page(asked: Asked) -> Rows:
    titles = {"effect": "Moved", "rest_effect": "All others", "before_n": "Runs before", "after_n": "Since"}
    page = asked.page("/hits", at=middle_of(asked), last=LAST)
    if not page.tables and "five runs on both sides" not in page.text:
        raise RefusedError(page.text[:200])
    return {
        (cell_of(table, row, "Attribute"), cell_of(table, row, "Value")): {
            name: shown(cell_of(table, row, title)) for name, title in titles.items()
        }
        for table in page.tables
        for row in table.rows
    }


HITS = Question(
    "hits",
    {"effect": "moved", "rest_effect": "others", "before_n": "runs before", "after_n": "runs since"},
    truth=lambda asked: HITS.of_rows(frame_rows(asked.history.hits(middle_of(asked), last=LAST).frame)),
    words=("hits",),
    options=lambda asked: (f"{middle_of(asked)!r}", *WINDOW),
    key=lambda row: (row["attribute"], str(row["value"])),
    printed_key=lambda table, row: (cell_of(table, row, "attribute"), cell_of(table, row, "value")),
    others={
        "api": lambda asked: HITS.of_rows(asked.api("hits", at=middle_of(asked), last=LAST)["rows"]),
        "page": hits_of_page,
    },
    part=("page",),  # those that moved most beside the others
)
COMMON = about_common("common")
COMMON_OF_COST = about_common("common of cost", measure="cost_usd")

VIOLATIONS = Question(
    "violations",
    {"value": "value", "limit": "limit", "excess_percent": "beyond"},
    truth=lambda asked: VIOLATIONS.of_rows(frame_rows(asked.history.violations(last=LAST))),
    words=("violations",),
    options=lambda asked: WINDOW,
    key=lambda row: (row["session_id"], label(row)),
    printed_key=lambda table, row: (
        cell_of(table, row, "session"), cell_of(table, row, "step").partition(",")[0]
    ),
    others={"api": lambda asked: VIOLATIONS.of_rows(asked.api("violations", last=LAST)["rows"])},
    part=("text",),  # of many the newest
)  # fmt: skip

THRESHOLDS = Question(
    "thresholds",
    {"n": "n", "p50": "p50", "p95": "p95", "max": "slowest", "limit": "limit", "flagged": ""},
    truth=lambda asked: THRESHOLDS.of_rows(frame_rows(asked.history.suggest_thresholds(last=LAST))),
    words=("thresholds", "suggest"),
    options=lambda asked: WINDOW,
    key=step_key,
    printed_key=lambda table, row: (table.title.split("\n")[-1], cell_of(table, row, "step")),
)

# --- alerts and rules -----------------------------------------------------------------------------------


def alerts_of_page(asked: Asked) -> Rows:
    """Read the list of alerts: each item says what moved, and from which value to which."""
    found: Rows = {}
    page = asked.page("/alerts", state="all", limit=200)
    for item in page.items:
        match = re.search(
            r"(\S+ (?:µs|ms|s|%)|\d+ min \d\d s) → (\S+ (?:µs|ms|s|%)|\d+ min \d\d s)", item.text
        )
        row: dict[str, Any] = {}
        if match:
            row = {"baseline": number(match[1]), "value": number(match[2])}
        found[(item.key.removeprefix("alert-"),)] = row
    return found


ALERTS = Question(
    "alerts",
    {"effect": "effect", "value": "", "baseline": "", "state": "", "n": "", "severity": "severity"},
    truth=lambda asked: ALERTS.of_rows(frame_rows(asked.history.alerts("all"))),
    words=("alerts", "list"),
    options=lambda asked: ("--state", "all"),
    key=lambda row: (str(int(row["id"])),),
    printed_key=lambda table, row: (cell_of(table, row, "id"),),
    others={
        "api": lambda asked: ALERTS.of_rows(asked.api("alerts", state="all", limit=200)["rows"]),
        "page": alerts_of_page,
    },
)


def rules_of_page(asked: Asked) -> Rows:
    return {
        (cell_of(table, row, "Rule").partition(" ")[0].rstrip(","),): {
            "state": cell_of(table, row, "State"), "alerts": number(cell_of(table, row, "Alerts"))
        }
        for table in asked.page("/rules").tables
        for row in table.rows
        if len(row) > 1  # the others say whose the rules below are
    }  # fmt: skip


def rules_of_text(asked: Asked) -> Rows:
    """Read the table of rules; what is allowed above a baseline is told with its sign, a share in percent."""
    found = {}
    for table in printed_tables(asked.command("rules").out):
        for row in table.rows:
            limit = cell_of(table, row, "limit")
            allowed = shown(limit)
            if limit.endswith("%") and not limit.startswith("+"):
                allowed = replace(allowed, value=allowed.value / 100, within=allowed.within / 100)
            found[cell_of(table, row, "rule"),] = {
                "state": cell_of(table, row, "state"),
                "alerts": blank_is_zero("alerts", shown(cell_of(table, row, "alerts"))),
                "percent" if limit.startswith("+") else "limit": allowed,
            }
    return found


RULES = Question(
    "rules",
    {"state": "state", "alerts": "alerts", "limit": "limit", "percent": ""},
    truth=lambda asked: RULES.of_rows(asked.json("rules")),
    words=("rules",),
    key=lambda row: (row["rule"],),
    others={
        "text": rules_of_text,
        "api": lambda asked: RULES.of_rows(asked.api("rules")["rows"]),
        "page": rules_of_page,
    },
)
