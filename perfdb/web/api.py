"""``/api/v1``: the answers as JSON, typed and described at ``/api/v1/openapi.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import Response, StreamingResponse

from perfdb.errors import PerfdbError, UsageError
from perfdb.version import __version__
from perfdb.web import metrics, schemas
from perfdb.web.answers import (
    alerts,
    bottlenecks,
    common,
    compare,
    overview,
    recorded,
    rules,
    sessions,
    trends,
)
from perfdb.web.queries import (
    AlertId,
    AlertsQuery,
    AnnotationsQuery,
    BottlenecksQuery,
    CommonQuery,
    CompareQuery,
    HitsQuery,
    MeasuresQuery,
    OverviewQuery,
    ParetoQuery,
    RegressionsQuery,
    RuleQuery,
    RulesQuery,
    SessionQuery,
    SessionsQuery,
    StepsQuery,
    TrendQuery,
    ViolationsQuery,
    WhatIfQuery,
)
from perfdb.web.served import ServedHistory

_WHY = {
    400: "What was asked cannot be answered.",
    401: "The token is missing.",
    403: "Host, Origin or token do not fit.",
    404: "There is no such thing.",
    409: "What is there does not allow it: an alert that is closed, sessions without a total.",
    422: "The question is not of the form that is described here.",
    503: "The database is busy, away, or took too long.",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of these errors for OpenAPI."""
    return {code: {"model": schemas.Problem, "description": _WHY[code]} for code in codes}


@contextmanager
def conflicts() -> Iterator[None]:
    """Answer what was asked rightly, and what is there does not allow, with 409."""
    try:
        yield
    except UsageError as error:
        raise HTTPException(409, str(error)) from None


router = APIRouter(prefix="/api/v1", responses=problems(400, 401, 403, 422, 503))


def served(request: Request) -> ServedHistory:
    """Return the history behind the app."""
    history: ServedHistory = request.app.state.history
    return history


History = Annotated[ServedHistory, Depends(served)]
SessionId = Annotated[str, Path(max_length=128, description="A whole id, a prefix of one, last or last~1.")]


@router.get("/health", tags=["about"])
def health(history: History) -> schemas.HealthAnswer:
    """Say that the dashboard runs, and whether its database can be read."""
    try:
        with history.reading():
            pass
    except PerfdbError as error:
        return schemas.HealthAnswer(
            status="database unreadable",
            version=__version__,
            database=history.database,
            detail=str(error),
        )
    return schemas.HealthAnswer(status="ok", version=__version__, database=history.database)


metrics_router = APIRouter()


@metrics_router.get("/metrics", include_in_schema=False)
def get_metrics(history: History) -> Response:
    """Return the figures of the first page in OpenMetrics."""
    told = metrics.openmetrics(overview.overview(history), alerts.firing_by_rule(history))
    return Response(told, media_type=metrics.CONTENT_TYPE)


@router.get("/overview", tags=["now"], responses=problems(404))
def get_overview(
    request: Request, history: History, query: Annotated[OverviewQuery, Query()]
) -> schemas.Overview:
    """Return health now: what runs, what fires, and every step beside its past."""
    return overview.overview(history, query, request.app.state.feed.version)


@router.get("/live", tags=["now"])
def get_live(request: Request, history: History) -> schemas.Live:
    """Return what moves; for those who cannot listen to ``events``."""
    return overview.live(history, request.app.state.feed.version)


@router.get(
    "/events",
    tags=["now"],
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def get_events(request: Request) -> StreamingResponse:
    """Send ``live`` as a server-sent event at once, and again whenever the database changes."""
    return StreamingResponse(
        request.app.state.feed.events(),
        media_type="text/event-stream",
        # named, since Starlette before 0.46 packs streams too, and keeps each event back until the next ones
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Encoding": "identity"},
    )


@router.get("/sessions", tags=["sessions"], responses=problems(404))
def get_sessions(history: History, query: Annotated[SessionsQuery, Query()]) -> schemas.SessionPage:
    """Return a page of the sessions that fit; go on with ``after`` and ``before`` of the answer."""
    return sessions.session_page(history, query)


@router.get("/sessions/{session_id}", tags=["sessions"], responses=problems(404))
def get_session(
    history: History, session_id: SessionId, query: Annotated[SessionQuery, Query()]
) -> schemas.SessionAnswer:
    """Return one session in full."""
    return sessions.session(history, session_id, most_explained=None if query.explain else 0)


@router.get("/steps", tags=["sessions"], responses=problems(404))
def get_steps(history: History, query: Annotated[StepsQuery, Query()]) -> recorded.StepsAnswer:
    """Return the steps of the newest sessions that fit, oldest session first."""
    return recorded.steps(history, query)


@router.get("/trends", tags=["what is slow"], responses=problems(404))
def get_trend(history: History, query: Annotated[TrendQuery, Query()]) -> schemas.TrendAnswer:
    """Return how long the runs of one series took, and where that is going."""
    return trends.trend(history, query)


@router.get("/annotations", tags=["what is slow"], responses=problems(404))
def get_annotations(history: History, query: Annotated[AnnotationsQuery, Query()]) -> recorded.Annotations:
    """Return what was annotated, oldest first."""
    return recorded.annotated(history, query)


@router.get("/bottlenecks", tags=["what is slow"], responses=problems(404))
def get_bottlenecks(
    history: History, query: Annotated[BottlenecksQuery, Query()]
) -> bottlenecks.BottlenecksAnswer:
    """Return the steps by the seconds they put on the critical path."""
    return bottlenecks.bottlenecks(history, query)


@router.get("/what-if", tags=["what is slow"], responses=problems(404))
def get_what_if(history: History, query: Annotated[WhatIfQuery, Query()]) -> bottlenecks.WhatIf:
    """Return what sessions would have taken if a step had taken ``factor`` of its time, by replay."""
    return bottlenecks.what_if(history, query)


@router.get("/measures", tags=["what is slow"], responses=problems(404))
def get_measures(history: History, query: Annotated[MeasuresQuery, Query()]) -> schemas.MeasuresAnswer:
    """Return what was measured: every number that was recorded, with its unit and range."""
    return recorded.measures(history, query)


@router.get("/violations", tags=["what is slow"], responses=problems(404))
def get_violations(history: History, query: Annotated[ViolationsQuery, Query()]) -> recorded.ViolationsAnswer:
    """Return the runs that broke a limit of the settings, oldest first."""
    return recorded.violations(history, query)


@router.get("/regressions", tags=["what is slow"], responses=problems(404))
def get_regressions(
    history: History, query: Annotated[RegressionsQuery, Query()]
) -> recorded.RegressionsAnswer:
    """Return where the level of any series moved for the worse, and what explains it, oldest first."""
    return recorded.regressions(history, query)


@router.get("/compare", tags=["what is slow"], responses=problems(404, 409))
def get_comparison(
    history: History, query: Annotated[CompareQuery, Query()]
) -> compare.SessionsCompared | compare.GroupsCompared:
    """Return two sessions side by side, or with ``by`` two groups of them."""
    with conflicts():
        return compare.compare(history, query)


@router.get("/pareto", tags=["what is slow"], responses=problems(404, 409))
def get_pareto(history: History, query: Annotated[ParetoQuery, Query()]) -> compare.ParetoAnswer:
    """Return how long each value of an attribute takes against what it costs, such as models."""
    with conflicts():
        return compare.pareto(history, query)


@router.get("/common", tags=["what is slow"], responses=problems(404, 409))
def get_common(history: History, query: Annotated[CommonQuery, Query()]) -> common.CommonAnswer:
    """Return what slow runs have in common: values that are more frequent among them than in the rest."""
    with conflicts():
        return common.common(history, query)


@router.get("/hits", tags=["what is slow"], responses=problems(404, 409))
def get_hits(history: History, query: Annotated[HitsQuery, Query()]) -> common.HitsAnswer:
    """Return whom a move hits: how much the runs with each value moved, beside all the others."""
    with conflicts():
        return common.hits(history, query)


@router.get("/alerts", tags=["alerts"], responses=problems(404))
def get_alerts(history: History, query: Annotated[AlertsQuery, Query()]) -> schemas.AlertPage:
    """Return a page of alerts, the newest first."""
    return alerts.alert_page(history, query)


@router.get("/alerts/{alert_id}", tags=["alerts"], responses=problems(404))
def get_alert(history: History, alert_id: AlertId) -> schemas.AlertAnswer:
    """Return one alert with what happened to it."""
    return alerts.alert(history, alert_id)


def _decision(
    word: str, decision: Callable[..., object], description: str
) -> Callable[..., schemas.AlertAnswer]:
    @router.post(
        f"/alerts/{{alert_id}}/{word}",
        tags=["alerts"],
        responses=problems(404, 409),
        name=word,
        operation_id=f"alert_{word.replace('-', '_')}",
        description=description,
    )
    def decide(history: History, alert_id: AlertId, said: schemas.Decision) -> schemas.AlertAnswer:
        with conflicts():
            return alerts.decide(decision, history, alert_id, said.note)

    return decide


_decision("acknowledge", ServedHistory.acknowledge, "Acknowledge an alert.")
_decision("expected", ServedHistory.expected, "Mark an alert as expected: its level is the new baseline.")
_decision(
    "false-alarm",
    ServedHistory.false_alarm,
    "Mark an alert as a false alarm: it lowers its rule's precision.",
)
_decision("undo", ServedHistory.undo, "Undo the last decision about an alert: it is what it was before.")


@router.post("/alerts/{alert_id}/silence", tags=["alerts"], responses=problems(404))
def post_silence(history: History, alert_id: AlertId, order: schemas.SilenceOrder) -> schemas.AlertAnswer:
    """Silence an alert for a while."""
    return alerts.silence(history, alert_id, order.seconds, order.reason)


@router.post("/alerts/{alert_id}/unsilence", tags=["alerts"], responses=problems(404))
def post_unsilence(history: History, alert_id: AlertId) -> schemas.AlertAnswer:
    """End the silences of an alert."""
    return alerts.unsilence(history, alert_id)


@router.get("/rules", tags=["alerts"], responses=problems(404))
def get_rules(history: History, query: Annotated[RulesQuery, Query()]) -> rules.RulesAnswer:
    """Return the configured rules, each with its state and its precision."""
    return rules.rules(history, query)


@router.get("/rules/{name:path}", tags=["alerts"], responses=problems(404))
def get_rule(
    history: History,
    name: Annotated[str, Path(max_length=200)],
    query: Annotated[RuleQuery, Query()],
) -> rules.RuleAnswer:
    """Return one rule: what it says of the newest runs, and what it would have flagged."""
    return rules.rule(history, name, query)
