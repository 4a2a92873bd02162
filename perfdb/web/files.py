"""What a page shows, as a file: its rows as CSV, its sessions as a report, asked as the page is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from perfdb.errors import NotFoundError
from perfdb.history.forms import csv_of
from perfdb.measures import DURATION
from perfdb.text import inert
from perfdb.web import queries
from perfdb.web.answers import alerts as of_alerts
from perfdb.web.answers import bottlenecks as of_bottlenecks
from perfdb.web.answers import common as of_common
from perfdb.web.answers import compare as of_compare
from perfdb.web.answers import overview as of_overview
from perfdb.web.answers import rules as of_rules
from perfdb.web.answers import sessions as of_sessions
from perfdb.web.answers import trends as of_trends
from perfdb.web.bar import BarRoute, asked
from perfdb.web.served import ServedHistory
from perfdb.web.views.bottlenecks import bottlenecks_query
from perfdb.web.views.common import common_query, hits_query
from perfdb.web.views.compare import compare_query
from perfdb.web.views.sessions import sessions_query

router = APIRouter(include_in_schema=False, route_class=BarRoute)

_NOT_OF_SESSIONS = ("columns", "measure", "step", "factor")  # what pages with a report ask beside
MOST_REPORTED = 100  # sessions in the report of a page; the command line makes larger ones

_ROWS: dict[str, Callable[[ServedHistory, Request], Sequence[Any]]] = {
    "": lambda history, request: (
        of_overview.overview(history, asked(queries.OverviewQuery, request), counts=False).pipelines
    ),
    "sessions": lambda history, request: of_sessions.all_rows(history, sessions_query(request)),
    "trends": lambda history, request: of_trends.runs(history, asked(queries.TrendQuery, request)),
    "bottlenecks": lambda history, request: (
        of_bottlenecks.bottlenecks(history, bottlenecks_query(request)).rows
    ),
    "compare": lambda history, request: of_compare.compare(history, compare_query(request)).rows,
    "common": lambda history, request: of_common.common(history, common_query(request)).rows,
    "hits": lambda history, request: of_common.hits(history, hits_query(request)).rows,
    "alerts": lambda history, request: (
        of_alerts.alert_page(
            history, asked(queries.AlertsQuery, request, "limit", limit=queries.MOST_ON_A_PAGE)
        ).rows
    ),
    "rules": lambda history, request: of_rules.rules(history, asked(queries.RulesQuery, request)).rows,
}
"""The rows that a page is about, by its path: what its CSV holds."""


@router.get("/csv")
@router.get("/csv/{name}")
def get_csv(request: Request, name: str = "") -> Response:
    """Return what a page shows as CSV, every row of it."""
    if name not in _ROWS:
        raise NotFoundError(f"there is no CSV of {inert(name)!r}; there is of {', '.join(_ROWS).strip(', ')}")
    found = [
        row if isinstance(row, dict) else row.model_dump() if isinstance(row, BaseModel) else asdict(row)
        for row in _ROWS[name](request.app.state.history, request)
    ]
    for row in found:
        row.update(row.pop("more", {}))
    columns = list(dict.fromkeys(key for row in found for key in row))
    cells = ([_cell(row.get(column)) for column in columns] for row in found)
    return _file(b"".join(csv_of(columns, cells)), "text/csv", f"perfdb-{name or 'overview'}.csv")


def _cell(value: object) -> object:
    return json.dumps(value, default=str) if isinstance(value, list | dict | tuple) else value


def _file(content: bytes, kind: str, name: str) -> Response:
    return Response(
        content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.get("/report")
def get_report(request: Request) -> Response:
    """Return the sessions that a page is about as one file to send to somebody."""
    history: ServedHistory = request.app.state.history
    measure = request.query_params.get("measure") or DURATION.name
    if session_id := request.query_params.get("session"):
        report = history.report(session_id, measure=measure)
    else:
        query = asked(queries.SessionsQuery, request, *_NOT_OF_SESSIONS)
        last = min(query.last or MOST_REPORTED, MOST_REPORTED)
        report = history.report(measure=measure, last=last, **query.filters())
    return _file(report.html.encode("utf-8", "backslashreplace"), "text/html", "perfdb-report.html")
