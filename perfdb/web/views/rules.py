"""Every rule with its state, and what one would have flagged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.rules import kind_of
from perfdb.history.access import side_by_side
from perfdb.pages import svg
from perfdb.text import counted
from perfdb.web import queries
from perfdb.web.answers import rules as of_rules
from perfdb.web.bar import asked
from perfdb.web.served import ServedHistory
from perfdb.web.views.asking import in_python, measure_of
from perfdb.web.views.page import page, page_router

router = page_router()

MOST_TELLING = 20  # series that a rule flags; the others are folded
FEW_QUIET = 8  # that are shown if it flags none


@router.get("/rules")
def get_rules(request: Request) -> HTMLResponse:
    """Show every rule with its state."""
    history, query = request.app.state.history, asked(queries.RulesQuery, request)
    answer, weeks = side_by_side(
        history, lambda: of_rules.rules(history, query), lambda: of_rules.weeks(history, query)
    )
    return page(
        request,
        "rules.html",
        "Rules",
        answer=answer,
        weeks=weeks,
        columns_of={} if weeks is None else {name: _columns(each, weeks) for name, each in weeks.of.items()},
        shares=("csv",),
        snippet=in_python("violations", request),
    )


def _columns(counts: Sequence[int], weeks: of_rules.Weeks) -> str:
    """Return how many alerts of a rule began in each week, drawn as high as the most of any rule."""
    most = max(count for each in weeks.of.values() for count in each)
    starts = (weeks.begin + place * of_rules.WEEK_S for place in range(len(counts)))
    return svg.columns(
        [
            (count, f"{counted(count, 'alert')} in the week from {datetime.fromtimestamp(at, UTC):%d %b}")
            for count, at in zip(counts, starts, strict=True)
        ],
        most,
    )


@router.get("/rules/{name:path}")
def get_rule(request: Request, name: str) -> HTMLResponse:
    """Show what a rule says, and what it would have flagged."""
    history, query = request.app.state.history, asked(queries.RuleQuery, request)
    answer, alerts = side_by_side(
        history,
        lambda: of_rules.rule(history, name, query, searches=False),
        lambda: of_rules.raised(history, name, query),
    )
    past = {(each.pipeline, each.step_name, each.mode): each for each in answer.series}
    rows = [(each, past.get((each.pipeline, each.step_name, each.mode))) for each in answer.verdicts]
    telling = [(each, then) for each, then in rows if each.hit or (then is not None and then.flagged)]
    telling.sort(key=lambda row: (not row[0].hit, -row[1].flagged if row[1] else 0))
    telling = telling[:MOST_TELLING] or rows[:FEW_QUIET]
    shown = {id(each) for each, _ in telling}
    return page(
        request,
        "rule.html",
        "Rules",
        answer=answer,
        alerts=alerts,
        searches=kind_of(answer.rule.kind).by_change_points,
        telling=telling,
        others=[row for row in rows if id(row[0]) not in shown],
        unit_of=_units(history, answer.rule),
        bar_action=request.url.path,
    )


def _units(history: ServedHistory, rule: of_rules.RuleRow) -> dict[str, str]:
    """Return what stands behind the name of each number that can be tried."""
    unit = "share" if kind_of(rule.kind).finds == "failures" else measure_of(history, rule.metric).unit
    return {"limit": f" ({unit})" if unit else "", "percent": " (%)", "target": " (share)"}
