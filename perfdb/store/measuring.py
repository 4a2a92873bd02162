"""Measures in SQL: what one is worth in a step and in a session, read out of where it was recorded.

Nothing is copied: numbers stay in the columns and documents of ``steps`` and ``sessions``, so that old
histories have their measures as new ones do. Steps lie clustered by session, and an index finds the runs of
one step among the many of its sessions. ``analysis/measuring.py`` says the same of frames and records.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from perfdb.measures import HUGE, KEPT, LAST, MAX, OF_ATTEMPTS, SUM, Measure
from perfdb.store.dialects import is_shared, number_in, sum_in_list
from perfdb.store.models import series, sessions, steps, storable_name
from perfdb.store.reading import driver_rows
from perfdb.store.together import for_each, together

_OF_ATTEMPTS = {each.name: part for each, part in zip(OF_ATTEMPTS, ("duration", "wait"), strict=True)}


def of_steps(connection: Connection, measure: Measure) -> ColumnElement[Any]:
    """Return SQL for what a measure is worth in a step; NULL where it was not recorded."""
    if measure.is_duration:
        return steps.c.duration
    if measure.has_column:
        return steps.c[measure.name]
    recorded = number_in(connection, steps.c.additional_data, storable_name(measure.name))
    part = _OF_ATTEMPTS.get(measure.name)
    if part is None:
        return recorded
    return func.coalesce(sum_in_list(connection, steps.c.attempts, part), recorded)


def of_sessions(connection: Connection, measure: Measure, chosen: Select[tuple[int]]) -> dict[int, float]:
    """Return what a measure is worth in each of the chosen sessions that has it, by the session's number.

    What the session itself recorded wins; else the values of its steps make it, however they ended: what a
    failed call cost was paid as well.
    """
    own = _own_of_sessions(connection, measure)
    fits = sessions.c.id.in_(chosen)
    of_steps, of_own = together(
        connection,
        lambda: [] if measure.name in KEPT else _together(connection, measure, chosen),
        lambda: driver_rows(connection, select(sessions.c.id, own).where(fits, own.is_not(None))),
    )
    return {pk: float(value) for pk, value in (*of_steps, *of_own) if value is not None and abs(value) < HUGE}


def sums_of_sessions(
    connection: Connection, measures: Sequence[Measure], chosen: Select[tuple[int]]
) -> list[dict[int, float]]:
    """Return what ``of_sessions`` does of several attributes that add up, in one pass over the steps."""
    of_each = [func.sum(of_steps(connection, each)) for each in measures]
    within = select(steps.c.session_pk, *of_each).where(steps.c.session_pk.in_(chosen))
    own = [_own_of_sessions(connection, each) for each in measures]
    of_own = select(sessions.c.id, *own).where(sessions.c.id.in_(chosen))
    queries = within.group_by(steps.c.session_pk), of_own
    rows = chain(*for_each(connection, partial(driver_rows, connection), queries))
    found: list[dict[int, float]] = [{} for _ in measures]
    for pk, *values in rows:
        for of_measure, value in zip(found, values, strict=True):
            if value is not None and abs(value) < HUGE:
                of_measure[pk] = float(value)
    return found


def is_recorded_lately(connection: Connection, measure: Measure) -> bool:
    """Say whether a measure was recorded in the newest sessions, where most are that are recorded at all."""
    newest = select(sessions.c.id).order_by(sessions.c.start_time.desc()).limit(100)
    queries = [
        select(key).where(value.is_not(None), key.in_(newest)).limit(1)
        for key, value in (
            (steps.c.session_pk, of_steps(connection, measure)),
            (sessions.c.id, _own_of_sessions(connection, measure)),
        )
    ]
    if is_shared(connection):
        return any(for_each(connection, partial(driver_rows, connection), queries))
    return any(driver_rows(connection, query) for query in queries)


def is_recorded_among(connection: Connection, measure: Measure, fits: ColumnElement[bool]) -> bool:
    """Say whether a measure was recorded in a session of which ``fits`` is true, or in a step of one."""
    within = select(steps.c.seq).where(
        steps.c.session_pk == sessions.c.id, of_steps(connection, measure).is_not(None)
    )
    has_it = or_(_own_of_sessions(connection, measure).is_not(None), within.exists())
    return bool(driver_rows(connection, select(sessions.c.id).where(fits, has_it).limit(1)))


def _own_of_sessions(connection: Connection, measure: Measure) -> ColumnElement[Any]:
    if measure.is_duration:
        return sessions.c.total_duration
    if measure.has_column:
        return sessions.c[measure.name]
    recorded = number_in(connection, sessions.c.attributes, storable_name(measure.name))
    return func.coalesce(recorded, sessions.c.product_count) if measure.name == "product_count" else recorded


def _together(
    connection: Connection, measure: Measure, chosen: Select[tuple[int]]
) -> Sequence[tuple[int, float]]:
    value = of_steps(connection, measure)
    within = steps.c.session_pk.in_(chosen)
    if measure.total == LAST:
        place = func.row_number().over(
            partition_by=steps.c.session_pk, order_by=(steps.c.start_time.desc(), steps.c.seq.desc())
        )
        columns = steps.c.session_pk, value.label("value"), place.label("place")
        each = select(*columns).where(within, value.is_not(None)).subquery()
        return driver_rows(connection, select(each.c.session_pk, each.c.value).where(each.c.place == 1))
    made = func.max(value) if measure.total == MAX else func.sum(value)
    return driver_rows(
        connection, select(steps.c.session_pk, made).where(within).group_by(steps.c.session_pk)
    )


def values_by_step(
    connection: Connection, measure: Measure, session_ids: Sequence[str]
) -> list[dict[str | None, float]]:
    """Return, per session, what a measure is worth in the steps of each name, and under None what is left.

    They add up to the session's value, whatever makes that: of a measure that has no sum, the step that made
    it has all of it.
    """
    pieces = [session_ids[first : first + 500] for first in range(0, len(session_ids), 500)]
    named = [
        select(sessions.c.session_id, sessions.c.id).where(sessions.c.session_id.in_(ids)) for ids in pieces
    ]
    own = of_steps(connection, measure)
    columns = steps.c.session_pk, series.c.step_name

    def rows_of(chosen: Select[tuple[int]]) -> Sequence[Any]:
        within = steps.c.session_pk.in_(chosen), own.is_not(None)
        if measure.total == SUM:
            query = select(*columns, func.sum(own)).group_by(*columns)
        else:
            query = select(*columns, steps.c.start_time, steps.c.seq, own)
        return driver_rows(connection, query.join(series, series.c.id == steps.c.series_id).where(*within))

    chosen = select(sessions.c.id).where(sessions.c.session_id.in_(session_ids))
    pks: dict[str, int] = {}
    if not is_shared(connection):  # which takes few parameters at once
        pks = dict(row for query in named for row in driver_rows(connection, query))
        chosen = select(sessions.c.id).where(sessions.c.id.in_(list(pks.values())))
    known, totals, rows = together(
        connection,
        lambda: [] if pks else for_each(connection, partial(driver_rows, connection), named),
        lambda: of_sessions(connection, measure, chosen),
        lambda: rows_of(chosen),
    )
    pks = pks or dict(chain(*known))
    found: dict[int, dict[str | None, float]] = {pk: {} for pk in pks.values()}
    if measure.total == SUM:
        for pk, name, spent in rows:
            found[pk][name] = float(spent)
    else:
        made: dict[int, tuple[tuple[float, ...], str, float]] = {}
        for pk, name, start, seq, spent in rows:
            amount = float(spent)
            place = (amount, -start, -seq) if measure.total == MAX else (start, seq)
            if pk not in made or place > made[pk][0]:
                made[pk] = place, name, amount
        for pk, (_, name, amount) in made.items():
            if amount == totals.get(pk):
                found[pk][name] = amount
    for pk, parts in found.items():
        parts[None] = totals.get(pk, 0.0) - sum(parts.values())
    return [found[pks[session_id]] for session_id in session_ids]
