"""The pages: an answer each, put into a template. They work without a script; all state is in the address."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from perfdb.analysis.compare import FACTS as FACTS_OF_RUNS
from perfdb.analysis.compare import beyond_chance, certainty
from perfdb.analysis.rows import ExplainedStep
from perfdb.analysis.rules import kind_of
from perfdb.analysis.timeline import DEEPEST
from perfdb.analysis.trend_view import LEAST_FOR_MOVES
from perfdb.errors import NotFoundError, PerfdbError, StoreError, TimeLimitError
from perfdb.filters import parse_age
from perfdb.history.access import side_by_side
from perfdb.measures import configured, named
from perfdb.pages import svg
from perfdb.store.alerts import AlertEvent
from perfdb.text import counted, inert, mode_text
from perfdb.vocabulary import ACKNOWLEDGED, EXPECTED, FALSE_ALARM, HISTORIC, RESOLVED
from perfdb.web import drawing, queries
from perfdb.web.answers import alerts as of_alerts
from perfdb.web.answers import bottlenecks as of_bottlenecks
from perfdb.web.answers import common as of_common
from perfdb.web.answers import compare as of_compare
from perfdb.web.answers import overview as of_overview
from perfdb.web.answers import recorded as of_recorded
from perfdb.web.answers import rules as of_rules
from perfdb.web.answers import sessions as of_sessions
from perfdb.web.answers import trends as of_trends
from perfdb.web.answers.sessions import MOST_STEPS
from perfdb.web.bar import (
    NAMES,
    WINDOW,
    BarRoute,
    asked,
    bar_of,
    bar_or_none,
    key_of,
    moment_at_or_before,
    moment_in,
    saved_views,
)
from perfdb.web.health import INFO, MOST_OPEN, HealthSentence, Shown, firing, health, sentences
from perfdb.web.queries import AlertId
from perfdb.web.rendering import render
from perfdb.web.schemas import AlertRow, Overview, SeriesName, SeriesNow, SessionPage
from perfdb.web.served import ServedHistory
from perfdb.web.words import keeping, link

_Answer = TypeVar("_Answer")

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse, route_class=BarRoute)

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

EXPLAINED_AT_ONCE = 500  # steps of a session; more when it is asked
ROWS_SHOWN, STEPS_IN_TABLE = 120, 100  # of a session, without all=1
STEPS_UNFOLDED = 40  # of a session: the waterfall above the table has all
STEPS_SHOWN = 10  # on the first page, of each pipeline and mode
KINDS_IN_FULL = 3
STATES = ("open", ACKNOWLEDGED, RESOLVED, EXPECTED, FALSE_ALARM, HISTORIC, "all")
ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "slowest": "longest first",
    "fastest": "shortest first",
}
USUAL_COLUMNS = ("beside usual", "session id")  # of the list of sessions
MOST_IN_COMMON = MOST_COMPARED = 10_000  # sessions of a window
MOST_OF_WINDOW = 2_000  # sessions of each pipeline whose schedules are replayed
MOST_MARKS = 20  # in words; the chart has all
MOST_MOVES = 8  # whose hits can be asked about with a click
MOST_OF_ATTRIBUTE = 3  # values that moved no more than others
FACTOR = 0.5
SLOW_SHOWN = 12  # runs of those that have something in common
RECENT = 30  # sessions that are offered for a comparison
MOST_ROWS = 500  # of a table; the API has all


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
        context["firing_count"] = _firing_count(of_alerts.open_alerts(history))
    with keeping(bar.window):
        html = render(
            template,
            page=name,
            pages=PAGES,
            bar=bar,
            usual=USUAL.get(name, "any time"),
            views=saved_views(history),
            as_csv=_same_question(request, f"/csv{PAGES.get(name, '')}") if shares else "",
            as_report=_same_question(request, "/report") if "report" in shares else "",
            own_button=False,
            now=time.time() if now is None else now,
            token=request.app.state.gate.change_token,
            database=history.database,
            of_lake=history.is_lake,
            **{"bar_action": PAGES.get(name, "/"), "snippet": "", **context},
        )
    return HTMLResponse(html, status)


def _firing_count(opened: Sequence[Shown]) -> str:
    """Return how many of the open alerts that were looked at fire, as the menu says it."""
    count = len(firing(opened))
    return f"{count}{'+' if len(opened) >= MOST_OPEN else ''}" if count else ""


def _same_question(request: Request, path: str) -> str:
    query = request.url.query
    return f"{path}?{query}" if query else path


def in_python(method: str, request: Request, **arguments: object) -> str:
    """Return the question of a page as a line of Python; what the bar says is part of it."""
    bar = bar_of(request)
    given = {name: _as_said(bar.given.get(name), value) for name, value in bar.asked.items()}
    words = []
    for name, value in (
        {name: each for name, each in given.items() if name not in arguments} | arguments
    ).items():
        if value not in (None, [], {}):
            words.append(f"{name}={int(str(value)) if name == 'last' else repr(value)}")
    return f"perfdb.History().{method}({', '.join(words)})"


def _as_said(text: str | None, moment: Any) -> Any:
    """Return a moment as the address has it where Python means the same: the line asks the same tomorrow."""
    if text == "all":
        return 0
    try:
        parse_age(text or "")
    except ValueError:
        return moment
    return text


def error_page(request: Request, status: int, sentence: str, *, took_long: bool = False) -> HTMLResponse:
    """Return the page that says why there is no other, and what to do next."""
    if sentence == "Not Found":  # of the router, which does not say what
        sentence = f"No page has the address {request.url.path}. The pages are in the bar above."
    title = (
        "That took too long"
        if took_long
        else {
            400: "That cannot be answered",
            404: "There is no such thing here",
            422: "That cannot be answered",
            503: "The database does not answer",
        }.get(status, "Something went wrong")
    )
    return page(
        request, "problem.html", status=status, firing_count=0, title=title, sentence=sentence,
        back="/", back_word="To the overview", shorter=_in_days(request, 7) if took_long else "",
    )  # fmt: skip


def _in_days(request: Request, days: int) -> str:
    """Return the address of the same question about the newest days."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in WINDOW]
    return f"{request.url.path}?{urlencode([*kept, ('since', f'{days}d')])}"


@router.get("/")
def get_overview(request: Request) -> HTMLResponse:
    """Show health now."""
    query = asked(queries.OverviewQuery, request)
    history: ServedHistory = request.app.state.history
    answer, stale_modes, moves = side_by_side(
        history,
        lambda: of_overview.overview(history, query, counts=False),
        history.stale_modes,
        lambda: of_alerts.moves(history, query.pipeline, query.mode),
    )
    urgent = firing(answer.alerts)
    known = {alert.id for alert in urgent}
    others = [alert for alert in answer.alerts if alert.id not in known]
    return page(
        request,
        "overview.html",
        "Overview",
        shares=("csv", "report"),
        now=answer.live.now,
        firing_count=_firing_count(answer.alerts),
        answer=answer,
        health=_health_of(request, answer, moves),
        moves=moves,
        alerts=urgent,
        others=others,
        stale_modes=stale_modes,
        groups=_steps_now(answer.series),
        snippet=in_python("trends", request),
    )


def _health_of(request: Request, answer: Overview, moves: Sequence[of_alerts.Move]) -> HealthSentence:
    return health(
        answer.alerts,
        answer.live,
        answer.series,
        of_lake=request.app.state.history.is_lake,
        of_window=bar_of(request).is_timed,
        moved=[each.alert for each in moves],
    )


@router.get("/pipelines")
def get_pipelines(request: Request) -> RedirectResponse:
    """Go to the pipeline that the bar names, or to all of them."""
    bar = bar_of(request)
    given = {name: value for name, value in bar.given.items() if name != "pipeline"}
    path = "/" if bar.pipeline is None else f"/pipelines/{bar.pipeline}"
    return RedirectResponse(link(path, **given), 303)


@router.get("/pipelines/{pipeline:path}")
def get_pipeline(request: Request, pipeline: str) -> HTMLResponse:
    """Show how one pipeline does: what is slow in it, since when, and what happened."""
    history = request.app.state.history
    bar = bar_of(request)
    request.state.bar = replace(bar, given={**bar.given, "pipeline": pipeline})
    answer, moves = side_by_side(
        history,
        lambda: of_overview.overview(history, asked(queries.OverviewQuery, request), counts=False),
        lambda: of_alerts.moves(history, pipeline, bar.mode),
    )
    chosen = answer.pipelines[0].mode if answer.pipelines else bar.mode
    trend = of_trends.trend(history, asked(queries.TrendQuery, request, mode=chosen))
    series = trend.series
    return page(
        request,
        "pipeline.html",
        "Overview",
        snippet=in_python("trends", request),
        now=answer.live.now,
        bar_action="/pipelines",
        pipeline=pipeline,
        answer=answer,
        health=_health_of(request, answer, moves),
        moves=moves,
        alerts=answer.alerts,
        groups=[(kind, rows, 0) for kind, rows in _kinds(answer.series)],
        trend=trend,
        chart=drawing.trend(
            trend, [each.limit for each in trend.limits], [c.start_time for c in trend.changes]
        ),
        most_marks=MOST_MARKS,
        least_for_moves=LEAST_FOR_MOVES,
        of_series={} if series is None else _of_series(series),
        data=link(
            "/api/v1/trends",
            **{
                name: value
                for name, value in bar_of(request).asked.items()
                if name in ("since", "until", "last")
            },
            **({} if series is None else _of_series(series)),
        ),
    )


def _steps_now(series: Sequence[SeriesNow]) -> Iterator[tuple[tuple[str, str], list[SeriesNow], int]]:
    """Yield pipelines and modes with their costliest steps, and how many steps are left out.

    Of too many pipelines the later ones have their total and what an alert is about.
    """
    for place, (kind, rows) in enumerate(_kinds(series)):
        most = STEPS_SHOWN if place < KINDS_IN_FULL else 0
        shown = [row for number, row in enumerate(rows) if number <= most or row.alert_id is not None]
        yield kind, shown, len(rows) - len(shown)


@router.get("/sessions")
def get_sessions(request: Request) -> HTMLResponse:
    """Show a page of sessions."""
    try:
        query = sessions_query(request)
        columns = query.columns or list(USUAL_COLUMNS)
        extra = [name for name in columns if name not in USUAL_COLUMNS]
        history = request.app.state.history
        answer, summary = side_by_side(
            history,
            lambda: of_sessions.session_page(history, query.model_copy(update={"columns": extra})),
            lambda: of_sessions.summary(history, query),
        )
    except (StoreError, TimeLimitError):
        raise
    except (ValueError, PerfdbError) as error:  # the form stays as it was filled in
        return _sessions_asked_wrongly(request, error)
    own = query.model_dump(exclude={"after", "before", *NAMES}, exclude_defaults=True)
    given = {name: value for name, value in own.items() if value not in (None, [])}
    given |= dict(bar_of(request).given)
    return page(
        request,
        "sessions.html",
        "Sessions",
        answer=answer,
        shares=("csv", "report"),
        given=query,
        query=given,
        orders=ORDERS,
        filtered=bool(set(given) - {"sort", "limit", "columns"}),
        further=link("/sessions", **{**given, "until": answer.searched_since}),
        live=query.after is None and query.before is None,
        problem="",
        columns=columns,
        extra=extra,
        can_be_columns=[*USUAL_COLUMNS, *dict.fromkeys([*extra, *summary.attributes, *of_sessions.NOTED])],
        summary=summary,
        facets=list(_facets(summary, given)),
        histogram=svg.histogram(list(_histogram(summary, given))) if summary.bins else "",
        snippet=_sessions_in_python(request, query),
    )


def _sessions_in_python(request: Request, query: queries.SessionsQuery) -> str:
    """Return the line that lists these sessions; none of a text, which Python does not search."""
    if query.text:
        return ""
    line = in_python(
        "sessions",
        request,
        fast_mode=query.fast_mode,
        status=query.status,
        tag=query.tag,
        branch=query.branch,
        attribute=dict(pair.split("=", 1) for pair in query.attribute),
    )
    if query.search:
        line += f".query({f'session_id.str.startswith({query.search!r})'!r})"
    if query.sort in ("slowest", "fastest"):
        line += f".sort_values('total_duration', ascending={query.sort == 'fastest'})"
    return line


def sessions_query(request: Request) -> queries.SessionsQuery:
    """Return what the list of sessions is asked."""
    columns = [name for name in request.query_params.getlist("columns") if name.strip()]
    return asked(queries.SessionsQuery, request, "columns", **({"columns": columns} if columns else {}))


def _facets(
    summary: of_sessions.SessionsSummary, given: Mapping[str, Any]
) -> Iterator[tuple[str, list[tuple[str, int, str, bool]], int, int]]:
    """Yield a facet: words, number, address and whether it is chosen; how many more; of how many."""
    pairs: list[str] = given.get("attribute", [])
    for facet in summary.facets:
        values = []
        for each in facet.values:
            if facet.of_attributes:
                pair = f"{facet.name}={each.value}"
                chosen = pair in pairs
                others = [other for other in pairs if other != pair]
                change: dict[str, Any] = {"attribute": others if chosen else [*pairs, pair]}
            else:
                chosen = given.get(facet.name) == each.value
                change = {facet.name: None if chosen else each.value}
            words = (mode_text(each.value) or "none") if facet.name == "mode" else each.value
            values.append((words, each.n, link("/sessions", **{**given, **change}), chosen))
        of = summary.of_attributes if facet.of_attributes else summary.of
        yield facet.name, values, facet.hidden, of


def _histogram(
    summary: of_sessions.SessionsSummary, given: Mapping[str, Any]
) -> Iterator[tuple[int, int, str, str]]:
    kept = {name: value for name, value in given.items() if name not in WINDOW}
    for each in summary.bins:
        first, last = (datetime.fromtimestamp(at, UTC) for at in (each.start, each.end))
        title = f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC: {counted(each.n, 'session')}"
        title += f", {each.failed} failed" if each.failed else ""
        until = each.end + (1.0 if each is summary.bins[-1] else 0.0)  # which ends with its newest session
        window = {
            name: moment_at_or_before(at).isoformat()
            for name, at in (("since", each.start), ("until", until))
        }
        yield each.n, each.failed, title, link("/sessions", **{**kept, **window})


def _sessions_asked_wrongly(request: Request, error: Exception) -> HTMLResponse:
    """Return the page of sessions with what is wrong and the form as it was filled in."""
    fields = queries.SessionsQuery.model_fields
    given: dict[str, Any] = {
        name: value for name, value in request.query_params.items() if name in fields and name not in NAMES
    }
    if "attribute" in given:
        given["attribute"] = request.query_params.getlist("attribute")
    given = {
        name: value for name, value in given.items() if name not in ("sort", "limit", "fast_mode", "columns")
    }
    nothing = SessionPage(
        rows=[], after=None, before=None, count=0, count_is_exact=True, pipelines=[], tags=[]
    )
    return page(
        request,
        "sessions.html",
        "Sessions",
        status=404 if isinstance(error, NotFoundError) else 400,
        answer=nothing,
        given=queries.SessionsQuery.model_construct(**given),
        query={},
        orders=ORDERS,
        filtered=True,
        live=False,
        problem=str(error),
        columns=list(USUAL_COLUMNS),
        extra=[],
        can_be_columns=[],
        facets=[],
        histogram="",
        summary=None,
    )


@router.get("/sessions/{session_id}")
def get_session(request: Request, session_id: str) -> HTMLResponse:
    """Show one session in full."""
    bar_of(request)  # says what is wrong with it
    most_explained = None if request.query_params.get("why") == "1" else EXPLAINED_AT_ONCE
    answer = of_sessions.session(request.app.state.history, session_id, most_explained=most_explained)
    whole = request.query_params.get("all") == "1"
    most, most_steps = (MOST_STEPS, MOST_STEPS) if whole else (ROWS_SHOWN, STEPS_IN_TABLE)
    parents = {step.seq: step.parent_seq for step in answer.steps}
    right, shapes = drawing.resources(answer.samples, answer.session.start_time, answer.timeline.wall_s)
    return page(
        request,
        "session.html",
        "Sessions",
        now=answer.now,
        answer=answer,
        alerts=[alert for alert in answer.alerts if alert.inhibited_by is None and alert.severity != INFO],
        rows=list(drawing.waterfall(answer, most)),
        minimap=drawing.minimap(answer),
        asks_why=len(answer.steps) + answer.hidden_steps > EXPLAINED_AT_ONCE,
        more_rows=max(0, len(answer.timeline.rows) - most) + answer.timeline.hidden_rows,
        steps=answer.steps[:most_steps],
        more_steps=max(0, len(answer.steps) - most_steps) + answer.hidden_steps,
        kinds=drawing.waterfall_keys(answer),
        resources=shapes,
        right=right,
        depths={seq: _depth(seq, parents) for seq in parents},
        snippet=f"perfdb.History().explain({answer.session.session_id!r})",
        most_rows=MOST_ROWS,
        explained=[] if answer.explanation is None else sorted(answer.explanation.rows, key=_how_far),
        steps_unfolded=STEPS_UNFOLDED,
    )


def _how_far(row: ExplainedStep) -> tuple[bool, float]:
    """Put first what is farthest from its past, whichever way; what medians leave is no step, and last."""
    far = row.seconds if row.excess_s is None else row.excess_s
    return row.kind == "medians", -abs(far or 0.0)


def _depth(seq: int, parents: Mapping[int, int | None]) -> int:
    depth, parent = 0, parents.get(seq)
    while parent is not None and depth < DEEPEST:
        depth, parent = depth + 1, parents.get(parent)
    return depth


@router.get("/trends")
def get_trends(request: Request) -> HTMLResponse:
    """Show one series over time."""
    query = asked(queries.TrendQuery, request)
    history: ServedHistory = request.app.state.history
    answer, offered = side_by_side(
        history, lambda: of_trends.trend(history, query), lambda: of_recorded.offered(history)
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
        of_series={} if series is None else _of_series(series) | {"measure": query.measure},
        of_series_kind={} if series is None else {"pipeline": series.pipeline, "mode": series.mode},
        chart=drawing.trend(answer, limits, [each.start_time for each in answer.changes]),
        snippet=in_python("trends", request, step=query.step, measure=query.measure),
        data=link(
            "/api/v1/trends",
            **query.model_dump(exclude_unset=True, exclude={"pipeline", "step", "mode"}),
            **({} if series is None else _of_series(series)),
        ),
        of=None if series is None else _series_key(series),
    )


def _of_series(series: SeriesName) -> dict[str, str | None]:
    return {"pipeline": series.pipeline, "step": series.step_name, "mode": series.mode}


def _series_key(series: SeriesName) -> str:
    return json.dumps([series.pipeline, series.step_name, series.mode])


@router.get("/bottlenecks")
def get_bottlenecks(request: Request) -> HTMLResponse:
    """Show what the steps cost, and what a faster one would bring."""
    history = request.app.state.history
    bar = bar_of(request)
    own = ("step", "factor", "measure")
    whole = whole_window(request, MOST_OF_WINDOW)
    query = asked(queries.BottlenecksQuery, request, "step", "factor", **whole)
    answer, measures = side_by_side(
        history,
        lambda: of_bottlenecks.bottlenecks(history, query),
        lambda: of_recorded.offered(history),
    )
    steps = [row for row in answer.rows if row.kind == "step"]
    kinds = _kinds(answer.rows)
    offered = steps[:MOST_ROWS]
    step, factor = request.query_params.get("step"), request.query_params.get("factor")
    wanted = key_of(step, 3) if step else None
    chosen = next((row for row in steps if wanted in (None, _choice(row))), None)
    what_if = None
    if chosen is None and wanted is not None and steps:
        raise NotFoundError(f"none of these sessions has the step {inert(str(wanted[1]))!r} of this choice")
    if chosen is not None and chosen.measure == "duration":
        asking = {"pipeline": chosen.pipeline, "mode": chosen.mode, "step": chosen.step_name, **whole}
        what_if = of_bottlenecks.what_if(
            history,
            asked(queries.WhatIfQuery, request, *own, **asking, factor=factor or FACTOR, within=bar.mode),
        )
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
        label=named(query.measure or "duration", configured(history.settings.measures)).words,
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


def _choice(row: of_bottlenecks.Bottleneck) -> list[str | None]:
    return [row.pipeline, row.step_name, row.mode]


def _kinds(rows: Iterable[Any]) -> list[tuple[tuple[str, str], list[Any]]]:
    """Return rows by pipeline and mode, in the order in which they come."""
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        found.setdefault((row.pipeline, row.mode_text), []).append(row)
    return list(found.items())


@router.get("/compare")
def get_compare(request: Request) -> HTMLResponse:
    """Show two sessions, or two groups of sessions, side by side."""
    history = request.app.state.history
    bar = bar_of(request)
    query = compare_query(request)
    asked_of = {name: value for name, value in bar.asked.items() if name != "last"}
    of_recent = queries.SessionsQuery.model_validate({"limit": RECENT, **asked_of})
    recent, alerts, (answer, problem, status), attributes, offered = side_by_side(
        history,
        lambda: of_sessions.session_page(history, of_recent, counts=False).rows,
        lambda: of_alerts.of_the_same_moment(history, query),
        lambda: _tried(lambda: of_compare.compare(history, query)),
        lambda: of_compare.groupable(history),
        lambda: of_recorded.offered(history),
    )
    if not query.model_fields_set - set(NAMES):
        status = 200  # nothing was asked yet
    first, second = (answer.a, answer.b) if answer is not None else (query.a, query.b)
    if answer is not None and answer.kind == "sessions":
        first, second = answer.a.session_id, answer.b.session_id
    of_measure = "" if query.measure is None else f", measure={query.measure!r}"
    snippet = f"perfdb.History().compare({first!r}, {second!r}{of_measure})"
    if query.by is not None:
        snippet = in_python(
            "compare", request, a=query.a, b=query.b, by=query.by, measure=query.measure, last=query.last
        )
    elif query.split is not None:
        split, resume = (
            _as_said(request.query_params.get(name), getattr(query, name)) for name in ("split", "resume")
        )
        snippet = in_python(
            "compare", request, split=split, resume=resume, measure=query.measure, last=query.last
        )
    kinds = _kinds(answer.rows if answer is not None and answer.kind == "groups" else [])
    return page(
        request,
        "compare.html",
        "Compare",
        snippet="" if answer is None else snippet,
        shares=("csv",),
        status=status,
        answer=answer,
        problem=problem,
        by=query.by,
        alerts=alerts,
        split=_typed_moment(request, "split"),
        resume=_typed_moment(request, "resume"),
        marks=bar.marks,
        a=first,
        b=second,
        recent=recent,
        attributes=attributes,
        measure=query.measure or "duration",
        better=_better(history, query.measure),
        offered=offered,
        default_by=attributes[0] if attributes else "git_commit",
        groups=[
            (kind, rows, max(abs(row.difference or 0.0) for row in rows), _surely_moved(rows))
            for kind, rows in sorted(kinds, key=lambda kind: _how_sure(kind[1]))
        ],
        most_rows=MOST_ROWS,
        largest=_largest_difference(answer) if answer is not None and answer.kind == "sessions" else 0.0,
    )


@router.get("/pareto")
def get_pareto(request: Request) -> HTMLResponse:
    """Show what one would choose between, such as models: seconds against cost."""
    history = request.app.state.history
    query = asked(queries.ParetoQuery, request)
    answer, problem, status = _tried(lambda: of_compare.pareto(history, query))
    if not query.model_fields_set - set(NAMES):
        status = 200  # nothing was asked yet
    by, measure = query.by or "model", query.measure or "cost_usd"
    offered = of_recorded.offered(history)
    if problem and query.measure is None and measure not in offered:
        problem = "No run has a cost." if offered else problem
    return page(
        request,
        "pareto.html",
        "Compare",
        status=status,
        bar_action="/pareto",
        answer=answer,
        problem=problem,
        by=by,
        measure=measure,
        label=named(measure, configured(history.settings.measures)).words,
        given=query,
        attributes=sorted({"model", *of_compare.groupable(history)}),
        offered=offered,
        against=[name for name in offered if name not in ("duration", measure)][:4],
        groups=[
            (kind, rows, drawing.choices(rows[:MOST_ROWS]))
            for kind, rows in _kinds(answer.rows if answer is not None else [])
        ],
        marks=bar_of(request).marks,
        most_rows=MOST_ROWS,
        snippet=in_python("pareto", request, by=by, step=query.step, measure=measure, last=query.last),
    )


def _better(history: ServedHistory, measure: str | None) -> str:
    return named(measure or "duration", configured(history.settings.measures)).better


def _tried(ask: Callable[[], _Answer]) -> tuple[_Answer | None, str, int]:
    """Return an answer, or why there is none, so that the form stays to ask again; and the status."""
    try:
        return ask(), "", 200
    except StoreError:
        raise
    except PerfdbError as error:
        return None, str(error), 404 if isinstance(error, NotFoundError) else 400


def _moments(request: Request, *names: str) -> dict[str, str]:
    """Return the fields of a page that are moments, as questions take them."""
    given = ((name, moment_in(request, name)) for name in names)
    return {name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in given if at is not None}


def _typed_moment(request: Request, name: str) -> str:
    """Return a moment as it was asked; that of a link, in seconds, as people write it."""
    given = request.query_params.get(name, "")
    return _moments(request, name)[name] if re.fullmatch(r"\d+(\.\d*)?", given) else given


def whole_window(request: Request, most: int) -> dict[str, int]:
    """Return how many sessions a question about a window is about, where nobody says it."""
    bar = bar_of(request)
    return {"last": most} if bar.is_timed and "last" not in bar.given else {}


def compare_query(request: Request) -> queries.CompareQuery:
    """Return what the comparison is asked."""
    moments = _moments(request, "split", "resume")
    whole = {"last": MOST_COMPARED} if "split" in moments and "last" not in bar_of(request).given else {}
    return asked(queries.CompareQuery, request, "split", "resume", **moments, **whole)


def common_query(request: Request) -> queries.CommonQuery:
    """Return what is asked about slow runs."""
    part = _moments(request, "slow_since", "slow_until")
    return asked(
        queries.CommonQuery,
        request,
        "slow_since",
        "slow_until",
        **whole_window(request, MOST_IN_COMMON),
        **part,
    )


def _surely_moved(rows: Iterable[of_compare.GroupRow]) -> list[of_compare.GroupRow]:
    """Return what is more than chance explains, the surest first."""
    found = [row for row in rows if beyond_chance(row.low, row.high)]
    return sorted(found, key=lambda row: -certainty(row.low, row.high))


def _how_sure(rows: Sequence[of_compare.GroupRow]) -> tuple[float, float]:
    """Put a pipeline and mode first whose total moved most surely, then one of which a step did."""
    of_total, of_any = (max(certainty(row.low, row.high) for row in part) for part in (rows[:1], rows))
    return -max(0.0, of_total), -of_any


def _largest_difference(answer: of_compare.SessionsCompared) -> float:
    """Return what the longest bar stands for: the differences on the critical path add up."""
    of_time = any(row.measure == "duration" for row in answer.rows)
    parts = [row.critical_difference_s if of_time else row.difference for row in answer.rows]
    return max((abs(part or 0.0) for part in parts), default=0.0)


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


def hits_query(request: Request) -> queries.HitsQuery:
    """Return what is asked about a move."""
    return asked(
        queries.HitsQuery, request, "at", **_moments(request, "at"), **whole_window(request, MOST_COMPARED)
    )


def _of_each_attribute(rows: Sequence[of_common.Hit]) -> list[of_common.Hit]:
    """Return the values that surely moved more, and the first few of each attribute."""
    shown: list[of_common.Hit] = []
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.attribute] += 1
        if row.sure or counts[row.attribute] <= MOST_OF_ATTRIBUTE:
            shown.append(row)
    return shown


@router.get("/hits")
def get_hits(request: Request) -> HTMLResponse:
    """Show whom a move hits."""
    history = request.app.state.history
    query = hits_query(request)
    answer, problem, status = _tried(lambda: of_common.hits(history, query))
    if status == 400 and not query.at:
        problem, status = "", 200  # nothing was asked yet
    return page(
        request,
        "hits.html",
        "In common",
        status=status,
        bar_action="/hits",
        answer=answer,
        problem=problem,
        given=query,
        at=_typed_moment(request, "at"),
        began=moment_in(request, "at"),
        rows=[] if answer is None else _of_each_attribute(answer.rows),
        moved_before=[] if query.at else _known_moves(history, query),
        offered=of_recorded.offered(history),
        marks=bar_of(request).marks,
        better=_better(history, query.measure),
        unit="points" if query.failures else "%",
        table_as_csv=_same_question(request, "/csv/hits"),
        snippet=""
        if answer is None
        else in_python(
            "hits",
            request,
            at=_as_said(request.query_params.get("at"), query.at),
            step=query.step,
            measure=query.measure,
            failures=query.failures or None,
            last=query.last,
        ),
    )


def _known_moves(history: ServedHistory, query: queries.HitsQuery) -> list[AlertRow]:
    """Return moves that can be asked about: those that alerts are open for, then those of the past."""
    now, before = side_by_side(
        history,
        lambda: of_alerts.open_alerts(history, query.pipeline, query.mode),
        lambda: of_alerts.moves(history, query.pipeline, query.mode),
    )
    every = [*map(AlertRow.from_records, now), *(each.alert for each in before)]
    return [each for each in every if each.kind != "anomaly"][:MOST_MOVES]


def _part_in_python(request: Request, query: queries.CommonQuery) -> tuple[Any, Any] | None:
    since, until = (
        _as_said(request.query_params.get(name), getattr(query, name))
        for name in ("slow_since", "slow_until")
    )
    if since is None and until is None:
        return None
    return (since or 0, until or int(of_common.FAR))


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
        lambda: of_overview.overview(history, counts=False),
    )
    opened = [AlertRow.from_records(each) for each in found]
    urgent = firing(answer.rows) if query.state == "open" else answer.rows
    asked_for = {alert.id for alert in urgent}
    return page(
        request,
        "alerts.html",
        "Alerts",
        shares=("csv",),
        firing_count=_firing_count(opened),
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
    rate_top, rate_chart = (0.0, "") if rate is None else drawing.rate(rate, alert.limit, alert.since_time)
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
        rate_top=rate_top,
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
    flagged: dict[tuple[str, str | None, str], list[of_rules.RuleHit]] = {}
    for hit in answer.hits:
        flagged.setdefault((hit.pipeline, hit.step_name, hit.mode), []).append(hit)
    return page(
        request,
        "rule.html",
        "Rules",
        answer=answer,
        alerts=alerts,
        searches=kind_of(answer.rule.kind).by_change_points,
        flagged=list(flagged.values()),
        bar_action=request.url.path,
    )
