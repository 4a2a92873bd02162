"""Every rule with its state, and what one would have flagged."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.rules import kind_of
from perfdb.analysis.series import Series
from perfdb.history.access import side_by_side
from perfdb.pages import svg
from perfdb.text import counted
from perfdb.web import drawing, queries
from perfdb.web.answers import rules as of_rules
from perfdb.web.answers import trends as of_trends
from perfdb.web.bar import asked
from perfdb.web.schemas import AlertRow, SeriesName, TrendAnswer
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
    answer, weeks, newest = side_by_side(
        history,
        lambda: of_rules.rules(history, query),
        lambda: of_rules.weeks(history, query),
        lambda: of_rules.newest(history, query),
    )
    return page(
        request,
        "rules.html",
        "Rules",
        answer=answer,
        weeks=weeks,
        newest=newest,
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
    searches = kind_of(answer.rule.kind).by_change_points
    lines = {id(then): svg.sparkline(then.values, then.limit, then.places) for _, then in rows if then}
    alert: AlertRow | None = None
    trend: TrendAnswer | None = None
    if searches and telling:
        rung = sorted(alerts, key=lambda each: not each.is_open)
        newest = ((each, row) for each in rung for row in rows if _same(row[0], each))
        alert, first = next(newest, (None, telling[0]))
        telling = [first, *(row for row in telling if row[0] is not first[0])]
        trend, drawn = _as_judged(history, answer.rule.metric, [each for each, _ in telling], rung)
        lines = {id(each): line for (each, _), line in zip(telling, drawn, strict=True)}
    shown = {id(each) for each, _ in telling}
    return page(
        request,
        "rule.html",
        "Rules",
        answer=answer,
        alerts=alerts,
        searches=searches,
        line_of=lambda each, then: lines.get(id(each if searches else then), ""),
        trend=trend,
        trend_alert=alert,
        chart=""
        if trend is None
        else drawing.trend(trend, marks=[] if alert is None else [alert.since_time]),
        telling=telling,
        others=[row for row in rows if id(row[0]) not in shown],
        unit_of=_units(history, answer.rule),
        bar_action=request.url.path,
    )


def _same(one: SeriesName, other: SeriesName | Series) -> bool:
    return (one.pipeline, one.step_name, one.mode) == (other.pipeline, other.step_name, other.mode)


def _as_judged(
    history: ServedHistory,
    metric: str,
    verdicts: Sequence[of_rules.RuleVerdict],
    alerts: Sequence[AlertRow],
) -> tuple[TrendAnswer, list[str]]:
    """Return the runs of the first series, and a line of those of each: from well before an alert of it.

    A dot on a line is where that began.
    """
    begun = [next((each.since_time for each in alerts if _same(each, verdict)), None) for verdict in verdicts]
    found = of_rules.judged_runs(history, metric, verdicts, begun)
    lines = []
    for runs, since in zip((each.measured.good for each in found), begun, strict=True):
        place = len(runs) if since is None else bisect_left(runs.start_times, since)
        lines.append(svg.sparkline(runs.values, None, [place] if 0 < place < len(runs) else []))
    return of_trends.of_runs(history, found[0], measure_of(history, metric)), lines


def _units(history: ServedHistory, rule: of_rules.RuleRow) -> dict[str, str]:
    """Return what stands behind the name of each number that can be tried."""
    unit = "share" if kind_of(rule.kind).finds == "failures" else measure_of(history, rule.metric).unit
    return {"limit": f" ({unit})" if unit else "", "percent": " (%)", "target": " (share)"}
