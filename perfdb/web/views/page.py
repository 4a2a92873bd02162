"""What every page is put into: bar, menu, links to the same as a file."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from perfdb.web.answers import alerts as of_alerts
from perfdb.web.bar import BarRoute, bar_or_none, saved_views
from perfdb.web.health import MOST_OPEN, Shown, firing
from perfdb.web.rendering import render
from perfdb.web.served import ServedHistory
from perfdb.web.words import keeping

PAGES = {
    "Overview": "/",
    "Sessions": "/sessions",
    "Trends": "/trends",
    "Bottlenecks": "/bottlenecks",
    "In common": "/common",
    "Compare": "/compare",
    "Alerts": "/alerts",
    "Rules": "/rules",
}
"""The pages that each page links to, by the names that they give ``page``."""

USUAL = {
    "Overview": "the newest runs",
    "Trends": "the last 500 runs",
    "Bottlenecks": "the last 100 of each pipeline",
    "In common": "the last 2,000 runs",
    "Compare": "the last 1,000 runs",
    "Rules": "the last 50 of each pipeline",
}
"""What a page shows while its address has no window; elsewhere everything."""

MOST_ROWS = 500  # of a table; the API has all


def page_router() -> APIRouter:
    """Return a router for pages; a module of this room has one of its own."""
    return APIRouter(include_in_schema=False, default_response_class=HTMLResponse, route_class=BarRoute)


def page(
    request: Request,
    template: str,
    name: str = "",
    *,
    status: int = 200,
    now: float | None = None,
    shares: Collection[str] = (),
    **context: Any,
) -> HTMLResponse:
    """Return a template with what every page knows; all of it is as of ``now``, and links keep the bar.

    ``shares`` says in which other forms its answer can be had: ``csv``, ``report``.
    """
    history: ServedHistory = request.app.state.history
    bar = bar_or_none(request)
    if "firing_count" not in context:
        context["firing_count"] = firing_count(of_alerts.open_alerts(history))
    with keeping(bar.window):
        html = render(
            template,
            page=name,
            pages=PAGES,
            bar=bar,
            usual=USUAL.get(name, "any time"),
            views=saved_views(history),
            as_csv=same_question(request, f"/csv{PAGES.get(name, '')}") if shares else "",
            as_report=same_question(request, "/report") if "report" in shares else "",
            own_button=False,
            now=time.time() if now is None else now,
            token=request.app.state.gate.change_token,
            database=history.database,
            of_lake=history.is_lake,
            **{"bar_action": PAGES.get(name, "/"), "snippet": "", **context},
        )
    return HTMLResponse(html, status)


def firing_count(opened: Sequence[Shown]) -> str:
    """Return how many of the open alerts that were looked at fire, as the menu says it."""
    count = len(firing(opened))
    return f"{count}{'+' if len(opened) >= MOST_OPEN else ''}" if count else ""


def same_question(request: Request, path: str) -> str:
    """Return the address that asks another path what a page was asked."""
    query = request.url.query
    return f"{path}?{query}" if query else path


def by_kind(rows: Iterable[Any]) -> list[tuple[tuple[str, str], list[Any]]]:
    """Return rows by pipeline and mode, in the order in which they come."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        found.setdefault((row.pipeline, row.mode_text), []).append(row)
    return list(found.items())
