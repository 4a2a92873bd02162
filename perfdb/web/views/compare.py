"""Two sessions or groups of sessions side by side, and what one would choose between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import Request
from fastapi.responses import HTMLResponse

from perfdb.analysis.compare import beyond_chance, certainty, clear_of
from perfdb.history.access import side_by_side
from perfdb.measures import FIXED, SPENT
from perfdb.pages import svg
from perfdb.web import drawing, queries
from perfdb.web.answers import alerts as of_alerts
from perfdb.web.answers import compare as of_compare
from perfdb.web.answers import recorded as of_recorded
from perfdb.web.answers import sessions as of_sessions
from perfdb.web.bar import NAMES, asked, bar_of, moment_in
from perfdb.web.views.asking import MOST_ASKED, as_said, in_python, measure_of, moments, tried, typed_moment
from perfdb.web.views.page import MOST_ROWS, by_kind, page, page_router

router = page_router()

Kinds = Sequence[tuple[tuple[str, str], list[of_compare.GroupRow]]]  # by pipeline and mode
RECENT = 30  # sessions that are offered for a comparison


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
        lambda: tried(lambda: of_compare.compare(history, query)),
        lambda: of_compare.groupable(history),
        lambda: of_recorded.offered(history),
    )
    if not query.model_fields_set - set(NAMES):
        status = 200  # nothing was asked yet
    first, second = (answer.a, answer.b) if answer is not None else (query.a, query.b)
    if answer is not None and answer.kind == "sessions":
        first, second = answer.a.session_id, answer.b.session_id
    kinds = by_kind(answer.rows if answer is not None and answer.kind == "groups" else [])
    clear = clear_of(sum(rows[0].low is not None for _, rows in kinds))
    return page(
        request,
        "compare.html",
        "Compare",
        snippet="" if answer is None else _in_python(request, query, first, second),
        shares=("csv",),
        status=status,
        answer=answer,
        problem=problem,
        by=query.by,
        alerts=alerts,
        split=typed_moment(request, "split"),
        began=moment_in(request, "split"),
        resume=typed_moment(request, "resume"),
        marks=bar.marks,
        a=first,
        b=second,
        recent=recent,
        attributes=attributes,
        measure=query.measure or "duration",
        better=measure_of(history, query.measure).better,
        offered=offered,
        default_by=attributes[0] if attributes else "git_commit",
        groups=[
            (
                kind,
                rows,
                svg.scale_of([(row.difference, row.low, row.high) for row in rows]),
                _surely_moved(rows),
            )
            for kind, rows in sorted(kinds, key=lambda kind: _how_sure(kind[1], clear))
        ],
        told_of=_told_of(answer),
        most_rows=MOST_ROWS,
        largest=_largest_difference(answer) if answer is not None and answer.kind == "sessions" else 0.0,
    )


def compare_query(request: Request) -> queries.CompareQuery:
    """Return what the comparison is asked."""
    given = moments(request, "split", "resume")
    whole = {"last": MOST_ASKED} if "split" in given and "last" not in bar_of(request).given else {}
    return asked(queries.CompareQuery, request, "split", "resume", **given, **whole)


def _in_python(request: Request, query: queries.CompareQuery, first: object, second: object) -> str:
    """Return the line that compares the two, which groups and moments name in their own way."""
    if query.by is not None:
        return in_python(
            "compare", request, a=query.a, b=query.b, by=query.by, measure=query.measure, last=query.last
        )
    if query.split is not None:
        split, resume = (
            as_said(request.query_params.get(name), getattr(query, name)) for name in ("split", "resume")
        )
        return in_python(
            "compare", request, split=split, resume=resume, measure=query.measure, last=query.last
        )
    of_measure = "" if query.measure is None else f", measure={query.measure!r}"
    return f"perfdb.History().compare({first!r}, {second!r}{of_measure})"


def _told_of(
    answer: of_compare.SessionsCompared | of_compare.GroupsCompared | None,
) -> of_compare.GroupRow | None:
    """Return the row whose figures stand above a comparison of groups; None without a change of its own."""
    row = answer.told_of if isinstance(answer, of_compare.GroupsCompared) else None
    return None if row is None or row.difference_percent is None else row


def _surely_moved(rows: Iterable[of_compare.GroupRow]) -> list[of_compare.GroupRow]:
    """Return the rows whose interval excludes 0, the surest first."""
    found = [row for row in rows if beyond_chance(row.low, row.high)]
    return sorted(found, key=lambda row: -certainty(row.low, row.high))


def _how_sure(rows: Sequence[of_compare.GroupRow], clear: float) -> tuple[float, float]:
    """Put a pipeline and mode first whose total moved most surely, then one of which a step did.

    A total that is not clear of chance, as one of so many, comes after: see ``compare.clear_of``.
    """
    of_total, of_any = (max(certainty(row.low, row.high) for row in part) for part in (rows[:1], rows))
    return -of_total if of_total > clear else 0.0, -of_any


def _largest_difference(answer: of_compare.SessionsCompared) -> float:
    """Return what the longest bar stands for: the differences on the critical path add up."""
    of_time = any(row.measure == "duration" for row in answer.rows)
    parts = [row.critical_difference_s if of_time else row.difference for row in answer.rows]
    return max((abs(part or 0.0) for part in parts), default=0.0)


@router.get("/pareto")
def get_pareto(request: Request) -> HTMLResponse:
    """Show what one would choose between, such as models: seconds against cost."""
    history = request.app.state.history
    query = asked(queries.ParetoQuery, request)
    answer, problem, status = tried(lambda: of_compare.pareto(history, query))
    if not query.model_fields_set - set(NAMES):
        status = 200  # nothing was asked yet
    by, measure = query.by or "model", query.measure or "cost_usd"
    offered = sorted(of_recorded.offered(history), key=_interest)
    kinds = by_kind(answer.rows if answer is not None else [])
    kinds.sort(key=lambda each: -sum(row.n for row in each[1]))  # as the sentence has it
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
        label=measure_of(history, measure).words,
        given=query,
        attributes=sorted({"model", *of_compare.groupable(history)}),
        offered=offered,
        against=[name for name in offered if name not in ("duration", measure)][:4],
        groups=[(kind, rows, drawing.planes(rows[:MOST_ROWS])) for kind, rows in kinds],
        marks=bar_of(request).marks,
        most_rows=MOST_ROWS,
        snippet=in_python("pareto", request, by=by, step=query.step, measure=measure, last=query.last),
    )


def _interest(name: str) -> tuple[int, bool]:
    """Put first what one chooses by: money, tokens, what people recorded; CPU and memory come last."""
    return SPENT.index(name) if name in SPENT else len(SPENT), name in FIXED
