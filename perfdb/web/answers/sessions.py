"""The list of sessions page by page, and one session in full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from perfdb.analysis.explain import explain
from perfdb.analysis.measuring import of_session
from perfdb.analysis.rows import ExplainedStep
from perfdb.analysis.timeline import Timeline, headline, longest, status_of, timeline
from perfdb.critical_path import resolved_parents, seconds_on, with_inside
from perfdb.errors import NotFoundError
from perfdb.filters import checked_filters
from perfdb.history.queries import limits
from perfdb.history.rows import EXPLAINED_BY
from perfdb.history.values import rows_of
from perfdb.measures import named
from perfdb.pages.words import value_text
from perfdb.records import Session, Step
from perfdb.store import browsing, reading
from perfdb.store.alerts import read_alerts
from perfdb.store.series import usual_seconds, wave_of
from perfdb.store.spending import spent_by
from perfdb.store.together import for_each, together
from perfdb.vocabulary import FAILED, RUNNING
from perfdb.web.answers.overview import row_of, session_rows
from perfdb.web.queries import SessionsQuery, key_of, text_of_key
from perfdb.web.schemas import (
    AlertRow,
    Answer,
    BarRow,
    ExplanationAnswer,
    PathSegment,
    SampleSeries,
    SessionAnswer,
    SessionPage,
    SessionRow,
    Status,
    StepRow,
    TimelineAnswer,
    TimelineRow,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from perfdb.analysis.waves import Wave
    from perfdb.store.attribute_digests import Searched
    from perfdb.store.browsing import Page
    from perfdb.web.served import ServedHistory

MOST_COUNTED = 10_000
MOST_FOUND = 5_000  # by a text
MOST_STEPS = 2_000
MOST_ROWS = 2_000
MOST_BARS = 4_000
MOST_SAMPLES = 2_000
MOST_ALERTS = 50
LEAST_USUAL = 3
MOST_SUMMED, MOST_WITH_ATTRIBUTES = 2_000, 500  # sessions that are counted
MOST_FACETS, MOST_VALUES, MOST_DIFFERENT, MOST_COLUMNS = 10, 6, 40, 30
BINS, LEAST_BINNED = 60, 5
NOTED = (*browsing.PLACES, "cpu_s", "rss_peak_bytes")


def session_page(history: ServedHistory, query: SessionsQuery, *, counts: bool = True) -> SessionPage:
    """Return a page of the sessions that fit; with ``counts`` also their number up to 10,000.

    Raises:
        NotFoundError: nothing was ever recorded under the pipeline's or the tag's name.
    """
    query.require_names(history)
    filters = checked_filters(query.last, query.filters())
    with history.reading() as connection:
        if connection is None:
            return SessionPage(
                rows=[], after=None, before=None, count=0, count_is_exact=True, pipelines=[], tags=[]
            )
        searched = _searched(connection, query, filters)
        found = None if searched is None else searched.ids
        read_page = partial(
            browsing.session_page,
            connection,
            sort=query.sort,
            after=None if query.after is None else key_of(query.after),
            before=None if query.before is None else key_of(query.before),
            limit=query.limit,
            prefix=query.search,
            found=found,
            with_places=bool(query.columns),
            **filters,
        )

        def shown() -> tuple[Page, list[SessionRow]]:
            page = read_page()
            kinds = list({(session.pipeline, session.mode) for session in page.sessions})
            usual, rows = together(
                connection,
                lambda: for_each(connection, lambda kind: usual_seconds(connection, *kind).get(None), kinds),
                lambda: session_rows(connection, page.sessions),
            )
            seconds = dict(zip(kinds, usual, strict=True))
            return page, [
                row.model_copy(
                    update={
                        "usual_s": seconds[row.pipeline, row.mode],
                        "more": {name: _column(each, name) for name in query.columns},
                    }
                )
                for row, each in zip(rows, page.sessions, strict=True)
            ]

        (page, rows), (count, exact), pipelines, tags = together(
            connection,
            shown,
            lambda: (
                (0, False)
                if not counts
                else browsing.count_sessions(connection, most=MOST_COUNTED, prefix=query.search, **filters)
                if searched is None
                else (len(searched.ids), searched.since is None)
            ),
            lambda: browsing.pipelines(connection),
            lambda: browsing.tags(connection),
        )
        return SessionPage(
            rows=rows,
            after=text_of_key(page.after),
            before=text_of_key(page.before),
            count=count,
            count_is_exact=exact,
            searched_since=None if searched is None else searched.since,
            pipelines=pipelines,
            tags=tags,
        )


def _searched(connection: Connection, query: SessionsQuery, filters: Mapping[str, Any]) -> Searched | None:
    """Return the sessions with the text that is looked for; None where none is."""
    if query.text is None:
        return None
    return browsing.search_text(connection, query.text, most=MOST_FOUND, prefix=query.search, **filters)


def all_rows(history: ServedHistory, query: SessionsQuery) -> list[SessionRow]:
    """Return the sessions that fit in their order, as many as one file may hold."""
    every = query.model_copy(update={"limit": MOST_COUNTED, "after": None, "before": None})
    return session_page(history, every, counts=False).rows


def _column(session: Session, name: str) -> Any:
    """Return what a list shows of a session under a name: an attribute, or else what perfdb noted."""
    if name in session.attributes:
        return session.attributes[name]
    return getattr(session, name) if name in NOTED else None


class FacetValue(Answer):
    """A value that sessions which fit have, and how many of them."""

    value: str
    n: int


class Facet(Answer):
    """What the sessions that fit differ by: a filter, or an attribute, with its most frequent values."""

    name: str
    of_attributes: bool
    values: list[FacetValue]
    hidden: int  # further values


class Bin(Answer):
    """How many of the sessions started in a part of the time, and how many of them failed."""

    start: float
    end: float
    n: int
    failed: int


class SessionsSummary(Answer):
    """What fits, counted over the newest of it."""

    of: int
    of_attributes: int  # the newest of them, whose attributes were counted
    facets: list[Facet]
    bins: list[Bin]
    attributes: list[str]  # that can be columns


def summary(history: ServedHistory, query: SessionsQuery) -> SessionsSummary:
    """Return how the sessions that fit are spread over time, and over what they can be filtered by."""
    filters = checked_filters(query.last, query.filters())
    with history.reading() as connection:
        if connection is None:
            return SessionsSummary(of=0, of_attributes=0, facets=[], bins=[], attributes=[])
        searched = _searched(connection, query, filters)
        found, attributes = browsing.newest_fitting(
            connection,
            most=MOST_SUMMED,
            with_attributes=MOST_WITH_ATTRIBUTES,
            prefix=query.search,
            found=None if searched is None else searched.ids,
            **filters,
        )
    counted: dict[tuple[str, bool], Counter[str]] = {
        ("status", False): Counter(found.statuses),
        ("pipeline", False): Counter(found.pipelines),
        ("mode", False): Counter(found.modes),
        ("branch", False): Counter(filter(None, found.branches)),
    }
    names: Counter[str] = Counter()
    for own in attributes:
        for name, value in own.items():
            if isinstance(value, str | int | float):  # true and false are numbers, too
                names[name] += 1
                counted.setdefault((name, True), Counter())[value_text(value)] += 1
    given = {pair.partition("=")[0] for pair in query.attribute}
    facets = [
        Facet(
            name=name,
            of_attributes=of_attributes,
            values=[FacetValue(value=value, n=n) for value, n in values.most_common(MOST_VALUES)],
            hidden=max(0, len(values) - MOST_VALUES),
        )
        for (name, of_attributes), values in counted.items()
        if name in given or (len(values) > 1 and (not of_attributes or len(values) <= MOST_DIFFERENT))
    ]
    facets.sort(key=lambda each: (each.of_attributes, -names[each.name]))
    return SessionsSummary(
        of=len(found.start_times),
        of_attributes=len(attributes),
        facets=facets[:MOST_FACETS],
        bins=_bins(found),
        attributes=[name for name, _ in names.most_common(MOST_COLUMNS)],
    )


def _bins(found: browsing.Fitting) -> list[Bin]:
    """Return the sessions by equal parts of the time from the first to the last, the newest being first."""
    if len(found.start_times) < LEAST_BINNED:
        return []
    first, last = found.start_times[-1], found.start_times[0]
    width = (last - first) / BINS
    if width <= 0:
        return []
    counts, failed = [0] * BINS, [0] * BINS
    for start_time, status in zip(found.start_times, found.statuses, strict=True):
        place = min(BINS - 1, int((start_time - first) / width))
        counts[place] += 1
        failed[place] += status == FAILED
    return [
        Bin(start=first + place * width, end=first + (place + 1) * width, n=n, failed=failed[place])
        for place, n in enumerate(counts)
    ]


def session(
    history: ServedHistory,
    session_id: str,
    *,
    most_explained: int | None = None,
    most_steps: int = MOST_STEPS,
) -> SessionAnswer:
    """Return one session in full.

    Args:
        history: of the session.
        session_id: as in ``History.session``.
        most_explained: steps; a session of more is not held against its past, which takes seconds.
        most_steps: of which everything is told; the others are in ``timeline`` and counted.

    Raises:
        NotFoundError: there is none of this id; prefixes and ``last`` are taken as in ``History.session``.
    """
    with history.reading() as connection:
        if connection is None:
            raise NotFoundError("nothing is recorded yet: record a run with perfdb.track(...)")
        whole_id = reading.find_session_id(connection, session_id)
        _, alerts, spent = together(
            connection,
            lambda: limits.check_extent(connection, whole_id),
            lambda: read_alerts(connection, "all", of_session=whole_id, limit=MOST_ALERTS),
            lambda: spent_by(connection, [whole_id]),
        )
        found = reading.read_session(connection, whole_id)
        is_explained = most_explained is None or len(found.steps) <= most_explained
        is_live = found.status == RUNNING
        past, wave, (previous, following), usual = together(
            connection,
            lambda: limits.past_within(connection, found, last=EXPLAINED_BY) if is_explained else [],
            lambda: (
                wave_of(connection, found.pipeline, found.mode, found.start_time) if is_explained else None
            ),
            lambda: browsing.neighbours(connection, found.session_id, found.start_time),
            lambda: (
                usual_seconds(connection, found.pipeline, found.mode, found.start_time) if is_live else {}
            ),
        )
    row = row_of(found, spent)
    earlier = past if row.cost_usd is not None else []
    costs = [cost for each in earlier if (cost := of_session(each, named("cost_usd"))) is not None]
    explanation, not_explained = _explanation(found, past, wave) if is_explained else (None, None)
    now = time.time()  # one for all that is drawn of a session that runs
    laid_out = timeline(found, now, usual)
    parents = resolved_parents((step.seq, step.parent_seq, 0.0, None) for step in found.steps)
    names = {step.seq: step.step_name for step in found.steps}
    own = seconds_on(laid_out.path, parents)
    seconds = with_inside(own, parents)
    return SessionAnswer.from_records(
        found,
        now=now,
        usual_s=usual.get(None),
        session=row,
        usual_cost_usd=median(costs) if len(costs) >= LEAST_USUAL else None,
        timeline=_timeline(found, laid_out),
        critical_path=[
            PathSegment(
                start=each.start - found.start_time,
                end=each.end - found.start_time,
                seq=each.seq,
                step_name=None if each.seq is None else names[each.seq],
            )
            for each in laid_out.path[:MOST_BARS]
        ],
        steps=[
            _step(step, found, seconds, own, None if step.duration is not None else usual.get(step.step_name))
            for step in found.steps[:most_steps]
        ],
        hidden_steps=max(0, len(found.steps) - most_steps),
        samples=_samples(found),
        explanation=explanation,
        not_explained=not_explained,
        previous_session_id=previous,
        next_session_id=following,
        usual_session_id=_usual(past),
        alerts=[AlertRow.from_records(each) for each in alerts],
    )


def _usual(past: Sequence[Session]) -> str | None:
    """Return the id of the session whose total is the median of the others'; None of too few."""
    totals = [(each.session_id, each.total_duration or 0.0) for each in past]
    if len(totals) < LEAST_USUAL:
        return None
    middle = median(total for _, total in totals)
    return min(totals, key=lambda each: abs(each[1] - middle))[0]


def _explanation(
    found: Session, past: Sequence[Session], wave: Wave | None
) -> tuple[ExplanationAnswer | None, str | None]:
    try:
        explained = explain(found, past, wave=wave)
    except ValueError as error:
        return None, str(error)
    rows = [ExplainedStep(**row) for row in rows_of(explained.frame)]
    return ExplanationAnswer.from_records(explained, rows=rows), None


def _timeline(found: Session, laid_out: Timeline) -> TimelineAnswer:
    rows: list[TimelineRow] = []
    room = MOST_BARS
    for row in laid_out.cut(MOST_ROWS, len(found.steps)).rows:
        if room <= 0:
            break
        bars = longest(row.bars, room)
        room -= sum(max(1, len(bar.critical)) for bar in bars)
        rows.append(
            TimelineRow.from_records(
                row,
                bars=[
                    BarRow(
                        seq=bar.step.seq,
                        start=bar.start,
                        end=bar.end,
                        status=_status(bar.step, found),
                        so_far=bar.so_far,
                        critical=list(bar.critical[:MOST_BARS]),
                        waits=bar.waits,
                    )
                    for bar in bars
                ],
                hidden_bars=len(row.bars) - len(bars),
            )
        )
    return TimelineAnswer.from_records(
        laid_out,
        outside=list(laid_out.outside[:MOST_BARS]),
        headline=headline(found, laid_out),
        rows=rows,
        hidden_rows=len(laid_out.rows) - len(rows),
    )


def _status(step: Step, session: Session) -> Status:
    """Return the state of a step; the API has always said `running` of one that never ended."""
    return "running" if step.duration is None else status_of(step, session)


def _step(
    step: Step,
    session: Session,
    seconds: Mapping[int | None, float],
    own: Mapping[int | None, float],
    usual_s: float | None,
) -> StepRow:
    return StepRow.from_records(
        step,
        status=_status(step, session),
        critical_s=seconds.get(step.seq),
        own_s=own.get(step.seq),
        usual_s=usual_s,
    )


def _samples(found: Session) -> SampleSeries:
    taken = found.samples
    if len(taken) > MOST_SAMPLES:
        step = len(taken) / MOST_SAMPLES
        taken = tuple(taken[int(place * step)] for place in range(MOST_SAMPLES))
    return SampleSeries(
        time=[each.time for each in taken],
        cpu_percent=[each.cpu_percent for each in taken],
        rss_bytes=[each.rss_bytes for each in taken],
        of=len(found.samples),
    )
