"""Health now: of everything, and of one pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse

from perfdb.analysis.course import LEAST_FOR_MOVES
from perfdb.history.access import side_by_side
from perfdb.web import drawing, queries
from perfdb.web.answers import alerts as of_alerts
from perfdb.web.answers import overview as of_overview
from perfdb.web.answers import trends as of_trends
from perfdb.web.bar import asked, bar_of
from perfdb.web.health import HealthSentence, firing, health
from perfdb.web.schemas import Overview, SeriesNow
from perfdb.web.served import ServedHistory
from perfdb.web.views.asking import in_python
from perfdb.web.views.page import by_kind, firing_count, page, page_router
from perfdb.web.views.trends import MOST_MARKS, of_series
from perfdb.web.words import link

router = page_router()

STEPS_SHOWN = 10  # on the first page, of each pipeline and mode
KINDS_IN_FULL = 3


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
        firing_count=firing_count(answer.alerts),
        answer=answer,
        health=_health_of(request, answer, moves),
        moves=moves,
        alerts=urgent,
        others=others,
        stale_modes=stale_modes,
        groups=_steps_now(_as_pipelines(answer)),
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
        groups=[(kind, rows, 0) for kind, rows in by_kind(_as_pipelines(answer))],
        trend=trend,
        chart=drawing.trend(
            trend, [each.limit for each in trend.limits], [c.start_time for c in trend.changes]
        ),
        most_marks=MOST_MARKS,
        least_for_moves=LEAST_FOR_MOVES,
        of_series={} if series is None else of_series(series),
        data=link(
            "/api/v1/trends",
            **{
                name: value
                for name, value in bar_of(request).asked.items()
                if name in ("since", "until", "last")
            },
            **({} if series is None else of_series(series)),
        ),
    )


def _as_pipelines(answer: Overview) -> list[SeriesNow]:
    """Return the series in the order of the pipelines and modes above them, the worst first."""
    places = {(row.pipeline, row.mode): place for place, row in enumerate(answer.pipelines)}
    return sorted(answer.series, key=lambda each: places.get((each.pipeline, each.mode), len(places)))


def _steps_now(series: Sequence[SeriesNow]) -> Iterator[tuple[tuple[str, str], list[SeriesNow], int]]:
    """Yield pipelines and modes with their costliest steps, and how many steps are left out.

    Of too many pipelines the later ones have their total and what an alert is about.
    """
    for place, (kind, rows) in enumerate(by_kind(series)):
        most = STEPS_SHOWN if place < KINDS_IN_FULL else 0
        shown = [row for number, row in enumerate(rows) if number <= most or row.alert_id is not None]
        yield kind, shown, len(rows) - len(shown)
