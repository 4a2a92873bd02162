"""What the steps cost, and what a faster one would bring."""

from __future__ import annotations

import json

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.errors import NotFoundError
from perfdb.history.access import side_by_side
from perfdb.text import inert
from perfdb.web import queries
from perfdb.web.answers import bottlenecks as of_bottlenecks
from perfdb.web.answers import recorded as of_recorded
from perfdb.web.bar import asked, bar_of, key_of
from perfdb.web.views.asking import in_python, measure_of, whole_window
from perfdb.web.views.page import MOST_ROWS, by_kind, page, page_router
from perfdb.web.words import link

router = page_router()

MOST_REPLAYED = 2_000  # sessions of each pipeline whose schedules are replayed
FACTOR = 0.5


@router.get("/bottlenecks")
def get_bottlenecks(request: Request) -> HTMLResponse:
    """Show what the steps cost, and what a faster one would bring."""
    history = request.app.state.history
    bar = bar_of(request)
    query = bottlenecks_query(request)
    answer, measures = side_by_side(
        history,
        lambda: of_bottlenecks.bottlenecks(history, query),
        lambda: of_recorded.offered(history),
    )
    steps = [row for row in answer.rows if row.kind == "step"]
    kinds = by_kind(answer.rows)
    offered = steps[:MOST_ROWS]
    step = request.query_params.get("step")
    wanted = key_of(step, 3) if step else None
    chosen = next((row for row in steps if wanted in (None, _choice(row))), None)
    what_if = None
    if chosen is None and wanted is not None and steps:
        raise NotFoundError(f"none of these sessions has the step {inert(str(wanted[1]))!r} of this choice")
    if chosen is not None and chosen.measure == "duration":
        what_if = of_bottlenecks.what_if(history, _what_if_query(request, chosen))
    return page(
        request,
        "bottlenecks.html",
        "Bottlenecks",
        shares=("csv", "report"),
        answer=answer,
        given=query,
        filtered=bool(bar.given) or query.measure is not None,
        snippet=in_python("bottlenecks", request, measure=query.measure, last=query.last),
        groups=kinds,
        worst=steps[0] if steps else None,
        choices=[] if what_if is None else offered if chosen in offered else [*offered, chosen],
        offered=measures,
        label=measure_of(history, query.measure).words,
        most_rows=MOST_ROWS,
        many_kinds=len(kinds) > 1,
        choice_key=lambda row: json.dumps(_choice(row)),
        chosen=None if chosen is None else json.dumps(_choice(chosen)),
        what_if=what_if,
        factor=FACTOR if what_if is None else what_if.factor,
        data=link(
            "/api/v1/what-if",
            **{name: value for name, value in bar.asked.items() if name not in ("pipeline", "mode")}
            | {"last": query.last, "within": bar.mode},
        ),
    )


def bottlenecks_query(request: Request) -> queries.BottlenecksQuery:
    """Return what is asked about bottlenecks."""
    return asked(queries.BottlenecksQuery, request, "step", "factor", **whole_window(request, MOST_REPLAYED))


def _what_if_query(request: Request, chosen: of_bottlenecks.Bottleneck) -> queries.WhatIfQuery:
    """Return what is asked about a faster step."""
    return asked(
        queries.WhatIfQuery,
        request,
        "step",
        "factor",
        "measure",
        pipeline=chosen.pipeline,
        mode=chosen.mode,
        step=chosen.step_name,
        factor=request.query_params.get("factor") or FACTOR,
        within=bar_of(request).mode,
        **whole_window(request, MOST_REPLAYED),
    )


def _choice(row: of_bottlenecks.Bottleneck) -> list[str | None]:
    return [row.pipeline, row.step_name, row.mode]
