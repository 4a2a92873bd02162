"""What slow runs have in common, and whom a move hits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.compare import FACTS as FACTS_OF_RUNS
from perfdb.errors import NotFoundError, PerfdbError, StoreError
from perfdb.history.access import side_by_side
from perfdb.pages import svg
from perfdb.web import queries
from perfdb.web.answers import alerts as of_alerts
from perfdb.web.answers import common as of_common
from perfdb.web.answers import recorded as of_recorded
from perfdb.web.bar import asked, bar_of, moment_in
from perfdb.web.schemas import AlertRow
from perfdb.web.served import ServedHistory
from perfdb.web.views.asking import as_said, in_python, measure_of, moments, tried, typed_moment, whole_window
from perfdb.web.views.page import page, page_router, same_question

router = page_router()

MOST_MOVES = 8  # whose hits can be asked about with a click
MOST_OF_ATTRIBUTE = 3  # values that moved no more than others
SLOW_SHOWN = 12  # runs of those that have something in common


@router.get("/common")
def get_common(request: Request) -> HTMLResponse:
    """Show what slow runs have in common."""
    history = request.app.state.history
    bar = bar_of(request)
    query = common_query(request)
    answer, problem = None, ""
    try:
        answer = of_common.common(history, query)
    except PerfdbError as error:  # the form stays, so that it can be asked again
        if isinstance(error, StoreError) or (isinstance(error, NotFoundError) and bar.pipelines):
            raise
        problem = str(error)
    rows = [] if answer is None else answer.rows
    newest = [] if answer is None else answer.slow_session_ids[: -SLOW_SHOWN - 1 : -1]
    return page(
        request,
        "common.html",
        "In common",
        shares=("csv",),
        answer=answer,
        problem=problem,
        given=query,
        part={name: request.query_params.get(name, "") for name in ("slow_since", "slow_until")},
        has_sessions=bool(bar.pipelines),
        runs=of_common.runs_of(history, newest),
        snippet=in_python(
            "common",
            request,
            slowest=query.slowest,
            over=query.over,
            between=_part_in_python(request, query),
            step=query.step,
            measure=query.measure,
            last=query.last,
        ),
        linked={
            row.attribute
            for row in rows
            if row.attribute not in FACTS_OF_RUNS and "(UTC)" not in row.attribute
        },
    )


def common_query(request: Request) -> queries.CommonQuery:
    """Return what is asked about slow runs."""
    part = moments(request, "slow_since", "slow_until")
    return asked(
        queries.CommonQuery,
        request,
        "slow_since",
        "slow_until",
        **whole_window(request),
        **part,
    )


def _part_in_python(request: Request, query: queries.CommonQuery) -> tuple[Any, Any] | None:
    since, until = (
        as_said(request.query_params.get(name), getattr(query, name)) for name in ("slow_since", "slow_until")
    )
    if since is None and until is None:
        return None
    return (since or 0, until or int(of_common.FAR))


@router.get("/hits")
def get_hits(request: Request) -> HTMLResponse:
    """Show whom a move hits."""
    history = request.app.state.history
    query = hits_query(request)
    answer, problem, status = tried(lambda: of_common.hits(history, query))
    if status == 400 and not query.at:
        problem, status = "", 200  # nothing was asked yet
    rows = [] if answer is None else _of_each_attribute(answer.rows)
    return page(
        request,
        "hits.html",
        "In common",
        status=status,
        bar_action="/hits",
        answer=answer,
        problem=problem,
        given=query,
        at=typed_moment(request, "at"),
        began=moment_in(request, "at"),
        rows=rows,
        most=svg.scale_of([(row.effect, row.low, row.high) for row in rows]),
        moved_before=[] if query.at else _known_moves(history, query),
        offered=of_recorded.offered(history),
        marks=bar_of(request).marks,
        better=measure_of(history, query.measure).better,
        unit="points" if query.failures else "%",
        table_as_csv=same_question(request, "/csv/hits"),
        snippet=""
        if answer is None
        else in_python(
            "hits",
            request,
            at=as_said(request.query_params.get("at"), query.at),
            step=query.step,
            measure=query.measure,
            failures=query.failures or None,
            last=query.last,
        ),
    )


def hits_query(request: Request) -> queries.HitsQuery:
    """Return what is asked about a move."""
    return asked(queries.HitsQuery, request, "at", **moments(request, "at"), **whole_window(request))


def _of_each_attribute(rows: Sequence[of_common.Hit]) -> list[of_common.Hit]:
    """Return the values that surely moved more, and the first few of each attribute."""
    shown: list[of_common.Hit] = []
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.attribute] += 1
        if row.sure or counts[row.attribute] <= MOST_OF_ATTRIBUTE:
            shown.append(row)
    return shown


def _known_moves(history: ServedHistory, query: queries.HitsQuery) -> list[AlertRow]:
    """Return moves that can be asked about: those that alerts are open for, then those of the past."""
    now, before = side_by_side(
        history,
        lambda: of_alerts.open_alerts(history, query.pipeline, query.mode),
        lambda: of_alerts.moves(history, query.pipeline, query.mode),
    )
    every = [*map(AlertRow.from_records, now), *(each.alert for each in before)]
    return [each for each in every if each.kind != "anomaly"][:MOST_MOVES]
