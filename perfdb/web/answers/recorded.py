"""The steps, the runs beyond a limit and the moves of the level: the rows of ``History``, as they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from perfdb.analysis.rows import Regression, Violation
from perfdb.history.names import require_names
from perfdb.history.values import rows_of
from perfdb.stopping import all_notes
from perfdb.store.annotations import Annotation
from perfdb.web.queries import AnnotationsQuery, MeasuresQuery, RegressionsQuery, StepsQuery, ViolationsQuery
from perfdb.web.schemas import Answer, AnyStep, MeasureRow, MeasuresAnswer

MOST_OFFERED = 50
OFFERED_S = 30.0  # for which suggestions are kept: to look takes as long as a page may take

if TYPE_CHECKING:
    from perfdb.web.served import ServedHistory


class RecordedStep(AnyStep):
    """One step, with the columns of ``History.steps``."""

    session_id: str
    pipeline: str
    attempts: list[dict[str, Any]]
    events: list[dict[str, Any]]
    fast_mode: bool | None
    mode: str
    started_at: str | None
    ended_at: str | None
    counted: bool


class StepsAnswer(Answer):
    """The steps of the newest sessions that fit, oldest session first."""

    rows: list[RecordedStep]
    note: str | None = None  # what was left out, because it is too much for one answer


class ViolationsAnswer(Answer):
    """The runs that broke a ``max``, ``min`` or ``sum`` rule, oldest first."""

    rows: list[Violation]
    note: str | None = None  # what was left out, because it is too much for one answer


class RegressionsAnswer(Answer):
    """Where the level of any series moved for the worse, or for the better, oldest first."""

    rows: list[Regression]
    note: str | None = None  # what was left out, because it is too much for one answer


class Annotations(Answer):
    """What was annotated, oldest first, see ``History.annotations``."""

    rows: list[Annotation]
    note: str | None = None  # what was left out, because it is too much for one answer


def annotated(history: ServedHistory, query: AnnotationsQuery) -> Annotations:
    """Return what was annotated, oldest first.

    Raises:
        NotFoundError: no pipeline is called so.
    """
    require_names(history, pipeline=query.pipeline)
    most = query.last
    found = history.annotations(last=most + 1, pipeline=query.pipeline, since=query.since, until=query.until)
    note = f"These are the newest {most:,}: there are more." if len(found) > most else None
    return Annotations(rows=list(found[-most:]), note=note)


def steps(history: ServedHistory, query: StepsQuery) -> StepsAnswer:
    """Return the steps of the newest sessions that fit, oldest session first.

    Raises:
        NotFoundError: nothing is called so.
    """
    query.require_names(history, query.step)
    filters = query.filters()
    rows = history.step_rows(step=query.step, last=history.affordable(query.last, **filters), **filters)
    return StepsAnswer(rows=[RecordedStep(**row) for row in rows], note=all_notes())


def measures(history: ServedHistory, query: MeasuresQuery) -> MeasuresAnswer:
    """Return what was measured, by pipeline and mode.

    Raises:
        NotFoundError: nothing is called so.
    """
    query.require_names(history)
    filters = query.filters()
    rows = rows_of(history.measures(last=history.affordable(query.last, **filters), **filters))
    return MeasuresAnswer(rows=[MeasureRow(**row) for row in rows], note=all_notes())


def offered(history: ServedHistory) -> list[str]:
    """Return the names of the measures of the newest sessions, for the lists of pages; kept for a while."""
    known_at, known = history.measures_offered
    if not known or time.monotonic() - known_at > OFFERED_S:
        from perfdb.analysis.measuring import names_in

        found = history.sessions_and_steps(last=history.affordable(MOST_OFFERED))
        names, _ = names_in(
            *(frame[frame["counted"]] for frame in found)
        )  # their figures take ten times as long
        known = list(dict.fromkeys(["duration", *names]))
        history.measures_offered = (time.monotonic(), known if len(known) > 1 else [])
    return known


def violations(history: ServedHistory, query: ViolationsQuery) -> ViolationsAnswer:
    """Return the runs that broke a limit, oldest first.

    Raises:
        NotFoundError: nothing is called so.
    """
    query.require_names(history)
    rows = rows_of(history.violations(measure=query.measure, last=query.last, **query.filters()))
    return ViolationsAnswer(rows=[Violation(**row) for row in rows], note=all_notes())


def regressions(history: ServedHistory, query: RegressionsQuery) -> RegressionsAnswer:
    """Return where levels moved, oldest first.

    Raises:
        NotFoundError: nothing is called so.
    """
    query.require_names(history, query.step)
    filters = query.filters()
    looked_at = query.filters()
    looked_at["since"] = None  # it chooses of the moves: what was before is looked at too
    last = history.affordable(query.last, **looked_at)
    measure = query.measure or "duration"
    found = history.regressions(step=query.step, better=query.better, measure=measure, last=last, **filters)
    rows = rows_of(found)
    return RegressionsAnswer(rows=[Regression(**row) for row in rows], note=all_notes())
