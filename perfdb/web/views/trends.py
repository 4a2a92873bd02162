"""One series over time."""

from __future__ import annotations

import json

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.course import LEAST_FOR_MOVES
from perfdb.history.access import side_by_side
from perfdb.web import drawing, queries
from perfdb.web.answers import recorded as of_recorded
from perfdb.web.answers import trends as of_trends
from perfdb.web.bar import asked, bar_of
from perfdb.web.schemas import SeriesName
from perfdb.web.served import ServedHistory
from perfdb.web.views.asking import in_python
from perfdb.web.views.page import page, page_router
from perfdb.web.words import link

router = page_router()

MOST_MARKS = 20  # in words; the chart has all


@router.get("/trends")
def get_trends(request: Request) -> HTMLResponse:
    """Show one series over time."""
    query = asked(queries.TrendQuery, request)
    history: ServedHistory = request.app.state.history
    zone = bar_of(request).zone
    answer, offered = side_by_side(
        history, lambda: of_trends.trend(history, query, zone), lambda: of_recorded.offered(history)
    )
    series = answer.series
    limits = [limit.limit for limit in answer.limits]
    shown = {alert.id for alert in answer.alerts}
    return page(
        request,
        "trends.html",
        "Trends",
        shares=("csv",),
        answer=answer,
        alerts=[alert for alert in answer.alerts if alert.inhibited_by not in shown],
        offered=offered,
        series_key=_series_key,
        least_for_moves=LEAST_FOR_MOVES,
        most_marks=MOST_MARKS,
        of_series={} if series is None else of_series(series) | {"measure": query.measure},
        of_series_kind={} if series is None else {"pipeline": series.pipeline, "mode": series.mode},
        chart=drawing.trend(answer, limits, [each.start_time for each in answer.changes]),
        snippet=in_python("trends", request, step=query.step, measure=query.measure),
        data=link(
            "/api/v1/trends",
            **query.model_dump(exclude_unset=True, exclude={"pipeline", "step", "mode"}),
            **({} if series is None else of_series(series)),
        ),
        of=None if series is None else _series_key(series),
    )


def of_series(series: SeriesName) -> dict[str, str | None]:
    """Return a series as addresses name it."""
    return {"pipeline": series.pipeline, "step": series.step_name, "mode": series.mode}


def _series_key(series: SeriesName) -> str:
    return json.dumps([series.pipeline, series.step_name, series.mode])
