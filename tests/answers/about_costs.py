"""Bottlenecks, comparisons and explanations: what the steps cost, and what costs more than before."""

from __future__ import annotations

import re
from typing import Any

from perfdb.text import as_it_ran
from tests.answers.numbers import number
from tests.answers.pages import Page
from tests.answers.questions import (
    LAST,
    REFUSED,
    WINDOW,
    Question,
    Rows,
    below_kind,
    cell_of,
    frame_rows,
    label,
    numbered,
    of_page,
    shown,
    step_key,
    typed,
)  # fmt: skip
from tests.answers.surfaces import Asked, RefusedError

BY = {
    "two_modes": ("fast_mode", "false", "true"),
    "split": ("customer", "bolt", "acme"),
    "nested": ("git_commit", "0a1b2c3d4e", "badc0ffee0"),
}

# --- bottlenecks ----------------------------------------------------------------------------------------

COSTS = {
    "critical_s": "critical", "share_percent": "share", "variance_percent": "variance", "busy_s": "busy",
    "gain_x2_s": "gain at ×2", "gain_max_s": "gain at most",
}  # fmt: skip
COSTS_OF_PAGE = {
    "critical_s": "Critical", "share_percent": "Share", "busy_s": "Busy", "gain_max_s": "If it took no time",
    "gain_x2_s": "Gain if 2 × as fast", "variance_percent": "Share of variance",
}  # fmt: skip


def bottlenecks_of_page(asked: Asked) -> Rows:
    found: Rows = {}
    for table in asked.page("/bottlenecks", last=LAST).tables:
        for key, row in of_page(COSTS_OF_PAGE, table, (table.title,)).items():
            found[numbered(found, key)] = row
    return found


def bottlenecks_of_chart(asked: Asked) -> Rows:
    figure = asked.chart("bottlenecks", last=LAST)
    found: Rows = {}
    for axes in figure.axes:
        names = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
        bars = [text.get_text() for text in axes.texts]
        context = figure.texts[1].get_text()
        kind = next(
            key[0] for key in sorted(BOTTLENECKS.truth(asked), key=lambda key: -len(key[0]))
            if context.startswith(key[0])
        )  # fmt: skip
        for name, critical, busy in zip(names, bars, bars[len(names) :], strict=False):
            share = re.search(r"\((.*)\)", critical)
            assert share is not None
            found[numbered(found, (kind, re.sub(r" \(in .*", "", name)))] = {
                "critical_s": number(critical), "share_percent": number(share[1]), "busy_s": number(busy)
            }  # fmt: skip
    return found


def what_if_of_api(asked: Asked) -> Rows:
    found: Rows = {}
    for row in asked.api("bottlenecks", last=LAST)["rows"]:
        if row["kind"] == "other":
            continue
        answer = asked.api(
            "what-if",
            step=row["step_name"],
            factor=0.5,
            mode=row["mode"],
            pipeline=row["pipeline"],
            last=LAST,
        )
        found[numbered(found, step_key(row))] = {"gain_x2_s": answer["gain_s"]}
    return found


BOTTLENECKS = Question(
    "bottlenecks",
    COSTS,
    truth=lambda asked: BOTTLENECKS.of_rows(frame_rows(asked.history.bottlenecks(last=LAST))),
    words=("bottlenecks",),
    options=lambda asked: WINDOW,
    key=step_key,
    printed_key=below_kind,
    others={
        "api": lambda asked: BOTTLENECKS.of_rows(asked.api("bottlenecks", last=LAST)["rows"]),
        "page": bottlenecks_of_page,
        "chart": bottlenecks_of_chart,
        "what-if": what_if_of_api,
    },
    part=("chart", "what-if"),
)


# --- two sessions, two groups ---------------------------------------------------------------------------

SIDES = {
    "a_s": "before", "b_s": "after", "difference_s": "more", "difference_percent": "",
    "critical_difference_s": "more on critical path",
}  # fmt: skip


def refused_page(page: Page) -> Page:
    if not page.tables:
        raise RefusedError(page.text[:200])
    return page


def pair_of_page(asked: Asked) -> Rows:
    table = refused_page(asked.page("/compare", a="last~1", b="last")).table("Step by step")
    before, after = table.titles[1:3]
    columns = {"difference_s": "Difference", "difference_percent": "Percent"}
    columns |= {"a_s": before, "critical_difference_s": "On the critical path"}
    columns |= {"b_s": after} if after != before else {}
    return of_page(columns, table, ())


def pair_of_chart(asked: Asked) -> Rows:
    found: Rows = {}
    for axes in asked.chart("compare", "last~1", "last").axes:
        names = [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()]
        texts = [text.get_text().replace("±0", "0 s") for text in axes.texts][2 * len(names) : 3 * len(names)]
        for name, difference in zip(names, texts, strict=True):
            found[numbered(found, (name,))] = {"critical_difference_s": shown(difference)}
    return found


PAIR = Question(
    "pair",
    SIDES,
    truth=lambda asked: PAIR.of_rows(frame_rows(asked.history.compare("last~1", "last").frame)),
    words=("compare",),
    options=lambda asked: ("last~1", "last"),
    rows="steps",
    key=lambda row: (label(row),),
    printed_key=lambda table, row: (cell_of(table, row, "step"),),
    others={
        "api": lambda asked: PAIR.of_rows(asked.api("compare", a="last~1", b="last")["rows"]),
        "page": pair_of_page,
        "chart": pair_of_chart,
    },
)

GROUPS_SHOWN = {
    "a_n": "n", "b_n": "n#1", "a_median": "", "b_median": "", "difference_s": "more",
    "difference_percent": "", "low_s": "", "high_s": "",
}  # fmt: skip


def by(asked: Asked) -> dict[str, str]:
    name, a, b = BY.get(asked.name, ("customer", "bolt", "acme"))
    return {"by": name, "a": a, "b": b}


def groups_truth(asked: Asked) -> Rows:
    name, a, b = by(asked).values()
    values = (a == "true", b == "true") if name == "fast_mode" else (a, b)
    return GROUPS.of_rows(frame_rows(asked.history.compare(*values, by=name, last=LAST).frame))


def groups_of_page(asked: Asked) -> Rows:
    page = refused_page(asked.page("/compare", **by(asked), last=LAST))
    found: Rows = {}
    for table in page.tables:
        for row in table.rows:
            before, _, after = cell_of(table, row, "Runs").partition(" · ")
            low, _, high = cell_of(table, row, "95 % interval").partition(" to ")
            found[numbered(found, (table.title, row[0]))] = {
                "a_n": number(before), "b_n": number(after), "low_s": shown(low), "high_s": shown(high),
                "a_median": shown(row[1]), "b_median": shown(row[2]), "difference_s": shown(row[4]),
            }  # fmt: skip
    return found


GROUPS = Question(
    "groups",
    GROUPS_SHOWN,
    truth=groups_truth,
    words=("compare",),
    options=lambda asked: (by(asked)["a"], by(asked)["b"], "--by", by(asked)["by"], *WINDOW),
    rows="steps",
    key=step_key,
    printed_key=below_kind,
    others={
        "api": lambda asked: GROUPS.of_rows(asked.api("compare", **by(asked), last=LAST)["rows"]),
        "page": groups_of_page,
    },
)


# --- explain --------------------------------------------------------------------------------------------

EXCESS = {
    "seconds": "this run", "usual_s": "usually", "excess_s": "more", "percentile": "percentile", "n": "n",
}  # fmt: skip


def explained(rows: Any, whole: Any = None) -> Rows:
    """Return the rows of an explanation, with the session's own as the command prints them."""
    found = []
    for row in rows:
        seconds, usual_s = as_it_ran(row["cause"], row["n"], row["seconds"], row["usual_s"])
        n = None if row["usual_s"] is None else row["n"]
        found.append({**row, "seconds": seconds, "usual_s": usual_s, "n": n})
    if whole is not None:
        n = None if whole["usual_s"] is None else whole["n"]
        found.append({**whole, "step_name": "Total", "kind": "total", "seconds": whole["wall_s"], "n": n})
    return EXPLAIN.of_rows(found)


def explain_truth(asked: Asked) -> Rows:
    found = asked.history.explain("last")
    return explained(frame_rows(found.frame), vars_of(found))


def vars_of(found: Any) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("wall_s", "usual_s", "excess_s", "percentile", "n")}


def explain_of_api(asked: Asked) -> Rows:
    answer = asked.api("sessions/last")["explanation"]
    return explained(answer["rows"], answer)


def explain_of_json(asked: Asked) -> Rows:
    if asked.command("explain", "--json").code == 2:
        return REFUSED
    row = asked.json("explain")[0]
    return explained(row["steps"], row)


def explain_of_csv(asked: Asked) -> Rows:
    if asked.command("explain", "--csv").code == 2:
        return REFUSED
    return explained([typed(row) for row in asked.csv("explain")])


def explained_in(table: Any, titles: tuple[str, ...], n_is: str) -> Rows:
    found: Rows = {}
    for row in table.rows:
        percentile, _, n = cell_of(table, row, titles[-1]).partition(n_is)
        cells = [cell_of(table, row, title) for title in titles[:-1]]
        values = dict(zip(("seconds", "usual_s", "excess_s"), map(shown, cells), strict=True))
        if n:
            values |= {"percentile": shown(percentile), "n": shown(n)}
        found[numbered(found, (row[0],))] = values
    return found


def explain_of_page(asked: Asked) -> Rows:
    page = asked.page("/sessions/last")
    if not page.has("Why it took"):
        return {}
    titles = ("This run", "Usual", "Difference", "Percentile")
    return explained_in(page.table("Why it took"), titles, " n = ")


def explain_of_report(asked: Asked) -> Rows:
    page = asked.report("last")
    if not page.has("Beside its history"):
        return {}
    titles = ("this run", "usual", "more or less", "percentile")
    return explained_in(page.table("Beside its history"), titles, " (n = ")


EXPLAIN = Question(
    "explain",
    EXCESS,
    truth=explain_truth,
    words=("explain",),
    key=lambda row: (label(row),),
    printed_key=lambda table, row: (cell_of(table, row, "step"),),
    others={
        "json": explain_of_json, "csv": explain_of_csv, "api": explain_of_api,
        "page": explain_of_page, "report": explain_of_report,
    },
    part=("csv", "page", "report"),  # they have no row of the total
)  # fmt: skip
