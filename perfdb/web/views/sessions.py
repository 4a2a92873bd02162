"""The list of sessions, and one session in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.rows import ExplainedStep
from perfdb.analysis.timeline import DEEPEST
from perfdb.errors import NotFoundError, PerfdbError, StoreError, TimeLimitError
from perfdb.history.access import side_by_side
from perfdb.pages import svg
from perfdb.text import counted, mode_text
from perfdb.vocabulary import RUNNING
from perfdb.web import drawing, queries
from perfdb.web.answers import sessions as of_sessions
from perfdb.web.answers.sessions import MOST_STEPS
from perfdb.web.bar import NAMES, WINDOW, asked, bar_of, moment_at_or_before
from perfdb.web.health import INFO
from perfdb.web.schemas import SessionPage
from perfdb.web.views.asking import in_python
from perfdb.web.views.page import MOST_ROWS, page, page_router
from perfdb.web.words import link

router = page_router()

EXPLAINED_AT_ONCE = 500  # steps of a session; more when it is asked
ROWS_SHOWN, STEPS_IN_TABLE = 120, 100  # of a session, without all=1
BARS_SHOWN, BARS_OF_ROW = 400, 10  # there: so many together, or the longest ones of each row
STEPS_UNFOLDED = 40  # of a session: the waterfall above the table has all
ORDERS = {
    "newest": "newest first",
    "oldest": "oldest first",
    "slowest": "longest first",
    "fastest": "shortest first",
}
USUAL_COLUMNS = ("beside usual", "session id")  # of the list of sessions


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
        without=_without_each(given),
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


def _without_each(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return each filter in words, and the address of the list without it."""
    filters = {name: value for name, value in given.items() if name not in ("sort", "limit", "columns")}
    found = []
    for name, value in filters.items():
        for each in value if isinstance(value, list) else [value]:
            rest = [other for other in value if other != each] if isinstance(value, list) else None
            words = mode_text(each) or "mode none" if name == "mode" else f"{name.replace('_', ' ')} {each}"
            found.append((words, link("/sessions", **{**given, name: rest})))
    return found


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
    whole = request.query_params.get("all") == "1"
    most, most_steps = (MOST_STEPS, MOST_STEPS) if whole else (ROWS_SHOWN, STEPS_IN_TABLE)
    answer = of_sessions.session(
        request.app.state.history, session_id, most_explained=most_explained, most_steps=most_steps
    )
    count = len(answer.timeline.rows)
    most_bars = svg.MOST_SHAPES if whole else max(BARS_OF_ROW, BARS_SHOWN // max(1, min(count, most)))
    rows = list(drawing.waterfall(answer, most, most_bars))
    parents = {step.seq: step.parent_seq for step in answer.steps}
    explained = [] if answer.explanation is None else sorted(answer.explanation.rows, key=_how_far)
    never = [row.step_name for row in explained if row.kind == "step" and not _held_up(row)]
    right, shapes = drawing.resources(answer.samples, answer.session.start_time, answer.timeline.wall_s)
    return page(
        request,
        "session.html",
        "Sessions",
        now=answer.now,
        answer=answer,
        alerts=[alert for alert in answer.alerts if alert.inhibited_by is None and alert.severity != INFO],
        rows=rows,
        whole=whole,
        minimap=drawing.minimap(answer),
        tree=drawing.tree(answer) if answer.timeline.rows and answer.session.status != RUNNING else "",
        asks_why=len(answer.steps) + answer.hidden_steps > EXPLAINED_AT_ONCE,
        more_rows=max(0, count - most) + answer.timeline.hidden_rows,
        kinds=drawing.waterfall_keys(answer),
        resources=shapes,
        right=right,
        depths={seq: _depth(seq, parents) for seq in parents},
        snippet=f"perfdb.History().explain({answer.session.session_id!r})",
        most_rows=MOST_ROWS,
        explained=[row for row in explained if row.kind == "medians" or _held_up(row)],
        never_held_up=never,
        steps_unfolded=STEPS_UNFOLDED,
    )


def _how_far(row: ExplainedStep) -> tuple[bool, float]:
    """Put first what is farthest from its past, whichever way; what medians leave is no step, and last."""
    far = row.seconds if row.excess_s is None else row.excess_s
    return row.kind == "medians", -abs(far or 0.0)


def _held_up(row: ExplainedStep) -> bool:
    """Say whether a step was on the critical path in this run, or usually is."""
    return max(row.seconds or 0.0, row.usual_s or 0.0) >= 5e-7


def _depth(seq: int, parents: Mapping[int, int | None]) -> int:
    depth, parent = 0, parents.get(seq)
    while parent is not None and depth < DEEPEST:
        depth, parent = depth + 1, parents.get(parent)
    return depth
