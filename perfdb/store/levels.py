"""Read the whole past of every series: only what counts, only the durations.

Two queries and no frames: 100,000 sessions with their steps pass in seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, func, select

from perfdb.store.filters import choose_sessions
from perfdb.store.models import COMPLETED_CODE, series, sessions, steps, storable_name


@dataclass(slots=True)
class Past:
    """The runs of one series that count, oldest first; ``step_name`` None is the session's total."""

    pipeline: str
    step_name: str | None
    mode: str
    session_ids: list[str] = field(default_factory=list)
    start_times: list[float] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)


def read_past(connection: Connection, *, step: str | None = None, **filters: Any) -> Iterator[Past]:
    """Yield every series of the sessions that fit, totals first.

    Args:
        connection: of any role.
        step: only this step, without the totals.
        filters: choose sessions, see ``filters.choose_sessions``. A step that ran several times in a
            session counts once, with its mean.

    Raises:
        ValueError: a filter has a value that cannot be meant.
    """
    chosen = choose_sessions(connection, **filters, counted=True).cte("chosen")
    named = {row.id: row for row in connection.execute(select(series))}
    query = (
        select(
            sessions.c.id,
            sessions.c.series_id,
            sessions.c.session_id,
            sessions.c.start_time,
            sessions.c.total_duration,
        )
        .join(chosen, chosen.c.id == sessions.c.id)
        .where(sessions.c.status == COMPLETED_CODE, sessions.c.total_duration.is_not(None))
        .order_by(sessions.c.start_time, sessions.c.id)
    )
    places: dict[int, tuple[int, str, float]] = {}
    totals: dict[int, Past] = {}
    for place, (pk, series_id, session_id, start, duration) in enumerate(connection.execute(query)):
        places[pk] = (place, session_id, start)
        past = totals.get(series_id)
        if past is None:
            past = totals[series_id] = _empty(named[series_id])
        past.session_ids.append(session_id)
        past.start_times.append(start)
        past.durations.append(duration)
    if step is None:
        yield from totals.values()
    mean = (
        select(steps.c.series_id, steps.c.session_pk, func.avg(steps.c.duration))
        .join(chosen, chosen.c.id == steps.c.session_pk)
        .where(steps.c.counted.is_(True))
        .group_by(steps.c.session_pk, steps.c.series_id)
    )
    if step is not None:
        mean = mean.where(
            steps.c.series_id.in_(select(series.c.id).where(series.c.step_name == storable_name(step)))
        )
    found: dict[int, list[tuple[int, str, float, float]]] = {}
    for series_id, pk, duration in connection.execute(mean):
        if pk in places:
            found.setdefault(series_id, []).append((*places[pk], float(duration)))
    for series_id, rows in found.items():
        rows.sort()
        past = _empty(named[series_id])
        _, past.session_ids, past.start_times, past.durations = (
            list(part) for part in zip(*rows, strict=True)
        )
        yield past


def kinds_of(connection: Connection, session_ids: Sequence[str]) -> Counter[tuple[str, str]]:
    """Return how many of these sessions each pipeline and mode has."""
    found: Counter[tuple[str, str]] = Counter()
    for first in range(0, len(session_ids), 500):
        query = (
            select(series.c.pipeline, series.c.mode, func.count())
            .join(sessions, sessions.c.series_id == series.c.id)
            .where(sessions.c.session_id.in_(session_ids[first : first + 500]))
            .group_by(series.c.pipeline, series.c.mode)
        )
        for pipeline, mode, count in connection.execute(query):
            found[pipeline, mode] += count
    return found


def _empty(row: Any) -> Past:
    return Past(row.pipeline, row.step_name, row.mode)
