"""What pages ask for: sessions page by page along a key, the last runs of every series, what runs now.

No query here grows with the history: pages go by key, never by OFFSET, and counting stops at a limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Select, func, select, text, tuple_

from perfdb.records import Session
from perfdb.store.dialects import starts_with
from perfdb.store.filters import choose_sessions
from perfdb.store.models import (
    COMPLETED_CODE,
    FAILED_CODE,
    UNCOUNTED_TAGS,
    series,
    session_tags,
    sessions,
    steps,
    storable_name,
    storable_text,
)
from perfdb.store.reading import driver_rows, read_session, session_of

Sort = Literal["newest", "oldest", "slowest", "fastest"]

MOST_STEPS = 20_000  # read for the runs of one pipeline and mode
MOST_SERIES = 2_000

_SORTS: dict[str, tuple[Any, bool]] = {
    "newest": (sessions.c.start_time, True),
    "oldest": (sessions.c.start_time, False),
    "slowest": (sessions.c.total_duration, True),
    "fastest": (sessions.c.total_duration, False),
}


class Key(NamedTuple):
    """Where a page begins or ends: the value that it is sorted by, and the session's number."""

    value: float
    pk: int


@dataclass(frozen=True, slots=True)
class Page:
    """Sessions without their steps, in the order asked for; the keys are None at the ends."""

    sessions: list[Session]
    after: Key | None
    before: Key | None


@dataclass(slots=True)
class Runs:
    """The last runs of one series, oldest first; ``counted`` false: it failed."""

    pipeline: str
    step_name: str | None
    mode: str
    start_times: list[float] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    counted: list[bool] = field(default_factory=list)


@dataclass(slots=True)
class SeriesRuns(Runs):
    """The runs of one series with the ids of their sessions."""

    session_ids: list[str] = field(default_factory=list)


def session_page(
    connection: Connection,
    *,
    sort: Sort = "newest",
    after: Key | None = None,
    before: Key | None = None,
    limit: int = 50,
    prefix: str | None = None,
    **filters: Any,
) -> Page:
    """Return a page of the sessions that fit.

    Args:
        connection: of any role.
        sort: by start, or by total duration; what has no total is left out there.
        after: the page that follows this key.
        before: instead, the page that ends before this key.
        limit: sessions on a page.
        prefix: of their ids.
        filters: see ``filters.choose_sessions``.
    """
    column, falling = _SORTS[sort]
    backwards = before is not None
    key = before if before is not None else after
    query = _fitting(connection, prefix, filters).with_only_columns(
        sessions, series.c.pipeline, series.c.mode
    )
    query = query.join(series, series.c.id == sessions.c.series_id)
    if column is sessions.c.total_duration:
        query = query.where(column.is_not(None))
    falls = falling != backwards
    if key is not None:
        place = tuple_(column, sessions.c.id)
        bound = tuple_(key.value, key.pk)
        query = query.where(place < bound if falls else place > bound)
    order = (column.desc(), sessions.c.id.desc()) if falls else (column, sessions.c.id)
    rows = list(connection.execute(query.order_by(*order).limit(limit + 1)))
    more = len(rows) > limit
    rows = rows[:limit]
    if backwards:
        rows.reverse()
    tags = _tags_of(connection, [row.id for row in rows])
    keys = [Key(getattr(row, column.name), row.id) for row in rows]
    return Page(
        [session_of(row, tags.get(row.id, [])) for row in rows],
        after=keys[-1] if keys and (more or backwards) else None,
        before=keys[0] if keys and (more if backwards else after is not None) else None,
    )


def count_sessions(
    connection: Connection, *, most: int, prefix: str | None = None, **filters: Any
) -> tuple[int, bool]:
    """Return how many sessions fit, and whether that is all of them; counting stops at ``most``."""
    if prefix is None and all(value is None for value in filters.values()):
        return int(connection.execute(select(func.count()).select_from(sessions)).scalar_one()), True
    fitting = _fitting(connection, prefix, filters).limit(most + 1).subquery()
    count = int(connection.execute(select(func.count()).select_from(fitting)).scalar_one())
    return min(count, most), count <= most


def total_series(connection: Connection, *, most: int) -> list[tuple[int, str, str]]:
    """Return (number, pipeline, mode) of what ran last, the newest first."""
    newest = (
        select(func.max(sessions.c.start_time))
        .where(sessions.c.series_id == series.c.id)
        .scalar_subquery()
        .label("newest")
    )
    query = select(series.c.id, series.c.pipeline, series.c.mode, newest).where(series.c.step_name.is_(None))
    rows = [row for row in connection.execute(query) if row.newest is not None]
    rows.sort(key=lambda row: -row.newest)
    return [(row.id, row.pipeline, row.mode) for row in rows[:most]]


def pipelines(connection: Connection) -> list[str]:
    """Return the names of all pipelines, sorted."""
    query = select(series.c.pipeline).where(series.c.step_name.is_(None)).distinct()
    return sorted(connection.execute(query).scalars())


_NAMES = {"pipeline": series.c.pipeline, "step": series.c.step_name, "tag": session_tags.c.name}


def has_name(connection: Connection, kind: str, name: str) -> bool:
    """Say whether a pipeline, a step or a tag was ever called so; of deleted sessions too."""
    column = _NAMES[kind]
    return (
        connection.execute(select(column).where(column == storable_name(name)).limit(1)).first() is not None
    )


def names_of(connection: Connection, kind: str, *, most: int = 10_000) -> list[str]:
    """Return the names that pipelines, steps or tags have."""
    column = _NAMES[kind]
    query = select(column).where(column.is_not(None)).distinct().limit(most)
    return list(connection.execute(query).scalars())


def tags(connection: Connection, *, most: int = 100) -> list[str]:
    """Return the tags that were given to sessions, sorted."""
    query = select(session_tags.c.name).distinct().limit(most)
    return sorted(connection.execute(query).scalars())


def series_names(connection: Connection) -> list[tuple[str, str | None, str]]:
    """Return (pipeline, step name, mode) of every series, totals first; of too many the oldest."""
    query = (
        select(series.c.pipeline, series.c.step_name, series.c.mode).order_by(series.c.id).limit(MOST_SERIES)
    )
    found = [tuple(row) for row in connection.execute(query)]
    return sorted(found, key=lambda row: (row[0], row[2], row[1] is not None, row[1] or ""))


def running_sessions(connection: Connection, *, most: int) -> list[Session]:
    """Return the sessions that run now with their steps so far, the newest first."""
    # Sorted here: asked for an order, SQLite would rather go through all sessions than use the partial index.
    query = select(sessions.c.session_id, sessions.c.start_time).where(text("sessions.status = 0"))
    newest_first = sorted(connection.execute(query).all(), key=lambda row: -row.start_time)
    return [read_session(connection, row.session_id) for row in newest_first[:most]]


def last_runs(connection: Connection, series_id: int, *, last: int) -> list[Runs]:
    """Return the runs of a total's series and of its steps in its newest ``last`` ended sessions.

    Runs that are tagged ``warmup`` or ``ignore`` are left out.
    """
    name = connection.execute(select(series).where(series.c.id == series_id)).one()
    total = Runs(name.pipeline, None, name.mode)
    starts: dict[int, float] = {}
    for pk, start, *run in reversed(driver_rows(connection, _ended(series_id, last))):
        starts[pk] = start
        _add(total, start, *run)
    if not starts:
        return []
    chosen = _ended(series_id, last).cte("chosen")
    query = (
        select(steps.c.session_pk, steps.c.series_id, steps.c.duration, steps.c.counted, steps.c.status)
        .select_from(chosen)
        .join(steps, steps.c.session_pk == chosen.c.id)
        .limit(MOST_STEPS)
    )
    of_session: dict[int, list[Any]] = {}
    for pk, *run in driver_rows(connection, query):
        of_session.setdefault(pk, []).append(run)
    named = select(series.c.id, series.c.step_name).where(
        series.c.pipeline == name.pipeline, series.c.mode == name.mode
    )
    found = {
        number: Runs(name.pipeline, step_name, name.mode) for number, step_name in connection.execute(named)
    }
    for pk, start in starts.items():
        for number, *run in of_session.get(pk, ()):
            _add(found[number], start, *run)
    return [total, *(runs for runs in found.values() if runs.durations)]


def runs_of_series(
    connection: Connection,
    pipeline: str,
    step_name: str | None,
    mode: str,
    *,
    last: int,
    since: float | None = None,
    until: float | None = None,
) -> SeriesRuns:
    """Return the runs of one series in the newest ``last`` ended sessions between two moments.

    Runs that are tagged ``warmup`` or ``ignore`` are left out.
    """
    runs = SeriesRuns(pipeline, step_name, mode)
    totals = select(series.c.id).where(
        series.c.pipeline == pipeline, series.c.mode == mode, series.c.step_name.is_(None)
    )
    total = connection.execute(totals).scalar()
    if total is None:
        return runs
    ended = _ended(total, last).add_columns(sessions.c.session_id)
    if since is not None:
        ended = ended.where(sessions.c.start_time >= since)
    if until is not None:
        ended = ended.where(sessions.c.start_time < until)
    if step_name is None:
        rows = [
            (row.session_id, row.start_time, row.total_duration, row.counted, row.status)
            for row in connection.execute(ended)
        ][::-1]
    else:
        number = connection.execute(
            select(series.c.id).where(
                series.c.pipeline == pipeline, series.c.mode == mode, series.c.step_name == step_name
            )
        ).scalar()
        chosen = ended.cte("chosen")
        query = (
            select(
                chosen.c.session_id, chosen.c.start_time, steps.c.duration, steps.c.counted, steps.c.status
            )
            .join(steps, steps.c.session_pk == chosen.c.id)
            .where(steps.c.series_id == number)
            .order_by(chosen.c.start_time, chosen.c.id, steps.c.seq)
        )
        rows = [tuple(row) for row in connection.execute(query)]
    for session_id, *run in rows:
        if _add(runs, *run):
            runs.session_ids.append(session_id)
    return runs


def neighbours(connection: Connection, session: Session) -> tuple[str | None, str | None]:
    """Return the ids of the ended sessions before and after one, of the same pipeline and mode."""
    own = connection.execute(
        select(sessions.c.id, sessions.c.series_id).where(sessions.c.session_id == session.session_id)
    ).one()
    place, here = tuple_(sessions.c.start_time, sessions.c.id), tuple_(session.start_time, own.id)
    alike = (
        select(sessions.c.session_id)
        .where(sessions.c.series_id == own.series_id, sessions.c.total_duration.is_not(None))
        .limit(1)
    )
    before = alike.where(place < here).order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
    after = alike.where(place > here).order_by(sessions.c.start_time, sessions.c.id)
    return connection.execute(before).scalar(), connection.execute(after).scalar()


def _ended(series_id: int, last: int) -> Select[Any]:
    tagged = (
        select(session_tags.c.name)
        .where(session_tags.c.session_pk == sessions.c.id, session_tags.c.name.in_(UNCOUNTED_TAGS))
        .exists()
    )
    return (
        select(
            sessions.c.id,
            sessions.c.start_time,
            sessions.c.total_duration,
            sessions.c.counted,
            sessions.c.status,
        )
        .where(
            sessions.c.series_id == series_id, sessions.c.status.in_((COMPLETED_CODE, FAILED_CODE)), ~tagged
        )
        .order_by(sessions.c.start_time.desc(), sessions.c.id.desc())
        .limit(last)
    )


def _add(runs: Runs, start: float, duration: float | None, counted: bool, status: int) -> bool:
    failed = status == FAILED_CODE
    if duration is None or not (counted or failed):
        return False
    runs.start_times.append(start)
    runs.durations.append(duration)
    runs.counted.append(not failed)
    return True


def _fitting(connection: Connection, prefix: str | None, filters: Mapping[str, Any]) -> Select[Any]:
    query: Select[Any] = choose_sessions(connection, **filters)
    if prefix is not None:
        query = query.where(starts_with(connection, sessions.c.session_id, storable_text(prefix)))
    return query


def _tags_of(connection: Connection, pks: Sequence[int]) -> dict[int, list[str]]:
    query = select(session_tags).where(session_tags.c.session_pk.in_(pks))
    found: dict[int, list[str]] = {}
    for pk, name in sorted(map(tuple, connection.execute(query))):  # each database sorts names its own way
        found.setdefault(pk, []).append(name)
    return found
