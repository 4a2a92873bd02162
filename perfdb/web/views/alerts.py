"""Alerts of a state, and one alert with what can be done."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.rules import kind_of
from perfdb.history.access import side_by_side
from perfdb.store.alerts import AlertEvent
from perfdb.vocabulary import ACKNOWLEDGED, EXPECTED, FALSE_ALARM, HISTORIC, RESOLVED
from perfdb.web import drawing, queries
from perfdb.web.answers import alerts as of_alerts
from perfdb.web.answers import overview as of_overview
from perfdb.web.answers import trends as of_trends
from perfdb.web.bar import asked
from perfdb.web.health import firing, health, sentences
from perfdb.web.queries import AlertId
from perfdb.web.schemas import AlertRow
from perfdb.web.views.asking import in_python
from perfdb.web.views.page import firing_count, page, page_router

router = page_router()

STATES = ("open", ACKNOWLEDGED, RESOLVED, EXPECTED, FALSE_ALARM, HISTORIC, "all")


@router.get("/alerts")
def get_alerts(request: Request) -> HTMLResponse:
    """Show alerts of a state."""
    history = request.app.state.history
    query = asked(queries.AlertsQuery, request)
    if query.state == "open" and "limit" not in query.model_fields_set:
        query = query.model_copy(update={"limit": queries.MOST_ON_A_PAGE})  # one page to decide on
    answer, found, moves, now = side_by_side(
        history,
        lambda: of_alerts.alert_page(history, query),
        lambda: of_alerts.open_alerts(history),
        lambda: of_alerts.moves(history),
        # the sentence of the first page, whatever it says of the runs
        lambda: of_overview.overview(history, counts=False, spends=False),
    )
    opened = [AlertRow.from_records(each) for each in found]
    urgent = firing(answer.rows) if query.state == "open" else answer.rows
    asked_for = {alert.id for alert in urgent}
    return page(
        request,
        "alerts.html",
        "Alerts",
        shares=("csv",),
        firing_count=firing_count(opened),
        answer=answer,
        snippet=in_python("alerts", request, state=query.state, last=None),
        groups=of_alerts.by_cause(urgent)
        if query.state == "open"
        else [of_alerts.Together("", of_alerts.after_their_speakers(urgent))],
        others=[alert for alert in answer.rows if alert.id not in asked_for],
        health=health(
            opened, now.live, now.series, of_lake=history.is_lake, moved=[each.alert for each in moves]
        ),
        moves=[] if opened or query.state != "open" else moves,
        state=query.state,
        states=STATES,
    )


@router.get("/alerts/{alert_id}")
def get_alert(request: Request, alert_id: AlertId) -> HTMLResponse:
    """Show one alert with what happened to it, and what can be done."""
    history = request.app.state.history
    answer = of_alerts.alert(history, alert_id)
    alert = answer.alert
    limits = [alert.limit] if alert.limit is not None and kind_of(alert.kind).draws_limit else []
    of_failures = kind_of(alert.kind).looks_at == "failed"
    trend = None if of_failures else of_trends.around_alert(history, alert, limits)
    rate = of_trends.rate_around(history, alert) if of_failures else None
    rate_chart = "" if rate is None else drawing.rate(rate, alert.limit, alert.since_time)
    return page(
        request,
        "alert.html",
        "Alerts",
        answer=answer,
        snippet=f"perfdb.History().alert({alert_id})",
        limits=limits,
        events=_newest_first(answer.events),
        trend=trend,
        rate=rate,
        of_failures=of_failures,
        rate_chart=rate_chart,
        chart="" if trend is None else drawing.trend(trend, limits, [alert.since_time]),
        sentences=sentences(answer.alert),
    )


def _newest_first(events: Sequence[AlertEvent]) -> list[tuple[AlertEvent, int]]:
    """Return the events, the newest first; of equal ones in a row the newest, with their number."""
    found: list[tuple[AlertEvent, int]] = []
    for event in reversed(events):
        if found and (event.event, event.note) == (found[-1][0].event, found[-1][0].note):
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((event, 1))
    return found
